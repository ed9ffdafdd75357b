"""The overlay, rendered for an installation whose settings are none of the shipped examples."""

import glob
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import kubelet
from database import Database

DEPLOY = Path(__file__).parent.parent
KUSTOMIZE = DEPLOY / "kustomize"
GATEWAY = DEPLOY / "gateway"
AGENT = DEPLOY / "agent.yaml"
DOMAIN = "my-hubs.example.net"
ANNOUNCED = "203.0.113.9"
LOAD_BALANCER = "198.51.100.20"

SETTINGS = f"""\
DOMAIN={DOMAIN}
IMAGE=registry.example.net:5000/team/hubs-relay@sha256:{"0" * 64}
"""


def render(folder):
    out = subprocess.run([os.environ["KUBECTL"], "kustomize", folder], check=True, capture_output=True, text=True)
    return out.stdout


def by_kind(objects, kind):
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The overlay as an operator has it after filling in settings.env."""
    folder = tmp_path_factory.mktemp("overlay") / "kustomize"
    shutil.copytree(KUSTOMIZE, folder)
    (folder / "settings.env").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="session")
def gateway_folder(folder):
    """The overlay with the media gateway, which takes domain and image from the other one."""
    shutil.copytree(GATEWAY, folder.parent / "gateway")
    return folder.parent / "gateway"


@pytest.fixture(scope="session")
def overlay(folder):
    return rendered(folder)


@pytest.fixture(scope="session")
def gateway(gateway_folder):
    return rendered(gateway_folder)


def rendered(folder):
    objects = list(yaml.safe_load_all(render(folder)))
    deployment = by_kind(objects, "Deployment")["coturn"]
    pod = deployment["spec"]["template"]["spec"]
    return SimpleNamespace(
        objects=objects,
        deployment=deployment,
        pod=pod,
        relay=pod["containers"][0],
    )


@pytest.fixture(scope="session")
def hubs():
    """What is installed already."""
    return list(yaml.safe_load_all((Path(__file__).parent / "hcce.yaml").read_text()))


@pytest.fixture(scope="session")
def own_network():
    """`check` starts the tests in a network namespace if it can; there, each may take the ports that the overlay names."""
    if "HUBS_RELAY_OWN_NETWORK" not in os.environ:
        pytest.skip("needs root and a network namespace, as deploy/check gives it")


@pytest.fixture(scope="session")
def secrets(hubs):
    """The cluster's Secrets: Hubs' own, and the certificate's."""
    certificate, key = self_signed(f"stream.{DOMAIN}")
    return {
        "configs": by_kind(hubs, "Secret")["configs"]["stringData"],
        f"cert-stream.{DOMAIN}": {"tls.crt": certificate, "tls.key": key},
    }


def self_signed(name, *, kind="DNS"):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}", "-days", "2"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]  # or it could not be a server's
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*command, "-keyout", f"{folder}/key", "-out", f"{folder}/crt"], check=True, capture_output=True)
        return Path(folder, "crt").read_text(), Path(folder, "key").read_text()


@pytest.fixture(scope="session")
def postgres(own_network):
    if not shutil.which("pgbouncer") or not glob.glob("/usr/lib/postgresql/*/bin/initdb"):
        pytest.skip("needs Debian's postgresql and pgbouncer")
    with tempfile.TemporaryDirectory() as folder, Database(Path(folder)) as database:
        yield database


@pytest.fixture
def database(postgres):
    postgres.migrate()
    return postgres

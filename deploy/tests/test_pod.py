"""The relay as the kubelet starts it: the image's one file, the pod's user, environment and volumes, and nothing else.

Its neighbours are real: dialog on mediasoup, and Reticulum's table in a Postgres behind pgbouncer.
"""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

import kubelet
import stun
from conftest import ANNOUNCED, DEPLOY, DOMAIN, self_signed
from database import wait_for_port

BED = DEPLOY.parent / "tests" / "bed"
SECRET = "5e" * 16
TURN = ("127.0.0.1", 5349)


@pytest.fixture(scope="module")
def dialog(own_network, tmp_path_factory):
    worker = subprocess.run([BED / "mediasoup-worker", "--cached"], capture_output=True, text=True)
    if worker.returncode != 0:
        pytest.skip("needs node, the packages of tests/bed and mediasoup's worker, as tests/run installs them")
    folder = tmp_path_factory.mktemp("dialog")
    for name, text in zip(("crt", "key"), self_signed("dialog")):
        (folder / name).write_text(text)
    env = {
        "PATH": os.environ["PATH"],
        "MEDIASOUP_WORKER_BIN": worker.stdout.strip(),
        "MEDIASOUP_ANNOUNCED_IP": ANNOUNCED,
        "PROTOO_LISTEN_PORT": "4443",
        "AUTH_KEY": str(folder / "key"),
        "HTTPS_CERT_FULLCHAIN": str(folder / "crt"),
        "HTTPS_CERT_PRIVKEY": str(folder / "key"),
    }
    process = subprocess.Popen(["node", BED / "dialog.js"], env=env, stdout=subprocess.PIPE, text=True)
    assert json.loads(process.stdout.readline())["port"] == 4443
    yield
    process.terminate()
    process.wait(10)


@pytest.fixture
def pod(tmp_path, overlay, secrets, database, dialog):
    database.rotate(SECRET)
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(Path(os.environ["STATIC"], "hubs-relay"), root)
    kubelet.mount(root, overlay.pod, overlay.relay, {}, secrets)
    kubelet.write_names(root, {"dialog": "127.0.0.1", "pgbouncer": "127.0.0.1"})
    kubelet.make_devices(root)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    security = overlay.pod["securityContext"]
    user = f"--userspec={security['runAsUser']}:{security['runAsGroup']}"
    env = kubelet.environment(overlay.relay, secrets, pod_ip="127.0.0.1")
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin")
    process = subprocess.Popen([chroot, user, root, "/hubs-relay"], env=env, stderr=subprocess.PIPE, text=True)
    wait_for_port(TURN[1])
    yield process
    process.kill()
    print(process.stderr.read())
    process.wait()


@pytest.fixture
def client(pod, secrets):
    context = ssl.create_default_context(cadata=secrets[f"cert-stream.{DOMAIN}"]["tls.crt"])
    with socket.create_connection(TURN, timeout=20) as stream:
        with context.wrap_socket(stream, server_hostname=f"stream.{DOMAIN}") as tls:
            client = stun.Client(tls)
            assert client.log_in(*stun.reticulum_credential(SECRET)) == "turkey"
            kind, _ = client.ask(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, b"\x11\0\0\0")])
            assert kind == stun.ALLOCATE | stun.SUCCESS
            yield client


def test_with_hubs_environment_alone_media_reaches_dialogs_ports_in_its_announced_name(client):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dialogs_port:
        dialogs_port.settimeout(10)
        dialogs_port.bind(("127.0.0.1", 49_990))
        name = stun.xor_address(ANNOUNCED, 49_990)
        assert client.ask(stun.CREATE_PERMISSION, [(stun.XOR_PEER_ADDRESS, name)])[0] == 0x0108
        client.send(stun.SEND, [(stun.XOR_PEER_ADDRESS, name), (stun.PAYLOAD, b"hear me")])
        payload, relayed = dialogs_port.recvfrom(100)
        assert payload == b"hear me"
        dialogs_port.sendto(b"I do", relayed)
        kind, data = client.receive()
        assert (kind, data[stun.PAYLOAD]) == (stun.DATA, b"I do")
        assert stun.plain_address(data[stun.XOR_PEER_ADDRESS]) == (ANNOUNCED, 49_990)


@pytest.mark.parametrize("peer", [(ANNOUNCED, 39_999), ("169.254.169.254", 80), ("168.63.129.16", 80), ("10.0.0.1", 5432)])
def test_nobody_else_is_reachable(client, peer):
    kind, answer = client.ask(stun.CREATE_PERMISSION, [(stun.XOR_PEER_ADDRESS, stun.xor_address(*peer))])
    assert kind == stun.CREATE_PERMISSION | stun.ERROR
    assert answer[stun.ERROR_CODE][2:4] == bytes([4, 3])


def test_it_ends_when_kubernetes_asks(pod):
    pod.send_signal(signal.SIGTERM)
    assert pod.wait(15) == 0

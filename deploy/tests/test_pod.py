"""The relay as the kubelet starts it: the image's one file, the pod's environment, volumes and privileges, nothing else.

Its neighbours are real: dialog on mediasoup, and Reticulum's table in a Postgres behind pgbouncer.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest

import kubelet
import stun
from cluster_dns import RESOLV_CONF, ClusterDns
from conftest import ANNOUNCED, DOMAIN, self_signed
from dialog import running_dialog

SECRET = "5e" * 16
TURN = ("127.0.0.1", 5349)


@pytest.fixture(scope="module")
def dialog(own_network, tmp_path_factory):
    with running_dialog(tmp_path_factory.mktemp("dialog"), "127.0.0.1"):
        yield


@pytest.fixture(scope="module")
def dns(own_network):
    with ClusterDns() as dns:
        yield dns


@pytest.fixture
def start(overlay, secrets, database, dialog, dns):
    """Starts the pod, with these addresses for its neighbours."""
    if not kubelet.is_available():
        pytest.skip("needs Debian's crun and golang-github-containers-common")
    database.rotate(SECRET)
    program = Path(os.environ["STATIC"], "hubs-relay")
    with contextlib.ExitStack() as stack:

        def start(dialog="127.0.0.1", pgbouncer="127.0.0.1"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.chmod(0o755)
            dns.services = {"dialog": dialog, "pgbouncer": pgbouncer}
            return stack.enter_context(kubelet.Container(folder, overlay.pod, program, secrets, RESOLV_CONF))

        yield start


@pytest.fixture
def pod(start):
    container = start()
    container.eventually(lambda: container.answers("readinessProbe"))
    return container


@pytest.fixture
def connect(pod, secrets):
    """Opens connections as a browser does that has joined a room, and says what its Allocate came to."""
    context = ssl.create_default_context(cadata=secrets[f"cert-stream.{DOMAIN}"]["tls.crt"])
    with contextlib.ExitStack() as connections:

        def connect():
            stream = connections.enter_context(socket.create_connection(TURN, timeout=20))
            client = stun.Client(connections.enter_context(context.wrap_socket(stream, server_hostname=f"stream.{DOMAIN}")))
            assert client.log_in(*stun.reticulum_credential(SECRET)) == "turkey"
            kind, answer = client.ask(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, b"\x11\0\0\0")])
            return client, (kind, stun.error_code(answer))

        yield connect


@pytest.fixture
def client(connect):
    client, outcome = connect()
    assert outcome == (stun.ALLOCATE | stun.SUCCESS, None)
    return client


@pytest.fixture
def dialogs_port(dialog):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.settimeout(10)
        port.bind(("127.0.0.1", 49_990))
        yield port


def exchange_media(client, dialogs_port):
    """Both ways, in the name that dialog announces."""
    name = stun.xor_address(ANNOUNCED, 49_990)
    assert client.ask(stun.CREATE_PERMISSION, [(stun.XOR_PEER_ADDRESS, name)])[0] == stun.CREATE_PERMISSION | stun.SUCCESS
    client.send(stun.SEND, [(stun.XOR_PEER_ADDRESS, name), (stun.PAYLOAD, b"hear me")])
    payload, relayed = dialogs_port.recvfrom(100)
    assert payload == b"hear me"
    dialogs_port.sendto(b"I do", relayed)
    kind, data = client.receive()
    assert (kind, data[stun.PAYLOAD]) == (stun.DATA, b"I do")
    assert stun.plain_address(data[stun.XOR_PEER_ADDRESS]) == (ANNOUNCED, 49_990)


def test_with_hubs_environment_alone_media_reaches_dialogs_ports_in_its_announced_name(client, dialogs_port):
    exchange_media(client, dialogs_port)


@pytest.mark.parametrize("peer", [("203.0.113.10", 49_990), ("169.254.169.254", 80), ("168.63.129.16", 80), ("10.0.0.1", 5432)])
def test_nobody_else_is_reachable(client, peer):
    kind, answer = client.ask(stun.CREATE_PERMISSION, [(stun.XOR_PEER_ADDRESS, stun.xor_address(*peer))])
    assert (kind, stun.error_code(answer)) == (stun.CREATE_PERMISSION | stun.ERROR, 403)


def test_no_other_port_of_dialogs_is_reachable(client, dialogs_port):
    """A permission is for a host (RFC 8656 section 9); what it lets out is for the ports of the rule."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 39_999))
        name = stun.xor_address(ANNOUNCED, 39_999)
        assert client.ask(stun.CREATE_PERMISSION, [(stun.XOR_PEER_ADDRESS, name)])[0] == stun.CREATE_PERMISSION | stun.SUCCESS
        client.send(stun.SEND, [(stun.XOR_PEER_ADDRESS, name), (stun.PAYLOAD, b"let me out")])
        exchange_media(client, dialogs_port)  # which was sent later, and has arrived
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(100)


def test_it_has_no_privileges_while_it_serves(pod, client):
    status = dict(line.split(":\t") for line in Path(f"/proc/{pod.pid}/status").read_text().splitlines())
    assert status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4
    assert {int(status[f"Cap{of}"], 16) for of in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "filtered"
    [options] = [m[5] for m in map(str.split, Path(f"/proc/{pod.pid}/mountinfo").read_text().splitlines()) if m[4] == "/"]
    assert "ro" in options.split(",")


def test_kubernetes_finds_it_alive_and_ready(pod):
    assert pod.answers("livenessProbe") and pod.answers("readinessProbe")


@pytest.mark.parametrize("missing", ["dialog", "pgbouncer"])
def test_where_it_could_serve_nobody_kubernetes_keeps_the_old_pod(start, missing):
    container = start(**{missing: "127.0.0.99"})
    container.eventually(lambda: container.answers("livenessProbe"))
    assert not container.answers("readinessProbe")
    container.eventually(lambda: "127.0.0.99" in container.log.read_text())


def test_a_renewed_certificate_is_served_without_a_restart(pod, overlay, secrets, client, dialogs_port):
    certificate, key = self_signed(f"stream.{DOMAIN}")
    pod.update_volumes(overlay.pod, {**secrets, f"cert-stream.{DOMAIN}": {"tls.crt": certificate, "tls.key": key}})
    pod.eventually(lambda: ssl.get_server_certificate(TURN) == certificate)
    exchange_media(client, dialogs_port)


def test_a_call_goes_on_while_the_pod_is_replaced(pod, connect, client, dialogs_port, overlay):
    pod.terminate()
    pod.eventually(lambda: connect()[1] == (stun.ALLOCATE | stun.ERROR, 508))  # the browser tries the other pod
    exchange_media(client, dialogs_port)
    assert pod.answers("readinessProbe")
    [deadline] = re.findall(r"draining: .* after (\d+)s", pod.log.read_text())
    assert int(deadline) < overlay.pod["terminationGracePeriodSeconds"], "Kubernetes would kill it before that"


def test_it_ends_when_kubernetes_asks_and_nobody_calls(pod):
    pod.terminate()
    assert pod.wait() == 0

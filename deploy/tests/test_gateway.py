"""The overlay with the media gateway: what Hubs has is changed where it has to be, and dialog's signalling goes through the pod."""

import copy
import os
import socket
import ssl
import tempfile
from pathlib import Path

import pytest

import kubelet
import websocket
from cluster_dns import RESOLV_CONF, ClusterDns
from conftest import DOMAIN, LOAD_BALANCER, by_kind
from dialog import running_dialog

SECRET = "5e" * 16


def test_the_ingress_is_that_of_hubs_but_for_where_it_leads(gateway, hubs):
    theirs, ours = (copy.deepcopy(by_kind(objects, "Ingress")["dialog"]) for objects in (hubs, gateway.objects))
    backend = ours["spec"]["rules"][0]["http"]["paths"][0].pop("backend")
    theirs["spec"]["rules"][0]["http"]["paths"][0].pop("backend")
    assert ours["spec"] == theirs["spec"]
    assert ours["metadata"]["annotations"] == theirs["metadata"]["annotations"]
    service = by_kind(gateway.objects, "Service")[backend["service"]["name"]]["spec"]
    assert service["ports"][0]["port"] == backend["service"]["port"]["number"]


def test_each_service_leads_to_a_port_of_the_pod(gateway):
    ports = {(p["name"], p.get("protocol", "TCP")) for p in gateway.relay["ports"]}
    labels = gateway.deployment["spec"]["template"]["metadata"]["labels"]
    for service in by_kind(gateway.objects, "Service").values():
        assert service["spec"]["selector"].items() <= labels.items()
        assert {(p["targetPort"], p.get("protocol", "TCP")) for p in service["spec"]["ports"]} <= ports


def test_media_comes_in_with_the_senders_address_at_the_address_that_browsers_are_told(gateway):
    media = by_kind(gateway.objects, "Service")["hubs-media"]
    assert media["spec"]["externalTrafficPolicy"] == "Local"
    assert media["metadata"]["annotations"]["service.beta.kubernetes.io/azure-load-balancer-ipv4"] == LOAD_BALANCER
    env = {e["name"]: e.get("value") for e in gateway.relay["env"]}
    assert env["HUBS_RELAY_GATEWAY__UDP"] == f"{LOAD_BALANCER}:{media['spec']['ports'][0]['port']}"


def test_there_is_one_replica_because_another_would_get_half_of_its_media(gateway):
    assert gateway.deployment["spec"]["replicas"] == 1


@pytest.fixture
def pod(gateway, secrets, database, tmp_path):
    if not kubelet.is_available():
        pytest.skip("needs Debian's crun and golang-github-containers-common")
    database.rotate(SECRET)
    # In a cluster both have an address of their own; here they share this machine's.
    spec = copy.deepcopy(gateway.pod)
    [listen] = [e for e in spec["containers"][0]["env"] if e["name"] == "HUBS_RELAY_GATEWAY__LISTEN"]
    listen["value"] = listen["value"].replace("0.0.0.0", "127.0.0.1")
    program = Path(os.environ["STATIC"], "hubs-relay")
    with ClusterDns() as dns, running_dialog(tmp_path, "127.0.0.2"), tempfile.TemporaryDirectory() as folder:
        dns.services = {"dialog": "127.0.0.2", "pgbouncer": "127.0.0.1", f"stream.{DOMAIN}": LOAD_BALANCER}
        Path(folder).chmod(0o755)
        with kubelet.Container(Path(folder), spec, program, secrets, RESOLV_CONF) as container:
            container.eventually(lambda: container.answers("readinessProbe"))
            yield container


def test_browsers_are_told_of_the_gateway_before_dialog(pod, secrets):
    context = ssl.create_default_context(cadata=secrets[f"cert-stream.{DOMAIN}"]["tls.crt"])
    with socket.create_connection(("127.0.0.1", 4443), timeout=20) as stream:
        with context.wrap_socket(stream, server_hostname=f"stream.{DOMAIN}") as stream:
            signalling = websocket.Client(stream, f"stream.{DOMAIN}", "/?roomId=room&peerId=ann")
            transport = signalling.request("createWebRtcTransport", {"producing": True, "consuming": False})
    first = transport["iceCandidates"][:2]
    told = [(c["protocol"], c["ip"], c["port"]) for c in first]
    assert told == [("udp", LOAD_BALANCER, 3478), ("tcp", LOAD_BALANCER, 5349)]

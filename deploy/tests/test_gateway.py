"""The overlay with the media gateway: what Hubs has is changed where it has to be, and dialog's signalling goes through the pod."""

import copy
import os
import socket
import ssl
import tempfile
import threading
from pathlib import Path

import pytest

import kubelet
import websocket
from api_server import ApiServerForPods
from cluster_dns import RESOLV_CONF, ClusterDns
from conftest import DOMAIN, LOAD_BALANCER, by_kind, self_signed
from dialog import running_dialog

SECRET = "5e" * 16
INGRESS = "198.51.100.30"  # haproxy's load balancer


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


def test_media_comes_in_with_the_senders_address_at_the_service_whose_address_browsers_are_told(gateway):
    media = by_kind(gateway.objects, "Service")["hubs-media"]
    assert (media["spec"]["type"], media["spec"]["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    env = {e["name"]: e.get("value") for e in gateway.relay["env"]}
    name, port = media["metadata"]["name"], media["spec"]["ports"][0]["port"]
    assert env["HUBS_RELAY_GATEWAY__UDP"] == f"service:{name}:{port}"


def test_the_pod_may_get_that_service_and_do_nothing_else(gateway):
    [role] = by_kind(gateway.objects, "Role").values()
    right = {"apiGroups": [""], "resources": ["services"], "resourceNames": ["hubs-media"], "verbs": ["get"]}
    assert role["rules"] == [right]
    [binding] = by_kind(gateway.objects, "RoleBinding").values()
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
    account = gateway.pod.get("serviceAccountName", "default")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account}]
    assert gateway.pod["automountServiceAccountToken"] is True


def test_there_is_one_replica_because_another_would_get_half_of_its_media(gateway):
    assert gateway.deployment["spec"]["replicas"] == 1


@pytest.fixture
def api(gateway):
    server = ApiServerForPods("hcce", gateway.objects, *self_signed("127.0.0.1", kind="IP"))
    media = copy.deepcopy(by_kind(gateway.objects, "Service")["hubs-media"])
    media["status"] = {"loadBalancer": {"ingress": [{"ip": LOAD_BALANCER, "ipMode": "VIP"}]}}
    server.objects = {"/api/v1/namespaces/hcce/services/hubs-media": media}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def pod(gateway, secrets, database, tmp_path, api):
    if not kubelet.is_available():
        pytest.skip("needs Debian's crun and golang-github-containers-common")
    database.rotate(SECRET)
    # In a cluster both have an address of their own; here they share this machine's.
    spec = copy.deepcopy(gateway.pod)
    [listen] = [e for e in spec["containers"][0]["env"] if e["name"] == "HUBS_RELAY_GATEWAY__LISTEN"]
    listen["value"] = listen["value"].replace("0.0.0.0", "127.0.0.1")
    program = Path(os.environ["STATIC"], "hubs-relay")
    with ClusterDns() as dns, running_dialog(tmp_path, "127.0.0.2"), tempfile.TemporaryDirectory() as folder:
        dns.services = {"dialog": "127.0.0.2", "pgbouncer": "127.0.0.1", f"stream.{DOMAIN}": INGRESS}
        Path(folder).chmod(0o755)
        with kubelet.Container(Path(folder), spec, program, secrets, RESOLV_CONF, api) as container:
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
    assert told == [("udp", LOAD_BALANCER, 3478), ("tcp", INGRESS, 5349)]

"""What `kubectl apply` leaves of coturn, and what putting coturn back leaves of the relay."""

import threading
from pathlib import Path

import pytest

from api_server import ApiServer
from conftest import by_kind

HCCE = Path(__file__).parent / "hcce.yaml"
COTURN = "/apis/apps/v1/namespaces/hcce/deployments/coturn"


@pytest.fixture
def cluster(tmp_path):
    server = ApiServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Without the schemas that a real server hands out, kubectl has nothing to validate against.
    server.apply = lambda *what: server.kubectl(tmp_path, "-n", "hcce", "apply", "--validate=false", *what)
    server.apply("-f", HCCE)
    yield server
    server.shutdown()


def test_one_command_puts_the_relay_in_place_and_leaves_nothing_of_coturn(cluster, folder, overlay):
    cluster.apply("-k", folder)
    assert cluster.objects[COTURN]["spec"] == overlay.deployment["spec"]


def test_nothing_else_of_hubs_is_touched(cluster, folder):
    before = dict(cluster.objects)
    cluster.apply("-k", folder)
    changed = {path for path, obj in cluster.objects.items() if before.get(path) != obj}
    assert changed == {COTURN}


def test_applying_twice_changes_nothing(cluster, folder):
    cluster.apply("-k", folder)
    assert "configured" not in cluster.apply("-k", folder)


def test_applying_hcce_yaml_again_puts_coturn_back_whole(cluster, folder, hubs):
    cluster.apply("-k", folder)
    cluster.apply("-f", HCCE)
    assert cluster.objects[COTURN]["spec"] == by_kind(hubs, "Deployment")["coturn"]["spec"]


INGRESS = "/apis/networking.k8s.io/v1/namespaces/hcce/ingresses/dialog"
SERVICES = {f"/api/v1/namespaces/hcce/services/{name}" for name in ("hubs-media", "hubs-signalling")}


RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/hcce"
RIGHTS = {f"{RBAC}/roles/hubs-relay", f"{RBAC}/rolebindings/hubs-relay"}


def test_the_gateway_changes_dialogs_ingress_and_adds_its_services_and_a_right(cluster, gateway_folder):
    before = dict(cluster.objects)
    cluster.apply("-k", gateway_folder)
    changed = {path for path, obj in cluster.objects.items() if before.get(path) != obj}
    assert changed == {COTURN, INGRESS} | SERVICES | RIGHTS


def test_applying_hcce_yaml_again_leads_to_dialog_again(cluster, gateway_folder, hubs):
    cluster.apply("-k", gateway_folder)
    cluster.apply("-f", HCCE)
    assert cluster.objects[INGRESS]["spec"] == by_kind(hubs, "Ingress")["dialog"]["spec"]
    assert cluster.objects[COTURN]["spec"] == by_kind(hubs, "Deployment")["coturn"]["spec"]

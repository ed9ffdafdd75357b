"""What the overlay renders to: valid objects that fit the ones Hubs brings, and a pod without privileges."""

import kubernetes_validate
import pytest
import yaml

from conftest import DEPLOY, KUSTOMIZE, SETTINGS, by_kind, render

SUPPORTED = ["1.30", "1.33", "1.35", "1.37"]  # of Kubernetes


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_object_follows_the_schema_of_kubernetes(overlay, gateway, version):
    for obj in overlay.objects + gateway.objects:
        kubernetes_validate.validate(obj, version, strict=True)


def test_the_schema_check_notices_a_misspelt_key(overlay):
    broken = yaml.safe_load(yaml.safe_dump(overlay.deployment))
    broken["spec"]["template"]["spec"]["containers"][0]["securityContex"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, SUPPORTED[0], strict=True)


def test_the_overlay_renders_as_it_is_shipped():
    kinds = [o["kind"] for o in yaml.safe_load_all(render(KUSTOMIZE))]
    assert kinds == ["Deployment"]


def test_each_setting_reaches_its_place(overlay):
    settings = dict(line.split("=", 1) for line in SETTINGS.split())
    assert overlay.relay["image"] == settings["IMAGE"]
    assert overlay.pod["volumes"][0]["secret"]["secretName"] == f"cert-stream.{settings['DOMAIN']}"


def test_the_relay_gets_the_environment_that_hubs_gives_coturn(overlay, hubs):
    coturn = by_kind(hubs, "Deployment")["coturn"]["spec"]["template"]["spec"]["containers"][0]
    assert overlay.relay["env"][: len(coturn["env"])] == coturn["env"]


def test_it_replaces_the_deployment_that_hubs_has(overlay, hubs):
    installed = by_kind(hubs, "Deployment")["coturn"]
    assert overlay.deployment["spec"]["selector"] == installed["spec"]["selector"], "a selector can't be changed"
    assert overlay.relay["name"] == installed["spec"]["template"]["spec"]["containers"][0]["name"]
    assert "namespace" not in overlay.deployment["metadata"], "the operator says where with -n"


def test_the_service_that_haproxy_uses_leads_to_the_relay(overlay, hubs):
    service = by_kind(hubs, "Service")["coturn"]["spec"]
    labels = overlay.deployment["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert service["ports"][0]["targetPort"] in [p["containerPort"] for p in overlay.relay["ports"]]


def test_the_certificate_is_the_one_of_the_stream_host(overlay, hubs):
    secret = by_kind(hubs, "Ingress")["dialog"]["spec"]["tls"][0]["secretName"]
    volumes = {v["name"]: v for v in overlay.pod["volumes"]}
    assert volumes["certificate"] == {"name": "certificate", "secret": {"secretName": secret}}
    mounts = {m["name"]: m["mountPath"] for m in overlay.relay["volumeMounts"]}
    assert mounts["certificate"] == "/certs"


def test_the_pod_has_no_privileges(overlay):
    pod = overlay.pod
    assert pod["hostNetwork"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {next(iter(v.keys() - {"name"})) for v in pod["volumes"]} <= {"configMap", "secret"}
    assert overlay.relay["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in overlay.relay["resources"]["limits"]
    assert not any("hostPort" in p for p in overlay.relay["ports"])


def test_no_secret_is_in_what_git_keeps():
    for file in [*(DEPLOY / "kustomize").iterdir(), *(DEPLOY / "gateway").iterdir()]:
        assert "kind: Secret\n" not in file.read_text(), file

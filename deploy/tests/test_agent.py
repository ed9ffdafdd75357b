"""The agent's Job: a valid object that does what it is there for with no more rights than that takes, and goes by itself."""

import kubernetes_validate
import pytest
import yaml

from conftest import AGENT, by_kind
from test_overlay import SUPPORTED


@pytest.fixture(scope="module")
def job():
    return yaml.safe_load(AGENT.read_text())


@pytest.mark.parametrize("version", SUPPORTED)
def test_it_follows_the_schema_of_kubernetes(job, version):
    kubernetes_validate.validate(job, version, strict=True)


def test_it_has_the_right_to_look_at_packets_and_no_other(job):
    pod = job["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
    }
    assert "ports" not in pod["containers"][0], "it is asked on the node's loopback only"
    assert "volumes" not in pod


def test_it_runs_where_dialog_does(job, hubs):
    affinity = job["spec"]["template"]["spec"]["affinity"]["podAffinity"]
    wanted = affinity["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]["matchLabels"]
    assert wanted == by_kind(hubs, "Service")["dialog"]["spec"]["selector"]


def test_it_ends_by_itself(job):
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    minutes = int(args[args.index("--ttl") + 1].removesuffix("m"))
    assert minutes * 60 < job["spec"]["activeDeadlineSeconds"] <= 3600
    assert job["spec"]["ttlSecondsAfterFinished"] <= 600


def test_no_secret_is_in_it(job):
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert all("value" not in variable for variable in env)

"""Images of Amazon ECR on nodes: what the kubelet is told, by its documentation, and that nobody else sees a change."""

from __future__ import annotations

import copy
import re

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import iam_lint, platform, releases

from lab.builds import manifest
from lab.services import mirror
from tests.unit.roles import playing
from tests.unit.roles import test_kubernetes_files as files

ROLE = playing.ROOT / "roles/kubernetes"
PROVIDER = "ecr-credential-provider"
OWN = yaml.safe_load(manifest.OWN.read_text())
HOSTS = {
    "off": {},
    "on": {"kubernetes_ecr": True, "kubernetes_ecr_images": ["*.dkr.ecr.eu-west-1.amazonaws.com/team"]},
    "bad-image": {"kubernetes_ecr": True, "kubernetes_ecr_images": ["https://a.example.com"]},
    "no-image": {"kubernetes_ecr": True, "kubernetes_ecr_images": []},
}
DOCUMENTS = {
    "config": "__kubernetes_ecr_config",
    "files": "__kubernetes_ecr_files",
    "wanted": "__kubernetes_files_wanted",
    "hash": "__kubernetes_config_hash",
    "owned": "__kubernetes_owned",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Host to its documents, the lines of its kubelet's unit, and what its preflight rule would say."""
    path = tmp_path_factory.mktemp("ecr")
    rules = yaml.safe_load((ROLE / "vars/preflight.yml").read_text())["rules"]
    (rule,) = [rule for rule in rules if "kubernetes_ecr_images" in rule["that"]]
    release = {**files.RELEASE, PROVIDER: OWN["releases"]["1.37"][PROVIDER]}
    facts = {"__kubernetes_release": release, "kubernetes_control_planes": ["{{ inventory_hostname }}"]}
    documents = {name: f"{{{{ {value} }}}}" for name, value in DOCUMENTS.items()}
    documents["said"] = playing.judged([rule])[0]
    tasks = [{"ansible.builtin.set_fact": facts}]
    return playing.write(path, ROLE, "kubelet.service.j2", documents, HOSTS, files.VARIABLES, tasks)


def test_a_cluster_that_does_not_use_it_sees_no_change(written):
    off = written["off"]
    assert off["files"] == [] and set(off["wanted"]) == {"kubeadm", "kubelet", "kubectl"}
    start = "ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS"
    assert start in off["unit"] and not [
        line for line in off["unit"] if "credential-provider" in line or "IMAGE_ARGS" in line
    ]


def test_no_part_of_kubernetes_differs_with_it_but_the_kubelets_unit(written):
    assert written["on"]["files"][0]["dest"] == "/etc/kubernetes/platform/credential-providers.yaml"
    more = set(written["on"]["unit"]) - set(written["off"]["unit"])
    assert len(more) == 2 and all("IMAGE_ARGS" in line for line in more)
    assert len({host["hash"] for host in written.values()}) == 1


def test_the_kubelet_is_told_as_its_documentation_says(written):
    """The reference of kubelet.config.k8s.io/v1 and of the flags; docs/credential_provider.md of the provider."""
    config = written["on"]["config"]
    assert config["apiVersion"] == "kubelet.config.k8s.io/v1" and config["kind"] == "CredentialProviderConfig"
    assert yaml.safe_load(written["on"]["files"][0]["content"]) == config
    (provider,) = config["providers"]
    assert provider == {
        "name": PROVIDER,
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "matchImages": ["*.dkr.ecr.eu-west-1.amazonaws.com/team"],
        "defaultCacheDuration": "0s",
    }
    (line,) = [line for line in written["on"]["unit"] if line.startswith('Environment="KUBELET_IMAGE_ARGS=')]
    flags = dict(flag.split("=") for flag in line.removeprefix('Environment="KUBELET_IMAGE_ARGS=').rstrip('"').split())
    assert flags == {
        "--image-credential-provider-config": "/etc/kubernetes/platform/credential-providers.yaml",
        "--image-credential-provider-bin-dir": "/usr/local/bin",
    }
    # The kubelet looks for a program of the provider's name there, and a node that leaves keeps none of it.
    assert written["on"]["wanted"][PROVIDER] == "1.37.0"
    assert f"/usr/local/bin/{PROVIDER}" in written["on"]["owned"]


def test_registries_with_which_no_kubelet_would_start_are_refused(written):
    assert written["on"]["said"] == written["off"]["said"] == "nothing"
    for host in ("bad-image", "no-image"):
        assert "with which no kubelet would start" in written[host]["said"]


@pytest.mark.parametrize("minor", ["1.36", "1.37"])
def test_the_program_is_verified_by_its_digest_as_all_others(minor):
    version = OWN["releases"][minor][PROVIDER]
    assert releases.release_files(OWN["releases"][minor])[PROVIDER] == version
    for architecture in releases.ARCHITECTURES:
        found = releases.artifact(OWN, PROVIDER, version, architecture)
        assert found["file"] == f"{PROVIDER}-linux-{architecture}"
        assert re.fullmatch(
            rf"https://artifacts\.k8s\.io/binaries/cloud-provider-aws/v{version}/linux/{architecture}/{found['file']}",
            found["urls"][0],
        )
    assert PROVIDER not in releases.release_files(OWN["releases"]["1.35"])


def test_the_lab_builds_it_under_the_name_that_the_role_asks_for():
    version = OWN["releases"]["1.37"][PROVIDER]
    file = releases.file_of(OWN["files"][PROVIDER], version, "amd64")
    entry = mirror.read_artifacts()[PROVIDER, version, file]
    assert entry["set"] == "kubernetes-1.37" and entry["build"]["directory"] == "cloud-provider-aws"


def test_a_manifest_of_the_lab_has_its_sum(tmp_path):
    version = OWN["releases"]["1.37"][PROVIDER]
    (entry,) = [entry for entry in mirror.read_artifacts().values() if entry["name"] == PROVIDER]
    target = tmp_path / PROVIDER / version / entry["file"]
    target.parent.mkdir(parents=True)
    target.write_bytes(b"a binary")
    target.with_name(f"{target.name}.sha256").write_text("b" * 64 + "\n")
    found = manifest.compose(OWN, [entry], tmp_path)
    assert releases.artifact(found, PROVIDER, version, "amd64")["sha256"] == "b" * 64


# Rights in AWS

FLOWS = yaml.safe_load((ROLE / "vars/flows.yml").read_text())
CLUSTER = {
    "name": "trading",
    "region": "eu-west-1",
    "network": {"nat": "none"},
    "tiers": [{"name": "workers", "components": ["kubernetes"], "count": 1}],
}


def policy(on):
    given = {**CLUSTER, "options": {"kubernetes_ecr": on}}
    return platform.policies(given, {"kubernetes": copy.deepcopy(FLOWS)})["workers"]


def test_nodes_may_read_images_and_nothing_else_only_where_it_is_on():
    assert policy(False) is None
    token, pull = policy(True)["Statement"]
    assert token["Action"] == ["ecr:GetAuthorizationToken"] and token["Resource"] == ["*"]
    assert pull["Resource"] == ["arn:{partition}:ecr:*:*:repository/*"]
    assert pull["Action"] == ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    found = iam_lint.findings("workers", policy(True), "identity", iam_lint.Actions(), "123456789012")
    assert [entry for entry in found if entry["level"] == "error"] == []


def test_a_network_without_a_way_out_has_endpoints_of_the_registry():
    for on in (False, True):
        found = [item["service"] for item in platform.endpoints({**CLUSTER, "options": {"kubernetes_ecr": on}})]
        assert ({"ecr.api", "ecr.dkr"} <= set(found)) == on and "s3" in found
    assert platform.endpoints({**CLUSTER, "network": {}, "options": {"kubernetes_ecr": True}}) == []

"""Bad input of the roles kubernetes and kubernetes_addons: each with one plain sentence, before any host is asked."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter import releases as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import releases

from tests.unit.roles import playing

SLOTS = ["control-1", "control-2", "control-3"]
GOOD = {
    "platform_name": "trading",
    "platform_domain": "trading.internal",
    "platform_region": "eu-west-1",
    "platform_network": {"cidr": "10.20.0.0/16", "pod_cidr": "10.244.0.0/16"},
    "platform_tiers": [{"name": "control", "components": ["kubernetes", "kubernetes_control_plane"], "count": 3}],
    "platform_secrets": {"kubernetes/encryption_key": "k" * 32},
    "kubernetes_version": "1.36.4",
    "kubernetes_addons_version": "1.36.4",
    "kubernetes_node_name": "ip-10-20-0-4.eu-west-1.compute.internal",
    "kubernetes_provider_id": "aws:///eu-west-1a/i-0123456789abcdef0",
    "kubernetes_node_labels": {"node.kubernetes.io/class": "fast", "team": "a"},
    "ec2_private_ip": "10.20.0.4",
    "ec2_tier": "control",
}
#: Those of which the manifest knows everything, the good one last.
VERSIONS = ["1.36.0", GOOD["kubernetes_version"]]
IAM_ROLE = {"role": "arn:aws:iam::123456789012:role/operator", "username": "operator", "groups": ["operators"]}
OBJECT = {"apiVersion": "v1", "metadata": {"name": "a"}}
BAD = {
    "even": ({"kubernetes_control_planes": [*SLOTS[:2]]}, "on an even number"),
    "single": ({"kubernetes_control_planes": SLOTS[:1]}, "kubernetes_control_planes has 1 control plane(s)"),
    "short-version": ({"kubernetes_version": "1.36"}, "give a version such as 1.37.2"),
    "old-version": ({"kubernetes_version": "1.35.8"}, "this role installs 1.36 and later"),
    "unknown-minor": ({"kubernetes_version": "1.99.0"}, "Kubernetes 1.99.0 is not in the manifest of releases"),
    "remove": (
        {"kubernetes_remove": "control-2"},
        "kubernetes_remove is control-2, which kubernetes_members describes",
    ),
    "outside": ({"kubernetes_members": SLOTS}, "outside is in group kubernetes but not in kubernetes_members"),
    "few-networks": (
        {"platform_network": {"cidr": "10.20.0.0/16", "pod_cidr": "10.244.0.0/23"}},
        "kubernetes_pod_network 10.244.0.0/23 has room for 2 nodes with a /24 each, and kubernetes_members has 3",
    ),
    "other-node-name": (
        {"ec2_private_dns": "ip-10-20-0-9.eu-west-1.compute.internal"},
        "but EC2 names the instance ip-10-20-0-9.eu-west-1.compute.internal",
    ),
    "tag": ({"ec2_tags": {"Name": "control-1"}}, "lacks the tag kubernetes.io/cluster/trading"),
    "no-provider": ({"kubernetes_provider_id": ""}, "kubernetes_provider_id is ; it must be aws:///<zone>/<instance"),
    "no-sum": ({"kubernetes_version": "1.36.99"}, "1.36.99"),
    "no-digest": ({"kubernetes_images": ["a.example.com/b:1"]}, "no digest of image a.example.com/b:1"),
    "old-etcd": (
        {"platform_artifact_manifest": "old.yml"},
        "gives Kubernetes 1.36.4 etcd 3.5.24-0; give 3.5.26 or later",
    ),
    "other-pods": ({"kubernetes_pod_network": "10.245.0.0/16"}, "but platform_network.pod_cidr is 10.244.0.0/16"),
    "overlap": (
        {"kubernetes_service_network": "10.244.0.0/20"},
        "kubernetes_pod_network 10.244.0.0/16 overlaps kubernetes_service_network 10.244.0.0/20",
    ),
    "routes": ({"kubernetes_route_quota": 4}, "Routes per route table"),
    "label-of-kubernetes": (
        {"kubernetes_node_labels": {"node-role.kubernetes.io/worker": ""}},
        "node-role.kubernetes.io/worker, which no kubelet may give its node",
    ),
    "label-value": ({"kubernetes_node_labels": {"team": "a,b=c"}}, "gives team a value that is none"),
    "node-name": ({"kubernetes_node_name": "control-1"}, "it must be the instance's private DNS name"),
    "provider": ({"kubernetes_provider_id": "i-1"}, "it must be aws:///<zone>/<instance id>"),
    "short-key": ({"kubernetes_encryption_key": "k" * 16}, "must have 32 characters"),
    "no-file-for-graviton": ({"ec2_instance_type": "m7g.large"}, "no sha256 of kubelet 1.36.4 for arm64"),
    "addons-minor": ({"kubernetes_addons_version": "1.98.0"}, "Kubernetes 1.98.0 is not in the manifest of releases"),
    "addons-without-cloud": (
        {"kubernetes_addons_version": "1.35.8"},
        "no cloud-controller-manager and no metrics-server",
    ),
    "addons-digest": ({"kubernetes_addons_version": "1.37.2"}, "no digest of image registry.k8s.io/provider-aws"),
    "nameless-object": (
        {"kubernetes_addons_objects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}]},
        "an object without metadata.name",
    ),
    "kindless-object": (
        {"kubernetes_addons_objects": [{"apiVersion": "v1", "metadata": {"name": "a"}}]},
        "an object without apiVersion or kind",
    ),
    "secret-object": ({"kubernetes_addons_objects": [{**OBJECT, "kind": "Secret"}]}, "has a Secret"),
    "network-policy": (
        {"kubernetes_addons_objects": [{**OBJECT, "kind": "NetworkPolicy"}]},
        "which nothing enforces with kubernetes_network vpc_routes",
    ),
    "removed-and-described": (
        {"kubernetes_addons_objects": [{**OBJECT, "kind": "Namespace"}], "kubernetes_addons_remove": ["a"]},
        "kubernetes_addons_remove names a, of which kubernetes_addons_objects has some",
    ),
    "addons-argument": (
        {"kubernetes_addons_cloud_controller_args": {"cluster-cidr": "10.0.0.0/8"}},
        "kubernetes_addons_cloud_controller_args sets cluster-cidr",
    ),
    "iam-role": ({"kubernetes_iam_roles": [{**IAM_ROLE, "role": "operator"}]}, "give the ARN of a role"),
    "iam-twice": ({"kubernetes_iam_roles": [IAM_ROLE, IAM_ROLE]}, "names a role twice"),
    "iam-group": ({"kubernetes_iam_roles": [{**IAM_ROLE, "groups": ["system:masters"]}]}, "which is the cluster's own"),
    "iam-release": (
        {"kubernetes_iam_roles": [IAM_ROLE], "platform_artifact_manifest": "without.yml"},
        "has no file aws-iam-authenticator",
    ),
    "iam-argument": (
        {
            "kubernetes_iam_roles": [IAM_ROLE],
            "kubernetes_api_server_args": {"authentication-token-webhook-config-file": "x"},
        },
        "sets authentication-token-webhook-config-file",
    ),
    "ecr-image": (
        {"kubernetes_ecr_images": ["https://123456789012.dkr.ecr.eu-west-1.amazonaws.com"]},
        "with which no kubelet would start",
    ),
    "ecr-release": (
        {"kubernetes_ecr": True, "platform_artifact_manifest": "without.yml"},
        "has no file ecr-credential-provider",
    ),
    "ebs-image": (
        {"kubernetes_addons_ebs_csi_images": {"driver": "aws-ebs-csi-driver:v1"}},
        "gives driver no image with a registry",
    ),
    "ebs-argument": (
        {"kubernetes_addons_ebs_csi_args": {"endpoint": "x"}},
        "kubernetes_addons_ebs_csi_args sets endpoint",
    ),
    "balancer": (
        {"kubernetes_endpoint_balancer": "elb"},
        "kubernetes_endpoint_balancer is 'elb', it must be one of haproxy, nlb",
    ),
    "balancer-zone": (
        {"kubernetes_endpoint_balancer": "nlb", "kubernetes_endpoint": "api.example.com"},
        "kubernetes_endpoint is api.example.com, which is not in the private zone trading.internal",
    ),
    "balancer-drain": (
        {"kubernetes_endpoint_balancer": "nlb", "kubernetes_endpoint_nlb": {"drain_seconds": 3601}},
        "kubernetes_endpoint_nlb.drain_seconds is 3601",
    ),
    "balancer-setting": (
        {"kubernetes_endpoint_balancer": "nlb", "kubernetes_endpoint_nlb": {"cross_zones": True}},
        "cross_zones",
    ),
    "balancer-version": (
        {"kubernetes_endpoint_balancer": "nlb", "kubernetes_version": "1.36.0"},
        "give 1.36.1 or later with kubernetes_endpoint_balancer nlb",
    ),
    "profile": ({"kubernetes_profile": "strict"}, "kubernetes_profile is 'strict', it must be one of default, cis"),
    "signing-argument": (
        {"kubernetes_controller_manager_args": {"cluster-signing-cert-file": "x"}},
        "kubernetes_controller_manager_args sets cluster-signing-cert-file",
    ),
    "network-argument": (
        {"kubernetes_controller_manager_args": {"cluster-cidr": "10.0.0.0/8"}},
        "kubernetes_controller_manager_args sets cluster-cidr",
    ),
    "fixed-argument": ({"kubernetes_api_server_args": {"etcd-servers": "x"}}, "sets etcd-servers"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What is said about each fault, a host of that name; "good" has none."""
    path = tmp_path_factory.mktemp("kubernetes")
    manifest = filters.release_manifest("")
    manifest = {**manifest, "images": {}, "files": dict(manifest["files"])}
    for version in VERSIONS:
        described = {**releases.release(manifest, "1.36"), "kubernetes": version}
        for name in releases.release_images(described):
            repository, tag = releases.split_image(name)
            manifest["images"].setdefault(repository, {})[tag] = "sha256:" + "a" * 64
    for name in ("kubeadm", "kubelet", "kubectl"):
        sums = {version: dict.fromkeys(releases.ARCHITECTURES, "a" * 64) for version in VERSIONS}
        manifest["files"][name] = {**manifest["files"][name], "sha256": sums}
    del manifest["files"]["kubelet"]["sha256"][GOOD["kubernetes_version"]]["arm64"]
    sums = {described["aws-iam-authenticator"]: dict.fromkeys(releases.ARCHITECTURES, "a" * 64)}
    manifest["files"]["aws-iam-authenticator"] = {**manifest["files"]["aws-iam-authenticator"], "sha256": sums}
    (path / "manifest.yml").write_text(yaml.safe_dump(manifest))
    optional = ("aws-iam-authenticator", "ecr-credential-provider")
    files = {name: entry for name, entry in manifest["files"].items() if name not in optional}
    (path / "without.yml").write_text(yaml.safe_dump({**manifest, "files": files}))
    old = {**described, "etcd": "3.5.24-0"}
    manifest["images"]["registry.k8s.io/etcd"]["3.5.24-0"] = "sha256:" + "a" * 64
    ended = {**described, "end_of_life": "2026-01-31"}
    (path / "ended.yml").write_text(yaml.safe_dump({**manifest, "releases": {"1.36": ended}}))
    (path / "old.yml").write_text(yaml.safe_dump({**manifest, "releases": {"1.36": old}}))
    hosts = {}
    for name in ("good", "ended", *BAD):
        slots = [name, *SLOTS[1:]]
        change = dict(BAD[name][0]) if name in BAD else {}
        planes = change.pop("kubernetes_control_planes", SLOTS)
        first = name if "kubernetes_members" not in change else SLOTS[0]
        hosts[name] = {
            **GOOD,
            "kubernetes_members": slots,
            "kubernetes_addons_members": slots,
            "kubernetes_control_planes": [first, *planes[1:]],
            **change,
            "platform_artifact_manifest": str(
                path / "ended.yml"
                if name == "ended"
                else path / change.get("platform_artifact_manifest", "manifest.yml")
            ),
        }
    task = {
        "name": "Check",
        "selfhosted.ec2.preflight": {"roles": ["kubernetes", "kubernetes_addons"]},
        "run_once": True,
    }
    play = {"name": "Check", "hosts": "all", "gather_facts": False, "tasks": [task]}
    groups = {name: {"hosts": dict.fromkeys(hosts, {})} for name in ("kubernetes", "kubernetes_control_plane")}
    code, text = playing.run(path, [play], {"all": {"hosts": hosts, "children": groups}})
    assert code != 0
    lines = text.split("Refused, nothing was touched.")[1].split("\nOrigin:")[0].splitlines()
    refused = {name: [line for line in lines if f"[{name}]" in line] for name in hosts}
    return {**refused, "warnings": " ".join(text.split()).split("[WARNING]: ")[1:]}


def test_good_input_is_accepted(said):
    assert said["good"] == []


def test_a_minor_whose_life_has_ended_is_warned_of_and_accepted(said):
    assert said["ended"] == []
    (warning,) = [line for line in said["warnings"] if "whose life ended on 2026-01-31" in line]
    assert "[ended]" in warning and not [line for line in said["warnings"] if "[good]" in line]


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_refused_in_one_sentence(said, fault):
    assert len(said[fault]) == 1, said[fault]
    assert BAD[fault][1] in said[fault][0]
    assert "cannot be evaluated" not in said[fault][0]

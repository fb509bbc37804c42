"""Pods in a platform's description: their flows, the tags of their cloud controller, and what cannot be built."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import network_plan, platform, secrets_plan
from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[4]
COMPONENTS = {
    "kubernetes": {
        "flows": [{"port": "1-65535", "from": ["self", "pods"], "purpose": "nodes and pods"}],
        "tags": {"kubernetes.io/cluster/{platform}": "owned"},
        "network_tags": {"kubernetes.io/cluster/{platform}": "owned"},
        "one_route_table": {"option": "kubernetes_vpc_routes"},
    },
    "kubernetes_control_plane": {"flows": [{"port": 6443, "from": ["haproxy", "kubernetes"]}], "quorum": True},
    "haproxy": {"flows": []},
}
PLATFORM = {
    "name": "trading",
    "environment": "test",
    "region": "eu-west-1",
    "zones": ["eu-west-1a", "eu-west-1b", "eu-west-1c"],
    "domain": "trading.internal",
    "network": {"cidr": "10.20.0.0/16", "nat": "single", "pod_cidr": "10.244.0.0/16"},
    "ssh_public_key": "ssh-ed25519 AAAA",
    "image": {"id": "ami-1"},
    "options": {"kubernetes_vpc_routes": True},
    "tiers": [
        {
            "name": "control",
            "components": ["kubernetes", "kubernetes_control_plane"],
            "count": 3,
            "instance_type": "t3.medium",
        },
        {"name": "workers", "components": ["kubernetes"], "count": 1, "instance_type": "t3.medium"},
        {"name": "edge", "components": ["haproxy"], "count": 2, "instance_type": "t3.micro"},
    ],
}


def described(**network):
    found = copy.deepcopy(PLATFORM)
    found["network"].update(network)
    return found


def rules(group, direction):
    groups = {item["name"]: item for item in platform.security_groups(PLATFORM, COMPONENTS)}
    return {(rule["from_port"], rule["to_port"], rule["peer"]) for rule in groups[f"trading-{group}"][direction]}


def test_control_planes_change_nothing_but_what_is_the_clusters():
    flows = yaml.safe_load((ROOT / "roles/kubernetes/vars/flows.yml").read_text())
    components = {**COMPONENTS, "kubernetes_control_plane": flows["components"]["kubernetes_control_plane"]}
    for statement in platform.policies(PLATFORM, components)["control"]["Statement"]:
        if not all(action.startswith("ec2:Describe") for action in statement["Action"]):
            assert statement["Condition"] == {
                "StringEquals": {"aws:ResourceTag/kubernetes.io/cluster/trading": "owned"}
            }


def test_the_api_is_not_open_to_the_products_clients():
    flows = yaml.safe_load((ROOT / "roles/haproxy/vars/flows.yml").read_text())["flows"]
    assert [flow["from"] for flow in flows if flow["port"] == 6443] == [["admin", "vpc"]]


def test_a_good_description_has_no_fault():
    assert platform.faults(PLATFORM, COMPONENTS) == []


def test_nodes_let_pods_in_and_out():
    for tier in ("control", "workers"):
        assert (1, 65535, "10.244.0.0/16") in rules(tier, "ingress")
        assert (1, 65535, "10.244.0.0/16") in rules(tier, "egress")
    assert not [rule for rule in rules("edge", "egress") if rule[2] == "10.244.0.0/16"]


def test_only_control_planes_serve_the_api():
    assert (6443, 6443, "group:trading-edge") in rules("control", "ingress")
    assert not [rule for rule in rules("workers", "ingress") if rule[0] == 6443]


def test_instances_private_subnets_and_their_table_carry_the_clusters_tag():
    tag = {"kubernetes.io/cluster/trading": "owned"}
    tags = platform.tier_tags(PLATFORM, COMPONENTS)
    assert tags == {"control": tag, "workers": tag, "edge": {}}
    instances = platform.instances({**PLATFORM, "tier_tags": tags})
    assert instances["workers-1"]["tags"]["kubernetes.io/cluster/trading"] == "owned"
    assert "kubernetes.io/cluster/trading" not in instances["edge-1"]["tags"]
    wanted = {**platform.network(PLATFORM, COMPONENTS), "region": "eu-west-1"}
    steps, _ids = network_plan.plan(wanted, network_plan.Network())
    tagged = {
        step.text: [tag["Key"] for tag in step.arguments["TagSpecifications"][0]["Tags"]]
        for step in steps
        if step.operation in ("create_subnet", "create_route_table")
    }
    assert len(tagged) == 8
    for text, keys in tagged.items():
        assert ("kubernetes.io/cluster/trading" in keys) == ("-private" in text)


def test_what_cannot_be_built_is_refused():
    assert "overlaps platform_network.cidr" in " ".join(
        platform.faults(described(pod_cidr="10.20.64.0/18"), COMPONENTS)
    )
    assert "it must be a network such as" in " ".join(platform.faults(described(pod_cidr="pods"), COMPONENTS))
    assert "one route table" in " ".join(platform.faults(described(nat="per_zone"), COMPONENTS))
    assert "platform_network.pod_cidr is not set" in " ".join(platform.faults(described(pod_cidr=None), COMPONENTS))


def test_routes_of_the_vpc_reach_private_subnets_alone():
    public = described()
    public["tiers"][1]["subnet"] = "public"
    assert platform.faults(public, COMPONENTS) == [
        "Tier workers: subnet is public, but kubernetes writes its routes into the route table of the private subnets"
        " alone; private would be right."
    ]
    # Nothing of Kubernetes.
    edge = described()
    edge["tiers"][2]["subnet"] = "public"
    assert platform.faults(edge, COMPONENTS) == []


def test_where_no_routes_are_written_route_tables_do_not_matter():
    overlay = described(nat="per_zone")
    overlay["options"] = {"kubernetes_vpc_routes": False}
    overlay["tiers"][1]["subnet"] = "public"
    assert platform.faults(overlay, COMPONENTS) == []


@pytest.mark.parametrize(
    ("network", "expected"), [(None, True), ("vpc_routes", True), ("cilium", False), ("calico", False)]
)
def test_the_option_follows_the_network_of_the_pods(network, expected):
    option = yaml.safe_load((ROOT / "roles/kubernetes/vars/flows.yml").read_text())["one_route_table"]["option"]
    text = yaml.safe_load((ROOT / "playbooks/vars/platform.yml").read_text())["__platform"]["options"][option]
    given = {"kubernetes_network": network} if network else {}
    assert Environment().from_string(text).render(given) == str(expected)


def test_a_key_and_an_authority_with_a_name_of_its_own_are_made_once():
    wanted = [{"name": "sa", "kind": "key"}, {"name": "ca", "kind": "ca", "common_name": "kubernetes"}]
    plan = secrets_plan.plan(wanted, set())
    assert [(step["name"], step["kind"]) for step in plan] == [
        ("sa", "key"),
        ("ca/key", "key"),
        ("ca/certificate", "ca_certificate"),
    ]
    assert plan[2]["common_name"] == "kubernetes"
    assert secrets_plan.plan(wanted, {"sa", "ca/key", "ca/certificate"}) == []


def test_control_planes_do_not_vote_where_etcd_has_hosts_of_its_own():
    components = {
        **COMPONENTS,
        **yaml.safe_load((ROOT / "roles/kubernetes/vars/flows.yml").read_text())["components"],
        **yaml.safe_load((ROOT / "roles/etcd/vars/flows.yml").read_text())["components"],
    }
    control, workers, edge = copy.deepcopy(PLATFORM["tiers"])
    quorum = {"name": "quorum", "components": ["kubernetes_etcd"], "count": 3, "instance_type": "t3.micro"}
    control["count"] = 2
    stacked, external = (
        {**PLATFORM, "tiers": tiers} for tiers in ([control, workers], [control, quorum, workers, edge])
    )
    assert [fault for fault in platform.faults(stacked, components) if "odd number" in fault]
    assert platform.faults(external, components) == []
    quorum["count"] = 4
    assert [fault for fault in platform.faults(external, components) if "kubernetes_etcd needs an odd number" in fault]


def test_control_planes_alone_reach_the_clients_port_of_their_etcd():
    flows = yaml.safe_load((ROOT / "roles/etcd/vars/flows.yml").read_text())
    components = {**COMPONENTS, **flows["components"]}
    quorum = {"name": "quorum", "components": ["kubernetes_etcd"], "count": 3, "instance_type": "t3.micro"}
    groups = platform.security_groups({**PLATFORM, "tiers": [*PLATFORM["tiers"], quorum]}, components)
    (found,) = [group["ingress"] for group in groups if group["name"] == "trading-quorum"]
    assert {rule["peer"] for rule in found if rule["from_port"] == 2379} == {
        "group:trading-control",
        "group:trading-quorum",
    }
    assert {rule["peer"] for rule in found if rule["from_port"] == 2380} == {"group:trading-quorum"}

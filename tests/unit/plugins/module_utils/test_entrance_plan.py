"""The plan of a load balancer before single instances; those of the edge are tested against the strict front."""

import copy

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import entrance_plan

WANT = {
    "platform": "trading", "name": "trading-k8s", "layout": "nlb", "state": "present", "tiers": [], "instances": [],
    "security_group": "trading-kubernetes-api", "certificate": None, "web_acl": None, "aliases": [],
    "viewer_certificate": None, "cross_zone": True, "deletion_protection": True, "tags": {"platform": "trading"},
    "target": {"port": 6443, "tls": True, "health_port": 6443, "health_path": "/readyz", "drain_seconds": 30},
}  # fmt: skip
WORLD = {"subnets": ["subnet-2", "subnet-1"], "group": "sg-1", "vpc": "vpc-1", "zones": {"a", "b"}, "balancer": None}
NOTHING = {"distribution": None, "origin": None, "listeners": {}, "old_groups": {}, "interfaces": False}


def steps(want=None, have=None, ids=None):
    want, ids = want or WANT, ids or {}
    parts = entrance_plan.desired(want, WORLD, ids)
    changed = entrance_plan.differences(have or {}, parts)
    return entrance_plan.Planner(want, have or {}, ids, copy.deepcopy(NOTHING)).steps(parts, changed)


def by_operation(made):
    return {step.operation: step.arguments for step in made}


def test_it_is_internal_passes_tcp_through_and_asks_whether_the_api_is_ready():
    made = by_operation(steps())
    assert list(made) == [
        "elbv2:create_target_group", "elbv2:modify_target_group_attributes", "elbv2:create_load_balancer",
        "wait_active", "elbv2:modify_load_balancer_attributes", "elbv2:add_tags", "elbv2:create_listener",
    ]  # fmt: skip
    group = made["elbv2:create_target_group"]
    assert group == {
        "Name": "trading-k8s-6443s", "TargetType": "instance", "Protocol": "TCP", "Port": 6443, "VpcId": "vpc-1",
        "HealthCheckProtocol": "HTTPS", "HealthCheckPort": "6443", "HealthCheckPath": "/readyz",
        "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 4, "HealthyThresholdCount": 2,
        "UnhealthyThresholdCount": 2, "Matcher": {"HttpCode": "200"},
    }  # fmt: skip
    balancer = made["elbv2:create_load_balancer"]
    assert (balancer["Type"], balancer["Scheme"]) == ("network", "internal")
    assert balancer["Subnets"] == ["subnet-1", "subnet-2"] and balancer["SecurityGroups"] == ["sg-1"]
    listener = made["elbv2:create_listener"]
    assert (listener["Protocol"], listener["Port"]) == ("TCP", 6443) and "Certificates" not in listener


def test_a_target_reaches_itself_through_it():
    arguments = by_operation(steps())["elbv2:modify_target_group_attributes"]
    assert {"Key": "preserve_client_ip.enabled", "Value": "false"} in arguments["Attributes"]


@pytest.mark.parametrize("value", [True, False])
def test_zones_and_protection_are_data(value):
    made = by_operation(steps({**WANT, "cross_zone": value, "deletion_protection": value}))
    found = {entry["Key"]: entry["Value"] for entry in made["elbv2:modify_load_balancer_attributes"]["Attributes"]}
    assert found == {
        "deletion_protection.enabled": str(value).lower(),
        "load_balancing.cross_zone.enabled": str(value).lower(),
    }


def test_what_is_registered_is_no_part_of_it():
    assert "targets" not in entrance_plan.desired(WANT, WORLD, {})


@pytest.mark.parametrize(
    ("state", "states", "texts"),
    [
        ("registered", {}, ["register i-1, i-2"]),
        ("registered", {"i-1": "healthy", "i-2": "draining"}, ["register i-2"]),
        ("registered", {"i-1": "initial", "i-2": "unhealthy"}, []),
        ("deregistered", {"i-1": "healthy", "i-2": "initial", "i-3": "healthy"}, ["deregister i-1, i-2"]),
        ("deregistered", {"i-2": "draining", "i-3": "healthy"}, []),
    ],
)
def test_only_targets_that_differ_change(state, states, texts):
    want = {**WANT, "state": state, "instances": ["i-1", "i-2", "i-1"]}
    assert [step.text for step in entrance_plan.of_targets(want, states)] == texts


@pytest.mark.parametrize(
    ("state", "states", "settled"),
    [
        ("registered", {"i-1": "healthy", "i-2": "unhealthy"}, True),
        ("registered", {"i-1": "initial"}, False),
        ("registered", {"i-1": "unhealthy"}, False),
        ("registered", {}, False),
        ("deregistered", {"i-2": "healthy"}, True),
        ("deregistered", {"i-1": "draining"}, False),
    ],
)
def test_a_target_is_waited_for_until_requests_may_rely_on_it(state, states, settled):
    assert entrance_plan.settled({**WANT, "state": state, "instances": ["i-1"]}, states) is settled


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"certificate": "arn", "tiers": ["control"]}, "certificate and tiers belong to other layouts"),
        ({"instances": ["i-1"]}, "instances belong to the states registered and deregistered"),
        ({"state": "registered"}, "instances is empty"),
        ({"state": "registered", "layout": "alb"}, "belongs to the layout nlb; with alb the targets follow tiers"),
        ({"name": "trading-kubernetes-endpoint"}, "must be 1 to 25 lower-case letters"),
        ({"target": {**WANT["target"], "port": 0}}, "target.port is 0"),
    ],
)
def test_bad_input_is_one_sentence(given, words):
    (found,) = entrance_plan.faults({**WANT, **given}, "eu-west-1")
    assert words in found


def test_good_input_has_no_fault():
    for state in ("present", "absent", "registered", "deregistered"):
        instances = ["i-1"] if state in entrance_plan.OF_TARGETS else []
        assert entrance_plan.faults({**WANT, "state": state, "instances": instances}, "eu-west-1") == []

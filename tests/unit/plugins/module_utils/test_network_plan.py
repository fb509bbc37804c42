"""The plan of a network's endpoints: known by the whole name of their service, which may have a dot."""

from __future__ import annotations

from ansible_collections.selfhosted.ec2.plugins.module_utils import network_plan, platform
from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import tag_list

PLATFORM = {
    "name": "trading",
    "environment": "test",
    "region": "eu-west-1",
    "zones": ["eu-west-1a"],
    "network": {"cidr": "10.20.0.0/16", "nat": "none"},
    "options": {"kubernetes_ecr": True},
    "tiers": [],
}


def planned(description, have):
    wanted = {**platform.network(description, {}), "region": description["region"]}
    steps, _ids = network_plan.plan(wanted, have)
    return [step for step in steps if "vpc_endpoint" in step.operation]


def made():
    """What EC2 describes after the first run."""
    created = planned(PLATFORM, network_plan.Network())
    return network_plan.Network(
        endpoints=[
            {
                "VpcEndpointId": f"vpce-{number}",
                "ServiceName": step.arguments["ServiceName"],
                "State": "available",
                "Tags": tag_list({"platform": "trading"}),
            }
            for number, step in enumerate(created)
        ]
    )


def test_a_second_run_finds_the_endpoints_it_made():
    have = made()
    services = {item["ServiceName"] for item in have.endpoints}
    assert {f"com.amazonaws.eu-west-1.{name}" for name in ("s3", "ecr.api", "ecr.dkr")} < services
    assert planned(PLATFORM, have) == []


def test_endpoints_that_are_no_longer_wanted_are_named_as_they_were():
    steps = planned({**PLATFORM, "options": {}}, made())
    assert [step.text for step in steps] == ["delete the endpoints for ecr.api, ecr.dkr"]

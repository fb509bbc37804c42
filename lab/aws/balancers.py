"""Network interfaces of load balancers, which moto does not make: one a subnet, and they outlast the load balancer.

Source: Elastic Load Balancing User Guide, "Network interfaces" and "Delete a load balancer"; they are described as
`ELB net/<name>/<id>`, or app for an Application Load Balancer. While they are there, EC2 deletes neither their security
groups nor their subnets.
"""

from __future__ import annotations

import time
from typing import Any

from moto.elbv2.models import elbv2_backends

from lab.aws.call import ACCOUNT, Call

#: Seconds that they outlast their load balancer; on AWS minutes.
LINGER_SECONDS = 0.5
#: When a load balancer went whose interfaces are still there: description to the moment.
WENT: dict[str, float] = {}


def follow(call: Call) -> None:
    """After a change of load balancers: those that are there have their interfaces, with their groups."""
    ec2 = call.backend("ec2")
    wanted = {_description(each): each for each in elbv2_backends[ACCOUNT][call.region].load_balancers.values()}
    held: dict[str, list[Any]] = {}
    for interface in _interfaces(ec2):
        held.setdefault(interface.description, []).append(interface)
    for description, balancer in wanted.items():
        WENT.pop(description, None)
        groups, subnets = list(balancer.security_groups or []), {subnet.id: subnet for subnet in balancer.subnets}
        for interface in held.get(description, []):
            if interface.subnet.id not in subnets or {each.id for each in interface.group_set} != set(groups):
                ec2.delete_network_interface(interface.id)
        left = {each.subnet.id for each in _interfaces(ec2) if each.description == description}
        for subnet in subnets.keys() - left:
            ec2.create_network_interface(subnets[subnet], None, group_ids=groups, description=description)
    for description in held.keys() - wanted.keys():
        WENT.setdefault(description, time.time())


def forget_gone(call: Call) -> None:
    """Before a call of EC2: the interfaces of load balancers that went long enough ago are gone."""
    ec2 = call.backend()
    for interface in _interfaces(ec2):
        if time.time() - WENT.get(interface.description, time.time()) > LINGER_SECONDS:
            ec2.delete_network_interface(interface.id)


def _description(balancer: Any) -> str:
    # moto calls each of them app.
    kind = "net" if balancer.type == "network" else "app"
    return f"ELB {kind}/{balancer.arn.partition(':loadbalancer/app/')[2]}"


def _interfaces(ec2: Any) -> list[Any]:
    return [each for each in list(ec2.enis.values()) if str(each.description).startswith("ELB ")]

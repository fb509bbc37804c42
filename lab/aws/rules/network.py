"""What EC2 refuses about VPCs, subnets, security groups and addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule
from lab.aws.rules.ec2 import ERROR_CODES, Refusal, all_subnets, security_groups

RULES_PER_GROUP = 60
SUBNET_SIZING = "VPC User Guide, Subnet CIDR blocks"


def _network(text: str | None) -> Any:
    try:
        return ipaddress.IPv4Network(text or "", strict=False)
    except ValueError:
        return None


@rule(
    "ec2",
    "CreateVpc CreateSubnet AssociateVpcCidrBlock",
    "InvalidParameterValue",
    "Value ({cidr}) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
    ERROR_CODES,
)
def cidr_invalid(call: Call) -> Refusal:
    cidr = call.params.get("CidrBlock")
    if cidr is None and call.action == "AssociateVpcCidrBlock":
        return None
    return None if cidr and "/" in cidr and _network(cidr) else {"cidr": cidr}


@rule("ec2", "CreateVpc AssociateVpcCidrBlock", "InvalidVpc.Range", "The CIDR '{cidr}' is invalid.", ERROR_CODES)
def vpc_range(call: Call) -> Refusal:
    network = _network(call.params.get("CidrBlock"))
    return None if network is None or 16 <= network.prefixlen <= 28 else {"cidr": network}


@rule("ec2", "CreateSubnet", "InvalidSubnet.Range", "The CIDR '{cidr}' is invalid.", ERROR_CODES)
def subnet_range(call: Call) -> Refusal:
    network = _network(call.params.get("CidrBlock"))
    vpc = call.backend().vpcs.get(call.params.get("VpcId"))
    if network is None or vpc is None:
        return None
    blocks = [_network(a["cidr_block"]) for a in vpc.cidr_block_association_set]
    inside = any(block is not None and network.subnet_of(block) for block in blocks)
    return None if inside and 16 <= network.prefixlen <= 28 else {"cidr": network}


@rule("ec2", "CreateSubnet", "InvalidSubnet.Conflict", "The CIDR '{cidr}' conflicts with another subnet", ERROR_CODES)
def subnet_overlaps(call: Call) -> Refusal:
    network = _network(call.params.get("CidrBlock"))
    if network is None:
        return None
    others = [_network(s.cidr_block) for s in all_subnets(call) if s.vpc_id == call.params.get("VpcId")]
    return {"cidr": network} if any(o is not None and o.overlaps(network) for o in others) else None


@rule(
    "ec2",
    "CreateSubnet CreateVolume",
    "InvalidParameterValue",
    "Value ({zone}) for parameter availabilityZone is invalid. The zones of the region are: {known}.",
    ERROR_CODES,
)
def zone_unknown(call: Call) -> Refusal:
    zone = call.params.get("AvailabilityZone")
    known = [z.name for z in call.backend().zones.get(call.region, [])]
    return {"zone": zone, "known": ", ".join(known)} if zone and zone not in known else None


@rule(
    "ec2",
    "DeleteSubnet",
    "DependencyViolation",
    "The subnet '{id}' has dependencies and cannot be deleted.",
    "EC2 API Reference, DeleteSubnet",
)
def subnet_in_use(call: Call) -> Refusal:
    subnet = call.params.get("SubnetId")
    gateways = [g for g in call.backend().nat_gateways.values() if g.state != "deleted"]
    used = any(nic.subnet.id == subnet for nic in call.backend().enis.values())
    return {"id": subnet} if used or any(g.subnet_id == subnet for g in gateways) else None


@rule(
    "ec2",
    "DeleteVpc",
    "DependencyViolation",
    "The vpc '{id}' has dependencies and cannot be deleted.",
    "EC2 API Reference, DeleteVpc",
)
def vpc_in_use(call: Call) -> Refusal:
    vpc = call.params.get("VpcId")
    backend = call.backend()
    used = any(s.vpc_id == vpc for s in all_subnets(call))
    used = used or any(g.vpc and g.vpc.id == vpc for g in backend.internet_gateways.values())
    used = used or any(g.vpc_id == vpc and g.name != "default" for g in security_groups(call).values())
    return {"id": vpc} if used else None


def _nics_of(call: Call, group_id: str) -> bool:
    for nic in call.backend().enis.values():
        if any(group.id == group_id for group in nic.group_set):
            return True
    live = (i for i in call.backend().all_instances() if i.state != "terminated")
    return any(group.id == group_id for i in live for group in i.security_groups)


@rule(
    "ec2",
    "DeleteSecurityGroup",
    "DependencyViolation",
    "resource {id} has a dependent object",
    "EC2 API Reference, DeleteSecurityGroup",
)
def group_in_use(call: Call) -> Refusal:
    group_id = call.params.get("GroupId")
    if not group_id:
        return None
    others = (g for g in security_groups(call).values() if g.id != group_id)
    named = any(r.source_group.get("GroupId") == group_id for g in others for r in [*g.ingress_rules, *g.egress_rules])
    return {"id": group_id} if named or _nics_of(call, group_id) else None


@rule(
    "ec2",
    "DeleteSecurityGroup",
    "CannotDelete",
    'the specified group: "{id}" name: "default" cannot be deleted by a user',
    ERROR_CODES,
)
def default_group(call: Call) -> Refusal:
    group = security_groups(call).get(call.params.get("GroupId", ""))
    return {"id": group.id} if group is not None and group.name == "default" else None


def _sources(permission: dict[str, Any]) -> Iterator[str]:
    yield from (r.get("CidrIp", "") for r in permission.get("IpRanges") or [])
    yield from (r.get("CidrIpv6", "") for r in permission.get("Ipv6Ranges") or [])
    yield from (r.get("GroupId", "") or r.get("GroupName", "") for r in permission.get("UserIdGroupPairs") or [])
    yield from (r.get("PrefixListId", "") for r in permission.get("PrefixListIds") or [])


def permissions(call: Call) -> list[dict[str, Any]]:
    """The rules a call adds, in the long form."""
    given = list(call.params.get("IpPermissions") or [])
    if call.params.get("CidrIp"):
        short = {k: call.params.get(k) for k in ("IpProtocol", "FromPort", "ToPort")}
        given.append({**short, "IpRanges": [{"CidrIp": call.params["CidrIp"]}]})
    return given


AUTHORIZE = "AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress"


@rule("ec2", AUTHORIZE, "InvalidParameterValue", "{why}", "EC2 API Reference, IpPermission")
def ports_invalid(call: Call) -> Refusal:
    for permission in permissions(call):
        protocol = str(permission.get("IpProtocol", "")).lower()
        first, last = permission.get("FromPort"), permission.get("ToPort")
        if protocol not in ("tcp", "udp", "6", "17"):
            continue
        if first is None or last is None or not 0 <= first <= 65535 or not 0 <= last <= 65535 or first > last:
            return {"why": f"Invalid {protocol} port range ({first}-{last})."}
    return None


@rule("ec2", AUTHORIZE, "InvalidParameterValue", "CIDR block {cidr} is malformed", "EC2 API Reference, IpRange")
def rule_cidr_invalid(call: Call) -> Refusal:
    for permission in permissions(call):
        for entry in permission.get("IpRanges") or []:
            cidr = entry.get("CidrIp", "")
            if "/" not in cidr or _network(cidr) is None:
                return {"cidr": cidr}
    return None


@rule(
    "ec2",
    AUTHORIZE,
    "InvalidParameterValue",
    "The same permission must not appear multiple times",
    "EC2 API Reference, AuthorizeSecurityGroupIngress",
)
def rule_twice(call: Call) -> Refusal:
    seen = [
        (str(p.get("IpProtocol")), p.get("FromPort"), p.get("ToPort"), source)
        for p in permissions(call)
        for source in _sources(p)
    ]
    return {} if len(seen) != len(set(seen)) else None


@rule(
    "ec2",
    AUTHORIZE,
    "RulesPerSecurityGroupLimitExceeded",
    "The maximum number of rules per security group has been reached.",
    "VPC User Guide, Amazon VPC quotas",
)
def too_many_rules(call: Call) -> Refusal:
    group = security_groups(call).get(call.params.get("GroupId", ""))
    if group is None:
        return None
    held = group.egress_rules if call.action.endswith("Egress") else group.ingress_rules
    return {} if len(held) + sum(len(list(_sources(p))) for p in permissions(call)) > RULES_PER_GROUP else None


@rule(
    "ec2",
    "CreateVpcEndpoint",
    "InvalidParameter",
    "private-dns-enabled cannot be set because there is already a conflicting DNS domain for {name} in the VPC {vpc}",
    "AWS PrivateLink Guide, Interface endpoints: private DNS; the words are EC2's in terraform-provider-aws#17535",
)
def private_dns_twice(call: Call) -> Refusal:
    vpc, service = call.params.get("VpcId"), call.params.get("ServiceName", "")
    if not call.params.get("PrivateDnsEnabled") or call.params.get("VpcEndpointType") != "Interface":
        return None
    held = (e for e in call.backend().vpc_end_points.values() if e.vpc_id == vpc and e.state != "deleted")
    if not any(e.private_dns_enabled and e.service_name == service for e in held):
        return None
    # The service com.amazonaws.eu-west-1.ecr.api has the name api.ecr.eu-west-1.amazonaws.com.
    return {"name": ".".join(reversed(service.split("."))), "vpc": vpc}


@rule("ec2", "ReleaseAddress", "InvalidIPAddress.InUse", "Address {address} is in use.", ERROR_CODES)
def release_in_use(call: Call) -> Refusal:
    found = [a for a in call.backend().addresses if a.allocation_id == call.params.get("AllocationId")]
    used = (a for a in found if a.association_id or a.instance or a.eni)
    return next(({"address": a.public_ip} for a in used), None)


@rule(
    "ec2",
    "DetachInternetGateway",
    "DependencyViolation",
    "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the "
    "gateway.",
    "EC2 API Reference, DetachInternetGateway",
)
def gateway_in_use(call: Call) -> Refusal:
    vpc = call.params.get("VpcId")
    live = [i for i in call.backend().all_instances() if i.state != "terminated"]
    return {"vpc": vpc} if any(i.vpc_id == vpc and i.public_ip for i in live) else None

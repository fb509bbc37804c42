"""The VPCs as the network needs them, read from the EC2 API by one set of describe calls."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

ATTACHED_STATES = {"pending", "running", "stopping", "stopped", "shutting-down"}


@dataclass(frozen=True)
class Interface:
    """A network interface of an instance. `public` pairs private with public addresses."""

    id: str
    device_index: int
    subnet_id: str
    mac: str
    addresses: tuple[str, ...]
    groups: tuple[str, ...]
    source_dest_check: bool = True
    public: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Host:
    instance_id: str
    state: str
    interfaces: tuple[Interface, ...]


@dataclass(frozen=True)
class Subnet:
    id: str
    cidr: str
    route_table: str

    @property
    def gateway(self) -> str:
        """The VPC router's address: the subnet's first one."""
        return str(ipaddress.ip_network(self.cidr)[1])

    @property
    def prefix_length(self) -> int:
        return ipaddress.ip_network(self.cidr).prefixlen


@dataclass(frozen=True)
class Route:
    """`kind` is igw, nat (target: the gateway's public address), interface (target: its id) or blackhole."""

    cidr: str
    kind: str
    target: str = ""


@dataclass(frozen=True)
class Rule:
    """A security group rule; `protocol` as the API gives it, ports None for all."""

    protocol: str
    from_port: int | None = None
    to_port: int | None = None
    cidrs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    id: str
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Vpc:
    id: str
    cidrs: tuple[str, ...]
    subnets: tuple[Subnet, ...] = ()
    route_tables: dict[str, tuple[Route, ...]] = field(default_factory=dict)
    main_route_table: str = ""
    groups: tuple[Group, ...] = ()
    hosts: tuple[Host, ...] = ()
    internet_gateway: bool = False
    endpoint_route_tables: tuple[str, ...] = ()

    @property
    def resolver(self) -> str:
        """The address of the VPC's DNS server: the base of its first block plus two."""
        return str(ipaddress.ip_network(self.cidrs[0])[2])

    def subnet(self, subnet_id: str) -> Subnet | None:
        return next((subnet for subnet in self.subnets if subnet.id == subnet_id), None)


def read_models(ec2: Any) -> list[Vpc]:
    """All VPCs that have instances, by a boto3 EC2 client. Raises what boto3 raises."""
    instances = [
        instance
        for page in ec2.get_paginator("describe_instances").paginate()
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    ]
    answers = {
        "instances": instances,
        "vpcs": _all(ec2, "describe_vpcs", "Vpcs"),
        "subnets": _all(ec2, "describe_subnets", "Subnets"),
        "route_tables": _all(ec2, "describe_route_tables", "RouteTables"),
        "internet_gateways": _all(ec2, "describe_internet_gateways", "InternetGateways"),
        "nat_gateways": _all(ec2, "describe_nat_gateways", "NatGateways"),
        "security_groups": _all(ec2, "describe_security_groups", "SecurityGroups"),
        "addresses": ec2.describe_addresses()["Addresses"],
        "vpc_endpoints": _all(ec2, "describe_vpc_endpoints", "VpcEndpoints"),
    }
    return build(answers)


def _all(ec2: Any, call: str, key: str) -> list[dict]:
    return [item for page in ec2.get_paginator(call).paginate() for item in page[key]]


def build(answers: dict[str, list[dict]]) -> list[Vpc]:
    """The model of all VPCs with instances, from the lists of the describe answers (keys as in read_models)."""
    hosts = _hosts(answers["instances"], answers["addresses"])
    models = [_vpc(vpc, answers, hosts[vpc["VpcId"]]) for vpc in answers["vpcs"] if hosts.get(vpc["VpcId"])]
    return sorted(models, key=lambda vpc: vpc.id)


def _hosts(instances: list[dict], addresses: list[dict]) -> dict[str, list[Host]]:
    elastic: dict[str, list[tuple[str, str]]] = defaultdict(list)
    # What an instance says of an Elastic IP may be old; the address itself knows whose it is.
    owned = {address["PublicIp"] for address in addresses}
    for address in addresses:
        if address.get("NetworkInterfaceId") and address.get("PrivateIpAddress"):
            elastic[address["NetworkInterfaceId"]].append((address["PrivateIpAddress"], address["PublicIp"]))
    found: dict[str, list[Host]] = defaultdict(list)
    for instance in sorted(instances, key=lambda item: item["InstanceId"]):
        if instance["State"]["Name"] not in ATTACHED_STATES or not instance.get("NetworkInterfaces"):
            continue
        interfaces = sorted(
            (_interface(eni, instance, elastic, owned) for eni in instance["NetworkInterfaces"]),
            key=lambda interface: interface.device_index,
        )
        found[instance["VpcId"]].append(Host(instance["InstanceId"], instance["State"]["Name"], tuple(interfaces)))
    return found


def _interface(eni: dict, instance: dict, elastic: dict[str, list[tuple[str, str]]], owned: set[str]) -> Interface:
    index = eni.get("Attachment", {}).get("DeviceIndex", 0)
    private = [item["PrivateIpAddress"] for item in eni.get("PrivateIpAddresses", [])] or [eni["PrivateIpAddress"]]
    public = dict(elastic.get(eni["NetworkInterfaceId"], []))
    for item in eni.get("PrivateIpAddresses", []):
        associated = item.get("Association", {}).get("PublicIp")
        if associated and associated not in owned:
            public.setdefault(item["PrivateIpAddress"], associated)
    if index == 0 and instance.get("PublicIpAddress") and instance["PublicIpAddress"] not in owned:
        public.setdefault(instance["PrivateIpAddress"], instance["PublicIpAddress"])
    groups = eni.get("Groups") or (instance.get("SecurityGroups", []) if index == 0 else [])
    check = eni.get("SourceDestCheck", True) and (index > 0 or instance.get("SourceDestCheck", True))
    return Interface(
        id=eni["NetworkInterfaceId"],
        device_index=index,
        subnet_id=eni["SubnetId"],
        mac=eni["MacAddress"],
        addresses=tuple(dict.fromkeys([eni["PrivateIpAddress"], *private])),
        groups=tuple(sorted(group["GroupId"] for group in groups)),
        source_dest_check=bool(check),
        public=tuple(sorted(public.items())),
    )


def _of(vpc_id: str, items: Iterable[dict]) -> list[dict]:
    return [item for item in items if item.get("VpcId") == vpc_id]


def _vpc(vpc: dict, answers: dict[str, list[dict]], hosts: list[Host]) -> Vpc:
    vpc_id = vpc["VpcId"]
    tables = _of(vpc_id, answers["route_tables"])
    main, by_subnet = _associations(tables)
    gateways = _attached_gateways(vpc_id, answers["internet_gateways"])
    subnets = tuple(
        Subnet(item["SubnetId"], item["CidrBlock"], by_subnet.get(item["SubnetId"], main))
        for item in sorted(_of(vpc_id, answers["subnets"]), key=lambda item: item["SubnetId"])
    )
    leading_out = {
        table["RouteTableId"]
        for table in tables
        for route in table["Routes"]
        if route.get("GatewayId") in gateways and route.get("DestinationCidrBlock") == "0.0.0.0/0"
    }
    public_subnets = {subnet.id for subnet in subnets if subnet.route_table in leading_out}
    resolve = _Targets(hosts, gateways, _nat_addresses(answers["nat_gateways"], public_subnets))
    return Vpc(
        id=vpc_id,
        cidrs=_blocks(vpc),
        subnets=subnets,
        route_tables={table["RouteTableId"]: resolve.routes(table) for table in tables},
        main_route_table=main,
        groups=tuple(_group(group) for group in _of(vpc_id, answers["security_groups"])),
        hosts=tuple(hosts),
        internet_gateway=bool(gateways),
        endpoint_route_tables=_endpoint_tables(_of(vpc_id, answers["vpc_endpoints"]), tables),
    )


def _blocks(vpc: dict) -> tuple[str, ...]:
    further = [
        item["CidrBlock"]
        for item in vpc.get("CidrBlockAssociationSet", [])
        if item.get("CidrBlockState", {}).get("State", "associated") == "associated"
    ]
    return tuple(dict.fromkeys([vpc["CidrBlock"], *further]))


def _associations(tables: list[dict]) -> tuple[str, dict[str, str]]:
    main, by_subnet = "", {}
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("Main"):
                main = table["RouteTableId"]
            if association.get("SubnetId"):
                by_subnet[association["SubnetId"]] = table["RouteTableId"]
    return main, by_subnet


def _attached_gateways(vpc_id: str, gateways: list[dict]) -> set[str]:
    return {
        gateway["InternetGatewayId"]
        for gateway in gateways
        for attachment in gateway.get("Attachments", [])
        if attachment.get("VpcId") == vpc_id
    }


def _nat_addresses(nat_gateways: list[dict], public_subnets: set[str]) -> dict[str, str]:
    """Public address of each NAT gateway that works: available, and in a subnet with a way out itself."""
    return {
        gateway["NatGatewayId"]: address["PublicIp"]
        for gateway in nat_gateways
        if gateway.get("State") == "available" and gateway.get("SubnetId") in public_subnets
        for address in gateway.get("NatGatewayAddresses", [])[:1]
        if address.get("PublicIp")
    }


def _endpoint_tables(endpoints: list[dict], tables: list[dict]) -> tuple[str, ...]:
    """Route tables whose subnets reach AWS endpoints inside the VPC.

    An interface endpoint with private DNS serves the whole VPC, a gateway endpoint its route tables.
    """
    found: set[str] = set()
    for endpoint in endpoints:
        if endpoint.get("State", "available").lower() != "available":
            continue
        if endpoint.get("VpcEndpointType") == "Interface":
            found.update(table["RouteTableId"] for table in tables)
        else:
            found.update(endpoint.get("RouteTableIds", []))
    return tuple(sorted(found))


class _Targets:
    """What a route's target is, as the API knows it at this moment."""

    def __init__(self, hosts: list[Host], gateways: set[str], nat: dict[str, str]):
        self.gateways = gateways
        self.nat = nat
        self.first = {host.instance_id: host.interfaces[0].id for host in hosts}
        self.interfaces = {interface.id for host in hosts for interface in host.interfaces}

    def routes(self, table: dict) -> tuple[Route, ...]:
        found = [self._route(route) for route in table["Routes"] if route.get("DestinationCidrBlock")]
        return tuple(route for route in found if route)

    def _route(self, route: dict) -> Route | None:
        cidr = route["DestinationCidrBlock"]
        gateway = route.get("GatewayId", "")
        if gateway == "local":
            return None
        if gateway in self.gateways:
            return Route(cidr, "igw")
        if route.get("NatGatewayId") in self.nat:
            return Route(cidr, "nat", self.nat[route["NatGatewayId"]])
        target = route.get("NetworkInterfaceId") or self.first.get(route.get("InstanceId", ""))
        if target in self.interfaces:
            return Route(cidr, "interface", target)
        return Route(cidr, "blackhole")


def _group(group: dict) -> Group:
    return Group(
        group["GroupId"],
        ingress=tuple(_rule(permission) for permission in group.get("IpPermissions", [])),
        egress=tuple(_rule(permission) for permission in group.get("IpPermissionsEgress", [])),
    )


def _rule(permission: dict) -> Rule:
    return Rule(
        protocol=str(permission["IpProtocol"]),
        from_port=permission.get("FromPort"),
        to_port=permission.get("ToPort"),
        cidrs=tuple(sorted(item["CidrIp"] for item in permission.get("IpRanges", []))),
        groups=tuple(sorted(item["GroupId"] for item in permission.get("UserIdGroupPairs", []) if item.get("GroupId"))),
    )

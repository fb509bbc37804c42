"""Mends moto in place where it answers what AWS never would, apart from the life cycle of instances and volumes."""

from __future__ import annotations

import ipaddress
import itertools
import json
import threading
import uuid
from typing import Any

from moto.ec2.models import ec2_backends, elastic_ip_addresses
from moto.ec2.models import elastic_network_interfaces as nics
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.route_tables import Route
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE
from moto.iam.access_control import IAMPolicy
from moto.route53.models import Route53Backend
from moto.s3.models import FakeBucket
from moto.ssoadmin.models import Instance as IdentityCenter
from moto.ssoadmin.models import PermissionSet

from lab.aws import tables
from lab.aws.call import ACCOUNT, AWSError

PUBLIC_NETWORK = ipaddress.ip_network("54.214.0.0/16")
# What moto calls otherwise in DescribeTags, so that modules would write tags again. Source: botocore, ResourceType.
RESOURCE_TYPES = {
    "eipalloc": "elastic-ip",
    "fl": "vpc-flow-log",
    "h": "dedicated-host",
    "nat": "natgateway",
    "pl": "prefix-list",
    "sir": "spot-instances-request",
}
_ADDRESSES = itertools.count()
_ADDRESSES_LOCK = threading.Lock()
_MOTO: dict[str, Any] = {
    "associate_address": elastic_ip_addresses.ElasticAddressBackend.associate_address,
    "nic_stop": nics.NetworkInterface.stop,
    "nic_start": nics.NetworkInterface.start,
    "create_hosted_zone": Route53Backend.create_hosted_zone,
    "rule_init": SecurityGroupRule.__init__,
    "create_interface": nics.NetworkInterfaceBackend.create_network_interface,
    "delete_interface": nics.NetworkInterfaceBackend.delete_network_interface,
    "delete_nat_gateway": NatGatewayBackend.delete_nat_gateway,
    "describe_nat_gateways": NatGatewayBackend.describe_nat_gateways,
    "get_permission": FakeBucket.get_permission,
    "identity_center": IdentityCenter.__init__,
}


def _public_address() -> str:
    """A public address that is not given out yet; moto's are random, Elastic IPs even loopback ones."""
    with _ADDRESSES_LOCK:
        used = {a.public_ip for b in list(ec2_backends[ACCOUNT].values()) for a in b.addresses}
        used |= {n.public_ip for b in list(ec2_backends[ACCOUNT].values()) for n in b.enis.values()}
        for _attempt in range(PUBLIC_NETWORK.num_addresses):
            address = str(PUBLIC_NETWORK[next(_ADDRESSES) % (PUBLIC_NETWORK.num_addresses - 2) + 1])
            if address not in used:
                return address
    raise AWSError("AddressLimitExceeded", "The maximum number of addresses has been reached.")


def _nic_stop(self: Any) -> None:
    if not any(a.eni is self for a in self.ec2_backend.addresses):
        _MOTO["nic_stop"](self)


def _nic_start(self: Any) -> None:
    if not any(a.eni is self for a in self.ec2_backend.addresses):
        _MOTO["nic_start"](self)


def _create_interface(self: Any, subnet: Any, private_ip_address: Any, *args: Any, **kwargs: Any) -> Any:
    """Interfaces of NAT gateways and endpoints have an address of their subnet; moto invents one."""
    subnet = self.get_subnet(subnet) if isinstance(subnet, str) else subnet
    given = private_ip_address[0] if isinstance(private_ip_address, list) and private_ip_address else private_ip_address
    inside = given and ipaddress.ip_address(given) in ipaddress.ip_network(subnet.cidr_block, strict=False)
    if not inside and not (args and args[0]) and not kwargs.get("private_ip_addresses"):
        private_ip_address = subnet.get_available_subnet_ip(instance=None)
    return _MOTO["create_interface"](self, subnet, private_ip_address, *args, **kwargs)


def _delete_interface(self: Any, eni_id: str) -> None:
    nic = self.enis.get(eni_id)
    _MOTO["delete_interface"](self, eni_id)
    if nic.private_ip_address:
        nic.subnet.del_subnet_ip(nic.private_ip_address)


def release_addresses(backend: Any, interfaces: list[Any]) -> None:
    """Elastic IPs are free again once their interface is gone. Source: VPC User Guide, Elastic IP addresses."""
    for address in list(backend.addresses):
        if address.association_id and address.eni in interfaces:
            backend.disassociate_address(association_id=address.association_id)


def _associate_address(self: Any, *args: Any, **kwargs: Any) -> Any:
    """moto lets the interface that an Elastic IP leaves go on showing it."""
    before = {address.public_ip: address.eni for address in self.addresses}
    address = _MOTO["associate_address"](self, *args, **kwargs)
    left = before[address.public_ip]
    if left is not None and left is not address.eni:
        left.public_ip = None
    return address


def _delete_nat_gateway(self: Any, nat_gateway_id: str) -> Any:
    """moto keeps the interface and the Elastic IP of a deleted gateway."""
    gateway = self.nat_gateways.get(nat_gateway_id)
    if gateway is None:
        raise AWSError("NatGatewayNotFound", f"The Nat Gateway {nat_gateway_id} was not found")
    if gateway.state != "deleted":
        release_addresses(self, [gateway._eni])
        self.delete_network_interface(gateway._eni.id)
    return _MOTO["delete_nat_gateway"](self, nat_gateway_id)


def _describe_nat_gateways(self: Any, filters: Any, nat_gateway_ids: list[str] | None) -> list[Any]:
    """moto passes over the filters on tags, and so shows everybody's gateways. Source: EC2 API Reference."""
    wanted = {name: values for name, values in (filters or {}).items() if name.startswith("tag:")}
    found = _MOTO["describe_nat_gateways"](self, filters, nat_gateway_ids)
    return [item for item in found if all(item.get_filter_value(name) in values for name, values in wanted.items())]


def _route_state(self: Any) -> str:
    """A route whose target is no more is a blackhole; moto calls all active. Source: EC2 API Reference, Route."""
    ended = self.instance is not None and self.instance.state == "terminated"
    gone = self.nat_gateway is not None and self.nat_gateway.state == "deleted"
    return "blackhole" if ended or gone else "active"


def _rule_init(self: Any, *args: Any, **kwargs: Any) -> None:
    """Blocks of a rule are stored without their host bits. Source: EC2 API Reference, IpRange."""
    _MOTO["rule_init"](self, *args, **kwargs)
    block = self.ip_range.get("CidrIp")
    if block:
        self.ip_range = {**self.ip_range, "CidrIp": str(ipaddress.ip_network(block, strict=False))}


def _create_hosted_zone(self: Any, *args: Any, **kwargs: Any) -> Any:
    """moto shows the start of authority as the text of a dictionary and name servers without their final dot."""
    zone = _MOTO["create_hosted_zone"](self, *args, **kwargs)
    for record in zone.rrsets:
        record.records = [value["Value"] if isinstance(value, dict) else value for value in record.records]
        if record.type == "NS":
            record.records = [value.rstrip(".") + "." for value in record.records]
    return zone


def _identity_center(self: Any, *args: Any, **kwargs: Any) -> None:
    """Identity stores have hexadecimal ids; moto's are letters, which the identity store's model refuses."""
    _MOTO["identity_center"](self, *args, **kwargs)
    self.identity_store_id = f"d-{uuid.uuid4().hex[:10]}"


def _permission_set_arn(instance_arn: str) -> str:
    """Source: Identity Center API Reference, PermissionSetArn; moto's are those of instances."""
    return f"{instance_arn.replace(':instance/', ':permissionSet/')}/ps-{uuid.uuid4().hex[:16]}"


def _get_permission(self: Any, action: str, resource: str) -> Any:
    """Judge by the bucket's policy without statements about requests without TLS: moto reads no conditions."""
    whole = self.policy
    if whole is None:
        return _MOTO["get_permission"](self, action, resource)
    document = json.loads(whole)
    document["Statement"] = [
        statement
        for statement in document["Statement"]
        if (statement.get("Condition") or {}).get("Bool", {}).get("aws:SecureTransport") != "false"
    ]
    return IAMPolicy(json.dumps(document)).is_action_permitted(action, resource)


def install() -> None:
    """Replace moto's functions and methods."""
    EC2_PREFIX_TO_RESOURCE.update(RESOURCE_TYPES)
    elastic_ip_addresses.random_ip = _public_address
    nics.random_public_ip = _public_address
    elastic_ip_addresses.ElasticAddressBackend.associate_address = _associate_address
    nics.NetworkInterface.stop = _nic_stop
    nics.NetworkInterface.start = _nic_start
    nics.NetworkInterfaceBackend.create_network_interface = _create_interface
    nics.NetworkInterfaceBackend.delete_network_interface = _delete_interface
    SecurityGroupRule.__init__ = _rule_init
    Route.state = property(_route_state)
    FakeBucket.get_permission = _get_permission
    IdentityCenter.__init__ = _identity_center
    PermissionSet.generate_id = staticmethod(_permission_set_arn)
    NatGatewayBackend.delete_nat_gateway = _delete_nat_gateway
    NatGatewayBackend.describe_nat_gateways = _describe_nat_gateways
    Route53Backend.create_hosted_zone = _create_hosted_zone
    tables.install()

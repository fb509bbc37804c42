"""Mends moto in place where it answers what AWS never would, apart from the life cycle of instances and volumes."""

from __future__ import annotations

import ipaddress
import itertools
import threading
import uuid
from typing import Any

from moto.dynamodb.models.table import Table
from moto.ec2.models import ec2_backends, elastic_ip_addresses
from moto.ec2.models import elastic_network_interfaces as nics
from moto.route53.models import Route53Backend

from lab.aws.call import ACCOUNT, AWSError

PUBLIC_NETWORK = ipaddress.ip_network("54.214.0.0/16")
_ADDRESSES = itertools.count()
_ADDRESSES_LOCK = threading.Lock()
_MOTO: dict[str, Any] = {
    "nic_stop": nics.NetworkInterface.stop,
    "nic_start": nics.NetworkInterface.start,
    "create_hosted_zone": Route53Backend.create_hosted_zone,
    "describe_table": Table.describe,
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


def _create_hosted_zone(self: Any, *args: Any, **kwargs: Any) -> Any:
    """moto shows the start of authority as the text of a dictionary and name servers without their final dot."""
    zone = _MOTO["create_hosted_zone"](self, *args, **kwargs)
    for record in zone.rrsets:
        record.records = [value["Value"] if isinstance(value, dict) else value for value in record.records]
        if record.type == "NS":
            record.records = [value.rstrip(".") + "." for value in record.records]
    return zone


def _describe_table(self: Any, base_key: str = "TableDescription") -> dict[str, Any]:
    """moto's tables have no identifier, which community.aws.dynamodb_table reads."""
    result = _MOTO["describe_table"](self, base_key)
    result[base_key]["TableId"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.table_arn}/{self.created_at}"))
    return result


def install() -> None:
    """Replace moto's functions and methods."""
    elastic_ip_addresses.random_ip = _public_address
    nics.random_public_ip = _public_address
    nics.NetworkInterface.stop = _nic_stop
    nics.NetworkInterface.start = _nic_start
    Route53Backend.create_hosted_zone = _create_hosted_zone
    Table.describe = _describe_table

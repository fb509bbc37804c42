"""What the services know of the lab's AWS account, read through the front and kept until the next change."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lab.api import INTERNAL_HEADER
from lab.aws.credentials import role_credentials
from lab.paths import Lab
from lab.services.dns import RecordSet, VpcNames, Zone, plain_name

LIVE_STATES = {"pending", "running", "stopping", "shutting-down"}
LOOKUP_SECONDS = 5


def client(lab: Lab, service: str, region: str | None = None) -> Any:
    """A boto3 client of the lab's administrator whose calls are neither counted nor made to fail."""
    config = Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 1})
    made = boto3.client(
        service, endpoint_url=lab.endpoint, region_name=region or lab.region, config=config, **lab.credentials
    )

    def mark(request: Any, **_more: Any) -> None:
        request.headers[INTERNAL_HEADER] = "1"

    made.meta.events.register(f"before-send.{service}.*", mark)
    return made


@dataclass(frozen=True)
class Snapshot:
    """One reading: instances by (VPC id, private address), subnets and VPCs by id, all hosted zones."""

    instances: dict[tuple[str, str], dict] = field(default_factory=dict)
    subnets: dict[str, dict] = field(default_factory=dict)
    vpcs: dict[str, VpcNames] = field(default_factory=dict)
    blocks: dict[str, list[str]] = field(default_factory=dict)
    zones: tuple[Zone, ...] = ()


def read(ec2_by_region: dict[str, Any], route53: Any) -> Snapshot:
    """Read all regions, by their boto3 clients. Raises what boto3 raises."""
    snapshot = Snapshot(zones=tuple(read_zones(route53)))
    for region, ec2 in ec2_by_region.items():
        _read_region(region, ec2, snapshot)
    return snapshot


def _read_region(region: str, ec2: Any, snapshot: Snapshot) -> None:
    public: dict[str, dict[str, str]] = {}
    for page in ec2.get_paginator("describe_instances").paginate():
        for instance in (item for group in page["Reservations"] for item in group["Instances"]):
            if instance["State"]["Name"] in LIVE_STATES and instance.get("PrivateIpAddress"):
                place = (instance["VpcId"], instance["PrivateIpAddress"])
                snapshot.instances[place] = {**instance, "Region": region}
                if instance.get("PublicIpAddress"):
                    names = public.setdefault(instance["VpcId"], {})
                    names[instance["PublicIpAddress"]] = instance["PrivateIpAddress"]
    for vpc in ec2.describe_vpcs()["Vpcs"]:
        name, blocks = vpc["VpcId"], _blocks(vpc)
        snapshot.blocks[name] = blocks
        snapshot.vpcs[name] = VpcNames(name, tuple(blocks), region, public.get(name, {}))
    for page in ec2.get_paginator("describe_subnets").paginate():
        snapshot.subnets.update({subnet["SubnetId"]: subnet for subnet in page["Subnets"]})


def _blocks(vpc: dict) -> list[str]:
    further = [item["CidrBlock"] for item in vpc.get("CidrBlockAssociationSet", [])]
    return list(dict.fromkeys([vpc["CidrBlock"], *further]))


def read_zones(route53: Any) -> list[Zone]:
    """All hosted zones with their records."""
    zones = []
    for page in route53.get_paginator("list_hosted_zones").paginate():
        for item in page["HostedZones"]:
            private = item.get("Config", {}).get("PrivateZone", False)
            vpcs = route53.get_hosted_zone(Id=item["Id"]).get("VPCs", []) if private else []
            sets = route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=item["Id"])
            records = [_record_set(record) for part in sets for record in part["ResourceRecordSets"]]
            name = plain_name(item["Name"])
            zones.append(Zone(name, private, frozenset(vpc["VPCId"] for vpc in vpcs), tuple(records)))
    return zones


def _record_set(record: dict) -> RecordSet:
    return RecordSet(
        name=plain_name(record["Name"]),
        type=record["Type"],
        ttl=int(record.get("TTL", 60)),
        values=tuple(item["Value"] for item in record.get("ResourceRecords", [])),
        alias=plain_name(record.get("AliasTarget", {}).get("DNSName", "")),
        weight=record.get("Weight"),
        failover=record.get("Failover", ""),
        multi_value=record.get("MultiValueAnswer", False),
    )


class World:
    """The latest snapshot, and answers that are asked for one instance at a time. Safe for threads."""

    def __init__(self, lab: Lab, make_client: Callable[..., Any] = client):
        self.lab = lab
        self.snapshot = Snapshot()
        self._make_client = make_client
        self._clients: dict[tuple[str, str], Any] = {}
        self._cache: dict[tuple[str, str], tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def _client(self, service: str, region: str | None = None) -> Any:
        key = (service, region or self.lab.region)
        if key not in self._clients:
            self._clients[key] = self._make_client(self.lab, *key)
        return self._clients[key]

    def refresh(self, regions: Iterable[str] = ()) -> None:
        """Read the lab's and these regions anew. Raises what boto3 raises; the last snapshot then stays."""
        ec2 = {region: self._client("ec2", region) for region in sorted({self.lab.region, *regions})}
        self.snapshot = read(ec2, self._client("route53"))

    def _cached(self, kind: str, key: str, seconds: float, make: Any) -> Any:
        with self._lock:
            found = self._cache.get((kind, key))
        if found and found[0] > time.monotonic():
            return found[1]
        try:
            value = make()
        except (BotoCoreError, ClientError):
            return None
        with self._lock:
            self._cache[(kind, key)] = (time.monotonic() + seconds, value)
        return value

    def user_data(self, instance: dict) -> bytes | None:
        """The instance's user data, None without."""

        def make() -> bytes | None:
            answer = self._client("ec2", instance["Region"]).describe_instance_attribute(
                InstanceId=instance["InstanceId"], Attribute="userData"
            )
            value = answer.get("UserData", {}).get("Value")
            return base64.b64decode(value) if value else None

        return self._cached("user-data", instance["InstanceId"], LOOKUP_SECONDS, make)

    def public_key(self, instance: dict) -> str | None:
        """The OpenSSH line of the instance's key pair, None without."""
        name = instance.get("KeyName")
        if not name:
            return None

        def make() -> str | None:
            answer = self._client("ec2", instance["Region"]).describe_key_pairs(KeyNames=[name], IncludePublicKey=True)
            return answer["KeyPairs"][0].get("PublicKey")

        return self._cached("key", name, LOOKUP_SECONDS, make)

    def profile(self, instance: dict) -> dict | None:
        """The instance profile as IAM describes it, None without."""
        arn = instance.get("IamInstanceProfile", {}).get("Arn")
        if not arn:
            return None
        name = arn.rpartition("/")[2]

        def make() -> dict:
            return self._client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]

        return self._cached("profile", name, LOOKUP_SECONDS, make)

    def credentials(self, instance: dict) -> dict | None:
        """Credentials of the profile's role as the metadata service answers them, None without a role."""
        profile = self.profile(instance)
        if not profile or not profile.get("Roles"):
            return None
        role = profile["Roles"][0]["RoleName"]
        return role_credentials(self.lab.state, role, instance["InstanceId"], self.lab.account)

"""What the services know of the lab's AWS account, read through the front and kept until the next change."""

from __future__ import annotations

import base64
import datetime
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lab.paths import Lab
from lab.services.dns import RecordSet, VpcNames, Zone, plain_name

LIVE_STATES = {"pending", "running", "stopping", "shutting-down"}
CREDENTIAL_SECONDS = 3600
CREDENTIAL_MARGIN = 600
LOOKUP_SECONDS = 5


def client(lab: Lab, service: str) -> Any:
    """A boto3 client of the lab's front. The user agent tells the front that these calls are the lab's own."""
    config = Config(
        connect_timeout=2, read_timeout=10, retries={"max_attempts": 2}, user_agent_extra="ec2-lab-services"
    )
    return boto3.client(
        service, endpoint_url=lab.endpoint, region_name=lab.region, config=config, **lab.credentials
    )


@dataclass(frozen=True)
class Snapshot:
    """One reading: instances by (VPC id, private address), subnets and VPCs by id, all hosted zones."""

    instances: dict[tuple[str, str], dict] = field(default_factory=dict)
    subnets: dict[str, dict] = field(default_factory=dict)
    vpcs: dict[str, VpcNames] = field(default_factory=dict)
    blocks: dict[str, list[str]] = field(default_factory=dict)
    zones: tuple[Zone, ...] = ()


def read(ec2: Any, route53: Any, region: str) -> Snapshot:
    """Raises what boto3 raises."""
    instances: dict[tuple[str, str], dict] = {}
    public: dict[str, dict[str, str]] = {}
    for page in ec2.get_paginator("describe_instances").paginate():
        for instance in (item for group in page["Reservations"] for item in group["Instances"]):
            if instance["State"]["Name"] in LIVE_STATES and instance.get("PrivateIpAddress"):
                instances[(instance["VpcId"], instance["PrivateIpAddress"])] = instance
                if instance.get("PublicIpAddress"):
                    names = public.setdefault(instance["VpcId"], {})
                    names[instance["PublicIpAddress"]] = instance["PrivateIpAddress"]
    blocks = {vpc["VpcId"]: _blocks(vpc) for vpc in ec2.describe_vpcs()["Vpcs"]}
    vpcs = {name: VpcNames(name, tuple(cidrs), region, public.get(name, {})) for name, cidrs in blocks.items()}
    subnets = {subnet["SubnetId"]: subnet for subnet in ec2.describe_subnets()["Subnets"]}
    return Snapshot(instances, subnets, vpcs, blocks, tuple(read_zones(route53)))


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

    def __init__(self, lab: Lab, clients: dict[str, Any] | None = None):
        self.lab = lab
        self.snapshot = Snapshot()
        services = ("ec2", "route53", "iam", "sts")
        self._clients = clients or {service: client(lab, service) for service in services}
        self._cache: dict[tuple[str, str], tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read all anew. Raises what boto3 raises; the last snapshot then stays."""
        self.snapshot = read(self._clients["ec2"], self._clients["route53"], self.lab.region)

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
            answer = self._clients["ec2"].describe_instance_attribute(
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
            answer = self._clients["ec2"].describe_key_pairs(KeyNames=[name], IncludePublicKey=True)
            return answer["KeyPairs"][0].get("PublicKey")

        return self._cached("key", name, LOOKUP_SECONDS, make)

    def profile(self, instance: dict) -> dict | None:
        """The instance profile as IAM describes it, None without."""
        arn = instance.get("IamInstanceProfile", {}).get("Arn")
        if not arn:
            return None
        name = arn.rpartition("/")[2]

        def make() -> dict:
            return self._clients["iam"].get_instance_profile(InstanceProfileName=name)["InstanceProfile"]

        return self._cached("profile", name, LOOKUP_SECONDS, make)

    def credentials(self, instance: dict) -> dict | None:
        """Fresh credentials of the profile's role (the keys of STS), None without a role."""
        profile = self.profile(instance)
        if not profile or not profile.get("Roles"):
            return None
        arn = profile["Roles"][0]["Arn"]

        def make() -> dict:
            answer = self._clients["sts"].assume_role(
                RoleArn=arn, RoleSessionName=instance["InstanceId"], DurationSeconds=CREDENTIAL_SECONDS
            )
            now = datetime.datetime.now(datetime.UTC)
            expires = now + datetime.timedelta(seconds=CREDENTIAL_SECONDS)
            return {**answer["Credentials"], "LastUpdated": now, "Expiration": expires}

        key = f"{instance['InstanceId']} {arn}"
        return self._cached("credentials", key, CREDENTIAL_SECONDS - CREDENTIAL_MARGIN, make)

"""What EC2 refuses about instances. Source, where nothing else is said: EC2 API Reference, "Error codes"."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import time
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule

ERROR_CODES = "EC2 API Reference, Error codes"
RUN = "EC2 API Reference, RunInstances"
IDS = (
    "StartInstances StopInstances RebootInstances TerminateInstances DescribeInstances DescribeInstanceStatus "
    "GetConsoleOutput AttachVolume ModifyInstanceAttribute ModifyInstanceMetadataOptions DescribeInstanceAttribute "
    "AssociateAddress DescribeInstanceTopology"
)
USER_DATA_BYTES = 16384
RESERVED_ADDRESSES = 4
MAX_HOP_LIMIT = 64
Refusal = dict[str, Any] | None


def failing_zones(call: Call) -> list[str]:
    """The zones that fail for this call; the lab's own calls always see everything."""
    return [] if call.internal else call.state.faults["failing_zones"]


def instance_ids(call: Call) -> list[str]:
    one = call.params.get("InstanceId")
    return call.params.get("InstanceIds") or ([one] if one else [])


def subnet_of(call: Call) -> Any:
    """The subnet a launch goes to, None if none is named or it does not exist."""
    nics = call.params.get("NetworkInterfaces") or [{}]
    wanted = call.params.get("SubnetId") or nics[0].get("SubnetId")
    return next((s for s in all_subnets(call) if s.id == wanted), None)


def all_subnets(call: Call) -> list[Any]:
    return [subnet for zone in call.backend().subnets.values() for subnet in zone.values()]


def security_groups(call: Call) -> dict[str, Any]:
    return {group.id: group for vpc in call.backend().groups.values() for group in vpc.values()}


def launch_zone(call: Call) -> str | None:
    subnet = subnet_of(call)
    return subnet.availability_zone if subnet else call.params.get("Placement", {}).get("AvailabilityZone")


def group_ids(call: Call) -> list[str]:
    nics = call.params.get("NetworkInterfaces") or [{}]
    return (call.params.get("SecurityGroupIds") or []) + (nics[0].get("Groups") or [])


@rule("ec2", IDS, "InvalidInstanceID.Malformed", 'Invalid id: "{id}"', ERROR_CODES)
def instance_id_malformed(call: Call) -> Refusal:
    return next(({"id": i} for i in instance_ids(call) if not re.fullmatch(r"i-([0-9a-f]{8}|[0-9a-f]{17})", i)), None)


@rule("ec2", IDS, "InvalidInstanceID.NotFound", "The instance ID '{id}' does not exist", ERROR_CODES)
def instance_unknown(call: Call) -> Refusal:
    return next(({"id": i} for i in instance_ids(call) if call.backend().get_instance_by_id(i) is None), None)


@rule(
    "ec2",
    "DescribeInstances DescribeInstanceStatus",
    "InvalidParameterCombination",
    "The parameter instancesSet cannot be used with the parameter maxResults",
    "EC2 API Reference, DescribeInstances",
)
def ids_with_max_results(call: Call) -> Refusal:
    return {} if call.params.get("InstanceIds") and call.params.get("MaxResults") else None


@rule(
    "ec2",
    "DescribeInstances DescribeInstanceStatus DescribeVolumes DescribeSubnets DescribeSecurityGroups DescribeVpcs "
    "DescribeSnapshots DescribeInternetGateways DescribeRouteTables DescribeNatGateways DescribeNetworkInterfaces "
    "DescribeTags",
    "InvalidParameterValue",
    "Value ( {value} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.",
    "EC2 API Reference, DescribeInstances: MaxResults",
)
def max_results(call: Call) -> Refusal:
    value = call.params.get("MaxResults")
    return None if value is None or 5 <= value <= 1000 else {"value": value}


@rule("ec2", "RunInstances", "MissingParameter", "The request must contain the parameter ImageId", ERROR_CODES)
def image_missing(call: Call) -> Refusal:
    return {} if not call.params.get("ImageId") and not call.params.get("LaunchTemplate") else None


@rule("ec2", "RunInstances", "InvalidAMIID.Malformed", 'Invalid id: "{id}" (expecting "ami-...")', ERROR_CODES)
def image_malformed(call: Call) -> Refusal:
    image = call.params.get("ImageId")
    return {"id": image} if image and not re.fullmatch(r"ami-[0-9a-f]{8,17}", image) else None


@rule("ec2", "RunInstances", "InvalidAMIID.NotFound", "The image id '[{id}]' does not exist", ERROR_CODES)
def image_unknown(call: Call) -> Refusal:
    image = call.params.get("ImageId")
    return {"id": image} if image and image not in call.backend().amis else None


@rule("ec2", "RunInstances", "InvalidParameterValue", "Invalid value '{type}' for InstanceType.", RUN)
def instance_type_unknown(call: Call) -> Refusal:
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    wanted = call.params.get("InstanceType", "m1.small")
    return None if wanted in INSTANCE_TYPES else {"type": wanted}


@rule(
    "ec2",
    "RunInstances",
    "InvalidParameterValue",
    "The architecture '{type}' of the specified instance type does not match the architecture '{image}' of the "
    "specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You can use "
    "'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.",
    RUN,
)
def architecture_differs(call: Call) -> Refusal:
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    image = call.backend().amis.get(call.params.get("ImageId"))
    known = INSTANCE_TYPES.get(call.params.get("InstanceType", "m1.small"), {})
    supported = known.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    if image is None or not supported or image.architecture in supported:
        return None
    return {"type": ",".join(supported), "image": image.architecture}


@rule("ec2", "RunInstances", "InvalidSubnetID.NotFound", "The subnet ID '{id}' does not exist", ERROR_CODES)
def subnet_unknown(call: Call) -> Refusal:
    nics = call.params.get("NetworkInterfaces") or [{}]
    wanted = call.params.get("SubnetId") or nics[0].get("SubnetId")
    return {"id": wanted} if wanted and subnet_of(call) is None else None


@rule(
    "ec2",
    "RunInstances ModifyInstanceAttribute ModifyNetworkInterfaceAttribute",
    "InvalidGroup.NotFound",
    "The security group '{id}' does not exist",
    ERROR_CODES,
)
def group_unknown(call: Call) -> Refusal:
    known = security_groups(call)
    wanted = group_ids(call) if call.action == "RunInstances" else call.params.get("Groups") or []
    return next(({"id": i} for i in wanted if i not in known), None)


@rule(
    "ec2",
    "RunInstances",
    "InvalidParameter",
    "Security group {group} and subnet {subnet} belong to different networks.",
    ERROR_CODES,
)
def group_of_another_vpc(call: Call) -> Refusal:
    subnet, known = subnet_of(call), security_groups(call)
    if subnet is None:
        return None
    foreign = (i for i in group_ids(call) if known[i].vpc_id != subnet.vpc_id)
    return next(({"group": i, "subnet": subnet.id} for i in foreign), None)


@rule("ec2", "RunInstances", "InvalidKeyPair.NotFound", "The key pair '{name}' does not exist", ERROR_CODES)
def key_unknown(call: Call) -> Refusal:
    name = call.params.get("KeyName")
    return {"name": name} if name and name not in call.backend().key_pairs else None


@rule(
    "ec2",
    "RunInstances AssociateIamInstanceProfile",
    "InvalidParameterValue",
    "Value ({name}) for parameter {parameter} is invalid. {parameter} not found or not usable yet",
    "EC2 User Guide, IAM roles: eventual consistency; API Reference, IamInstanceProfileSpecification",
)
def profile_unusable(call: Call) -> Refusal:
    given = call.params.get("IamInstanceProfile") or {}
    profiles = list(call.backend("iam").instance_profiles.values())
    for key, attribute in (("Name", "name"), ("Arn", "arn")):
        if key in given:
            found = next((p for p in profiles if getattr(p, attribute) == given[key]), None)
            if found is None or _too_new(call, found):
                return {"name": given[key], "parameter": f"iamInstanceProfile.{key.lower()}"}
    return None


def _too_new(call: Call, profile: Any) -> bool:
    delay = call.state.faults["eventual_consistency_seconds"]
    return bool(delay) and time.time() - profile.create_date.timestamp() < delay


@rule("ec2", "RunInstances", "InvalidParameterValue", "User data is limited to 16384 bytes", RUN)
def user_data_too_long(call: Call) -> Refusal:
    encoded = call.params.get("UserData") or ""
    try:
        size = len(base64.b64decode(encoded)) if isinstance(encoded, str) else len(encoded)
    except (binascii.Error, ValueError):
        size = len(encoded)
    return {} if size > USER_DATA_BYTES else None


@rule("ec2", "RunInstances", "InvalidParameterValue", "Value ({value}) for parameter {parameter} is invalid.", RUN)
def counts(call: Call) -> Refusal:
    least, most = call.params.get("MinCount", 1), call.params.get("MaxCount", 1)
    if least < 1:
        return {"value": least, "parameter": "minCount"}
    return {"value": most, "parameter": "maxCount"} if most < least or most > 1000 else None


@rule(
    "ec2",
    "RunInstances ModifyInstanceMetadataOptions",
    "InvalidParameterValue",
    "Value ({value}) for parameter {parameter} is invalid.",
    "EC2 API Reference, InstanceMetadataOptionsRequest",
)
def metadata_options(call: Call) -> Refusal:
    options = call.params.get("MetadataOptions", {}) if call.action == "RunInstances" else call.params
    hops = options.get("HttpPutResponseHopLimit")
    if hops is not None and not 1 <= hops <= MAX_HOP_LIMIT:
        return {"value": hops, "parameter": "HttpPutResponseHopLimit"}
    allowed = {
        "HttpTokens": ("optional", "required"),
        "HttpEndpoint": ("enabled", "disabled"),
        "InstanceMetadataTags": ("enabled", "disabled"),
        "HttpProtocolIpv6": ("enabled", "disabled"),
    }
    broken = ((k, options[k]) for k, values in allowed.items() if options.get(k) and options[k] not in values)
    return next(({"value": value, "parameter": key} for key, value in broken), None)


def _wanted_address(call: Call) -> str | None:
    nics = call.params.get("NetworkInterfaces") or [{}]
    return call.params.get("PrivateIpAddress") or nics[0].get("PrivateIpAddress")


@rule(
    "ec2",
    "RunInstances",
    "InvalidParameterValue",
    "Address {address} does not fall within the subnet's address range or is reserved",
    "VPC User Guide, Subnet CIDR blocks: the first four addresses and the last one are reserved",
)
def address_outside(call: Call) -> Refusal:
    address, subnet = _wanted_address(call), subnet_of(call)
    if not address or subnet is None:
        return None
    try:
        number = int(ipaddress.ip_address(address))
    except ValueError:
        return {"address": address}
    network = ipaddress.ip_network(subnet.cidr_block, strict=False)
    first, last = int(network.network_address) + RESERVED_ADDRESSES, int(network.broadcast_address) - 1
    return None if first <= number <= last else {"address": address}


@rule("ec2", "RunInstances", "InvalidIPAddress.InUse", "Address {address} is in use.", ERROR_CODES)
def address_in_use(call: Call) -> Refusal:
    address, subnet = _wanted_address(call), subnet_of(call)
    if not address or subnet is None:
        return None
    used = (nic for nic in call.backend().enis.values() if nic.subnet.id == subnet.id)
    return {"address": address} if any(nic.private_ip_address == address for nic in used) else None


@rule(
    "ec2",
    "RunInstances",
    "InvalidParameterCombination",
    "The parameter PrivateIpAddress may not be specified when launching more than one instance",
    RUN,
)
def one_address_for_many(call: Call) -> Refusal:
    return {} if _wanted_address(call) and call.params.get("MaxCount", 1) > 1 else None


@rule(
    "ec2",
    "RunInstances",
    "IdempotentParameterMismatch",
    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    "EC2 API Reference, Ensuring idempotency",
)
def client_token_reused(call: Call) -> Refusal:
    known = call.backend().__dict__.get("lab_tokens", {}).get(call.params.get("ClientToken"))
    given = {k: v for k, v in call.params.items() if k != "DryRun"}
    return {} if known and json.dumps(known[1], default=str) != json.dumps(given, default=str) else None


@rule(
    "ec2",
    "RunInstances CreateVolume",
    "InsufficientInstanceCapacity",
    "We currently do not have sufficient capacity in the Availability Zone you requested ({zone}).",
    ERROR_CODES,
    500,
)
def zone_fails_launch(call: Call) -> Refusal:
    zone = launch_zone(call) or call.params.get("AvailabilityZone")
    return {"zone": zone} if zone in failing_zones(call) else None


@rule(
    "ec2",
    "DescribeInstances DescribeInstanceStatus",
    "Unavailable",
    "The server is overloaded and can't handle the request.",
    "EC2 API Reference, DescribeInstances: disruption of an Availability Zone",
    503,
)
def zone_fails_describe(call: Call) -> Refusal:
    failing = failing_zones(call)
    if not failing:
        return None
    ids = instance_ids(call)
    if not ids:
        return {} if any(zone.startswith(call.region) for zone in failing) else None
    zones = {call.backend().get_instance_by_id(i).placement.zone for i in ids}
    return {} if zones & set(failing) else None


@rule(
    "ec2",
    "TerminateInstances",
    "OperationNotPermitted",
    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.",
    "EC2 API Reference, TerminateInstances",
)
def termination_protected(call: Call) -> Refusal:
    instances = [call.backend().get_instance_by_id(i) for i in instance_ids(call)]
    return next(({"id": i.id} for i in instances if str(i.disable_api_termination).lower() == "true"), None)


@rule(
    "ec2",
    "StartInstances StopInstances RebootInstances",
    "IncorrectInstanceState",
    "The instance '{id}' is not in a state from which it can be {verb}.",
    "EC2 User Guide, Instance lifecycle",
)
def state_forbids(call: Call) -> Refusal:
    allowed = {
        "StartInstances": ("started", ("stopped", "running", "pending")),
        "StopInstances": ("stopped", ("running", "stopping", "stopped")),
        "RebootInstances": ("rebooted", ("running",)),
    }
    verb, states = allowed[call.action]
    instances = [call.backend().get_instance_by_id(i) for i in instance_ids(call)]
    return next(({"id": i.id, "verb": verb} for i in instances if i.state not in states), None)


@rule(
    "ec2",
    "ModifyInstanceAttribute",
    "IncorrectInstanceState",
    "The instance '{id}' is not in the 'stopped' state.",
    "EC2 API Reference, ModifyInstanceAttribute",
)
def only_when_stopped(call: Call) -> Refusal:
    needs = ("InstanceType", "UserData", "Kernel", "Ramdisk", "EbsOptimized", "SriovNetSupport")
    changed = [k for k in needs if call.params.get(k)] or call.params.get("Attribute") in ("instanceType", "userData")
    instance = call.backend().get_instance_by_id(call.params["InstanceId"])
    return {"id": instance.id} if changed and instance.state != "stopped" else None


@rule(
    "ec2",
    "AssociateAddress",
    "InvalidInstanceID",
    "The {state} instance '{id}' is not in a valid state for this operation.",
    "EC2 API Reference, AssociateAddress and error IncorrectInstanceState",
)
def address_for_pending(call: Call) -> Refusal:
    found = [call.backend().get_instance_by_id(i) for i in instance_ids(call)]
    nic = call.backend().enis.get(call.params.get("NetworkInterfaceId"))
    found += [nic.instance] if nic is not None and nic.instance is not None else []
    bad = (i for i in found if i.state in ("pending", "shutting-down", "terminated"))
    return next(({"id": i.id, "state": i.state} for i in bad), None)

"""What EC2 refuses about volumes and tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule
from lab.aws.rules.ec2 import ERROR_CODES, Refusal

# GiB, operations per second and MiB/s. Source: EBS User Guide, "Amazon EBS volume types".
SIZES = {
    "gp2": (1, 16384),
    "gp3": (1, 65536),
    "io1": (4, 16384),
    "io2": (4, 65536),
    "st1": (125, 16384),
    "sc1": (125, 16384),
    "standard": (1, 1024),
}
IOPS = {"gp3": (3000, 80000, 500), "io1": (100, 64000, 50), "io2": (100, 256000, 1000)}
GP3_THROUGHPUT = (125, 2000)
GP3_FREE_IOPS = 3000
TYPES_SOURCE = "EBS User Guide, Amazon EBS volume types"
VOLUMES = "RunInstances CreateVolume ModifyVolume"
MAX_TAGS, MAX_KEY, MAX_VALUE = 50, 128, 256


def _volume(call: Call) -> Any:
    return call.backend().volumes.get(call.params.get("VolumeId"))


def wanted(call: Call) -> list[dict[str, Any]]:
    """Every volume the call would make or change: its type, size, iops and throughput."""
    if call.action == "RunInstances":
        devices = call.params.get("BlockDeviceMappings") or []
        return [{"VolumeType": "gp3", **d["Ebs"], "Device": d.get("DeviceName")} for d in devices if "Ebs" in d]
    if call.action == "ModifyVolume":
        volume = _volume(call)
        now = {"VolumeType": volume.volume_type, "Size": volume.size} if volume is not None else {}
        return [{**now, **{k: v for k, v in call.params.items() if v is not None}}]
    return [{"VolumeType": "gp2", **call.params}]


def _size(entry: dict[str, Any]) -> int | None:
    return entry.get("VolumeSize", entry.get("Size"))


@rule("ec2", VOLUMES, "UnknownVolumeType", "Unsupported volume type '{type}' for volume creation.", ERROR_CODES)
def type_unknown(call: Call) -> Refusal:
    return next(({"type": v["VolumeType"]} for v in wanted(call) if v.get("VolumeType", "gp2") not in SIZES), None)


@rule(
    "ec2",
    VOLUMES,
    "InvalidParameterValue",
    "Volume of {size}GiB is too {how} for volume type {type}; {bound} is {limit}GiB.",
    TYPES_SOURCE,
)
def size_limits(call: Call) -> Refusal:
    for entry in wanted(call):
        size, kind = _size(entry), entry.get("VolumeType", "gp2")
        least, most = SIZES.get(kind, (0, 1 << 62))
        if size is not None and size < least:
            return {"size": size, "how": "small", "type": kind, "bound": "minimum", "limit": least}
        if size is not None and size > most:
            return {"size": size, "how": "large", "type": kind, "bound": "maximum", "limit": most}
    return None


@rule("ec2", VOLUMES, "InvalidParameterValue", "Volume iops of {iops} is {why}.", TYPES_SOURCE)
def iops_limits(call: Call) -> Refusal:
    for entry in wanted(call):
        iops, kind, size = entry.get("Iops"), entry.get("VolumeType", "gp2"), _size(entry)
        if iops is None or kind not in IOPS:
            continue
        least, most, ratio = IOPS[kind]
        if not least <= iops <= most:
            return {"iops": iops, "why": f"out of range; {kind} takes {least} to {most}"}
        if size is not None and iops > max(ratio * size, GP3_FREE_IOPS if kind == "gp3" else 0):
            return {"iops": iops, "why": f"too high; maximum ratio of iops to volume size is {ratio}"}
    return None


@rule(
    "ec2",
    VOLUMES,
    "InvalidParameterValue",
    "Throughput of {throughput} MiB/s is out of range; gp3 takes 125 to 2000 and at most 0.25 per provisioned IOPS.",
    TYPES_SOURCE,
)
def throughput_limits(call: Call) -> Refusal:
    for entry in wanted(call):
        throughput = entry.get("Throughput")
        if throughput is None or entry.get("VolumeType") != "gp3":
            continue
        allowed = (entry.get("Iops") or GP3_FREE_IOPS) / 4
        if not GP3_THROUGHPUT[0] <= throughput <= min(GP3_THROUGHPUT[1], allowed):
            return {"throughput": throughput}
    return None


@rule("ec2", "RunInstances", "InvalidBlockDeviceMapping", "{why}", ERROR_CODES)
def device_mapping(call: Call) -> Refusal:
    seen: set[str] = set()
    image = call.backend().amis.get(call.params.get("ImageId"))
    for entry in wanted(call):
        device, size = entry["Device"], _size(entry)
        if device in seen:
            return {"why": f"The device '{device}' is used in more than one block-device mapping"}
        seen.add(device)
        root = image is not None and device == image.root_device_name
        if root and size is not None and size < image.ebs_snapshot.volume.size:
            needed = image.ebs_snapshot.volume.size
            return {"why": f"Volume of size {size}GB is smaller than snapshot, expect size >= {needed}GB"}
    return None


@rule(
    "ec2",
    "RunInstances CreateVolume",
    "MissingParameter",
    "The request must contain the parameter size or snapshotId",
    ERROR_CODES,
)
def size_missing(call: Call) -> Refusal:
    image = call.backend().amis.get(call.params.get("ImageId"))
    for entry in wanted(call):
        root = image is not None and entry.get("Device") == image.root_device_name
        if not root and _size(entry) is None and not entry.get("SnapshotId"):
            return {}
    return None


@rule(
    "ec2",
    "AttachVolume DetachVolume DeleteVolume ModifyVolume CreateSnapshot",
    "InvalidVolume.NotFound",
    "The volume '{id}' does not exist.",
    ERROR_CODES,
)
def volume_unknown(call: Call) -> Refusal:
    return {"id": call.params.get("VolumeId")} if _volume(call) is None else None


@rule("ec2", "AttachVolume", "VolumeInUse", "{id} is already attached to an instance", ERROR_CODES)
def volume_attached(call: Call) -> Refusal:
    return {"id": _volume(call).id} if _volume(call).attachment else None


@rule(
    "ec2",
    "AttachVolume",
    "InvalidVolume.ZoneMismatch",
    "The volume '{volume}' is not in the same availability zone as instance '{instance}'",
    ERROR_CODES,
)
def volume_in_another_zone(call: Call) -> Refusal:
    volume, instance = _volume(call), call.backend().get_instance_by_id(call.params["InstanceId"])
    if volume.availability_zone == instance.placement.zone:
        return None
    return {"volume": volume.id, "instance": instance.id}


@rule("ec2", "AttachVolume", "IncorrectState", "Instance '{id}' is not 'running'.", "EC2 API Reference, AttachVolume")
def instance_not_attachable(call: Call) -> Refusal:
    instance = call.backend().get_instance_by_id(call.params["InstanceId"])
    return None if instance.state in ("running", "stopped") else {"id": instance.id}


@rule(
    "ec2",
    "AttachVolume",
    "InvalidParameterValue",
    "Invalid value '{device}' for unixDevice. {why}",
    "EC2 User Guide, Device names on Linux instances",
)
def device_taken(call: Call) -> Refusal:
    device = call.params.get("Device", "")
    instance = call.backend().get_instance_by_id(call.params["InstanceId"])
    if not device.startswith(("/dev/sd", "/dev/xvd")) and not device.startswith(("xvd", "sd")):
        return {"device": device, "why": "It is not a valid EBS device name."}
    if device in instance.block_device_mapping:
        return {"device": device, "why": f"Attachment point {device} is already in use"}
    return None


@rule("ec2", "DetachVolume", "IncorrectState", "Volume '{id}' is in the 'available' state.", ERROR_CODES)
def volume_not_attached(call: Call) -> Refusal:
    volume = _volume(call)
    return None if volume.attachment else {"id": volume.id}


@rule(
    "ec2",
    "DetachVolume",
    "InvalidAttachment.NotFound",
    "Volume '{id}' is not attached to instance '{instance}' as given.",
    ERROR_CODES,
)
def attachment_differs(call: Call) -> Refusal:
    attachment = _volume(call).attachment
    given, device = call.params.get("InstanceId"), call.params.get("Device")
    if given in (None, "", attachment.instance.id) and device in (None, "", attachment.device):
        return None
    return {"id": _volume(call).id, "instance": given}


@rule(
    "ec2",
    "DetachVolume",
    "OperationNotPermitted",
    "Unable to detach root volume '{id}' from instance '{instance}'",
    "EC2 API Reference, DetachVolume",
)
def root_volume(call: Call) -> Refusal:
    attachment = _volume(call).attachment
    instance = attachment.instance
    if attachment.device != instance.root_device_name or instance.state == "stopped":
        return None
    return {"id": _volume(call).id, "instance": instance.id}


@rule("ec2", "DeleteVolume", "VolumeInUse", "Volume {id} is currently attached to {instance}", ERROR_CODES)
def delete_attached(call: Call) -> Refusal:
    attachment = _volume(call).attachment
    return {"id": _volume(call).id, "instance": attachment.instance.id} if attachment else None


@rule(
    "ec2",
    "ModifyVolume",
    "InvalidParameterValue",
    "New size cannot be smaller than existing size",
    "EBS User Guide, Modify a volume: decreasing the size is not supported",
)
def shrink(call: Call) -> Refusal:
    size = call.params.get("Size")
    return {} if size is not None and size < _volume(call).size else None


def _tag_lists(call: Call) -> Iterator[list[dict[str, str]]]:
    if call.action == "CreateTags":
        yield call.params.get("Tags") or []
    for specification in call.params.get("TagSpecifications") or []:
        yield specification.get("Tags") or []


TAGGING = (
    "CreateTags RunInstances CreateVolume CreateVpc CreateSubnet CreateSecurityGroup CreateInternetGateway "
    "CreateRouteTable CreateVpcEndpoint CreateNatGateway AllocateAddress CreateSnapshot ImportKeyPair CreateKeyPair "
    "CreateNetworkInterface"
)
TAG_SOURCE = "EC2 User Guide, Tag restrictions"


@rule(
    "ec2", TAGGING, "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use", TAG_SOURCE
)
def tag_reserved(call: Call) -> Refusal:
    tags = (tag for tags in _tag_lists(call) for tag in tags)
    return {} if any(tag.get("Key", "").lower().startswith("aws:") for tag in tags) else None


@rule("ec2", TAGGING, "InvalidParameterValue", "{why}", TAG_SOURCE)
def tag_lengths(call: Call) -> Refusal:
    for tag in (tag for tags in _tag_lists(call) for tag in tags):
        key, value = tag.get("Key", ""), tag.get("Value") or ""
        if not key:
            return {"why": "Tag key cannot be empty."}
        if len(key) > MAX_KEY:
            return {"why": f"Tag key exceeds the maximum length of {MAX_KEY} characters"}
        if len(value) > MAX_VALUE:
            return {"why": f"Tag value exceeds the maximum length of {MAX_VALUE} characters"}
    return None


@rule("ec2", TAGGING, "InvalidParameterValue", "Duplicate tag key '{key}' specified.", TAG_SOURCE)
def tag_twice(call: Call) -> Refusal:
    for tags in _tag_lists(call):
        keys = [tag.get("Key") for tag in tags]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            return {"key": twice}
    return None


@rule(
    "ec2",
    TAGGING,
    "TagLimitExceeded",
    "More than {most} tags specified",
    ERROR_CODES,
)
def too_many_tags(call: Call) -> Refusal:
    held: dict[str, str] = {}
    if call.action == "CreateTags":
        for resource in call.params.get("Resources") or []:
            known = call.backend().tags.get(resource, {})
            held = known if len(known) > len(held) else held
    for tags in _tag_lists(call):
        new = {tag.get("Key") for tag in tags} | {key for key in held if not key.startswith("aws:")}
        if len(new) > MAX_TAGS:
            return {"most": MAX_TAGS}
    return None

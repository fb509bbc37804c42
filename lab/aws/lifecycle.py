"""Mends moto's instances and volumes in place: they change state when the reconciler says so, not at once.

Sources: EC2 User Guide, "Instance lifecycle"; EC2 API Reference, RunInstances, AttachVolume, DetachVolume.
"""

from __future__ import annotations

import copy
import time
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models import elastic_block_store as ebs
from moto.ec2.models import instances as ec2
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

from lab.aws import images
from lab.aws.call import ACCOUNT, CURRENT, AWSError
from lab.aws.mends import release_addresses

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
TERMINATED_SECONDS = 3600
GP3_THROUGHPUT = 125
TRANSITIONS = {
    "running": ("pending", "running"),
    "stopped": ("stopping", "stopped", "running", "pending"),
    "terminated": ("shutting-down", "terminated", "stopping", "stopped", "running", "pending"),
}


class Lifecycle:
    """The states of all instances. `immediate`: no reconciler will ever report, so transitions end at once."""

    def __init__(self, immediate: bool = False):
        self.immediate = immediate
        self.reboots: dict[str, int] = {}
        self.terminated: dict[str, float] = {}

    def begin(self, instance: Any, transient: str, final: str) -> None:
        """Put an instance into a transient state, or into the final one when nobody will report it."""
        _set(instance, transient)
        if self.immediate:
            self.report(instance.id, final)

    def report(self, instance_id: str, state: str) -> None:
        """An instance has arrived in a state: running, stopped or terminated. Raises KeyError, ValueError."""
        instance = find_instance(instance_id)
        if state not in TRANSITIONS:
            raise ValueError(f"The state is {state!r}; it must be running, stopped or terminated.")
        if instance.state not in TRANSITIONS[state]:
            raise ValueError(f"{instance_id} is {instance.state}; it cannot become {state}.")
        if state == "terminated" and instance.state != "terminated":
            release_addresses(instance.ec2_backend, list(instance.nics.values()))
            _MOTO["terminate"](instance)
            self.terminated[instance_id] = time.time()
        elif state != "terminated":
            _settle(instance)
        _set(instance, state)

    def report_volume(self, volume_id: str, state: str) -> None:
        """A volume is in its host (in-use) or gone from it (available). Raises KeyError, ValueError."""
        backend, volume = find_volume(volume_id)
        if state in ("in-use", "attached"):
            if volume.attachment and volume.attachment.status == "attaching":
                volume.attachment.status = "attached"
        elif state in ("available", "detached"):
            if volume.attachment and volume.attachment.status == "detaching":
                _MOTO["detach_volume"](backend, volume_id, volume.attachment.instance.id, volume.attachment.device)
        else:
            raise ValueError(f"The state is {state!r}; it must be in-use or available.")

    def forget_terminated(self, now: float | None = None) -> None:
        """Terminated instances stay described for an hour, then they are gone."""
        now = time.time() if now is None else now
        for instance_id in [i for i, since in self.terminated.items() if now - since > TERMINATED_SECONDS]:
            del self.terminated[instance_id]
            self.reboots.pop(instance_id, None)
            for backend in ec2_backends[ACCOUNT].values():
                for reservation in list(backend.reservations.values()):
                    reservation.instances = [i for i in reservation.instances if i.id != instance_id]
                    if not reservation.instances:
                        del backend.reservations[reservation.id]


LIFECYCLE = Lifecycle()


def find_instance(instance_id: str) -> Any:
    """The instance of any region. Raises KeyError."""
    for backend in list(ec2_backends[ACCOUNT].values()):
        instance = backend.get_instance_by_id(instance_id)
        if instance is not None:
            return instance
    raise KeyError(instance_id)


def find_volume(volume_id: str) -> tuple[Any, Any]:
    """Backend and volume of any region. Raises KeyError."""
    for backend in list(ec2_backends[ACCOUNT].values()):
        if volume_id in backend.volumes:
            return backend, backend.volumes[volume_id]
    raise KeyError(volume_id)


def _set(instance: Any, state: str) -> None:
    instance._state.name, instance._state.code = state, CODES[state]


def _settle(instance: Any) -> None:
    """Volumes that an instance was started with are attached once it runs."""
    for _device, block in instance.get_block_device_mapping:
        volume = instance.ec2_backend.volumes.get(block.volume_id)
        if volume is not None and volume.attachment and volume.attachment.status == "attaching":
            volume.attachment.status = "attached"


_MOTO: dict[str, Any] = {
    "run_instances": ec2.InstanceBackend.run_instances,
    "terminate": ec2.Instance.terminate,
    "stop": ec2.Instance.stop,
    "start": ec2.Instance.start,
    "attach_volume": ebs.EBSBackend.attach_volume,
    "detach_volume": ebs.EBSBackend.detach_volume,
    "create_volume": ebs.EBSBackend.create_volume,
}


def _run_instances(
    self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
) -> Any:
    """MaxCount counts, the root device comes from the image, the client token is remembered."""
    call = CURRENT.get()
    params = call.params if call else {}
    token = params.get("ClientToken")
    known = self.__dict__.setdefault("lab_tokens", {})
    count = int(params.get("MaxCount", count))
    kwargs["block_device_mappings"] = _devices(self, image_id, kwargs.get("block_device_mappings") or [])
    kwargs["disable_api_termination"] = params.get("DisableApiTermination", False)
    reservation = _MOTO["run_instances"](self, image_id, count, user_data, security_group_names, **kwargs)
    for index, instance in enumerate(reservation.instances):
        _furnish(self, instance, params, kwargs, index)
    if token:
        known[token] = (reservation, {k: v for k, v in params.items() if k != "DryRun"})
    return reservation


def _devices(backend: Any, image_id: str, mappings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    image = backend.amis.get(image_id)
    root = {"SnapshotId": None, "VolumeSize": images.ROOT_SIZE_GIB, "VolumeType": "gp3", "DeleteOnTermination": True}
    device = image.root_device_name if image else images.ROOT_DEVICE
    if image is not None:
        root["SnapshotId"] = image.ebs_snapshot.id
        root["VolumeSize"] = image.ebs_snapshot.volume.size
    result = [{"DeviceName": device, "Ebs": root}]
    for mapping in mappings:
        if mapping["DeviceName"] == device:
            given = {k: v for k, v in mapping.get("Ebs", {}).items() if v is not None}
            result[0]["Ebs"] = {**root, **given}
        elif "Ebs" in mapping:
            result.append(mapping)
    return result


def _furnish(backend: Any, instance: Any, params: dict[str, Any], kwargs: dict[str, Any], index: int) -> None:
    """What moto leaves out of a launch: the profile of all but the first, volume performance, interface tags."""
    profile = params.get("IamInstanceProfile", {})
    if profile and index:
        backend.associate_iam_instance_profile(
            instance_id=instance.id,
            iam_instance_profile_name=profile.get("Name"),
            iam_instance_profile_arn=profile.get("Arn"),
        )
    given = {m["DeviceName"]: m.get("Ebs", {}) for m in params.get("BlockDeviceMappings", [])}
    for device, block in instance.get_block_device_mapping:
        volume = backend.volumes[block.volume_id]
        volume.iops = given.get(device, {}).get("Iops") or volume.iops
        volume.throughput = given.get(device, {}).get("Throughput") or volume.throughput
        volume.attachment.status = "attaching"
    for nic in instance.nics.values():
        nic.delete_on_termination = True
        nic.add_tags(kwargs.get("tags", {}).get("network-interface", {}))
    if not instance.security_groups:
        instance.security_groups = [group for nic in instance.nics.values() for group in nic.group_set]
    LIFECYCLE.begin(instance, "pending", "running")


def _start(self: Any) -> Any:
    previous = copy.copy(self._state)
    if self.state == "running":
        return previous
    if self.state != "stopped":
        raise _incorrect(self, "started")
    _MOTO["start"](self)
    LIFECYCLE.begin(self, "pending", "running")
    return previous


def _stop(self: Any) -> Any:
    previous = copy.copy(self._state)
    if self.state in ("stopped", "stopping"):
        return previous
    if self.state not in ("running", "pending"):
        raise _incorrect(self, "stopped")
    _MOTO["stop"](self)
    LIFECYCLE.begin(self, "stopping", "stopped")
    return previous


def _terminate(self: Any) -> Any:
    previous = copy.copy(self._state)
    if self.state in ("terminated", "shutting-down"):
        return previous
    LIFECYCLE.begin(self, "shutting-down", "terminated")
    return previous


def _reboot(self: Any) -> None:
    if self.state != "running":
        raise _incorrect(self, "rebooted")
    LIFECYCLE.reboots[self.id] = LIFECYCLE.reboots.get(self.id, 0) + 1


def _incorrect(instance: Any, verb: str) -> AWSError:
    message = f"The instance '{instance.id}' is not in a state from which it can be {verb}."
    return AWSError("IncorrectInstanceState", message)


def _attach_volume(self: Any, volume_id: str, instance_id: str, device_path: str, *args: Any, **kwargs: Any) -> Any:
    attachment = _MOTO["attach_volume"](self, volume_id, instance_id, device_path, *args, **kwargs)
    if attachment.instance.state in ("pending", "running") and not LIFECYCLE.immediate:
        attachment.status = "attaching"
    return attachment


def _detach_volume(self: Any, volume_id: str, instance_id: str | None, device_path: str | None) -> Any:
    volume = self.get_volume(volume_id)
    attachment = volume.attachment
    instance_id = instance_id or (attachment.instance.id if attachment else "")
    running = attachment and attachment.instance.state in ("pending", "running", "stopping")
    if running and not LIFECYCLE.immediate and CURRENT.get() and CURRENT.get().action == "DetachVolume":
        attachment.status = "detaching"
        return attachment
    return _MOTO["detach_volume"](self, volume_id, instance_id, device_path)


def _create_volume(self: Any, *args: Any, **kwargs: Any) -> Any:
    volume = _MOTO["create_volume"](self, *args, **kwargs)
    if volume.volume_type == "gp3" and not volume.throughput:
        volume.throughput = GP3_THROUGHPUT
    if volume.volume_type == "gp2" and not volume.iops:
        volume.iops = max(100, min(16000, 3 * int(volume.size)))
    return volume


def _block_device_mappings(self: Any) -> list[dict[str, Any]]:
    """moto derives the status from the volume; the attachment knows better."""
    result = []
    for name, block in self.get_block_device_mapping:
        shown = copy.copy(block)
        volume = self.ec2_backend.volumes.get(block.volume_id)
        shown.status = volume.attachment.status if volume is not None and volume.attachment else "attached"
        result.append({"DeviceName": name, "Ebs": shown})
    return result


def _load_amis(self: Any) -> None:
    for image in images.images(self.region_name):
        ami = Ami(self, **image, region_name=f"{self.region_name}a")
        ami.ebs_snapshot.volume.size = images.ROOT_SIZE_GIB
        self.amis[ami.id] = ami


def _image_devices(self: Any) -> list[dict[str, Any]]:
    ebs_device = {
        "SnapshotId": self.ebs_snapshot.id,
        "VolumeSize": self.ebs_snapshot.volume.size,
        "DeleteOnTermination": True,
        "VolumeType": "gp3",
        "Encrypted": False,
    }
    return [{"DeviceName": self.root_device_name, "Ebs": ebs_device}]


def _modify_metadata_options(
    self: Any,
    instance_id: str,
    http_tokens: str | None = None,
    hop_limit: int | None = None,
    http_endpoint: str | None = None,
    dry_run: bool | None = False,
    http_protocol: str | None = None,
    metadata_tags: str | None = None,
) -> Any:
    """What is not named keeps its value; moto resets it."""
    options = self.get_instance(instance_id).metadata_options
    options.http_tokens = http_tokens or options.http_tokens
    options.http_put_response_hop_limit = hop_limit or options.http_put_response_hop_limit
    options.http_endpoint = http_endpoint or options.http_endpoint
    options.http_protocol_ipv6 = http_protocol or options.http_protocol_ipv6
    options.instance_metadata_tags = metadata_tags or options.instance_metadata_tags
    return options


def _zone_id(self: Any) -> str | None:
    zones = RegionsAndZonesBackend.zones.get((self.zone or "")[:-1], [])
    return next((zone.zone_id for zone in zones if zone.name == self.zone), None)


def install(immediate: bool) -> Lifecycle:
    """Replace moto's methods. `immediate`: see Lifecycle."""
    LIFECYCLE.immediate = immediate
    ec2.InstanceBackend.run_instances = _run_instances
    ec2.InstanceBackend.modify_instance_metadata_options = _modify_metadata_options
    ec2.Instance.start = _start
    ec2.Instance.stop = _stop
    ec2.Instance.terminate = _terminate
    ec2.Instance.reboot = _reboot
    ec2.Instance.block_device_mappings = property(_block_device_mappings)
    ec2.InstancePlacement.availability_zone_id = property(_zone_id)
    ebs.EBSBackend.attach_volume = _attach_volume
    ebs.EBSBackend.detach_volume = _detach_volume
    ebs.EBSBackend.create_volume = _create_volume
    AmiBackend._load_amis = _load_amis
    Ami.block_device_mappings = property(_image_devices)
    return LIFECYCLE

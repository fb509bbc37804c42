# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan of a platform's instances, volumes and addresses: from slots wanted and what EC2 describes to calls. Pure."""

from __future__ import annotations

import hashlib
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import tag_list, tag_specification, tags_of
from ansible_collections.selfhosted.ec2.plugins.module_utils.platform import majority
from ansible_collections.selfhosted.ec2.plugins.module_utils.steps import Step

#: A slot is taken by an instance in one of these states; one that is shutting down or terminated is gone.
LIVE = ("pending", "running", "stopping", "stopped")
#: Device names AWS recommends for EBS volumes on HVM instances.
DEVICES = tuple(f"/dev/sd{letter}" for letter in "fghijklmnop")
OWNED_TAGS = ("Name", "platform", "environment", "tier", "components", "cluster", "memory_mib")
HOST_KEY_TAG = "ssh_host_key"
#: On an instance and its new volumes from the launch by a replacement until that has come to its end.
REPLACING_TAG = "replacing"
METADATA = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"}
_KEY_BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY = re.compile(r"\b(ssh-ed25519 AAAA[A-Za-z0-9+/=]+)")


def host_key(console):
    """Return the ed25519 host key that cloud-init printed to the console, C(ssh-ed25519 AAAA...), or ""."""
    block = _KEY_BLOCK.search(console or "")
    match = _KEY.search(block.group(1)) if block else None
    return match.group(1) if match else ""


def client_token(wanted, *parts):
    """Return a ClientToken, at most 64 characters: the same within one run, another in the next."""
    return hashlib.sha256("/".join((wanted["token"], *parts)).encode()).hexdigest()


class Have:
    """What EC2 describes of one platform, indexed by slot.

    :arg instances: as DescribeInstances gives them; those that are gone are left out.
    :arg protection: dict of instance id to whether it is protected from termination.
    """

    def __init__(self, instances=(), volumes=(), addresses=(), protection=None):
        self.instances, self.volumes, self.addresses = {}, {}, {}
        self.doubles = []
        self.protection = protection or {}
        for instance in instances:
            if instance["State"]["Name"] in LIVE:
                self._add(self.instances, tags_of(instance).get("Name"), instance, "InstanceId")
        for volume in volumes:
            tags = tags_of(volume)
            if volume["State"] in ("creating", "available", "in-use") and tags.get("slot"):
                self._add(self.volumes, (tags["slot"], tags.get("volume")), volume, "VolumeId")
        for address in addresses:
            if tags_of(address).get("slot"):
                self._add(self.addresses, tags_of(address)["slot"], address, "AllocationId")

    def _add(self, index, key, resource, identity):
        if key in index:
            what = key if isinstance(key, str) else "-".join(str(part) for part in key)
            self.doubles.append(
                f"{index[key][identity]} and {resource[identity]} both claim {what}; remove one of them or its tags."
            )
        index[key] = resource


def attachment(volume):
    """Return the instance a volume is attached to, "" for none."""
    live = [entry for entry in volume.get("Attachments") or [] if entry.get("State") not in ("detached", "detaching")]
    return live[0]["InstanceId"] if live else ""


# Refusals


def refusals(wanted, have):
    """Return why the plan may not be carried out, one sentence each; nothing is touched then."""
    found = list(have.doubles)
    for slot, want in wanted["instances"].items():
        for name, volume in want["volumes"].items():
            existing = have.volumes.get((slot, name))
            if existing:
                found += _volume_refusals(slot, name, want, volume, existing, have)
    return found + _removal_refusals(wanted, have)


def _volume_refusals(slot, name, want, volume, existing, have):
    where = f"The volume {name} of {slot} ({existing['VolumeId']})"
    found = []
    if not existing.get("Encrypted"):
        found.append(f"{where} is not encrypted; copy its data to an encrypted one and remove its tags.")
    if existing["Size"] > volume["size"]:
        found.append(
            f"{where} has {existing['Size']} GiB and cannot shrink to {volume['size']}; size must be"
            f" {existing['Size']} or more."
        )
    zone = have.instances[slot]["Placement"]["AvailabilityZone"] if slot in have.instances else want["zone"]
    if existing["AvailabilityZone"] != zone:
        found.append(
            f"{where} lies in {existing['AvailabilityZone']}, the slot in {zone}; a volume cannot change its zone, so"
            " keep the order of platform_zones."
        )
    holder, mine = attachment(existing), have.instances.get(slot, {}).get("InstanceId")
    others = {instance["InstanceId"]: other for other, instance in have.instances.items()}
    if holder and holder != mine and holder in others:
        found.append(f"{where} is attached to {others[holder]} ({holder}); detach it first.")
    return found


def superfluous(wanted, have):
    """Return the slots that run but are not described, sorted."""
    return sorted(slot for slot in have.instances if slot not in wanted["instances"])


def _removal_refusals(wanted, have):
    extra, remove, confirm = superfluous(wanted, have), set(wanted["remove"]), set(wanted["confirm"])
    found = []
    for slot in sorted(remove - set(extra)):
        why = "is still described" if slot in wanted["instances"] else "does not exist"
        found.append(f"platform_remove names {slot}, which {why}; only slots above their tier's count can be removed.")
    for slot in extra:
        if slot not in remove:
            found.append(
                f"The slot {slot} exists ({have.instances[slot]['InstanceId']}) but is not described; to terminate it"
                f" set platform_remove to [{slot}] and platform_confirm to [{slot}], or raise its tier's count."
            )
        elif slot not in confirm:
            found.append(f"Removing {slot} terminates its instance; confirm it with platform_confirm: [{slot}].")
    return found or _quorum_refusals(wanted, have, remove)


def _quorum_refusals(wanted, have, remove):
    found = []
    for tier in wanted["quorum_tiers"]:
        members = [slot for slot, instance in have.instances.items() if tags_of(instance).get("tier") == tier]
        leaving = [slot for slot in members if slot in remove]
        left = len(members) - len(leaving)
        if leaving and len(members) > 2 and left < majority(len(members)):
            found.append(
                f"Removing {', '.join(sorted(leaving))} leaves {left} of {len(members)} members of tier {tier}, fewer"
                f" than the {majority(len(members))} its quorum needs; remove fewer at a time."
            )
    return found


# Replacement


def replacement(wanted, have):
    """Return (steps, C(Have) as it is after them): what goes before C(plan) gives the slots to replace new instances.

    An instance that an earlier, interrupted replacement has launched stays, unless it does not run.

    :arg wanted: as for C(plan), with replace (slots), replace_volumes (whether their volumes are set aside).
    """
    ended, aside = {}, {}
    for slot in wanted["replace"]:
        instance = have.instances.get(slot)
        if instance and REPLACING_TAG in tags_of(instance) and instance["State"]["Name"] in ("pending", "running"):
            continue
        if instance:
            ended[slot] = instance
        if wanted["replace_volumes"]:
            aside.update(_old_volumes(slot, have))
    steps = _end(ended, have) + [_set_aside(slot, name, volume) for (slot, name), volume in sorted(aside.items())]
    left = Have(addresses=have.addresses.values(), protection=have.protection)
    left.doubles = have.doubles
    left.instances = {slot: instance for slot, instance in have.instances.items() if slot not in ended}
    left.volumes = {key: volume for key, volume in have.volumes.items() if key not in aside}
    return steps, left


def replacement_refusals(wanted):
    """Return why slots may not be replaced, one sentence each."""
    found = [
        f"{slot} is to be replaced, but is not described; name one of {', '.join(wanted['instances'])}."
        for slot in wanted["replace"]
        if slot not in wanted["instances"]
    ]
    for tier in wanted["quorum_tiers"]:
        members = [s for s in wanted["replace"] if wanted["instances"].get(s, {"tags": {}})["tags"].get("tier") == tier]
        if len(members) > 1:
            found.append(
                f"{', '.join(members)} of tier {tier} are to be replaced; its members vote, so replace one at a time."
            )
    return found


def _old_volumes(slot, have):
    """Return the volumes of a slot but those that a replacement has made."""
    return {
        key: volume for key, volume in have.volumes.items() if key[0] == slot and REPLACING_TAG not in tags_of(volume)
    }


def _set_aside(slot, name, volume):
    arguments = {
        "Resources": [volume["VolumeId"]],
        "Tags": [{"Key": "slot", "Value": f"{slot}-before-{volume['VolumeId']}"}],
    }
    text = f"{slot}: set the volume {name} ({volume['VolumeId']}) aside, to be deleted by hand"
    return Step(text, "create_tags", arguments)


def _end(instances, have):
    """Return the steps that end instances; their volumes and addresses stay."""
    steps = [
        _protect(slot, instance, False)
        for slot, instance in sorted(instances.items())
        if have.protection.get(instance["InstanceId"], True)
    ]
    if instances:
        ids = [instance["InstanceId"] for _slot, instance in sorted(instances.items())]
        steps.append(Step(f"terminate {', '.join(sorted(instances))}", "terminate_instances", {"InstanceIds": ids}))
        steps.append(Step("wait until they are terminated", "wait_terminated", {"ids": ids}))
    return steps


# Plan


def plan(wanted, have):
    """Return the steps in order.

    :arg wanted: dict instances (of slot, as C(platform.instances) gives them), key_name, images (of slot, only for
        slots without an instance: dict id, device, size), memory (MiB of each instance type), remove, confirm,
        quorum_tiers, replace, start_stopped, token, platform, environment, ids (of reference to id of subnets and
        groups).
    """
    steps = []
    fresh = [slot for slot in wanted["instances"] if slot not in have.instances]
    steps += _volume_steps(wanted, have)
    steps += [_launch(wanted, slot) for slot in fresh]
    starting = _starting(wanted, have)
    if starting:
        ids = [have.instances[slot]["InstanceId"] for slot in starting]
        steps.append(Step(f"start {', '.join(starting)}", "start_instances", {"InstanceIds": ids}))
    pending = [
        f"@instance/{slot}"
        for slot in wanted["instances"]
        if slot in fresh or slot in starting or have.instances[slot]["State"]["Name"] == "pending"
    ]
    if pending:
        steps.append(Step("wait until the instances run", "wait_running", {"ids": pending}))
    for slot in wanted["instances"]:
        steps += _attach_steps(wanted, have, slot)
        steps += _address_steps(wanted, have, slot)
        if slot in have.instances:
            steps += _drift_steps(wanted, have, slot)
    return steps + _removal_steps(wanted, have)


def references(wanted, have):
    """Return the references of what exists already: subnets, groups, instances, volumes, addresses."""
    ids = dict(wanted["ids"])
    ids.update({f"@instance/{slot}": instance["InstanceId"] for slot, instance in have.instances.items()})
    ids.update({f"@volume/{slot}/{name}": volume["VolumeId"] for (slot, name), volume in have.volumes.items()})
    ids.update({f"@address/{slot}": address["AllocationId"] for slot, address in have.addresses.items()})
    return ids


def _starting(wanted, have):
    if not wanted["start_stopped"]:
        return []
    return [
        slot
        for slot in wanted["instances"]
        if slot in have.instances and have.instances[slot]["State"]["Name"] == "stopped"
    ]


def _own_tags(wanted, name, slot, **more):
    tags = {"Name": name, "platform": wanted["platform"], "environment": wanted["environment"], "slot": slot}
    return {**tags, **more}


def _mark(wanted, slot):
    return {REPLACING_TAG: "true"} if slot in wanted.get("replace", ()) else {}


def _performance(volume):
    """Return IOPS and throughput as given."""
    found = {"Iops": volume.get("iops"), "Throughput": volume.get("throughput")}
    return {key: value for key, value in found.items() if value}


def _volume_steps(wanted, have):
    steps, new = [], []
    for slot, want in wanted["instances"].items():
        for name, volume in want["volumes"].items():
            existing = have.volumes.get((slot, name))
            if existing:
                steps += _grow(slot, name, volume, existing)
                continue
            arguments = {
                "AvailabilityZone": _zone(want, have, slot),
                "Size": volume["size"],
                "VolumeType": volume["type"],
                "Encrypted": True,
                "ClientToken": client_token(wanted, slot, name),
                "TagSpecifications": tag_specification(
                    "volume", _own_tags(wanted, f"{slot}-{name}", slot, volume=name, **_mark(wanted, slot))
                ),
                **_performance(volume),
            }
            reference = f"@volume/{slot}/{name}"
            text = f"{slot}: create the volume {name}, {volume['size']} GiB {volume['type']}"
            steps.append(Step(text, "create_volume", arguments, reference, ("VolumeId",)))
            new.append(reference)
    if new:
        steps.append(Step("wait until the volumes are available", "wait_volumes", {"ids": new}))
    return steps


def _zone(want, have, slot):
    instance = have.instances.get(slot)
    return instance["Placement"]["AvailabilityZone"] if instance else want["zone"]


def _grow(slot, name, volume, existing):
    changes = {}
    if volume["size"] > existing["Size"]:
        changes["Size"] = volume["size"]
    if volume["type"] != existing["VolumeType"]:
        changes["VolumeType"] = volume["type"]
    changes.update({key: value for key, value in _performance(volume).items() if existing.get(key) != value})
    if not changes:
        return []
    text = ", ".join(f"{key} {existing.get(key)} -> {value}" for key, value in sorted(changes.items()))
    arguments = {"VolumeId": existing["VolumeId"], **changes}
    return [Step(f"{slot}: change the volume {name}: {text}", "modify_volume", arguments)]


def desired_tags(wanted, slot, instance_type):
    """Return the tags of a slot's instance; volume ids are references."""
    want = wanted["instances"][slot]
    tags = dict(want["tags"])
    memory = wanted["memory"].get(instance_type)
    if memory:
        tags["memory_mib"] = str(memory)
    tags.update({f"volume:{name}": f"@volume/{slot}/{name}" for name in want["volumes"]})
    return tags


def _launch(wanted, slot):
    want = wanted["instances"][slot]
    image = wanted["images"][slot]
    tags = {**desired_tags(wanted, slot, want["instance_type"]), **_mark(wanted, slot)}
    root = {
        "VolumeSize": max(want["root_size"], image["size"]),
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    root_tags = {key: tags[key] for key in ("platform", "environment")}
    arguments = {
        "ImageId": image["id"],
        "InstanceType": want["instance_type"],
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": client_token(wanted, slot),
        "KeyName": wanted["key_name"],
        "SubnetId": f"@subnet/{want['subnet']}",
        "SecurityGroupIds": [f"@group/{want['security_group']}"],
        "IamInstanceProfile": {"Name": want["instance_profile"]},
        "MetadataOptions": METADATA,
        "DisableApiTermination": want["protection"],
        "BlockDeviceMappings": [{"DeviceName": image["device"], "Ebs": root}],
        "TagSpecifications": tag_specification("instance", tags)
        + tag_specification("volume", {"Name": f"{slot}-root", **root_tags}),
    }
    text = f"{slot}: launch {want['instance_type']} in {want['zone']} from {image['id']}"
    return Step(text, "launch", arguments, f"@instance/{slot}", ("Instances", 0, "InstanceId"))


def _attach_steps(wanted, have, slot):
    instance = have.instances.get(slot, {})
    used = {entry["DeviceName"] for entry in instance.get("BlockDeviceMappings") or []}
    free = [device for device in DEVICES if device not in used]
    steps, attached = [], []
    for name in wanted["instances"][slot]["volumes"]:
        volume = have.volumes.get((slot, name), {})
        if instance and attachment(volume) == instance["InstanceId"]:
            continue
        reference = f"@volume/{slot}/{name}"
        if attachment(volume) or volume.get("State") == "in-use":
            # The instance before is still shutting down.
            steps.append(Step(f"{slot}: wait until the volume {name} is free", "wait_volumes", {"ids": [reference]}))
        arguments = {"VolumeId": reference, "InstanceId": f"@instance/{slot}", "Device": free.pop(0)}
        steps.append(Step(f"{slot}: attach the volume {name}", "attach_volume", arguments))
        attached.append(reference)
    if attached:
        steps.append(Step(f"{slot}: wait until its volumes are attached", "wait_attached", {"ids": attached}))
    return steps


def _address_steps(wanted, have, slot):
    address = have.addresses.get(slot)
    if not wanted["instances"][slot]["public_address"]:
        return _release(slot, address) if address else []
    steps = []
    if not address:
        arguments = {
            "Domain": "vpc",
            "TagSpecifications": tag_specification("elastic-ip", _own_tags(wanted, slot, slot)),
        }
        text = f"{slot}: allocate an address"
        steps.append(Step(text, "allocate_address", arguments, f"@address/{slot}", ("AllocationId",)))
    instance = have.instances.get(slot)
    if not instance or not address or address.get("InstanceId") != instance["InstanceId"]:
        arguments = {
            "AllocationId": f"@address/{slot}",
            "InstanceId": f"@instance/{slot}",
            "AllowReassociation": True,
        }
        steps.append(Step(f"{slot}: give it its address", "associate_address", arguments))
    return steps


def _release(slot, address):
    steps = []
    if address.get("AssociationId"):
        arguments = {"AssociationId": address["AssociationId"]}
        steps.append(
            Step(
                f"{slot}: take its address away",
                "disassociate_address",
                arguments,
                tolerate=("InvalidAssociationID.NotFound",),
            )
        )
    arguments = {"AllocationId": address["AllocationId"]}
    return [*steps, Step(f"{slot}: release the address {address['PublicIp']}", "release_address", arguments)]


# Drift of instances that exist


def _drift_steps(wanted, have, slot):
    instance, want = have.instances[slot], wanted["instances"][slot]
    steps = _tag_steps(wanted, have, slot)
    group = f"@group/{want['security_group']}"
    if [entry["GroupId"] for entry in instance["SecurityGroups"]] != [wanted["ids"].get(group, group)]:
        arguments = {"InstanceId": instance["InstanceId"], "Groups": [group]}
        text = f"{slot}: set the security group {want['security_group']}"
        steps.append(Step(text, "modify_instance_attribute", arguments))
    profile = instance.get("IamInstanceProfile", {}).get("Arn", "").rsplit("/", 1)[-1]
    if profile != want["instance_profile"]:
        arguments = {"instance_id": instance["InstanceId"], "name": want["instance_profile"]}
        text = f"{slot}: set the instance profile {want['instance_profile']}"
        steps.append(Step(text, "set_profile", arguments))
    if have.protection.get(instance["InstanceId"], want["protection"]) != want["protection"]:
        steps.append(_protect(slot, instance, want["protection"]))
    metadata = instance.get("MetadataOptions") or {}
    if any(metadata.get(key) != value for key, value in METADATA.items()):
        arguments = {"InstanceId": instance["InstanceId"], **METADATA}
        text = f"{slot}: require IMDSv2 with hop limit 1"
        steps.append(Step(text, "modify_instance_metadata_options", arguments))
    return steps


def _protect(slot, instance, protected):
    arguments = {"InstanceId": instance["InstanceId"], "DisableApiTermination": {"Value": protected}}
    verb = "protect it from termination" if protected else "end its termination protection"
    return Step(f"{slot}: {verb}", "modify_instance_attribute", arguments)


def _tag_steps(wanted, have, slot):
    instance = have.instances[slot]
    current = tags_of(instance)
    ids = {f"@volume/{s}/{name}": volume["VolumeId"] for (s, name), volume in have.volumes.items()}
    want = desired_tags(wanted, slot, instance["InstanceType"])
    drift = {key: value for key, value in want.items() if current.get(key) != ids.get(value, value)}
    steps = []
    if drift:
        arguments = {"Resources": [instance["InstanceId"]], "Tags": tag_list(drift)}
        text = ", ".join(f"{key}={ids.get(value, value)}" for key, value in sorted(drift.items()))
        steps.append(Step(f"{slot}: tag it with {text}", "create_tags", arguments))
    if "cluster" in current and "cluster" not in want:
        arguments = {"Resources": [instance["InstanceId"]], "Tags": [{"Key": "cluster"}]}
        steps.append(Step(f"{slot}: remove the tag cluster", "delete_tags", arguments))
    return steps


def replacements(wanted, have):
    """Return what only a new instance can change: list of dict slot, reason."""
    found = []
    for slot, want in wanted["instances"].items():
        instance = have.instances.get(slot)
        if not instance:
            continue
        pairs = (
            ("instance type", instance["InstanceType"], want["instance_type"]),
            ("zone", instance["Placement"]["AvailabilityZone"], want["zone"]),
            ("subnet", instance["SubnetId"], wanted["ids"].get(f"@subnet/{want['subnet']}", instance["SubnetId"])),
        )
        for what, is_now, should_be in pairs:
            if is_now != should_be:
                reason = f"its {what} is {is_now}, the description says {should_be}"
                found.append({"slot": slot, "reason": reason})
    return found


def _removal_steps(wanted, have):
    return termination({slot: have.instances[slot] for slot in superfluous(wanted, have)}, have)


def termination(instances, have):
    """Return the steps that end instances and release their addresses; their volumes stay."""
    steps = []
    for slot in sorted(instances):
        if slot in have.addresses:
            steps += _release(slot, have.addresses[slot])
    return steps + _end(instances, have)


def removal(have, delete_volumes):
    """Return the steps that remove every instance and address, and the volumes if told so."""
    steps = termination(have.instances, have)
    for slot, address in sorted(have.addresses.items()):
        if slot not in have.instances:
            steps += _release(slot, address)
    for (slot, name), volume in sorted(have.volumes.items()) if delete_volumes else ():
        identity = volume["VolumeId"]
        if volume["State"] == "in-use":
            text = f"{slot}: wait until the volume {name} is free"
            steps.append(Step(text, "wait_volumes", {"ids": [identity]}))
        text = f"{slot}: delete the volume {name} ({identity})"
        steps.append(Step(text, "delete_volume", {"VolumeId": identity}))
    return steps


# Views for the diff and the result


def view(wanted, have):
    """Return (before, after): dict of slot to its properties, for the diff; only slots that differ are in them."""
    before, after = {}, {}
    names = {identity: reference.split("/", 1)[-1] for reference, identity in wanted["ids"].items()}
    for slot in list(wanted["instances"]) + superfluous(wanted, have):
        old = _now(have, slot, names)
        new = _then(wanted, have, slot) if slot in wanted["instances"] else {}
        if old != new:
            before[slot], after[slot] = old, new
    return before, after


def _now(have, slot, names):
    instance = have.instances.get(slot)
    if not instance:
        return {}
    return {
        "instance_type": instance["InstanceType"],
        "zone": instance["Placement"]["AvailabilityZone"],
        "state": instance["State"]["Name"],
        "security_groups": [names.get(entry["GroupId"], entry["GroupId"]) for entry in instance["SecurityGroups"]],
        "instance_profile": instance.get("IamInstanceProfile", {}).get("Arn", "").rsplit("/", 1)[-1],
        "termination_protection": have.protection.get(instance["InstanceId"]),
        "public_address": slot in have.addresses,
        "volumes": {
            name: f"{volume['Size']} GiB {volume['VolumeType']}, "
            + ("attached" if attachment(volume) == instance["InstanceId"] else "not attached")
            for (owner, name), volume in sorted(have.volumes.items())
            if owner == slot
        },
        "tags": {key: value for key, value in tags_of(instance).items() if _is_owned(key)},
    }


def _is_owned(key):
    return key in OWNED_TAGS or key.startswith("volume:")


def _then(wanted, have, slot):
    want, old = wanted["instances"][slot], have.instances.get(slot)
    instance_type = old["InstanceType"] if old else want["instance_type"]
    ids = {f"@volume/{s}/{name}": volume["VolumeId"] for (s, name), volume in have.volumes.items()}
    tags = {key: ids.get(value, value) for key, value in desired_tags(wanted, slot, instance_type).items()}
    tags = {key: "(new volume)" if value.startswith("@") else value for key, value in tags.items()}
    kept = {key: value for key, value in tags_of(old or {}).items() if key.startswith("volume:")}
    volumes = {
        name: f"{volume['Size']} GiB {volume['VolumeType']}, attached"
        for (owner, name), volume in sorted(have.volumes.items())
        if owner == slot and old and attachment(volume) == old["InstanceId"]
    }
    volumes.update(
        {name: f"{volume['size']} GiB {volume['type']}, attached" for name, volume in want["volumes"].items()}
    )
    state = old["State"]["Name"] if old else "running"
    starts = state == "pending" or (state == "stopped" and wanted["start_stopped"])
    return {
        "instance_type": instance_type,
        "zone": _zone(want, have, slot),
        "state": "running" if starts else state,
        "security_groups": [want["security_group"]],
        "instance_profile": want["instance_profile"],
        "termination_protection": want["protection"],
        "public_address": want["public_address"],
        "volumes": dict(sorted(volumes.items())),
        "tags": {**kept, **tags},
    }


def describe(instance, have):
    """Return an instance as the module's result shows it."""
    tags = tags_of(instance)
    slot = tags.get("Name", "")
    return {
        "slot": slot,
        "instance_id": instance["InstanceId"],
        "tier": tags.get("tier", ""),
        "components": tags.get("components", "").split(),
        "cluster": tags.get("cluster", ""),
        "state": instance["State"]["Name"],
        "instance_type": instance["InstanceType"],
        "image_id": instance.get("ImageId", ""),
        "zone": instance["Placement"]["AvailabilityZone"],
        "private_ip": instance.get("PrivateIpAddress", ""),
        "public_ip": have.addresses.get(slot, {}).get("PublicIp", instance.get("PublicIpAddress", "")),
        "ssh_host_key": tags.get(HOST_KEY_TAG, ""),
        "volumes": {
            name: volume["VolumeId"] for (owner, name), volume in sorted(have.volumes.items()) if owner == slot
        },
    }

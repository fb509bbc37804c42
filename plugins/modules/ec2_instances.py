#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_instances
short_description: All instances, volumes and addresses of a platform as one plan
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Gives every slot of every tier its instance, volumes and address. What exists is found by tags; instances that are
    shutting down or terminated are no slots any more, and their volumes go to the slot's next instance.
  - Instances need IMDSv2 (hop limit 1), volumes are encrypted. Volumes grow and never shrink.
  - A changed instance type is reported in RV(replacements) and not carried out.
  - The SSH host key that cloud-init prints to the console goes into the tag C(ssh_host_key).
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows each slot that differs, before and after.
    support: full
options:
  platform:
    description: Name of the platform, the value of the tag C(platform).
    type: str
    required: true
  state:
    description: Whether the instances are there. V(absent) ends all of them; their volumes stay.
    type: str
    choices: [present, absent]
    default: present
  environment:
    description: Value of the tag C(environment). Required when O(state=present).
    type: str
  zones:
    description: Availability zones; slot n lies in zone (n-1) modulo their number. Required when O(state=present).
    type: list
    elements: str
  tiers:
    description: Tiers as C(platform_tiers) has them. Required when O(state=present).
    type: list
    elements: dict
  image:
    description: Image of new instances, C(id), or C(owner) and C(name) of which the newest is taken.
    type: dict
    suboptions:
      id:
        description: Id of the image.
        type: str
      owner:
        description: Account that owns the image.
        type: str
      name:
        description: Name of the image, C(*) stands for any characters.
        type: str
  key_name:
    description: Name of the key pair of new instances; default O(platform).
    type: str
  subnets:
    description: Ids of the subnets by name, as M(selfhosted.ec2.vpc_network) returns them.
    type: dict
    default: {}
  security_groups:
    description: Ids of the security groups by name, as M(selfhosted.ec2.vpc_network) returns them.
    type: dict
    default: {}
  termination_protection:
    description: Whether the instances are protected from termination.
    type: bool
    default: true
  start_stopped:
    description: Whether stopped instances are started.
    type: bool
    default: false
  remove:
    description: Slots that are no longer described and shall be terminated.
    type: list
    elements: str
    default: []
  confirm:
    description: The same slots once more, by the person who knows what is on them.
    type: list
    elements: str
    default: []
  tier_tags:
    description: Further tags of the instances, a dictionary for each tier by its name.
    type: dict
    default: {}
  quorum_tiers:
    description: Tiers whose members vote; no removal may leave fewer than a majority of them.
    type: list
    elements: str
    default: []
  replace:
    description:
      - Slots that shall have new instances. Those they have are terminated, their addresses and volumes go to the new
        ones.
      - The new instance has the tag C(replacing) until whoever asked for it takes that away; an instance with it is not
        terminated, so that an interrupted replacement can be repeated.
    type: list
    elements: str
    default: []
  replace_volumes:
    description:
      - Whether the slots in O(replace) have new volumes, too. The old ones stay, and belong to C(<slot>-before-<id>).
    type: bool
    default: false
  delete_volumes:
    description: With O(state=absent), whether the volumes of the slots are deleted, and what is on them is lost.
    type: bool
    default: false
  require_host_keys:
    description: Whether it is an error that a running instance has not shown its SSH host key on its console yet.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for instances and volumes to reach a state.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Instances of the platform
  selfhosted.ec2.ec2_instances:
    platform: trading
    environment: production
    zones: [eu-west-1a, eu-west-1b, eu-west-1c]
    image: {owner: "136693071363", name: "debian-13-amd64-*"}
    subnets: "{{ network.subnets }}"
    security_groups: "{{ network.security_groups }}"
    tiers:
      - name: database
        components: [etcd, postgresql]
        count: 3
        instance_type: t3.medium
        volumes:
          - {name: postgresql, size: 10, mount: /var/lib/postgresql}
"""

RETURN = r"""
instances:
  description: Instances of the platform, sorted by slot.
  returned: always
  type: list
  elements: dict
  contains:
    slot: {description: Name of the slot., type: str, returned: always}
    instance_id: {description: Id of the instance., type: str, returned: always}
    tier: {description: Tier of the slot., type: str, returned: always}
    components: {description: Components of the tier., type: list, elements: str, returned: always}
    cluster: {description: Cluster of the tier., type: str, returned: always}
    state: {description: State of the instance., type: str, returned: always}
    instance_type: {description: Type of the instance., type: str, returned: always}
    image_id: {description: Id of its image., type: str, returned: always}
    zone: {description: Availability zone., type: str, returned: always}
    private_ip: {description: Private address., type: str, returned: always}
    public_ip: {description: "Public address, empty for none.", type: str, returned: always}
    ssh_host_key: {description: Its ed25519 host key., type: str, returned: always}
    volumes: {description: Ids of the slot's volumes by name., type: dict, returned: always}
host_keys_missing:
  description: Running slots whose console has not shown a host key yet.
  returned: always
  type: list
  elements: str
removed:
  description: Slots that were terminated because they are no longer described.
  returned: always
  type: list
  elements: str
replacements:
  description: What only a new instance can change, with C(slot) and C(reason).
  returned: always
  type: list
  elements: dict
actions:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
"""

import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, instance_plan, platform, steps

PAGE = {"MaxResults": 1000}
#: Right after a role's profile was made, EC2 may not know it yet (IAM is eventually consistent).
PROFILE_WAIT = 60
LATEST_UNSUPPORTED = ("UnsupportedOperation", "InvalidParameterCombination", "InvalidParameterValue")


def read(ec2, name):
    """Return C(Have): one paged call for instances and volumes, one call for addresses."""
    mine = aws.platform_filter(name)
    states = {"Name": "instance-state-name", "Values": list(instance_plan.LIVE)}
    reservations = ec2.pages("describe_instances", "Reservations", Filters=[*mine, states], **PAGE)
    instances = [instance for reservation in reservations for instance in reservation["Instances"]]
    volumes = ec2.pages("describe_volumes", "Volumes", Filters=mine, **PAGE)
    addresses = ec2.call("describe_addresses", Filters=mine)["Addresses"]
    return instance_plan.Have(instances, volumes, addresses)


def read_protection(ec2, have):
    """Ask for the termination protection of every instance, which only one call for each can tell."""
    for instance in have.instances.values():
        identity = instance["InstanceId"]
        answer = ec2.call("describe_instance_attribute", InstanceId=identity, Attribute="disableApiTermination")
        have.protection[identity] = bool(answer.get("DisableApiTermination", {}).get("Value"))


def read_memory(ec2, types):
    """Return the memory of instance types in MiB."""
    names = sorted(types)
    found = {}
    for first in range(0, len(names), 100):
        chosen = names[first : first + 100]
        answer = ec2.pages("describe_instance_types", "InstanceTypes", InstanceTypes=chosen)
        found.update({entry["InstanceType"]: entry["MemoryInfo"]["SizeInMiB"] for entry in answer})
    missing = [name for name in names if name not in found]
    if missing:
        raise aws.AwsError(f"The region {ec2.region} has no instance type {', '.join(missing)}.")
    return found


def find_image(ec2, image, cache):
    """Return id, root device and its size in GiB of the image, the newest that fits owner and name."""
    key = str(sorted(image.items()))
    if key not in cache:
        if image.get("id"):
            query = {"ImageIds": [image["id"]]}
        else:
            filters = [{"Name": "name", "Values": [image["name"]]}, {"Name": "state", "Values": ["available"]}]
            query = {"Owners": [str(image["owner"])], "Filters": filters}
        found = ec2.call("describe_images", **query)["Images"]
        if not found:
            asked = image.get("id") or f"owner {image['owner']} and name {image['name']}"
            raise aws.AwsError(f"The region {ec2.region} has no image with {asked}; set platform_image to one it has.")
        newest = max(found, key=lambda entry: (entry.get("CreationDate") or "", entry["ImageId"]))
        device = newest.get("RootDeviceName") or "/dev/xvda"
        sizes = [
            (entry.get("Ebs") or {}).get("VolumeSize") or 0
            for entry in newest.get("BlockDeviceMappings") or []
            if entry.get("DeviceName") == device
        ]
        cache[key] = {"id": newest["ImageId"], "device": device, "size": max(sizes, default=0)}
    return cache[key]


class Operations:
    """The steps of a plan that are more than one call."""

    def __init__(self, ec2, clock, timeout):
        self.ec2, self.clock, self.timeout = ec2, clock, timeout

    def table(self):
        return {
            "launch": self.launch,
            "set_profile": self.set_profile,
            "wait_running": lambda ids: self.instances(ids, ("running",), "the instances run"),
            "wait_terminated": lambda ids: self.instances(ids, ("terminated",), "the instances are terminated"),
            "wait_volumes": lambda ids: self.volumes(ids, "available", "the volumes are available"),
            "wait_attached": lambda ids: self.volumes(ids, "in-use", "the volumes are attached"),
        }

    def launch(self, **arguments):
        """Run one instance; waits until EC2 knows the instance profile."""
        started = self.clock.now()
        while True:
            try:
                return self.ec2.call("run_instances", **arguments)
            except aws.AwsError as error:
                unknown = "instance profile" in str(error).lower() and error.code.startswith("InvalidParameter")
                if not unknown or self.clock.now() - started > PROFILE_WAIT:
                    raise
                self.clock.sleep(3)

    def set_profile(self, instance_id, name):
        flt = [
            {"Name": "instance-id", "Values": [instance_id]},
            {"Name": "state", "Values": ["associated", "associating"]},
        ]
        found = self.ec2.pages(
            "describe_iam_instance_profile_associations", "IamInstanceProfileAssociations", Filters=flt
        )
        profile = {"Name": name}
        if found:
            association = found[0]["AssociationId"]
            return self.ec2.call(
                "replace_iam_instance_profile_association", AssociationId=association, IamInstanceProfile=profile
            )
        return self.ec2.call("associate_iam_instance_profile", InstanceId=instance_id, IamInstanceProfile=profile)

    def instances(self, ids, states, what):
        def check():
            found = []
            for first in range(0, len(ids), 1000):
                reservations = self.ec2.pages(
                    "describe_instances", "Reservations", InstanceIds=ids[first : first + 1000]
                )
                found += [instance for entry in reservations for instance in entry["Instances"]]
            if "running" in states:
                self._fail_when_ended(found)
            return all(instance["State"]["Name"] in states for instance in found)

        return steps.wait_until(check, what, self.clock, self.timeout)

    @staticmethod
    def _fail_when_ended(found):
        ended = [i for i in found if i["State"]["Name"] in ("shutting-down", "terminated")]
        if ended:
            reason = (
                ended[0].get("StateReason", {}).get("Message") or ended[0].get("StateTransitionReason") or "unknown"
            )
            raise aws.AwsError(f"The instance {ended[0]['InstanceId']} ended while it was starting: {reason}.")

    def volumes(self, ids, state, what):
        def check():
            found = self.ec2.pages("describe_volumes", "Volumes", VolumeIds=ids)
            broken = [volume["VolumeId"] for volume in found if volume["State"] == "error"]
            if broken:
                raise aws.AwsError(f"The volume {broken[0]} failed; delete it and run the playbook again.")
            done = all(volume["State"] == state for volume in found)
            attached = [e["State"] for volume in found for e in volume.get("Attachments") or []]
            return done and (state != "in-use" or all(entry == "attached" for entry in attached))

        return steps.wait_until(check, what, self.clock, self.timeout, interval=1.0)


def console_output(ec2, instance_id):
    """Return the console output, the newest where the instance type can give it."""
    try:
        return ec2.call("get_console_output", InstanceId=instance_id, Latest=True).get("Output") or ""
    except aws.AwsError as error:
        if error.code not in LATEST_UNSUPPORTED:
            raise
        return ec2.call("get_console_output", InstanceId=instance_id).get("Output") or ""


def tag_host_keys(ec2, have, check_mode):
    """Tag every running instance that lacks its host key; return (slots tagged, slots whose console shows none)."""
    tagged, missing = [], []
    for slot, instance in sorted(have.instances.items()):
        if instance["State"]["Name"] != "running" or instance_plan.HOST_KEY_TAG in aws.tags_of(instance):
            continue
        key = instance_plan.host_key(console_output(ec2, instance["InstanceId"]))
        if not key:
            missing.append(slot)
            continue
        tag = {"Key": instance_plan.HOST_KEY_TAG, "Value": key}
        if not check_mode:
            ec2.call("create_tags", Resources=[instance["InstanceId"]], Tags=[tag])
            instance["Tags"].append(tag)
        tagged.append(slot)
    return tagged, missing


def wanted_from(params):
    """Return what C(instance_plan.plan) takes, but for the images and memory that EC2 must tell."""
    description = {
        "name": params["platform"],
        "environment": params["environment"],
        "zones": params["zones"],
        "tiers": params["tiers"],
        "image": {key: value for key, value in (params["image"] or {}).items() if value},
        "termination_protection": params["termination_protection"],
        "tier_tags": params["tier_tags"],
    }
    ids = {f"@subnet/{name}": value for name, value in params["subnets"].items()}
    ids.update({f"@group/{name}": value for name, value in params["security_groups"].items()})
    return {
        **{
            key: params[key]
            for key in (
                "platform",
                "environment",
                "remove",
                "confirm",
                "replace",
                "replace_volumes",
                "quorum_tiers",
                "start_stopped",
            )
        },
        "instances": platform.instances(description),
        "key_name": params["key_name"] or params["platform"],
        "token": uuid.uuid4().hex,
        "ids": ids,
    }


def manage(params, ec2, clock, check_mode):
    """Compare, carry out unless in check mode, and return the module's result. Raises AwsError."""
    wanted = wanted_from(params)
    have = read(ec2, wanted["platform"])
    refused = instance_plan.replacement_refusals(wanted)
    read_protection(ec2, have)
    first, have = instance_plan.replacement(wanted, have)
    refused += instance_plan.refusals(wanted, have)
    if refused:
        raise aws.AwsError(" ".join(refused))
    types = {want["instance_type"] for want in wanted["instances"].values()}
    wanted["memory"] = read_memory(ec2, types | {i["InstanceType"] for i in have.instances.values()})
    images = {}
    wanted["images"] = {
        slot: find_image(ec2, want["image"], images)
        for slot, want in wanted["instances"].items()
        if slot not in have.instances
    }
    plan = first + instance_plan.plan(wanted, have)
    before, after = instance_plan.view(wanted, have)
    replacements = instance_plan.replacements(wanted, have)
    removed = instance_plan.superfluous(wanted, have)
    actions = [step.text for step in plan]
    if plan and not check_mode:
        operations = Operations(ec2, clock, params["timeout"])
        steps.run(plan, ec2, instance_plan.references(wanted, have), operations.table())
        have = read(ec2, wanted["platform"])
    tagged, missing = tag_host_keys(ec2, have, check_mode)
    if missing and params["require_host_keys"]:
        raise aws.AwsError(
            f"The console of {', '.join(missing)} shows no ed25519 host key yet; look at it with get-console-output,"
            " and replace the instance if its first boot failed."
        )
    actions += [f"{slot}: tag it with its SSH host key" for slot in tagged]
    more = {"host_keys_missing": missing, "replacements": replacements, "removed": removed}
    return result(have, actions, before, after, **more)


def remove(params, ec2, clock, check_mode):
    """End every instance of the platform; see C(manage)."""
    have = read(ec2, params["platform"])
    doubles = [*have.doubles]
    if doubles:
        raise aws.AwsError(" ".join(doubles))
    read_protection(ec2, have)
    plan = instance_plan.removal(have, params["delete_volumes"])
    actions = [step.text for step in plan]
    before = {slot: {"instance": instance["InstanceId"]} for slot, instance in have.instances.items()}
    if plan and not check_mode:
        steps.run(plan, ec2, {}, Operations(ec2, clock, params["timeout"]).table())
        have = read(ec2, params["platform"])
    kept = sorted(volume["VolumeId"] for volume in have.volumes.values())
    return {
        **result(have, actions, before, {}, host_keys_missing=[], replacements=[], removed=sorted(before)),
        "volumes": kept,
    }


def result(have, actions, before, after, **more):
    instances = [instance_plan.describe(instance, have) for _slot, instance in sorted(have.instances.items())]
    diff = {"before": before, "after": after}
    return {"changed": bool(actions), "instances": instances, "actions": actions, "diff": diff, **more}


def argument_spec():
    texts = {"type": "list", "elements": "str"}
    image = {"id": {"type": "str"}, "owner": {"type": "str"}, "name": {"type": "str"}}
    return {
        **aws.argument_spec(),
        "platform": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "environment": {"type": "str"},
        "zones": dict(texts),
        "tiers": {"type": "list", "elements": "dict"},
        "image": {"type": "dict", "options": image},
        "key_name": {"type": "str", "no_log": False},
        "subnets": {"type": "dict", "default": {}},
        "security_groups": {"type": "dict", "default": {}},
        "termination_protection": {"type": "bool", "default": True},
        "start_stopped": {"type": "bool", "default": False},
        "remove": {**texts, "default": []},
        "confirm": {**texts, "default": []},
        "replace": {**texts, "default": []},
        "replace_volumes": {"type": "bool", "default": False},
        "quorum_tiers": {**texts, "default": []},
        "tier_tags": {"type": "dict", "default": {}},
        "delete_volumes": {"type": "bool", "default": False},
        "require_host_keys": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 300},
    }


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_if=[("state", "present", ("environment", "zones", "tiers"))],
    )

    def work(connection):
        act = manage if module.params["state"] == "present" else remove
        outcome = act(module.params, connection.client("ec2"), connection.clock, module.check_mode)
        for entry in outcome["replacements"]:
            module.warn(f"{entry['slot']} needs a new instance: {entry['reason']}.")
        return outcome

    aws.run(module, work)


if __name__ == "__main__":
    main()

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From DescribeInstances to hosts, variables and groups: pure functions, no Ansible, no network, no files.

A record is a dict of the C(ec2_*) variables of one instance and what else C(connect) needs; it is what the cache holds.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

#: States of an instance that is or may become a host; terminated ones still show up for up to an hour.
LIVE_STATES = ("pending", "running", "stopping", "stopped")
#: What C(record) reads of an instance.
MEMBERS = (
    "ImageId", "InstanceId", "InstanceType", "Placement", "PrivateDnsName", "PrivateIpAddress", "PublicIpAddress",
    "State", "SubnetId", "Tags", "VpcId",
)  # fmt: skip
_BROUGHT_DOWN = ("stopping", "stopped")
_NOT_A_GROUP_NAME = re.compile(r"[^A-Za-z0-9_]")
_HOST_KEY = re.compile(r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*$")
_DEVICE = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"

PRIVATE, PUBLIC, BASTION, SSM = "private", "public", "bastion", "ssm"
CONNECTIONS = (PRIVATE, PUBLIC, BASTION, SSM)


class ModelError(Exception):
    """The instances cannot be an inventory; the text is one sentence."""


@dataclass
class Connection:
    """How hosts are reached.

    C(kind) is one of C(CONNECTIONS). C(bastion) is the Name of an instance of the platform, a component, or an address;
    C(bastion_host_key) is the public key of a bastion that is no instance of the platform.
    """

    kind: str = PRIVATE
    user: str = ""
    bastion: str = ""
    bastion_user: str = ""
    bastion_port: int = 22
    bastion_host_key: str = ""
    bastion_private_key_file: str = ""


@dataclass
class Model:
    """C(hosts): name to variables. C(groups): group to host names, in order. C(warnings): sentences."""

    hosts: dict = field(default_factory=dict)
    groups: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)


def group_name(text):
    """Return I(text) as a group name: what is neither letter, digit nor underscore becomes an underscore."""
    return _NOT_A_GROUP_NAME.sub("_", text)


def record(instance, region):
    """Return the record of one instance of a DescribeInstances answer, or None when it is shutting down or gone."""
    state = instance["State"]["Name"]
    if state not in LIVE_STATES:
        return None
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
    placement = instance.get("Placement", {})
    found = {
        "ec2_instance_id": instance["InstanceId"],
        "ec2_instance_type": instance.get("InstanceType", ""),
        "ec2_private_ip": instance.get("PrivateIpAddress", ""),
        "ec2_public_ip": instance.get("PublicIpAddress", ""),
        "ec2_public_dns": instance.get("PublicDnsName", ""),
        "ec2_private_dns": instance.get("PrivateDnsName", ""),
        "ec2_zone": placement.get("AvailabilityZone", ""),
        "ec2_zone_id": placement.get("AvailabilityZoneId", ""),
        "ec2_region": region,
        "ec2_state": state,
        "ec2_tier": tags.get("tier", ""),
        "ec2_components": tags.get("components", "").split(),
        "ec2_cluster": tags.get("cluster", ""),
        "ec2_image_id": instance.get("ImageId", ""),
        "ec2_subnet_id": instance.get("SubnetId", ""),
        "ec2_vpc_id": instance.get("VpcId", ""),
        "ec2_volumes": volumes(tags),
        "ec2_tags": tags,
    }
    memory = tags.get("memory_mib", "")
    if memory.isdecimal():
        found["ec2_memory_mib"] = int(memory)
    return found


def records(reservations, region):
    """Return the records of the instances in the reservations of an answer."""
    found = (record(instance, region) for reservation in reservations for instance in reservation["Instances"])
    return [item for item in found if item]


def volumes(tags):
    """Return the volumes named by an instance's tags C(volume:<name>), each with the device link that the host has."""
    return {
        key[len("volume:") :]: {"volume_id": value, "device": _DEVICE + value.replace("-", "")}
        for key, value in tags.items()
        if key.startswith("volume:")
    }


def name_of(item):
    """Return the inventory name of a record: its Name tag, or the instance id when it has none."""
    return item["ec2_tags"].get("Name") or item["ec2_instance_id"]


def _order(item):
    return name_of(item), item["ec2_state"] in _BROUGHT_DOWN, item["ec2_instance_id"]


def by_name(items, warnings):
    """Return the records by name, sorted.

    A stopped instance with the name of one that is not stopped is left out, with a warning: the slot was replaced.

    :raises ModelError: two instances, both stopped or both not, have one name.
    """
    found, faults = {}, []
    for item in sorted(items, key=_order):
        name = name_of(item)
        first = found.get(name)
        if first is None:
            found[name] = item
            continue
        pair = f"{first['ec2_instance_id']} and {item['ec2_instance_id']}"
        if item["ec2_state"] in _BROUGHT_DOWN and first["ec2_state"] not in _BROUGHT_DOWN:
            warnings.append(
                f"The instances {pair} are both named {name}; {item['ec2_instance_id']} is {item['ec2_state']}"
                " and left out, terminate it or rename it."
            )
        else:
            faults.append(f"{name} ({pair})")
    if faults:
        raise ModelError(
            f"Two instances of the platform have the same Name: {', '.join(faults)}; a name must be one host's,"
            " so terminate or rename one of each."
        )
    return found


def groups_of(item):
    """Return the groups of a record, without duplicates, in order."""
    names = [group_name(component) for component in item["ec2_components"]]
    if item["ec2_cluster"]:
        names += [f"{name}_{group_name(item['ec2_cluster'])}" for name in names]
    if item["ec2_tier"]:
        names.append("tier_" + group_name(item["ec2_tier"]))
    if item["ec2_zone"]:
        names.append("zone_" + group_name(item["ec2_zone"]))
    names.append("state_" + item["ec2_state"])
    return list(dict.fromkeys(names))


def host_key_arguments(alias, key):
    """Return the options of ssh that accept exactly the public host key I(key), or none at all when it is empty."""
    arguments = [
        "-o", f"HostKeyAlias={alias}",
        "-o", "StrictHostKeyChecking=yes",
        "-o", "UserKnownHostsFile=/dev/null",
        "-o", "GlobalKnownHostsFile=/dev/null",
    ]  # fmt: skip
    return arguments + (["-o", f"KnownHostsCommand=/bin/echo {alias} {key}"] if key else [])


def host_key(item):
    """Return the public host key in a record's tag, "" when there is none or it is not one."""
    key = item["ec2_tags"].get("ssh_host_key", "")
    return key if _HOST_KEY.match(key) else ""


def _address(item, kind):
    if kind == SSM:
        return item["ec2_instance_id"]
    if kind == PUBLIC:
        return item["ec2_public_ip"] or item["ec2_private_ip"]
    return item["ec2_private_ip"]


def find_bastion(hosts, connection):
    """Return the record of the bastion: by name, or the first running one of a component; None when it is an address.

    :raises ModelError: no bastion is given, or the one named does not run.
    """
    wanted = connection.bastion
    if not wanted:
        raise ModelError(
            "The connection is bastion, but no bastion is given: set the option to a host, a component or an address."
        )
    of_component = [item for item in hosts.values() if wanted in item["ec2_components"]]
    named = [hosts[wanted]] if wanted in hosts else of_component
    running = [item for item in named if item["ec2_state"] == "running"]
    if named and not running:
        raise ModelError(f"The bastion {wanted} is not running; start it, or name another by the option bastion.")
    return running[0] if running else None


def bastion_command(item, connection):
    """Return the ProxyCommand through a bastion.

    :arg item: the record of the bastion, None when C(connection.bastion) is an address.
    """
    command = ["ssh", "-W", "[%h]:%p", "-p", str(connection.bastion_port), "-o", "BatchMode=yes"]
    user = connection.bastion_user or connection.user
    if user:
        command += ["-l", user]
    if connection.bastion_private_key_file:
        command += ["-i", connection.bastion_private_key_file]
    if item is not None:
        address = item["ec2_public_ip"] or item["ec2_private_ip"]
        command += host_key_arguments(item["ec2_instance_id"], host_key(item))
    else:
        address = connection.bastion
        if connection.bastion_host_key:
            command += host_key_arguments(address, connection.bastion_host_key)
        else:
            command += ["-o", "StrictHostKeyChecking=yes"]
    return shlex.join([*command, address])


def ssm_command(item):
    """Return the ProxyCommand through Session Manager (the AWS command line and its session manager plugin)."""
    return (
        f"aws ssm start-session --target {item['ec2_instance_id']} --region {item['ec2_region']}"
        " --document-name AWS-StartSSHSession --parameters portNumber=%p"
    )


def connect(hosts, connection):
    """Return the connection variables of every host.

    :arg hosts: dict of name to record.
    :returns: dict of name to C(ansible_host), C(ansible_ssh_common_args) and, if given, C(ansible_user).
    """
    through = None
    bastion = None
    if connection.kind == BASTION and hosts:
        bastion = find_bastion(hosts, connection)
        through = bastion_command(bastion, connection)
    found = {}
    for name, item in hosts.items():
        kind = PUBLIC if item is bastion else connection.kind
        arguments = host_key_arguments(item["ec2_instance_id"], host_key(item))
        if kind == BASTION:
            arguments += ["-o", f"ProxyCommand={through}"]
        elif kind == SSM:
            arguments += ["-o", f"ProxyCommand={ssm_command(item)}"]
        variables = {"ansible_host": _address(item, kind), "ansible_ssh_common_args": shlex.join(arguments)}
        if connection.user:
            variables["ansible_user"] = connection.user
        found[name] = variables
    return found


def unspread(groups, hosts, quorum_groups):
    """Name each quorum group that the loss of one zone would leave without a majority.

    :arg groups: dict of group to host names.
    :arg quorum_groups: component groups; with clusters, each C(<component>_<cluster>) is looked at instead.
    :returns: list of sentences. Groups of fewer than three have no majority to lose.
    """
    sentences = []
    for wanted in quorum_groups:
        clusters = {hosts[name]["ec2_cluster"] for name in groups.get(wanted, ())}
        names = [f"{wanted}_{group_name(cluster)}" if cluster else wanted for cluster in sorted(clusters)]
        for name in names:
            members = [item for item in groups[name] if name != wanted or not hosts[item]["ec2_cluster"]]
            zones = [hosts[member]["ec2_zone"] for member in members]
            zone = max(sorted(set(zones)), key=zones.count, default="")
            if len(members) >= 3 and zones.count(zone) * 2 >= len(members):
                sentences.append(
                    f"Group {name} is not spread over zones: {zones.count(zone)} of its {len(members)} members"
                    f" are in {zone}, whose loss would end the quorum."
                )
    return sentences


def build(items, connection, quorum_groups=()):
    """Return the Model of the records of all regions.

    :raises ModelError: a name is two instances', or the bastion does not run.
    """
    model = Model()
    hosts = by_name(items, model.warnings)
    connections = connect(hosts, connection)
    groups = {}
    for name, item in hosts.items():
        model.hosts[name] = {**item, **connections[name]}
        for group in groups_of(item):
            groups.setdefault(group, []).append(name)
    model.groups = dict(sorted(groups.items()))
    keyless = [name for name, item in hosts.items() if item["ec2_state"] == "running" and not host_key(item)]
    if keyless:
        model.warnings.append(
            f"No SSH host key is known of {', '.join(keyless)}: the tag ssh_host_key is missing or is no public key,"
            " so ssh will refuse to connect; the provision playbook writes it."
        )
    model.warnings += unspread(model.groups, hosts, quorum_groups)
    return model

#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_cluster_info
short_description: Read the state of an etcd cluster and of this host's data directory
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks every member over etcd's JSON gateway for its status and health, and one of them for the list of members.
  - A member that does not answer is no failure; it is reported as such.
  - Reads whether this host's data directory holds a member, and its identity file.
extends_documentation_fragment:
  - selfhosted.ec2.cluster_client.certificate
  - selfhosted.ec2.cluster_client.wait
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
  members:
    description: The members, names to client URLs.
    type: dict
    required: true
  data_dir:
    description: Data directory of etcd on this host.
    type: path
    required: true
  identity_file:
    description: File beside the data that says which member of which cluster the volume holds.
    type: path
    required: true
  token_file:
    description: File beside the data with the token of a cluster that has begun and is not yet complete.
    type: path
  timeout:
    description: Seconds for one request.
    type: int
    default: 3
  name:
    description: This host's member, for O(require).
    type: str
  require:
    description:
      - What must be so before the module returns.
      - "V(healthy): this member and more than half of all are healthy, and there is a leader."
      - "V(redundant): all other members are healthy, those too that the cluster lists and O(members) does not name,
        more than half of all are healthy, and there is a leader, so this one may be stopped."
    type: str
    choices: [nothing, healthy, redundant]
    default: nothing
"""

EXAMPLES = r"""
- name: Read the cluster
  selfhosted.ec2.etcd_cluster_info:
    members: {database-1: https://database-1.trading.internal:2379}
    data_dir: /var/lib/etcd/data
    identity_file: /var/lib/etcd/identity.json
    ca_file: /etc/etcd/tls/ca.crt
    cert_file: /etc/etcd/tls/etcd.crt
    key_file: /etc/etcd/tls/etcd.key
"""

RETURN = r"""
initialised:
  description: The data directory of this host holds a member.
  returned: always
  type: bool
architecture:
  description: The host's architecture, as releases name it.
  returned: always
  type: str
  sample: amd64
identity:
  description: Content of the identity file, null when there is none.
  returned: always
  type: dict
token:
  description: Content of O(token_file), empty when there is none.
  returned: always
  type: str
restoring:
  description: What a restore that has not ended makes the member from, empty without one.
  returned: always
  type: str
members:
  description: >-
    Each asked member with C(reachable), C(healthy), C(leader) (it leads), C(leader_id) (of the one that leads),
    C(version), C(cluster_id), C(member_id), C(database_bytes) and C(error).
  returned: always
  type: dict
listed:
  description: The members as the cluster lists them, each with C(id), C(name), C(peer_urls), C(started) and C(learner).
  returned: always
  type: list
  elements: dict
healthy:
  description: Names of the members that reach a quorum.
  returned: always
  type: list
  elements: str
unhealthy:
  description: The others, with the reason.
  returned: always
  type: dict
quorum:
  description: More than half of the members are healthy.
  returned: always
  type: bool
undescribed:
  description: Members that the cluster lists and O(members) does not name, with the reason. The module warns of them.
  returned: always
  type: dict
leader:
  description: Name of the leader, also of one that was not asked; empty when there is none.
  returned: always
  type: str
cluster_id:
  description: Id of the cluster in hexadecimal, empty when no member is healthy.
  returned: always
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, etcd, releases


def read(params):
    """Return the module's answer for its parameters.

    :raises OSError, ValueError: a local file cannot be read.
    """
    members = params["members"]
    disk = etcd.read_disk(params["data_dir"], params["identity_file"], params["token_file"])
    result = dict(disk, architecture=releases.host_architecture())
    if os.path.exists(params["cert_file"]):
        gateway = etcd.Gateway(params["ca_file"], params["cert_file"], params["key_file"], params["timeout"])
        views = cluster_client.ask_all(members, lambda name: etcd.member_view(gateway, members[name]))
        first = sorted(members, key=lambda name: not views[name]["healthy"])
        listed = etcd.list_members(gateway, [members[name] for name in first if views[name]["reachable"]])
        undescribed = etcd.strangers(listed, [*members, params["name"]])
        return dict(result, members=views, listed=listed, undescribed=undescribed, **etcd.summary(views, listed))
    # Before the first certificate nobody can be asked: nothing is known, so nobody counts as healthy.
    cluster = dict(etcd.summary({}, []), unhealthy=dict.fromkeys(members, f"{params['cert_file']} is not on this host"))
    return dict(result, members={}, listed=[], undescribed={}, **cluster)


def missing(result, name, require):
    """Return what is not yet as I(require) says, as a sentence, or an empty text."""
    if require == "nothing":
        return ""
    others = {member: reason for member, reason in result["unhealthy"].items() if member != name}
    if require == "redundant":
        others.update(result["undescribed"])
    if require == "redundant" and others:
        reasons = "; ".join(f"{member}: {reason}" for member, reason in others.items())
        return f"etcd has members that are not healthy, so {name} must not be stopped ({reasons})."
    if require == "healthy" and name in result["unhealthy"]:
        return f"etcd member {name} is not healthy ({result['unhealthy'][name]})."
    # A member without others may be stopped whatever its state.
    alone = require == "redundant" and len(result["healthy"]) + len(result["unhealthy"]) < 2
    if not alone and not (result["quorum"] and result["leader"]):
        lack = "leader" if result["quorum"] else "majority of healthy members"
        return f"etcd has no {lack}; healthy are {', '.join(result['healthy']) or 'none'}."
    return ""


def main():
    module = AnsibleModule(
        argument_spec={
            "members": {"type": "dict", "required": True},
            "data_dir": {"type": "path", "required": True},
            "identity_file": {"type": "path", "required": True},
            "token_file": {"type": "path"},
            **cluster_client.certificate_options(),
            "timeout": {"type": "int", "default": 3},
            "name": {"type": "str"},
            **cluster_client.gate_options("healthy", "redundant"),
        },
        required_if=[("require", "healthy", ["name"]), ("require", "redundant", ["name"])],
        supports_check_mode=True,
    )
    try:
        result, sentence = cluster_client.gate(module, read, missing)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"The etcd cluster cannot be read from this host: {error}.")
    for stranger, reason in result["undescribed"].items():
        module.warn(f"etcd has a member {stranger}: {reason}; remove it, or describe it.")
    cluster_client.leave(module, result, sentence)


if __name__ == "__main__":
    main()

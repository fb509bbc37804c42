#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_format
short_description: Format the volume of a Kafka node
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Runs Kafka's own storage tool once, on a volume that is not formatted yet, and writes the identity of the member
    beside the data. A volume that is formatted already is left alone when it is this member's, else the module fails.
  - Passwords reach the tool by a file that only root reads and that is gone afterwards.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: There is no text to show.
    support: none
options:
  home:
    description: Directory of the installed Kafka.
    type: path
    required: true
  config_file:
    description: The node's server.properties.
    type: path
    required: true
  data_dir:
    description: Directory of the logs.
    type: path
    required: true
  identity_file:
    description: File beside the data that says which member of which cluster the volume holds.
    type: path
    required: true
  identity:
    description: >-
      What is written there; C(cluster_id) and C(node_id) must be in it. C(new) says that the member was never well yet.
    type: dict
    required: true
  initial_controllers:
    description: >-
      The first quorum, each C(id@host:port:directory). Empty for a controller that joins one, which is then formatted
      without any, and for a node that is only a broker.
    type: list
    elements: str
    default: []
  joins:
    description: The node has a controller that joins a quorum.
    type: bool
    default: false
  users:
    description: Users that exist from the first start on, name to password. Only for the first controllers.
    type: dict
    default: {}
  owner:
    description: User that runs Kafka.
    type: str
    default: kafka
"""

EXAMPLES = r"""
- name: Format the volume
  selfhosted.ec2.kafka_format:
    home: /opt/kafka/kafka-4.3.1
    config_file: /etc/kafka/server.properties
    data_dir: /var/lib/kafka/data
    identity_file: /var/lib/kafka/identity.json
    identity: {member: events-1, domain: trading.internal, cluster_id: Tz8q1vYbQkWb3mVdE0hH5g, node_id: 1}
    initial_controllers: ["1@events-1.trading.internal:9093:Y0mJ3b7vS0q2xkq9n4bJ2w"]
    users: {broker: "{{ platform_secrets['kafka/broker_password'] }}"}
"""

RETURN = r""" # """

import base64
import json
import os
import secrets
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import kafka, kafka_protocol

ITERATIONS = 8192


def scram_argument(name, password):
    """Return one user as the storage tool wants it: salted, so that the tool never sees the password."""
    salt = secrets.token_bytes(24)
    salted = base64.b64encode(kafka_protocol.salted_password(password, salt, ITERATIONS)).decode()
    shown = base64.b64encode(salt).decode()
    return f'SCRAM-SHA-512=[name={name},iterations={ITERATIONS},salt="{shown}",saltedpassword="{salted}"]'


def arguments(params):
    """Return the lines of the storage tool's argument file."""
    lines = ["format", "--config", params["config_file"], "--cluster-id", params["identity"]["cluster_id"]]
    if params["initial_controllers"]:
        lines += ["--initial-controllers", ",".join(params["initial_controllers"])]
        for name, password in sorted(params["users"].items()):
            lines += ["--add-scram", scram_argument(name, password)]
    elif params["joins"]:
        lines.append("--no-initial-controllers")
    return lines


def refusal(disk, identity):
    """Return why a formatted volume is not this member's, as a sentence, or an empty text."""
    if disk["cluster_id"] != identity["cluster_id"]:
        return f"the volume belongs to cluster {disk['cluster_id']}, not to {identity['cluster_id']}"
    if disk["node_id"] != int(identity["node_id"]):
        return f"the volume belongs to node {disk['node_id']}, not to {identity['node_id']}"
    return ""


def write_identity(path, identity):
    """Write the identity file, whole or not at all."""
    with open(path + ".new", "w", encoding="utf-8") as handle:
        json.dump(identity, handle, indent=4, sort_keys=True)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.chmod(path + ".new", 0o644)
    os.replace(path + ".new", path)


def format_volume(module):
    """Run the storage tool as the user that runs Kafka; fails the module when it fails."""
    params = module.params
    # Named by nobody else: /run belongs to root.
    path = f"/run/kafka-format-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as handle:
            handle.write("".join(line + "\n" for line in arguments(params)))
        shutil.chown(path, params["owner"])
        classes = os.path.join(params["home"], "libs", "*")
        line = ["runuser", "-u", params["owner"], "--", "java", "-Xmx128M", "-XX:TieredStopAtLevel=1", "-cp", classes]
        code, out, error = module.run_command([*line, "kafka.tools.StorageTool", f"@{path}"])
    finally:
        if os.path.exists(path):
            os.unlink(path)
    if code:
        shown = " ".join((error or out).split())[-600:]
        module.fail_json(msg=f"Kafka's storage tool could not format {params['data_dir']}: {shown}")


def main():
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "config_file": {"type": "path", "required": True},
            "data_dir": {"type": "path", "required": True},
            "identity_file": {"type": "path", "required": True},
            "identity": {"type": "dict", "required": True},
            "initial_controllers": {"type": "list", "elements": "str", "default": []},
            "joins": {"type": "bool", "default": False},
            "users": {"type": "dict", "default": {}, "no_log": True},
            "owner": {"type": "str", "default": "kafka"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        found = kafka.read_disk(params["identity_file"], params["data_dir"])
        reason = refusal(found["disk"], params["identity"]) if found["disk"] else ""
        if reason:
            module.fail_json(msg=f"{params['data_dir']} was not formatted: {reason}.")
        changed = not found["disk"] or found["identity"] != params["identity"]
        if changed and not module.check_mode:
            # The identity first: a run that is cut off here is told apart from a disk that has lost its data.
            write_identity(params["identity_file"], params["identity"])
            if not found["disk"]:
                format_volume(module)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{params['data_dir']} was not formatted: {error}.")
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()

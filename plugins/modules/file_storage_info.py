#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: file_storage_info
short_description: What a member of the file storage holds and answers
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the volume's identity and how far its copy is, and asks the gateway and the cache of this host, in one
    execution. With O(require) it is the health gate.
attributes:
  check_mode:
    description: Changes nothing.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  platform:
    description: Linux hosts.
    platforms: posix
    support: full
options:
  name:
    description: This host's member.
    type: str
    required: true
  host:
    description: The name in its certificate.
    type: str
    required: true
  ports:
    description: Ports to ask for the member's role over TLS, by what they serve.
    type: dict
    default: {}
  ca_file:
    description: Certificates to trust.
    type: path
    required: true
  directory:
    description: Mount point of the volume.
    type: path
    required: true
  role_file:
    description: File that says as what the gateway runs.
    type: path
    required: true
  copy_bound:
    description: Seconds that the copy of a standby may be behind.
    type: int
    default: 300
  require:
    description: V(healthy) fails unless this member answers as what it is, with its copy within O(copy_bound).
    type: str
    choices: [nothing, healthy]
    default: nothing
  wait:
    description: Seconds to wait for that.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Wait until this member is well
  selfhosted.ec2.file_storage_info:
    name: files-1
    host: files-1.trading.internal
    ports: {gateway: 7070, cache: 7080}
    ca_file: /etc/file-storage/tls/ca.crt
    directory: /srv/files
    role_file: /run/file-storage/role.env
    require: healthy
    wait: 60
"""

RETURN = r"""
role:
  description: V(primary) takes writes, V(standby) copies and answers reads; empty when not decided since the boot.
  returned: always
  type: str
epoch:
  description: Number of the last change of the primary that the gateway knows.
  returned: always
  type: int
identity:
  description: Member and domain that the volume belongs to, empty when it is new.
  returned: always
  type: dict
joining:
  description: Member and domain of a volume whose first whole copy has not ended, else empty.
  returned: always
  type: dict
holds_data:
  description: The volume holds buckets.
  returned: always
  type: bool
last_copy:
  description: The last complete copy, with the seconds since 1970 at which it C(started) and C(finished).
  returned: always
  type: dict
status:
  description: HTTP status, or what went wrong, by port.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, file_storage


def read(params):
    """Return the module's answer for its parameters.

    :raises OSError, ValueError: a local file cannot be read.
    """
    view = {**file_storage.read_disk(params["directory"]), **file_storage.read_role(params["role_file"])}
    view["status"] = {
        what: file_storage.answer(params["host"], port, params["ca_file"], f"/{view['role']}")
        for what, port in params["ports"].items()
        if view["role"]
    }
    return view


def missing(view, params):
    """Return what O(require) misses in an answer, as a sentence, or an empty text."""
    if params["require"] == "nothing":
        return ""
    return file_storage.missing(view, params["name"], params["copy_bound"])


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "ports": {"type": "dict", "default": {}},
            "ca_file": {"type": "path", "required": True},
            "directory": {"type": "path", "required": True},
            "role_file": {"type": "path", "required": True},
            "copy_bound": {"type": "int", "default": 300},
            **cluster_client.gate_options("healthy"),
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        view, sentence = cluster_client.wait_until(
            lambda: read(params), lambda found: missing(found, params), params["wait"], 0.5
        )
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"The file storage cannot be read on this host: {error}.")
    cluster_client.leave(module, view, sentence)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_cluster_info
short_description: Read, or wait for, the state of a RabbitMQ cluster
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks every member's management API what it sees, and the majority for the quorum queues, in one execution.
  - A member that does not answer is no failure; it is reported as not well.
  - Reads whether this host's volume holds data, its identity file, and which version is installed.
attributes:
  check_mode:
    description: Does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
  platform:
    description: Linux hosts.
    platforms: posix
    support: full
extends_documentation_fragment: [selfhosted.ec2.rabbitmq]
options:
  identity_file:
    description: File beside the data that says which member the volume holds.
    type: path
  data_dir:
    description: Directory of the node's data on this host.
    type: path
  require:
    description:
      - What must be so before the module returns.
      - "V(healthy): this member runs with a majority, nothing is parted, no alarm is raised, every quorum queue has a
        leader, and those with a replica here have it online."
      - "V(redundant): all other members are well, all other replicas are online, and no queue would lose its majority
        without this member."
      - "V(complete): all members and all replicas are well."
    type: str
    choices: [nothing, healthy, redundant, complete]
    default: nothing
  wait:
    description: Seconds to wait for what O(require) says before the module fails.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Wait until this member is well
  selfhosted.ec2.rabbitmq_cluster_info:
    name: queue-1
    members: {queue-1: queue-1.trading.internal, queue-2: queue-2.trading.internal, queue-3: queue-3.trading.internal}
    ca_file: /etc/rabbitmq/tls/ca.crt
    password: "{{ platform_secrets['rabbitmq/admin_password'] }}"
    require: healthy
    wait: 60
"""

RETURN = r"""
quorum:
  description: More than half of the members run together.
  returned: always
  type: bool
running:
  description: Members that the majority sees running.
  returned: always
  type: list
  elements: str
known:
  description: Members of the cluster as the majority lists them, running or not.
  returned: always
  type: list
  elements: str
drained:
  description: Members in maintenance mode.
  returned: always
  type: list
  elements: str
healthy:
  description: Members that are well.
  returned: always
  type: list
  elements: str
unhealthy:
  description: The others, with the reason.
  returned: always
  type: dict
alarms:
  description: Alarms of memory and disk, which stop publishers of the whole cluster.
  returned: always
  type: list
  elements: str
partitions:
  description: Members that are parted from others, with these.
  returned: always
  type: dict
critical:
  description: Members without which a quorum queue would lose its majority.
  returned: always
  type: list
  elements: str
versions:
  description: Version of each member that answers.
  returned: always
  type: dict
queues:
  description: Quorum queues with their leader, their members, and those online.
  returned: always
  type: list
  elements: dict
identity:
  description: Content of the identity file, null when there is none.
  returned: always
  type: dict
holds_data:
  description: The data directory of this host holds something.
  returned: always
  type: bool
installed:
  description: Debian's version of the installed package, empty when there is none.
  returned: always
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq


def wait_until(params):
    """Read again until O(require) is met; return the last answer and what is missing."""
    cluster = rabbitmq.Cluster(params)
    end = time.monotonic() + params["wait"]
    while True:
        found = cluster.read()
        sentence = rabbitmq.missing(found, params["name"], params["require"])
        if not sentence or time.monotonic() >= end:
            return found, sentence
        time.sleep(1)


def installed(module):
    """Return Debian's version of the installed package, an empty text when it is not installed."""
    # ${db:Status-Status} is "not-installed" or "config-files" for a package that is gone.
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", "rabbitmq-server"]
    code, text, _errors = module.run_command(command)
    status, _space, version = text.partition(" ")
    return version if code == 0 and status not in ("not-installed", "config-files") else ""


def main():
    module = AnsibleModule(
        argument_spec={
            **rabbitmq.argument_spec(),
            "identity_file": {"type": "path"},
            "data_dir": {"type": "path"},
            "require": {
                "type": "str",
                "choices": ["nothing", "healthy", "redundant", "complete"],
                "default": "nothing",
            },
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        found, sentence = wait_until(module.params)
        found.update(rabbitmq.read_disk(module.params["identity_file"], module.params["data_dir"]))
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"RabbitMQ cannot be read from this host: {error}.")
    found["installed"] = installed(module)
    if sentence:
        module.fail_json(msg=sentence, **found)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()

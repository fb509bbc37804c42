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
extends_documentation_fragment:
  - selfhosted.ec2.rabbitmq
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.cluster_client.volume
  - selfhosted.ec2.cluster_client.wait
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, rabbitmq


def read(params):
    """Return the module's answer for its parameters.

    :raises OSError, ValueError: a local file cannot be read.
    """
    disk = rabbitmq.read_disk(params["identity_file"], params["data_dir"])
    return dict(rabbitmq.Cluster(params).read(), **disk)


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
            **cluster_client.volume_options(),
            **cluster_client.gate_options("healthy", "redundant", "complete"),
        },
        supports_check_mode=True,
    )
    try:
        cluster, sentence = cluster_client.gate(module, read, rabbitmq.missing)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"RabbitMQ cannot be read from this host: {error}.")
    cluster_client.leave(module, dict(cluster, installed=installed(module)), sentence)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_cluster_info
short_description: Read, or wait for, the state of a Kafka cluster
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks every broker and controller in one execution what it is, the active controller for the voters, and one broker
    for all partitions.
  - A member that does not answer is no failure; it is reported as not well.
  - Reads whether this host's volume is formatted, and its identity file.
extends_documentation_fragment:
  - selfhosted.ec2.kafka
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.cluster_client.volume
  - selfhosted.ec2.cluster_client.wait
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
  topics:
    description: Described topics, name to number of partitions, to be compared with those that exist.
    type: dict
    default: {}
  require:
    description:
      - What must be so before the module returns.
      - "V(healthy): the controllers have a leader, no partition is without one, and this member is well: its voter is
        at the end of the log, its replicas are in sync."
      - "V(redundant): all other members are well and no partition has fewer replicas in sync than a write needs, so
        this one may be stopped."
      - "V(complete): all members are well."
    type: str
    choices: [nothing, healthy, redundant, complete]
    default: nothing
"""

EXAMPLES = r"""
- name: Wait until this member is well
  selfhosted.ec2.kafka_cluster_info:
    name: events-1
    nodes:
      events-1: {id: 1, host: events-1.trading.internal, broker: true, controller: true}
      events-2: {id: 2, host: events-2.trading.internal, broker: true, controller: true}
      events-3: {id: 3, host: events-3.trading.internal, broker: true, controller: true}
    home: /opt/kafka/kafka-4.3.1
    ca_file: /etc/kafka/tls/ca.crt
    cert_file: /etc/kafka/tls/controller.pem
    password: "{{ platform_secrets['kafka/admin_password'] }}"
    require: healthy
    wait: 120
"""

RETURN = r"""
cluster_id:
  description: Id of the cluster, empty when no broker answers.
  returned: always
  type: str
leader:
  description: The member whose controller is active, empty when there is none.
  returned: always
  type: str
quorum:
  description: The controllers have a leader.
  returned: always
  type: bool
voters:
  description: Voters of the controllers' quorum, member to directory id. One that is not described goes by its number.
  returned: always
  type: dict
observers:
  description: Nodes that only follow the controllers' log, in the same form.
  returned: always
  type: dict
brokers:
  description: Brokers that the cluster knows.
  returned: always
  type: list
  elements: str
features:
  description: Finalized features and their levels.
  returned: always
  type: dict
offline:
  description: Partitions without a leader.
  returned: always
  type: list
  elements: str
under_min_isr:
  description: Partitions with fewer replicas in sync than their topic's min.insync.replicas.
  returned: always
  type: list
  elements: str
under_replicated:
  description: Number of replicas that are not in sync.
  returned: always
  type: int
topics:
  description: Topics and their numbers of partitions.
  returned: always
  type: dict
shrunk:
  description: What of O(topics) has more partitions already than described, as sentences.
  returned: always
  type: list
  elements: str
healthy:
  description: Members that are well.
  returned: always
  type: list
  elements: str
joining:
  description: Described controllers that do not vote yet; the text is empty for those that follow the leader.
  returned: always
  type: dict
unhealthy:
  description: The others, with the reason.
  returned: always
  type: dict
identity:
  description: Content of the identity file, null when there is none.
  returned: always
  type: dict
disk:
  description: C(cluster_id), C(node_id) and C(directory) of a formatted disk, else null.
  returned: always
  type: dict
memory_mib:
  description: Memory that this host sees.
  returned: always
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, kafka


def read(params):
    """Return the module's answer for its parameters.

    :raises OSError, ValueError: a local file cannot be read.
    """
    disk = kafka.read_disk(params["identity_file"], params["data_dir"])
    cluster = kafka.Cluster(params).read(params["name"])
    shrunk = kafka.shrunk(cluster["topics"], params["topics"])
    return dict(cluster, **disk, shrunk=shrunk, memory_mib=kafka.memory_mib())


def main():
    module = AnsibleModule(
        argument_spec={
            **kafka.argument_spec(),
            **cluster_client.volume_options(),
            "topics": {"type": "dict", "default": {}},
            **cluster_client.gate_options("healthy", "redundant", "complete"),
        },
        supports_check_mode=True,
    )
    try:
        cluster, sentence = cluster_client.gate(module, read, kafka.missing)
    except (OSError, ValueError, kafka.KafkaError) as error:
        module.fail_json(msg=f"Kafka cannot be read from this host: {error}.")
    cluster_client.leave(module, cluster, sentence)


if __name__ == "__main__":
    main()

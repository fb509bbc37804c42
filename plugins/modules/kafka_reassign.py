#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_reassign
short_description: Move replicas of Kafka's partitions to the described brokers
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Moves replicas off brokers that are not described or in O(drain), brings topics to their number of replicas, and
    evens out how many each broker has. A replica that may stay stays; no rack gets two of one partition while another
    has none.
  - Only the replicas that move are throttled, and the throttle is taken away at the end. A run that was cut off is gone
    on with by the next one, which waits for what moves already.
extends_documentation_fragment:
  - selfhosted.ec2.kafka
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the replicas before and after.
    support: full
options:
  drain:
    description: Described brokers that shall have no replicas.
    type: list
    elements: str
    default: []
  factors:
    description: Number of replicas by topic. Other topics keep theirs.
    type: dict
    default: {}
  balance:
    description: Even out the number of replicas of the brokers.
    type: bool
    default: true
  throttle:
    description: Bytes a second that a broker may send, and take, for what moves. V(0) for no limit.
    type: int
    default: 20971520
  unregister:
    description: Let the cluster forget brokers that are not described, have no replicas and do not run.
    type: bool
    default: false
  wait:
    description: Seconds to wait for the end of the moves. They go on when it is over, throttled, and the module fails.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Use new brokers, too
  selfhosted.ec2.kafka_reassign:
    name: events-1
    nodes:
      events-1: {id: 1, host: events-1.trading.internal, broker: true, controller: true}
    home: /opt/kafka/kafka-4.3.1
    ca_file: /etc/kafka/tls/ca.crt
    cert_file: /etc/kafka/tls/node.pem
    password: "{{ platform_secrets['kafka/admin_password'] }}"
    throttle: 52428800
"""

RETURN = r"""
steps:
  description: What was, or in check mode would be, moved and forgotten.
  returned: always
  type: list
  elements: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import kafka, kafka_moves, kafka_objects, kafka_protocol

RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
#: Where an option of a broker comes from that was set for it alone (DescribeConfigs, ConfigSource).
OF_BROKER = 2
SET = 0
DELETE = 1
TIMEOUT_MS = 30000
#: A broker that has ended is taken for running until its session is over.
END_SECONDS = 30


def configure(connection, resources):
    """Set and delete options: (type, name, {key: value, or None to delete it})."""
    wanted = [
        {
            "ResourceType": kind,
            "ResourceName": name,
            "Configs": [
                {"Name": key, "ConfigOperation": DELETE if value is None else SET, "Value": value}
                for key, value in options.items()
            ],
        }
        for kind, name, options in resources
        if options
    ]
    if wanted:
        for item in connection.call("IncrementalAlterConfigs", {"Resources": wanted})["Responses"]:
            if item["ErrorCode"]:
                reason = kafka_protocol.error_text(item["ErrorCode"], item["ErrorMessage"])
                raise kafka.KafkaError(f"the configuration of {item['ResourceName']} was not changed: {reason}")


class Mover:
    """Moves replicas, and keeps what it did as text.

    :arg cluster: C(kafka.Cluster).
    :arg connection: to any broker.
    """

    def __init__(self, cluster, connection, params):
        self._cluster, self._connection, self._params = cluster, connection, params
        self.steps = []

    def _running(self, state):
        """Return {id: name} of the brokers that can be asked: each knows and takes its own options alone."""
        running = {key for key, item in state["brokers"].items() if not item["fenced"]}
        return {node["id"]: name for name, node in self._cluster.nodes.items() if node["id"] in running}

    def _moving(self):
        """Return the partitions that move, as labels."""
        topics = self._connection.call("ListPartitionReassignments", {"Topics": None})["Topics"]
        return [f"{topic['Name']}-{part['PartitionIndex']}" for topic in topics for part in topic["Partitions"]]

    def _limit(self, state):
        """Limit what each broker may send and take for moves."""
        limits = dict.fromkeys(RATES, str(self._params["throttle"]))
        for key, name in self._running(state).items():
            with self._cluster.broker(name) as broker:
                configure(broker, [(kafka.BROKER, str(key), limits)])

    def take_up(self):
        """Wait for the moves of an earlier run, at this run's rate: it may have been far too low for them.

        :raises KafkaError: it takes too long.
        """
        if self._moving():
            if self._params["throttle"]:
                self._limit(kafka.describe_cluster(self._connection))
            self.await_moves()

    def await_moves(self):
        """Wait until nothing moves.

        :raises KafkaError: it takes too long.
        """
        end = time.monotonic() + self._params["wait"]
        while moving := self._moving():
            if time.monotonic() > end:
                raise kafka.KafkaError(
                    f"{len(moving)} partitions still move after {self._params['wait']} s; run it again to wait on"
                )
            time.sleep(1)

    def unthrottle(self, state):
        """Take the throttles away that this or an earlier run has set; return whether there were any."""
        found = self._unset(
            self._connection, kafka.TOPIC, sorted(state["topics"]), kafka_objects.THROTTLES, kafka_objects.OF_TOPIC
        )
        for key, name in self._running(state).items():
            with self._cluster.broker(name) as broker:
                found += self._unset(broker, kafka.BROKER, [str(key)], RATES, OF_BROKER)
        return bool(found)

    @staticmethod
    def _unset(connection, kind, names, keys, source):
        """Take options away where that source has set them; return those resources."""
        resources = []
        for name, found in kafka.describe_configs(connection, kind, names, list(keys)).items():
            left = [key for key in keys if key in found and found[key]["source"] == source]
            if left:
                resources.append((kind, name, dict.fromkeys(left)))
        configure(connection, resources)
        return resources

    def move(self, moves, state):
        """Throttle and begin."""
        if self._params["throttle"]:
            self._limit(state)
            resources = []
            for name, lists in kafka_moves.throttled(moves, state["topics"]).items():
                options = {key: value for key, value in zip(kafka_objects.THROTTLES, lists, strict=True) if value}
                resources.append((kafka.TOPIC, name, options))
            configure(self._connection, resources)
        topics = {}
        for (name, partition), replicas in sorted(moves.items()):
            topics.setdefault(name, []).append({"PartitionIndex": partition, "Replicas": replicas})
        values = [{"Name": name, "Partitions": parts} for name, parts in topics.items()]
        answer = self._connection.call("AlterPartitionReassignments", {"TimeoutMs": TIMEOUT_MS, "Topics": values})
        for topic in answer["Responses"]:
            for part in topic["Partitions"]:
                if part["ErrorCode"]:
                    reason = kafka_protocol.error_text(part["ErrorCode"], part["ErrorMessage"])
                    raise kafka.KafkaError(f"{topic['Name']}-{part['PartitionIndex']} cannot move: {reason}")


def strangers(state, nodes):
    """Return {id: whether it runs} of brokers that are not described and have no replicas."""
    described = {node["id"] for node in nodes.values() if node["broker"]}
    used = {broker for topic in state["topics"].values() for part in topic["partitions"] for broker in part["replicas"]}
    return {key: not item["fenced"] for key, item in state["brokers"].items() if key not in described | used}


def await_end(connection, nodes):
    """Return ids of brokers to forget, when they have ended; one that goes on running is left out."""
    end = time.monotonic() + END_SECONDS
    while True:
        found = strangers(kafka.describe_cluster(connection), nodes)
        if not any(found.values()) or time.monotonic() > end:
            return sorted(key for key, runs in found.items() if not runs)
        time.sleep(1)


def run(module):
    """Plan, move, wait and clean up; return the module's answer."""
    params = module.params
    cluster = kafka.Cluster(params)
    with cluster.any_broker() as connection:
        mover = Mover(cluster, connection, params)
        if not module.check_mode:
            mover.take_up()
        state = kafka.describe_cluster(connection)
        ids = {node["id"] for name, node in cluster.nodes.items() if node["broker"] and name not in params["drain"]}
        racks = {
            key: item["rack"] or str(key) for key, item in state["brokers"].items() if key in ids and not item["fenced"]
        }
        factors = {name: int(value) for name, value in params["factors"].items()}
        moves = kafka_moves.plan(state["topics"], racks, factors, params["balance"])
        before, after = [], []
        for (name, partition), replicas in sorted(moves.items()):
            there = state["topics"][name]["partitions"][partition]["replicas"]
            before.append(f"{name}-{partition}: {there}")
            after.append(f"{name}-{partition}: {replicas}")
            mover.steps.append(f"move {name}-{partition} from {there} to {replicas}")
        if moves and not module.check_mode:
            mover.move(moves, state)
            mover.await_moves()
        if not module.check_mode and mover.unthrottle(state) and not moves:
            mover.steps.append("take the throttle of an earlier run away")
        if params["unregister"]:
            for key in await_end(connection, cluster.nodes):
                mover.steps.append(f"forget broker {key}")
                if not module.check_mode:
                    connection.call("UnregisterBroker", {"BrokerId": key})
    return {"changed": bool(mover.steps), "steps": mover.steps, "diff": {"before": before, "after": after}}


def main():
    module = AnsibleModule(
        argument_spec={
            **kafka.argument_spec(),
            "drain": {"type": "list", "elements": "str", "default": []},
            "factors": {"type": "dict", "default": {}},
            "balance": {"type": "bool", "default": True},
            "throttle": {"type": "int", "default": 20 * 1024**2},
            "unregister": {"type": "bool", "default": False},
            "wait": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (OSError, ValueError, kafka.KafkaError, kafka_moves.Impossible) as error:
        module.fail_json(msg=f"The replicas of Kafka were not moved: {error}.")


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_quorum
short_description: Bring the voters of Kafka's controllers to those described
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the voters from the active controller, adds described controllers that follow the log but do not vote, and
    removes voters that are not described, one after the other.
  - A controller that has come back on an empty disk has a new directory id. Its old voter is removed first, then it is
    added. This is done only when the old one is away, for O(replace) or a member that follows already.
  - A member is added only when it has all of the leader's log. Nothing is removed while fewer than a majority of the
    voters that stay are well.
extends_documentation_fragment:
  - selfhosted.ec2.kafka
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the voters before and after.
    support: full
options:
  replace:
    description: Member whose voter is lost with its disk and is removed before it follows with a new one.
    type: str
    default: ""
  remove:
    description: Members that leave the quorum, though they are described.
    type: list
    elements: str
    default: []
  wait:
    description: Seconds to wait for a new voter to have all of the leader's log.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Let all described controllers vote
  selfhosted.ec2.kafka_quorum:
    name: events-1
    nodes:
      events-1: {id: 1, host: events-1.trading.internal, broker: true, controller: true}
    home: /opt/kafka/kafka-4.3.1
    ca_file: /etc/kafka/tls/ca.crt
    cert_file: /etc/kafka/tls/controller.pem
    password: "{{ platform_secrets['kafka/admin_password'] }}"
"""

RETURN = r"""
steps:
  description: What was, or in check mode would be, done.
  returned: always
  type: list
  elements: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import kafka, kafka_protocol


def plan(nodes, quorum, replace="", remove=()):
    """Return the steps to the described voters: C(action), C(member), C(id), C(directory).

    Votes that nobody casts go first, those of members that only change their place last: new ones are there by then.

    :arg quorum: what C(kafka.describe_quorum) returns.
    :arg replace: member whose voter is gone for good.
    :arg remove: described members that leave.
    """
    wanted = {node["id"]: name for name, node in nodes.items() if node["controller"] and name not in remove}
    names = {node["id"]: name for name, node in nodes.items()}
    following = {item["id"]: item["directory"] for item in quorum["observers"]}
    voting = {item["id"]: item["directory"] for item in quorum["voters"]}
    away = {
        item["id"] for item in quorum["voters"] if item["away_ms"] > kafka.LAG_MS and item["id"] != quorum["leader"]
    }
    removed = {
        key: {"action": "remove", "member": names.get(key, str(key)), "id": key, "directory": directory}
        for key, directory in sorted(voting.items())
        if key not in wanted or (key in away and (key in following or names.get(key) == replace))
    }
    added = [
        {"action": "add", "member": name, "id": key, "directory": following[key]}
        for key, name in sorted(wanted.items())
        if key in following and (key not in voting or key in removed)
    ]
    lost = [step for key, step in removed.items() if key in away]
    return [*lost, *added, *(step for key, step in removed.items() if key not in away)]


def unsafe(quorum, key):
    """Return why a voter must not be removed, as a sentence, or an empty text."""
    staying = [item for item in quorum["voters"] if item["id"] != key]
    well = [item for item in staying if item["behind_ms"] <= kafka.LAG_MS]
    if len(well) < len(staying) // 2 + 1:
        return f"only {len(well)} of the {len(staying)} voters that would stay are at the end of the log"
    return ""


class Changer:
    """Carries steps out at the active controller."""

    def __init__(self, cluster, params):
        self._cluster, self._params = cluster, params

    def _leader(self):
        end = time.monotonic() + self._params["wait"]
        while True:
            try:
                return self._cluster.leader()
            except kafka.KafkaError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def remove(self, step, cluster_id):
        """Remove one voter.

        :raises KafkaError: the majority that stays is not well, or the controller refuses.
        """
        _name, connection, quorum = self._leader()
        with connection:
            reason = unsafe(quorum, step["id"])
            if reason:
                raise kafka.KafkaError(f"{step['member']} was not removed: {reason}")
            values = {"ClusterId": cluster_id, "VoterId": step["id"], "VoterDirectoryId": self._long(step)}
            connection.call("RemoveRaftVoter", values)
        self._until(lambda quorum: all(item["directory"] != step["directory"] for item in quorum["voters"]), step)

    def add(self, step, cluster_id):
        """Add one voter, once it has all of the log.

        :raises KafkaError: it does not get there in time, or the controller refuses.
        """

        def ready(quorum):
            found = [item for item in quorum["observers"] if item["directory"] == step["directory"]]
            return bool(found) and found[0]["behind_ms"] <= 2000

        self._until(ready, step)
        _name, connection, _quorum = self._leader()
        node = self._cluster.nodes[step["member"]]
        listener = {"Name": kafka.CONTROLLER_LISTENER, "Host": node["host"], "Port": self._params["controller_port"]}
        values = {
            "ClusterId": cluster_id,
            "TimeoutMs": 30000,
            "VoterId": step["id"],
            "VoterDirectoryId": self._long(step),
            "Listeners": [listener],
        }
        with connection:
            connection.call("AddRaftVoter", values)
        self._until(lambda quorum: any(item["directory"] == step["directory"] for item in quorum["voters"]), step)

    @staticmethod
    def _long(step):
        return kafka_protocol.long_uuid(step["directory"])

    def _until(self, condition, step):
        end = time.monotonic() + self._params["wait"]
        while True:
            _name, connection, quorum = self._leader()
            connection.close()
            if condition(quorum):
                return
            if time.monotonic() > end:
                raise kafka.KafkaError(
                    f"{step['member']} could not be {'added' if step['action'] == 'add' else 'removed'}"
                    f" within {self._params['wait']} s"
                )
            time.sleep(0.5)


def run(module):
    """Read, plan and carry out; return the module's answer."""
    params = module.params
    cluster = kafka.Cluster(params)
    _leader, connection, quorum = cluster.leader()
    connection.close()
    steps = plan(cluster.nodes, quorum, params["replace"], params["remove"])
    before = sorted(f"{item['id']}@{item['directory']}" for item in quorum["voters"])
    after = set(before)
    for step in steps:
        entry = {f"{step['id']}@{step['directory']}"}
        after = after | entry if step["action"] == "add" else after - entry
    if steps and not module.check_mode:
        with cluster.any_broker() as connection:
            cluster_id = connection.call("DescribeCluster")["ClusterId"]
        changer = Changer(cluster, params)
        for step in steps:
            (changer.add if step["action"] == "add" else changer.remove)(step, cluster_id)
    shown = [f"{step['action']} {step['member']} ({step['id']}@{step['directory']})" for step in steps]
    return {"changed": bool(steps), "steps": shown, "diff": {"before": before, "after": sorted(after)}}


def main():
    module = AnsibleModule(
        argument_spec={
            **kafka.argument_spec(),
            "replace": {"type": "str", "default": ""},
            "remove": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (OSError, ValueError, kafka.KafkaError) as error:
        module.fail_json(msg=f"The voters of Kafka's controllers were not changed: {error}.")


if __name__ == "__main__":
    main()

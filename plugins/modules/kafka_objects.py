#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_objects
short_description: Topics, ACLs, quotas, users and cluster-wide options of Kafka as sets
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads everything at one broker, compares it with what is described, and writes only what differs, all in one
    execution. What is equal is never written again, so the eligible leader replicas stay as they are.
  - ACLs, quotas and users that are not described are removed. Topics are not, unless O(remove_topics) names them.
  - Whether a user has the described password is found by logging in with it; passwords cannot be read back.
extends_documentation_fragment:
  - selfhosted.ec2.kafka
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows what would be, or was, done, without passwords.
    support: full
options:
  topics:
    description: Topics.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      partitions:
        description: Number of partitions. It can only grow.
        type: int
        required: true
      replication_factor:
        description: Number of replicas, by default O(replication_factor). It is changed by reassign_kafka.yml.
        type: int
      min_insync_replicas:
        description: Replicas that a write with acks=all needs, by default O(min_insync_replicas).
        type: int
      config:
        description: Further options of the topic. Others are taken away.
        type: dict
  replication_factor:
    description: Number of replicas of a topic that does not say it.
    type: int
    default: 3
  min_insync_replicas:
    description: Replicas in sync that a write needs, of a topic that does not say it.
    type: int
    default: 2
  remove_topics:
    description: Topics that are deleted with all their data.
    type: list
    elements: str
    default: []
  cluster_config:
    description: Dynamic options of all brokers. Others are taken away.
    type: dict
    default: {}
  acls:
    description: ACLs. Without one nothing is allowed.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: User; C(*) for all.
        type: str
        required: true
      resource:
        description: Kind of resource.
        type: str
        choices: [topic, group, cluster, transactional_id]
        required: true
      name:
        description: Name of the resource, or its beginning. Not for a cluster.
        type: str
      pattern:
        description: How the name is meant, V(literal) by default.
        type: str
        choices: [literal, prefixed]
      operations:
        description: Operations.
        type: list
        elements: str
        required: true
      permission:
        description: V(allow) by default.
        type: str
        choices: [allow, deny]
      host:
        description: Address of the client, by default any.
        type: str
  quotas:
    description: Quotas of a user, a client id, both, or an address. C(*) stands for all that have none of their own.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: User.
        type: str
      client_id:
        description: Client id.
        type: str
      ip:
        description: Address.
        type: str
      producer_byte_rate:
        description: Bytes a second, for each broker.
        type: float
      consumer_byte_rate:
        description: Bytes a second, for each broker.
        type: float
      request_percentage:
        description: Share of a broker's threads in percent.
        type: float
      controller_mutation_rate:
        description: Partitions that may be made or removed in a second.
        type: float
  users:
    description: Users, name to password (SCRAM-SHA-512).
    type: dict
    default: {}
  system_users:
    description: Users that are left alone.
    type: list
    elements: str
    default: [admin, broker]
"""

EXAMPLES = r"""
- name: Bring topics and rights to what is described
  selfhosted.ec2.kafka_objects:
    name: events-1
    nodes:
      events-1: {id: 1, host: events-1.trading.internal, broker: true, controller: true}
    home: /opt/kafka/kafka-4.3.1
    ca_file: /etc/kafka/tls/ca.crt
    cert_file: /etc/kafka/tls/controller.pem
    password: "{{ platform_secrets['kafka/admin_password'] }}"
    topics:
      - {name: orders, partitions: 12, config: {retention.ms: 604800000}}
    users: {trading: "{{ platform_secrets['kafka/users/trading'] }}"}
    acls:
      - {user: trading, resource: topic, name: orders, operations: [read, write, describe]}
    quotas:
      - {user: trading, producer_byte_rate: 10485760}
"""

RETURN = r"""
steps:
  description: What was, or in check mode would be, done, without passwords.
  returned: always
  type: list
  elements: str
"""

import secrets
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import kafka, kafka_objects, kafka_protocol

SHA512 = 2
ITERATIONS = 8192
TIMEOUT_MS = 30000
WRONG_PASSWORD = 58
SET = 0
DELETE = 1
#: Filter that every ACL passes.
ANY_ACL = {
    "ResourceTypeFilter": 1,
    "ResourceNameFilter": None,
    "PatternTypeFilter": 1,
    "PrincipalFilter": None,
    "HostFilter": None,
    "Operation": 1,
    "PermissionType": 1,
}


def checked(items, kind):
    """Raise KafkaError for the first item of an answer that is an error."""
    for item in items:
        if item["ErrorCode"]:
            label = item.get("Name") or item.get("ResourceName") or item.get("User") or ""
            reason = kafka_protocol.error_text(item["ErrorCode"], item.get("ErrorMessage"))
            raise kafka.KafkaError(f"{kind} {label}: {reason}".replace(" :", ":"))


class Bringer:
    """Compares and writes, and keeps what it did as text."""

    def __init__(self, cluster, connection, params, check_mode):
        self._cluster, self._connection, self._params = cluster, connection, params
        self._check_mode = check_mode
        self.steps = []
        self._state = kafka.describe_cluster(connection)

    def _send(self, name, values, results, kind):
        """Send one request that changes something, unless in check mode."""
        if not self._check_mode:
            checked(self._connection.call(name, values)[results], kind)

    def run(self):
        """Bring everything to what is described.

        :raises kafka_objects.Contradiction: before the first write.
        :raises KafkaError: a request fails; the next run goes on.
        """
        params = self._params
        topics = {name: item["partitions"] for name, item in self._state["topics"].items()}
        wanted = kafka_objects.desired_topics(
            params["topics"], params["replication_factor"], params["min_insync_replicas"]
        )
        running = [item for item in self._state["brokers"].values() if not item["fenced"]]
        kafka_objects.check_topics(wanted, topics, len(running))
        acls = kafka_objects.desired_acls(params["acls"])
        there = kafka_objects.found_acls(self._connection.call("DescribeAcls", ANY_ACL))
        write, remove = self._users()
        self._write_users(write)
        self._create_topics({name: topic for name, topic in wanted.items() if name not in topics})
        self._grow_topics(wanted, topics)
        self._configure(wanted, topics)
        self._add_acls(acls - there)
        self._remove_acls(there - acls)
        self._set_quotas()
        self._remove_users(remove)
        self._remove_topics(sorted(set(params["remove_topics"]) & set(topics) - set(wanted)))

    def _users(self):
        answer = self._connection.call("DescribeUserScramCredentials", {"Users": None})
        found = {
            item["User"]
            for item in answer["Results"]
            if any(info["Mechanism"] == SHA512 for info in item["CredentialInfos"])
        }
        wanted = self._params["users"]
        known = sorted(found & set(wanted))
        with ThreadPoolExecutor(max_workers=4) as pool:
            refused = {name for name, wrong in zip(known, pool.map(self._refuses, known), strict=True) if wrong}
        return kafka_objects.user_changes(wanted, found, refused, self._params["system_users"])

    def _refuses(self, name):
        """Tell whether the described password of a user is not the one that is set."""
        try:
            self._cluster.broker(self._connection.member, (name, self._params["users"][name])).close()
        except kafka_protocol.Refused as error:
            if error.code != WRONG_PASSWORD:
                raise
            return True
        return False

    def _write_users(self, names):
        upsertions = []
        for name in names:
            self.steps.append(f"write user {name}")
            salt = secrets.token_bytes(24)
            salted = kafka_protocol.salted_password(self._params["users"][name], salt, ITERATIONS)
            upsertion = {"Name": name, "Mechanism": SHA512, "Iterations": ITERATIONS}
            upsertions.append({**upsertion, "Salt": salt, "SaltedPassword": salted})
        if upsertions:
            self._send("AlterUserScramCredentials", {"Upsertions": upsertions}, "Results", "user")

    def _remove_users(self, names):
        self.steps += [f"remove user {name}" for name in names]
        if names:
            deletions = [{"Name": name, "Mechanism": SHA512} for name in names]
            self._send("AlterUserScramCredentials", {"Deletions": deletions}, "Results", "user")

    def _create_topics(self, topics):
        creations = []
        for name, topic in sorted(topics.items()):
            self.steps.append(f"create topic {name} with {topic['partitions']} partitions, {topic['factor']} replicas")
            creation = {"Name": name, "NumPartitions": topic["partitions"], "ReplicationFactor": topic["factor"]}
            options = [{"Name": key, "Value": value} for key, value in sorted(topic["config"].items())]
            creations.append({**creation, "Configs": options})
        if creations:
            self._send("CreateTopics", {"Topics": creations, "timeoutMs": TIMEOUT_MS}, "Topics", "topic")

    def _grow_topics(self, wanted, found):
        grown = []
        for name, topic in sorted(wanted.items()):
            if name in found and len(found[name]) < topic["partitions"]:
                self.steps.append(f"grow topic {name} from {len(found[name])} to {topic['partitions']} partitions")
                grown.append({"Name": name, "Count": topic["partitions"], "Assignments": None})
        if grown:
            self._send("CreatePartitions", {"Topics": grown, "TimeoutMs": TIMEOUT_MS}, "Results", "topic")

    def _configure(self, wanted, found):
        names = sorted(set(wanted) & set(found))
        there = kafka.describe_configs(self._connection, kafka.TOPIC, names)
        resources = []
        for name in names:
            changes = kafka_objects.config_changes(wanted[name]["config"], there[name], kafka_objects.OF_TOPIC)
            resources += self._alteration(kafka.TOPIC, name, f"topic {name}", *changes)
        options = {key: kafka_objects.text(value) for key, value in self._params["cluster_config"].items()}
        there = kafka.describe_configs(self._connection, kafka.BROKER, [""])[""]
        changes = kafka_objects.config_changes(options, there, kafka_objects.OF_CLUSTER)
        resources += self._alteration(kafka.BROKER, "", "the cluster", *changes)
        if resources:
            self._send("IncrementalAlterConfigs", {"Resources": resources}, "Responses", "the configuration of")

    def _alteration(self, kind, name, label, changes, removed):
        if not changes and not removed:
            return []
        self.steps += [f"set {key} of {label} to {value}" for key, value in changes.items()]
        self.steps += [f"take {key} from {label}" for key in removed]
        options = [{"Name": key, "ConfigOperation": SET, "Value": value} for key, value in changes.items()]
        options += [{"Name": key, "ConfigOperation": DELETE, "Value": None} for key in removed]
        return [{"ResourceType": kind, "ResourceName": name, "Configs": options}]

    def _add_acls(self, acls):
        creations = []
        for acl in sorted(acls):
            self.steps.append(f"add: {kafka_objects.shown_acl(acl)}")
            creations.append(
                {
                    "ResourceType": acl.resource,
                    "ResourceName": acl.name,
                    "ResourcePatternType": acl.pattern,
                    "Principal": acl.principal,
                    "Host": acl.host,
                    "Operation": acl.operation,
                    "PermissionType": acl.permission,
                }
            )
        if creations:
            self._send("CreateAcls", {"Creations": creations}, "Results", "ACL")

    def _remove_acls(self, acls):
        filters = []
        for acl in sorted(acls):
            self.steps.append(f"remove: {kafka_objects.shown_acl(acl)}")
            filters.append(
                {
                    "ResourceTypeFilter": acl.resource,
                    "ResourceNameFilter": acl.name,
                    "PatternTypeFilter": acl.pattern,
                    "PrincipalFilter": acl.principal,
                    "HostFilter": acl.host,
                    "Operation": acl.operation,
                    "PermissionType": acl.permission,
                }
            )
        if filters:
            self._send("DeleteAcls", {"Filters": filters}, "FilterResults", "ACL")

    def _set_quotas(self):
        answer = self._connection.call("DescribeClientQuotas", {"Components": [], "Strict": False})
        wanted = kafka_objects.desired_quotas(self._params["quotas"])
        entries = []
        for entity, change in kafka_objects.quota_changes(wanted, kafka_objects.found_quotas(answer)).items():
            label = kafka_objects.shown_entity(entity)
            ops = []
            for key, value in sorted(change.items()):
                self.steps.append(f"take {key} from {label}" if value is None else f"set {key} of {label} to {value:g}")
                ops.append({"Key": key, "Value": value or 0.0, "Remove": value is None})
            names = [{"EntityType": kind, "EntityName": name} for kind, name in entity]
            entries.append({"Entity": names, "Ops": ops})
        if entries:
            self._send("AlterClientQuotas", {"Entries": entries}, "Entries", "quota")

    def _remove_topics(self, names):
        self.steps += [f"remove topic {name} with its data" for name in names]
        if names:
            values = {"Topics": [{"Name": name} for name in names], "TimeoutMs": TIMEOUT_MS}
            self._send("DeleteTopics", values, "Responses", "topic")


def bring(params, check_mode):
    """Read, compare and write; return the module's answer."""
    cluster = kafka.Cluster(params)
    with cluster.any_broker() as connection:
        bringer = Bringer(cluster, connection, params, check_mode)
        bringer.run()
    diff = {"before": "", "after": "".join(step + "\n" for step in bringer.steps)}
    return {"changed": bool(bringer.steps), "steps": bringer.steps, "diff": diff}


def main():
    topic = {
        "name": {"type": "str", "required": True},
        "partitions": {"type": "int", "required": True},
        "replication_factor": {"type": "int"},
        "min_insync_replicas": {"type": "int"},
        "config": {"type": "dict"},
    }
    acl = {
        "user": {"type": "str", "required": True},
        "resource": {"type": "str", "choices": list(kafka_objects.RESOURCES), "required": True},
        "name": {"type": "str"},
        "pattern": {"type": "str", "choices": list(kafka_objects.PATTERNS)},
        "operations": {"type": "list", "elements": "str", "required": True},
        "permission": {"type": "str", "choices": ["allow", "deny"]},
        "host": {"type": "str"},
    }
    quota = {
        **{name: {"type": "str"} for name in ("user", "client_id", "ip")},
        **{name: {"type": "float"} for name in kafka_objects.QUOTAS},
    }
    module = AnsibleModule(
        argument_spec={
            **kafka.argument_spec(),
            "topics": {"type": "list", "elements": "dict", "options": topic, "default": []},
            "replication_factor": {"type": "int", "default": 3},
            "min_insync_replicas": {"type": "int", "default": 2},
            "remove_topics": {"type": "list", "elements": "str", "default": []},
            "cluster_config": {"type": "dict", "default": {}},
            "acls": {"type": "list", "elements": "dict", "options": acl, "default": []},
            "quotas": {"type": "list", "elements": "dict", "options": quota, "default": []},
            "users": {"type": "dict", "default": {}, "no_log": True},
            "system_users": {"type": "list", "elements": "str", "default": ["admin", "broker"]},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**bring(module.params, module.check_mode))
    except (OSError, ValueError, kafka.KafkaError, kafka_objects.Contradiction) as error:
        module.fail_json(msg=f"Kafka was not brought to what is described: {error}.")


if __name__ == "__main__":
    main()

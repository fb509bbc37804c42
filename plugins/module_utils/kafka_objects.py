# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Topics, ACLs, quotas, users and cluster-wide options of Kafka: what is described, what is there, what differs."""

from __future__ import annotations

from collections import namedtuple

RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional_id": 5}
OPERATIONS = {
    "all": 2,
    "read": 3,
    "write": 4,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe": 8,
    "cluster_action": 9,
    "describe_configs": 10,
    "alter_configs": 11,
    "idempotent_write": 12,
}
PERMISSIONS = {"deny": 2, "allow": 3}
PATTERNS = {"literal": 3, "prefixed": 4}
#: The quotas that a description may set; each is a number.
QUOTAS = ("producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate")
#: Sources of an option's value, as DescribeConfigs counts them.
OF_TOPIC, OF_CLUSTER = 1, 3
#: Set while partitions move, and taken away by who moves them.
THROTTLES = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")

Acl = namedtuple("Acl", "resource name pattern principal host operation permission")


class Contradiction(Exception):
    """What is described cannot be reached; the text is one sentence."""


def text(value):
    """Return a value as Kafka writes it.

    >>> text(True), text([1, 2]), text(5)
    ('true', '1,2', '5')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(text(item) for item in value)
    return str(value)


def desired_topics(topics, factor, min_isr):
    """Return {name: {partitions, factor, config}} of described topics; I(factor) and I(min_isr) where it is silent."""
    wanted = {}
    for topic in topics:
        config = {key: text(value) for key, value in (topic.get("config") or {}).items()}
        config.setdefault("min.insync.replicas", text(topic.get("min_insync_replicas") or min_isr))
        own = topic.get("replication_factor")
        wanted[topic["name"]] = {
            "partitions": int(topic["partitions"]),
            "factor": int(own or factor),
            "config": config,
        }
    return wanted


def desired_acls(acls):
    """Return the set of C(Acl) that described ones stand for: one for each operation."""
    wanted = set()
    for item in acls:
        resource = item["resource"]
        name = "kafka-cluster" if resource == "cluster" else item["name"]
        for operation in item["operations"]:
            wanted.add(
                Acl(
                    RESOURCES[resource],
                    name,
                    PATTERNS[item.get("pattern") or "literal"],
                    f"User:{item['user']}",
                    item.get("host") or "*",
                    OPERATIONS[operation],
                    PERMISSIONS[item.get("permission") or "allow"],
                )
            )
    return wanted


def desired_quotas(quotas):
    """Return {entity: {quota: number}}; an entity is a sorted tuple of (type, name), the name None for the default."""
    wanted = {}
    for item in quotas:
        kinds = {"user": "user", "client_id": "client-id", "ip": "ip"}
        pairs = ((kinds[key], item[key]) for key in kinds if item.get(key) not in (None, ""))
        entity = tuple(sorted((kind, None if name == "*" else name) for kind, name in pairs))
        wanted[entity] = {key: float(item[key]) for key in QUOTAS if item.get(key) is not None}
    return wanted


def found_acls(answer):
    """Return the set of C(Acl) in an answer to DescribeAcls."""
    return {
        Acl(
            resource["ResourceType"],
            resource["ResourceName"],
            resource["PatternType"],
            acl["Principal"],
            acl["Host"],
            acl["Operation"],
            acl["PermissionType"],
        )
        for resource in answer["Resources"]
        for acl in resource["Acls"]
    }


def found_quotas(answer):
    """Return the quotas in an answer to DescribeClientQuotas, as C(desired_quotas) has them."""
    found = {}
    for entry in answer["Entries"] or []:
        entity = tuple(sorted((item["EntityType"], item["EntityName"]) for item in entry["Entity"]))
        found[entity] = {item["Key"]: item["Value"] for item in entry["Values"]}
    return found


def check_topics(wanted, found, brokers):
    """Refuse what cannot be reached, before anything is written.

    :arg found: {name: list of partitions as C(kafka.describe_cluster) returns them}.
    :arg brokers: number of brokers that run.
    :raises Contradiction: a topic would shrink, change its factor, or have more replicas than there are brokers.
    """
    for name, topic in sorted(wanted.items()):
        partitions = found.get(name)
        if partitions is None:
            if topic["factor"] > brokers:
                raise Contradiction(f"topic {name} is to have {topic['factor']} replicas, but {brokers} brokers run")
            continue
        if len(partitions) > topic["partitions"]:
            raise Contradiction(
                f"topic {name} has {len(partitions)} partitions and is described with {topic['partitions']};"
                f" partitions cannot be taken away, give {len(partitions)} or more"
            )
        factors = {len(item["replicas"]) for item in partitions}
        if factors != {topic["factor"]}:
            raise Contradiction(
                f"topic {name} has {max(factors)} replicas and is described with {topic['factor']};"
                " move its replicas by reassign_kafka.yml"
            )


def config_changes(wanted, found, source):
    """Return (set, delete): options to set, and those set at I(source) that nobody describes."""
    own = {key: item["value"] for key, item in found.items() if item["source"] == source}
    changes = {key: value for key, value in sorted(wanted.items()) if own.get(key) != value}
    # With eligible leader replicas a cluster always has its min.insync.replicas, and Kafka does not let it go.
    kept = THROTTLES if source == OF_TOPIC else ("min.insync.replicas",)
    return changes, sorted(set(own) - set(wanted) - set(kept))


def quota_changes(wanted, found):
    """Return {entity: {quota: number, or None to remove it}}."""
    changes = {}
    for entity in {**found, **wanted}:
        there, described = found.get(entity, {}), wanted.get(entity, {})
        change = {key: value for key, value in described.items() if there.get(key) != value}
        change.update(dict.fromkeys(set(there) - set(described)))
        if change:
            changes[entity] = change
    return changes


def user_changes(wanted, found, refused, system):
    """Return (write, delete): names of users to write and to remove.

    :arg wanted: names that are described.
    :arg found: names that exist with SCRAM-SHA-512.
    :arg refused: those of I(wanted) whose password did not open the door.
    :arg system: names that this collection keeps for itself.
    """
    write = sorted(name for name in wanted if name not in found or name in refused)
    return write, sorted(set(found) - set(wanted) - set(system))


def shown_acl(acl):
    """Return an ACL in words."""
    names = {code: name for table in (RESOURCES,) for name, code in table.items()}
    operations = {code: name for name, code in OPERATIONS.items()}
    verb = "may" if acl.permission == PERMISSIONS["allow"] else "may not"
    star = "*" if acl.pattern == PATTERNS["prefixed"] else ""
    resource = names.get(acl.resource, acl.resource)
    return f"{acl.principal} {verb} {operations.get(acl.operation, acl.operation)} {resource} {acl.name}{star}"


def shown_entity(entity):
    """Return an entity of quotas in words."""
    return " ".join(f"{kind} {name if name is not None else '(default)'}" for kind, name in entity)

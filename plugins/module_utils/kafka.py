# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brokers and controllers of Kafka: what a cluster's answers mean, and what a disk says of itself."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client
from ansible_collections.selfhosted.ec2.plugins.module_utils import kafka_protocol as protocol
from ansible_collections.selfhosted.ec2.plugins.module_utils.kafka_protocol import KafkaError

CLIENT_PORT = 9092
CONTROLLER_PORT = 9093
CONTROLLER_LISTENER = "CONTROLLERS"
METADATA_TOPIC = "__cluster_metadata"
#: A voter that has not had all of the leader's log for so long is not well, and a node that has not asked for it for so
#: long is away. Controllers write twice a second.
LAG_MS = 10_000
TOPIC, BROKER = 2, 4  # resource types of the configuration requests


def argument_spec():
    """Return the options of the doc fragments C(cluster_client.login) and C(kafka)."""
    return {
        **cluster_client.login_options(),
        "nodes": {"type": "dict", "required": True},
        "home": {"type": "path", "required": True},
        "client_port": {"type": "int", "default": CLIENT_PORT},
        "controller_port": {"type": "int", "default": CONTROLLER_PORT},
        "cert_file": {"type": "path", "required": True},
        "timeout": {"type": "int", "default": 5},
    }


class Cluster:
    """The nodes of a cluster and how they are reached.

    :arg params: values of the options of C(argument_spec).
    """

    def __init__(self, params):
        self._params = params
        self.nodes = params["nodes"]
        self.brokers = [name for name, node in self.nodes.items() if node["broker"]]
        self.controllers = [name for name, node in self.nodes.items() if node["controller"]]
        self._ready = None

    def _prepare(self):
        """Before the first certificate, or without an installed Kafka, nobody can be asked."""
        if self._ready is None:
            ca_file, cert_file = self._params["ca_file"], self._params["cert_file"]
            for path in (ca_file, cert_file):
                if not os.path.exists(path):
                    raise KafkaError(f"{path} is not on this host")
            schemas = protocol.Schemas(self._params["home"])
            self._ready = schemas, cluster_client.tls_context(ca_file), cluster_client.tls_context(ca_file, cert_file)
        return self._ready

    def broker(self, name, login=None):
        """Return a C(Connection) to a broker's listener for clients, as I(login) or the administrator."""
        schemas, context, _mutual = self._prepare()
        login = login or (self._params["user"], self._params["password"])
        host, port = self.nodes[name]["host"], self._params["client_port"]
        connection = protocol.Connection(host, port, context, schemas, login, self._params["timeout"])
        connection.member = name
        return connection

    def controller(self, name):
        """Return a C(Connection) to a controller's listener, by certificate."""
        schemas, _context, mutual = self._prepare()
        host, port = self.nodes[name]["host"], self._params["controller_port"]
        return protocol.Connection(host, port, mutual, schemas, None, self._params["timeout"])

    def any_broker(self, besides=""):
        """Return a C(Connection) to the first broker that answers, I(besides) last.

        :raises KafkaError: none answers; the text has each one's reason.
        """
        reasons = []
        for name in sorted(self.brokers, key=lambda name: name == besides):
            try:
                return self.broker(name)
            except KafkaError as error:
                reasons.append(str(error))
        raise KafkaError("no broker answers: " + "; ".join(reasons))

    def leader(self):
        """Return (name, connection, quorum) of the active controller; the caller closes the connection.

        While one leads that is no longer described, a broker stands in for it: brokers pass such requests on. The name
        is empty then.

        :raises KafkaError: no controller answers as the leader.
        """
        reasons = []
        for name in self.controllers:
            try:
                connection = self.controller(name)
            except KafkaError as error:
                reasons.append(str(error))
                continue
            try:
                quorum = describe_quorum(connection)
                if quorum["leader"] == self.nodes[name]["id"]:
                    return name, connection, quorum
                reasons.append(f"{name} is not the leader")
            except KafkaError as error:
                reasons.append(str(error))
            connection.close()
        try:
            connection = self.any_broker()
        except KafkaError as error:
            reasons.append(str(error))
        else:
            try:
                return "", connection, describe_quorum(connection)
            except KafkaError as error:
                reasons.append(str(error))
            connection.close()
        raise KafkaError("no controller leads: " + "; ".join(reasons))

    def read(self, name):
        """Return what C(summary) says of the cluster, asked for member I(name)."""
        with ThreadPoolExecutor(max_workers=2 * len(self.nodes) or 1) as pool:
            brokers = {member: pool.submit(node_view, self.broker, member) for member in self.brokers}
            controllers = {member: pool.submit(node_view, self.controller, member) for member in self.controllers}
            brokers = {member: future.result() for member, future in brokers.items()}
            controllers = {member: future.result() for member, future in controllers.items()}
        quorum, metadata = None, None
        answering = [member for member in self.controllers if controllers[member]["reachable"]]
        if answering:
            try:
                _leader, connection, quorum = self.leader()
                connection.close()
            except KafkaError as error:
                quorum = {"error": str(error)}
        ready = [member for member in self.brokers if brokers[member]["reachable"]]
        for member in sorted(ready, key=lambda member: member == name):
            try:
                with self.broker(member) as connection:
                    metadata = describe_cluster(connection)
                break
            except KafkaError as error:
                metadata = {"error": str(error)}
        return summary(self.nodes, brokers, controllers, quorum, metadata)


def node_view(connect, name):
    """Return C(reachable), C(features) (finalized), C(supported) and C(error) of one listener."""
    try:
        with connect(name) as connection:
            features = connection.features
        return {"reachable": True, "error": "", "features": features["finalized"], "supported": features["supported"]}
    except KafkaError as error:
        return {"reachable": False, "error": str(error), "features": {}, "supported": {}}


def describe_quorum(connection):
    """Return C(leader), C(voters) and C(observers), dicts of C(id), C(directory), C(lag), C(behind_ms) and C(away_ms).

    The leader lists an observer long after its end, also a voter that was removed; only those that still ask count.

    :raises KafkaError: the controller is not the leader, or does not answer.
    """
    topics = [{"TopicName": METADATA_TOPIC, "Partitions": [{"PartitionIndex": 0}]}]
    part = connection.call("DescribeQuorum", {"Topics": topics})["Topics"][0]["Partitions"][0]
    if part["ErrorCode"]:
        raise KafkaError(f"{connection.address} is not the leader of the controllers")
    states = part["CurrentVoters"] + part["Observers"]
    leader = next((state for state in states if state["ReplicaId"] == part["LeaderId"]), None)
    if leader is None:
        raise KafkaError(f"{connection.address} knows no leader of the controllers")

    def replica(state):
        return {
            "id": state["ReplicaId"],
            "directory": protocol.short_uuid(state["ReplicaDirectoryId"]),
            "lag": max(leader["LogEndOffset"] - state["LogEndOffset"], 0),
            "behind_ms": max(leader["LastCaughtUpTimestamp"] - state["LastCaughtUpTimestamp"], 0),
            "away_ms": max(leader["LastCaughtUpTimestamp"] - state["LastFetchTimestamp"], 0),
        }

    observers = [replica(state) for state in part["Observers"]]
    return {
        "leader": part["LeaderId"],
        "voters": [replica(state) for state in part["CurrentVoters"]],
        "observers": [item for item in observers if item["away_ms"] <= LAG_MS],
    }


def describe_cluster(connection):
    """Return C(cluster_id), C(brokers) (id to C(rack), C(fenced)) and C(topics) (name to C(partitions), C(min_isr))."""
    answer = connection.call("DescribeCluster", {"IncludeFencedBrokers": True})
    metadata = connection.call("Metadata", {"Topics": None, "AllowAutoTopicCreation": False})
    names = [topic["Name"] for topic in metadata["Topics"] if not topic["ErrorCode"]]
    sizes = {}
    for name, options in describe_configs(connection, TOPIC, names, ["min.insync.replicas"]).items():
        sizes[name] = int(options["min.insync.replicas"]["value"])
    topics = {}
    for topic in metadata["Topics"]:
        if not topic["ErrorCode"]:
            topics[topic["Name"]] = {
                "min_isr": sizes.get(topic["Name"], 1),
                "internal": topic["IsInternal"],
                "partitions": [
                    {
                        "partition": part["PartitionIndex"],
                        "leader": part["LeaderId"],
                        "replicas": part["ReplicaNodes"],
                        "isr": part["IsrNodes"],
                    }
                    for part in sorted(topic["Partitions"], key=lambda part: part["PartitionIndex"])
                ],
            }
    brokers = {item["BrokerId"]: {"rack": item["Rack"], "fenced": item["IsFenced"]} for item in answer["Brokers"]}
    return {"cluster_id": answer["ClusterId"], "brokers": brokers, "topics": topics}


def describe_configs(connection, kind, names, keys=None):
    """Return {name: {key: {value, source}}} of some topics or brokers.

    :raises KafkaError: one of them cannot be read.
    """
    if not names:
        return {}
    resources = [{"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": keys} for name in names]
    found = {}
    for item in connection.call("DescribeConfigs", {"Resources": resources})["Results"]:
        if item["ErrorCode"]:
            text = protocol.error_text(item["ErrorCode"], item["ErrorMessage"])
            raise KafkaError(f"the configuration of {item['ResourceName'] or 'the cluster'} cannot be read: {text}")
        found[item["ResourceName"]] = {
            option["Name"]: {"value": option["Value"], "source": option["ConfigSource"]} for option in item["Configs"]
        }
    return found


def summary(nodes, brokers, controllers, quorum, metadata):
    """Return the cluster as a whole.

    :arg nodes: dict of member to C(id), C(host), C(broker), C(controller).
    :arg brokers: dict of member to what C(node_view) returns of its listener for clients.
    :arg controllers: the same of the listeners of controllers.
    :arg quorum: what C(describe_quorum) returns, or dict with C(error), or None.
    :arg metadata: what C(describe_cluster) returns, or dict with C(error), or None.
    """
    names = {node["id"]: name for name, node in nodes.items()}
    known_quorum = bool(quorum) and "error" not in quorum
    known_topics = bool(metadata) and "error" not in metadata
    voters = {item["id"]: item for item in quorum["voters"]} if known_quorum else {}
    observers = quorum["observers"] if known_quorum else []
    topics = metadata["topics"] if known_topics else {}
    partitions = partition_faults(topics)
    unhealthy, joining = {}, {}
    for name, node in nodes.items():
        reasons = []
        following = any(item["id"] == node["id"] for item in observers)
        voter = voters.get(node["id"])
        # One that follows beside a vote that is away has come back on another disk.
        back = following and voter is not None and voter["away_ms"] > LAG_MS
        if node["controller"] and known_quorum and (back or voter is None):
            follows = controllers[name]["reachable"] and following
            joining[name] = "" if follows else "controller: it does not follow the leader"
        elif node["controller"]:
            reasons += controller_faults(controllers[name], voter)
        if node["broker"]:
            registered = metadata["brokers"] if known_topics else None
            reasons += broker_faults(node, brokers[name], registered, partitions["behind"])
        if reasons:
            unhealthy[name] = "; ".join(reasons)
    return {
        "cluster_id": metadata["cluster_id"] if known_topics else "",
        "leader": names.get(quorum["leader"], "") if known_quorum else "",
        "quorum": known_quorum,
        "quorum_error": "" if known_quorum else (quorum or {}).get("error", "no controller answers"),
        "voters": {names.get(key, str(key)): item["directory"] for key, item in voters.items()},
        "observers": {names.get(item["id"], str(item["id"])): item["directory"] for item in observers},
        "brokers": sorted(names.get(key, str(key)) for key in metadata["brokers"]) if known_topics else [],
        "metadata": known_topics,
        "features": next((view["features"] for view in controllers.values() if view["features"]), {}),
        "offline": partitions["offline"],
        "under_min_isr": partitions["under_min"],
        "under_replicated": sum(partitions["behind"].values()),
        "topics": {name: len(topic["partitions"]) for name, topic in topics.items()},
        "healthy": sorted(set(nodes) - set(unhealthy) - set(joining)),
        "joining": joining,
        "unhealthy": unhealthy,
    }


def partition_faults(topics):
    """Return C(offline) and C(under_min) (names of partitions) and C(behind) (broker id to replicas out of sync)."""
    offline, under_min, behind = [], [], {}
    for name, topic in sorted(topics.items()):
        for part in topic["partitions"]:
            label = f"{name}-{part['partition']}"
            if part["leader"] < 0:
                offline.append(label)
            elif len(part["isr"]) < min(topic["min_isr"], len(part["replicas"])):
                under_min.append(label)
            for replica in set(part["replicas"]) - set(part["isr"]):
                behind[replica] = behind.get(replica, 0) + 1
    return {"offline": offline, "under_min": under_min, "behind": behind}


def controller_faults(view, voter):
    """Return what is wrong with one controller that votes, as a list of sentences without a subject.

    :arg voter: its entry of C(describe_quorum), None when no controller leads.
    """
    if not view["reachable"]:
        return ["controller: " + view["error"]]
    if voter is None:
        return ["controller: it knows no leader"]
    if voter["behind_ms"] > LAG_MS:
        return [f"controller: it is {voter['lag']} records behind the leader"]
    return []


def broker_faults(node, view, registered, behind):
    """Return what is wrong with one broker, as a list of sentences without a subject."""
    if not view["reachable"]:
        return ["broker: " + view["error"]]
    if registered is None:
        return ["broker: no broker tells of the cluster"]
    if node["id"] not in registered:
        return ["broker: the cluster does not know it"]
    if registered[node["id"]]["fenced"]:
        return ["broker: it is fenced"]
    if behind.get(node["id"]):
        return [f"broker: {behind[node['id']]} of its replicas are not in sync"]
    return []


def missing(cluster, name, require):
    """Return what is not yet as I(require) says, as a sentence, or an empty text.

    :arg cluster: what C(summary) returns.
    :arg require: C(nothing), C(healthy), C(redundant) or C(complete), see module kafka_cluster_info.
    """
    if require == "nothing":
        return ""
    unhealthy = dict(cluster["unhealthy"])
    if require == "complete":
        unhealthy.update((member, reason or "it does not vote") for member, reason in cluster["joining"].items())
    elif name in cluster["joining"] and cluster["joining"][name]:
        unhealthy.setdefault(name, cluster["joining"][name])
    sentence = cluster_client.unwell("Kafka", unhealthy, name, require)
    if sentence:
        return sentence
    if not cluster["quorum"]:
        return f"The controllers of Kafka have no leader ({cluster['quorum_error']})."
    if cluster["offline"]:
        return f"Kafka has partitions without a leader: {_some(cluster['offline'])}."
    if require != "healthy" and cluster["under_min_isr"]:
        shown = _some(cluster["under_min_isr"])
        return f"Kafka has partitions with fewer replicas in sync than a write needs: {shown}."
    if require == "healthy" and name in unhealthy:
        return f"Kafka on {name} is not well ({unhealthy[name]})."
    return ""


def _some(items):
    shown = ", ".join(items[:5])
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} more"


def shrunk(found, described):
    """Return the described topics that have more partitions already, as sentences.

    >>> shrunk({"orders": 6}, {"orders": 3})
    ['topic orders has 6 partitions and kafka_topics describes 3; partitions cannot be taken away, give 6 or more']
    """
    return [
        f"topic {name} has {found[name]} partitions and kafka_topics describes {count};"
        f" partitions cannot be taken away, give {found[name]} or more"
        for name, count in sorted(described.items())
        if found.get(name, 0) > int(count)
    ]


def properties(text):
    """Return the lines of a properties file as a dict.

    >>> properties("# comment\\nnode.id=1\\n")
    {'node.id': '1'}
    """
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def read_disk(identity_file, data_dir):
    """Return C(identity) (dict, or None without the file) and C(disk) (what meta.properties says, None without it).

    :raises ValueError: the identity file is not JSON.
    """
    disk = None
    path = os.path.join(data_dir or "", "meta.properties")
    if data_dir and os.path.exists(path):
        with open(path, encoding="utf-8") as handle:
            found = properties(handle.read())
        disk = {
            "cluster_id": found.get("cluster.id", ""),
            "node_id": int(found.get("node.id", -1)),
            "directory": found.get("directory.id", ""),
        }
    return {"identity": cluster_client.read_identity(identity_file), "disk": disk}


def memory_mib():
    """Return the memory that this host sees, in MiB."""
    with open("/proc/meminfo", encoding="utf-8") as handle:
        return int(next(line.split()[1] for line in handle if line.startswith("MemTotal:"))) // 1024

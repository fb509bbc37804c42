"""What the answers of Kafka's brokers and controllers mean, and how its messages are written and read."""

import contextlib
import json

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter.kafka import kafka_id, kafka_nodes, kafka_start
from ansible_collections.selfhosted.ec2.plugins.module_utils import kafka, kafka_moves, kafka_objects
from ansible_collections.selfhosted.ec2.plugins.module_utils import kafka_protocol as protocol
from ansible_collections.selfhosted.ec2.plugins.modules import (
    kafka_features,
    kafka_format,
    kafka_quorum,
    kafka_reassign,
)
from hypothesis import given
from hypothesis import strategies as st

MEMBERS = ["events-1", "events-2", "events-3"]
TIERS = [{"name": "database", "count": 3}, {"name": "events", "count": 3}]
NODES = kafka_nodes(MEMBERS, TIERS, MEMBERS, MEMBERS, "trading.internal")
UP = {"reachable": True, "error": "", "features": {"metadata.version": 30}, "supported": {}}
DOWN = {**UP, "reachable": False, "error": "no answer", "features": {}}


def replica(number, directory="dir", behind_ms=0, away_ms=0):
    found = {"id": number, "directory": f"{directory}{number}", "lag": 0}
    return {**found, "behind_ms": behind_ms, "away_ms": away_ms}


def quorum(voters=(1, 2, 3), observers=(), away=()):
    found = [replica(n, away_ms=60000 if n in away else 0) for n in voters]
    return {"leader": 1, "voters": found, "observers": list(observers)}


def topic(*isrs, min_isr=2, leader=1):
    parts = [{"partition": n, "leader": leader, "replicas": [1, 2, 3], "isr": list(isr)} for n, isr in enumerate(isrs)]
    return {"min_isr": min_isr, "internal": False, "partitions": parts}


def metadata(topics=None, fenced=()):
    brokers = {n: {"rack": "abc"[n - 1], "fenced": n in fenced} for n in (1, 2, 3)}
    return {"cluster_id": "C", "brokers": brokers, "topics": topics or {"orders": topic([1, 2, 3])}}


def cluster(brokers=(), controllers=(), found=None, of=None):
    views = [{**dict.fromkeys(MEMBERS, UP), **dict(change)} for change in (brokers, controllers)]
    return kafka.summary(NODES, *views, quorum() if found is None else found, metadata() if of is None else of)


class Link:
    """A connection that answers DescribeQuorum; None where another node leads."""

    def __init__(self, leader):
        self.leader, self.address, self.closed = leader, "events-x", False

    def call(self, _name, _values):
        state = {"ReplicaDirectoryId": "0" * 32, "LogEndOffset": 9, "LastFetchTimestamp": 9, "LastCaughtUpTimestamp": 9}
        voters = [{"ReplicaId": number, **state} for number in (1, 2, 3, 5)]
        error = 0 if self.leader else 6
        part = {"ErrorCode": error, "LeaderId": self.leader, "CurrentVoters": voters, "Observers": []}
        return {"Topics": [{"Partitions": [part]}]}

    def close(self):
        self.closed = True


def test_a_broker_tells_of_a_leader_that_is_no_longer_described(monkeypatch):
    monkeypatch.setattr(protocol, "short_uuid", str)
    found = kafka.Cluster({"nodes": NODES})
    asked = []
    monkeypatch.setattr(found, "controller", lambda _name: asked.append(Link(None)) or asked[-1])
    monkeypatch.setattr(found, "any_broker", lambda: Link(5))
    name, connection, state = found.leader()
    assert (name, state["leader"], connection.closed) == ("", 5, False)
    assert len(asked) == 3
    assert all(link.closed for link in asked)
    monkeypatch.setattr(found, "any_broker", lambda: Link(None))
    with pytest.raises(kafka.KafkaError, match="no controller leads"):
        found.leader()


class Moving:
    """Brokers where a partition moves until their throttle is raised; each takes its own options alone."""

    def __init__(self, number=None, rates=None):
        self.number, self.rates = number, {} if rates is None else rates
        self.nodes = NODES

    def broker(self, name):
        return contextlib.nullcontext(Moving(NODES[name]["id"], self.rates))

    def call(self, name, values):
        if name == "IncrementalAlterConfigs":
            for item in values["Resources"]:
                assert item["ResourceName"] == str(self.number), "Unexpected broker id"
                self.rates[self.number] = [option["Value"] for option in item["Configs"]]
            return {"Responses": []}
        if name == "DescribeConfigs":
            assert [item["ResourceName"] for item in values["Resources"]] in (["orders"], [str(self.number)])
            configs = [{"Name": key, "Value": "1", "ConfigSource": 2} for key in kafka_reassign.RATES]
            of_topic = values["Resources"][0]["ResourceName"] == "orders"
            found = {"ErrorCode": 0, "ResourceName": values["Resources"][0]["ResourceName"]}
            return {"Results": [{**found, "Configs": [] if of_topic else configs}]}
        moving = [] if self.rates else [{"Name": "orders", "Partitions": [{"PartitionIndex": 0}]}]
        return {"Topics": moving}


def test_moves_of_an_earlier_run_go_on_at_the_rate_of_this_one(monkeypatch):
    monkeypatch.setattr(kafka, "describe_cluster", lambda _connection: metadata())
    brokers = Moving()
    kafka_reassign.Mover(brokers, brokers, {"throttle": 5000, "wait": 0}).take_up()
    assert brokers.rates == dict.fromkeys((1, 2, 3), ["5000"] * 2)
    kafka_reassign.Mover(brokers, brokers, {"throttle": 7000, "wait": 0}).take_up()
    assert brokers.rates == dict.fromkeys((1, 2, 3), ["5000"] * 2), "nothing moved any more"


def test_throttles_are_taken_away_at_the_broker_itself_where_it_runs():
    brokers = Moving()
    assert kafka_reassign.Mover(brokers, brokers, {}).unthrottle(metadata(fenced=[3]))
    assert brokers.rates == dict.fromkeys((1, 2), [None] * 2)


def test_a_well_cluster():
    found = cluster()
    assert (found["leader"], found["unhealthy"], found["joining"]) == ("events-1", {}, {})
    assert found["voters"] == {"events-1": "dir1", "events-2": "dir2", "events-3": "dir3"}
    for require in ("nothing", "healthy", "redundant", "complete"):
        assert kafka.missing(found, "events-2", require) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"brokers": {"events-3": DOWN}}, "broker: no answer"),
        ({"controllers": {"events-3": DOWN}}, "controller: no answer"),
        ({"of": metadata(fenced=[3])}, "broker: it is fenced"),
        ({"of": metadata({"orders": topic([1, 2], [1, 2, 3])})}, "broker: 1 of its replicas are not in sync"),
        (
            {"found": {**quorum(), "voters": [replica(1), replica(2), replica(3, behind_ms=20000)]}},
            "controller: it is 0 records behind the leader",
        ),
    ],
)
def test_a_member_that_is_not_well_must_be_spared_first(change, reason):
    found = cluster(**change)
    assert reason in found["unhealthy"]["events-3"]
    assert f"so events-1 must not be stopped (events-3: {reason}" in kafka.missing(found, "events-1", "redundant")
    assert kafka.missing(found, "events-3", "redundant") == ""
    assert reason in kafka.missing(found, "events-3", "healthy")
    assert reason in kafka.missing(found, "events-3", "complete")


def test_partitions_without_a_leader_or_with_too_few_replicas_hold_everything_up():
    offline = cluster(of=metadata({"orders": topic([1, 2, 3], leader=-1)}))
    assert kafka.missing(offline, "events-1", "healthy") == "Kafka has partitions without a leader: orders-0."
    under = cluster(of=metadata({"orders": topic([1])}))
    assert under["under_min_isr"] == ["orders-0"]
    assert "must not be stopped" in kafka.missing(under, "events-1", "redundant")


def test_a_controller_that_does_not_vote_yet_holds_nobody_up():
    joining = cluster(found=quorum((1, 2), [replica(3, "new")]))
    assert joining["joining"] == {"events-3": ""}
    assert kafka.missing(joining, "events-3", "healthy") == kafka.missing(joining, "events-1", "redundant") == ""
    assert "it does not vote" in kafka.missing(joining, "events-1", "complete")
    back = cluster(found=quorum((1, 2, 3), [replica(3, "new")], away=[3]))
    assert back["joining"] == {"events-3": ""}
    away = cluster(found=quorum((1, 2)))
    assert "it does not follow the leader" in kafka.missing(away, "events-3", "healthy")


def test_without_a_leader_nothing_is_well():
    lost = cluster(found={"error": "no controller leads"})
    assert (
        kafka.missing(lost, "events-1", "healthy") == "The controllers of Kafka have no leader (no controller leads)."
    )


def test_ids_stay_when_a_tier_grows():
    tiers = [{"name": "events"}, {"name": "control"}]
    small = kafka_nodes(["events-1", "events-2", "control-1"], tiers, [], [], "x")
    large = kafka_nodes(["events-1", "events-2", "events-3", "control-1"], tiers, [], [], "x")
    assert {name: node["id"] for name, node in small.items()} == {"events-1": 1, "events-2": 2, "control-1": 1001}
    assert all(large[name]["id"] == node["id"] for name, node in small.items())


@given(st.text(min_size=1), st.text())
def test_an_id_is_one_that_kafka_takes(seed, word):
    made = kafka_id(seed, word)
    assert len(made) == 22
    assert not made.startswith("-")
    assert protocol.short_uuid(protocol.long_uuid(made)) == made == kafka_id(seed, word)


def view(identity=None, disk=None, voters=(), brokers=()):
    found = {"identity": identity, "disk": disk, "voters": dict.fromkeys(voters, "d"), "brokers": list(brokers)}
    return {**found, "metadata": bool(brokers), "quorum": bool(voters)}


def owner(number, **change):
    return {"member": f"events-{number}", "domain": "trading.internal", "cluster_id": "C", "node_id": number, **change}


def disk(number, cluster_id="C"):
    return {"cluster_id": cluster_id, "node_id": number, "directory": "d"}


def start(views, name="events-1", replace=""):
    return kafka_start(views, name, NODES, "trading.internal", "C", replace)


def test_a_new_cluster_needs_all_members():
    empty = {name: view() for name in MEMBERS}
    assert start(empty) == {"state": "new", "error": ""}
    del empty["events-3"]
    assert "events-3 took no part" in start(empty)["error"]


def test_a_first_run_that_was_cut_off_goes_on():
    begun = {"events-1": view(owner(1, new=True), disk(1)), "events-2": view(owner(2, new=True)), "events-3": view()}
    assert [start(begun, name)["state"] for name in MEMBERS] == ["keep", "new", "new"]


KNOWN = {"voters": MEMBERS, "brokers": MEMBERS}


@pytest.mark.parametrize(
    ("own", "others", "sentence"),
    [
        (view(owner(2), disk(2)), {}, "belongs to Kafka member events-2"),
        (view(owner(1, cluster_id="X"), disk(1, "X")), {}, "belongs to the Kafka cluster X"),
        (view(owner(1), disk(1, "X")), {}, "belongs to the Kafka cluster X"),
        (view(owner(1, node_id=7), disk(7)), {}, "belongs to node 7, but the description gives it 1"),
        (view(None, disk(1)), {}, "not the identity of a member"),
        (view(owner(1)), {}, "its data are gone"),
        (view(**KNOWN), {}, "is empty, but the Kafka cluster knows node 1 with data"),
        (view(), {"events-2": view(owner(2), disk(2))}, "events-2 hold a cluster's data; start them"),
    ],
)
def test_a_volume_that_does_not_fit_is_refused(own, others, sentence):
    views = {"events-1": own, "events-2": view(), "events-3": view(), **others}
    found = start(views)
    assert found["state"] == "refused"
    assert sentence in found["error"]


def test_an_empty_disk_starts_anew_only_when_it_is_asked_for():
    views = {"events-1": view(**KNOWN), "events-2": view(owner(2), disk(2), **KNOWN)}
    assert start(views)["state"] == "refused"
    assert start(views, replace="events-1")["state"] == "replace"
    lost = {"events-1": view(), "events-2": view(owner(2), disk(2))}
    assert "have no leader" in start(lost, replace="events-1")["error"]


def test_a_member_that_the_cluster_never_knew_joins():
    known = {"voters": MEMBERS[1:], "brokers": MEMBERS[1:]}
    assert start({"events-1": view(**known)})["state"] == "join"


def steps(found, nodes=NODES, **options):
    return [(step["action"], step["id"], step["directory"]) for step in kafka_quorum.plan(nodes, found, **options)]


def test_described_voters_are_left_alone():
    assert steps(quorum()) == []


def test_a_lost_voter_goes_before_its_successor_comes():
    found = quorum((1, 2, 3), [replica(3, "new")], away=[3])
    assert steps(found) == [("remove", 3, "dir3"), ("add", 3, "new3")]
    assert steps(quorum(away=[3]), replace="events-3") == [("remove", 3, "dir3")]


def test_a_voter_that_is_there_stays_whatever_is_asked():
    assert steps(quorum(), replace="events-3") == []
    assert steps(quorum((1, 2, 3), [replica(3, "old")])) == []
    assert steps(quorum(away=[3])) == []


def test_voters_that_are_not_described_go():
    assert steps(quorum((1, 2, 3, 4))) == [("remove", 4, "dir4")]
    assert steps(quorum((1, 2), [replica(3, "new"), replica(4, "new")])) == [("add", 3, "new3")]


def test_controllers_that_move_elsewhere_are_there_before_the_old_ones_go():
    nodes = {name: {**node, "id": node["id"] + 10} for name, node in NODES.items()}
    found = quorum((1, 2, 3), [replica(11), replica(12), replica(13)], away=[3])
    moves = [("add", 11), ("add", 12), ("add", 13), ("remove", 1), ("remove", 2)]
    assert [step[:2] for step in steps(found, nodes)] == [("remove", 3), *moves]


def test_a_voter_is_not_removed_without_a_majority():
    found = {**quorum(), "voters": [replica(1), replica(2, behind_ms=30000), replica(3)]}
    assert "only 1 of the 2 voters" in kafka_quorum.unsafe(found, 3)
    assert kafka_quorum.unsafe(found, 2) == ""


def test_equal_topics_and_options_are_not_written():
    found = {"retention.ms": {"value": "7", "source": 1}, "min.insync.replicas": {"value": "2", "source": 5}}
    assert kafka_objects.config_changes({"retention.ms": "7"}, found, 1) == ({}, [])
    assert kafka_objects.config_changes({"min.insync.replicas": "2"}, found, 1) == (
        {"min.insync.replicas": "2"},
        ["retention.ms"],
    )
    throttle = {kafka_objects.THROTTLES[0]: {"value": "0:1", "source": 1}}
    assert kafka_objects.config_changes({}, throttle, 1) == ({}, [])
    of_cluster = {name: {"value": "2", "source": 3} for name in ("min.insync.replicas", "log.retention.ms")}
    assert kafka_objects.config_changes({}, of_cluster, 3) == ({}, ["log.retention.ms"])


def test_what_a_topic_cannot_become_is_refused_before_anything_is_written():
    there = {"orders": topic([1, 2, 3], [1, 2, 3])["partitions"]}
    for change, sentence in (
        ({"partitions": 1}, "partitions cannot be taken away"),
        ({"partitions": 2, "replication_factor": 2}, "reassign_kafka.yml"),
    ):
        wanted = kafka_objects.desired_topics([{"name": "orders", **change}], 3, 2)
        with pytest.raises(kafka_objects.Contradiction, match=sentence):
            kafka_objects.check_topics(wanted, there, 3)
    new = kafka_objects.desired_topics([{"name": "trades", "partitions": 1}], 3, 2)
    with pytest.raises(kafka_objects.Contradiction, match="but 2 brokers run"):
        kafka_objects.check_topics(new, there, 2)
    assert kafka.shrunk({"orders": 2}, {"orders": "2", "trades": 1}) == []


def test_users_with_another_password_are_written_and_strangers_removed():
    changes = kafka_objects.user_changes(["web", "app"], {"web", "app", "old", "admin"}, {"web"}, ["admin", "broker"])
    assert changes == (["web"], ["old"])


def test_quotas_are_compared_by_entity():
    wanted = kafka_objects.desired_quotas([{"user": "web", "producer_byte_rate": 5}, {"client_id": "*"}])
    assert wanted == {(("user", "web"),): {"producer_byte_rate": 5.0}, (("client-id", None),): {}}
    found = {(("user", "web"),): {"producer_byte_rate": 5.0}, (("ip", "10.0.0.1"),): {"connection_creation_rate": 1.0}}
    assert kafka_objects.quota_changes(wanted, found) == {(("ip", "10.0.0.1"),): {"connection_creation_rate": None}}


RACKS = {1: "a", 2: "b", 3: "c", 4: "a"}


def test_replicas_stay_unless_they_must_move():
    topics = {"orders": topic([1], [1], [1])}
    assert kafka_moves.plan(topics, {n: RACKS[n] for n in (1, 2, 3)}, {}, balance=True) == {}


def test_a_broker_that_goes_is_replaced_in_its_rack():
    topics = {"orders": topic([1])}
    assert kafka_moves.plan(topics, {n: RACKS[n] for n in (2, 3, 4)}, {}) == {("orders", 0): [2, 3, 4]}
    assert kafka_moves.plan(topics, RACKS, {"orders": 2})[("orders", 0)][0] == 1
    with pytest.raises(kafka_moves.Impossible):
        kafka_moves.plan(topics, {1: "a", 2: "b"}, {"orders": 3})


@given(st.lists(st.permutations([1, 2, 3, 4]), min_size=1, max_size=20), st.integers(1, 4), st.booleans())
def test_a_plan_is_complete_rack_aware_and_final(assignments, factor, balance):
    parts = [{"partition": n, "leader": 1, "replicas": list(r)[:3], "isr": [1]} for n, r in enumerate(assignments)]
    topics = {"orders": {"min_isr": 1, "internal": False, "partitions": parts}}
    moves = kafka_moves.plan(topics, RACKS, {"orders": factor}, balance)
    for part in parts:
        part["replicas"] = moves.get(("orders", part["partition"]), part["replicas"])
        assert len(set(part["replicas"])) == len(part["replicas"]) == factor
    assert kafka_moves.plan(topics, RACKS, {"orders": factor}, balance) == {}


def test_only_what_moves_is_throttled():
    moves = {("orders", 0): [2, 3, 4]}
    assert kafka_moves.throttled(moves, {"orders": topic([1])}) == {"orders": ("0:1,0:2,0:3", "0:4")}


def test_features_rise_when_all_nodes_have_them():
    assert kafka_features.plan({"a": 1}, [{"a": 2, "b": 1}, {"a": 2, "b": 1}]) == {"a": 2, "b": 1}
    assert kafka_features.plan({"a": 2}, [{"a": 2}]) == {}
    with pytest.raises(ValueError, match="different releases"):
        kafka_features.plan({}, [{"a": 1}, {"a": 2}])


def test_the_storage_tool_never_sees_a_password():
    params = {
        "config_file": "c",
        "identity": {"cluster_id": "C"},
        "initial_controllers": ["1@a:9093:d"],
        "joins": False,
        "users": {"broker": "canary-password"},
    }
    lines = kafka_format.arguments(params)
    assert "canary-password" not in "\n".join(lines)
    assert any(line.startswith("SCRAM-SHA-512=[name=broker,iterations=8192,salt=") for line in lines)
    assert (
        kafka_format.arguments({**params, "initial_controllers": [], "joins": True})[-1] == "--no-initial-controllers"
    )


SCHEMA = {
    "apiKey": 1,
    "validVersions": "0-2",
    "flexibleVersions": "2+",
    "fields": [
        {"name": "Number", "type": "int16", "versions": "0+"},
        {"name": "Name", "type": "string", "versions": "0+", "nullableVersions": "1+"},
        {
            "name": "Items",
            "type": "[]Item",
            "versions": "1+",
            "nullableVersions": "1+",
            "fields": [
                {"name": "Id", "type": "uuid", "versions": "1+"},
                {"name": "Data", "type": "bytes", "versions": "1+"},
                {"name": "Rate", "type": "float64", "versions": "1+"},
            ],
        },
        {"name": "Late", "type": "int64", "versions": "2+", "taggedVersions": "2+", "tag": 3, "default": "-1"},
        {"name": "Cursor", "type": "Cursor", "versions": "2+", "nullableVersions": "2+", "default": "null", "fields": [
            {"name": "Flag", "type": "bool", "versions": "2+"},
        ]},
    ],
}  # fmt: skip
ITEMS = st.lists(
    st.fixed_dictionaries(
        {"Id": st.uuids().map(str), "Data": st.binary(max_size=300), "Rate": st.floats(allow_nan=False)}
    ),
    max_size=4,
)
MESSAGES = st.fixed_dictionaries(
    {
        "Number": st.integers(-32768, 32767),
        "Name": st.none() | st.text(max_size=200),
        "Items": st.none() | ITEMS,
        "Late": st.integers(-(2**63), 2**63 - 1),
        "Cursor": st.none() | st.fixed_dictionaries({"Flag": st.booleans()}),
    }
)


@given(MESSAGES, st.sampled_from([1, 2]))
def test_what_is_written_is_read(message, version):
    schema = protocol.Schema("// a licence\n" + json.dumps(SCHEMA))
    fields = {field.name for field in schema.fields if version in field.versions}
    values = {name: value for name, value in message.items() if name in fields}
    assert schema.read(schema.write(values, version), version) == values


def test_bytes_on_the_wire():
    schema = protocol.Schema(json.dumps(SCHEMA))
    assert schema.write({"Number": 1, "Name": "ab"}, 0) == b"\x00\x01\x00\x02ab"
    assert schema.write({"Number": 1, "Name": None, "Items": []}, 2) == b"\x00\x01\x00\x01\xff\x00"
    with pytest.raises(ValueError, match="unknown fields Nome"):
        schema.write({"Nome": "x"}, 0)
    with pytest.raises(ValueError, match="too early"):
        schema.read(b"\x00", 0)

"""What the answers of RabbitMQ's members mean, and how a member starts."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter.rabbitmq import rabbitmq_start, rabbitmq_vhosts
from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq
from ansible_collections.selfhosted.ec2.plugins.modules import rabbitmq_feature_flags, rabbitmq_member

DOMAIN = "trading.internal"
HOSTS = {f"queue-{n}": f"queue-{n}.{DOMAIN}" for n in (1, 2, 3)}
MEMBERS = list(HOSTS)
NODES = {rabbitmq.node_name(host): name for name, host in HOSTS.items()}
UPGRADES = {
    "3.10": ["3.11"],
    "3.11": ["3.12"],
    "3.12": ["3.13"],
    "3.13": ["4.0", "4.2"],
    "4.0": ["4.2"],
    "4.2": ["4.3"],
}


def view(name, **change):
    """What a member says in a cluster that is well."""
    good = {"reachable": True, "known": MEMBERS, "running": MEMBERS, "partitions": [], "alarms": [], "drained": []}
    return {**good, "silent": [], "version": "4.0.5", "critical": "", "error": "", **change}


def queue(leader="queue-1", members=MEMBERS, online=MEMBERS):
    def node(name):
        return rabbitmq.node_name(HOSTS[name]) if name else ""

    found = {"leader": node(leader), "members": [node(name) for name in members], "online": [node(n) for n in online]}
    return {"name": "orders", "vhost": "trading", "type": "quorum", **found}


def cluster(changes=(), queues=None):
    views = {name: dict(changes).get(name) or view(name) for name in MEMBERS}
    return rabbitmq.summary(views, [queue()] if queues is None else queues, MEMBERS, NODES)


DOWN = view("queue-3", reachable=False, known=[], running=[], error="queue-3:15671 does not answer: refused")
WITHOUT_3 = {"running": ["queue-1", "queue-2"]}
ONE_DOWN = {"queue-1": view("queue-1", **WITHOUT_3), "queue-2": view("queue-2", **WITHOUT_3), "queue-3": DOWN}
TWO_ONLINE = [queue(online=["queue-1", "queue-2"])]


def test_a_well_cluster():
    found = cluster()
    assert (found["quorum"], found["running"], found["unhealthy"]) == (True, MEMBERS, {})
    for require in ("nothing", "healthy", "redundant", "complete"):
        assert rabbitmq.missing(found, "queue-2", require) == ""


@pytest.mark.parametrize(
    ("name", "require", "sentence"),
    [
        ("queue-1", "healthy", ""),
        ("queue-3", "healthy", "RabbitMQ on queue-3 is not well"),
        ("queue-1", "redundant", "so queue-1 must not be stopped (queue-3: queue-3:15671 does not answer"),
        ("queue-3", "redundant", ""),
        ("queue-3", "complete", "RabbitMQ has members that are not well (queue-3: "),
    ],
)
def test_one_member_down(name, require, sentence):
    found = rabbitmq.missing(cluster(ONE_DOWN, TWO_ONLINE), name, require)
    assert sentence in found if sentence else found == ""


@pytest.mark.parametrize(
    ("changes", "queues", "require", "sentence"),
    [
        ({"queue-2": view("queue-2", alarms=["disk on queue-2"])}, None, "healthy", "alarm of disk on queue-2"),
        ({"queue-2": view("queue-2", partitions=["queue-3"])}, None, "healthy", "RabbitMQ is parted: queue-2: queue-3"),
        ({"queue-1": view("queue-1", critical="would")}, None, "redundant", "would lose their majority without it"),
        ({}, [queue(leader="")], "healthy", "Quorum queue orders of trading has no leader."),
        ({}, [queue(online=["queue-2", "queue-3"])], "healthy", "orders of trading is not online on queue-1."),
        ({}, [queue(online=["queue-1", "queue-2"])], "redundant", "orders of trading is not online on queue-3."),
        ({"queue-1": view("queue-1", drained=["queue-1"])}, None, "healthy", "it is in maintenance mode"),
        ({"queue-1": view("queue-1", silent=["queue-1"])}, None, "healthy", "has not told its alarms and partitions"),
    ],
)
def test_what_keeps_the_gate_shut(changes, queues, require, sentence):
    assert sentence in rabbitmq.missing(cluster(changes, queues), "queue-1", require)


def test_a_node_that_has_just_begun_is_silent_not_well():
    """As GET /api/nodes lists it until the first of its statistics, which come each 5 s."""
    told = {"running": True, "partitions": [], "mem_alarm": False, "disk_free_alarm": True, "being_drained": False}
    found = [{"name": rabbitmq.node_name(HOSTS[name]), **told} for name in ("queue-1", "queue-2")]
    found.append({"name": rabbitmq.node_name(HOSTS["queue-3"]), "running": True})
    states = rabbitmq._node_states(found, NODES, "queue-1")
    assert (states["silent"], states["alarms"]) == (["queue-3"], ["disk on queue-1", "disk on queue-2"])


def test_a_minority_is_no_cluster():
    alone = {name: view(name, running=[name]) for name in MEMBERS}
    found = cluster(alone)
    assert (found["quorum"], found["running"], sorted(found["unhealthy"])) == (False, [], MEMBERS)
    assert "No majority of RabbitMQ's members runs together" in rabbitmq.missing(found, "queue-1", "healthy")


def test_a_member_that_sees_less_than_the_others_is_not_well():
    found = cluster({"queue-3": view("queue-3", running=["queue-2", "queue-3"])})
    assert "it sees queue-2, queue-3, others queue-1, queue-2, queue-3" in found["unhealthy"]["queue-3"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("4.0.5-6", "4.0.9-1", ""),
        ("4.0.5-6", "4.2.4-1", ""),
        ("", "4.0.5-6", ""),
        ("4.0.5-6", "", ""),
        ("3.10.8-1", "4.0.5-6", "RabbitMQ 3.10.8-1 cannot become 4.0.5-6 in one step; go by 3.11, 3.12, 3.13, 4.0."),
        ("4.0.5-6", "4.3.1-1", "go by 4.2, 4.3."),
        ("4.2.4-1", "4.0.5-6", "there is no way from 4.2 to 4.0."),
    ],
)
def test_path_of_upgrades(old, new, sentence):
    found = rabbitmq.upgrade_fault(old, new, UPGRADES)
    assert found.endswith(sentence) if sentence else found == ""


@pytest.mark.parametrize("password", ["secret", "pässword"])
def test_password_is_compared_by_its_hash(password):
    kept = rabbitmq.password_hash(password, b"abcd")
    assert rabbitmq.same_password(password, kept)
    assert not rabbitmq.same_password(password + "x", kept)
    assert not rabbitmq.same_password(password, "")


def test_hash_is_the_one_of_the_documentation():
    """RabbitMQ's guide on passwords: salt 908DC60A, password test12."""
    kept = rabbitmq.password_hash("test12", bytes.fromhex("908DC60A"))
    assert kept == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


# How a member starts

BARE = {"identity": None, "holds_data": False, "quorum": False, "known": []}
FULL = {"identity": {"member": "queue-1", "domain": DOMAIN}, "holds_data": True, "quorum": False, "known": []}
SEES = {"quorum": True, "known": MEMBERS}


def start(views, name="queue-1", replace=""):
    return rabbitmq_start(views, name, MEMBERS, DOMAIN, replace)


def test_first_start_of_all():
    assert start(dict.fromkeys(MEMBERS, BARE)) == {"state": "new", "forget": False, "error": ""}


def test_first_start_goes_on_where_it_was_cut_off():
    begun = {"queue-1": {**BARE, "holds_data": True}, "queue-2": BARE, "queue-3": BARE}
    assert start(begun)["state"] == start(begun, "queue-2")["state"] == "new"


def test_a_member_with_its_data_just_starts():
    assert start({"queue-1": FULL})["state"] == "keep"
    assert start({"queue-1": {**BARE, **SEES, "holds_data": True}})["state"] == "keep"


@pytest.mark.parametrize(
    ("views", "sentence"),
    [
        (
            {"queue-1": {**FULL, "identity": {"member": "queue-2", "domain": DOMAIN}}},
            "belongs to RabbitMQ member queue-2",
        ),
        ({"queue-1": {**FULL, "holds_data": False}}, "has its identity, but no data"),
        ({"queue-1": {**BARE, **SEES}}, "lists queue-1, but its volume is empty"),
        ({"queue-1": BARE}, "queue-2, queue-3 took no part in this run"),
        (
            {"queue-1": BARE, "queue-2": {**FULL, "identity": {"member": "queue-2"}}, "queue-3": BARE},
            "queue-2 hold a cluster's data",
        ),
        ({"queue-1": {**BARE, "holds_data": True}}, "but not the identity of a member"),
    ],
)
def test_start_fails_closed(views, sentence):
    found = start(views)
    assert found["state"] == "refused"
    assert sentence in found["error"]


def test_a_replaced_member_is_forgotten_and_joins():
    assert start({"queue-1": {**BARE, **SEES}}, replace="queue-1") == {"state": "join", "forget": True, "error": ""}
    gone = {"queue-1": {**BARE, **SEES, "known": ["queue-2", "queue-3"]}}
    assert start(gone) == {"state": "join", "forget": False, "error": ""}


# Dead letters of a vhost


def test_a_vhost_gets_its_dead_letters():
    mine = {"name": "short", "pattern": "^short$", "priority": 5, "definition": {"message-ttl": 1000}}
    exchanges = {"name": "out", "pattern": ".*", "apply-to": "exchanges", "definition": {"alternate-exchange": "x"}}
    (found,) = rabbitmq_vhosts([{"name": "trading", "delivery_limit": 3, "policies": [mine, exchanges]}], 20)
    assert "delivery_limit" not in found
    policies = {policy["name"]: policy for policy in found["policies"]}
    assert policies["platform"]["definition"]["delivery-limit"] == 3
    assert policies["short"]["definition"] == {**policies["platform"]["definition"], "message-ttl": 1000}
    assert policies["out"] == exchanges
    assert [queue["name"] for queue in found["queues"]] == ["dead-letters"]
    assert rabbitmq_vhosts([{"name": "plain", "dead_letters": False}], 20) == [{"name": "plain"}]


# Members and flags


def parameters(state, name="queue-3"):
    return {"state": state, "name": name, "members": HOSTS}


def test_a_lost_member_is_forgotten_by_another_one():
    found = rabbitmq_member.command(parameters("forgotten"), cluster(ONE_DOWN), "stopped")
    assert found[2:] == [f"rabbit@queue-1.{DOMAIN}", "--longnames", "forget_cluster_node", f"rabbit@queue-3.{DOMAIN}"]
    assert rabbitmq_member.command(parameters("forgotten"), cluster(), "unknown") is None
    with pytest.raises(ValueError, match="queue-3 runs in the cluster, so it is not forgotten"):
        rabbitmq_member.command(parameters("forgotten"), cluster(), "running")


@pytest.mark.parametrize(
    ("state", "was", "command"),
    [
        ("drained", "running", ["rabbitmq-upgrade", "drain"]),
        ("drained", "drained", None),
        ("drained", "stopped", None),
        ("active", "drained", ["rabbitmq-upgrade", "revive"]),
        ("active", "running", None),
    ],
)
def test_maintenance_mode(state, was, command):
    assert rabbitmq_member.command(parameters(state), cluster(), was) == command


def test_flags():
    flags = [
        {"name": "new", "stability": "stable", "state": "disabled"},
        {"name": "old", "stability": "required", "state": "enabled"},
        {"name": "khepri_db", "stability": "experimental", "state": "disabled"},
    ]
    assert rabbitmq_feature_flags.sort_flags(flags) == (["new"], [])
    half = {"name": "next", "stability": "stable", "state": "unavailable"}
    assert rabbitmq_feature_flags.sort_flags([*flags, half]) == (["new", "next"], [])
    assert rabbitmq_feature_flags.known_to_all([*flags, half]) == flags, "the upgrade that was cut off goes on"
    same, mixed = dict.fromkeys(MEMBERS, "4.2.1"), {"queue-1": "4.2.1", "queue-2": "4.0.5"}
    assert rabbitmq_feature_flags.refusal("enabled", ["new"], same, MEMBERS) == ""
    assert "queue-1 4.2.1, queue-2 4.0.5, and queue-3 is away" in rabbitmq_feature_flags.refusal(
        "enabled", ["new"], mixed, MEMBERS
    )
    assert "feature flags new are not enabled" in rabbitmq_feature_flags.refusal("required", ["new"], same, MEMBERS)
    assert rabbitmq_feature_flags.refusal("required", [], mixed, MEMBERS) == ""

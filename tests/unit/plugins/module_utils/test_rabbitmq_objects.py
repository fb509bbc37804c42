"""RabbitMQ's objects as sets: equal means no request, and nothing with messages goes unasked."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq, rabbitmq_objects
from hypothesis import given
from hypothesis import strategies as st

USER = {
    "name": "trading",
    "password": "secret",
    "permissions": [{"vhost": "trading", "write": ".*", "read": "^orders$"}],
    "limits": {"max-connections": 100},
}
VHOST = {
    "name": "trading",
    "limits": {"max-queues": 50},
    "exchanges": [{"name": "orders", "type": "topic"}],
    "queues": [{"name": "orders"}],
    "bindings": [{"source": "orders", "destination": "orders", "routing_key": "order.#"}],
    "policies": [{"name": "own", "pattern": ".*", "apply-to": "quorum_queues", "definition": {"delivery-limit": 5}}],
}
ADMIN = {"name": "admin", "password": "admin's", "tags": ["administrator"]}
RIGHTS = {"vhost": "trading", "configure": ".*", "write": ".*", "read": ".*"}


def description(users=(USER,), vhosts=(VHOST,)):
    return {
        "users": [ADMIN, *users],
        "vhosts": list(vhosts),
        "parameters": [],
        "global_parameters": {},
        "admin": "admin",
    }


def definitions():
    """What the server says of all that is described above."""

    def user(name, password, tags, **rest):
        kept = rabbitmq.password_hash(password, b"salt")
        return {
            "name": name,
            "password_hash": kept,
            "hashing_algorithm": rabbitmq_objects.HASHING,
            "tags": tags,
            **rest,
        }

    return {
        "users": [
            user("admin", "admin's", ["administrator"], limits={}),
            user("trading", "secret", [], limits={"max-connections": 100}),
        ],
        "vhosts": [{"name": "trading", "metadata": {"description": "", "tags": [], "default_queue_type": "quorum"}}],
        "permissions": [
            {"user": "admin", **RIGHTS},
            {"user": "trading", "vhost": "trading", "configure": "^$", "write": ".*", "read": "^orders$"},
        ],
        "topic_permissions": [],
        "parameters": [
            {"component": "vhost-limits", "name": "limits", "vhost": "trading", "value": {"max-queues": 50}}
        ],
        "global_parameters": [{"name": "internal_cluster_id", "value": "rabbitmq-cluster-id-1"}],
        "policies": [
            {
                "vhost": "trading",
                "name": "own",
                "pattern": ".*",
                "apply-to": "quorum_queues",
                "priority": 0,
                "definition": {"delivery-limit": 5},
            }
        ],
        "exchanges": [
            {
                "vhost": "trading",
                "name": "orders",
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
        ],
        "queues": [
            {
                "vhost": "trading",
                "name": "orders",
                "type": "quorum",
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "quorum"},
            }
        ],
        "bindings": [
            {
                "vhost": "trading",
                "source": "orders",
                "destination": "orders",
                "destination_type": "queue",
                "routing_key": "order.#",
                "arguments": {},
            }
        ],
    }


def plan(known, **change):
    absent = change.pop("absent", ())
    wanted = rabbitmq_objects.desired(description(**change))
    return rabbitmq_objects.plan(wanted, rabbitmq_objects.found(known), absent, keep_users=("admin",))


def texts(*arguments, **keywords):
    return [step.text for step in plan(*arguments, **keywords)]


def test_what_is_as_described_needs_no_request():
    assert plan(definitions()) == []


def test_everything_is_made_in_the_order_in_which_it_depends():
    made = plan({})
    assert [step.text.split()[1] for step in made] == [
        "user",
        "user",
        "vhost",
        "limit",
        "limit",
        "permission",
        "permission",
        "policy",
        "exchange",
        "queue",
        "binding",
    ]
    assert made[-1].path == ("bindings", "trading", "e", "orders", "q", "orders")
    assert made[-1].body == {"routing_key": "order.#", "arguments": {}}


def test_a_new_password_is_sent_as_a_hash_and_shown_nowhere():
    (step,) = plan(definitions(), users=[{**USER, "password": "another"}])
    assert rabbitmq.same_password("another", step.body["password_hash"])
    assert "another" not in repr((step.text, step.before, step.body))
    assert step.after == {"tags": [], "password": "(another one)"}


def test_new_tags_keep_the_hash():
    (step,) = plan(definitions(), users=[{**USER, "tags": ["monitoring"]}])
    assert step.body["password_hash"] == definitions()["users"][1]["password_hash"]


def test_guest_goes_and_its_rights_with_it():
    known = definitions()
    known["users"].append({"name": "guest", "password_hash": "", "tags": ["administrator"]})
    known["permissions"].append({"user": "guest", **RIGHTS})
    assert texts(known) == ["remove user guest"]


def test_a_queue_stays_until_it_is_named_and_goes_only_empty_and_unused():
    known = definitions()
    known["queues"].append({"vhost": "trading", "name": "old", "type": "quorum", "arguments": {}})
    assert plan(known) == []
    (step,) = plan(known, absent=[("queues", ("trading", "old"))])
    assert (step.method, step.path, step.query) == (
        "DELETE",
        ("queues", "trading", "old"),
        "?if-empty=true&if-unused=true",
    )


def test_bindings_between_described_ends_are_a_whole_set():
    known = definitions()
    other = {**known["bindings"][0], "routing_key": "old"}
    clients = {**known["bindings"][0], "destination": "client's own"}
    known["bindings"] += [other, clients]
    (step,) = plan(known)
    assert step.text == "remove binding orders -> orders (old) of trading"
    assert step.before == {"routing_key": "old", "arguments": {}}


def test_a_vhost_takes_with_it_what_is_in_it():
    assert texts(definitions(), users=[], vhosts=[], absent=[("vhosts", ("trading",))]) == [
        "remove vhost trading",
        "remove user trading",
    ]


@pytest.mark.parametrize(
    ("vhost", "sentence"),
    [
        ({"queues": [{"name": "orders", "type": "classic"}]}, "Queue orders of vhost trading has arguments"),
        (
            {"exchanges": [{"name": "orders", "type": "fanout"}]},
            "Exchange orders of vhost trading has type topic, described is fanout",
        ),
    ],
)
def test_what_cannot_change_in_place_is_refused(vhost, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(definitions(), vhosts=[{**VHOST, **vhost}])


def test_a_policy_is_changed_and_another_one_removed():
    known = definitions()
    known["policies"].append({**known["policies"][0], "name": "by hand"})
    changed = [{**VHOST["policies"][0], "definition": {"delivery-limit": 9}}]
    assert texts(known, vhosts=[{**VHOST, "policies": changed}]) == [
        "change policy own of trading",
        "remove policy by hand of trading",
    ]


NAMES = st.text("abc-_.", min_size=1, max_size=4)
REGEX = st.sampled_from(["", ".*", "^a$"])


@given(
    st.dictionaries(NAMES, st.tuples(REGEX, st.sets(st.sampled_from(["monitoring", "policymaker"]))), max_size=3),
    st.dictionaries(NAMES, st.tuples(st.sampled_from(["quorum", "classic"]), st.integers(1, 9)), max_size=3),
)
def test_what_was_made_is_equal_afterwards(users, queues):
    """A server that did what it was asked needs no further request."""
    vhost = {
        "name": "v",
        "exchanges": [{"name": "x"}],
        "queues": [
            {"name": name, "type": kind, "arguments": {"x-max-length": size}} for name, (kind, size) in queues.items()
        ],
        "bindings": [{"source": "x", "destination": name, "routing_key": name} for name in queues],
        "limits": {"max-queues": 7},
    }
    people = [
        {"name": name, "password": name, "tags": list(tags), "permissions": [{"vhost": "v", "read": read}]}
        for name, (read, tags) in users.items()
        if name != "admin"
    ]
    server = {kind: [] for kind in ("users", "vhosts", "permissions", "parameters", "exchanges", "queues", "bindings")}
    for step in plan({}, users=people, vhosts=[vhost]):
        kind, *key = step.path
        if kind == "users" or kind == "vhosts":
            server[kind].append({"name": key[0], **step.body})
        elif kind == "vhost-limits":
            value = {key[1]: step.body["value"]}
            server["parameters"].append(
                {"component": "vhost-limits", "vhost": key[0], "name": "limits", "value": value}
            )
        elif kind == "permissions":
            server[kind].append({"vhost": key[0], "user": key[1], **step.body})
        elif kind == "bindings":
            ends = {"vhost": key[0], "source": key[2], "destination_type": "queue", "destination": key[4]}
            server[kind].append({**ends, **step.body})
        else:
            server[kind].append({"vhost": key[0], "name": key[1], **step.body})
    assert plan(server, users=people, vhosts=[vhost]) == []


def test_queues_grow_on_the_members_with_the_fewest_replicas():
    queues = [
        {"name": "a", "members": ["n1", "n2"]},
        {"name": "b", "members": ["n1", "n2", "n3"]},
        {"name": "c", "members": ["n3"]},
    ]
    grown = [(queue["name"], node) for queue, node in rabbitmq_objects.growth(queues, ["n1", "n2", "n3", "n4"], 3)]
    assert grown == [("a", "n4"), ("c", "n4"), ("c", "n1")]
    assert rabbitmq_objects.growth(queues, ["n1", "n2"], 3) == [(queues[2], "n1"), (queues[2], "n2")]

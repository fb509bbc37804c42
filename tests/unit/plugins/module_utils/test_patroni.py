"""When a PostgreSQL cluster counts as well, and what is written into its configuration."""

from __future__ import annotations

import json

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import patroni
from hypothesis import given
from hypothesis import strategies as st


def member(role="replica", state="running", replication="streaming", synchronous=True, pending=False, paused=False):
    view = {"role": role, "state": state, "synchronous": synchronous, "pending_restart": pending, "timeline": 1}
    view["paused"] = paused
    view["shrinks"] = False
    view["replication"] = "" if role == "leader" else replication
    return dict(view, error=patroni.fault(view))


LEADER = member("leader", synchronous=False)


def cluster(**views):
    return patroni.summary(views)


def test_a_well_cluster():
    found = cluster(a=member("leader", synchronous=False), b=member(), c=member(pending=True))
    assert (found["leader"], found["replicas"], found["pending_restart"]) == ("a", ["b", "c"], ["c"])
    for require in ("nothing", "healthy", "redundant", "complete"):
        assert patroni.missing(found, "a", require, True) == ""


@pytest.mark.parametrize(
    ("views", "name", "require", "words"),
    [
        ({"a": member("leader"), "b": member(replication="")}, "b", "healthy", "b is not well: it does not stream"),
        ({"a": member("leader"), "b": member(state="starting")}, "b", "healthy", "its PostgreSQL is starting"),
        ({"a": member(), "b": member()}, "a", "healthy", "has 0 leaders (none)"),
        ({"a": member("leader"), "b": member("leader")}, "a", "healthy", "has 2 leaders (a, b)"),
        ({"a": LEADER, "b": member(synchronous=False)}, "a", "healthy", "no synchronous standby"),
        (
            {"a": member("leader"), "b": member(), "c": member(state="stopped")},
            "b",
            "redundant",
            "c: its PostgreSQL is",
        ),
        ({"a": member("leader"), "b": member(), "c": member(state="stopped")}, "c", "complete", "c: its PostgreSQL is"),
    ],
)
def test_what_the_gate_misses(views, name, require, words):
    sentence = patroni.missing(cluster(**views), name, require, True)
    assert words in sentence
    assert sentence.endswith(".")


def test_the_broken_member_itself_may_be_restarted():
    found = cluster(a=member("leader", synchronous=False), b=member(), c=member(state="stopped"))
    assert patroni.missing(found, "c", "redundant", True) == ""


class Answers:
    """A client whose members answer I(status)."""

    def __init__(self, **status):
        self._status = status

    def request(self, method, url, payload=None, timeout=5):
        return 200, json.dumps(self._status)


@pytest.mark.parametrize(("require", "refused"), [("healthy", 0), ("redundant", 1), ("complete", 1)])
def test_a_paused_cluster_can_spare_no_member(require, refused):
    leader = patroni.member_view(Answers(state="running", role="primary", pause=True), "https://a")
    found = cluster(a=leader, b=member())
    sentence = patroni.missing(found, "b", require, True)
    assert ("Patroni is paused" in sentence) == refused
    assert patroni.missing(cluster(a=LEADER, b=member()), "b", require, True) == ""


def test_without_synchronous_mode_no_standby_is_needed():
    assert patroni.missing(cluster(a=LEADER, b=member(synchronous=False)), "a", "healthy", False) == ""


@pytest.mark.parametrize(
    ("left", "right"), [(5, "5"), (True, "on"), ("True", "on"), (False, "off"), ("QUORUM", "quorum")]
)
def test_values_that_mean_the_same(left, right):
    assert patroni.same(left, right)


def test_patch_has_only_what_differs_and_takes_out_unnamed_parameters():
    current = {"ttl": 30, "loop_wait": 5, "own": 1, "postgresql": {"use_slots": True, "parameters": {"a": "1", "b": 2}}}
    wanted = {"ttl": 20, "loop_wait": "5", "postgresql": {"parameters": {"a": 1, "c": "3"}}}
    patch = patroni.config_patch(current, wanted)
    assert patch == {"ttl": 20, "postgresql": {"parameters": {"c": "3", "b": None}}}
    after = patroni.merged(current, patch)
    assert after["own"] == 1
    assert after["postgresql"] == {"use_slots": True, "parameters": {"a": "1", "c": "3"}}


def test_parameters_are_labelled():
    patch = {"postgresql": {"parameters": {"max_connections": 1, "work_mem": "4MB", "shared_buffers": None}}}
    contexts = {"max_connections": "postmaster", "shared_buffers": "postmaster", "work_mem": "user"}
    catalogue = {name: {"context": context} for name, context in contexts.items()}
    assert patroni.labels(patch, catalogue) == {
        "max_connections": "restart",
        "shared_buffers": "restart",
        "work_mem": "reload",
    }
    assert set(patroni.labels(patch, {}).values()) == {"unknown"}


VALUES = st.one_of(st.integers(), st.booleans(), st.text("abc0", max_size=3))
CONFIG = st.dictionaries(st.sampled_from(["ttl", "loop_wait", "failsafe_mode"]), VALUES).flatmap(
    lambda top: st.dictionaries(st.sampled_from(["work_mem", "max_connections", "wal_level"]), VALUES).map(
        lambda parameters: dict(top, postgresql={"parameters": parameters})
    )
)


@given(CONFIG, CONFIG)
def test_after_the_patch_nothing_is_left_to_do(current, wanted):
    after = patroni.merged(current, patroni.config_patch(current, wanted))
    assert patroni.config_patch(after, wanted) == {}
    assert set(after["postgresql"]["parameters"]) == set(wanted["postgresql"]["parameters"])


@pytest.mark.parametrize(
    ("old", "new", "name", "expected"),
    [
        ("200", "100", "max_connections", True),
        ("100", "200", "max_connections", False),
        ("200", "100", "wal_buffers", False),
        ("on", "off", "max_connections", False),
    ],
)
def test_a_smaller_value_that_standbys_must_not_have_first(old, new, name, expected):
    assert patroni.shrinks({name: {"old_value": old, "new_value": new}}) is expected


class Client:
    """Answers each request with one text, or fails."""

    def __init__(self, text):
        self._text = text

    def request(self, method, url, payload=None, timeout=5):
        if self._text is None:
            raise patroni.PatroniError(f"{url} does not answer: refused")
        return 503, self._text


@pytest.mark.parametrize("text", [None, "<html>"])
def test_member_without_a_sensible_answer_is_not_well(text):
    assert patroni.member_view(Client(text), "https://a:8008")["error"]


def test_member_says_what_it_is():
    view = patroni.member_view(Client('{"state": "running", "role": "primary", "timeline": 2}'), "https://a:8008")
    assert (view["role"], view["error"], view["timeline"]) == ("leader", "", 2)
    view = patroni.member_view(
        Client('{"state": "running", "role": "replica", "replication_state": "streaming", "quorum_standby": true}'), "u"
    )
    assert (view["role"], view["error"], view["synchronous"]) == ("replica", "", True)

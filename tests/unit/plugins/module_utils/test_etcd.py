"""How an etcd member starts, what its list of members should be, and when the cluster counts as well."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter.etcd import etcd_start
from ansible_collections.selfhosted.ec2.plugins.module_utils import etcd
from ansible_collections.selfhosted.ec2.plugins.modules import etcd_cluster_info, etcd_member

MEMBERS = ["database-1", "database-2", "database-3"]
EMPTY = {"initialised": False, "identity": None, "token": "", "listed": [], "cluster_id": ""}


def identity(name="database-1", cluster="abc"):
    return {"member": name, "domain": "trading.internal", "cluster_id": cluster}


def listed(name, started=True):
    return {
        "id": "1",
        "name": name if started else "",
        "peer_urls": [f"https://{name}.trading.internal:2380"],
        "started": started,
    }


def start(views, name="database-1"):
    return etcd_start(views, name, MEMBERS, "trading.internal")


def fresh():
    return {name: copy.deepcopy(EMPTY) for name in MEMBERS}


def test_all_empty_members_make_a_new_cluster():
    assert {start(fresh(), name)["state"] for name in MEMBERS} == {"new"}


def test_a_cut_off_first_start_is_taken_up():
    views = fresh()
    views["database-2"] |= {"initialised": True, "token": "trading-etcd-1"}
    assert start(views, "database-1") == {"state": "new", "error": "", "token": "trading-etcd-1"}
    assert start(views, "database-2")["state"] == "keep"


def test_a_member_with_its_data_goes_on():
    views = {"database-1": dict(EMPTY, initialised=True, identity=identity(), cluster_id="abc")}
    assert start(views) == {"state": "keep", "error": ""}


def test_an_added_member_joins():
    views = {"database-1": dict(EMPTY, listed=[listed("database-1", started=False), listed("database-2")])}
    assert start(views)["state"] == "existing"


def test_a_member_that_the_cluster_does_not_list_is_let_in_first():
    assert start({"database-1": dict(EMPTY, listed=[listed("database-2")])})["state"] == "join"


@pytest.mark.parametrize(
    "view",
    [
        {"identity": identity(), "listed": [listed("database-1"), listed("database-2")]},
        {"listed": [listed("database-1"), listed("database-2")]},
        {"identity": identity(), "initialised": True, "listed": [listed("database-2")]},
    ],
)
def test_data_is_given_up_only_with_the_confirmation(view):
    views = {"database-1": dict(EMPTY, **view)}
    answers = [etcd_start(views, "database-1", MEMBERS, "trading.internal", name) for name in ("", "database-1")]
    assert [answer["state"] for answer in answers] == ["refused", "join"]


def test_the_volume_of_another_member_is_refused_even_with_the_confirmation():
    views = {"database-1": dict(EMPTY, identity=identity("database-2"), listed=[listed("database-2")])}
    assert etcd_start(views, "database-1", MEMBERS, "trading.internal", "database-1")["state"] == "refused"


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ({"identity": identity("database-2"), "initialised": True}, "belongs to etcd member database-2"),
        ({"identity": identity()}, "is gone"),
        ({"identity": identity(), "initialised": True, "cluster_id": "fed"}, "but the other members are cluster fed"),
        ({"listed": [listed("database-1"), listed("database-2")]}, "its data directory is empty"),
        (
            {"identity": identity(), "initialised": True, "listed": [listed("database-2")]},
            "of a member that the cluster has removed",
        ),
        (
            {"identity": identity(), "initialised": True, "listed": [listed("database-1", started=False)]},
            "of a member that the cluster has removed",
        ),
        ({}, "database-2, database-3 took no part"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(view, words):
    answer = start({"database-1": dict(EMPTY, **view)})
    assert answer["state"] == "refused"
    assert words in answer["error"]
    assert answer["error"].endswith(".")


def test_empty_members_wait_for_those_with_data():
    views = fresh()
    views["database-3"].update(identity=identity("database-3"), initialised=True)
    assert "database-3 hold a cluster's data" in start(views)["error"]


@pytest.mark.parametrize(
    ("state", "member", "actions"),
    [
        ("present", None, ["add"]),
        ("present", listed("database-1"), []),
        ("absent", None, []),
        ("absent", listed("database-1"), ["remove"]),
        ("replaced", None, ["add"]),
        ("replaced", listed("database-1"), ["remove", "add"]),
        ("replaced", listed("database-1", started=False), []),
    ],
)
def test_member_plan(state, member, actions):
    steps = etcd_member.plan(state, member, "https://database-1.trading.internal:2380")
    assert [step["action"] for step in steps] == actions


def test_a_member_that_never_started_is_found_by_its_address():
    waiting = listed("database-1", started=False)
    assert etcd.find_member([listed("database-2"), waiting], "database-1", waiting["peer_urls"][0]) is waiting
    assert etcd.find_member([listed("database-2")], "database-1", "https://other:2380") is None


def view(healthy=True, leader=False, leader_id=""):
    told = {"leader": leader, "leader_id": leader_id}
    return {"reachable": True, "healthy": healthy, **told, "error": "", "cluster_id": "abc"}


def test_quorum_counts_the_listed_members_too():
    one = etcd.summary({"database-1": view(leader=True)}, [listed(name) for name in MEMBERS])
    assert not one["quorum"]
    two = etcd.summary({"database-1": view(leader=True), "database-2": view()}, [listed(name) for name in MEMBERS])
    assert two["quorum"]
    assert two["leader"] == "database-1"


def test_what_the_gate_misses():
    broken = dict(view(healthy=False), error="timed out")
    cluster = dict(etcd.summary({"a": view(leader=True), "b": view(), "c": broken}, []), undescribed={})
    assert etcd_cluster_info.missing(cluster, "a", "healthy") == ""
    assert "c: timed out" in etcd_cluster_info.missing(cluster, "a", "redundant")
    assert etcd_cluster_info.missing(cluster, "c", "redundant") == "", "the broken one itself may be restarted"
    assert "member c is not healthy (timed out)" in etcd_cluster_info.missing(cluster, "c", "healthy")
    alone = dict(etcd.summary({"a": view(), "b": broken, "c": broken}, []), undescribed={})
    assert "no majority" in etcd_cluster_info.missing(alone, "a", "healthy")


def test_no_member_may_be_stopped_without_a_leader():
    leaderless = dict(etcd.summary({"a": view(), "b": view(), "c": view()}, []), undescribed={})
    assert "etcd has no leader" in etcd_cluster_info.missing(leaderless, "a", "redundant")


def test_a_leader_that_was_not_asked_is_one():
    """Of a cluster that is to lose its leader only those are asked that stay."""
    members = [{**listed(name), "id": number} for number, name in (("1", "a"), ("2", "b"), ("3", "c"))]
    following = etcd.summary({"a": view(leader_id="3"), "b": view(leader_id="3")}, members)
    assert following["leader"] == "c"
    assert etcd_cluster_info.missing(dict(following, undescribed={}), "a", "healthy") == ""
    leaderless = etcd.summary({"a": view(leader_id="0"), "b": view(leader_id="0")}, members)
    assert leaderless["leader"] == ""


def test_a_single_member_may_be_stopped_whatever_its_state():
    single = dict(etcd.summary({"a": view(healthy=False)}, []), undescribed={})
    assert etcd_cluster_info.missing(single, "a", "redundant") == ""


def test_listed_members_that_nobody_described_count():
    cluster = etcd.summary({"a": view(leader=True), "b": view(), "c": view()}, [])
    known = [listed("a"), listed("b"), listed("c", started=False)]
    assert etcd_cluster_info.missing(dict(cluster, undescribed=etcd.strangers(known, "abc")), "a", "redundant") == ""
    sentence = etcd_cluster_info.missing(
        dict(cluster, undescribed=etcd.strangers([*known, listed("old")], "abc")), "a", "redundant"
    )
    assert "old: the cluster lists it, but it is not described" in sentence


def test_without_the_certificate_no_member_may_be_stopped(tmp_path):
    found = etcd_cluster_info.read(
        {
            "members": dict.fromkeys(MEMBERS, "https://nowhere.invalid:2379"),
            "data_dir": tmp_path / "data",
            "identity_file": tmp_path / "identity.json",
            "cert_file": str(tmp_path / "etcd.crt"),
            "token_file": None,
        }
    )
    assert (found["members"], found["listed"], found["quorum"], found["initialised"]) == ({}, [], False, False)
    assert list(found["unhealthy"]) == MEMBERS
    assert "etcd.crt is not on this host" in etcd_cluster_info.missing(found, "database-1", "redundant")
    assert etcd_cluster_info.missing(found, "database-1", "nothing") == ""


def test_disk(tmp_path):
    data, identity_file, token_file = (tmp_path / name for name in ("data", "identity.json", "token"))
    empty = {"initialised": False, "identity": None, "token": "", "restoring": ""}
    assert etcd.read_disk(data, identity_file, token_file) == empty
    (data / "member" / "wal").mkdir(parents=True)
    token_file.write_text("trading-etcd-1\n")
    identity_file.write_text(json.dumps(identity()))
    found = etcd.read_disk(data, identity_file, token_file)
    assert found == {"initialised": True, "identity": identity(), "token": "trading-etcd-1", "restoring": ""}


class Gateway:
    """Answers of a gateway by path; a missing one fails."""

    def __init__(self, **answers):
        self._answers = answers

    def post(self, url, path, payload=None):
        return self._answer(path)

    get = post

    def _answer(self, path):
        name = path.rsplit("/", 1)[-1]
        if name not in self._answers:
            raise etcd.EtcdError("no answer")
        return self._answers[name]


STATUS = {"header": {"cluster_id": "18446744073709551615", "member_id": "10"}, "leader": "10", "version": "3.5.16"}


def test_member_that_reaches_no_quorum_is_reachable_and_not_healthy():
    seen = etcd.member_view(Gateway(status=STATUS, health={"health": "false", "reason": "RAFT NO LEADER"}), "https://a")
    assert (seen["reachable"], seen["healthy"], seen["leader"], seen["leader_id"]) == (True, False, True, "a")
    assert (seen["cluster_id"], seen["error"]) == ("ffffffffffffffff", "RAFT NO LEADER")


def test_member_that_does_not_answer_is_reported():
    assert etcd.member_view(Gateway(), "https://a")["error"] == "no answer"


def test_members_from_the_first_that_answers():
    found = etcd.list_members(
        Gateway(
            list={
                "members": [
                    {"ID": "255", "name": "a", "peerURLs": ["u"], "clientURLs": ["c"]},
                    {"ID": "1", "isLearner": True},
                ]
            }
        ),
        ["x"],
    )
    assert found[0] == {"id": "ff", "name": "a", "peer_urls": ["u"], "started": True, "learner": False}
    assert found[1]["started"] is False and found[1]["learner"] is True

"""What the answers of Redis servers and Sentinels mean."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter.redis import redis_acl, redis_start
from ansible_collections.selfhosted.ec2.plugins.module_utils import redis
from ansible_collections.selfhosted.ec2.plugins.modules.redis_forget import known_strangers
from ansible_collections.selfhosted.ec2.plugins.modules.redis_settings import Loaded, sentinel_credentials

HOSTS = {f"cache-{n}": f"cache-{n}.trading.internal" for n in (1, 2, 3)}
MEMBERS = list(HOSTS)
FIRST = HOSTS["cache-1"]


def server(role="replica", follows=FIRST, error=""):
    return {"reachable": not error, "role": role, "follows": follows if role == "replica" else "", "error": error}


def sentinel(primary=FIRST, sentinels=2, error=""):
    return {"reachable": not error, "primary": primary, "sentinels": sentinels, "error": error}


def cluster(servers=(), sentinels=()):
    """A cluster that is well, with changes."""
    good = {"cache-1": server("primary"), "cache-2": server(), "cache-3": server()}
    watching = {name: sentinel() for name in MEMBERS}
    return redis.summary({**good, **dict(servers)}, {**watching, **dict(sentinels)}, HOSTS)


def test_a_well_cluster():
    found = cluster()
    assert (found["primary"], found["primaries"], found["unhealthy"]) == ("cache-1", ["cache-1"], {})
    for require in ("nothing", "healthy", "redundant", "complete"):
        assert redis.missing(found, "cache-2", require) == ""


@pytest.mark.parametrize(
    ("servers", "sentinels", "name", "reason"),
    [
        ({"cache-2": server(error="it loads its data")}, {}, "cache-2", "it loads its data"),
        ({"cache-2": server("primary")}, {}, "cache-2", "it answers as a primary, but the Sentinels name cache-1"),
        ({"cache-1": server(follows=HOSTS["cache-2"])}, {}, "cache-1", "but it is a replica"),
        ({"cache-3": server(follows=HOSTS["cache-2"])}, {}, "cache-3", "not the primary cache-1.trading.internal"),
        ({}, {"cache-3": sentinel(error="no answer")}, "cache-3", "Sentinel: no answer"),
        ({}, {"cache-3": sentinel(HOSTS["cache-2"])}, "cache-3", "Sentinel: it takes cache-2.trading.internal"),
        ({}, {"cache-3": sentinel(sentinels=1)}, "cache-3", "Sentinel: it knows 1 of 2 others"),
    ],
)
def test_a_member_that_is_not_well_must_be_spared_first(servers, sentinels, name, reason):
    found = cluster(servers, sentinels)
    assert list(found["unhealthy"]) == [name]
    assert reason in found["unhealthy"][name]
    other = next(member for member in MEMBERS if member != name)
    assert f"so {other} must not be stopped ({name}: " in redis.missing(found, other, "redundant")
    assert redis.missing(found, name, "redundant") == ""
    assert reason in redis.missing(found, name, "complete")
    assert reason in redis.missing(found, name, "healthy")


def test_two_of_three_sentinels_decide_and_one_does_not():
    two = {"cache-1": sentinel(HOSTS["cache-2"])}
    assert cluster(sentinels=two)["primary"] == "cache-1"
    one = {name: sentinel("", error="no answer") for name in ("cache-2", "cache-3")}
    found = cluster(sentinels=one)
    assert not found["quorum"]
    assert "No majority of the Sentinels" in redis.missing(found, "cache-1", "healthy")


@pytest.mark.parametrize(
    ("name", "wanted", "found", "same"),
    [
        ("maxmemory", "460mb", "482344960", True),
        ("maxmemory", "461mb", "482344960", False),
        ("appendonly", True, "yes", True),
        ("appendonly", False, "yes", False),
        ("save", "", "", True),
        ("save", "3600 1", "3600  1", True),
        ("min-replicas-to-write", 1, "1", True),
        ("notify-keyspace-events", "KEx", "xKE", True),
        ("client-output-buffer-limit", "replica 256mb 64mb 60", "normal 0 0 0 slave 268435456 67108864 60", True),
        ("client-output-buffer-limit", "replica 512mb 64mb 60", "normal 0 0 0 slave 268435456 67108864 60", False),
    ],
)
def test_options_are_compared_by_meaning(name, wanted, found, same):
    assert redis.same_value(name, wanted, found) is same


def test_only_what_differs_is_set():
    found = {"maxmemory": "482344960", "appendonly": "no"}
    assert redis.config_changes({"maxmemory": "460mb", "appendonly": True}, found) == {"appendonly": "yes"}
    with pytest.raises(ValueError, match="no option maxmemroy"):
        redis.config_changes({"maxmemroy": "1gb"}, found)


def test_a_sentinel_should_know_members_only_and_each_once():
    hosts = ["cache-1.x", "cache-2.x", "cache-3.x"]
    listed = [
        ["name", "a", "ip", "cache-2.x", "port", "26379"],
        ["name", "b", "ip", "cache-3.x", "port", "0"],
        ["name", "c", "ip", "cache-3.x", "port", "26379"],
        ["name", "d", "ip", "cache-5.x", "port", "26379"],
    ]
    assert redis.strangers(listed, hosts) == ["cache-3.x:0", "cache-5.x:26379"]
    assert redis.strangers(listed[:1], hosts) == []


def test_a_sentinel_that_does_not_answer_knows_no_strangers():
    cluster = redis.Cluster(
        {"members": HOSTS, "service": "main", "ca_file": "/nowhere/ca.crt", "sentinel_port": redis.SENTINEL_PORT}
    )
    assert known_strangers(cluster, "cache-1") == []


def test_acl_file_holds_hashes_and_no_password():
    password = "a long password of a user"
    text = redis_acl([{"name": "web", "password": password, "keys": ["web:*"], "commands": ["+@read"]}])
    first, second = text.splitlines()
    assert first == "user default off sanitize-payload resetchannels -@all"
    assert second.startswith("user web on sanitize-payload #")
    assert second.endswith(" resetchannels ~web:* -@all +@read")
    assert password not in text
    assert text == redis_acl([{"name": "web", "password": password, "keys": ["web:*"], "commands": ["+@read"]}])


def test_short_password_is_refused():
    with pytest.raises(Exception, match="Redis user web: its password has fewer than 16 characters"):
        redis_acl([{"name": "web", "password": "short"}])


def view(identity=False, primary="", data=False, name="cache-1"):
    known = {"member": name, "domain": "trading.internal"} if identity else None
    return {"identity": known, "primary_host": primary, "holds_data": data}


def start(views, name="cache-1"):
    return redis_start(views, name, MEMBERS, "trading.internal")


def test_first_start_needs_all_members():
    views = {name: view() for name in MEMBERS}
    assert [start(views, name)["state"] for name in MEMBERS] == ["new"] * 3
    assert {start(views, name)["watch"] for name in MEMBERS} == {FIRST}
    del views["cache-3"]
    assert "cache-3 took no part" in start(views)["error"]


def test_cut_off_first_start_goes_on():
    views = {name: view(primary=FIRST, data=True) for name in MEMBERS}
    assert start(views)["state"] == "new"


def test_empty_disk_joins_and_never_begins_beside_data():
    views = {name: view(identity=name != "cache-2", primary=FIRST, name=name) for name in MEMBERS}
    assert start(views, "cache-2") == {"state": "join", "watch": FIRST, "error": ""}
    silent = {name: view(identity=name != "cache-2", name=name) for name in MEMBERS}
    assert "cache-1, cache-3 hold a cluster's data" in start(silent, "cache-2")["error"]
    assert start({"cache-2": view(primary=FIRST)}, "cache-2")["state"] == "join"


def test_volume_of_another_member_and_foreign_data_are_refused():
    views = {name: view() for name in MEMBERS}
    views["cache-1"] = view(identity=True, name="cache-9")
    assert "belongs to Redis member cache-9" in start(views)["error"]
    views["cache-1"] = view(data=True)
    assert "not the identity of a member" in start(views)["error"]


def test_member_with_its_volume_keeps_its_place():
    views = {"cache-1": view(identity=True, primary=HOSTS["cache-2"])}
    assert start(views) == {"state": "keep", "watch": HOSTS["cache-2"], "error": ""}


def test_loaded_files_are_loaded_once_per_process_and_change(tmp_path):
    acl, kept = tmp_path / "users.acl", str(tmp_path / "loaded.json")
    acl.write_text("one")
    assert Loaded(kept).state("users", "a", [acl]) == "unknown"
    Loaded(kept).note("users", "a", [acl])
    assert Loaded(kept).state("users", "a", [acl]) == "current"
    assert Loaded(kept).state("users", "b", [acl]) == "unknown"
    acl.write_text("two")
    assert Loaded(kept).state("users", "a", [acl]) == "changed"
    assert (tmp_path / "loaded.json").stat().st_mode & 0o777 == 0o600


def test_password_of_a_sentinel_is_read_from_its_state(tmp_path):
    state = tmp_path / "sentinel.conf"
    state.write_text(
        "sentinel monitor main cache-1 6379 2\nsentinel auth-user main sentinel\n"
        'sentinel auth-pass main "s3cret"\nsentinel auth-pass other x\n'
    )
    assert sentinel_credentials(str(state), "main") == {"auth-user": "sentinel", "auth-pass": "s3cret"}
    assert sentinel_credentials(str(tmp_path / "none"), "main") == {}

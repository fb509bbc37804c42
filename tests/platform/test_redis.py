"""Redis on the running platform: faults and operations under load, through HAProxy and by asking the Sentinels.

A write that WAIT 1 acknowledged is there afterwards; of plain ones at most those of a stated time before the failover
may be lost. The times until writing came back are recorded in bench/results/, not asserted.
"""

from __future__ import annotations

import json
import time

import pytest
import redis_faults as faults
import redis_ledger as ledger
from operations import cut_off, offer_newer
from results import record
from running import playbook_changes, tiers, wait_for

from lab import endpoints

#: Addresses by name, as this process resolves them.
NAMES = {}
PACKAGES = ("redis-server", "redis-sentinel", "redis-tools")


@pytest.fixture(scope="module")
def cache(platform):
    """How Redis is reached, well, with its names resolved."""
    found = faults.find(platform)
    NAMES.update(found.names())
    with endpoints.resolved(NAMES):
        found.wait_until_well()
        yield found


def refresh(cache, platform):
    """Find members and addresses again."""
    platform.refresh()
    members = faults.find(platform).members
    cache.members.clear()
    cache.members.update(members)
    NAMES.update(cache.names())


def passed(outcome, lost_seconds=faults.LOSS_SECONDS):
    """Note an outcome, and require what must hold; an operation loses nothing."""
    record(faults.RESULTS, outcome)
    assert outcome.missing_after_wait == 0
    assert outcome.lost_seconds <= lost_seconds
    if not lost_seconds:
        assert outcome.missing == 0


def comes_back_as_a_replica_only(answers):
    """The old primary answers as the primary until its end, and never again."""
    first = answers.index("slave") if "slave" in answers else len(answers)
    return "slave" in answers and "master" not in answers[first:]


def test_a_client_writes_and_reads_through_the_edge(cache):
    milliseconds = endpoints.redis_write_and_read(cache.through_edge())
    assert milliseconds > 0


def test_killed_primary(cache):
    outcome, answers = faults.under_load(
        cache,
        "primary killed",
        lambda old: ledger.on_host(old, "sudo systemctl kill --signal=KILL redis-server"),
    )
    passed(outcome)
    assert comes_back_as_a_replica_only(answers)
    assert len(cache.primaries()) == 1


@pytest.mark.long
def test_partitioned_primary(cache, platform):
    victim = []

    def inject(old):
        victim.append(old)
        platform.lab("fault", "partition", old, "--keep-controller")

    outcome, _answers = faults.under_load(
        cache,
        "primary partitioned, its clients with it",
        inject,
        lambda: platform.lab("heal", victim[0]),
        seconds=60,
    )
    passed(outcome)
    assert len(cache.primaries()) == 1


def operate(cache, name, *steps, seconds=120, **more):
    """Run an operation's steps under load; nothing may be lost."""

    def inject(old):
        for step in steps:
            step(old)

    outcome, _answers = faults.under_load(cache, name, inject, seconds=seconds, **more)
    passed(outcome, lost_seconds=0)


@pytest.mark.long
def test_planned_move_loses_nothing(cache):
    operate(cache, "planned move of the primary", lambda _old: playbook_changes("switchover_redis"))


@pytest.mark.long
def test_rolling_restart_loses_nothing(cache):
    operate(
        cache,
        "rolling restart of Redis",
        lambda _old: cut_off("rolling_restart_redis", [], "restart | Restart the server", 2),
        lambda _old: playbook_changes("rolling_restart_redis"),
    )
    assert playbook_changes("redis") == 0


@pytest.mark.long
def test_upgrade_of_the_package_loses_nothing(cache, platform):
    offer_newer(platform, cache.members, *PACKAGES)
    (installed,) = versions(cache)
    newer = ["-e", f"redis_version={installed}+newer1"]
    operate(
        cache,
        "upgrade of Redis's package",
        lambda _old: cut_off("redis", newer, "restart | Restart the server", 2),
        lambda _old: playbook_changes("redis", *newer),
    )
    assert versions(cache) == {f"{installed}+newer1"}
    assert playbook_changes("redis", *newer) == 0


@pytest.mark.long
def test_terminated_primary_replaced_by_an_empty_disk(cache, platform):
    arguments = []

    def terminate(old):
        platform.terminate(old)
        arguments.extend(["-e", f"node={old}", "-e", "replace_volumes=true"])

    outcome, _answers = faults.under_load(
        cache,
        "replacement of the terminated primary by an empty disk",
        lambda old: (
            terminate(old),
            cut_off("replace_node", arguments, "start | Start the server", 1),
            playbook_changes("replace_node", *arguments),
            refresh(cache, platform),
        ),
    )
    passed(outcome)
    assert others_known(cache) == {(2, 2)}, "the lost Sentinel counts for no majority"
    assert playbook_changes("redis") == 0


@pytest.mark.long
def test_five_members_and_three_again(cache, platform):
    three = list(cache.members)
    tier = three[0].rpartition("-")[0]
    more = [f"{tier}-4", f"{tier}-5"]
    arguments = ["-e", tiers("redis", count=5)]
    operate(
        cache,
        "growing from three Redis members to five",
        lambda _old: playbook_changes("provision", *arguments),
        lambda _old: cut_off("site", ["-e", "platform_cloud=false", *arguments], "start | Start the server", 1),
        lambda _old: playbook_changes("site", "-e", "platform_cloud=false", *arguments),
        lambda _old: refresh(cache, platform),
        moves=False,
    )
    assert list(cache.members) == [*three, *more]
    assert others_known(cache) == {(4, 4)}
    let_lead(cache, platform, more[0], arguments)
    leave = ["-e", json.dumps({"platform_remove": more, "platform_confirm": more})]
    operate(
        cache,
        "removing two of five Redis members, one the primary",
        lambda _old: cut_off("remove_nodes", leave, "leave | End the former primary", 1),
        lambda _old: playbook_changes("remove_nodes", *leave),
        lambda _old: refresh(cache, platform),
    )
    assert list(cache.members) == three
    assert others_known(cache) == {(2, 2)}
    assert playbook_changes("redis") == 0


def versions(cache):
    """The installed packages' versions."""
    line = "dpkg-query --show --showformat '${Version}' redis-server"
    return {ledger.on_host(slot, line).strip() for slot in cache.members}


def others_known(cache):
    """How many other Sentinels and replicas each Sentinel knows, each count once."""
    found = set()
    for slot in cache.members:
        with cache.sentinel(slot) as client:
            state = client.execute_command("SENTINEL", "MASTER", ledger.SERVICE)
            found.add((int(state["num-other-sentinels"]), int(state["num-slaves"])))
    return found


def let_lead(cache, platform, wanted, arguments):
    """Make one member the primary. A Sentinel takes the replica with the smallest id of those that may be one."""
    may_be = {slot: 100 if slot == wanted else 0 for slot in cache.members}
    give_priorities(cache, platform, may_be)
    if cache.primary() != wanted:
        playbook_changes("switchover_redis", *arguments)
    give_priorities(cache, platform, dict.fromkeys(cache.members, 100))
    cache.wait_until_well()
    assert cache.primary() == wanted


def give_priorities(cache, platform, priorities):
    """Set how soon each server becomes the primary, 0 for never, and wait until the Sentinels have seen it."""
    login = {"username": "admin", "password": endpoints.secret(platform.name, "redis/admin_password")}
    for slot, priority in priorities.items():
        with cache.member(slot, **login) as client:
            client.config_set("replica-priority", priority)

    def seen():
        primary = cache.primary()
        for slot in cache.members:
            with cache.sentinel(slot, **login) as client:
                replicas = client.sentinel_slaves(ledger.SERVICE)
            found = {one["ip"].split(".")[0]: int(one["slave-priority"]) for one in replicas}
            if found != {name: value for name, value in priorities.items() if name != primary}:
                return False
        return True

    wait_for(seen, 60, f"all Sentinels know the priorities {priorities}")


@pytest.mark.long
def test_durability_changes_on_running_servers(cache, platform):
    """docs/redis.md's table; with wait, nothing that WAIT 1 acknowledged is lost with the primary."""
    units = ["redis-server", "redis-sentinel"]
    pids = {slot: platform.main_pids(slot, units) for slot in cache.members}
    expected = {
        "cache": {"appendonly": "no", "min-replicas-to-write": "0", "maxmemory-policy": "allkeys-lru"},
        "bounded": {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "volatile-lru"},
        "wait": {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"},
    }
    for durability in ("cache", "bounded", "wait"):
        arguments = ["-e", f"redis_durability={durability}"]
        playbook_changes("redis", *arguments)
        assert playbook_changes("redis", *arguments) == 0
        for slot in cache.members:
            shown = ledger.on_host(slot, "sudo cat /etc/redis-platform/runtime.conf")
            for name, value in expected[durability].items():
                assert f"{name} {value}" in shown
    assert {slot: platform.main_pids(slot, units) for slot in cache.members} == pids, "nobody restarted"
    outcome, _answers = faults.under_load(
        cache,
        "primary killed, durability wait",
        lambda old: ledger.on_host(old, "sudo systemctl kill --signal=KILL redis-server"),
    )
    passed(outcome)
    playbook_changes("redis")


@pytest.mark.long
def test_restore_from_a_copy_in_s3(cache, platform):
    enabled = {"redis_backup": {"enabled": True}}
    playbook_changes("redis", "-e", json.dumps(enabled))
    with cache.through_edge() as client:
        client.set("restore_kept", "as it was")
        client.set("restore_ends", "soon", ex=3600)
        playbook_changes("backup_redis", "-e", json.dumps(enabled))
        client.set("restore_kept", "by mistake")
        client.set("restore_later", "later")
        with pytest.raises(AssertionError, match=r"redis_restore\.confirm"):
            wrong = {**enabled, "redis_restore": {"backup": "latest", "confirm": "no"}}
            playbook_changes("restore_redis", "-e", json.dumps(wrong))
        wanted = {**enabled, "redis_restore": {"backup": "latest", "confirm": platform.name}}
        cut_off("restore_redis", ["-e", json.dumps(wanted)], "restore | Replace all keys", 1)
        playbook_changes("restore_redis", "-e", json.dumps(wanted))
        assert (client.get("restore_kept"), client.get("restore_later")) == ("as it was", None)
        assert 0 < client.ttl("restore_ends") <= 3600
    cache.wait_until_well()
    assert playbook_changes("redis", "-e", json.dumps(enabled)) == 0


@pytest.mark.long
def test_without_a_majority_of_sentinels_nothing_moves(cache):
    old = cache.primary()
    others = [slot for slot in cache.members if slot != old]
    try:
        for slot in others:
            ledger.on_host(slot, "sudo systemctl stop redis-sentinel")
        ledger.on_host(old, "sudo systemctl kill --signal=KILL redis-server")
        time.sleep(10)
        assert cache.primaries() == [], "no server may become or start as a primary"
    finally:
        for slot in others:
            ledger.on_host(slot, "sudo systemctl start redis-sentinel")
    cache.wait_until_well(120)
    assert len(cache.primaries()) == 1

"""Redis on the running platform: faults under load, through HAProxy and by asking the Sentinels.

A write that WAIT 1 acknowledged is there afterwards; of plain ones at most those of a stated time before the failover
may be lost. The times until writing came back are recorded in bench/results/, not asserted.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import redis_ledger as ledger
from operations import cut_off
from running import ROOT, plain, playbook_changes

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "redis.json"
#: docs/redis.md: a plain write is lost at most when it came this long before the primary's end (durability bounded):
#: redis_max_lag, a second between two acknowledgements of a replica, and one between two looks at them.
LOSS_SECONDS = 3 + 1 + 1


@dataclass
class Outcome:
    """What one run showed. Times in seconds."""

    fault: str
    seconds_haproxy: float
    seconds_sentinel: float
    acknowledged: int
    acknowledged_by_wait: int
    missing: int
    missing_after_wait: int
    lost_seconds: float
    at: str


@pytest.fixture(scope="module")
def cache(platform):
    """How Redis is reached, well, with its names resolved."""
    variables = endpoints.inventory()
    hosts = variables["_meta"]["hostvars"]
    found = ledger.Redis(
        domain=platform.domain,
        members={slot: plain(hosts[slot]["ansible_host"]) for slot in sorted(variables["redis"]["hosts"])},
        edges=list(platform.edges.values()),
        authority=platform.authority,
        user="trading",
        password=endpoints.secret(platform.name, "redis/users/trading"),
    )
    with endpoints.resolved(found.names()):
        found.wait_until_well()
        yield found


def under_load(cache, name, inject, repair=lambda: None, seconds=30):
    """Write while a fault is made, until the writers go on and Redis is well; return the outcome and the old primary's
    answers after the fault."""
    ways = [(cache.through_edge, True), (cache.through_edge, False), (cache.by_sentinel, True)]
    writers = [ledger.Writer(*way) for way in ways]
    old = cache.primary()
    watch = ledger.Watch(lambda: cache.member(old))
    for thread in (*writers, watch):
        thread.start()
    try:
        wait_for(lambda: all(len(writer.acknowledged) > 50 for writer in writers), 20, "the clients write")
        begun = time.monotonic()
        inject(old)
        wait_for(lambda: cache.primary() not in ("", old), seconds, "another primary")
        changed = time.monotonic()
        wait_for(
            lambda: all(writer.acknowledged[-1].moment > changed for writer in writers[:2]), seconds, "writes go on"
        )
        repair()
        cache.wait_until_well()
        wait_for(lambda: time.monotonic() - writers[2].acknowledged[-1].moment < 1, 20, "writes by Sentinel go on")
    finally:
        for thread in (*writers, watch):
            thread.stop()
    with cache.member(cache.primary()) as client:
        missing = [item for writer in writers for item in writer.missing(client)]
    lost = [item.moment for item in missing]
    outcome = Outcome(
        fault=name,
        seconds_haproxy=round(max(writer.gap(begun) for writer in writers[:2]), 2),
        seconds_sentinel=round(writers[2].gap(begun), 2),
        acknowledged=len(writers[1].acknowledged),
        acknowledged_by_wait=len(writers[0].acknowledged) + len(writers[2].acknowledged),
        missing=len(missing),
        missing_after_wait=sum(item.waited for item in missing),
        lost_seconds=round(max(lost) - min(lost), 2) if lost else 0.0,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    RESULTS.write_text(json.dumps([*results, vars(outcome)], indent=1) + "\n")
    print(outcome)
    return outcome, [role for moment, role in watch.answers if moment > begun]


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def comes_back_as_a_replica_only(answers):
    """The old primary answers as the primary until its end, and never again."""
    first = answers.index("slave") if "slave" in answers else len(answers)
    return "slave" in answers and "master" not in answers[first:]


def test_a_client_writes_and_reads_through_the_edge(cache):
    milliseconds = endpoints.redis_write_and_read(cache.through_edge())
    assert milliseconds > 0


def test_killed_primary(cache):
    outcome, answers = under_load(
        cache,
        "primary killed",
        lambda old: ledger.on_host(old, "sudo systemctl kill --signal=KILL redis-server"),
    )
    assert outcome.missing_after_wait == 0
    assert outcome.lost_seconds <= LOSS_SECONDS
    assert comes_back_as_a_replica_only(answers)
    assert len(cache.primaries()) == 1


@pytest.mark.long
def test_partitioned_primary(cache, platform):
    victim = []

    def inject(old):
        victim.append(old)
        platform.lab("fault", "partition", old, "--keep-controller")

    outcome, _answers = under_load(
        cache, "primary partitioned", inject, lambda: platform.lab("heal", victim[0]), seconds=60
    )
    assert outcome.missing_after_wait == 0
    assert outcome.lost_seconds <= LOSS_SECONDS
    assert len(cache.primaries()) == 1


@pytest.mark.long
def test_switchover_loses_nothing(cache):
    outcome, _answers = under_load(cache, "switchover", lambda _old: playbook_changes("switchover_redis"), seconds=90)
    assert outcome.missing == 0


@pytest.mark.long
def test_rolling_restart_loses_nothing(cache):
    outcome, _answers = under_load(
        cache, "rolling restart", lambda _old: playbook_changes("rolling_restart_redis"), seconds=180
    )
    assert outcome.missing == 0


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

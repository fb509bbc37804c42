"""The faults and operations of the platform's Redis, and one run of either under the ledger.

Clients write through HAProxy and by asking the Sentinels, with WAIT 1 and without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import redis_ledger as ledger
from faults import commit
from redis_ledger import Redis
from running import ROOT, Platform, plain, wait_for

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "redis.json"
#: docs/redis.md: a plain write is lost at most when it came this long before the primary's end (durability bounded):
#: redis_max_lag, a second between two acknowledgements of a replica, and one between two looks at them.
LOSS_SECONDS = 3 + 1 + 1
#: Name and what happens, for the page of results.
FAULTS = {
    "primary killed": "a replica is promoted; the old primary comes back as a replica",
    "primary killed, durability wait": "a replica is promoted; each write is on its disk before its answer",
    "primary partitioned, its clients with it": "a replica is promoted; the old primary stops taking writes",
}
OPERATIONS = {
    "planned move of the primary": "writes are held back until a replica has all of them",
    "rolling restart of Redis *": "replicas first, then a planned move and the old primary",
    "upgrade of Redis's package *": "packages everywhere, replicas restart, a planned move, the old primary",
    "replacement of the terminated primary by an empty disk *": "a replica is promoted, the new member copies from it",
    "growing from three Redis members to five *": "new members copy from the primary",
    "removing two of five Redis members, one the primary *": "a planned move to one that stays, Sentinels forget them",
}


@dataclass
class Outcome:
    """What one run showed. Times in seconds.

    :ivar seconds_haproxy: the longest time in which a client got no acknowledgement through HAProxy.
    :ivar seconds_sentinel: the same by asking the Sentinels.
    :ivar well_seconds: from the beginning until all members were well.
    :ivar lost_seconds: from the first lost write to the last.
    :ivar load: the machine's load average of the last five minutes.
    """

    fault: str
    seconds_haproxy: float
    seconds_sentinel: float
    well_seconds: float
    acknowledged: int
    acknowledged_by_wait: int
    missing: int
    missing_after_wait: int
    lost_seconds: float
    load: float
    at: str
    commit: str


def find(platform: Platform) -> Redis:
    """How Redis is reached."""
    variables = endpoints.inventory()
    hosts = variables["_meta"]["hostvars"]
    return Redis(
        domain=platform.domain,
        members={slot: plain(hosts[slot]["ansible_host"]) for slot in sorted(variables["redis"]["hosts"])},
        edges=list(platform.edges.values()),
        authority=platform.authority,
        user="trading",
        password=endpoints.secret(platform.name, "redis/users/trading"),
    )


def under_load(
    cache: Redis,
    name: str,
    inject: Callable[[str], object],
    repair: Callable[[], object] = lambda: None,
    seconds: float = 30,
    moves: bool = True,
) -> tuple[Outcome, list[str]]:
    """Write while something is done to the primary, until the writers go on and Redis is well.

    :arg inject: does it, given the primary's slot; for an operation it returns when that has ended.
    :arg seconds: until another member is the primary, and until writes go on.
    :arg moves: whether another member becomes the primary.
    :returns: the outcome, and what the old primary answered after the beginning.
    """
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
        if moves:
            wait_for(lambda: cache.primary() not in ("", old), seconds, "another primary")
        changed = time.monotonic()
        wait_for(
            lambda: all(writer.acknowledged[-1].moment > changed for writer in writers[:2]), seconds, "writes go on"
        )
        repair()
        cache.wait_until_well()
        well = time.monotonic()
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
        well_seconds=round(well - begun, 1),
        acknowledged=len(writers[1].acknowledged),
        acknowledged_by_wait=len(writers[0].acknowledged) + len(writers[2].acknowledged),
        missing=len(missing),
        missing_after_wait=sum(item.waited for item in missing),
        lost_seconds=round(max(lost) - min(lost), 2) if lost else 0.0,
        load=round(os.getloadavg()[1], 1),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
    )
    print(outcome)
    return outcome, [role for moment, role in watch.answers if moment > begun]

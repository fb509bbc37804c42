"""RabbitMQ on the running platform: faults under load, through HAProxy.

Every message that was confirmed comes to the consumer afterwards; some may come twice. The times until publishing came
back are recorded in bench/results/, not asserted.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import rabbitmq_ledger as ledger
from running import ROOT, plain, playbook_changes

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "rabbitmq.json"
VOLUME = "/var/lib/rabbitmq"


@dataclass
class Outcome:
    """What one run showed. Times in seconds."""

    fault: str
    seconds: float
    confirmed: int
    unknown: int
    missing: int
    duplicates: int
    at: str


def find(platform) -> ledger.RabbitMQ:
    """How the platform's RabbitMQ is reached."""
    variables = endpoints.inventory()
    hosts = variables["_meta"]["hostvars"]
    return ledger.RabbitMQ(
        domain=platform.domain,
        members={slot: plain(hosts[slot]["ansible_host"]) for slot in sorted(variables["rabbitmq"]["hosts"])},
        edges=list(platform.edges.values()),
        authority=platform.authority,
        user="trading",
        password=endpoints.secret(platform.name, "rabbitmq/users/trading"),
    )


@pytest.fixture(scope="module")
def rabbitmq(platform):
    """RabbitMQ, well, with its names resolved."""
    found = find(platform)
    with endpoints.resolved(found.names()):
        found.wait_until_well()
        yield found


def under_load(rabbitmq, name, inject, repair=lambda _victim: None, seconds=60):
    """Publish and consume while a fault is made, until publishing goes on and RabbitMQ is well; return the outcome.

    :arg inject: makes the fault, given the leader of the queue; returns the member that suffers it.
    """
    rabbitmq.wait_until_well()
    with ledger.Ledger(rabbitmq) as run:
        wait_for(lambda: run.publishing_since(0, 50), 30, "the clients publish")
        begun = time.monotonic()
        victim = inject(rabbitmq.leader())
        wait_for(lambda: run.publishing_since(time.monotonic() - 2), seconds, "publishing goes on")
        repair(victim)
        rabbitmq.wait_until_well()
        run.settle()
    outcome = Outcome(
        fault=name,
        seconds=round(run.gap(begun), 2),
        confirmed=len(run.confirmed()),
        unknown=run.unknown(),
        missing=len(run.missing()),
        duplicates=run.duplicates(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    RESULTS.write_text(json.dumps([*results, vars(outcome)], indent=1) + "\n")
    print(outcome)
    return outcome


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def on_leader(rabbitmq, command):
    """A fault that is a command on the leader's host."""

    def inject(leader):
        rabbitmq.on_host(leader, command)
        return leader

    return inject


def signal(rabbitmq, name):
    return on_leader(rabbitmq, f"sudo systemctl kill --signal={name} {ledger.UNIT}")


def test_a_client_publishes_and_gets_through_the_edge(rabbitmq):
    assert endpoints.rabbitmq_publish_and_get(rabbitmq.connect()) > 0


def test_killed_leader(rabbitmq):
    old = rabbitmq.leader()
    outcome = under_load(rabbitmq, "queue leader killed", signal(rabbitmq, "KILL"))
    assert outcome.missing == 0
    assert rabbitmq.leader() != "", f"after {old} was killed"


@pytest.mark.long
def test_frozen_leader(rabbitmq):
    outcome = under_load(
        rabbitmq,
        "queue leader frozen",
        signal(rabbitmq, "STOP"),
        lambda victim: rabbitmq.on_host(victim, f"sudo systemctl kill --signal=CONT {ledger.UNIT}"),
    )
    assert outcome.missing == 0


@pytest.mark.long
def test_partitioned_leader(rabbitmq, platform):
    def inject(leader):
        platform.lab("fault", "partition", leader, "--keep-controller")
        return leader

    outcome = under_load(rabbitmq, "queue leader partitioned", inject, lambda victim: platform.lab("heal", victim), 90)
    assert outcome.missing == 0


@pytest.mark.long
def test_ring_of_partitions(rabbitmq, platform):
    """Each member sees the first one, and the other two do not see each other."""

    def inject(_leader):
        _first, second, third = rabbitmq.members
        platform.lab("fault", "partition", second, "--from", third, "--keep-controller")
        return second

    outcome = under_load(rabbitmq, "two members parted", inject, lambda victim: platform.lab("heal", victim), 90)
    assert outcome.missing == 0


@pytest.mark.long
def test_rolling_restart(rabbitmq):
    outcome = under_load(rabbitmq, "rolling restart", lambda _leader: playbook_changes("rolling_restart_rabbitmq"))
    assert outcome.missing == 0


@pytest.mark.long
def test_full_disk_blocks_publishers_and_then_they_go_on(rabbitmq):
    """The alarm of one member stops publishing everywhere; nothing that was confirmed before is lost."""
    with ledger.Ledger(rabbitmq) as run:
        wait_for(lambda: run.publishing_since(0, 50), 30, "the clients publish")
        leader = rabbitmq.leader()
        free = int(rabbitmq.on_host(leader, f"df --output=avail --block-size=1 {VOLUME} | tail -1"))
        rabbitmq.on_host(leader, f"sudo fallocate -l {free - 200 * 1024**2} {VOLUME}/filler")
        try:
            wait_for(lambda: not run.publishing_since(time.monotonic() - 3, 1), 60, "the alarm stops the publishers")
        finally:
            rabbitmq.on_host(leader, f"sudo rm {VOLUME}/filler")
        wait_for(lambda: run.publishing_since(time.monotonic() - 2), 90, "publishing goes on")
        run.settle()
    assert run.missing() == []


@pytest.mark.long
def test_replaced_member_gets_its_replicas_back(rabbitmq):
    """A new instance with an empty volume: forgotten, joined, grown."""

    def inject(leader):
        arguments = (f"node={leader}", f"replace_confirm={leader}", "replace_volumes=true")
        playbook_changes("replace_node", *(word for argument in arguments for word in ("-e", argument)))
        return leader

    outcome = under_load(rabbitmq, "member replaced", inject)
    assert outcome.missing == 0
    assert {len(queue["members"]) for queue in rabbitmq.queues().values()} == {3}


@pytest.mark.long
def test_definitions_come_back_into_an_empty_cluster(rabbitmq, platform):
    """All volumes are emptied; what the backup held is there again, and a run finds nothing to do."""
    with ledger.Ledger(rabbitmq) as run:
        wait_for(lambda: run.publishing_since(0, 5), 30, "the clients publish")
        run.settle()
    playbook_changes("backup_rabbitmq")
    for slot in rabbitmq.members:
        rabbitmq.on_host(
            slot, f"sudo systemctl stop {ledger.UNIT}; sudo rm -rf {VOLUME}/mnesia/* {VOLUME}/identity.json"
        )
    nothing = json.dumps({"rabbitmq_vhosts": [], "rabbitmq_users": []})
    playbook_changes("rabbitmq", "-e", nothing)
    assert rabbitmq.queues() == {}
    wanted = json.dumps({"rabbitmq_restore": {"key": "latest", "confirm": platform.name}})
    assert playbook_changes("restore_rabbitmq", "-e", wanted) == 1
    assert playbook_changes("restore_rabbitmq", "-e", wanted) == 0, "what was restored is restored no second time"
    assert set(rabbitmq.queues()) == {"trade-notices", "failed-orders", "dead-letters"}
    assert playbook_changes("rabbitmq") == 0
    with ledger.Ledger(rabbitmq) as run:
        wait_for(lambda: run.publishing_since(0, 5), 30, "the clients publish again")
        run.settle()
    assert run.missing() == []

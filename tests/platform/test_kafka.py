"""Kafka on the running platform: faults under load, by the brokers' own names, as an idempotent producer and a group.

Every acknowledged message is read afterwards, and in order within its partition. The times until the producer's answers
are quick again are recorded in bench/results/, not asserted.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from kafka_ledger import Client, Kafka, Ledger
from running import ROOT, plain, playbook_changes

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "kafka.json"
TOPIC = "orders"
RATE = 200


@dataclass
class Outcome:
    """What one run showed. Times in seconds."""

    fault: str
    seconds_gap: float
    seconds_p99: float
    acknowledged: int
    unknown: int
    missing: int
    out_of_order: int
    duplicates: int
    at: str


class Events:
    """The Kafka of the platform, and its hosts."""

    def __init__(self, kafka: Kafka, platform, directory):
        self.kafka, self.platform, self.directory = kafka, platform, directory

    def on_host(self, slot: str, command: str) -> str:
        line = ["lab", "ssh", slot, command]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout

    def metric(self, slot: str, name: str) -> float:
        """One figure of a member's exporter, -1 when it does not answer."""
        try:
            shown = self.on_host(slot, "curl -s --max-time 5 http://localhost:9404/metrics")
        except subprocess.SubprocessError:
            return -1
        found = re.search(rf"^{name}(?:{{.*}})? (\S+)$", shown, re.MULTILINE)
        return float(found[1]) if found else -1

    def active_controller(self) -> str:
        name = "kafka_controller_kafkacontroller_activecontrollercount"
        return next((slot for slot in self.kafka.members if self.metric(slot, name) == 1), "")

    def complaints(self) -> list[str]:
        found = [] if self.active_controller() else ["no controller is active"]
        for slot in self.kafka.members:
            behind = self.metric(slot, "kafka_server_replicamanager_underreplicatedpartitions")
            if behind != 0:
                found.append(
                    f"{slot}: {'does not answer' if behind < 0 else f'{behind:.0f} partitions lack a replica'}"
                )
        return found

    def wait_until_well(self, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while complaints := self.complaints():
            assert time.monotonic() < deadline, f"Kafka is not well after {seconds:.0f} s: {'; '.join(complaints)}"
            time.sleep(1)

    def kill(self, slot: str) -> None:
        self.on_host(slot, "sudo systemctl kill --signal=KILL kafka")

    def leader(self, client: Client) -> str:
        """The slot of the broker that leads the first partition; a node's id is its slot's number."""
        tier = next(iter(self.kafka.members)).rpartition("-")[0]
        return f"{tier}-{client.begun['leaders']['0']}"


@pytest.fixture(scope="module")
def events(platform, tmp_path_factory):
    variables = endpoints.inventory()
    hosts = variables["_meta"]["hostvars"]
    kafka = Kafka(
        domain=platform.domain,
        members={slot: plain(hosts[slot]["ansible_host"]) for slot in sorted(variables["kafka"]["hosts"])},
        authority=platform.authority,
        user="trading",
        password=endpoints.secret(platform.name, "kafka/users/trading"),
    )
    found = Events(kafka, platform, tmp_path_factory.mktemp("kafka"))
    found.wait_until_well()
    return found


def under_load(events, name, inject, repair=lambda: None, seconds=20.0):
    """Write and read while a fault is made and for some time after, until Kafka is well; return what was seen."""
    run = str(uuid.uuid4())
    common = {"topic": TOPIC, "run": run}
    reader = Client(events.kafka, events.directory, "read", group=f"trading-{run}", quiet=5, **common)
    writer = Client(events.kafka, events.directory, "write", rate=RATE, **common)
    try:
        time.sleep(3)
        begun = time.monotonic()
        inject(writer)
        time.sleep(seconds)
        repair()
        events.wait_until_well()
        time.sleep(2)
        written = writer.end()
        seen = reader.end()
    finally:
        writer.kill()
        reader.kill()
    ledger = Ledger(
        acknowledged=[tuple(item) for item in written["acknowledged"]],
        found={int(partition): numbers for partition, numbers in seen["found"].items()},
        unknown=written["unknown"],
    )
    outcome = Outcome(
        fault=name,
        seconds_gap=round(ledger.gap(begun), 2),
        seconds_p99=ledger.recovery(begun),
        acknowledged=len(ledger.acknowledged),
        unknown=ledger.unknown,
        missing=len(ledger.missing),
        out_of_order=len(ledger.out_of_order),
        duplicates=ledger.duplicates,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    RESULTS.write_text(json.dumps([*results, vars(outcome)], indent=1) + "\n")
    print(outcome)
    assert outcome.missing == 0
    assert outcome.out_of_order == 0
    assert any(at > begun for at, *_rest in ledger.acknowledged), "nothing was acknowledged after the fault"
    return outcome


def test_killed_leader(events):
    under_load(events, "leader killed", lambda writer: events.kill(events.leader(writer)))


@pytest.mark.long
def test_killed_active_controller(events):
    under_load(events, "active controller killed", lambda _writer: events.kill(events.active_controller()))


@pytest.mark.long
def test_killed_leader_and_active_controller(events):
    def inject(writer):
        for slot in {events.leader(writer), events.active_controller()}:
            events.kill(slot)

    under_load(events, "leader and active controller killed", inject)


@pytest.mark.long
def test_frozen_broker(events):
    frozen = []

    def inject(writer):
        frozen.append(events.leader(writer))
        events.platform.lab("fault", "freeze", frozen[0])

    under_load(events, "leader frozen", inject, lambda: events.platform.lab("heal", frozen[0]), 30)


@pytest.mark.long
def test_partitioned_broker(events):
    cut = []

    def inject(writer):
        cut.append(events.leader(writer))
        events.platform.lab("fault", "partition", cut[0])

    under_load(events, "leader partitioned", inject, lambda: events.platform.lab("heal", cut[0]), 30)


@pytest.mark.long
def test_rolling_restart(events):
    under_load(events, "rolling restart", lambda _writer: playbook_changes("rolling_restart_kafka"), seconds=5)


@pytest.mark.long
def test_a_run_after_the_faults_changes_nothing(events):
    assert playbook_changes("kafka") == 0

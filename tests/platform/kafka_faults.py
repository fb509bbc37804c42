"""The faults and operations of the platform's Kafka, and one run of either under the ledger.

Clients reach the brokers by their own names, as an idempotent producer and a group.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from faults import commit
from kafka_ledger import Client, Kafka, Ledger
from operations import Operation, cut_off
from running import ROOT, Platform, plain, playbook_changes, wait_until_well

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "kafka.json"
TOPIC = "orders"
#: Messages a second, beside a fault and beside an operation, whose playbooks want the same processors.
RATE, OPERATION_RATE = 200, 50
DATA = "/var/lib/kafka"
POLL_SECONDS = 4
CONTROLLING = "kafka_controller_kafkacontroller_activecontrollercount"
BEHIND = "kafka_server_replicamanager_underreplicatedpartitions"


@dataclass
class Outcome:
    """What one run of a fault, or of an operation, showed. Times in seconds.

    :ivar seconds_gap: the longest time in which a partition acknowledged nothing.
    :ivar seconds_p99: from the beginning until the 99th percentile of the answers' times stays below a second.
    :ivar load: the machine's load average of the last five minutes.
    """

    fault: str
    seconds_gap: float
    seconds_p99: float
    well_seconds: float
    acknowledged: int
    acknowledged_after: int
    unknown: int
    missing: int
    out_of_order: int
    duplicates: int
    load: float
    at: str
    commit: str


class Events:
    """The Kafka of the platform, and its hosts."""

    def __init__(self, platform: Platform, directory: Path):
        self.platform, self.directory = platform, directory
        #: Members that are controllers only.
        self.apart: set[str] = set()
        #: When the last fault struck: a login on a busy host takes seconds before it.
        self.struck = 0.0
        self.kafka = self._find()

    def _find(self) -> Kafka:
        variables = endpoints.inventory()
        hosts = variables["_meta"]["hostvars"]
        self.zones = {slot: plain(hosts[slot]["ec2_zone"]) for slot in sorted(variables["kafka"]["hosts"])}
        return Kafka(
            domain=self.platform.domain,
            members={slot: plain(hosts[slot]["ansible_host"]) for slot in self.zones},
            authority=self.platform.authority,
            user="trading",
            password=endpoints.secret(self.platform.name, "kafka/users/trading"),
        )

    def refresh(self) -> None:
        """Find members and addresses again, also for clients that run, as the platform's resolver would tell them."""
        self.platform.refresh()
        self.kafka = replace(self._find(), authority=self.kafka.authority)
        self.kafka.tell_hosts(self.directory)

    def figures(self) -> dict[str, dict[str, float]]:
        """What the members' exporters say, by slot; nothing of one that does not answer."""
        with ThreadPoolExecutor(len(self.kafka.members)) as pool:
            return dict(zip(self.kafka.members, pool.map(self._scrape, self.kafka.members), strict=True))

    def _scrape(self, slot: str) -> dict[str, float]:
        try:
            shown = self.platform.shell(slot, "curl -s --max-time 20 http://localhost:9404/metrics", 30)
        except subprocess.SubprocessError:
            return {}
        found = {name: re.search(rf"^{name} (\S+)$", shown, re.MULTILINE) for name in (CONTROLLING, BEHIND)}
        return {name: float(line[1]) for name, line in found.items() if line}

    def active_controller(self) -> str:
        return next((slot for slot, found in self.figures().items() if found.get(CONTROLLING) == 1), "")

    def complaints(self) -> list[str]:
        figures = self.figures()
        active = any(found.get(CONTROLLING) == 1 for found in figures.values())
        found = [] if active else ["no controller is active"]
        for slot in set(figures) - self.apart:
            behind = figures[slot].get(BEHIND)
            if behind != 0:
                what = "does not answer" if behind is None else f"{behind:.0f} partitions lack a replica"
                found.append(f"{slot}: {what}")
        return found

    def wait_until_well(self, seconds: float = 180) -> None:
        """Wait until a controller is active and no partition lacks a replica. Raises NotWell."""
        # A scrape costs a broker that starts much of what it needs itself.
        wait_until_well("Kafka", self.complaints, seconds, POLL_SECONDS)

    def kill(self, slot: str) -> None:
        """End a member's process at once, and note the moment by the clock of its host."""
        at = self.platform.shell(slot, "date +%s.%N; systemctl kill --signal=KILL kafka")
        self.struck = time.monotonic() - (time.time() - float(at))

    def fault(self, *words: str) -> None:
        """Make a fault of the lab; its moment is noted before the command, within which it happens."""
        self.struck = time.monotonic()
        self.platform.lab("fault", *words)

    def leader(self, client: Client) -> str:
        """The slot of the broker that led the first partition; a node's id is its slot's number."""
        tier = next(iter(self.kafka.members)).rpartition("-")[0]
        return f"{tier}-{client.begun['leaders']['0']}"

    def wipe(self) -> None:
        """End all members and empty their volumes."""
        # The last one would wait for a controller to hand over to.
        end = "systemctl stop --no-block kafka; systemctl kill --signal=KILL kafka; systemctl stop kafka"
        for line in (end, f"rm -rf {DATA}/data {DATA}/identity.json"):
            for slot in self.kafka.members:
                self.platform.shell(slot, line, 120)

    def release(self, slot: str) -> str:
        """The release that a member runs."""
        shown = self.platform.shell(slot, "tr '\\0' ' ' < /proc/$(systemctl show -P MainPID kafka)/cmdline")
        return re.search(r"kafka-(\d+\.\d+\.\d+)/libs", shown)[1]


@dataclass(frozen=True)
class Fault:
    """A fault.

    :ivar inject: makes it, given Kafka and the writer; returns the hosts that suffer it.
    :ivar expected: what the platform does, for the page of results.
    :ivar repair: what AWS or the network does in the end; nothing that an operator of the platform does.
    :ivar seconds: how long the fault goes on before the repair.
    """

    inject: Callable[[Events, Client], list[str]]
    expected: str
    repair: Callable[[Events, list[str]], None] = lambda _events, _victims: None
    seconds: float = 20.0


def kill(*who: Callable[[Events, Client], str]) -> Callable[[Events, Client], list[str]]:
    """Kill the processes of one or two members."""

    def inject(events: Events, writer: Client) -> list[str]:
        victims = sorted({find(events, writer) for find in who})
        for victim in victims:
            events.kill(victim)
        return victims

    return inject


def on_leader(*words: str) -> Callable[[Events, Client], list[str]]:
    """A fault of the lab that the leader's host suffers."""

    def inject(events: Events, writer: Client) -> list[str]:
        victim = events.leader(writer)
        events.fault(words[0], victim, *words[1:])
        return [victim]

    return inject


def lose_zone(events: Events, writer: Client) -> list[str]:
    zone = events.zones[events.leader(writer)]
    events.fault("zone", zone)
    return [slot for slot, own in events.zones.items() if own == zone]


def part_zone(events: Events, writer: Client) -> list[str]:
    """The brokers of a zone and those of the others do not see each other; clients see them all."""
    zone = events.zones[events.leader(writer)]
    inside = [slot for slot, own in events.zones.items() if own == zone]
    outside = [slot for slot in events.zones if slot not in inside]
    events.fault("partition", *inside, "--from", *outside, "--keep-controller")
    return inside


def heal(events: Events, victims: list[str]) -> None:
    for victim in victims:
        events.platform.lab("heal", victim)


def heal_all(events: Events, _victims: list[str]) -> None:
    events.platform.lab("heal")


def leader(events: Events, writer: Client) -> str:
    return events.leader(writer)


def controller(events: Events, _writer: Client) -> str:
    return events.active_controller()


TAKES_OVER = "replicas in sync lead"
FAULTS = {
    "leader killed": Fault(kill(leader), TAKES_OVER),
    "active controller killed": Fault(kill(controller), "another controller leads; what it led as a broker, too"),
    "leader and active controller killed": Fault(
        kill(leader, controller), "with two of three lost writes wait until one of them is back"
    ),
    "leader's host frozen": Fault(on_leader("freeze"), TAKES_OVER, heal, 30),
    "leader partitioned from everything": Fault(on_leader("partition"), TAKES_OVER, heal, 30),
    "leader's zone parted from the others": Fault(part_zone, "the majority's replicas lead", heal, 30),
    "leader's zone lost": Fault(lose_zone, TAKES_OVER, heal_all, 30),
}


def replace_terminated_leader(events: Events, slot: str) -> list[str]:
    events.platform.terminate(slot)
    return ["-e", f"node={slot}", "-e", "replace_volumes=true"]


OPERATIONS = {
    "rolling restart of Kafka": Operation(
        "rolling_restart_kafka",
        "one member after the other, the active controller last",
        cut_at=("health | Wait until this member is well", 2),
    ),
    "rotation of Kafka's certificates": Operation(
        "rotate_certificates",
        "one member after the other restarts with new ones",
        lambda _events, _leader: ["-e", "target=kafka"],
        cut_at=("health | Wait until this member is well", 2),
    ),
    "replacement of a terminated leader by an empty disk": Operation(
        "replace_node",
        "the old vote is taken, the new one added, replicas are copied",
        replace_terminated_leader,
        cut_at=("start | Start Kafka", 1),
    ),
}
#: What test_kafka.py and test_trust.py do in steps of their own: name and what it does to the clients.
FURTHER = {
    "growing from three members to five *": "new members join, vote, and are given replicas",
    "removing two of five, one the active controller *": "their replicas move, their votes are taken, they end",
    "upgrade from 4.2 to 4.3 *": "one member after the other restarts with the new release",
    "raising the feature levels": "nobody restarts",
    "leader killed beside a controller of its own": TAKES_OVER,
    "rotation of the CA of Kafka": "three runs, each restarts one member after the other",
}


@contextmanager
def under_load(events: Events, name: str, rate: int = OPERATION_RATE):
    """A client writes and a group reads while the block runs; yields a dict with the `writer` and the `moment`.

    At the end Kafka must be well by itself, else NotWell is raised; then the dict has the `outcome`.
    """
    events.wait_until_well()
    number = str(uuid.uuid4())
    common = {"topic": TOPIC, "run": number}
    reader = Client(events.kafka, events.directory, "read", group=f"trading-{number}", patience=60, **common)
    writer = Client(events.kafka, events.directory, "write", rate=rate, **common)
    try:
        time.sleep(3)
        run = {"writer": writer, "moment": time.monotonic()}
        yield run
        events.wait_until_well(300)
        well = time.monotonic()
        time.sleep(2)
        written, seen = writer.end(), reader.end()
    finally:
        writer.kill()
        reader.kill()
    ledger = Ledger(
        acknowledged=[tuple(item) for item in written["acknowledged"]],
        found={int(partition): numbers for partition, numbers in seen["found"].items()},
        unknown=written["unknown"],
    )
    run["outcome"] = Outcome(
        fault=name,
        seconds_gap=round(ledger.gap(run["moment"]), 2),
        seconds_p99=ledger.recovery(run["moment"]),
        well_seconds=round(well - run["moment"], 1),
        acknowledged=len(ledger.acknowledged),
        acknowledged_after=sum(at > well for at, *_rest in ledger.acknowledged),
        unknown=ledger.unknown,
        missing=len(ledger.missing),
        out_of_order=len(ledger.out_of_order),
        duplicates=ledger.duplicates,
        load=round(os.getloadavg()[1], 1),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
    )


def run_fault(events: Events, name: str) -> Outcome:
    """Make one fault under load; return what became of the messages."""
    fault = FAULTS[name]
    with under_load(events, name, RATE) as run:
        victims = fault.inject(events, run["writer"])
        run["moment"] = events.struck
        try:
            time.sleep(fault.seconds)
        finally:
            fault.repair(events, victims)
    return run["outcome"]


def run_operation(events: Events, name: str) -> Outcome:
    """Run an operation under load, cut off and repeated where it says so; return what became of the messages."""
    operation = OPERATIONS[name]
    with under_load(events, name) as run:
        arguments = operation.prepare(events, events.leader(run["writer"]))
        if operation.cut_at:
            cut_off(operation.playbook, arguments, *operation.cut_at)
        playbook_changes(operation.playbook, *arguments)
        events.refresh()
    return run["outcome"]


def assert_nothing_lost(outcome: Outcome) -> None:
    """What must hold after whatever happened."""
    print(outcome)
    assert outcome.missing == 0
    assert outcome.out_of_order == 0
    assert outcome.acknowledged_after > 0

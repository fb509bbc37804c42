"""The faults and operations of the platform's RabbitMQ, and one run of either under the ledger, through HAProxy."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from faults import commit
from operations import Operation, cut_off, offer_newer
from rabbitmq_ledger import UNIT, Ledger, RabbitMQ
from running import ROOT, Platform, plain, playbook_changes, wait_for

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "rabbitmq.json"
VOLUME = "/var/lib/rabbitmq"
CONFIGURATION = "/etc/rabbitmq/rabbitmq.conf"
#: Longer than the members take to agree that one is gone (rabbitmq_net_ticktime).
AGREED_SECONDS = 25


@dataclass
class Outcome:
    """What one run of a fault, or of an operation, showed. Times in seconds.

    :ivar seconds: the longest time in which a publisher got no confirmation.
    :ivar load: the machine's load average of the last five minutes.
    """

    fault: str
    seconds: float
    well_seconds: float
    confirmed: int
    unknown: int
    missing: int
    duplicates: int
    load: float
    at: str
    commit: str


@dataclass
class Queues:
    """RabbitMQ of the platform, and the platform that its faults are made on."""

    platform: Platform
    rabbitmq: RabbitMQ = field(init=False)

    def __post_init__(self):
        self.refresh()

    def refresh(self) -> None:
        """Find members and addresses again."""
        variables = endpoints.inventory()
        hosts = variables["_meta"]["hostvars"]
        self.zones = {slot: plain(hosts[slot]["ec2_zone"]) for slot in sorted(variables["rabbitmq"]["hosts"])}
        self.rabbitmq = RabbitMQ(
            domain=self.platform.domain,
            members={slot: plain(hosts[slot]["ansible_host"]) for slot in self.zones},
            edges=list(self.platform.edges.values()),
            authority=self.platform.authority,
            user="trading",
            password=endpoints.secret(self.platform.name, "rabbitmq/users/trading"),
        )

    def others(self, member: str) -> list[str]:
        return [slot for slot in self.rabbitmq.members if slot != member]


@dataclass(frozen=True)
class Fault:
    """A fault.

    :ivar inject: makes it, given RabbitMQ and the leader of the ledger's queue; returns the member that suffers it.
    :ivar expected: what the platform does, for the page of results.
    :ivar repair: what AWS, the network or the disk does in the end; nothing that an operator of the platform does.
    :ivar seconds: how long the fault goes on at least; the repair waits for publishing besides.
    :ivar blocks: whether nobody can publish before the repair.
    """

    inject: Callable[[Queues, str], str]
    expected: str
    repair: Callable[[Queues, str], None] = lambda _queues, _victim: None
    seconds: float = 10
    blocks: bool = False


def on_leader(command: str) -> Callable[[Queues, str], str]:
    """A fault that a command makes on the leader's host."""

    def inject(queues: Queues, leader: str) -> str:
        queues.rabbitmq.on_host(leader, command)
        return leader

    return inject


def signal(name: str) -> Callable[[Queues, str], str]:
    return on_leader(f"sudo systemctl kill --signal={name} {UNIT}")


def lab_fault(*words: str) -> Callable[[Queues, str], str]:
    """A fault of the lab that the leader's host suffers."""

    def inject(queues: Queues, leader: str) -> str:
        queues.platform.lab("fault", words[0], leader, *words[1:])
        return leader

    return inject


def part_from_members(queues: Queues, leader: str) -> str:
    """Two halves: the leader's host and the others'; clients and HAProxy see them all."""
    queues.platform.lab("fault", "partition", leader, "--from", *queues.others(leader), "--keep-controller")
    return leader


def part_ring(queues: Queues, leader: str) -> str:
    """The leader and another member do not see each other; the third sees both."""
    queues.platform.lab("fault", "partition", leader, "--from", queues.others(leader)[0], "--keep-controller")
    return leader


def lose_zone(queues: Queues, leader: str) -> str:
    queues.platform.lab("fault", "zone", queues.zones[leader])
    return leader


def heal(queues: Queues, victim: str) -> None:
    queues.platform.lab("heal", victim)


def heal_all(queues: Queues, _victim: str) -> None:
    queues.platform.lab("heal")


def control(queues: Queues, member: str, command: str) -> str:
    """Output of rabbitmqctl on a member's host."""
    node = f"rabbit@{member}.{queues.rabbitmq.domain}"
    return queues.rabbitmq.on_host(member, f"sudo rabbitmqctl -q --longnames -n {node} {command}")


def fill_disk(queues: Queues, leader: str) -> str:
    """Leave less room on the volume than the node wants to have."""
    free = int(queues.rabbitmq.on_host(leader, f"df --output=avail --block-size=1 {VOLUME} | tail -1"))
    queues.rabbitmq.on_host(leader, f"sudo fallocate -l {free - 200 * 1024**2} {VOLUME}/filler")
    return leader


def free_disk(queues: Queues, victim: str) -> None:
    queues.rabbitmq.on_host(victim, f"sudo rm -f {VOLUME}/filler")


def fill_memory(queues: Queues, leader: str) -> str:
    """Let the node take its memory for too full: the limit comes down to what it uses, which costs the machine none."""
    control(queues, leader, "set_vm_memory_high_watermark absolute 50MiB")
    return leader


def free_memory(queues: Queues, victim: str) -> None:
    line = queues.rabbitmq.on_host(victim, f"sudo grep ^vm_memory_high_watermark.absolute {CONFIGURATION}")
    limit = re.search(r"= (\S+)", line)[1]
    control(queues, victim, f"set_vm_memory_high_watermark absolute {limit}")


ANOTHER = "another member leads the queue, HAProxy sends clients to the others"
BLOCKED = "publishers of the whole cluster wait, consumers go on"
FAULTS = {
    "queue leader killed": Fault(signal("KILL"), ANOTHER),
    "queue leader frozen": Fault(signal("STOP"), ANOTHER, signal("CONT")),
    "queue leader's host partitioned": Fault(lab_fault("partition", "--keep-controller"), ANOTHER, heal, 30),
    "halves: queue leader parted from the others": Fault(
        part_from_members, "it pauses, the majority goes on", heal, AGREED_SECONDS
    ),
    "ring: queue leader and another member parted": Fault(
        part_ring, "one of the two pauses, or the queue's leader moves", heal, AGREED_SECONDS
    ),
    "queue leader's zone lost": Fault(lose_zone, ANOTHER, heal_all, 30),
    "queue leader's disk full": Fault(fill_disk, BLOCKED, free_disk, blocks=True),
    "queue leader's memory full": Fault(fill_memory, BLOCKED, free_memory, blocks=True),
}


def offer_newer_package(queues: Queues, _leader: str) -> list[str]:
    offer_newer(queues.platform, queues.rabbitmq.members, "rabbitmq-server")
    return []


def replace_terminated_leader(queues: Queues, leader: str) -> list[str]:
    queues.platform.terminate(leader)
    return ["-e", f"node={leader}", "-e", "replace_volumes=true"]


OPERATIONS = {
    "rolling restart of RabbitMQ": Operation(
        "rolling_restart_rabbitmq",
        "one member after the other, drained first",
        cut_at=("restart | Restart it", 2),
    ),
    "rotation of RabbitMQ's certificates": Operation(
        "rotate_certificates",
        "nobody restarts",
        lambda _queues, _leader: ["-e", "target=rabbitmq"],
        cut_at=("certificates | Issue the certificate", 2),
    ),
    "replacement of a terminated queue leader by an empty disk": Operation(
        "replace_node",
        "it is forgotten, the new one joins, queues grow",
        replace_terminated_leader,
        cut_at=("start | Start RabbitMQ", 1),
    ),
    "upgrade of RabbitMQ's package": Operation(
        "upgrade_rabbitmq",
        "one member after the other, drained first, then the feature flags",
        offer_newer_package,
        cut_at=("package | Start this member", 2),
    ),
}
#: What test_rabbitmq.py and test_trust.py do in steps of their own: name and what it does to the clients.
FURTHER = {
    "growing from three RabbitMQ members to five *": "new members join, queues grow, the others restart one by one",
    "removing two of five RabbitMQ members *": "they hand over and end one by one, and are forgotten",
    "rotation of the CA of RabbitMQ": "three runs, nobody restarts",
}


@contextmanager
def under_load(queues: Queues, name: str):
    """Clients publish and consume through HAProxy while the block runs; yields the ledger and a dict with the `leader`.

    At the end RabbitMQ must be well by itself; then the dict has the `outcome`.
    """
    queues.rabbitmq.wait_until_well()
    with endpoints.resolved(queues.rabbitmq.names()), Ledger(queues.rabbitmq) as ledger:
        wait_for(lambda: ledger.publishing_since(0, 50), 30, "the clients publish")
        run = {"leader": queues.rabbitmq.leader()}
        begun = time.monotonic()
        yield ledger, run
        wait_for(lambda: ledger.publishing_since(time.monotonic() - 2), 90, "publishing goes on")
        queues.rabbitmq.wait_until_well(300)
        well = time.monotonic()
        wait_for(lambda: ledger.publishing_since(well), 30, "the clients publish afterwards")
        ledger.settle()
    run["outcome"] = Outcome(
        fault=name,
        seconds=round(ledger.gap(begun), 2),
        well_seconds=round(well - begun, 1),
        confirmed=len(ledger.confirmed()),
        unknown=ledger.unknown(),
        missing=len(ledger.missing()),
        duplicates=ledger.duplicates(),
        load=round(os.getloadavg()[1], 1),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
    )


def run_fault(queues: Queues, name: str) -> Outcome:
    """Make one fault under load; return what became of the messages."""
    fault = FAULTS[name]
    with under_load(queues, name) as (ledger, run):
        victim = fault.inject(queues, run["leader"])
        try:
            if fault.blocks:
                wait_for(lambda: not ledger.publishing_since(time.monotonic() - 3, 1), 60, "publishers are stopped")
            else:
                time.sleep(fault.seconds)
                wait_for(lambda: ledger.publishing_since(time.monotonic() - 2), 90, "publishing goes on")
        finally:
            fault.repair(queues, victim)
    return run["outcome"]


def run_operation(queues: Queues, name: str) -> Outcome:
    """Run an operation under load, cut off and repeated where it says so; return what became of the messages."""
    operation = OPERATIONS[name]
    with under_load(queues, name) as (_ledger, run):
        arguments = operation.prepare(queues, run["leader"])
        if operation.cut_at:
            cut_off(operation.playbook, arguments, *operation.cut_at)
        playbook_changes(operation.playbook, *arguments)
        queues.platform.refresh()
        queues.refresh()
    return run["outcome"]


def assert_nothing_lost(outcome: Outcome) -> None:
    """What must hold after whatever happened; a message whose confirmation was lost may come twice."""
    print(outcome)
    assert outcome.confirmed > 0
    assert outcome.missing == 0


def replicas(queues: Queues) -> set[int]:
    """How many members the quorum queues have."""
    return {len(queue["members"]) for queue in queues.rabbitmq.queues().values()}


def versions(queues: Queues) -> set[str]:
    """The installed packages' versions."""
    line = "dpkg-query --show --showformat '${Version}' rabbitmq-server"
    return {queues.rabbitmq.on_host(member, line) for member in queues.rabbitmq.members}

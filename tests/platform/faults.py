"""The faults of the platform's databases and edge, and one run of a fault under the ledger."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import results
from ledger import Ledger
from running import ROOT, Platform
from witness import Witness, two_at_once

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "failover.json"
CLIENTS = 4
#: Writing has come back when so many ids were acknowledged in so many seconds.
STEADY_WRITES, STEADY_SECONDS = 40, 2.0
#: A fault has had its effect at the latest after this time, or it has none: EC2's stop is the slowest.
EFFECT_SECONDS = 15
#: Longer than the lease of the leader (ttl 20) and the loop in which the others see that it has ended.
LEASE_SECONDS = 30
RECOVERY_SECONDS = 180
DATA = "/var/lib/postgresql"
PATRONI = "systemctl show --property=MainPID --value patroni"
POSTGRES = "pgrep -u postgres -x postgres"
NEWLINE = "\\n"


@dataclass(frozen=True)
class Fault:
    """A fault.

    :ivar inject: makes it, given the platform and the leader's name; returns the hosts that suffer it.
    :ivar repair: what AWS, the network or the disk does in the end; nothing that an operator of the platform does.
    :ivar moves_leader: whether another leader is expected; None when both are right.
    :ivar per_client: whether the figure is the worst client's, since others go on.
    :ivar effect: seconds after which the fault has had its effect when the leader stays.
    :ivar repair_first: whether nobody can write before the repair.
    :ivar wakes: whether a host stood still; it takes writes until its fence has looked, and no standby follows it then.
    :ivar expected: what the platform does, for the page of results.
    """

    inject: Callable[[Platform, str], list[str]]
    repair: Callable[[Platform, list[str]], None]
    expected: str
    moves_leader: bool | None = True
    per_client: bool = False
    effect: float = LEASE_SECONDS
    repair_first: bool = False
    wakes: bool = False


# Faults


def on_leader(script: str) -> Callable[[Platform, str], list[str]]:
    """A fault that a script makes on the leader's host, as root."""

    def inject(platform: Platform, leader: str) -> list[str]:
        platform.shell(leader, script)
        return [leader]

    return inject


def lab_fault(kind: str, *words: str) -> Callable[[Platform, str], list[str]]:
    """A fault of the lab that the leader's host suffers."""

    def inject(platform: Platform, leader: str) -> list[str]:
        platform.lab("fault", kind, leader, *words)
        return [leader]

    return inject


def stop_leader(platform: Platform, leader: str) -> list[str]:
    platform.stop_instances([leader])
    return [leader]


def stop_all(platform: Platform, _leader: str) -> list[str]:
    platform.stop_instances(list(platform.databases))
    return list(platform.databases)


def kill_edge(platform: Platform, _leader: str) -> list[str]:
    first = next(iter(platform.edges))
    platform.lab("fault", "kill", first)
    return [first]


def lose_zone(platform: Platform, leader: str) -> list[str]:
    platform.lab("fault", "zone", platform.zones[leader])
    return [host for host, zone in platform.zones.items() if zone == platform.zones[leader]]


def kill_standby(platform: Platform, leader: str) -> list[str]:
    """The host of a synchronous standby; with a quorum of two standbys each is one."""
    standby = platform.standbys()[0]
    platform.lab("fault", "kill", standby)
    return [standby]


def kill_etcd_leader(platform: Platform, _leader: str) -> list[str]:
    host = platform.etcd_leader()
    platform.shell(host, "kill -9 $(pgrep -x etcd)")
    return [host]


def stop_etcd_majority(platform: Platform, leader: str) -> list[str]:
    hosts = [leader, platform.standbys()[0]]
    for host in hosts:
        platform.shell(host, "systemctl stop etcd")
    return hosts


def cut(port: int, *first: str) -> str:
    """A script by which a host loses what it sends to others on this port, and what it answers there."""
    rules = [*first, f"tcp dport {port} drop", f"tcp sport {port} drop"]
    lines = ["add table inet fault", "add chain inet fault output { type filter hook output priority 0; }"]
    lines += [f"add rule inet fault output {rule}" for rule in rules]
    return f"printf '{NEWLINE.join(lines)}' | nft -f -"


def freeze_in_maintenance(platform: Platform, leader: str) -> list[str]:
    """HAProxy lets nobody in while Patroni does not answer, but the server must be left alone."""
    platform.shell(leader, "patronictl -c /etc/patroni/config.yml pause --wait && sleep 6")
    before = platform.shell(leader, f"{POSTGRES} -o")
    platform.shell(leader, f"kill -STOP $({PATRONI}); sleep {LEASE_SECONDS}", timeout=120)
    assert platform.shell(leader, f"{POSTGRES} -o") == before, "PostgreSQL was ended in maintenance"
    return [leader]


def fill_volume(platform: Platform, leader: str) -> list[str]:
    """Data and WAL; the server goes on in the files that it has, and refuses what needs more."""
    platform.lab("fault", "fill-disk", leader, DATA)
    time.sleep(2 * LEASE_SECONDS)
    return [leader]


def keep_busy(platform: Platform, leader: str) -> list[str]:
    """More work than the host has processors, for the time of a lease."""
    platform.shell(
        leader, f"for i in 1 2 3 4; do timeout {LEASE_SECONDS} sh -c 'while :; do :; done' >/dev/null 2>&1 & done"
    )
    return [leader]


# Patroni and its PostgreSQL alone: the hosts' kernel, and so their clock, is one.
CLOCK = """\
[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 FAKETIME_TIMESTAMP_FILE=/run/clock
Environment=FAKETIME_CACHE_DURATION=1 DONT_FAKE_MONOTONIC=1
"""


def set_clock_back(platform: Platform, leader: str) -> list[str]:
    """Let a standby lead that can be lied to about the time, then set its clock back by an hour."""
    victim = platform.standbys()[0]
    platform.shell(victim, "apt-get install -qq -y libfaketime", timeout=300)
    directory = "/run/systemd/system/patroni.service.d"
    unit = CLOCK.replace("\n", NEWLINE)
    write = f"mkdir -p {directory}; printf '{unit}' > {directory}/clock.conf; echo +0 > /run/clock"
    platform.shell(victim, f"{write}; systemctl daemon-reload; systemctl restart patroni", timeout=120)
    platform.wait_until_well()
    switch = f"patronictl -c /etc/patroni/config.yml switchover --leader {leader} --candidate {victim} --force"
    platform.shell(victim, switch)
    platform.wait_until_well()
    platform.shell(victim, "echo -3600 > /run/clock")
    return [victim]


def switch_over(platform: Platform, leader: str) -> list[str]:
    platform.playbook("switchover_postgresql")
    return [leader]


# Repairs


def heal(platform: Platform, victims: list[str]) -> None:
    for victim in victims:
        platform.lab("heal", victim)


def heal_all(platform: Platform, _victims: list[str]) -> None:
    platform.lab("heal")


def start(platform: Platform, victims: list[str]) -> None:
    platform.start_instances(victims)


def script(text: str) -> Callable[[Platform, list[str]], None]:
    """A repair by a script on each host that suffers."""

    def repair(platform: Platform, victims: list[str]) -> None:
        for victim in victims:
            platform.shell(victim, text)

    return repair


def nothing(_platform: Platform, _victims: list[str]) -> None:
    """The platform repairs itself."""


uncut = script("nft delete table inet fault")
TAKES_OVER, STAYS = "another member takes over", "the leader stays"
FAULTS = {
    "leader's postgres killed": Fault(on_leader(f"kill -9 $({POSTGRES} -o)"), nothing, TAKES_OVER),
    "leader's instance stopped": Fault(stop_leader, start, TAKES_OVER),
    "leader partitioned": Fault(lab_fault("partition", "--keep-controller"), heal, TAKES_OVER),
    "edge host killed": Fault(
        kill_edge, heal, "clients go on through the other", moves_leader=False, per_client=True, effect=EFFECT_SECONDS
    ),
    "leader's host killed": Fault(lab_fault("kill"), heal, TAKES_OVER),
    "switchover": Fault(switch_over, nothing, TAKES_OVER),
    "leader's Patroni frozen": Fault(
        on_leader(f"kill -STOP $({PATRONI})"),
        nothing,
        "the fence starts Patroni anew",
        moves_leader=None,
    ),
    "leader's Patroni frozen, and cannot start": Fault(
        on_leader(f"chmod -x /usr/bin/patroni; kill -STOP $({PATRONI})"),
        script("chmod +x /usr/bin/patroni"),
        "the fence ends PostgreSQL before another member takes over",
    ),
    "leader's Patroni frozen in maintenance": Fault(
        freeze_in_maintenance,
        script(f"kill -CONT $({PATRONI}); sleep 6; patronictl -c /etc/patroni/config.yml resume --wait"),
        "the fence does nothing; HAProxy waits for Patroni",
        moves_leader=False,
        repair_first=True,
    ),
    "leader's processors busy": Fault(
        keep_busy, nothing, "the leader stays, the fence does nothing", moves_leader=False
    ),
    "leader's postgres frozen": Fault(
        on_leader(f"kill -STOP $({POSTGRES})"), nothing, "another member takes over, the fence ends the frozen server"
    ),
    "leader's clock set back": Fault(
        set_clock_back,
        script("rm /run/systemd/system/patroni.service.d/clock.conf; systemctl daemon-reload; echo +0 > /run/clock"),
        "one leader at a time, the same or another",
        moves_leader=None,
    ),
    "leader's host frozen": Fault(
        lab_fault("freeze"), heal, "another member takes over, the fence ends the server that wakes", wakes=True
    ),
    "leader cut off from etcd": Fault(
        on_leader(cut(2379)),
        uncut,
        "the leader stays by failsafe: all members answer it",
        moves_leader=False,
    ),
    "leader cut off from its standbys": Fault(
        on_leader(cut(5432, "oifname lo accept")),
        uncut,
        "writes wait until the standbys are given up",
        moves_leader=False,
    ),
    "etcd's leader killed": Fault(kill_etcd_leader, nothing, STAYS, moves_leader=False),
    "etcd's majority lost": Fault(
        stop_etcd_majority,
        script("systemctl start etcd"),
        "the leader stays by failsafe",
        moves_leader=False,
    ),
    "leader's zone lost": Fault(lose_zone, heal_all, TAKES_OVER, per_client=True),
    "all database instances stopped": Fault(
        stop_all, start, "the platform comes back when they are started", moves_leader=None, repair_first=True
    ),
    "synchronous standby's host killed": Fault(kill_standby, heal, STAYS, moves_leader=False),
    "leader's volume full": Fault(
        fill_volume,
        heal,
        "what needs room is refused until there is some; a server that ends is taken over from",
        moves_leader=None,
        repair_first=True,
    ),
    "leader's power lost": Fault(
        lab_fault("power"), heal, "another member takes over; what no disk had is replicated again"
    ),
    "power of all lost": Fault(
        lambda platform, _leader: platform.power(list(platform.databases)),
        heal,
        "what was acknowledged was on a disk",
        moves_leader=None,
        repair_first=True,
    ),
}


@dataclass
class Outcome:
    """What one run of a fault, or of an operation, showed. Times in seconds.

    :ivar load: the machine's load average of the last five minutes.
    """

    fault: str
    seconds: float
    worst_client_seconds: float
    read_seconds: float
    acknowledged: int
    unknown: int
    connections_failed: int
    missing: int
    two_writable_seconds: float
    before: str
    leaders: list[str]
    writable: list[str]
    well_seconds: float
    load: float
    at: str
    commit: str

    @property
    def recovery(self) -> float:
        """The figure that counts for this fault."""
        fault = FAULTS.get(self.fault)
        return self.worst_client_seconds if fault and fault.per_client else self.seconds


@contextmanager
def under_load(platform: Platform, name: str, directory: Path):
    """Clients write and read through both edge hosts while the block runs; yields the ledger and a dict.

    At the end the platform must be well by itself, else NotWell is raised; then the dict has the `outcome`.
    """
    platform.wait_until_well()
    (leader,) = platform.leaders()
    conninfos = [platform.conninfo(number) for number in range(CLIENTS)]
    reading = platform.conninfo(1, endpoints.READ_ONLY)
    ledger = Ledger(conninfos, directory / "acknowledged.txt", reading=reading)
    ledger.prepare()
    run = {"leader": leader, "moment": 0.0}
    with Witness(list(platform.databases), platform.ssh) as witness, ledger:
        if not ledger.wait_for(100, 30):
            raise AssertionError("the clients could not write before the fault")
        run["moment"] = time.monotonic()
        yield ledger, run
        platform.wait_until_well(300)
        well = time.monotonic()
        ledger.wait_for(STEADY_WRITES, 30, well)
    counts = ledger.counts()
    run["outcome"] = Outcome(
        fault=name,
        seconds=round(ledger.longest_gap(run["moment"]), 2),
        worst_client_seconds=round(ledger.worst_client_gap(run["moment"]), 2),
        read_seconds=round(ledger.read_gap(run["moment"]), 2),
        acknowledged=counts.acknowledged,
        unknown=counts.unknown,
        connections_failed=counts.connections_failed,
        missing=len(ledger.missing()),
        two_writable_seconds=round(two_at_once(witness.answers), 2),
        before=leader,
        leaders=platform.leaders(),
        writable=platform.writable(),
        well_seconds=round(well - run["moment"], 1),
        load=round(os.getloadavg()[1], 1),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
    )


def run_fault(platform: Platform, name: str, directory: Path) -> Outcome:
    """Make one fault under load; return what became of the clients' writes."""
    fault = FAULTS[name]
    with under_load(platform, name, directory) as (ledger, run):
        moment, victims = run["moment"], fault.inject(platform, run["leader"])
        try:
            if not fault.repair_first:
                wait_for_recovery(platform, ledger, fault, victims, moment)
        finally:
            fault.repair(platform, victims)
    return run["outcome"]


def wait_for_recovery(platform: Platform, ledger: Ledger, fault: Fault, victims: list[str], moment: float) -> None:
    """Wait until writes flow again after the fault had its effect. Raises AssertionError after RECOVERY_SECONDS."""
    deadline = moment + RECOVERY_SECONDS
    while time.monotonic() < deadline:
        had_effect = time.monotonic() - moment > fault.effect
        if fault.moves_leader:
            leaders = platform.leaders(besides=victims)
            had_effect = len(leaders) == 1 and leaders[0] not in victims
        if had_effect and ledger.wait_for(STEADY_WRITES, STEADY_SECONDS, time.monotonic()):
            return
        time.sleep(0.5)
    raise AssertionError(f"writes did not come back within {RECOVERY_SECONDS} s")


def assert_nothing_lost(outcome: Outcome) -> None:
    """What must hold after whatever happened: acknowledged writes, and one primary at any time."""
    print(outcome)
    assert outcome.acknowledged > 0
    assert outcome.missing == 0
    assert outcome.two_writable_seconds == 0 or (outcome.fault in FAULTS and FAULTS[outcome.fault].wakes)
    assert len(outcome.leaders) == 1
    assert outcome.writable == outcome.leaders


def commit() -> str:
    """The commit of this checkout, with a plus when files differ from it; empty where that is unknown."""
    line = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def record(outcome: Outcome) -> None:
    """Add an outcome to the results of the measurements."""
    results.record(RESULTS, outcome)

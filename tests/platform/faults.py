"""The faults of the platform's databases and edge, and one run of a fault under the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ledger import Ledger
from running import ROOT, Platform

RESULTS = ROOT / "bench" / "results" / "failover.json"
CLIENTS = 4
#: Writing has come back when so many ids were acknowledged in so many seconds.
STEADY_WRITES, STEADY_SECONDS = 40, 2.0
#: A fault has had its effect at the latest after this time, or it has none: EC2's stop is the slowest.
EFFECT_SECONDS = 15
RECOVERY_SECONDS = 120


@dataclass(frozen=True)
class Fault:
    """A fault.

    :ivar inject: makes it, given the platform and the leader's name; returns the host that suffers it.
    :ivar repair: what AWS or the network does in the end; nothing that an operator of the platform does.
    :ivar moves_leader: whether another leader is expected.
    :ivar per_client: whether the figure is the worst client's, since others go on.
    """

    inject: Callable[[Platform, str], str]
    repair: Callable[[Platform, str], None]
    moves_leader: bool = True
    per_client: bool = False


def kill_postgres(platform: Platform, leader: str) -> str:
    platform.run(leader, ["sudo", "sh", "-c", "kill -9 $(pgrep -o -u postgres -x postgres)"])
    return leader


def stop_leader(platform: Platform, leader: str) -> str:
    platform.stop_instance(leader)
    return leader


def kill_leader(platform: Platform, leader: str) -> str:
    platform.lab("fault", "kill", leader)
    return leader


def partition_leader(platform: Platform, leader: str) -> str:
    platform.lab("fault", "partition", leader, "--keep-controller")
    return leader


def kill_edge(platform: Platform, _leader: str) -> str:
    first = next(iter(platform.edges))
    platform.lab("fault", "kill", first)
    return first


def switch_over(platform: Platform, leader: str) -> str:
    platform.playbook("switchover_postgresql")
    return leader


def heal(platform: Platform, victim: str) -> None:
    platform.lab("heal", victim)


def nothing(_platform: Platform, _victim: str) -> None:
    """The platform repairs itself."""


FAULTS = {
    "leader's postgres killed": Fault(kill_postgres, nothing),
    "leader's instance stopped": Fault(stop_leader, lambda platform, victim: platform.start_instance(victim)),
    "leader partitioned": Fault(partition_leader, heal),
    "edge host killed": Fault(kill_edge, heal, moves_leader=False, per_client=True),
    "leader's host killed": Fault(kill_leader, heal),
    "switchover": Fault(switch_over, nothing),
}


@dataclass
class Outcome:
    """What one run of a fault showed. Times in seconds."""

    fault: str
    seconds: float
    worst_client_seconds: float
    acknowledged: int
    unknown: int
    missing: int
    leaders: list[str]
    writable: list[str]
    at: str

    @property
    def recovery(self) -> float:
        """The figure that counts for this fault."""
        return self.worst_client_seconds if FAULTS[self.fault].per_client else self.seconds


def run_fault(platform: Platform, name: str, directory: Path) -> Outcome:
    """Make one fault while clients write through both edge hosts; return what became of their writes.

    The writers go on until the platform is well again, so that a member that comes back is covered too.
    Raises NotWell when it does not become well by itself.
    """
    fault = FAULTS[name]
    platform.wait_until_well()
    (leader,) = platform.leaders()
    ledger = Ledger([platform.conninfo(number) for number in range(CLIENTS)], directory / "acknowledged.txt")
    ledger.prepare()
    with ledger:
        if not ledger.wait_for(100, 30):
            raise AssertionError("the clients could not write before the fault")
        moment = time.monotonic()
        victim = fault.inject(platform, leader)
        wait_for_recovery(platform, ledger, fault, victim, moment)
        fault.repair(platform, victim)
        platform.wait_until_well()
        ledger.wait_for(STEADY_WRITES, 30, time.monotonic())
    counts = ledger.counts()
    return Outcome(
        fault=name,
        seconds=round(ledger.longest_gap(moment), 2),
        worst_client_seconds=round(ledger.worst_client_gap(moment), 2),
        acknowledged=counts.acknowledged,
        unknown=counts.unknown,
        missing=len(ledger.missing()),
        leaders=platform.leaders(),
        writable=platform.writable(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def wait_for_recovery(platform: Platform, ledger: Ledger, fault: Fault, victim: str, moment: float) -> None:
    """Wait until writes flow again after the fault had its effect. Raises AssertionError after RECOVERY_SECONDS."""
    deadline = moment + RECOVERY_SECONDS
    while time.monotonic() < deadline:
        had_effect = time.monotonic() - moment > EFFECT_SECONDS
        if fault.moves_leader:
            leaders = platform.leaders(besides=victim)
            had_effect = len(leaders) == 1 and leaders != [victim]
        if had_effect and ledger.wait_for(STEADY_WRITES, STEADY_SECONDS, time.monotonic()):
            return
        time.sleep(0.5)
    raise AssertionError(f"writes did not come back within {RECOVERY_SECONDS} s")


def record(outcome: Outcome) -> None:
    """Add an outcome to the results of the measurements."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    RESULTS.write_text(json.dumps([*results, asdict(outcome)], indent=1) + "\n")

"""Seconds until writes through the edge are back, for each fault, on the running lab.

Usage: python bench/failover.py [RUNS]     (after `make lab`; the environment of `lab env`; default 3 runs each)
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "platform"), str(ROOT)]

import faults  # noqa: E402
from running import Platform  # noqa: E402

#: Fault: the figure to reach, in seconds, and what it is measured against (docs/architecture.md and its sources).
RDS = "RDS 35 to 120 s"
FIGURES = {
    "leader's postgres killed": (6, f"{RDS}; set up by hand 4 to 6 s"),
    "leader's host killed": (20, f"{RDS}; set up by hand 19 to 25 s"),
    "leader partitioned": (20, f"{RDS}; not measured by hand"),
    "leader's instance stopped": (20, f"{RDS}; not measured by hand"),
    "switchover": (2, "set up by hand 3 to 4 s"),
    "edge host killed": (None, "worst client; no figure set"),
}


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    lost = 0
    with tempfile.TemporaryDirectory() as directory:
        platform = Platform.find(Path(directory) / "ca.crt")
        print(f"{'fault':28} {'median':>7} {'worst':>7} {'goal':>5} {'lost':>5}  against")
        for name, (goal, anchor) in FIGURES.items():
            outcomes = [faults.run_fault(platform, name, Path(directory)) for _ in range(runs)]
            for outcome in outcomes:
                faults.record(outcome)
            seconds = [outcome.recovery for outcome in outcomes]
            missing = sum(outcome.missing for outcome in outcomes)
            lost += missing
            print(
                f"{name:28} {statistics.median(seconds):6.1f}s {max(seconds):6.1f}s"
                f" {f'{goal} s' if goal else '-':>5} {missing:5}  {anchor}",
                flush=True,
            )
    print(f"{runs} runs each; acknowledged writes lost: {lost}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())

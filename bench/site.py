"""An unchanged site run on the running lab: seconds and module executions per role.

Usage: python bench/site.py     (after `make lab`; the environment of `lab env`)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
# kubespray's unchanged run for five nodes, measured on the same kind of machine (design, section 7).
ANCHOR_SECONDS = 480
EXECUTIONS_BUDGET = 10


def measure() -> dict:
    """Run site.yml once; seconds, changes and per role the seconds and executions per host."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        environment = {
            **os.environ,
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "bench" / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "executions",
            "EXECUTIONS_FILE": report.name,
        }
        started = time.monotonic()
        run = subprocess.run(
            ["ansible-playbook", "playbooks/site.yml"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        if run.returncode:
            raise SystemExit(f"bench/site.py: site.yml failed:\n{run.stdout[-3000:]}{run.stderr[-1000:]}")
        return {**json.loads(Path(report.name).read_text()), "total_seconds": round(seconds, 1)}


def print_report(report: dict) -> None:
    print(f"unchanged site.yml: {report['total_seconds']} s, changed={report['changed']}")
    ratio = ANCHOR_SECONDS / report["total_seconds"]
    print(f"{ratio:.1f} times faster than kubespray's unchanged run ({ANCHOR_SECONDS} s)")
    print(f"{'role':20} {'seconds':>8} {'executions per host':>20}")
    for role, figures in sorted(report["roles"].items()):
        most = max(figures["executions"].values(), default=0)
        note = "" if role == "playbook" or most <= EXECUTIONS_BUDGET else f"  over the budget of {EXECUTIONS_BUDGET}"
        print(f"{role:20} {figures['seconds']:8.1f} {most:20}{note}")


def main() -> int:
    report = measure()
    print_report(report)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "site.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

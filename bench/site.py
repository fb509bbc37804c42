"""An unchanged site run on the running lab: seconds and module executions per role.

Usage: python bench/site.py     (after `make lab`; the environment of `lab env`)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from playbook_run import measure_on_the_lab

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
# kubespray's unchanged run for five nodes, measured on the same kind of machine (design, section 7).
ANCHOR_SECONDS = 480
EXECUTIONS_BUDGET = 10


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
    report = measure_on_the_lab("site")
    print_report(report)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "site.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

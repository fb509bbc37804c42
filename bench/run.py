"""Run measurements; each prints its own table and ratios.

Usage: python bench/run.py [NAME ...]     all BENCHES below, or those named
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDS_LAB = ("site", "failover", "pgbench", "restorable", "rabbitmq")
BENCHES = ("inventory", "route53", "iam", "waf", "cloudwatch", "kafka", *NEEDS_LAB)
#: Begins with an empty lab, so it runs by its name alone.
NEEDS_EMPTY_LAB = ("kubernetes",)


def environment() -> dict[str, str]:
    printed = subprocess.run(["lab", "env"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return {**os.environ, **dict(re.findall(r"^export (\w+)='?(.*?)'?$", printed, re.MULTILINE))}


def main() -> int:
    names = sys.argv[1:] or BENCHES
    known = (*BENCHES, *NEEDS_EMPTY_LAB)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"bench/run.py: no measurement is called {unknown[0]}; there are {', '.join(known)}")
    status = 0
    for name in names:
        print(f"== {name}", flush=True)
        variables = environment() if name in NEEDS_LAB + NEEDS_EMPTY_LAB else dict(os.environ)
        status |= subprocess.run([sys.executable, f"bench/{name}.py"], cwd=ROOT, env=variables, check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())

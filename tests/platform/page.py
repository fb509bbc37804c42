"""Write docs/faults.md from the newest result of each fault and operation (bench/results/failover.json).

Usage: python tests/platform/page.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT)]

from faults import FAULTS, RESULTS  # noqa: E402
from operations import FURTHER, OPERATIONS  # noqa: E402

PAGE = ROOT / "docs" / "faults.md"
HEAD = """\
# Faults and operations, and what became of the clients

Written by `make test-faults` (`tests/platform`); not edited by hand. Four clients write unique ids through both HAProxy
hosts and PgBouncer, one reads on the read-only port, and each database host is asked all the time whether it takes
writes. After each row all acknowledged ids were looked for, and the platform became well by itself: one leader, all
standbys streaming, etcd complete, both edge hosts serving. Nobody did anything but end the fault itself (start the
instance, heal the network, free the disk).

- **Writes**, **reads**: the longest time in seconds in which no client at all got an answer; in brackets that of the
  client that waited longest.
- **Well**: seconds from the fault until everything was as before, the fault's own duration included.
- **Lost**: acknowledged ids that were not there. **Two**: seconds in which two hosts took writes at once.

All hosts, AWS, the clients and Ansible share one machine with two cores; **load** is its load average, and whatever is
above two had to wait for a processor.
"""
COLUMNS = ["", "what happens", "writes", "reads", "well", "acknowledged", "lost", "two", "load", "measured"]
FOOT = """
Lost and partitioned hosts cost Patroni's `ttl` (20 s, its lowest) and up to one `loop_wait` (5 s). Operations marked *
were ended by SIGKILL in their middle; the same command then finished them, and the figures cover both runs.
"""


def row(name: str, expected: str, outcome: dict | None) -> list[str]:
    """One line of a table; an item without a result says so."""
    if outcome is None:
        return [name, expected, "not run", *[""] * 7]
    return [
        name,
        expected,
        f"{outcome['seconds']:.1f} ({outcome['worst_client_seconds']:.1f})",
        f"{outcome['read_seconds']:.1f}",
        f"{outcome['well_seconds']:.0f}",
        str(outcome["acknowledged"]),
        str(outcome["missing"]),
        f"{outcome['two_writable_seconds']:.1f}",
        str(outcome.get("load", "")),
        f"{outcome['at'][:10]}, {outcome['commit']}",
    ]


def table(rows: list[list[str]]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def render(results: list[dict]) -> str:
    """The page from all results; the last one of each name counts."""
    newest = {result["fault"]: result for result in results if "well_seconds" in result}
    faults = [row(name, fault.expected, newest.get(name)) for name, fault in FAULTS.items()]
    operations = [
        row(name + (" *" if one.cut_at else ""), one.expected, newest.get(name)) for name, one in OPERATIONS.items()
    ]
    operations += [row(name, expected, newest.get(name)) for name, expected in FURTHER.items()]
    return f"{HEAD}\n## Faults\n\n{table(faults)}\n## Operations\n\n{table(operations)}{FOOT}"


def main() -> int:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    PAGE.write_text(render(results))
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How long an acknowledged row waits until its WAL is in the repository, on the running lab.

Usage: python bench/restorable.py [--minutes N]     (after `make lab`, environment of `lab env`)

One client writes a row a second, so little that no WAL file fills up by itself: what bounds the wait is archive_timeout
and the time of the copy to S3. The wait of a file is counted from the first row in it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "platform"), str(ROOT)]

from running import Platform  # noqa: E402

GOAL_SECONDS = 60
LAST_ARCHIVED = ["sudo", "-u", "postgres", "psql", "-AtXqc", "SELECT last_archived_wal FROM pg_stat_archiver"]


def waits(platform: Platform, seconds: float) -> list[float]:
    """Seconds from the first row in each WAL file until the leader had archived the file."""
    (leader,) = platform.leaders()
    first_row: dict[str, float] = {}
    found: list[float] = []
    with psycopg.connect(platform.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS restorable (id int)")
        deadline = time.monotonic() + seconds
        # What was begun before has no first row of ours.
        skipped = None
        while time.monotonic() < deadline:
            connection.execute("INSERT INTO restorable VALUES (1)")
            (name,) = connection.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone()
            skipped = skipped or name
            if name != skipped:
                first_row.setdefault(name, time.monotonic())
            last = platform.run(leader, LAST_ARCHIVED).strip()
            for done in [known for known in first_row if known <= last]:
                found.append(time.monotonic() - first_row.pop(done))
            time.sleep(1)
        connection.execute("DROP TABLE restorable")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = waits(Platform.find(Path(directory) / "ca.crt"), arguments.minutes * 60)
    if not found:
        raise SystemExit(f"bench/restorable.py: no WAL file was archived within {arguments.minutes} minutes")
    print(
        f"{len(found)} WAL files: a row is in the repository after {statistics.median(found):.1f} s (median),"
        f" {max(found):.1f} s (worst); goal {GOAL_SECONDS} s, RDS 5 minutes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

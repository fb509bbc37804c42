"""What HAProxy and PgBouncer cost a transaction, and how many connections they hold, on the running lab.

Usage: python bench/pgbench.py [--rate N] [--seconds N] [--clients N]     (after `make lab`, environment of `lab env`)

pgbench's own transaction (TPC-B like) runs at a fixed rate on a replica's host, over verified TLS both ways: first
directly to the leader, then through the edge. Latency counts from the moment at which the rate wanted the transaction.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "platform"), str(ROOT)]

from running import Platform  # noqa: E402

RESULTS = ROOT / "bench" / "results"
PROGRAM = "/usr/lib/postgresql/17/bin/pgbench"
# PgBouncer's max_client_conn is 1000, PostgreSQL's max_connections 200 (role postgresql).
HELD = 600
DIRECT, EDGE = "directly to the leader", "through HAProxy and PgBouncer"


def script(platform: Platform, host: str, lines: str) -> str:
    """Run lines of shell on a host; they come by standard input, so that no argument shows the password."""
    prepared = (
        "set -eu; cd $(mktemp -d)\n"
        f"export PGPASSWORD={shlex.quote(platform.password)} PGUSER=trading PGDATABASE=trades PGSSLMODE=verify-full\n"
        f"export PGSSLROOTCERT=/etc/patroni/tls/ca.crt\n{lines}"
    )
    command = ["lab", "ssh", host, "bash -s"]
    run = subprocess.run(command, cwd=ROOT, input=prepared, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"bench/pgbench.py: on {host}: {run.stderr.strip()[-1500:]}")
    return run.stdout


def measure(platform: Platform, host: str, server: str, arguments: argparse.Namespace) -> list[float]:
    """Milliseconds of each transaction, sorted."""
    lines = (
        f"export PGHOST={server} PGPORT=5432\n"
        f"{PROGRAM} -n -c {arguments.clients} -j 2 -T {arguments.seconds} -R {arguments.rate} -l >out 2>&1"
        " || { cat out >&2; exit 1; }\n"
        # Third column: microseconds from the scheduled start to the end; a skipped transaction has no number there.
        "cat pgbench_log.* | cut -d' ' -f3 | grep -E '^[0-9]+$'\n"
    )
    return sorted(int(line) / 1000 for line in script(platform, host, lines).split())


def tables(platform: Platform, host: str, server: str, options: str) -> None:
    """Make pgbench's tables, or drop them."""
    script(platform, host, f"PGHOST={server} {PROGRAM} -i {options} >out 2>&1 || {{ cat out >&2; exit 1; }}\n")


def percentile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


def held_connections(platform: Platform) -> tuple[int, int]:
    """Connections that clients hold through the edge at once, each having asked something; those at the server."""
    with contextlib.ExitStack() as stack:
        held = 0
        for number in range(HELD):
            try:
                connection = psycopg.connect(platform.conninfo(number), autocommit=True, prepare_threshold=None)
            except psycopg.Error as error:
                print(f"connection {number + 1} was refused: {str(error).splitlines()[0]}")
                break
            stack.callback(connection.close)
            connection.execute("SELECT 1")
            held += 1
        asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'trading'"
        leader = platform.leaders()[0]
        counted = platform.run(leader, ["sudo", "-u", "postgres", "psql", "-AtXqc", asked])
    return held, int(counted)


def report(name: str, values: list[float]) -> dict[str, float]:
    figures = {f"p{share}": round(percentile(values, share / 100), 2) for share in (50, 95, 99)}
    print(
        f"{name:32} {len(values):8} {figures['p50']:9.2f} {figures['p95']:9.2f} {figures['p99']:9.2f}"
        f" {statistics.fmean(values):9.2f}",
        flush=True,
    )
    return {**figures, "transactions": len(values)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=100, help="transactions a second (100)")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        platform = Platform.find(Path(directory) / "ca.crt")
        (leader,) = platform.leaders()
        host = next(name for name in platform.databases if name != leader)
        servers = {DIRECT: f"{leader}.{platform.domain}", EDGE: f"postgresql.{platform.domain}"}
        tables(platform, host, servers[DIRECT], "-q -s 5")
        try:
            print(f"{arguments.rate} transactions a second, {arguments.clients} clients on {host}, leader {leader}")
            print(f"{'ms':32} {'count':>8} {'p50':>9} {'p95':>9} {'p99':>9} {'mean':>9}")
            results = {
                name: report(name, measure(platform, host, server, arguments)) for name, server in servers.items()
            }
        finally:
            tables(platform, host, servers[DIRECT], "-q -I d")
        ratio = results[EDGE]["p95"] / results[DIRECT]["p95"]
        print(f"95th percentile through the edge: {ratio:.2f} times that of a direct connection")
        held, served = held_connections(platform)
        print(f"connections held through the edge: {held}, by {served} connections of the server")
    RESULTS.mkdir(exist_ok=True)
    answer = {"rate": arguments.rate, "results": results, "held": held, "server_connections": served}
    (RESULTS / "pgbench.json").write_text(json.dumps(answer, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

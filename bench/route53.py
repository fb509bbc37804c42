"""Compare route53_records with amazon.aws.route53 on the same strict front, in one run.

Writes RECORDS records into an empty zone, then runs again unchanged; the anchor takes one task item per record, since
its module takes one record. Prints seconds of the whole `ansible-playbook`, API calls, and how many times fewer ours
are, without latency and with LATENCY milliseconds for each call.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / ".cache")]

from tests.integration.front_client import Front  # noqa: E402

ZONE = "bench.example"
COLUMNS = f"{'s':>8} {'CPU s':>7} {'calls':>6}"
HEADER = f"{'ours':>42}{{:>24}}{'times fewer':>24}\nlatency run       {COLUMNS} {COLUMNS} {COLUMNS}"
LIMITS = {"new": 4, "unchanged": 3}
TIMES_FASTER = 40


@dataclass
class Run:
    """One run of a playbook: seconds, CPU seconds, API calls, and whether something was changed."""

    seconds: float
    cpu: float
    calls: int
    changed: bool

    def columns(self) -> str:
        return f"{self.seconds:8.2f} {self.cpu:7.2f} {self.calls:6d}"


def ratios(ours: Run, theirs: Run) -> str:
    """How many times fewer seconds, CPU seconds and calls ours needs; on a busy machine the CPU seconds tell more."""
    return f"{theirs.seconds / ours.seconds:8.1f} {theirs.cpu / ours.cpu:7.1f} {theirs.calls / ours.calls:6.0f}"


def play(task: dict) -> list[dict]:
    """A playbook of one task on localhost."""
    return [{"name": "Bench", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]


def ours(records: list[dict]) -> list[dict]:
    """All records in one task."""
    return play({"name": "Records", "selfhosted.ec2.route53_records": {"zone": ZONE, "records": records}})


def theirs(records: list[dict]) -> list[dict]:
    """One task item for each record, as users of the anchor write it."""
    options = {
        "zone": ZONE,
        "record": "{{ item.name }}",
        "type": "A",
        "ttl": 60,
        "value": "{{ item['values'] }}",
        "state": "present",
        "overwrite": True,
    }
    return play({"name": "Records", "amazon.aws.route53": options, "loop": records})


def measure(front: Front, folder: Path, playbook: list[dict]) -> Run:
    """Run a playbook once; raises SystemExit when it fails."""
    path = folder / "bench.yml"
    path.write_text(yaml.safe_dump(playbook))
    front.forget_calls()
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(path)]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    environment = {**front.environment, "ANSIBLE_LOCALHOST_WARNING": "0"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        raise SystemExit(f"ansible-playbook failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return Run(seconds, cpu, sum(front.calls().values()), "changed=0" not in done.stdout)


def empty_zone(front: Front) -> None:
    """Make the zone anew."""
    client = front.client("route53")
    for zone in client.list_hosted_zones()["HostedZones"]:
        changes = []
        for page in client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone["Id"]):
            own = [r for r in page["ResourceRecordSets"] if r["Type"] not in ("NS", "SOA")]
            changes += [{"Action": "DELETE", "ResourceRecordSet": record} for record in own]
        if changes:
            client.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch={"Changes": changes})
        client.delete_hosted_zone(Id=zone["Id"])
    client.create_hosted_zone(Name=ZONE, CallerReference=str(time.monotonic_ns()))


def compare(front: Front, folder: Path, records: list[dict], latency: int, anchor: bool) -> bool:
    """Measure both, print a row each and the ratio; return whether the figures to reach were reached."""
    results: dict[str, dict[str, Run]] = {}
    for name, playbook in (("ours", ours(records)), ("amazon.aws", theirs(records)))[: 2 if anchor else 1]:
        front.faults()
        empty_zone(front)
        front.faults(latency_ms=latency)
        results[name] = {"new": measure(front, folder, playbook), "unchanged": measure(front, folder, playbook)}
    reached = True
    for state in ("new", "unchanged"):
        run = results["ours"][state]
        ratio = ""
        if anchor:
            other = results["amazon.aws"][state]
            ratio = f"{other.columns()} {ratios(run, other)}"
            reached = reached and other.seconds / run.seconds >= TIMES_FASTER
        print(f"{latency:7d} {state:10} {run.columns()} {ratio}", flush=True)
        reached = reached and run.calls <= LIMITS[state] and run.changed == (state == "new")
    return reached


def main() -> int:
    """Run the comparison for each latency."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--latency", type=int, nargs="+", default=[0, 150], help="milliseconds of each call")
    parser.add_argument("--ours-only", action="store_true")
    arguments = parser.parse_args()
    records = [
        {"name": f"n{n}.{ZONE}", "values": [f"10.0.{n // 250}.{n % 250 + 1}"], "ttl": 60}
        for n in range(arguments.records)
    ]
    print(f"{arguments.records} records")
    print(HEADER.format("amazon.aws.route53"))
    reached = True
    with tempfile.TemporaryDirectory() as folder:
        front = Front(Path(folder) / "front")
        try:
            for latency in arguments.latency:
                reached &= compare(front, Path(folder), records, latency, not arguments.ours_only)
        finally:
            front.close()
    verdict = "yes" if reached else "NO"
    limits = f"at most {LIMITS['new']} and {LIMITS['unchanged']} calls, at least {TIMES_FASTER} times faster"
    print(f"{limits}: {verdict}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())

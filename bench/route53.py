"""Compare route53_records with amazon.aws.route53 on the same strict front, in one run.

Writes RECORDS records into an empty zone, then runs again unchanged; the anchor takes one task item per record, since
its module takes one record. Prints seconds of the whole `ansible-playbook`, API calls, and how many times fewer ours
are, without latency and with LATENCY milliseconds for each call.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from playbook_run import HEADER, Front, Run, measure, parser, play, print_row

ZONE = "bench.example"
LIMITS = {"new": 4, "unchanged": 3}
TIMES_FASTER = 40


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
        run, other = (results[name][state] if name in results else None for name in ("ours", "amazon.aws"))
        print_row(latency, state, run, other)
        reached = reached and (other is None or other.seconds / run.seconds >= TIMES_FASTER)
        reached = reached and run.calls <= LIMITS[state] and bool(run.changed) == (state == "new")
    return reached


def main() -> int:
    """Run the comparison for each latency."""
    options = parser(__doc__)
    options.add_argument("--records", type=int, default=200)
    options.add_argument("--ours-only", action="store_true")
    wanted = options.parse_args()
    records = [
        {"name": f"n{n}.{ZONE}", "values": [f"10.0.{n // 250}.{n % 250 + 1}"], "ttl": 60} for n in range(wanted.records)
    ]
    print(f"{wanted.records} records")
    print(HEADER.format("amazon.aws.route53"))
    reached = True
    with tempfile.TemporaryDirectory() as folder:
        front = Front(Path(folder) / "front")
        try:
            for latency in wanted.latency:
                reached &= compare(front, Path(folder), records, latency, not wanted.ours_only)
        finally:
            front.close()
    verdict = "yes" if reached else "NO"
    limits = f"at most {LIMITS['new']} and {LIMITS['unchanged']} calls, at least {TIMES_FASTER} times faster"
    print(f"{limits}: {verdict}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())

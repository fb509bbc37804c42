"""The file storage on the running platform: faults under load, through HAProxy.

Every object that was acknowledged longer ago than the stated bound is there with the same content; after the loss of
the gateway's process alone, every one. The times until writing came back are recorded in bench/results/, not asserted.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import boto3
import files_ledger as ledger
import pytest
import yaml
from running import ROOT, plain, playbook_changes

from lab import endpoints

RESULTS = ROOT / "bench" / "results" / "file_storage.json"
#: file_storage_copy_bound of inventory/lab.
BOUND_SECONDS = 60
TIERS = yaml.safe_load((ROOT / "inventory" / "lab" / "group_vars" / "all" / "platform.yml").read_text())[
    "platform_tiers"
]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not any("file_storage" in tier["components"] for tier in TIERS),
        reason="the lab's platform has no file storage yet",
    ),
]


class Files:
    """The members and how clients reach them."""

    def __init__(self, platform):
        hosts = endpoints.inventory()["_meta"]["hostvars"]
        self.platform = platform
        self.members = [host for host in sorted(hosts) if host.startswith("files-")]
        self.instances = {host: plain(hosts[host]["ec2_instance_id"]) for host in self.members}
        self.region = plain(hosts[self.members[0]]["ec2_region"])
        self.secret = endpoints.secret(platform.name, "file_storage/users/trading")

    def client(self):
        return ledger.client(self.platform.domain, self.secret, str(self.platform.authority), self.region)

    def state(self, host):
        return json.loads(self.platform.run(host, ["sudo", "/usr/local/sbin/file-storage", "state"]))

    def primary(self):
        (found,) = [host for host in self.members if self.state(host)["role"] == "primary"]
        return found

    def other(self, host):
        return next(name for name in self.members if name != host)


@pytest.fixture(scope="module")
def files(platform):
    addresses = list(platform.edges.values())
    with endpoints.resolved({f"{name}.{platform.domain}": addresses for name in ("files", "assets")}):
        yield Files(platform)


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def under_load(files, name, inject, seconds=60, repair=lambda: None):
    """Write while a fault is made, until the writers go on; return wrong objects, and the moment of the fault."""
    writers = [ledger.Writer(files.client) for _number in range(2)]
    for writer in writers:
        writer.start()
    try:
        wait_for(lambda: all(len(writer.acknowledged) > 20 for writer in writers), 60, "the clients write")
        begun = time.monotonic()
        inject()
        injected = time.monotonic()
        wait_for(lambda: all(writer.acknowledged[-1].moment > injected for writer in writers), seconds, "writes go on")
        repair()
    finally:
        for writer in writers:
            writer.stop()
    s3 = files.client()
    wrong = [item for writer in writers for item in writer.wrong(s3)]
    outcome = {
        "fault": name,
        "seconds": round(max(writer.gap(begun) for writer in writers), 2),
        "acknowledged": sum(len(writer.acknowledged) for writer in writers),
        "unknown": sum(writer.unknown for writer in writers),
        "wrong": len(wrong),
        "oldest_wrong_seconds": round(max((begun - item.moment for item in wrong), default=0.0), 2),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    RESULTS.write_text(json.dumps([*results, outcome], indent=1) + "\n")
    print(outcome)
    return wrong, begun


def test_a_client_writes_and_reads_through_the_edge(files):
    s3 = files.client()
    s3.put_object(Bucket="assets", Key="proof.txt", Body=b"proof", ContentType="text/plain")
    status, kind, body = ledger.public_object(
        f"assets.{files.platform.domain}", "/assets/proof.txt", str(files.platform.authority)
    )
    assert (status, kind, body) == (200, "text/plain", b"proof")


def test_killed_gateway_loses_nothing(files):
    primary = files.primary()
    wrong, _begun = under_load(
        files,
        "gateway killed",
        lambda: files.platform.run(primary, ["sudo", "systemctl", "kill", "--signal=KILL", "file-storage-gateway"]),
    )
    assert wrong == []
    assert files.primary() == primary


def test_planned_move_loses_nothing(files):
    wanted = files.other(files.primary())
    wrong, _begun = under_load(
        files,
        "planned move",
        lambda: playbook_changes("failover_file_storage", "-e", f"file_storage_primary={wanted}"),
        seconds=120,
    )
    assert wrong == []
    assert files.primary() == wanted
    assert playbook_changes("file_storage") == 0


def test_lost_host_costs_at_most_the_bound(files):
    lost = files.primary()
    wanted = files.other(lost)

    def lose():
        files.platform.lab("fault", "kill", lost)
        playbook_changes(
            "failover_file_storage", "-e", f"file_storage_primary={wanted}", "-e", f"file_storage_lost={lost}"
        )

    wrong, begun = under_load(files, "primary's host lost", lose, seconds=120)
    assert [item for item in wrong if begun - item.moment > BOUND_SECONDS] == []
    client = boto3.client("ec2")
    client.start_instances(InstanceIds=[files.instances[lost]])
    wait_for(lambda: answers(files, lost), 120, "the old primary is back")
    assert files.state(lost)["role"] == "standby", "whoever was away never comes back as a second primary"
    assert playbook_changes("file_storage") == 0


def answers(files, host):
    try:
        return files.state(host)["role"] != ""
    except Exception:  # noqa: BLE001 (it boots, and is asked again)
        return False

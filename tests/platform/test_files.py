"""The file storage on the running platform: faults and operations under load, through HAProxy.

Every object that was acknowledged longer ago than the stated bound is there with the same content; where no member is
lost, every one. The times until writing came back are recorded in bench/results/, not asserted.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from datetime import UTC, datetime

import boto3
import files_ledger as ledger
import pytest
import results
from faults import commit
from operations import cut_off
from running import plain, playbook_changes, tiers, wait_for

from lab import endpoints

#: file_storage_copy_bound of inventory/lab.
BOUND_SECONDS = 60
SECRET = "file_storage/users/trading"
pytestmark = pytest.mark.long


class Files:
    """The members and how clients reach them."""

    def __init__(self, platform):
        self.platform = platform
        self.refresh()
        self.region = boto3.session.Session().region_name

    def refresh(self):
        """Read the inventory again, after an operation that gives or takes instances."""
        self.platform.refresh()
        hosts = endpoints.inventory()["_meta"]["hostvars"]
        self.members = [host for host in sorted(hosts) if host.startswith("files-")]
        self.instances = {host: plain(hosts[host]["ec2_instance_id"]) for host in self.members}
        self.secret = endpoints.secret(self.platform.name, SECRET)

    def client(self):
        return endpoints.files_client(self.platform.domain, self.region, self.secret, str(self.platform.authority))

    def state(self, host):
        return json.loads(self.platform.run(host, ["sudo", "/usr/local/sbin/file-storage", "state"]))

    def primary(self):
        (found,) = [host for host in self.members if self.state(host)["role"] == "primary"]
        return found

    def other(self, host):
        return next(name for name in self.members if name != host)

    def on_disk(self, host, directory):
        """The SHA-256 of each file below a directory, by its path; the gateway's locks are its host's own, no data."""
        find = "find . -path ./.vgwlocks -prune -o -type f -exec sha256sum {} +"
        lines = self.platform.shell(host, f"cd {directory} && {find}").splitlines()
        return {path.removeprefix("./"): digest for digest, _space, path in (line.partition("  ") for line in lines)}

    def wait_until_well(self, seconds=BOUND_SECONDS):
        """Wait until one member takes writes and each other one has copied since now."""
        now = time.time()

        def well():
            states = [self.state(host) for host in self.members]
            copies = [state["copy"].get("started", 0) for state in states if state["role"] == "standby"]
            return sorted(state["role"] for state in states)[0] == "primary" and all(at > now for at in copies)

        wait_for(well, seconds, "every member has copied")


@pytest.fixture(scope="module")
def files(platform):
    addresses = list(platform.edges.values())
    with endpoints.resolved({f"{name}.{platform.domain}": addresses for name in ("files", "assets")}):
        yield Files(platform)


def under_load(files, name, inject, before=0.0, seconds=120.0):
    """Write for some time before a fault or an operation, and until the writers go on; return what became of it.

    :returns: what was acknowledged and is not there afterwards as it was, and the moment of the fault.
    """
    writers = [ledger.Writer(files.client) for _number in range(2)]
    for writer in writers:
        writer.start()
    try:
        wait_for(lambda: all(len(writer.acknowledged) > 20 for writer in writers), 60, "the clients write")
        time.sleep(before)
        begun = time.monotonic()
        inject()
        injected = time.monotonic()
        wait_for(lambda: all(writer.acknowledged[-1].moment > injected for writer in writers), seconds, "writes go on")
        well = time.monotonic()
    finally:
        for writer in writers:
            writer.stop()
    s3 = files.client()
    wrong = [item for writer in writers for item in writer.wrong(s3)]
    outcome = {
        "fault": name,
        "seconds": round(max(writer.gap(begun) for writer in writers), 2),
        "well_seconds": round(well - begun, 1),
        "acknowledged": sum(len(writer.acknowledged) for writer in writers),
        "older_than_bound": sum(
            begun - item.moment > BOUND_SECONDS for writer in writers for item in writer.acknowledged
        ),
        "unknown": sum(writer.unknown for writer in writers),
        "wrong": len(wrong),
        "oldest_wrong_seconds": round(max((begun - item.moment for item in wrong), default=0.0), 2),
        "load": round(os.getloadavg()[1], 1),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
    }
    results.record(ledger.RESULTS, outcome)
    print(outcome)
    return wrong, begun


def assert_bound_is_kept(files, name, lose):
    """Lose something of the primary under load: what is missing afterwards was acknowledged within the bound."""
    wrong, begun = under_load(files, name, lose, before=BOUND_SECONDS + 10)
    assert [item for item in wrong if begun - item.moment > BOUND_SECONDS] == []
    return wrong


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
    )
    assert wrong == []
    assert files.primary() == wanted
    assert playbook_changes("file_storage") == 0


def test_a_move_that_was_cut_off_is_ended_by_the_same_command(files):
    before = files.primary()
    wanted = files.other(before)
    arguments = ["-e", f"file_storage_primary={wanted}"]

    def move():
        cut_off("failover_file_storage", arguments, "failover | Give the right to write to the new primary", 1)
        with pytest.raises(AssertionError, match=f"A move of the file storage to {wanted} has begun"):
            playbook_changes("file_storage")
        playbook_changes("failover_file_storage", *arguments)

    wrong, _begun = under_load(files, "planned move, cut off and repeated", move)
    assert wrong == []
    assert files.primary() == wanted
    assert playbook_changes("file_storage") == 0


def test_lost_host_costs_at_most_the_bound(files):
    lost = files.primary()
    wanted = files.other(lost)
    arguments = ["-e", f"file_storage_primary={wanted}", "-e", f"file_storage_lost={lost}"]

    def lose():
        files.platform.lab("fault", "kill", lost)
        cut_off("failover_file_storage", arguments, "failover | Take the right to write away", 1)
        playbook_changes("failover_file_storage", *arguments)

    wrong = assert_bound_is_kept(files, "primary's host lost", lose)
    boto3.client("ec2").start_instances(InstanceIds=[files.instances[lost]])
    wait_for(lambda: answers(files, lost), 120, "the old primary is back")
    assert files.state(lost)["role"] == "standby", "whoever was away never comes back as a second primary"
    files.wait_until_well()
    aside = files.on_disk(lost, "/srv/files/aside")
    kept = {path.partition(f"/{ledger.BUCKET}/")[2]: digest for path, digest in aside.items()}
    assert {item.key: item.digest for item in wrong}.items() <= kept.items(), "what nobody had copied is kept aside"
    assert playbook_changes("file_storage") == 0


def answers(files, host):
    try:
        return files.state(host)["role"] != ""
    except subprocess.SubprocessError:
        return False


def test_lost_volume_costs_at_most_the_bound(files):
    lost = files.primary()
    wanted = files.other(lost)

    def lose():
        client = boto3.client("ec2")
        client.terminate_instances(InstanceIds=[files.instances[lost]])
        client.get_waiter("instance_terminated").wait(
            InstanceIds=[files.instances[lost]], WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )
        playbook_changes(
            "failover_file_storage", "-e", f"file_storage_primary={wanted}", "-e", f"file_storage_lost={lost}"
        )

    assert_bound_is_kept(files, "primary's volume lost", lose)
    replace = ["-e", f"node={lost}", "-e", "replace_volumes=true"]
    # The volume holds a part of the copy by then, and not yet an identity.
    cut_off("replace_node", replace, "service | Reload what takes its files", 1)
    playbook_changes("replace_node", *replace)
    files.refresh()
    files.wait_until_well()
    data = [files.on_disk(host, "/srv/files/data") for host in files.members]
    assert data[0] == data[1]
    assert files.state(lost)["identity"]["member"] == lost
    assert playbook_changes("file_storage") == 0


def test_restore_from_a_snapshot(files):
    s3, primary = files.client(), files.primary()
    for key in ("kept", "changed", "removed"):
        s3.put_object(Bucket="reports", Key=f"restore/{key}", Body=key.encode())
    s3.put_object(Bucket="assets", Key="restore", Body=b"as it was")
    assert playbook_changes("backup_file_storage") >= 1
    s3.put_object(Bucket="reports", Key="restore/changed", Body=b"by mistake")
    s3.delete_object(Bucket="reports", Key="restore/removed")
    s3.put_object(Bucket="reports", Key="restore/later", Body=b"later")
    s3.put_object(Bucket="assets", Key="restore", Body=b"later")

    wanted = {"snapshot": "latest", "buckets": ["reports"], "confirm": files.platform.name}
    with pytest.raises(AssertionError, match="confirm it by the name of the platform"):
        playbook_changes(
            "restore_file_storage", "-e", json.dumps({"file_storage_restore": {**wanted, "confirm": "no"}})
        )
    arguments = ["-e", json.dumps({"file_storage_restore": wanted})]
    cut_off("restore_file_storage", arguments, "restore_copy | Copy from the snapshot", 1)
    playbook_changes("restore_file_storage", *arguments)

    found = {
        item["Key"]: s3.get_object(Bucket="reports", Key=item["Key"])["Body"].read()
        for item in s3.list_objects_v2(Bucket="reports", Prefix="restore/")["Contents"]
    }
    assert found == {f"restore/{key}": key.encode() for key in ("kept", "changed", "removed")}
    assert s3.get_object(Bucket="assets", Key="restore")["Body"].read() == b"later", "another bucket stays"
    aside = files.on_disk(primary, "/srv/files/aside")
    assert any(path.endswith("/reports/restore/later") for path in aside)
    volumes = boto3.client("ec2").describe_volumes(Filters=[{"Name": "tag-key", "Values": ["restore_of"]}])["Volumes"]
    assert volumes == []
    assert playbook_changes("file_storage") == 0
    files.wait_until_well()


def test_a_new_secret_of_a_user(files):
    old = files.client()
    boto3.client("ssm").put_parameter(
        Name=f"/{files.platform.name}/{SECRET}", Value="n" * 40, Type="SecureString", Overwrite=True
    )
    cut_off("file_storage", [], "service | See what runs", 1)
    playbook_changes("file_storage")
    files.refresh()
    wait_for(lambda: can_write(files.client()) and not can_write(old), 20, "the new secret alone is taken")
    assert playbook_changes("file_storage") == 0


def can_write(s3):
    with contextlib.suppress(*ledger.ERRORS):
        s3.put_object(Bucket="reports", Key="rotated", Body=b"x")
        return True
    return False


def test_the_volume_grows_under_load(files):
    larger = ["-e", tiers("file_storage", volumes=[
        {"name": "files", "size": 2, "type": "gp3", "mount": "/srv/files", "filesystem": "xfs"}
    ])]  # fmt: skip
    before = {host: files.state(host)["free"] for host in files.members}

    def grow():
        playbook_changes("provision", *larger)
        cut_off("ebs_volume", larger, "configure | Format, mount and grow the volumes", 1)
        playbook_changes("ebs_volume", *larger)

    wrong, _begun = under_load(files, "volume grown", grow)
    assert wrong == []
    assert all(files.state(host)["free"] > before[host] + 2**29 for host in files.members)

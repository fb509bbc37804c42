"""After the faults: a run finds nothing to do, and a terminated host comes back by the same two playbooks."""

from __future__ import annotations

import boto3
from running import Platform, plain, playbook_changes

from lab import endpoints


def test_site_after_a_failover_changes_and_restarts_nothing(platform):
    platform.wait_until_well()
    before = platform.processes()
    assert playbook_changes("site") == 0
    assert platform.processes() == before


def test_check_mode_after_a_failover_reports_no_change(platform):
    assert playbook_changes("site", "--check", "--diff") == 0


def test_switchover_by_playbook_moves_the_leader(platform):
    (before,) = platform.leaders()
    playbook_changes("switchover_postgresql")
    platform.wait_until_well()
    (after,) = platform.leaders()
    assert after != before


def test_terminated_edge_host_comes_back(platform, tmp_path):
    client = boto3.client("ec2")
    lost = plain(endpoints.inventory()["_meta"]["hostvars"]["edge-2"]["ec2_instance_id"])
    client.terminate_instances(InstanceIds=[lost])
    client.get_waiter("instance_terminated").wait(InstanceIds=[lost], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    assert "edge-2" not in endpoints.inventory()["_meta"]["hostvars"]
    assert playbook_changes("provision") > 0
    assert playbook_changes("site", "-e", "only=edge-2") > 0
    again = Platform.find(tmp_path / "ca.crt")
    assert "edge-2" in again.edges
    again.wait_until_well()
    assert playbook_changes("site", "-e", "only=edge-2") == 0

"""Day-two operations under load: nothing acknowledged is lost, and the same command ends a run that was cut off."""

from __future__ import annotations

import json

import faults
import operations
import pytest
from running import playbook_changes, tiers

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_acknowledged_writes_survive_an_operation(platform, tmp_path, name):
    outcome = operations.run_operation(platform, name, tmp_path)
    faults.record(outcome)
    faults.assert_nothing_lost(outcome)
    if operations.OPERATIONS[name].unnoticed:
        assert (outcome.unknown, outcome.connections_failed) == (0, 0)


def test_every_member_of_etcd_has_a_readable_snapshot_and_is_defragmented(platform):
    playbook_changes("backup_etcd")
    for host in platform.databases:
        newest = platform.shell(host, "ls -t /var/lib/etcd/snapshots/*.db | head -n 1").strip()
        shown = json.loads(platform.shell(host, f"etcdutl snapshot status {newest} -w json"))
        assert shown["totalKey"] > 0
    playbook_changes("defragment_etcd")
    assert platform.complaints() == []


def test_five_database_hosts_and_three_again(platform, tmp_path):
    with faults.under_load(platform, "growing from three hosts to five", tmp_path) as (_ledger, run):
        for playbook in ("provision", "site"):
            playbook_changes(playbook, "-e", tiers(count=5))
        platform.refresh()
        assert len(platform.databases) == 5
    faults.record(run["outcome"])
    more = sorted(platform.databases)[3:]
    leave = json.dumps({"platform_remove": more, "platform_confirm": more})
    with faults.under_load(platform, "removing two of five hosts", tmp_path) as (_ledger, again):
        # The leader has to be moved, too.
        playbook_changes(
            "switchover_postgresql", "-e", f"postgresql_switchover_candidate={more[0]}", "-e", tiers(count=5)
        )
        operations.cut_off("remove_nodes", ["-e", leave], "remove_member | Let the cluster forget it", 1)
        playbook_changes("remove_nodes", "-e", leave)
        platform.refresh()
        assert len(platform.databases) == 3
    faults.record(again["outcome"])
    for outcome in (run["outcome"], again["outcome"]):
        faults.assert_nothing_lost(outcome)
    assert playbook_changes("site") == 0


def test_another_instance_type_by_rolling_replacement(platform, tmp_path):
    larger = ["-e", tiers(instance_type="t3.medium")]
    with faults.under_load(platform, "larger instances, one by one", tmp_path) as (_ledger, run):
        (leader,) = platform.leaders()
        for node in [*platform.standbys(), leader]:
            playbook_changes("replace_node", "-e", f"node={node}", "-e", f"replace_confirm={node}", *larger)
        platform.refresh()
    faults.record(run["outcome"])
    faults.assert_nothing_lost(run["outcome"])
    assert platform.instance_types() == {"t3.medium"}


def test_site_after_the_operations_changes_and_restarts_nothing(platform):
    before = platform.processes()
    assert playbook_changes("site") == 0
    assert platform.processes() == before

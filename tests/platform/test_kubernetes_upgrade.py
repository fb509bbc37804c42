"""From Kubernetes 1.36 to 1.37 under load, on a platform of its own that is brought up with the older one."""

from __future__ import annotations

import kubernetes_faults as faults
import pytest
from operations import cut_off
from results import record
from running import Platform, playbook_changes, playbook_fails

pytestmark = pytest.mark.long

NEWER = "1.37.2"
NAME = "upgrade from 1.36 to 1.37"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    playbook_changes("provision")
    playbook_changes("site", "-e", "platform_cloud=false", "-e", faults.OLDER)
    found = faults.Nodes(Platform.find(tmp_path_factory.mktemp("platform") / "ca.crt"))
    found.wait_until_well()
    return found


def test_an_ordinary_run_refuses_another_version(nodes):
    before = nodes.processes()
    shown = playbook_fails("kubernetes")
    assert "upgrade_kubernetes" in shown
    assert nodes.processes() == before
    assert nodes.versions() == ({"1.36.4"}, {"1.36.4"})


def test_the_plan_alone_changes_nothing(nodes):
    """It tells what would be brought; no host has it afterwards."""
    before, held = nodes.processes(), nodes.holdings()
    assert playbook_changes("upgrade_kubernetes", "--check") > 0
    assert (nodes.processes(), nodes.holdings()) == (before, held)


def test_the_workload_answers_through_the_upgrade(nodes):
    """Cut off while the second control plane is half new, and again in the drain of a node."""
    with faults.under_load(nodes, NAME) as run:
        cut_off("upgrade_kubernetes", [], "upgrade_parts | Upgrade the control plane", 2, 20)
        cut_off("upgrade_kubernetes", [], "upgrade_node | Start the new kubelet", 1)
        playbook_changes("upgrade_kubernetes")
    record(faults.RESULTS, run["outcome"])
    faults.assert_nothing_lost(run["outcome"])
    assert nodes.versions() == ({NEWER}, {NEWER})


def test_a_run_after_the_upgrade_changes_and_restarts_nothing(nodes):
    before = nodes.processes()
    assert playbook_changes("site", "-e", "platform_cloud=false") == 0
    assert nodes.processes() == before

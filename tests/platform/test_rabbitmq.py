"""RabbitMQ on the running platform: faults and operations under load, through HAProxy.

Every message that was confirmed comes to the consumer afterwards; some may come twice. The times are recorded in
bench/results/, not asserted.
"""

from __future__ import annotations

import json

import pytest
import rabbitmq_faults as faults
from operations import cut_off
from rabbitmq_ledger import UNIT, Ledger
from results import record
from running import playbook_changes, tiers

from lab import endpoints

pytestmark = pytest.mark.long
QUEUES = {"trade-notices", "failed-orders", "dead-letters"}


@pytest.fixture(scope="module")
def queues(platform):
    found = faults.Queues(platform)
    found.rabbitmq.wait_until_well()
    return found


def passed(outcome):
    """Note an outcome, and require what must hold."""
    record(faults.RESULTS, outcome)
    faults.assert_nothing_lost(outcome)


def test_a_client_publishes_and_gets_through_the_edge(queues):
    with endpoints.resolved(queues.rabbitmq.names()):
        assert endpoints.rabbitmq_publish_and_get(queues.rabbitmq.connect()) > 0


@pytest.mark.parametrize("name", faults.FAULTS)
def test_confirmed_messages_survive(queues, name):
    passed(faults.run_fault(queues, name))


@pytest.mark.parametrize("name", faults.OPERATIONS)
def test_confirmed_messages_survive_an_operation(queues, name):
    passed(faults.run_operation(queues, name))
    assert faults.replicas(queues) == {3}


def test_a_run_after_faults_and_operations_changes_and_restarts_nothing(queues):
    before = {slot: queues.platform.main_pids(slot, [UNIT]) for slot in queues.rabbitmq.members}
    assert playbook_changes("rabbitmq") == 0
    assert {slot: queues.platform.main_pids(slot, [UNIT]) for slot in queues.rabbitmq.members} == before


def test_five_members_and_three_again(queues):
    three = list(queues.rabbitmq.members)
    tier = three[0].rpartition("-")[0]
    more = [f"{tier}-4", f"{tier}-5"]
    arguments = ["-e", tiers("rabbitmq", count=5)]
    with faults.under_load(queues, "growing from three RabbitMQ members to five") as (_ledger, run):
        playbook_changes("provision", *arguments)
        cut_off("site", ["-e", "platform_cloud=false", *arguments], "start | Start RabbitMQ", 1)
        playbook_changes("site", "-e", "platform_cloud=false", *arguments)
        queues.platform.refresh()
        queues.refresh()
    passed(run["outcome"])
    assert list(queues.rabbitmq.members) == [*three, *more]
    assert faults.replicas(queues) == {5}
    leave = json.dumps({"platform_remove": more, "platform_confirm": more})
    with faults.under_load(queues, "removing two of five RabbitMQ members") as (_ledger, run):
        cut_off("remove_nodes", ["-e", leave], "leave | Let the cluster forget it", 1)
        playbook_changes("remove_nodes", "-e", leave)
        queues.platform.refresh()
        queues.refresh()
    passed(run["outcome"])
    assert list(queues.rabbitmq.members) == three
    assert faults.replicas(queues) == {3}
    assert playbook_changes("rabbitmq") == 0


def test_upgrade_finds_nothing_newer_and_changes_nothing(queues):
    """Whether or not the upgrade above has run, all members have one version, and it is the newest that they see."""
    assert playbook_changes("upgrade_rabbitmq") == 0
    assert len(faults.versions(queues)) == 1


def test_definitions_come_back_into_an_empty_cluster(queues):
    """All volumes are emptied; what the backup held is there again, and a run finds nothing to do."""
    rabbitmq = queues.rabbitmq
    work_through(queues)
    playbook_changes("backup_rabbitmq")
    for line in (f"systemctl stop {UNIT}", f"rm -rf {faults.VOLUME}/mnesia/* {faults.VOLUME}/identity.json"):
        for slot in rabbitmq.members:
            queues.platform.shell(slot, line, 180)
    playbook_changes("rabbitmq", "-e", json.dumps({"rabbitmq_vhosts": [], "rabbitmq_users": []}))
    wanted = json.dumps({"rabbitmq_restore": {"key": "latest", "confirm": queues.platform.name}})
    cut_off("restore_rabbitmq", ["-e", wanted], "restore | Bring the definitions back", 1)
    playbook_changes("restore_rabbitmq", "-e", wanted)
    assert playbook_changes("restore_rabbitmq", "-e", wanted) == 0, "what was restored is restored no second time"
    assert set(rabbitmq.queues()) == QUEUES
    assert faults.replicas(queues) == {3}
    assert playbook_changes("rabbitmq") == 0
    work_through(queues)


def work_through(queues):
    """Publish and consume some messages."""
    with endpoints.resolved(queues.rabbitmq.names()), Ledger(queues.rabbitmq) as run:
        faults.wait_for(lambda: run.publishing_since(0, 5), 30, "the clients publish")
        run.settle()
    assert run.missing() == []

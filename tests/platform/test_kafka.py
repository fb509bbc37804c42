"""Kafka on the running platform: faults and operations under load.

Every acknowledged message is read afterwards, and in order within its partition. The times are recorded in
bench/results/, not asserted.
"""

from __future__ import annotations

import json

import kafka_faults as faults
import pytest
from operations import cut_off
from results import record
from running import playbook_changes, tiers

pytestmark = pytest.mark.long
OLD = "4.2.1"


@pytest.fixture(scope="module")
def events(platform, tmp_path_factory):
    found = faults.Events(platform, tmp_path_factory.mktemp("kafka"))
    found.wait_until_well()
    return found


def passed(outcome):
    """Note an outcome, and require what must hold."""
    record(faults.RESULTS, outcome)
    faults.assert_nothing_lost(outcome)


@pytest.mark.parametrize("name", faults.FAULTS)
def test_acknowledged_messages_survive(events, name):
    passed(faults.run_fault(events, name))


@pytest.mark.parametrize("name", faults.OPERATIONS)
def test_acknowledged_messages_survive_an_operation(events, name):
    passed(faults.run_operation(events, name))


def test_a_run_after_faults_and_operations_changes_and_restarts_nothing(events):
    before = {slot: events.platform.main_pids(slot, ["kafka"]) for slot in events.kafka.members}
    assert playbook_changes("kafka") == 0
    assert {slot: events.platform.main_pids(slot, ["kafka"]) for slot in events.kafka.members} == before


def test_five_members_and_three_again(events):
    """Brokers and controllers; the active controller is among those that leave."""
    three = list(events.kafka.members)
    tier = three[0].rpartition("-")[0]
    more = [f"{tier}-4", f"{tier}-5"]
    five = json.dumps({"kafka_controllers": [*three, *more]})
    arguments = ["-e", tiers("kafka", count=5), "-e", five]
    with faults.under_load(events, "growing from three members to five") as run:
        playbook_changes("provision", *arguments)
        cut_off("site", ["-e", "platform_cloud=false", *arguments], "quorum | Add and remove voters", 1)
        playbook_changes("site", "-e", "platform_cloud=false", *arguments)
        events.refresh()
        slow = [*arguments, "-e", "kafka_throttle=2000"]
        cut_off("reassign_kafka", slow, "reassign | Move replicas", 1, seconds=8)
        playbook_changes("reassign_kafka", *arguments)
    passed(run["outcome"])
    assert list(events.kafka.members) == [*three, *more]
    assert playbook_changes("reassign_kafka", *arguments) == 0
    assert playbook_changes("kafka", *arguments) == 0
    let_lead(events, more)
    leave = json.dumps({"platform_remove": more, "platform_confirm": more})
    with faults.under_load(events, "removing two of five, one the active controller") as run:
        cut_off("remove_nodes", ["-e", leave], "quorum | Add and remove voters", 1)
        playbook_changes("remove_nodes", "-e", leave)
        events.refresh()
    passed(run["outcome"])
    assert list(events.kafka.members) == three
    assert playbook_changes("kafka") == 0


def let_lead(events, wanted):
    """Restart active controllers until one of some members is it."""
    for _try in range(12):
        active = events.active_controller()
        if active in wanted:
            return
        events.platform.shell(active, "systemctl restart kafka", 120)
        events.wait_until_well()
    raise AssertionError(f"none of {wanted} became the active controller")


def test_a_controller_apart_from_the_brokers(events):
    """Roles of their own: here one controller and two brokers."""
    first, *rest = events.kafka.members
    roles = ["-e", json.dumps({"kafka_controllers": [first], "kafka_brokers": rest})]
    events.wipe()
    try:
        playbook_changes("kafka", *roles)
        assert playbook_changes("kafka", *roles) == 0
        events.apart = {first}
        assert events.active_controller() == first
        with faults.under_load(events, "leader killed beside a controller of its own") as run:
            leader = events.leader(run["writer"])
            assert leader != first
            events.kill(leader)
            playbook_changes("rolling_restart_kafka", *roles)
        passed(run["outcome"])
    finally:
        events.apart = set()
        events.wipe()
        playbook_changes("kafka")


def test_upgrade_and_then_its_features(events):
    """On a cluster that the older release has made: one of the newer one cannot become that."""
    events.wipe()
    playbook_changes("kafka", "-e", f"kafka_version={OLD}")
    assert {events.release(slot) for slot in events.kafka.members} == {OLD}
    with faults.under_load(events, "upgrade from 4.2 to 4.3") as run:
        cut_off("upgrade_kafka", [], "health | Wait until this member is well", 3)
        playbook_changes("upgrade_kafka")
    passed(run["outcome"])
    (new,) = {events.release(slot) for slot in events.kafka.members}
    assert new > OLD
    with faults.under_load(events, "raising the feature levels") as run:
        assert playbook_changes("upgrade_kafka", "-e", "kafka_finish=true") == 1
    passed(run["outcome"])
    assert playbook_changes("upgrade_kafka", "-e", "kafka_finish=true") == 0

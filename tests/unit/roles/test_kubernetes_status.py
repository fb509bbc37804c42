"""What verify_kubernetes.yml shows of a cluster, with answers of modules in place of hosts."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.unit.plugins.filter import test_kubernetes_status as cases
from tests.unit.roles import playing

TASKS = playing.ROOT / "roles/kubernetes/tasks/status.yml"
PLAYBOOK = playing.ROOT / "playbooks/verify_kubernetes.yml"
SHOWN = {
    "selfhosted.ec2.kubernetes_cluster_info": {"__kubernetes_view": "{{ view }}"},
    "selfhosted.ec2.etcd_cluster_info": {"__kubernetes_etcd_now": "{{ etcd }}"},
}


def tasks():
    """The tasks of the role with answers that are given, and what the playbook does with them."""
    found = yaml.safe_load(TASKS.read_text())
    for task in found:
        for module, facts in SHOWN.items():
            if task.pop(module, None):
                task.pop("register")
                task["ansible.builtin.set_fact"] = facts
    (play,) = yaml.safe_load(PLAYBOOK.read_text())
    lost = {"ansible.builtin.fail": {"msg": "away"}, "when": "inventory_hostname == lost"}
    # As the play has it; a host that is lost does not end it.
    judged = {
        "block": [{"ansible.builtin.command": "{{ benchmark }}", "changed_when": False}],
        "always": play["tasks"][-1]["always"],
    }
    return play["any_errors_fatal"], [lost, *found, {**judged, "check_mode": False}]


def play(
    path, lost="", check=False, benchmark="true", listed="echo kubernetes/etcd/2026-11-30T00-25-09Z.db", **changes
):
    program = path / "backup"
    program.write_text(f"#!/bin/sh\n{listed}\n")
    program.chmod(0o755)
    views = {slot: {**cases.view(slot), **changes.get(slot.replace("-", "_"), {})} for slot in cases.MEMBERS}
    settings = {
        "ansible_connection": "local",
        "lost": lost,
        "benchmark": benchmark,
        "platform_name": "trading",
        "etcd": cases.etcd([f"ip-{slot}" for slot in cases.CONTROL]),
        "kubernetes_members": cases.MEMBERS,
        "kubernetes_control_planes": cases.CONTROL,
        "__kubernetes_config_hash": "hash",
        "__kubernetes_backup": {"enabled": True, "bucket": "backups"},
        "__kubernetes_backup_script": str(program),
    }
    hosts = {slot: {**settings, "view": found} for slot, found in views.items()}
    fatal, played = tasks()
    plays = [{"hosts": "all", "gather_facts": False, "any_errors_fatal": fatal, "tasks": played}]
    code, said = playing.run(path, plays, {"all": {"hosts": hosts}}, *(["--check"] if check else []))
    return code, " ".join(said.split())


@pytest.mark.parametrize("check", [False, True])
def test_a_cluster_that_is_well_is_shown_and_nothing_changes(tmp_path, check):
    code, said = play(tmp_path, check=check)
    assert code == 0, said
    assert json.dumps("nodes: 4 of 4 are ready") in said and "S3, backups 28 minutes old" in said
    assert "wrong: nothing" in said and said.count("changed=0") == len(cases.MEMBERS)


def test_a_control_plane_that_is_lost_and_a_bucket_that_is_not_read_are_in_one_sentence(tmp_path):
    """Another control plane asks etcd and lists the backups."""
    code, said = play(tmp_path, lost="control-1", listed="echo no rights >&2; exit 1")
    assert code != 0
    assert (
        "of trading is not well: control-1 could not be read; the backups in backups cannot be listed (no rights)."
        in said
    )


def test_what_is_wrong_is_told_where_it_keeps_the_benchmark_from_its_answer(tmp_path):
    code, said = play(tmp_path, benchmark="false", workers_1={"kubelet": "Connection refused"})
    assert code != 0
    assert "is not well: the kubelet of workers-1 does not answer (Connection refused)." in said


def test_workers_alone_are_told_as_well(tmp_path):
    code, said = play(
        tmp_path, control_1={"finished": False}, control_2={"finished": False}, control_3={"finished": False}
    )
    assert code != 0 and "etcd could not be asked" in said and "the start of control-3 was cut off" in said

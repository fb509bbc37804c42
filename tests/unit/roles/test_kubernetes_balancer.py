"""When a Network Load Balancer before the API leaves a control plane out."""

from __future__ import annotations

import pytest
import yaml

from tests.unit.roles import playing

TASKS = playing.ROOT / "roles/kubernetes/tasks"


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        # A drain that a budget refuses gives the node back, which then goes on serving the API.
        ("leave", "Take the pods from it", "Take its member out of etcd"),
        ("roll", "Say how kubeadm shall do it, and which parts start anew", "Change it, or leave it as it was"),
        ("upgrade_parts", "Say how kubeadm shall do it, and that it has begun", "Upgrade the control plane"),
    ],
)
def test_it_leaves_one_out_when_it_is_sure_to_go(file, before, after):
    tasks = yaml.safe_load((TASKS / f"{file}.yml").read_text())
    names = [task["name"].partition(" | ")[2] for task in tasks]
    place = next(i for i, task in enumerate(tasks) if (task.get("vars") or {}).get("__kubernetes_target_state"))
    assert names.index(before) < place < names.index(after)
    assert tasks[place]["vars"]["__kubernetes_target_state"] == "deregistered"

"""What is asked, left out and saved before a host of Kubernetes leaves its cluster."""

from __future__ import annotations

import pytest
import yaml

from tests.unit.roles import playing

TASKS = playing.ROOT / "roles/kubernetes/tasks"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
OTHER, OWN = "ip-10-20-0-5.eu-west-1.compute.internal", "ip-10-20-0-4.eu-west-1.compute.internal"


def tasks(name):
    return yaml.safe_load((TASKS / f"{name}.yml").read_text())


@pytest.mark.parametrize(
    ("running", "nodes", "members", "external", "said"),
    [
        (["control-2"], [OTHER], [OTHER], False, ""),
        (["control-2"], [OTHER], None, True, ""),
        (["control-2"], [OTHER, OWN], [OTHER], False, "does not say that the cluster has let control-1 go"),
        (["control-2"], [OTHER], [OTHER, OWN], False, "does not say that the cluster has let control-1 go"),
        # Nobody could be asked: that is no leave.
        (["control-2"], [], [OTHER], False, "does not say that the cluster has let control-1 go"),
        (["control-2"], [OTHER], [], False, "does not say that the cluster has let control-1 go"),
        ([], [OTHER], [OTHER], False, "No other control plane runs, so nobody can take control-1 from the cluster"),
    ],
)
def test_a_host_that_the_cluster_counts_on_is_not_wiped(tmp_path, running, nodes, members, external, said):
    (block,) = tasks("left")
    asked = [task for task in block["block"] if "ansible.builtin.assert" in task]
    assert len(asked) == 2
    variables = {
        "kubernetes_control_planes": ["control-1", "control-2"],
        "kubernetes_remove": "",
        "kubernetes_node_name": OWN,
        "__kubernetes_slot": "{{ inventory_hostname }}",
        "__kubernetes_etcd_external": external,
        "__kubernetes_remaining": {"nodes": dict.fromkeys(nodes, {})},
        "__kubernetes_remaining_members": {"skipped": True} if members is None else {"listed": members_of(members)},
    }
    settings = yaml.safe_load((playing.ROOT / "roles/kubernetes/vars/main.yml").read_text())
    variables |= {name: settings[name] for name in ("__kubernetes_leaving", "__kubernetes_staying")}
    hosts = dict.fromkeys(["control-1", "control-2"], LOCAL)
    state = {"hosts": dict.fromkeys(["control-1", *running], {})}
    play = {"hosts": "control-1", "gather_facts": False, "vars": variables, "tasks": [dict(block, block=asked)]}
    inventory = {"all": {"hosts": hosts, "children": {"state_running": state}}}
    code, text = playing.run(tmp_path, [play], inventory)
    assert (code != 0) is bool(said) and said in " ".join(text.split()), text


def members_of(names):
    return [{"name": name} for name in names]


def test_it_is_asked_before_anything_of_it_is_undone():
    first = tasks("forget")[0]
    assert first["ansible.builtin.import_tasks"] == "left.yml"

"""What is asked, left out and saved before a host of Kubernetes leaves its cluster."""

from __future__ import annotations

import json
import socket
import threading

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


class Balancer:
    """The runtime socket of a HAProxy that has two services of Kubernetes and another one; keeps what it is told."""

    SERVERS = (("kubernetes", "control-1"), ("kubernetes", "control-2"), ("redis", "control-1"))

    def __init__(self, path):
        self.state = dict.fromkeys(self.SERVERS, 0)
        self.orders = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            link, _address = self._socket.accept()
            with link:
                link.sendall(self._answer(link.recv(4096).decode().strip()).encode())

    def _answer(self, command):
        if command.startswith("show stat"):
            rows = [f"{service},{server},UP,L7OK,200,0" for service, server in self.SERVERS]
            return "\n".join(["# pxname,svname,status,check_status,check_code,scur", *rows])
        if command == "show servers state":
            rows = [f"1 {service} 1 {server} 10.0.0.1 2 {bits}" for (service, server), bits in self.state.items()]
            return "\n".join(["1", *rows])
        self.orders.append(command)
        words = command.split()
        self.state[tuple(words[2].split("/"))] = {"drain": 8, "ready": 0}[words[4]]
        return ""


@pytest.mark.parametrize(
    ("operation", "drained", "leaving", "keep", "orders"),
    [
        ("leave", True, "control-1", "", ["drain"]),
        # A budget that keeps its pods: the node is given back, and so is what HAProxy sends there.
        ("leave", False, "control-1", "", ["drain", "ready"]),
        # The slot has its new instance already.
        ("leave", True, "control-1", OWN, []),
        # Not described any more: haproxy.yml has left it out.
        ("leave", True, "control-4", "", []),
        ("upgrade_node", True, "control-1", "", ["drain"]),
        ("upgrade_node", False, "control-1", "", ["drain", "ready"]),
    ],
)
def test_haproxy_leaves_a_node_out_before_it_loses_its_pods(tmp_path, operation, drained, leaving, keep, orders):
    balancer = Balancer(tmp_path / "admin.sock")
    (tmp_path / "edge.yml").write_text((TASKS / "edge.yml").read_text())
    begun = tasks("drain")
    assert "selfhosted.ec2.kubernetes_node" in begun[0]["block"][1]
    begun[0]["block"][1] = {
        "name": "Evict",
        "ansible.builtin.assert": {"that": str(drained), "fail_msg": "A budget keeps its pods."},
    }
    (tmp_path / "drain.yml").write_text(yaml.safe_dump(begun))
    variables = {
        "kubernetes_keep_node": keep,
        **({"__kubernetes_leaving": leaving} if operation == "leave" else {"__kubernetes_slot": leaving}),
        "__kubernetes_is_control_plane": False,
        "__kubernetes_leaving_is_control_plane": True,
        "__haproxy_socket": str(tmp_path / "admin.sock"),
        "__haproxy_state_command": "/bin/true",
    }
    (given,) = (task["vars"] for task in tasks(operation) if task.get("ansible.builtin.include_tasks") == "drain.yml")
    include = {
        "ansible.builtin.include_tasks": {"file": "drain.yml", "apply": {"run_once": True}},
        "run_once": True,
        "vars": given,
    }
    after = {"ansible.builtin.debug": {"msg": "WENT ON"}}
    play = {"hosts": "control-2,control-3", "gather_facts": False, "any_errors_fatal": True, "tasks": [include, after]}
    # The second one of the pair does not answer.
    dead = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts = {f"control-{number}": {**LOCAL, "ec2_private_dns": OWN} for number in (1, 2, 3, 4)}
    hosts |= {"edge-1": LOCAL, "edge-2": dead}
    children = {
        "haproxy": {"hosts": {"edge-1": {}, "edge-2": {}}},
        "state_running": {"hosts": dict.fromkeys(hosts, {})},
    }
    inventory = {"all": {"hosts": hosts, "children": children}}
    code, said = playing.run(tmp_path, [play], inventory, "-e", json.dumps(variables))
    assert balancer.orders == [f"set server kubernetes/control-1 state {state}" for state in orders], said
    assert (code == 0) is drained and ("WENT ON" in said) is drained, said
    assert drained or "A budget keeps its pods." in said


@pytest.mark.parametrize("answers", [True, False])
def test_a_host_that_does_not_answer_has_left_and_one_that_fails_ends_the_run(tmp_path, answers):
    """Ansible counts an ignored host that does not answer as failed where a task runs once or all errors are fatal."""
    (block,) = (task for task in tasks("leave") if task["name"] == "leave | End its kubelet")
    if answers:
        del block["block"][0]["selfhosted.ec2.pending_restarts"]
        block["block"][0]["ansible.builtin.command"] = "false"
    (tmp_path / "leave.yml").write_text(yaml.safe_dump([block]))
    include = {"ansible.builtin.include_tasks": {"file": "leave.yml", "apply": {"run_once": True}}, "run_once": True}
    play = {
        "hosts": "control-2,control-3",
        "gather_facts": False,
        "any_errors_fatal": True,
        "vars": {"__kubernetes_leaving": "control-1", "kubernetes_keep_node": ""},
        "tasks": [include],
    }
    after = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": "WENT ON"}}]}
    dead = {} if answers else {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts = {f"control-{number}": {**LOCAL, "ec2_private_dns": OWN} for number in (1, 2, 3)}
    hosts["control-1"] |= dead
    inventory = {"all": {"hosts": hosts, "children": {"state_running": {"hosts": dict.fromkeys(hosts, {})}}}}
    code, said = playing.run(tmp_path, [play, after], inventory)
    assert (code != 0) is answers and ("WENT ON" in said) is not answers, said


def saving(path, play, *arguments):
    """Play tasks on three control planes, where a program notes who saves, and then a play that says so."""
    for name in ("backup_first", "backup"):
        (path / f"{name}.yml").write_text((TASKS / f"{name}.yml").read_text())
    after = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": "WENT ON"}}]}
    hosts = {f"control-{number}": LOCAL for number in (1, 2, 3)}
    head = {"gather_facts": False, "any_errors_fatal": True}
    return playing.run(path, [{**head, **play}, after], {"all": {"hosts": hosts}}, *arguments)


def backup_program(path, good):
    program = path / "save"
    end = "echo '{}'" if good else "echo The bucket does not answer. >&2; exit 1"
    program.write_text(f'#!/bin/sh\necho "$*" >> {path}/saved\n{end}\n')
    program.chmod(0o755)
    return str(program)


def saved(path):
    return (path / "saved").read_text().splitlines() if (path / "saved").exists() else []


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("leaves", [True, False])
def test_etcd_is_saved_once_before_control_planes_leave(tmp_path, good, leaves):
    """A backup that fails is said, and does not keep a repair from being done."""
    (task,) = (task for task in tasks("leave") if task.get("ansible.builtin.include_tasks") == "backup_first.yml")
    (tmp_path / "leave.yml").write_text(yaml.safe_dump([task]))
    variables = {
        "__kubernetes_backup_script": backup_program(tmp_path, good),
        "__kubernetes_leaving_is_control_plane": leaves,
    }
    include = {"ansible.builtin.include_tasks": {"file": "leave.yml", "apply": {"run_once": True}}, "run_once": True}
    play = {
        "hosts": "control-2,control-3",
        "vars": variables,
        "tasks": [{**include, "loop": ["control-1", "control-4"]}],
    }
    code, said = saving(tmp_path, play)
    assert code == 0 and said.count("WENT ON") == 3, said
    assert saved(tmp_path) == (["save --copied"] if leaves else []), said
    unsaved = "etcd was not saved before this change (The bucket does not answer.)"
    assert (unsaved in " ".join(said.split())) is (leaves and not good)


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize(("ready", "host"), [(["control-2", "control-3"], "control-2"), ([], "control-1")])
def test_etcd_is_saved_on_one_that_is_ready_before_control_planes_are_rolled(tmp_path, good, ready, host):
    plays = yaml.safe_load((playing.ROOT / "playbooks/kubernetes.yml").read_text())
    place = next(n for n, play in enumerate(plays) if "backup_first" in str(play))
    assert plays[place]["hosts"] == "kubernetes_do_roll_control_plane"
    # What the cluster is told is in the backup as it was before.
    assert place < next(n for n, play in enumerate(plays) if "'tell'" in str(play))
    (task,) = plays[place]["tasks"]
    assert task.pop("ansible.builtin.include_role")["tasks_from"] == "backup_first"
    task["ansible.builtin.include_tasks"] = "backup_first.yml"
    view = {"ansible.builtin.set_fact": {"__kubernetes_view": {"ready": ready}}}
    play = {
        "hosts": "all",
        "vars": {"__kubernetes_backup_script": backup_program(tmp_path, good)},
        "tasks": [view, task],
    }
    code, said = saving(tmp_path, play)
    assert code == 0 and said.count("WENT ON") == 3, said
    assert saved(tmp_path) == ["save --copied"] and f"backup_first.yml for {host}\n" in said, said
    (tmp_path / "saved").unlink()
    assert saving(tmp_path, play, "--check")[0] == 0
    assert saved(tmp_path) == []


@pytest.mark.parametrize("rotation", ["rotate_encryption_key_kubernetes", "rotate_authorities_kubernetes"])
def test_etcd_is_saved_before_a_rotation_changes_anything(rotation):
    """After the plan, which refuses, and before the first play that touches a host."""
    _plan, save, *rest = yaml.safe_load((playing.ROOT / f"playbooks/{rotation}.yml").read_text())
    assert save["ansible.builtin.import_playbook"] == "backup_kubernetes.yml"
    assert save["when"] == "not ansible_check_mode" and "backup_kubernetes" not in str(rest)

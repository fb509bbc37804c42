"""Tasks of role kubernetes where a run was cut off, played on directories in place of hosts."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.unit.roles import playing

TASKS = playing.ROOT / "roles/kubernetes/tasks"
ON_THIS_MACHINE = {"localhost": {"ansible_connection": "local"}}


def play(path, tasks, **variables):
    """Play tasks, a text with YAML; return what was said."""
    plays = [{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": yaml.safe_load(tasks)}]
    code, said = playing.run(path, plays, {"all": {"hosts": ON_THIS_MACHINE}})
    assert code == 0, said
    return said


def text(name, path):
    """The tasks of a file, with paths of a host moved into a directory."""
    found = (TASKS / f"{name}.yml").read_text()
    return found.replace("/var/lib/kubelet", f"{path}/kubelet").replace("/usr/local/bin", f"{path}/bin")


@pytest.mark.parametrize(("applied", "left"), [([], False), (["hash"], False), (["hash", "restart"], True)])
def test_only_what_a_change_that_was_cut_off_has_kept_counts(tmp_path, applied, left):
    """Else a change months later would be taken back to what ran before an upgrade."""
    before = tmp_path / "before"
    before.mkdir()
    (before / "index.json").write_text("[]")
    play(tmp_path, text("stale", tmp_path), __kubernetes_before=str(before), __kubernetes_view={"applied": applied})
    assert before.exists() is left


@pytest.mark.parametrize("task", ["roll", "rotate_key_step", "rotate_authorities_step"])
def test_it_is_forgotten_before_a_change_keeps_its_own(task):
    tasks = yaml.safe_load((TASKS / f"{task}.yml").read_text())
    kept = next(n for n, item in enumerate(tasks) if item.get("selfhosted.ec2.kept_files", {}).get("state") == "kept")
    assert tasks[kept - 1]["ansible.builtin.import_tasks"] == "stale.yml"


@pytest.mark.parametrize("is_volume", [True, False])
@pytest.mark.parametrize("cut_off", [True, False])
def test_a_reset_leaves_the_file_that_says_whose_volume_it_is(tmp_path, is_volume, cut_off):
    kubelet, base, programs = (tmp_path / name for name in ("kubelet", "base", "bin"))
    for directory in (kubelet, base, programs):
        directory.mkdir()
    identity = kubelet / ".volume-identity"
    if is_volume:
        identity.write_text("trading control-1 kubelet")
    (kubelet / "config.yaml").write_text("x")
    kubeadm = programs / "kubeadm"
    kubeadm.write_text(f'#!/bin/sh\n[ "$1" = reset ] && find {kubelet} -mindepth 1 -delete\n')
    kubeadm.chmod(0o755)
    tasks = text("undo", tmp_path).replace("[kubeadm, reset", f"[{kubeadm}, reset")
    variables = {"__kubernetes_base": str(base), "__kubernetes_socket": "unix:///run/containerd/containerd.sock"}
    if cut_off:
        play(tmp_path, json.dumps(yaml.safe_load(tasks)[:2]), **variables)
        assert not identity.exists()
    play(tmp_path, tasks, **variables)
    assert not (kubelet / "config.yaml").exists() and list(base.iterdir()) == []
    assert identity.exists() is is_volume
    assert not is_volume or identity.read_text() == "trading control-1 kubelet"


def test_a_token_that_nobody_can_delete_just_then_does_not_end_the_join(tmp_path):
    """Right after a join no API server may answer; to whom a task is delegated is asked even where it is skipped."""
    tasks = yaml.safe_load((TASKS / "join.yml").read_text())
    (block,) = (item for item in tasks if "always" in item)
    (delete,) = (item for item in block["always"] if item["name"] == "join | Delete the token")
    said = play(tmp_path, json.dumps([delete]), __kubernetes_ready=[])
    assert "skipping: [localhost]" in said


def test_the_kubelet_of_a_node_starts_with_its_host_also_where_it_runs_already():
    """A join that kubeadm ended after its run had been cut off leaves one that runs and is not enabled."""
    tasks = yaml.safe_load((TASKS / "service.yml").read_text())
    (run,) = (item for item in tasks if item["name"] == "service | Run the kubelet of a node")
    assert run["ansible.builtin.systemd_service"] == {"name": "kubelet", "state": "started", "enabled": True}
    assert run["when"] == [
        "__kubernetes_start.state in ['keep', 'adopt']",
        "'kubelet' not in __kubernetes_units.running or 'kubelet' in __kubernetes_units.disabled",
    ]


@pytest.mark.parametrize("ready", [["control-1", "control-2"], ["control-2"]])
def test_while_parts_change_the_kubelet_asks_other_api_servers_and_its_next_start_leads_it_home(tmp_path, ready):
    """Else the object of the former etcd is taken away half a minute late, and the new one starts after that."""
    kubeconfig = tmp_path / "kubelet.conf"
    kubeconfig.write_text("clusters:\n- cluster:\n    server: https://10.20.0.9:6443\n  name: lab\n")
    tasks = [task for task in yaml.safe_load((TASKS / "detour.yml").read_text()) if "health.yml" not in str(task)]
    (start,) = (task for task in tasks if "ansible.builtin.systemd_service" in task)
    assert start.pop("ansible.builtin.systemd_service")["state"] == "restarted"
    start["ansible.builtin.command"] = f"cp {kubeconfig} {tmp_path}/started"
    settings = yaml.safe_load((playing.ROOT / "roles/kubernetes/vars/main.yml").read_text())
    play(
        tmp_path,
        json.dumps(tasks),
        __kubernetes_directory=str(tmp_path),
        __kubernetes_detour=settings["__kubernetes_detour"],
        __kubernetes_slot="control-1",
        __kubernetes_view={"ready": ready, "applied": ["hash"]},
        __kubernetes_port=6443,
        kubernetes_control_planes=["control-1", "control-2", "control-3"],
        kubernetes_endpoint="kubernetes.lab.internal",
        ec2_private_ip="10.20.0.4",
    )
    assert "    server: https://10.20.0.4:6443\n" in kubeconfig.read_text()
    started = tmp_path / "started"
    assert started.exists() is ("control-1" in ready)
    assert not started.exists() or "    server: https://kubernetes.lab.internal:6443\n" in started.read_text()

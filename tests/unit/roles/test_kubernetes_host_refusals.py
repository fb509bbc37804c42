"""What is refused only when a host was asked: each in one plain sentence. Hosts are directories, one for each case."""

from __future__ import annotations

import json
import socket

import pytest
import yaml

from tests.unit.roles import playing

ROLES = playing.ROOT / "roles"
CONTAINERD = {"package": "", "cgroup_version": 2, "change_fault": ""}
CASES = {
    # By role containerd, of its host.
    "cgroup-1": ("containerd", {"__containerd_host": {**CONTAINERD, "cgroup_version": 1}}),
    "cgroup-1-allowed": (
        "containerd",
        {"__containerd_host": {**CONTAINERD, "cgroup_version": 1}, "containerd_allow_cgroup_v1": True},
    ),
    "cgroup-2": ("containerd", {"__containerd_host": CONTAINERD}),
    "package": ("containerd", {"__containerd_host": {**CONTAINERD, "package": "/usr/bin/containerd"}}),
    # A description that another cluster was made with, before it is told to this one.
    "other-services": ("upgrade", {"service_network": "172.21.0.0/16"}),
    # A control plane's files against the secrets.
    "other-keys": ("keys", {"content": "another one"}),
    "same-keys": ("keys", {"content": "the cluster's"}),
    "rotation-cut-off": ("keys", {"content": "another one", "applied": ["hash", "authorities"]}),
    "joining": ("keys", {"content": "another one", "state": "join"}),
    # A new control plane in the middle of a rotation.
    "nobody-tells": ("told", {"told": [{"unreachable": True}, {"manifests": []}]}),
    "somebody-tells": ("told", {"told": [{"manifests": ["etcd"], "encryption": ["key1"], "authorities": ["a"]}]}),
    "no-rotation": ("told", {"told": [], "keys": ["key1"]}),
    "no-haproxy": ("endpoint", {"open": False}),
    "behind-haproxy": ("endpoint", {"open": True}),
}
SAID = {
    "cgroup-1": "The host has version 1 of the control groups, on which kubelets from 1.35 on do not start",
    "package": "/usr/bin/containerd is of a Debian package",
    "other-services": "kubernetes_service_network is 172.21.0.0/16, but other-services is a node of a cluster that was"
    " made with 172.20.0.0/16",
    "other-keys": "The platform's secrets are not those that the cluster of other-keys was made with: ",
    "nobody-tells": "No other control plane tells nobody-tells which keys of encryption and authorities the cluster"
    " uses, and the platform has 2 and 1;",
    "no-haproxy": "(kubernetes_endpoint) does not lead to HAProxy from no-haproxy; run provision.yml for its name",
}


def tasks(role, file, *names):
    """Tasks of a role by their names, as they stand there, in the order of the file."""
    found = yaml.safe_load((ROLES / role / "tasks" / f"{file}.yml").read_text())
    chosen = [task for task in found if task["name"].partition(" | ")[2] in names]
    assert len(chosen) == len(names)
    return chosen


def variables(host, path, ports):
    """What a host has of a case."""
    group, given = CASES[host]
    common = {"ansible_connection": "local", "__kubernetes_slot": host, "__kubernetes_is_control_plane": True}
    if group == "keys":
        own = path / host
        own.mkdir()
        (own / "ca.key").write_text("the cluster's")
        (own / "ca.key").chmod(0o600)
        kept = [{"dest": str(own / "ca.key"), "content": given["content"], "mode": "0600", "secret": True}]
        view = {"applied": given.get("applied", ["hash"])}
        start = {"state": given.get("state", "keep")}
        return {**common, "__kubernetes_kept_keys": kept, "__kubernetes_view": view, "__kubernetes_start": start}
    if group == "told":
        return {
            **common,
            "__kubernetes_start": {"state": "join"},
            "__kubernetes_view": {"ready": ["control-2"]},
            "__kubernetes_other_authorities": [],
            "__kubernetes_known_keys": given.get("keys", ["key1", "key2"]),
            "__kubernetes_known_authorities": ["a"],
            "__kubernetes_absent": {"results": given["told"]},
        }
    if group == "upgrade":
        view = {"finished": True, "made_with": {"service_network": "172.20.0.0/16"}}
        own = {"__kubernetes_plan": {"error": ""}, "__kubernetes_fixed": given, "kubernetes_network": "vpc_routes"}
        settings = yaml.safe_load((ROLES / "kubernetes/vars/main.yml").read_text())
        return {**common, **own, "__kubernetes_view": view, "__kubernetes_views": settings["__kubernetes_views"]}
    if group == "endpoint":
        own = {"kubernetes_endpoint": "127.0.0.1", "__kubernetes_port": ports[given["open"]], "__kubernetes_nlb": False}
        return {**common, **own}
    settings = yaml.safe_load((ROLES / "containerd/vars/main.yml").read_text())
    own = {"containerd_allow_cgroup_v1": False, "__containerd_refusal": settings["__containerd_refusal"]}
    return {**common, **own, **given}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What is said on each host, an empty text on one that goes on."""
    path = tmp_path_factory.mktemp("hosts")
    wait = tasks("kubernetes", "init", "Wait for HAProxy behind the endpoint's name")
    wait[0]["ansible.builtin.wait_for"]["timeout"] = 1
    played = {
        "containerd": tasks("containerd", "install", "Refuse a host that containers cannot run on"),
        "keys": tasks("kubernetes", "decide", "See whether the cluster was made with other keys", "Refuse other keys"),
        "told": tasks("kubernetes", "decide", "Take those that they have", "Refuse when nobody tells them"),
        "endpoint": wait,
        # The last play, since it ends with no host left.
        "upgrade": tasks("kubernetes", "upgrade_plan", "Refuse what cannot be done"),
    }
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as other:
        # Nobody listens at the other one.
        other.bind(("127.0.0.1", 0))
        ports = {True: server.getsockname()[1], False: other.getsockname()[1]}
        hosts = {host: variables(host, path, ports) for host in CASES}
        groups = {
            group: {"hosts": {host: {} for host, (own, _given) in CASES.items() if own == group}} for group in played
        }
        plays = [
            {"name": group, "hosts": group, "gather_facts": False, "tasks": found} for group, found in played.items()
        ]
        _code, text = playing.run(path, plays, {"all": {"hosts": hosts, "children": groups}})
    found = dict.fromkeys(CASES, "")
    for line in text.splitlines():
        if line.startswith("fatal: ["):
            host, _mark, result = line.removeprefix("fatal: [").partition("]: FAILED! => ")
            found[host] = json.loads(result)["msg"] if result.endswith("}") else result
    return found


@pytest.mark.parametrize("host", CASES)
def test_a_host_that_does_not_fit_is_refused_in_one_sentence(said, host):
    assert SAID.get(host, "") in said[host] and bool(said[host]) == (host in SAID), said[host]

"""The profile cis: what it adds to the role's own, what a user has his say in, and that nobody else sees a change."""

from __future__ import annotations

import copy

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_benchmark

from tests.unit.roles import playing
from tests.unit.roles import test_kubernetes_files as files

ROLE = playing.ROOT / "roles/kubernetes"
CIS = {"kubernetes_profile": "cis"}
OWN = {
    "kubernetes_api_server_args": {"anonymous-auth": "false", "enable-admission-plugins": "NodeRestriction"},
    "kubernetes_kubelet_config": {"protectKernelDefaults": False},
}
HOSTS = {
    "off": {"kubernetes_api_server_args": {}, "kubernetes_kubelet_config": {}},
    "on": {**CIS, "kubernetes_api_server_args": {}, "kubernetes_kubelet_config": {}},
    "own": {**CIS, **OWN},
    "own-file": {**CIS, "kubernetes_api_server_args": {"authentication-config": "/etc/kubernetes/platform/own.yaml"}},
    "taken-away": {**CIS, "kubernetes_api_server_args": {"tls-cipher-suites": None}},
}
DOCUMENTS = {
    "cluster": "__kubernetes_cluster_configuration",
    "kubelet": "__kubernetes_kubelet_config",
    "admission": "__kubernetes_admission",
    "authentication": "__kubernetes_authentication",
    "authentication_files": "__kubernetes_authentication_files",
    "cis_files": "__kubernetes_cis_files",
    "node_files": "__kubernetes_node_files",
    "patch": "__kubernetes_api_server_patch",
    "hash": "__kubernetes_config_hash",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Host to its documents and the lines of its kubelet's unit."""
    path = tmp_path_factory.mktemp("profile")
    planes = {"kubernetes_control_planes": ["{{ inventory_hostname }}"]}
    documents = {name: f"{{{{ {value} }}}}" for name, value in DOCUMENTS.items()}
    tasks = [{"ansible.builtin.set_fact": {"__kubernetes_release": files.RELEASE, **planes}}]
    return playing.write(path, ROLE, "kubelet.service.j2", documents, HOSTS, files.VARIABLES, tasks)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Host to the lines of the unit of its network."""
    path = tmp_path_factory.mktemp("network")
    sets = {name: HOSTS[name] for name in ("off", "on")}
    found = playing.write(path, ROLE, "network.service.j2", {"a": "b"}, sets, files.VARIABLES, [])
    return {host: documents["unit"] for host, documents in found.items()}


def arguments(written, host):
    return files.arguments(written[host]["cluster"]["apiServer"])


def file_of(entries, name):
    (found,) = [entry for entry in entries if entry["dest"].endswith(f"/{name}")]
    return found


def test_without_it_nothing_of_it_is_there(written, network):
    off = written["off"]
    names = {"authentication-config", "enable-admission-plugins", "tls-cipher-suites"}
    assert not names & set(arguments(written, "off"))
    assert not {"protectKernelDefaults", "tlsCipherSuites"} & set(off["kubelet"])
    assert off["authentication_files"] == [] and off["cis_files"] == []
    assert file_of(off["node_files"], "kubelet.service")["mode"] == "0644"
    assert not [line for line in off["unit"] if "chmod" in line]
    assert not [line for line in network["off"] if "kernel.conf" in line]


def test_it_is_a_change_of_arguments_and_settings_like_any_other(written):
    """So each host takes it by the gates, and takes it back where it does not become well."""
    assert written["off"]["hash"] != written["on"]["hash"]
    assert written["off"]["patch"] != written["on"]["patch"]
    found = arguments(written, "on")
    assert found["enable-admission-plugins"] == "NodeRestriction,EventRateLimit,DenyServiceExternalIPs"
    assert found["service-account-extend-token-expiration"] == "false"
    assert found["audit-log-maxage"] == "30" and found["profiling"] == "false"
    suites = found["tls-cipher-suites"].split(",")
    # Without one of these there is no HTTP/2 (RFC 9113, 9.2.2), and kubelets have it from the same list.
    assert "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" in suites
    assert set(suites) <= set(kubernetes_benchmark.STRONG_CIPHERS)
    assert written["on"]["kubelet"]["tlsCipherSuites"] == suites
    assert written["on"]["kubelet"]["protectKernelDefaults"] is True


def test_who_has_no_login_still_asks_whether_the_api_is_ready(written):
    """HAProxy, probes of kubeadm's manifests, the gate on a host that has not joined, and kubeadm before its join."""
    path = arguments(written, "on")["authentication-config"]
    entry = file_of(written["on"]["authentication_files"], "authentication.yaml")
    mounted = [volume["mountPath"] for volume in written["on"]["cluster"]["apiServer"]["extraVolumes"]]
    assert entry["dest"] == path and any(path.startswith(f"{place}/") for place in mounted)
    document = yaml.safe_load(entry["content"])
    assert (document["apiVersion"], document["kind"]) == (
        "apiserver.config.k8s.io/v1", "AuthenticationConfiguration",
    )  # fmt: skip
    paths = {condition["path"] for condition in document["anonymous"]["conditions"]}
    assert document["anonymous"]["enabled"] is True
    assert paths == {
        "/livez", "/readyz", "/healthz", "/version", "/api/v1/namespaces/kube-public/configmaps/cluster-info",
    }  # fmt: skip


def test_a_users_own_arguments_win(written):
    found = arguments(written, "own")
    # The API server takes only one of both.
    assert found["anonymous-auth"] == "false" and "authentication-config" not in found
    assert written["own"]["authentication_files"] == []
    assert found["enable-admission-plugins"] == "NodeRestriction"
    assert written["own"]["kubelet"]["protectKernelDefaults"] is False
    assert arguments(written, "own-file")["authentication-config"] == "/etc/kubernetes/platform/own.yaml"
    assert written["own-file"]["authentication_files"] == []
    assert "tls-cipher-suites" not in arguments(written, "taken-away")


def test_an_api_server_that_is_taken_back_finds_the_limits_that_it_needs(written):
    assert written["off"]["admission"] == written["on"]["admission"]
    (limits,) = [plugin for plugin in written["off"]["admission"]["plugins"] if plugin["name"] == "EventRateLimit"]
    assert limits["configuration"]["apiVersion"] == "eventratelimit.admission.k8s.io/v1alpha1"
    assert {limit["type"] for limit in limits["configuration"]["limits"]} == {"Namespace", "User"}


def test_the_kernel_is_as_the_kubelet_wants_it_before_it_starts(written, network):
    lines = file_of(written["on"]["cis_files"], "kernel.conf")["content"].splitlines()
    # k8s.io/component-helpers, node/util/sysctl
    assert dict(line.split(" = ") for line in lines) == {
        "vm.overcommit_memory": "1",
        "vm.panic_on_oom": "0",
        "kernel.panic": "10",
        "kernel.panic_on_oops": "1",
        "kernel.keys.root_maxkeys": "1000000",
        "kernel.keys.root_maxbytes": "25000000",
    }
    (line,) = [line for line in network["on"] if "kernel.conf" in line]
    assert line == "ExecStart=-/usr/sbin/sysctl --quiet --load=/etc/kubernetes/platform/kernel.conf"
    assert "Before=kubelet.service" in network["on"]


def test_the_kubelets_files_are_roots_alone(written):
    assert file_of(written["on"]["node_files"], "kubelet.service")["mode"] == "0600"
    more = set(written["on"]["unit"]) - set(written["off"]["unit"])
    assert "ExecStartPre=-/usr/bin/chmod 0600 /var/lib/kubelet/config.yaml" in more


def test_what_it_sets_is_what_the_check_list_asks_for(written):
    """What is described passes the judges of a host, but for what kubeadm and the kubelet add."""
    parts = written["on"]["cluster"]
    described = {
        "kube-apiserver": files.arguments(parts["apiServer"]),
        "kube-controller-manager": files.arguments(parts["controllerManager"]),
        "kube-scheduler": files.arguments(parts["scheduler"]),
    }
    facts = {"arguments": described, "kubelet": copy.deepcopy(written["on"]["kubelet"])}
    kinds = ("is", "not", "has", "lacks", "least", "ciphers", "kubelet")
    not_described = {
        "1.2.6", "1.2.7", "1.2.8", "1.3.3", "1.3.7", "1.4.2", "4.2.1", "4.2.2", "4.2.3", "4.2.5", "4.2.8",
    }  # fmt: skip
    wrong = []
    for control in kubernetes_benchmark.CONTROLS:
        kind, *words = control.check
        etcd = control.role == kubernetes_benchmark.ETCD
        if kind in kinds and not etcd and control.number not in not_described | set(kubernetes_benchmark.EXCEPTIONS):
            result, found = kubernetes_benchmark._JUDGES[kind](facts, *words)
            if result != kubernetes_benchmark.PASS:
                wrong.append((control.number, found))
    assert wrong == []


@pytest.mark.long
def test_the_results_of_all_hosts_are_shown_and_written_once(tmp_path):
    """The tasks after the modules, which stand-ins have answered here; a second page is the same."""
    control = {
        "number": "1.1.1", "title": "Mode", "level": 1, "automated": True, "role": "control plane", "how": "",
        "result": "fail", "found": "0644", "right": "0600", "reason": "",
    }  # fmt: skip
    place = {
        "controls": [control],
        "score": {"passed": 0, "failed": 1, "manual": 0, "not_applicable": 0, "excepted": 0, "percent": 0.0},
    }
    first, second, *rest = yaml.safe_load((ROLE / "tasks/benchmark.yml").read_text())
    assert first["run_once"] and first["delegate_to"] == "{{ __kubernetes_adviser }}"
    answers = {task["register"]: place for task in (first, second)}
    assert set(second["selfhosted.ec2.kubernetes_benchmark_info"]) - {"control_plane", "kubelet"} < set(
        first["selfhosted.ec2.kubernetes_benchmark_info"]
    )
    hosts = {name: {"ansible_connection": "local"} for name in ("control-1", "workers-1")}
    page = tmp_path / "page.html"
    given = {"platform_name": "trading", "kubernetes_benchmark_page": str(page)}
    play = {
        "name": "Show", "hosts": "all", "gather_facts": False, "vars": given,
        "tasks": [{"ansible.builtin.set_fact": answers}, *rest],
    }  # fmt: skip
    code, text = playing.run(tmp_path, [play], {"all": {"hosts": hosts}})
    assert code == 0, text
    for line in ("cluster: 0.0 of 100, 0 passed, 1 failed", "workers-1: 0.0 of 100", "all: 0.0 of 100"):
        assert line in text
    assert page.read_text().count("<td>cluster, control-1, workers-1</td>") == 1
    code, text = playing.run(tmp_path, [play], {"all": {"hosts": hosts}})
    assert code == 0 and "changed=1" not in text
    without = {**play, "vars": {**given, "kubernetes_benchmark_page": ""}}
    assert playing.run(tmp_path, [without], {"all": {"hosts": hosts}})[0] == 0

"""The module of the benchmark: which controls concern a host, and what a cluster is asked."""

from __future__ import annotations

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_benchmark as benchmark
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_benchmark_info as info

from tests.unit.plugins.module_utils import test_kubernetes_benchmark as cases

PARAMS = {
    "slot": "control-1",
    "members": {"control-1": "10.20.0.4"},
    "endpoint": "kubernetes.trading.internal",
    "ca": "x",
    "control_plane": True,
    "kubelet": {},
    "exceptions": {},
}


@pytest.fixture
def host(monkeypatch):
    """Stands for what a host tells; keeps the clients it was asked with."""
    asked = []

    def read(anonymous, kubelet):
        asked.append(anonymous)
        return {**cases.HOST, "kubelet": kubelet}

    monkeypatch.setattr(info.kubernetes_benchmark_facts, "read_host", read)
    monkeypatch.setattr(info.kubernetes, "Client", lambda *arguments: arguments)
    return asked


def test_a_control_plane_is_asked_without_a_certificate(host):
    controls, kubelets = info.judge_host(PARAMS)
    assert host == [("10.20.0.4", "kubernetes.trading.internal", "x")] and kubelets == {}
    assert {item["role"] for item in controls} == {benchmark.CONTROL_PLANE, benchmark.ETCD, benchmark.WORKER}


def test_a_worker_is_judged_as_one_alone(host):
    controls, _kubelets = info.judge_host({**PARAMS, "control_plane": False, "kubelet": cases.KUBELET})
    assert host == [None] and {item["role"] for item in controls} == {benchmark.WORKER}
    assert {item["result"] for item in controls} == {"pass"}


def test_a_cluster_tells_what_its_kubelets_run_with(monkeypatch):
    monkeypatch.setattr(info.kubernetes, "ready_client", lambda _params, timeout: cases.Api())
    controls, kubelets = info.judge_cluster(PARAMS)
    assert kubelets == {"well": cases.KUBELET}
    assert {item["role"] for item in controls} == {benchmark.POLICIES}

"""What a cluster tells its pods and new nodes of its authorities, and which workloads start anew."""

from __future__ import annotations

import base64
import copy

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_authorities as publishing


def pem(word):
    body = base64.b64encode(word.encode()).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


OLD, NEW, FRONT_OLD, FRONT_NEW = (pem(word) for word in ("old", "new", "front old", "front new"))
INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
AUTHENTICATION = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
SYSTEM = "/apis/apps/v1/namespaces/kube-system"


def kubeconfig(text):
    return f"clusters:\n- cluster:\n    certificate-authority-data: {base64.b64encode(text.encode()).decode()}\n"


def workload(name, **status):
    return {
        "metadata": {"name": name, "generation": 1},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}},
        "status": {"observedGeneration": 1, **status},
    }


WHOLE = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}


class Cluster:
    """An API whose controllers have done all that they are asked for, unless they are late."""

    def __init__(self):
        self.roots = {"default": OLD, "kube-system": OLD}
        self.objects = {
            INFO: {"data": {"kubeconfig": kubeconfig(OLD), "jws-kubeconfig-abc": "x"}},
            AUTHENTICATION: {"data": {"client-ca-file": OLD, "requestheader-client-ca-file": FRONT_OLD}},
        }
        self.kinds = {
            "deployments": [workload("coredns", **WHOLE)],
            "daemonsets": [
                workload("kube-proxy", desiredNumberScheduled=5, updatedNumberScheduled=5, numberAvailable=5)
            ],
            "statefulsets": [],
        }
        self.patched = []

    def call(self, method, path, body=None, content_type=None, missing_ok=False):
        if method == "PATCH":
            assert content_type == publishing.MERGE
            self.patched.append(path)
            if path in self.objects:
                self.objects[path]["data"].update(body["data"])
            else:
                kind, name = path.split("/")[-2:]
                (item,) = [item for item in self.kinds[kind] if item["metadata"]["name"] == name]
                item["spec"]["template"]["metadata"].update(body["spec"]["template"]["metadata"])
            return {}
        if path == "/api/v1/namespaces":
            gone = {"metadata": {"name": "gone", "deletionTimestamp": "now"}}
            return {"items": [*({"metadata": {"name": name}} for name in self.roots), gone]}
        if path == publishing.ROOTS:
            return {
                "items": [
                    {"metadata": {"namespace": name}, "data": {"ca.crt": text}} for name, text in self.roots.items()
                ]
            }
        if path.startswith(SYSTEM):
            return {"items": copy.deepcopy(self.kinds[path.rpartition("/")[2]])}
        return copy.deepcopy(self.objects.get(path)) if missing_ok else self.objects[path]

    def run(self, step, check_mode=False, **more):
        known = {"add": (OLD + NEW, FRONT_OLD + FRONT_NEW), "drop": (NEW, FRONT_NEW)}
        certificates, front_proxy = known.get(step, known["add"])
        params = {"certificates": certificates, "front_proxy": front_proxy, "rotation": "new", "step": step, "wait": 0}
        return publishing.run({**params, "namespaces": ["kube-system"], **more}, self, check_mode)

    def trusted(self):
        return authorities.trusted(self.objects[INFO]["data"]["kubeconfig"])


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(publishing, "PAUSE", 0)
    return Cluster()


def test_a_rotation_step_by_step(cluster):
    assert cluster.run("add", check_mode=True)["started"] == [
        "kube-system/daemonsets/kube-proxy",
        "kube-system/deployments/coredns",
    ]
    assert cluster.patched == []
    cluster.roots = dict.fromkeys(cluster.roots, OLD + NEW)
    found = cluster.run("add")
    assert found["written"] == ["cluster-info"] and len(found["started"]) == 2
    assert cluster.trusted() == authorities.names(OLD + NEW)
    assert cluster.objects[INFO]["data"]["jws-kubeconfig-abc"] == "x"
    assert not cluster.run("add")["changed"]
    cluster.roots = dict.fromkeys(cluster.roots, NEW + OLD)
    found = cluster.run("promote")
    assert found["written"] == [] and len(found["started"]) == 2
    # API servers have added theirs.
    data = cluster.objects[AUTHENTICATION]["data"]
    data.update({"client-ca-file": OLD + NEW, "requestheader-client-ca-file": FRONT_OLD + FRONT_NEW})
    cluster.roots = dict.fromkeys(cluster.roots, NEW)
    found = cluster.run("drop")
    assert found["written"] == ["cluster-info", "extension-apiserver-authentication"] and len(found["started"]) == 2
    assert cluster.trusted() == authorities.names(NEW)
    assert data["client-ca-file"] == NEW and data["requestheader-client-ca-file"] == FRONT_NEW


def test_a_repeated_run_leaves_alone_what_later_steps_have_done(cluster):
    cluster.roots = dict.fromkeys(cluster.roots, NEW)
    cluster.run("drop")
    for step in publishing.STEPS:
        assert not cluster.run(step)["changed"]
    cluster.roots = dict.fromkeys(cluster.roots, NEW + pem("newer"))
    assert len(cluster.run("add", certificates=NEW + pem("newer"), rotation="newer")["started"]) == 2


def test_nothing_starts_before_every_namespace_has_them(cluster):
    cluster.roots["default"] = OLD + NEW
    with pytest.raises(kubernetes.KubernetesError, match="not given the authorities to all namespaces: kube-system$"):
        cluster.run("add")
    assert cluster.patched == [INFO]
    cluster.roots = {"default": NEW, "kube-system": OLD + NEW}
    with pytest.raises(kubernetes.KubernetesError, match="to all namespaces: kube-system$"):
        cluster.run("drop")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("deployments", {**WHOLE, "updatedReplicas": 1}),
        ("deployments", {**WHOLE, "availableReplicas": 1}),
        ("deployments", {**WHOLE, "replicas": 3}),
        ("deployments", {**WHOLE, "observedGeneration": 0}),
        ("statefulsets", {**WHOLE, "readyReplicas": 1}),
        ("daemonsets", {"desiredNumberScheduled": 2, "updatedNumberScheduled": 1, "numberAvailable": 2}),
        ("daemonsets", {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2}),
    ],
)
def test_it_ends_when_all_pods_are_ready(cluster, kind, status):
    cluster.roots = dict.fromkeys(cluster.roots, OLD + NEW)
    cluster.kinds[kind] = [workload("slow", **status)]
    with pytest.raises(kubernetes.KubernetesError, match=f"not all pods are ready: kube-system/{kind}/slow$"):
        cluster.run("add")


def test_a_workload_with_no_pods_is_whole():
    item = workload("none")
    item["spec"]["replicas"] = 0
    assert not publishing.unready("deployments", item)
    assert not publishing.unready("daemonsets", item)

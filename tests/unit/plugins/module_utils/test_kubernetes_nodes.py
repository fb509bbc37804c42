"""Which pods leave a node, what stands in their way, and what a drain does when it cannot come to its end."""

from __future__ import annotations

import copy
import socket

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes, kubernetes_nodes
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_drain_info, kubernetes_node


def pod(name, kind="ReplicaSet", phase="Running", mirror=False, **metadata):
    found = {
        "metadata": {"name": name, "namespace": "trading", "labels": {"app": name.partition("-")[0]}, **metadata},
        "status": {"phase": phase},
    }
    if kind:
        found["metadata"]["ownerReferences"] = [{"kind": kind, "controller": True}]
    if mirror:
        found["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    return found


def budget(app, allowed, healthy=2, **selector):
    return {
        "metadata": {"name": app, "namespace": "trading"},
        "spec": {"selector": selector or {"matchLabels": {"app": app}}},
        "status": {
            "disruptionsAllowed": allowed,
            "currentHealthy": healthy,
            "desiredHealthy": healthy,
            "expectedPods": healthy,
        },
    }


def node(name="ip-10-20-0-9.ec2.internal", slot="workers-1", ready="True", cordoned=False, ours=False):
    return {
        "metadata": {
            "name": name,
            "labels": {"selfhosted.ec2/slot": slot},
            "annotations": {kubernetes.DRAINED: "true"} if ours else {},
        },
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


class Api:
    """An API server with one node, whose pods end when they are evicted, if their budget allows it."""

    def __init__(self, nodes, pods, held=()):
        self.nodes, self.pods, self.held, self.calls = nodes, pods, held, []

    def call(self, method, path, body=None, content_type=None, missing_ok=False):
        self.calls.append((method, path.partition("?")[0], body))
        if method == "GET":
            return {"items": copy.deepcopy(self.nodes if path.endswith("/nodes") else self.pods)}
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.held:
                raise kubernetes.KubernetesError("Cannot evict pod as it would violate the budget", 429)
            self.pods = [item for item in self.pods if item["metadata"]["name"] != name]
        return {}

    def patches(self):
        return [body["spec"]["unschedulable"] for _method, _path, body in self.calls if "spec" in (body or {})]


def test_pods_of_the_node_itself_and_ended_ones_stay():
    pods = [
        pod("api-1"),
        pod("proxy-1", "DaemonSet"),
        pod("job-1", "Job", "Succeeded"),
        pod("etcd-1", "Node", mirror=True),
    ]
    assert kubernetes_nodes.leaving(pods) == [pods[0]]


@pytest.mark.parametrize(
    ("selector", "takes"),
    [
        ({"matchLabels": {"app": "api"}}, True),
        ({"matchLabels": {"app": "api", "tier": "x"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["api"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({}, True),
        (None, False),
    ],
)
def test_what_a_selector_takes(selector, takes):
    assert kubernetes_nodes.selects(selector, {"app": "api"}) is takes


def test_a_drain_is_hindered_by_budgets_that_let_nothing_go_and_by_bare_pods():
    pods = {"a": [pod("api-1"), pod("lone", kind="")], "b": [pod("web-1")], "c": [pod("proxy-1", "DaemonSet")]}
    found = kubernetes_nodes.obstacles([budget("api", 0), budget("web", 1), budget("proxy", 0)], pods, False)
    assert list(found) == ["a"] and len(found["a"]) == 2
    assert found["a"][0] == ("PodDisruptionBudget trading/api lets no pod go (2 of 2 are healthy, 2 must be)")
    assert found["a"][1] == "nobody would start the pod trading/lone elsewhere"
    assert kubernetes_nodes.obstacles([], pods, True) == {}


def run(api, state, check_mode=False, **params):
    given = {"node_slot": "workers-1", "keep": "", "state": state, "wait": 0, "allow_bare_pods": False}
    return kubernetes_node.run({**given, **params}, api, check_mode)


def test_a_node_is_cordoned_and_its_pods_leave(monkeypatch):
    monkeypatch.setattr(kubernetes_nodes.time, "sleep", lambda _seconds: None)
    api = Api([node()], [pod("api-1"), pod("proxy-1", "DaemonSet")])
    found = run(api, "drained", wait=60)
    assert found["changed"] and found["evicted"] == ["trading/api-1"]
    assert api.patches() == [True]
    assert not run(Api([node(cordoned=True, ours=True)], [pod("proxy-1", "DaemonSet")]), "drained")["changed"]


def test_a_pod_that_a_budget_held_up_follows_when_clients_outside_know_the_other(monkeypatch):
    """With both pods on one node the second would go before HAProxy has found the successor of the first."""
    clock = [0.0]
    monkeypatch.setattr(kubernetes_nodes.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(kubernetes_nodes.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))

    class Budgeted(Api):
        """Its budget lets nothing go from second 0 to 3, nor at second 5, when a pod elsewhere is not ready."""

        went = None

        def call(self, method, path, body=None, content_type=None, missing_ok=False):
            dry_run = path.endswith("?dryRun=All")
            if method == "POST":
                self.held = ["api-2"] if self.went is not None and (clock[0] < 3 or clock[0] == 5) else []
                if dry_run and not self.held:
                    return {}
            found = super().call(method, path, body, content_type, missing_ok)
            if method == "POST" and not dry_run:
                self.went = clock[0]
            return found

    api = Budgeted([node()], [pod("api-1"), pod("api-2")])
    assert run(api, "drained", wait=60)["evicted"] == ["trading/api-1", "trading/api-2"]
    assert api.went == 6 + kubernetes_nodes.SETTLED


def test_check_mode_only_says_what_would_leave():
    api = Api([node()], [pod("api-1")])
    assert run(api, "drained", check_mode=True)["evicted"] == ["trading/api-1"]
    assert {method for method, _path, _body in api.calls} == {"GET"}


def test_a_drain_that_a_budget_holds_up_gives_the_node_back_and_names_the_pod():
    api = Api([node()], [pod("api-1")], held=["api-1"])
    with pytest.raises(kubernetes.KubernetesError, match=r"are left after 0 s \(trading/api-1: Cannot evict"):
        run(api, "drained")
    assert api.patches() == [True, None]
    api = Api([node(cordoned=True)], [pod("api-1")], held=["api-1"])
    with pytest.raises(kubernetes.KubernetesError, match="are left"):
        run(api, "drained")
    assert api.patches() == []


def test_a_bare_pod_refuses_the_drain_before_anything_is_touched():
    api = Api([node()], [pod("lone", kind="")])
    with pytest.raises(kubernetes.KubernetesError, match="nobody would start the pods trading/lone elsewhere"):
        run(api, "drained")
    assert api.patches() == []


def test_nobody_waits_for_the_pods_of_a_dead_node():
    api = Api([node(ready="Unknown")], [pod("api-1")], held=["api-1"])
    assert run(api, "drained")["evicted"] == []
    assert api.patches() == [True]


def test_only_what_was_cordoned_here_is_given_back():
    assert run(Api([node(cordoned=True, ours=True)], []), "schedulable")["changed"]
    api = Api([node(cordoned=True)], [])
    assert not run(api, "schedulable")["changed"] and api.patches() == []


def test_the_node_of_a_dead_instance_goes_and_the_new_one_stays():
    api = Api([node("old"), node("new"), node("other", slot="workers-2")], [])
    assert run(api, "absent", keep="new")["nodes"] == ["old"]
    names = "/api/v1/namespaces/kube-system/configmaps/kubernetes-serving-names"
    assert api.calls[1:] == [("PATCH", names, {"data": {"old": None}}), ("DELETE", "/api/v1/nodes/old", None)]
    assert not run(Api([], []), "absent")["changed"]


def test_members_of_etcd_without_a_control_plane():
    known = ["ip-10-20-0-1.eu-west-1.compute.internal", "ip-10-20-0-2.eu-west-1.compute.internal", ""]
    members = [
        {"name": known[0], "peer_urls": ["https://10.20.0.1:2380"]},
        {"name": "", "peer_urls": ["https://10.20.0.2:2380"]},
        {"name": "", "peer_urls": ["https://10.20.0.7:2380"]},
        {"name": "ip-10-20-0-3.eu-west-1.compute.internal", "peer_urls": ["https://10.20.0.3:2380"]},
    ]
    assert filters.kubernetes_etcd_strangers(members, known) == members[2:]


def test_the_gate_names_the_part_that_is_not_ready():
    found = {
        "members": {"control-1": {"ready": True, "error": ""}},
        "ready": ["control-1"],
        "nodes": {"n": {"ready": True, "reason": ""}},
        "error": "",
        "parts": {"etcd": "", "kube-scheduler": "containers with unready status"},
    }
    said = kubernetes.missing(found, "n", "healthy", "control-1")
    assert said == "kube-scheduler of n is not ready (containers with unready status)."


def test_parts_are_as_the_kubelet_itself_knows_them():
    """What the API has is of the kubelet before this one, as long as this one has not told anything."""
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    answers = [
        {"items": [{"metadata": {"name": "etcd-n", "namespace": "kube-system"}, **ready}]},
        # As it answers in its first second, before it has read the manifests or looked at what runs.
        {"items": None},
        {"items": [{"metadata": {"name": "etcd-n", "namespace": "kube-system"}}]},
    ]

    class Kubelet:
        def call(self, _method, path):
            assert path == "/api/v1/nodes/n/proxy/pods"
            if not answers:
                raise kubernetes.KubernetesError("GET /api/v1/nodes/n/proxy/pods: connection refused")
            return answers.pop(0)

    def told():
        return kubernetes.read_parts(Kubelet(), "n", ["etcd", "kube-apiserver"])

    assert told() == {"etcd": "", "kube-apiserver": "it has no pod yet"}
    assert told() == dict.fromkeys(("etcd", "kube-apiserver"), "it has no pod yet")
    assert told() == {"etcd": "it has not told Ready yet", "kube-apiserver": "it has no pod yet"}
    assert "cannot be asked: GET /api/v1/nodes/n/proxy/pods: connection refused" in told()["etcd"]
    assert kubernetes.read_parts(Kubelet(), "n", []) == {}


CONTROL = ["control-1", "control-2", "control-3"]


def cluster(servers=("1.36.4",) * 3, kubelets=("1.36.4",) * 4, **applied):
    """Views of three control planes and a worker; a version of None is an API server that is not ready."""
    slots = [*CONTROL, "workers-1"]
    members = {
        slot: {"ready": bool(version), "version": version or "", "error": ""}
        for slot, version in zip(CONTROL, servers, strict=True)
    }
    nodes = {
        slot + ".n": {"slot": slot, "version": version, "drained": False}
        for slot, version in zip(slots, kubelets, strict=True)
    }
    ready = [slot for slot in CONTROL if members[slot]["ready"]]
    view = {"members": members, "nodes": nodes, "ready": ready, "joined": True, "finished": True, "installed": ""}
    view["etcd"] = "3.6.8"
    return {slot: {**view, "applied": ["hash", *applied.get(slot.replace("-", "_"), [])]} for slot in slots}


def plan(views, wanted="1.37.2", members=(*CONTROL, "workers-1")):
    return filters.kubernetes_upgrade_plan(views, CONTROL, list(members), wanted)


def test_control_planes_come_first_and_kubelets_when_all_of_them_are_new():
    found = plan(cluster())
    assert found["error"] == ""
    assert found["control_planes"] == CONTROL and found["nodes"] == [*CONTROL, "workers-1"]
    assert found["lines"][0] == "parts of control-1: 1.36.4 to 1.37.2"
    assert found["lines"][-1] == "kubelet of workers-1: 1.36.4 to 1.37.2"


def test_an_upgrade_that_was_cut_off_goes_on_where_it_was():
    found = plan(cluster(("1.37.2", "1.36.4", "1.36.4"), control_1=["kubelet"]))
    assert found["control_planes"] == ["control-2", "control-3"] and found["nodes"][0] == "control-1"
    found = plan(cluster(("1.37.2", "1.37.2", "1.36.4"), control_2=["upgrade"]))
    assert found["control_planes"] == ["control-2", "control-3"]
    found = plan(cluster(("1.37.2", "1.36.4", None)))
    assert found["control_planes"] == ["control-3", "control-2"]
    found = plan(cluster(("1.37.2",) * 3, ("1.37.2", "1.37.2", "1.37.2", "1.36.4")))
    assert found["control_planes"] == [] and found["nodes"] == ["workers-1"]
    found = plan(cluster(("1.37.2",) * 3, ("1.37.2",) * 4, control_3=["kubelet"]))
    assert found["nodes"] == ["control-3"]


def test_a_node_that_was_not_given_its_pods_again_is_taken_once_more():
    """Cut off, or not well in time, after its kubelet was new: nothing else would make it schedulable."""
    views = cluster(("1.37.2",) * 3, ("1.37.2",) * 4)
    views["control-1"]["nodes"]["workers-1.n"]["drained"] = True
    found = plan(views)
    assert (found["control_planes"], found["nodes"]) == ([], ["workers-1"])


def test_nothing_is_left_to_do_when_all_have_the_version():
    found = plan(cluster(), "1.36.4")
    assert (found["control_planes"], found["nodes"], found["lines"], found["error"]) == ([], [], [], "")


@pytest.mark.parametrize(
    ("views", "wanted", "said"),
    [
        (cluster(), "1.38.0", "go through 1.37 first, one minor at a time"),
        (cluster(), "1.36.3", "Kubernetes never goes back"),
        (cluster(kubelets=("1.36.4", "1.36.4", "1.36.4", "1.33.1")), "1.37.2", "more than three minors behind"),
        (cluster((None,) * 3), "1.37.2", "No API server is ready"),
        ({slot: view for slot, view in cluster().items() if slot != "workers-1"}, "1.37.2", "workers-1 took no part"),
        (
            {slot: {**view, "finished": slot != "workers-1"} for slot, view in cluster().items()},
            "1.37.2",
            "workers-1 have not joined the cluster yet",
        ),
    ],
)
def test_what_an_upgrade_refuses(views, wanted, said):
    found = plan(views, wanted)
    assert said in found["error"] and found["nodes"] == []


@pytest.mark.parametrize(("etcd", "said"), [("3.7.0-0", ""), ("3.8.0-0", "go through 3.7 first")])
def test_an_upgrade_takes_one_step_of_etcd(etcd, said):
    found = filters.kubernetes_upgrade_plan(cluster(), CONTROL, [*CONTROL, "workers-1"], "1.37.2", etcd)
    assert said in found["error"] and bool(said) == bool(found["error"])


def test_another_version_is_not_brought_by_the_way():
    view = cluster(("1.37.2",) * 3, ("1.37.2", "1.37.2", "1.37.2", "1.36.4"))["control-1"]
    said = filters.kubernetes_other_version(view, "1.37.2")
    assert said.startswith("kubernetes_version is 1.37.2, but workers-1.n has 1.36.4;")
    assert filters.kubernetes_other_version(cluster()["control-1"], "1.36.4") == ""


def test_the_gate_waits_for_the_version():
    found = cluster(("1.37.2", "1.36.4", "1.36.4"))["control-1"]
    wanted = {"name": "control-1.n", "slot": "control-1", "server_version": "1.37.2", "kubelet_version": ""}
    assert kubernetes.older(found, wanted) == ""
    said = kubernetes.older(found, {**wanted, "kubelet_version": "1.37.2"})
    assert said == "The kubelet of control-1 has 1.36.4 instead of 1.37.2."
    said = kubernetes.older(found, {**wanted, "slot": "control-2"})
    assert said == "The API server of control-2 has 1.36.4 instead of 1.37.2."


def test_a_kubelet_that_does_not_answer_shows_before_its_node_does():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert "refused" in kubernetes.kubelet_fault(unused.getsockname()[1])
    found = {**cluster()["control-1"], "kubelet": "Connection refused"}
    assert kubernetes.missing(found, "control-1.n", "healthy", "control-1") == (
        "The kubelet of control-1.n does not answer (Connection refused)."
    )


def test_what_stops_the_drain_of_slots(monkeypatch):
    api = Api([node(), node("other", slot="workers-2")], [pod("lone", kind="")])
    monkeypatch.setattr(kubernetes_nodes, "read_budgets", lambda _api: [])
    params = {"node_slots": ["workers-1"], "allow_bare_pods": False, "wait": 60}
    assert list(kubernetes_drain_info.run(params, api)) == ["ip-10-20-0-9.ec2.internal"]


@pytest.mark.parametrize(
    ("healthy", "bare", "waits", "hindered"),
    [
        # Another pod becomes ready; none does before the time is over; all are, and none may go all the same.
        ([1, 1, 2], False, 2, False),
        ([1] * 9, False, 4, True),
        ([2], False, 0, True),
        ([1], True, 0, True),
    ],
)
def test_budgets_whose_pods_are_just_starting_are_waited_for(monkeypatch, healthy, bare, waits, hindered):
    clock, told = [0], list(healthy)
    monkeypatch.setattr(kubernetes_nodes.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(kubernetes_nodes.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))

    def budgets(_api):
        found = budget("api", 0)
        found["status"]["currentHealthy"] = told.pop(0)
        found["status"]["disruptionsAllowed"] = int(len(healthy) == 3 and not told)
        return [found]

    monkeypatch.setattr(kubernetes_nodes, "read_budgets", budgets)
    api = Api([node()], [pod("api-1"), *([pod("lone", kind="")] if bare else [])])
    params = {"node_slots": ["workers-1"], "allow_bare_pods": False, "wait": 4}
    assert bool(kubernetes_drain_info.run(params, api)) is hindered
    assert clock[0] == waits


# Pods that are not well

BEGUN, LATER = "2026-11-30T00:00:00Z", kubernetes_nodes.seconds("2026-11-30T00:10:00Z")


def running(name, ready="False", waiting="", **more):
    found = pod(name, creationTimestamp=BEGUN, **more)
    found["spec"] = {"nodeName": "ip-10-20-0-9.ec2.internal"}
    found["status"]["conditions"] = [{"type": "Ready", "status": ready, "message": "containers with unready status"}]
    if waiting:
        found["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": waiting}}}]
    return found


def test_pods_that_are_not_well_are_named_with_the_reason():
    system = running("coredns-1")
    system["metadata"]["namespace"] = "kube-system"
    nowhere = running("big-1", phase="Pending")
    nowhere["spec"] = {}
    nowhere["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": "0/5 nodes fit"}]
    stuck = running("stuck-1", deletionTimestamp=BEGUN)
    found = kubernetes_nodes.unwell(
        [
            running("orders-1", waiting="CrashLoopBackOff"),
            nowhere,
            stuck,
            running("job-1", kind="Job", phase="Failed"),
            system,
        ],
        LATER,
    )
    assert list(found.items()) == [
        ("kube-system/coredns-1", "not ready (containers with unready status)"),
        ("trading/big-1", "finds no node (0/5 nodes fit)"),
        ("trading/job-1", "failed (a container of it)"),
        ("trading/orders-1", "CrashLoopBackOff"),
        ("trading/stuck-1", "does not end"),
    ]


def test_pods_that_are_well_starting_ending_or_replaced_are_not_named():
    ending = running("going-1", deletionTimestamp="2026-11-30T00:09:30Z")
    pods = [running("a", "True"), running("b", phase="Succeeded"), running("c", phase="Failed"), ending]
    assert kubernetes_nodes.unwell(pods, LATER) == {}
    assert kubernetes_nodes.unwell([running("young-1")], kubernetes_nodes.seconds(BEGUN) + 60) == {}

"""How a host of Kubernetes starts, when the cluster counts as well, and what its objects mean."""

from __future__ import annotations

import base64
import copy
import datetime
import json

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes, kubernetes_objects
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_objects as applying
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_token
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

CONTROL = ["control-1", "control-2", "control-3"]
DOMAIN = "trading.internal"
NAMES = {slot: f"ip-10-20-0-{index}.eu-west-1.compute.internal" for index, slot in enumerate([*CONTROL, "workers-1"])}
EMPTY = {
    "joined": False,
    "finished": False,
    "begins": False,
    "installed": "",
    "manifests": [],
    "etcd": "",
    "swap": False,
    "endpoint_addresses": ["10.20.0.8", "10.20.0.9"],
    "holds_etcd": False,
    "identity": None,
    "ready": [],
    "members": {},
    "nodes": {},
    "error": "",
}
READY = {"ready": True, "version": "1.37.2", "error": ""}
AWAY = {"ready": False, "version": "", "error": "no answer"}


def node(slot, **more):
    found = {
        "ready": True,
        "reason": "",
        "zone": "eu-west-1a",
        "taints": [],
        "routed": True,
        "version": "1.37.2",
        "slot": slot,
    }
    return {**found, **more}


def fresh():
    return {slot: copy.deepcopy(EMPTY) for slot in NAMES}


def running():
    """A cluster of which all are members."""
    views = fresh()
    for slot, view in views.items():
        view.update(joined=True, finished=True, ready=list(CONTROL), members=dict.fromkeys(CONTROL, READY))
        view["nodes"] = {name: node(other) for other, name in NAMES.items()}
        if slot in CONTROL:
            view.update(holds_etcd=True, manifests=list(kubernetes.STATIC_PODS))
            view["identity"] = {"member": slot, "domain": DOMAIN}
    return views


def start(views, slot):
    return filters.kubernetes_start(views, slot, NAMES[slot], CONTROL, DOMAIN)


def test_the_first_control_plane_of_all_begins_and_the_others_join():
    states = {slot: start(fresh(), slot)["state"] for slot in NAMES}
    assert states == {"control-1": "init", "control-2": "join", "control-3": "join", "workers-1": "join"}


def test_nobody_begins_while_a_control_plane_is_missing():
    views = fresh()
    del views["control-3"]
    assert "control-3 took no part in this run" in start(views, "control-1")["error"]


def test_nobody_begins_while_one_holds_a_clusters_data():
    views = fresh()
    views["control-2"]["holds_etcd"] = True
    assert "control-2 hold a cluster's data" in start(views, "control-1")["error"]


def test_members_stay_as_they_are():
    assert {start(running(), slot)["state"] for slot in NAMES} == {"keep"}


@pytest.mark.parametrize("slot", CONTROL)
def test_an_empty_control_plane_joins_whichever_it_is(slot):
    views = running()
    views[slot] = {**copy.deepcopy(EMPTY), "ready": [other for other in CONTROL if other != slot]}
    assert start(views, slot)["state"] == "join"


def test_a_new_worker_joins_without_the_others_in_the_play():
    views = {"workers-1": {**copy.deepcopy(EMPTY), "ready": ["control-2"]}}
    assert start(views, "workers-1")["state"] == "join"


def test_a_join_that_was_cut_off_is_undone_or_taken_for_whole():
    views = running()
    views["control-2"]["finished"] = False
    assert start(views, "control-2")["state"] == "adopt"
    for view in views.values():
        view["ready"] = ["control-1", "control-3"]
    assert start(views, "control-2")["state"] == "reset"
    views["workers-1"].update(finished=False, nodes={})
    assert start(views, "workers-1")["state"] == "reset"


def test_manifests_without_a_node_are_undone():
    views = running()
    views["control-3"] = {**copy.deepcopy(EMPTY), "ready": ["control-1"], "manifests": ["etcd"], "holds_etcd": True}
    assert start(views, "control-3")["state"] == "reset"


@pytest.mark.parametrize("control_planes", [CONTROL, CONTROL[:1]])
@pytest.mark.parametrize("well", [False, True])
def test_a_first_start_that_came_up_but_not_to_its_end_is_begun_anew(well, control_planes):
    """What others join by kubeadm makes last, and a wrong argument may have kept it from that."""
    views = fresh()
    views["control-1"].update(begins=True, joined=True, manifests=list(kubernetes.STATIC_PODS), holds_etcd=True)
    views["control-1"]["nodes"] = {NAMES["control-1"]: node("control-1", ready=well)}
    for view in views.values():
        view["ready"] = ["control-1"]
    found = filters.kubernetes_start(views, "control-1", NAMES["control-1"], control_planes, DOMAIN)
    assert found == {"state": "init", "error": ""}


def test_a_first_start_that_others_have_joined_is_no_longer_begun_anew():
    views = running()
    views["control-1"].update(begins=True, finished=False, identity=None)
    assert start(views, "control-1")["state"] == "adopt"


@pytest.mark.parametrize(
    "left",
    [
        {},
        {"joined": True},
        {"joined": True, "manifests": ["etcd"], "holds_etcd": True},
        {"holds_etcd": True},
    ],
)
@pytest.mark.parametrize("first", CONTROL[:2])
def test_a_first_start_that_was_cut_off_is_begun_anew_where_it_was(left, first):
    views = fresh()
    views[first].update(begins=True, **left)
    states = {slot: start(views, slot) for slot in NAMES}
    assert {slot for slot in NAMES if states[slot]["state"] == "init"} == {first}
    assert {found["state"] for slot, found in states.items() if slot != first} == {"join"}


@pytest.mark.parametrize(
    "other",
    [{"holds_etcd": True}, {"joined": True, "finished": True, "identity": {"member": "control-2", "domain": DOMAIN}}],
)
def test_a_first_start_is_not_begun_anew_beside_anothers_data(other):
    views = fresh()
    views["control-1"].update(begins=True, joined=True, manifests=["etcd"], holds_etcd=True)
    views["control-2"].update(other)
    assert "control-2 hold a cluster's data" in start(views, "control-1")["error"]
    del views["control-2"]
    assert "control-2 took no part in this run" in start(views, "control-1")["error"]


def test_a_first_start_that_came_to_its_end_is_never_begun_anew():
    views = fresh()
    views["control-1"].update(begins=True, joined=True, manifests=["etcd"], holds_etcd=True)
    views["control-1"]["identity"] = {"member": "control-1", "domain": DOMAIN}
    assert start(views, "control-1")["state"] == "reset"
    assert start(views, "control-2")["state"] == "refused"


def test_a_join_without_anyone_to_join_is_no_first_start():
    views = fresh()
    views["control-1"].update(joined=True, manifests=["etcd"], holds_etcd=True)
    assert start(views, "control-1")["state"] == "reset"


@pytest.mark.parametrize("empty", [{"holds_etcd": False}, {"identity": None}, {"holds_etcd": False, "identity": None}])
def test_a_control_plane_with_an_empty_volume_is_refused(empty):
    views = running()
    views["control-1"].update(empty)
    found = start(views, "control-1")
    assert found["state"] == "refused" and "its etcd volume holds no member's data" in found["error"]
    views["workers-1"].update(empty)
    assert start(views, "workers-1")["state"] == "keep"


def test_a_foreign_volume_is_refused():
    views = running()
    views["control-1"]["identity"] = {"member": "control-2", "domain": DOMAIN}
    assert "belongs to Kubernetes member control-2" in start(views, "control-1")["error"]


def test_an_old_volume_under_a_new_instance_is_refused():
    views = running()
    views["control-1"] = {**copy.deepcopy(EMPTY), "ready": ["control-2"], "holds_etcd": True}
    assert "holds a member's data, but the host has joined no cluster" in start(views, "control-1")["error"]


def test_an_old_volume_counts_for_nothing_once_its_member_is_forgotten():
    views = running()
    views["control-1"] = {**copy.deepcopy(EMPTY), "ready": ["control-2"], "holds_etcd": True}
    found = filters.kubernetes_start(views, "control-1", NAMES["control-1"], CONTROL, DOMAIN, "control-1")
    assert found == {"state": "reset", "error": ""}


def at(server, kubelet):
    members, nodes = {"control-1": {**READY, "version": server}}, {"n": node("workers-1", version=kubelet)}
    return {"control-1": {**EMPTY, "members": members, "nodes": nodes}}


@pytest.mark.parametrize(
    ("wanted", "server", "kubelet", "said"),
    [
        ("1.37.2", "1.37.2", "1.37.2", ""),
        ("1.37.2", "1.36.4", "1.36.4", ""),
        ("1.38.0", "1.36.4", "1.36.4", "go through 1.37 first, one minor at a time"),
        ("1.36.4", "1.37.2", "1.37.2", "Kubernetes never goes back"),
        ("1.37.2", "1.36.4", "1.37.1", "newer than an API server (1.36.4)"),
        ("1.37.2", "1.37.2", "1.33.9", "more than three minors behind 1.37.2"),
        ("1.37", "1.37.2", "1.37.2", "it must be a version such as 1.37.2"),
    ],
)
def test_versions_too_far_apart_are_refused(wanted, server, kubelet, said):
    found = filters.kubernetes_skew(at(server, kubelet), wanted)
    assert said in found
    assert bool(said) == bool(found)


def test_without_an_api_server_the_version_is_that_of_the_installed_kubelet():
    view = {**EMPTY, "joined": True, "finished": True, "installed": "1.36.4"}
    assert "this host has 1.36.4;" in filters.kubernetes_other_version(view, "1.37.2")
    assert filters.kubernetes_other_version(view, "1.36.4") == ""
    assert "workers-1 has 1.36.4 already" in filters.kubernetes_skew({"workers-1": view}, "1.36.3")
    assert filters.kubernetes_other_version({**view, "finished": False}, "1.37.2") == ""


@pytest.mark.parametrize(
    ("view", "start", "balancers", "said"),
    [
        ({}, "init", ["10.20.0.8", "10.20.0.9"], ""),
        ({"endpoint_addresses": ["10.20.0.9"]}, "join", ["10.20.0.8", "10.20.0.9"], ""),
        ({}, "init", ["10.20.0.9"], "leads to 10.20.0.8 on control-1, but HAProxy is at 10.20.0.9"),
        ({"endpoint_addresses": []}, "reset", ["10.20.0.9"], "has no address on control-1"),
        ({"endpoint_addresses": []}, "keep", ["10.20.0.9"], ""),
        ({}, "init", [], ""),
        ({"swap": True}, "keep", [], "control-1 has swap on"),
    ],
)
def test_a_host_that_cannot_be_a_node(view, start, balancers, said):
    view = {**EMPTY, **view}
    found = filters.kubernetes_host_fault(view, "control-1", start, "kubernetes.trading.internal", balancers)
    assert said in found and bool(said) == bool(found)
    if view["swap"]:
        assert filters.kubernetes_host_fault(view, "control-1", start, "", balancers, allow_swap=True) == ""


def test_a_name_that_nobody_knows_has_no_address():
    assert kubernetes.addresses("localhost") == ["127.0.0.1"]
    assert kubernetes.addresses("") == []


@pytest.mark.parametrize(
    ("running", "wanted", "said"),
    [
        ("", "3.7.0-0", ""),
        ("3.6.8", "3.6.8-0", ""),
        ("3.6.8", "3.7.0-0", ""),
        ("3.5.26", "3.6.8-0", ""),
        ("3.5.24", "3.5.30-0", ""),
        ("3.5.24", "3.6.8-0", "bring it to 3.5.26 or later of 3.5 first"),
        ("3.5.30", "3.7.0-0", "go through 3.6 first"),
        ("3.7.0", "3.6.8-0", "etcd never goes back"),
    ],
)
def test_which_step_of_etcd_is_refused(running, wanted, said):
    found = filters.kubernetes_etcd_fault(running, wanted)
    assert said in found and bool(said) == bool(found)


def test_networks_must_not_overlap():
    good = {"pods": "10.244.0.0/16", "services": "172.20.0.0/16", "vpc": "10.20.0.0/16"}
    assert filters.kubernetes_overlap(good) == ""
    assert "pods 10.20.128.0/17 overlaps vpc" in filters.kubernetes_overlap({**good, "pods": "10.20.128.0/17"})
    assert "services is '172.20.0.1/16', it must be" in filters.kubernetes_overlap(
        {**good, "services": "172.20.0.1/16"}
    )
    assert filters.kubernetes_node_limit("10.244.0.0/16") == 256


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("ip-10-20-0-5.eu-west-1.compute.internal", True),
        ("ip-10-20-0-5.ec2.internal", True),
        ("i-0123456789abcdef0.eu-west-1.compute.internal", True),
        ("workers-1", False),
        ("workers-1.trading.internal", False),
    ],
)
def test_only_names_of_ec2_are_names_of_nodes(name, good):
    assert filters.kubernetes_ec2_name(name) is good


def test_provider_ids():
    assert filters.kubernetes_provider_id("aws:///eu-west-1a/i-0123456789abcdef0")
    assert not filters.kubernetes_provider_id("aws:////i-0123456789abcdef0")


def test_arguments_are_texts_and_null_takes_one_away():
    found = filters.kubernetes_args({"b": True, "a": 5, "c": None})
    assert found == [{"name": "a", "value": "5"}, {"name": "b", "value": "true"}]


def test_the_public_key_is_that_of_the_private_one():
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = filters.kubernetes_public_key(key.private_bytes(*form).decode())
    assert serialization.load_pem_public_key(public.encode()) == key.public_key()


# The gate


def cluster(**more):
    found = {
        "members": dict.fromkeys(CONTROL, READY),
        "ready": list(CONTROL),
        "nodes": {"n": node("control-1")},
        "error": "",
    }
    return {**found, **more}


@pytest.mark.parametrize(
    ("require", "found", "said"),
    [
        ("healthy", cluster(), ""),
        (
            "healthy",
            cluster(nodes={"n": node("control-1", ready=False, reason="no network")}),
            "is not ready (no network)",
        ),
        ("healthy", cluster(nodes={}), "Kubernetes has no node n"),
        (
            "healthy",
            cluster(members={**dict.fromkeys(CONTROL, READY), "control-1": AWAY}),
            "of control-1 is not ready (no answer)",
        ),
        ("healthy", cluster(members=dict.fromkeys(CONTROL[1:], AWAY), ready=[]), "No API server is ready"),
        ("redundant", cluster(members={**dict.fromkeys(CONTROL, READY), "control-1": AWAY}), ""),
        (
            "redundant",
            cluster(members={**dict.fromkeys(CONTROL, READY), "control-2": AWAY}),
            "so control-1 must not be stopped (control-2",
        ),
        ("known", cluster(), ""),
        ("known", cluster(nodes={"n": node("control-1", zone="")}), "has not taken the node n up yet"),
        (
            "known",
            cluster(nodes={"n": node("control-1", routed=False)}),
            "The pods of the node n have no route",
        ),
        ("known", cluster(nodes={"m": node("control-2"), "n": node("control-1", ready=False, zone="")}), ""),
        ("known", cluster(nodes={"n": node("control-1", ready=False)}), "no node that is ready"),
        ("known", cluster(nodes={}), "no node that is ready"),
        ("known", cluster(nodes={}, error="forbidden"), "The nodes cannot be read: forbidden"),
    ],
)
def test_the_gate_says_what_is_missing(require, found, said):
    sentence = kubernetes.missing(found, "n", require, "control-1")
    assert said in sentence
    assert bool(said) == bool(sentence)


@pytest.mark.parametrize(("status", "routed"), [(None, False), ("True", False), ("False", True)])
def test_a_node_has_a_route_when_the_route_controller_says_so(status, routed):
    conditions = [{"type": "Ready", "status": "True"}]
    if status:
        conditions.append({"type": "NetworkUnavailable", "status": status})
    view = kubernetes.node_view({"metadata": {"name": "n"}, "status": {"conditions": conditions}})
    assert (view["ready"], view["routed"]) == (True, routed)


def test_what_the_disk_says(tmp_path):
    (tmp_path / "etc/kubernetes/manifests").mkdir(parents=True)
    (tmp_path / "var/lib/etcd/data/member").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/kubelet.conf").touch()
    manifest = "spec:\n  containers:\n  - command: [etcd]\n    image: registry.k8s.io/etcd:3.6.8-0\n"
    (tmp_path / "etc/kubernetes/manifests/etcd.yaml").write_text(manifest)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n")
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/kubelet").symlink_to("/opt/kubernetes/kubelet-1.37.2/kubelet-linux-amd64")
    (tmp_path / "var/lib/etcd/identity.json").write_text(json.dumps({"member": "control-1"}))
    found = kubernetes.read_disk("/var/lib/etcd", str(tmp_path))
    assert found["joined"] and not found["finished"] and found["holds_etcd"] and not found["begins"]
    assert found["installed"] == "1.37.2"
    assert (found["manifests"], found["applied"]) == (["etcd"], [])
    assert found["identity"] == {"member": "control-1"}
    assert (found["etcd"], found["swap"]) == ("3.6.8", False)
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n/dev/vdb partition 1 0 -2\n")
    assert kubernetes.read_disk("/var/lib/etcd", str(tmp_path))["swap"]
    (tmp_path / "etc/kubernetes/platform").mkdir()
    (tmp_path / "etc/kubernetes/platform/applied").write_text("abc restart\n")
    assert kubernetes.read_disk("/var/lib/etcd", str(tmp_path))["applied"] == ["abc", "restart"]


# Tokens


class Api:
    """Answers as an API server, by method and address without its query."""

    def __init__(self, answers):
        self.answers, self.calls = answers, []

    def call(self, method, path, body=None, content_type=None, missing_ok=False):
        self.calls.append((method, path, body))
        found = self.answers.get((method, path.partition("?")[0]), None if missing_ok else {})
        return found(path, body) if callable(found) else copy.deepcopy(found)


def test_a_token_ends_by_itself_and_is_for_new_nodes_alone():
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    token, secret = kubernetes_token.new_token("workers-1", 30, now)
    data = secret["stringData"]
    assert token == f"{data['token-id']}.{data['token-secret']}"
    assert len(data["token-id"]) == 6 and len(data["token-secret"]) == 16
    assert data["expiration"] == "2026-01-01T00:30:00Z"
    assert data["auth-extra-groups"] == "system:bootstrappers:kubeadm:default-node-token"


def described(node):
    data = {"description": base64.b64encode(f"selfhosted.ec2: {node}".encode()).decode()}
    return {"metadata": {"name": f"bootstrap-token-{node}"}, "data": data}


@pytest.mark.parametrize(("state", "check_mode", "verbs"), [
    ("present", False, ["GET", "DELETE", "POST"]),
    ("absent", False, ["GET", "DELETE"]),
    ("present", True, ["GET"]),
])  # fmt: skip
def test_tokens_of_the_same_host_go_and_others_stay(state, check_mode, verbs):
    api = Api(
        {("GET", kubernetes_token.SECRETS): {"items": [described("a"), described("b"), {"metadata": {"name": "c"}}]}}
    )
    found = kubernetes_token.run({"node": "a", "state": state, "minutes": 30}, api, check_mode)
    assert [call[0] for call in api.calls] == verbs
    assert found["deleted"] == 1 and found["changed"]
    assert ("token" in found) == (state == "present" and not check_mode)
    assert all("bootstrap-token-b" not in call[1] for call in api.calls)


# Objects

CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "one", "namespace": "trading"},
    "data": {"a": "1"},
}
RESOURCES = {"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}]}
PATH = "/api/v1/namespaces/trading/configmaps/one"


def stored(**data):
    found = kubernetes_objects.labelled(CONFIG_MAP, "x")
    found["metadata"].update(resourceVersion="7", managedFields=[], uid="u")
    return {**found, "data": data or {"a": "1"}}


def applied(current, check_mode=False, planned=None):
    api = Api({("GET", "/api/v1"): RESOURCES, ("GET", PATH): current, ("PATCH", PATH): planned or stored()})
    applier = applying.Applier(api, check_mode)
    applier.apply(CONFIG_MAP, "x")
    return applier.steps, [path for method, path, _body in api.calls if method == "PATCH"]


def test_an_object_as_described_is_not_written():
    steps, patches = applied(stored())
    assert steps == [] and len(patches) == 1 and "dryRun=All" in patches[0]


def test_an_object_that_differs_is_written():
    steps, patches = applied(stored(a="2"))
    assert steps == ["change ConfigMap trading/one"] and "dryRun" not in patches[-1] and len(patches) == 2


def test_an_absent_object_is_made_and_in_check_mode_not():
    steps, patches = applied(None)
    assert steps == ["create ConfigMap trading/one"] and len(patches) == 1
    steps, patches = applied(None, check_mode=True)
    assert steps == ["create ConfigMap trading/one"] and patches == []


def test_what_is_no_longer_described_is_deleted():
    old, other = copy.deepcopy([stored(), stored()])
    old["metadata"]["name"] = other["metadata"]["name"] = "two"
    other["metadata"].update(namespace="other", labels={kubernetes_objects.PART_LABEL: "y"})
    api = Api({("GET", "/api/v1"): RESOURCES, ("GET", "/api/v1/configmaps"): {"items": [stored(), old, other]}})
    applier = applying.Applier(api, False)
    described = {"x": [CONFIG_MAP], "y": [thing("ConfigMap", "two", namespace="other")]}
    applier.prune(described, kubernetes_objects.kinds([CONFIG_MAP]))
    assert applier.steps == ["delete ConfigMap trading/two"]
    assert ("DELETE", "/api/v1/namespaces/trading/configmaps/two", None) in api.calls


def pruned(found, described, resources=None, removed=(), check_mode=False):
    """What is deleted, what is left, and the addresses of deletions."""
    resources = resources or {"v1": {"configmaps": "ConfigMap", "namespaces": "Namespace"}}
    answers = {}
    for group, kinds in resources.items():
        path = kubernetes_objects.group_path(group)
        items = [
            {"name": name, "kind": kind, "namespaced": kind in ("ConfigMap", "DaemonSet", "Service")}
            for name, kind in kinds.items()
        ]
        answers["GET", path] = {"resources": items}
        for name, kind in kinds.items():
            listed = [copy.deepcopy(item) for item in found if (item["apiVersion"], item["kind"]) == (group, kind)]
            for item in listed:
                item["metadata"]["labels"] = {kubernetes_objects.PART_LABEL: "x"}
            answers["GET", f"{path}/{name}"] = {"items": listed}
    api = Api(answers)
    applier = applying.Applier(api, check_mode, removed)
    kinds = {**kubernetes_objects.recorded(None, "x"), **kubernetes_objects.kinds(described)}
    applier.prune({"x": described}, kinds)
    return applier.steps, applier.left, [path for method, path, _body in api.calls if method == "DELETE"]


def thing(kind, name, group="v1", **metadata):
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name, **metadata}}


def test_an_object_without_a_namespace_is_the_one_that_was_applied():
    assert pruned([thing("ConfigMap", "one", namespace="default")], [thing("ConfigMap", "one")]) == ([], [], [])


def test_kinds_of_one_name_in_two_groups_are_two():
    resources = {"v1": {"services": "Service"}, "serving.knative.dev/v1": {"services": "Service"}}
    old, new = thing("Service", "a", namespace="t"), thing("Service", "a", "serving.knative.dev/v1", namespace="t")
    assert pruned([old, new], [new], resources)[2] == ["/api/v1/namespaces/t/services/a"]


def test_what_takes_other_objects_along_goes_only_when_it_is_named():
    found = [thing("Namespace", "trading"), thing("Namespace", "old")]
    assert pruned(found, []) == ([], ["Namespace trading", "Namespace old"], [])
    steps, left, paths = pruned(found, [], removed=["old"])
    assert (steps, left) == (["delete Namespace old"], ["Namespace trading"])
    assert paths == ["/api/v1/namespaces/old"]
    assert pruned(found, [], removed=["old"], check_mode=True) == (steps, left, [])
    assert pruned(found, found, removed=["old"]) == ([], [], [])


STORAGE = {"storage.k8s.io/v1": {"csidrivers": "CSIDriver"}, "apps/v1": {"daemonsets": "DaemonSet"}}


def volume(name, driver):
    return {**thing("PersistentVolume", name), "spec": {"csi": {"driver": driver}} if driver else {"hostPath": {}}}


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_driver_stays_with_all_its_part_while_there_are_volumes_of_it(check_mode):
    found = [thing("CSIDriver", "a.example", "storage.k8s.io/v1"), thing("DaemonSet", "node", "apps/v1", namespace="s")]
    resources = {**STORAGE, "v1": {"persistentvolumes": "PersistentVolume"}}
    volumes = [volume(name, "a.example") for name in ("d", "c", "b", "a")]
    with pytest.raises(kubernetes.KubernetesError, match=r"volumes of it \(a, b, c and 1 more\).*nothing was removed"):
        pruned([*found, *volumes], [], resources, check_mode=check_mode)
    # Those of another driver, and of none, are not its business; nor is a driver that is still described.
    others = [volume("a", "b.example"), volume("b", "")]
    assert pruned([*found, *others], [], resources)[0] == ["delete DaemonSet s/node", "delete CSIDriver a.example"]
    assert pruned([*found, *volumes], found[:1], resources)[0] == ["delete DaemonSet s/node"]


class Server:
    """An API server that keeps objects by their addresses.

    :arg served: dict of an API version to its kinds, each with the name of its resource; all of them namespaced.
    """

    def __init__(self, served):
        self.served, self.objects, self.calls = served, {}, []

    def resource(self, path):
        """Return the API version and the kind whose objects are at an address."""
        for version, kinds in self.served.items():
            for kind, name in kinds.items():
                if path.startswith(kubernetes_objects.group_path(version) + "/") and name in path.split("/"):
                    return version, kind
        raise AssertionError(path)

    def call(self, method, path, body=None, _content_type=None, missing_ok=False):
        path, _mark, query = path.partition("?")
        self.calls.append((method, path))
        versions = [version for version in self.served if path == kubernetes_objects.group_path(version)]
        if versions:
            kinds = self.served[versions[0]].items()
            return {"resources": [{"name": name, "kind": kind, "namespaced": True} for kind, name in kinds]}
        if path.count("/") == 2:
            versions = [version for version in self.served if path == f"/apis/{kubernetes_objects.group(version)}"]
            return {"versions": [{"groupVersion": version} for version in versions]} if versions else None
        if "labelSelector" in query:
            found = [item for item in self.objects.values() if item["metadata"].get("labels")]
            return {"items": copy.deepcopy([item for item in found if item["kind"] == self.resource(path)[1]])}
        if method == "GET":
            # All versions of a group show the same objects.
            same = [item for place, item in self.objects.items() if place.split("/")[4:] == path.split("/")[4:]]
            assert same or missing_ok
            return copy.deepcopy(same[0]) if same else None
        if method == "DELETE":
            del self.objects[path]
        elif "dryRun" not in query:
            self.objects[path] = copy.deepcopy(body)
        return copy.deepcopy(body)


SERVED = {
    "v1": {"ConfigMap": "configmaps"},
    "autoscaling/v1": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "t.example/v1": {"Shop": "shops"},
}
MAP, SHOP = thing("ConfigMap", "one", namespace="t"), thing("Shop", "a", "t.example/v1", namespace="t")
KINDS = "/api/v1/namespaces/kube-system/configmaps/selfhosted-ec2-kinds"


def bring(server, check_mode=False, **parts):
    """Bring parts, and return the steps and the requests that one run takes."""
    before = len(server.calls)
    applier = applying.Applier(server, check_mode)
    applier.bring(parts)
    return applier.steps, server.calls[before:]


def test_the_last_object_of_any_kind_goes_with_its_description():
    server = Server(SERVED)
    assert bring(server, x=[MAP, SHOP], y=[])[0] == ["create ConfigMap t/one", "create Shop t/a"]
    assert server.objects[KINDS]["data"] == {"x": "t.example/v1 Shop\nv1 ConfigMap", "y": ""}
    assert bring(server, x=[MAP], check_mode=True)[0] == ["delete Shop t/a"]
    assert bring(server, x=[MAP])[0] == ["delete Shop t/a"]
    assert server.objects[KINDS]["data"] == {"x": "v1 ConfigMap", "y": ""}
    assert bring(server, x=[])[0] == ["delete ConfigMap t/one"]
    assert list(server.objects) == [KINDS]


def test_an_unchanged_run_looks_through_the_kinds_that_there_are_and_writes_nothing():
    server = Server(SERVED)
    bring(server, x=[MAP, SHOP])
    steps, calls = bring(server, x=[MAP, SHOP])
    assert steps == []
    # The record, two kinds' resources, two objects, each asked and tried, and two lists.
    assert len(calls) == 9 and [path for method, path in calls if method == "PATCH"] == [
        "/api/v1/namespaces/t/configmaps/one",
        "/apis/t.example/v1/namespaces/t/shops/a",
    ]


def test_a_run_that_is_cut_off_has_recorded_the_kinds_before_their_objects():
    server = Server(SERVED)
    bring(server, x=[MAP])
    with pytest.raises(kubernetes.KubernetesError, match="knows no Cart"):
        bring(server, x=[MAP, SHOP, thing("Cart", "a", "t.example/v1")])
    assert bring(server, x=[MAP])[0] == ["delete Shop t/a"]


def test_check_mode_records_nothing():
    server = Server(SERVED)
    assert bring(server, check_mode=True, x=[MAP])[0] == ["create ConfigMap t/one"]
    assert server.objects == {}


def test_another_version_of_a_kind_is_the_same_object():
    server = Server(SERVED)
    first, second = (
        thing("HorizontalPodAutoscaler", "a", f"autoscaling/v{number}", namespace="t") for number in (1, 2)
    )
    bring(server, x=[first])
    server.objects[KINDS]["data"]["x"] += "\nv1 ConfigMap"
    assert bring(server, x=[second])[0] == ["change HorizontalPodAutoscaler t/a"]
    assert server.objects[KINDS]["data"] == {"x": "autoscaling/v2 HorizontalPodAutoscaler"}


def test_a_kind_whose_recorded_version_is_served_no_more_is_found_in_another():
    server = Server(SERVED)
    bring(server, x=[thing("HorizontalPodAutoscaler", "a", "autoscaling/v2", namespace="t"), SHOP])
    server.objects[KINDS]["data"]["x"] = "autoscaling/v2beta2 HorizontalPodAutoscaler\nt.example/v1 Shop"
    # The definition of a shop has gone, and all shops with it.
    del server.served["autoscaling/v1"], server.served["t.example/v1"]
    assert bring(server, x=[MAP])[0] == ["create ConfigMap t/one", "delete HorizontalPodAutoscaler t/a"]
    assert server.objects[KINDS]["data"] == {"x": "v1 ConfigMap"}


def test_an_object_that_moves_to_another_part_stays():
    server = Server(SERVED)
    bring(server, x=[MAP], y=[])
    assert bring(server, check_mode=True, x=[], y=[MAP])[0] == ["change ConfigMap t/one"]
    assert bring(server, x=[], y=[MAP])[0] == ["change ConfigMap t/one"]
    assert server.objects[KINDS]["data"] == {"x": "", "y": "v1 ConfigMap"}


def test_what_others_ask_about_goes_before_what_answers_them():
    resources = {
        "admissionregistration.k8s.io/v1": {"hooks": "ValidatingWebhookConfiguration"},
        "v1": {"services": "Service"},
        "a.example/v1": {"shops": "Shop"},
    }
    hook = thing("ValidatingWebhookConfiguration", "a", "admissionregistration.k8s.io/v1")
    found = [thing("Service", "a", namespace="t"), thing("Shop", "a", "a.example/v1"), hook]
    described = [thing("Shop", "b", "a.example/v1")]
    steps, _left, _paths = pruned(found, described, resources)
    assert steps == ["delete ValidatingWebhookConfiguration a", "delete Shop a", "delete Service t/a"]


def test_a_kind_of_which_something_stays_is_looked_through_again():
    server = Server({"v1": {"Namespace": "namespaces", "ConfigMap": "configmaps"}})
    space = thing("Namespace", "trading", namespace="t")
    bring(server, x=[space])
    applier = applying.Applier(server, False)
    applier.bring({"x": []})
    assert applier.left == ["Namespace t/trading"] and server.objects[KINDS]["data"] == {"x": "v1 Namespace"}


def test_a_kind_of_the_same_list_is_waited_for(monkeypatch):
    monkeypatch.setattr(applying.time, "sleep", lambda _seconds: None)
    definition = thing("CustomResourceDefinition", "shops.t.example", "apiextensions.k8s.io/v1")
    seen = []

    def kinds(_path, _body):
        seen.append(1)
        return {"resources": [{"name": "shops", "kind": "Shop", "namespaced": False}] if len(seen) > 2 else []}

    crds = {"resources": [{"name": "crds", "kind": "CustomResourceDefinition", "namespaced": False}]}
    answers = {("GET", "/apis/apiextensions.k8s.io/v1"): crds, ("GET", "/apis/t.example/v1"): kinds}
    applier = applying.Applier(Api(answers), False)
    applier.apply(definition, "x")
    applier.apply(thing("Shop", "a", "t.example/v1"), "x")
    assert applier.steps == ["create CustomResourceDefinition shops.t.example", "create Shop a"]
    with pytest.raises(kubernetes.KubernetesError, match="knows no Cart of"):
        applying.Applier(Api(answers), False).apply(thing("Cart", "a", "t.example/v1"), "x")


def test_check_mode_on_a_host_without_a_cluster_would_make_everything(monkeypatch):
    class Module:
        check_mode = True
        params = {"parts": [{"objects": [CONFIG_MAP], "manifest": None, "part": "x"}]}

    monkeypatch.setattr(kubernetes, "credentials", lambda: "")
    assert applying.run(Module)["steps"] == ["create ConfigMap trading/one"]
    # The second one would take away what the first has made.
    Module.params["parts"] *= 2
    with pytest.raises(kubernetes.KubernetesError, match="the part x is given twice"):
        applying.run(Module)


# Manifests that lie on the host


MANIFEST = """
# A comment, and a document with nothing in it.
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: trading}
data: {a: "1", b: "2"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: other}
"""


def test_parts_are_laid_over_by_key_and_by_name():
    base = {"a": {"x": 1, "y": 2}, "env": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}], "list": [1, 2]}
    over = {"a": {"y": None}, "env": [{"name": "c", "value": "3"}, {"name": "a", "value": "0"}], "list": [3], "new": 1}
    before = copy.deepcopy((base, over))
    assert kubernetes_objects.merged(base, over) == {
        "a": {"x": 1},
        "env": [{"name": "a", "value": "0"}, {"name": "b", "value": "2"}, {"name": "c", "value": "3"}],
        "list": [3],
        "new": 1,
    }
    assert (base, over) == before
    assert kubernetes_objects.merged(base, {}) == base


def test_a_manifest_is_read_with_what_is_laid_over_it(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    first, second = applying.read_manifest(path, [{**CONFIG_MAP, "data": {"a": "3", "b": None}}])
    assert first["data"] == {"a": "3"} and "data" not in second
    with pytest.raises(kubernetes.KubernetesError, match="has no ConfigMap trading/two, which is to be changed"):
        applying.read_manifest(path, [thing("ConfigMap", "two", namespace="trading")])
    for text, said in (("a: [", "is no YAML"), ("- a\n", "no object of Kubernetes"), ("kind: A\n", "no object")):
        path.write_text(text)
        with pytest.raises(kubernetes.KubernetesError, match=said):
            applying.read_manifest(path, [])


def test_check_mode_tells_of_a_manifest_that_is_not_there_yet(tmp_path, monkeypatch):
    class Module:
        check_mode = True
        params = {"parts": [{"objects": None, "manifest": str(tmp_path / "a.yaml"), "overlays": [], "part": "x"}]}

    assert applying.run(Module)["steps"] == [f"apply {tmp_path}/a.yaml"]
    (tmp_path / "a.yaml").write_text(MANIFEST)
    monkeypatch.setattr(kubernetes, "credentials", lambda: "")
    assert applying.run(Module)["steps"] == ["create ConfigMap trading/one", "create ConfigMap other/one"]


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("Deployment", {"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2}, ""),
        ("Deployment", {"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2}, "has not been seen"),
        ("Deployment", {"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 1}, "1 of 2 pods"),
        (
            "DaemonSet",
            {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3},
            "",
        ),
        (
            "DaemonSet",
            {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1, "numberAvailable": 3},
            "1 are of the newest",
        ),
    ],
)
def test_when_a_workload_is_available(kind, status, said):
    item = {"kind": kind, "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}
    found = kubernetes_objects.unavailable(item)
    assert said in found and bool(said) == bool(found)


def test_an_administrators_file_gives_certificate_and_key(tmp_path):
    text = "users:\n- name: a\n  user:\n    client-certificate-data: Y2VydA==\n    client-key-data: a2V5\n"
    assert kubernetes.embedded(text) == "cert\nkey"
    assert kubernetes.embedded("users: []\n") == ""
    assert kubernetes.credentials(tmp_path) == ""
    kubelet = tmp_path / kubernetes.KUBELET.lstrip("/")
    kubelet.parent.mkdir(parents=True)
    kubelet.write_text("the kubelet's")
    assert kubernetes.credentials(tmp_path) == "the kubelet's"
    admin = tmp_path / kubernetes.ADMIN.lstrip("/")
    admin.parent.mkdir(parents=True)
    admin.write_text(text)
    assert kubernetes.credentials(tmp_path) == "cert\nkey"


# Keys of encryption

SECRETS = {
    "kubernetes/encryption_keys/10": "j" * 32,
    "kubernetes/encryption_keys/2": "b" * 32,
    "kubernetes/encryption_key": "a" * 32,
    "kubernetes/encryption_keys/x": "-",
}
KEYS = filters.kubernetes_keys(SECRETS, "a" * 32)
FIRST, SECOND, NEWEST = (key["name"] for key in KEYS)


def choice(own, step="", others=()):
    return [key["name"] for key in filters.kubernetes_key_choice(KEYS, own, others, step)]


def test_keys_have_names_of_their_own_and_the_first_one_keeps_its_name():
    assert [key["number"] for key in KEYS] == [1, 2, 10]
    assert KEYS[0] == {"number": 1, "name": "key1", "secret": base64.b64encode(b"a" * 32).decode()}
    assert len({FIRST, SECOND, NEWEST}) == 3 and NEWEST.startswith("key-")
    # A key that was deleted and made anew is another one.
    other = filters.kubernetes_keys({"kubernetes/encryption_keys/2": "c" * 32}, "a" * 32)
    assert other[-1]["name"] != SECOND


def test_only_a_step_changes_the_keys_of_a_host():
    for own in ([FIRST], [SECOND, NEWEST], [NEWEST, SECOND], [NEWEST]):
        assert choice(own) == own
        assert choice(own, others=[FIRST, SECOND]) == own
    assert choice([], others=[SECOND]) == [SECOND], "a new control plane takes what another one has"
    assert choice([]) == [NEWEST], "a new cluster begins with the newest one"
    assert choice(["unknown"]) == [], "which the comparison with the host's file refuses"
    assert filters.kubernetes_key_choice(KEYS[:1], []) == [{"name": "key1", "secret": KEYS[0]["secret"]}]


@pytest.mark.parametrize(
    ("own", "add", "promote", "drop"),
    [
        ([SECOND], [SECOND, NEWEST], [NEWEST, SECOND], [NEWEST]),
        ([SECOND, NEWEST], [SECOND, NEWEST], [NEWEST, SECOND], [NEWEST]),
        ([NEWEST, SECOND], [NEWEST, SECOND], [NEWEST, SECOND], [NEWEST]),
        ([NEWEST], [NEWEST], [NEWEST], [NEWEST]),
        ([FIRST, SECOND], [FIRST, SECOND, NEWEST], [NEWEST, FIRST, SECOND], [NEWEST]),
    ],
)
def test_no_step_goes_back_and_each_is_done_once(own, add, promote, drop):
    assert choice(own, "add") == add
    assert choice(own, "promote") == promote
    assert choice(own, "drop") == drop
    for step, after in (("add", add), ("promote", promote), ("drop", drop)):
        assert choice(after, step) == after


def test_all_keys_can_be_read_after_a_restore_and_the_one_to_write_with_stays():
    assert choice([SECOND], "all") == [SECOND, NEWEST, FIRST]
    assert choice([NEWEST], "all") == [NEWEST, SECOND, FIRST]


def test_a_rotation_cut_off_anywhere_is_carried_to_its_end_and_every_api_server_reads_what_another_one_writes():
    """Each step host by host, as the playbook does; after each change a control plane could join with any list."""
    hosts = {slot: [SECOND] for slot in CONTROL}

    def views(marks=None):
        return [{"encryption": names, "applied": ["hash", *(marks or [])]} for names in hosts.values()]

    assert filters.kubernetes_key_step(views(), SECOND) == "new"
    seen = []
    for step in ("add", "promote", "drop"):
        for slot in CONTROL:
            assert filters.kubernetes_key_step(iter(views()), NEWEST) == step
            hosts[slot] = choice(hosts[slot], step)
            seen.append(copy.deepcopy(hosts))
    assert filters.kubernetes_key_step(views(), NEWEST) == "new"
    assert filters.kubernetes_key_step(iter(views(["key"])), NEWEST) == "drop", "the last one was cut off"
    assert filters.kubernetes_key_step(views(["restart"]), NEWEST) == "new", "that was no rotation"
    for lists in seen:
        for writer in lists.values():
            assert all(writer[0] in reader for reader in lists.values()), lists


def test_the_names_of_keys_are_read_on_the_host(tmp_path):
    platform = tmp_path / "etc/kubernetes/platform"
    platform.mkdir(parents=True)
    assert kubernetes.read_disk("/var/lib/etcd", str(tmp_path))["encryption"] == []
    keys = [{"name": "key-0a", "secret": "bmFtZTogeA=="}, {"name": "key1", "secret": "Yg=="}]
    providers = [{"secretbox": {"keys": keys}}, {"identity": {}}]
    text = yaml.dump({"resources": [{"resources": ["secrets"], "providers": providers}]}, indent=2)
    (platform / "encryption.yaml").write_text(text)
    assert kubernetes.read_disk("/var/lib/etcd", str(tmp_path))["encryption"] == ["key-0a", "key1"]


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        ({"selfhosted.ec2/files": "0a1b", "selfhosted.ec2/restarted": "2026-11-29T18:00:00Z"}, ""),
        ({"selfhosted.ec2/files": "ffff", "selfhosted.ec2/restarted": "2026-11-29T18:00:00Z"}, "former manifest"),
        ({}, "former manifest"),
    ],
)
def test_a_part_is_ready_when_its_pod_is_of_the_manifest_on_the_host(tmp_path, noted, said):
    notes = {"kubeadm.kubernetes.io/x": "10.20.0.4:6443", "selfhosted.ec2/files": "0a1b"}
    notes["selfhosted.ec2/restarted"] = "2026-11-29T18:00:00Z"
    (tmp_path / "etc/kubernetes/manifests").mkdir(parents=True)
    text = yaml.dump({"kind": "Pod", "metadata": {"annotations": notes}, "spec": {}})
    (tmp_path / "etc/kubernetes/manifests/kube-apiserver.yaml").write_text(text)

    class Api:
        def call(self, _method, _path):
            metadata = {"name": "kube-apiserver-node", "namespace": "kube-system", "annotations": noted}
            return {"items": [{"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}

    found = kubernetes.read_parts(Api(), "node", ["kube-apiserver"], str(tmp_path))
    assert said in found["kube-apiserver"] and bool(said) == bool(found["kube-apiserver"])

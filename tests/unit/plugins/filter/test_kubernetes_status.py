"""The summary of verify_kubernetes.yml: what an operator reads, and that all that is wrong is named."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes_status as filters

NOW = 1796000000  # 2026-11-30T00:53:20Z
DAY, HOUR = 86400, 3600
CONTROL = ["control-1", "control-2", "control-3"]
MEMBERS = [*CONTROL, "workers-1"]
PARTS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]


def node(slot, **more):
    return {
        "slot": slot,
        "ready": True,
        "reason": "",
        "schedulable": True,
        "drained": False,
        "control_plane": slot in CONTROL,
        "version": "1.37.2",
        "zone": f"eu-west-1{'abc'[int(slot[-1]) - 1]}",
        **more,
    }


def view(slot, external=False):
    control = slot in CONTROL
    manifests = (PARTS[1:] if external else PARTS) if control else []
    nodes = {f"ip-{name}": node(name) for name in (MEMBERS if control else [slot])}
    return {
        "members": {name: {"ready": True, "version": "1.37.2", "error": ""} for name in CONTROL},
        "ready": CONTROL,
        "nodes": nodes,
        "error": "",
        "kubelet": "",
        "joined": True,
        "finished": True,
        "begins": False,
        "manifests": manifests,
        "parts": dict.fromkeys(manifests, ""),
        "applied": ["hash"],
        "described": "hash",
        "encryption": ["key1"] if control else [],
        "authorities": ["075761fde361"],
        "strays": [],
        "certificates": {"/etc/kubernetes/platform/iam/iam.crt": NOW + 80 * DAY + 5, "/etc/a.crt": NOW + 364 * DAY},
        "snapshot": NOW - 12 * 60 if control else 0,
        "joined_at": NOW - 9 * DAY,
        "moment": NOW,
        "pods": 31 if control else 0,
        "pods_unwell": {},
    }


def member(**more):
    return {"reachable": True, "version": "3.6.14", "database_bytes": 12 << 20, **more}


def etcd(names):
    return {
        "members": {name: member() for name in names},
        "healthy": list(names),
        "unhealthy": {},
        "undescribed": {},
        "leader": names[0],
    }


@pytest.fixture
def views():
    return {slot: view(slot) for slot in MEMBERS}


@pytest.fixture
def about():
    return {
        "members": MEMBERS,
        "control_planes": CONTROL,
        "unreached": [],
        "etcd": etcd([f"ip-{slot}" for slot in CONTROL]),
        "bucket": "backups",
        "copies": ["kubernetes/etcd/2026-11-29T23-25-07Z.db", "kubernetes/etcd/2026-11-30T00-25-09Z.db"],
        "copies_error": "",
    }


def wrong(views, about):
    return filters.kubernetes_status(views, about)["wrong"]


def test_a_cluster_that_is_well_is_shown_as_a_whole(views, about):
    found = filters.kubernetes_status(views, about)
    assert found["wrong"] == []
    assert found["lines"] == [
        "nodes: 4 of 4 are ready",
        "  control-1  ip-control-1  eu-west-1a  1.37.2  schedulable  ready",
        "  control-2  ip-control-2  eu-west-1b  1.37.2  schedulable  ready",
        "  control-3  ip-control-3  eu-west-1c  1.37.2  schedulable  ready",
        "  workers-1  ip-workers-1  eu-west-1a  1.37.2  schedulable  ready",
        "control planes: 3 of 3 API servers are ready",
        *(
            f"  {slot}  1.37.2  ready: etcd, kube-apiserver, kube-controller-manager, kube-scheduler"
            for slot in CONTROL
        ),
        "etcd: 3 of 3 members are healthy",
        "  ip-control-1  3.6.14  12 MiB  leads  healthy",
        "  ip-control-2  3.6.14  12 MiB         healthy",
        "  ip-control-3  3.6.14  12 MiB         healthy",
        "certificates, the one of each host that ends first:",
        *(f"  {slot}  2027-02-18  in 80 days  /etc/kubernetes/platform/iam/iam.crt" for slot in MEMBERS),
        "backups of etcd, the newest:",
        *(f"  {slot}    12 minutes old" for slot in CONTROL),
        "  S3, backups  28 minutes old",
        "pods: 31, of which 0 are not well",
        "pending: nothing",
        "wrong: nothing",
    ]


def test_etcd_on_hosts_of_its_own_is_shown_by_their_names(about):
    views = {slot: view(slot, external=True) for slot in MEMBERS}
    lines = filters.kubernetes_status(views, {**about, "etcd": etcd(["quorum-1", "quorum-2", "quorum-3"])})["lines"]
    assert "  quorum-1  3.6.14  12 MiB  leads  healthy" in lines
    assert "  control-1  1.37.2  ready: kube-apiserver, kube-controller-manager, kube-scheduler" in lines


def test_everything_that_is_wrong_is_named_at_once(views, about):
    for name in CONTROL:
        views[name]["nodes"]["ip-workers-1"].update(ready=False, reason="the kubelet is away", zone="")
        views[name]["pods_unwell"] = {f"trading/orders-{number}": "CrashLoopBackOff" for number in range(7)}
    views["control-2"]["parts"]["kube-scheduler"] = "no leader"
    views["control-2"]["certificates"]["/etc/a.crt"] = NOW + 3 * DAY + 1
    views["control-3"]["certificates"]["/etc/a.crt"] = NOW - 1
    views["control-3"]["snapshot"] = NOW - 5 * HOUR
    views["workers-1"]["kubelet"] = "Connection refused"
    about["etcd"]["unhealthy"] = {"ip-control-2": "it does not answer"}
    about["etcd"]["healthy"].remove("ip-control-2")
    about["copies"] = about["copies"][:0]
    assert wrong(views, about) == [
        "the kubelet of workers-1 does not answer (Connection refused)",
        "the node of workers-1 is not ready (the kubelet is away)",
        "the cloud controller manager has not taken the node of workers-1 up",
        "kube-scheduler of control-2 is not ready (no leader)",
        "the member ip-control-2 of etcd is not healthy (it does not answer)",
        "/etc/a.crt of control-2 ends in 3 days",
        "/etc/a.crt of control-3 has ended",
        "control-3 has saved etcd 5 hours ago",
        "there is no backup in backups",
        "7 of 31 pods are not well (trading/orders-0: CrashLoopBackOff; trading/orders-1: CrashLoopBackOff;"
        " trading/orders-2: CrashLoopBackOff; trading/orders-3: CrashLoopBackOff; trading/orders-4: CrashLoopBackOff;"
        " and 2 more)",
    ]


def test_a_cluster_without_an_api_is_still_told(views, about):
    refused = dict.fromkeys(CONTROL, {"ready": False, "version": "", "error": "refused"})
    for found in views.values():
        found.update(nodes={}, ready=[], parts={}, pods=0, members=refused)
    found = filters.kubernetes_status(views, {**about, "etcd": {}, "unreached": ["workers-9"]})
    assert found["wrong"] == [
        "workers-9 could not be read",
        *(f"the API server of {slot} is not ready (refused)" for slot in CONTROL),
        "etcd could not be asked, since no control plane was reached",
    ]
    assert "nodes: 0 of 0 are ready" in found["lines"] and "pods: not read" in found["lines"]


def test_nobody_at_all_is_no_defect_of_the_summary(about):
    found = filters.kubernetes_status({}, {**about, "etcd": {}, "unreached": MEMBERS})
    assert found["wrong"][:4] == [f"{slot} could not be read" for slot in MEMBERS]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"applied": ["hash", "key"]}, "a change of control-1 was cut off (key); rotate_encryption_key_kubernetes.yml"),
        ({"applied": ["hash", "restart"]}, "a change of control-1 was cut off (restart); kubernetes.yml"),
        ({"finished": False}, "the start of control-1 was cut off; kubernetes.yml"),
        ({"joined": False, "finished": False, "begins": True}, "the start of control-1 was cut off"),
    ],
)
def test_what_was_cut_off_is_pending_and_wrong(views, about, change, said):
    views["control-1"].update(change)
    found = filters.kubernetes_status(views, about)
    assert any(text.startswith(said) for text in found["wrong"])
    assert any(text.strip().startswith(said) for text in found["lines"][found["lines"].index("pending:") :])


def test_an_upgrade_that_was_cut_off_shows_by_versions_and_a_drained_node(views, about):
    for slot in CONTROL:
        views[slot]["nodes"]["ip-workers-1"].update(version="1.36.4", drained=True, schedulable=False)
    found = filters.kubernetes_status(views, about)
    assert found["wrong"] == [
        "workers-1 was drained and not given back; the operation that did it goes on with its command",
        "versions 1.36.4 and 1.37.2 run beside each other; upgrade_kubernetes.yml goes on",
    ]
    assert "  workers-1  ip-workers-1  eu-west-1a  1.36.4  cordoned     ready" in found["lines"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"described": "other"}, "control-1 has not got what is described yet; kubernetes.yml brings it"),
        ({"encryption": ["b", "key1"]}, "API servers have more than one key of encryption;"),
        ({"authorities": ["a", "b"]}, "authorities are being rotated;"),
    ],
)
def test_what_waits_for_its_time_is_pending_alone(views, about, change, said):
    views["control-1"].update(change)
    found = filters.kubernetes_status(views, about)
    assert found["wrong"] == []
    assert any(text.strip().startswith(said) for text in found["lines"])


def test_hosts_left_out_by_a_limit_are_named_and_not_wrong(views, about):
    found = filters.kubernetes_status({"control-1": views["control-1"]}, about)
    assert found["wrong"] == []
    assert "not asked: control-2, control-3, workers-1" in found["lines"]
    alone = filters.kubernetes_status({"workers-1": views["workers-1"]}, {**about, "etcd": {}})
    assert alone["wrong"] == ["etcd could not be asked, since no control plane was reached"]


def test_a_young_cluster_may_have_no_backup_yet(views, about):
    young = copy.deepcopy(views)
    for found in young.values():
        found.update(snapshot=0, joined_at=NOW - HOUR)
    assert wrong(young, {**about, "copies": []}) == []
    assert wrong(young, {**about, "bucket": "", "copies": []}) == []
    failed = wrong(young, {**about, "copies": [], "copies_error": "An error occurred (403)"})
    assert failed == ["the backups in backups cannot be listed (An error occurred (403))"]

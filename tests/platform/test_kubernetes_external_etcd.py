"""Kubernetes with etcd on hosts of their own: TIERS=control,quorum,workers,edge.

Every acknowledged write into the API is there afterwards, and the workload answers each request, whatever happens to a
member of etcd or to a control plane.
"""

from __future__ import annotations

import base64
import json
import time

import kubernetes_faults as faults
import pytest
from operations import cut_off
from results import record
from running import playbook_changes, playbook_fails

pytestmark = pytest.mark.long
#: As inventory/lab has it.
VERSION = "3.7.0"


@pytest.fixture(scope="module")
def nodes(platform):
    found = faults.Nodes(platform)
    if not found.etcd_hosts:
        pytest.skip("no tier has kubernetes_etcd; TIERS=control,quorum,workers,edge brings one")
    found.wait_until_well()
    return found


def passed(outcome):
    """Note an outcome, and require what must hold."""
    record(faults.RESULTS, outcome)
    faults.assert_nothing_lost(outcome)


def test_control_planes_have_no_etcd_and_its_hosts_no_kubelet(nodes):
    for slot in nodes.control_planes:
        shown = nodes.platform.shell(slot, "ls /etc/kubernetes/manifests; pidof etcd; ls -d /var/lib/etcd/data; true")
        assert "kube-apiserver.yaml" in shown and "etcd" not in shown
        assert not [word for word in shown.split() if word.isdigit()], "no process of etcd"
    for slot in nodes.etcd_hosts:
        assert nodes.platform.shell(slot, "pidof kubelet || true").strip() == ""
    assert nodes.etcd_members() == nodes.etcd_hosts


def test_the_members_run_the_release_that_is_described(nodes):
    for slot in nodes.etcd_hosts:
        (found,) = json.loads(nodes.in_etcd(slot, "endpoint status -w json"))
        assert found["Status"]["version"] == VERSION
        assert nodes.platform.shell(slot, "readlink /proc/$(pidof etcd)/exe").strip().startswith("/opt/etcd/")


def test_api_servers_ask_all_members_with_a_certificate_of_the_platform(nodes):
    for slot in nodes.control_planes:
        shown = nodes.platform.shell(slot, "tr '\\0' '\\n' < /proc/$(pidof kube-apiserver)/cmdline | grep ^--etcd")
        for member in nodes.etcd_hosts:
            assert f"https://{member}.{nodes.platform.domain}:2379" in shown
        assert "--etcd-certfile=/etc/kubernetes/pki/external-etcd/apiserver.crt" in shown


def test_nobody_else_reaches_the_members(nodes):
    *_others, worker = sorted(set(nodes.names) - set(nodes.control_planes))
    target = f"{nodes.etcd_hosts[0]}.{nodes.platform.domain}"
    shown = nodes.platform.shell(worker, f"curl -sk -m 3 -o /dev/null -w '%{{exitcode}}' https://{target}:2379/; true")
    assert shown.strip() == "28", "the security group drops it"


def test_a_second_run_changes_and_restarts_nothing(nodes):
    before = nodes.processes()
    assert playbook_changes("site", "-e", "platform_cloud=false") == 0
    assert nodes.processes() == before


def test_a_member_of_etcd_is_killed(nodes):
    with faults.under_load(nodes, "external etcd's leader killed") as run:
        run["moment"] = time.monotonic()
        nodes.kill(nodes.etcd_leader(), "etcd")
        time.sleep(10)
    passed(run["outcome"])


def test_a_host_of_etcd_is_lost_and_comes_back(nodes):
    """Meanwhile a control plane may not be stopped: one more member lost would stop the cluster."""
    with faults.under_load(nodes, "host of external etcd's leader lost") as run:
        run["moment"] = time.monotonic()
        victim = nodes.etcd_leader()
        nodes.platform.lab("fault", "kill", victim)
        try:
            time.sleep(20)
            shown = playbook_fails("rolling_restart_kubernetes")
        finally:
            nodes.platform.lab("heal", victim)
    assert "etcd has members that are not healthy" in shown
    passed(run["outcome"])


def test_a_control_plane_is_lost_and_comes_back(nodes):
    victim = nodes.control_planes[0]
    with faults.under_load(nodes, "control plane lost, etcd on other hosts") as run:
        run["moment"] = time.monotonic()
        nodes.platform.lab("fault", "kill", victim)
        try:
            time.sleep(30)
        finally:
            nodes.platform.lab("heal", victim)
    passed(run["outcome"])


def test_a_control_plane_is_replaced(nodes):
    victim = nodes.control_planes[-1]
    members = {slot: nodes.processes()[slot] for slot in nodes.etcd_hosts}
    with faults.under_load(nodes, "control plane replaced, etcd on other hosts") as run:
        playbook_changes("replace_node", "-e", f"node={victim}", "-e", f"replace_confirm={victim}")
        nodes.refresh()
    passed(run["outcome"])
    assert {slot: nodes.processes()[slot] for slot in nodes.etcd_hosts} == members


def test_a_host_of_etcd_is_replaced(nodes):
    victim = nodes.etcd_leader()
    with faults.under_load(nodes, "host of external etcd replaced") as run:
        playbook_changes("replace_node", "-e", f"node={victim}", "-e", f"replace_confirm={victim}")
        nodes.refresh()
    passed(run["outcome"])
    assert nodes.etcd_members() == nodes.etcd_hosts


def test_certificates_are_rotated(nodes):
    line = "openssl x509 -noout -serial -in /etc/kubernetes/pki/external-etcd/apiserver.crt"
    before = {slot: nodes.platform.shell(slot, line) for slot in nodes.control_planes}
    with faults.under_load(nodes, "certificates rotated, etcd on other hosts") as run:
        playbook_changes("rotate_certificates")
    passed(run["outcome"])
    after = {slot: nodes.platform.shell(slot, line) for slot in nodes.control_planes}
    assert not [slot for slot in before if before[slot] == after[slot]]


def test_a_new_key_encrypts_what_the_members_hold(nodes):
    api, path = nodes.any_api(), "/api/v1/namespaces/default/secrets"
    api.call("DELETE", f"{path}/kept", missing_ok=True)
    api.call("POST", path, {"metadata": {"name": "kept"}, "stringData": {"word": "a word"}})
    former = nodes.stored_keys()
    playbook_changes("rotate_encryption_key_kubernetes")
    (new,) = nodes.stored_keys()
    assert new not in former
    found = nodes.any_api().call("GET", f"{path}/kept")["data"]["word"]
    assert base64.b64decode(found) == b"a word"


def test_a_restore_that_is_not_meant_or_cannot_be_touches_nothing(nodes):
    before = nodes.processes()
    playbook_changes("backup_kubernetes")
    assert "give key (latest" in playbook_fails(
        "restore_kubernetes", *faults.restore_arguments(nodes, confirm="another")
    )
    shown = playbook_fails("restore_kubernetes", *faults.restore_arguments(nodes, key="kubernetes/etcd/none.db"))
    assert "There is no snapshot kubernetes/etcd/none.db" in shown
    shown = playbook_fails(
        "restore_etcd", "-e", "target=kubernetes_etcd", *faults.restore_arguments(nodes, "etcd_restore")
    )
    assert "restore_kubernetes.yml stops them" in shown
    assert playbook_changes("restore_kubernetes", *faults.restore_arguments(nodes), "--check") == 0
    assert nodes.processes() == before


def test_all_data_of_etcd_is_wiped_and_restored(nodes):
    """Cut off when half of the members may have begun, and repeated; the workload goes on while there is no API."""
    with faults.restored(nodes, "all data of external etcd wiped, restored from S3") as run:
        nodes.wipe_etcd()
        cut_off("restore_kubernetes", faults.restore_arguments(nodes), "restore_place | Start etcd", 1, 1)
        assert "was cut off; run the playbook that restores it again" in playbook_fails("etcd")
        cut_off("restore_kubernetes", faults.restore_arguments(nodes), "restore_start | Start the kubelet anew", 1)
        playbook_changes("restore_kubernetes", *faults.restore_arguments(nodes))
    passed(run["outcome"])
    assert nodes.etcd_members() == nodes.etcd_hosts
    for slot in nodes.etcd_hosts:
        left = nodes.platform.shell(slot, "ls -d /var/lib/etcd/restore /var/lib/etcd/data/restored 2>/dev/null; true")
        assert left == ""
    before = nodes.processes()
    assert playbook_changes("etcd") == 0
    assert playbook_changes("kubernetes") == 0
    assert nodes.processes() == before


def test_a_snapshot_of_a_members_own_volume_is_restored_while_all_run(nodes):
    """As backup_etcd.yml takes it to S3; what the members held is kept aside."""
    with faults.restored(nodes, "external etcd restored while it runs", "backup_etcd") as run:
        playbook_changes("restore_kubernetes", *faults.restore_arguments(nodes))
    passed(run["outcome"])
    for slot in nodes.etcd_hosts:
        nodes.platform.shell(slot, "test -d /var/lib/etcd/data.before/member")
    assert playbook_changes("etcd") == 0


def test_a_cluster_does_not_change_where_its_etcd_is(nodes):
    before = nodes.processes()
    shown = playbook_fails("kubernetes", "-e", json.dumps({"kubernetes_etcd_group": ""}))
    assert "is on other hosts" in shown
    assert nodes.processes() == before


def test_a_run_after_faults_changes_and_restarts_nothing(nodes):
    before = nodes.processes()
    assert playbook_changes("site", "-e", "platform_cloud=false") == 0
    assert nodes.processes() == before

"""Kubernetes on the running platform: nodes of the cloud, HTTP through HAProxy, faults under load.

Every acknowledged write into the API is there afterwards, and the workload answers each request. The times are recorded
in bench/results/, not asserted.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import time
from http import HTTPStatus

import kubernetes_faults as faults
import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities
from operations import cut_off
from results import record
from running import described, middle_line, playbook_changes, playbook_fails, playbook_says, secret_values

pytestmark = pytest.mark.long
#: Of the faults, the one that make test has the time for.
IN_MAKE_TEST = "control plane with etcd's leader lost"
#: kubeadm's form, https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
BOOTSTRAP_TOKEN = r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"


@pytest.fixture(scope="module")
def nodes(platform):
    found = faults.Nodes(platform)
    found.wait_until_well()
    return found


def passed(outcome):
    """Note an outcome, and require what must hold."""
    record(faults.RESULTS, outcome)
    faults.assert_nothing_lost(outcome)


@pytest.mark.smoke
def test_nodes_are_those_of_the_cloud(nodes):
    """The cloud controller manager knows each by its instance and zone, and has written the way to its pods."""
    found = nodes.nodes()
    assert sorted(found) == sorted(nodes.names.values())
    instances = {slot: nodes.platform.hosts[slot][0] for slot in nodes.names}
    for slot, name in nodes.names.items():
        node = found[name]
        assert node["ready"] and node["slot"] == slot
        assert node["zone"] == nodes.zones[slot]
        assert node["provider_id"] == f"aws:///{nodes.zones[slot]}/{instances[slot]}"
        assert node["pod_network"] and node["routed"]
        assert faults.kubernetes.UNINITIALIZED not in node["taints"]
    assert {slot for slot in nodes.names if found[nodes.names[slot]]["control_plane"]} == set(nodes.control_planes)
    assert nodes.pod_routes() == {found[nodes.names[slot]]["pod_network"]: instances[slot] for slot in nodes.names}


@pytest.mark.smoke
def test_a_pod_answers_through_each_edge_host(nodes):
    for edge in nodes.cluster.edges:
        found = nodes.cluster.ask(edge, f"by {edge}")
        assert found["body"] == f"by {edge}" and found["node"] in nodes.names.values()


@pytest.mark.smoke
def test_pods_reach_each_other_across_nodes_and_names(nodes):
    """From a worker's pod to CoreDNS on other nodes, and by the name that it gives to a service."""
    shown = nodes.in_pod(
        "echo",
        "getent ahostsv4 echo.demo.svc.cluster.local kubernetes.default.svc.cluster.local || exit 1;"
        " curl -sS -m 5 -d across http://echo.demo.svc.cluster.local/",
    )
    assert json.loads(shown.splitlines()[-1])["body"] == "across"


@pytest.mark.smoke
def test_pods_do_not_reach_the_instances_credentials(nodes):
    shown = nodes.in_pod(
        "echo", "curl -s -m 3 -o /dev/null -w '%{exitcode}' http://169.254.169.254/latest/api/token; true"
    )
    assert shown.strip() == "28", "nothing may answer"


@pytest.mark.smoke
def test_metrics_of_all_nodes_are_there(nodes):
    items = nodes.any_api().call("GET", "/apis/metrics.k8s.io/v1beta1/nodes")["items"]
    assert sorted(item["metadata"]["name"] for item in items) == sorted(nodes.names.values())


@pytest.mark.smoke
def test_a_secret_is_encrypted_in_etcd(nodes):
    name, planted = "planted", "planted-in-the-ledger"
    api = nodes.any_api()
    path = "/api/v1/namespaces/default/secrets"
    api.call("DELETE", f"{path}/{name}", missing_ok=True)
    api.call("POST", path, {"metadata": {"name": name}, "stringData": {"word": planted}})
    stored = nodes.in_etcd(
        nodes.control_planes[0], f"get /registry/secrets/default/{name} --print-value-only | tr -cd '[:print:]'"
    )
    assert "k8s:enc:secretbox" in stored and planted not in stored
    api.call("DELETE", f"{path}/{name}")


@pytest.mark.smoke
def test_a_second_run_changes_and_restarts_nothing(nodes):
    before = nodes.processes()
    assert playbook_changes("site", "-e", "platform_cloud=false") == 0
    assert nodes.processes() == before


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.smoke] if name == IN_MAKE_TEST else []) for name in faults.FAULTS],
)
def test_the_workload_answers_and_no_write_is_lost(nodes, name):
    passed(faults.run_fault(nodes, name))


@pytest.mark.parametrize("name", faults.OPERATIONS)
def test_the_workload_answers_through_an_operation(nodes, name):
    passed(faults.run_operation(nodes, name))


def test_an_argument_that_no_api_server_takes_is_taken_back(nodes):
    """The first to take it runs as before, the others were not touched, the cluster has its former configuration."""
    before = nodes.processes()
    with faults.under_load(nodes, "an argument that no API server takes") as run:
        shown = playbook_fails("kubernetes", "-e", faults.BAD_FLAG)
    assert "did not become well with what is described, so it runs as before" in shown
    passed(run["outcome"])
    after = nodes.processes()
    (first,) = [slot for slot in nodes.names if after[slot] != before[slot]]
    assert first in nodes.control_planes
    kept = nodes.any_api().call("GET", "/api/v1/namespaces/kube-system/configmaps/kubeadm-config")
    assert "no-such-flag" not in json.dumps(kept["data"])
    # Each control plane has a copy of what is described, which is written again; nothing starts anew.
    assert playbook_changes("kubernetes") == len(nodes.control_planes)
    assert nodes.processes() == after
    assert playbook_changes("kubernetes") == 0


def test_the_state_is_shown_and_what_is_not_well_is_named(nodes):
    before = nodes.processes()
    assert playbook_changes("verify_kubernetes") == 0
    assert playbook_changes("verify_kubernetes", "--check") == 0
    assert nodes.processes() == before
    worker = next(slot for slot in nodes.names if slot not in nodes.control_planes)
    nodes.platform.shell(worker, "systemctl stop kubelet")
    try:
        assert f"the kubelet of {worker} does not answer" in playbook_fails("verify_kubernetes")
    finally:
        nodes.platform.shell(worker, "systemctl start kubelet")
        nodes.wait_until_well()


def test_control_planes_count_for_the_alerts(nodes):
    """Within two minutes of the timer."""
    for slot in nodes.control_planes:
        told = nodes.platform.shell(slot, "cat /var/lib/prometheus/node-exporter/kubernetes.prom")
        assert "kubernetes_pods_without_node 0" in told
        assert all(f'kubernetes_nodes_not_ready{{zone="{zone}"}} 0' in told for zone in set(nodes.zones.values()))
        nodes.platform.shell(slot, "systemctl start kubernetes-serving")
        served = nodes.platform.shell(slot, "cat /var/lib/prometheus/node-exporter/kubernetes_serving.prom")
        ends = re.findall(r'kubernetes_kubelet_certificate_not_after_seconds{node="(.+)"}', served)
        assert sorted(ends) == sorted(nodes.names.values())
        assert "kubernetes_kubelet_requests_refused 0" in served


def failed(page):
    """The automated controls that failed without a reason, by their numbers, and how many there are."""
    rows = re.findall(r"<tr><td>([\d.]+)</td>(.*?)</tr>", page.rpartition("<h2>All controls</h2>")[2])
    automated = [(number, row) for number, row in rows if "<td>automated</td>" in row]
    return [number for number, row in automated if 'class="fail"' in row], len(automated)


def test_the_profile_cis_is_turned_on_and_off(nodes, tmp_path):
    """Under load, one host after the other; what runs then passes each automated control, or the page says why not."""
    cis = ["-e", json.dumps({"kubernetes_profile": "cis"})]
    with faults.under_load(nodes, "the profile cis turned on") as run:
        cut_off("kubernetes", cis, "roll | Start the kubelet with its", 2)
        assert playbook_changes("kubernetes", *cis)
    passed(run["outcome"])
    before = nodes.processes()
    assert playbook_changes("kubernetes", *cis) == 0
    path = tmp_path / "benchmark.html"
    # The page, and nothing else.
    assert playbook_changes("verify_kubernetes", *cis, "-e", f"kubernetes_benchmark_page={path}") == 1
    assert playbook_changes("verify_kubernetes", *cis, "-e", f"kubernetes_benchmark_page={path}") == 0
    assert nodes.processes() == before
    assert failed(path.read_text()) == ([], 64)
    # Who joins has no login yet.
    slot = nodes.control_planes[-1]
    playbook_changes("reset_kubernetes", *cis, "-e", f"node={slot}", "-e", f"reset_confirm={slot}")
    playbook_changes("kubernetes", *cis)
    playbook_changes("verify_kubernetes", *cis, "-e", f"kubernetes_benchmark_page={path}")
    assert failed(path.read_text()) == ([], 64)
    with faults.under_load(nodes, "the profile cis turned off") as run:
        assert playbook_changes("kubernetes")
    passed(run["outcome"])
    before = nodes.processes()
    assert playbook_changes("kubernetes") == 0
    assert nodes.processes() == before


def test_all_data_of_etcd_is_wiped_and_restored(nodes):
    """The cluster is that of the backup, and the workload went on while there was no API."""
    with faults.restored(nodes, "all data of etcd wiped, restored from S3") as run:
        nodes.wipe_etcd()
        playbook_changes("restore_kubernetes", *faults.restore_arguments(nodes))
    passed(run["outcome"])
    assert playbook_changes("kubernetes") == 0


@pytest.fixture(scope="module")
def secrets(nodes):
    """Some pages of Secrets; returns what must be in each."""
    api, path = nodes.any_api(), "/api/v1/namespaces/default/secrets"
    wanted = {f"kept-{number:03}": base64.b64encode(f"word {number}".encode()).decode() for number in range(250)}
    for name, word in wanted.items():
        api.call("DELETE", f"{path}/{name}", missing_ok=True)
        api.call("POST", path, {"metadata": {"name": name}, "data": {"word": word}, "immutable": name == "kept-000"})
    yield wanted
    for name in wanted:
        nodes.any_api().call("DELETE", f"{path}/{name}", missing_ok=True)


def held(nodes):
    """What is in the Secrets."""
    items = nodes.any_api().call("GET", "/api/v1/namespaces/default/secrets")["items"]
    return {item["metadata"]["name"]: item["data"]["word"] for item in items if "word" in item.get("data", {})}


def test_a_new_key_encrypts_all_secrets_however_often_it_is_cut_off(nodes, secrets):
    """A usual run between two cuts takes no key away, and one after the rotation changes nothing."""
    rotate, former = "rotate_encryption_key_kubernetes", nodes.stored_keys()
    # A control plane that has done a step does not do it again, so the first one adds the key once.
    adding = len(nodes.control_planes) - 1
    with faults.under_load(nodes, "rotation of the encryption key") as run:
        cut_off(rotate, [], "rotate_key_step | Keep what it is", 2)
        playbook_changes("kubernetes")
        cut_off(rotate, [], "roll | Start the kubelet with its", adding + 2)
        cut_off(rotate, [], "rewrite | Encrypt with it what", 1, 2)
        playbook_changes("kubernetes")
        cut_off(rotate, [], "roll | Let kubeadm bring", 2)
        playbook_changes("kubernetes")
        playbook_changes(rotate)
    passed(run["outcome"])
    (new,) = nodes.stored_keys()
    assert new not in former
    assert nodes.keys() == {slot: [new] for slot in nodes.control_planes}
    assert held(nodes) == secrets
    before = nodes.processes()
    assert playbook_changes("kubernetes") == 0
    assert nodes.processes() == before


def test_a_rotation_is_refused_while_a_control_plane_is_not_ready(nodes):
    victim, keys = nodes.control_planes[-1], nodes.keys()
    nodes.platform.shell(victim, "mv /etc/kubernetes/manifests/kube-apiserver.yaml /etc/kubernetes/")
    try:
        nodes.platform.shell(victim, "while pidof kube-apiserver; do sleep 1; done", 120)
        shown = playbook_fails("rotate_encryption_key_kubernetes")
    finally:
        nodes.platform.shell(victim, "mv /etc/kubernetes/kube-apiserver.yaml /etc/kubernetes/manifests/")
    assert "Kubernetes has members that are not well" in shown
    nodes.wait_until_well()
    assert nodes.keys() == keys


def test_authorities_rotated_while_everything_goes_on_and_former_ones_are_refused(nodes):
    """Cut off in each step and repeated, with a usual run between two cuts; one after the rotation changes nothing."""
    rotate, former = "rotate_authorities_kubernetes", nodes.cluster
    (old,) = {name for names in nodes.trusted().values() for name in names}
    confirmed = ["-e", f"rotate_confirm={old}"]
    at_once = [*confirmed, "-e", "kubernetes_authorities_overlap=0"]
    with faults.under_load(nodes, "rotation of the authorities") as run:

        def follow():
            nodes.refresh()
            for writer in run["writers"]:
                writer.use(nodes.cluster)

        cut_off(rotate, confirmed, "trust | Let what asks", 2)
        playbook_changes("kubernetes")
        cut_off(rotate, [], "rotate_authorities_publish | Let pods", 1)
        playbook_changes(rotate)
        both = nodes.trusted()
        (new,) = {name for names in both.values() for name in names} - {old}
        assert both == dict.fromkeys(nodes.names, [old, new]), "people outside have the time to trust both"
        follow()
        cut_off(rotate, at_once, "trust | Let what asks", 2)
        playbook_changes("kubernetes")
        cut_off(rotate, at_once, "rotate_authorities_step | Give the kubelet a certificate", 2)
        playbook_changes(rotate)
        follow()
        assert nodes.trusted() == dict.fromkeys(nodes.names, [new, old]), "the former tokens have the time to end"
        # Who shows a certificate of the former one is let in, if they trust the new one, too.
        known = dataclasses.replace(former, ca=nodes.cluster.ca)
        known.api(next(iter(former.edges))).call("GET", "/api/v1/nodes")
        before = nodes.processes()
        assert playbook_changes("kubernetes") == 0
        assert nodes.processes() == before
        cut_off(rotate, at_once, "roll | Let kubeadm bring", 2)
        playbook_changes("kubernetes")
        cut_off(rotate, at_once, "rotate_authorities_end | Put them", 1)
        playbook_changes(rotate, *at_once)
        follow()
    passed(run["outcome"])
    shown = playbook_fails(rotate, *at_once)
    assert f"the authority of this cluster is {new}, not {old}; to replace it" in shown
    assert nodes.trusted() == dict.fromkeys(nodes.names, [new])
    assert kubernetes_authorities.names(nodes.authorities()) == [new]
    for edge in former.edges:
        # The served certificate is not of the former authority, and nobody with one of it is let in.
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            former.api(edge).request("GET", "/readyz")
        status, _text = dataclasses.replace(former, ca=nodes.cluster.ca).api(edge).request("GET", "/api/v1/nodes")
        assert status == HTTPStatus.UNAUTHORIZED
    before = nodes.processes()
    assert playbook_changes("kubernetes") == 0
    assert playbook_changes("kubernetes_addons") == 0
    assert nodes.processes() == before


def test_a_backup_of_another_keys_time_is_readable(nodes, secrets):
    with faults.under_load(nodes, "a backup of another key's time restored") as run:
        run["saved"] = time.monotonic()
        playbook_changes("backup_kubernetes")
        backup = nodes.platform.shell(nodes.control_planes[0], "kubernetes-backup list").split()[-1]
        (former,) = nodes.stored_keys()
        playbook_changes("rotate_encryption_key_kubernetes")
        (new,) = nodes.stored_keys()
        playbook_changes("restore_kubernetes", *faults.restore_arguments(nodes, key=backup))
    passed(run["outcome"])
    assert former in nodes.stored_keys() and held(nodes) == secrets
    assert all(keys[0] == new and former in keys for keys in nodes.keys().values())
    playbook_changes("rotate_encryption_key_kubernetes")
    assert nodes.stored_keys() == {new} and held(nodes) == secrets
    assert nodes.keys() == {slot: [new] for slot in nodes.control_planes}
    assert playbook_changes("kubernetes") == 0


def test_a_reset_host_is_clean_and_joins_anew(nodes):
    """Any control plane, the one that began the cluster too. No secret is in what the run says that lets it join."""
    slot = nodes.control_planes[0]
    arguments = ["-e", f"node={slot}", "-e", f"reset_confirm={slot}"]
    with faults.under_load(nodes, "reset of a control plane, which joins anew") as run:
        cut_off("reset_kubernetes", arguments, "undo | Undo what kubeadm has done", 1)
        playbook_changes("reset_kubernetes", *arguments)
        left = nodes.platform.shell(
            slot, "ls /etc/kubernetes /var/lib/etcd/data /usr/local/bin/kubeadm 2>/dev/null; pidof kubelet etcd; true"
        )
        said = playbook_says("kubernetes")
    assert left == ""
    passed(run["outcome"])
    assert "TASK [selfhosted.ec2.kubernetes : join | Join]" in said
    for name, secret in secret_values(nodes.platform.name).items():
        assert middle_line(secret) not in said, name
        assert base64.b64encode(secret.encode()).decode() not in said, name
    assert not re.search(BOOTSTRAP_TOKEN, said)


def test_a_budget_that_lets_no_pod_go_gives_the_node_back(nodes):
    """The drain says which pod is left; the node takes pods as before, and no request has failed."""
    slot = next(slot for slot in nodes.workload_nodes() if slot not in nodes.control_planes)
    nodes.any_api().call("PATCH", faults.BUDGET, {"spec": {"maxUnavailable": 0}}, "application/merge-patch+json")
    arguments = ("-e", f"node={slot}", "-e", f"reset_confirm={slot}", "-e", "kubernetes_drain_wait=20")
    with faults.under_load(nodes, "a drain that a budget does not allow") as run:
        shown = playbook_fails("reset_kubernetes", *arguments)
    passed(run["outcome"])
    assert "are left after 20 s (demo/echo-" in shown and "disruption budget" in shown
    node = nodes.nodes()[nodes.names[slot]]
    assert node["ready"] and node["schedulable"]
    assert playbook_changes("kubernetes_addons") > 0
    assert playbook_changes("site", "-e", "platform_cloud=false") == 0


def test_a_rolling_deployment_answers_each_request(nodes):
    before = nodes.processes()
    with faults.under_load(nodes, "rolling deployment of the workload") as run:
        nodes.roll_workload()
    passed(run["outcome"])
    assert nodes.processes() != before
    assert playbook_changes("kubernetes_addons") == 0


def test_pods_of_a_terminated_worker_start_elsewhere_and_it_is_replaced(nodes):
    """Requests may fail until its node is known to be gone, and none later; writes go on."""
    # What came before may have left both pods on one node.
    nodes.roll_workload()
    with faults.under_load(nodes, "worker terminated and replaced") as run:
        victim = nodes.workload_nodes()[-1]
        run["moment"] = time.monotonic()
        nodes.platform.terminate(victim)
        nodes.wait_for_workload(victim)
        elsewhere = time.monotonic()
        playbook_changes("replace_node", "-e", f"node={victim}")
        nodes.refresh()
    record(faults.RESULTS, run["outcome"])
    print(f"pods were ready elsewhere after {elsewhere - run['moment']:.1f} s")
    faults.assert_acknowledged_is_there(run["outcome"])
    assert not [error for reader in run["readers"] for error in reader.errors if error[0] > elsewhere]


def test_a_worker_leaves_and_comes_back(nodes):
    *_others, last = sorted(set(nodes.names) - set(nodes.control_planes))
    fewer = faults.workers(len(nodes.names) - len(nodes.control_planes) - 1)
    leave = json.dumps({"platform_remove": [last], "platform_confirm": [last]})
    with faults.under_load(nodes, "removing a worker") as run:
        playbook_changes("remove_nodes", *fewer, "-e", leave)
        nodes.refresh()
    passed(run["outcome"])
    assert last not in nodes.names
    before = nodes.processes()
    with faults.under_load(nodes, "adding a worker") as run:
        playbook_changes("provision")
        playbook_changes("site", "-e", "platform_cloud=false", "-e", f"only={last}")
        playbook_changes("haproxy")
        nodes.refresh()
    passed(run["outcome"])
    assert last in nodes.names
    assert {slot: found for slot, found in nodes.processes().items() if slot != last} == before


def test_a_node_that_joins_alone_gets_later_what_the_cluster_was_not_told(nodes):
    """And one whose join was cut off at its end has all that another one has."""
    *_rest, other, last = [slot for slot in nodes.names if slot not in nodes.control_planes]
    alone, reset = ("-e", f"target={last}"), ("-e", f"node={last}", "-e", f"reset_confirm={last}")
    playbook_changes("reset_kubernetes", *reset)
    cut_off("kubernetes", [*alone], "join | Run the kubelet at every start", 1)
    playbook_changes("kubernetes", *alone)
    assert nodes.platform.shell(last, "systemctl is-enabled kubelet").strip() == "enabled"
    assert playbook_changes("kubernetes", *alone) == 0
    setting = {**described("kubernetes_kubelet_config"), "containerLogMaxFiles": 4}
    changed = ("-e", json.dumps({"kubernetes_kubelet_config": setting}))
    playbook_changes("reset_kubernetes", *reset)
    playbook_changes("kubernetes", *alone, *changed)
    shown = playbook_fails("kubernetes", "-e", f"target={other}", *changed)
    assert f"was not told what is described for {other} (kubelet-config)" in shown
    playbook_changes("kubernetes", *changed)
    for slot in nodes.names:
        assert "containerLogMaxFiles: 4" in nodes.platform.shell(slot, "cat /var/lib/kubelet/config.yaml")
    assert playbook_changes("kubernetes", *changed) == 0
    playbook_changes("kubernetes")


def test_a_run_after_faults_changes_and_restarts_nothing(nodes):
    before = nodes.processes()
    assert playbook_changes("site", "-e", "platform_cloud=false") == 0
    assert nodes.processes() == before

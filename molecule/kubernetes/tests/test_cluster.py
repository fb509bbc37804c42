"""The cluster as its administrator finds it, asked on the control plane."""

import base64
import json
import shlex
import time

import pytest

testinfra_hosts = ["ansible://control-1"]
VERSION = "1.37.2"
BASE = "/etc/kubernetes/platform"
ENDPOINT = "kubernetes.molecule.internal"
AUDIT = "/var/log/kubernetes/audit"
WORD = "planted-by-the-scenario"
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "planted", "namespace": "default"},
    "stringData": {"word": WORD},
}
PRIVILEGED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged", "namespace": "default"},
    "spec": {
        "hostNetwork": True,
        "containers": [
            {"name": "echo", "image": "workload.internal/echo:1", "securityContext": {"privileged": True}},
        ],
    },
}


@pytest.fixture
def root(host):
    with host.sudo():
        yield host


@pytest.fixture(scope="module")
def planted(cluster):
    """A Secret, until the tests of this file have ended."""
    cluster.run("delete secret planted --ignore-not-found")
    cluster.do("create", SECRET)
    yield SECRET["metadata"]["name"]
    cluster.run("delete secret planted")


def etcdctl(host, words):
    """Output of etcdctl in etcd's own container."""
    pki = "/etc/kubernetes/pki/etcd"
    login = f"--cacert={pki}/ca.crt --cert={pki}/server.crt --key={pki}/server.key"
    return host.check_output(
        f"nsenter -t $(pidof -s etcd) -m etcdctl --endpoints=https://127.0.0.1:2379 {login} {words}"
    )


def test_there_are_the_two_nodes_and_no_other(cluster):
    slots = [item["metadata"]["labels"]["selfhosted.ec2/slot"] for item in cluster.items("nodes")]
    assert sorted(slots) == ["control-1", "workers-1"]


def test_the_parts_run_with_the_described_version(cluster):
    found = {}
    for item in cluster.items("pods -n kube-system -l tier=control-plane"):
        part, (state,) = item["metadata"]["labels"]["component"], item["status"]["containerStatuses"]
        assert state["ready"], part
        found[part] = item["spec"]["containers"][0]["image"]
    assert found.pop("etcd").startswith("registry.k8s.io/etcd:3.")
    parts = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    assert found == {part: f"registry.k8s.io/{part}:v{VERSION}" for part in parts}
    cluster.do("rollout status daemonset/kube-proxy -n kube-system --timeout=60s")


def test_the_api_server_verifies_kubelets_and_they_run_with_what_is_described(cluster):
    """Asked through the API server, which trusts the cluster's CA alone."""
    for item in cluster.items("nodes"):
        shown = cluster.do(f"get --raw /api/v1/nodes/{item['metadata']['name']}/proxy/configz")
        config = json.loads(shown)["kubeletconfig"]
        assert config["serverTLSBootstrap"] is True and "tlsCertFile" not in config
        assert config["authentication"]["anonymous"]["enabled"] is False
        assert config["providerID"] == item["spec"]["providerID"]
        assert (config["seccompDefault"], config["podPidsLimit"]) == (True, 4096)
    (server,) = cluster.items("pods -n kube-system -l component=kube-apiserver")
    assert "--kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt" in server["spec"]["containers"][0]["command"]


def test_logs_of_pods_on_both_nodes_can_be_read(cluster, pods):
    assert len(pods) == 2
    for item in cluster.items("pods -l app=echo"):
        cluster.do(f"logs {item['metadata']['name']}")


def test_a_stranger_may_read_no_nodes(root):
    line = "curl -sS -m 10 -o /dev/null -w '%{http_code}' --cacert /etc/kubernetes/pki/ca.crt"
    assert root.check_output(f"{line} https://kubernetes.molecule.internal:6443/api/v1/nodes") == "403"


def login(root, cluster_id, words):
    """The result of kubectl with a token that names a cluster, of the role that the instance has."""
    made = f"AWS_REGION=eu-west-1 aws-iam-authenticator token --token-only -i {cluster_id}"
    where = "--kubeconfig=/dev/null --certificate-authority=/etc/kubernetes/pki/ca.crt"
    return root.run(f"kubectl {where} --server=https://{ENDPOINT}:6443 --token=$({made}) {words}")


def test_a_role_of_iam_logs_in_by_its_name_and_may_what_rules_say(root):
    found = login(root, ENDPOINT, "auth whoami -o json")
    assert found.rc == 0, found.stderr
    user = json.loads(found.stdout)["status"]["userInfo"]
    assert user["username"] == "operator" and set(user["groups"]) == {"operators", "system:authenticated"}
    assert "Forbidden" in login(root, ENDPOINT, "get nodes").stderr


def test_a_token_for_another_cluster_is_none(root):
    assert "Unauthorized" in login(root, "kubernetes.trading.internal", "auth whoami").stderr


def test_a_pod_with_the_hosts_rights_is_refused(cluster):
    refused = cluster.run("create", PRIVILEGED)
    assert refused.rc != 0
    assert 'violates PodSecurity "baseline:latest"' in refused.stderr


def test_a_secret_is_encrypted_in_etcd(root, planted):
    stored = etcdctl(root, f"get /registry/secrets/default/{planted} --print-value-only | tr -cd '[:print:]'")
    assert stored.startswith("k8s:enc:secretbox:v1:")
    assert WORD not in stored


def test_the_key_of_encryption_is_in_one_file_and_on_no_command_line(root):
    file = root.file(f"{BASE}/encryption.yaml")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)
    # By standard input: what is looked for is on no command line either.
    key = f"sed -n 's/.*secret: //p' {BASE}/encryption.yaml"
    holders = root.check_output(f"{key} | grep -rlF -f - /etc/kubernetes /etc/systemd /var/lib/kubelet/config.yaml")
    assert holders.split() == [file.path]
    (secret,) = root.check_output(key).split()
    shown = root.check_output("ps -eo args") + root.check_output("journalctl --boot --no-pager")
    for form in (secret, base64.b64decode(secret).decode()):
        assert len(form) >= 32
        assert form not in shown


def test_the_audit_log_tells_who_made_the_secret_and_not_what_is_in_it(root, planted):
    directory = root.file(AUDIT)
    assert (directory.user, directory.mode) == ("root", 0o700)
    assert root.file(f"{AUDIT}/audit.log").mode == 0o600
    lines = root.check_output(f"grep -hF '\"{planted}\"' {AUDIT}/audit.log").splitlines()
    made = [entry for entry in map(json.loads, lines) if entry["verb"] == "create"][-1]
    assert made["user"]["username"] == "kubernetes-admin"
    assert (made["objectRef"]["resource"], made["objectRef"]["name"]) == ("secrets", planted)
    assert made["level"] == "Metadata"
    assert root.run(f"grep -rqF {WORD} {AUDIT}").rc == 1


def test_no_token_to_join_is_left(cluster):
    """kubeadm makes one for a minute, with which nobody joins; the role's own are deleted at once."""
    tokens = "secrets -n kube-system --field-selector type=bootstrap.kubernetes.io/token"
    deadline = time.monotonic() + 90
    while (left := cluster.items(tokens)) and time.monotonic() < deadline:
        time.sleep(3)
    assert not left


def test_etcd_answers_nobody_without_a_certificate(root):
    for name in ("127.0.0.1", "control-1.molecule.internal"):
        assert root.run(f"curl -sfk -m 5 https://{name}:2379/version").rc != 0
        assert root.run(f"curl -sf -m 5 http://{name}:2379/version").rc != 0


def test_etcd_is_on_its_volume_which_is_tied_to_this_node(root):
    assert root.mount_point("/var/lib/etcd").exists
    assert root.file("/var/lib/etcd").mode == 0o700
    identity = json.loads(root.file("/var/lib/etcd/identity.json").content_string)
    assert (identity["member"], identity["domain"]) == ("control-1", "molecule.internal")
    members = json.loads(etcdctl(root, "member list -w json"))["members"]
    assert [member["name"] for member in members] == [identity["node"]]
    shown = root.check_output("systemctl show kubelet --property=RequiresMountsFor,Asserts")
    assert "/var/lib/etcd" in shown


def shown(root, file):
    return root.check_output(f"openssl x509 -noout -enddate -fingerprint -in /etc/kubernetes/pki/{file}.crt")


def starts(root):
    """When each part of the control plane and the kubelet started, by name."""
    parts = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
    return {part: root.check_output(f"ps -o lstart= -p $(pidof {part})") for part in parts}


def test_the_timer_of_the_certificates_runs_and_has_nothing_to_renew(root):
    timer = root.service("kubernetes-certificates.timer")
    assert timer.is_running and timer.is_enabled
    before = starts(root)
    root.check_output("systemctl start kubernetes-certificates.service")
    assert starts(root) == before
    ends = root.file("/var/lib/prometheus/node-exporter/kubernetes_certificates.prom").content_string
    assert 'name="apiserver",path="/etc/kubernetes/pki/apiserver.crt"' in ends
    assert 'name="scheduler.conf",path="/etc/kubernetes/scheduler.conf"' in ends


def test_renewed_certificates_are_served_and_only_two_parts_start_anew(root, cluster):
    names = ("apiserver", "apiserver-kubelet-client", "etcd/server", "etcd/peer", "front-proxy-client")
    before, former = starts(root), [shown(root, name) for name in names]
    assert len(json.loads(root.check_output("kubernetes-certificates renew 400"))["renewed"]) > 8
    now = starts(root)
    changed = {part for part in now if now[part] != before[part]}
    assert changed == {"kube-controller-manager", "kube-scheduler"}
    assert all(shown(root, name) != old for name, old in zip(names, former, strict=True))
    greeting = "openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null"
    assert root.check_output(f"{greeting} | openssl x509 -noout -enddate -fingerprint") == shown(root, "apiserver")
    # The kubelet takes the API server's.
    for node in cluster.items("nodes"):
        assert cluster.run(f"get --raw /api/v1/nodes/{node['metadata']['name']}/proxy/healthz").stdout == "ok"
    assert not root.file("/etc/kubernetes/platform/renewal").exists


def served(root):
    """The fingerprint of what the control plane's kubelet serves."""
    name = root.check_output(f"cat {BASE}/joined").strip()
    address = root.check_output(f"getent ahostsv4 {name}").split()[0]
    greeting = f"openssl s_client -connect {address}:10250 </dev/null 2>/dev/null"
    return root.run(f"{greeting} | openssl x509 -noout -fingerprint").stdout


def test_a_kubelet_without_a_certificate_gets_another_one_by_the_timer(root, cluster):
    timer, former = root.service("kubernetes-serving.timer"), served(root)
    assert timer.is_running and timer.is_enabled and former
    root.check_output("rm /var/lib/kubelet/pki/kubelet-server-current.pem && systemctl restart kubelet")
    deadline = time.monotonic() + 60
    # Of units systemd starts five within ten seconds, and the kubelet may take longer to ask.
    while not served(root) and time.monotonic() < deadline:
        time.sleep(3)
        root.check_output("systemctl start kubernetes-serving.service")
    assert served(root) not in ("", former)
    # The API server may have to find out that a connection has ended.
    line = f"get --raw /api/v1/nodes/{root.check_output(f'cat {BASE}/joined').strip()}/proxy/healthz"
    while cluster.run(line).rc and time.monotonic() < deadline:
        time.sleep(1)
    assert cluster.do(line) == "ok"


@pytest.mark.parametrize("names", ["DNS:kubernetes.molecule.internal", "IP:10.0.0.1"])
def test_a_node_that_asks_for_what_is_not_its_own_is_denied(root, cluster, names):
    """With the kubelet's own login, as one that was broken into would."""
    node = root.check_output(f"cat {BASE}/joined").strip()
    new = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/null"
    words = f'-subj "/O=system:nodes/CN=system:node:{node}" -addext "subjectAltName=DNS:{node},{names}"'
    spec = {
        "request": root.check_output(f"{new} {words} 2>/dev/null | base64 -w0"),
        "signerName": "kubernetes.io/kubelet-serving",
        "usages": ["digital signature", "server auth"],
    }
    meta = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "forged"}}
    cluster.run("delete csr forged --ignore-not-found")
    line = f"printf %s {shlex.quote(json.dumps({**meta, 'spec': spec}))} | kubectl create -f -"
    root.check_output(f"{line} --kubeconfig=/etc/kubernetes/kubelet.conf")
    root.check_output("systemctl start kubernetes-serving.service")
    status = json.loads(cluster.do("get csr forged -o json"))["status"]
    told = root.file("/var/lib/prometheus/node-exporter/kubernetes_serving.prom").content_string
    cluster.do("delete csr forged")
    (verdict,) = status["conditions"]
    assert verdict["type"] == "Denied" and f"asks for {names.partition(':')[2]}" in verdict["message"]
    assert "certificate" not in status
    assert "kubernetes_kubelet_requests_refused 1" in told
    assert f'kubernetes_kubelet_certificate_not_after_seconds{{node="{node}"}}' in told


def test_the_timer_of_the_snapshots_runs_and_one_is_whole_on_the_volume_and_in_s3(root, planted):
    timer = root.service("kubernetes-backup.timer")
    assert timer.is_running and timer.is_enabled
    root.check_output("systemctl start kubernetes-backup.service")
    newest = root.check_output("ls -t /var/lib/etcd/snapshots/*.db").splitlines()[0]
    assert root.file("/var/lib/etcd/snapshots").mode == 0o700
    found = json.loads(root.check_output(f"kubernetes-backup check {newest}"))
    assert found["keys"] > 100
    assert root.check_output("kubernetes-backup list").split()[-1].rpartition("/")[2] == newest.rpartition("/")[2]
    # What a backup holds of the Secret is encrypted, too.
    assert root.run(f"grep -qaF {planted} {newest}").rc == 0
    assert root.run(f"grep -qaF {WORD} {newest}").rc == 1

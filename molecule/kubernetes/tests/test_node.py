"""A node as its pods and its operator find it, whether it is a control plane or not."""

import ipaddress
import json
import re
import shlex

import pytest

testinfra_hosts = ["ansible://control-1", "ansible://workers-1"]
VERSION = "1.37.2"
BASE = "/etc/kubernetes/platform"
ENDPOINT = "kubernetes.molecule.internal"
PODS = ipaddress.ip_network("10.244.0.0/16")
METADATA = "http://169.254.169.254/latest"


def read(host, command):
    """Output of a command as root."""
    with host.sudo():
        return host.check_output(command)


def metadata(host, path):
    """What EC2 tells the instance of itself."""
    login = f"curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {METADATA}/api/token"
    return host.check_output(f'curl -sf -m 5 -H "X-aws-ec2-metadata-token: $({login})" {METADATA}/meta-data/{path}')


def in_pod(host, script):
    """Output of a script in the network of this node's pod."""
    return read(host, f"nsenter -t $(pidof -s echo) -n sh -c {shlex.quote(script)}")


@pytest.fixture
def name(host):
    return read(host, f"cat {BASE}/joined").strip()


@pytest.fixture
def slot(host):
    return host.check_output("hostname")


@pytest.fixture
def node(host, name):
    """The node as its own kubelet may read it."""
    return json.loads(read(host, f"kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get node {name} -o json"))


def test_services_run_and_start_at_boot(host):
    for unit in ("containerd", "kubelet", "kubernetes-network"):
        assert host.service(unit).is_running, unit
        assert host.service(unit).is_enabled, unit


def test_programs_are_those_of_the_described_version_and_no_package_can_replace_them(host):
    assert host.check_output("kubelet --version") == f"Kubernetes v{VERSION}"
    assert host.check_output("kubeadm version -o short") == f"v{VERSION}"
    client = json.loads(host.check_output("kubectl version --client -o json"))["clientVersion"]
    assert client["gitVersion"] == f"v{VERSION}"
    for program in ("kubelet", "kubeadm", "kubectl"):
        assert host.file(f"/usr/local/bin/{program}").linked_to.startswith(f"/opt/kubernetes/{program}-{VERSION}/")
        assert not host.package(program).is_installed


def test_no_pod_starts_without_the_rules_of_the_network(host):
    shown = host.check_output("systemctl show kubelet --property=ExecStartPre,After,Wants")
    assert "nft list table ip kubernetes_pods" in shown
    assert shown.count("kubernetes-network.service") == 2
    rules = read(host, "nft list table ip kubernetes_pods")
    assert f"ip saddr {PODS} ip daddr != {PODS} masquerade" in rules
    assert f"ip saddr {PODS} ip daddr 169.254.169.254 drop" in rules


def test_the_node_is_that_of_the_instance_and_ready(host, node, name, slot):
    assert name == metadata(host, "local-hostname")
    zone, instance = metadata(host, "placement/availability-zone"), metadata(host, "instance-id")
    assert node["spec"]["providerID"] == f"aws:///{zone}/{instance}"
    states = {item["type"]: item["status"] for item in node["status"]["conditions"]}
    assert states["Ready"] == "True"
    assert {states[kind] for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")} == {"False"}
    info = node["status"]["nodeInfo"]
    assert info["kubeletVersion"] == f"v{VERSION}"
    assert info["containerRuntimeVersion"].startswith("containerd://2.")
    addresses = {item["type"]: item["address"] for item in node["status"]["addresses"]}
    assert addresses["InternalIP"] == metadata(host, "local-ipv4")
    labels = node["metadata"]["labels"]
    assert labels["selfhosted.ec2/slot"] == slot
    assert labels["selfhosted.ec2/tier"] == slot.rpartition("-")[0]
    assert labels["example.com/pool"] == "general"
    assert ("node-role.kubernetes.io/control-plane" in labels) == (slot == "control-1")


def test_its_pods_have_a_network_of_their_own(node):
    network = ipaddress.ip_network(node["spec"]["podCIDR"])
    assert network.subnet_of(PODS)
    assert network.prefixlen == 24


def test_the_api_is_reached_by_its_name_through_haproxy(host):
    addresses = {line.split()[0] for line in host.check_output(f"getent ahostsv4 {ENDPOINT}").splitlines()}
    edge = {line.split()[0] for line in host.check_output("getent ahostsv4 edge-1.molecule.internal").splitlines()}
    assert addresses == edge
    line = f"curl -sS -m 10 --cacert /etc/kubernetes/pki/ca.crt https://{ENDPOINT}:6443/readyz"
    assert read(host, line) == "ok"


def test_the_kubelet_serves_a_certificate_of_the_cluster(host, name):
    address = metadata(host, "local-ipv4")
    authority = "-CAfile /etc/kubernetes/pki/ca.crt -verify_return_error"
    with host.sudo():
        for wanted in (f"-verify_hostname {name}", f"-verify_ip {address}"):
            shown = host.run(f"openssl s_client -connect {address}:10250 {authority} {wanted} -brief </dev/null 2>&1")
            assert "Verification: OK" in shown.stdout, shown.stdout


def test_the_kubelet_answers_nobody_without_a_login(host, name):
    way = f"--cacert /etc/kubernetes/pki/ca.crt --resolve {name}:10250:{metadata(host, 'local-ipv4')}"
    assert read(host, f"curl -sS -m 5 -o /dev/null -w '%{{http_code}}' {way} https://{name}:10250/pods") == "401"
    assert not re.search(r":10255\s", host.check_output("ss -Hltn"))


def test_the_node_may_not_read_secrets(host):
    with host.sudo():
        refused = host.run("kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get secrets --all-namespaces")
    assert refused.rc != 0
    assert "Forbidden" in refused.stderr


def test_keys_are_readable_for_their_owner_alone(host, slot):
    held = read(host, "grep -rlE 'PRIVATE KEY|client-key-data' /etc/kubernetes /var/lib/kubelet/pki").splitlines()
    assert any(path.startswith("/var/lib/kubelet/pki/kubelet-server-") for path in held)
    if slot == "control-1":
        kept = ("admin.conf", "pki/ca.key", "pki/etcd/ca.key", "pki/front-proxy-ca.key", "pki/sa.key")
        assert {f"/etc/kubernetes/{path}" for path in kept} <= set(held)
    for path in held:
        with host.sudo():
            assert not host.file(path).mode & 0o077, path


def test_nothing_is_left_of_how_the_host_joined(host):
    with host.sudo():
        for path in ("/run/kubernetes-join", f"{BASE}/init.yaml", f"{BASE}/before", "/etc/kubernetes/super-admin.conf"):
            assert not host.file(path).exists, path
        assert not host.file("/etc/kubernetes/bootstrap-kubelet.conf").exists


def test_no_token_is_on_a_command_line(host):
    lines = read(host, "ps -eo args")
    assert not re.search(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b", lines)
    assert "PRIVATE KEY" not in lines


def test_a_pod_answers_on_this_node(host, pods, name):
    assert ipaddress.ip_address(pods[name]) in PODS
    found = json.loads(host.check_output(f"curl -sS -m 5 -d asked http://{pods[name]}:8080/"))
    assert (found["body"], found["node"]) == ("asked", name)


def test_a_pod_reaches_the_api_by_its_service(host, pods, name):
    assert name in pods
    assert in_pod(host, "curl -sS -m 10 --cacert /etc/kubernetes/pki/ca.crt https://172.20.0.1/readyz") == "ok"


def test_a_pod_does_not_reach_the_instances_credentials(host, pods, name):
    assert name in pods
    line = f"curl -s -m 3 -o /dev/null -w '%{{exitcode}}' -X PUT {METADATA}/api/token; true"
    assert in_pod(host, line).strip() == "28", "nothing may answer"


def test_the_kubelet_does_not_repeat_an_error_each_second(host):
    """Of a worker it did, as long as there was no directory for manifests."""
    shown = read(host, "journalctl --unit=kubelet --since=-30s --no-pager")
    assert "Unable to read config path" not in shown

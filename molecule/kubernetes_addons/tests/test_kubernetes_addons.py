"""What the role adds to a cluster, as its pods and its administrator find it; asked on the control plane."""

import base64
import json
import re
import shlex
import time

import boto3
import pytest

testinfra_hosts = ["ansible://control-1"]
CLUSTER_TAG = "kubernetes.io/cluster/molecule"
METRICS = "/etc/kubernetes/platform/metrics-server"
ACCOUNT = "system:serviceaccount:kube-system:cloud-controller-manager"
SECONDS = 180


@pytest.fixture
def root(host):
    with host.sudo():
        yield host


def kubectl(host, words):
    """Result of kubectl with the rights of an administrator, as root."""
    return host.run(f"kubectl --kubeconfig=/etc/kubernetes/admin.conf {words}")


def items(host, words):
    """The objects of a list."""
    found = kubectl(host, f"get {words} -o json")
    assert found.rc == 0, found.stderr
    return json.loads(found.stdout)["items"]


def unready(host):
    """The pods of all namespaces that are not ready."""
    return [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in items(host, "pods --all-namespaces")
        if not any(
            state["type"] == "Ready" and state["status"] == "True" for state in pod["status"].get("conditions", [])
        )
    ]


def slots(host):
    """The names of the nodes by slot."""
    found = [node["metadata"] for node in items(host, "nodes")]
    return {node["labels"]["selfhosted.ec2/slot"]: node["name"] for node in found}


def in_pod(host, program, script):
    """Output of a script in the network of the pod that has a program, with its names and the host's commands."""
    pid = host.check_output(f"pidof -s {program}")
    # The pod's own file is mounted in its namespace, from where it cannot be mounted here.
    conf = "/run/molecule-pod.conf"
    names = f"cp /proc/{pid}/root/etc/resolv.conf {conf} && mount --bind {conf} /etc/resolv.conf"
    words = ["nsenter", "-t", pid, "-n", "unshare", "-m", "sh", "-c", f"{names} || exit 1; {script}"]
    return host.check_output(shlex.join(words))


def test_all_pods_are_ready(root):
    deadline = time.monotonic() + SECONDS
    while (waiting := unready(root)) and time.monotonic() < deadline:
        time.sleep(2)
    assert not waiting
    labels = [pod["metadata"]["labels"] for pod in items(root, "pods --all-namespaces")]
    found = {label.get("app") or label.get("k8s-app") for label in labels}
    assert {"aws-cloud-controller-manager", "metrics-server", "kube-dns", "kube-proxy", "echo"} <= found


def test_the_cloud_has_taken_up_every_node(root):
    for node in items(root, "nodes"):
        labels = node["metadata"]["labels"]
        zone, instance = node["spec"]["providerID"].removeprefix("aws:///").split("/")
        assert instance.startswith("i-")
        assert labels["topology.kubernetes.io/zone"] == zone
        assert labels["topology.kubernetes.io/region"] == "eu-west-1"
        assert labels["node.kubernetes.io/instance-type"] == "t3.medium"
        taints = [taint["key"] for taint in node["spec"].get("taints", [])]
        assert "node.cloudprovider.kubernetes.io/uninitialized" not in taints
        states = {state["type"]: state["status"] for state in node["status"]["conditions"]}
        assert (states["Ready"], states["NetworkUnavailable"]) == ("True", "False")


def test_the_vpc_routes_pods_to_their_nodes_and_lets_these_forward(root):
    """As AWS tells it, not the cluster."""
    ec2 = boto3.client("ec2")
    wanted = {node["spec"]["podCIDR"]: node["spec"]["providerID"].rpartition("/")[2] for node in items(root, "nodes")}
    tagged = [{"Name": f"tag:{CLUSTER_TAG}", "Values": ["owned"]}]
    routes = [route for table in ec2.describe_route_tables(Filters=tagged)["RouteTables"] for route in table["Routes"]]
    assert {route["DestinationCidrBlock"]: route["InstanceId"] for route in routes if "InstanceId" in route} == wanted
    answer = ec2.describe_instances(InstanceIds=list(wanted.values()))
    instances = [instance for entry in answer["Reservations"] for instance in entry["Instances"]]
    assert {instance["SourceDestCheck"] for instance in instances} == {False}


def test_a_pod_finds_names_of_the_cluster_and_of_the_platform(root):
    """Asked in the pod of metrics-server, since that of CoreDNS has the host's names."""
    (service,) = items(root, "services -n demo --field-selector metadata.name=echo")
    for name, address in (
        ("echo.demo.svc.cluster.local", service["spec"]["clusterIP"]),
        ("kubernetes.default.svc.cluster.local", "172.20.0.1"),
        ("workers-1.molecule.internal", root.check_output("getent ahostsv4 workers-1.molecule.internal").split()[0]),
    ):
        assert in_pod(root, "metrics-server", f"getent ahostsv4 {name}").split()[0] == address


def test_a_pod_of_another_node_answers_by_the_name_of_its_service(root):
    nodes = slots(root)
    (echo,) = items(root, "pods -n demo -l app=echo")
    assert echo["spec"]["nodeName"] == nodes["workers-1"]
    shown = in_pod(root, "metrics-server", "curl -sS -m 5 -d across http://echo.demo.svc.cluster.local/")
    found = json.loads(shown)
    assert (found["body"], found["node"]) == ("across", nodes["workers-1"])
    # A host reaches it, too: the API server has to.
    found = json.loads(root.check_output(f"curl -sS -m 5 -d direct http://{echo['status']['podIP']}:8080/"))
    assert (found["body"], found["node"]) == ("direct", nodes["workers-1"])


def test_coredns_is_on_both_nodes(root):
    pods = items(root, "pods -n kube-system -l k8s-app=kube-dns")
    assert sorted(pod["spec"]["nodeName"] for pod in pods) == sorted(slots(root).values())
    (budget,) = items(root, "poddisruptionbudgets -n kube-system --field-selector metadata.name=coredns")
    assert budget["spec"]["maxUnavailable"] == 1


def test_metrics_of_both_nodes_are_there(root):
    wanted, deadline = sorted(slots(root).values()), time.monotonic() + SECONDS
    while True:
        found = kubectl(root, "get --raw /apis/metrics.k8s.io/v1beta1/nodes")
        names = sorted(item["metadata"]["name"] for item in json.loads(found.stdout)["items"]) if not found.rc else []
        if names == wanted or time.monotonic() > deadline:
            break
        time.sleep(3)
    assert names == wanted, found.stderr


def test_metrics_server_is_verified_and_verifies(root):
    (service,) = items(root, "apiservices --field-selector metadata.name=v1beta1.metrics.k8s.io")
    authority = root.file("/etc/kubernetes/platform/metrics-server/ca.crt").content_string
    assert base64.b64decode(service["spec"]["caBundle"]).decode().strip() == authority.strip()
    assert not service["spec"].get("insecureSkipTLSVerify")
    assert {state["type"]: state["status"] for state in service["status"]["conditions"]} == {"Available": "True"}
    (pod,) = items(root, "pods -n kube-system -l app=metrics-server")
    arguments = pod["spec"]["containers"][0]["args"]
    assert "--kubelet-certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt" in arguments
    assert not [argument for argument in arguments if argument.startswith("--kubelet-insecure-tls")]
    checks = "-CAfile /etc/kubernetes/platform/metrics-server/ca.crt -verify_return_error"
    name = "-verify_hostname metrics-server.kube-system.svc"
    shown = root.run(f"openssl s_client -connect {pod['status']['podIP']}:10250 {checks} {name} -brief </dev/null 2>&1")
    assert "Verification: OK" in shown.stdout, shown.stdout


def test_the_key_of_metrics_server_is_its_own(root):
    key = root.file(f"{METRICS}/metrics-server.key")
    assert (key.uid, key.mode) == (65532, 0o600)
    assert "PRIVATE KEY" in key.content_string


def test_the_cloud_controller_manager_has_no_right_but_its_own(root):
    def may(words):
        return kubectl(root, f"auth can-i {words} --as={ACCOUNT} --namespace=kube-system").stdout.strip()

    assert may("create serviceaccounts/node-controller --subresource=token") == "yes"
    assert may("create serviceaccounts/default --subresource=token") == "no"
    assert may("get secrets") == "no"
    assert may("delete nodes") == "no"


def test_the_described_objects_are_there(root):
    (namespace,) = items(root, "namespaces --field-selector metadata.name=demo")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (proof,) = items(root, "configmaps -n demo --field-selector metadata.name=proof")
    assert proof["data"] == {"word": "described"}
    for item in (namespace, proof):
        assert item["metadata"]["labels"]["selfhosted.ec2/part"] == "platform"
    (echo,) = items(root, "deployments -n demo")
    assert (echo["spec"]["replicas"], echo["status"]["availableReplicas"]) == (1, 1)


def test_no_secret_is_on_a_command_line(root):
    lines = root.check_output("ps -eo args")
    # Keys and tokens of AWS and of the cluster.
    assert not re.search(r"PRIVATE KEY|\b(AKIA|ASIA)[A-Z0-9]{12,}|\beyJ[A-Za-z0-9_-]{20,}|--token[ =]", lines)

"""What control planes count for the alert rules, and who can reach what these rest on."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.unit.roles import playing, program

ROLE = playing.ROOT / "roles/kubernetes"
ZONE = "topology.kubernetes.io/zone"
#: Where the jobs of the rules find their metrics; stacked etcd has 2379, the one on hosts of its own 2381.
JOBS = {"kubernetes-apiserver": [6443], "kubelet": [10250], "kubernetes-etcd": [2379, 2381]}


def node(zone, ready):
    return {"metadata": {"labels": {ZONE: zone}}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def pod(**scheduled):
    return {"metadata": {}, "status": {"conditions": [{"type": "PodScheduled", **scheduled}] if scheduled else []}}


NODES = [node("eu-west-1a", "True"), node("eu-west-1b", "Unknown"), node("eu-west-1b", "False")]
PODS = [
    pod(status="False", reason="Unschedulable"),
    pod(status="False", reason="SchedulingGated"),
    pod(status="True"),
    pod(),
]


@pytest.fixture
def script(tmp_path):
    module = program.load(ROLE / "templates/metrics.py.j2", __kubernetes_backup={"metrics_directory": str(tmp_path)})
    module.LOGIN = str(tmp_path / "admin.conf")
    (tmp_path / "admin.conf").touch()
    module.ask = lambda path: NODES if path == "/api/v1/nodes" else PODS
    return module


def test_nodes_that_are_not_ready_and_pods_without_a_node_are_counted(script, tmp_path):
    script.main()
    lines = [line for line in (tmp_path / "kubernetes.prom").read_text().splitlines() if not line.startswith("#")]
    assert lines[:3] == [
        'kubernetes_nodes_not_ready{zone="eu-west-1a"} 0',
        'kubernetes_nodes_not_ready{zone="eu-west-1b"} 2',
        "kubernetes_pods_without_node 1",
    ]
    assert re.fullmatch(r"kubernetes_counted_timestamp_seconds \d{10}", lines[3])


def test_what_was_so_before_is_not_told_on_when_the_api_does_not_answer(script, tmp_path):
    script.main()

    def refuse(_path):
        raise script.Failure("kubectl get ended with 1: connection refused")

    script.ask = refuse
    with pytest.raises(SystemExit, match="does not tell its nodes and pods: .+ connection refused"):
        script.main()
    assert not (tmp_path / "kubernetes.prom").exists()


def test_a_host_that_is_no_control_plane_yet_counts_nothing(script, tmp_path):
    (tmp_path / "admin.conf").unlink()
    script.main()
    assert not (tmp_path / "kubernetes.prom").exists()


def expressions():
    return [
        rule["expr"]
        for group in yaml.safe_load((ROLE / "files/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]


def test_what_the_rules_read_of_a_host_is_written_there(script, tmp_path):
    script.main()
    written = (tmp_path / "kubernetes.prom").read_text()
    named = "".join((ROLE / f"templates/{name}.py.j2").read_text() for name in ("backup", "certificates", "serving"))
    read = set(re.findall(r"\bkubernetes_[a-z_]+", " ".join(expressions())))
    assert read and all(
        f"{name} " in written or f"{name}{{" in written or re.search(rf'gauge\(\s*"{name}"', named) for name in read
    )


def test_who_reads_metrics_as_a_pod_reaches_each_of_them_by_a_declared_flow():
    """Controller managers and schedulers are on 127.0.0.1 alone, so no rule names them."""
    named = {job for text in expressions() for job in re.findall(r'job="([^"]+)"', text)}
    assert named == set(JOBS)
    open_to_pods = [flow for flow in flows("kubernetes") if "pods" in flow["from"] and flow.get("protocol") != "udp"]
    (first, last), *_rest = ([int(part) for part in str(flow["port"]).split("-")] for flow in open_to_pods)
    assert all(first <= port <= last for ports in JOBS.values() for port in ports)
    external = yaml.safe_load((playing.ROOT / "roles/etcd/vars/flows.yml").read_text())["components"]
    assert {"port": 2381, "from": ["vpc"], "purpose": "metrics"} in external["kubernetes_etcd"]["flows"]


def flows(role):
    return yaml.safe_load((playing.ROOT / f"roles/{role}/vars/flows.yml").read_text())["flows"]


@pytest.mark.parametrize(
    ("role", "file"),
    [("kubernetes", "certificates"), ("kubernetes_addons", "configure")],
    ids=["nodes", "metrics-server"],
)
def test_the_ends_of_the_platforms_certificates_are_metrics(role, file):
    """Of the authenticator, the API server as etcd's client and metrics-server."""
    tasks = yaml.safe_load((playing.ROOT / f"roles/{role}/tasks/{file}.yml").read_text())
    issued = [task["selfhosted.ec2.host_certificates"] for task in tasks]
    assert issued and all(
        "/var/lib/prometheus" in str(item) or "backup" in item["metrics_directory"] for item in issued
    )

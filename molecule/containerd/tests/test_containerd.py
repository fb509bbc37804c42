"""containerd as the kubelet and its operator find it."""

import json
import tomllib

import pytest

PAUSE = "registry.k8s.io/pause:3.10.2"
CTR = "/usr/local/bin/ctr --namespace k8s.io"


@pytest.fixture
def root(host):
    with host.sudo():
        yield host


def test_runs_and_starts_at_boot(host):
    assert host.service("containerd").is_running
    assert host.service("containerd").is_enabled


def test_the_described_version_answers(root):
    answer = root.check_output("/usr/local/bin/ctr version")
    assert answer.partition("Server:")[2].split("Version:")[1].split()[0] == "2.3.7"


def test_what_it_runs_on_is_of_the_described_versions(host):
    assert "1.5.2" in host.check_output("/usr/local/bin/runc --version")
    assert host.file("/opt/cni/bin/bridge").linked_to == "/opt/containerd/cni-plugins-1.9.1/bridge"
    assert host.run("/opt/cni/bin/host-local").stderr.startswith("CNI host-local plugin v1.9.1")


def test_the_kubelet_finds_its_parts(root):
    lines = [line.split() for line in root.check_output("/usr/local/bin/ctr plugins ls").splitlines()[1:]]
    states = {(words[0], words[1]): words[-1] for words in lines}
    parts = [("io.containerd.cri.v1", "runtime"), ("io.containerd.cri.v1", "images"), ("io.containerd.grpc.v1", "cri")]
    assert {part: states[part] for part in parts} == dict.fromkeys(parts, "ok")


def test_the_configuration_is_in_the_form_of_the_version_and_in_force(root):
    written = tomllib.loads(root.file("/etc/containerd/config.toml").content_string)
    assert written["version"] == 4
    in_force = tomllib.loads(root.check_output("/usr/local/bin/containerd config dump"))["plugins"]
    runtime = in_force["io.containerd.cri.v1.runtime"]
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True
    assert runtime["restrict_oom_score_adj"] is True
    images = in_force["io.containerd.cri.v1.images"]
    assert images["pinned_images"]["sandbox"] == PAUSE
    assert images["registry"]["config_path"] == "/etc/containerd/certs.d"


def test_a_registry_has_its_mirrors_alone(root):
    hosts = tomllib.loads(root.file("/etc/containerd/certs.d/registry.k8s.io/hosts.toml").content_string)
    assert list(hosts["host"]) == ["https://mirror.example.com"]
    assert "server" not in hosts


def test_the_sandbox_image_is_there_by_its_digest_and_kept(root):
    (line,) = [line for line in root.check_output(f"{CTR} images ls").splitlines() if line.startswith(PAUSE)]
    assert "io.cri-containerd.pinned=pinned" in line
    manifest = json.loads(root.check_output(f"{CTR} content get {line.split()[2]}"))
    assert len(manifest["layers"]) == 1


def test_a_container_runs_in_a_control_group_of_its_own_and_ends(root):
    root.run(f"{CTR} task kill -s KILL proof; {CTR} container rm proof")
    limit = "--memory-limit 33554432 --runc-systemd-cgroup --cgroup system.slice:proof:proof"
    assert root.run(f"{CTR} run --detach {limit} {PAUSE} proof").rc == 0
    try:
        tasks = root.check_output(f"{CTR} task ls").splitlines()
        (state,) = [line.split() for line in tasks if line.startswith("proof")]
        assert state[2] == "RUNNING"
        assert "proof-proof.scope" in root.file(f"/proc/{state[1]}/cgroup").content_string
    finally:
        assert root.run(f"{CTR} task kill -s KILL proof").rc == 0
        assert root.run(f"{CTR} task delete proof").rc in (0, 137)
        assert root.run(f"{CTR} container rm proof").rc == 0

"""Archives that the lab builds: the same bytes for the same content, in place only when they are whole."""

import hashlib
import http.client
import io
import json
import re
import socket
import subprocess
import tarfile
import threading
import time

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import oci, releases

from lab import builds
from lab.builds import images, manifest
from lab.services import mirror

ENTRY = {
    "name": "tool",
    "version": "1.0",
    "file": "tool.tar.gz",
    "sha256": "",
    "build": {"kind": "go", "directory": "tool", "flags": "-s", "entries": {"tool_1.0/tool": "example.com/tool"}},
}


@pytest.fixture
def built(monkeypatch):
    calls = []

    def command(_directory, package, _flags, target, _tags=""):
        calls.append(package)
        target.write_bytes(b"a binary")

    monkeypatch.setattr(builds, "go_command", command)
    return calls


def test_an_archive_is_the_same_whenever_it_is_made(tmp_path, built):
    builds.build(ENTRY, tmp_path / "one" / "tool.tar.gz")
    builds.build(ENTRY, tmp_path / "two" / "tool.tar.gz")
    assert (tmp_path / "one" / "tool.tar.gz").read_bytes() == (tmp_path / "two" / "tool.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "one" / "tool.tar.gz") as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.mode) == ("tool_1.0/tool", 0o755)
        assert archive.extractfile(member).read() == b"a binary"
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["tool.tar.gz", "tool.tar.gz.sha256"]


def test_the_mirror_builds_at_the_first_request_and_checks(tmp_path, built):
    builds.build(ENTRY, tmp_path / "expected" / "tool.tar.gz")
    digest = hashlib.sha256((tmp_path / "expected" / "tool.tar.gz").read_bytes()).hexdigest()
    known = {("tool", "1.0", "tool.tar.gz"): {**ENTRY, "sha256": digest}}
    cache = mirror.Cache(tmp_path / "locks")
    built.clear()
    for _request in range(2):
        target = mirror.artifact_target(["artifacts", "tool", "1.0", "tool.tar.gz"], tmp_path / "cache", known)
        assert cache.get(target).is_file()
    assert built == ["example.com/tool"]


def test_a_build_with_another_digest_is_not_served(tmp_path, built):
    known = {("tool", "1.0", "tool.tar.gz"): {**ENTRY, "sha256": "0" * 64}}
    target = mirror.artifact_target(["artifacts", "tool", "1.0", "tool.tar.gz"], tmp_path / "cache", known)
    with pytest.raises(mirror.MirrorError, match=r"lab/artifacts\.toml says 0000"):
        mirror.Cache(tmp_path / "locks").get(target)


def test_a_build_that_fails_says_so(tmp_path, monkeypatch):
    def fail(*_arguments):
        raise builds.BuildError("no network")

    monkeypatch.setattr(builds, "go_command", fail)
    known = {("tool", "1.0", "tool.tar.gz"): {**ENTRY, "sha256": "0" * 64}}
    target = mirror.artifact_target(["artifacts", "tool", "1.0", "tool.tar.gz"], tmp_path / "cache", known)
    with pytest.raises(mirror.MirrorError, match="no network"):
        mirror.Cache(tmp_path / "locks").get(target)
    assert not target.file.exists()


def test_a_client_is_told_to_wait_while_something_is_built(tmp_path, monkeypatch):
    released = threading.Event()

    def slow(_directory, _package, _flags, target, _tags):
        assert released.wait(60)
        target.write_bytes(b"a binary")

    monkeypatch.setattr(mirror, "WAITING_SECONDS", 0.05)
    released.set()
    monkeypatch.setattr(builds, "go_command", slow)
    builds.build(ENTRY, tmp_path / "expected" / "tool.tar.gz")
    released.clear()
    content = (tmp_path / "expected" / "tool.tar.gz").read_bytes()
    known = {("tool", "1.0", "tool.tar.gz"): {**ENTRY, "sha256": hashlib.sha256(content).hexdigest()}}
    monkeypatch.setattr(mirror, "read_artifacts", lambda: known)
    sock = socket.create_server(("127.0.0.1", 0))
    server = mirror.Server(sock, mirror.Mirror(tmp_path / "debian", tmp_path / "artifacts", {}))
    try:
        connection = http.client.HTTPConnection(*sock.getsockname(), timeout=60)
        for _request in range(2):
            connection.request("GET", "/artifacts/tool/1.0/tool.tar.gz")
            # The second answer is there at once, on the same connection.
            while not released.is_set():
                interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 3
                if connection.sock.recv(len(interim), socket.MSG_PEEK) == interim:
                    released.set()
                time.sleep(0.01)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, content)
        connection.close()
    finally:
        released.set()
        server.close()


def test_a_build_holds_up_no_package(tmp_path, monkeypatch):
    cache = mirror.Cache(tmp_path / "locks")
    opened = []
    monkeypatch.setattr(mirror.fcntl, "flock", lambda lock, _how: opened.append(lock.name.rpartition("/")[2]))
    for build in ({}, ENTRY):
        with cache._locked(mirror.Target(tmp_path / "file", "", immutable=True, build=build)):
            pass
    assert len(opened[0]) == 2
    assert opened[1].startswith("build-")


def go_builds():
    entries = mirror.read_artifacts().values()
    return [entry for entry in entries if entry.get("build", {}).get("kind") in ("go", "image")]


def test_every_go_build_names_its_modules_and_its_toolchain():
    for entry in go_builds():
        directory = builds.HERE / entry["build"]["directory"]
        assert (directory / "go.sum").is_file() or "require" not in (directory / "go.mod").read_text()
        assert entry["build"].get("flags") or (directory / "flags").read_text().strip()
        assert re.fullmatch(r"go1\.\d+\.\d+", builds.toolchain(directory))


def test_what_is_in_a_set_is_built_by_its_name_only():
    every = builds.buildable(mirror.ARTIFACT_LIST, [])
    assert every
    assert not [entry for entry in every if "set" in entry]
    chosen = builds.buildable(mirror.ARTIFACT_LIST, ["kubernetes-1.37"])
    assert {"kubeadm", "containerd", "images"} <= {entry["name"] for entry in chosen}
    assert builds.buildable(mirror.ARTIFACT_LIST, ["default", "kubernetes-1.37"]) == every + chosen
    former = builds.buildable(mirror.ARTIFACT_LIST, ["kubernetes-1.36"])
    assert {entry["version"] for entry in former if entry["name"] not in ("images", "etcd")} == {"1.36.4"}


@pytest.mark.parametrize("minor", ["1.36", "1.37"])
def test_the_lab_builds_every_image_and_program_of_a_release_it_can_run(minor):
    entries = [entry for entry in mirror.read_artifacts().values() if entry.get("set", "").startswith("kubernetes-")]
    described = yaml.safe_load(manifest.OWN.read_text())["releases"][minor]
    built = {entry["build"]["reference"] for entry in entries if entry["build"]["kind"] == "image"}
    assert set(releases.release_images(described)) <= built
    programs = {entry["name"] for entry in entries if entry["version"] == described["kubernetes"]}
    assert programs == set(releases.FILES["kubernetes"])


def test_an_image_is_the_same_whenever_it_is_made_and_names_itself(tmp_path, built):
    build = {"kind": "image", "directory": "tool", "flags": "-s", "reference": "registry.example.com/tool:1.0"}
    entry = {"build": {**build, "entries": {"/usr/local/bin/tool": "example.com/tool"}}}
    for name in ("one", "two"):
        builds.build(entry, tmp_path / name / "tool.tar")
    assert (tmp_path / "one" / "tool.tar").read_bytes() == (tmp_path / "two" / "tool.tar").read_bytes()
    digest = images.digest(tmp_path / "one" / "tool.tar")
    oci.check_archive(tmp_path / "one" / "tool.tar", "registry.example.com/tool:1.0", digest, "amd64")
    with tarfile.open(tmp_path / "one" / "tool.tar") as archive:
        layer = next(
            archive.extractfile(member) for member in archive if member.name.startswith("blobs") and member.size > 1024
        )
        with tarfile.open(fileobj=layer) as files:
            assert files.extractfile("usr/local/bin/tool").read() == b"a binary"


def files_of_layers(path):
    """The files of an image's layers: name to (member, content)."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            blob = archive.extractfile(member).read() if member.name.startswith("blobs") else b"{"
            if not blob.startswith(b"{"):
                with tarfile.open(fileobj=io.BytesIO(blob)) as layer:
                    found |= {file.name: (file, file.isfile() and layer.extractfile(file).read()) for file in layer}
    return found


def config_of(path):
    with tarfile.open(path) as archive:
        blobs = [archive.extractfile(member).read() for member in archive if member.name.startswith("blobs")]
    (config,) = [json.loads(blob)["config"] for blob in blobs if blob.startswith(b'{"architecture"')]
    return config


def test_an_image_has_links_directories_and_files_of_the_sources(tmp_path, built, monkeypatch):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "server.crt").write_text("a certificate")
    monkeypatch.setattr(builds, "go", lambda: "/usr/bin/go")
    monkeypatch.setattr(builds, "toolchain", lambda _directory: "go1.26.8")
    monkeypatch.setattr(builds, "HERE", tmp_path)

    def run(line, **_options):
        assert line[-1] == "example.com/tool/crypto"
        return subprocess.CompletedProcess(line, 0, f"{tmp_path / 'source'}\n", "")

    monkeypatch.setattr(builds.subprocess, "run", run)
    build = {
        "kind": "image",
        "directory": "tool",
        "flags": "-s",
        "reference": "registry.example.com/tool:1.0",
        "entries": {"/tool": "example.com/tool"},
        "links": {"/tool-2": "tool"},
        "directories": ["/var/uploads"],
        "files": {"/server.crt": "example.com/tool/crypto/server.crt"},
        "mode": "4755",
        "runs": {"entrypoint": ["/tool"], "command": ["pause"]},
    }
    builds.build({"build": build}, tmp_path / "tool.tar")
    builds.build({"build": {**build, "reference": "registry.example.com/tool:0.9"}}, tmp_path / "older.tar")
    found = files_of_layers(tmp_path / "tool.tar")
    assert found["tool"][0].mode == 0o4755
    assert found["tool-2"][0].linkname == "tool"
    assert found["var/uploads"][0].isdir() and found["var"][0].isdir()
    assert (found["server.crt"][0].mode, found["server.crt"][1]) == (0o644, b"a certificate")
    config = config_of(tmp_path / "tool.tar")
    assert (config["Entrypoint"], config["Cmd"]) == (["/tool"], ["pause"])
    # Two names of one content are two images.
    assert images.digest(tmp_path / "tool.tar") != images.digest(tmp_path / "older.tar")


def test_a_command_that_is_many_has_all_its_names(tmp_path, monkeypatch):
    script = b"#!/bin/sh\necho '[ busybox cat sh'\n"
    monkeypatch.setattr(images, "debian_file", lambda *_arguments: script)
    build = {"kind": "image", "directory": "conformance-1.37", "reference": "registry.example.com/busybox:1.0"}
    build |= {"multicall": {"package": "busybox-static", "file": "usr/bin/busybox"}, "runs": {"command": ["sh"]}}
    builds.build({"build": build}, tmp_path / "busybox.tar")
    found = files_of_layers(tmp_path / "busybox.tar")
    assert found["bin/busybox"][1] == script
    assert {name: member.linkname for name, (member, _content) in found.items() if member.issym()} == {
        "bin/[": "busybox",
        "bin/cat": "busybox",
        "bin/sh": "busybox",
    }
    assert "Entrypoint" not in config_of(tmp_path / "busybox.tar")


def test_the_tests_of_a_package_are_a_command(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(builds.shutil, "which", lambda *_arguments, **_options: "/usr/bin/go")
    monkeypatch.setattr(
        builds.subprocess, "run", lambda line, **_options: lines.append(line) or subprocess.CompletedProcess(line, 0)
    )
    (tmp_path / "go.mod").write_text("module tool\n\ngo 1.26.8\n")
    builds.go_command(tmp_path, "example.com/tool.test", "-s", tmp_path / "tool")
    builds.go_command(tmp_path, "example.com/tool", "-s", tmp_path / "tool")
    assert [line[4:7] for line in lines] == [["test", "-c", "-vet=off"], ["build", "-mod=readonly", "-trimpath"]]
    assert [line[-1] for line in lines] == ["example.com/tool", "example.com/tool"]


def test_a_build_without_a_known_digest_is_served_as_it_was_made(tmp_path, built):
    known = {("tool", "1.0", "tool.tar.gz"): {key: value for key, value in ENTRY.items() if key != "sha256"}}
    target = mirror.artifact_target(["artifacts", "tool", "1.0", "tool.tar.gz"], tmp_path / "cache", known)
    file = mirror.Cache(tmp_path / "locks").get(target)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(mirror.MirrorError, match=r"tool\.tar\.gz\.sha256 says"):
        mirror.Cache(tmp_path / "locks").get(target)


def test_a_build_takes_exactly_the_toolchain_of_its_module(tmp_path, monkeypatch):
    calls = []

    def run(line, **options):
        calls.append(options["env"])
        return subprocess.CompletedProcess(line, 0)

    monkeypatch.setattr(builds.subprocess, "run", run)
    monkeypatch.setattr(builds.shutil, "which", lambda *_arguments, **_options: "/usr/bin/go")
    (tmp_path / "go.mod").write_text("module tool\n\ngo 1.26\n\ntoolchain go1.26.8\n")
    builds.go_command(tmp_path, "example.com/tool", "", tmp_path / "tool")
    assert [environment["GOTOOLCHAIN"] for environment in calls] == ["go1.26.8"]


def test_a_module_without_a_toolchain_is_refused(tmp_path):
    (tmp_path / "go.mod").write_text("module tool\n\ngo 1.26\n")
    with pytest.raises(builds.BuildError, match=r"go\.mod names no toolchain"):
        builds.toolchain(tmp_path)


def test_what_a_build_in_c_needs_is_said_before_it_begins(tmp_path, monkeypatch):
    absent = subprocess.CompletedProcess([], 1)
    with pytest.raises(builds.BuildError, match="apt-get install --yes pkg-config libseccomp-dev libc6-dev"):
        builds.check_c("runc", {"gcc": "/usr/bin/gcc"}.get, lambda *_arguments, **_options: absent)
    with pytest.raises(builds.BuildError, match="apt-get install --yes libseccomp-dev libc6-dev"):
        builds.check_c("runc", lambda name: f"/usr/bin/{name}", lambda *_arguments, **_options: absent)
    begun = []
    monkeypatch.setattr(builds, "check_c", begun.append)
    monkeypatch.setattr(builds.shutil, "which", lambda *_arguments, **_options: "/usr/bin/go")
    monkeypatch.setattr(builds.subprocess, "run", lambda line, **_options: subprocess.CompletedProcess(line, 0))
    (tmp_path / "go.mod").write_text("module tool\n\ngo 1.26.8\n")
    builds.go_command(tmp_path, "runc", "", tmp_path / "tool", "seccomp")
    builds.go_command(tmp_path, "kubeadm", "", tmp_path / "tool")
    assert begun == ["runc"]

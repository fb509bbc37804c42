"""The manifest of releases: whole, within Kubernetes' rules, and never guessing."""

import copy
import datetime
from pathlib import Path

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter import releases as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import releases
from ansible_collections.selfhosted.ec2.plugins.modules import release_manifest
from hypothesis import given
from hypothesis import strategies as st

OWN = yaml.safe_load(Path(filters.OWN).read_text(encoding="utf-8"))
DIGEST = "sha256:" + "a" * 64


def test_the_own_manifest_is_one_and_its_releases_are_of_their_minor():
    releases.check(OWN)
    assert list(OWN["releases"]) == ["1.35", "1.36", "1.37"]
    for minor, described in OWN["releases"].items():
        assert described["kubernetes"].startswith(f"{minor}.")
        datetime.date.fromisoformat(described["end_of_life"])
        assert {"etcd", "coredns", "pause", "containerd", "runc", "cni-plugins"} <= set(described)
        assert releases.version_key(described["containerd"]) >= (2, 2)


def test_the_roles_agree_on_the_version_that_is_installed_when_nobody_names_one():
    def default(role, name):
        text = (Path(filters.__file__).parents[2] / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8")
        return str(yaml.safe_load(text)[name])

    version = default("kubernetes", "kubernetes_version")
    assert version == OWN["releases"]["1.37"]["kubernetes"]
    assert f"default('{version}')" in default("kubernetes_addons", "kubernetes_addons_version")
    assert "default('1.37')" in default("containerd", "containerd_kubernetes_version")


@pytest.mark.parametrize(("kind", "fault"), [("", ""), ("m7i.large", ""), ("m7g.large", "runc 1.4.3 for arm64")])
def test_a_file_must_be_there_for_the_architecture_of_the_instance(tmp_path, kind, fault):
    manifest = copy.deepcopy(OWN)
    del manifest["files"]["runc"]["sha256"]["1.4.3"]["arm64"]
    (tmp_path / "manifest.yml").write_text(yaml.safe_dump(manifest))
    found = filters.release_fault(str(tmp_path / "manifest.yml"), {"runc": "1.4.3"}, (), kind)
    assert fault in found and bool(fault) == bool(found)
    kinds = (
        "m7g.large",
        "c8gn.xlarge",
        "x2gd.large",
        "a1.large",
        "g5g.xlarge",
        "m7i.large",
        "g6.xlarge",
        "g4dn.xlarge",
    )
    assert [releases.instance_architecture(kind) for kind in kinds] == ["arm64"] * 5 + ["amd64"] * 3


def test_every_file_of_the_own_manifest_has_both_architectures_or_neither():
    for name, entry in OWN["files"].items():
        for version, sums in entry["sha256"].items():
            assert sorted(sums) == ["amd64", "arm64"], f"{name} {version}"
        if "{arch}" in entry["url"]:
            assert releases.file_of(entry, "1", "amd64") != releases.file_of(entry, "1", "arm64")
        else:
            assert all(len(set(sums.values())) == 1 for sums in entry["sha256"].values())


def test_files_that_one_list_has_for_35_and_36_are_all_there():
    for minor in ("1.35", "1.36"):
        files, _images = releases.missing(OWN, OWN["releases"][minor], ["amd64", "arm64"])
        # Of this one no list was found that could be read when it was written.
        assert {name for name, _version, _architecture in files} <= {"aws-iam-authenticator"}


def test_a_file_is_what_the_module_artifacts_takes():
    found = releases.artifact(OWN, "runc", "1.4.3", "arm64")
    assert found["file"] == "runc.arm64"
    assert found["urls"] == ["https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.arm64"]
    assert releases.artifact(OWN, "kubelet", "1.36.4", "amd64")["file"] == "kubelet-linux-amd64"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: releases.release(OWN, "1.30.1"),
            r"Kubernetes 1\.30\.1 is not in the manifest.*which has 1\.35, 1\.36, 1\.37",
        ),
        (lambda: releases.artifact(OWN, "kubeadm", "1.99.0", "amd64"), r"no sha256 of kubeadm 1\.99\.0 for amd64"),
        (lambda: releases.artifact(OWN, "helm", "1", "amd64"), "has no file helm"),
        (lambda: releases.image(OWN, "registry.k8s.io/pause:0.1"), r"no digest of image registry\.k8s\.io/pause:0\.1"),
        (lambda: releases.image(OWN, "localhost:5000/pause"), "needs a registry, a repository and a tag"),
    ],
)
def test_what_a_manifest_lacks_is_named_and_not_guessed(call, said):
    with pytest.raises(releases.ManifestError, match=said):
        call()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.pop("images"), "has releases, files, images"),
        (lambda m: m["files"]["runc"]["sha256"]["1.4.3"].update(amd64="abc"), r"sha256 of runc 1\.4\.3 amd64.*'abc'"),
        (lambda m: m["files"]["runc"]["sha256"]["1.4.3"].update(mips="0" * 64), r"runc 1\.4\.3 mips"),
        (lambda m: m["files"]["runc"].pop("url"), "runc of the manifest needs url"),
        (lambda m: m["images"].update({"a.io/b": {"1": "latest"}}), "digest of image a.io/b:1"),
    ],
)
def test_a_broken_manifest_is_refused_by_item(change, said):
    manifest = copy.deepcopy(OWN)
    change(manifest)
    with pytest.raises(releases.ManifestError, match=said):
        releases.check(manifest)


@given(st.lists(st.integers(0, 99), min_size=3, max_size=3), st.lists(st.integers(0, 99), min_size=3, max_size=3))
def test_versions_are_compared_as_numbers(one, other):
    def text(numbers):
        return "v" + ".".join(map(str, numbers))

    assert (releases.version_key(text(one)) < releases.version_key(text(other))) == (one < other)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a" * 64 + "\n", "a" * 64),
        ("a" * 64 + "  runc.amd64\n" + "b" * 64 + " *runc.arm64\n", "a" * 64),
        ("b" * 64 + "  other\n", ""),
        ("<html>not found</html>", ""),
        ("", ""),
    ],
)
def test_published_lists_of_sums(text, found):
    assert releases.parse_sums(text, "runc.amd64") == found


def test_a_lookup_fills_what_is_missing_and_nothing_else():
    asked = []

    def read(url):
        asked.append(url)
        return "c" * 64

    def digest(name):
        asked.append(name)
        return DIGEST

    whole, looked_up = release_manifest.complete(OWN, "1.37", ["a.io/b:1"], ["amd64"], read, digest)
    releases.check(whole)
    described = releases.release(whole, "1.37")
    assert releases.missing(whole, described, ["amd64"]) == ([], [])
    assert whole["images"]["a.io/b"] == {"1": DIGEST}
    assert len(asked) == len(looked_up)
    assert "https://dl.k8s.io/release/v1.37.2/bin/linux/amd64/kubeadm.sha256" in asked
    known = OWN["files"]["cni-plugins"]["sha256"]["1.9.1"]
    assert whole["files"]["cni-plugins"]["sha256"]["1.9.1"] == known
    again, nothing = release_manifest.complete(whole, "1.37", ["a.io/b:1"], ["amd64"], read, digest)
    assert (again, nothing) == (whole, [])


def test_a_lookup_for_another_patch_is_of_that_patch():
    whole, looked_up = release_manifest.complete(
        OWN, "v1.36.9", [], ["arm64"], lambda _url: "d" * 64, lambda _name: DIGEST
    )
    assert "kubelet 1.36.9 arm64" in looked_up
    assert whole["releases"]["1.36"]["kubernetes"] == "1.36.9"
    assert OWN["releases"]["1.36"]["kubernetes"] != "1.36.9"


def test_a_list_without_the_sum_is_an_error():
    with pytest.raises(releases.ManifestError, match="has no SHA-256 of kubeadm"):
        release_manifest.complete(OWN, "1.37", [], ["amd64"], lambda _url: "<html>", lambda _name: DIGEST)


def test_the_filters_say_what_is_wrong(tmp_path):
    assert filters.kubernetes_release("", "1.37.2")["pause"] == "3.10.2"
    assert filters.release_fault("", {"runc": "1.4.3"}) == ""
    assert "no sha256 of runc 9.9.9 for amd64" in filters.release_fault("", {"runc": "9.9.9"})
    assert "no digest of image" in filters.release_fault("", {}, ["registry.k8s.io/pause:3.10.2"])
    assert "registry.k8s.io/kube-proxy:v1.37.5" in filters.release_contents("", "1.37.5", "images")
    assert filters.release_contents("", "1.36", "files")["kubeadm"] == "1.36.4"
    (tmp_path / "manifest.yml").write_text("releases: {}")
    for path in (tmp_path / "manifest.yml", tmp_path / "absent"):
        with pytest.raises(filters.AnsibleFilterError, match="cannot be used"):
            filters.release_manifest(str(path))

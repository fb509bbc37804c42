"""What containerd says of itself, and its configuration as it reads it."""

import tomllib

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter import containerd as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import containerd
from hypothesis import given
from hypothesis import strategies as st

OK = {plugin: "ok" for plugin in containerd.NEEDED}


def test_well_is_the_wanted_version_with_all_that_the_kubelet_needs():
    assert containerd.faults("2.3.7", "2.3.7", OK) == []
    assert containerd.faults("2.3.7", "", OK) == []


@pytest.mark.parametrize(
    ("version", "states", "said"),
    [
        ("", OK, "containerd does not answer."),
        ("2.3.4", OK, "containerd 2.3.4 runs instead of 2.3.7."),
        ("2.3.7", {}, "The plugin io.containerd.cri.v1.runtime of containerd is missing."),
        (
            "2.3.7",
            {**OK, ("io.containerd.grpc.v1", "cri"): "error"},
            "The plugin io.containerd.grpc.v1.cri of containerd is error.",
        ),
    ],
)
def test_what_is_not_well_is_named(version, states, said):
    assert said in containerd.faults(version, "2.3.7", states)


def test_a_client_alone_is_no_server():
    assert containerd.server_version("Client:\n  Version:  2.3.7\n") == ""


@pytest.mark.parametrize(
    ("running", "wanted"), [("", "2.3.7"), ("2.3.7", "2.3.4"), ("1.7.28", "2.3.7"), ("2.2.5", "2.3.0")]
)
def test_changes_that_containerd_bears(running, wanted):
    assert containerd.change_fault(running, wanted) == ""


@pytest.mark.parametrize(("running", "wanted"), [("2.3.7", "2.2.9"), ("2.3.7", "1.7.28")])
def test_an_older_minor_is_refused(running, wanted):
    assert f"containerd {running} runs, and {wanted} is older" in containerd.change_fault(running, wanted)


@pytest.mark.parametrize(
    ("version", "kubernetes", "refused"),
    [("1.7.28", "1.35.8", False), ("1.7.28", "1.36", True), ("1.7.28", "1.37.2", True), ("2.2.0", "1.37", False)],
)
def test_containerd_1_does_not_go_with_new_kubernetes(version, kubernetes, refused):
    assert bool(filters.containerd_fault(version, kubernetes)) == refused


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
VALUES = (
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)))
)
TREES = st.recursive(
    VALUES | st.lists(VALUES, max_size=3), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=9
)


@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_data_comes_back_from_its_toml(tree):
    assert tomllib.loads(containerd.toml(tree)) == tree


def test_toml_has_no_null():
    with pytest.raises(filters.AnsibleFilterError, match="no null"):
        filters.to_toml({"a": None})


def test_hosts_of_a_registry():
    mirrors = [
        {"url": "https://one.example.com", "ca": "/etc/ssl/one.crt"},
        {"url": "http://two:5000/v2/x", "override_path": True},
    ]
    (file,) = filters.registry_files([{"host": "docker.io", "mirrors": mirrors}], "/etc/containerd/certs.d")
    assert file["dest"] == "/etc/containerd/certs.d/docker.io/hosts.toml"
    found = tomllib.loads(file["content"])
    assert found["server"] == "https://registry-1.docker.io"
    assert list(found["host"]) == ["https://one.example.com", "http://two:5000/v2/x"]
    assert found["host"]["https://one.example.com"] == {"capabilities": ["pull", "resolve"], "ca": "/etc/ssl/one.crt"}
    assert found["host"]["http://two:5000/v2/x"]["override_path"] is True
    alone = containerd.registry_hosts({"host": "a.io", "mirrors": mirrors[:1], "upstream": False})
    assert "server" not in tomllib.loads(alone)

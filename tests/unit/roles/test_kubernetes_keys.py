"""Which keys of encryption the role gives a control plane, and what it notes as applied: no host is asked."""

from __future__ import annotations

import base64
import json
import re

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter import kubernetes as filters

from tests.unit.roles import playing

ROLE = playing.ROOT / "roles" / "kubernetes"
SECRETS = {
    "kubernetes/ca/certificate": "the cluster's",
    "kubernetes/encryption_key": "a" * 32,
    "kubernetes/encryption_keys/2": "b" * 32,
}
HOST = {
    "platform_name": "trading",
    "platform_domain": "trading.internal",
    "platform_region": "eu-west-1",
    "platform_network": {"cidr": "10.20.0.0/16", "pod_cidr": "10.244.0.0/16"},
    "platform_tiers": [{"name": "control", "components": ["kubernetes", "kubernetes_control_plane"], "count": 3}],
    "platform_secrets": SECRETS,
    "__kubernetes_release": {"etcd": "3.7.0-0", "coredns": "v1.14.6", "pause": "3.10.2"},
    "ansible_connection": "local",
}
#: Host to (the keys it has, those of another one, step).
GIVEN = {
    "before-rotations": (["key1"], [], ""),
    "first": ([], [], ""),
    "joining": ([], ["key1"], ""),
    "adding": (["key1"], [], "add"),
    "added": (["key1", "NEW"], [], ""),
    "promoting": (["key1", "NEW"], [], "promote"),
    "promoted": (["NEW", "key1"], [], ""),
    "dropping": (["NEW", "key1"], [], "drop"),
    "dropped": (["NEW"], [], ""),
}


def show(tmp_path, hosts, text):
    """Return what a template gives on each host."""
    files = [{"ansible.builtin.include_vars": {"file": str(ROLE / part / "main.yml")}} for part in ("defaults", "vars")]
    # Variables of the inventory and of tasks are more than the role's.
    facts = {"__kubernetes_release": HOST["__kubernetes_release"], "kubernetes_control_planes": list(hosts)}
    own = [{"ansible.builtin.set_fact": facts}]
    said = {
        "ansible.builtin.debug": {"msg": "<{{ inventory_hostname }}>{{ shown | b64encode }}<>"},
        "vars": {"shown": text},
    }
    play = {"name": "Show", "hosts": "all", "gather_facts": False, "tasks": [*files, *own, said]}
    code, output = playing.run(tmp_path, [play], {"all": {"hosts": hosts}})
    assert code == 0, output
    return {host: base64.b64decode(found).decode() for host, found in re.findall(r"<([^<>]+)>([^<]*)<>", output)}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The names of the keys, the file and the hash of what the host's part is made from, of each host."""
    newest = filters.kubernetes_keys(SECRETS, "a" * 32)[-1]["name"]
    hosts = {}
    for host, (own, others, step) in GIVEN.items():
        names = [newest if name == "NEW" else name for name in own]
        hosts[host] = {
            **HOST,
            "ec2_tier": "control",
            "__kubernetes_view": {"encryption": names},
            "__kubernetes_other_keys": others,
            "__kubernetes_key_step": step,
        }
    text = "{{ [__kubernetes_encryption_file.content, __kubernetes_config_hash] | to_json }}"
    found = {}
    for host, shown in show(tmp_path_factory.mktemp("keys"), hosts, text).items():
        content, digest = json.loads(shown)
        (resource,) = yaml.safe_load(content)["resources"]
        names = [key["name"] for key in resource["providers"][0]["secretbox"]["keys"]]
        found[host] = (["NEW" if name == newest else name for name in names], content, digest)
    return found


def test_a_cluster_of_before_keeps_its_file(given):
    _names, content, _digest = given["before-rotations"]
    providers = [{"secretbox": {"keys": [{"name": "key1", "secret": "YWFh" * 10 + "YWE="}]}}, {"identity": {}}]
    assert yaml.safe_load(content)["resources"] == [{"resources": ["secrets"], "providers": providers}]


def test_a_run_in_the_middle_of_a_rotation_takes_no_key_away(given):
    for host in ("before-rotations", "added", "promoted", "dropped"):
        assert given[host][0] == GIVEN[host][0], host
    assert given["joining"][0] == ["key1"] and given["first"][0] == ["NEW"]


@pytest.mark.parametrize(("step", "after"), [("adding", "added"), ("promoting", "promoted"), ("dropping", "dropped")])
def test_after_a_step_a_run_finds_nothing_to_change(given, step, after):
    assert given[step] == given[after]


def test_each_step_starts_the_api_server(given):
    assert len({given[host][2] for host in ("before-rotations", "added", "promoted", "dropped")}) == 4


@pytest.mark.parametrize(("task", "told"), [("restart", False), ("rotate", False), ("rotate_key_step", True)])
def test_only_who_has_told_the_cluster_marks_what_is_described_as_applied(tmp_path, task, told):
    """Others leave the mark that was there, without the word of what was cut off."""
    text = (ROLE / "tasks" / f"{task}.yml").read_text()
    assert ("__kubernetes_untold: true" in text) is not told
    (note,) = [
        item
        for item in yaml.safe_load((ROLE / "tasks" / "roll.yml").read_text())
        if item["name"] == "roll | Note that it came to its end"
    ]
    (file,) = note["selfhosted.ec2.config_files"]["files"]
    marks = {"same": ["described", "restart"], "older": ["before"], "none": []}
    hosts = {
        host: {
            **HOST,
            "__kubernetes_view": {"applied": applied},
            "__kubernetes_untold": not told,
        }
        for host, applied in marks.items()
    }
    mark = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__kubernetes_new_mark"]
    content = file["content"].replace(
        "__kubernetes_new_mark", mark.strip("{} ").replace("__kubernetes_config_hash", "'described'")
    )
    shown = show(tmp_path, hosts, content)
    kept = {"same": "described\n", "older": "before\n", "none": "untold\n"}
    assert shown == (dict.fromkeys(marks, "described\n") if told else kept)
    # Nor does a host that has joined without the control planes, which the cluster told something older.
    hosts = {host: {**values, "__kubernetes_told": {"documents": ["kubelet-config"]}} for host, values in hosts.items()}
    assert show(tmp_path, hosts, content) == kept

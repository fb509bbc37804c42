"""The filters over a description, with role files on disk."""

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.filter import platform as filters

TIERS = [{"name": "db", "components": ["etcd"], "count": 3}, {"name": "edge", "components": ["haproxy"], "count": 1}]


def test_components_are_read_from_the_roles(tmp_path):
    for role in ("etcd", "host_baseline"):
        (tmp_path / role / "tasks").mkdir(parents=True)
        (tmp_path / role / "vars").mkdir()
    (tmp_path / "etcd" / "vars" / "flows.yml").write_text("flows: [{port: 1, from: [self]}]\nquorum: true\n")
    (tmp_path / "etcd" / "vars" / "secrets.yml").write_text("secrets: [{name: etcd/x, length: 20}]\n")
    found = filters.platform_components(str(tmp_path))
    assert found["etcd"]["quorum"] is True and found["etcd"]["flows"][0]["port"] == 1
    assert found["etcd"]["secrets"] == [{"name": "etcd/x", "length": 20}]
    assert (found["host_baseline"]["every_host"], found["etcd"]["every_host"]) == (True, False)


def test_secrets_wanted_are_the_authority_the_components_and_the_extra_ones():
    components = {
        "etcd": {"secrets": [{"name": "etcd/x"}]},
        "kafka": {"secrets": [{"name": "kafka/x"}]},
        "host_baseline": {"secrets": [{"name": "ca/key"}, {"name": "base/x"}], "every_host": True},
    }
    platform = {"tiers": TIERS, "extra_secrets": ["app/a", {"name": "app/b", "length": 9}, "etcd/x"]}
    names = [entry["name"] for entry in filters.platform_secrets_wanted(platform, components)]
    assert names == ["ca", "etcd/x", "base/x", "app/a", "app/b"]


def test_prune_names_hosts_above_the_count_but_keeps_described_slots():
    platform = {"tiers": TIERS, "domain": "x.internal"}
    found = filters.platform_prune(platform, {"haproxy": {"service_names": ["sql"]}}, ["old-1"])
    assert found["names"] == ["old-1.x.internal", "sql.x.internal"]
    assert "db-1.x.internal" in found["keep"] and len(found["patterns"]) == 2


def test_each_tier_has_a_role_with_the_rights_of_its_components():
    components = {"etcd": {"iam": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::{platform}-x/*"]}]}}
    first, second = filters.platform_roles({"name": "t", "region": "r", "tiers": TIERS}, components)
    assert (first["name"], first["instance_profiles"], first["tags"]) == ("t-db", ["t-db"], {"tier": "db"})
    (statement,) = first["inline_policies"]["t-db"]["Statement"]
    assert statement["Resource"] == ["arn:aws:s3:::t-x/*"]
    assert second["inline_policies"] == {} and second["services"] == ["ec2.amazonaws.com"]


def test_slots_and_quorum():
    assert filters.slots(TIERS, "etcd") == ["db-1", "db-2", "db-3"]
    assert filters.platform_quorum({"tiers": TIERS}, {"etcd": {"quorum": True}}) == ["db"]
    with pytest.raises(AnsibleFilterError, match="slots takes the list platform_tiers"):
        filters.slots("db")


def test_the_summary_is_a_table():
    row = dict.fromkeys(("state", "instance_type", "zone", "private_ip", "public_ip", "instance_id"), "x")
    head, line = filters.platform_summary([{"slot": "database-1", **row}])
    assert head.startswith("SLOT        STATE") and line.startswith("database-1  x")


def test_slots_of_a_component_count_above_their_tier():
    names = ["db-1", "db-9", "db-x", "web-1", "other-1", "db"]
    assert filters.slots_of(names, TIERS, "etcd") == ["db-1", "db-9"]
    assert filters.slots_of([], TIERS, "etcd") == []

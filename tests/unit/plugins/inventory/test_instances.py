from __future__ import annotations

import json
import os
import stat

import pytest
from ansible.errors import AnsibleParserError
from ansible_collections.selfhosted.ec2.plugins.inventory import instances

from .conftest import Instance


def names(data):
    return sorted(data.hosts)


def members(data, group):
    return [host.name for host in data.groups[group].hosts]


def test_hosts_groups_and_variables(inventory, endpoint):
    endpoint.instances.append(Instance("edge-1", "i-0e", tags={"components": "haproxy", "tier": "edge"}))
    data, warnings = inventory(user="admin")
    assert names(data) == ["database-1", "database-2", "database-3", "edge-1"]
    assert members(data, "etcd") == ["database-1", "database-2", "database-3"]
    assert members(data, "zone_eu_west_1a") == ["database-1", "edge-1"]
    assert members(data, "tier_edge") == members(data, "haproxy") == ["edge-1"]
    assert data.hosts["edge-1"].vars["ansible_user"] == "admin"
    assert warnings == []


def test_only_this_platform_and_live_states_are_asked_for(inventory, endpoint):
    inventory(filters={"vpc-id": "vpc-1", "tag:environment": ["production", "staging"]})
    ((_region, request),) = endpoint.requests
    asked = {
        request[f"Filter.{n}.Name"]: sorted(v for k, v in request.items() if k.startswith(f"Filter.{n}.Value."))
        for n in range(1, 6)
        if f"Filter.{n}.Name" in request
    }
    assert asked == {
        "vpc-id": ["vpc-1"],
        "tag:environment": ["production", "staging"],
        "tag:platform": ["trading"],
        "instance-state-name": ["pending", "running", "stopped", "stopping"],
    }


def test_the_platform_cannot_be_changed_by_a_filter(inventory, endpoint):
    inventory(filters={"tag:platform": "other"})
    ((_region, request),) = endpoint.requests
    assert "other" not in request.values()


@pytest.mark.parametrize(("hosts", "calls"), [(0, 1), (999, 1), (1000, 1), (1001, 2)])
def test_pages_of_a_thousand(inventory, endpoint, hosts, calls):
    endpoint.instances = [Instance(f"database-{n}", f"i-{n:x}") for n in range(hosts)]
    data, _warnings = inventory(quorum_groups=[])
    assert len(data.hosts) == hosts
    assert len(endpoint.requests) == calls
    assert all(request["MaxResults"] == "1000" for _region, request in endpoint.requests)


def test_an_empty_answer_is_valid(inventory, endpoint):
    endpoint.instances = []
    data, warnings = inventory()
    assert names(data) == [] and warnings == []
    assert members(data, "state_running") == []


def test_min_hosts(inventory):
    with pytest.raises(AnsibleParserError, match="has 3 hosts in eu-west-1, fewer than min_hosts, 4"):
        inventory(min_hosts=4)
    assert len(inventory(min_hosts=3)[0].hosts) == 3


def test_a_terminated_instance_is_no_host(inventory, endpoint):
    endpoint.instances[0].state = "terminated"
    assert names(inventory()[0]) == ["database-2", "database-3"]


def test_duplicate_names_are_an_error(inventory, endpoint):
    endpoint.instances[1].name = "database-1"
    with pytest.raises(AnsibleParserError, match=r"same Name: database-1 \(i-01 and i-02\)"):
        inventory()


def test_duplicate_names_in_two_regions_are_an_error(inventory, endpoint):
    endpoint.instances.append(Instance("database-1", "i-0f", region="eu-central-1"))
    with pytest.raises(AnsibleParserError, match="i-01 and i-0f"):
        inventory(regions=["eu-west-1", "eu-central-1"])


def test_throttling_is_waited_out(inventory, endpoint):
    endpoint.throttled = 6
    data, _warnings = inventory()
    assert len(data.hosts) == 3 and len(endpoint.requests) == 7


def test_endless_throttling_ends_with_a_sentence(inventory, endpoint, monkeypatch):
    endpoint.throttled = 10**6
    ticks = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    with pytest.raises(AnsibleParserError, match="Region eu-west-1 cannot be read: .* still throttled after"):
        inventory(deadline=30)


def test_wrong_credentials_end_at_once_with_a_sentence(inventory, endpoint):
    endpoint.denied = True
    with pytest.raises(AnsibleParserError, match="AWS does not accept the credentials"):
        inventory()
    assert len(endpoint.requests) == 1


# A region fails


@pytest.fixture
def two_regions(endpoint):
    endpoint.instances.append(Instance("remote-1", "i-0c", region="eu-central-1"))
    return {"regions": ["eu-west-1", "eu-central-1"]}


def test_regions_come_in_the_order_given(inventory, two_regions):
    assert members(inventory(**two_regions)[0], "etcd") == ["database-1", "database-2", "database-3", "remote-1"]


def test_a_region_that_fails_is_an_error(inventory, endpoint, two_regions):
    endpoint.down = {"eu-central-1"}
    with pytest.raises(AnsibleParserError, match="Region eu-central-1 cannot be read: .*Unavailable"):
        inventory(**two_regions)


def test_a_region_that_is_not_required_is_left_out_with_a_warning(inventory, endpoint, two_regions):
    endpoint.down = {"eu-central-1"}
    data, warnings = inventory(**two_regions, required_regions=["eu-west-1"])
    assert names(data) == ["database-1", "database-2", "database-3"]
    assert len(warnings) == 1 and "Region eu-central-1 cannot be read and is left out" in warnings[0]


def age_cache(directory, seconds):
    (path,) = directory.glob("trading-*.json")
    data = json.loads(path.read_text())
    for region in data["regions"].values():
        region["read"] -= seconds
    path.write_text(json.dumps(data))


def test_a_region_that_fails_is_served_from_its_last_answer(inventory, endpoint, two_regions, tmp_path):
    options = {**two_regions, "on_region_failure": "stale"}
    inventory(**options)
    age_cache(tmp_path, 100)
    endpoint.down = {"eu-central-1"}
    endpoint.instances.pop(0)
    data, warnings = inventory(**options)
    assert names(data) == ["database-2", "database-3", "remote-1"]
    assert 100 <= data.hosts["remote-1"].vars["ec2_stale_seconds"] <= 110
    assert "ec2_stale_seconds" not in data.hosts["database-2"].vars
    assert any("its hosts are as they were 10" in warning for warning in warnings)


def test_the_age_goes_on_growing_while_a_region_is_down(inventory, endpoint, two_regions, tmp_path):
    options = {**two_regions, "on_region_failure": "stale"}
    inventory(**options)
    age_cache(tmp_path, 100)
    endpoint.down = {"eu-central-1"}
    inventory(**options)
    data, _warnings = inventory(**options)
    assert data.hosts["remote-1"].vars["ec2_stale_seconds"] >= 100


def test_an_answer_older_than_max_stale_is_an_error(inventory, endpoint, two_regions, tmp_path):
    options = {**two_regions, "on_region_failure": "stale", "max_stale": 60}
    inventory(**options)
    age_cache(tmp_path, 100)
    endpoint.down = {"eu-central-1"}
    with pytest.raises(AnsibleParserError, match="more than max_stale, 60 s"):
        inventory(**options)


def test_stale_without_an_earlier_answer_is_an_error(inventory, endpoint):
    endpoint.down = {"eu-west-1"}
    with pytest.raises(AnsibleParserError, match="No earlier answer is kept"):
        inventory(on_region_failure="stale")


# A zone fails: the region's call fails as a whole


def test_a_disrupted_zone_leaves_the_others_readable_by_zone(inventory, endpoint):
    endpoint.down_zones = {"eu-west-1b"}
    with pytest.raises(AnsibleParserError, match="Zone eu-west-1b cannot be read"):
        inventory()


def test_a_disrupted_zone_is_served_stale_the_others_fresh_by_their_ids(inventory, endpoint):
    inventory(on_region_failure="stale")
    endpoint.down_zones = {"eu-west-1b"}
    # Gone since the last answer: AWS refuses a call with its id.
    endpoint.instances = [item for item in endpoint.instances if item.name != "database-3"]
    endpoint.instances[0].state = "stopped"
    data, warnings = inventory(on_region_failure="stale")
    assert names(data) == ["database-1", "database-2"]
    assert data.hosts["database-1"].vars["ec2_state"] == "stopped"
    assert "ec2_stale_seconds" not in data.hosts["database-1"].vars
    assert "ec2_stale_seconds" in data.hosts["database-2"].vars
    assert any("Zone eu-west-1b cannot be read" in warning for warning in warnings)


# The cache


def test_a_warm_run_asks_nothing_and_gives_the_same(inventory, endpoint, tmp_path):
    cold, _warnings = inventory(cache_seconds=60)
    endpoint.requests.clear()
    warm, _warnings = inventory(cache_seconds=60)
    assert endpoint.requests == []
    assert {h: v.vars for h, v in warm.hosts.items()} == {h: v.vars for h, v in cold.hosts.items()}
    assert {g: members(warm, g) for g in warm.groups} == {g: members(cold, g) for g in cold.groups}
    (path,) = tmp_path.glob("trading-*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.glob(".inventory-*")) == []


def test_a_refresh_and_an_old_cache_ask_again(inventory, endpoint, tmp_path):
    inventory(cache_seconds=60)
    inventory(cache_seconds=60, cache=False)
    assert len(endpoint.requests) == 2
    age_cache(tmp_path, 61)
    inventory(cache_seconds=60)
    assert len(endpoint.requests) == 3


def test_without_cache_nothing_is_written(inventory, tmp_path):
    inventory()
    assert list(tmp_path.glob("*.json")) == []


def test_another_filter_has_another_cache(inventory, endpoint):
    inventory(cache_seconds=60)
    inventory(cache_seconds=60, filters={"vpc-id": "vpc-1"})
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0, "regions": {"eu-west-1": {}}}'])
def test_a_broken_cache_is_as_none(inventory, endpoint, tmp_path, text):
    inventory(cache_seconds=60)
    (path,) = tmp_path.glob("trading-*.json")
    path.write_text(text)
    assert len(inventory(cache_seconds=60)[0].hosts) == 3
    assert len(endpoint.requests) == 2


# Options


def test_constructed_features(inventory):
    data, _warnings = inventory(
        compose={"ansible_port": "2200 + 22"},
        groups={"in_zone_a": "ec2_zone.endswith('a') and ansible_port == 2222"},
        keyed_groups=[{"prefix": "type", "key": "ec2_instance_type"}],
    )
    assert data.hosts["database-1"].vars["ansible_port"] == 2222
    assert members(data, "in_zone_a") == ["database-1"]
    assert members(data, "type_t3_medium") == ["database-1", "database-2", "database-3"]


def test_strict_makes_a_wrong_expression_an_error(inventory):
    assert len(inventory(compose={"x": "nothing.there"})[0].hosts) == 3
    with pytest.raises(AnsibleParserError, match="Could not set x"):
        inventory(compose={"x": "nothing.there"}, strict=True)


def test_every_option_from_the_environment(inventory, endpoint, monkeypatch, tmp_path):
    endpoint.instances.append(Instance("remote-1", "i-0c", region="eu-central-1"))
    for name, value in {
        "PLATFORM": "trading",
        "REGIONS": "eu-west-1,eu-central-1",
        "FILTERS": '{"vpc-id": "vpc-1"}',
        "USER": "ana",
        "CONNECTION": "ssm",
        "COMPOSE": '{"port": "20 + 2"}',
        "KEYED_GROUPS": '[{"prefix": "type", "key": "ec2_instance_type"}]',
        "GROUPS": '{"everyone": "ec2_tier == \'database\'"}',
        "CACHE_SECONDS": "60",
    }.items():
        monkeypatch.setenv(f"EC2_INVENTORY_{name}", value)
    data, _warnings = inventory(platform=None, regions=None)
    variables = data.hosts["remote-1"].vars
    assert (variables["ansible_user"], variables["ansible_host"], variables["port"]) == ("ana", "i-0c", 22)
    assert len(members(data, "everyone")) == len(members(data, "type_t3_medium")) == 4
    assert len(list(tmp_path.glob("trading-*.json"))) == 1
    documented = instances.DOCUMENTATION.split("\noptions:\n")[1].split("\n  ")
    options = [line.split(":")[0] for line in documented if line[0].isalpha() and line.endswith(":")]
    assert len(options) > 20
    for option in options:
        assert option == "plugin" or f"EC2_INVENTORY_{option.upper()}" in instances.DOCUMENTATION


def test_region_from_the_environment(inventory, endpoint, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert len(inventory(regions=None)[0].hosts) == 3
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(AnsibleParserError, match="No AWS region is given"):
        inventory(regions=None)


def test_json_that_is_none_is_named(inventory, monkeypatch):
    monkeypatch.setenv("EC2_INVENTORY_FILTERS", "{")
    with pytest.raises(AnsibleParserError, match="The option filters is '{', which is no JSON"):
        inventory()
    monkeypatch.setenv("EC2_INVENTORY_FILTERS", "[1]")
    with pytest.raises(AnsibleParserError, match="give a mapping"):
        inventory()


@pytest.mark.parametrize(
    ("name", "text", "ours"),
    [
        ("instances.yml", "", True),
        ("lab.instances.yaml", "", True),
        ("hosts.yml", "---\nplugin: selfhosted.ec2.instances\n", True),
        ("hosts.yml", "plugin: amazon.aws.aws_ec2\n", False),
        ("instances.ini", "", False),
    ],
)
def test_verify_file(tmp_path, name, text, ours):
    (tmp_path / name).write_text(text)
    assert instances.InventoryModule().verify_file(str(tmp_path / name)) is ours

"""The planner of a platform, by examples and by properties."""

import copy
import ipaddress

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import platform
from hypothesis import given, settings
from hypothesis import strategies as st

COMPONENTS = {
    "etcd": {
        "flows": [{"port": 2379, "from": ["self", "postgresql"]}, {"port": 2380, "from": ["self"]}],
        "quorum": True,
    },
    "postgresql": {"flows": [{"port": 5432, "from": ["self"]}, {"port": 8008, "from": ["self", "haproxy"]}]},
    "haproxy": {
        "flows": [
            {"port": 5432, "from": ["clients", "vpc"]},
            {"port": 443, "from": "public"},
            {"port": "9000-9010", "from": ["admin"], "protocol": "udp"},
        ],
        "service_names": ["postgresql"],
    },
    "host_baseline": {"flows": [{"port": 9100, "from": ["vpc"]}], "every_host": True},
}


def description():
    return {
        "name": "trading",
        "environment": "production",
        "region": "eu-west-1",
        "zones": ["eu-west-1a", "eu-west-1b", "eu-west-1c"],
        "domain": "trading.internal",
        "network": {"cidr": "10.20.0.0/16", "admin_cidrs": ["203.0.113.10/32"], "client_cidrs": ["10.0.0.0/8"]},
        "ssh_public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA",
        "image": {"id": "ami-1"},
        "tiers": [
            {
                "name": "database",
                "components": ["etcd", "postgresql"],
                "count": 3,
                "instance_type": "t3.medium",
                "volumes": [
                    {"name": "postgresql", "size": 10, "mount": "/var/lib/postgresql"},
                    {"name": "etcd", "size": 2, "mount": "/var/lib/etcd"},
                ],
            },
            {
                "name": "edge",
                "components": ["haproxy"],
                "count": 2,
                "instance_type": "c7i.2xlarge",
                "subnet": "public",
                "public_address": True,
            },
        ],
    }


def test_the_example_has_no_fault():
    assert platform.faults(description(), COMPONENTS) == []


def put(path, value):
    def change(target):
        *parents, last = path
        for key in parents:
            target = target[key]
        target[last] = value

    return change


DATABASE, EDGE = ("tiers", 0), ("tiers", 1)


@pytest.mark.parametrize(
    "change, words",
    [
        (put(("name",), "Trading"), "platform_name is 'Trading'"),
        (put(("domain",), "Trading Internal"), "platform_domain is 'Trading Internal'"),
        (put(("ssh_public_key",), ""), "platform_ssh_public_key"),
        (put(("image",), {"owner": "1"}), "platform_image names no image"),
        (put(("zones",), ["eu-west-1a", "us-east-1b", "eu-west-1c"]), "'us-east-1b', which is no zone of eu-west-1"),
        (put(("zones",), ["eu-west-1a"] * 3), "names a zone twice"),
        (put(("zones",), ["eu-west-1a", "eu-west-1b"]), "holds 2 zones, but tier database has 3 members of etcd"),
        (put((*DATABASE, "count"), 4), "count is 4, but etcd needs an odd number"),
        (put((*DATABASE, "count"), 2), "1 or 3 would be right"),
        (put((*DATABASE, "count"), "three"), "count is 'three'"),
        (put((*DATABASE, "name"), "edge"), "two tiers named 'edge'"),
        (put((*DATABASE, "components"), ["etcd", "oracle"]), "no role for the component 'oracle'"),
        (put((*DATABASE, "instance_type"), "t3-medium"), "instance_type is 't3-medium'"),
        (put((*DATABASE, "public_address"), True), "public_address needs the public subnet"),
        (put((*DATABASE, "volumes", 0, "size"), 0), "size is 0; a gp3 volume has 1 to 65536 GiB"),
        (put((*DATABASE, "volumes", 0, "type"), "ssd"), "type is 'ssd'"),
        (put((*DATABASE, "volumes", 0, "name"), "Data"), "volume 'Data'"),
        (put((*DATABASE, "volumes", 0, "mount"), "data"), "mount is 'data'"),
        (put((*DATABASE, "volumes", 0, "mount"), "/var/lib/etcd"), "two volumes have the mount '/var/lib/etcd'"),
        (put((*DATABASE, "volumes", 0, "name"), "etcd"), "two volumes have the name 'etcd'"),
        (put((*DATABASE, "volumes", 0, "filesystem"), "ntfs"), "filesystem is 'ntfs'"),
        (put((*EDGE, "subnet"), "dmz"), "subnet is 'dmz'"),
        (put((*EDGE, "count"), 60), "has 11 addresses for 20 hosts"),
        (put(("network", "cidr"), "10.20.0.0/26"), "is too small"),
        (put(("network", "cidr"), "10.0.0.0/8"), "is too large"),
        (put(("network", "cidr"), "10.20.0.1/16"), "platform_network.cidr is '10.20.0.1/16'"),
        (put(("network", "admin_cidrs"), ["0.0.0.0/0"]), "the whole internet"),
        (put(("network", "client_cidrs"), ["10.0.0.0"]), "client_cidrs holds '10.0.0.0'"),
        (put(("network", "nat"), "many"), "nat is 'many'"),
        (put(("tiers",), []), "platform_tiers is empty"),
    ],
)
def test_each_fault_is_one_sentence(change, words):
    broken = description()
    if words == "has 11 addresses for 20 hosts":
        broken["network"]["cidr"] = "10.20.0.0/24"
    change(broken)
    found = platform.faults(broken, COMPONENTS)
    assert any(words in sentence for sentence in found), found
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in found)


def test_bad_flows_name_the_file():
    for flow, words in (
        ({"port": 70000, "from": ["self"]}, "port is 70000"),
        ({"port": 1, "protocol": "icmp", "from": ["self"]}, "protocol is 'icmp'"),
        ({"port": 1, "from": ["Self!"]}, "from holds 'Self!'"),
    ):
        components = {**COMPONENTS, "haproxy": {"flows": [flow]}}
        (found,) = platform.faults(description(), components)
        assert found.startswith("roles/haproxy/vars/flows.yml: ") and words in found


def test_overlaps_names_the_networks():
    others = {"vpc-1": "10.20.128.0/17", "vpc-2": "10.21.0.0/16", "vpc-3": "10.0.0.0/8"}
    assert platform.overlaps("10.20.0.0/16", others) == {"vpc-1": "10.20.128.0/17", "vpc-3": "10.0.0.0/8"}


def test_slots_are_of_the_description():
    tiers = description()["tiers"]
    assert platform.slots(tiers, "postgresql") == ["database-1", "database-2", "database-3"]
    assert platform.slots(tiers) == ["database-1", "database-2", "database-3", "edge-1", "edge-2"]
    assert platform.slots(tiers, "kafka") == []


def test_slots_of_one_cluster():
    tiers = description()["tiers"]
    second = {**tiers[0], "name": "reports", "cluster": "reports"}
    assert platform.slots([*tiers, second], "etcd", "reports") == ["reports-1", "reports-2", "reports-3"]


# Security groups


def rules(groups, tier, direction):
    group = next(group for group in groups if group["tier"] == tier)
    return {(r["protocol"], r["from_port"], r["to_port"], r["peer"]) for r in group[direction]}


def test_ingress_is_what_the_flows_say_and_ssh():
    groups = platform.security_groups(description(), COMPONENTS)
    assert rules(groups, "database", "ingress") == {
        ("tcp", 22, 22, "203.0.113.10/32"),
        ("tcp", 2379, 2379, "group:trading-database"),
        ("tcp", 2380, 2380, "group:trading-database"),
        ("tcp", 5432, 5432, "group:trading-database"),
        ("tcp", 8008, 8008, "group:trading-database"),
        ("tcp", 8008, 8008, "group:trading-edge"),
        ("tcp", 9100, 9100, "10.20.0.0/16"),
    }
    assert ("udp", 9000, 9010, "203.0.113.10/32") in rules(groups, "edge", "ingress")


def test_egress_mirrors_the_flows():
    groups = platform.security_groups(description(), COMPONENTS)
    everyone = {(proto, port, port, "0.0.0.0/0") for proto, port in platform.EGRESS}
    assert rules(groups, "edge", "egress") == everyone | {
        ("tcp", 8008, 8008, "group:trading-database"),
        ("tcp", 5432, 5432, "group:trading-edge"),
        ("tcp", 9100, 9100, "group:trading-database"),
        ("tcp", 9100, 9100, "group:trading-edge"),
    }


def test_two_clusters_of_one_kind_do_not_talk():
    two = description()
    two["tiers"].append({**copy.deepcopy(two["tiers"][0]), "name": "reports", "cluster": "reports"})
    groups = platform.security_groups(two, COMPONENTS)
    assert ("tcp", 2380, 2380, "group:trading-reports") not in rules(groups, "database", "ingress")
    assert ("tcp", 2380, 2380, "group:trading-reports") in rules(groups, "reports", "ingress")


def test_without_nat_the_endpoints_are_made_with_a_group():
    private = description()
    private["network"]["nat"] = "none"
    wanted = platform.network(private, COMPONENTS)
    assert {entry["service"] for entry in wanted["endpoints"]} >= {"s3", "dynamodb", "ssm", "ec2", "logs", "sts"}
    group = next(group for group in wanted["security_groups"] if group["name"] == "trading-endpoints")
    assert group["ingress"][0]["peer"] == "10.20.0.0/16" and group["egress"] == []
    assert platform.network(description(), COMPONENTS)["endpoints"] == []


@st.composite
def descriptions(draw):
    result = description()
    zones = draw(st.integers(3, 8))
    result["zones"] = [f"eu-west-1{letter}" for letter in "abcdefgh"[:zones]]
    result["network"]["cidr"] = f"10.{draw(st.integers(0, 255))}.0.0/{draw(st.integers(16, 20))}"
    result["network"]["nat"] = draw(st.sampled_from(platform.NAT_MODES))
    result["tiers"][0]["count"] = draw(st.sampled_from([3, 5, 7]))
    result["tiers"][1]["count"] = draw(st.integers(0, 40))
    result["tiers"][1]["components"] = draw(
        st.lists(st.sampled_from(["haproxy", "postgresql"]), min_size=1, unique=True)
    )
    return result


@settings(max_examples=60, deadline=None)
@given(descriptions())
def test_properties_of_the_network(given_platform):
    assert platform.faults(given_platform, COMPONENTS) == []
    vpc = ipaddress.ip_network(given_platform["network"]["cidr"])
    subnets = [ipaddress.ip_network(subnet["cidr"]) for subnet in platform.subnets(given_platform)]
    assert len(subnets) == 2 * len(given_platform["zones"])
    assert all(subnet.subnet_of(vpc) for subnet in subnets)
    assert not any(a.overlaps(b) for i, a in enumerate(subnets) for b in subnets[i + 1 :])


@settings(max_examples=60, deadline=None)
@given(descriptions())
def test_only_public_flows_are_open_to_the_internet_and_each_end_agrees(given_platform):
    groups = platform.security_groups(given_platform, COMPONENTS)
    for group in groups:
        opened = {r["from_port"] for r in group["ingress"] if r["peer"] == platform.ANYWHERE}
        tier = next(t for t in given_platform["tiers"] if t["name"] == group["tier"])
        assert opened == ({443} if "haproxy" in tier["components"] else set())
        for rule in group["ingress"]:
            if rule["peer"].startswith("group:"):
                sender = next(g for g in groups if g["name"] == rule["peer"][6:])
                mirrored = {(r["protocol"], r["from_port"], r["to_port"], r["peer"]) for r in sender["egress"]}
                assert (
                    rule["protocol"],
                    rule["from_port"],
                    rule["to_port"],
                    f"group:{group['name']}",
                ) in mirrored


@settings(max_examples=60, deadline=None)
@given(descriptions())
def test_slots_spread_over_zones_and_keep_theirs_when_a_tier_grows(given_platform):
    wanted = platform.instances(given_platform)
    zones = [wanted[slot]["zone"] for slot in platform.tier_slots(given_platform["tiers"][0])]
    lost = max(zones.count(zone) for zone in zones)
    assert len(zones) - lost >= platform.majority(len(zones))
    grown = copy.deepcopy(given_platform)
    grown["tiers"][0]["count"] += 2
    after = platform.instances(grown)
    assert all(after[slot] == wanted[slot] for slot in wanted)


def test_records_follow_what_exists():
    addresses = {"database-1": "10.20.0.4", "edge-1": "10.20.128.4", "edge-2": "10.20.144.4"}
    found = {r["name"]: r["values"] for r in platform.records(description(), COMPONENTS, addresses)}
    assert found == {
        "database-1.trading.internal": ["10.20.0.4"],
        "edge-1.trading.internal": ["10.20.128.4"],
        "edge-2.trading.internal": ["10.20.144.4"],
        "postgresql.trading.internal": ["10.20.128.4", "10.20.144.4"],
    }


BALANCED = {
    **COMPONENTS,
    "haproxy": {**COMPONENTS["haproxy"], "service_names": ["postgresql", "kubernetes"]},
    "etcd": {
        **COMPONENTS["etcd"],
        "balancer": {"option": "api", "group": "api", "port": 6443, "from": ["admin", "vpc"], "purpose": "API"},
    },
}


def balanced(**more):
    endpoint = {"balancer": "nlb", "name": "kubernetes.trading.internal", **more}
    return {**description(), "endpoint": endpoint, "options": {"api": True}}


def test_a_load_balancer_before_a_component_is_the_way_to_it_from_the_network():
    groups = platform.security_groups(balanced(), BALANCED)
    assert groups[-1]["name"] == "trading-api"
    assert rules(groups, "", "ingress") == {
        ("tcp", 6443, 6443, "10.20.0.0/16"),
        ("tcp", 6443, 6443, "203.0.113.10/32"),
    }
    assert rules(groups, "", "egress") == {("tcp", 6443, 6443, "group:trading-database")}
    way = ("tcp", 6443, 6443, "group:trading-api")
    assert way in rules(groups, "database", "ingress") and way not in rules(groups, "edge", "ingress")
    assert way in rules(groups, "edge", "egress") and way in rules(groups, "database", "egress")
    # Off, nothing differs from what is without it.
    assert platform.security_groups({**balanced(), "options": {}}, BALANCED) == platform.security_groups(
        description(), COMPONENTS
    )


def test_a_name_leads_to_its_load_balancer_once_that_has_a_target_or_nothing_else_has_it():
    addresses = {"edge-1": "10.20.128.4", "edge-2": "10.20.144.4"}
    alias = {"name": "kubernetes.trading.internal", "address": "a.elb.amazonaws.com", "zone_id": "Z1", "targets": []}

    def leads(alias, components=BALANCED):
        made = platform.records(balanced(), components, addresses, [alias])
        (found,) = [record for record in made if record["name"] == alias["name"]]
        return found.get("alias") or found["values"]

    there = {"name": "a.elb.amazonaws.com", "zone_id": "Z1"}
    assert leads(alias) == list(addresses.values())
    assert leads({**alias, "targets": ["i-1"]}) == there
    assert leads({**alias, "name": "api.trading.internal"}) == there
    assert leads(alias, COMPONENTS) == there


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (balanced(balancer="elb"), "kubernetes_endpoint_balancer is 'elb'; it must be haproxy or nlb."),
        (balanced(drain_seconds=3601), "kubernetes_endpoint_nlb.drain_seconds is 3601; Elastic Load Balancing takes"),
        (balanced(name="api.example.com"), "api.example.com, which is not in the private zone trading.internal"),
    ],
)
def test_what_cannot_lead_to_the_api_is_refused(given, words):
    (found,) = platform.faults(given, BALANCED)
    assert words in found


def test_no_tier_has_the_name_of_a_load_balancer():
    assert platform.faults(balanced(), BALANCED) == []
    given = balanced()
    given["tiers"][0]["name"] = "api"
    (found,) = platform.faults(given, BALANCED)
    assert "platform_tiers holds the name 'api', which is a load balancer's" in found


def test_a_tier_without_rights_has_no_policy():
    components = {**COMPONENTS, "haproxy": {"iam": [{"actions": ["s3:GetObject"], "resources": ["arn:{platform}/*"]}]}}
    found = platform.policies(description(), components)
    assert found["database"] is None
    assert found["edge"]["Statement"] == [
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:trading/*"]}
    ]


BUCKETS = [{"name": "trading-backup", "purpose": "backup"}]


def test_a_component_may_use_its_prefix_of_a_described_bucket_and_nothing_else():
    components = {**COMPONENTS, "postgresql": {"buckets": [{"purpose": "backup", "prefix": "postgresql"}]}}
    found = platform.policies({**description(), "buckets": BUCKETS}, components)
    assert found["edge"] is None
    listing, objects = found["database"]["Statement"]
    assert listing["Resource"] == ["arn:aws:s3:::trading-backup"]
    assert listing["Condition"]["StringLike"]["s3:prefix"] == ["postgresql", "postgresql/*"]
    assert objects["Resource"] == ["arn:aws:s3:::trading-backup/postgresql/*"]
    assert "s3:DeleteObjectVersion" not in objects["Action"]
    assert platform.policies(description(), components)["database"] is None


@pytest.mark.parametrize(("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn")])
def test_partition(region, partition):
    assert platform.partition(region) == partition


@pytest.mark.parametrize(
    ("buckets", "words"),
    [
        ([{"name": "Backup", "purpose": "backup"}], "holds the name 'Backup'"),
        ([{"name": "a.b", "purpose": "backup"}], "lower-case letters, digits and dashes"),
        ([*BUCKETS, *BUCKETS], "names trading-backup twice"),
        ([*BUCKETS, {"name": "other", "purpose": "backup"}], "has two buckets for backup"),
    ],
)
def test_bad_buckets_are_refused(buckets, words):
    assert any(words in fault for fault in platform.faults({**description(), "buckets": buckets}, COMPONENTS))
    assert platform.faults({**description(), "buckets": BUCKETS}, COMPONENTS) == []


def test_buckets_keep_old_versions_for_a_while():
    (bucket,) = platform.bucket_settings({"buckets": BUCKETS})
    assert bucket["name"] == "trading-backup"
    assert bucket["lifecycle"][0]["expire_noncurrent_days"] == 30


def guarded(edge="alb", **more):
    given = {**description(), "edge": edge, **more}
    given["tiers"][1].update(subnet="private", public_address=False)
    return given


def test_behind_a_web_acl_the_public_comes_by_the_load_balancer_alone():
    groups = platform.security_groups(guarded(edge_port=8443), COMPONENTS)
    assert [group["name"] for group in groups] == ["trading-database", "trading-edge", "trading-entrance"]
    entrance = next(group for group in groups if group["name"] == "trading-entrance")
    assert entrance["tier"] == "" and {(r["from_port"], r["peer"]) for r in entrance["ingress"]} == {
        (443, "0.0.0.0/0"),
        (80, "0.0.0.0/0"),
    }
    let_in = {(8443, "group:trading-edge"), (8405, "group:trading-edge")}
    assert {(r["from_port"], r["peer"]) for r in entrance["egress"]} == let_in
    edge = next(group for group in groups if group["name"] == "trading-edge")
    assert "0.0.0.0/0" not in {rule["peer"] for rule in edge["ingress"]}
    from_it = {rule["from_port"] for rule in edge["ingress"] if rule["peer"] == "group:trading-entrance"}
    assert from_it == {8443, 8405}


def test_cloudfront_is_known_by_its_prefix_list():
    groups = platform.security_groups(guarded("cloudfront"), COMPONENTS)
    (rule,) = next(group for group in groups if group["name"] == "trading-entrance")["ingress"]
    assert (rule["from_port"], rule["peer"]) == (443, "prefix:com.amazonaws.global.cloudfront.origin-facing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": {"cidr": "10.20.0.0/16", "client_cidrs": ["203.0.113.0/24"]}}, "a way past the web ACL"),
        ({"zones": ["eu-west-1a"], "tiers": []}, "stands in two zones at least"),
        ({"edge_port": "443-444"}, "platform_edge_port is '443-444'"),
    ],
)
def test_ways_past_the_web_acl_are_refused(change, words):
    given = {**guarded(), **change}
    assert any(words in fault for fault in platform.faults(given, COMPONENTS))
    assert not any(words in fault for fault in platform.faults({**given, "edge": "direct"}, COMPONENTS))


def test_a_public_address_leads_past_the_web_acl():
    given = {**description(), "edge": "cloudfront"}
    assert any("public_address leads past the web ACL" in fault for fault in platform.faults(given, COMPONENTS))
    given = guarded()
    assert platform.faults(given, COMPONENTS) == []
    given["tiers"][1]["name"] = "entrance"
    assert any("is the load balancer's" in fault for fault in platform.faults(given, COMPONENTS))


def test_rights_of_a_component_are_narrowed_to_the_platform():
    right = {"actions": ["cloudwatch:PutMetricData"], "resources": ["*"]}
    right["conditions"] = {"StringEquals": {"cloudwatch:namespace": "{platform}", "aws:ResourceTag/of/{platform}": "a"}}
    policy = platform.policies(description(), {"etcd": {"iam": [right]}})["database"]
    assert policy["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["cloudwatch:PutMetricData"],
            "Resource": ["*"],
            "Condition": {"StringEquals": {"cloudwatch:namespace": "trading", "aws:ResourceTag/of/trading": "a"}},
        }
    ]

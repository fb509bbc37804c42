"""Record sets: canonical forms, checks, ownership, the plan and its batches, played through the front's own rules."""

import random

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import dns_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.aws.rules import route53

ZONE = "example.com"
CHECK = "11111111-2222-3333-4444-555555555555"
COLLECTION = "aaaaaaaa-2222-3333-4444-555555555555"


def record(name="a.example.com", kind="A", values=("10.0.0.1",), ttl=60, **more):
    entry = {"name": name, "type": kind, "ttl": ttl, "values": list(values), **more}
    return {key: value for key, value in entry.items() if value is not None}


def alias(name, target, **more):
    return {"name": name, "type": "A", "alias": {"name": target, "zone_id": "Z1", **more}}


def weighted(identity, weight=1, **more):
    return record(set_identifier=identity, weight=weight, **more)


def held(*records):
    return [dns_plan.as_set(entry) for entry in records]


def changes_of(records, sets, owner=None, marker=""):
    changes, conflicts = dns_plan.plan(records, sets, ZONE, owner, marker, "Z1")
    assert conflicts == []
    return changes


def lines(changes):
    return [f"{change['action']} {dns_plan.text(change['record_set'])}" for change in changes]


def apply(changes, sets):
    """Return what the zone holds after the batches; each goes as a whole through the rules of the lab's front."""
    state = {(route53.canonical(s["Name"]), s["Type"], s.get("SetIdentifier")): s for s in sets}
    for batch in dns_plan.batches(changes):
        entries = dns_plan.entries(batch)
        actions = [entry["Action"] for entry in entries]
        assert actions == sorted(actions, key=lambda action: action != "DELETE")
        for entry in entries:
            assert route53.apply(state, entry, ZONE) is None
    return list(state.values())


# What is the same
@pytest.mark.parametrize(
    "wanted, there",
    [
        (record(values=["10.0.0.1", "10.0.0.2"]), record(values=["10.0.0.2", "10.0.0.1"])),
        (record(name="A.Example.com."), record()),
        (record(name="*.example.com"), record(name="\\052.example.com.")),
        (record(kind="TXT", values=['say "hi"']), record(kind="TXT", values=['"say \\"hi\\""'])),
        (record(kind="TXT", values=["é"]), record(kind="TXT", values=['"\\303\\251"'])),
    ],
)
def test_the_same_meaning_is_no_change(wanted, there):
    raw = {**dns_plan.as_set(there), "Name": there["name"]}
    raw["ResourceRecords"] = [{"Value": value} for value in there["values"]]
    assert changes_of([wanted], [raw]) == []


def test_an_alias_is_the_same_with_dualstack_case_and_dot():
    there = dns_plan.as_set(alias("a.example.com", "dualstack.Front-1.elb.amazonaws.com."))
    there["AliasTarget"]["DNSName"] = "dualstack.Front-1.elb.amazonaws.com."
    assert changes_of([alias("a.example.com", "front-1.elb.amazonaws.com")], [there]) == []
    assert len(changes_of([alias("a.example.com", "front-2.elb.amazonaws.com")], [there])) == 1
    healthy = alias("a.example.com", "front-1.elb.amazonaws.com", evaluate_target_health=True)
    assert lines(changes_of([healthy], [there]))[0].endswith("with its health")


# What is refused
PRIMARY = {"set_identifier": "p", "failover": "primary"}
BAD = [
    (record(name="a.example.org"), "is not in the zone example.com."),
    (record(name="a..example.com"), "has no valid name"),
    (record(name="-a.example.com"), "has no valid name"),
    (record(name="a.*.example.com"), "has no valid name"),
    (record(values=["10.0.0.256"]), "it must be an IPv4 address"),
    (record(kind="AAAA", values=["10.0.0.1"]), "it must be an IPv6 address"),
    (record(kind="CNAME", values=["a.example.com", "b.example.com"]), "must have one value"),
    (record(name="example.com", kind="CNAME", values=["a.example.com"]), "may not stand at the zone's own name"),
    (record(kind="TXT", values=['"' + "x" * 256 + '"']), "strings of at most 255 characters"),
    (record(kind="TXT", values=["x" * 4001]), "at most 4000 characters"),
    (record(values=[]), "has no value"),
    (record(ttl=-1), "has the ttl -1"),
    (record(values=[f"10.0.{n // 250}.{n % 250}" for n in range(501)]), "has 501 values"),
    ({**alias("a.example.com", "b.example.com"), "values": ["10.0.0.1"]}, "has values and an alias"),
    (record(kind="NS", values=["ns.example.net"], set_identifier="x", weight=1), "NS, SOA and DS are simple"),
    (weighted("x", 256), "it must be 0 to 255"),
    (record(weight=1), "needs a set_identifier"),
    (record(set_identifier="x"), "has a set_identifier but no routing policy"),
    (record(set_identifier="x", weight=1, latency_region="eu-west-1"), "one routing policy"),
    (record(set_identifier="x", latency_region="Ireland"), "a region such as eu-west-1"),
    (record(**PRIMARY), "or it never fails over"),
    (record(set_identifier="x", geolocation={"continent": "EU", "country": "DE"}), "a continent or a country"),
    (record(set_identifier="x", geolocation={"country": "Germany"}), "two capital letters"),
    (record(set_identifier="x", geolocation={"country": "DE", "subdivision": "BY"}), "have subdivisions"),
    (record(set_identifier="x", geoproximity={"bias": 1}), "one of aws_region, local_zone_group and coordinates"),
    (record(set_identifier="x", geoproximity={"aws_region": "eu-west-1", "bias": 100}), "bias must be -99 to 99"),
    (record(set_identifier="x", cidr={"collection_id": "mine", "location": "x"}), "the id of a CIDR collection"),
    (record(kind="CNAME", values=["b.example.com"], set_identifier="x", multivalue=True), "cannot be multivalue"),
]


@pytest.mark.parametrize("bad, words", BAD, ids=[words for _bad, words in BAD])
def test_bad_records_are_one_sentence(bad, words):
    (found,) = dns_plan.faults([bad], ZONE)
    assert words in found and found.endswith(".")


@pytest.mark.parametrize(
    "records, words",
    [
        ([record(), record(name="A.example.com.")], "there twice"),
        ([record(), record(kind="CNAME", values=["b.example.com"])], "a CNAME stands alone"),
        ([record(), weighted("x")], "simple and weight at once"),
        ([weighted("x"), weighted("x", 2)], "the set_identifier x twice"),
        ([weighted("x", ttl=30), weighted("y", ttl=60)], "different ttl"),
        (
            [record(set_identifier=n, latency_region="eu-west-1") for n in ("x", "y")],
            "the latency_region eu-west-1 twice",
        ),
    ],
)
def test_bad_neighbours_are_one_sentence(records, words):
    (found,) = dns_plan.faults(records, ZONE)
    assert words in found and found.endswith(".")


def test_good_records_of_every_policy():
    good = [
        record("w.example.com", set_identifier="x", weight=0),
        record("l.example.com", set_identifier="x", latency_region="eu-west-1"),
        record("f.example.com", **PRIMARY, health_check_id=CHECK),
        record("f.example.com", set_identifier="s", failover="secondary"),
        record("g.example.com", set_identifier="x", geolocation={"country": "US", "subdivision": "CA"}),
        record("g.example.com", set_identifier="y", geolocation={"country": "*"}),
        record(
            "p.example.com", set_identifier="x", geoproximity={"coordinates": {"latitude": "53.3", "longitude": "-6"}}
        ),
        record("m.example.com", set_identifier="x", multivalue=True, health_check_id=CHECK),
        record("c.example.com", set_identifier="x", cidr={"collection_id": COLLECTION, "location": "office"}),
        record("*.example.com"),
        alias("example.com", "front.elb.amazonaws.com"),
    ]
    assert dns_plan.faults(good, ZONE) == []
    zone = apply(changes_of(good, []), [])
    assert changes_of(good, zone) == []
    policies = {member: s[member] for s in zone for member in dns_plan.POLICIES.values() if s.get(member) is not None}
    assert policies["GeoProximityLocation"]["Coordinates"] == {"Latitude": "53.3", "Longitude": "-6"}
    assert set(policies) == set(dns_plan.POLICIES.values())


# Ownership
def test_only_owned_names_are_pruned_and_never_ns_and_soa_of_the_zone():
    sets = held(*(record(f"{name}.example.com") for name in ("db-1", "db-x", "mail", "w")))
    sets += held(alias("db-2.example.com", "x.example.net"), weighted("x", name="db-3.example.com"))
    sets += held(
        record("example.com", "NS", ["ns.example.net"]),
        record("example.com", "SOA", ["ns.example.net a.example.net 1 2 3 4 5"]),
        record("db-4.example.com", "NS", ["ns.example.net"]),
    )
    owner = {"patterns": [r"db-[0-9]+[.]example[.]com"], "names": ["Mail.example.com", ZONE], "prefixes": ["w"]}
    deleted = {change["record_set"]["Name"][:-13] for change in changes_of([], sets, owner)}
    assert deleted == {"db-1", "db-2", "db-3", "db-4", "mail", "w"}
    assert len(changes_of([], sets, {**owner, "keep": ["db-1.example.com"]})) == 5
    assert changes_of([], sets) == []


def test_what_a_traffic_policy_made_is_left_alone():
    (made,) = held(record())
    made["TrafficPolicyInstanceId"] = "tp"
    assert changes_of([], [made], {"names": ["a.example.com"]}) == []
    _changes, conflicts = dns_plan.plan([record(values=["10.0.0.9"])], [made], ZONE)
    assert "a traffic policy made" in conflicts[0]


def test_the_marker_owns_its_name():
    wanted = [record("a.example.com"), record("*.example.com"), record("a.example.com", "TXT", ["x"])]
    zone = apply(
        changes_of(wanted, held(record("other.example.com")), marker="owner=me"), held(record("other.example.com"))
    )
    names = {s["Name"] for s in zone if s["Type"] == "TXT"}
    assert names == {"a.example.com.", "_owner.a.example.com.", "_owner._wildcard.example.com."}
    assert changes_of(wanted, zone, marker="owner=me") == []
    left = apply(changes_of(wanted[1:2], zone, marker="owner=me"), zone)
    assert {route53.canonical(s["Name"]) for s in left} == {
        "other.example.com.",
        "\\052.example.com.",
        "_owner._wildcard.example.com.",
    }
    kept = dns_plan.plan(wanted[1:2], zone, ZONE, {"keep": ["a.example.com"]}, "owner=me")
    assert kept == ([], [])


def test_a_name_of_somebody_else_is_refused_and_not_pruned():
    sets = apply(changes_of([record()], [], marker="owner=they"), [])
    changes, conflicts = dns_plan.plan([record(values=["10.0.0.2"])], sets, ZONE, None, "owner=me")
    assert changes and conflicts == ["The name a.example.com. belongs to 'owner=they', as _owner.a.example.com. says."]
    assert dns_plan.plan([], sets, ZONE, {"patterns": [".*"]}, "owner=me") == ([], [])


# Plan
def test_a_cname_gives_way_in_the_same_batch_before_the_address():
    sets = held(record(kind="CNAME", values=["b.example.com"]))
    (batch,) = dns_plan.batches(changes_of([record()], sets, {"names": ["a.example.com"]}))
    assert [(e["Action"], e["ResourceRecordSet"]["Type"]) for e in dns_plan.entries(batch)] == [
        ("DELETE", "CNAME"),
        ("CREATE", "A"),
    ]
    for wanted, there, words in (
        (record(), sets, "a CNAME stands alone"),
        (weighted("x"), held(record()), "which is simple and not weight"),
    ):
        _changes, conflicts = dns_plan.plan([wanted], there, ZONE)
        assert len(conflicts) == 1 and words in conflicts[0] and "name it in prune" in conflicts[0]


def test_primary_and_secondary_change_places_in_one_batch():
    def pair(first, second):
        return [
            record(set_identifier=first, failover="primary", health_check_id=CHECK),
            record(set_identifier=second, failover="secondary", health_check_id=CHECK, values=["10.0.0.2"]),
        ]

    zone = apply(changes_of(pair("x", "y"), []), [])
    changes = changes_of(pair("y", "x"), zone)
    assert len(dns_plan.batches(changes)) == 1
    assert changes_of(pair("y", "x"), apply(changes, zone)) == []


def test_an_alias_comes_after_what_it_points_at_and_goes_before():
    wanted = [alias("a.example.com", "b.example.com"), alias("b.example.com", "c.example.com"), record("c.example.com")]
    changes = changes_of(wanted, [])
    (group,) = dns_plan.groups(changes)
    assert [change["record_set"]["Name"][0] for change in group] == ["c", "b", "a"]
    zone = [change["record_set"] for change in changes]
    (group,) = dns_plan.groups(changes_of([], zone, {"patterns": [".*"]}))
    assert [change["record_set"]["Name"][0] for change in group] == ["a", "b", "c"]


def test_the_diff_shows_the_edit_and_nothing_else():
    sets = held(record(), record("b.example.com"))
    changes = changes_of([record(ttl=30), record("b.example.com"), record("c.example.com")], sets)
    assert [change["action"] for change in changes] == ["UPSERT", "CREATE"]
    assert dns_plan.difference(changes) == {
        "before": "a.example.com. 60 A 10.0.0.1\n",
        "after": "a.example.com. 30 A 10.0.0.1\nc.example.com. 60 A 10.0.0.1\n",
    }


# Properties: any zone to any other
def shape(name, kind, seed):
    """Records of one name, by a number that says which kind of them."""
    dice = random.Random(seed)
    address = [f"10.0.0.{n}" for n in dice.sample(range(1, 9), dice.randint(1, 3))]
    ttl = dice.choice([30, 60])
    if kind == "cname":
        return [record(name, "CNAME", [dice.choice(["x.example.net", "Y.example.net."])], ttl)]
    if kind == "alias":
        return [alias(name, dice.choice(["f-1.elb.amazonaws.com", "dualstack.f-2.elb.amazonaws.com"]))]
    if kind == "weighted":
        count = dice.randint(1, 3)
        return [
            record(name, "A", address, ttl, set_identifier=f"s{n}", weight=dice.randint(0, 9)) for n in range(count)
        ]
    if kind == "failover":
        order = dice.sample(["x", "y"], 2)
        more = {"health_check_id": CHECK}
        return [
            record(name, "A", address, ttl, set_identifier=identity, failover=place, **more)
            for identity, place in zip(order, ("primary", "secondary"), strict=True)
        ]
    if kind == "texts":
        return [
            record(name, "TXT", ["v" * dice.randint(1, 600), "b"], ttl),
            record(name, "MX", ["10 m.example.net"], ttl),
        ]
    return [record(name, "A", address, ttl), record(name, "AAAA", ["2001:db8::1"], ttl)]


KINDS = st.sampled_from(["simple", "cname", "alias", "weighted", "failover", "texts", "none"])
NAMES = ["a.example.com", "b.a.example.com", "*.example.com", "c-d.example.com"]
ZONES = st.builds(
    lambda kinds, seed: [r for n, k in zip(NAMES, kinds, strict=True) if k != "none" for r in shape(n, k, seed)],
    st.lists(KINDS, min_size=4, max_size=4),
    st.integers(0, 99),
)


def scramble(record_set, dice):
    """The same record set as another client might have written it."""
    result = {**record_set, "Name": record_set["Name"].upper().replace("*", "\\052")}
    if result.get("ResourceRecords"):
        values = [entry["Value"] for entry in result["ResourceRecords"]]
        if result["Type"] in ("MX", "CNAME"):
            values = [value.upper() for value in values]
        if result["Type"] == "TXT":
            plain = ["".join(value.strip('"').split('" "')) for value in values]
            values = [" ".join(f'"{text[n : n + 90]}"' for n in range(0, len(text), 90)) for text in plain]
        result["ResourceRecords"] = [{"Value": value} for value in dice.sample(values, len(values))]
    if result.get("AliasTarget"):
        name = result["AliasTarget"]["DNSName"].removeprefix("dualstack.")
        result["AliasTarget"] = {**result["AliasTarget"], "DNSName": f"dualstack.{name}".upper().rstrip(".")}
    return result


@settings(max_examples=50, deadline=None)
@given(ZONES, st.integers())
def test_equal_means_no_write(wanted, seed):
    assert dns_plan.faults(wanted, ZONE) == []
    dice = random.Random(seed)
    zone = [scramble(entry, dice) for entry in held(*wanted)]
    dice.shuffle(zone)
    assert changes_of(wanted, zone, {"patterns": [".*"]}) == []


@settings(max_examples=50, deadline=None)
@given(ZONES, ZONES, st.sampled_from(["", "owner=me"]))
def test_the_plan_applied_gives_what_is_wanted(before, wanted, marker):
    stranger = held(record("stranger.example.com"))
    zone = apply(changes_of(before, stranger, {"patterns": [".*"], "keep": ["stranger.example.com"]}, marker), stranger)
    owner = {"patterns": ["[^s].*"], "keep": ["stranger.example.com"]} if not marker else None
    changes = changes_of(wanted, zone, owner, marker)
    after = apply(changes, zone)
    assert changes_of(wanted, after, owner, marker) == []
    expected = {dns_plan.canonical_set(s)[0] for s in held(*wanted, *dns_plan.markers(wanted, marker)) + stranger}
    assert {dns_plan.canonical_set(s)[0] for s in after} == expected


@settings(max_examples=50, deadline=None)
@given(ZONES, ZONES)
def test_without_ownership_a_plan_works_or_says_why_not(before, wanted):
    zone = apply(changes_of(before, []), [])
    changes, conflicts = dns_plan.plan(wanted, zone, ZONE)
    if not conflicts:
        after = apply(changes, zone)
        keys = {dns_plan.canonical_set(s)[0] for s in after}
        assert {dns_plan.canonical_set(s)[0] for s in zone} <= keys


# Batches
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"'), max_size=600)
BATCHES = st.lists(
    st.builds(
        lambda n, values, action: {
            "action": action,
            "record_set": dns_plan.as_set(record(f"n{n}.example.com", "TXT", values)),
        },
        st.integers(0, 200),
        st.lists(texts, min_size=1, max_size=12, unique=True),
        st.sampled_from(["UPSERT", "DELETE", "CREATE"]),
    ),
    max_size=60,
    unique_by=lambda change: change["record_set"]["Name"],
)


@settings(max_examples=50, deadline=None)
@given(BATCHES)
def test_no_batch_is_above_the_limits_and_nothing_is_lost(changes):
    batches = dns_plan.batches(changes)
    flat = [change for batch in batches for group in batch for change in group]
    assert sorted(map(id, flat)) == sorted(map(id, changes))
    for batch in batches:
        costs = [dns_plan.cost(change) for group in batch for change in group]
        assert sum(cost[0] for cost in costs) <= 1000
        assert sum(cost[1] for cost in costs) <= 32000


def test_changes_of_an_existing_record_count_twice():
    many = [{"action": "CREATE", "record_set": dns_plan.as_set(record(f"n{n}.example.com"))} for n in range(1200)]
    assert [len(batch) for batch in dns_plan.batches(many)] == [1000, 200]
    for change in many:
        change["action"] = "UPSERT"
    assert [len(batch) for batch in dns_plan.batches(many)] == [500, 500, 200]


def test_a_chain_of_aliases_above_the_limits_still_goes_in_order():
    changes = changes_of(
        [record("t.example.com"), *(alias(f"n{n}.example.com", "t.example.com") for n in range(1500))], []
    )
    batches = dns_plan.batches(changes)
    assert len(batches) == 2
    assert dns_plan.entries(batches[0])[0]["ResourceRecordSet"]["Name"] == "t.example.com."

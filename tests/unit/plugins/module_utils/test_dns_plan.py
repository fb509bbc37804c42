"""Record sets: canonical forms, checks, the plan and its batches."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import dns_plan
from hypothesis import given, settings
from hypothesis import strategies as st

ZONE = "example.com"


def record(name="a.example.com", kind="A", values=("10.0.0.1",), ttl=60):
    return {"name": name, "type": kind, "ttl": ttl, "values": list(values)}


def held(*records):
    return [dns_plan.as_set(entry) for entry in records]


@pytest.mark.parametrize(
    "wanted, there",
    [
        (record(values=["10.0.0.1", "10.0.0.2"]), record(values=["10.0.0.2", "10.0.0.1"])),
        (record(name="A.Example.com."), record()),
        (record(name="*.example.com"), record(name="\\052.example.com.")),
        (record(kind="CNAME", values=["B.example.com"]), record(kind="CNAME", values=["b.example.com."])),
        (record(kind="TXT", values=['say "hi"']), record(kind="TXT", values=['"say \\"hi\\""'])),
        (
            record(kind="TXT", values=["x" * 300]),
            record(kind="TXT", values=['"' + "x" * 150 + '" "' + "x" * 150 + '"']),
        ),
        (record(kind="AAAA", values=["2001:db8::1"]), record(kind="AAAA", values=["2001:DB8:0::1"])),
        (record(kind="SRV", values=["1 2 3 T.example.com"]), record(kind="SRV", values=["1 2  3 t.example.com."])),
    ],
)
def test_the_same_meaning_is_no_change(wanted, there):
    raw = {
        "Name": there["name"],
        "Type": there["type"],
        "TTL": there["ttl"],
        "ResourceRecords": [{"Value": value} for value in there["values"]],
    }
    assert dns_plan.plan([wanted], [raw]) == []


@pytest.mark.parametrize(
    "bad, words",
    [
        (record(name="a.example.org"), "is not in the zone example.com."),
        (record(name="a..example.com"), "has no valid name"),
        (record(name="-a.example.com"), "has no valid name"),
        (record(values=["10.0.0.256"]), "it must be an IPv4 address"),
        (record(values=["2001:db8::1"]), "it must be an IPv4 address"),
        (record(kind="AAAA", values=["10.0.0.1"]), "it must be an IPv6 address"),
        (record(kind="CNAME", values=["a.example.com", "b.example.com"]), "must have one value"),
        (record(name="example.com", kind="CNAME", values=["a.example.com"]), "may not stand at the zone's own name"),
        (record(kind="SRV", values=["1 2 70000 a.example.com"]), "priority, weight, port and target"),
        (record(kind="TXT", values=["x" * 4001]), "at most 4000 characters"),
        (record(values=[]), "has no value"),
        (record(ttl=-1), "has the ttl -1"),
    ],
)
def test_bad_records_are_one_sentence(bad, words):
    (found,) = dns_plan.faults([bad], ZONE)
    assert words in found and found.endswith(".")


def test_doubles_and_a_cname_with_company_are_refused():
    assert "there twice" in dns_plan.faults([record(), record(name="A.example.com.")], ZONE)[0]
    both = [record(), record(kind="CNAME", values=["b.example.com"])]
    assert "a CNAME stands alone" in dns_plan.faults(both, ZONE)[0]


def test_only_owned_names_are_pruned_and_never_ns_soa_or_aliases():
    sets = held(
        record("db-1.example.com"), record("db-x.example.com"), record("mail.example.com"), record("w.example.com")
    )
    sets.append({"Name": "db-2.example.com.", "Type": "A", "AliasTarget": {"DNSName": "x."}})
    sets.append({"Name": "db-3.example.com.", "Type": "NS", "TTL": 1, "ResourceRecords": [{"Value": "n."}]})
    owner = {"patterns": [r"db-[0-9]+[.]example[.]com"], "names": ["Mail.example.com"], "prefixes": ["w"], "keep": []}
    deleted = {change["record_set"]["Name"] for change in dns_plan.plan([], sets, owner)}
    assert deleted == {"db-1.example.com.", "mail.example.com.", "w.example.com."}
    owner["keep"] = ["db-1.example.com"]
    assert len(dns_plan.plan([], sets, owner)) == 2
    assert dns_plan.plan([], sets) == []


def test_the_marker_owns_its_name():
    sets = held(record("a.example.com"), record("a.example.com", "TXT", ["owner=trading"]), record("b.example.com"))
    deleted = [c["record_set"]["Name"] for c in dns_plan.plan([], sets, None, "owner=trading")]
    assert deleted == ["a.example.com.", "a.example.com."]


def test_a_cname_gives_way_in_the_same_batch_before_the_address():
    sets = held(record("a.example.com", "CNAME", ["b.example.com"]))
    changes = dns_plan.plan([record("a.example.com")], sets, {"names": ["a.example.com"]})
    (batch,) = dns_plan.batches(changes)
    assert [(c["action"], c["record_set"]["Type"]) for c in batch] == [("DELETE", "CNAME"), ("UPSERT", "A")]


texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=0, max_size=600)
changes = st.lists(
    st.builds(
        lambda n, values, action: {
            "action": action,
            "record_set": dns_plan.as_set(record(f"n{n}.example.com", "TXT", values)),
        },
        st.integers(0, 200),
        st.lists(texts, min_size=1, max_size=12, unique=True),
        st.sampled_from(["UPSERT", "DELETE"]),
    ),
    max_size=60,
    unique_by=lambda change: change["record_set"]["Name"],
)


@settings(max_examples=60, deadline=None)
@given(changes)
def test_no_batch_is_above_the_limits_and_nothing_is_lost(given_changes):
    batches = dns_plan.batches(given_changes)
    assert sorted(c["record_set"]["Name"] for b in batches for c in b) == sorted(
        c["record_set"]["Name"] for c in given_changes
    )
    for batch in batches:
        costs = [dns_plan.cost(change) for change in batch]
        assert sum(cost[0] for cost in costs) <= 1000
        assert sum(cost[1] for cost in costs) <= 32000
        actions = [change["action"] for change in batch]
        assert actions == sorted(actions)


def test_six_hundred_upserts_make_two_batches():
    many = [{"action": "UPSERT", "record_set": dns_plan.as_set(record(f"n{n}.example.com"))} for n in range(600)]
    assert [len(batch) for batch in dns_plan.batches(many)] == [500, 100]


@settings(max_examples=100, deadline=None)
@given(texts)
def test_txt_says_after_quoting_what_it_said_before(text):
    if not text.startswith('"'):
        quoted = dns_plan.quote_txt(text)
        assert dns_plan.plain_txt(quoted) == text
        assert all(len(part) <= 255 for part in dns_plan.QUOTED.findall(quoted))

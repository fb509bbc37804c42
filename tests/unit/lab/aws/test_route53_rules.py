"""The rules of a change batch, without a server."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.aws.rules.route53 import CHECKS, apply, canonical

NAMES = st.sampled_from(["a.x", "B.x.", "*.x", "x"])
VALUES = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]), min_size=1, max_size=3, unique=True)
RECORDS = st.builds(
    lambda name, values: {
        "Name": name,
        "Type": "A",
        "TTL": 60,
        "ResourceRecords": [{"Value": value} for value in values],
    },
    NAMES,
    VALUES,
)
ACTIONS = st.sampled_from(["CREATE", "UPSERT", "DELETE"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A.Example.ORG", "a.example.org."),
        ("*.example.org.", "\\052.example.org."),
        ("\\052.example.org", "\\052.example.org."),
        ("a b.example.org", "a\\040b.example.org."),
        ("_sip._tcp.example.org", "_sip._tcp.example.org."),
    ],
)
def test_canonical_names(name, expected):
    assert canonical(name) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("A", "10.0.0.1", "010.0.0.1"),
        ("AAAA", "2001:db8::1", "2001:db8::g"),
        ("CNAME", "host.example.org.", "-?-"),
        ("MX", "10 mail.example.org", "mail.example.org"),
        ("SRV", "1 10 5432 db.example.org", "1 10 db.example.org"),
        ("CAA", '0 issue "ca.example.org"', "0 issue ca.example.org"),
        ("TXT", '"' + "x" * 255 + '" "y"', '"' + "x" * 256 + '"'),
        ("TXT", '"a \\" quote"', '"open'),
        ("NS", "ns.example.org.", "two words"),
    ],
)
def test_values(kind, good, bad):
    assert CHECKS[kind](good) is None
    assert CHECKS[kind](bad)


@given(st.lists(st.tuples(ACTIONS, RECORDS), max_size=8))
def test_a_refused_change_leaves_no_trace(changes):
    records = {}
    for action, record in changes:
        before = copy.deepcopy(records)
        problem = apply(records, {"Action": action, "ResourceRecordSet": record}, "x")
        key = (canonical(record["Name"]), "A", None)
        if problem:
            assert records == before
        elif action == "DELETE":
            assert key not in records
            assert key in before
        else:
            assert records[key]["ResourceRecords"] == record["ResourceRecords"]
        if action == "CREATE" and problem is None:
            assert key not in before

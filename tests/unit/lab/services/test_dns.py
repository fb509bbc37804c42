"""What a VPC's resolver answers."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from dnslib import DNSRecord

from lab.services.dns import RecordSet, Resolver, VpcNames, Zone, answer_packet, plain_name

VPC = VpcNames("vpc-1", ("10.20.0.0/16",), "eu-west-1", {"54.214.0.1": "10.20.0.4"})
SOA = RecordSet("t.internal", "SOA", 900, ("ns. host. 1 7200 900 1209600 86400",))


def zone(*records, name="t.internal", private=True, vpcs=("vpc-1",)):
    return Zone(name, private, frozenset(vpcs), (SOA, *records) if name == "t.internal" else records)


def record(name, kind, *values, **more):
    return RecordSet(name, kind, 60, values, **more)


def ask(name, kind, *zones, choose=None):
    return Resolver(VPC, zones, choose or random.Random(1)).resolve(name, kind)


def values(answer):
    return sorted(item[3] for item in answer.records)


def test_all_values_in_any_order():
    both = zone(record("a.t.internal", "A", "10.0.0.1", "10.0.0.2"))
    assert values(ask("A.T.internal.", "A", both)) == ["10.0.0.1", "10.0.0.2"]
    orders = {ask("a.t.internal", "A", both, choose=random.Random(seed)).records[0][3] for seed in range(20)}
    assert orders == {"10.0.0.1", "10.0.0.2"}


def test_no_such_name_and_no_such_type_are_different():
    one = zone(record("a.b.t.internal", "A", "10.0.0.1"))
    missing = ask("c.t.internal", "A", one)
    assert (missing.rcode, missing.records) == ("NXDOMAIN", [])
    assert missing.authority == [("t.internal", 900, "SOA", SOA.values[0])]
    for name, kind in (("a.b.t.internal", "AAAA"), ("b.t.internal", "A"), ("t.internal", "A")):
        empty = ask(name, kind, one)
        assert (empty.rcode, empty.records, len(empty.authority)) == ("NOERROR", [], 1), name


def test_cname_is_followed_over_zones_and_to_provided_names():
    first = zone(
        record("c.t.internal", "CNAME", "d.other."),
        record("s3.t.internal", "CNAME", "s3.eu-west-1.amazonaws.com"),
        record("bad.t.internal", "CNAME", "nowhere.t.internal"),
    )
    other = zone(record("d.other", "CNAME", "e.other"), record("e.other", "A", "10.0.0.5"), name="other")
    chain = ask("c.t.internal", "A", first, other)
    assert [item[2:] for item in chain.records] == [("CNAME", "d.other."), ("CNAME", "e.other"), ("A", "10.0.0.5")]
    assert values(ask("s3.t.internal", "A", first))[0] == "198.51.100.10"
    assert ask("bad.t.internal", "A", first).rcode == "NXDOMAIN"
    assert [item[2] for item in ask("c.t.internal", "CNAME", first, other).records] == ["CNAME"]


def test_cname_loop_ends():
    loop = zone(record("a.t.internal", "CNAME", "b.t.internal"), record("b.t.internal", "CNAME", "a.t.internal"))
    assert ask("a.t.internal", "A", loop).rcode == "SERVFAIL"


def test_wildcard():
    wild = zone(record("*.w.t.internal", "A", "10.0.0.9"), record("x.w.t.internal", "TXT", '"x"'))
    assert values(ask("any.w.t.internal", "A", wild)) == ["10.0.0.9"]
    assert values(ask("two.labels.w.t.internal", "A", wild)) == ["10.0.0.9"]
    # A name that exists hides the wildcard, also for other types and for names below it.
    assert (ask("x.w.t.internal", "A", wild).rcode, ask("x.w.t.internal", "A", wild).records) == ("NOERROR", [])
    assert ask("y.x.w.t.internal", "A", wild).rcode == "NXDOMAIN"
    assert plain_name(r"\052.w.T.internal.") == "*.w.t.internal"


def test_weighted_failover_multi_value_and_alias():
    weighted = zone(
        record("w.t.internal", "A", "10.0.0.1", weight=3),
        record("w.t.internal", "A", "10.0.0.2", weight=1),
        record("w.t.internal", "A", "10.0.0.3", weight=0),
        record("f.t.internal", "A", "10.0.0.2", failover="SECONDARY"),
        record("f.t.internal", "A", "10.0.0.1", failover="PRIMARY"),
        *(record("m.t.internal", "A", f"10.0.1.{number}", multi_value=True) for number in range(12)),
        RecordSet("l.t.internal", "A", alias="f.t.internal"),
    )
    picked = Counter(values(ask("w.t.internal", "A", weighted, choose=random.Random(seed)))[0] for seed in range(400))
    assert set(picked) == {"10.0.0.1", "10.0.0.2"}
    assert 2 < picked["10.0.0.1"] / picked["10.0.0.2"] < 4.5
    assert values(ask("f.t.internal", "A", weighted)) == ["10.0.0.1"]
    assert len(set(values(ask("m.t.internal", "A", weighted)))) == 8
    assert ask("l.t.internal", "A", weighted).records == [("l.t.internal", 60, "A", "10.0.0.1")]


def test_private_zone_only_for_its_vpc_and_before_the_public_one():
    other = zone(record("a.t.internal", "A", "10.0.0.1"), vpcs=("vpc-2",))
    assert ask("a.t.internal", "A", other).rcode == "NXDOMAIN"
    public = zone(record("a.t.internal", "A", "10.0.0.2"), record("b.t.internal", "A", "10.0.0.3"), private=False)
    private = zone(record("a.t.internal", "A", "10.0.0.1"))
    assert values(ask("a.t.internal", "A", public)) == ["10.0.0.2"]
    assert values(ask("a.t.internal", "A", public, private)) == ["10.0.0.1"]
    assert ask("b.t.internal", "A", public, private).rcode == "NXDOMAIN"


def test_most_specific_zone():
    outer = zone(record("a.sub.t.internal", "A", "10.0.0.1"))
    inner = zone(record("a.sub.t.internal", "A", "10.0.0.2"), name="sub.t.internal")
    assert values(ask("a.sub.t.internal", "A", outer, inner)) == ["10.0.0.2"]


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "found"),
    [
        ("ip-10-20-1-5.eu-west-1.compute.internal", "A", "NOERROR", ["10.20.1.5"]),
        ("ip-10-20-1-5.eu-west-1.compute.internal", "AAAA", "NOERROR", []),
        ("ip-10-21-1-5.eu-west-1.compute.internal", "A", "NXDOMAIN", []),
        ("ip-10-20-1-500.eu-west-1.compute.internal", "A", "NXDOMAIN", []),
        ("ip-10-20-1-5.us-west-2.compute.internal", "A", "NXDOMAIN", []),
        ("ec2-54-214-0-1.eu-west-1.compute.amazonaws.com", "A", "NOERROR", ["10.20.0.4"]),
        ("ec2-54-214-0-2.eu-west-1.compute.amazonaws.com", "A", "NOERROR", ["54.214.0.2"]),
        ("5.1.20.10.in-addr.arpa", "PTR", "NOERROR", ["ip-10-20-1-5.eu-west-1.compute.internal."]),
        ("5.1.21.10.in-addr.arpa", "PTR", "NXDOMAIN", []),
        ("x.1.20.10.in-addr.arpa", "PTR", "NXDOMAIN", []),
        ("ec2.eu-west-1.amazonaws.com", "A", "NOERROR", ["198.51.100.10"]),
        ("bucket.s3.eu-west-1.amazonaws.com", "A", "NOERROR", ["198.51.100.10"]),
        ("ec2.eu-west-1.amazonaws.com", "AAAA", "NOERROR", []),
        ("notamazonaws.com", "A", "NXDOMAIN", []),
        ("packages.mirror.internal", "A", "NOERROR", ["198.51.100.20"]),
        ("example.com", "A", "NXDOMAIN", []),
    ],
)
def test_provided_names(name, kind, rcode, found):
    answer = ask(name, kind)
    assert (answer.rcode, values(answer)) == (rcode, found)


def test_zone_comes_before_a_provided_name():
    override = zone(record("3.1.20.10.in-addr.arpa", "PTR", "db.t.internal."), name="20.10.in-addr.arpa")
    assert values(ask("3.1.20.10.in-addr.arpa", "PTR", override)) == ["db.t.internal."]


def wire(name, kind, resolver, datagram=True):
    return DNSRecord.parse(answer_packet(DNSRecord.question(name, kind).pack(), resolver, datagram))


def test_wire_form_of_every_type():
    resolver = Resolver(
        VPC,
        (
            zone(
                record("t.t.internal", "TXT", '"v=1 a" "b"'),
                record("_s._tcp.t.internal", "SRV", "1 2 3 a.t.internal"),
                record("m.t.internal", "MX", "10 a.t.internal."),
                record("big.t.internal", "TXT", *(f'"{letter * 200}"' for letter in "abcdef")),
            ),
        ),
    )
    assert wire("t.t.internal", "TXT", resolver).rr[0].rdata.data == [b"v=1 a", b"b"]
    assert str(wire("_s._tcp.t.internal", "SRV", resolver).rr[0].rdata) == "1 2 3 a.t.internal."
    assert str(wire("m.t.internal", "MX", resolver).rr[0].rdata) == "10 a.t.internal."
    missing = wire("no.t.internal", "A", resolver)
    assert (missing.header.rcode, missing.header.ra, missing.auth[0].rdata.times[4]) == (3, 1, 86400)
    assert wire("big.t.internal", "TXT", resolver).header.tc == 1
    assert len(wire("big.t.internal", "TXT", resolver, datagram=False).rr) == 6


def test_broken_packets_and_records():
    assert answer_packet(b"", None, True) is None
    assert answer_packet(b"\x00" * 11, None, True) is None
    assert wire("a.t.internal", "A", None).header.rcode == 2
    broken = Resolver(VPC, (zone(record("a.t.internal", "A", "not an address")),))
    assert wire("a.t.internal", "A", broken).header.rcode == 2

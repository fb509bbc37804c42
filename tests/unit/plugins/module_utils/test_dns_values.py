"""Values of every record type: what is right, what is refused, and what is the same."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import dns_values
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.aws.rules.route53 import CHECKS

#: Type, two spellings of one value, a value that is refused.
VALUES = [
    ("A", "10.0.0.1", "10.0.0.1 ", "10.0.0.256"),
    ("AAAA", "2001:db8::1", "2001:DB8:0:0::1", "10.0.0.1"),
    ("CAA", '0 issue "ca.example.com"', "0 Issue ca.example.com", "issue ca.example.com"),
    ("CNAME", "B.example.com", "b.example.com.", "10.0.0.1"),
    ("DS", "12345 8 2 ABCD12", "12345 8 2 ab cd12", "12345 8 2 xyz"),
    ("HTTPS", '1 . alpn="h2,h3" port=8443', '1 . port="8443" alpn=h2,h3', "0 a.example.com alpn=h2"),
    ("MX", "10 Mail.example.com", "10  mail.example.com.", "mail.example.com"),
    ("NAPTR", '10 20 "S" "SIP+D2U" "" _sip.example.com', '10 20 "s" "sip+d2u" "" _sip.example.com.', "10 20 s"),
    ("NS", "ns.example.com", "NS.example.com.", "two words"),
    ("PTR", "host.example.com", "Host.example.com.", "-.example.com"),
    ("SOA", "ns.example.com a.example.com 1 2 3 4 5", "NS.example.com. a.example.com. 01 2 3 4 5", "ns a 1 2 3"),
    ("SPF", "v=spf1 -all", '"v=spf1 -all"', '"open'),
    ("SRV", "1 2 3 t.example.com", "1 2 3 T.example.com.", "1 2 70000 t.example.com"),
    ("SSHFP", "4 2 ABCD", "4 2 abcd", "4 2 abc"),
    (
        "SVCB",
        "1 svc.example.com ipv4hint=10.0.0.1",
        '1 SVC.example.com. ipv4hint="10.0.0.1"',
        "1 . ipv4hint=10.0.0.300",
    ),
    ("TLSA", "3 1 1 ABCD", "3 1 1 ab cd", "3 1 ABCD"),
    ("TXT", "x" * 300, '"' + "x" * 100 + '" "' + "x" * 200 + '"', '"' + "x" * 256 + '"'),
]


def test_every_type_of_the_api_is_here():
    from botocore.session import get_session

    model = get_session().get_service_model("route53")
    assert set(model.shape_for("RRType").enum) == set(dns_values.TYPES) == {entry[0] for entry in VALUES}


@pytest.mark.parametrize("kind, one, other, bad", VALUES, ids=[entry[0] for entry in VALUES])
def test_values(kind, one, other, bad):
    assert not dns_values.fault(kind, one) and not dns_values.fault(kind, other)
    assert dns_values.canonical_value(kind, one) == dns_values.canonical_value(kind, other)
    sent = dns_values.sent_value(kind, one)
    assert dns_values.canonical_value(kind, sent) == dns_values.canonical_value(kind, one)
    assert CHECKS[kind](sent) is None
    assert dns_values.fault(kind, bad)


@pytest.mark.parametrize(
    "one, other",
    [
        ("*.example.com", "\\052.Example.com."),
        ("_sip._tcp.example.com", "_sip._TCP.example.com."),
        ("a.example.com.", "A.example.com"),
    ],
)
def test_names_that_are_the_same(one, other):
    assert dns_values.canonical_name(one) == dns_values.canonical_name(other)


def test_an_escaped_dot_stays_part_of_its_label():
    assert dns_values.canonical_name("a\\056b.example.com") == "a\\056b.example.com."


@pytest.mark.parametrize(
    "value, words",
    [
        ('"abc', "does not begin with a quotation mark"),
        ('"a" b', "does not begin with a quotation mark"),
        ('"' + "x" * 256 + '"', "strings of at most 255 characters"),
        ("x" * 4001, "at most 4000 characters"),
    ],
)
def test_txt_faults(value, words):
    assert words in dns_values.fault("TXT", value)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=600))
def test_txt_says_after_quoting_what_it_said_before(text):
    if dns_values.fault("TXT", text):
        return
    quoted = dns_values.quote_txt(text)
    assert dns_values.plain_txt(quoted) == dns_values.plain_txt(text)
    assert CHECKS["TXT"](quoted) is None
    assert dns_values.quote_txt(quoted) == quoted

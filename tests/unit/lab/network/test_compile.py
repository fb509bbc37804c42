"""The router that a model compiles to."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lab.network.compile import MAIN, compile_router
from lab.network.model import Group, Host, Interface, Route, Rule, Subnet, Vpc
from lab.network.names import Names

NAMES = Names(7)
ALL_OUT = (Rule("-1", cidrs=("0.0.0.0/0",)),)


def host(name, address, subnet="private", groups=("sg-1",), check=True, public=""):
    pairs = ((address, public),) if public else ()
    interface = Interface(f"eni-{name}", 0, subnet, "02:0", (address,), groups, check, pairs)
    return Host(f"i-{name}", "running", (interface,))


def vpc(hosts=(), ingress=(), egress=ALL_OUT, **changes):
    made = Vpc(
        id="vpc-1",
        cidrs=("10.20.0.0/16",),
        subnets=(Subnet("public", "10.20.0.0/20", "rtb-out"), Subnet("private", "10.20.16.0/20", "rtb-in")),
        route_tables={"rtb-out": (Route("0.0.0.0/0", "igw"),), "rtb-in": ()},
        main_route_table="rtb-out",
        groups=(Group("sg-1", tuple(ingress), tuple(egress)),),
        hosts=tuple(hosts),
        internet_gateway=True,
    )
    return replace(made, **changes)


def link(name):
    return NAMES.host_link(f"i-{name}")


def compiled(model):
    links = [NAMES.host_link(item.instance_id) for item in model.hosts]
    return compile_router(model, NAMES, links)


def block(router, kind, name):
    """The lines of the last block of that name."""
    found = re.findall(rf"{kind} {re.escape(name)} \{{\n(.*?)\n?\t\}}", router.nft, re.DOTALL)
    return [line.strip() for line in found[-1].splitlines()]


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        (Rule("tcp", 22, 22, ("10.0.0.0/8",)), ["ip saddr { 10.0.0.0/8 } tcp dport 22 accept"]),
        (Rule("6", 22, 22, ("10.0.0.0/8",)), ["ip saddr { 10.0.0.0/8 } tcp dport 22 accept"]),
        (Rule("udp", 1000, 2000, ("0.0.0.0/0",)), ["udp dport 1000-2000 accept"]),
        (Rule("tcp", 0, 65535, ("0.0.0.0/0",)), ["meta l4proto tcp accept"]),
        (Rule("icmp", -1, -1, ("0.0.0.0/0",)), ["meta l4proto icmp accept"]),
        (Rule("icmp", 8, -1, ("0.0.0.0/0",)), ["icmp type 8 accept"]),
        (Rule("icmp", 3, 4, ("0.0.0.0/0",)), ["icmp type 3 icmp code 4 accept"]),
        (Rule("-1", None, None, (), ("sg-1",)), ["ip saddr @members_sg-1 accept"]),
        (Rule("50", None, None, ("10.1.0.0/16",)), ["ip saddr { 10.1.0.0/16 } meta l4proto 50 accept"]),
        (Rule("icmpv6", -1, -1, ("0.0.0.0/0",)), []),
        (Rule("tcp", 80, 80), []),
    ],
)
def test_ingress_rules(rule, lines):
    assert block(compiled(vpc(ingress=[rule])), "chain", "in_sg-1") == lines


def test_overlapping_blocks_become_one_set_without_overlap():
    rule = Rule("tcp", 80, 80, ("10.0.0.0/8", "10.20.0.0/16", "192.0.2.0/25", "192.0.2.128/25"))
    lines = block(compiled(vpc(ingress=[rule])), "chain", "in_sg-1")
    assert lines == ["ip saddr { 10.0.0.0/8, 192.0.2.0/24 } tcp dport 80 accept"]


def test_egress_match_still_has_to_pass_the_ingress_of_the_target():
    router = compiled(vpc(egress=[Rule("tcp", 443, 443, ("0.0.0.0/0",))], hosts=[host("a", "10.20.16.4")]))
    assert block(router, "chain", "out_sg-1") == ["tcp dport 443 goto ingress"]
    assert block(router, "chain", f"egress_{link('a')}") == ["jump out_sg-1", "drop"]
    assert block(router, "chain", f"ingress_{link('a')}") == ["jump in_sg-1", "drop"]
    assert block(router, "chain", "forward")[0].endswith("policy drop;")


def test_group_reference_is_the_set_of_member_addresses():
    model = vpc(
        hosts=[host("a", "10.20.16.4"), host("b", "10.20.16.5", groups=("sg-2",)), host("c", "10.20.16.6")],
        ingress=[Rule("tcp", 5432, 5432, (), ("sg-1", "sg-2"))],
    )
    model = replace(model, groups=(*model.groups, Group("sg-2", (), ALL_OUT)))
    router = compiled(model)
    assert block(router, "set", "members_sg-1")[1] == "elements = { 10.20.16.4, 10.20.16.6 }"
    assert block(router, "set", "members_sg-2")[1] == "elements = { 10.20.16.5 }"
    assert block(router, "chain", f"ingress_{link('b')}") == ["jump in_sg-2", "drop"]


def test_reference_to_a_group_without_members_is_an_empty_set():
    router = compiled(vpc(ingress=[Rule("tcp", 80, 80, (), ("sg-9",))]))
    assert block(router, "set", "members_sg-9") == ["type ipv4_addr"]


def test_source_destination_check_is_per_interface_and_both_ways():
    router = compiled(vpc(hosts=[host("a", "10.20.16.4"), host("b", "10.20.16.5", check=False)]))
    own = block(router, "set", "own_address")[1]
    assert f'"{link("a")}" . 10.20.16.4' in own
    assert f'"{link("b")}" . 10.20.16.5' in own
    assert block(router, "set", "unchecked")[1] == f'elements = {{ "{link("b")}" }}'
    assert block(router, "chain", "source_check")[-1].endswith("iifname . ip saddr != @own_address drop")
    assert block(router, "chain", "destination_check")[0].endswith("oifname . ip daddr != @own_address drop")
    forward = block(router, "chain", "forward")
    assert forward.index("jump destination_check") < forward.index("ct state established,related accept")


def test_no_nat_gateway_no_way_out():
    router = compiled(vpc(hosts=[host("a", "10.20.16.4")]))
    table = NAMES.table("rtb-in")
    assert not [key for key in router.routes if key[0] == table]
    assert not [line for line in block(router, "chain", "outward") if "10.20.16.0/20" in line]


def test_nat_gateway_translates_its_subnet():
    tables = {"rtb-out": (Route("0.0.0.0/0", "igw"),), "rtb-in": (Route("0.0.0.0/0", "nat", "54.214.0.9"),)}
    router = compiled(vpc(hosts=[host("a", "10.20.16.4")], route_tables=tables))
    assert "via 198.51.100.1 dev inet" in router.routes[(NAMES.table("rtb-in"), "0.0.0.0/0")]
    assert "ip saddr 10.20.16.0/20 ip daddr 0.0.0.0/0 accept" in block(router, "chain", "outward")
    assert "ip saddr 10.20.16.0/20 ip daddr 0.0.0.0/0 snat ip to 54.214.0.9" in block(router, "chain", "outbound")
    assert router.public == {"54.214.0.9"}


def test_internet_gateway_only_with_a_public_address():
    hosts = [host("a", "10.20.0.4", "public", public="54.214.0.1"), host("b", "10.20.0.5", "public")]
    router = compiled(vpc(hosts=hosts))
    outward = block(router, "chain", "outward")
    assert outward == [
        "ip saddr 10.20.0.0/20 ip daddr 0.0.0.0/0 ip saddr @public_hosts accept",
        "ip saddr 10.20.0.0/20 ip daddr 0.0.0.0/0 drop",
        "drop",
    ]
    assert block(router, "set", "public_hosts")[1] == "elements = { 10.20.0.4 }"
    assert block(router, "map", "to_private")[1] == "elements = { 54.214.0.1 : 10.20.0.4 }"
    assert block(router, "map", "to_public")[1] == "elements = { 10.20.0.4 : 54.214.0.1 }"


def test_public_address_in_a_subnet_without_internet_gateway_is_not_reached():
    router = compiled(vpc(hosts=[host("a", "10.20.16.4", public="54.214.0.1")]))
    assert block(router, "map", "to_private") == ["type ipv4_addr : ipv4_addr"]
    assert router.public == frozenset()


def test_endpoint_reaches_the_aws_address_without_nat():
    router = compiled(vpc(hosts=[host("a", "10.20.16.4")], endpoint_route_tables=("rtb-in",)))
    assert block(router, "chain", "outward")[0] == "ip saddr 10.20.16.0/20 ip daddr 198.51.100.10 accept"
    assert "onlink" in router.routes[(NAMES.table("rtb-in"), "198.51.100.10/32")]
    assert (NAMES.table("rtb-in"), "0.0.0.0/0") not in router.routes


def test_route_to_an_interface_and_its_blackhole():
    tables = {
        "rtb-out": (),
        "rtb-in": (
            Route("10.244.1.0/24", "interface", "eni-a"),
            Route("10.244.2.0/24", "interface", "eni-gone"),
            Route("10.244.3.0/24", "blackhole"),
        ),
    }
    model = vpc(hosts=[host("a", "10.20.16.4")], route_tables=tables)
    table = NAMES.table("rtb-in")
    routes = compiled(model).routes
    assert routes[(table, "10.244.1.0/24")] == f"via 10.20.16.4 dev {link('a')} onlink"
    assert routes[(table, "10.244.2.0/24")] == routes[(table, "10.244.3.0/24")] == "blackhole"
    # Its host is stopped: the link is gone though the API still knows the interface.
    assert compile_router(model, NAMES, []).routes[(table, "10.244.1.0/24")] == "blackhole"


def test_every_host_has_a_route_and_the_rest_of_the_block_is_unreachable():
    router = compiled(vpc(hosts=[host("a", "10.20.16.4")]))
    assert router.routes[(MAIN, "10.20.16.4/32")] == f"dev {link('a')}"
    assert router.routes[(MAIN, "10.20.0.0/16")] == "unreachable"
    assert (2000, link("a"), NAMES.table("rtb-in")) in router.rules
    assert {"10.20.0.1", "10.20.16.1", "10.20.0.2", "169.254.169.254", "169.254.169.123"} == router.addresses


def test_names_fit_the_kernel():
    names = Names(99)
    for name in (names.host_link("i-0123456789abcdef0", 1), names.machine_link("vpc-0"), names.inet_link("vpc-0")):
        assert len(name) <= 15
    assert names.host_link("i-1") != names.host_link("i-1", 1)

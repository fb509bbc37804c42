"""From the model of a VPC to the state of its router: addresses, rules, routes and one nft ruleset. Pure functions."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from lab.network.model import Interface, Route, Rule, Subnet, Vpc
from lab.network.names import CONTROLLER_LINK, INET_GATEWAY, INET_LINK, Names
from lab.paths import IMDS_ADDRESS, TIME_ADDRESS, TLS_ADDRESS

TABLE = "ec2"
MAIN = 254
PREFERENCE_LOCAL = 1000
PREFERENCE_TABLES = 2000
# The router's own packets (resets, ICMP errors) may leave whatever the route tables say.
OWN_TABLE = 900
_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6"}


@dataclass(frozen=True)
class Router:
    """What must be true in a router's namespace.

    `addresses` are on its lo; `routes` maps (kernel table, destination) to the rest of the `ip route` command;
    `rules` are the arguments of `ip rule`; `public` are the addresses that inet routes to it.
    """

    addresses: frozenset[str]
    routes: dict[tuple[int, str], str]
    rules: frozenset[tuple[int, str, int]]
    nft: str
    public: frozenset[str]


def compile_router(vpc: Vpc, names: Names, links: Iterable[str]) -> Router:
    """The router's state. `links` are the host links that exist: a route to any other is a blackhole."""
    links = set(links)
    enis = {
        interface.id: (names.host_link(host.instance_id, interface.device_index), interface)
        for host in vpc.hosts
        for interface in host.interfaces
    }
    present = {eni: pair for eni, pair in enis.items() if pair[0] in links}
    public = _inbound(vpc, enis)
    nat = {route.target for routes in vpc.route_tables.values() for route in routes if route.kind == "nat"}
    return Router(
        addresses=frozenset({subnet.gateway for subnet in vpc.subnets} | {vpc.resolver, IMDS_ADDRESS, TIME_ADDRESS}),
        routes=_routes(vpc, names, present),
        rules=_rules(vpc, names, present),
        nft=_ruleset(vpc, names, enis, public),
        public=frozenset(public) | nat,
    )


def _inbound(vpc: Vpc, enis: dict[str, tuple[str, Interface]]) -> dict[str, str]:
    """Public to private addresses that the internet gateway translates: their subnet's table must lead to it."""
    found = {}
    for _link, interface in enis.values():
        subnet = vpc.subnet(interface.subnet_id)
        routes = vpc.route_tables.get(subnet.route_table, ()) if subnet else ()
        if any(route.kind == "igw" for route in routes):
            found.update({public: private for private, public in interface.public})
    return found


def _routes(vpc: Vpc, names: Names, present: dict[str, tuple[str, Interface]]) -> dict[tuple[int, str], str]:
    routes = {(MAIN, cidr): "unreachable" for cidr in vpc.cidrs}
    routes[(MAIN, f"{names.controller_address}/32")] = f"dev {CONTROLLER_LINK}"
    routes[(OWN_TABLE, "0.0.0.0/0")] = _out()
    for link, interface in present.values():
        routes.update({(MAIN, f"{address}/32"): f"dev {link}" for address in interface.addresses})
    for table_id, entries in vpc.route_tables.items():
        table = names.table(table_id)
        if table_id in vpc.endpoint_route_tables:
            routes[(table, f"{TLS_ADDRESS}/32")] = _out()
        for entry in entries:
            routes[(table, entry.cidr)] = _next_hop(entry, present)
    return routes


def _out() -> str:
    return f"via {INET_GATEWAY} dev {INET_LINK} onlink"


def _next_hop(route: Route, present: dict[str, tuple[str, Interface]]) -> str:
    if route.kind in {"igw", "nat"}:
        return _out()
    if route.kind == "interface" and route.target in present:
        link, interface = present[route.target]
        return f"via {interface.addresses[0]} dev {link} onlink"
    return "blackhole"


def _rules(vpc: Vpc, names: Names, present: dict[str, tuple[str, Interface]]) -> frozenset[tuple[int, str, int]]:
    """(preference, incoming link, table). By link, as a VPC chooses by the interface's subnet whatever the source."""
    rules = {(PREFERENCE_LOCAL, "", MAIN), (PREFERENCE_TABLES, "lo", OWN_TABLE)}
    for link, interface in present.values():
        subnet = vpc.subnet(interface.subnet_id)
        if subnet and subnet.route_table:
            rules.add((PREFERENCE_TABLES, link, names.table(subnet.route_table)))
    if vpc.main_route_table:
        rules.add((PREFERENCE_TABLES, CONTROLLER_LINK, names.table(vpc.main_route_table)))
    return frozenset(rules)


# nft


def _ruleset(vpc: Vpc, names: Names, enis: dict[str, tuple[str, Interface]], public: dict[str, str]) -> str:
    pairs = sorted(enis.values(), key=lambda pair: pair[0])
    parts = [
        *_sets(vpc, pairs, public),
        *_check_chains(names),
        *_group_chains(vpc),
        *_host_chains(vpc, pairs),
        *_outward(vpc),
        *_forward(names, pairs),
        *_input(names),
        *_nat(vpc, names),
    ]
    body = "\n".join(f"\t{line}" for line in parts)
    # Declaring the table first makes the deletion succeed on a fresh router; all three are one transaction.
    return f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{body}\n}}\n"


def _block(kind: str, name: str, lines: list[str]) -> list[str]:
    return [f"{kind} {name} {{", *(f"\t{line}" for line in lines), "}"]


def _set(kind: str, name: str, content_type: str, elements: Iterable[str]) -> list[str]:
    lines = [f"type {content_type}"]
    listed = sorted(elements)
    if listed:
        lines.append("elements = { " + ", ".join(listed) + " }")
    return _block(kind, name, lines)


def _sets(vpc: Vpc, pairs: list[tuple[str, Interface]], public: dict[str, str]) -> list[str]:
    members: dict[str, set[str]] = defaultdict(set)
    for _link, interface in pairs:
        for group in interface.groups:
            members[group].update(interface.addresses)
    referenced = {name for group in vpc.groups for rule in (*group.ingress, *group.egress) for name in rule.groups}
    lines: list[str] = []
    for name in sorted(referenced):
        lines += _set("set", f"members_{name}", "ipv4_addr", members[name])
    lines += _set(
        "set",
        "own_address",
        "ifname . ipv4_addr",
        [f'"{link}" . {address}' for link, interface in pairs for address in interface.addresses],
    )
    lines += _set("set", "unchecked", "ifname", [f'"{link}"' for link, eni in pairs if not eni.source_dest_check])
    lines += _set("set", "mapped", "ipv4_addr . ipv4_addr", [f"{p} . {private}" for p, private in public.items()])
    lines += _set("map", "to_private", "ipv4_addr : ipv4_addr", [f"{p} : {private}" for p, private in public.items()])
    lines += _set("map", "to_public", "ipv4_addr : ipv4_addr", [f"{private} : {p}" for p, private in public.items()])
    return lines


def _check_chains(names: Names) -> list[str]:
    wildcard = f'"{names.host_prefix}*"'
    source = [
        "type filter hook prerouting priority raw; policy accept;",
        f"iifname {wildcard} meta nfproto != ipv4 drop",
        f"iifname {wildcard} iifname != @unchecked iifname . ip saddr != @own_address drop",
    ]
    destination = [f"oifname {wildcard} oifname != @unchecked oifname . ip daddr != @own_address drop"]
    return [*_block("chain", "source_check", source), *_block("chain", "destination_check", destination)]


def _group_chains(vpc: Vpc) -> list[str]:
    """Per group two chains without an end: what they do not decide, the interface's next group may."""
    lines = _block("chain", "ingress", [])
    for group in vpc.groups:
        lines += _block("chain", f"out_{group.id}", _rule_lines(group.egress, "daddr", "goto ingress"))
        lines += _block("chain", f"in_{group.id}", _rule_lines(group.ingress, "saddr", "accept"))
    return lines


def _rule_lines(rules: tuple[Rule, ...], side: str, verdict: str) -> list[str]:
    lines = []
    for rule in rules:
        match = _protocol_match(rule)
        if match is None:
            continue
        lines += [" ".join(part for part in (peer, match, verdict) if part) for peer in _peers(rule, side)]
    return lines


def _peers(rule: Rule, side: str) -> list[str]:
    peers = [f"ip {side} @members_{group}" for group in rule.groups]
    networks = list(ipaddress.collapse_addresses(ipaddress.ip_network(cidr, strict=False) for cidr in rule.cidrs))
    if any(network.prefixlen == 0 for network in networks):
        peers.append("")
    elif networks:
        peers.append(f"ip {side} {{ {', '.join(str(network) for network in networks)} }}")
    return peers


def _protocol_match(rule: Rule) -> str | None:
    """The nft match of a rule's protocol and ports; None for what cannot occur here (IPv6)."""
    protocol = _PROTOCOLS.get(rule.protocol, rule.protocol)
    if protocol == "-1":
        return ""
    if protocol == "icmpv6":
        return None
    if protocol == "icmp":
        return _icmp_match(rule)
    if protocol in {"tcp", "udp"} and not _all_ports(rule):
        last = rule.to_port if rule.to_port is not None else rule.from_port
        ports = str(rule.from_port) if last == rule.from_port else f"{rule.from_port}-{last}"
        return f"{protocol} dport {ports}"
    return f"meta l4proto {protocol}"


def _all_ports(rule: Rule) -> bool:
    return rule.from_port in (None, -1) or (rule.from_port == 0 and rule.to_port == 65535)


def _icmp_match(rule: Rule) -> str:
    """For ICMP the API keeps the type in FromPort and the code in ToPort, -1 meaning all."""
    if rule.from_port in (None, -1):
        return "meta l4proto icmp"
    code = "" if rule.to_port in (None, -1) else f" icmp code {rule.to_port}"
    return f"icmp type {rule.from_port}{code}"


def _host_chains(vpc: Vpc, pairs: list[tuple[str, Interface]]) -> list[str]:
    known = {group.id for group in vpc.groups}
    lines: list[str] = []
    for link, interface in pairs:
        groups = [group for group in interface.groups if group in known]
        lines += _block("chain", f"egress_{link}", [*(f"jump out_{group}" for group in groups), "drop"])
        lines += _block("chain", f"ingress_{link}", [*(f"jump in_{group}" for group in groups), "drop"])
    return lines


def _exits(vpc: Vpc) -> list[tuple[Subnet, Route]]:
    """The ways out per subnet, most specific destination first, as routing would choose."""
    exits = []
    for subnet in vpc.subnets:
        routes = [route for route in vpc.route_tables.get(subnet.route_table, ()) if route.kind in {"igw", "nat"}]
        routes.sort(key=lambda route: -ipaddress.ip_network(route.cidr).prefixlen)
        exits += [(subnet, route) for route in routes]
    return exits


def _endpoint_subnets(vpc: Vpc) -> list[str]:
    return [subnet.cidr for subnet in vpc.subnets if subnet.route_table in vpc.endpoint_route_tables]


def _outward(vpc: Vpc) -> list[str]:
    """Who may leave towards inet: through an endpoint, a NAT gateway, or with a public address of its own."""
    lines = [f"ip saddr {cidr} ip daddr {TLS_ADDRESS} accept" for cidr in _endpoint_subnets(vpc)]
    for subnet, route in _exits(vpc):
        match = f"ip saddr {subnet.cidr} ip daddr {route.cidr}"
        lines.append(f"{match} accept" if route.kind == "nat" else f"{match} ip saddr @public_hosts accept")
        if route.kind == "igw":
            lines.append(f"{match} drop")
    private = _public_hosts(vpc)
    return [*_set("set", "public_hosts", "ipv4_addr", private), *_block("chain", "outward", [*lines, "drop"])]


def _public_hosts(vpc: Vpc) -> set[str]:
    return {private for host in vpc.hosts for interface in host.interfaces for private, _public in interface.public}


def _forward(names: Names, pairs: list[tuple[str, Interface]]) -> list[str]:
    egress = [f'"{link}" : jump egress_{link}' for link, _interface in pairs]
    ingress = [f'"{link}" : goto ingress_{link}' for link, _interface in pairs]
    moved = f'iifname "{INET_LINK}" ct status dnat ct original ip daddr . ip daddr != @mapped'
    forward = [
        "type filter hook forward priority filter; policy drop;",
        "jump destination_check",
        # A public address that has moved takes its connections along: the new host would know nothing of them.
        f"{moved} meta l4proto tcp reject with tcp reset",
        f"{moved} drop",
        "ct state established,related accept",
        "ct state invalid drop",
    ]
    if egress:
        forward.append("iifname vmap { " + ", ".join(egress) + " }")
    forward.append(f'iifname {{ "{INET_LINK}", "{CONTROLLER_LINK}" }} goto ingress')
    rules = [f'iifname "{names.host_prefix}*" oifname "{INET_LINK}" goto outward']
    if ingress:
        rules.insert(0, "oifname vmap { " + ", ".join(ingress) + " }")
    return [*_block("chain", "ingress", [*rules, "drop"]), *_block("chain", "forward", forward)]


def _input(names: Names) -> list[str]:
    """The router's own services answer whatever the security groups say, as a VPC's do."""
    inside = f'iifname {{ "{names.host_prefix}*", "{CONTROLLER_LINK}" }}'
    lines = [
        "type filter hook input priority filter; policy drop;",
        'iifname "lo" accept',
        "ct state established,related accept",
        f"{inside} meta l4proto {{ tcp, udp }} th dport 53 accept",
        f"{inside} icmp type echo-request accept",
        f'iifname "{names.host_prefix}*" ip daddr {IMDS_ADDRESS} tcp dport 80 accept',
        f'iifname "{names.host_prefix}*" ip daddr {TIME_ADDRESS} udp dport 123 accept',
    ]
    return _block("chain", "input", lines)


def _nat(vpc: Vpc, names: Names) -> list[str]:
    inbound = [
        "type nat hook prerouting priority dstnat; policy accept;",
        f'iifname "{INET_LINK}" dnat ip to ip daddr map @to_private',
    ]
    outbound = ["type nat hook postrouting priority srcnat; policy accept;", f'oifname != "{INET_LINK}" accept']
    own = names.router_inet_address(vpc.id)
    outbound += [f"ip saddr {cidr} ip daddr {TLS_ADDRESS} snat ip to {own}" for cidr in _endpoint_subnets(vpc)]
    for subnet, route in _exits(vpc):
        target = route.target if route.kind == "nat" else "ip saddr map @to_public"
        outbound.append(f"ip saddr {subnet.cidr} ip daddr {route.cidr} snat ip to {target}")
    return [*_block("chain", "inbound", inbound), *_block("chain", "outbound", outbound)]

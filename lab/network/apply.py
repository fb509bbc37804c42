"""Make the machine's namespaces, links, routes and rulesets what the models say, changing only what differs."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from lab.network import faults, namespaces
from lab.network.compile import MAIN, Router, compile_router
from lab.network.model import Vpc
from lab.network.names import CONTROLLER_LINK, INET_CLIENT, INET_GATEWAY, INET_LINK, INET_RESOLVER, Names
from lab.network.namespaces import NetworkError
from lab.network.state import hosts_file, known_hosts, locked, write_json
from lab.paths import INTERFACE, MIRROR_ADDRESS, TLS_ADDRESS, Lab

# What this process applied last, by namespace: a restarted one applies all once, which changes nothing that is right.
_applied: dict[str, Any] = {}

_ROUTER_SETTINGS = {
    "ip_forward": "1",
    "conf/all/rp_filter": "0",
    "conf/default/rp_filter": "0",
    "conf/all/send_redirects": "0",
    "conf/default/send_redirects": "0",
}


def apply(lab: Lab, models: list[Vpc]) -> bool:
    """Make it so. True if anything was changed. Raises NetworkError."""
    names = Names(lab.index)
    with locked(lab):
        changed = _ensure_inet(lab)
        changed |= _remember_hosts(lab, models)
        changed |= _remove_routers(lab, names, models)
        public: dict[str, str] = {}
        for vpc in models:
            fresh = _ensure_router(lab, names, vpc)
            changed |= fresh
            links = _host_links(lab, names, vpc.id)
            router = compile_router(vpc, names, links)
            public.update({address: vpc.id for address in router.public})
            changed |= _apply_router(lab, vpc.id, router, links, fresh)
        changed |= _apply_inet(lab, names, public)
        changed |= _apply_machine(lab, names, models)
    return changed


# Hosts


def _remember_hosts(lab: Lab, models: list[Vpc]) -> bool:
    """Keep what attach_host needs to know of each interface, for callers that have only an instance id."""
    hosts: dict[str, dict] = {}
    for vpc in models:
        for host in vpc.hosts:
            interfaces = []
            for interface in host.interfaces:
                subnet = vpc.subnet(interface.subnet_id)
                if subnet:
                    where = {"gateway": subnet.gateway, "prefix_length": subnet.prefix_length}
                    interfaces.append({**dataclasses.asdict(interface), **where})
            hosts[host.instance_id] = {"vpc": vpc.id, "interfaces": interfaces}
    key = f"{lab.name}/hosts"
    if _applied.get(key) == hosts and hosts_file(lab).exists():
        return False
    write_json(hosts_file(lab), hosts)
    _applied[key] = hosts
    return True


def _instance_id(instance: str | dict) -> str:
    return instance if isinstance(instance, str) else instance["InstanceId"]


def attach_host(lab: Lab, instance: str | dict) -> str:
    """Make the host's namespace with its interfaces, ready to be joined, and return the namespace's name.

    `instance`: an instance id or a boto3 instance, known to the last apply. Again for an attached host changes nothing.
    """
    instance_id = _instance_id(instance)
    names = Names(lab.index)
    with locked(lab):
        host = known_hosts(lab).get(instance_id)
        if not host:
            raise NetworkError(f"The lab {lab.name} has no network for {instance_id}: apply the models with it first.")
        namespace, router = lab.host_namespace(instance_id), lab.router_namespace(host["vpc"])
        namespaces.make(namespace)
        present = namespaces.links(router)
        inner = namespaces.links(namespace)
        for interface in host["interfaces"]:
            link = names.host_link(instance_id, interface["device_index"])
            # The router's end goes up last: one that is not was left half made.
            up = link in present and "UP" in present[link]["flags"]
            if not up or _inner_name(interface) not in inner:
                _attach_interface(namespace, router, link, interface, link in present)
        faults.restore_host(lab, instance_id)
    return namespace


def _inner_name(interface: dict) -> str:
    """ens5 for the first interface, ens6 and so on for further ones."""
    return f"{INTERFACE[:-1]}{int(INTERFACE[-1]) + interface['device_index']}"


def _attach_interface(namespace: str, router: str, link: str, interface: dict, stale: bool) -> None:
    if stale:
        namespaces.ip(router, "link", "delete", link)
    inner = _inner_name(interface)
    namespaces.veth((router, link), (namespace, inner), interface["mac"])
    length = interface["prefix_length"]
    lines = [f"addr add {address}/{length} dev {inner}" for address in interface["addresses"]]
    lines.append(f"link set {inner} up")
    if interface["device_index"] == 0:
        lines.append(f"route replace default via {interface['gateway']} dev {inner}")
    namespaces.ip_batch(namespace, lines)
    # The router answers for every other host of the subnet, at once and not after the usual random delay.
    namespaces.sysctl(router, {f"conf/{link}/proxy_arp": "1", f"neigh/{link}/proxy_delay": "0"})
    routes = [f"route replace {address}/32 dev {link} proto static" for address in interface["addresses"]]
    namespaces.ip_batch(router, [f"link set {link} up", *routes])


def detach_host(lab: Lab, instance: str | dict) -> None:
    """Remove the host's namespace and links; the next apply turns routes to it into blackholes. None is no error."""
    instance_id = _instance_id(instance)
    names = Names(lab.index)
    with locked(lab):
        namespaces.remove(lab.host_namespace(instance_id))
        host = known_hosts(lab).get(instance_id)
        router = lab.router_namespace(host["vpc"]) if host else ""
        if router and namespaces.exists(router):
            present = namespaces.links(router)
            for index in range(len(host["interfaces"])):
                link = names.host_link(instance_id, index)
                if link in present:
                    namespaces.ip(router, "link", "delete", link)


# inet


def _ensure_inet(lab: Lab) -> bool:
    namespace = lab.inet_namespace
    if _applied.get(namespace) and namespaces.exists(namespace):
        return False
    fresh = namespaces.make(namespace)
    if fresh:
        # The routers' links to it are gone with the old one.
        for key in [key for key in _applied if key.startswith(lab.namespace_prefix)]:
            del _applied[key]
    addresses = (INET_GATEWAY, TLS_ADDRESS, MIRROR_ADDRESS, INET_RESOLVER, INET_CLIENT)
    namespaces.ip_batch(namespace, ["link set lo up", *(f"addr replace {address}/32 dev lo" for address in addresses)])
    namespaces.sysctl(namespace, _ROUTER_SETTINGS)
    _applied[namespace] = {"public": None}
    return fresh


def _apply_inet(lab: Lab, names: Names, public: dict[str, str]) -> bool:
    """Route each public address to the router of its VPC."""
    known = _applied[lab.inet_namespace]
    if known["public"] == public:
        return False
    wanted = {address: _public_route(names, vpc_id) for address, vpc_id in public.items()}
    routes = namespaces.ip_json(lab.inet_namespace, "-4", "route", "show", "proto", "static")
    current = {_destination(route) for route in routes}
    gone = current - {f"{address}/32" for address in wanted}
    namespaces.ip_batch(
        lab.inet_namespace,
        [f"route delete {destination} proto static" for destination in sorted(gone)]
        + [f"route replace {address}/32 {rest}" for address, rest in sorted(wanted.items())],
    )
    known["public"] = public
    return bool(gone or wanted)


def _public_route(names: Names, vpc_id: str) -> str:
    via = names.router_inet_address(vpc_id)
    return f"via {via} dev {names.inet_link(vpc_id)} onlink src {INET_CLIENT} proto static"


# Routers


def _ensure_router(lab: Lab, names: Names, vpc: Vpc) -> bool:
    """The router's namespace with its two links out; True if something was missing."""
    router, inet = lab.router_namespace(vpc.id), lab.inet_namespace
    if router in _applied and namespaces.exists(router):
        return False
    namespaces.make(router)
    _applied.pop(router, None)
    namespaces.ip(router, "link", "set", "lo", "up")
    namespaces.sysctl(router, _ROUTER_SETTINGS)
    own = names.router_inet_address(vpc.id)
    _ensure_link((router, INET_LINK), (inet, names.inet_link(vpc.id)))
    _ensure_link((router, CONTROLLER_LINK), (None, names.machine_link(vpc.id)))
    for address, link in ((own, INET_LINK), (names.router_controller_address, CONTROLLER_LINK)):
        namespaces.ip_batch(router, [f"addr replace {address}/32 dev {link}", f"link set {link} up"])
    link = names.inet_link(vpc.id)
    namespaces.ip_batch(inet, [f"link set {link} up", f"route replace {own}/32 dev {link} src {INET_GATEWAY}"])
    link = names.machine_link(vpc.id)
    namespaces.ip_batch(None, [f"addr replace {names.controller_address}/32 dev {link}", f"link set {link} up"])
    _applied[lab.inet_namespace]["public"] = None
    _applied.pop(f"{lab.name}/machine", None)
    return True


def _ensure_link(one: tuple[str | None, str], other: tuple[str | None, str]) -> None:
    ends = [end for end in (one, other) if end[1] in namespaces.links(end[0])]
    if len(ends) == 2:
        return
    for namespace, name in ends:
        namespaces.ip(namespace, "link", "delete", name)
    namespaces.veth(one, other)


def _host_links(lab: Lab, names: Names, vpc_id: str) -> frozenset[str]:
    found = namespaces.links(lab.router_namespace(vpc_id))
    return frozenset(name for name in found if name.startswith(names.host_prefix))


def _apply_router(lab: Lab, vpc_id: str, router: Router, links: frozenset[str], fresh: bool) -> bool:
    namespace = lab.router_namespace(vpc_id)
    last: Router | None = _applied.get(namespace)
    if last == router:
        return False
    # Filters first: a route that comes before its filter would let packets through.
    if not last or last.nft != router.nft:
        namespaces.nft(namespace, router.nft)
    if fresh:
        faults.restore_router(lab, namespace)
    if not last or dataclasses.replace(last, nft="") != dataclasses.replace(router, nft=""):
        namespaces.ip_batch(namespace, _changes(namespace, router))
    _applied[namespace] = router
    return True


def _destination(route: dict) -> str:
    destination = "0.0.0.0/0" if route["dst"] == "default" else route["dst"]
    return destination if "/" in destination else f"{destination}/32"


def _changes(namespace: str, router: Router) -> list[str]:
    """The `ip` commands from the namespace's present state to the wanted one; routes are replaced, never absent."""
    present = namespaces.ip_json(namespace, "-4", "addr", "show", "dev", "lo")
    addresses = {info["local"] for link in present for info in link.get("addr_info", [])} - {"127.0.0.1"}
    routes = namespaces.ip_json(namespace, "-4", "route", "show", "table", "all", "proto", "static")
    current = {(_table(route), _destination(route)) for route in routes}
    rules = {_rule_of(rule) for rule in namespaces.ip_json(namespace, "-4", "rule", "show")}
    ours = {rule for rule in rules if rule and rule[0] not in (0, 32766, 32767)}
    lines = [f"addr add {address}/32 dev lo" for address in sorted(router.addresses - addresses)]
    lines += [f"addr delete {address}/32 dev lo" for address in sorted(addresses - router.addresses)]
    for (table, destination), rest in sorted(router.routes.items()):
        lines.append(_route_line("replace", table, destination, rest))
    for table, destination in sorted(current - set(router.routes)):
        lines.append(f"route delete {destination} table {table} proto static")
    lines += [_rule_line("add", rule) for rule in sorted(router.rules - ours)]
    lines += [_rule_line("delete", rule) for rule in sorted(ours - router.rules)]
    return lines


def _route_line(verb: str, table: int, destination: str, rest: str) -> str:
    if rest in {"blackhole", "unreachable"}:
        return f"route {verb} {rest} {destination} table {table} proto static"
    return f"route {verb} {destination} {rest} table {table} proto static"


def _table(item: dict) -> int:
    table = item.get("table", "main")
    return MAIN if table == "main" else int(table)


def _rule_of(rule: dict) -> tuple[int, str, int] | None:
    table = rule.get("table", "")
    if table in {"local", "default"}:
        return None
    return (rule["priority"], rule.get("iif", ""), _table(rule))


def _rule_line(verb: str, rule: tuple[int, str, int]) -> str:
    preference, link, table = rule
    return f"rule {verb} pref {preference}" + (f" iif {link}" if link else "") + f" lookup {table}"


def _remove_routers(lab: Lab, names: Names, models: list[Vpc]) -> bool:
    """Remove the routers of VPCs that have no instances any more, by what exists and not by what is remembered."""
    wanted = {lab.router_namespace(vpc.id) for vpc in models}
    prefix = lab.router_namespace("vpc-")
    gone = [name for name in namespaces.listed() if name.startswith(prefix) and name not in wanted]
    for namespace in gone:
        namespaces.remove(namespace)
        _applied.pop(namespace, None)
        _applied.pop(f"{lab.name}/machine", None)
    return bool(gone)


# The machine


def _apply_machine(lab: Lab, names: Names, models: list[Vpc]) -> bool:
    """Routes from the machine to the VPCs; of two with overlapping blocks the first in order is reached."""
    wanted: dict[str, str] = {}
    for vpc in models:
        for cidr in vpc.cidrs:
            if not any(_overlap(cidr, other) for other in wanted):
                wanted[cidr] = names.machine_link(vpc.id)
    key = f"{lab.name}/machine"
    if _applied.get(key) == wanted:
        return False
    current = namespaces.ip_json(None, "-4", "route", "show")
    ours = {_destination(route) for route in current if route.get("dev", "").startswith(names.machine_prefix)}
    _refuse_overlap(wanted, [route for route in current if _destination(route) not in ours])
    lines = [f"route delete {destination}" for destination in sorted(ours - set(wanted))]
    for cidr, link in sorted(wanted.items()):
        via = f"via {names.router_controller_address} dev {link} onlink src {names.controller_address}"
        lines.append(f"route replace {cidr} {via}")
    namespaces.ip_batch(None, lines)
    _applied[key] = wanted
    return bool(lines)


def _overlap(one: str, other: str) -> bool:
    return ipaddress.ip_network(one).overlaps(ipaddress.ip_network(other))


def _wider(route: dict, cidr: str) -> bool:
    return "gateway" in route and ipaddress.ip_network(_destination(route)).prefixlen < int(cidr.partition("/")[2])


def _refuse_overlap(wanted: dict[str, str], foreign: list[dict]) -> None:
    """A wide route by a gateway, as of a VPN, may be shadowed in part; what is nearer may not."""
    for route in foreign:
        for cidr in wanted:
            if route["dst"] != "default" and _overlap(cidr, _destination(route)) and not _wider(route, cidr):
                device = route.get("dev", "nowhere")
                raise NetworkError(
                    f"The VPC block {cidr} overlaps the machine's own route to {route['dst']} by {device}; "
                    "choose a block that the machine does not use."
                )


def remove_all(lab: Lab) -> None:
    """Remove every namespace, link and route of the lab, whoever made it and in whatever state it is."""
    names = Names(lab.index)
    with locked(lab):
        for namespace in namespaces.listed():
            if namespace.startswith(lab.namespace_prefix):
                namespaces.remove(namespace)
        for link in namespaces.links(None):
            if link.startswith(names.machine_prefix):
                namespaces.ip(None, "link", "delete", link)
        for file in (hosts_file(lab), faults.file(lab)):
            file.unlink(missing_ok=True)
        for key in [key for key in _applied if key.startswith((f"{lab.name}/", lab.namespace_prefix))]:
            del _applied[key]
        namespaces.tidy()

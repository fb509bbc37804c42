"""Network faults: a second nft table in each router and rate limits on links, kept in a file over restarts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lab.network import namespaces
from lab.network.names import CONTROLLER_LINK, Names
from lab.network.namespaces import NetworkError
from lab.network.state import known_hosts, locked, write_json
from lab.paths import INTERFACE, Lab

TABLE = "fault"
_UNITS = {"kbit": 1000, "mbit": 1000**2, "gbit": 1000**3}


def file(lab: Lab) -> Path:
    return lab.network_state / "faults.json"


def active(lab: Lab) -> dict[str, Any]:
    """`{"partitions": [{hosts, from_hosts, one_way, controller}], "slow": {instance id: rate}}`."""
    try:
        return json.loads(file(lab).read_text())
    except FileNotFoundError:
        return {"partitions": [], "slow": {}}


def partition(
    lab: Lab,
    hosts: Iterable[str],
    from_hosts: Iterable[str] | None = None,
    one_way: bool = False,
    controller: bool = True,
) -> None:
    """Cut `hosts` (instance ids) off from `from_hosts`, or from everything but each other when None.

    `one_way`: only packets from `from_hosts` (or everything) towards `hosts` are lost. `controller` False spares the
    controller's link. Open connections are cut too. Raises NetworkError for an instance that the lab does not have.
    """
    entry = {
        "hosts": sorted(_checked(lab, hosts)),
        "from_hosts": None if from_hosts is None else sorted(_checked(lab, from_hosts)),
        "one_way": one_way,
        "controller": controller,
    }
    if not entry["hosts"] or entry["from_hosts"] == []:
        raise NetworkError("A partition needs at least one host on each side.")
    with locked(lab):
        faults = active(lab)
        if entry not in faults["partitions"]:
            faults["partitions"].append(entry)
        write_json(file(lab), faults)
        _load(lab, faults)


def slow(lab: Lab, host: str, rate: str) -> None:
    """Limit what the host sends and what it receives, each to `rate` bits a second (`500kbit`, `1mbit`, `1gbit`)."""
    bits(rate)
    _checked(lab, [host])
    with locked(lab):
        faults = active(lab)
        faults["slow"][host] = rate
        write_json(file(lab), faults)
        _shape(lab, host, rate)


def heal(lab: Lab, host: str | None = None) -> None:
    """End the faults that the host (an instance id) has a part in, or all. None is no error."""
    with locked(lab):
        faults = active(lab)
        healed = [name for name in faults["slow"] if host in (None, name)]
        for name in healed:
            del faults["slow"][name]
        kept = [entry for entry in faults["partitions"] if host and host not in _involved(entry)]
        faults["partitions"] = kept
        write_json(file(lab), faults)
        _load(lab, faults)
        for name in healed:
            _shape(lab, name, None)


def _involved(entry: dict[str, Any]) -> set[str]:
    return {*entry["hosts"], *(entry["from_hosts"] or [])}


def restore_router(lab: Lab, namespace: str) -> None:
    """Put the recorded partitions into a router that was made anew."""
    namespaces.nft(namespace, ruleset(Names(lab.index), active(lab)["partitions"]))


def restore_host(lab: Lab, instance_id: str) -> None:
    """Put the recorded rate limit on a host's links that were made anew."""
    rate = active(lab)["slow"].get(instance_id)
    if rate:
        _shape(lab, instance_id, rate)


def bits(rate: str) -> int:
    """Bits a second of a rate like `1mbit`. Raises NetworkError for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})(kbit|mbit|gbit)", rate)
    if not match:
        raise NetworkError(f"The rate is {rate!r}; it must be a whole number and kbit, mbit or gbit, like 1mbit.")
    return int(match[1]) * _UNITS[match[2]]


def ruleset(names: Names, partitions: list[dict[str, Any]]) -> str:
    """The nft text of all partitions. Its hook comes before the security groups, so open connections are cut."""
    lines = [line for entry in partitions for line in _partition_lines(names, entry)]
    lines.insert(0, "type filter hook forward priority filter - 10; policy accept;")
    body = "\n".join(f"\t\t{line}" for line in lines)
    return f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n\tchain cut {{\n{body}\n\t}}\n}}\n"


def _partition_lines(names: Names, entry: dict[str, Any]) -> list[str]:
    hosts = _link_set(names, entry["hosts"])
    if entry["from_hosts"] is None:
        spared = _link_set(names, entry["hosts"], [] if entry["controller"] else [CONTROLLER_LINK])
        towards = f"oifname {hosts} iifname != {spared} drop"
        back = f"iifname {hosts} oifname != {spared} drop"
    else:
        others = _link_set(names, entry["from_hosts"])
        towards = f"iifname {others} oifname {hosts} drop"
        back = f"iifname {hosts} oifname {others} drop"
    return [towards] if entry["one_way"] else [towards, back]


def _link_set(names: Names, hosts: list[str], further: Iterable[str] = ()) -> str:
    links = [*(names.host_link(host) for host in hosts), *further]
    return "{ " + ", ".join(f'"{link}"' for link in links) + " }"


def _checked(lab: Lab, hosts: Iterable[str]) -> list[str]:
    known = known_hosts(lab)
    hosts = list(hosts)
    for host in hosts:
        if host not in known:
            have = ", ".join(sorted(known)) or "none"
            raise NetworkError(f"The lab {lab.name} has no instance {host}; it has {have}.")
    return hosts


def _load(lab: Lab, faults: dict[str, Any]) -> None:
    text = ruleset(Names(lab.index), faults["partitions"])
    for namespace in namespaces.listed():
        if namespace.startswith(lab.router_namespace("vpc-")):
            namespaces.nft(namespace, text)


def _shape(lab: Lab, host: str, rate: str | None) -> None:
    """Shape both ends of the host's link, or neither with None."""
    known = known_hosts(lab).get(host)
    if not known:
        return
    ends = [
        (lab.router_namespace(known["vpc"]), Names(lab.index).host_link(host)),
        (lab.host_namespace(host), INTERFACE),
    ]
    for namespace, link in ends:
        if not namespaces.exists(namespace) or link not in namespaces.links(namespace):
            continue
        if rate:
            # A burst of 10 ms of the rate, but at least ten full packets, else small rates never send one.
            burst = max(15000, bits(rate) // 8 // 100)
            arguments = ["replace", "dev", link, "root", "tbf", "rate", rate, "burst", str(burst), "latency", "400ms"]
            namespaces.command("tc", "-n", namespace, "qdisc", *arguments)
        elif "tbf" in namespaces.command("tc", "-n", namespace, "qdisc", "show", "dev", link):
            namespaces.command("tc", "-n", namespace, "qdisc", "delete", "dev", link, "root")

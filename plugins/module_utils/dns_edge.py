# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the description of public zones means for the modules: health checks by name, records of the edge. Pure."""

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.module_utils.dns_values import canonical_name

ROUTINGS = ("multivalue", "failover")


class EdgeError(Exception):
    """The description makes no sense; the text is one sentence."""


def slot_order(slot):
    """Return a key that sorts edge-2 before edge-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(slot))]


def checks(addresses, check):
    """Return one health check per edge slot, named as the slot.

    :arg addresses: dict of slot to its public address; slots without one have no check.
    :arg check: further options of each check, as M(selfhosted.ec2.route53_health_checks) takes them.
    """
    return [
        {**check, "name": slot, "ip_address": addresses[slot]}
        for slot in sorted(addresses, key=slot_order)
        if addresses[slot]
    ]


def zone_of(name, zones):
    """Return the zone that a name belongs to, the longest that fits. Raises EdgeError without one."""
    wanted = canonical_name(name)
    fitting = [zone for zone in zones if wanted == canonical_name(zone) or wanted.endswith("." + canonical_name(zone))]
    if not fitting:
        raise EdgeError(
            f"The name {name} of the edge lies in none of the zones {', '.join(zones) or '(there are none)'}."
        )
    return max(fitting, key=len)


def records(name, edge, ids):
    """Return the records of one public name of the edge, one per slot, each with the slot's health check."""
    addresses = {slot: edge["addresses"][slot] for slot in sorted(edge["addresses"], key=slot_order)}
    addresses = {slot: address for slot, address in addresses.items() if address}
    routing = edge["routing"]
    if routing not in ROUTINGS:
        raise EdgeError(f"The edge's routing is {routing!r}; it must be {' or '.join(ROUTINGS)}.")
    if routing == "failover" and len(addresses) not in (0, 2):
        raise EdgeError(f"Failover needs two edge slots, and there are {len(addresses)}; use multivalue.")
    result = []
    for place, (slot, address) in enumerate(addresses.items()):
        record = {"name": name, "type": "A", "ttl": edge["ttl"], "values": [address], "set_identifier": slot}
        if routing == "failover":
            record["failover"] = ("primary", "secondary")[place]
        else:
            record["multivalue"] = True
        result.append({**record, "health_check": slot})
    return [with_check(record, ids) for record in result]


def with_check(record, ids):
    """Return a record whose C(health_check), a name, has become C(health_check_id). Raises EdgeError."""
    name = record.get("health_check")
    if not name:
        return {option: value for option, value in record.items() if option != "health_check"}
    if name not in ids:
        known = ", ".join(sorted(ids)) or "(there are none)"
        raise EdgeError(f"The record {record['name']} names the health check {name!r}; there are {known}.")
    return {**{k: v for k, v in record.items() if k != "health_check"}, "health_check_id": ids[name]}


def zones(described, ids, edge):
    """Return the zones with all their records, ready for route53_records.

    :arg described: list of dict name, records and more.
    :arg ids: dict of health check name to id.
    :arg edge: dict names, addresses (slot to address), routing, ttl; names [] for none.
    """
    names = [zone["name"] for zone in described if not zone.get("private_zone")]
    homes = {name: zone_of(name, names) for name in edge["names"]}
    result = []
    for zone in described:
        own = [with_check(record, ids) for record in zone.get("records") or []]
        if not zone.get("private_zone"):
            own += [r for name, home in homes.items() if home == zone["name"] for r in records(name, edge, ids)]
        result.append({**zone, "records": own})
    return result

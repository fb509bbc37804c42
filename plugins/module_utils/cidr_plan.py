# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CIDR collections of Route 53 as a set: checks and the plan. Pure."""

from __future__ import annotations

import ipaddress
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils.steps import Step

#: Route 53 API Reference, CreateCidrCollection, ChangeCidrCollection; Developer Guide, Quotas, IP-based routing.
NAME = re.compile(r"[\w-]{1,64}\Z", re.ASCII)
LOCATION = re.compile(r"[\w-]{1,16}\Z", re.ASCII)
MOST_BLOCKS = 1000
LONGEST = {4: 24, 6: 48}


def canonical(block):
    """Return a block as Route 53 shows it. Raises ValueError."""
    return str(ipaddress.ip_network(block))


def desired(collections):
    """Return the wanted collections: name to location to its blocks."""
    return {
        entry["name"]: {
            location: sorted(canonical(block) for block in blocks) for location, blocks in entry["locations"].items()
        }
        for entry in collections
    }


def faults(collections, prefix):
    """Return sentences on what cannot be right."""
    names = [entry["name"] for entry in collections]
    found = [f"The collection {name} is described twice." for name in sorted({n for n in names if names.count(n) > 1})]
    for entry in collections:
        where = f"The collection {entry['name']}"
        if not NAME.match(entry["name"]):
            found.append(f"{where}: the name must be 1 to 64 letters, digits, dashes and underscores.")
        if prefix and not entry["name"].startswith(prefix):
            found.append(f"{where} does not begin with prune_prefix {prefix}, so it would never be removed again.")
        found += _location_faults(where, entry["locations"])
    return found


def _location_faults(where, locations):
    found, seen = [], {}
    for location, blocks in locations.items():
        if not LOCATION.match(str(location)):
            found.append(f"{where}: the location {location} must be 1 to 16 letters, digits, dashes and underscores.")
        if not isinstance(blocks, list) or not blocks:
            found.append(f"{where}: the location {location} has no blocks; give a list of them.")
            continue
        for block in blocks:
            fault = block_fault(block)
            if fault:
                found.append(f"{where}, location {location}: {block} {fault}.")
            elif seen.setdefault(canonical(block), location) != location:
                found.append(f"{where}: {block} is in the locations {seen[canonical(block)]} and {location}.")
    if len(seen) > MOST_BLOCKS:
        found.append(f"{where} has {len(seen)} blocks; {MOST_BLOCKS} are allowed.")
    return found


def block_fault(block):
    """Return what is wrong with a block, "" when it is right."""
    try:
        network = ipaddress.ip_network(block)
    except ValueError:
        return "is no block such as 192.0.2.0/24, without host bits"
    if network.prefixlen == 0:
        return "is every address; that is the location * of the records"
    if network.prefixlen > LONGEST[network.version]:
        return f"is smaller than /{LONGEST[network.version]}, the smallest block that Route 53 looks at"
    return ""


def plan(want, have, prefix):
    """Return the steps from I(have), name to dict id, version, locations, to I(want)."""
    steps = []
    for name, locations in want.items():
        known = have.get(name)
        if known is None:
            arguments = {"Name": name, "CallerReference": name}
            path = ("Collection", "Id")
            steps.append(Step(f"create the collection {name}", "create_cidr_collection", arguments, f"@{name}", path))
        steps += _changes(name, locations, known)
    for name in sorted(have):
        if prefix and name.startswith(prefix) and name not in want:
            # Only an empty one can be deleted; a record that uses a location keeps it, and AWS says so.
            steps += _changes(name, {}, have[name])
            steps.append(Step(f"delete the collection {name}", "delete_cidr_collection", {"Id": have[name]["id"]}))
    return steps


def _changes(name, locations, known):
    there = known["locations"] if known else {}
    gone = {loc: sorted(set(blocks) - set(locations.get(loc, []))) for loc, blocks in there.items()}
    new = {loc: sorted(set(blocks) - set(there.get(loc, []))) for loc, blocks in locations.items()}
    # A block that moves to another location leaves its old one first.
    changes = [_change(loc, "DELETE_IF_EXISTS", blocks) for loc, blocks in sorted(gone.items()) if blocks]
    changes += [_change(loc, "PUT", blocks) for loc, blocks in sorted(new.items()) if blocks]
    if not changes:
        return []
    words = [f"{'+' if c['Action'] == 'PUT' else '-'}{len(c['CidrList'])} {c['LocationName']}" for c in changes]
    arguments = {"Id": known["id"] if known else f"@{name}", "Changes": changes}
    if known:
        # Somebody else's change in between is refused, and read by the next run.
        arguments["CollectionVersion"] = known["version"]
    return [Step(f"change the collection {name}: {', '.join(words)}", "change_cidr_collection", arguments)]


def _change(location, action, blocks):
    return {"LocationName": location, "Action": action, "CidrList": blocks}


def lines(collections):
    """Return collections, name to location to blocks, as lines."""
    return [
        f"{name} {location}: {block}"
        for name, locations in sorted(collections.items())
        for location, blocks in sorted(locations.items())
        for block in blocks
    ]


def difference(want, have, prefix):
    """Return the diff: the blocks that differ."""
    ours = {n: e["locations"] for n, e in have.items() if n in want or (prefix and n.startswith(prefix))}
    before, after = lines(ours), lines(want)
    return {
        "before": "".join(f"{line}\n" for line in before if line not in after),
        "after": "".join(f"{line}\n" for line in after if line not in before),
    }

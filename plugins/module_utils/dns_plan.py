# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record sets of a Route 53 zone: checks, canonical forms, the plan and its batches. Pure.

A record is what a user writes (see the module route53_records), a record set what the API shows.
"""

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.module_utils.dns_values import (
    LABEL,
    TYPES,
    canonical_name,
    canonical_value,
    fault,
    sent_value,
)

#: ChangeResourceRecordSets: at most 1000 ResourceRecord elements and 32,000 characters of values in one request; with
#: UPSERT both count twice (Route 53 Developer Guide, "Quotas").
MAX_ELEMENTS = 1000
MAX_CHARACTERS = 32000
MAX_TTL = 2147483647
DEFAULT_TTL = 300
#: Where the TXT record lies that says whose a name is.
MARKER_LABEL = "_owner"

#: Routing policies: option of a record, member of the API's record set.
POLICIES = {
    "weight": "Weight",
    "latency_region": "Region",
    "failover": "Failover",
    "geolocation": "GeoLocation",
    "geoproximity": "GeoProximityLocation",
    "multivalue": "MultiValueAnswer",
    "cidr": "CidrRoutingConfig",
}
#: Members of the structures that some policies are: option, member.
MEMBERS = {
    "geolocation": {"continent": "ContinentCode", "country": "CountryCode", "subdivision": "SubdivisionCode"},
    "geoproximity": {
        "aws_region": "AWSRegion",
        "local_zone_group": "LocalZoneGroup",
        "coordinates": "Coordinates",
        "bias": "Bias",
    },
    "cidr": {"collection_id": "CollectionId", "location": "LocationName"},
}
#: API model, RRType: types that only a simple record can have, and those that no alias can have.
SIMPLE_ONLY = frozenset(("DS", "NS", "SOA"))
NO_ALIAS = frozenset(("DS", "NS", "SOA"))
#: Policies of which one name and type can have a value only once.
UNIQUE = ("latency_region", "failover", "geolocation", "cidr")

REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d\Z")
CONTINENTS = ("AF", "AN", "AS", "EU", "NA", "OC", "SA")
COUNTRY = re.compile(r"(\*|[A-Z]{2})\Z")
COLLECTION = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
LOCATION = re.compile(r"(\*|[0-9A-Za-z_-]{1,16})\Z")


# Canonical forms


def given(record):
    """Return a record without the options that are not set."""
    return {name: value for name, value in record.items() if value is not None and value is not False and value != []}


def structure(policy, value):
    """Return a policy's option as the API's structure, {} or the plain value where it is none."""
    if policy == "failover":
        return str(value).upper()
    if policy not in MEMBERS:
        return value
    members = {MEMBERS[policy][name]: entry for name, entry in value.items() if entry is not None}
    if policy == "geoproximity":
        members.setdefault("Bias", 0)
        if "Coordinates" in members:
            place = members["Coordinates"]
            members["Coordinates"] = {key.capitalize(): str(place[key]) for key in ("latitude", "longitude")}
    return members


def policies_of(record):
    """Return the routing policies that a record names."""
    return [name for name in POLICIES if name in given(record)]


def canonical_alias(zone_id, name, evaluate):
    """Return an alias target as it is compared; C(dualstack.) stands for the same load balancer as without."""
    target = canonical_name(name)
    return str(zone_id or "").rsplit("/", 1)[-1], target.removeprefix("dualstack."), bool(evaluate)


def canonical_set(record_set):
    """Return (key, content) of a record set: key (name, type, identifier), content a dict that compares by meaning."""
    kind = record_set["Type"]
    content = {member: record_set[member] for member in POLICIES.values() if _has(record_set, member)}
    if "GeoProximityLocation" in content:
        content["GeoProximityLocation"] = {"Bias": 0, **content["GeoProximityLocation"]}
    if record_set.get("HealthCheckId"):
        content["HealthCheckId"] = record_set["HealthCheckId"]
    if record_set.get("AliasTarget"):
        alias = record_set["AliasTarget"]
        content["alias"] = canonical_alias(alias["HostedZoneId"], alias["DNSName"], alias.get("EvaluateTargetHealth"))
    else:
        content["TTL"] = int(record_set.get("TTL") or 0)
        values = (canonical_value(kind, entry["Value"]) for entry in record_set.get("ResourceRecords") or [])
        content["values"] = sorted(set(values))
    if record_set.get("TrafficPolicyInstanceId"):
        content["TrafficPolicyInstanceId"] = record_set["TrafficPolicyInstanceId"]
    return (canonical_name(record_set["Name"]), kind, record_set.get("SetIdentifier") or ""), content


def as_set(record, zone_id=""):
    """Return a record as the API's record set.

    :arg zone_id: id of the record's own zone, the default of an alias's.
    """
    entry, kind = given(record), record["type"]
    result = {"Name": canonical_name(record["name"]), "Type": kind}
    if entry.get("set_identifier"):
        result["SetIdentifier"] = entry["set_identifier"]
    for policy in policies_of(record):
        result[POLICIES[policy]] = structure(policy, entry[policy])
    if entry.get("health_check_id"):
        result["HealthCheckId"] = entry["health_check_id"]
    if entry.get("alias"):
        alias = entry["alias"]
        result["AliasTarget"] = {
            "HostedZoneId": alias.get("zone_id") or zone_id,
            "DNSName": canonical_name(alias["name"]),
            "EvaluateTargetHealth": bool(alias.get("evaluate_target_health")),
        }
        return result
    unique = {canonical_value(kind, value): sent_value(kind, value) for value in reversed(record["values"])}
    result["TTL"] = int(DEFAULT_TTL if record.get("ttl") is None else record["ttl"])
    result["ResourceRecords"] = [{"Value": value} for value in reversed(list(unique.values()))]
    return result


# Checks


def faults(records, zone):
    """Return what is wrong with the records, one sentence each."""
    found, groups, names = [], {}, {}
    for record in records:
        found += _record_faults(record, zone)
        name = canonical_name(record["name"])
        groups.setdefault((name, record["type"]), []).append(given(record))
        names.setdefault(name, set()).add(record["type"])
    for name, kinds in sorted(names.items()):
        if "CNAME" in kinds and len(kinds) > 1:
            found.append(
                f"The name {name} has a CNAME and {', '.join(sorted(kinds - {'CNAME'}))}; a CNAME stands alone."
            )
    for key in sorted(groups):
        found += _group_faults(f"The record {key[0]} {key[1]}", groups[key])
    return found


def _group_faults(where, group):
    """Return what is wrong with records of one name and type beside each other."""
    if len(group) == 1:
        return []
    policies = {(policies_of(entry) or ["simple"])[0] for entry in group}
    if len(policies) > 1:
        return [f"{where} is {' and '.join(sorted(policies))} at once; all sets of one name and type share one policy."]
    if policies == {"simple"}:
        return [f"{where} is there twice; put its values into one."]
    found = []
    identifiers = [entry.get("set_identifier") for entry in group]
    if len(set(identifiers)) < len(identifiers):
        found.append(f"{where} has the set_identifier {_double(identifiers)} twice; each needs its own.")
    policy = policies.pop()
    choices = [str(entry[policy]) for entry in group]
    if policy in UNIQUE and len(set(choices)) < len(choices):
        found.append(f"{where} has the {policy} {_double(choices)} twice; each can stand once.")
    ttls = {entry.get("ttl") for entry in group if "alias" not in entry}
    if policy == "weight" and len(ttls) > 1:
        found.append(f"{where} has weighted sets with different ttl; they must share one.")
    return found


def _double(entries):
    return next(entry for entry in entries if entries.count(entry) > 1)


def _record_faults(record, zone):
    where = f"The record {record['name']} {record['type']}"
    name, apex = canonical_name(record["name"]), canonical_name(zone)
    if name != apex and not name.endswith("." + apex):
        return [f"{where} is not in the zone {apex}."]
    labels = name[:-1].split(".")
    named = [label for label in labels[1 if labels[0] == "*" else 0 :]]
    if len(name) > 255 or not all(LABEL.match(label) and "*" not in label for label in named):
        return [f"{where} has no valid name: labels have 1 to 63 letters, digits, dashes and underscores."]
    entry = given(record)
    found = [f"{where} {sentence}" for sentence in _content_faults(entry) + _policy_faults(entry)]
    if record["type"] == "CNAME" and (len(entry.get("values", [])) > 1 or name == apex):
        found.append(f"{where} must have one value and may not stand at the zone's own name.")
    return found


def _content_faults(entry):
    if "alias" in entry:
        return _alias_faults(entry)
    found = []
    if not 0 <= int(entry.get("ttl", DEFAULT_TTL)) <= MAX_TTL:
        found.append(f"has the ttl {entry['ttl']}; it must be 0 to {MAX_TTL} seconds.")
    if not entry.get("values"):
        found.append("has no value; it needs values or an alias.")
    for value in entry.get("values", []):
        right = fault(entry["type"], value)
        if right:
            found.append(f"has the value {value!r}; it must be {right}.")
    if not found:
        elements, characters = cost({"action": "UPSERT", "record_set": as_set(entry)})
        if elements > MAX_ELEMENTS or characters > MAX_CHARACTERS:
            found.append(
                f"has {elements // 2} values with {characters // 2} characters; it may have"
                f" {MAX_ELEMENTS // 2} with {MAX_CHARACTERS // 2}."
            )
    return found


def _alias_faults(entry):
    found = []
    if "values" in entry:
        found.append("has values and an alias; it must have one of them.")
    if entry["type"] in NO_ALIAS:
        found.append("cannot be an alias: no NS, SOA or DS can.")
    if "multivalue" in entry:
        found.append("cannot be a multivalue alias; give it values.")
    if not LABEL.match(canonical_name(entry["alias"]["name"]).split(".")[0]):
        found.append(f"has the alias {entry['alias']['name']!r}; it must be a domain name.")
    return found


def _policy_faults(entry):
    policies = policies_of(entry)
    if not policies:
        return ["has a set_identifier but no routing policy."] if entry.get("set_identifier") else []
    if len(policies) > 1:
        return [f"has {' and '.join(policies)}; it can have one routing policy."]
    if entry["type"] in SIMPLE_ONLY:
        return [f"cannot have the routing policy {policies[0]}: NS, SOA and DS are simple."]
    found = []
    if not 1 <= len(entry.get("set_identifier") or "") <= 128:
        found.append(f"has the routing policy {policies[0]}; it needs a set_identifier of 1 to 128 characters.")
    right = _POLICY_CHECKS[policies[0]](entry)
    if right:
        found.append(f"has the {policies[0]} {entry[policies[0]]!r}; {right}.")
    return found


def _weight_fault(entry):
    return "" if 0 <= int(entry["weight"]) <= 255 else "it must be 0 to 255"


def _region_fault(entry):
    return "" if REGION.match(entry["latency_region"]) else "it must be a region such as eu-west-1"


def _failover_fault(entry):
    if str(entry["failover"]).upper() == "SECONDARY" or entry.get("health_check_id"):
        return ""
    if (entry.get("alias") or {}).get("evaluate_target_health"):
        return ""
    return "a primary needs a health_check_id, or an alias with evaluate_target_health, or it never fails over"


def _geolocation_fault(entry):
    place = {name: value for name, value in entry["geolocation"].items() if value}
    if ("continent" in place) == ("country" in place):
        return "it must have a continent or a country"
    if "continent" in place and (place["continent"] not in CONTINENTS or len(place) > 1):
        return f"it must be one of {', '.join(CONTINENTS)}, without a subdivision"
    if "country" in place and not COUNTRY.match(place["country"]):
        return "a country is two capital letters, or * for everywhere else"
    if "subdivision" in place and place["country"] not in ("US", "UA"):
        return "only the countries US and UA have subdivisions"
    return ""


def _geoproximity_fault(entry):
    place = {name: value for name, value in entry["geoproximity"].items() if value is not None}
    if len(set(place) - {"bias"}) != 1:
        return "it must have one of aws_region, local_zone_group and coordinates"
    if not -99 <= int(place.get("bias", 0)) <= 99:
        return "its bias must be -99 to 99"
    spot = place.get("coordinates")
    if spot and not (_within(spot["latitude"], 90) and _within(spot["longitude"], 180)):
        return "latitude is -90.00 to 90.00, longitude -180.00 to 180.00"
    return ""


def _within(text, most):
    return bool(re.match(r"-?\d{1,3}(\.\d{1,2})?\Z", str(text))) and abs(float(text)) <= most


def _cidr_fault(entry):
    if not COLLECTION.match(str(entry["cidr"].get("collection_id"))):
        return "its collection_id must be the id of a CIDR collection"
    return "" if LOCATION.match(str(entry["cidr"].get("location"))) else "its location must be a location's name or *"


def _multivalue_fault(entry):
    return "a CNAME cannot be multivalue" if entry["type"] == "CNAME" else ""


_POLICY_CHECKS = {
    "weight": _weight_fault,
    "latency_region": _region_fault,
    "failover": _failover_fault,
    "geolocation": _geolocation_fault,
    "geoproximity": _geoproximity_fault,
    "multivalue": _multivalue_fault,
    "cidr": _cidr_fault,
}


# Ownership


def marker_name(name):
    """Return where the ownership marker of a name lies; a wildcard has no child of its own."""
    name = canonical_name(name)
    return f"{MARKER_LABEL}.{'_wildcard' + name[1:] if name.startswith('*') else name}"


def markers(records, marker):
    """Return the TXT records that mark the names of I(records) as ours, [] without a marker."""
    names = dict.fromkeys(canonical_name(record["name"]) for record in records) if marker else {}
    return [{"name": marker_name(name), "type": "TXT", "ttl": DEFAULT_TTL, "values": [marker]} for name in names]


def marked(sets):
    """Return dict of marker's name to what it says."""
    return {
        key[0]: content["values"]
        for key, content in map(canonical_set, sets)
        if key[1] == "TXT" and key[0].startswith(MARKER_LABEL + ".") and "values" in content
    }


def owned(key, zone, owner=None, names=()):
    """Tell whether a record set is ours to remove; NS and SOA of the zone itself never are.

    :arg key: (name, type, identifier).
    :arg owner: dict names (exact), prefixes (beginnings), patterns (regular expressions for the whole name), keep
        (exact names that stay in any case).
    :arg names: names that carry our marker, and the markers themselves.
    """
    name, kind, owner = key[0], key[1], owner or {}
    if kind not in TYPES or (name == canonical_name(zone) and kind in ("NS", "SOA")):
        return False
    if any(name in (canonical_name(entry), marker_name(entry)) for entry in owner.get("keep") or []):
        return False
    prefixes = tuple(canonical_name(entry)[:-1] for entry in owner.get("prefixes") or [])
    return (
        name in names
        or name in {canonical_name(entry) for entry in owner.get("names") or []}
        or bool(prefixes and name.startswith(prefixes))
        or any(re.fullmatch(pattern, name[:-1]) for pattern in owner.get("patterns") or [])
    )


# Plan


def plan(records, sets, zone, owner=None, marker="", zone_id=""):
    """Return (changes, conflicts).

    Changes are dicts: action (DELETE, CREATE or UPSERT), record_set, and for UPSERT before (the set as it is).
    Conflicts are sentences; with one, nothing may be sent.

    :arg records: wanted, without faults.
    :arg sets: what the zone holds, as ListResourceRecordSets gives it.
    :arg owner: which names may be pruned, see C(owned); None prunes nothing.
    :arg marker: text of the TXT record that makes a name ours.
    """
    held = {}
    for record_set in sets:
        key, content = canonical_set(record_set)
        held[key] = (content, record_set)
    texts = marked(sets) if marker else {}
    others = {name for name, values in texts.items() if canonical_value("TXT", marker) not in values}
    ours = set(texts) - others
    names = ours | {key[0] for key in held if marker_name(key[0]) in ours}
    wanted = {}
    for record in [*records, *markers(records, marker)]:
        record_set = as_set(record, zone_id)
        key, content = canonical_set(record_set)
        wanted[key] = (content, record_set)
    gone = [
        key
        for key in sorted(held)
        if key not in wanted
        and owned(key, zone, owner, names)
        and not {key[0], marker_name(key[0])} & others
        and "TrafficPolicyInstanceId" not in held[key][0]
    ]
    changes = [{"action": "DELETE", "record_set": held[key][1]} for key in gone]
    for key, (content, record_set) in wanted.items():
        changes += _write(content, record_set, *held.get(key, (None, None)))
    left = {key: entry for key, entry in held.items() if key not in gone}
    return changes, _conflicts(wanted, left) + _foreign(records, texts, others)


def _write(content, record_set, held, before):
    """Return the changes that make I(before), whose content is I(held), a wanted record set."""
    create = {"action": "CREATE", "record_set": record_set}
    if held is None:
        return [create]
    if held == content:
        return []
    # Two sets that change places, such as primary and secondary, would for a moment be the same one.
    places = [member for member in POLICIES.values() if member != "Weight"]
    if any(held.get(member) != content.get(member) for member in places):
        return [{"action": "DELETE", "record_set": before}, create]
    return [{"action": "UPSERT", "record_set": record_set, "before": before}]


def _conflicts(wanted, held):
    """Return what Route 53 would refuse because of records that stay."""
    by_name = {}
    for key in held:
        by_name.setdefault(key[0], []).append(key)
    found = []
    for key, (content, _record_set) in wanted.items():
        for other in by_name.get(key[0], []):
            if other in wanted and other != key:
                continue
            reason = _conflict(key, content, other, held[other][0])
            if reason:
                found.append(
                    f"The record {key[0]} {key[1]} cannot be written: the zone holds {other[0]} {other[1]},"
                    f" {reason}; remove it, or name it in prune."
                )
                break
    return found


def _conflict(key, content, other, held):
    if "TrafficPolicyInstanceId" in held:
        return "which a traffic policy made"
    if key[1] != other[1]:
        return "and a CNAME stands alone" if "CNAME" in (key[1], other[1]) else ""
    if key == other:
        # UPSERT of the same key replaces it, whatever its policy.
        return ""
    same = _policy(content) == _policy(held)
    return "" if same and _policy(content) != "simple" else f"which is {_policy(held)} and not {_policy(content)}"


def _policy(content):
    return next((option for option, member in POLICIES.items() if member in content), "simple")


def _foreign(records, texts, others):
    """Return the wanted names that carry somebody else's marker."""
    names = dict.fromkeys(canonical_name(record["name"]) for record in records)
    return [
        f"The name {name} belongs to {', '.join(texts[marker_name(name)])!r}, as {marker_name(name)} says."
        for name in names
        if marker_name(name) in others
    ]


# Batches


def cost(change):
    """Return (elements, characters) of a change as the API counts them."""
    entries = change["record_set"].get("ResourceRecords") or []
    factor = 2 if change["action"] == "UPSERT" else 1
    # An alias has no value but is an element all the same; that the API does not count it is not written anywhere.
    return factor * max(1, len(entries)), factor * sum(len(entry["Value"]) for entry in entries)


def groups(changes):
    """Return the changes in lists of what has to be done at once: a name, its marker, and the aliases that point at it.

    Within a list deletes come first, then plain records, then aliases. A list that is above the limits of a request
    falls apart into its names.
    """
    leader = {canonical_name(change["record_set"]["Name"]): None for change in changes}

    def find(name):
        while leader[name] is not None:
            name = leader[name]
        return name

    for change in changes:
        name = canonical_name(change["record_set"]["Name"])
        for other in (_target(change), marker_name(name)):
            if other in leader and find(other) != find(name):
                leader[find(name)] = find(other)
    gathered = {}
    for change in _in_order(changes):
        gathered.setdefault(find(canonical_name(change["record_set"]["Name"])), []).append(change)
    result = []
    for group in gathered.values():
        result += [group] if _fits(group) else _by_name(group)
    return result


def _target(change):
    alias = change["record_set"].get("AliasTarget")
    return canonical_name(alias["DNSName"]) if alias else ""


def _in_order(changes):
    """Return the changes with deletes first (aliases before what they point at), then writes the other way round."""
    deletes = [change for change in changes if change["action"] == "DELETE"]
    writes = [change for change in changes if change["action"] != "DELETE"]
    aliases = {canonical_name(change["record_set"]["Name"]): _target(change) for change in changes if _target(change)}

    def depth(change):
        """How many aliases lie between this record and an address."""
        count, target, seen = 0, _target(change), set()
        while target and target not in seen:
            seen.add(target)
            count, target = count + 1, aliases.get(target)
        return count

    return sorted(deletes, key=depth, reverse=True) + sorted(writes, key=depth)


def _by_name(group):
    result = {}
    for change in group:
        result.setdefault(canonical_name(change["record_set"]["Name"]), []).append(change)
    return list(result.values())


def _sum(changes):
    costs = [cost(change) for change in changes]
    return sum(entry[0] for entry in costs), sum(entry[1] for entry in costs)


def _fits(changes):
    elements, characters = _sum(changes)
    return elements <= MAX_ELEMENTS and characters <= MAX_CHARACTERS


def batches(changes):
    """Return lists of groups that each fit one request, in order."""
    result, elements, characters = [], 0, 0
    for group in groups(changes):
        more = _sum(group)
        if not result or elements + more[0] > MAX_ELEMENTS or characters + more[1] > MAX_CHARACTERS:
            result.append([])
            elements = characters = 0
        result[-1].append(group)
        elements, characters = elements + more[0], characters + more[1]
    return result


def entries(batch):
    """Return a batch, a list of groups, as the API's changes: deletes come before what takes their place."""
    flat = sorted((change for group in batch for change in group), key=lambda change: change["action"] != "DELETE")
    return [{"Action": change["action"], "ResourceRecordSet": change["record_set"]} for change in flat]


# Words


def text(record_set):
    """Return a record set as one line of a diff."""
    name = canonical_name(record_set["Name"])
    alias = record_set.get("AliasTarget")
    if alias:
        health = " with its health" if alias.get("EvaluateTargetHealth") else ""
        value = f"alias of {canonical_name(alias['DNSName'])} in {alias['HostedZoneId']}{health}"
        words = [name, record_set["Type"], value]
    else:
        values = " ".join(sorted(entry["Value"] for entry in record_set.get("ResourceRecords") or []))
        words = [name, str(record_set.get("TTL", "-")), record_set["Type"], values]
    more = [f"{option}={_short(record_set[member])}" for option, member in POLICIES.items() if _has(record_set, member)]
    if record_set.get("HealthCheckId"):
        more.append(f"health_check={record_set['HealthCheckId']}")
    if record_set.get("SetIdentifier"):
        more.insert(0, record_set["SetIdentifier"])
    return " ".join(words) + (f" [{', '.join(more)}]" if more else "")


def _has(record_set, member):
    return record_set.get(member) not in (None, False)


def _short(value):
    """Return a policy's value as a word."""
    if isinstance(value, dict):
        return "/".join(_short(entry) for _key, entry in sorted(value.items()))
    return str(value).lower() if isinstance(value, bool) else str(value)


def difference(changes):
    """Return the record sets that the changes touch, before and after, one line each."""
    before = [change["record_set"] for change in changes if change["action"] == "DELETE"]
    before += [change["before"] for change in changes if change["action"] == "UPSERT"]
    after = [change["record_set"] for change in changes if change["action"] != "DELETE"]
    return {
        "before": "".join(f"{line}\n" for line in sorted(map(text, before))),
        "after": "".join(f"{line}\n" for line in sorted(map(text, after))),
    }

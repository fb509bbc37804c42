# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record sets of a Route 53 zone: checks, canonical forms, the plan and its batches. Pure."""

from __future__ import annotations

import ipaddress
import re

TYPES = ("A", "AAAA", "CNAME", "TXT", "SRV")
#: ChangeResourceRecordSets: at most 1000 ResourceRecord elements and 32,000 characters of values in one request; with
#: UPSERT both count twice (Route 53 Developer Guide, "Quotas").
MAX_ELEMENTS = 1000
MAX_CHARACTERS = 32000
MAX_TTL = 2147483647
#: A TXT value is strings of at most 255 characters, 4000 in all (Developer Guide, "TXT record type").
TXT_STRING, TXT_VALUE = 255, 4000
LABEL = re.compile(r"[a-z0-9_*]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
OCTAL = re.compile(r"\\([0-7]{3})")
SRV = re.compile(r"(\d{1,5}) (\d{1,5}) (\d{1,5}) (\S+)\Z")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*')


def canonical_name(name):
    """Return a name as Route 53 compares it: lower case, a final dot, escapes such as \\052 undone."""
    text = OCTAL.sub(lambda match: chr(int(match.group(1), 8)), str(name).strip()).lower()
    return text if text.endswith(".") else text + "."


def quote_txt(value):
    """Return a TXT value as the API wants it: quoted strings of at most 255 characters; quoted values stay."""
    text = str(value)
    if text.startswith('"') and QUOTED.fullmatch(text) or (text.startswith('"') and not QUOTED.sub("", text)):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    parts = [escaped[start : start + TXT_STRING] for start in range(0, len(escaped), TXT_STRING)] or [""]
    return " ".join(f'"{part}"' for part in _whole_escapes(parts))


def _whole_escapes(parts):
    """Move a backslash at the end of a part to the next one, so that no escape is torn."""
    result = []
    carried = ""
    for part in parts:
        text = carried + part
        odd = (len(text) - len(text.rstrip("\\"))) % 2
        carried = "\\" if odd else ""
        result.append(text[:-1] if odd else text)
    if carried:
        result[-1] += carried
    return result


def plain_txt(value):
    """Return what a TXT value says, without quotes and the limits of its strings."""
    return "".join(re.sub(r"\\(.)", r"\1", part) for part in QUOTED.findall(quote_txt(value)))


def canonical_value(kind, value):
    """Return a value as Route 53 compares it."""
    text = str(value).strip()
    if kind == "TXT":
        return plain_txt(value)
    if kind == "CNAME":
        return canonical_name(text)
    if kind == "SRV":
        head, _space, target = text.rpartition(" ")
        return f"{' '.join(head.split())} {canonical_name(target)}"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def canonical(record):
    """Return (key, content) of a wanted record: key (name, type), content (ttl, sorted values)."""
    kind = record["type"]
    values = tuple(sorted({canonical_value(kind, value) for value in record["values"]}))
    return (canonical_name(record["name"]), kind), (int(record["ttl"]), values)


def canonical_set(record_set):
    """Return (key, content) of a record set of the API; content None for aliases and routed sets."""
    key = (canonical_name(record_set["Name"]), record_set["Type"])
    if "ResourceRecords" not in record_set or "SetIdentifier" in record_set:
        return key, None
    values = (canonical_value(key[1], entry["Value"]) for entry in record_set["ResourceRecords"])
    return key, (int(record_set["TTL"]), tuple(sorted(values)))


# Checks


def faults(records, zone):
    """Return what is wrong with the records, one sentence each."""
    found, seen, names = [], set(), {}
    for record in records:
        found += _record_faults(record, zone)
        key = (canonical_name(record["name"]), record["type"])
        if key in seen:
            found.append(f"The record {record['name']} {record['type']} is there twice; put its values into one.")
        seen.add(key)
        names.setdefault(key[0], set()).add(key[1])
    for name, kinds in sorted(names.items()):
        if "CNAME" in kinds and len(kinds) > 1:
            found.append(
                f"The name {name} has a CNAME and {', '.join(sorted(kinds - {'CNAME'}))}; a CNAME stands alone."
            )
    return found


def _record_faults(record, zone):
    where = f"The record {record['name']} {record['type']}"
    name, apex = canonical_name(record["name"]), canonical_name(zone)
    if name != apex and not name.endswith("." + apex):
        return [f"{where} is not in the zone {apex}."]
    labels = name[:-1].split(".")
    if len(name) > 255 or not all(LABEL.match(label) for label in labels) or any("*" in label for label in labels[1:]):
        return [f"{where} has no valid name: labels have 1 to 63 letters, digits, dashes and underscores."]
    found = []
    if not 0 <= int(record["ttl"]) <= MAX_TTL:
        found.append(f"{where} has the ttl {record['ttl']}; it must be 0 to {MAX_TTL} seconds.")
    if not record["values"]:
        found.append(f"{where} has no value.")
    if record["type"] == "CNAME" and (len(record["values"]) > 1 or name == apex):
        found.append(f"{where} must have one value and may not stand at the zone's own name.")
    for value in record["values"]:
        right = _value_fault(record["type"], str(value))
        if right:
            found.append(f"{where} has the value {value!r}; it must be {right}.")
    return found


def _is_address(value, version):
    try:
        return ipaddress.ip_address(value).version == version
    except ValueError:
        return False


def _is_name(value):
    return all(LABEL.match(label) for label in canonical_name(value)[:-1].split("."))


def _is_srv(value):
    match = SRV.match(value)
    return bool(match) and all(int(match.group(i)) <= 65535 for i in (1, 2, 3)) and _is_name(match.group(4))


def _value_fault(kind, value):
    checks = {
        "A": (lambda: _is_address(value, 4), "an IPv4 address"),
        "AAAA": (lambda: _is_address(value, 6), "an IPv6 address"),
        "CNAME": (lambda: _is_name(value), "a domain name"),
        "SRV": (lambda: _is_srv(value), "priority, weight, port and target, such as 10 5 2380 a.example.com"),
        "TXT": (lambda: len(plain_txt(value)) <= TXT_VALUE, f"at most {TXT_VALUE} characters"),
    }
    valid, right = checks[kind]
    return "" if valid() else right


# Plan


def owned(key, owner, names):
    """Tell whether a name is ours to prune.

    :arg owner: dict names (exact), prefixes (beginnings), patterns (regular expressions for the whole name), keep
        (exact names that stay in any case).
    :arg names: names that carry our TXT ownership marker.
    """
    name, kind = key
    if kind not in TYPES or name in {canonical_name(entry) for entry in owner.get("keep") or []}:
        return False
    exact = {canonical_name(entry) for entry in owner.get("names") or []}
    prefixes = tuple(canonical_name(entry)[:-1] for entry in owner.get("prefixes") or [])
    patterns = owner.get("patterns") or []
    return (
        name in exact
        or name in names
        or bool(prefixes and name.startswith(prefixes))
        or any(re.fullmatch(pattern, name[:-1]) for pattern in patterns)
    )


def marked(sets, marker):
    """Return the names whose TXT record holds the ownership marker; none without one."""
    if not marker:
        return set()
    return {key[0] for key, content in map(canonical_set, sets) if key[1] == "TXT" and content and marker in content[1]}


def plan(records, sets, owner=None, marker=""):
    """Return the changes: list of dict action (DELETE or UPSERT) and record_set; deletes first.

    :arg records: wanted, list of dict name, type, ttl, values.
    :arg sets: what the zone holds, as ListResourceRecordSets gives it.
    :arg owner: which names may be pruned; None prunes nothing.
    :arg marker: names whose TXT record has this value may be pruned.
    """
    have = {}
    for record_set in sets:
        key, content = canonical_set(record_set)
        have.setdefault(key, []).append((content, record_set))
    wanted = dict(canonical(record) for record in records)
    changes = []
    ours = marked(sets, marker)
    for key in sorted(have):
        for content, record_set in have[key]:
            if content is None or key in wanted or not (owner or ours):
                continue
            # A CNAME and another type cannot share a name: the one that goes away must go first.
            if owned(key, owner or {}, ours):
                changes.append({"action": "DELETE", "record_set": record_set})
    for record in records:
        key, content = canonical(record)
        if content not in [entry[0] for entry in have.get(key, [])]:
            changes.append({"action": "UPSERT", "record_set": as_set(record)})
    return changes


def as_set(record):
    """Return a record as the API's record set."""
    kind = record["type"]
    values = dict.fromkeys(quote_txt(value) if kind == "TXT" else str(value).strip() for value in record["values"])
    return {
        "Name": canonical_name(record["name"]),
        "Type": kind,
        "TTL": int(record["ttl"]),
        "ResourceRecords": [{"Value": value} for value in values],
    }


def cost(change):
    """Return (elements, characters) of a change as the API counts them."""
    entries = change["record_set"]["ResourceRecords"]
    factor = 2 if change["action"] == "UPSERT" else 1
    return factor * len(entries), factor * sum(len(entry["Value"]) for entry in entries)


def batches(changes):
    """Return the changes in lists that each fit one request, in order. Changes of one name stay together."""
    grouped = {}
    for change in changes:
        grouped.setdefault(canonical_name(change["record_set"]["Name"]), []).append(change)
    result, elements, characters = [], 0, 0
    for group in grouped.values():
        costs = [cost(change) for change in group]
        more = [sum(entry[0] for entry in costs), sum(entry[1] for entry in costs)]
        if not result or elements + more[0] > MAX_ELEMENTS or characters + more[1] > MAX_CHARACTERS:
            result.append([])
            elements = characters = 0
        result[-1] += group
        elements, characters = elements + more[0], characters + more[1]
    # Within one request all deletes come before what takes their place.
    return [sorted(batch, key=lambda change: change["action"] != "DELETE") for batch in result]


def text(record_set):
    """Return a record set as one line of a diff."""
    values = " ".join(sorted(entry["Value"] for entry in record_set.get("ResourceRecords") or []))
    return f"{canonical_name(record_set['Name'])} {record_set.get('TTL', '-')} {record_set['Type']} {values}"

"""Route 53's change batches: validated as a whole, applied as a whole.

Sources: Route 53 API Reference, ChangeResourceRecordSets; Developer Guide, "Quotas", "Supported DNS record types" and
"Values that are common for all routing policies".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from lab.aws.call import AWSError, Call
from lab.aws.rules import rule

MAX_ELEMENTS = 1000
MAX_CHARACTERS = 32000
MAX_TTL = 2147483647
ROUTING = (
    "Weight",
    "Region",
    "GeoLocation",
    "Failover",
    "MultiValueAnswer",
    "CidrRoutingConfig",
    "GeoProximityLocation",
)
TYPES = [
    "A",
    "AAAA",
    "CAA",
    "CNAME",
    "DS",
    "HTTPS",
    "MX",
    "NAPTR",
    "NS",
    "PTR",
    "SOA",
    "SPF",
    "SRV",
    "SSHFP",
    "SVCB",
    "TLSA",
    "TXT",
]
Key = tuple[str, str, str | None]


def canonical(name: str) -> str:
    """A name as Route 53 stores and answers it: lower case, final dot, `*` and odd characters as octal escapes."""
    name = re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), name.lower())
    name = "".join(c if re.match(r"[a-z0-9._\-]", c) else f"\\{ord(c):03o}" for c in name)
    return name if name.endswith(".") else name + "."


def zone_of(call: Call) -> Any:
    """moto's hosted zone. Raises AWSError NoSuchHostedZone."""
    zone_id = call.params.get("HostedZoneId", "").split("/")[-1]
    zone = call.backend().zones.get(zone_id)
    if zone is None:
        raise AWSError("NoSuchHostedZone", f"No hosted zone found with ID: {zone_id}", 404)
    return zone


def values(record: dict[str, Any]) -> list[str]:
    return [r["Value"] for r in record.get("ResourceRecords") or []]


def _changes(call: Call) -> list[dict[str, Any]]:
    return call.params.get("ChangeBatch", {}).get("Changes") or []


@rule(
    "route53",
    "ChangeResourceRecordSets",
    "InvalidChangeBatch",
    "Number of records limit of {limit} exceeded.",
    "Route 53 Developer Guide, Quotas: an element of an UPSERT counts twice",
)
def too_many_elements(call: Call) -> dict[str, Any] | None:
    count = sum(
        max(1, len(values(c["ResourceRecordSet"]))) * (2 if c["Action"] == "UPSERT" else 1) for c in _changes(call)
    )
    return {"limit": MAX_ELEMENTS} if count > MAX_ELEMENTS else None


@rule(
    "route53",
    "ChangeResourceRecordSets",
    "InvalidChangeBatch",
    "Number of characters in all Value elements exceeds the limit of {limit}.",
    "Route 53 Developer Guide, Quotas: a character of an UPSERT counts twice",
)
def too_many_characters(call: Call) -> dict[str, Any] | None:
    count = sum(
        sum(map(len, values(c["ResourceRecordSet"]))) * (2 if c["Action"] == "UPSERT" else 1) for c in _changes(call)
    )
    return {"limit": MAX_CHARACTERS} if count > MAX_CHARACTERS else None


@rule(
    "route53",
    "ChangeResourceRecordSets",
    "InvalidChangeBatch",
    "[{problems}]",
    "Route 53 API Reference, ChangeResourceRecordSets: all changes are made or none",
)
def batch(call: Call) -> dict[str, Any] | None:
    records = current(zone_of(call))
    problems = [p for change in _changes(call) if (p := apply(records, change, zone_of(call).name))]
    return {"problems": ", ".join(problems)} if problems else None


def current(zone: Any) -> dict[Key, dict[str, Any]]:
    """The records of a zone by name, type and identifier, as the API writes them."""
    return {(canonical(r.name), r.type, r.set_identifier): as_parameters(r) for r in zone.rrsets}


def as_parameters(record: Any) -> dict[str, Any]:
    result = {
        "Name": canonical(record.name),
        "Type": record.type,
        "TTL": int(record.ttl) if record.ttl is not None else None,
        "ResourceRecords": record.resource_records,
        "SetIdentifier": record.set_identifier,
        "Weight": record.weight,
        "Region": record.region,
        "HealthCheckId": record.health_check_id,
        "AliasTarget": record.alias_target,
        "Failover": record.failover,
        "GeoLocation": record.geo_location,
        "MultiValueAnswer": record.multi_value_answer,
        "CidrRoutingConfig": getattr(record, "cidr_routing_config", None),
        "GeoProximityLocation": getattr(record, "geo_proximity_location", None),
    }
    return {k: v for k, v in result.items() if v is not None}


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    result = {k: v for k, v in record.items() if k not in ("Name", "ResourceRecords", "AliasTarget")}
    if record.get("ResourceRecords"):
        result["values"] = sorted(values(record))
    alias = record.get("AliasTarget")
    if alias:
        health = bool(alias.get("EvaluateTargetHealth"))
        result["alias"] = (alias.get("HostedZoneId"), canonical(alias.get("DNSName", "")), health)
    return result


def apply(records: dict[Key, dict[str, Any]], change: dict[str, Any], zone_name: str) -> str | None:
    """Make one change in `records`, or return why it is refused."""
    record = dict(change["ResourceRecordSet"])
    record["Name"] = name = canonical(record["Name"])
    kind = record.get("Type", "")
    key = (name, kind, record.get("SetIdentifier"))
    what = f"[name='{name}', type='{kind}'" + (f", set-identifier='{key[2]}']" if key[2] else "]")
    if change["Action"] == "DELETE":
        return _delete(records, record, key, what)
    problem = _shape(record) or _place(records, record, zone_name) or _values(record)
    if problem:
        return problem
    if change["Action"] == "CREATE" and key in records:
        return f"Tried to create resource record set {what} but it already exists"
    records[key] = record
    return None


def _delete(records: dict[Key, dict[str, Any]], record: dict[str, Any], key: Key, what: str) -> str | None:
    if key not in records:
        return f"Tried to delete resource record set {what} but it was not found"
    if _comparable(records[key]) != _comparable(record):
        return f"Tried to delete resource record set {what} but the values provided do not match the current values"
    del records[key]
    return None


def _shape(record: dict[str, Any]) -> str | None:
    """What any record set must look like."""
    name, kind = record["Name"], record.get("Type")
    alias, ttl, data = record.get("AliasTarget"), record.get("TTL"), record.get("ResourceRecords")
    if kind not in TYPES:
        return f"Invalid Resource Record Type: {kind}"
    if bool(alias) == bool(data) or (data and ttl is None):
        return (
            "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or "
            f"TrafficPolicyInstanceId], but found {'more than one' if alias and data else 'none'} in Change with "
            f"[Action=CREATE, Name={name}, Type={kind}, SetIdentifier={record.get('SetIdentifier', 'null')}]"
        )
    if data and not 0 <= ttl <= MAX_TTL:
        return f"Invalid TTL {ttl} of {name}"
    return _routing_shape(record)


def _routing_shape(record: dict[str, Any]) -> str | None:
    routing = [k for k in ROUTING if record.get(k) is not None]
    if len(routing) > 1:
        return f"Expected at most one routing policy, but found {', '.join(routing)} in {record['Name']}"
    if bool(routing) != bool(record.get("SetIdentifier")):
        missing = "SetIdentifier" if routing else "a routing policy"
        return (
            f"Invalid request: Missing field '{missing}' in Change with [Name={record['Name']}, Type={record['Type']}]"
        )
    weight = record.get("Weight")
    return f"Invalid weight {weight} of {record['Name']}" if weight is not None and not 0 <= weight <= 255 else None


def _policy(record: dict[str, Any]) -> str:
    return next((k for k in ROUTING if record.get(k) is not None), "simple")


def _place(records: dict[Key, dict[str, Any]], record: dict[str, Any], zone_name: str) -> str | None:
    """Whether the record may stand where it is, beside what is there."""
    name, kind, zone = record["Name"], record["Type"], canonical(zone_name)
    if name != zone and not name.endswith("." + zone):
        return f"RRSet with DNS name {name} is not permitted in zone {zone}"
    if kind == "CNAME" and name == zone:
        return f"RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {zone}"
    if any(not 1 <= len(label) <= 63 for label in name.rstrip(".").split(".")) or len(name) > 255:
        return f"FATAL problem: DomainLabelEmpty or DomainLabelTooLong encountered with '{name}'"
    beside = [r for k, r in records.items() if k[0] == name]
    if any((r["Type"] == "CNAME") != (kind == "CNAME") for r in beside):
        return (
            f"RRSet of type {kind} with DNS name {name} is not permitted as it conflicts with other records with the "
            f"same DNS name in zone {zone}"
        )
    same = [r for r in beside if r["Type"] == kind and r.get("SetIdentifier") != record.get("SetIdentifier")]
    if any(_policy(r) != _policy(record) for r in same):
        return (
            f"RRSet with DNS name {name}, type {kind}, SetIdentifier {record.get('SetIdentifier')} cannot be created "
            "as other RRSets exist with the same name and type."
        )
    return None


def _a(value: str) -> str | None:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return "ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address)"
    return None


def _aaaa(value: str) -> str | None:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return "AAAARRDATAIllegalIPv6Address (Value is not a valid IPv6 address)"
    return None


def _domain(value: str) -> str | None:
    name = value.rstrip(".")
    good = re.fullmatch(r"([A-Za-z0-9_\-*\\/]{1,63}\.)*[A-Za-z0-9_\-*\\/]{1,63}", name)
    return None if good and len(name) <= 253 else "DomainLabelInvalid (Value is not a valid domain name)"


def _mx(value: str) -> str | None:
    parts = value.split()
    good = len(parts) == 2 and parts[0].isdigit() and int(parts[0]) <= 65535 and _domain(parts[1]) is None
    return None if good else "MXRRDATANotTwoFields (MX data must be a preference and a host name)"


def _srv(value: str) -> str | None:
    parts = value.split()
    good = len(parts) == 4 and all(p.isdigit() and int(p) <= 65535 for p in parts[:3]) and _domain(parts[3]) is None
    return None if good else "SRVRRDATANotFourFields (SRV data must be priority, weight, port and host name)"


def _caa(value: str) -> str | None:
    good = re.fullmatch(r'\d{1,3} [A-Za-z0-9]+ "[^"]*"', value)
    return None if good else "CAARRDATAInvalid (CAA data must be flags, tag and a value in quotation marks)"


def _txt(value: str) -> str | None:
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', value)
    if not re.fullmatch(r'\s*"(?:[^"\\]|\\.)*"(\s+"(?:[^"\\]|\\.)*")*\s*', value):
        return "InvalidCharacterString (Value should be enclosed in quotation marks)"
    lengths = [len(re.sub(r"\\(\d{3}|.)", "x", s)) for s in strings]
    return "CharacterStringTooLong (String too long)" if any(n > 255 for n in lengths) else None


CHECKS: dict[str, Callable[[str], str | None]] = {
    "A": _a,
    "AAAA": _aaaa,
    "CAA": _caa,
    "CNAME": _domain,
    "MX": _mx,
    "NS": _domain,
    "PTR": _domain,
    "SPF": _txt,
    "SRV": _srv,
    "TXT": _txt,
}


def _values(record: dict[str, Any]) -> str | None:
    given, kind = values(record), record["Type"]
    if kind == "CNAME" and len(given) > 1:
        return f"RRSet of type CNAME with DNS name {record['Name']} may have one value only"
    if len(set(given)) != len(given):
        return f"Duplicate Resource Record: '{next(v for v in given if given.count(v) > 1)}'"
    check = CHECKS.get(kind)
    broken = ((v, p) for v in given if check and (p := check(v)))
    return next((f"Invalid Resource Record: 'FATAL problem: {p} encountered with '{v}''" for v, p in broken), None)

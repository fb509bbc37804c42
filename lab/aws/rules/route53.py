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
    zone = zone_of(call)
    problems = [p for change in _changes(call) if (p := apply(records, change, zone.name))]
    problems = problems or _dangling(records, call, zone.resource_id)
    return {"problems": ", ".join(problems)} if problems else None


def _dangling(records: dict[Key, dict[str, Any]], call: Call, zone_id: str) -> list[str]:
    """Aliases of this batch whose target in the same zone is not there when the batch is done."""
    found = []
    for change in _changes(call):
        alias, kind = change["ResourceRecordSet"].get("AliasTarget"), change["ResourceRecordSet"]["Type"]
        if change["Action"] == "DELETE" or not alias or alias["HostedZoneId"].split("/")[-1] != zone_id:
            continue
        target = canonical(alias["DNSName"])
        if not any(key[:2] == (target, kind) for key in records):
            found.append(
                f"Tried to create an alias that targets {target}, type {kind} in zone {zone_id}, "
                "but that target was not found"
            )
    return found


@rule(
    "route53",
    "ChangeResourceRecordSets",
    "NoSuchHealthCheck",
    "No health check exists with the ID {identity}.",
    "Route 53 API Reference, ChangeResourceRecordSets, Errors",
    404,
)
def health_check_exists(call: Call) -> dict[str, Any] | None:
    named = [
        c["ResourceRecordSet"].get("HealthCheckId")
        for c in _changes(call)
        if c["Action"] != "DELETE" and c["ResourceRecordSet"].get("HealthCheckId")
    ]
    return next(({"identity": identity} for identity in named if identity not in checks(call)), None)


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
    if routing and record["Type"] in ("NS", "SOA", "DS"):
        return f"A routing policy is not permitted for type {record['Type']} of {record['Name']}"
    if record.get("MultiValueAnswer") and (record.get("AliasTarget") or record["Type"] == "CNAME"):
        return f"Multivalue answer is not permitted for aliases and type CNAME, as {record['Name']} is"
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
    for member in ("Region", "GeoLocation", "Failover", "CidrRoutingConfig"):
        if record.get(member) and any(r.get(member) == record[member] for r in same):
            return (
                f"RRSet with DNS name {name}, type {kind}, SetIdentifier {record.get('SetIdentifier')} cannot be "
                f"created as another RRSet has the same {member}."
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


def _pattern(pattern: str, words: str) -> Callable[[str], str | None]:
    return lambda value: None if re.fullmatch(pattern, value) else words


_NUMBER, _HEX = r"\d{1,5}", r"[0-9A-Fa-f ]+"
_SERVICE = _pattern(
    r"\d{1,5} \S+( [a-z0-9-]+(=(\"[^\"]*\"|\S*))?)*", "SVCBRRDATAInvalid (Value is not a service binding)"
)

CHECKS: dict[str, Callable[[str], str | None]] = {
    "A": _a,
    "AAAA": _aaaa,
    "CAA": _caa,
    "CNAME": _domain,
    "DS": _pattern(
        rf"{_NUMBER} {_NUMBER} {_NUMBER} {_HEX}", "DSRRDATAInvalid (DS data must be three numbers and a digest)"
    ),
    "HTTPS": _SERVICE,
    "MX": _mx,
    "NAPTR": _pattern(
        rf'{_NUMBER} {_NUMBER} "[^"]*" "[^"]*" "[^"]*" \S+', "NAPTRRRDATAInvalid (NAPTR data must be six fields)"
    ),
    "NS": _domain,
    "PTR": _domain,
    "SPF": _txt,
    "SOA": _pattern(r"\S+ \S+( \d+){5}", "SOARRDATAInvalid (SOA data must be two names and five numbers)"),
    "SRV": _srv,
    "SSHFP": _pattern(
        rf"{_NUMBER} {_NUMBER} {_HEX}", "SSHFPRRDATAInvalid (SSHFP data must be two numbers and a digest)"
    ),
    "SVCB": _SERVICE,
    "TLSA": _pattern(
        rf"{_NUMBER} {_NUMBER} {_NUMBER} {_HEX}", "TLSARRDATAInvalid (TLSA data must be three numbers and hex)"
    ),
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


# Zones


def _vpc(call: Call) -> tuple[str, str]:
    vpc = call.params.get("VPC") or {}
    return vpc.get("VPCId") or "", vpc.get("VPCRegion") or ""


@rule(
    "route53",
    "CreateHostedZone",
    "HostedZoneAlreadyExists",
    "A hosted zone has already been created with the specified caller reference.",
    "Route 53 API Reference, CreateHostedZone, Errors",
    409,
)
def reference_used(call: Call) -> dict[str, Any] | None:
    used = {zone.caller_reference for zone in call.backend().zones.values()}
    return {} if call.params["CallerReference"] in used else None


@rule(
    "route53",
    "CreateHostedZone",
    "InvalidInput",
    "When you're creating a private hosted zone (when you specify true for PrivateZone), you must also specify values "
    "for VPCId and VPCRegion.",
    "Route 53 API Reference, CreateHostedZone, HostedZoneConfig",
)
def private_needs_vpc(call: Call) -> dict[str, Any] | None:
    private = (call.params.get("HostedZoneConfig") or {}).get("PrivateZone")
    return {} if private and not _vpc(call)[0] else None


@rule(
    "route53",
    "CreateHostedZone AssociateVPCWithHostedZone",
    "InvalidVPCId",
    "The VPC {vpc} in region {region} does not exist.",
    "Route 53 API Reference, AssociateVPCWithHostedZone, Errors",
)
def vpc_exists(call: Call) -> dict[str, Any] | None:
    vpc, region = _vpc(call)
    known = not vpc or (region and vpc in call.backend("ec2", region).vpcs)
    return None if known else {"vpc": vpc, "region": region}


@rule(
    "route53",
    "CreateHostedZone AssociateVPCWithHostedZone",
    "ConflictingDomainExists",
    "The VPC {vpc} in region {region} has already been associated with the hosted zone {zone} with the same domain "
    "name.",
    "Route 53 API Reference, AssociateVPCWithHostedZone, Errors",
)
def one_zone_per_name(call: Call) -> dict[str, Any] | None:
    vpc, region = _vpc(call)
    if not vpc:
        return None
    name = call.params.get("Name") or zone_of(call).name
    for zone in call.backend().zones.values():
        if canonical(zone.name) == canonical(name) and any(entry.get("vpc_id") == vpc for entry in zone.vpcs):
            return {"vpc": vpc, "region": region, "zone": zone.resource_id}
    return None


@rule(
    "route53",
    "DisassociateVPCFromHostedZone",
    "VPCAssociationNotFound",
    "The VPC {vpc} in region {region} and hosted zone {zone} are not associated.",
    "Route 53 API Reference, DisassociateVPCFromHostedZone, Errors",
    404,
)
def associated(call: Call) -> dict[str, Any] | None:
    (vpc, region), zone = _vpc(call), zone_of(call)
    found = any(entry.get("vpc_id") == vpc for entry in zone.vpcs)
    return None if found else {"vpc": vpc, "region": region, "zone": zone.resource_id}


# Health checks

ENDPOINT = ("HTTP", "HTTPS", "HTTP_STR_MATCH", "HTTPS_STR_MATCH", "TCP")


def checks(call: Call) -> dict[str, dict[str, Any]]:
    """The account's health checks by id, as the API shows them; they lie where moto looks for them."""
    return call.backend().health_checks


def check_of(call: Call) -> dict[str, Any]:
    """The health check of a call. Raises AWSError NoSuchHealthCheck."""
    identity = call.params.get("HealthCheckId") or call.params.get("ResourceId") or ""
    if identity not in checks(call):
        raise AWSError("NoSuchHealthCheck", f"No health check exists with the specified ID: {identity}.", 404)
    return checks(call)[identity]


def filled(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with what CreateHealthCheck fills in. Source: API Reference, HealthCheckConfig."""
    kind = settings["Type"]
    base: dict[str, Any] = {"Inverted": False, "Disabled": False}
    if kind in ENDPOINT:
        base |= {"RequestInterval": 30, "FailureThreshold": 3, "MeasureLatency": False}
        base["EnableSNI"] = kind.startswith("HTTPS")
        if kind != "TCP":
            base["Port"] = 443 if kind.startswith("HTTPS") else 80
    return {**base, **{key: value for key, value in settings.items() if value is not None}}


@rule(
    "route53",
    "CreateHealthCheck",
    "HealthCheckAlreadyExists",
    "The health check you're attempting to create already exists, or its caller reference was used before.",
    "Route 53 API Reference, CreateHealthCheck, CallerReference: also after the check was deleted",
    409,
)
def check_reference(call: Call) -> dict[str, Any] | None:
    reference = call.params["CallerReference"]
    known = next((c for c in checks(call).values() if c["CallerReference"] == reference), None)
    if known is not None:
        return None if known["HealthCheckConfig"] == filled(call.params["HealthCheckConfig"]) else {}
    return {} if reference in call.backend().__dict__.get("lab_references", ()) else None


@rule(
    "route53",
    "CreateHealthCheck",
    "InvalidInput",
    "Invalid parameter : {problem}",
    "Route 53 API Reference, HealthCheckConfig",
)
def check_settings(call: Call) -> dict[str, Any] | None:
    problem = _settings(call.params["HealthCheckConfig"], call)
    return {"problem": problem} if problem else None


def _settings(settings: dict[str, Any], call: Call) -> str | None:
    kind, address = settings["Type"], settings.get("IPAddress")
    if kind not in ENDPOINT:
        given = [m for m in ("IPAddress", "Port", "RequestInterval", "ResourcePath") if settings.get(m) is not None]
        return f"{given[0]} is not allowed for type {kind}" if given else _counted(settings, call)
    if not address and not settings.get("FullyQualifiedDomainName"):
        return "either IPAddress or FullyQualifiedDomainName must be specified"
    if address and not ipaddress.ip_address(address).is_global:
        return f"the IP address {address} is in a private, non-routable or multicast range"
    if settings.get("RequestInterval", 30) not in (10, 30):
        return "RequestInterval must be 10 or 30"
    if kind.endswith("STR_MATCH") != bool(settings.get("SearchString")):
        return f"SearchString must {'' if kind.endswith('STR_MATCH') else 'not '}be specified for type {kind}"
    return None


def _counted(settings: dict[str, Any], call: Call) -> str | None:
    if settings["Type"] == "CLOUDWATCH_METRIC" and not settings.get("AlarmIdentifier"):
        return "AlarmIdentifier must be specified"
    if settings["Type"] != "CALCULATED":
        return None
    if settings.get("HealthThreshold") is None:
        return "HealthThreshold must be specified"
    missing = [child for child in settings.get("ChildHealthChecks") or [] if child not in checks(call)]
    return f"the child health check {missing[0]} does not exist" if missing else None


@rule(
    "route53",
    "UpdateHealthCheck",
    "HealthCheckVersionMismatch",
    "The value of HealthCheckVersion in the request doesn't match the value of HealthCheckVersion in the health check.",
    "Route 53 API Reference, UpdateHealthCheck, Errors",
    409,
)
def check_version(call: Call) -> dict[str, Any] | None:
    version = call.params.get("HealthCheckVersion")
    return {} if version and version != check_of(call)["HealthCheckVersion"] else None


@rule(
    "route53",
    "UpdateHealthCheck",
    "InvalidInput",
    "Invalid parameter : {problem}",
    "Route 53 API Reference, UpdateHealthCheck: an address cannot be added or removed",
)
def check_update(call: Call) -> dict[str, Any] | None:
    held = check_of(call)["HealthCheckConfig"]
    if call.params.get("IPAddress") and not held.get("IPAddress"):
        return {"problem": "IPAddress cannot be added to an existing health check"}
    members = ("HealthCheckId", "HealthCheckVersion", "ResetElements")
    wanted = {**held, **{k: v for k, v in call.params.items() if k not in members}}
    for member in call.params.get("ResetElements") or []:
        wanted.pop(member, None)
    problem = _settings(wanted, call)
    return {"problem": problem} if problem else None


@rule(
    "route53",
    "ChangeTagsForResource ListTagsForResource",
    "NoSuchHealthCheck",
    "No health check exists with the specified ID.",
    "Route 53 API Reference, ChangeTagsForResource, Errors",
    404,
)
def tagged_check_exists(call: Call) -> dict[str, Any] | None:
    missing = call.params["ResourceType"] == "healthcheck" and call.params["ResourceId"] not in checks(call)
    return {} if missing else None


@rule(
    "route53",
    "ChangeTagsForResource",
    "InvalidInput",
    "The resource would have more than 10 tags.",
    "Route 53 API Reference, ChangeTagsForResource",
)
def too_many_tags(call: Call) -> dict[str, Any] | None:
    held = set(call.backend().resource_tags.get(call.params["ResourceId"], {}))
    added = {tag["Key"] for tag in call.params.get("AddTags") or []}
    return {} if len((held | added) - set(call.params.get("RemoveTagKeys") or [])) > 10 else None

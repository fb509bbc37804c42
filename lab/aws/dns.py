"""Route 53: records, changes, zones by name and health checks, which moto lacks or answers otherwise than AWS.

Source: Route 53 API Reference, the page of each action.
"""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any

from moto.route53.models import RecordSet

from lab.aws.call import AWSError, Call
from lab.aws.handlers import PASS, handler
from lab.aws.rules import route53

PAGE = 100
# Of the zone's own actions, which moto answers.
MOTO_CHANGES = ("C1PA6795UKMFR9", "C2682N5HXP0BZ4", "a1b2c3d4")


@handler("route53", "ChangeResourceRecordSets")
def change_records(call: Call, _front: Any) -> dict[str, Any]:
    """Apply a batch that the rules have accepted; moto's own is not atomic and confuses records of one identifier."""
    zone = route53.zone_of(call)
    records = route53.current(zone)
    known = {(route53.canonical(r.name), r.type, r.set_identifier): r for r in zone.rrsets}
    before = dict(records)
    for change in call.params["ChangeBatch"]["Changes"]:
        route53.apply(records, change, zone.name)
    result = []
    for key, record in records.items():
        if before.get(key) is record:
            result.append(known[key])
            continue
        made = RecordSet({**record, "ResourceRecords": route53.values(record)})
        made.cidr_routing_config = record.get("CidrRoutingConfig")
        made.geo_proximity_location = record.get("GeoProximityLocation")
        result.append(made)
    zone.rrsets = result
    identity = f"C{uuid.uuid4().hex[:20].upper()}"
    call.backend().__dict__.setdefault("lab_changes", {})[identity] = time.time()
    return {"ChangeInfo": {"Id": f"/change/{identity}", "Status": "PENDING", "SubmittedAt": _now()}}


@handler("route53", "ListResourceRecordSets")
def list_records(call: Call, _front: Any) -> dict[str, Any]:
    """moto does not page within the records of one name and type."""
    zone = route53.zone_of(call)
    records = sorted(route53.current(zone).values(), key=_record_order)
    start = call.params.get("StartRecordName")
    if start:
        first = _record_order(
            {
                "Name": route53.canonical(start),
                "Type": call.params.get("StartRecordType", ""),
                "SetIdentifier": call.params.get("StartRecordIdentifier", ""),
            }
        )
        records = [r for r in records if _record_order(r) >= first]
    limit = min(300, int(call.params.get("MaxItems") or 300))
    page, rest = records[:limit], records[limit:]
    result = {"ResourceRecordSets": page, "IsTruncated": bool(rest), "MaxItems": str(limit)}
    if rest:
        result["NextRecordName"], result["NextRecordType"] = rest[0]["Name"], rest[0]["Type"]
        if rest[0].get("SetIdentifier"):
            result["NextRecordIdentifier"] = rest[0]["SetIdentifier"]
    return result


def _record_order(record: dict[str, Any]) -> tuple[list[str], str, str]:
    labels = record["Name"].rstrip(".").split(".")
    return labels[::-1], record["Type"], record.get("SetIdentifier") or ""


def _now() -> datetime:
    return datetime.now(UTC)


@handler("route53", "GetChange")
def get_change(call: Call, _front: Any) -> dict[str, Any]:
    """A change is PENDING for the seconds that the fault eventual_consistency_seconds says."""
    identity = call.params["Id"].rsplit("/", 1)[-1]
    made = call.backend().__dict__.get("lab_changes", {}).get(identity)
    if made is None and identity not in MOTO_CHANGES:
        raise AWSError("NoSuchChange", f"Could not find resource with ID: {identity}", 404)
    waiting = made is not None and time.time() - made < call.state.faults["eventual_consistency_seconds"]
    status = "PENDING" if waiting else "INSYNC"
    return {"ChangeInfo": {"Id": f"/change/{identity}", "Status": status, "SubmittedAt": _now()}}


@handler("route53", "ListHostedZonesByName")
def zones_by_name(call: Call, _front: Any) -> dict[str, Any]:
    """Zones from a name on, by reversed labels; moto answers the very name alone."""
    start = call.params.get("DNSName")
    zones = sorted(call.backend().zones.values(), key=lambda z: (_labels(z.name), z.id))
    if start:
        zones = [zone for zone in zones if _labels(zone.name) >= _labels(start)]
    limit = min(PAGE, int(call.params.get("MaxItems") or PAGE))
    result = {"HostedZones": zones[:limit], "IsTruncated": len(zones) > limit, "MaxItems": str(limit)}
    if start:
        result["DNSName"] = route53.canonical(start)
    if len(zones) > limit:
        result["NextDNSName"] = zones[limit].name
        result["NextHostedZoneId"] = zones[limit].id.rsplit("/", 1)[-1]
    return result


def _labels(name: str) -> list[str]:
    return route53.canonical(name).rstrip(".").split(".")[::-1]


@handler("route53", "CreateHealthCheck")
def create_health_check(call: Call, _front: Any) -> dict[str, Any]:
    """The same reference and settings answer what is there; another use of the reference was refused by the rules."""
    reference, checks = call.params["CallerReference"], route53.checks(call)
    known = next((c for c in checks.values() if c["CallerReference"] == reference), None)
    if known is None:
        settings = route53.filled(call.params["HealthCheckConfig"])
        known = {
            "Id": str(uuid.uuid4()),
            "CallerReference": reference,
            "HealthCheckConfig": settings,
            "HealthCheckVersion": 1,
        }
        checks[known["Id"]] = known
        call.backend().__dict__.setdefault("lab_references", set()).add(reference)
    location = f"https://route53.amazonaws.com/2013-04-01/healthcheck/{known['Id']}"
    return {"HealthCheck": known, "Location": location}


@handler("route53", "UpdateHealthCheck")
def update_health_check(call: Call, _front: Any) -> dict[str, Any]:
    """What is not named stays; ResetElements end."""
    check = route53.check_of(call)
    given = {k: v for k, v in call.params.items() if k not in ("HealthCheckId", "HealthCheckVersion", "ResetElements")}
    check["HealthCheckConfig"] = {**check["HealthCheckConfig"], **given}
    for member in call.params.get("ResetElements") or []:
        check["HealthCheckConfig"].pop(member, None)
    check["HealthCheckVersion"] += 1
    return {"HealthCheck": check}


@handler("route53", "GetHealthCheck")
def get_health_check(call: Call, _front: Any) -> dict[str, Any]:
    return {"HealthCheck": route53.check_of(call)}


@handler("route53", "ListHealthChecks")
def list_health_checks(call: Call, _front: Any) -> dict[str, Any]:
    marker = call.params.get("Marker") or ""
    checks = [c for _id, c in sorted(route53.checks(call).items()) if c["Id"] >= marker]
    limit = min(PAGE, int(call.params.get("MaxItems") or PAGE))
    result = {
        "HealthChecks": checks[:limit],
        "Marker": marker,
        "IsTruncated": len(checks) > limit,
        "MaxItems": str(limit),
    }
    return {**result, "NextMarker": checks[limit]["Id"]} if len(checks) > limit else result


@handler("route53", "DeleteHealthCheck")
def delete_health_check(call: Call, _front: Any) -> dict[str, Any]:
    identity = route53.check_of(call)["Id"]
    del route53.checks(call)[identity]
    call.backend().resource_tags.pop(identity, None)
    return {}


@handler("route53", "DeleteHostedZone")
def delete_zone(call: Call, _front: Any) -> Any:
    """The tags of a zone go with it."""
    call.backend().resource_tags.pop(call.params.get("Id", "").rsplit("/", 1)[-1], None)
    return PASS

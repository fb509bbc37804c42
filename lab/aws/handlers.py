"""Actions that the front answers itself because moto lacks them or answers them wrongly."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models import ec2_backends

from lab.aws.call import ACCOUNT, AWSError, Call
from lab.aws.rules import route53

CONSOLE_BYTES = 65536
DESCRIBE_PAGE = 1000
PASS = object()
HANDLERS: dict[tuple[str, str], Callable[[Call, Any], Any]] = {}


def handler(service: str, action: str) -> Callable[[Any], Any]:
    """Register the function as the answer to an action. It gets the call and the front and returns the result."""

    def register(function: Any) -> Any:
        HANDLERS[(service, action)] = function
        return function

    return register


def handle(call: Call, front: Any) -> Any:
    """The front's own result of a call, or PASS if moto shall answer."""
    function = HANDLERS.get((call.service, call.action))
    return function(call, front) if function else PASS


def after(call: Call, front: Any) -> None:
    """Upkeep after a call that succeeded."""
    if call.service == "ec2":
        front.lifecycle.forget_terminated()


def instances(front: Any) -> dict[str, Any]:
    """What the reconciler cannot learn from DescribeInstances."""
    return {
        instance.id: {
            "region": backend.region_name,
            "state": instance.state,
            "reboots": front.lifecycle.reboots.get(instance.id, 0),
        }
        for backend in list(ec2_backends[ACCOUNT].values())
        for reservation in list(backend.reservations.values())
        for instance in reservation.instances
    }


@handler("ec2", "RunInstances")
def run_again(call: Call, _front: Any) -> Any:
    """A client token that was used with the same arguments answers what it made; everything else goes to moto."""
    known = call.backend().__dict__.get("lab_tokens", {}).get(call.params.get("ClientToken"))
    return known[0] if known and known[0].id in call.backend().reservations else PASS


@handler("ec2", "DescribeInstances")
def describe_instances(call: Call, _front: Any) -> dict[str, Any]:
    """Pages count instances, not launches, and hold 1000 when no size is asked for."""
    filters = {f["Name"]: f.get("Values") or [] for f in call.params.get("Filters") or []}
    backend, ids = call.backend(), call.params.get("InstanceIds")
    if ids:
        return {"Reservations": backend.get_reservations_by_instance_ids(ids, filters=filters)}
    found = [r for r in backend.describe_instances(filters=filters) if r.instances]
    token, size = call.params.get("NextToken"), call.params.get("MaxResults") or DESCRIBE_PAGE
    if token:
        names = [reservation.id for reservation in found]
        if token not in names:
            raise AWSError("InvalidNextToken", "The token provided is invalid.")
        found = found[names.index(token) :]
    page, count = [], 0
    while found and (not page or count + len(found[0].instances) <= size):
        count += len(found[0].instances)
        page.append(found.pop(0))
    return {"Reservations": page, "NextToken": found[0].id if found else None}


@handler("ec2", "GetConsoleOutput")
def console_output(call: Call, front: Any) -> dict[str, Any]:
    instance_id = call.params["InstanceId"]
    path = front.console(instance_id)
    try:
        content = path.read_bytes()[-CONSOLE_BYTES:]
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        content, changed = b"", datetime.fromtimestamp(time.time(), UTC)
    return {"InstanceId": instance_id, "Output": base64.b64encode(content).decode(), "Timestamp": changed}


@handler("sts", "GetCallerIdentity")
def caller_identity(call: Call, _front: Any) -> dict[str, Any]:
    return {"UserId": call.identity.user_id, "Account": call.identity.account, "Arn": call.identity.arn}


@handler("ec2", "DescribeInstanceTopology")
def instance_topology(call: Call, _front: Any) -> dict[str, Any]:
    wanted = call.params.get("InstanceIds")
    found = [i for i in call.backend().all_instances() if not wanted or i.id in wanted]
    return {
        "Instances": [
            {
                "InstanceId": i.id,
                "InstanceType": i.instance_type,
                "AvailabilityZone": i.placement.zone,
                "ZoneId": i.placement.availability_zone_id,
                "NetworkNodes": [],
            }
            for i in found
        ]
    }


@handler("route53", "ChangeResourceRecordSets")
def change_records(call: Call, _front: Any) -> dict[str, Any]:
    """Apply a batch that the rules have accepted; moto's own is not atomic and confuses records of one identifier."""
    from moto.route53.models import RecordSet

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
    return {
        "ChangeInfo": {"Id": f"/change/C{uuid.uuid4().hex[:20].upper()}", "Status": "PENDING", "SubmittedAt": _now()}
    }


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

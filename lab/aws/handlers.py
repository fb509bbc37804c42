"""Actions that the front answers itself because moto lacks them or answers them wrongly."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models import ec2_backends

from lab.aws import balancers
from lab.aws.call import ACCOUNT, AWSError, Call

CONSOLE_BYTES = 65536
DESCRIBE_PAGE = 1000
PASS = object()
HANDLERS: dict[tuple[str, str], list[Callable[[Call, Any], Any]]] = {}


def handler(service: str, action: str) -> Callable[[Any], Any]:
    """Register the function as an answer to an action. It gets call and front and returns the result or PASS."""

    def register(function: Any) -> Any:
        HANDLERS.setdefault((service, action), []).append(function)
        return function

    return register


def handle(call: Call, front: Any) -> Any:
    """The front's own result of a call, the first that is none of PASS, or PASS if moto shall answer."""
    results = (function(call, front) for function in HANDLERS.get((call.service, call.action), []))
    return next((result for result in results if result is not PASS), PASS)


def before(call: Call) -> None:
    """Upkeep before a call is judged."""
    if call.service == "ec2":
        balancers.forget_gone(call)


def after(call: Call, front: Any) -> None:
    """Upkeep after a call that succeeded."""
    if call.service == "ec2":
        front.lifecycle.forget_terminated()
    if call.service == "elbv2" and not call.reads:
        balancers.follow(call)


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


from lab.aws import buckets, dns  # noqa: E402, F401 (they add the handlers of S3 and Route 53)

"""Actions that the front answers itself because moto lacks them or answers them wrongly."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models import ec2_backends

from lab.aws.call import ACCOUNT, AWSError, Call

CONSOLE_BYTES = 65536
HANDLERS: dict[tuple[str, str], Callable[[Call, Any], Any]] = {}


def handler(service: str, action: str) -> Callable[[Any], Any]:
    """Register the function as the answer to an action. It gets the call and the front and returns the result."""

    def register(function: Any) -> Any:
        HANDLERS[(service, action)] = function
        return function

    return register


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


def fail(code: str, message: str, status: int = 400) -> None:
    """Raise an AWSError from an expression."""
    raise AWSError(code, message, status)

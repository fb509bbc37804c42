"""Targets of Network Load Balancers, which come and go with a delay; moto's are healthy, or gone, at once.

Source: User Guide for Network Load Balancers, "Health checks for Network Load Balancer target groups" and "Edit target
group attributes" (deregistration delay). Nothing passes through a load balancer of the lab.
"""

from __future__ import annotations

import time
from typing import Any

from moto.elbv2.models import elbv2_backends

from lab.aws.call import ACCOUNT, Call
from lab.aws.handlers import PASS, handler

#: Seconds until a target is healthy, or has left; AWS takes minutes, and at most the deregistration delay.
SETTLE_SECONDS = 0.3
#: When the instances of a target group came and went: ARN to instance to the moment.
CAME: dict[str, dict[str, float]] = {}
WENT: dict[str, dict[str, float]] = {}
COMES = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
GOES = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")


def _group(call: Call) -> Any:
    return elbv2_backends[ACCOUNT][call.region].target_groups.get(call.params.get("TargetGroupArn"))


def _note(call: Call, where: dict[str, dict[str, float]], other: dict[str, dict[str, float]]) -> Any:
    group = _group(call)
    for target in call.params.get("Targets") or []:
        if group is None or (target["Id"] in group.targets) == (where is CAME):
            continue
        where.setdefault(group.arn, {})[target["Id"]] = time.time()
        other.get(group.arn, {}).pop(target["Id"], None)
    return PASS


@handler("elbv2", "RegisterTargets")
def register_targets(call: Call, _front: Any) -> Any:
    return _note(call, CAME, WENT)


@handler("elbv2", "DeregisterTargets")
def deregister_targets(call: Call, _front: Any) -> Any:
    return _note(call, WENT, CAME)


@handler("elbv2", "DescribeTargetHealth")
def describe_target_health(call: Call, _front: Any) -> Any:
    group = _group(call)
    if group is None or group.protocol not in ("TCP", "TLS") or call.params.get("Targets"):
        return PASS

    def young(moments: dict[str, dict[str, float]], identity: str) -> bool:
        return time.time() - moments.get(group.arn, {}).get(identity, 0) < SETTLE_SECONDS

    shown = {identity: COMES if young(CAME, identity) else ("healthy", None, None) for identity in group.targets}
    shown.update({identity: GOES for identity in WENT.get(group.arn, {}) if young(WENT, identity)})
    descriptions = []
    for identity, (state, reason, text) in shown.items():
        health = {"State": state, "Reason": reason, "Description": text}
        descriptions.append(
            {
                "Target": {"Id": identity, "Port": group.port},
                "HealthCheckPort": group.health_check_port,
                "TargetHealth": {key: value for key, value in health.items() if value},
            }
        )
    return {"TargetHealthDescriptions": descriptions}

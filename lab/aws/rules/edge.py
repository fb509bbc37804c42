"""What Elastic Load Balancing refuses beyond what moto does. CloudFront's refusals stand with its answers."""

from __future__ import annotations

import re
from typing import Any

from moto.elbv2.models import elbv2_backends

from lab.aws.call import ACCOUNT, Call
from lab.aws.rules import rule

CREATE = "Elastic Load Balancing API Reference, CreateLoadBalancer"
TARGETS = "Elastic Load Balancing API Reference, RegisterTargets"
LISTENER = "Elastic Load Balancing API Reference, CreateListener"
DELETE = "Elastic Load Balancing API Reference, DeleteLoadBalancer"
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?\Z")
SECURE = ("HTTPS", "TLS")
HEALTH_RANGES = (
    ("HealthCheckIntervalSeconds", 5, 300),
    ("HealthCheckTimeoutSeconds", 2, 120),
    ("HealthyThresholdCount", 2, 10),
    ("UnhealthyThresholdCount", 2, 10),
)
Refusal = dict[str, Any] | None


def balancer_of(call: Call) -> Any:
    return elbv2_backends[ACCOUNT][call.region].load_balancers.get(call.params.get("LoadBalancerArn"))


@rule(
    "elbv2",
    "CreateLoadBalancer CreateTargetGroup",
    "ValidationError",
    "The name '{name}' is not valid: 1 to 32 letters, digits and hyphens, no hyphen at an end, not internal- before it",
    CREATE,
)
def name_invalid(call: Call) -> Refusal:
    name = str(call.params.get("Name"))
    return None if NAME.match(name) and not name.startswith("internal-") else {"name": name}


@rule(
    "elbv2",
    "CreateLoadBalancer SetSubnets",
    "ValidationError",
    "At least two subnets in two different Availability Zones must be specified",
    CREATE,
)
def one_zone(call: Call) -> Refusal:
    held = balancer_of(call)
    if (held.loadbalancer_type if held else call.params.get("Type") or "application") != "application":
        return None
    ec2 = call.backend("ec2")
    zones = {ec2.get_subnet(subnet).availability_zone for subnet in call.params.get("Subnets") or []}
    return {} if len(zones) < 2 else None


@rule(
    "elbv2",
    "CreateLoadBalancer SetSecurityGroups",
    "InvalidSecurityGroup",
    "One or more security groups are invalid: {group}",
    CREATE,
)
def foreign_group(call: Call) -> Refusal:
    ec2, held = call.backend("ec2"), balancer_of(call)
    vpcs = {held.vpc_id} if held else {ec2.get_subnet(s).vpc_id for s in call.params.get("Subnets") or []}
    for identity in call.params.get("SecurityGroups") or []:
        group = ec2.get_security_group_from_id(identity)
        if group is None or group.vpc_id not in vpcs:
            return {"group": identity}
    return None


@rule(
    "elbv2",
    "SetSecurityGroups",
    "InvalidConfigurationRequest",
    "Security groups cannot be set on a Network Load Balancer that was created without any",
    "Elastic Load Balancing API Reference, SetSecurityGroups",
)
def network_without_groups(call: Call) -> Refusal:
    held = balancer_of(call)
    return {} if held and held.loadbalancer_type == "network" and not held.security_groups else None


@rule(
    "elbv2",
    "CreateTargetGroup ModifyTargetGroup",
    "ValidationError",
    "The health check's {setting} {value} is not valid: {first} to {last}",
    "Elastic Load Balancing API Reference, CreateTargetGroup",
)
def health_check_out_of_range(call: Call) -> Refusal:
    for setting, first, last in HEALTH_RANGES:
        value = call.params.get(setting)
        if value is not None and not first <= int(value) <= last:
            return {"setting": setting, "value": value, "first": first, "last": last}
    return None


@rule(
    "elbv2",
    "CreateListener",
    "CertificateNotFound",
    "A certificate must be specified for {protocol} listeners",
    LISTENER,
)
def without_certificate(call: Call) -> Refusal:
    protocol = call.params.get("Protocol")
    return {"protocol": protocol} if protocol in SECURE and not call.params.get("Certificates") else None


@rule(
    "elbv2",
    "DeleteLoadBalancer",
    "OperationNotPermitted",
    "Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
    DELETE,
)
def protected(call: Call) -> Refusal:
    held = balancer_of(call)
    return {"arn": held.arn} if held and held.attrs.get("deletion_protection.enabled") == "true" else None


@rule(
    "elbv2",
    "DeleteLoadBalancer",
    "ResourceInUse",
    "Load balancer '{arn}' is used by a VPC origin",
    "CloudFront Developer Guide, Restrict access with VPC origins",
)
def behind_an_origin(call: Call) -> Refusal:
    from lab.aws import edge

    arn = call.params.get("LoadBalancerArn")
    return {"arn": arn} if any(o["config"]["Arn"] == arn for o in edge.ORIGINS.values()) else None


@rule(
    "elbv2",
    "RegisterTargets",
    "InvalidTarget",
    "The following targets are not in a running state and cannot be registered: '{targets}'",
    TARGETS,
)
def not_running(call: Call) -> Refusal:
    ec2 = call.backend("ec2")
    running = {instance.id for instance in ec2.all_instances() if instance.state == "running"}
    wanted = [target["Id"] for target in call.params.get("Targets") or [] if target["Id"].startswith("i-")]
    missing = [identity for identity in wanted if identity not in running]
    return {"targets": "', '".join(missing)} if missing else None

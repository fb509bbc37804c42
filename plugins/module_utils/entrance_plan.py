# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands before the platform's HAProxy pair or the API of Kubernetes: load balancer, targets, VPC origin,
distribution. Pure.

The entrance is a dict of parts. Each part is a dict of values as the APIs have them, None when it is not there; what
differs between the parts that are and those that are wanted becomes steps, in an order in which no request gets past
the web ACL: it is attached before anything listens.
"""

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import tag_list
from ansible_collections.selfhosted.ec2.plugins.module_utils.bucket_plan import flat
from ansible_collections.selfhosted.ec2.plugins.module_utils.steps import Step

LAYOUTS = ("alb", "cloudfront", "nlb")
#: States that are of single targets, whose coming and going is not the load balancer's.
OF_TARGETS = ("registered", "deregistered")
#: Names of load balancers and target groups have 32 characters at most; ours end in C(-65535s).
NAME = re.compile(r"(?!internal-)[a-z0-9]([a-z0-9-]{0,23}[a-z0-9])?\Z")
CERTIFICATE = re.compile(r"arn:[a-z-]+:acm:([a-z0-9-]+):[0-9]{12}:certificate/[A-Za-z0-9-]+\Z")
WEB_ACL = re.compile(r"arn:[a-z-]+:wafv2:([a-z0-9-]+):[0-9]{12}:(regional|global)/webacl/[^/]+/[^/]+\Z")
GLOBAL_REGION = "us-east-1"
BALANCER, TARGETS, ORIGIN, ADDRESS = "@balancer", "@target_group", "@origin", "@address"
#: CloudFront Developer Guide, "Use managed cache policies" and "Use managed origin request policies": nothing is kept,
#: and the whole request goes on to HAProxy.
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER = "216adef6-5c7f-47e4-b989-5492eafa07d3"
METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
#: States of instances that stay among the targets.
ALIVE = ("pending", "running", "stopping", "stopped")


def suffix(layout):
    return "alb" if layout == "alb" else "nlb"


def balancer_name(want):
    return f"{want['name']}-{suffix(want['layout'])}"


def interface_description(want):
    """Return how AWS describes the network interfaces of the load balancer, as the pattern of a filter.

    Source: User Guides for Network and for Application Load Balancers, "Network interfaces".
    """
    return f"ELB {'net' if want['layout'] == 'nlb' else 'app'}/{balancer_name(want)}/*"


def target_name(want):
    return f"{want['name']}-{want['target']['port']}{'s' if want['target']['tls'] else ''}"


def faults(want, region):
    """Return sentences on what cannot be right whatever the account holds."""
    found = []
    if not NAME.match(want["name"]):
        found.append(
            f"The name {want['name']!r} must be 1 to 25 lower-case letters, digits and dashes, no dash at an end."
        )
    if want["state"] == "absent":
        return found
    if want["state"] in OF_TARGETS:
        return found + _target_faults(want)
    if want["instances"]:
        found.append(f"instances belong to the states {' and '.join(OF_TARGETS)}; the state is {want['state']}.")
    if not 1 <= want["target"]["port"] <= 65535:
        found.append(f"target.port is {want['target']['port']}; it must be 1 to 65535.")
    if want["layout"] == "nlb":
        return found + _foreign_faults(want, ("aliases", "certificate", "tiers", "viewer_certificate", "web_acl"))
    if not want["tiers"]:
        found.append("tiers is empty; name the tiers whose hosts take the requests.")
    found += _certificate_faults("certificate", want["certificate"], region)
    acl = WEB_ACL.match(want["web_acl"] or "")
    there = ("regional", region) if want["layout"] == "alb" else ("global", GLOBAL_REGION)
    if want["web_acl"] and (acl is None or (acl.group(2), acl.group(1)) != there):
        found.append(f"web_acl {want['web_acl']} is no {there[0]} web ACL of {there[1]}, which the layout needs.")
    return found + _distribution_faults(want)


def _target_faults(want):
    if want["layout"] != "nlb":
        return [f"The state {want['state']} belongs to the layout nlb; with {want['layout']} the targets follow tiers."]
    return [] if want["instances"] else ["instances is empty; name those that are meant."]


def _foreign_faults(want, options):
    """Return a sentence on options that the layout has no use for."""
    given = [name for name in options if want[name]]
    verb = "belongs" if len(given) == 1 else "belong"
    return [f"{' and '.join(given)} {verb} to other layouts; the layout is {want['layout']}."] if given else []


def _certificate_faults(option, value, region):
    if not value:
        return [f"{option} is missing; give the ARN of a certificate of ACM in {region}."]
    match = CERTIFICATE.match(value)
    if match is None or match.group(1) != region:
        return [f"{option} is {value!r}; it must be the ARN of a certificate of ACM in {region}."]
    return []


def _distribution_faults(want):
    aliases, certificate = want["aliases"], want["viewer_certificate"]
    if want["layout"] == "alb":
        given = [name for name in ("aliases", "viewer_certificate") if want[name]]
        return [f"{' and '.join(given)} belong to the layout cloudfront; the layout is alb."] if given else []
    found = _certificate_faults("viewer_certificate", certificate, GLOBAL_REGION) if certificate or aliases else []
    twice = sorted({alias for alias in aliases if aliases.count(alias) > 1})
    return found + [f"aliases names {alias} twice; each may stand there once." for alias in twice]


def world_faults(want, world):
    """Return sentences on what the account lacks. I(world): dict C(subnets), C(groups), C(zones), C(balancer)."""
    kind, platform = "public" if want["layout"] == "alb" else "private", want["platform"]
    found = []
    if not world["subnets"]:
        found.append(f"The platform {platform} has no {kind} subnets; run provision first.")
    elif want["layout"] == "alb" and len(world["zones"]) < 2:
        found.append("An Application Load Balancer stands in two zones at least; platform_zones holds one.")
    if not world["group"]:
        option = "kubernetes_endpoint_balancer" if want["layout"] == "nlb" else "platform_edge"
        found.append(
            f"There is no security group {want['security_group']}; run provision with {option}: {want['layout']}."
        )
    balancer = world["balancer"]
    wanted = _balancer_kind(want)
    if balancer and (balancer["Type"], balancer["Scheme"]) != wanted:
        found.append(
            f"The load balancer {balancer_name(want)} is {balancer['Scheme']} of the type {balancer['Type']}, which"
            f" cannot be changed; remove it, or give another name."
        )
    if balancer and world["vpc"] and balancer["VpcId"] != world["vpc"]:
        found.append(f"The load balancer {balancer_name(want)} is in {balancer['VpcId']}, not in the platform's VPC.")
    return found


def _balancer_kind(want):
    return ("application", "internet-facing") if want["layout"] == "alb" else ("network", "internal")


# What is wanted


def desired(want, world, ids):
    """Return the parts that are wanted, in the order in which they are made.

    :arg want: the module's options.
    :arg world: dict C(subnets) ids, C(group) id, C(vpc) id, C(running) and C(alive) ids of the hosts' instances.
    :arg ids: what exists already, references to ids.
    """
    parts = {
        "target group": _target_group(want, world),
        "target group attributes": _target_attributes(want),
        "load balancer": {"subnets": sorted(world["subnets"]), "security group": [world["group"]]},
        "load balancer attributes": _attributes(want),
        "tags of load balancer": want["tags"],
        "tags of target group": want["tags"],
    }
    if want["layout"] != "nlb":
        registered = [identity for identity in world["registered"] if identity in world["alive"]]
        # Only running instances can be registered; a stopped one stays.
        parts["targets"] = sorted({*world["running"], *registered})
    if want["layout"] == "alb":
        parts["web ACL"] = {"arn": want["web_acl"]} if want["web_acl"] else None
    parts.update(_listeners(want, ids))
    if want["layout"] == "cloudfront":
        parts["VPC origin"] = _origin(want, ids)
        parts["distribution"] = _distribution(want, ids)
        parts["tags of distribution"] = want["tags"]
    return parts


def _target_group(want, world):
    target = want["target"]
    plain, secure = {"alb": ("HTTP", "HTTPS"), "cloudfront": ("TCP", "TLS"), "nlb": ("TCP", "TCP")}[want["layout"]]
    protocol = secure if target["tls"] else plain
    if want["layout"] == "nlb":
        # The shortest interval that there is (API Reference, CreateTargetGroup): what fails is to be left soon.
        return {
            "Protocol": protocol,
            "Port": target["port"],
            "VpcId": world["vpc"],
            "HealthCheckProtocol": "HTTPS" if target["tls"] else "HTTP",
            "HealthCheckPort": str(target["health_port"]),
            "HealthCheckPath": target["health_path"],
            "HealthCheckIntervalSeconds": 5,
            "HealthCheckTimeoutSeconds": 4,
            "HealthyThresholdCount": 2,
            "UnhealthyThresholdCount": 2,
            "Matcher": {"HttpCode": "200"},
        }
    return {
        "Protocol": protocol,
        "Port": target["port"],
        "VpcId": world["vpc"],
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": str(target["health_port"]),
        "HealthCheckPath": target["health_path"],
        "HealthCheckIntervalSeconds": 10,
        "HealthyThresholdCount": 2,
        "UnhealthyThresholdCount": 2,
    }


def _target_attributes(want):
    attributes = {"deregistration_delay.timeout_seconds": str(want["target"]["drain_seconds"])}
    if want["layout"] == "nlb":
        # With it a target could not reach itself through the load balancer (User Guide for Network Load Balancers,
        # "Troubleshoot", on requests from a target to its load balancer); with targets by instance it is on by default.
        attributes["preserve_client_ip.enabled"] = "false"
    return attributes


def _attributes(want):
    attributes = {"deletion_protection.enabled": str(want["deletion_protection"]).lower()}
    if want["layout"] == "alb":
        # What HAProxy would read otherwise than the load balancer is no header.
        attributes["routing.http.drop_invalid_header_fields.enabled"] = "true"
    else:
        attributes["load_balancing.cross_zone.enabled"] = str(want["cross_zone"]).lower()
    return attributes


def _listeners(want, ids):
    forward = [{"Type": "forward", "TargetGroupArn": ids.get(TARGETS, TARGETS)}]
    if want["layout"] == "nlb":
        port = want["target"]["port"]
        return {f"listener {port}": {"Protocol": "TCP", "Port": port, "DefaultActions": forward}}
    secure = {
        "Protocol": "HTTPS" if want["layout"] == "alb" else "TLS",
        "Port": 443,
        "SslPolicy": want["tls_policy"],
        "Certificates": [{"CertificateArn": want["certificate"]}],
        "DefaultActions": forward,
    }
    found = {"listener 443": secure}
    if want["layout"] == "alb":
        redirect = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
        action = {"Type": "redirect", "RedirectConfig": redirect}
        found["listener 80"] = {"Protocol": "HTTP", "Port": 80, "DefaultActions": [action]}
    return found


def _origin(want, ids):
    return {
        "Name": want["name"],
        "Arn": ids.get(BALANCER, BALANCER),
        "HTTPPort": 80,
        "HTTPSPort": 443,
        "OriginProtocolPolicy": "https-only",
        "OriginSslProtocols": {"Quantity": 1, "Items": ["TLSv1.2"]},
    }


def _list_of(items):
    return {"Quantity": len(items), "Items": list(items)} if items else {"Quantity": 0}


def _distribution(want, ids):
    origin = {
        "Id": want["name"],
        "DomainName": ids.get(ADDRESS, ADDRESS),
        "VpcOriginConfig": {"VpcOriginId": ids.get(ORIGIN, ORIGIN)},
    }
    certificate = (
        {
            "ACMCertificateArn": want["viewer_certificate"],
            "SSLSupportMethod": "sni-only",
            "MinimumProtocolVersion": "TLSv1.2_2021",
        }
        if want["viewer_certificate"]
        else {"CloudFrontDefaultCertificate": True}
    )
    return {
        "Comment": comment(want),
        "Enabled": True,
        "PriceClass": want["price_class"],
        "HttpVersion": "http2and3",
        "IsIPV6Enabled": True,
        "WebACLId": want["web_acl"] or "",
        "Aliases": _list_of(sorted(want["aliases"])),
        "ViewerCertificate": certificate,
        "Origins": {"Quantity": 1, "Items": [origin]},
        "DefaultCacheBehavior": {
            "TargetOriginId": want["name"],
            "ViewerProtocolPolicy": "redirect-to-https",
            "AllowedMethods": {**_list_of(METHODS), "CachedMethods": _list_of(["GET", "HEAD"])},
            "Compress": False,
            "CachePolicyId": CACHING_DISABLED,
            "OriginRequestPolicyId": ALL_VIEWER,
        },
    }


def comment(want):
    """Return the comment of the distribution, by which it is found again: ListDistributions shows no tags."""
    return f"{want['name']} of {want['platform']}"


# Comparison


def project(actual, want):
    """Return of I(actual) what I(want) speaks of, so that what AWS adds by itself is no difference."""
    if isinstance(want, dict) and isinstance(actual, dict):
        return {key: project(actual.get(key), want[key]) for key in want}
    if isinstance(want, list) and isinstance(actual, list):
        if not all(isinstance(entry, dict) for entry in want):
            return sorted(actual, key=str)
        # More entries than wanted are a difference, and are shown as they are.
        return [project(entry, want[index]) if index < len(want) else entry for index, entry in enumerate(actual)]
    return actual


def canonical(value):
    """Return a value with its lists of plain values sorted: CloudFront and Elastic Load Balancing keep no order."""
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in value}
    if isinstance(value, list):
        inner = [canonical(entry) for entry in value]
        return inner if any(isinstance(entry, dict) for entry in inner) else sorted(inner, key=str)
    return value


def merge(actual, want):
    """Return I(actual) with all that I(want) speaks of in its place; what is not spoken of stays."""
    if isinstance(want, dict) and isinstance(actual, dict):
        return {**actual, **{key: merge(actual.get(key), want[key]) for key in want}}
    if isinstance(want, list) and isinstance(actual, list) and all(isinstance(entry, dict) for entry in want):
        return [merge(actual[index], entry) if index < len(actual) else entry for index, entry in enumerate(want)]
    return want


def differences(have, want):
    """Return the names of the parts that differ, in the order of I(want), those that are not wanted last."""
    changed = [
        name
        for name, wanted in want.items()
        if canonical(project(have.get(name), wanted) if wanted is not None else have.get(name)) != canonical(wanted)
    ]
    return changed + [name for name in have if name not in want and have[name] is not None]


def diff(have, want, changed):
    """Return the diff, one line for each value that changes."""
    lines = {"before": [], "after": []}
    for name in changed:
        wanted = want.get(name)
        there = have.get(name)
        before = flat(name, canonical(project(there, wanted) if wanted is not None else there))
        after = flat(name, canonical(wanted))
        lines["before"] += [line for line in before if line not in after]
        lines["after"] += [line for line in after if line not in before]
    return {side: "".join(f"{line}\n" for line in lines[side]) for side in lines}


# Steps


class Planner:
    """Makes the steps of an entrance.

    :arg want: the module's options.
    :arg have: the parts that are there.
    :arg ids: references of what exists; those of new things are made by the steps.
    :arg raw: dict C(distribution) (Id, ETag, DistributionConfig), C(origin) (Id, ETag) and C(listeners), port to ARN.
    """

    def __init__(self, want, have, ids, raw):
        self.want, self.have, self.ids, self.raw = want, have, ids, raw

    def steps(self, parts, changed):
        """Return the steps that lead to I(parts), of which those named in I(changed) differ."""
        makers = {
            "target group": self._target_group,
            "target group attributes": self._target_attributes,
            "targets": self._targets,
            "load balancer": self._balancer,
            "load balancer attributes": self._balancer_attributes,
            "web ACL": self._web_acl,
            "VPC origin": self._origin,
            "distribution": self._distribution,
        }
        result = []
        for name in changed:
            if name.startswith("listener "):
                result += self._listener(name, parts.get(name))
            elif name.startswith("tags of "):
                result += self._tags(name, parts[name])
            else:
                result += makers[name](parts[name])
        return result

    def _target_group(self, part):
        name, there = target_name(self.want), self.have.get("target group")
        if there is None:
            arguments = {"Name": name, "TargetType": "instance", **part}
            path = ("TargetGroups", 0, "TargetGroupArn")
            return [Step(f"create the target group {name}", "elbv2:create_target_group", arguments, TARGETS, path)]
        health = {key: value for key, value in part.items() if key.startswith(("Health", "Matcher", "Unhealthy"))}
        arguments = {"TargetGroupArn": TARGETS, **health}
        return [Step(f"change the health check of {name}", "elbv2:modify_target_group", arguments)]

    def _target_attributes(self, part):
        arguments = {"TargetGroupArn": TARGETS, "Attributes": tag_list(part)}
        text = f"set the attributes of {target_name(self.want)}"
        return [Step(text, "elbv2:modify_target_group_attributes", arguments)]

    def _targets(self, part):
        there = self.have.get("targets") or []
        return target_steps(
            [entry for entry in part if entry not in there], [entry for entry in there if entry not in part]
        )

    def _balancer(self, part):
        name, there = balancer_name(self.want), self.have.get("load balancer")
        kind, scheme = _balancer_kind(self.want)
        if there is None:
            arguments = {
                "Name": name,
                "Type": kind,
                "Scheme": scheme,
                "Subnets": part["subnets"],
                "SecurityGroups": part["security group"],
            }
            path = ("LoadBalancers", 0, "LoadBalancerArn")
            return [
                Step(f"create the load balancer {name}", "elbv2:create_load_balancer", arguments, BALANCER, path),
                Step(f"wait until {name} is active", "wait_active", {"arn": BALANCER}, ADDRESS, ("DNSName",)),
            ]
        steps = []
        for key, operation, member in (
            ("subnets", "set_subnets", "Subnets"),
            ("security group", "set_security_groups", "SecurityGroups"),
        ):
            if there[key] != part[key]:
                arguments = {"LoadBalancerArn": BALANCER, member: part[key]}
                steps.append(Step(f"set the {key} of {name}", f"elbv2:{operation}", arguments))
        return steps

    def _balancer_attributes(self, part):
        arguments = {"LoadBalancerArn": BALANCER, "Attributes": tag_list(part)}
        text = f"set the attributes of {balancer_name(self.want)}"
        return [Step(text, "elbv2:modify_load_balancer_attributes", arguments)]

    def _web_acl(self, part):
        name = balancer_name(self.want)
        if part is None:
            return [Step(f"take the web ACL from {name}", "wafv2:disassociate_web_acl", {"ResourceArn": BALANCER})]
        return [Step(f"put the web ACL before {name}", "associate", {"acl": part["arn"], "balancer": BALANCER})]

    def _listener(self, name, part):
        port = int(name.split()[1])
        arn = self.raw["listeners"].get(port)
        where = f"on port {port} of {balancer_name(self.want)}"
        if part is None:
            return [Step(f"end the listener {where}", "elbv2:delete_listener", {"ListenerArn": arn})]
        if arn is None:
            return [Step(f"listen {where}", "elbv2:create_listener", {"LoadBalancerArn": BALANCER, **part})]
        return [Step(f"change the listener {where}", "elbv2:modify_listener", {"ListenerArn": arn, **part})]

    def _origin(self, part):
        if self.have.get("VPC origin") is None:
            arguments = {"VpcOriginEndpointConfig": part, "Tags": {"Items": tag_list(self.want["tags"])}}
            text = f"create the VPC origin {part['Name']}"
            made = Step(text, "cloudfront:create_vpc_origin", arguments, ORIGIN, ("VpcOrigin", "Id"))
        else:
            raw = self.raw["origin"]
            arguments = {"Id": raw["Id"], "IfMatch": raw["ETag"], "VpcOriginEndpointConfig": part}
            made = Step(f"change the VPC origin {part['Name']}", "cloudfront:update_vpc_origin", arguments)
        active = Step(f"wait until {balancer_name(self.want)} is active", "wait_active", {"arn": BALANCER})
        return [active, made]

    def _distribution(self, part):
        raw = self.raw["distribution"]
        if raw is None:
            config = {"CallerReference": comment(self.want), **part}
            tags = {"Items": tag_list(self.want["tags"])}
            arguments = {"DistributionConfigWithTags": {"DistributionConfig": config, "Tags": tags}}
            operation, path = "cloudfront:create_distribution_with_tags", ("Distribution", "ARN")
            return [
                # It may be left undeployed by a run that was cut off.
                Step(f"wait until the VPC origin {self.want['name']} is deployed", "wait_origin", {"identity": ORIGIN}),
                Step("create the distribution", operation, arguments, "@distribution", path),
            ]
        config = merge(raw["DistributionConfig"], part)
        arguments = {"Id": raw["Id"], "IfMatch": raw["ETag"], "DistributionConfig": config}
        return [Step(f"change the distribution {raw['Id']}", "cloudfront:update_distribution", arguments)]

    def _tags(self, name, part):
        of = name.removeprefix("tags of ")
        there = self.have.get(name) or {}
        fresh = of == "distribution" and self.raw["distribution"] is None
        if fresh:
            return []  # it was made with them
        changed = {key: value for key, value in part.items() if there.get(key) != value}
        reference = {"load balancer": BALANCER, "target group": TARGETS, "distribution": "@distribution"}[of]
        if of == "distribution":
            arguments = {"Resource": reference, "Tags": {"Items": tag_list(changed)}}
            return [Step(f"tag the {of}", "cloudfront:tag_resource", arguments)]
        arguments = {"ResourceArns": [reference], "Tags": tag_list(changed)}
        return [Step(f"tag the {of}", "elbv2:add_tags", arguments)]


def target_steps(register, deregister):
    """Return the steps that give the load balancer some instances and take others from it."""
    steps = []
    for verb, identities in (("register", register), ("deregister", deregister)):
        if identities:
            arguments = {"TargetGroupArn": TARGETS, "Targets": [{"Id": entry} for entry in identities]}
            steps.append(Step(f"{verb} {', '.join(identities)}", f"elbv2:{verb}_targets", arguments))
    return steps


def of_targets(want, states):
    """Return the steps of a state of single targets.

    :arg states: dict of instance to what its target is, C(healthy) for example; C(draining) is one that leaves.
    """
    registered = [identity for identity, state in states.items() if state != "draining"]
    wanted = list(dict.fromkeys(want["instances"]))
    if want["state"] == "registered":
        return target_steps([identity for identity in wanted if identity not in registered], [])
    return target_steps([], [identity for identity in wanted if identity in registered])


def settled(want, states):
    """Tell whether the load balancer sends to the instances, or sends nothing any more to those that leave."""
    if want["state"] == "registered":
        return all(states.get(identity) == "healthy" for identity in want["instances"])
    return not any(identity in states for identity in want["instances"])


def removal(want, ids, raw):
    """Return the steps that remove the entrance, the outermost first."""
    steps, name = [], balancer_name(want)
    found = raw["distribution"]
    if found:
        if found["DistributionConfig"].get("Enabled"):
            config = {**found["DistributionConfig"], "Enabled": False}
            arguments = {"Id": found["Id"], "IfMatch": found["ETag"], "DistributionConfig": config}
            steps.append(
                Step(f"switch the distribution {found['Id']} off", "cloudfront:update_distribution", arguments)
            )
        steps.append(Step(f"delete the distribution {found['Id']}", "delete_distribution", {"identity": found["Id"]}))
    if raw["origin"]:
        steps.append(Step(f"delete the VPC origin {want['name']}", "delete_origin", {"identity": raw["origin"]["Id"]}))
    if BALANCER in ids:
        off = {"LoadBalancerArn": BALANCER, "Attributes": tag_list({"deletion_protection.enabled": "false"})}
        steps += [
            Step(f"end the protection of {name}", "elbv2:modify_load_balancer_attributes", off),
            Step(f"delete the load balancer {name}", "elbv2:delete_load_balancer", {"LoadBalancerArn": BALANCER}),
        ]
    # They outlast it by minutes, and hold its security group and subnets.
    if BALANCER in ids or raw["interfaces"]:
        steps.append(Step(f"wait until {name} and its network interfaces are gone", "wait_gone", {}))
    return steps + old_groups(raw["old_groups"])


def old_groups(groups):
    """Return the steps that remove target groups that nothing sends to any more; I(groups): dict of name to ARN."""
    return [
        Step(f"delete the target group {name}", "delete_target_group", {"arn": arn})
        for name, arn in sorted(groups.items())
    ]


def is_own_group(want, name):
    """Tell whether a target group is one that this entrance has made, with whatever port."""
    return bool(re.match(rf"{re.escape(want['name'])}-[0-9]{{1,5}}s?\Z", name))

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS WAF would refuse, found before the first call: one sentence each. Pure; rules are in the API's form."""

from __future__ import annotations

import ipaddress
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import waf_capacity
from ansible_collections.selfhosted.ec2.plugins.module_utils.waf_form import GROUPS, snake

#: WAF Developer Guide, "AWS WAF quotas".
MAX_ADDRESSES, MAX_PATTERNS, MAX_REFERENCES = 10000, 10, 50
#: API Reference, ByteMatchStatement (bytes), RateBasedStatement (seconds).
MAX_SEARCH, WINDOWS = 200, (60, 120, 300, 600)
NAME = re.compile(r"[\w-]{1,128}\Z", re.ASCII)
LOG_PREFIX = "aws-waf-logs-"
LOG_NAMES = {"s3": "", "logs": "log-group:", "firehose": "deliverystream/"}
GLOBAL_REGION = "us-east-1"
#: Service of a resource's ARN: the ResourceType of ListResourcesForWebACL.
RESOURCE_TYPES = {
    "elasticloadbalancing": "APPLICATION_LOAD_BALANCER",
    "apigateway": "API_GATEWAY",
    "appsync": "APPSYNC",
    "cognito-idp": "COGNITO_USER_POOL",
    "apprunner": "APP_RUNNER_SERVICE",
    "ec2": "VERIFIED_ACCESS_INSTANCE",
    "amplify": "AMPLIFY",
    "bedrock-agentcore": "AGENTCORE_GATEWAY",
}


def faults(desired, region):
    """Return what is wrong with what is wanted, as waf_plan.desired gives it, in the region I(region)."""
    found = _scope_faults(desired, region)
    acl = desired["acl"]
    found += rule_faults(acl["Rules"], f"The web ACL {desired['name']}", acl.get("CustomResponseBodies"))
    found += _body_faults(acl["DefaultAction"], acl.get("CustomResponseBodies"), f"The web ACL {desired['name']}")
    for name, group in desired["rule_group"].items():
        found += rule_faults(group["Rules"], f"The rule group {name}", group.get("CustomResponseBodies"), True)
    for kind in ("ip_set", "regex_set", "rule_group"):
        found += [f"The {kind} {name!r} needs a name of letters, digits, dashes and underscores, at most 128."
                  for name in desired[kind] if not NAME.match(name)]  # fmt: skip
    for name, entry in desired["ip_set"].items():
        found += _address_faults(name, entry)
    for name, entry in desired["regex_set"].items():
        count = len(entry["RegularExpressionList"])
        if not 1 <= count <= MAX_PATTERNS:
            found.append(f"The regex set {name} has {count} patterns; 1 to {MAX_PATTERNS} are allowed.")
    return found + _size_faults(desired) + _log_faults(desired["logging"]) + _resource_faults(desired, region)


def _scope_faults(desired, region):
    if not NAME.match(desired["name"]):
        return [f"The name {desired['name']!r} of the web ACL must be 1 to 128 letters, digits, dashes, underscores."]
    if desired["scope"] == "CLOUDFRONT" and region != GLOBAL_REGION:
        return [f"The scope CLOUDFRONT works in the region {GLOBAL_REGION} only, not in {region}; set region."]
    return []


# Rules


def rule_faults(rules, where, bodies=None, in_group=False):
    """Return what is wrong with the rules of a web ACL or, I(in_group), of a rule group."""
    found, priorities, names = [], {}, set()
    for rule in rules:
        name, priority = rule.get("Name"), rule.get("Priority")
        if priority in priorities:
            found.append(
                f"{where}: the rules {priorities[priority]} and {name} both have the priority {priority};"
                " each needs one of its own."
            )
        if name in names:
            found.append(f"{where}: there are two rules named {name}.")
        priorities.setdefault(priority, name)
        names.add(name)
        found += _rule_faults(rule, f"{where}, rule {name}", bodies, in_group)
    return found


def _rule_faults(rule, where, bodies, in_group):
    kind = next(iter(rule.get("Statement") or {}), "")
    needed, other = ("OverrideAction", "Action") if kind in GROUPS else ("Action", "OverrideAction")
    found = []
    if needed not in rule or other in rule:
        found.append(f"{where} must have {snake(needed)} and not {snake(other)}, since it is a {snake(kind)}.")
    if in_group and kind in GROUPS:
        found.append(f"{where} is a {snake(kind)}, which a rule group cannot hold.")
    found += _body_faults(rule.get("Action") or {}, bodies, where)
    return found + statement_faults(rule.get("Statement") or {}, where, 0)


def _body_faults(action, bodies, where):
    key = ((action.get("Block") or {}).get("CustomResponse") or {}).get("CustomResponseBodyKey")
    if key and key not in (bodies or {}):
        return [f"{where} answers with the body {key!r}, which custom_response_bodies does not have."]
    return []


def statement_faults(statement, where, depth):
    """Return what is wrong with a statement and all below it."""
    found = []
    for kind, content in statement.items():
        if depth and kind in (*GROUPS, "RateBasedStatement"):
            found.append(f"{where}: a {snake(kind)} cannot stand inside another statement.")
        check = CHECKS.get(kind)
        found += [f"{where}: {text}" for text in (check(content) if check else [])]
        for inner in waf_capacity.below(content):
            found += statement_faults(inner, where, depth + 1)
    return found


def _logical(content):
    count = len(content.get("Statements") or [])
    return [] if count > 1 else [f"and / or hold {count} statements; at least two are needed."]


def _rate(content):
    found = []
    window = content.get("EvaluationWindowSec", 300)
    if window not in WINDOWS:
        found.append(f"the evaluation_window_sec is {window}; it must be one of 60, 120, 300, 600.")
    key = content.get("AggregateKeyType")
    needed = {"CUSTOM_KEYS": "CustomKeys", "FORWARDED_IP": "ForwardedIPConfig", "CONSTANT": "ScopeDownStatement"}
    if key in needed and not content.get(needed[key]):
        found.append(f"the aggregate_key_type {key} needs {snake(needed[key])}.")
    if content.get("CustomKeys") and key != "CUSTOM_KEYS":
        found.append(f"custom_keys need the aggregate_key_type CUSTOM_KEYS, not {key}.")
    return found


def _search(content):
    size = len(content.get("SearchString") or b"")
    return [] if 1 <= size <= MAX_SEARCH else [f"the search_string has {size} bytes; 1 to {MAX_SEARCH} are allowed."]


CHECKS = {"AndStatement": _logical, "OrStatement": _logical, "RateBasedStatement": _rate, "ByteMatchStatement": _search}


def _size_faults(desired):
    found = []
    groups = {f"rule_group/{name}": group.get("Capacity") or 0 for name, group in desired["rule_group"].items()}
    sets = [(f"The rule group {name}", group["Rules"]) for name, group in desired["rule_group"].items()]
    for where, rules in [(f"The web ACL {desired['name']}", desired["acl"]["Rules"]), *sets]:
        least, _most = waf_capacity.estimate(rules, groups)
        if least > waf_capacity.LIMIT:
            found.append(f"{where} needs at least {least} WCU; {waf_capacity.LIMIT} are allowed.")
    found += [
        f"The rule group {name} has the capacity {group['Capacity']}; 1 to {waf_capacity.LIMIT} are allowed."
        for name, group in desired["rule_group"].items()
        if group.get("Capacity") is not None and not 1 <= group["Capacity"] <= waf_capacity.LIMIT
    ]
    kinds = [pair for rule in desired["acl"]["Rules"] for pair in waf_capacity.walk(rule["Statement"])]
    references = sum("ARN" in content for _kind, content in kinds)
    if references > MAX_REFERENCES:
        found.append(f"The web ACL {desired['name']} has {references} references; {MAX_REFERENCES} are allowed.")
    return found


# Sets, logging, resources


def _address_faults(name, entry):
    where, found, versions = f"The IP set {name}", [], set()
    addresses = entry["Addresses"] or []
    if len(addresses) > MAX_ADDRESSES:
        found.append(f"{where} has {len(addresses)} addresses; {MAX_ADDRESSES} are allowed.")
    for address in addresses:
        try:
            network = ipaddress.ip_network(str(address))
        except ValueError:
            found.append(f"{where} has {address!r}; it must be a block such as 192.0.2.0/24, without host bits.")
            continue
        if network.prefixlen == 0:
            found.append(f"{where} has {address!r}; AWS WAF does not take /0, use two blocks of /1 to mean everything.")
        versions.add(f"IPV{network.version}")
    if versions - {entry["IPAddressVersion"]}:
        found.append(f"{where} holds {' and '.join(sorted(versions))}; one set holds {entry['IPAddressVersion']} only.")
    return found


def _log_faults(logging):
    if not logging:
        return []
    arn = logging["LogDestinationConfigs"][0]
    parts = arn.split(":", 5)
    service = parts[2] if len(parts) == 6 and parts[0] == "arn" else ""
    if service in LOG_NAMES and parts[5].removeprefix(LOG_NAMES[service]).startswith(LOG_PREFIX):
        return []
    return [
        f"The log destination {arn!r} must be the ARN of a log group, a bucket or a delivery stream"
        f" whose name begins with {LOG_PREFIX}."
    ]


def _resource_faults(desired, region):
    found = []
    for arn in desired["resources"] or []:
        parts = arn.split(":", 5)
        service = parts[2] if len(parts) == 6 and parts[0] == "arn" else ""
        right = _resource_fault(service, parts, desired["scope"], region)
        if right:
            found.append(f"The resource {arn!r} cannot have the web ACL {desired['name']}: {right}.")
    return found


def _resource_fault(service, parts, scope, region):
    if scope == "CLOUDFRONT":
        return "" if service == "cloudfront" else "the scope CLOUDFRONT is for CloudFront distributions alone"
    if service == "cloudfront":
        return "a CloudFront distribution needs the scope CLOUDFRONT"
    if service not in RESOURCE_TYPES:
        return "AWS WAF protects " + ", ".join(sorted(RESOURCE_TYPES.values())) + " and CloudFront"
    if service == "elasticloadbalancing" and "loadbalancer/app/" not in parts[5]:
        return "of the load balancers only an Application Load Balancer can"
    return "" if parts[3] == region else f"it is in {parts[3]}, the web ACL in {region}"

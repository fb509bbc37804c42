"""What WAFv2 refuses, and how many capacity units (WCU) rules cost.

Source: WAF Developer Guide (quotas, rule statements with their WCUs), WAFv2 API Reference; texts as users of the SDKs
report them ("Error reason: ..., field: ..., parameter: ...").
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

from lab.aws.call import AWSError, Call
from lab.aws.rules import rule

QUOTAS = "WAF Developer Guide, quotas"
STATEMENTS = "WAF Developer Guide, rule statements"
INVALID = "WAFInvalidParameterException"
FORMAT = "Error reason: The parameter contains formatting that is not valid., field: {field}, parameter: {parameter}"
EXACTLY_ONE = (
    "Error reason: You have used none or multiple values for a field that requires exactly one value., "
    "field: {field}, parameter: {parameter}"
)
MAX_WCU = 5000
MAX_ADDRESSES = 10_000
MAX_PATTERNS = 10
WINDOWS = (60, 120, 300, 600)
WITH_RULES = "CreateWebACL UpdateWebACL CreateRuleGroup UpdateRuleGroup CheckCapacity"
ACL_WRITES = "CreateWebACL UpdateWebACL"
#: WAF Developer Guide, AWS Managed Rules rule groups list.
MANAGED = {
    "AWSManagedRulesCommonRuleSet": 700,
    "AWSManagedRulesAdminProtectionRuleSet": 100,
    "AWSManagedRulesKnownBadInputsRuleSet": 200,
    "AWSManagedRulesSQLiRuleSet": 200,
    "AWSManagedRulesLinuxRuleSet": 200,
    "AWSManagedRulesUnixRuleSet": 100,
    "AWSManagedRulesWindowsRuleSet": 200,
    "AWSManagedRulesPHPRuleSet": 100,
    "AWSManagedRulesWordPressRuleSet": 100,
    "AWSManagedRulesAmazonIpReputationList": 25,
    "AWSManagedRulesAnonymousIpList": 50,
    "AWSManagedRulesATPRuleSet": 50,
    "AWSManagedRulesACFPRuleSet": 50,
    "AWSManagedRulesBotControlRuleSet": 50,
    "AWSManagedRulesAntiDDoSRuleSet": 50,
}
BASE = {
    "GeoMatchStatement": 1,
    "AsnMatchStatement": 1,
    "IPSetReferenceStatement": 1,
    "LabelMatchStatement": 1,
    "SizeConstraintStatement": 1,
    "RegexMatchStatement": 3,
    "RegexPatternSetReferenceStatement": 25,
    "SqliMatchStatement": 20,
    "XssMatchStatement": 40,
}
GROUPS = ("ManagedRuleGroupStatement", "RuleGroupReferenceStatement")


def chosen(union: dict[str, Any] | None) -> tuple[str, Any]:
    """Name and value of the one member of a union that is set; ("", None) unless it is exactly one."""
    found = [(name, value) for name, value in (union or {}).items() if value is not None]
    return found[0] if len(found) == 1 else ("", None)


def statements(statement: dict[str, Any], depth: int = 0) -> Iterator[tuple[str, dict[str, Any], int]]:
    """The statement and all below it: kind, content, depth."""
    kind, content = chosen(statement)
    yield kind, content, depth
    for inner in (content or {}).get("Statements") or []:
        yield from statements(inner, depth + 1)
    for name in ("Statement", "ScopeDownStatement"):
        if (content or {}).get(name):
            yield from statements(content[name], depth + 1)


def all_statements(rules: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], int]]:
    for entry in rules:
        yield from statements(entry["Statement"])


def _rules(call: Call) -> list[dict[str, Any]]:
    return call.params.get("Rules") or []


# Capacity


def capacity(rules: list[dict[str, Any]], group_capacity: Any) -> int:
    """WCU of rules. A transformation of one component is charged once. `group_capacity(arn)` knows rule groups."""
    charged: set[str] = set()
    return sum(_cost(*item[:2], charged, group_capacity) for item in all_statements(rules))


def _cost(kind: str, content: dict[str, Any], charged: set[str], group_capacity: Any) -> int:
    if kind == "ManagedRuleGroupStatement":
        return MANAGED.get(content["Name"], 0)
    if kind == "RuleGroupReferenceStatement":
        return int(group_capacity(content["ARN"]))
    if kind == "RateBasedStatement":
        return 2 + 30 * len(content.get("CustomKeys") or [])
    base = BASE.get(kind, 0)
    if kind == "ByteMatchStatement":
        base = 10 if content["PositionalConstraint"].startswith("CONTAINS") else 2
    if kind == "SqliMatchStatement" and content.get("SensitivityLevel") == "HIGH":
        base = 30
    position = (content.get("IPSetForwardedIPConfig") or {}).get("Position")
    return (5 if position == "ANY" else base) + _component_cost(content, base, charged)


def _component_cost(content: dict[str, Any], base: int, charged: set[str]) -> int:
    field = content.get("FieldToMatch")
    if not field:
        return 0
    extra = base if "JsonBody" in field else 10 if "AllQueryArguments" in field else 0
    for entry in content.get("TextTransformations") or []:
        key = json.dumps([field, entry["Type"]], sort_keys=True)
        if entry["Type"] != "NONE" and key not in charged:
            charged.add(key)
            extra += 10
    return extra


# Rules


@rule(
    "wafv2",
    "CreateWebACL UpdateWebACL GetWebACL DeleteWebACL ListWebACLs CreateIPSet UpdateIPSet GetIPSet DeleteIPSet "
    "ListIPSets CreateRegexPatternSet UpdateRegexPatternSet GetRegexPatternSet DeleteRegexPatternSet "
    "ListRegexPatternSets CreateRuleGroup UpdateRuleGroup GetRuleGroup DeleteRuleGroup ListRuleGroups CheckCapacity "
    "ListLoggingConfigurations",
    INVALID,
    "Error reason: The scope is not valid., field: SCOPE_VALUE, parameter: CLOUDFRONT",
    "WAFv2 API Reference, CreateWebACL: CloudFront needs the Region us-east-1",
)
def scope_region(call: Call) -> dict[str, Any] | None:
    return {} if call.params.get("Scope") == "CLOUDFRONT" and call.region != "us-east-1" else None


@rule("wafv2", "CreateIPSet UpdateIPSet", INVALID, FORMAT, "WAFv2 API Reference, IPSet: all CIDR ranges except /0")
def addresses(call: Call) -> dict[str, Any] | None:
    for address in call.params.get("Addresses") or []:
        if not _is_block(address):
            return {"field": "IP_ADDRESS", "parameter": address}
    return None


def _is_block(text: str) -> bool:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return False
    return "/" in text and network.prefixlen > 0


@rule("wafv2", "CreateIPSet", INVALID, FORMAT, "WAFv2 API Reference, CreateIPSet, IPAddressVersion")
def address_family(call: Call) -> dict[str, Any] | None:
    wanted = int(call.params["IPAddressVersion"][-1])
    return next(
        (
            {"field": "IP_ADDRESS", "parameter": address}
            for address in call.params.get("Addresses") or []
            if ipaddress.ip_network(address).version != wanted
        ),
        None,
    )


@rule(
    "wafv2",
    "CreateIPSet UpdateIPSet",
    "WAFLimitsExceededException",
    "AWS WAF couldn't perform the operation because you exceeded your resource limit: at most {limit} addresses.",
    QUOTAS,
)
def many_addresses(call: Call) -> dict[str, Any] | None:
    return {"limit": MAX_ADDRESSES} if len(call.params.get("Addresses") or []) > MAX_ADDRESSES else None


@rule(
    "wafv2",
    "CreateRegexPatternSet UpdateRegexPatternSet",
    "WAFLimitsExceededException",
    "AWS WAF couldn't perform the operation because you exceeded your resource limit: at most {limit} patterns.",
    QUOTAS,
)
def many_patterns(call: Call) -> dict[str, Any] | None:
    return {"limit": MAX_PATTERNS} if len(call.params.get("RegularExpressionList") or []) > MAX_PATTERNS else None


@rule("wafv2", WITH_RULES, INVALID, EXACTLY_ONE, STATEMENTS)
def one_statement(call: Call) -> dict[str, Any] | None:
    for kind, _content, _depth in all_statements(_rules(call)):
        if not kind:
            return {"field": "STATEMENT", "parameter": "Statement"}
    return None


@rule(
    "wafv2",
    WITH_RULES,
    INVALID,
    "Error reason: You haven't met a minimum requirement for a threshold setting. Examples include a rule group "
    "capacity setting that's too low and an OR statement with less than two nested statements., field: {field}, "
    "parameter: {parameter}",
    STATEMENTS,
)
def two_statements(call: Call) -> dict[str, Any] | None:
    for kind, content, _depth in all_statements(_rules(call)):
        if kind in ("AndStatement", "OrStatement") and len(content["Statements"]) < 2:
            return {"field": kind[:-9].upper() + "_STATEMENT", "parameter": kind}
    return None


@rule("wafv2", WITH_RULES, INVALID, FORMAT, "WAFv2 API Reference, Statement: groups and rates are not nestable")
def not_nestable(call: Call) -> dict[str, Any] | None:
    for kind, _content, depth in all_statements(_rules(call)):
        if depth and kind in (*GROUPS, "RateBasedStatement"):
            return {"field": "STATEMENT", "parameter": kind}
    return None


@rule("wafv2", "CreateRuleGroup UpdateRuleGroup", INVALID, FORMAT, "WAF Developer Guide, rule groups hold no groups")
def groups_in_groups(call: Call) -> dict[str, Any] | None:
    for kind, _content, _depth in all_statements(_rules(call)):
        if kind in GROUPS:
            return {"field": "STATEMENT", "parameter": kind}
    return None


@rule("wafv2", WITH_RULES, INVALID, EXACTLY_ONE, "WAFv2 API Reference, Rule: Action or OverrideAction")
def one_action(call: Call) -> dict[str, Any] | None:
    for entry in _rules(call):
        group = chosen(entry["Statement"])[0] in GROUPS
        wanted, other = ("OverrideAction", "Action") if group else ("Action", "OverrideAction")
        if not chosen(entry.get(wanted))[0] or entry.get(other) is not None:
            return {"field": "RULE", "parameter": "Rule"}
    return None


@rule("wafv2", ACL_WRITES, INVALID, EXACTLY_ONE, "WAFv2 API Reference, DefaultAction")
def one_default(call: Call) -> dict[str, Any] | None:
    good = chosen(call.params.get("DefaultAction"))[0]
    return None if good else {"field": "DEFAULT_ACTION", "parameter": "DefaultAction"}


@rule(
    "wafv2",
    WITH_RULES,
    INVALID,
    "Error reason: The rule priorities must be unique., field: RULE, parameter: {parameter}",
    "WAFv2 API Reference, Rule, Priority (the exact text is not documented)",
)
def unique_priorities(call: Call) -> dict[str, Any] | None:
    seen: set[int] = set()
    for entry in _rules(call):
        if entry["Priority"] in seen:
            return {"parameter": entry["Name"]}
        seen.add(entry["Priority"])
    return None


@rule(
    "wafv2",
    WITH_RULES,
    "WAFDuplicateItemException",
    "AWS WAF could not perform the operation because some resource in your request is a duplicate of an existing one.",
    "WAFv2 API Reference, Rule, Name",
)
def unique_names(call: Call) -> dict[str, Any] | None:
    names = [entry["Name"] for entry in _rules(call)]
    return {} if len(set(names)) < len(names) else None


@rule("wafv2", WITH_RULES, INVALID, FORMAT, "WAFv2 API Reference, RateBasedStatement")
def rate_settings(call: Call) -> dict[str, Any] | None:
    for kind, content, _depth in all_statements(_rules(call)):
        if kind != "RateBasedStatement":
            continue
        key, keys = content["AggregateKeyType"], content.get("CustomKeys")
        if (
            content.get("EvaluationWindowSec", 300) not in WINDOWS
            or (key == "CUSTOM_KEYS") != bool(keys)
            or (key == "FORWARDED_IP" and not content.get("ForwardedIPConfig"))
            or (key == "CONSTANT" and not content.get("ScopeDownStatement"))
        ):
            return {"field": "RATE_BASED_STATEMENT", "parameter": "RateBasedStatement"}
    return None


@rule("wafv2", WITH_RULES, INVALID, FORMAT, "WAF Developer Guide, regex match statements")
def regular_expressions(call: Call) -> dict[str, Any] | None:
    for kind, content, _depth in all_statements(_rules(call)):
        if kind == "RegexMatchStatement":
            try:
                re.compile(content["RegexString"])
            except re.error:
                return {"field": "REGEX_PATTERN", "parameter": content["RegexString"]}
    return None


@rule(
    "wafv2",
    WITH_RULES,
    "WAFNonexistentItemException",
    "AWS WAF couldn't perform the operation because your resource doesn't exist.",
    "WAF Developer Guide, AWS Managed Rules rule groups list",
)
def managed_groups(call: Call) -> dict[str, Any] | None:
    for kind, content, _depth in all_statements(_rules(call)):
        if kind != "ManagedRuleGroupStatement":
            continue
        version = content.get("Version")
        if content["VendorName"] == "AWS" and content["Name"] not in MANAGED:
            return {}
        if version and not re.fullmatch(r"Version_\d+\.\d+", version):
            return {}
    return None


@rule("wafv2", WITH_RULES, INVALID, FORMAT, "WAFv2 API Reference, CustomResponse, CustomResponseBodyKey")
def response_bodies(call: Call) -> dict[str, Any] | None:
    if call.action == "CheckCapacity":
        return None
    known = set(call.params.get("CustomResponseBodies") or {})
    actions = [entry.get("Action") or {} for entry in _rules(call)] + [call.params.get("DefaultAction") or {}]
    for action in actions:
        key = ((action.get("Block") or {}).get("CustomResponse") or {}).get("CustomResponseBodyKey")
        if key and key not in known:
            return {"field": "CUSTOM_RESPONSE_BODY", "parameter": key}
    return None


@rule(
    "wafv2",
    "PutLoggingConfiguration",
    INVALID,
    "Error reason: The ARN isn't valid. A valid ARN begins with arn: and includes other information separated by "
    "colons or slashes., field: LOG_DESTINATION, parameter: {parameter}",
    "WAFv2 API Reference, PutLoggingConfiguration: names begin with aws-waf-logs-; one destination",
)
def log_destination(call: Call) -> dict[str, Any] | None:
    destinations = call.params["LoggingConfiguration"]["LogDestinationConfigs"]
    for arn in destinations:
        parts = arn.split(":", 5)
        name = parts[5] if len(parts) == 6 else ""
        named = {
            "s3": name,
            "logs": name.removeprefix("log-group:"),
            "firehose": name.removeprefix("deliverystream/"),
        }.get(parts[2] if len(parts) > 2 else "", "")
        if not named.startswith("aws-waf-logs-") or len(destinations) > 1:
            return {"parameter": arn}
    return None


def refuse_capacity(needed: int, allowed: int = MAX_WCU) -> None:
    """Raise AWS's error when rules need more WCU than allowed."""
    if needed > allowed:
        raise AWSError(
            "WAFLimitsExceededException",
            "AWS WAF couldn't perform the operation because you exceeded your resource limit: "
            f"the rules need {needed} WCU, {allowed} are allowed.",
        )

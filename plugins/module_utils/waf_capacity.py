# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Web ACL capacity units (WCU) of rules, estimated offline; CheckCapacity is the authority. Pure.

Source of the figures: WAF Developer Guide, "Using rule statements" (WCUs of each statement) and "AWS Managed Rules rule
groups list".
"""

from __future__ import annotations

import json

from ansible_collections.selfhosted.ec2.plugins.module_utils.waf_form import Reference

#: Most WCU of a web ACL and of a rule group; from the second figure on each request costs more (AWS, April 2023).
LIMIT = 5000
INCLUDED = 1500
TRANSFORMATION, ALL_ARGUMENTS, CUSTOM_KEY, RATE = 10, 10, 30, 2
POSITION_ANY = 4
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
    "RateBasedStatement": RATE,
}
EXACT, CONTAINS, SQLI_HIGH = 2, 10, 30
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
#: What CheckCapacity is asked about instead of a set that does not exist yet: nearly the same cost, the rest is added.
GEO_INSTEAD = {"GeoMatchStatement": {"CountryCodes": ["XK"]}}


def walk(statement):
    """Yield (kind, content) of a statement of the API and of all below it."""
    for kind, content in statement.items():
        yield kind, content
        for inner in below(content):
            yield from walk(inner)


def below(content):
    """Return the statements directly inside a statement's content."""
    inner = list(content.get("Statements") or [])
    return inner + [content[name] for name in ("Statement", "ScopeDownStatement") if content.get(name)]


def estimate(rules, groups=None):
    """Return (least, most) WCU of rules in the API's form.

    AWS charges a transformation of one component once, wherever it is repeated: least counts it so, most counts each.
    :arg groups: dict of rule groups, their ARN or reference to their capacity; unknown ones count nothing.
    """
    least, most, charged = 0, 0, set()
    for rule in rules:
        for kind, content in walk(rule["Statement"]):
            base = _base(kind, content, groups or {})
            keys = _transformations(content)
            least += base + TRANSFORMATION * len(set(keys) - charged)
            most += base + TRANSFORMATION * len(keys)
            charged.update(keys)
    return least, most


def _base(kind, content, groups):
    if kind == "ManagedRuleGroupStatement":
        return MANAGED.get(content.get("Name"), 0)
    if kind == "RuleGroupReferenceStatement":
        return groups.get(content.get("ARN"), 0)
    base = _match_base(kind, content)
    field = content.get("FieldToMatch") or {}
    return base + (base if "JsonBody" in field else ALL_ARGUMENTS if "AllQueryArguments" in field else 0)


def _match_base(kind, content):
    if kind == "ByteMatchStatement":
        return CONTAINS if str(content.get("PositionalConstraint")).startswith("CONTAINS") else EXACT
    if kind == "SqliMatchStatement" and content.get("SensitivityLevel") == "HIGH":
        return SQLI_HIGH
    if kind == "RateBasedStatement":
        return RATE + CUSTOM_KEY * len(content.get("CustomKeys") or [])
    return BASE.get(kind, 0) + _any_position(content)


def _any_position(content):
    return POSITION_ANY if (content.get("IPSetForwardedIPConfig") or {}).get("Position") == "ANY" else 0


def _transformations(content):
    field = json.dumps(content.get("FieldToMatch"), sort_keys=True)
    types = [entry.get("Type") for entry in content.get("TextTransformations") or []]
    return [(field, kind) for kind in types if kind != "NONE"]


def question(rules, groups):
    """Return (rules, more): rules that CheckCapacity can be asked about now, and the WCU to add to its answer.

    A set or group that is still to be made cannot be asked about: another statement of known cost stands for a set, and
    a rule with such a group is left out.
    :arg groups: capacity of the groups that are still to be made, by reference.
    """
    asked, more = [], 0
    for rule in rules:
        content = rule["Statement"].get("RuleGroupReferenceStatement")
        if content and isinstance(content["ARN"], Reference):
            more += groups.get(content["ARN"], 0)
            continue
        statement, extra = _stand_in(rule["Statement"])
        asked.append({**rule, "Statement": statement})
        more += extra
    return asked, more


def _stand_in(statement):
    kind, content = next(iter(statement.items()))
    if isinstance(content.get("ARN"), Reference):
        return _instead(kind, content)
    result, more = dict(content), 0
    for name in ("Statement", "ScopeDownStatement"):
        if content.get(name):
            result[name], extra = _stand_in(content[name])
            more += extra
    if content.get("Statements"):
        pairs = [_stand_in(inner) for inner in content["Statements"]]
        result["Statements"] = [pair[0] for pair in pairs]
        more += sum(pair[1] for pair in pairs)
    return {kind: result}, more


def _instead(kind, content):
    if kind == "IPSetReferenceStatement":
        return GEO_INSTEAD, _any_position(content)
    match = {name: value for name, value in content.items() if name != "ARN"}
    field = content.get("FieldToMatch") or {}
    factor = 2 if "JsonBody" in field else 1
    difference = (BASE["RegexPatternSetReferenceStatement"] - BASE["RegexMatchStatement"]) * factor
    return {"RegexMatchStatement": {**match, "RegexString": "x"}}, difference

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user writes of WAF rules, in the form of the API. Pure; the service's own model says what there is.

Names are AWS's, in snake_case or as AWS writes them; C(_statement) at the end may be left out. The short forms:
C(and), C(or) and C(not) hold statements directly; a set or group of the account is referred to by C(name); where one
of several members is chosen, its name alone stands for an empty one (C(field_to_match: uri_path), C(action: block));
what has only a name is that name; text transformations are a list of types, in order.
"""

from __future__ import annotations

import difflib
import re

#: Structures of which exactly one member is set (WAFv2 API Reference).
CHOICES = frozenset((
    "Statement", "FieldToMatch", "RuleAction", "OverrideAction", "DefaultAction", "RateBasedStatementCustomKey",
    "JsonMatchPattern", "HeaderMatchPattern", "CookieMatchPattern", "Condition",
))  # fmt: skip
#: Statements that refer to something of the account by its ARN: what it is.
REFERENCES = {
    "IPSetReferenceStatement": "ip_set",
    "RegexPatternSetReferenceStatement": "regex_set",
    "RuleGroupReferenceStatement": "rule_group",
}
GROUPS = ("ManagedRuleGroupStatement", "RuleGroupReferenceStatement")
NO_TRANSFORMATION = [{"Priority": 0, "Type": "NONE"}]
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
WORDS = re.compile(r"JA[34]|DDoS|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")


class Reference(str):
    """Stands for an ARN that is not known yet: C(ip_set/<name>), C(regex_set/<name>) or C(rule_group/<name>)."""


def snake(name):
    """Return AWS's name as a user writes it: IPSetReferenceStatement is ip_set_reference_statement."""
    return "_".join(WORDS.findall(name)).lower()


def plain(name):
    """Return a name without what tells its spellings apart."""
    return str(name).replace("_", "").lower()


def member_of(shape, key):
    """Return the name of a structure's member as AWS writes it, "" when there is none."""
    known = {plain(name): name for name in shape.members}
    return known.get(plain(key)) or (known.get(plain(key) + "statement", "") if shape.name == "Statement" else "")


def to_api(shape, value, where, faults):
    """Return a value as the API wants it by its shape; what is wrong is added to I(faults), one sentence each."""
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape, value, where, faults)
    if kind == "list":
        return _list(shape, value, where, faults)
    if kind == "map":
        return _map(shape, value, where, faults)
    return _scalar(shape, value, where, faults)


# Structures


def _structure(shape, value, where, faults):
    value = _long_form(shape, value)
    if not isinstance(value, dict):
        faults.append(f"{where} is {value!r}; it must be a mapping with {_names(shape)}.")
        return {}
    result = {}
    for key, content in value.items():
        name = member_of(shape, key)
        if not name:
            faults.append(f"{where} has the unknown member {key!r}; {_nearest(shape, key)}.")
        elif content is not None:
            result[name] = to_api(shape.members[name], content, f"{where}, {snake(name)}", faults)
    _check_members(shape, value, result, where, faults)
    return result


def _check_members(shape, value, result, where, faults):
    missing = [name for name in shape.required_members if name not in result]
    if missing:
        faults.append(f"{where} lacks {', '.join(map(snake, missing))}.")
    if shape.name in CHOICES and len(result) != 1 and all(member_of(shape, key) for key in value):
        faults.append(f"{where} has {len(result)} members; exactly one of {_names(shape)} is needed.")


def _names(shape):
    return ", ".join(snake(name) for name in shape.members) or "nothing in it"


def _nearest(shape, key):
    names = [snake(name) for name in shape.members]
    near = difflib.get_close_matches(snake(str(key)), [name.removesuffix("_statement") for name in names], 1, 0.5)
    return f"did you mean {near[0]}" if near else f"there are {', '.join(names)}"


def _long_form(shape, value):
    """Return the full form of a structure's short forms."""
    if isinstance(value, str):
        if shape.name in CHOICES and member_of(shape, value):
            return {value: {}}
        needed = [name for name in shape.required_members if name != "TextTransformations"]
        if needed == ["Name"]:
            value = {"Name": value}
        elif list(shape.members) == ["RegexString"]:
            value = {"RegexString": value}
    if shape.name in LONG_FORMS and isinstance(value, dict):
        value = LONG_FORMS[shape.name]({member_of(shape, key) or key: content for key, content in value.items()})
    transformed = "TextTransformations" in shape.required_members
    if transformed and isinstance(value, dict) and not any(plain(key) == "texttransformations" for key in value):
        value = {**value, "TextTransformations": NO_TRANSFORMATION}
    return value


def _statement(value):
    kind = next(iter(value)) if len(value) == 1 else ""
    content = value.get(kind)
    if kind in ("AndStatement", "OrStatement") and isinstance(content, list):
        return {kind: {"Statements": content}}
    if kind == "NotStatement" and isinstance(content, dict) and [plain(key) for key in content] != ["statement"]:
        return {kind: {"Statement": content}}
    if kind in REFERENCES and isinstance(content, dict) and "name" in content:
        others = {key: entry for key, entry in content.items() if key != "name"}
        return {kind: {**others, "ARN": Reference(f"{REFERENCES[kind]}/{content['name']}")}}
    return value


def _rate(value):
    key = "CUSTOM_KEYS" if value.get("CustomKeys") else "IP"
    return {"AggregateKeyType": key, **value}


def _managed(value):
    return {"VendorName": "AWS", **value}


def _rule(value):
    result = dict(value)
    if "labels" in result:
        result["RuleLabels"] = result.pop("labels")
    metric = re.sub(r"[^\w#:./-]", "-", str(result.get("Name") or "rule"))
    result.setdefault("VisibilityConfig", visibility(metric))
    statement = result.get("Statement")
    kinds = [plain(key).removesuffix("statement") for key in statement] if isinstance(statement, dict) else []
    if kinds in (["managedrulegroup"], ["rulegroupreference"]) and "Action" not in result:
        result.setdefault("OverrideAction", "none")
    return result


def visibility(metric):
    """Return the usual VisibilityConfig: sampled and counted under the name I(metric)."""
    return {"SampledRequestsEnabled": True, "CloudWatchMetricsEnabled": True, "MetricName": metric}


def _immunity(value):
    seconds = value.get("immunity_time")
    return {"ImmunityTimeProperty": {"ImmunityTime": seconds}} if seconds is not None else value


LONG_FORMS = {
    "Statement": _statement,
    "RateBasedStatement": _rate,
    "ManagedRuleGroupStatement": _managed,
    "Rule": _rule,
    "CaptchaConfig": _immunity,
    "ChallengeConfig": _immunity,
}


# Lists, maps, scalars


def _list(shape, value, where, faults):
    if shape.member.name == "RuleActionOverride" and isinstance(value, dict):
        value = [{"Name": name, "ActionToUse": action} for name, action in value.items()]
    if not isinstance(value, list):
        faults.append(f"{where} is {value!r}; it must be a list.")
        return []
    if "TextTransformation" in shape.member.name:
        value = [{"Priority": n, "Type": entry} if isinstance(entry, str) else entry for n, entry in enumerate(value)]
    _bounds(shape, len(value), where, "entries", faults)
    return [to_api(shape.member, entry, f"{where} {n}", faults) for n, entry in enumerate(value, 1)]


def _map(shape, value, where, faults):
    if not isinstance(value, dict):
        faults.append(f"{where} is {value!r}; it must be a mapping.")
        return {}
    keys = {key: _scalar(shape.key, key, where, faults) for key in value}
    return {keys[key]: to_api(shape.value, entry, f"{where}, {key}", faults) for key, entry in value.items()}


def _scalar(shape, value, where, faults):
    if isinstance(value, Reference):
        return value
    converted = CONVERT[shape.type_name](value) if shape.type_name in CONVERT else value
    if converted is None:
        faults.append(f"{where} is {value!r}; it must be {RIGHT[shape.type_name]}.")
        return value
    if shape.type_name == "string":
        _check_text(shape, converted, where, faults)
    elif shape.type_name in ("integer", "long"):
        _bounds(shape, converted, where, "", faults)
    return converted


def _text(value):
    return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None


def _number(value):
    if isinstance(value, bool):
        return None
    return int(value) if re.fullmatch(r"-?\d+", str(value)) else None


def _boolean(value):
    text = str(value).lower()
    return True if text in TRUE else False if text in FALSE else None


def _blob(value):
    if isinstance(value, bytes):
        return value
    text = _text(value)
    return None if text is None else text.encode()


CONVERT = {"string": _text, "integer": _number, "long": _number, "boolean": _boolean, "blob": _blob}
RIGHT = {
    "string": "text",
    "integer": "a whole number",
    "long": "a whole number",
    "boolean": "true or false",
    "blob": "text",
}


def _check_text(shape, value, where, faults):
    allowed = list(getattr(shape, "enum", None) or [])
    if allowed and value not in allowed:
        near = difflib.get_close_matches(value.upper(), allowed, 1, 0.5)
        right = f"did you mean {near[0]}" if near else "it must be one of " + ", ".join(allowed[:40])
        faults.append(f"{where} is {value!r}; {right}.")
        return
    _bounds(shape, len(value), where, "characters", faults)
    pattern = shape.metadata.get("pattern")
    try:
        matches = not pattern or re.fullmatch(pattern, value, re.DOTALL)
    except re.error:  # a pattern of another dialect
        return
    if not matches:
        faults.append(f"{where} is {value!r}; it must match {pattern}.")


def _bounds(shape, size, where, unit, faults):
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if (least is not None and size < least) or (most is not None and size > most):
        limits = f"{least if least is not None else 0} to {most}" if most is not None else f"at least {least}"
        what = f"has {size} {unit}; {limits} are allowed" if unit else f"is {size}; it must be {limits}"
        faults.append(f"{where} {what}.")

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web ACL with its sets, groups, log and resources: what is wanted, canonical forms, the plan and its diff. Pure."""

from __future__ import annotations

import ipaddress
import json

from ansible_collections.selfhosted.ec2.plugins.module_utils import waf_capacity
from ansible_collections.selfhosted.ec2.plugins.module_utils.waf_form import (
    GROUPS,
    Reference,
    snake,
    to_api,
    visibility,
)

#: Lists whose order means nothing.
UNORDERED = frozenset((
    "Statements", "CountryCodes", "AsnList", "TokenDomains", "IncludedHeaders", "ExcludedHeaders", "IncludedCookies",
    "ExcludedCookies", "IncludedPaths", "RedactedFields", "RuleLabels", "RuleActionOverrides", "Conditions",
    "ManagedRuleGroupConfigs", "InsertHeaders", "ResponseHeaders", "CustomKeys", "DataProtections", "FieldKeys",
    "RegularExpressionList", "Addresses",
))  # fmt: skip
#: What the API fills in or takes as the same (API Reference of each).
DEFAULTS = {
    "RateBasedStatement": {"EvaluationWindowSec": 300},
    "SqliMatchStatement": {"SensitivityLevel": "LOW"},
    "Body": {"OversizeHandling": "CONTINUE"},
    "JsonBody": {"OversizeHandling": "CONTINUE"},
}
#: Structures whose name of a header or argument is not case sensitive.
CASELESS = {
    "SingleHeader": "Name",
    "SingleQueryArgument": "Name",
    "Header": "Name",
    "ForwardedIPConfig": "HeaderName",
    "IPSetForwardedIPConfig": "HeaderName",
}
MAPS = ("CustomResponseBodies", "RequestBody", "ChallengeJavascriptSdkInjection")
#: Members of UpdateWebACL that are no setting.
IDENTITY = ("Name", "Scope", "Id", "LockToken", "Rules", "Description", "DefaultAction", "VisibilityConfig")
STOPPING = ("Block", "Captcha", "Challenge", "Monetize")
KINDS = ("ip_set", "regex_set", "rule_group")
#: Members that an update replaces.
MUTABLE = {
    "ip_set": ("Description", "Addresses"),
    "regex_set": ("Description", "RegularExpressionList"),
    "rule_group": ("Description", "Rules", "VisibilityConfig", "CustomResponseBodies"),
}
API_NAMES = {"ip_set": "ip_set", "regex_set": "regex_pattern_set", "rule_group": "rule_group"}


# Canonical forms


def canonical(value, name=""):
    """Return a value of the API so that equal meaning is equal; I(name) is the member that holds it."""
    if isinstance(value, dict):
        content = {key: canonical(inner, key) for key, inner in value.items() if inner is not None and inner != []}
        return _refine(content, name)
    if isinstance(value, list):
        return _canonical_list(value, name)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return _network(value) if name == "Addresses" else value


def _canonical_list(value, name):
    if "TextTransformations" in name:
        ordered = sorted(value, key=lambda entry: entry["Priority"]) if isinstance(value[0], dict) else value
        return [entry["Type"] if isinstance(entry, dict) else entry for entry in ordered]
    items = [canonical(entry, name if isinstance(entry, str) else "") for entry in value]
    if name in ("IncludedHeaders", "ExcludedHeaders"):
        items = [entry.lower() for entry in items]
    return sorted(items, key=_key) if name in UNORDERED else items


def _key(value):
    return json.dumps(value, sort_keys=True)


def _refine(content, name):
    content = {**DEFAULTS.get(name, {}), **content}
    if name in CASELESS and CASELESS[name] in content:
        content[CASELESS[name]] = content[CASELESS[name]].lower()
    if name in GROUPS and "ExcludedRules" in content:
        counted = [{"Name": entry["Name"], "ActionToUse": {"Count": {}}} for entry in content.pop("ExcludedRules")]
        content["RuleActionOverrides"] = sorted([*content.get("RuleActionOverrides", []), *counted], key=_key)
    return content


def _network(text):
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        return text


def shown(value, name=""):
    """Return a canonical value with the names that users write, for a diff."""
    if isinstance(value, dict):
        return {key if name in MAPS else snake(key): shown(inner, key) for key, inner in value.items()}
    return [shown(entry) for entry in value] if isinstance(value, list) else value


def equal(one, other, name=""):
    """Tell whether two values of the API mean the same."""
    return canonical(one, name) == canonical(other, name)


# What is wanted


def desired(params, shapes, faults):
    """Return what the module's options want, in the API's form; faults of form are added to I(faults).

    :arg shapes: the service's shapes by name: Rule, DefaultAction, FieldToMatch, LoggingFilter, VisibilityConfig,
        CustomResponseBodies, UpdateWebACLRequest, Regex.
    """
    count = params["count_only"]
    acl = _acl(params, shapes, faults)
    groups = {}
    for entry in params["rule_groups"]:
        _once(entry["name"], groups, "rule group", faults)
        groups[entry["name"]] = _group(entry, shapes, faults)
    if count:
        acl["Rules"] = [counting(rule) for rule in acl["Rules"]]
        acl["DefaultAction"] = {"Allow": acl["DefaultAction"].get("Allow") or {}}
    return {
        "name": params["name"],
        "scope": params["scope"],
        "keep": params["by_hand"] == "keep",
        "acl": acl,
        "ip_set": _ip_sets(params["ip_sets"], shapes, faults),
        "regex_set": _regex_sets(params["regex_sets"], shapes, faults),
        "rule_group": groups,
        "logging": _logging(params["logging"], shapes, faults),
        "resources": None if params["resources"] is None else list(dict.fromkeys(params["resources"])),
        "purge_resources": params["purge_resources"],
        "tags": params["tags"],
        "purge_tags": params["purge_tags"],
        "prune_prefix": params["prune_prefix"],
    }


def _acl(params, shapes, faults):
    where = f"The web ACL {params['name']}"
    form = shapes["UpdateWebACLRequest"]
    settings = {name: member for name, member in form.members.items() if name not in IDENTITY}
    result = {
        "Description": _description(params, shapes, where, faults),
        "DefaultAction": to_api(form.members["DefaultAction"], params["default_action"], f"{where}, default", faults),
        "VisibilityConfig": to_api(
            form.members["VisibilityConfig"],
            {**visibility(params["name"]), **_aws_names(form.members["VisibilityConfig"], params["visibility_config"])},
            f"{where}, visibility_config",
            faults,
        ),
        "Rules": _rules(params["rules"], shapes, where, faults),
    }
    for name, member in settings.items():
        value = params.get(snake(name))
        if value:
            result[name] = to_api(member, value, f"{where}, {snake(name)}", faults)
    return {name: value for name, value in result.items() if value is not None}


def _aws_names(shape, value):
    known = {snake(name): name for name in shape.members}
    return {known.get(key, key): content for key, content in (value or {}).items()}


def _rules(rules, shapes, where, faults):
    return [
        to_api(shapes["Rule"], rule, f"{where}, rule {rule.get('name', rule.get('Name', number))}", faults)
        for number, rule in enumerate(rules, 1)
    ]


def _group(entry, shapes, faults):
    where = f"The rule group {entry['name']}"
    form = shapes["UpdateRuleGroupRequest"].members
    bodies = entry["custom_response_bodies"]
    result = {
        "Description": _description(entry, shapes, where, faults),
        "Capacity": entry["capacity"],
        "VisibilityConfig": visibility(entry["name"]),
        "CustomResponseBodies": bodies
        and to_api(form["CustomResponseBodies"], bodies, f"{where}, custom_response_bodies", faults),
        "Rules": _rules(entry["rules"], shapes, where, faults),
    }
    return {name: value for name, value in result.items() if value is not None}


def _once(name, known, what, faults):
    if name in known:
        faults.append(f"The {what} {name} is there twice.")


def _description(entry, shapes, where, faults):
    if not entry["description"]:
        return None
    shape = shapes["UpdateWebACLRequest"].members["Description"]
    return to_api(shape, entry["description"], f"{where}, description", faults)


def _ip_sets(entries, shapes, faults):
    result = {}
    for entry in entries:
        _once(entry["name"], result, "IP set", faults)
        addresses = entry["addresses"]
        version = entry["version"] or ("IPV6" if ":" in "".join(map(str, (addresses or [])[:1])) else "IPV4")
        result[entry["name"]] = {
            "Description": _description(entry, shapes, f"The IP set {entry['name']}", faults),
            "IPAddressVersion": version,
            "Addresses": None if addresses is None else list(dict.fromkeys(map(str, addresses))),
        }
    return result


def _regex_sets(entries, shapes, faults):
    result = {}
    for entry in entries:
        _once(entry["name"], result, "regex set", faults)
        where = f"The regex set {entry['name']}"
        patterns = [to_api(shapes["Regex"], pattern, where, faults) for pattern in entry["patterns"]]
        result[entry["name"]] = {
            "Description": _description(entry, shapes, where, faults),
            "RegularExpressionList": patterns,
        }
    return result


def _logging(logging, shapes, faults):
    """Return None (not managed), False (none wanted) or the configuration without its web ACL."""
    if logging is None:
        return None
    if not logging["destination"]:
        return False
    fields = logging["redacted_fields"] or []
    result = {
        "LogDestinationConfigs": [logging["destination"].removesuffix(":*")],
        "RedactedFields": [to_api(shapes["FieldToMatch"], f, "The log's redacted_fields", faults) for f in fields],
    }
    if logging["filter"]:
        result["LoggingFilter"] = to_api(shapes["LoggingFilter"], logging["filter"], "The log's filter", faults)
    return {name: value for name, value in result.items() if value}


def counting(rule):
    """Return a rule that only counts what it would have stopped."""
    kind = next(iter(rule.get("Statement") or {}), "")
    if kind in GROUPS:
        return {**rule, "OverrideAction": {"Count": {}}}
    stops = any(name in STOPPING for name in rule.get("Action") or {})
    return {**rule, "Action": {"Count": {}}} if stops else rule


# References


def resolve(value, arns):
    """Return a value with the references that I(arns) knows replaced by their ARN."""
    if isinstance(value, Reference):
        return arns.get(str(value), value)
    if isinstance(value, dict):
        return {key: resolve(inner, arns) for key, inner in value.items()}
    return [resolve(entry, arns) for entry in value] if isinstance(value, list) else value


def references(value):
    """Return the set of what a value refers to: references still open, and ARNs."""
    if isinstance(value, dict):
        own = {value["ARN"]} if isinstance(value.get("ARN"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    return set().union(*(references(entry) for entry in value)) if isinstance(value, list) else set()


# The plan


class Plan:
    """C(changes): list of dict operation, parameters, makes (reference) and diffs; C(by_hand): what the account has and
    nobody described, one line each; C(faults): sentences; C(rules): rules of the web ACL to ask CheckCapacity about,
    None when they stay; C(groups): the same for rule groups, by name."""

    def __init__(self):
        self.changes, self.by_hand, self.faults, self.diffs = [], [], [], []
        self.rules, self.groups = None, {}

    def add(self, operation, parameters, diffs, makes=None):
        given = {name: value for name, value in parameters.items() if value is not None}
        self.changes.append({"operation": operation, "parameters": given, "makes": makes, "diffs": diffs})


def difference(what, before, after):
    """Return one entry of the module's diff, of canonical values; None stands for nothing."""
    return {
        "before_header": what,
        "after_header": what,
        "before": "" if before is None else shown(canonical(before)),
        "after": "" if after is None else shown(canonical(after)),
    }


def plan(want, have):
    """Return the Plan from what the account has to what is wanted.

    :arg have: dict C(arns) (reference to ARN of what exists), C(ip_set), C(regex_set), C(rule_group) (name to dict
        content, token, of those that are described), C(summaries) (kind to list of summaries of the account), C(acl)
        (None or dict content, token, arn), C(logging), C(associated) (set of ARNs), C(foreign) (resource to the ARN of
        another web ACL), C(distributions) (ARN to dict web_acl, etag, config), C(tags) (ARN to dict).
    """
    result = Plan()
    for kind in KINDS:
        for name, wanted in want[kind].items():
            SET_PLANS[kind](result, want, have, name, resolve(wanted, have["arns"]))
    rules = plan_acl(result, want, have)
    known = set(have["arns"].values()) | {f"{kind}/{name}" for kind in KINDS for name in want[kind]}
    open_ones = {ref for ref in references(rules) if isinstance(ref, Reference) and ref not in known}
    result.faults += [
        f"A rule refers to the {ref.split('/')[0]} {ref.split('/', 1)[1]!r}, which is neither described nor there."
        for ref in sorted(open_ones)
    ]
    plan_logging(result, want, have)
    plan_resources(result, want, have)
    plan_tags(result, want, have)
    plan_prune(result, want, have, references(rules))
    return result


def _common(want, name, held):
    """Parameters that name an entity of the account."""
    identity = {"Name": name, "Scope": want["scope"]}
    return {**identity, "Id": held["id"], "LockToken": held["token"]} if held else identity


def _tags(want):
    tags = want["tags"] or {}
    return [{"Key": key, "Value": str(tags[key])} for key in sorted(tags)] or None


def _plan_set(result, want, have, kind, name, content):
    """Create or update a set or group with I(content)."""
    held = have[kind].get(name)
    what = f"{kind.replace('_', ' ')} {name}"
    operation = API_NAMES[kind]
    if held is None:
        parameters = {**_common(want, name, None), **content, "Tags": _tags(want)}
        result.add(f"create_{operation}", parameters, _diffs(what, {}, content), Reference(f"{kind}/{name}"))
        return
    before = {key: value for key, value in held["content"].items() if key in MUTABLE[kind] and value}
    wanted = {key: value for key, value in content.items() if key in MUTABLE[kind]}
    extra = {key: value for key, value in before.items() if key not in wanted}
    result.by_hand += [f"{snake(key)} of the {what}" for key in sorted(extra)]
    if want["keep"]:
        wanted = {**extra, **wanted}
    diffs = _diffs(what, before, wanted)
    if diffs:
        result.add(f"update_{operation}", {**_common(want, name, held), **wanted}, diffs)


def plan_ip_set(result, want, have, name, wanted):
    """Plan an IP set. Addresses that are not described are by hand; without a list they are nobody's business."""
    held = have["ip_set"].get(name)
    content = {**wanted, "Addresses": wanted["Addresses"] or []}
    if held:
        there = [_network(address) for address in held["content"].get("Addresses") or []]
        if held["content"]["IPAddressVersion"] != wanted["IPAddressVersion"]:
            result.faults.append(
                f"The IP set {name} is of {held['content']['IPAddressVersion']}, which cannot change; use another name."
            )
        described = {_network(address) for address in content["Addresses"]}
        extra = [address for address in there if address not in described]
        if wanted["Addresses"] is None:
            content["Addresses"] = there
        else:
            result.by_hand += [f"address {address} in the IP set {name}" for address in extra]
            content["Addresses"] = [*content["Addresses"], *extra] if want["keep"] else content["Addresses"]
    _plan_set(result, want, have, "ip_set", name, content)


def plan_regex_set(result, want, have, name, wanted):
    """Plan a regex pattern set."""
    held = have["regex_set"].get(name)
    there = (held["content"].get("RegularExpressionList") or []) if held else []
    extra = [entry for entry in there if entry not in wanted["RegularExpressionList"]]
    result.by_hand += [f"pattern {entry['RegexString']} in the regex set {name}" for entry in extra]
    patterns = [*wanted["RegularExpressionList"], *(extra if want["keep"] else [])]
    _plan_set(result, want, have, "regex_set", name, {**wanted, "RegularExpressionList": patterns})


def plan_rule_group(result, want, have, name, wanted):
    """Plan a rule group; its capacity is fixed when it is made."""
    held = have["rule_group"].get(name)
    there = (held["content"].get("Rules") or []) if held else []
    rules = merge_rules(result, want, wanted["Rules"], there, f"the rule group {name}")
    capacity = wanted.get("Capacity")
    if held and capacity and capacity != held["content"]["Capacity"]:
        result.faults.append(
            f"The rule group {name} has the capacity {held['content']['Capacity']}, which cannot become {capacity};"
            " make another group."
        )
    if not held or not equal(there, rules):
        result.groups[name] = rules
    _plan_set(result, want, have, "rule_group", name, {**wanted, "Rules": rules})


SET_PLANS = {"ip_set": plan_ip_set, "regex_set": plan_regex_set, "rule_group": plan_rule_group}


def merge_rules(result, want, wanted, there, where):
    """Return the rules to have, by priority: described ones, and those made by hand when they are kept.

    A described rule that the account has already is sent as it is there, so that its rate counts go on.
    """
    names = {rule["Name"] for rule in wanted}
    extra = [rule for rule in there if rule["Name"] not in names]
    result.by_hand += [f"rule {rule['Name']} (priority {rule['Priority']}) in {where}" for rule in extra]
    held = {rule["Name"]: rule for rule in there}
    rules = [held[r["Name"]] if r["Name"] in held and equal(held[r["Name"]], r) else r for r in wanted]
    if want["keep"]:
        taken = {rule["Priority"]: rule["Name"] for rule in wanted}
        result.faults += [
            f"The rule {rule['Name']} was made by hand in {where} with the priority {rule['Priority']} of the rule"
            f" {taken[rule['Priority']]}; give the latter another one."
            for rule in extra
            if rule["Priority"] in taken
        ]
        rules = [*rules, *extra]
    return sorted(rules, key=lambda rule: rule["Priority"])


def _rule_diffs(what, before, after):
    """Return one entry for each rule that differs."""
    held, wanted = ({rule["Name"]: rule for rule in rules} for rules in (before, after))
    return [
        difference(f"{what}, rule {name}", held.get(name), wanted.get(name))
        for name in sorted(held.keys() | wanted.keys(), key=lambda n: (wanted.get(n) or held[n])["Priority"])
        if not (name in held and name in wanted and equal(held[name], wanted[name]))
    ]


def _other_diffs(what, before, after):
    """Return the entry for what differs besides the rules, if anything does."""
    one, other = ({k: v for k, v in canonical(side).items() if k != "Rules"} for side in (before, after))
    return [] if one == other else [difference(what, one, other)]


def _diffs(what, before, after):
    """Return the entries for what differs, the rules one by one."""
    rules = _rule_diffs(what, before.get("Rules") or [], after.get("Rules") or [])
    return [*_other_diffs(what, before, after), *rules]


def plan_acl(result, want, have):
    """Plan the web ACL itself and return the rules that it will have."""
    what, held = f"web ACL {want['name']}", have["acl"]
    wanted = resolve(want["acl"], have["arns"])
    content = held["content"] if held else {}
    rules = merge_rules(result, want, wanted["Rules"], content.get("Rules") or [], f"the {what}")
    after = {**wanted, "Rules": rules}
    extra = {name: value for name, value in content.items() if name not in wanted and value not in (None, [], {})}
    extra.pop("Rules", None)
    if held:
        result.by_hand += [f"{snake(name)} of the {what}" for name in sorted(extra) if name != "Description"]
        _bodies_by_hand(result, want, after, content)
    if want["keep"]:
        after = {**extra, **after}
    if held is None:
        result.rules = rules
        parameters = {**_common(want, want["name"], None), **after, "Tags": _tags(want)}
        result.add("create_web_acl", parameters, _diffs(what, {}, after), Reference("web_acl"))
        return rules
    diffs = _diffs(what, content, after)
    if diffs:
        if not equal(content.get("Rules") or [], rules):
            result.rules = rules
        result.add("update_web_acl", {**_common(want, want["name"], held), **after}, diffs)
    return rules


def _bodies_by_hand(result, want, after, content):
    """Bodies of responses that nobody described, beside described ones."""
    bodies, there = after.get("CustomResponseBodies"), content.get("CustomResponseBodies") or {}
    if bodies is None:
        return
    extra = {key: there[key] for key in sorted(there) if key not in bodies}
    result.by_hand += [f"custom response body {key} of the web ACL {want['name']}" for key in extra]
    if want["keep"]:
        after["CustomResponseBodies"] = {**extra, **bodies}


def plan_logging(result, want, have):
    """Plan the logging configuration."""
    wanted, held = want["logging"], have["logging"]
    what = f"logging of the web ACL {want['name']}"
    arn = have["acl"]["arn"] if have["acl"] else Reference("web_acl")
    if wanted:
        there = {key: held.get(key) for key in wanted} if held else None
        extra = [key for key in ("RedactedFields", "LoggingFilter") if held and held.get(key) and key not in wanted]
        if there is None or extra or not equal(there, wanted):
            before = {**(there or {}), **{key: held[key] for key in extra}} if held else None
            configuration = {**wanted, "ResourceArn": arn}
            diffs = [difference(what, before, wanted)]
            result.add("put_logging_configuration", {"LoggingConfiguration": configuration}, diffs)
    elif wanted is False and held:
        shown_before = {key: held[key] for key in ("LogDestinationConfigs", "RedactedFields") if held.get(key)}
        result.add("delete_logging_configuration", {"ResourceArn": arn}, [difference(what, shown_before, None)])


def plan_resources(result, want, have):
    """Plan which resources the web ACL protects."""
    if want["resources"] is None:
        return
    acl = have["acl"]["arn"] if have["acl"] else Reference("web_acl")
    for arn in want["resources"]:
        if arn in have["distributions"]:
            _plan_distribution(result, want, have, arn, acl)
        elif arn not in have["associated"]:
            before = have["foreign"].get(arn)
            diffs = [_association(arn, before, want["name"])]
            result.add("associate_web_acl", {"WebACLArn": acl, "ResourceArn": arn}, diffs)
    for arn in sorted(have["associated"] - set(want["resources"])):
        result.by_hand.append(f"resource {arn} of the web ACL {want['name']}")
        if want["purge_resources"]:
            result.add("disassociate_web_acl", {"ResourceArn": arn}, [_association(arn, want["name"], None)])


def _association(arn, before, after):
    return difference(f"resource {arn}", {"web_acl": before} if before else None, {"web_acl": after} if after else None)


def _plan_distribution(result, want, have, arn, acl):
    held = have["distributions"][arn]
    if held["web_acl"] != acl:
        parameters = {"Id": arn.rsplit("/", 1)[-1], "IfMatch": held["etag"]}
        parameters["DistributionConfig"] = {**held["config"], "WebACLId": acl}
        result.add("update_distribution", parameters, [_association(arn, held["web_acl"] or None, want["name"])])


def plan_tags(result, want, have):
    """Plan the tags of what exists already; new things get theirs when they are made."""
    if want["tags"] is None:
        return
    wanted = {key: str(value) for key, value in want["tags"].items()}
    for arn in sorted(have["tags"]):
        held = have["tags"][arn]
        name = "/".join(arn.split("/")[-3:-1])
        missing = {key: value for key, value in wanted.items() if held.get(key) != value}
        extra = sorted(set(held) - set(wanted)) if want["purge_tags"] else []
        after = {**{key: value for key, value in held.items() if key not in extra}, **wanted}
        diffs = [
            {"before_header": f"tags of {name}", "after_header": f"tags of {name}", "before": held, "after": after}
        ]
        if missing:
            tags = [{"Key": key, "Value": missing[key]} for key in sorted(missing)]
            result.add("tag_resource", {"ResourceARN": arn, "Tags": tags}, diffs)
        if extra:
            result.add("untag_resource", {"ResourceARN": arn, "TagKeys": extra}, [] if missing else diffs)


def plan_prune(result, want, have, used):
    """Plan the deletion of sets and groups with the prefix that nobody describes or uses any more: groups first."""
    prefix = want["prune_prefix"]
    for kind in reversed(KINDS) if prefix else ():
        for summary in have["summaries"].get(kind, []):
            name = summary["Name"]
            if name.startswith(prefix) and name not in want[kind] and summary["ARN"] not in used:
                _plan_delete(result, want, kind, summary)


def _plan_delete(result, want, kind, summary):
    parameters = {"Name": summary["Name"], "Scope": want["scope"]}
    parameters.update({"Id": summary["Id"], "LockToken": summary["LockToken"]})
    diffs = [difference(f"{kind.replace('_', ' ')} {summary['Name']}", {"Name": summary["Name"]}, None)]
    result.add(f"delete_{API_NAMES[kind]}", parameters, diffs)


def plan_absent(want, have):
    """Return the Plan that removes the web ACL, its log, its associations and the described sets and groups."""
    result = Plan()
    acl = have["acl"]
    if acl:
        if have["logging"]:
            plan_logging(result, {**want, "logging": False}, have)
        for arn in sorted(have["associated"]):
            result.add("disassociate_web_acl", {"ResourceArn": arn}, [_association(arn, want["name"], None)])
        for arn, held in have["distributions"].items():
            if held["web_acl"] == acl["arn"]:
                _plan_distribution(result, {**want, "name": None}, have, arn, "")
        diffs = _diffs(f"web ACL {want['name']}", acl["content"], {})
        result.add("delete_web_acl", _common(want, want["name"], acl), diffs)
    for kind in reversed(KINDS):
        for summary in have["summaries"].get(kind, []):
            if summary["Name"] in want[kind]:
                _plan_delete(result, want, kind, summary)
    return result


def capacity_faults(name, needed, allowed):
    """Return the sentence for rules that need more WCU than allowed, if they do."""
    if needed <= allowed:
        return []
    return [f"{name} needs {needed} WCU; {allowed} are allowed."]


def capacity_warning(needed):
    """Return the warning for a web ACL above what its price includes, "" otherwise."""
    if needed <= waf_capacity.INCLUDED:
        return ""
    return f"The web ACL needs {needed} WCU; above {waf_capacity.INCLUDED} AWS charges more for each request."

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CloudTrail trail: checks, what the API is to be told, canonical forms of its selectors, the plan. Pure."""

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

#: CloudTrail API Reference, CreateTrail: Name.
NAME = re.compile(r"[A-Za-z0-9]([._-]?[A-Za-z0-9])*[A-Za-z0-9]\Z")
MAX_NAME, MAX_PREFIX = 128, 200
ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}\Z")
GROUP = re.compile(r"arn:aws[a-z-]*:logs:[a-z0-9-]+:\d{12}:log-group:[^:*]+(:\*)?\Z")
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+\Z")
#: PutEventSelectors of the same reference.
BASIC_TYPES = ("AWS::S3::Object", "AWS::Lambda::Function", "AWS::DynamoDB::Table")
EXCLUDABLE = ("kms.amazonaws.com", "rdsdata.amazonaws.com")
MAX_SELECTORS, MAX_RESOURCES, MAX_VALUES = 5, 250, 500
CATEGORIES = ("Management", "Data", "NetworkActivity")
FIELDS = (
    "eventCategory", "eventName", "eventSource", "eventType", "errorCode", "readOnly", "resources.ARN",
    "resources.type", "sessionCredentialFromConsole", "userIdentity.arn", "vpcEndpointId",
)  # fmt: skip
OPERATORS = {
    "equals": "Equals",
    "starts_with": "StartsWith",
    "ends_with": "EndsWith",
    "not_equals": "NotEquals",
    "not_starts_with": "NotStartsWith",
    "not_ends_with": "NotEndsWith",
}
INSIGHTS = ("ApiCallRateInsight", "ApiErrorRateInsight")
#: Option of the module to member of CreateTrail, and what the absence of the member in an answer means.
SETTINGS = {
    "bucket": ("S3BucketName", ""),
    "key_prefix": ("S3KeyPrefix", ""),
    "sns_topic": ("SnsTopicName", ""),
    "multi_region": ("IsMultiRegionTrail", False),
    "global_events": ("IncludeGlobalServiceEvents", True),
    "log_file_validation": ("LogFileValidationEnabled", False),
    "organization": ("IsOrganizationTrail", False),
    "kms_key_id": ("KmsKeyId", ""),
    "log_group_arn": ("CloudWatchLogsLogGroupArn", ""),
    "log_role_arn": ("CloudWatchLogsRoleArn", ""),
}
#: A trail without selectors logs all management events.
DEFAULT_SELECTOR = {"read_write": "All", "management_events": True, "exclude": [], "data_resources": []}


# Checks


def faults(params):
    """Return what is wrong with the options of the module, one sentence each."""
    name, where, found = params["name"], f"The trail {params['name']}", []
    if not 3 <= len(name) <= MAX_NAME or not NAME.match(name) or ADDRESS.match(name):
        found.append(f"{where} has no valid name: 3 to 128 letters, digits and single . - _ between them, no address.")
    if params["state"] == "absent":
        return found
    if not params["bucket"]:
        found.append(f"{where} has no bucket.")
    if len(params["key_prefix"]) > MAX_PREFIX or params["key_prefix"].endswith("/"):
        found.append(
            f"{where} has the key_prefix {params['key_prefix']!r}; at most {MAX_PREFIX} characters, no final /."
        )
    if params["multi_region"] and not params["global_events"]:
        found.append(f"{where} covers all regions; then global_events must be true.")
    if bool(params["log_group_arn"]) != bool(params["log_role_arn"]):
        found.append(f"{where} must have log_group_arn and log_role_arn together.")
    if params["log_group_arn"] and not GROUP.match(params["log_group_arn"]):
        found.append(f"{where} has the log_group_arn {params['log_group_arn']!r}; it must be the ARN of a log group.")
    if params["log_role_arn"] and not ROLE.match(params["log_role_arn"]):
        found.append(f"{where} has the log_role_arn {params['log_role_arn']!r}; it must be the ARN of a role.")
    if params["event_selectors"] and params["advanced_event_selectors"]:
        found.append(f"{where} has basic and advanced event selectors; AWS takes one kind.")
    found += [f"{where}: {fault}." for fault in _basic_faults(params["event_selectors"] or [])]
    found += [f"{where}: {fault}." for fault in _advanced_faults(params["advanced_event_selectors"] or [])]
    return found + [f"{where}: {fault}." for fault in _insight_faults(params)]


def _basic_faults(selectors):
    found = []
    if len(selectors) > MAX_SELECTORS:
        found.append(f"there are {len(selectors)} event selectors, at most {MAX_SELECTORS}; use advanced ones")
    resources = [resource for selector in selectors for resource in selector["data_resources"]]
    for resource in resources:
        if resource["type"] not in BASIC_TYPES:
            kinds = ", ".join(BASIC_TYPES)
            found.append(f"the data resource type {resource['type']} is not one of {kinds}; use advanced selectors")
        if not all(str(value).startswith("arn:aws") for value in resource["values"]) or not resource["values"]:
            found.append(
                f"the values of {resource['type']} must be ARNs or beginnings of them, such as arn:aws:s3:::name/"
            )
    count = sum(len(resource["values"]) for resource in resources)
    if count > MAX_RESOURCES:
        found.append(f"there are {count} data resources, at most {MAX_RESOURCES}; use advanced selectors")
    for selector in selectors:
        wrong = sorted(set(selector["exclude"]) - set(EXCLUDABLE))
        if wrong:
            found.append(f"exclude has {', '.join(wrong)}; only {' and '.join(EXCLUDABLE)} can be left out")
    return found


def _advanced_faults(selectors):
    found = []
    for selector in selectors:
        where = f"the advanced selector {selector['name'] or '(without name)'}"
        fields = {entry["field"]: entry for entry in selector["fields"]}
        if len(fields) != len(selector["fields"]):
            found.append(f"{where} has a field twice")
        wrong = sorted(set(fields) - set(FIELDS))
        if wrong:
            found.append(f"{where} has the field {wrong[0]}; there are {', '.join(FIELDS)}")
        empty = [name for name, entry in fields.items() if not any(entry.get(operator) for operator in OPERATORS)]
        if empty:
            found.append(f"{where} compares the field {empty[0]} with nothing")
        category = (fields.get("eventCategory") or {}).get("equals") or []
        if len(category) != 1 or category[0] not in CATEGORIES:
            found.append(f"{where} must have eventCategory equal to one of {', '.join(CATEGORIES)}")
        elif category == ["Data"] and len((fields.get("resources.type") or {}).get("equals") or []) != 1:
            found.append(f"{where} is for data events and must have resources.type equal to one type")
    count = sum(
        len(entry.get(operator) or [])
        for selector in selectors
        for entry in selector["fields"]
        for operator in OPERATORS
    )
    if count > MAX_VALUES:
        found.append(f"the advanced selectors have {count} values, at most {MAX_VALUES}")
    return found


def _insight_faults(params):
    if not params["insights"] or _logs_management_writes(params):
        return []
    return ["insights need management events that write; a selector must log them"]


def _logs_management_writes(params):
    if params["advanced_event_selectors"]:
        return any(
            entry["field"] == "eventCategory" and entry.get("equals") == ["Management"]
            for selector in params["advanced_event_selectors"]
            for entry in selector["fields"]
        )
    selectors = params["event_selectors"] or [DEFAULT_SELECTOR]
    return any(s["management_events"] and s["read_write"] != "ReadOnly" for s in selectors)


# Canonical forms


def settings(trail):
    """Return the settings of a trail as DescribeTrails gives it, named as the module's options."""
    result = {option: trail.get(member, absent) for option, (member, absent) in SETTINGS.items()}
    result["log_group_arn"] = _group(result["log_group_arn"])
    return result


def wanted_settings(params):
    """Return the same of the module's options; kms_key_id must be the key's ARN."""
    result = {option: params[option] or absent for option, (_member, absent) in SETTINGS.items()}
    result["global_events"] = params["global_events"]
    result["sns_topic"] = result["sns_topic"].rsplit(":", 1)[-1]
    result["log_group_arn"] = _group(result["log_group_arn"])
    return result


def _group(arn):
    return f"{arn.removesuffix(':*')}:*" if arn else ""


def basic_request(selectors):
    """Return EventSelectors of PutEventSelectors."""
    return [
        {
            "ReadWriteType": selector["read_write"],
            "IncludeManagementEvents": selector["management_events"],
            "DataResources": [{"Type": r["type"], "Values": list(r["values"])} for r in selector["data_resources"]],
            "ExcludeManagementEventSources": list(selector["exclude"]),
        }
        for selector in selectors
    ]


def advanced_request(selectors):
    """Return AdvancedEventSelectors of PutEventSelectors."""
    return [
        {
            "Name": selector["name"],
            "FieldSelectors": [
                {
                    "Field": entry["field"],
                    **{api: list(entry[option]) for option, api in OPERATORS.items() if entry.get(option)},
                }
                for entry in selector["fields"]
            ],
        }
        for selector in selectors
    ]


def canonical_selectors(answer):
    """Return what the selectors mean, of a request or an answer: (kind, list in order), equal for equal selectors."""
    if answer.get("AdvancedEventSelectors"):
        return "advanced", sorted((_canonical_advanced(entry) for entry in answer["AdvancedEventSelectors"]), key=repr)
    entries = answer.get("EventSelectors") or basic_request([DEFAULT_SELECTOR])
    return "basic", sorted((_canonical_basic(entry) for entry in entries), key=repr)


def _canonical_basic(entry):
    resources = {}
    for resource in entry.get("DataResources") or []:
        resources.setdefault(resource["Type"], set()).update(resource.get("Values") or [])
    return {
        "read_write": entry.get("ReadWriteType") or "All",
        "management_events": entry.get("IncludeManagementEvents") is not False,
        "exclude": sorted(set(entry.get("ExcludeManagementEventSources") or [])),
        "data_resources": {kind: sorted(resources[kind]) for kind in sorted(resources)},
    }


def _canonical_advanced(entry):
    fields = {
        field["Field"]: {api: sorted(set(field[api])) for api in sorted(OPERATORS.values()) if field.get(api)}
        for field in sorted(entry["FieldSelectors"], key=lambda field: field["Field"])
    }
    return {"name": entry.get("Name") or "", "fields": fields}


def wanted_selectors(params):
    """Return the parameters of PutEventSelectors but the name; without selectors those of a new trail."""
    if params["advanced_event_selectors"]:
        return {"AdvancedEventSelectors": advanced_request(params["advanced_event_selectors"])}
    return {"EventSelectors": basic_request(params["event_selectors"] or [DEFAULT_SELECTOR])}


# Plan


def plan(params, have):
    """Return the steps in order, [] when all is as wanted.

    :arg params: the module's options, kms_key_id as the key's ARN.
    :arg have: None, or dict trail, logging, selectors (answer of GetEventSelectors), insights (list of types), tags.
    Steps are dicts: action, parameters, before, after.
    """
    name = params["name"]
    if params["state"] == "absent":
        return [_step("delete_trail", {"Name": name}, {"trail": name}, {})] if have else []
    wanted, steps = wanted_settings(params), []
    if have is None:
        tags = aws.tag_list({key: str(value) for key, value in params["tags"].items()})
        given = {_member(option): value for option, value in wanted.items() if value not in ("", None)}
        parameters = {"Name": name, **given, **({"TagsList": tags} if tags else {})}
        steps.append(_step("create_trail", parameters, {}, {**wanted, "tags": params["tags"]}))
        have = {"selectors": {}, "insights": [], "logging": False, "tags": None}
    else:
        steps += _update(name, wanted, settings(have["trail"]))
    steps += _selector_steps(params, have) + _insight_steps(params, have) + _tag_steps(params, have)
    if have["logging"] != params["logging"]:
        action = "start_logging" if params["logging"] else "stop_logging"
        steps.append(_step(action, {"Name": name}, {"logging": have["logging"]}, {"logging": params["logging"]}))
    return steps


def _step(action, parameters, before, after):
    return {"action": action, "parameters": parameters, "before": before, "after": after}


def _member(option):
    member = SETTINGS[option][0]
    return "EnableLogFileValidation" if member == "LogFileValidationEnabled" else member


def _update(name, wanted, have):
    differing = [option for option in SETTINGS if wanted[option] != have[option]]
    if not differing:
        return []
    parameters = {"Name": name, **{_member(option): wanted[option] for option in differing}}
    # AWS takes the group and its role only together.
    if {"log_group_arn", "log_role_arn"} & set(differing):
        parameters.update(
            {_member(option): wanted[option] for option in ("log_group_arn", "log_role_arn")},
        )
    before, after = ({option: side[option] for option in differing} for side in (have, wanted))
    return [_step("update_trail", parameters, before, after)]


def _selector_steps(params, have):
    wanted = wanted_selectors(params)
    before, after = canonical_selectors(have["selectors"]), canonical_selectors(wanted)
    if before == after:
        return []
    texts = {"before": {"event_selectors": before[1]}, "after": {"event_selectors": after[1]}}
    return [{"action": "put_event_selectors", "parameters": {"TrailName": params["name"], **wanted}, **texts}]


def _insight_steps(params, have):
    before, after = sorted(have["insights"]), sorted(set(params["insights"]))
    if before == after:
        return []
    parameters = {"TrailName": params["name"], "InsightSelectors": [{"InsightType": kind} for kind in after]}
    return [_step("put_insight_selectors", parameters, {"insights": before}, {"insights": after})]


def _tag_steps(params, have):
    if have["tags"] is None:
        return []
    changed, removed = aws.tag_changes(have["tags"], params["tags"], params["purge_tags"])
    arn, steps = have["trail"]["TrailARN"], []
    if removed:
        old = {key: have["tags"][key] for key in removed}
        parameters = {"ResourceId": arn, "TagsList": aws.tag_list(old)}
        steps.append(_step("remove_tags", parameters, {"tags removed": old}, {}))
    if changed:
        parameters = {"ResourceId": arn, "TagsList": aws.tag_list(changed)}
        old = {key: have["tags"].get(key) for key in changed}
        steps.append(_step("add_tags", parameters, {"tags": old}, {"tags": changed}))
    return steps

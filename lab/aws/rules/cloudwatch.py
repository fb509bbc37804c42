"""What CloudWatch and CloudWatch Logs refuse."""

from __future__ import annotations

import json
import re
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule

PUT = "CloudWatch API Reference, PutMetricAlarm"
COMPOSITE = "CloudWatch API Reference, PutCompositeAlarm"
DELETE = "CloudWatch API Reference, DeleteAlarms"
DAY, WEEK, HOUR = 86400, 604800, 3600
BAND_OPERATORS = ("LessThanLowerOrGreaterThanUpperThreshold", "LessThanLowerThreshold", "GreaterThanUpperThreshold")
CHILD = re.compile(r"\b(?:ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(\"(?:[^\"\\]|\\.)*\"|[^()\"]+?)\s*\)")
ACTION = re.compile(r"arn:aws[\w-]*:(sns|automate|autoscaling|swf|ssm|ssm-incidents|lambda|aiops):[\w-]*:\w*:.+")
ACTION_LISTS = ("AlarmActions", "OKActions", "InsufficientDataActions")
RETENTION = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
MAX_WIDGETS = 500
Refusal = dict[str, Any] | None


def alarms(call: Call) -> dict[str, dict[str, Any]]:
    """The alarms of a region by name: `kind` (metric or composite), `params` of the last Put, `arn`, `state`."""
    return call.backend("cloudwatch").__dict__.setdefault("lab_alarms", {})


def children(text: str) -> set[str]:
    """The names of the alarms that an alarm rule reads, by name or ARN."""
    found = (re.sub(r"\\(.)", r"\1", name.strip('"')) for name in CHILD.findall(text))
    return {name.split(":alarm:", 1)[1] if name.startswith("arn:") else name for name in found}


def _periods(params: dict[str, Any]) -> list[int]:
    metrics = params.get("Metrics") or []
    found = [m.get("Period") or (m.get("MetricStat") or {}).get("Period") for m in metrics]
    return [period for period in [params.get("Period"), *found] if period]


@rule("cloudwatch", "PutMetricAlarm", "MissingParameter", "The parameter {name} is required.", PUT)
def alarm_incomplete(call: Call) -> Refusal:
    p = call.params
    if p.get("Metrics"):
        return None
    names = ("MetricName", "Namespace", "Period")
    missing = [name for name in names if not p.get(name)]
    missing += [] if p.get("Statistic") or p.get("ExtendedStatistic") else ["Statistic"]
    missing += [] if p.get("Threshold") is not None else ["Threshold"]
    return {"name": missing[0]} if missing else None


@rule(
    "cloudwatch",
    "PutMetricAlarm",
    "InvalidParameterCombination",
    "The parameters {one} and {other} cannot be used together.",
    PUT,
)
def alarm_combination(call: Call) -> Refusal:
    p = call.params
    pairs = [("Statistic", "ExtendedStatistic"), ("Threshold", "ThresholdMetricId")]
    single = ("MetricName", "Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic")
    pairs += [(name, "Metrics") for name in single]
    found = next(((a, b) for a, b in pairs if p.get(a) is not None and p.get(a) != [] and p.get(b)), None)
    return {"one": found[0], "other": found[1]} if found else None


@rule("cloudwatch", "PutMetricAlarm", "ValidationError", "Period must be 10, 20, 30 or a multiple of 60", PUT)
def alarm_period(call: Call) -> Refusal:
    return next(({} for p in _periods(call.params) if p not in (10, 20, 30) and p % 60), None)


@rule(
    "cloudwatch",
    "PutMetricAlarm",
    "ValidationError",
    "Metrics cannot be checked across more than {what} (EvaluationPeriods * Period must be <= {limit}).",
    PUT,
)
def alarm_window(call: Call) -> Refusal:
    longest = max(_periods(call.params), default=0)
    limit, what = (WEEK, "seven days") if longest >= HOUR else (DAY, "a day")
    return {"what": what, "limit": limit} if longest * call.params.get("EvaluationPeriods", 1) > limit else None


@rule(
    "cloudwatch",
    "PutMetricAlarm",
    "ValidationError",
    "DatapointsToAlarm must be less than or equal to EvaluationPeriods",
    PUT,
)
def alarm_datapoints(call: Call) -> Refusal:
    return {} if (call.params.get("DatapointsToAlarm") or 0) > call.params.get("EvaluationPeriods", 1) else None


@rule(
    "cloudwatch",
    "PutMetricAlarm",
    "ValidationError",
    "Exactly one element of the metrics list should return data.",
    PUT,
)
def alarm_returns(call: Call) -> Refusal:
    metrics = call.params.get("Metrics") or []
    band = call.params.get("ThresholdMetricId")
    returned = [m for m in metrics if m.get("ReturnData", True) and m.get("Id") != band]
    return {} if metrics and len(returned) != 1 else None


@rule("cloudwatch", "PutMetricAlarm", "ValidationError", "Invalid metrics list: {what}.", PUT)
def alarm_metrics(call: Call) -> Refusal:
    metrics = call.params.get("Metrics") or []
    ids = [m.get("Id", "") for m in metrics]
    if len(set(ids)) != len(ids):
        return {"what": "the values for parameter id are not unique"}
    wrong = next((i for i in ids if not re.fullmatch(r"[a-z][a-zA-Z0-9_]*", i)), None)
    if wrong is not None:
        return {"what": f"the value {wrong} for parameter id does not match the pattern ^[a-z][a-zA-Z0-9_]*$"}
    if any(bool(m.get("Expression")) == bool(m.get("MetricStat")) for m in metrics):
        return {"what": "each entry must have either Expression or MetricStat"}
    band = call.params.get("ThresholdMetricId")
    expression = next((m.get("Expression", "") for m in metrics if m.get("Id") == band), "")
    if band and "ANOMALY_DETECTION_BAND" not in expression:
        return {"what": "ThresholdMetricId must be the id of an ANOMALY_DETECTION_BAND expression"}
    return None


@rule(
    "cloudwatch",
    "PutMetricAlarm",
    "ValidationError",
    "ComparisonOperator {operator} requires {what}.",
    PUT,
)
def alarm_operator(call: Call) -> Refusal:
    operator, band = call.params.get("ComparisonOperator"), call.params.get("ThresholdMetricId")
    if (operator in BAND_OPERATORS) == bool(band):
        return None
    return {"operator": operator, "what": "a Threshold" if band else "a ThresholdMetricId"}


@rule("cloudwatch", "PutMetricAlarm PutCompositeAlarm", "ValidationError", "Invalid arn syntax: {arn}", PUT)
def alarm_action(call: Call) -> Refusal:
    given = (arn for name in ACTION_LISTS for arn in call.params.get(name) or [])
    return next(({"arn": arn} for arn in given if not ACTION.fullmatch(arn)), None)


@rule(
    "cloudwatch",
    "PutMetricAlarm PutCompositeAlarm",
    "ValidationError",
    "{arn} is not supported for this alarm: EC2 actions need a metric with the single dimension InstanceId",
    "CloudWatch User Guide, Create alarms to stop, terminate, reboot, or recover an EC2 instance",
)
def alarm_ec2_action(call: Call) -> Refusal:
    given = (arn for name in ACTION_LISTS for arn in call.params.get(name) or [])
    arn = next((arn for arn in given if ":automate:" in arn), None)
    names = [d["Name"] for d in call.params.get("Dimensions") or []]
    return {"arn": arn} if arn and names != ["InstanceId"] else None


@rule("cloudwatch", "PutMetricAlarm PutCompositeAlarm", "ValidationError", "{name} is the name of a {kind} alarm", PUT)
def alarm_of_another_kind(call: Call) -> Refusal:
    known = alarms(call).get(call.params.get("AlarmName"))
    kind = "composite" if call.action == "PutCompositeAlarm" else "metric"
    return None if known is None or known["kind"] == kind else {"name": call.params["AlarmName"], "kind": known["kind"]}


@rule("cloudwatch", "PutCompositeAlarm", "ValidationError", "AlarmRule is not valid: {rule}", COMPOSITE)
def rule_unreadable(call: Call) -> Refusal:
    text = call.params.get("AlarmRule", "")
    rest = re.sub(r"\b(AND|OR|NOT|TRUE|FALSE)\b|[()\s]", "", CHILD.sub("", text))
    return {"rule": text} if rest or text.count("(") != text.count(")") else None


@rule(
    "cloudwatch",
    "PutCompositeAlarm",
    "ValidationError",
    "Could not save the composite alarm as alarms [{names}] in the alarm rule do not exist",
    COMPOSITE,
)
def rule_unknown_alarms(call: Call) -> Refusal:
    known = alarms(call)
    wanted = children(call.params.get("AlarmRule", ""))
    suppressor = call.params.get("ActionsSuppressor")
    wanted |= {suppressor.rsplit(":alarm:", 1)[-1]} if suppressor else set()
    missing = sorted(wanted - set(known))
    return {"names": ", ".join(missing)} if missing else None


@rule(
    "cloudwatch",
    "DeleteAlarms",
    "ValidationError",
    "Exactly one composite alarm can be deleted in a request",
    DELETE,
)
def delete_composites(call: Call) -> Refusal:
    known = alarms(call)
    kinds = [known[name]["kind"] for name in call.params.get("AlarmNames") or [] if name in known]
    return {} if kinds.count("composite") > 1 else None


@rule("cloudwatch", "DeleteAlarms", "ResourceNotFound", "Unknown alarm: {name}", DELETE, 404)
def delete_unknown(call: Call) -> Refusal:
    known = alarms(call)
    return next(({"name": name} for name in call.params.get("AlarmNames") or [] if name not in known), None)


@rule(
    "cloudwatch",
    "DeleteAlarms",
    "ValidationError",
    "Cannot delete {name} as there are composite alarm(s) depending on it: {parents}",
    DELETE,
)
def delete_needed(call: Call) -> Refusal:
    going = set(call.params.get("AlarmNames") or [])
    for name in sorted(going):
        parents = [
            parent
            for parent, entry in alarms(call).items()
            if entry["kind"] == "composite" and parent not in going and name in _reads(entry["params"])
        ]
        if parents:
            return {"name": name, "parents": ", ".join(sorted(parents))}
    return None


def _reads(params: dict[str, Any]) -> set[str]:
    suppressor = params.get("ActionsSuppressor")
    return children(params["AlarmRule"]) | ({suppressor.rsplit(":alarm:", 1)[-1]} if suppressor else set())


@rule(
    "cloudwatch",
    "TagResource UntagResource ListTagsForResource",
    "ResourceNotFoundException",
    "The named resource {arn} does not exist.",
    "CloudWatch API Reference, TagResource",
    404,
)
def tagged_unknown(call: Call) -> Refusal:
    arn = call.params.get("ResourceARN", "")
    return {"arn": arn} if ":alarm:" in arn and arn.split(":alarm:", 1)[1] not in alarms(call) else None


@rule(
    "cloudwatch",
    "PutDashboard",
    "InvalidParameterInput",
    "The field DashboardBody is invalid: {what}",
    "CloudWatch API Reference, Dashboard Body Structure and Syntax",
)
def dashboard_body(call: Call) -> Refusal:
    try:
        body = json.loads(call.params.get("DashboardBody", ""))
    except ValueError:
        return {"what": "it is not JSON"}
    widgets = body.get("widgets") if isinstance(body, dict) else None
    if not isinstance(widgets, list):
        return {"what": "Should have required property 'widgets'"}
    if len(widgets) > MAX_WIDGETS:
        return {"what": f"at most {MAX_WIDGETS} widgets are allowed"}
    wrong = next((w for w in widgets if not isinstance(w.get("properties"), dict) or not w.get("type")), None)
    return None if wrong is None else {"what": "a widget has no type or properties"}


@rule(
    "cloudwatch",
    "PutDashboard",
    "InvalidParameterValue",
    "DashboardName has invalid characters: {name}",
    "CloudWatch API Reference, PutDashboard",
)
def dashboard_name(call: Call) -> Refusal:
    name = call.params.get("DashboardName", "")
    return None if re.fullmatch(r"[A-Za-z0-9_-]{1,255}", name) else {"name": name}


@rule(
    "logs",
    "PutRetentionPolicy",
    "InvalidParameterException",
    "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
    "Member must satisfy enum value set: [{known}]",
    "CloudWatch Logs API Reference, PutRetentionPolicy",
)
def retention(call: Call) -> Refusal:
    days = call.params.get("retentionInDays")
    return None if days in RETENTION else {"days": days, "known": ", ".join(map(str, RETENTION))}


@rule(
    "logs",
    "CreateLogGroup AssociateKmsKey",
    "InvalidParameterException",
    "The specified KMS Key Id could not be found: {key}",
    "CloudWatch Logs API Reference, AssociateKmsKey",
)
def log_key(call: Call) -> Refusal:
    key = call.params.get("kmsKeyId")
    return {"key": key} if key and not kms_key(call, key, only_arn=True) else None


@rule(
    "logs",
    "AssociateKmsKey DisassociateKmsKey",
    "ResourceNotFoundException",
    "The specified log group does not exist.",
    "CloudWatch Logs API Reference, AssociateKmsKey",
)
def log_group_unknown(call: Call) -> Refusal:
    return None if call.params.get("logGroupName") in call.backend().groups else {}


@rule(
    "logs",
    "TagResource UntagResource",
    "ResourceNotFoundException",
    "The specified resource does not exist.",
    "CloudWatch Logs API Reference, TagResource",
)
def log_tags(call: Call) -> Refusal:
    arn = call.params.get("resourceArn", "")
    known = {group.arn for group in call.backend().groups.values()}
    return None if ":log-group:" not in arn or arn in known else {}


@rule(
    "resourcegroupstaggingapi",
    "GetResources",
    "InvalidParameterException",
    "ResourceARNList cannot be used together with the paging parameters.",
    "Resource Groups Tagging API Reference, GetResources",
)
def tagging_pages(call: Call) -> Refusal:
    paging = ("ResourcesPerPage", "TagsPerPage", "PaginationToken")
    return {} if call.params.get("ResourceARNList") and any(call.params.get(name) for name in paging) else None


def kms_key(call: Call, name: str, only_arn: bool = False) -> Any:
    """The key of an id, an ARN or (unless `only_arn`) an alias, None if there is none."""
    if only_arn and not name.startswith("arn:"):
        return None
    keys = call.backend("kms").keys
    last = name.split(":", 5)[-1] if name.startswith("arn:") else name
    if last.startswith("alias/"):
        return next((key for key in keys.values() if last in key.aliases), None)
    return keys.get(last.removeprefix("key/"))

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudWatch alarms and dashboards as a set: checks, what the API is to be told, canonical forms, the plan. Pure.

An alarm is a dict with the names of the module's option alarms; what the API shows is called a described alarm.
"""

from __future__ import annotations

import fnmatch
import json
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import alarm_rules, metric_table

BAND_OPERATORS = ("LessThanLowerOrGreaterThanUpperThreshold", "LessThanLowerThreshold", "GreaterThanUpperThreshold")
OPERATORS = (
    "GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanOrEqualToThreshold", "LessThanThreshold",
    *BAND_OPERATORS,
)  # fmt: skip
STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
#: CloudWatch User Guide, CloudWatch statistics definitions: percentiles, trimmed means and the like.
EXTENDED = re.compile(r"(p|tm|wm|tc|ts)(\d{1,2}(\.\d{1,10})?|100)\Z|IQM\Z|(PR|TM|WM|TC|TS)\([\d.%]*:[\d.%]*\)\Z")
#: CloudWatch API Reference, PutMetricAlarm and PutCompositeAlarm.
MAX_ACTIONS, MAX_TAGS, MAX_RULE, MAX_DESCRIPTION, MAX_DIMENSIONS = 5, 50, 10240, 1024, 30
#: The same, EvaluationPeriods: a day in all, seven days with periods of an hour or more.
DAY, WEEK, HOUR = 86400, 604800, 3600
SHORT_PERIODS = (10, 20, 30)
#: DeleteAlarms: 100 alarms in one call, at most one of them composite.
MAX_DELETE = 100
#: CloudWatch User Guide, Dashboard quotas: 500 widgets; a name of letters, digits, dash and underscore.
MAX_WIDGETS, WIDGETS_IN_ROW, WIDGET_WIDTH, WIDGET_HEIGHT = 500, 3, 8, 6
DASHBOARD = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
METRIC_ID = re.compile(r"[a-z][a-zA-Z0-9_]*\Z")
ARN = re.compile(r"arn:aws[a-z-]*:([a-z0-9-]+):([a-z0-9-]*):([a-z0-9]*):(.+)\Z")
#: PutMetricAlarm and PutCompositeAlarm, AlarmActions: the services that can be told.
ACTION_SERVICES = ("sns", "automate", "autoscaling", "swf", "ssm", "ssm-incidents", "lambda", "aiops")
COMPOSITE_SERVICES = ("sns", "ssm", "ssm-incidents", "lambda", "aiops")
ACTIONS = {
    "alarm_actions": "AlarmActions",
    "ok_actions": "OKActions",
    "insufficient_data_actions": "InsufficientDataActions",
}
SINGLE = ("namespace", "metric", "dimensions", "period", "statistic", "unit")
BAND_ID = "band"
#: A shorter prefix would own too much of an account.
MIN_PREFIX = 3


# What the API is to be told


def complete(alarm, defaults):
    """Return an alarm with the actions and tags that all alarms share where it has none of its own."""
    result = dict(alarm)
    for name in ACTIONS:
        if result.get(name) is None:
            result[name] = defaults.get(name) or []
    result["tags"] = {**(defaults.get("tags") or {}), **(alarm.get("tags") or {})}
    return result


def request(alarm):
    """Return the parameters of PutMetricAlarm or PutCompositeAlarm, without tags."""
    common = {
        "AlarmName": alarm["name"],
        "AlarmDescription": alarm.get("description") or "",
        "ActionsEnabled": alarm.get("actions_enabled") is not False,
        **{api: list(dict.fromkeys(alarm.get(name) or [])) for name, api in ACTIONS.items()},
    }
    return {**common, **(_composite(alarm) if alarm.get("rule") else _metric(alarm))}


def _composite(alarm):
    result = {"AlarmRule": alarm["rule"]}
    suppressor = alarm.get("suppressor")
    if suppressor:
        result["ActionsSuppressor"] = suppressor["alarm"]
        result["ActionsSuppressorWaitPeriod"] = suppressor["wait"]
        result["ActionsSuppressorExtensionPeriod"] = suppressor["extension"]
    return result


def _metric(alarm):
    result = {
        "ComparisonOperator": alarm["comparison"],
        "EvaluationPeriods": alarm["evaluation_periods"],
        "TreatMissingData": alarm.get("missing_data") or "missing",
    }
    if alarm.get("datapoints") is not None:
        result["DatapointsToAlarm"] = alarm["datapoints"]
    if alarm.get("low_samples"):
        result["EvaluateLowSampleCountPercentile"] = alarm["low_samples"]
    if alarm.get("band") is not None:
        return {**result, "ThresholdMetricId": BAND_ID, "Metrics": _with_band(alarm)}
    result["Threshold"] = float(alarm["threshold"])
    if alarm.get("metrics"):
        return {**result, "Metrics": [_query(entry) for entry in alarm["metrics"]]}
    return {**result, **_single(alarm)}


def _single(alarm):
    statistic = alarm.get("statistic") or "Average"
    result = {
        "Namespace": alarm["namespace"],
        "MetricName": alarm["metric"],
        "Dimensions": _dimensions(alarm.get("dimensions")),
        "Period": alarm.get("period") or 300,
        "Statistic" if statistic in STATISTICS else "ExtendedStatistic": statistic,
    }
    return {**result, "Unit": alarm["unit"]} if alarm.get("unit") else result


def _with_band(alarm):
    """Return the queries of an anomaly alarm: the metric (or expression) that returns data, and the band round it."""
    queries = [_query(entry) for entry in alarm.get("metrics") or [{"id": "m1", **{k: alarm.get(k) for k in SINGLE}}]]
    watched = next(query["Id"] for query in queries if query["ReturnData"])
    band = {"Id": BAND_ID, "Expression": f"ANOMALY_DETECTION_BAND({watched}, {alarm['band']:g})", "ReturnData": True}
    return [*queries, band]


def _query(entry):
    result = {"Id": entry["id"], "ReturnData": entry.get("return_data") is not False}
    if entry.get("label"):
        result["Label"] = entry["label"]
    if entry.get("expression"):
        result["Expression"] = entry["expression"]
        return {**result, "Period": entry["period"]} if entry.get("period") else result
    stat = {
        "Metric": {
            "Namespace": entry["namespace"],
            "MetricName": entry["metric"],
            "Dimensions": _dimensions(entry.get("dimensions")),
        },
        "Period": entry.get("period") or 300,
        "Stat": entry.get("statistic") or "Average",
    }
    return {**result, "MetricStat": {**stat, "Unit": entry["unit"]} if entry.get("unit") else stat}


def _dimensions(dimensions):
    return [{"Name": name, "Value": str(value)} for name, value in sorted((dimensions or {}).items())]


# Canonical forms


def canonical(params):
    """Return what an alarm means, of a request or of a described alarm: equal dicts are equal alarms."""
    result = {
        "description": params.get("AlarmDescription") or "",
        "actions_enabled": params.get("ActionsEnabled") is not False,
        **{name: sorted(set(params.get(api) or [])) for name, api in ACTIONS.items()},
    }
    if "AlarmRule" in params:
        return {**result, **_canonical_composite(params)}
    result.update(
        comparison=params.get("ComparisonOperator"),
        evaluation_periods=params.get("EvaluationPeriods"),
        datapoints=params.get("DatapointsToAlarm") or params.get("EvaluationPeriods"),
        missing_data=params.get("TreatMissingData") or "missing",
        low_samples=params.get("EvaluateLowSampleCountPercentile") or "evaluate",
    )
    if params.get("ThresholdMetricId"):
        result["threshold_id"] = params["ThresholdMetricId"]
    else:
        result["threshold"] = float(params.get("Threshold") or 0)
    if params.get("Metrics"):
        result["metrics"] = sorted((_canonical_query(query) for query in params["Metrics"]), key=lambda q: q["id"])
        return result
    statistic = params.get("Statistic") or params.get("ExtendedStatistic")
    return {**result, **_canonical_stat(params, params.get("Period"), statistic, params.get("Unit"))}


def _canonical_composite(params):
    try:
        rule = alarm_rules.parse(params["AlarmRule"])
    except alarm_rules.RuleError:
        rule = params["AlarmRule"]
    result = {"rule": rule}
    if params.get("ActionsSuppressor"):
        result["suppressor"] = {
            "alarm": alarm_rules.alarm_name(params["ActionsSuppressor"]),
            "wait": params.get("ActionsSuppressorWaitPeriod"),
            "extension": params.get("ActionsSuppressorExtensionPeriod"),
        }
    return result


def _canonical_query(query):
    result = {
        "id": query["Id"],
        "label": query.get("Label") or "",
        "return_data": query.get("ReturnData") is not False,
    }
    if query.get("Expression"):
        return {**result, "expression": canonical_expression(query["Expression"]), "period": query.get("Period")}
    stat = query["MetricStat"]
    return {**result, **_canonical_stat(stat["Metric"], stat["Period"], stat["Stat"], stat.get("Unit"))}


def _canonical_stat(metric, period, statistic, unit):
    return {
        "namespace": metric.get("Namespace"),
        "metric": metric.get("MetricName"),
        "dimensions": {entry["Name"]: entry["Value"] for entry in metric.get("Dimensions") or []},
        "period": period,
        "statistic": canonical_statistic(statistic),
        "unit": unit or "",
    }


def canonical_statistic(statistic):
    """Return a statistic as it is compared: p99.0 is p99."""
    match = re.match(r"(p|tm|wm|tc|ts)(\d+(?:\.\d+)?)\Z", statistic or "")
    return f"{match.group(1)}{float(match.group(2)):g}" if match else statistic


def canonical_expression(expression):
    """Return an expression as it is compared: blanks outside quotes count only between words."""
    parts = re.split(r"(\"[^\"]*\"|'[^']*')", expression.strip())
    for index in range(0, len(parts), 2):
        text = re.sub(r"\s+", " ", parts[index])
        parts[index] = re.sub(r"\s*([-+*/^(),<>=!&|\[\]])\s*", r"\1", text)
    return "".join(parts)


def shown(params, tags):
    """Return an alarm for a diff: what it means as readable data, its rule as it is written."""
    result = canonical(params)
    if "AlarmRule" in params:
        result["rule"] = params["AlarmRule"]
    return {**result, "tags": dict(tags)}


# Checks


def faults(params, region):
    """Return what is wrong with the options of the module, one sentence each.

    :arg params: the module's options prefix, alarms, dashboards, tags, known_metrics.
    """
    alarms = [complete(alarm, params) for alarm in params["alarms"]]
    found, seen = [], set()
    if len(params["prefix"]) < MIN_PREFIX:
        return [
            f"The prefix is {params['prefix']!r}; it must have {MIN_PREFIX} characters, as all that begins so is owned."
        ]
    for alarm in alarms:
        where = f"The alarm {alarm['name']}"
        if alarm["name"] in seen:
            found.append(f"{where} is there twice.")
        seen.add(alarm["name"])
        if not alarm["name"].startswith(params["prefix"]) or len(alarm["name"]) > 255:
            found.append(f"{where} must begin with the prefix {params['prefix']} and have at most 255 characters.")
        check = _composite_faults if alarm.get("rule") else _metric_faults
        found += [f"{where} {fault}." for fault in [*_common_faults(alarm, region), *check(alarm)]]
        found += [f"{where}: {fault}." for fault, _warning in _examined(alarm, params.get("known_metrics")) if fault]
    return found + _reference_faults(alarms, params["prefix"]) + _dashboard_faults(params, alarms)


def warnings(params):
    """Return a sentence for each custom metric that an alarm reads and that known_metrics does not name."""
    found = {}
    for alarm in params["alarms"]:
        for _fault, warning in _examined(alarm, params.get("known_metrics")):
            if warning:
                found.setdefault(warning, alarm["name"])
    return [f"The alarm {name}: {warning}; name it in known_metrics if it is right." for warning, name in found.items()]


def _examined(alarm, known):
    entries = [entry for entry in alarm.get("metrics") or [] if not entry.get("expression")]
    if alarm.get("metric") and alarm.get("namespace"):
        entries.append(alarm)
    return [
        metric_table.examine(entry["namespace"], entry["metric"], list(entry.get("dimensions") or {}), known)
        for entry in entries
        if entry.get("namespace") and entry.get("metric")
    ]


def _common_faults(alarm, region):
    found = []
    if len(alarm.get("description") or "") > MAX_DESCRIPTION:
        found.append(f"has a description of {len(alarm['description'])} characters; at most {MAX_DESCRIPTION}")
    if len(alarm["tags"]) > MAX_TAGS:
        found.append(f"has {len(alarm['tags'])} tags; at most {MAX_TAGS}")
    services = COMPOSITE_SERVICES if alarm.get("rule") else ACTION_SERVICES
    for name in ACTIONS:
        if len(set(alarm[name])) > MAX_ACTIONS:
            found.append(f"has {len(set(alarm[name]))} {name}; at most {MAX_ACTIONS}")
        found += [fault for arn in alarm[name] if (fault := _action_fault(alarm, name, arn, services, region))]
    return found


def _action_fault(alarm, name, arn, services, region):
    match = ARN.match(str(arn))
    if not match or match.group(1) not in services:
        kinds = ", ".join(services)
        return f"has {arn!r} in {name}; it must be an ARN of {kinds} (EventBridge hears of every alarm without one)"
    if match.group(2) and region and match.group(2) != region:
        return f"has {arn!r} in {name}; an action must be in the alarm's region {region}"
    if match.group(1) == "automate" and set(alarm.get("dimensions") or {}) != {"InstanceId"}:
        return f"has the EC2 action {arn!r} in {name}; it needs one metric with the single dimension InstanceId"
    return ""


def _composite_faults(alarm):
    found = []
    given = [name for name in (*SINGLE, "metrics", "threshold", "band", "comparison") if alarm.get(name) is not None]
    if given:
        found.append(f"has a rule and {', '.join(given)}; a composite alarm has only a rule")
    if len(alarm["rule"]) > MAX_RULE:
        found.append(f"has a rule of {len(alarm['rule'])} characters; at most {MAX_RULE}")
    try:
        alarm_rules.parse(alarm["rule"])
    except alarm_rules.RuleError as error:
        found.append(f"has a rule that is not valid: {error}")
    return found


def _metric_faults(alarm):
    if alarm.get("metrics"):
        given = [name for name in SINGLE if alarm.get(name) is not None]
        found = [f"has metrics and {', '.join(given)}; give them within metrics"] if given else []
        found += _query_faults(alarm)
    else:
        missing = [name for name in ("namespace", "metric") if not alarm.get(name)]
        if missing:
            return [f"has no {' and no '.join(missing)}; give them, metrics, or a rule"]
        found = _stat_faults(alarm, "")
    return found + _threshold_faults(alarm) + _window_faults(alarm)


def _threshold_faults(alarm):
    found = []
    if (alarm.get("threshold") is None) == (alarm.get("band") is None):
        found.append("must have either a threshold or a band")
    if alarm.get("comparison") not in OPERATORS:
        found.append(f"has the comparison {alarm.get('comparison')!r}; it must be one of {', '.join(OPERATORS)}")
    elif (alarm["comparison"] in BAND_OPERATORS) != (alarm.get("band") is not None):
        right = [name for name in OPERATORS if (name in BAND_OPERATORS) == (alarm.get("band") is not None)]
        found.append(f"has the comparison {alarm['comparison']}; with its threshold or band it is {' or '.join(right)}")
    if alarm.get("band") is not None and not 0 < alarm["band"] <= 10:
        found.append(f"has a band of {alarm['band']:g}; it must be above 0 and at most 10 standard deviations")
    return found


def _window_faults(alarm):
    entries = alarm.get("metrics") or [alarm]
    periods = [entry.get("period") or 300 for entry in entries if not entry.get("expression") or entry.get("period")]
    longest, count = max(periods, default=300), alarm.get("evaluation_periods") or 0
    found = []
    if count < 1:
        found.append(f"has evaluation_periods {count}; at least 1")
    limit, words = (WEEK, "seven days") if longest >= HOUR else (DAY, "a day")
    if longest * count > limit:
        found.append(f"looks at {count} periods of {longest} s, which is more than {words}")
    if alarm.get("datapoints") is not None and not 1 <= alarm["datapoints"] <= count:
        found.append(f"has datapoints {alarm['datapoints']}; it must be 1 to evaluation_periods ({count})")
    return found


def _stat_faults(entry, label):
    found = []
    period, statistic = entry.get("period") or 300, entry.get("statistic") or "Average"
    short = period in SHORT_PERIODS and not str(entry["namespace"]).startswith("AWS/")
    if not short and (period < 60 or period % 60):
        found.append(f"{label}has the period {period}; it must be a multiple of 60 s (10, 20 or 30 for custom metrics)")
    if statistic not in STATISTICS and not EXTENDED.match(statistic):
        found.append(f"{label}has the statistic {statistic!r}; it must be one of {', '.join(STATISTICS)} or like p99")
    if len(entry.get("dimensions") or {}) > MAX_DIMENSIONS:
        found.append(f"{label}has {len(entry['dimensions'])} dimensions; at most {MAX_DIMENSIONS}")
    return found


def _query_faults(alarm):
    entries, found = alarm["metrics"], []
    ids = [entry["id"] for entry in entries]
    wrong = [name for name in ids if not METRIC_ID.match(name)]
    if wrong:
        found.append(f"has the metric id {wrong[0]!r}; it must begin with a small letter, then letters, digits and _")
    if len(set(ids)) != len(ids) or BAND_ID in ids and alarm.get("band") is not None:
        found.append(f"has the metric ids {', '.join(ids)}; each must be there once")
    returned = [entry["id"] for entry in entries if entry.get("return_data") is not False]
    if len(returned) != 1:
        found.append(f"returns data of {', '.join(returned) or 'no metric'}; exactly one may have return_data true")
    for entry in entries:
        found += _entry_faults(entry, ids)
    return found


def _entry_faults(entry, ids):
    label = f"metric {entry['id']} "
    single = [name for name in ("namespace", "metric") if entry.get(name)]
    if bool(entry.get("expression")) == bool(single) or len(single) == 1:
        return [f"{label}must have either an expression or namespace and metric"]
    if not entry.get("expression"):
        return _stat_faults(entry, label)
    text = re.sub(r"\"[^\"]*\"|'[^']*'", "", entry["expression"])
    if re.match(r"\s*SELECT\b", text, re.IGNORECASE):
        return []
    unknown = sorted(set(re.findall(r"(?<![A-Za-z0-9_.])[a-z][a-zA-Z0-9_]*(?!\()\b", text)) - set(ids))
    return [f"{label}reads {', '.join(unknown)}, which no metric of the alarm has as its id"] if unknown else []


def _reference_faults(alarms, prefix):
    names = {alarm["name"] for alarm in alarms}
    found, reads = [], {}
    for alarm in alarms:
        try:
            wanted = _reads(request(alarm)) if alarm.get("rule") else set()
        except alarm_rules.RuleError:
            continue
        if alarm.get("rule"):
            reads[alarm["name"]] = wanted
        missing = sorted(name for name in wanted - names if name.startswith(prefix))
        if missing:
            found.append(f"The alarm {alarm['name']} reads {', '.join(missing)}, which the set does not have.")
    try:
        alarm_rules.children_first(reads)
    except alarm_rules.RuleError as error:
        found.append(f"{str(error)[0].upper()}{str(error)[1:]}.")
    return found


def _reads(params):
    suppressor = params.get("ActionsSuppressor")
    return alarm_rules.names(alarm_rules.parse(params["AlarmRule"])) | (
        {alarm_rules.alarm_name(suppressor)} if suppressor else set()
    )


def _dashboard_faults(params, alarms):
    found, seen = [], set()
    for board in params.get("dashboards") or []:
        where = f"The dashboard {board['name']}"
        if not DASHBOARD.match(board["name"]) or not board["name"].startswith(params["prefix"]):
            found.append(
                f"{where} must begin with {params['prefix']} and have letters, digits, dash and underscore only."
            )
        if board["name"] in seen:
            found.append(f"{where} is there twice.")
        seen.add(board["name"])
        count = len(chosen(board, alarms)) + len(board.get("widgets") or [])
        if not 1 <= count <= MAX_WIDGETS:
            found.append(f"{where} has {count} widgets; it must have 1 to {MAX_WIDGETS}.")
        for widget in board.get("widgets") or []:
            if not widget.get("type") or not isinstance(widget.get("properties"), dict):
                found.append(f"{where} has a widget without type or properties.")
    return found


def kind_faults(wanted, described):
    """Return a sentence for each alarm that the account has as one of the other kind, which AWS cannot change."""
    found = []
    for name in sorted(set(wanted) & set(described)):
        if ("AlarmRule" in wanted[name]) != ("AlarmRule" in described[name]):
            kind = "composite" if "AlarmRule" in described[name] else "metric"
            found.append(f"The alarm {name} is a {kind} alarm in the account; take another name for the new one.")
    return found


# Plan


def plan(alarms, described, tags, prune=True, purge_tags=True):
    """Return the steps in the order in which AWS accepts them, [] when all is as wanted.

    :arg alarms: complete alarms.
    :arg described: what the account has below the prefix, dict name to described alarm.
    :arg tags: their tags, dict name to dict.
    Steps are dicts: action put_metric_alarm | put_composite_alarm | tag_resource | untag_resource | delete_alarms,
    names, and parameters of the call.
    """
    wanted = {alarm["name"]: request(alarm) for alarm in alarms}
    wanted_tags = {alarm["name"]: {key: str(value) for key, value in alarm["tags"].items()} for alarm in alarms}
    steps = []
    for name in _put_order(wanted):
        if name not in described:
            given = [{"Key": key, "Value": wanted_tags[name][key]} for key in sorted(wanted_tags[name])]
            steps.append(_put(wanted[name], {"Tags": given} if given else {}))
        elif canonical(wanted[name]) != canonical(described[name]):
            steps.append(_put(wanted[name], {}))
    for name in sorted(set(wanted) & set(described)):
        steps += _tag_steps(described[name], wanted_tags[name], tags.get(name) or {}, purge_tags)
    if prune:
        steps += _deletions({name: described[name] for name in described if name not in wanted})
    return steps


def _put_order(wanted):
    """Metric alarms by name, then composite ones after those that they read."""
    reads = {name: _reads(params) for name, params in wanted.items() if "AlarmRule" in params}
    return sorted(set(wanted) - set(reads)) + alarm_rules.children_first(reads)


def _put(params, more):
    action = "put_composite_alarm" if "AlarmRule" in params else "put_metric_alarm"
    return {"action": action, "names": [params["AlarmName"]], "parameters": {**params, **more}}


def _tag_steps(described, wanted, have, purge):
    name, arn, steps = described["AlarmName"], described["AlarmArn"], []
    differing = {key: wanted[key] for key in sorted(wanted) if have.get(key) != wanted[key]}
    stale = sorted(key for key in have if key not in wanted and not key.startswith("aws:")) if purge else []
    if stale:
        parameters = {"ResourceARN": arn, "TagKeys": stale}
        steps.append({"action": "untag_resource", "names": [name], "parameters": parameters})
    if differing:
        parameters = {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in differing.items()]}
        steps.append({"action": "tag_resource", "names": [name], "parameters": parameters})
    return steps


def _deletions(stale):
    """Composite alarms before those they read, one in a call; the metric alarms go along with the last of them."""
    reads = {name: _described_reads(entry) for name, entry in stale.items() if "AlarmRule" in entry}
    groups = [[name] for name in reversed(alarm_rules.children_first(reads))]
    for name in sorted(set(stale) - set(reads)):
        if not groups or len(groups[-1]) == MAX_DELETE:
            groups.append([])
        groups[-1].append(name)
    return [{"action": "delete_alarms", "names": names, "parameters": {"AlarmNames": names}} for names in groups]


def _described_reads(entry):
    try:
        return _reads(entry)
    except alarm_rules.RuleError:
        return set()


# Dashboards


def chosen(board, alarms):
    """Return the metric alarms that a dashboard shows."""
    patterns = board.get("alarms") or []
    return [
        alarm
        for alarm in alarms
        if not alarm.get("rule") and any(fnmatch.fnmatchcase(alarm["name"], pattern) for pattern in patterns)
    ]


def dashboard_body(board, alarms, prefix, region):
    """Return the body of a dashboard: a graph with its threshold for each alarm, then the widgets as they are given."""
    widgets = []
    for number, alarm in enumerate(chosen(board, alarms)):
        row, column = divmod(number, WIDGETS_IN_ROW)
        place = {"x": column * WIDGET_WIDTH, "y": row * WIDGET_HEIGHT, "width": WIDGET_WIDTH, "height": WIDGET_HEIGHT}
        title = alarm["name"][len(prefix) :].strip("-_/ ") or alarm["name"]
        widgets.append({"type": "metric", **place, "properties": _graph(request(alarm), title, region)})
    return {"widgets": widgets + list(board.get("widgets") or [])}


def _graph(params, title, region):
    """Return the properties of a metric widget. Source: CloudWatch API Reference, Dashboard Body Structure."""
    properties = {"title": title, "region": region, "view": "timeSeries", "stacked": False}
    queries = params.get("Metrics") or [
        {
            "Id": "m1",
            "ReturnData": True,
            "MetricStat": {
                "Metric": params,
                "Period": params["Period"],
                "Stat": params.get("Statistic") or params.get("ExtendedStatistic"),
            },
        }
    ]
    properties["metrics"] = [_line(query) for query in queries]
    if "Threshold" in params:
        properties["annotations"] = {"horizontal": [{"label": "alarm", "value": params["Threshold"]}]}
    return properties


def _line(query):
    options = {"id": query["Id"], "visible": query["ReturnData"]}
    if query.get("Label"):
        options["label"] = query["Label"]
    if query.get("Expression"):
        return [{**options, "expression": query["Expression"]}]
    metric, stat = query["MetricStat"]["Metric"], query["MetricStat"]
    flat = [text for entry in metric["Dimensions"] for text in (entry["Name"], entry["Value"])]
    return [
        metric["Namespace"], metric["MetricName"], *flat, {**options, "stat": stat["Stat"], "period": stat["Period"]},
    ]  # fmt: skip


def same_body(wanted, text):
    """Tell whether a dashboard's body, as text, is the wanted one."""
    try:
        return json.loads(text) == wanted
    except ValueError:
        return False


# EventBridge


def event_pattern(prefix, states):
    """Return the pattern of the events that CloudWatch sends when these alarms change."""
    return {
        "source": ["aws.cloudwatch"],
        "detail-type": ["CloudWatch Alarm State Change"],
        "detail": {"alarmName": [{"prefix": prefix}], "state": {"value": sorted(states)}},
    }


def rule_steps(rule, pattern, have, targets):
    """Return the steps to a rule with its targets.

    :arg have: the rule as DescribeRule gives it, {} without one.
    :arg targets: its targets as ListTargetsByRule gives them.
    """
    steps = []

    def add(action, **parameters):
        steps.append({"service": "events", "action": action, "names": [rule["name"]], "parameters": parameters})

    if not same_body(pattern, have.get("EventPattern") or "") or have.get("State") != "ENABLED":
        add("put_rule", Name=rule["name"], EventPattern=json.dumps(pattern, sort_keys=True), State="ENABLED")
    wanted = {target["id"]: _target(target) for target in rule["targets"]}
    known = {
        target["Id"]: {key: target.get(key) for key in ("Id", "Arn", "RoleArn") if target.get(key)}
        for target in targets
    }
    stale = sorted(set(known) - set(wanted))
    if stale:
        add("remove_targets", Rule=rule["name"], Ids=stale)
    differing = [wanted[name] for name in sorted(wanted) if known.get(name) != wanted[name]]
    if differing:
        add("put_targets", Rule=rule["name"], Targets=differing)
    return steps


def _target(target):
    result = {"Id": target["id"], "Arn": target["arn"]}
    return {**result, "RoleArn": target["role_arn"]} if target.get("role_arn") else result


# Diff


def difference(steps, alarms, described, tags, purge_tags=True):
    """Return before and after of all that the steps touch, as JSON by name."""
    wanted = {alarm["name"]: alarm for alarm in alarms}
    before, after = {}, {}
    for step in steps:
        for name in step["names"]:
            if "dashboard" in step["action"] or step.get("service"):
                _other_difference(step, name, before, after)
                continue
            if name in described:
                before[f"alarm {name}"] = shown(described[name], tags.get(name) or {})
            if name in wanted:
                have = {} if purge_tags else tags.get(name) or {}
                merged = {**have, **{key: str(value) for key, value in wanted[name]["tags"].items()}}
                after[f"alarm {name}"] = shown(request(wanted[name]), merged)
    return {"before": _text(before), "after": _text(after)}


def _other_difference(step, name, before, after):
    if step["action"] == "put_dashboard":
        if step["before"]:
            before[f"dashboard {name}"] = _loaded(step["before"])
        after[f"dashboard {name}"] = _loaded(step["parameters"]["DashboardBody"])
    elif step["action"] == "delete_dashboards":
        before[f"dashboard {name}"] = "there"
    else:
        after.setdefault(f"event rule {name}", {})[step["action"]] = step["parameters"]


def _loaded(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(content):
    return json.dumps(content, indent=2, sort_keys=True) + "\n" if content else ""

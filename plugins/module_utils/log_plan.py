# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudWatch log groups with retention, key, tags and metric filters as a set: checks and the plan. Pure."""

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

#: CloudWatch Logs API Reference, PutRetentionPolicy; 0 stands for ever.
RETENTION = (
    0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
#: CreateLogGroup and PutMetricFilter of the same reference.
NAME = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}\Z")
FILTER_NAME = re.compile(r"[^:*]{1,512}\Z")
METRIC_NAME = re.compile(r"[^:*$]{1,255}\Z")
KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+\Z")
MAX_PATTERN, MAX_FILTERS = 1024, 100


def faults(params):
    """Return what is wrong with the options prefix and log_groups of the module, one sentence each."""
    found, seen = [], set()
    for group in params["log_groups"]:
        where = f"The log group {group['name']}"
        if not NAME.match(group["name"]) or group["name"].startswith("aws/"):
            found.append(f"{where} has no valid name: 1 to 512 letters, digits and . - _ / #, not beginning with aws/.")
        if params.get("prefix") and not group["name"].startswith(params["prefix"]):
            found.append(f"{where} must begin with the prefix {params['prefix']}.")
        if group["name"] in seen:
            found.append(f"{where} is there twice.")
        seen.add(group["name"])
        if group["retention_days"] not in RETENTION:
            days = ", ".join(str(value) for value in RETENTION)
            found.append(
                f"{where} has the retention {group['retention_days']}; it must be one of {days} (0: for ever)."
            )
        if group.get("kms_key_id") and not KEY.match(group["kms_key_id"]):
            found.append(f"{where} has the key {group['kms_key_id']!r}; it must be the ARN of a KMS key, not an alias.")
        found += [f"{where}: {fault}." for fault in _filter_faults(group.get("metric_filters") or [])]
    if params.get("prune") and len(params.get("prefix") or "") < 3:
        found.append("To prune log groups the prefix must have 3 characters or more, as all that begins so is removed.")
    return found


def _filter_faults(filters):
    found, names = [], [entry["name"] for entry in filters]
    if len(set(names)) != len(names) or len(names) > MAX_FILTERS:
        found.append(f"its metric filters must have names of their own, at most {MAX_FILTERS}")
    for entry in filters:
        where = f"the metric filter {entry['name']}"
        if not FILTER_NAME.match(entry["name"]):
            found.append(f"{where} has no valid name: no : and no *, at most 512 characters")
        if not METRIC_NAME.match(entry["metric"]) or not METRIC_NAME.match(entry["namespace"]):
            found.append(f"{where} has no valid metric: no :, * and $ in namespace and metric, at most 255 characters")
        if entry["namespace"].startswith("AWS/"):
            found.append(f"{where} writes to {entry['namespace']}; namespaces that begin with AWS/ are AWS's own")
        if len(entry["pattern"]) > MAX_PATTERN:
            found.append(f"{where} has a pattern of {len(entry['pattern'])} characters; at most {MAX_PATTERN}")
    return found


def arn(described):
    """Return the ARN of a described group as tagging wants it, without the final :*."""
    return described["arn"].removesuffix(":*")


def filter_request(group, entry):
    """Return the parameters of PutMetricFilter."""
    transformation = {
        "metricName": entry["metric"],
        "metricNamespace": entry["namespace"],
        "metricValue": str(entry["value"]),
    }
    if entry.get("default_value") is not None:
        transformation["defaultValue"] = float(entry["default_value"])
    return {
        "logGroupName": group,
        "filterName": entry["name"],
        "filterPattern": entry["pattern"],
        "metricTransformations": [transformation],
    }


def canonical_filter(described):
    """Return what a metric filter means, of a request or as DescribeMetricFilters gives it."""
    pattern = " ".join(described.get("filterPattern", "").split())
    keys = ("metricName", "metricNamespace", "metricValue", "defaultValue")
    return pattern, [{key: entry.get(key) for key in keys} for entry in described["metricTransformations"]]


def plan(params, described, tags, filters):
    """Return the steps in order, [] when all is as wanted.

    :arg described: dict name to log group as DescribeLogGroups gives it.
    :arg tags: dict name to its tags.
    :arg filters: dict name to its metric filters as DescribeMetricFilters gives them.
    Steps are dicts: action, name, parameters; and before and after, texts for the diff.
    """
    steps = []
    for group in params["log_groups"]:
        have = described.get(group["name"])
        wanted_tags = {**(params.get("tags") or {}), **(group.get("tags") or {})}
        steps += _creation(group, wanted_tags) if have is None else _changes(group, have)
        if have is not None:
            steps += _tag_steps(have, tags.get(group["name"]) or {}, wanted_tags, params["purge_tags"])
        steps += _filter_steps(group, filters.get(group["name"]) or [])
    if params["prune"]:
        wanted = {group["name"] for group in params["log_groups"]}
        steps += [
            step(name, "delete_log_group", {}, f"{name}: there", "") for name in sorted(described) if name not in wanted
        ]
    return steps


def step(name, action, parameters, before, after):
    return {
        "name": name,
        "action": action,
        "parameters": {"logGroupName": name, **parameters},
        "before": before,
        "after": after,
    }


def _creation(group, tags):
    name, parameters = group["name"], {}
    if group.get("kms_key_id"):
        parameters["kmsKeyId"] = group["kms_key_id"]
    if tags:
        parameters["tags"] = {key: str(value) for key, value in tags.items()}
    steps = [step(name, "create_log_group", parameters, "", f"{name}: {parameters}")]
    if group["retention_days"]:
        steps += _retention(group, None)
    return steps


def _retention(group, have):
    name, days = group["name"], group["retention_days"]
    action, parameters = (
        ("put_retention_policy", {"retentionInDays": days}) if days else ("delete_retention_policy", {})
    )
    before = f"{name}: {have} days" if have else f"{name}: for ever"
    return [step(name, action, parameters, before, f"{name}: {days} days" if days else f"{name}: for ever")]


def _changes(group, have):
    steps, name = [], group["name"]
    if (have.get("retentionInDays") or 0) != group["retention_days"]:
        steps += _retention(group, have.get("retentionInDays"))
    before, after = have.get("kmsKeyId") or "", group.get("kms_key_id") or ""
    if before != after:
        action = "associate_kms_key" if after else "disassociate_kms_key"
        parameters = {"kmsKeyId": after} if after else {}
        steps.append(step(name, action, parameters, f"{name}: key {before}", f"{name}: key {after}"))
    return steps


def _tag_steps(have, tags, wanted, purge):
    changed, removed = aws.tag_changes(tags, wanted, purge)
    name, steps = have["logGroupName"], []
    if removed:
        parameters = {"resourceArn": arn(have), "tagKeys": removed}
        before = f"{name}: tags {', '.join(removed)}"
        steps.append(
            {"name": name, "action": "untag_resource", "parameters": parameters, "before": before, "after": ""}
        )
    if changed:
        parameters = {"resourceArn": arn(have), "tags": changed}
        old = {key: tags.get(key) for key in changed}
        texts = {"before": f"{name}: tags {old}", "after": f"{name}: tags {changed}"}
        steps.append({"name": name, "action": "tag_resource", "parameters": parameters, **texts})
    return steps


def _filter_steps(group, have):
    """Filters of a group are left alone when the description does not mention any."""
    if group.get("metric_filters") is None:
        return []
    name, known, steps = group["name"], {entry["filterName"]: entry for entry in have}, []
    for entry in group["metric_filters"]:
        request = filter_request(name, entry)
        old = known.pop(entry["name"], None)
        if old is None or canonical_filter(old) != canonical_filter(request):
            before = f"{name}: filter {entry['name']} {canonical_filter(old)}" if old else ""
            after = f"{name}: filter {entry['name']} {canonical_filter(request)}"
            steps.append(step(name, "put_metric_filter", request, before, after))
    for filter_name in sorted(known):
        parameters = {"filterName": filter_name}
        steps.append(step(name, "delete_metric_filter", parameters, f"{name}: filter {filter_name}", ""))
    return steps

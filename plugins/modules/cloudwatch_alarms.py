#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_alarms
short_description: The CloudWatch alarms below a prefix, and dashboards of them, as a set
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads all alarms whose name begins with O(prefix) and their tags, compares, and writes only what differs.
    Unchanged alarms cost one call for each hundred and one for the tags of each hundred.
  - Compares meaning - the order of dimensions, actions, metrics and operands of a composite rule makes no difference.
  - Metric, metric math, anomaly and composite alarms. Composite ones are written after those they read, removed before.
  - An alarm on a metric of C(AWS/*) that does not exist is refused before the first write; a custom one warns.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.aws.tags
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows each alarm and dashboard that differs, before and after.
    support: full
options:
  prefix:
    description: What the names of all these alarms and dashboards begin with; what else begins so is of the set, too.
    type: str
    required: true
  alarms:
    description: Alarms that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Full name, with the prefix.
        type: str
        required: true
      description:
        description: What it means and what to do.
        type: str
        default: ""
      namespace:
        description: Namespace of the metric.
        type: str
      metric:
        description: Name of the metric.
        type: str
      dimensions:
        description: Dimensions of the metric, names and values.
        type: dict
      statistic:
        description: C(Average) by default; also C(Sum), C(Minimum), C(Maximum), C(SampleCount), C(p99) and the like.
        type: str
      period:
        description: Seconds of one period; 300 by default.
        type: int
      unit:
        description: Unit; only data with it counts.
        type: str
      metrics:
        description: Metrics and expressions of a metric math alarm, instead of one metric.
        type: list
        elements: dict
        suboptions:
          id:
            description: Name in expressions.
            type: str
            required: true
          expression:
            description: Metric math or Metrics Insights expression.
            type: str
          namespace:
            description: Namespace of the metric.
            type: str
          metric:
            description: Name of the metric.
            type: str
          dimensions:
            description: Dimensions of the metric.
            type: dict
          statistic:
            description: C(Average) by default.
            type: str
          period:
            description: Seconds of one period; 300 by default for a metric.
            type: int
          unit:
            description: Unit.
            type: str
          label:
            description: Name for people.
            type: str
            default: ""
          return_data:
            description: Whether the alarm watches it; exactly one does.
            type: bool
            default: true
      threshold:
        description: Value to compare with.
        type: float
      band:
        description: Width of the anomaly detection band in standard deviations, instead of a threshold.
        type: float
      comparison:
        description: How the metric is compared with the threshold, or for the last three with the band.
        type: str
        choices:
          - GreaterThanOrEqualToThreshold
          - GreaterThanThreshold
          - LessThanOrEqualToThreshold
          - LessThanThreshold
          - LessThanLowerOrGreaterThanUpperThreshold
          - LessThanLowerThreshold
          - GreaterThanUpperThreshold
      evaluation_periods:
        description: Periods that are looked at.
        type: int
        default: 1
      datapoints:
        description: How many of them must breach; all by default.
        type: int
      missing_data:
        description: What a period without data counts as.
        type: str
        choices: [missing, breaching, notBreaching, ignore]
        default: missing
      low_samples:
        description: Whether a percentile of few samples is evaluated.
        type: str
        choices: [evaluate, ignore]
      rule:
        description: Rule of a composite alarm, such as C(ALARM("a") AND NOT ALARM("b")).
        type: str
      suppressor:
        description: Alarm that silences the actions of a composite alarm.
        type: dict
        suboptions:
          alarm:
            description: Its name or ARN.
            type: str
            required: true
          wait:
            description: Seconds to wait for it to go into alarm.
            type: int
            default: 60
          extension:
            description: Seconds after it has ended.
            type: int
            default: 60
      actions_enabled:
        description: Whether its actions are carried out.
        type: bool
        default: true
      alarm_actions:
        description: ARNs to tell when it goes into alarm; those of the module by default.
        type: list
        elements: str
      ok_actions:
        description: ARNs to tell when all is well again; those of the module by default.
        type: list
        elements: str
      insufficient_data_actions:
        description: ARNs to tell when there is no data; those of the module by default.
        type: list
        elements: str
      tags:
        description: Tags besides those of the module.
        type: dict
  alarm_actions:
    description: ARNs, such as an SNS topic's, that alarms without their own tell. EventBridge hears of all anyhow.
    type: list
    elements: str
    default: []
  ok_actions:
    description: The same for the return to normal.
    type: list
    elements: str
    default: []
  insufficient_data_actions:
    description: The same for missing data.
    type: list
    elements: str
    default: []
  prune:
    description: Whether alarms and (with O(dashboards)) dashboards below the prefix that are not described are removed.
    type: bool
    default: true
  dashboards:
    description: Dashboards of these alarms. Without this option dashboards are neither read nor removed.
    type: list
    elements: dict
    suboptions:
      name:
        description: Full name, with the prefix.
        type: str
        required: true
      alarms:
        description: Patterns such as C(trading-*-cpu) of the alarms whose metrics are shown, with their thresholds.
        type: list
        elements: str
        default: ["*"]
      widgets:
        description: Further widgets, as CloudWatch's dashboard body has them.
        type: list
        elements: dict
        default: []
  event_rule:
    description: EventBridge rule that sends the changes of these alarms to targets.
    type: dict
    suboptions:
      name:
        description: Name of the rule.
        type: str
        required: true
      states:
        description: Changes to these states.
        type: list
        elements: str
        choices: [ALARM, OK, INSUFFICIENT_DATA]
        default: [ALARM, OK]
      targets:
        description: Targets; all of the rule's.
        type: list
        elements: dict
        required: true
        suboptions:
          id:
            description: Name within the rule.
            type: str
            required: true
          arn:
            description: Its ARN, such as that of a queue, a function or another bus.
            type: str
            required: true
          role_arn:
            description: Role that EventBridge assumes for it.
            type: str
  known_metrics:
    description: Metrics that exist besides the table of this collection, lists by namespace.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: What watches the database hosts from outside
  selfhosted.ec2.cloudwatch_alarms:
    prefix: trading-
    alarm_actions: ["arn:aws:sns:eu-west-1:123456789012:oncall"]
    tags: {platform: trading}
    alarms:
      - name: trading-database-1-system
        namespace: AWS/EC2
        metric: StatusCheckFailed_System
        dimensions: {InstanceId: i-0123456789abcdef0}
        statistic: Maximum
        period: 60
        evaluation_periods: 2
        comparison: GreaterThanOrEqualToThreshold
        threshold: 1
        alarm_actions: ["arn:aws:automate:eu-west-1:ec2:recover"]
      - name: trading-database-2-system
        namespace: AWS/EC2
        metric: StatusCheckFailed_System
        dimensions: {InstanceId: i-0123456789abcdef1}
        statistic: Maximum
        period: 60
        evaluation_periods: 2
        comparison: GreaterThanOrEqualToThreshold
        threshold: 1
      - name: trading-database-quorum
        rule: ALARM("trading-database-1-system") AND ALARM("trading-database-2-system")
    dashboards:
      - name: trading-hosts
"""

RETURN = r"""
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
alarms:
  description: Names of the alarms that the set has after the run.
  returned: always
  type: list
  elements: str
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import alarm_plan, aws

#: DescribeAlarms gives at most so many in one call.
PAGE = 100


def describe(cloudwatch, prefix):
    """Return what the account has below the prefix: dict name to described alarm."""
    found, more = {}, {}
    while True:
        answer = cloudwatch.call(
            "describe_alarms",
            AlarmNamePrefix=prefix,
            AlarmTypes=["MetricAlarm", "CompositeAlarm"],
            MaxRecords=PAGE,
            **more,
        )
        for alarm in [*(answer.get("MetricAlarms") or []), *(answer.get("CompositeAlarms") or [])]:
            found[alarm["AlarmName"]] = alarm
        more = aws.next_page(answer)
        if not more:
            return found


def read_tags(tagging, described):
    """Return the tags of alarms: dict name to dict."""
    names = {alarm["AlarmArn"]: name for name, alarm in described.items()}
    return {names[arn]: tags for arn, tags in aws.read_tags(tagging, sorted(names)).items()}


def dashboard_steps(params, alarms, cloudwatch):
    """Return the steps that make the dashboards as described, with their texts for the diff."""
    if params["dashboards"] is None:
        return []
    listed = cloudwatch.pages("list_dashboards", "DashboardEntries", DashboardNamePrefix=params["prefix"])
    have = {entry["DashboardName"] for entry in listed}
    steps = []
    for board in params["dashboards"]:
        name = board["name"]
        body = alarm_plan.dashboard_body(board, alarms, params["prefix"], cloudwatch.region)
        text = cloudwatch.call("get_dashboard", DashboardName=name)["DashboardBody"] if name in have else ""
        if not text or not alarm_plan.same_body(body, text):
            parameters = {"DashboardName": name, "DashboardBody": json.dumps(body, sort_keys=True)}
            steps.append({"action": "put_dashboard", "names": [name], "parameters": parameters, "before": text})
    stale = sorted(have - {board["name"] for board in params["dashboards"]})
    if stale and params["prune"]:
        steps.append({"action": "delete_dashboards", "names": stale, "parameters": {"DashboardNames": stale}})
    return steps


def rule_steps(params, events):
    """Return the steps that make the EventBridge rule and its targets as described."""
    rule = params["event_rule"]
    if not rule:
        return []
    wanted = alarm_plan.event_pattern(params["prefix"], rule["states"])
    try:
        have = events.call("describe_rule", Name=rule["name"])
        targets = events.pages("list_targets_by_rule", "Targets", Rule=rule["name"])
    except aws.AwsError as error:
        if error.code != "ResourceNotFoundException":
            raise
        have, targets = {}, []
    return alarm_plan.rule_steps(rule, wanted, have, targets)


def carry_out(steps, clients):
    """Send the steps in order. Raises AwsError when one is refused; a later run takes up the rest."""
    for step in steps:
        answer = clients.get(step.get("service"), clients[None]).call(step["action"], **step["parameters"])
        failed = answer.get("FailedEntries")
        if failed:
            raise aws.AwsError(f"EventBridge refused the target {failed[0]['TargetId']}: {failed[0]['ErrorMessage']}.")


def manage(params, connection, check_mode):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    cloudwatch = connection.client("cloudwatch")
    found = alarm_plan.faults(params, cloudwatch.region)
    if found:
        raise aws.AwsError(" ".join(found))
    alarms = [alarm_plan.complete(alarm, params) for alarm in params["alarms"]]
    described = describe(cloudwatch, params["prefix"])
    found = alarm_plan.kind_faults({alarm["name"]: alarm_plan.request(alarm) for alarm in alarms}, described)
    if found:
        raise aws.AwsError(" ".join(found))
    tags = read_tags(connection.client("resourcegroupstaggingapi"), described) if described else {}
    events = connection.client("events")
    steps = alarm_plan.plan(alarms, described, tags, params["prune"], params["purge_tags"])
    steps += dashboard_steps(params, alarms, cloudwatch) + rule_steps(params, events)
    if not check_mode:
        carry_out(steps, {None: cloudwatch, "events": events})
    kept = [] if params["prune"] else list(described)
    return {
        "changed": bool(steps),
        "changes": [f"{step['action']} {', '.join(step['names'])}" for step in steps],
        "alarms": sorted({*kept, *(alarm["name"] for alarm in alarms)}),
        "diff": alarm_plan.difference(steps, alarms, described, tags, params["purge_tags"]),
    }


def argument_spec():
    texts = {"type": "list", "elements": "str"}
    metric = {
        "namespace": {"type": "str"},
        "metric": {"type": "str"},
        "dimensions": {"type": "dict"},
        "statistic": {"type": "str"},
        "period": {"type": "int"},
        "unit": {"type": "str"},
    }
    query = {
        **metric,
        "id": {"type": "str", "required": True},
        "expression": {"type": "str"},
        "label": {"type": "str", "default": ""},
        "return_data": {"type": "bool", "default": True},
    }
    suppressor = {
        "alarm": {"type": "str", "required": True},
        "wait": {"type": "int", "default": 60},
        "extension": {"type": "int", "default": 60},
    }
    alarm = {
        **metric,
        "name": {"type": "str", "required": True},
        "description": {"type": "str", "default": ""},
        "metrics": {"type": "list", "elements": "dict", "options": query},
        "threshold": {"type": "float"},
        "band": {"type": "float"},
        "comparison": {"type": "str", "choices": list(alarm_plan.OPERATORS)},
        "evaluation_periods": {"type": "int", "default": 1},
        "datapoints": {"type": "int"},
        "missing_data": {
            "type": "str",
            "choices": ["missing", "breaching", "notBreaching", "ignore"],
            "default": "missing",
        },
        "low_samples": {"type": "str", "choices": ["evaluate", "ignore"]},
        "rule": {"type": "str"},
        "suppressor": {"type": "dict", "options": suppressor},
        "actions_enabled": {"type": "bool", "default": True},
        **dict.fromkeys(alarm_plan.ACTIONS, texts),
        "tags": {"type": "dict"},
    }
    dashboard = {
        "name": {"type": "str", "required": True},
        "alarms": {**texts, "default": ["*"]},
        "widgets": {"type": "list", "elements": "dict", "default": []},
    }
    target = {
        "id": {"type": "str", "required": True},
        "arn": {"type": "str", "required": True},
        "role_arn": {"type": "str"},
    }
    rule = {
        "name": {"type": "str", "required": True},
        "states": {**texts, "choices": ["ALARM", "OK", "INSUFFICIENT_DATA"], "default": ["ALARM", "OK"]},
        "targets": {"type": "list", "elements": "dict", "required": True, "options": target},
    }
    return {
        **aws.argument_spec(),
        "prefix": {"type": "str", "required": True},
        "alarms": {"type": "list", "elements": "dict", "default": [], "options": alarm},
        **dict.fromkeys(alarm_plan.ACTIONS, {**texts, "default": []}),
        **aws.tag_options(),
        "prune": {"type": "bool", "default": True},
        "dashboards": {"type": "list", "elements": "dict", "options": dashboard},
        "event_rule": {"type": "dict", "options": rule},
        "known_metrics": {"type": "dict", "default": {}},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    for warning in alarm_plan.warnings(module.params):
        module.warn(warning)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode))


if __name__ == "__main__":
    main()

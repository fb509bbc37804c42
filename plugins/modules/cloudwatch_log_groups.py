#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_log_groups
short_description: CloudWatch log groups with retention, key, tags and metric filters as a set
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the groups below O(prefix) and their tags, compares, and writes only what differs.
  - Log groups that are not described are removed only with O(prune), with all that they hold.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.aws.tags
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows the settings that differ, one line each.
    support: full
options:
  prefix:
    description: What the names of all these groups begin with.
    type: str
    required: true
  log_groups:
    description: Log groups that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Full name, with the prefix.
        type: str
        required: true
      retention_days:
        description: Days that events are kept; V(0) for ever.
        type: int
        default: 90
      kms_key_id:
        description: ARN of the KMS key that encrypts new events; CloudWatch's own without it.
        type: str
      tags:
        description: Tags besides those of the module.
        type: dict
      metric_filters:
        description: All metric filters of the group; without this option they are neither read nor changed.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the filter.
            type: str
            required: true
          pattern:
            description: Which events count, in CloudWatch Logs' filter syntax.
            type: str
            required: true
          metric:
            description: Name of the metric.
            type: str
            required: true
          namespace:
            description: Namespace of the metric.
            type: str
            required: true
          value:
            description: Value of each event, a number or a field such as C($.bytes).
            type: str
            default: "1"
          default_value:
            description: Value of a period without such an event.
            type: float
  prune:
    description: Whether groups below the prefix that are not described are removed, with all that they hold.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Log groups of the platform
  selfhosted.ec2.cloudwatch_log_groups:
    prefix: /trading/
    log_groups:
      - name: /trading/flow-logs
        retention_days: 30
      - name: /trading/cloudtrail
        retention_days: 365
        metric_filters:
          - name: root-use
            pattern: '{ $.userIdentity.type = "Root" }'
            namespace: trading/audit
            metric: RootUse
            default_value: 0
"""

RETURN = r"""
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
arns:
  description: ARNs of the groups that were there before the run, by name.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, log_plan

PAGE = 50


def read_tags(tagging, described):
    """Return the tags of log groups: dict name to dict."""
    names = {log_plan.arn(group): name for name, group in described.items()}
    found = aws.read_tags(tagging, sorted(names))
    return {names[arn.removesuffix(":*")]: tags for arn, tags in found.items()}


def manage(params, connection, check_mode):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    found = log_plan.faults(params)
    if found:
        raise aws.AwsError(" ".join(found))
    logs = connection.client("logs")
    groups = logs.pages("describe_log_groups", "logGroups", logGroupNamePrefix=params["prefix"], limit=PAGE)
    described = {group["logGroupName"]: group for group in groups}
    wanted = {group["name"]: group for group in params["log_groups"]}
    tagged = {name: group for name, group in described.items() if name in wanted}
    tags = read_tags(connection.client("resourcegroupstaggingapi"), tagged) if tagged else {}
    filters = {
        name: logs.pages("describe_metric_filters", "metricFilters", logGroupName=name)
        for name in tagged
        if wanted[name].get("metric_filters") is not None
    }
    steps = log_plan.plan(params, described, tags, filters)
    if not check_mode:
        for step in steps:
            logs.call(step["action"], **step["parameters"])
    return {
        "changed": bool(steps),
        "changes": [f"{step['action']} {step['name']}" for step in steps],
        "arns": {name: log_plan.arn(group) for name, group in described.items()},
        "diff": {side: "".join(f"{step[side]}\n" for step in steps if step[side]) for side in ("before", "after")},
    }


def argument_spec():
    metric_filter = {
        "name": {"type": "str", "required": True},
        "pattern": {"type": "str", "required": True},
        "metric": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "value": {"type": "str", "default": "1"},
        "default_value": {"type": "float"},
    }
    group = {
        "name": {"type": "str", "required": True},
        "retention_days": {"type": "int", "default": 90},
        "kms_key_id": {"type": "str"},
        "tags": {"type": "dict"},
        "metric_filters": {"type": "list", "elements": "dict", "options": metric_filter},
    }
    return {
        **aws.argument_spec(),
        "prefix": {"type": "str", "required": True},
        "log_groups": {"type": "list", "elements": "dict", "default": [], "options": group},
        **aws.tag_options(),
        "prune": {"type": "bool", "default": False},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode))


if __name__ == "__main__":
    main()

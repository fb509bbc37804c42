#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudtrail
short_description: A CloudTrail trail with its selectors, insights and tags
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the trail, its state, selectors, insights and tags in five calls, compares, and writes only what differs.
  - A description is whole - what it does not say has the default of this module, which is the safe one.
  - Compares meaning - the order of selectors, fields and values, and how key, topic and log group are named, makes no
    difference.
  - Returns when the trail is logging.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.aws.tags
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows the settings that differ.
    support: full
options:
  name:
    description: Name of the trail.
    type: str
    required: true
  state:
    description: Whether the trail shall be there. What it has written stays in the bucket.
    type: str
    choices: [present, absent]
    default: present
  bucket:
    description: S3 bucket for log files and digests; its policy must let CloudTrail write.
    type: str
    default: ""
  key_prefix:
    description: Beginning of the objects' keys, without a final slash.
    type: str
    default: ""
  sns_topic:
    description: Topic, by name or ARN, that hears of each log file.
    type: str
    default: ""
  multi_region:
    description: Whether it logs all regions.
    type: bool
    default: true
  global_events:
    description: Whether it logs services without a region, such as IAM.
    type: bool
    default: true
  log_file_validation:
    description: Whether CloudTrail writes signed digests of the log files.
    type: bool
    default: true
  organization:
    description: Whether it logs all accounts of the organization.
    type: bool
    default: false
  kms_key_id:
    description: KMS key that encrypts the log files, by ARN, id or alias; S3's own key without it.
    type: str
    default: ""
  log_group_arn:
    description: ARN of a log group that gets the events as well; with O(log_role_arn).
    type: str
    default: ""
  log_role_arn:
    description: ARN of the role that CloudTrail assumes for O(log_group_arn).
    type: str
    default: ""
  logging:
    description: Whether the trail logs.
    type: bool
    default: true
  event_selectors:
    description: Basic selectors; all management events without any.
    type: list
    elements: dict
    default: []
    suboptions:
      read_write:
        description: Which calls.
        type: str
        choices: [All, ReadOnly, WriteOnly]
        default: All
      management_events:
        description: Whether management events are logged.
        type: bool
        default: true
      exclude:
        description: Services whose management events are left out.
        type: list
        elements: str
        default: []
      data_resources:
        description: Resources whose data events are logged.
        type: list
        elements: dict
        default: []
        suboptions:
          type:
            description: Such as C(AWS::S3::Object).
            type: str
            required: true
          values:
            description: ARNs or beginnings of them.
            type: list
            elements: str
            required: true
  advanced_event_selectors:
    description: Advanced selectors, instead of basic ones.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name for people.
        type: str
        default: ""
      fields:
        description: Fields that must all match.
        type: list
        elements: dict
        required: true
        suboptions:
          field:
            description: Such as C(eventCategory), C(resources.type), C(resources.ARN), C(readOnly).
            type: str
            required: true
          equals:
            description: Values, one of which it is.
            type: list
            elements: str
          starts_with:
            description: Beginnings, one of which it has.
            type: list
            elements: str
          ends_with:
            description: Ends, one of which it has.
            type: list
            elements: str
          not_equals:
            description: Values, none of which it is.
            type: list
            elements: str
          not_starts_with:
            description: Beginnings, none of which it has.
            type: list
            elements: str
          not_ends_with:
            description: Ends, none of which it has.
            type: list
            elements: str
  insights:
    description: Insights that are looked for; they cost extra.
    type: list
    elements: str
    choices: [ApiCallRateInsight, ApiErrorRateInsight]
    default: []
  wait_seconds:
    description: How long to wait for a role that was just made, and for the trail to be logging.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Log what is done in the account, everywhere
  selfhosted.ec2.cloudtrail:
    name: trading
    bucket: trading-audit-123456789012
    kms_key_id: alias/trading-audit
    insights: [ApiCallRateInsight]
    advanced_event_selectors:
      - name: Management events
        fields:
          - {field: eventCategory, equals: [Management]}
      - name: Objects of the backups
        fields:
          - {field: eventCategory, equals: [Data]}
          - {field: resources.type, equals: ["AWS::S3::Object"]}
          - {field: resources.ARN, starts_with: ["arn:aws:s3:::trading-backups-"]}
"""

RETURN = r"""
arn:
  description: ARN of the trail; empty in check mode when it does not exist yet.
  returned: always
  type: str
changes:
  description: What was done, or in check mode would be done, one action each.
  returned: always
  type: list
  elements: str
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, trail_plan

#: What CloudTrail answers as long as IAM has not made a new role known everywhere.
ROLE_UNKNOWN = ("InvalidCloudWatchLogsRoleArnException", "InvalidCloudWatchLogsLogGroupArnException")
POLL_SECONDS = 2


def read(cloudtrail, name):
    """Return what there is of the trail, as trail_plan.plan takes it; None without it."""
    found = cloudtrail.call("describe_trails", trailNameList=[name], includeShadowTrails=False)["trailList"]
    if not found:
        return None
    trail = found[0]
    tags = cloudtrail.call("list_tags", ResourceIdList=[trail["TrailARN"]])["ResourceTagList"]
    return {
        "trail": trail,
        "logging": bool(cloudtrail.call("get_trail_status", Name=name)["IsLogging"]),
        "selectors": cloudtrail.call("get_event_selectors", TrailName=name),
        "insights": read_insights(cloudtrail, name),
        "tags": aws.tags_of(tags[0], "TagsList") if tags else {},
    }


def read_insights(cloudtrail, name):
    try:
        answer = cloudtrail.call("get_insight_selectors", TrailName=name)
    except aws.AwsError as error:
        if error.code == "InsightNotEnabledException":
            return []
        raise
    return [entry["InsightType"] for entry in answer.get("InsightSelectors") or []]


def key_arn(connection, key, check_mode):
    """Return the ARN of a KMS key given by ARN, id or alias; in check mode it may still have to be made."""
    if not key or ":key/" in key:
        return key
    try:
        return connection.client("kms").call("describe_key", KeyId=key)["KeyMetadata"]["Arn"]
    except aws.AwsError as error:
        if check_mode and error.code == "NotFoundException":
            return key
        raise


def send(cloudtrail, step, seconds):
    """Carry out a step; a role that CloudTrail cannot assume yet is waited for. Raises AwsError."""
    clock = cloudtrail.aws.clock
    end = clock.now() + seconds
    while True:
        try:
            return cloudtrail.call(step["action"], **step["parameters"])
        except aws.AwsError as error:
            if error.code not in ROLE_UNKNOWN or clock.now() + POLL_SECONDS > end:
                raise
            clock.sleep(POLL_SECONDS)


def wait_for_logging(cloudtrail, name, seconds):
    """Return when the trail is logging. Raises AwsError after I(seconds)."""
    clock = cloudtrail.aws.clock
    end = clock.now() + seconds
    while not cloudtrail.call("get_trail_status", Name=name)["IsLogging"]:
        if clock.now() + POLL_SECONDS > end:
            raise aws.AwsError(f"The trail {name} is still not logging {seconds} s after it was told to.")
        clock.sleep(POLL_SECONDS)


def manage(params, connection, check_mode):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    found = trail_plan.faults(params)
    if found:
        raise aws.AwsError(" ".join(found))
    cloudtrail = connection.client("cloudtrail")
    have = read(cloudtrail, params["name"])
    params = {**params, "kms_key_id": key_arn(connection, params["kms_key_id"], check_mode)}
    steps = trail_plan.plan(params, have)
    arn = have["trail"]["TrailARN"] if have else ""
    if not check_mode:
        for step in steps:
            answer = send(cloudtrail, step, params["wait_seconds"])
            arn = answer.get("TrailARN") or arn
        if any(step["action"] == "start_logging" for step in steps):
            wait_for_logging(cloudtrail, params["name"], params["wait_seconds"])
    return {
        "changed": bool(steps),
        "arn": "" if params["state"] == "absent" else arn,
        "changes": [step["action"] for step in steps],
        "diff": {side: text([step[side] for step in steps if step[side]]) for side in ("before", "after")},
    }


def text(parts):
    merged = {}
    for part in parts:
        merged.update(part)
    return json.dumps(merged, indent=2, sort_keys=True) + "\n" if merged else ""


def argument_spec():
    texts = {"type": "list", "elements": "str"}
    basic = {
        "read_write": {"type": "str", "choices": ["All", "ReadOnly", "WriteOnly"], "default": "All"},
        "management_events": {"type": "bool", "default": True},
        "exclude": {**texts, "default": []},
        "data_resources": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {"type": {"type": "str", "required": True}, "values": {**texts, "required": True}},
        },
    }
    field = {"field": {"type": "str", "required": True}, **dict.fromkeys(trail_plan.OPERATORS, texts)}
    advanced = {
        "name": {"type": "str", "default": ""},
        "fields": {"type": "list", "elements": "dict", "required": True, "options": field},
    }
    names = ("bucket", "key_prefix", "sns_topic", "kms_key_id", "log_group_arn", "log_role_arn")
    return {
        **aws.argument_spec(),
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **{name: {"type": "str", "default": "", "no_log": False} for name in names},
        "multi_region": {"type": "bool", "default": True},
        "global_events": {"type": "bool", "default": True},
        "log_file_validation": {"type": "bool", "default": True},
        "organization": {"type": "bool", "default": False},
        "logging": {"type": "bool", "default": True},
        "event_selectors": {"type": "list", "elements": "dict", "default": [], "options": basic},
        "advanced_event_selectors": {"type": "list", "elements": "dict", "default": [], "options": advanced},
        "insights": {**texts, "choices": list(trail_plan.INSIGHTS), "default": []},
        **aws.tag_options(),
        "wait_seconds": {"type": "int", "default": 60},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode))


if __name__ == "__main__":
    main()

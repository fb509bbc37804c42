#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: file_storage_record
short_description: The record of which member of the file storage takes writes
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - One item of the platform's lock table. Every change is a conditional write on what was read before, so there is one
    primary at most, whoever runs what at the same time.
  - A move has two steps. After V(begin) nobody is the primary, and all members may only be read; V(finish) names the
    new one. Between them the last writes are copied.
attributes:
  check_mode:
    description: Says what would be written.
    support: full
  diff_mode:
    description: Shows the record before and after.
    support: full
extends_documentation_fragment: [selfhosted.ec2.aws]
options:
  table:
    description: Name of the platform's lock table.
    type: str
    required: true
  name:
    description: Key of the record.
    type: str
    required: true
  step:
    description:
      - V(read) only returns the record. V(create) writes the first one and leaves one that is there.
      - V(begin) takes the right to write away, V(finish) gives it to O(primary). Both leave what is so already.
    type: str
    choices: [read, create, begin, finish]
    default: read
  primary:
    description: The member that is, or becomes, the primary. Needed but for V(read).
    type: str
"""

EXAMPLES = r"""
- name: See who is primary
  selfhosted.ec2.file_storage_record:
    table: trading-lock
    name: file_storage:file_storage
"""

RETURN = r"""
record:
  description:
    - C(primary) (empty during a move), C(next) (who becomes it), C(previous) (who was it before) and C(epoch), the
      number of the last change; empty when there is no record.
  returned: success
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.module_utils.lock import REFUSED


def parse(item):
    """Return the record in an item, {} for none."""
    if not item:
        return {}
    texts = {key: item[key]["S"] for key in ("primary", "next", "previous")}
    return {**texts, "epoch": int(item["epoch"]["N"])}


def wanted(record, step, primary, now):
    """Return the record after a step, None when it stays. Raises aws.AwsError when the step does not follow."""
    if step == "create":
        return None if record else {"primary": primary, "next": "", "previous": "", "epoch": now}
    if record.get("primary") == primary:
        return None
    if step == "begin":
        if record and not record["primary"] and record["next"] != primary:
            raise aws.AwsError(
                f"A move of the file storage to {record['next']} has begun; go on with that one"
                f" (file_storage_primary={record['next']})."
            )
        if record and record["next"] == primary:
            return None
        return {
            "primary": "",
            "next": primary,
            "previous": record.get("primary", ""),
            "epoch": record.get("epoch", now),
        }
    if record.get("next") != primary:
        raise aws.AwsError(f"No move of the file storage to {primary} has begun.")
    # A record that was lost and written anew has a later number, too.
    return {"primary": primary, "next": "", "previous": record["previous"], "epoch": max(record["epoch"] + 1, now)}


def write(dynamodb, table, name, before, after):
    """Replace the record if it is still what was read. Raises aws.AwsError."""
    item = {
        "name": {"S": name},
        "primary": {"S": after["primary"]},
        "next": {"S": after["next"]},
        "previous": {"S": after["previous"]},
        "epoch": {"N": str(after["epoch"])},
    }
    if before:
        condition = {
            "ConditionExpression": "#primary = :primary AND #next = :next AND #epoch = :epoch",
            "ExpressionAttributeNames": {"#primary": "primary", "#next": "next", "#epoch": "epoch"},
            "ExpressionAttributeValues": {
                ":primary": {"S": before["primary"]},
                ":next": {"S": before["next"]},
                ":epoch": {"N": str(before["epoch"])},
            },
        }
    else:
        condition = {
            "ConditionExpression": "attribute_not_exists(#name)",
            "ExpressionAttributeNames": {"#name": "name"},
        }
    try:
        dynamodb.call("put_item", TableName=table, Item=item, **condition)
    except aws.AwsError as error:
        if error.code != REFUSED:
            raise
        raise aws.AwsError(
            "The record of the primary was changed by another run meanwhile; look, and try again."
        ) from error


def manage(params, dynamodb, check_mode, now):
    """Read, compare and write; return the module's answer. Raises aws.AwsError."""
    table, name = params["table"], params["name"]
    answer = dynamodb.call("get_item", TableName=table, Key={"name": {"S": name}}, ConsistentRead=True)
    before = parse(answer.get("Item"))
    after = None if params["step"] == "read" else wanted(before, params["step"], params["primary"], now)
    if after and not check_mode:
        write(dynamodb, table, name, before, after)
    shown = {"before": before, "after": after or before}
    return {"changed": bool(after), "record": after or before, "diff": shown}


def main():
    module = AnsibleModule(
        argument_spec={
            **aws.argument_spec(),
            "table": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "step": {"type": "str", "choices": ["read", "create", "begin", "finish"], "default": "read"},
            "primary": {"type": "str"},
        },
        required_if=[("step", step, ("primary",)) for step in ("create", "begin", "finish")],
        supports_check_mode=True,
    )
    aws.require_boto(module)
    try:
        dynamodb = aws.Aws(module.params).client("dynamodb")
        outcome = manage(module.params, dynamodb, module.check_mode, int(time.time()))
    except aws.AwsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()

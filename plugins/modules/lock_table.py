#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lock_table
short_description: The DynamoDB table that holds a platform's lock
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Makes the on-demand table whose only key is the text C(name), and waits until it is active, or removes it.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.change
attributes:
  diff_mode:
    description: Shows the table's name before and after.
    support: full
options:
  name:
    description: Name of the table, C(<platform_name>-lock).
    type: str
    required: true
  state:
    description: Whether the table is there.
    type: str
    choices: [present, absent]
    default: present
  tags:
    description: Tags of a new table. With O(state=absent), tags a table must have to be removed.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Table of the lock
  selfhosted.ec2.lock_table:
    name: trading-lock
    tags: {platform: trading, environment: production}
"""

RETURN = r"""
table_arn:
  description: ARN of the table, empty when there is none.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, steps

KEY = "name"
TIMEOUT = 120


def describe(dynamodb, name):
    """Return the table, None when there is none."""
    try:
        return dynamodb.call("describe_table", TableName=name)["Table"]
    except aws.AwsError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise


def check_key(table):
    """Raise AwsError when the table cannot hold a lock."""
    schema = [(entry["AttributeName"], entry["KeyType"]) for entry in table["KeySchema"]]
    if schema != [(KEY, "HASH")]:
        raise aws.AwsError(f"The table {table['TableName']} exists with another key than {KEY}; rename or remove it.")


def create(dynamodb, name, tags, clock):
    dynamodb.call(
        "create_table",
        TableName=name,
        AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
        KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=aws.tag_list(tags),
    )

    def active():
        table = describe(dynamodb, name)
        return table if table and table["TableStatus"] == "ACTIVE" else None

    return steps.wait_until(active, f"the table {name} is active", clock, TIMEOUT)


def delete(dynamodb, table, tags):
    arn = table["TableArn"]
    have = aws.tags_of(dynamodb.call("list_tags_of_resource", ResourceArn=arn))
    foreign = {key: value for key, value in tags.items() if have.get(key) != value}
    if foreign:
        raise aws.AwsError(f"The table {table['TableName']} lacks the tags {foreign}; it belongs to somebody else.")
    dynamodb.call("delete_table", TableName=table["TableName"])


def manage(params, dynamodb, clock, check_mode):
    """Compare, create or delete unless in check mode, and return the module's result. Raises AwsError."""
    name, present = params["name"], params["state"] == "present"
    table = describe(dynamodb, name)
    if table and present:
        check_key(table)
    changed = bool(table) != present
    if changed and not check_mode:
        if present:
            table = create(dynamodb, name, params["tags"], clock)
        else:
            delete(dynamodb, table, params["tags"])
            table = None
    line = f"{name}\n" if changed else ""
    diff = {"before": "" if present else line, "after": line if present else ""}
    return {"changed": changed, "table_arn": (table or {}).get("TableArn", ""), "diff": diff}


def main():
    spec = {
        **aws.argument_spec(),
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "tags": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)

    def work(connection):
        return manage(module.params, connection.client("dynamodb"), connection.clock, module.check_mode)

    aws.run(module, work)


if __name__ == "__main__":
    main()

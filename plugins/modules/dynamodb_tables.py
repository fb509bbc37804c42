#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dynamodb_tables
short_description: DynamoDB tables as a set
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads all tables at the same time, compares, and changes what differs, one kind of change at a time as DynamoDB
    wants it, waiting after each until the table and its indexes are active.
  - A description is whole - what is not said has its default.
  - What DynamoDB cannot change (keys, local indexes) is refused before anything is written.
  - A run that was interrupted is taken up by the next, which first waits for what is under way.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.aws.tags
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows each value that differs, one line each.
    support: full
options:
  tables:
    description: Tables that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the table.
        type: str
        required: true
      attributes:
        description: Type of each attribute that is a key of the table or of an index, V(S), V(N) or V(B).
        type: dict
        required: true
      hash_key:
        description: Attribute of the partition key.
        type: str
        required: true
      range_key:
        description: Attribute of the sort key.
        type: str
      indexes:
        description: Secondary indexes.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the index.
            type: str
            required: true
          type:
            description: Kind of the index. A local one is made with the table only.
            type: str
            choices: [global, local]
            default: global
          hash_key:
            description: Attribute of its partition key.
            type: str
            required: true
          range_key:
            description: Attribute of its sort key.
            type: str
          projection:
            description: Which attributes it holds.
            type: str
            choices: [all, keys_only, include]
            default: all
          attributes:
            description: Further attributes, with O(tables[].indexes[].projection=include).
            type: list
            elements: str
            default: []
          capacity:
            description: Capacity of a global index, as O(tables[].capacity); without it the table's.
            type: dict
            suboptions: &capacity
              read:
                description: Read units; the least when they scale.
                type: int
                required: true
              write:
                description: Write units; the least when they scale.
                type: int
                required: true
              max_read:
                description: Most read units; with it they scale.
                type: int
              max_write:
                description: Most write units; with it they scale.
                type: int
              target:
                description: Percentage of use that scaling aims at.
                type: int
                default: 70
      billing:
        description: Whether requests or provisioned units are paid for.
        type: str
        choices: [on_demand, provisioned]
        default: on_demand
      capacity:
        description: Provisioned units.
        type: dict
        suboptions: *capacity
      ttl_attribute:
        description: Attribute that holds the time (seconds since 1970) after which an item is removed.
        type: str
      recovery_days:
        description: Days to which the table can be put back, 1 to 35; 0 for no point-in-time recovery.
        type: int
        default: 35
      stream:
        description: What the table's stream shows.
        type: str
        choices: [none, keys_only, new_image, old_image, new_and_old_images]
        default: none
      encryption:
        description: Key that encrypts the table; without this option the one that DynamoDB owns.
        type: dict
        suboptions:
          type:
            description: Whose key it is.
            type: str
            choices: [aws_owned, kms]
            default: kms
          key:
            description: Id, alias or ARN of the KMS key; without it AWS's own key C(aws/dynamodb).
            type: str
      table_class:
        description: Storage class.
        type: str
        choices: [standard, infrequent_access]
        default: standard
      deletion_protection:
        description: Whether the table is protected from deletion.
        type: bool
        default: true
      tags:
        description: Tags of this table, besides O(tags).
        type: dict
        default: {}
  absent:
    description: Names of tables that shall not be there; each must be in O(confirm) as well.
    type: list
    elements: str
    default: []
  confirm:
    description: Tables of O(absent) that may be removed with all their items, protected or not.
    type: list
    elements: str
    default: []
  replace_indexes:
    description: Whether a global index whose keys or projection differ is removed and made anew.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for each change; filling an index of a large table takes long.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Orders, found by account and by state
  selfhosted.ec2.dynamodb_tables:
    tables:
      - name: trading-orders
        attributes: {account: S, placed: N, state: S}
        hash_key: account
        range_key: placed
        indexes:
          - {name: by-state, hash_key: state, range_key: placed, projection: keys_only}
        ttl_attribute: expires
        stream: new_and_old_images
    tags: {platform: trading}
"""

RETURN = r"""
tables:
  description: The described tables with their name, ARN and the ARN of their stream, in order; ARNs are empty in check
    mode for tables that are not there yet.
  returned: always
  type: list
  elements: dict
  sample: [{name: trading-orders, arn: "arn:aws:dynamodb:eu-west-1:123456789012:table/trading-orders", stream_arn: ""}]
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
  sample: [trading-orders recovery_days]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, steps, table_plan

MISSING = "ResourceNotFoundException"
DEFAULT_KEY = "alias/aws/dynamodb"
#: Application Auto Scaling takes so many resource ids in one call.
SCALING_BATCH = 50
#: Seconds over which capacity neither rises nor falls again. Source: DynamoDB's own default policy has 60.
COOLDOWN = 60


class Tables:
    """The tables of one account in one region."""

    def __init__(self, connection, timeout):
        self.connection, self.timeout = connection, timeout
        self.dynamodb = connection.client("dynamodb")
        self.described, self.keys = {}, {}

    def describe(self, name):
        """Return the table, None when there is none."""
        try:
            table = self.dynamodb.call("describe_table", TableName=name)["Table"]
        except aws.AwsError as error:
            if error.code != MISSING:
                raise
            table = None
        self.described[name] = table
        return table

    def wait(self, name):
        """Wait until a table and its indexes are active."""

        def active():
            table = self.describe(name)
            if table is None:
                return None
            indexes = table.get("GlobalSecondaryIndexes") or []
            states = [table["TableStatus"], *(index.get("IndexStatus", "ACTIVE") for index in indexes)]
            return table if set(states) == {"ACTIVE"} else None

        return steps.wait_until(active, f"the table {name} is active", self.connection.clock, self.timeout)

    def read(self, wanted, settle):
        """Return the tables in the form that is compared; those that do not exist are left out.

        :arg wanted: dict of name to the wanted form.
        :arg settle: whether to wait for what an earlier run has begun.
        """
        there = [name for name, table in zip(wanted, aws.parallel(self.describe, wanted), strict=True) if table]
        if settle:
            aws.parallel(self._settle, there)
        scaling = self._scaling([name for name in there if self._may_scale(name, wanted[name])])
        found = dict(zip(there, aws.parallel(lambda name: self._read(name, scaling), there), strict=True))
        for name, have in found.items():
            have["encryption"] = self._named_key(have["encryption"], wanted[name]["encryption"])
        return found

    def _named_key(self, have, want):
        """Return the key of a table as the description names it, when it is the same: tables tell ids only."""
        alias = DEFAULT_KEY if want == "kms" else want
        if have in ("aws_owned", want) or not alias.startswith("alias/"):
            return have
        if alias not in self.keys:
            self.keys[alias] = self._key_of(alias)
        return want if self.keys[alias] == have else have

    def _key_of(self, alias):
        try:
            return self.connection.client("kms").call("describe_key", KeyId=alias)["KeyMetadata"]["KeyId"]
        except aws.AwsError as error:
            if error.code == "NotFoundException":
                return ""
            raise

    def _settle(self, name):
        table = self.described[name]
        indexes = table.get("GlobalSecondaryIndexes") or []
        states = {table["TableStatus"], *(index.get("IndexStatus", "ACTIVE") for index in indexes)}
        if states != {"ACTIVE"}:
            self.wait(name)

    def _may_scale(self, name, want):
        mode = self.described[name].get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
        return mode == "PROVISIONED" or bool(want["scaling"])

    def _read(self, name, scaling):
        call, table = self.dynamodb.call, self.described[name]
        return table_plan.actual(
            table,
            call("describe_time_to_live", TableName=name).get("TimeToLiveDescription") or {},
            call("describe_continuous_backups", TableName=name).get("ContinuousBackupsDescription"),
            aws.tags_of({"Tags": self.dynamodb.pages("list_tags_of_resource", "Tags", ResourceArn=table["TableArn"])}),
            table_plan.scaling_of(name, *scaling) if scaling else {},
        )

    def _scaling(self, names):
        """Return (targets, policies) of the tables and their indexes."""
        if not names:
            return ()
        resources = [f"table/{name}" for name in names]
        for name in names:
            indexes = self.described[name].get("GlobalSecondaryIndexes") or []
            resources += [f"table/{name}/index/{index['IndexName']}" for index in indexes]
        scaling = self.connection.client("application-autoscaling")
        targets = []
        for start in range(0, len(resources), SCALING_BATCH):
            some = resources[start : start + SCALING_BATCH]
            targets += scaling.pages(
                "describe_scalable_targets", "ScalableTargets", ServiceNamespace="dynamodb", ResourceIds=some
            )
        policies = []
        if targets:
            policies = scaling.pages("describe_scaling_policies", "ScalingPolicies", ServiceNamespace="dynamodb")
        return targets, policies

    def apply(self, step, want):
        """Carry one step out and wait for its end."""
        name, aspect = step["table"], step["aspect"]
        if aspect == "table":
            self.dynamodb.call("create_table", **table_plan.create_request(name, want))
            self.wait(name)
        elif aspect in ("tags", "ttl_attribute", "recovery_days", "scaling"):
            actions = {"tags": self.tag, "ttl_attribute": self.set_ttl, "recovery_days": self.set_recovery}
            actions.get(aspect, self.scale)(step)
        else:
            self.dynamodb.call("update_table", TableName=name, **table_plan.update_request(step))
            self.wait(name)

    def tag(self, step):
        arn = self.described[step["table"]]["TableArn"]
        changed, removed = aws.tag_changes(step["before"], step["after"])
        if removed:
            self.dynamodb.call("untag_resource", ResourceArn=arn, TagKeys=removed)
        if changed:
            self.dynamodb.call("tag_resource", ResourceArn=arn, Tags=aws.tag_list(changed))

    def set_ttl(self, step):
        name = step["table"]
        try:
            self.dynamodb.call(
                "update_time_to_live", TableName=name, TimeToLiveSpecification=table_plan.ttl_request(step)
            )
        except aws.AwsError as error:
            if error.code != "ValidationException" or "multiple times" not in str(error):
                raise
            raise aws.AwsError(
                f"Table {name}: the time to live was changed a short while ago, and DynamoDB takes one change an hour;"
                f" run again in an hour to set it to {step['after'] or 'none'}."
            ) from error

    def set_recovery(self, step):
        self.dynamodb.call(
            "update_continuous_backups",
            TableName=step["table"],
            PointInTimeRecoverySpecification=table_plan.recovery_request(step),
        )

    def _scale(self, step, key):
        resource, dimension, policy = table_plan.scaled(step["table"], key)
        names = {"ServiceNamespace": "dynamodb", "ResourceId": resource, "ScalableDimension": dimension}
        client, after = self.connection.client("application-autoscaling"), step["after"].get(key)
        if after is None:
            client.call("deregister_scalable_target", **names)
            return
        client.call("register_scalable_target", MinCapacity=after["min"], MaxCapacity=after["max"], **names)
        configuration = {
            "TargetValue": float(after["target"]),
            "PredefinedMetricSpecification": {"PredefinedMetricType": table_plan.METRICS[key.rsplit("/", 1)[1]]},
            "ScaleInCooldown": COOLDOWN,
            "ScaleOutCooldown": COOLDOWN,
        }
        client.call(
            "put_scaling_policy",
            PolicyName=policy,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=configuration,
            **names,
        )

    def scale(self, step):
        """Set or remove what differs of the scaling."""
        before = step["before"] or {}
        for key in sorted({*before, *step["after"]}):
            if before.get(key) != step["after"].get(key):
                self._scale(step, key)

    def remove(self, name):
        """Remove a table, and wait until it is gone."""
        table = self.wait(name)
        if table.get("DeletionProtectionEnabled"):
            self.dynamodb.call("update_table", TableName=name, DeletionProtectionEnabled=False)
            self.wait(name)
        self.dynamodb.call("delete_table", TableName=name)
        clock = self.connection.clock
        steps.wait_until(lambda: self.describe(name) is None, f"the table {name} is gone", clock, self.timeout)


def wanted(params):
    """Return the described tables in the form that is compared."""
    result = {}
    for table in params["tables"]:
        result[table["name"]] = table_plan.desired({**table, "tags": {**params["tags"], **table["tags"]}})
    return result


def manage(params, connection, check_mode):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    found = table_plan.faults(params["tables"], params["absent"], params["confirm"])
    if found:
        raise aws.AwsError(" ".join(found))
    tables, want = Tables(connection, params["timeout"]), wanted(params)
    have = tables.read(want, settle=not check_mode)
    for name in have:
        want[name]["tags"] = aws.merge_tags(have[name]["tags"], want[name]["tags"], params["purge_tags"])
        found += table_plan.impossible(name, have[name], want[name], params["replace_indexes"])
    if found:
        raise aws.AwsError(" ".join(found))
    gone = [name for name in params["absent"] if tables.describe(name)]
    plans = {name: table_plan.plan(name, have.get(name), want[name]) for name in want}
    if not check_mode:
        aws.parallel(lambda name: [tables.apply(step, want[name]) for step in plans[name]], plans)
        aws.parallel(tables.remove, gone)
    planned = [step for name in plans for step in plans[name]]
    lines = {side: table_plan.lines(planned, side) for side in ("before", "after")}
    lines["before"] += [f"{name} table: present" for name in gone]
    return {
        "changed": bool(planned or gone),
        "tables": [shown(name, tables.described.get(name) or {}) for name in want],
        "changes": [f"{step['table']} {step['aspect']}" for step in planned] + [f"{name} removed" for name in gone],
        "diff": {side: "".join(f"{line}\n" for line in lines[side]) for side in lines},
    }


def shown(name, table):
    return {"name": name, "arn": table.get("TableArn", ""), "stream_arn": table.get("LatestStreamArn", "")}


def argument_spec():
    def text(**more):
        return {"type": "str", **more}

    def several(options):
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    number, needed = {"type": "int"}, {"type": "int", "required": True}
    name, names = text(required=True), {"type": "list", "elements": "str", "default": []}
    capacity = {
        "type": "dict",
        "options": {
            "read": needed,
            "write": needed,
            "max_read": number,
            "max_write": number,
            "target": {"type": "int", "default": 70},
        },
    }
    index = {
        "name": name,
        "type": text(choices=["global", "local"], default="global"),
        "hash_key": text(required=True, no_log=False),
        "range_key": text(no_log=False),
        "projection": text(choices=list(table_plan.PROJECTIONS), default="all"),
        "attributes": names,
        "capacity": capacity,
    }
    encryption = {"type": text(choices=["aws_owned", "kms"], default="kms"), "key": text(no_log=False)}
    table = {
        "name": name,
        "attributes": {"type": "dict", "required": True},
        "hash_key": text(required=True, no_log=False),
        "range_key": text(no_log=False),
        "indexes": several(index),
        "billing": text(choices=list(table_plan.BILLING), default="on_demand"),
        "capacity": capacity,
        "ttl_attribute": text(),
        "recovery_days": {"type": "int", "default": 35},
        "stream": text(choices=list(table_plan.STREAMS), default="none"),
        "encryption": {"type": "dict", "options": encryption},
        "table_class": text(choices=list(table_plan.CLASSES), default="standard"),
        "deletion_protection": {"type": "bool", "default": True},
        "tags": {"type": "dict", "default": {}},
    }
    return {
        **aws.argument_spec(),
        "tables": several(table),
        "absent": names,
        "confirm": names,
        "replace_indexes": {"type": "bool", "default": False},
        **aws.tag_options(),
        "timeout": {"type": "int", "default": 1800},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode))


if __name__ == "__main__":
    main()

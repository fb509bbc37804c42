#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: identity_center_permission_sets
short_description: Permission sets of IAM Identity Center, and the groups that have them, as a set
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads all permission sets side by side, compares them by meaning, and writes what differs.
  - A set that is assigned already is provisioned again when its rights change; the module waits for it.
  - Works in the account and region of Identity Center, with rights of its administrator.
  - Tags are given when a set is made and are not compared.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows each value, policy statement and group that changes.
    support: full
options:
  instance_arn:
    description: ARN of the Identity Center instance; the only one without it.
    type: str
  account:
    description: Account in which the groups get the sets; the caller's own without it.
    type: str
  permission_sets:
    description: Sets that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, at most 32 characters.
        type: str
        required: true
      description:
        description: What it is for.
        type: str
        default: ""
      session_duration:
        description: Seconds that a session lasts.
        type: int
        default: 3600
      inline_policy:
        description: Policy document. C({account}) and C({partition}) are filled in.
        type: dict
      managed_policies:
        description: ARNs of AWS's managed policies.
        type: list
        elements: str
        default: []
      groups:
        description: Display names of the groups that have it in O(account); others lose it there.
        type: list
        elements: str
        default: []
  prune_prefix:
    description: Sets whose name begins so and that are not described are taken from their groups and deleted.
    type: str
    default: ""
  tags:
    description: Tags of new sets.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: What operators may do
  selfhosted.ec2.identity_center_permission_sets:
    prune_prefix: trading-
    permission_sets:
      - name: trading-auditor
        description: Reads the configuration
        managed_policies: ["arn:aws:iam::aws:policy/SecurityAudit"]
        groups: [auditors]
"""

RETURN = r"""
permission_sets:
  description: ARNs of the described sets that exist, by name.
  returned: always
  type: dict
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, permission_sets, steps

TIMEOUT = 300


class Center:
    """The Identity Center of an account: reads, and operations that end when they have taken effect."""

    def __init__(self, connection, params):
        self.connection, self.params = connection, params
        self.sso = connection.client("sso-admin")
        found = self.sso.pages("list_instances", "Instances")
        wanted = params["instance_arn"]
        chosen = [entry for entry in found if not wanted or entry["InstanceArn"] == wanted]
        if len(chosen) != 1:
            what = f"no instance {wanted}" if wanted else f"{len(found)} instances"
            raise aws.AwsError(f"IAM Identity Center has {what} in {self.sso.region}; set region and instance_arn.")
        self.instance, self.store = chosen[0]["InstanceArn"], chosen[0]["IdentityStoreId"]
        caller = connection.client("sts").call("get_caller_identity")
        self.account, self.partition = params["account"] or caller["Account"], caller["Arn"].split(":")[1]

    def groups(self):
        """Return the groups of the identity store, display name to id."""
        client = self.connection.client("identitystore")
        return {
            g["DisplayName"]: g["GroupId"] for g in client.pages("list_groups", "Groups", IdentityStoreId=self.store)
        }

    def read(self, groups):
        """Return all permission sets by name."""
        arns = self.sso.pages("list_permission_sets", "PermissionSets", InstanceArn=self.instance)
        named = {identity: name for name, identity in groups.items()}
        return dict(aws.parallel(lambda arn: self._one(arn, named), arns))

    def _one(self, arn, named):
        common = {"InstanceArn": self.instance, "PermissionSetArn": arn}
        held = self.sso.call("describe_permission_set", **common)["PermissionSet"]
        inline = self.sso.call("get_inline_policy_for_permission_set", **common).get("InlinePolicy")
        managed = self.sso.pages("list_managed_policies_in_permission_set", "AttachedManagedPolicies", **common)
        assigned = self.sso.pages("list_account_assignments", "AccountAssignments", AccountId=self.account, **common)
        return held["Name"], {
            "arn": arn,
            "description": held.get("Description") or "",
            "session": permission_sets.seconds(held.get("SessionDuration")),
            "inline": json.loads(inline) if inline else None,
            "managed": sorted(entry["Arn"] for entry in managed),
            "groups": sorted(
                named.get(entry["PrincipalId"], entry["PrincipalId"])
                for entry in assigned
                if entry["PrincipalType"] == "GROUP"
            ),
        }

    def waits(self):
        """Return the operations of the plan that end only when they have taken effect."""

        def settled(answer, key, question, parameter):
            def check():
                status = answer[key]
                if status["Status"] == "IN_PROGRESS":
                    more = {"InstanceArn": self.instance, parameter: status["RequestId"]}
                    answer[key] = status = self.sso.call(question, **more)[key]
                if status["Status"] == "FAILED":
                    raise aws.AwsError(f"Identity Center says: {status.get('FailureReason')}")
                return status["Status"] == "SUCCEEDED"

            steps.wait_until(check, "Identity Center is ready", self.connection.clock, TIMEOUT)
            return answer

        def assign(**arguments):
            answer = self.sso.call("create_account_assignment", **arguments)
            question = "describe_account_assignment_creation_status"
            key = "AccountAssignmentCreationStatus"
            return settled(answer, key, question, "AccountAssignmentCreationRequestId")

        def unassign(**arguments):
            answer = self.sso.call("delete_account_assignment", **arguments)
            question = "describe_account_assignment_deletion_status"
            key = "AccountAssignmentDeletionStatus"
            return settled(answer, key, question, "AccountAssignmentDeletionRequestId")

        def provision(**arguments):
            listed = self.sso.pages("list_accounts_for_provisioned_permission_set", "AccountIds", **arguments)
            if not listed:
                return {}
            answer = self.sso.call("provision_permission_set", TargetType="ALL_PROVISIONED_ACCOUNTS", **arguments)
            question = "describe_permission_set_provisioning_status"
            key = "PermissionSetProvisioningStatus"
            return settled(answer, key, question, "ProvisionPermissionSetRequestId")

        return {"assign": assign, "unassign": unassign, "provision": provision}


def manage(params, connection, check_mode):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    prefix = params["prune_prefix"]
    found = permission_sets.faults(params["permission_sets"], prefix)
    if found:
        raise aws.AwsError(" ".join(found))
    center = Center(connection, params)
    want = permission_sets.desired(params["permission_sets"], center.account, center.partition)
    groups = center.groups()
    found = permission_sets.unknown_groups(want, groups)
    if found:
        raise aws.AwsError(" ".join(found))
    have = center.read(groups)
    removed = permission_sets.removable(want, have, prefix)
    context = {"instance": center.instance, "account": center.account, "groups": groups, "tags": params["tags"]}
    plan = permission_sets.plan(want, have, removed, context)
    ids = {}
    if plan and not check_mode:
        ids = steps.run(plan, center.sso, {}, center.waits())
    arns = {name: have[name]["arn"] if name in have else ids.get(f"@{name}", "") for name in want}
    return {
        "changed": bool(plan),
        "permission_sets": {name: arn for name, arn in arns.items() if arn},
        "changes": [step.text for step in plan],
        "diff": permission_sets.difference(want, have, removed),
    }


def argument_spec():
    texts = {"type": "list", "elements": "str", "default": []}
    one = {
        "name": {"type": "str", "required": True},
        "description": {"type": "str", "default": ""},
        "session_duration": {"type": "int", "default": 3600},
        "inline_policy": {"type": "dict"},
        "managed_policies": texts,
        "groups": texts,
    }
    return {
        **aws.argument_spec(),
        "instance_arn": {"type": "str"},
        "account": {"type": "str"},
        "permission_sets": {"type": "list", "elements": "dict", "default": [], "options": one},
        "prune_prefix": {"type": "str", "default": ""},
        "tags": {"type": "dict", "default": {}},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode))


if __name__ == "__main__":
    main()

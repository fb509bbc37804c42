#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: iam_service_roles
short_description: Roles, policies, groups and instance profiles of IAM as a set
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the account with two calls (C(GetAccountAuthorizationDetails), and C(ListRoles) for descriptions and session
    durations), compares what policies mean, and sends only what differs.
  - Sizes, counts, names, ARNs and the form of every policy are checked before anything is sent, and a linter looks for
    what is unwise.
  - In texts of policies and in ARNs C({account}) stands for the account's number and C({partition}) for C(aws) or its
    like.
  - After a change it waits until IAM shows what was asked for. EC2 may need some seconds more to accept a new instance
    profile; M(selfhosted.ec2.ec2_instances) waits for that.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows what changes of each role, policy and group, statement by statement.
    support: full
options:
  path:
    description: Path of what names none itself.
    type: str
    default: /
  tags:
    description: >-
      Tags of everything in the set. Those of roles are compared; those of policies and instance profiles, which IAM
      shows only one by one, are set when they are made.
    type: dict
    default: {}
  roles:
    description: Roles that shall be there, each exactly so.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, unique in the account whatever its case.
        type: str
        required: true
      path:
        description: Path; default from O(path). It cannot be changed later.
        type: str
      description:
        description: What the role is for.
        type: str
        default: ""
      services:
        description: Services that may take the role, such as V(ec2.amazonaws.com). Either this or O(roles[].trust).
        type: list
        elements: str
      trust:
        description: Policy that says who may take the role.
        type: dict
      inline_policies:
        description: Name to policy document.
        type: dict
        default: {}
      managed_policies:
        description: Names out of O(policies), or ARNs.
        type: list
        elements: str
        default: []
      permissions_boundary:
        description: Name out of O(policies), or an ARN.
        type: str
        default: ""
      instance_profiles:
        description: >-
          Instance profiles that hold the role, made when missing. Others below the role's path that hold it are
          removed; without this option none is looked at.
        type: list
        elements: str
      max_session_duration:
        description: Seconds that a session may last.
        type: int
        default: 3600
      tags:
        description: Tags besides those of O(tags).
        type: dict
        default: {}
  policies:
    description: Managed policies that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      path:
        description: Path; default from O(path). It cannot be changed later.
        type: str
      description:
        description: What it allows. It cannot be changed later.
        type: str
        default: ""
      document:
        description: The policy document.
        type: dict
        required: true
      tags:
        description: Tags besides those of O(tags).
        type: dict
        default: {}
  groups:
    description: Groups of people that shall be there. Who is in a group is not looked at.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      path:
        description: Path; default from O(path).
        type: str
      inline_policies:
        description: Name to policy document.
        type: dict
        default: {}
      managed_policies:
        description: Names out of O(policies), or ARNs.
        type: list
        elements: str
        default: []
  prune:
    description: >-
      What is ours, and removed when it is not in the set. With both options a role must meet both. AWS's own roles
      are never removed.
    type: dict
    suboptions:
      path:
        description: Roles, groups, policies below this path.
        type: str
      tags:
        description: Roles with all these tags. A role in O(roles) whose tag has another value is refused.
        type: dict
  purge_policies:
    description: Whether inline policies and attachments that are not named end.
    type: bool
    default: true
  purge_tags:
    description: Whether tags of roles that are not named are removed.
    type: bool
    default: true
  fail_level:
    description: Findings of the linter, or of Access Analyzer, of this level and above end the run before any change.
    type: str
    choices: [error, warning, note, never]
    default: error
  accept:
    description: Findings that are meant to be so.
    type: list
    elements: dict
    default: []
    suboptions:
      rule:
        description: Rule of the finding.
        type: str
        required: true
      where:
        description: Its policy as the finding names it; V(*) and V(?) stand for any characters.
        type: str
        default: "*"
      reason:
        description: Why.
        type: str
        required: true
  known_actions:
    description: Actions that the linter takes for known, for services newer than the installed botocore.
    type: list
    elements: str
    default: []
  access_analyzer:
    description: >-
      Whether IAM Access Analyzer validates each policy that would be written; its findings count like the linter's.
    type: bool
    default: false
  quotas:
    description: Quotas of the account that AWS has raised.
    type: dict
    default: {}
    suboptions:
      trust_characters:
        description: Characters of a trust policy without white space.
        type: int
        default: 2048
      attached_policies:
        description: Managed policies of a role.
        type: int
        default: 10
  wait:
    description: Whether to wait after a change until IAM shows it.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait at most.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Role of the database hosts
  selfhosted.ec2.iam_service_roles:
    path: /trading/
    tags: {platform: trading}
    policies:
      - name: trading-backup
        document:
          Version: "2012-10-17"
          Statement:
            - Effect: Allow
              Action: [s3:GetObject, s3:PutObject]
              Resource: arn:{partition}:s3:::trading-backup-{account}/*
    roles:
      - name: trading-database
        services: [ec2.amazonaws.com]
        managed_policies: [trading-backup]
        instance_profiles: [trading-database]
    prune:
      path: /trading/
"""

RETURN = r"""
account:
  description: Number of the account.
  returned: always
  type: str
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
findings:
  description: What the linter and Access Analyzer found and nobody accepted, dict of level, rule, where, text.
  returned: always
  type: list
  elements: dict
roles:
  description: ARN of each role.
  returned: always
  type: dict
policies:
  description: ARN of each managed policy.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, iam_lint, iam_plan, iam_policy, steps

#: The most that IAM gives in a page.
PAGE = 1000
#: Access Analyzer's types of findings (its API Reference, ValidatePolicyFinding) as levels of the linter.
ANALYZER_LEVELS = {"ERROR": "error", "SECURITY_WARNING": "error", "WARNING": "warning", "SUGGESTION": "note"}
TRUST_RESOURCE = "AWS::IAM::AssumeRolePolicyDocument"


def read_details(iam):
    """Return the lists of GetAccountAuthorizationDetails, all pages of it."""
    lists = {"RoleDetailList": [], "GroupDetailList": [], "Policies": []}
    parameters = {"Filter": ["Role", "Group", "LocalManagedPolicy"], "MaxItems": PAGE}
    while parameters:
        answer = iam.call("get_account_authorization_details", **parameters)
        for key, items in lists.items():
            items.extend(answer.get(key) or [])
        following = aws.next_page(answer)
        parameters = {**parameters, **following} if following else None
    return lists


def common_path(paths):
    """Return the longest path that all paths begin with."""
    parts = [path.split("/")[1:-1] for path in paths]
    shared = []
    for level in zip(*parts):  # noqa: B905 (the shortest ends it)
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/" + "".join(f"{part}/" for part in shared)


class Session:
    """One run: what is wanted, what is there, and what follows from both."""

    def __init__(self, params, iam, partition, find_account):
        self.params, self.iam = params, iam
        details = read_details(iam)
        self.account = iam_plan.account_of(details) or find_account()
        self.want = iam_plan.desired(params, self.account, partition)
        self.read(details)

    def read(self, details=None):
        """Read what is there; instance profiles only when the plan needs those without a role."""
        details = details or read_details(self.iam)
        paths = [entry["path"] for entry in self.want["roles"].values()]
        roles = self.iam.pages("list_roles", "Roles", PathPrefix=common_path(paths), MaxItems=PAGE) if paths else []
        self.have = iam_plan.held(details, roles)
        self.removed = iam_plan.to_remove(self.want, self.have, self.params["prune"])
        if iam_plan.needs_profiles(self.want, self.have, self.removed):
            profiles = self.iam.pages("list_instance_profiles", "InstanceProfiles", MaxItems=PAGE)
            self.have = iam_plan.held(details, roles, profiles)
            self.removed["profiles"] = iam_plan.empty_profiles(self.want, self.have, self.params["prune"], self.removed)

    def conflicts(self):
        prune, purge = self.params["prune"], self.params["purge_policies"]
        return iam_plan.conflicts(self.want, self.have, self.account, self.removed, prune, purge)

    def plan(self):
        tags, policies = self.params["purge_tags"], self.params["purge_policies"]
        return iam_plan.plan(self.want, self.have, self.removed, tags, policies)

    def difference(self):
        tags, policies = self.params["purge_tags"], self.params["purge_policies"]
        return iam_plan.difference(self.want, self.have, self.removed, tags, policies)

    def arns(self, partition):
        """Return the ARN of each wanted role."""
        start = f"arn:{partition}:iam::{self.account}:role"
        return {name: f"{start}{entry['path']}{name}" for name, entry in self.want["roles"].items()}


def refuse(sentences):
    if sentences:
        raise aws.AwsError(" ".join(sentences))


def lint(params, want, account=""):
    """Return the linter's findings that are not accepted; raises AwsError for those of the failing level."""
    actions = iam_lint.Actions(params["known_actions"])
    entries = [
        entry
        for where, kind, text in iam_plan.documents(want)
        for entry in iam_lint.findings(where, text, kind, actions, account)
    ]
    return judge(params, entries)


def judge(params, entries):
    """Leave out what is accepted; raises AwsError with the findings of the failing level."""
    kept = [entry for entry in entries if not iam_lint.accepted(entry, params["accept"])]
    bad = iam_lint.failing(kept, params["fail_level"])
    refuse([f"{entry['where'][:1].upper()}{entry['where'][1:]}: {entry['text']} ({entry['rule']})" for entry in bad])
    return kept


def analyze(params, analyzer, want, plan):
    """Return Access Analyzer's findings on each policy that the plan writes."""
    written = {
        step.arguments[key]
        for step in plan
        for key in ("PolicyDocument", "AssumeRolePolicyDocument")
        if key in step.arguments
    }
    entries = []
    for where, kind, text in iam_plan.documents(want):
        if iam_policy.compact(text) not in written:
            continue
        parameters = {"policyDocument": iam_policy.compact(text), "policyType": "IDENTITY_POLICY"}
        if kind == "trust":
            parameters.update(policyType="RESOURCE_POLICY", validatePolicyResourceType=TRUST_RESOURCE)
        for found in analyzer.pages("validate_policy", "findings", **parameters):
            level = ANALYZER_LEVELS.get(found["findingType"], "warning")
            entries.append(iam_lint.finding(level, found["issueCode"], where, found["findingDetails"].rstrip(".")))
    return judge(params, entries)


def manage(params, connection, partition, check_mode):
    """Compare, send the changes unless in check mode, and return the module's result. Raises AwsError."""
    quotas = {"trust_characters": 2048, "attached_policies": 10, **(params["quotas"] or {})}
    refuse(iam_plan.faults(params, quotas))
    lint(params, iam_plan.desired(params, partition=partition))

    def find_account():
        return connection.client("sts").call("get_caller_identity")["Account"]

    session = Session(params, connection.client("iam"), partition, find_account)
    refuse(session.conflicts())
    findings = lint(params, session.want, session.account)
    plan = session.plan()
    if params["access_analyzer"] and plan:
        findings += analyze(params, connection.client("accessanalyzer"), session.want, plan)
    result = {
        "changed": bool(plan),
        "account": session.account,
        "changes": [step.text for step in plan],
        "findings": findings,
        "roles": session.arns(partition),
        "policies": {name: entry["arn"] for name, entry in session.want["policies"].items()},
        "diff": session.difference(),
    }
    if plan and not check_mode:
        steps.run(plan, session.iam, {})
        if params["wait"]:
            wait(session, connection.clock, params["wait_timeout"])
    return result


def wait(session, clock, timeout):
    """Wait until IAM, which answers from several places, shows what was written. Raises AwsError."""

    def shown():
        session.read()
        return not session.plan()

    steps.wait_until(shown, "IAM shows the changes", clock, timeout, interval=1.0)


def argument_spec():
    texts = {"type": "list", "elements": "str"}
    name = {"type": "str", "required": True}
    described = {"name": name, "path": {"type": "str"}, "description": {"type": "str", "default": ""}}
    rights = {"inline_policies": {"type": "dict", "default": {}}, "managed_policies": {**texts, "default": []}}
    tags = {"type": "dict", "default": {}}
    role = {
        **described,
        **rights,
        "services": texts,
        "trust": {"type": "dict"},
        "permissions_boundary": {"type": "str", "default": ""},
        "instance_profiles": texts,
        "max_session_duration": {"type": "int", "default": 3600},
        "tags": tags,
    }
    policy = {**described, "document": {"type": "dict", "required": True}, "tags": tags}
    group = {"name": name, "path": {"type": "str"}, **rights}
    accept = {"rule": name, "where": {"type": "str", "default": "*"}, "reason": name}
    quotas = {
        "trust_characters": {"type": "int", "default": 2048},
        "attached_policies": {"type": "int", "default": 10},
    }
    return {
        **aws.argument_spec(),
        "path": {"type": "str", "default": "/"},
        "tags": tags,
        "roles": {"type": "list", "elements": "dict", "default": [], "options": role},
        "policies": {"type": "list", "elements": "dict", "default": [], "options": policy},
        "groups": {"type": "list", "elements": "dict", "default": [], "options": group},
        "prune": {"type": "dict", "options": {"path": {"type": "str"}, "tags": {"type": "dict"}}},
        "purge_policies": {"type": "bool", "default": True},
        "purge_tags": {"type": "bool", "default": True},
        "fail_level": {"type": "str", "choices": ["error", "warning", "note", "never"], "default": "error"},
        "accept": {"type": "list", "elements": "dict", "default": [], "options": accept},
        "known_actions": {**texts, "default": []},
        "access_analyzer": {"type": "bool", "default": False},
        "quotas": {"type": "dict", "default": {}, "options": quotas},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 60},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)

    def work(connection):
        partition = connection.session.get_partition_for_region(connection.region)
        outcome = manage(module.params, connection, partition, module.check_mode)
        for entry in outcome["findings"]:
            if entry["level"] == "warning":
                module.warn(f"{entry['where']}: {entry['text']} ({entry['rule']})")
        return outcome

    aws.run(module, work)


if __name__ == "__main__":
    main()

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Permission sets of IAM Identity Center and who has them, as a set: checks and the plan. Pure."""

from __future__ import annotations

import json
import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import iam_policy
from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import tag_list
from ansible_collections.selfhosted.ec2.plugins.module_utils.iam_plan import NO_ACCOUNT, fill
from ansible_collections.selfhosted.ec2.plugins.module_utils.steps import Step

#: Identity Center API Reference, CreatePermissionSet, PutInlinePolicyToPermissionSet; user guide, "Quotas".
NAME = re.compile(r"[\w+=,.@-]{1,32}\Z")
DURATION = re.compile(r"PT(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)S)?\Z")
MAX_POLICIES, MAX_INLINE, MAX_DESCRIPTION = 20, 32768, 700
SHORTEST, LONGEST = 3600, 43200


def duration(seconds):
    """Return seconds as Identity Center writes them: 5400 is PT1H30M."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "H"), (minutes, "M"), (rest, "S"))
    return "PT" + "".join(f"{number}{unit}" for number, unit in parts if number)


def seconds(text):
    """Return the seconds of a duration; without one it is an hour."""
    match = DURATION.match(text or "PT1H")
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def desired(entries, account, partition):
    """Return the wanted sets by name, with C({account}) and C({partition}) filled in."""
    return {
        entry["name"]: {
            "description": entry["description"] or "",
            "session": int(entry["session_duration"]),
            "inline": fill(entry["inline_policy"] or {}, account, partition) or None,
            "managed": sorted(fill(entry["managed_policies"], account, partition)),
            "groups": sorted(set(entry["groups"])),
        }
        for entry in entries
    }


def faults(entries, prefix):
    """Return sentences on what cannot be right."""
    names = [entry["name"] for entry in entries]
    found = [
        f"The permission set {name} is described twice." for name in sorted({n for n in names if names.count(n) > 1})
    ]
    for entry in entries:
        found += _entry_faults(entry, f"The permission set {entry['name']}", prefix)
    return found


def _entry_faults(entry, where, prefix):
    found = []
    if not NAME.match(entry["name"]):
        found.append(f"{where}: the name must be 1 to 32 letters, digits and + = , . @ _ -.")
    if prefix and not entry["name"].startswith(prefix):
        found.append(f"{where} does not begin with prune_prefix {prefix}, so it would never be removed again.")
    if not SHORTEST <= int(entry["session_duration"]) <= LONGEST:
        found.append(f"{where}: session_duration is {entry['session_duration']}; it must be 3600 to 43200 seconds.")
    if len(entry["description"] or "") > MAX_DESCRIPTION:
        found.append(f"{where}: the description has more than {MAX_DESCRIPTION} characters.")
    if len(entry["managed_policies"]) > MAX_POLICIES:
        found.append(f"{where} has {len(entry['managed_policies'])} managed policies; {MAX_POLICIES} are allowed.")
    if entry["inline_policy"]:
        # The account is not asked for before the input is right.
        policy = fill(entry["inline_policy"], NO_ACCOUNT, "aws")
        found += [f"{where}: the inline policy {fault}." for fault in iam_policy.faults(policy)]
        size = len(json.dumps(policy))
        if size > MAX_INLINE:
            found.append(f"{where}: the inline policy has {size} characters; {MAX_INLINE} are allowed.")
    return found


def unknown_groups(want, known):
    """Return sentences on groups that the identity store does not have."""
    return [
        f"The permission set {name} is for the group {group}, which Identity Center does not know."
        for name, entry in want.items()
        for group in entry["groups"]
        if group not in known
    ]


def differs(have, want):
    """Return which parts of a set differ."""
    found = [part for part in ("description", "session", "managed", "groups") if have[part] != want[part]]
    before, after = have["inline"], want["inline"]
    if (before is None) != (after is None) or (before is not None and not iam_policy.equal(before, after)):
        found.append("inline")
    return found


def removable(want, have, prefix):
    """Return the names of the sets that are ours by the prefix and no longer described."""
    return sorted(name for name in have if prefix and name.startswith(prefix) and name not in want)


def plan(want, have, removed, context):
    """Return the steps from I(have) to I(want).

    :arg context: dict C(instance), C(account), C(groups) (display name to id) and C(tags).
    """
    steps = []
    for name, entry in want.items():
        steps += _change(name, entry, have[name], context) if name in have else _create(name, entry, context)
    for name in removed:
        steps += _remove(name, have[name], context)
    return steps


def _common(context, arn):
    return {"InstanceArn": context["instance"], "PermissionSetArn": arn}


def _create(name, entry, context):
    reference = f"@{name}"
    arguments = {
        "InstanceArn": context["instance"],
        "Name": name,
        "SessionDuration": duration(entry["session"]),
        "Tags": tag_list(context["tags"]),
    }
    if entry["description"]:
        arguments["Description"] = entry["description"]
    path = ("PermissionSet", "PermissionSetArn")
    steps = [Step(f"create the permission set {name}", "create_permission_set", arguments, reference, path)]
    nothing = {"managed": [], "groups": [], "inline": None}
    steps += _rights(name, entry, nothing, _common(context, reference))
    return steps + _assignments(name, entry, nothing, reference, context)


def _change(name, entry, known, context):
    parts, common = differs(known, entry), _common(context, known["arn"])
    steps = []
    if {"description", "session"} & set(parts):
        arguments = {**common, "SessionDuration": duration(entry["session"])}
        if entry["description"]:
            arguments["Description"] = entry["description"]
        steps.append(Step(f"change the permission set {name}", "update_permission_set", arguments))
    steps += _rights(name, entry, known, common)
    if steps:
        # What is assigned already has the old rights until it is provisioned again.
        steps.append(Step(f"provision the permission set {name}", "provision", common))
    return steps + _assignments(name, entry, known, known["arn"], context)


def _rights(name, entry, known, common):
    steps = []
    for arn in entry["managed"]:
        if arn not in known["managed"]:
            arguments = {**common, "ManagedPolicyArn": arn}
            text = f"attach {arn.rsplit('/', 1)[-1]} to {name}"
            steps.append(Step(text, "attach_managed_policy_to_permission_set", arguments))
    before, after = known["inline"], entry["inline"]
    if after is not None and (before is None or not iam_policy.equal(before, after)):
        arguments = {**common, "InlinePolicy": json.dumps(after)}
        steps.append(Step(f"set the inline policy of {name}", "put_inline_policy_to_permission_set", arguments))
    elif after is None and before is not None:
        steps.append(Step(f"remove the inline policy of {name}", "delete_inline_policy_from_permission_set", common))
    for arn in known["managed"]:
        if arn not in entry["managed"]:
            arguments = {**common, "ManagedPolicyArn": arn}
            text = f"detach {arn.rsplit('/', 1)[-1]} from {name}"
            steps.append(Step(text, "detach_managed_policy_from_permission_set", arguments))
    return steps


def _assignments(name, entry, known, arn, context):
    steps = []
    for text, operation, names in (
        ("give {set} to {group}", "assign", [group for group in entry["groups"] if group not in known["groups"]]),
        ("take {set} from {group}", "unassign", [group for group in known["groups"] if group not in entry["groups"]]),
    ):
        for group in names:
            # A group that was removed from the identity store is known by its id alone.
            arguments = {
                **_common(context, arn),
                "TargetId": context["account"],
                "TargetType": "AWS_ACCOUNT",
                "PrincipalType": "GROUP",
                "PrincipalId": context["groups"].get(group, group),
            }
            steps.append(Step(text.format(set=name, group=group), operation, arguments))
    return steps


def _remove(name, known, context):
    steps = _assignments(name, {"groups": []}, known, known["arn"], context)
    return [*steps, Step(f"delete the permission set {name}", "delete_permission_set", _common(context, known["arn"]))]


def lines(entry, name):
    """Return a set as lines of a diff."""
    if entry is None:
        return []
    found = [f"{name} description: {entry['description']}", f"{name} session: {entry['session']} s"]
    found += [f"{name} managed policy: {arn}" for arn in entry["managed"]]
    if entry["inline"]:
        found += [f"{name} inline policy: {iam_policy.line(s)}" for s in iam_policy.statements(entry["inline"])]
    return found + [f"{name} group: {group}" for group in entry["groups"]]


def difference(want, have, removed):
    """Return the diff: the lines that differ."""
    before, after = [], []
    for name in [*want, *removed]:
        old, new = have.get(name), want.get(name)
        if old and new and not differs(old, new):
            continue
        there, wanted = lines(old, name), lines(new, name)
        before += [line for line in there if line not in wanted]
        after += [line for line in wanted if line not in there]
    return {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}

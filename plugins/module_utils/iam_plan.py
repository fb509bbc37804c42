# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles, policies, groups and instance profiles of IAM as a set: checks, the plan and its diff. Pure."""

from __future__ import annotations

import re

from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, iam_policy
from ansible_collections.selfhosted.ec2.plugins.module_utils.steps import Step

#: Stands for the account's number until it is known; as long, so that sizes are right.
NO_ACCOUNT = "0" * 12
#: IAM API Reference, CreateRole, CreatePolicy, CreateGroup, CreateInstanceProfile; service model of IAM.
NAME = re.compile(r"[\w+=,.@-]+\Z", re.ASCII)
NAME_LENGTH = {"role": 64, "policy": 128, "group": 128, "instance profile": 128, "inline policy": 128}
PATH = re.compile(r"/([\x21-\x7e]+/)?\Z")
PATH_LENGTH = 512
POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\x21-\x7e]+\Z")
DESCRIPTION = 1000
SESSION = (3600, 43200)
TAGS, TAG_KEY, TAG_VALUE = 50, 128, 256
VERSIONS = 5
#: Paths that AWS owns; nothing there is ever changed or removed.
AWS_PATHS = ("/aws-service-role/", "/aws-reserved/", "/service-role/")


# What is wanted


def fill(value, account, partition):
    """Return I(value) with C({account}) and C({partition}) in its texts replaced."""
    if isinstance(value, str):
        return value.replace("{account}", account).replace("{partition}", partition)
    if isinstance(value, dict):
        return {key: fill(item, account, partition) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(item, account, partition) for item in value]
    return value


def document(value, account, partition):
    """Return a document as a dict, its placeholders filled; text that is no JSON stays, for C(faults) to name."""
    try:
        return fill(iam_policy.parse(value), account, partition)
    except iam_policy.BadDocument:
        return value


def service_trust(services):
    """Return the trust policy with which services of AWS take a role."""
    statement = {"Effect": "Allow", "Principal": {"Service": sorted(services)}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def desired(params, account=NO_ACCOUNT, partition="aws"):
    """Return what the module's options ask for: dict C(roles), C(policies), C(groups), each by name."""
    common = {"path": params["path"], "tags": params["tags"] or {}}
    policies = {entry["name"]: _policy(entry, common, account, partition) for entry in params["policies"]}
    arns = {name: entry["arn"] for name, entry in policies.items()}

    def arn(name):
        text = fill(name, account, partition)
        return text if text.startswith("arn:") else arns.get(text, text)

    return {
        "policies": policies,
        "roles": {entry["name"]: _role(entry, common, arn, account, partition) for entry in params["roles"]},
        "groups": {entry["name"]: _group(entry, common, arn, account, partition) for entry in params["groups"]},
    }


def _policy(entry, common, account, partition):
    path = entry["path"] or common["path"]
    return {
        "arn": f"arn:{partition}:iam::{account}:policy{path}{entry['name']}",
        "path": path,
        "description": entry["description"] or "",
        "document": document(entry["document"], account, partition),
        "tags": {**common["tags"], **(entry["tags"] or {})},
    }


def _rights(entry, arn, account, partition):
    inline = entry["inline_policies"] or {}
    return {
        "inline": {name: document(text, account, partition) for name, text in inline.items()},
        "attached": [arn(name) for name in entry["managed_policies"] or []],
    }


def _role(entry, common, arn, account, partition):
    trust = entry["trust"] if entry["trust"] is not None else service_trust(entry["services"] or [])
    return {
        **_rights(entry, arn, account, partition),
        "path": entry["path"] or common["path"],
        "description": entry["description"] or "",
        "session": entry["max_session_duration"],
        "trust": document(trust, account, partition),
        "boundary": arn(entry["permissions_boundary"]) if entry["permissions_boundary"] else "",
        "profiles": list(entry["instance_profiles"] or []),
        "all_profiles": entry["instance_profiles"] is not None,
        "tags": {key: str(value) for key, value in {**common["tags"], **(entry["tags"] or {})}.items()},
    }


def _group(entry, common, arn, account, partition):
    return {**_rights(entry, arn, account, partition), "path": entry["path"] or common["path"]}


# Checks without AWS


def documents(want):
    """Return every document: list of (where, kind, document)."""
    result = [(f"policy {name}", "identity", entry["document"]) for name, entry in want["policies"].items()]
    for kind in ("role", "group"):
        for name, entry in want[f"{kind}s"].items():
            if kind == "role":
                result.append((f"trust of role {name}", "trust", entry["trust"]))
            for policy, text in entry["inline"].items():
                result.append((f"inline policy {policy} of {kind} {name}", "identity", text))
    return result


def faults(params, quotas):
    """Return what is wrong with the options, one sentence each, without asking AWS.

    :arg quotas: dict trust_characters and attached_policies, which AWS raises on request.
    """
    found = _double_names(params) + _trust_choice(params)
    want = desired(params)
    for kind in ("policy", "role", "group"):
        plural = {"policy": "policies"}.get(kind, f"{kind}s")
        for name, entry in want[plural].items():
            found += _object_faults(kind, name, entry)
    bad = set()
    for where, kind, text in documents(want):
        problems = iam_policy.faults(text, kind)
        found += [f"The {where} {problem}." for problem in problems]
        bad |= {where} if problems else set()
    for name, entry in want["roles"].items():
        found += _role_faults(name, entry)
    found += _rights_faults(want, quotas)
    return found + _size_faults(want, quotas, bad) + _prune_faults(params["prune"] or {})


def _double_names(params):
    found = []
    for key, kind in (("policies", "policy"), ("roles", "role"), ("groups", "group")):
        seen = {}
        for entry in params[key]:
            lower = entry["name"].lower()
            if lower in seen:
                found.append(f"The {kind} {entry['name']} is there twice; names are the same whatever their case.")
            seen[lower] = entry
    profiles = [name.lower() for entry in params["roles"] for name in entry["instance_profiles"] or []]
    for name in sorted({name for name in profiles if profiles.count(name) > 1}):
        found.append(f"The instance profile {name} is there twice; it holds one role.")
    return found


def _trust_choice(params):
    return [
        f"The role {entry['name']} needs either services or trust."
        for entry in params["roles"]
        if bool(entry["services"]) == (entry["trust"] is not None)
    ]


def _object_faults(kind, name, entry):
    found = _name_faults(kind, name)
    if not PATH.match(entry["path"]) or len(entry["path"]) > PATH_LENGTH:
        found.append(f"The {kind} {name} has the path {entry['path']!r}; it must begin and end with a slash.")
    elif entry["path"].startswith(AWS_PATHS[:2]):
        found.append(f"The {kind} {name} has the path {entry['path']}, which is AWS's own.")
    if len(entry.get("description", "")) > DESCRIPTION:
        found.append(f"The {kind} {name} has a description over {DESCRIPTION} characters.")
    return found + _tag_faults(f"{kind} {name}", entry.get("tags") or {})


def _name_faults(kind, name):
    if NAME.match(name) and len(name) <= NAME_LENGTH[kind]:
        return []
    return [f"The {kind} name {name!r} must be 1 to {NAME_LENGTH[kind]} letters, digits and any of +=,.@_-."]


def _tag_faults(where, tags):
    found = []
    if len(tags) > TAGS:
        found.append(f"The {where} has {len(tags)} tags; IAM takes {TAGS}.")
    if len({key.lower() for key in tags}) < len(tags):
        found.append(f"The {where} has tags whose keys differ by case alone.")
    for key, value in tags.items():
        if key.lower().startswith("aws:") or not 0 < len(key) <= TAG_KEY or len(str(value)) > TAG_VALUE:
            found.append(f"The {where} has the tag {key!r}; keys have 1 to {TAG_KEY} characters, values {TAG_VALUE}.")
    return found


def _role_faults(name, entry):
    found = []
    if not SESSION[0] <= entry["session"] <= SESSION[1]:
        found.append(
            f"The role {name} has max_session_duration {entry['session']}; it must be {SESSION[0]} to {SESSION[1]} s."
        )
    if entry["boundary"] and not POLICY_ARN.match(entry["boundary"]):
        found.append(
            f"The role {name} has the permissions_boundary {entry['boundary']!r}; it must be the name of one of"
            " policies, or a policy's ARN."
        )
    for profile in entry["profiles"]:
        found += _name_faults("instance profile", profile)
    for principal in _everybody(entry["trust"]):
        found.append(
            f"The trust of role {name} lets everybody take it ({principal}); name the accounts, or add a condition."
        )
    return found


def _everybody(trust):
    """Return the principals * that no condition narrows."""
    if not isinstance(trust, dict):
        return []
    result = []
    for statement in iam_policy.statements(trust):
        if not isinstance(statement, dict) or statement.get("Effect") != "Allow" or statement.get("Condition"):
            continue
        principal = statement.get("Principal")
        names = principal.get("AWS") if isinstance(principal, dict) else principal
        result += ["principal *"] if "*" in iam_policy.as_list(names) else []
    return result


def _rights_faults(want, quotas):
    found = []
    most = {"role": quotas["attached_policies"], "group": 10}
    for kind in ("role", "group"):
        for name, entry in want[f"{kind}s"].items():
            for policy in entry["inline"]:
                found += _name_faults("inline policy", policy)
            for arn in entry["attached"]:
                if not POLICY_ARN.match(arn):
                    found.append(
                        f"The {kind} {name} has the managed policy {arn!r}; it must be the name of one of policies,"
                        " or an ARN, such as arn:aws:iam::aws:policy/ReadOnlyAccess."
                    )
            count = len(set(entry["attached"]))
            if count > most[kind]:
                found.append(f"The {kind} {name} has {count} managed policies; IAM attaches {most[kind]}.")
            if count < len(entry["attached"]):
                found.append(f"The {kind} {name} has a managed policy twice.")
    return found


def _size_faults(want, quotas, bad):
    found = []
    limits = {"trust": quotas["trust_characters"]}
    for where, kind, text in documents(want):
        limit = limits.get(kind, iam_policy.MANAGED_CHARACTERS if where.startswith("policy ") else None)
        size = 0 if where in bad or limit is None else iam_policy.size(text)
        if limit is not None and size > limit:
            split = f"; split it into {-(-size // limit)}" if kind == "identity" else ""
            found.append(f"The {where} has {size} characters without white space; IAM takes {limit}{split}.")
    for kind in ("role", "group"):
        limit = iam_policy.INLINE_CHARACTERS[kind]
        for name, entry in want[f"{kind}s"].items():
            texts = [
                text
                for policy, text in entry["inline"].items()
                if f"inline policy {policy} of {kind} {name}" not in bad
            ]
            size = sum(iam_policy.size(text) for text in texts)
            if size > limit:
                found.append(
                    f"The inline policies of {kind} {name} have {size} characters without white space; IAM takes"
                    f" {limit} in all; make managed policies of some."
                )
    return found


def _prune_faults(prune):
    path, tags = prune.get("path"), prune.get("tags")
    if not prune:
        return []
    if not path and not tags:
        return ["The option prune needs path or tags."]
    if path and (not PATH.match(path) or path.startswith(AWS_PATHS[:2])):
        return [f"The option prune.path is {path!r}; it must begin and end with a slash and not be AWS's own."]
    if path == "/" and not tags:
        return ["The option prune.path is /, which is everything in the account; name tags as well."]
    return []


# What is there


def held(details, roles, profiles=None):
    """Return what IAM holds, in the form of C(desired).

    :arg details: dict of the lists of GetAccountAuthorizationDetails.
    :arg roles: roles as ListRoles gives them, for what the details leave out.
    :arg profiles: instance profiles as ListInstanceProfiles gives them, None when they were not read.
    """
    more = {entry["RoleName"]: entry for entry in roles}
    result = {
        "roles": {entry["RoleName"]: _held_role(entry, more) for entry in details["RoleDetailList"]},
        "policies": {entry["Arn"]: _held_policy(entry) for entry in details["Policies"]},
        "groups": {entry["GroupName"]: _held_group(entry) for entry in details["GroupDetailList"]},
        "profiles": None,
    }
    if profiles is not None:
        result["profiles"] = {
            entry["InstanceProfileName"]: {
                "path": entry["Path"],
                "roles": [role["RoleName"] for role in entry.get("Roles") or []],
            }
            for entry in profiles
        }
    return result


def _held_rights(entry, key):
    return {
        "inline": {policy["PolicyName"]: policy["PolicyDocument"] for policy in entry.get(key) or []},
        "attached": [policy["PolicyArn"] for policy in entry.get("AttachedManagedPolicies") or []],
    }


def _held_role(entry, more):
    known = more.get(entry["RoleName"], {})
    return {
        **_held_rights(entry, "RolePolicyList"),
        "arn": entry["Arn"],
        "path": entry["Path"],
        "description": known.get("Description") or "",
        "session": known.get("MaxSessionDuration"),
        "trust": entry.get("AssumeRolePolicyDocument"),
        "boundary": (entry.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn") or "",
        "profiles": {item["InstanceProfileName"]: item["Path"] for item in entry.get("InstanceProfileList") or []},
        "tags": aws.tags_of(entry),
    }


def _held_policy(entry):
    versions = entry.get("PolicyVersionList") or []
    default = next((version for version in versions if version["IsDefaultVersion"]), {})
    return {
        "name": entry["PolicyName"],
        "path": entry["Path"],
        "description": entry.get("Description"),
        "document": default.get("Document"),
        "versions": versions,
        "attached": entry.get("AttachmentCount") or 0,
        "bounding": entry.get("PermissionsBoundaryUsageCount") or 0,
    }


def _held_group(entry):
    return {**_held_rights(entry, "GroupPolicyList"), "arn": entry["Arn"], "path": entry["Path"]}


def account_of(details):
    """Return the account's number as the ARNs of its roles, groups and policies say, "" when there is none."""
    for key in ("RoleDetailList", "GroupDetailList", "Policies"):
        for entry in details[key]:
            return entry["Arn"].split(":")[4]
    return ""


def to_remove(want, have, prune):
    """Return the names (ARNs of policies) of what is ours and no longer wanted: dict roles, groups, policies.

    Groups and policies show no tags in the account's details, so they go only by their path.
    """
    path, tags = (prune or {}).get("path"), (prune or {}).get("tags")
    result = {"roles": [], "groups": [], "policies": [], "profiles": []}
    if not prune:
        return result

    def ours(entry):
        return bool(path) and entry["path"].startswith(path) and not entry["path"].startswith(AWS_PATHS)

    for name, entry in sorted(have["roles"].items()):
        tagged = not tags or all(entry["tags"].get(key) == str(value) for key, value in tags.items())
        inside = ours(entry) if path else not entry["path"].startswith(AWS_PATHS)
        if name not in want["roles"] and tagged and inside:
            result["roles"].append(name)
    wanted = {entry["arn"] for entry in want["policies"].values()} | uses(want)
    if path and path != "/":
        result["groups"] = [n for n, e in sorted(have["groups"].items()) if ours(e) and n not in want["groups"]]
        result["policies"] = [a for a, e in sorted(have["policies"].items()) if ours(e) and a not in wanted]
    return result


def empty_profiles(want, have, prune, removed):
    """Return the instance profiles of ours without a role, such as an interrupted run leaves them."""
    path = (prune or {}).get("path") or ""
    wanted = {profile for entry in want["roles"].values() for profile in entry["profiles"]}
    return [
        name
        for name, entry in sorted((have["profiles"] or {}).items())
        if not entry["roles"] and name not in wanted
        if (path.strip("/") and entry["path"].startswith(path)) or name in removed["roles"]
    ]


def uses(want):
    """Return the ARNs of the policies that wanted roles and groups use."""
    entries = [*want["roles"].values(), *want["groups"].values()]
    return {arn for entry in entries for arn in [*entry["attached"], entry.get("boundary") or ""]} - {""}


def needs_profiles(want, have, removed):
    """Tell whether the instance profiles must be listed: those without a role show nowhere else."""
    missing = any(
        set(entry["profiles"]) - set(_have_role(have, name)["profiles"]) for name, entry in want["roles"].items()
    )
    return missing or bool(removed["roles"])


def _have_role(have, name):
    empty = {"profiles": {}, "inline": {}, "attached": [], "tags": {}, "boundary": "", "trust": None}
    return have["roles"].get(name) or empty


# Checks against what is there


def conflicts(want, have, account, removed, prune, purge_policies=True):
    """Return why the wanted cannot be made of what is there, one sentence each."""
    found = []
    for kind in ("roles", "groups"):
        lower = {name.lower(): name for name in have[kind]}
        for name, entry in want[kind].items():
            other = lower.get(name.lower())
            if other and other != name:
                found.append(f"The {kind[:-1]} {name} is there as {other}; names are the same whatever their case.")
            elif other and have[kind][other]["path"] != entry["path"]:
                there = have[kind][other]["path"]
                found.append(
                    f"The {kind[:-1]} {name} is there below the path {there}, not {entry['path']}; a path cannot be"
                    " changed: set this one, or remove it first."
                )
    found += _policy_conflicts(want, have) + _foreign_roles(want, have, prune)
    found += _missing_policies(want, have, account) + _profile_conflicts(want, have, removed)
    return found + _still_used(want, have, removed, purge_policies)


def _policy_conflicts(want, have):
    found = []
    by_name = {entry["name"].lower(): (arn, entry) for arn, entry in have["policies"].items()}
    for name, entry in want["policies"].items():
        arn, known = by_name.get(name.lower(), (entry["arn"], None))
        if arn != entry["arn"]:
            found.append(
                f"The policy {name} is there as {arn}, not {entry['arn']}; a path cannot be changed: set this one, or"
                " remove it first."
            )
        elif known and known["description"] is not None and known["description"] != entry["description"]:
            found.append(
                f"The policy {name} has the description {known['description']!r}, not {entry['description']!r}; it"
                " cannot be changed: set this one, or remove the policy first."
            )
    return found


def _foreign_roles(want, have, prune):
    found = []
    for name in want["roles"]:
        tags = _have_role(have, name)["tags"]
        for key, value in ((prune or {}).get("tags") or {}).items():
            if tags.get(key, str(value)) != str(value):
                found.append(
                    f"The role {name} has the tag {key}={tags[key]}, not {value}; it belongs to somebody else."
                )
    return found


def _missing_policies(want, have, account):
    """Policies of the own account that roles and groups name must be there or be made; AWS's own cannot be seen."""
    known = set(have["policies"]) | {entry["arn"] for entry in want["policies"].values()}
    found = []
    for kind in ("roles", "groups"):
        for name, entry in want[kind].items():
            uses = [(arn, "managed policy") for arn in entry["attached"]]
            uses += [(entry["boundary"], "permissions boundary")] if entry.get("boundary") else []
            for arn, what in uses:
                owner = arn.split(":")[4]
                if arn not in known and owner == account:
                    found.append(
                        f"The {what} {arn} of {kind[:-1]} {name} does not exist; make it, or add it to policies."
                    )
                elif owner not in (account, "aws"):
                    found.append(f"The {what} {arn} of {kind[:-1]} {name} is of another account than {account}.")
    return found


def _profile_conflicts(want, have, removed):
    found = []
    for name, entry in want["roles"].items():
        for profile in entry["profiles"]:
            known = (have["profiles"] or {}).get(profile)
            others = set(known["roles"]) - {name} - set(want["roles"]) - set(removed["roles"]) if known else set()
            if others:
                found.append(
                    f"The instance profile {profile} of role {name} holds the role {others.pop()}, which is not in"
                    " roles; remove it from the profile first."
                )
    return found


def _still_used(want, have, removed, purge_policies):
    """A policy cannot go while what stays uses it."""
    found = []
    kept = {kind: set(want[kind]) if purge_policies else set() for kind in ("roles", "groups")}
    for arn in removed["policies"]:
        entry = have["policies"][arn]
        mine = [
            item for kind in kept for name, item in have[kind].items() if name in kept[kind] or name in removed[kind]
        ]
        elsewhere = entry["attached"] - sum(arn in item["attached"] for item in mine)
        ours = [item for name, item in have["roles"].items() if name in want["roles"] or name in removed["roles"]]
        bounding = entry["bounding"] - sum(item["boundary"] == arn for item in ours)
        if elsewhere > 0 or bounding > 0:
            count = elsewhere + bounding
            found.append(f"The policy {entry['name']} is to go, but {count} others use it; detach it there first.")
    return found


# Plan


def plan(want, have, removed, purge_tags=True, purge_policies=True):
    """Return the steps that turn I(have) into I(want): policies, roles, profiles, groups, then what goes."""
    steps = []
    for name, entry in want["policies"].items():
        steps += _plan_policy(name, entry, have["policies"].get(entry["arn"]))
    for name, entry in want["roles"].items():
        steps += _plan_role(name, entry, have["roles"].get(name), purge_tags, purge_policies)
    steps += _plan_profiles(want, have)
    steps += [_delete_profile(profile) for profile in removed["profiles"]]
    for name, entry in want["groups"].items():
        steps += _plan_group(name, entry, have["groups"].get(name), purge_policies)
    for name in removed["roles"]:
        steps += _remove_role(name, have["roles"][name], want)
    for name in removed["groups"]:
        steps += _remove_group(name, have["groups"][name])
    for arn in removed["policies"]:
        steps += _remove_policy(arn, have["policies"][arn])
    return steps


def _plan_policy(name, entry, known):
    text = iam_policy.compact(entry["document"])
    if known is None:
        arguments = {"PolicyName": name, "Path": entry["path"], "PolicyDocument": text}
        if entry["description"]:
            arguments["Description"] = entry["description"]
        if entry["tags"]:
            arguments["Tags"] = aws.tag_list(entry["tags"])
        return [Step(f"create the policy {name}", "create_policy", arguments)]
    if iam_policy.equal(entry["document"], known["document"]):
        return []
    arn = entry["arn"]
    same = next((v for v in known["versions"] if iam_policy.equal(entry["document"], v.get("Document"))), None)
    if same:
        version = same["VersionId"]
        words = f"make version {version} of the policy {name} its default"
        return [Step(words, "set_default_policy_version", {"PolicyArn": arn, "VersionId": version})]
    steps = []
    if len(known["versions"]) >= VERSIONS:
        rest = [version["VersionId"] for version in known["versions"] if not version["IsDefaultVersion"]]
        oldest = min(rest, key=lambda version: int(version[1:]))
        arguments = {"PolicyArn": arn, "VersionId": oldest}
        steps.append(Step(f"delete version {oldest} of the policy {name}", "delete_policy_version", arguments))
    arguments = {"PolicyArn": arn, "PolicyDocument": text, "SetAsDefault": True}
    return [*steps, Step(f"change the policy {name}", "create_policy_version", arguments)]


def _plan_role(name, entry, known, purge_tags, purge_policies):
    steps = []
    if known is None:
        steps.append(_create_role(name, entry))
        known = {"inline": {}, "attached": [], "profiles": {}}
        late = []
    else:
        steps += _change_role(name, entry, known)
        steps += _plan_tags(name, entry["tags"], known["tags"], purge_tags)
        bounded, late = _plan_boundary(name, entry["boundary"], known["boundary"])
        steps += bounded
    return steps + _plan_rights("role", name, entry, known, purge_policies) + late


def _create_role(name, entry):
    arguments = {
        "RoleName": name,
        "Path": entry["path"],
        "AssumeRolePolicyDocument": iam_policy.compact(entry["trust"]),
        "MaxSessionDuration": entry["session"],
    }
    if entry["description"]:
        arguments["Description"] = entry["description"]
    if entry["boundary"]:
        arguments["PermissionsBoundary"] = entry["boundary"]
    if entry["tags"]:
        arguments["Tags"] = aws.tag_list(entry["tags"])
    return Step(f"create the role {name}", "create_role", arguments)


def _change_role(name, entry, known):
    steps = []
    if not iam_policy.equal(entry["trust"], known["trust"]):
        arguments = {"RoleName": name, "PolicyDocument": iam_policy.compact(entry["trust"])}
        steps.append(Step(f"change the trust of role {name}", "update_assume_role_policy", arguments))
    if (entry["description"], entry["session"]) != (known["description"], known["session"]):
        # UpdateRole resets what it is not given.
        arguments = {"RoleName": name, "Description": entry["description"], "MaxSessionDuration": entry["session"]}
        steps.append(Step(f"change description or session duration of role {name}", "update_role", arguments))
    return steps


def _plan_tags(name, wanted, known, purge):
    steps = []
    changed = {key: value for key, value in wanted.items() if known.get(key) != value}
    gone = sorted(key for key in known if key not in wanted and not key.lower().startswith("aws:"))
    if gone and purge:
        words = f"remove the tags {', '.join(gone)} of role {name}"
        steps.append(Step(words, "untag_role", {"RoleName": name, "TagKeys": gone}))
    if changed:
        words = f"set the tags {', '.join(f'{key}={changed[key]}' for key in sorted(changed))} of role {name}"
        steps.append(Step(words, "tag_role", {"RoleName": name, "Tags": aws.tag_list(changed)}))
    return steps


def _plan_boundary(name, wanted, known):
    """Return (steps before the rights change, steps after it): a boundary comes first and goes last."""
    if wanted == known:
        return [], []
    if wanted:
        arguments = {"RoleName": name, "PermissionsBoundary": wanted}
        words = f"set the permissions boundary {wanted} of role {name}"
        return [Step(words, "put_role_permissions_boundary", arguments)], []
    words = f"remove the permissions boundary of role {name}"
    return [], [Step(words, "delete_role_permissions_boundary", {"RoleName": name})]


def _plan_rights(kind, name, entry, known, purge):
    return _plan_inline(kind, name, entry["inline"], known["inline"], purge) + _plan_attached(
        kind, name, entry["attached"], known["attached"], purge
    )


def _subject(kind, name):
    return {"RoleName": name} if kind == "role" else {"GroupName": name}


def _held_size(text):
    try:
        return iam_policy.size(text)
    except iam_policy.BadDocument:
        return len(str(text))


def _plan_inline(kind, name, wanted, known, purge):
    changed = [n for n in wanted if n not in known or not iam_policy.equal(wanted[n], known[n])]
    gone = sorted(set(known) - set(wanted)) if purge else []
    puts, growth = [], {}
    for policy in changed:
        growth[policy] = iam_policy.size(wanted[policy]) - (_held_size(known[policy]) if policy in known else 0)
    # What shrinks goes first, so that what grows has room.
    for policy in sorted(changed, key=lambda policy: growth[policy]):
        words = f"{'change' if policy in known else 'create'} the inline policy {policy} of {kind} {name}"
        arguments = {**_subject(kind, name), "PolicyName": policy, "PolicyDocument": iam_policy.compact(wanted[policy])}
        puts.append(Step(words, f"put_{kind}_policy", arguments))
    deletes = [
        Step(
            f"delete the inline policy {policy} of {kind} {name}",
            f"delete_{kind}_policy",
            {**_subject(kind, name), "PolicyName": policy},
        )
        for policy in gone
    ]
    total = sum(_held_size(text) for text in known.values()) + sum(growth.values())
    # New rights before old ones end, so that nothing stands still meanwhile, unless the quota has no room for both.
    return puts + deletes if total <= iam_policy.INLINE_CHARACTERS[kind] else deletes + puts


def _plan_attached(kind, name, wanted, known, purge, quota=10):
    new = [arn for arn in wanted if arn not in known]
    gone = sorted(set(known) - set(wanted)) if purge else []
    attach = [
        Step(
            f"attach {arn.rsplit('/', 1)[-1]} to {kind} {name}",
            f"attach_{kind}_policy",
            {**_subject(kind, name), "PolicyArn": arn},
        )
        for arn in new
    ]
    detach = [_detach(kind, name, arn) for arn in gone]
    return attach + detach if len(known) + len(new) <= quota else detach + attach


def _detach(kind, name, arn):
    words = f"detach {arn.rsplit('/', 1)[-1]} from {kind} {name}"
    return Step(words, f"detach_{kind}_policy", {**_subject(kind, name), "PolicyArn": arn})


def _plan_group(name, entry, known, purge_policies):
    steps = []
    if known is None:
        steps.append(Step(f"create the group {name}", "create_group", {"GroupName": name, "Path": entry["path"]}))
        known = {"inline": {}, "attached": []}
    return steps + _plan_rights("group", name, entry, known, purge_policies)


def _plan_profiles(want, have):
    """Profiles hold one role, so roles leave before others enter."""
    leave, enter = [], []
    for name, entry in want["roles"].items():
        known = _have_role(have, name)["profiles"]
        for profile, path in sorted(known.items()):
            taken = any(profile in other["profiles"] for other in want["roles"].values())
            ended = entry["all_profiles"] and path == entry["path"]
            if profile not in entry["profiles"] and (taken or ended):
                leave += _empty_profile(profile, name)
                leave += [] if taken else [_delete_profile(profile)]
        for profile in entry["profiles"]:
            if profile not in known:
                enter += _fill_profile(profile, name, entry, (have["profiles"] or {}).get(profile), want)
    return leave + enter


def _fill_profile(profile, name, entry, there, want):
    steps = []
    if there is None:
        arguments = {"InstanceProfileName": profile, "Path": entry["path"]}
        if entry["tags"]:
            arguments["Tags"] = aws.tag_list(entry["tags"])
        steps.append(Step(f"create the instance profile {profile}", "create_instance_profile", arguments))
    for other in (there or {}).get("roles") or []:
        # A wanted role that no longer names the profile has left it already.
        if other not in want["roles"]:
            steps += _empty_profile(profile, other)
    arguments = {"InstanceProfileName": profile, "RoleName": name}
    words = f"put the role {name} into the instance profile {profile}"
    return [*steps, Step(words, "add_role_to_instance_profile", arguments)]


def _empty_profile(profile, role):
    arguments = {"InstanceProfileName": profile, "RoleName": role}
    words = f"take the role {role} out of the instance profile {profile}"
    return [Step(words, "remove_role_from_instance_profile", arguments, tolerate=("NoSuchEntity",))]


def _delete_profile(profile):
    arguments = {"InstanceProfileName": profile}
    return Step(f"delete the instance profile {profile}", "delete_instance_profile", arguments)


def _remove_role(name, entry, want):
    steps = []
    wanted = {profile for other in want["roles"].values() for profile in other["profiles"]}
    for profile in sorted(entry["profiles"]):
        if profile in wanted:
            continue
        steps += _empty_profile(profile, name)
        steps += [_delete_profile(profile)] if entry["profiles"][profile] == entry["path"] else []
    steps += [_detach("role", name, arn) for arn in sorted(entry["attached"])]
    for policy in sorted(entry["inline"]):
        arguments = {"RoleName": name, "PolicyName": policy}
        steps.append(Step(f"delete the inline policy {policy} of role {name}", "delete_role_policy", arguments))
    return [*steps, Step(f"delete the role {name}", "delete_role", {"RoleName": name})]


def _remove_group(name, entry):
    steps = [_detach("group", name, arn) for arn in sorted(entry["attached"])]
    for policy in sorted(entry["inline"]):
        arguments = {"GroupName": name, "PolicyName": policy}
        steps.append(Step(f"delete the inline policy {policy} of group {name}", "delete_group_policy", arguments))
    return [*steps, Step(f"delete the group {name}", "delete_group", {"GroupName": name})]


def _remove_policy(arn, entry):
    steps = []
    for version in entry["versions"]:
        if not version["IsDefaultVersion"]:
            arguments = {"PolicyArn": arn, "VersionId": version["VersionId"]}
            words = f"delete version {version['VersionId']} of the policy {entry['name']}"
            steps.append(Step(words, "delete_policy_version", arguments))
    return [*steps, Step(f"delete the policy {entry['name']}", "delete_policy", {"PolicyArn": arn})]


# Diff


def difference(want, have, removed, purge_tags=True, purge_policies=True):
    """Return what differs as two texts, before and after: only the parts that change, statement by statement."""
    before, after = [], []
    pairs = [(f"policy {n}", have["policies"].get(e["arn"]), e) for n, e in want["policies"].items()]
    pairs += [(f"policy {have['policies'][arn]['name']}", have["policies"][arn], None) for arn in removed["policies"]]
    for kind in ("role", "group"):
        pairs += [(f"{kind} {n}", have[f"{kind}s"].get(n), e) for n, e in want[f"{kind}s"].items()]
        pairs += [(f"{kind} {n}", have[f"{kind}s"][n], None) for n in removed[f"{kind}s"]]
    for title, old, new in pairs:
        old_rows, new_rows = _rows(old, new, purge_tags, purge_policies)
        if old_rows or new_rows:
            before += [title, *old_rows] if old is not None else []
            after += [title, *new_rows] if new is not None else []
    return {"before": "".join(f"{row}\n" for row in before), "after": "".join(f"{row}\n" for row in after)}


def _rows(old, new, purge_tags, purge_policies):
    """Return the rows of one thing before and after, only of the parts that differ."""
    sections = _sections(old, new, purge_tags, purge_policies)
    before, after = [], []
    for title, was, shall, same in sections:
        if same:
            continue
        for rows, value in ((before, was), (after, shall)):
            if value:
                rows += [f"  {title}", *(f"    {row}" for row in value)]
    return before, after


def _sections(old, new, purge_tags, purge_policies):
    """Return (title, rows before, rows after, whether nothing changes) of each part."""
    one, other = old or {}, new or {}
    result = []
    for key in ("description", "session", "boundary"):
        if key in one or key in other:
            was, shall = one.get(key), other.get(key)
            rows = [[str(value)] if value not in (None, "") else [] for value in (was, shall)]
            result.append((key, *rows, was == shall))
    for key, purge in (("tags", purge_tags), ("attached", purge_policies)):
        if key == "tags" and "document" in {**one, **other}:
            continue
        old_value, new_value = one.get(key), other.get(key)
        if new is not None and not purge:
            new_value = {**(old_value or {}), **new_value} if key == "tags" else [*{*(old_value or []), *new_value}]
        was, shall = _listed(old_value), _listed(new_value)
        result.append((key, was, shall, was == shall))
    was, shall = sorted(one.get("profiles") or []), sorted(other.get("profiles") or [])
    shall = shall if new is None or other.get("all_profiles") else sorted({*shall, *was})
    result.append(("instance profiles", was, shall, was == shall))
    for key in ("trust", "document"):
        result.append(_document_section(key, one.get(key), other.get(key)))
    names = [*other.get("inline", {}), *(name for name in one.get("inline", {}) if name not in other.get("inline", {}))]
    for name in names:
        shall = other.get("inline", {}).get(name)
        if shall is None and new is not None and not purge_policies:
            continue
        result.append(_document_section(f"inline policy {name}", one.get("inline", {}).get(name), shall))
    return result


def _listed(value):
    if isinstance(value, dict):
        return sorted(f"{key}={item}" for key, item in value.items() if not key.lower().startswith("aws:"))
    return sorted(value) if isinstance(value, (list, tuple)) else []


def _document_section(title, was, shall):
    if was is None and shall is None:
        return title, [], [], True
    same = was is not None and shall is not None and iam_policy.equal(was, shall)
    try:
        parsed = [iam_policy.parse(text) if text else None for text in (was, shall)]
        rows = iam_policy.aligned(*parsed)
    except (iam_policy.BadDocument, AttributeError, TypeError):
        parsed = [{}, shall]
        rows = ([str(was)], iam_policy.aligned(None, shall)[1] if shall else [])
    versions = [(text or {}).get("Version") for text in parsed]
    if versions[0] != versions[1]:
        rows = [[f"Version {version}", *part] if version else part for version, part in zip(versions, rows)]  # noqa: B905
    return title, rows[0], rows[1], same

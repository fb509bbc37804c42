"""What IAM answers differently from moto: pages, members that lists leave out, roles that are not visible yet."""

from __future__ import annotations

import json
import time
from typing import Any

from lab.aws.call import AWSError, Call
from lab.aws.handlers import handler

PAGE = 100


def visible(call: Call, things: Any) -> list[Any]:
    """What reads show: young things are missing while the fault of eventual consistency is on."""
    delay = call.state.faults["eventual_consistency_seconds"]
    return [thing for thing in things if time.time() - thing.create_date.timestamp() >= delay]


def page(call: Call, items: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """One page of the items and the members that say what follows. Source: IAM API Reference, Marker and MaxItems."""
    marker = call.params.get("Marker") or "0"
    if not marker.isdigit():
        raise AWSError("ValidationError", f"Invalid Marker: {marker}")
    start, size = int(marker), int(call.params.get("MaxItems") or PAGE)
    end = start + size
    return items[start:end], {"IsTruncated": True, "Marker": str(end)} if end < len(items) else {"IsTruncated": False}


def _below(call: Call, items: Any) -> list[Any]:
    prefix = call.params.get("PathPrefix") or "/"
    return sorted((item for item in items if item.path.startswith(prefix)), key=lambda item: item.name)


@handler("iam", "GetAccountAuthorizationDetails")
def account_details(call: Call, _front: Any) -> dict[str, Any]:
    """moto answers everything at once. Source: IAM API Reference, GetAccountAuthorizationDetails."""
    found = call.backend().get_account_authorization_details(call.params.get("Filter") or [])
    lists = {
        "UserDetailList": found["users"],
        "GroupDetailList": found["groups"],
        "RoleDetailList": visible(call, found["roles"]),
        "Policies": found["managed_policies"],
    }
    everything = [(key, item) for key, items in lists.items() for item in sorted(items, key=lambda item: item.name)]
    shown, following = page(call, everything)
    result = {key: [item for other, item in shown if other == key] for key in lists}
    return {**result, "Policies": [_policy(call, policy) for policy in result["Policies"]], **following}


def _policy(call: Call, policy: Any) -> dict[str, Any]:
    bounded = sum(role.permissions_boundary_arn == policy.arn for role in call.backend().roles.values())
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "Description": policy.description or None,
        "DefaultVersionId": policy.default_version_id,
        "AttachmentCount": policy.attachment_count,
        "PermissionsBoundaryUsageCount": bounded,
        "IsAttachable": True,
        "CreateDate": policy.create_date,
        "UpdateDate": policy.update_date,
        "PolicyVersionList": policy.policy_version_list,
    }


class Listed:
    """A role as ListRoles shows it. Source: API Reference, ListRoles: no boundary, last use or tags."""

    HIDDEN = ("permissions_boundary", "role_last_used", "tags")

    def __init__(self, role: Any):
        self._role = role

    def __getattr__(self, name: str) -> Any:
        if name in self.HIDDEN:
            raise AttributeError(name)
        return getattr(self._role, name)


@handler("iam", "ListRoles")
def list_roles(call: Call, _front: Any) -> dict[str, Any]:
    shown, following = page(call, _below(call, visible(call, call.backend().roles.values())))
    return {"Roles": [Listed(role) for role in shown], **following}


@handler("iam", "ListInstanceProfiles")
def list_instance_profiles(call: Call, _front: Any) -> dict[str, Any]:
    """moto shows those of every path."""
    shown, following = page(call, _below(call, call.backend().instance_profiles.values()))
    return {"InstanceProfiles": shown, **following}


# What Access Analyzer finds is a double: a few of its checks, by its documented names. Source: IAM User Guide,
# "Access Analyzer policy check reference".
def _analyzed(document: Any) -> Any:
    if "Version" not in document:
        yield "WARNING", "MISSING_VERSION", "Add the Version element: we recommend 2012-10-17."
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        actions = statement.get("Action", [])
        actions = [action.lower() for action in ([actions] if isinstance(actions, str) else actions)]
        starred = statement.get("Resource") in ("*", ["*"])
        if statement.get("Effect") == "Allow" and "iam:passrole" in actions and starred:
            yield "SECURITY_WARNING", "PASS_ROLE_WITH_STAR_IN_RESOURCE", "Using iam:PassRole with a wildcard is risky."
        if statement.get("Resource") == []:
            yield "ERROR", "MISSING_RESOURCE", "Add a Resource element to the policy statement."


@handler("accessanalyzer", "ValidatePolicy")
def validate_policy(call: Call, _front: Any) -> dict[str, Any]:
    try:
        document = json.loads(call.params["policyDocument"])
    except ValueError:
        found = [("ERROR", "JSON_SYNTAX_ERROR", "Fix the JSON syntax error.")]
    else:
        found = list(_analyzed(document))
    link = "https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html"
    return {
        "findings": [
            {"findingType": kind, "issueCode": code, "findingDetails": details, "learnMoreLink": link, "locations": []}
            for kind, code, details in found
        ]
    }

"""What IAM refuses. Source: IAM User Guide, "IAM and AWS STS quotas"; white space is not counted."""

from __future__ import annotations

import json
import re
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule

QUOTAS = "IAM User Guide, IAM and AWS STS quotas"
TRUST, MANAGED, INLINE_ROLE, INLINE_GROUP, ATTACHED = 2048, 6144, 10240, 5120, 10
TRUST_ACTIONS = "CreateRole UpdateAssumeRolePolicy"
DOCUMENTS = "CreateRole UpdateAssumeRolePolicy CreatePolicy CreatePolicyVersion PutRolePolicy PutGroupPolicy"


def size(document: str) -> int:
    """Characters of a policy that count against a quota."""
    return len(re.sub(r"\s", "", document))


def _role(call: Call) -> Any:
    name = call.params.get("RoleName")
    return next((r for r in call.backend().roles.values() if r.name == name), None)


def _document(call: Call) -> str:
    return call.params.get("AssumeRolePolicyDocument") or call.params.get("PolicyDocument") or ""


@rule("iam", DOCUMENTS, "MalformedPolicyDocument", "{why}", "IAM API Reference, MalformedPolicyDocument")
def document_malformed(call: Call) -> dict[str, Any] | None:
    try:
        document = json.loads(_document(call))
    except ValueError:
        return {"why": "This policy contains invalid Json"}
    if not isinstance(document, dict) or not document.get("Statement"):
        return {"why": "Syntax errors in policy."}
    return None


@rule("iam", TRUST_ACTIONS, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: {limit}", QUOTAS, 409)
def trust_too_long(call: Call) -> dict[str, Any] | None:
    return {"limit": TRUST} if size(_document(call)) > TRUST else None


@rule(
    "iam",
    "CreatePolicy CreatePolicyVersion",
    "LimitExceeded",
    "Cannot exceed quota for PolicySize: {limit}",
    QUOTAS,
    409,
)
def managed_too_long(call: Call) -> dict[str, Any] | None:
    return {"limit": MANAGED} if size(_document(call)) > MANAGED else None


@rule(
    "iam",
    "PutRolePolicy",
    "LimitExceeded",
    "Maximum policy size of {limit} bytes exceeded for role {role}",
    QUOTAS,
    409,
)
def inline_too_long(call: Call) -> dict[str, Any] | None:
    role = _role(call)
    if role is None:
        return None
    others = sum(size(text) for name, text in role.policies.items() if name != call.params.get("PolicyName"))
    return {"limit": INLINE_ROLE, "role": role.name} if others + size(_document(call)) > INLINE_ROLE else None


@rule("iam", "AttachRolePolicy", "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: {limit}", QUOTAS, 409)
def too_many_policies(call: Call) -> dict[str, Any] | None:
    role = _role(call)
    if role is None or call.params.get("PolicyArn") in role.managed_policies:
        return None
    return {"limit": ATTACHED} if len(role.managed_policies) >= ATTACHED else None


@rule(
    "iam",
    "CreateRole",
    "EntityAlreadyExists",
    "Role with name {name} already exists.",
    QUOTAS + ": names are unique without regard to case",
    409,
)
def role_name_taken(call: Call) -> dict[str, Any] | None:
    name = call.params.get("RoleName", "")
    taken = any(r.name.lower() == name.lower() for r in call.backend().roles.values())
    return {"name": name} if taken else None


@rule(
    "iam",
    "DeleteRole",
    "DeleteConflict",
    "Cannot delete entity, must {what} first.",
    "IAM API Reference, DeleteRole",
    409,
)
def role_in_use(call: Call) -> dict[str, Any] | None:
    role = _role(call)
    if role is None:
        return None
    profiles = call.backend().instance_profiles.values()
    if any(r.name == role.name for p in profiles for r in p.roles):
        return {"what": "remove roles from instance profile"}
    if role.managed_policies:
        return {"what": "detach all policies"}
    return {"what": "delete policies"} if role.policies else None


@rule(
    "iam",
    "AddRoleToInstanceProfile",
    "LimitExceeded",
    "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
    QUOTAS,
    409,
)
def one_role_per_profile(call: Call) -> dict[str, Any] | None:
    name = call.params.get("InstanceProfileName")
    profile = next((p for p in call.backend().instance_profiles.values() if p.name == name), None)
    return {} if profile is not None and profile.roles else None


def _group(call: Call) -> Any:
    return call.backend().groups.get(call.params.get("GroupName"))


@rule(
    "iam",
    "PutGroupPolicy",
    "LimitExceeded",
    "Maximum policy size of {limit} bytes exceeded for group {group}",
    QUOTAS,
    409,
)
def group_inline_too_long(call: Call) -> dict[str, Any] | None:
    group = _group(call)
    if group is None:
        return None
    others = sum(size(text) for name, text in group.policies.items() if name != call.params.get("PolicyName"))
    over = others + size(_document(call)) > INLINE_GROUP
    return {"limit": INLINE_GROUP, "group": group.name} if over else None


@rule("iam", "AttachGroupPolicy", "LimitExceeded", "Cannot exceed quota for PoliciesPerGroup: {limit}", QUOTAS, 409)
def too_many_group_policies(call: Call) -> dict[str, Any] | None:
    group = _group(call)
    if group is None or call.params.get("PolicyArn") in group.managed_policies:
        return None
    return {"limit": ATTACHED} if len(group.managed_policies) >= ATTACHED else None


@rule(
    "iam",
    "DeleteGroup",
    "DeleteConflict",
    "Cannot delete entity, must {what} first.",
    "IAM API Reference, DeleteGroup",
    409,
)
def group_in_use(call: Call) -> dict[str, Any] | None:
    group = _group(call)
    if group is None:
        return None
    if group.users:
        return {"what": "remove users from group"}
    if group.managed_policies:
        return {"what": "detach all policies"}
    return {"what": "delete policies"} if group.policies else None


@rule(
    "iam",
    "DeletePolicy",
    "DeleteConflict",
    "Cannot delete a policy {why}.",
    "IAM API Reference, DeletePolicy: attachments and all versions but the default go first",
    409,
)
def policy_in_use(call: Call) -> dict[str, Any] | None:
    arn = call.params.get("PolicyArn")
    policy = call.backend().managed_policies.get(arn)
    if policy is None:
        return None
    bounds = any(role.permissions_boundary_arn == arn for role in call.backend().roles.values())
    if policy.attachment_count or bounds:
        return {"why": "attached to entities"}
    return {"why": "with more than one version"} if len(policy.versions) > 1 else None


@rule(
    "iam",
    "CreateRole PutRolePermissionsBoundary",
    "NoSuchEntity",
    "Scope ARN: {arn} does not exist or is not attachable.",
    "IAM API Reference, PutRolePermissionsBoundary: PolicyNotAttachable and NoSuchEntity",
    404,
)
def boundary_missing(call: Call) -> dict[str, Any] | None:
    arn = call.params.get("PermissionsBoundary")
    own = bool(arn) and arn.split(":")[4:5] != ["aws"]
    return {"arn": arn} if own and arn not in call.backend().managed_policies else None


@rule(
    "iam",
    "CreateRole UpdateRole",
    "ValidationError",
    "The requested MaxSessionDuration must be between 3600 and 43200 seconds",
    "IAM API Reference, CreateRole",
)
def session_duration(call: Call) -> dict[str, Any] | None:
    seconds = call.params.get("MaxSessionDuration")
    return None if seconds is None or 3600 <= seconds <= 43200 else {}

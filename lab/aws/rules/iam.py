"""What IAM refuses. Source: IAM User Guide, "IAM and AWS STS quotas"; white space is not counted."""

from __future__ import annotations

import json
import re
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule

QUOTAS = "IAM User Guide, IAM and AWS STS quotas"
TRUST, MANAGED, INLINE_ROLE, ATTACHED = 2048, 6144, 10240, 10
TRUST_ACTIONS = "CreateRole UpdateAssumeRolePolicy"
DOCUMENTS = "CreateRole UpdateAssumeRolePolicy CreatePolicy CreatePolicyVersion PutRolePolicy"


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

"""What CloudTrail refuses beyond what moto does."""

from __future__ import annotations

import json
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule
from lab.aws.rules.cloudwatch import kms_key

CREATE = "CloudTrail API Reference, CreateTrail"
SELECTORS = "CloudTrail API Reference, PutEventSelectors"
NAMED = (
    "UpdateTrail DeleteTrail StartLogging StopLogging PutEventSelectors GetEventSelectors PutInsightSelectors "
    "GetInsightSelectors"
)
BASIC_TYPES = ("AWS::S3::Object", "AWS::Lambda::Function", "AWS::DynamoDB::Table")
MAX_SELECTORS, MAX_DATA_RESOURCES, MAX_ADVANCED_VALUES = 5, 250, 500
CATEGORIES = ("Management", "Data", "NetworkActivity")
INSIGHTS_ON_WRITES = "ApiCallRateInsight"
Refusal = dict[str, Any] | None


def trail_of(call: Call) -> Any:
    """The trail that a call names, by name or ARN, None if this region has none."""
    name = call.params.get("TrailName") or call.params.get("Name") or ""
    trails = call.backend("cloudtrail").trails
    return trails.get(name) or next((t for t in trails.values() if t.arn == name), None)


@rule("cloudtrail", NAMED, "TrailNotFoundException", "Unknown trail: {name} for the user: 123456789012", CREATE)
def trail_unknown(call: Call) -> Refusal:
    if trail_of(call) is not None:
        return None
    return {"name": call.params.get("TrailName") or call.params.get("Name")}


@rule(
    "cloudtrail",
    "CreateTrail",
    "TrailAlreadyExistsException",
    "Trail {name} already exists for customer: 123456789012",
    CREATE,
)
def trail_exists(call: Call) -> Refusal:
    name = call.params.get("Name")
    return {"name": name} if name in call.backend().trails else None


@rule(
    "cloudtrail",
    "CreateTrail UpdateTrail",
    "InvalidParameterCombinationException",
    "Multi-Region trail must include global service events.",
    CREATE,
)
def trail_global(call: Call) -> Refusal:
    trail = trail_of(call) if call.action == "UpdateTrail" else None

    def value(name: str, attribute: str, default: bool) -> bool:
        given = call.params.get(name)
        return given if given is not None else getattr(trail, attribute, default)

    everywhere = value("IsMultiRegionTrail", "is_multi_region", False)
    return {} if everywhere and not value("IncludeGlobalServiceEvents", "include_global_service_events", True) else None


@rule(
    "cloudtrail",
    "CreateTrail UpdateTrail",
    "InsufficientS3BucketPolicyException",
    "Incorrect S3 bucket policy is detected for bucket: {bucket}",
    "CloudTrail User Guide, Amazon S3 bucket policy for CloudTrail",
)
def trail_bucket_policy(call: Call) -> Refusal:
    from moto.s3.models import s3_backends

    name = call.params.get("S3BucketName")
    bucket = s3_backends[call.identity.account]["aws"].buckets.get(name) if name else None
    if bucket is None:
        return None
    statements = json.loads(bucket.policy or b"{}").get("Statement") or []
    for action in ("s3:GetBucketAcl", "s3:PutObject"):
        if not any(_allows(statement, action) for statement in statements):
            return {"bucket": name}
    return None


def _allows(statement: dict[str, Any], action: str) -> bool:
    principal = statement.get("Principal")
    services = principal.get("Service") if isinstance(principal, dict) else None
    actions = statement.get("Action")
    return (
        statement.get("Effect") == "Allow"
        and "cloudtrail.amazonaws.com" in (services if isinstance(services, list) else [services])
        and action in (actions if isinstance(actions, list) else [actions])
    )


@rule(
    "cloudtrail",
    "CreateTrail UpdateTrail",
    "KmsKeyNotFoundException",
    "KMS key not found: {key}",
    CREATE,
)
def trail_key(call: Call) -> Refusal:
    key = call.params.get("KmsKeyId")
    return {"key": key} if key and kms_key(call, key) is None else None


@rule(
    "cloudtrail",
    "CreateTrail UpdateTrail",
    "InsufficientEncryptionPolicyException",
    "Insufficient permissions to access S3 bucket or KMS key {key}.",
    "CloudTrail User Guide, Configure AWS KMS key policies for CloudTrail",
)
def trail_key_policy(call: Call) -> Refusal:
    name = call.params.get("KmsKeyId")
    key = kms_key(call, name) if name else None
    return {"key": name} if key is not None and "cloudtrail.amazonaws.com" not in (key.policy or "") else None


@rule(
    "cloudtrail",
    "CreateTrail UpdateTrail",
    "InvalidCloudWatchLogsLogGroupArnException",
    "Access denied. Verify in IAM that the role has adequate permissions, and that the log group {group} exists.",
    CREATE,
)
def trail_log_group(call: Call) -> Refusal:
    group, role = call.params.get("CloudWatchLogsLogGroupArn"), call.params.get("CloudWatchLogsRoleArn")
    if not group:
        return {"group": "(none)"} if role else None
    known = {f"{g.arn}:*" for g in call.backend("logs").groups.values()}
    return None if group in known else {"group": group}


@rule(
    "cloudtrail",
    "CreateTrail UpdateTrail",
    "InvalidCloudWatchLogsRoleArnException",
    "Access denied. Check the trust relationships for your role {role}.",
    CREATE,
)
def trail_log_role(call: Call) -> Refusal:
    group, role = call.params.get("CloudWatchLogsLogGroupArn"), call.params.get("CloudWatchLogsRoleArn")
    if not group:
        return None
    found = next((r for r in call.backend("iam").roles.values() if r.arn == role), None)
    trusted = found is not None and "cloudtrail.amazonaws.com" in str(found.assume_role_policy_document)
    return None if trusted else {"role": role}


@rule(
    "cloudtrail", "PutEventSelectors", "InvalidEventSelectorsException", "Invalid event selectors: {what}.", SELECTORS
)
def selectors(call: Call) -> Refusal:
    basic, advanced = call.params.get("EventSelectors"), call.params.get("AdvancedEventSelectors")
    if bool(basic) == bool(advanced):
        return {"what": "either EventSelectors or AdvancedEventSelectors must be given"}
    what = _basic(basic) if basic else _advanced(advanced)
    return {"what": what} if what else None


def _basic(entries: list[dict[str, Any]]) -> str | None:
    resources = [r for entry in entries for r in entry.get("DataResources") or []]
    if len(entries) > MAX_SELECTORS:
        return f"at most {MAX_SELECTORS} are allowed"
    wrong = next((r.get("Type") for r in resources if r.get("Type") not in BASIC_TYPES), None)
    if wrong:
        return f"the resource type {wrong} is not valid"
    if sum(len(r.get("Values") or []) for r in resources) > MAX_DATA_RESOURCES:
        return f"at most {MAX_DATA_RESOURCES} data resources are allowed"
    return None


def _advanced(entries: list[dict[str, Any]]) -> str | None:
    operators = ("Equals", "StartsWith", "EndsWith", "NotEquals", "NotStartsWith", "NotEndsWith")
    fields = [f for entry in entries for f in entry.get("FieldSelectors") or []]
    if sum(len(f.get(o) or []) for f in fields for o in operators) > MAX_ADVANCED_VALUES:
        return f"at most {MAX_ADVANCED_VALUES} values are allowed"
    for entry in entries:
        by_field = {f["Field"]: f for f in entry.get("FieldSelectors") or []}
        category = (by_field.get("eventCategory") or {}).get("Equals") or []
        if len(category) != 1 or category[0] not in CATEGORIES:
            return "eventCategory must equal one of " + ", ".join(CATEGORIES)
        if category == ["Data"] and len((by_field.get("resources.type") or {}).get("Equals") or []) != 1:
            return "resources.type must equal one type"
    return None


@rule(
    "cloudtrail",
    "PutInsightSelectors",
    "InvalidInsightSelectorsException",
    "Insight selectors are not valid: the trail must log {what} management events.",
    "CloudTrail API Reference, PutInsightSelectors",
)
def insights(call: Call) -> Refusal:
    if not call.params.get("InsightSelectors"):
        return None
    trail = trail_of(call)
    for entry in trail.event_selectors:
        if entry.get("IncludeManagementEvents", True) and entry.get("ReadWriteType", "All") != "ReadOnly":
            return None
    if not trail.event_selectors and (not trail.advanced_event_selectors or _logs_management(trail)):
        return None
    return {"what": "write"}


def _logs_management(trail: Any) -> bool:
    fields = [f for entry in trail.advanced_event_selectors for f in entry["FieldSelectors"]]
    return any(f["Field"] == "eventCategory" and f.get("Equals") == ["Management"] for f in fields)

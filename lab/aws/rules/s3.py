"""What S3 refuses beyond what moto does. Source: S3 API Reference and User Guide."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from moto.s3.models import s3_backends

from lab.aws.call import ACCOUNT, Call, service_of_host
from lab.aws.rules import rule

LIFECYCLE = "S3 User Guide, Transitioning objects using Amazon S3 Lifecycle"
REPLICATION = "S3 API Reference, PutBucketReplication"
INFREQUENT_DAYS = 30
INFREQUENT = ("STANDARD_IA", "ONEZONE_IA")
#: Names that somebody else has in every account's view: they are taken in AWS, too.
TAKEN = ("artifacts", "backups", "logs", "test", "trading")


def bucket_name(call: Call) -> str:
    """The bucket of a request, by path or by host name."""
    host = call.environ.get("HTTP_HOST", "").split(":")[0]
    if service_of_host(host) and not host.startswith("s3"):
        return host.split(".s3")[0]
    return call.environ.get("PATH_INFO", "/").strip("/").split("/")[0]


def _bucket(name: str) -> Any:
    return s3_backends[ACCOUNT]["aws"].buckets.get(name)


def _tree(call: Call) -> ElementTree.Element:
    """The body without namespaces."""
    try:
        root = ElementTree.fromstring(call.body or b"<Empty/>")
    except ElementTree.ParseError:
        return ElementTree.Element("Unreadable")
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
    return root


def _versioned(bucket: Any) -> bool:
    return bucket is not None and bucket.versioning_status == "Enabled"


@rule(
    "s3",
    "CreateBucket",
    "BucketAlreadyExists",
    "The requested bucket name is not available. The bucket namespace "
    "is shared by all users of the system. Please select a different name and try again.",
    "S3 API Reference, CreateBucket",
    409,
)
def name_taken(call: Call) -> dict[str, Any] | None:
    return {} if bucket_name(call) in TAKEN else None


ALL = (
    "HeadBucket GetBucketLocation GetBucketPolicy PutBucketPolicy GetBucketTagging PutBucketTagging DeleteBucket "
    "GetBucketVersioning PutBucketVersioning GetBucketEncryption PutBucketEncryption GetPublicAccessBlock "
    "PutPublicAccessBlock GetBucketLifecycleConfiguration PutBucketLifecycleConfiguration ListObjectVersions"
)


@rule("s3", ALL, "AccessDenied", "Access Denied", "S3 User Guide, Bucket owner condition", 403)
def foreign_bucket(call: Call) -> dict[str, Any] | None:
    expected = call.environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER", ACCOUNT)
    return {} if bucket_name(call) in TAKEN or expected != ACCOUNT else None


@rule(
    "s3",
    "PutBucketVersioning",
    "InvalidBucketState",
    "{what} is present on this bucket, so the versioning state cannot be changed.",
    "S3 API Reference, PutBucketVersioning",
    409,
)
def versioning_needed(call: Call) -> dict[str, Any] | None:
    bucket = _bucket(bucket_name(call))
    if bucket is None or _tree(call).findtext("Status") != "Suspended":
        return None
    if bucket.object_lock_enabled:
        return {"what": "An Object Lock configuration"}
    return {"what": "A replication configuration"} if getattr(bucket, "replication", None) else None


@rule(
    "s3",
    "PutObjectLockConfiguration",
    "InvalidBucketState",
    "Versioning must be 'Enabled' on the bucket to apply an Object Lock configuration",
    "S3 API Reference, PutObjectLockConfiguration",
    409,
)
def lock_needs_versions(call: Call) -> dict[str, Any] | None:
    bucket = _bucket(bucket_name(call))
    return {} if bucket is not None and not _versioned(bucket) else None


@rule(
    "s3",
    "PutBucketReplication",
    "InvalidRequest",
    "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
    REPLICATION,
)
def source_needs_versions(call: Call) -> dict[str, Any] | None:
    bucket = _bucket(bucket_name(call))
    return {} if bucket is not None and not _versioned(bucket) else None


@rule("s3", "PutBucketReplication", "InvalidRequest", "Destination bucket must have versioning enabled.", REPLICATION)
def destination_needs_versions(call: Call) -> dict[str, Any] | None:
    names = [element.text.rsplit(":", 1)[-1] for element in _tree(call).iter("Bucket") if element.text]
    # One that is not here may be another account's.
    return {} if any(_bucket(name) is not None and not _versioned(_bucket(name)) for name in names) else None


def _days(element: ElementTree.Element | None) -> int:
    return int(element.findtext("Days") or element.findtext("NoncurrentDays") or 0) if element is not None else 0


@rule(
    "s3",
    "PutBucketLifecycleConfiguration",
    "InvalidArgument",
    "'Days' in Transition action must be greater than or equal to 30 for storageClass '{kind}'",
    LIFECYCLE,
)
def early_transition(call: Call) -> dict[str, Any] | None:
    root = _tree(call)
    for element in [*root.iter("Transition"), *root.iter("NoncurrentVersionTransition")]:
        kind = element.findtext("StorageClass") or ""
        if kind in INFREQUENT and _days(element) < INFREQUENT_DAYS and element.findtext("Date") is None:
            return {"kind": kind}
    return None


@rule(
    "s3",
    "PutBucketLifecycleConfiguration",
    "InvalidArgument",
    "'Days' in the Expiration action for filter '(prefix={prefix})' must be greater than 'Days' in the "
    "Transition action",
    LIFECYCLE,
)
def early_expiration(call: Call) -> dict[str, Any] | None:
    for entry in _tree(call).iter("Rule"):
        end = _days(entry.find("Expiration"))
        moves = [_days(element) for element in entry.findall("Transition")]
        if end and moves and max(moves) >= end:
            return {"prefix": entry.findtext("Filter/Prefix") or ""}
    return None


def _public(statement: dict[str, Any]) -> bool:
    everybody = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
    return statement.get("Effect") == "Allow" and everybody and not statement.get("Condition")


@rule(
    "s3",
    "PutBucketPolicy",
    "AccessDenied",
    "User is not authorized to perform: s3:PutBucketPolicy because public policies are prevented by the "
    "BlockPublicPolicy setting in S3 Block Public Access.",
    "S3 User Guide, Blocking public access",
    403,
)
def public_policy(call: Call) -> dict[str, Any] | None:
    bucket = _bucket(bucket_name(call))
    block = getattr(bucket, "public_access_block", None)
    if block is None or str(block.block_public_policy).lower() != "true":
        return None
    try:
        statements = json.loads(call.body)["Statement"]
    except (ValueError, KeyError, TypeError):
        return None
    statements = statements if isinstance(statements, list) else [statements]
    return {} if any(_public(statement) for statement in statements) else None

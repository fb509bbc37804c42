"""S3 configurations that moto gives back only in part: they are kept as they came."""

from __future__ import annotations

from typing import Any

from botocore.parsers import create_parser
from moto.s3.models import s3_backends

from lab.aws.call import ACCOUNT, Call
from lab.aws.handlers import PASS, handler
from lab.aws.rules.s3 import bucket_name


def _bucket(call: Call) -> Any:
    return s3_backends[ACCOUNT]["aws"].buckets.get(bucket_name(call))


def _keep(call: Call, name: str) -> Any:
    """Keep the body at the bucket; moto checks it, and one that it refuses is forgotten by the next."""
    bucket = _bucket(call)
    if bucket is not None:
        vars(bucket)[name] = call.body
    return PASS


def _show(call: Call, name: str, there: bool) -> Any:
    bucket = _bucket(call)
    body = vars(bucket).get(name) if bucket is not None and there else None
    if body is None:
        return PASS
    answer = {"body": body, "headers": {}, "status_code": 200}
    parsed = create_parser("rest-xml").parse(answer, call.operation().output_shape)
    parsed.pop("ResponseMetadata", None)
    return parsed


@handler("s3", "PutBucketLifecycleConfiguration")
def put_lifecycle(call: Call, _front: Any) -> Any:
    return _keep(call, "lab_lifecycle")


@handler("s3", "GetBucketLifecycleConfiguration")
def get_lifecycle(call: Call, _front: Any) -> Any:
    return _show(call, "lab_lifecycle", bool(getattr(_bucket(call), "rules", None)))


@handler("s3", "PutBucketReplication")
def put_replication(call: Call, _front: Any) -> Any:
    return _keep(call, "lab_replication")


@handler("s3", "GetBucketReplication")
def get_replication(call: Call, _front: Any) -> Any:
    return _show(call, "lab_replication", bool(getattr(_bucket(call), "replication", None)))

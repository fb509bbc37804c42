"""object_storage, its role and docs/object-storage.md against the strict front."""

from __future__ import annotations

import json

import boto3
import botocore.exceptions
import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import object_storage

from tests.integration import docs_example
from tests.integration.front_client import REGION, parameters

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/replication"


def run(front, buckets=(), check=False, **more):
    params = parameters(object_storage, {"buckets": list(buckets), **more})
    return object_storage.manage(params, front.connection(), check)


def refused(front, message, buckets=(), **more):
    front.forget_calls()
    with pytest.raises(aws.AwsError, match=message):
        run(front, buckets, **more)
    assert not front.writes()


def full(prefix):
    """Three buckets with everything that can be described."""
    logs = f"{prefix}-logs-{{account}}"
    return [
        {
            "name": f"{prefix}-backups-{{account}}",
            "encryption": {"type": "kms", "key": "alias/backups"},
            "statements": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "s3:GetObject"}],
            "lifecycle": [
                {
                    "id": "age",
                    "expire_days": 400,
                    "expire_noncurrent_days": 90,
                    "keep_noncurrent": 3,
                    "abort_multipart_days": 7,
                    "transitions": [
                        {"days": 90, "storage_class": "GLACIER_IR"},
                        {"days": 30, "storage_class": "STANDARD_IA"},
                    ],
                    "noncurrent_transitions": [{"days": 30, "storage_class": "STANDARD_IA"}],
                },
                {"id": "markers", "prefix": "tmp/", "expired_delete_markers": True, "enabled": False},
            ],
            "replication": {
                "role": ROLE,
                "rules": [{"id": "all", "bucket": f"{prefix}-copies-{{account}}", "storage_class": "GLACIER_IR"}],
            },
            "logging": {"bucket": logs, "prefix": "backups/"},
            "tags": {"content": "backups"},
        },
        {"name": f"{prefix}-copies-{{account}}", "object_lock": {"mode": "governance", "days": 7}},
        {"name": logs, "lifecycle": [{"id": "old", "expire_days": 30}]},
    ]


def test_buckets_are_made_as_described_in_one_run(front):
    checked = run(front, full("made"), check=True, tags={"platform": "made"})
    front.forget_calls()
    done = run(front, full("made"), tags={"platform": "made"})
    assert done["changed"] and (checked["changes"], checked["diff"]) == (done["changes"], done["diff"])
    s3, name = front.client("s3"), f"made-backups-{ACCOUNT}"
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] == REGION
    assert set(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values()) == {True}
    rule = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/backups"}
    assert rule["BucketKeyEnabled"] is True
    replication = s3.get_bucket_replication(Bucket=name)["ReplicationConfiguration"]
    assert replication["Rules"][0]["Destination"]["Bucket"] == f"arn:aws:s3:::made-copies-{ACCOUNT}"
    lock = s3.get_object_lock_configuration(Bucket=f"made-copies-{ACCOUNT}")["ObjectLockConfiguration"]
    assert lock["Rule"]["DefaultRetention"].items() >= {"Mode": "GOVERNANCE", "Days": 7}.items()
    policy = json.loads(s3.get_bucket_policy(Bucket=f"made-logs-{ACCOUNT}")["Policy"])
    sources = [entry["Condition"]["ArnLike"] for entry in policy["Statement"] if entry["Effect"] == "Allow"]
    assert sources == [{"aws:SourceArn": f"arn:aws:s3:::{name}"}]


def test_a_second_run_only_reads_and_a_shuffled_description_is_the_same(front):
    run(front, full("twice"))
    front.forget_calls()
    again = full("twice")[::-1]
    again[2]["lifecycle"].reverse()
    again[2]["statements"][0]["Principal"] = {"AWS": [f"arn:aws:iam::{ACCOUNT}:root"]}
    again[2]["statements"][0]["Action"] = ["S3:getobject"]
    result = run(front, again)
    assert result["changed"] is False and result["changes"] == []
    assert not front.writes()
    # Who am I, which buckets are mine, and one reading for each aspect of a bucket.
    assert sum(front.calls().values()) <= 2 + 3 * 11


def test_an_edit_shows_and_changes_just_that_value(front):
    run(front, full("edit"))
    edited = full("edit")
    edited[0]["lifecycle"][0]["expire_days"] = 500
    result = run(front, edited, check=True)
    name = f"edit-backups-{ACCOUNT}"
    before, after = (set(result["diff"][side].splitlines()) for side in ("before", "after"))
    assert before - after == {f"{name} lifecycle.age.expire_days: 400"}
    assert after - before == {f"{name} lifecycle.age.expire_days: 500"}
    front.forget_calls()
    assert run(front, edited)["changes"] == [f"{name} lifecycle"]
    assert front.writes() == ["s3.PutBucketLifecycleConfiguration"]


def test_what_was_changed_by_hand_is_put_right(front):
    run(front, full("hand"))
    s3, name = front.client("s3"), f"hand-backups-{ACCOUNT}"
    s3.delete_public_access_block(Bucket=name)
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "by", "Value": "hand"}]})
    filtered = {"ID": "by hand", "Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}}
    rules = [{**filtered, "Expiration": {"Days": 1}}]
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    assert run(front, full("hand"), purge_tags=False)["changes"] == [
        f"{name} public_access",
        f"{name} tags",
        f"{name} lifecycle",
    ]
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=name)["TagSet"]}
    assert tags == {"by": "hand", "content": "backups"}
    assert run(front, full("hand"))["changes"] == [f"{name} tags"]


def test_less_description_takes_away_what_was_there(front):
    run(front, full("less"))
    plain = [{"name": "less-backups-{account}", "tls_only": False}, *full("less")[1:]]
    run(front, plain)
    s3, name = front.client("s3"), f"less-backups-{ACCOUNT}"
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=name)
    for operation in ("policy", "tagging", "replication", "lifecycle_configuration"):
        with pytest.raises(botocore.exceptions.ClientError, match="NoSuch|NotFound"):
            getattr(s3, f"get_bucket_{operation}")(Bucket=name)
    assert not run(front, plain)["changed"]


def test_an_interrupted_run_is_taken_up_by_the_next(front):
    connection = front.connection()
    client = connection.client("s3")
    whole, left = client.call, [12]

    def call(operation, **arguments):
        if not aws.is_read(operation):
            left[0] -= 1
            if left[0] < 0:
                raise aws.AwsError("The connection is lost.")
        return whole(operation, **arguments)

    client.call = call
    with pytest.raises(aws.AwsError, match="lost"):
        object_storage.manage(parameters(object_storage, {"buckets": full("broken")}), connection, False)
    assert run(front, full("broken"))["changed"]
    assert not run(front, full("broken"))["changed"]


def test_ten_throttles_are_survived(front):
    front.faults(throttle=[{"service": "s3", "count": 10}])
    try:
        assert run(front, [{"name": "throttled-{account}"}])["changed"]
    finally:
        front.faults()


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"lost_credentials": True}, "does not accept the credentials"),
        ({"failing_regions": [REGION]}, "failed"),
    ],
)
def test_a_failing_front_is_one_sentence(front, faults, words):
    front.faults(**faults)
    try:
        with pytest.raises(aws.AwsError, match=words) as error:
            run(front, [{"name": "failing-{account}"}])
    finally:
        front.faults()
    assert "\n" not in str(error.value)


def test_a_bucket_of_another_account_or_region_is_refused(front):
    refused(front, "Bucket backups belongs to another account", [{"name": "fine-{account}"}, {"name": "backups"}])
    elsewhere = boto3.Session(region_name="us-east-1").client(
        "s3",
        endpoint_url=front.url,
        aws_access_key_id=front.options["access_key"],
        aws_secret_access_key=front.options["secret_key"],
    )
    elsewhere.create_bucket(Bucket="far-away")
    refused(front, "Bucket far-away is in us-east-1, not in eu-west-1", [{"name": "far-away"}])


@pytest.mark.parametrize(
    ("bucket", "message"),
    [
        ({"name": "with.dot"}, "has a dot"),
        ({"name": "Upper"}, "must be 3 to 63 lower-case"),
        ({"versioning": False, "object_lock": {}}, "object_lock needs versioning"),
        ({"object_lock": {"mode": "governance"}}, "needs mode together with days or years"),
        ({"encryption": {"type": "s3", "key": "alias/a"}}, "type s3 does not use"),
        ({"lifecycle": [{"id": "a"}]}, "rule a does nothing"),
        ({"lifecycle": [{"id": "a", "expire_days": 9, "keep_noncurrent": 1}]}, "needs expire_noncurrent_days"),
        ({"lifecycle": [{"id": "a", "expire_days": 1}] * 2}, "two rules of the id a"),
        (
            {"lifecycle": [{"id": "a", "transitions": [{"days": 7, "storage_class": "STANDARD_IA"}]}]},
            "STANDARD_IA after 7 days; S3 wants 30",
        ),
        (
            {"lifecycle": [{"id": "a", "expire_days": 9, "transitions": [{"days": 9, "storage_class": "GLACIER"}]}]},
            "the removal must be later",
        ),
        ({"replication": {"role": "me", "rules": [{"id": "a", "bucket": "b-b"}]}}, "must be the ARN of a role"),
        ({"replication": {"role": ROLE, "rules": [{"id": "a", "bucket": "bad-one"}]}}, "the bucket itself"),
        ({"statements": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}]}, "allow everybody"),
        ({"tags": {"aws:a": "b"}}, "which AWS keeps to itself"),
    ],
)
def test_bad_input_is_refused_before_a_write(front, bucket, message):
    refused(front, message, [{"name": "bad-one", **bucket}])


def test_object_lock_stays(front):
    locked = {"name": "locked-{account}", "object_lock": {}}
    run(front, [locked])
    assert not run(front, [locked])["changed"]
    refused(front, "has object lock, which cannot be switched off", [{"name": "locked-{account}"}])


def test_only_an_empty_bucket_or_a_confirmed_one_is_removed(front):
    names = ["gone-{account}", "kept-{account}"]
    run(front, [{"name": name} for name in names])
    s3, kept = front.client("s3"), f"kept-{ACCOUNT}"
    for text in (b"one", b"two"):
        s3.put_object(Bucket=kept, Key="key", Body=text)
    s3.delete_object(Bucket=kept, Key="key")
    refused(front, f"Bucket {kept} is in absent, but it is not empty", absent=names)
    assert run(front, absent=names, confirm=names, check=True)["changes"] == [
        f"gone-{ACCOUNT} removed",
        f"{kept} removed",
    ]
    assert run(front, absent=names, confirm=names)["changed"]
    assert not run(front, absent=names)["changed"]
    assert kept not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}


def test_the_front_refuses_what_s3_refuses(front):
    run(front, full("strict"))
    s3, name, copies = front.client("s3"), f"strict-backups-{ACCOUNT}", f"strict-copies-{ACCOUNT}"
    open_policy = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    early = {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}}
    moves = {"Transitions": [{"Days": 3, "StorageClass": "STANDARD_IA"}]}
    refusals = [
        ("BucketAlreadyExists", s3.create_bucket, {"Bucket": "backups", "CreateBucketConfiguration": place()}),
        ("InvalidBucketState", s3.put_bucket_versioning, suspended(copies)),
        ("InvalidBucketState", s3.put_bucket_versioning, suspended(name)),
        ("AccessDenied", s3.put_bucket_policy, {"Bucket": name, "Policy": json.dumps({"Statement": [open_policy]})}),
        ("AccessDenied", s3.get_bucket_policy, {"Bucket": name, "ExpectedBucketOwner": "210987654321"}),
        (
            "InvalidArgument",
            s3.put_bucket_lifecycle_configuration,
            {"Bucket": name, "LifecycleConfiguration": {"Rules": [{**early, **moves}]}},
        ),
    ]
    for code, method, arguments in refusals:
        with pytest.raises(botocore.exceptions.ClientError) as error:
            method(**arguments)
        assert error.value.response["Error"]["Code"] == code, error.value


def place():
    return {"LocationConstraint": REGION}


def suspended(name):
    return {"Bucket": name, "VersioningConfiguration": {"Status": "Suspended"}}


def test_the_page_of_the_documentation_works(front, tmp_path):
    docs_example.run_page(front, tmp_path, "object-storage.md", "aws_object_storage.yml")

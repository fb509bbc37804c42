"""The buckets as an AWS client sees them."""

import json

import boto3
import pytest

NAMES = [f"molecule-{purpose}-123456789012" for purpose in ("backups", "artifacts", "logs")]


@pytest.fixture(scope="module")
def s3():
    return boto3.client("s3")


@pytest.mark.parametrize("name", NAMES)
def test_bucket_is_private_encrypted_and_versioned(s3, name):
    assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    statements = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    conditions = [entry["Condition"] for entry in statements if entry["Effect"] == "Deny"]
    assert conditions == [{"Bool": {"aws:SecureTransport": "false"}}]


def test_backups_move_to_a_cheaper_class_and_expire(s3):
    rules = s3.get_bucket_lifecycle_configuration(Bucket=NAMES[0])["Rules"]
    assert rules[0]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert rules[0]["NoncurrentVersionTransitions"] == [{"NoncurrentDays": 7, "StorageClass": "GLACIER_IR"}]


def test_logs_of_the_backups_have_a_place(s3):
    assert s3.get_bucket_logging(Bucket=NAMES[0])["LoggingEnabled"]["TargetBucket"] == NAMES[2]


def test_tags_name_the_platform(s3):
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=NAMES[0])["TagSet"]}
    assert tags == {"platform": "molecule", "environment": "test"}

"""A bucket's policy is judged as for the requests there are: all by TLS."""

import json

import pytest
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket

from lab.aws import mends

ARN = "arn:aws:s3:::backups/*"
TLS_ONLY = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [ARN]}
TLS_ONLY["Condition"] = {"Bool": {"aws:SecureTransport": "false"}}
NO_DELETION = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": [ARN]}


@pytest.fixture(autouse=True)
def mended(monkeypatch):
    monkeypatch.setattr(FakeBucket, "get_permission", mends._get_permission)


@pytest.mark.parametrize(
    ("action", "result"), [("s3:GetObject", PermissionResult.NEUTRAL), ("s3:DeleteObject", PermissionResult.DENIED)]
)
def test_a_statement_about_requests_without_tls_stops_nobody(action, result):
    bucket = FakeBucket.__new__(FakeBucket)
    bucket.policy = json.dumps({"Version": "2012-10-17", "Statement": [TLS_ONLY, NO_DELETION]}).encode()
    assert bucket.get_permission(action, "arn:aws:s3:::backups/x") == result

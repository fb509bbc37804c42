"""The trail and what it needs, as an AWS client sees them."""

import boto3
import pytest

BUCKET = "molecule-audit-123456789012"


@pytest.fixture(scope="module")
def trail():
    return boto3.client("cloudtrail").describe_trails(trailNameList=["molecule-audit"])["trailList"][0]


def test_the_trail_logs_everywhere_with_digests(trail):
    assert trail["IsMultiRegionTrail"]
    assert trail["LogFileValidationEnabled"]
    assert ":key/" in trail["KmsKeyId"]
    assert boto3.client("cloudtrail").get_trail_status(Name="molecule-audit")["IsLogging"]


def test_objects_of_the_backups_are_recorded(trail):
    selectors = boto3.client("cloudtrail").get_event_selectors(TrailName=trail["TrailARN"])["AdvancedEventSelectors"]
    fields = {field["Field"]: field for field in selectors[1]["FieldSelectors"]}
    assert fields["resources.ARN"]["StartsWith"] == ["arn:aws:s3:::molecule-backups-"]


def test_the_record_cannot_be_removed_or_read_in_public():
    s3 = boto3.client("s3")
    lock = s3.get_object_lock_configuration(Bucket=BUCKET)["ObjectLockConfiguration"]
    retention = lock["Rule"]["DefaultRetention"]
    assert (retention["Mode"], retention["Days"]) == ("GOVERNANCE", 365)
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())


def test_what_should_be_rare_has_a_metric_and_an_alarm():
    filters = boto3.client("logs").describe_metric_filters(logGroupName="/molecule/audit/cloudtrail")["metricFilters"]
    names = {entry["filterName"] for entry in filters}
    assert names >= {"root-use", "policy-change", "trail-change", "key-deletion"}
    alarms = boto3.client("cloudwatch").describe_alarms(AlarmNamePrefix="molecule-audit-")["MetricAlarms"]
    assert {alarm["AlarmName"].removeprefix("molecule-audit-") for alarm in alarms} == names

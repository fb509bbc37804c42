"""A trail against the strict front: plan, refusals, changes by hand, and digests signed by a key of the test."""

from __future__ import annotations

import base64
import gzip
import json
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import cloudtrail, cloudtrail_info
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration import docs_example
from tests.integration.module_call import options
from tests.unit.plugins.module_utils import test_trail as digests

ACCOUNT = "123456789012"
GROUP = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/trading/audit"


def policy(service, *actions, resource="*"):
    statements = [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": action, "Resource": resource}
        for action in actions
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.fixture(scope="module")
def account(front):
    """A bucket, a key, a log group and a role that CloudTrail may use."""
    s3, place = front.client("s3"), {"LocationConstraint": "eu-west-1"}
    s3.create_bucket(Bucket="audit", CreateBucketConfiguration=place)
    s3.create_bucket(Bucket="closed", CreateBucketConfiguration=place)
    allowed = policy("cloudtrail.amazonaws.com", "s3:GetBucketAcl", "s3:PutObject", resource="arn:aws:s3:::audit")
    s3.put_bucket_policy(Bucket="audit", Policy=allowed)
    key = front.client("kms").create_key(Policy=policy("cloudtrail.amazonaws.com", "kms:GenerateDataKey*"))
    arn = key["KeyMetadata"]["Arn"]
    front.client("kms").create_alias(AliasName="alias/audit", TargetKeyId=arn)
    front.client("logs").create_log_group(logGroupName="/trading/audit")
    trust = json.loads(policy("cloudtrail.amazonaws.com", "sts:AssumeRole"))
    del trust["Statement"][0]["Resource"]
    role = front.client("iam").create_role(RoleName="audit", AssumeRolePolicyDocument=json.dumps(trust))
    return {"key": arn, "role": role["Role"]["Arn"]}


@pytest.fixture
def trail(front, account):
    def run(check=False, **given):
        return cloudtrail.manage(options(cloudtrail, **given), front.connection(), check)

    front.forget_calls()
    yield run
    front.faults()


def whole(account, name):
    return {
        "name": name,
        "bucket": "audit",
        "kms_key_id": "alias/audit",
        "log_group_arn": GROUP,
        "log_role_arn": account["role"],
        "insights": ["ApiCallRateInsight"],
        "tags": {"platform": "trading"},
        "advanced_event_selectors": [digests.management(), digests.objects("arn:aws:s3:::b/", "arn:aws:s3:::a/")],
    }


def test_a_trail_is_made_logs_and_stays(front, account, trail):
    given = whole(account, "made")
    planned = trail(check=True, **given)
    assert front.writes() == []
    done = trail(**given)
    assert done["diff"] == planned["diff"]
    assert done["changes"] == [
        "create_trail",
        "put_event_selectors",
        "put_insight_selectors",
        "start_logging",
    ]
    assert front.client("cloudtrail").get_trail_status(Name="made")["IsLogging"] is True
    front.forget_calls()
    given["advanced_event_selectors"][1] = digests.objects("arn:aws:s3:::a/", "arn:aws:s3:::b/")
    assert trail(**given)["changed"] is False
    reads = {name: count for name, count in front.calls().items() if name.startswith("cloudtrail.")}
    assert sum(reads.values()) == 5


def test_an_edit_is_one_write_and_shows_only_itself(front, account, trail):
    given = whole(account, "edited")
    trail(**given)
    front.forget_calls()
    changed = trail(**{**given, "key_prefix": "audit"})
    assert front.writes() == ["cloudtrail.UpdateTrail"]
    assert json.loads(changed["diff"]["before"]) == {"key_prefix": ""}
    assert json.loads(changed["diff"]["after"]) == {"key_prefix": "audit"}
    assert trail(**{**given, "kms_key_id": "", "log_group_arn": "", "log_role_arn": "", "insights": []})["changed"]
    assert (
        trail(**{**given, "kms_key_id": "", "log_group_arn": "", "log_role_arn": "", "insights": []})["changed"]
        is False
    )


def test_what_was_done_by_hand_is_undone(front, account, trail):
    given = whole(account, "by-hand")
    trail(**given)
    client = front.client("cloudtrail")
    client.stop_logging(Name="by-hand")
    client.update_trail(Name="by-hand", EnableLogFileValidation=False)
    client.put_event_selectors(TrailName="by-hand", EventSelectors=[{"ReadWriteType": "ReadOnly"}])
    assert trail(**given)["changes"] == ["update_trail", "put_event_selectors", "start_logging"]
    assert trail(**given)["changed"] is False
    assert trail(name="by-hand", state="absent")["changes"] == ["delete_trail"]
    assert trail(name="by-hand", state="absent")["changed"] is False


def test_refused_before_anything_is_written(front, trail):
    with pytest.raises(aws.AwsError, match="then global_events must be true"):
        trail(name="wrong", bucket="audit", global_events=False)
    assert front.calls() == {}


def test_aws_s_refusals_are_one_sentence(front, trail):
    with pytest.raises(aws.AwsError, match="Incorrect S3 bucket policy is detected for bucket: closed"):
        trail(name="closed", bucket="closed")
    front.faults(throttle=[{"service": "cloudtrail", "count": 10}])
    assert trail(name="patient", bucket="audit")["changed"] is True
    front.faults(failing_regions=["eu-west-1"])
    with pytest.raises(aws.AwsError, match="cloudtrail:DescribeTrails in eu-west-1"):
        trail(name="patient", bucket="audit")


def test_a_run_that_ended_after_the_first_call_is_finished_by_the_next(front, trail):
    front.client("cloudtrail").create_trail(Name="half", S3BucketName="audit", IsMultiRegionTrail=True)
    assert trail(name="half", bucket="audit")["changes"] == ["update_trail", "start_logging"]
    assert trail(name="half", bucket="audit")["changed"] is False


def refused(function, **keywords):
    with pytest.raises(ClientError) as caught:
        function(**keywords)
    return caught.value.response["Error"]["Code"]


def test_the_front_refuses_what_cloudtrail_refuses(front, account, trail):
    client = front.client("cloudtrail")
    good = {"Name": "front", "S3BucketName": "audit"}
    plain = front.client("kms").create_key()["KeyMetadata"]["Arn"]
    for changed, code in (
        ({"IsMultiRegionTrail": True, "IncludeGlobalServiceEvents": False}, "InvalidParameterCombinationException"),
        ({"S3BucketName": "closed"}, "InsufficientS3BucketPolicyException"),
        ({"KmsKeyId": "alias/nothing"}, "KmsKeyNotFoundException"),
        ({"KmsKeyId": plain}, "InsufficientEncryptionPolicyException"),
        ({"CloudWatchLogsRoleArn": account["role"]}, "InvalidCloudWatchLogsLogGroupArnException"),
        (
            {"CloudWatchLogsLogGroupArn": f"{GROUP}:*", "CloudWatchLogsRoleArn": f"arn:aws:iam::{ACCOUNT}:role/none"},
            "InvalidCloudWatchLogsRoleArnException",
        ),
    ):
        assert refused(client.create_trail, **{**good, **changed}) == code, changed
    client.create_trail(**good)
    assert refused(client.create_trail, **good) == "TrailAlreadyExistsException"
    assert refused(client.start_logging, Name="nobody") == "TrailNotFoundException"
    assert refused(client.get_insight_selectors, TrailName="front") == "InsightNotEnabledException"
    data = {"ReadWriteType": "All", "DataResources": [{"Type": "AWS::SNS::Topic", "Values": ["arn:aws:sns"]}]}
    wrong = [{"FieldSelectors": [{"Field": "readOnly", "Equals": ["true"]}]}]
    for selectors in ({}, {"EventSelectors": [data]}, {"AdvancedEventSelectors": wrong}):
        assert refused(client.put_event_selectors, TrailName="front", **selectors) == "InvalidEventSelectorsException"
    client.put_event_selectors(TrailName="front", EventSelectors=[{"ReadWriteType": "ReadOnly"}])
    insight = [{"InsightType": "ApiCallRateInsight"}]
    code = refused(client.put_insight_selectors, TrailName="front", InsightSelectors=insight)
    assert code == "InvalidInsightSelectorsException"


# The proof that it logs


@pytest.fixture
def proof(front, account, trail):
    """A key that the front shows as CloudTrail's, and the log files that digests by it name."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    items, logs = digests.chain(key)
    document = {"eu-west-1": {n: base64.b64encode(v).decode() for n, v in digests.public(key).items()}}
    request = urllib.request.Request(f"{front.url}/_lab/public_keys", json.dumps(document).encode(), method="PUT")
    urllib.request.urlopen(request).close()
    s3 = front.client("s3")
    for name, content in logs.items():
        s3.put_object(Bucket="audit", Key=name, Body=gzip.compress(content))
    return key, s3


def deliver(s3, items):
    for name, item in items.items():
        metadata = {"signature": item["signature"], "signature-algorithm": item["algorithm"]}
        s3.put_object(Bucket="audit", Key=name, Body=gzip.compress(item["content"]), Metadata=metadata)


def test_a_trail_is_proven_to_log(front, proof, trail):
    key, s3 = proof
    trail(name="trading", bucket="audit")
    items, logs = digests.chain(key)
    deliver(s3, items)

    def ask(now=digests.NOW + timedelta(minutes=30), **given):
        return cloudtrail_info.manage(options(cloudtrail_info, name="trading", **given), front.connection(), now)

    front.forget_calls()
    found = ask(log_files=True)
    assert front.writes() == []
    assert (found["logging"], found["digests"], found["log_files"], found["faults"]) == (True, 5, 5, [])
    # A log file was changed, another one taken away.
    first, second = sorted(logs)[:2]
    s3.put_object(Bucket="audit", Key=first, Body=gzip.compress(b"{}"))
    s3.delete_object(Bucket="audit", Key=second)
    faults = ask(log_files=True)["faults"]
    assert faults == [f"The log file audit/{first} was changed.", f"The log file audit/{second} is missing."]
    assert ask()["faults"] == []
    # A digest was taken away, and the trail stopped.
    s3.delete_object(Bucket="audit", Key=sorted(items)[2])
    front.client("cloudtrail").stop_logging(Name="trading")
    with pytest.raises(aws.AwsError, match="is not logging.*is missing.*no later digest follows"):
        ask(require=True)


def test_a_trail_without_digests_is_late_but_for_a_new_one(front, trail):
    trail(name="silent", bucket="audit", key_prefix="silent")
    now = datetime.now(UTC)

    def ask(now):
        return cloudtrail_info.manage(options(cloudtrail_info, name="silent"), front.connection(), now)["faults"]

    assert ask(now) == []
    assert "newest digest is missing" in ask(now + timedelta(hours=3))[0]
    with pytest.raises(aws.AwsError, match="There is no trail nobody"):
        cloudtrail_info.manage(options(cloudtrail_info, name="nobody"), front.connection(), now)
    with pytest.raises(aws.AwsError, match="hours is 2; it must be 3 to 2160"):
        cloudtrail_info.manage(options(cloudtrail_info, name="silent", hours=2), front.connection(), now)


def test_the_page_of_docs_runs(front, tmp_path):
    front.faults()
    docs_example.run_page(front, tmp_path / "audit", "audit.md", "aws_audit.yml")
    trails = front.client("cloudtrail").describe_trails(trailNameList=["trading-audit"])["trailList"]
    assert trails[0]["IsMultiRegionTrail"] is True

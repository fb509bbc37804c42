"""The client: buckets, back-off, deadline and sentences, with a clock of our own."""

import botocore.exceptions
import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws


class FakeClock:
    def __init__(self):
        self.time, self.sleeps = 0.0, []

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.time += seconds


def failure(code, status=400, message="No."):
    metadata = {"RequestId": "req-1", "HTTPStatusCode": status}
    return botocore.exceptions.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "Op"
    )


class FakeBoto:
    """Answers from a script: exceptions are raised, anything else returned; the last entry repeats."""

    def __init__(self, *script):
        self.script, self.requests = list(script), []

    def __getattr__(self, operation):
        def method(**parameters):
            self.requests.append((operation, parameters))
            item = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if isinstance(item, Exception):
                raise item
            return item

        return method


def client(boto, service="ec2", clock=None, **options):
    owner = aws.Aws({"region": "eu-west-1"}, clock=clock or FakeClock(), **options)
    return aws.Client(owner, boto, service, "eu-west-1")


@pytest.mark.parametrize("code", sorted(aws.THROTTLE_CODES))
def test_ten_throttles_cost_at_most_a_minute(code):
    boto = FakeBoto(*[failure(code)] * 10, {"Done": True})
    clock = FakeClock()
    assert client(boto, "dynamodb", clock).call("update_table") == {"Done": True}
    assert len(boto.requests) == 11
    assert clock.now() <= 60
    assert max(clock.sleeps) < 20


def test_every_throttle_code_of_botocore_is_known():
    from botocore.retries.standard import ThrottledRetryableChecker

    assert set(ThrottledRetryableChecker._THROTTLED_ERROR_CODES) <= aws.THROTTLE_CODES


def test_a_call_throttled_for_ever_ends_at_the_deadline_with_one_sentence():
    clock = FakeClock()
    boto = FakeBoto(failure("RequestLimitExceeded", message="Request limit exceeded."))
    with pytest.raises(aws.AwsError) as error:
        client(boto, clock=clock, deadline=120).call("describe_instances")
    assert clock.now() <= 120
    assert str(error.value).startswith("ec2:DescribeInstances in eu-west-1 is still throttled after ")
    assert str(error.value).endswith("(RequestLimitExceeded, request req-1).")
    assert error.value.code == "RequestLimitExceeded"


def test_route53_sends_fifty_at_once_and_then_ten_a_second():
    clock = FakeClock()
    route53 = client(FakeBoto({}), "route53", clock)
    for _index in range(50):
        route53.call("list_hosted_zones")
    assert clock.now() == 0
    for _index in range(20):
        route53.call("change_resource_record_sets")
    assert clock.now() == pytest.approx(2.0)


def test_reads_and_changes_of_ec2_have_buckets_of_their_own():
    clock = FakeClock()
    ec2 = client(FakeBoto({}), "ec2", clock)
    for _index in range(5):
        ec2.call("run_instances")
    for _index in range(50):
        ec2.call("create_tags")
    for _index in range(100):
        ec2.call("describe_instances")
    assert clock.now() == 0
    ec2.call("run_instances")
    assert clock.now() == pytest.approx(0.5)


def test_a_failed_service_is_asked_again_only_where_nothing_can_happen_twice():
    broken = failure("InternalError", status=500)
    boto = FakeBoto(broken, {"Vpcs": []})
    assert client(boto).call("describe_vpcs") == {"Vpcs": []}
    boto = FakeBoto(broken, {"Instances": []})
    assert client(boto).call("run_instances", ClientToken="t") == {"Instances": []}
    boto = FakeBoto(broken, {})
    with pytest.raises(aws.AwsError):
        client(boto).call("create_vpc")
    assert len(boto.requests) == 1


def test_a_dead_endpoint_is_given_up_after_four_tries():
    clock = FakeClock()
    boto = FakeBoto(botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"))
    with pytest.raises(aws.AwsError) as error:
        client(boto, clock=clock).call("create_vpc")
    assert len(boto.requests) == aws.TRANSIENT_TRIES
    assert clock.now() < 5
    assert "ec2:CreateVpc in eu-west-1 failed after 4 tries: Could not connect" in str(error.value)


@pytest.mark.parametrize(
    "code, words",
    [
        ("AuthFailure", "AWS does not accept the credentials"),
        ("UnauthorizedOperation", "the credentials lack the right"),
        ("InvalidParameterValue", "ec2:CreateTags in eu-west-1 failed: No (InvalidParameterValue, request req-1)."),
    ],
)
def test_errors_are_one_sentence_and_not_tried_again(code, words):
    boto = FakeBoto(failure(code))
    with pytest.raises(aws.AwsError) as error:
        client(boto).call("create_tags")
    assert words in str(error.value)
    assert len(boto.requests) == 1


def test_missing_credentials_say_what_to_set():
    boto = FakeBoto(botocore.exceptions.NoCredentialsError())
    with pytest.raises(aws.AwsError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        client(boto).call("describe_vpcs")


def test_pages_follow_every_kind_of_token():
    boto = FakeBoto({"Vpcs": [1], "NextToken": "a"}, {"Vpcs": [2]})
    assert client(boto).pages("describe_vpcs", "Vpcs", MaxResults=1) == [1, 2]
    assert boto.requests[1][1] == {"MaxResults": 1, "NextToken": "a"}
    boto = FakeBoto(
        {"ResourceRecordSets": [1], "IsTruncated": True, "NextRecordName": "b.", "NextRecordType": "A"},
        {"ResourceRecordSets": [2], "IsTruncated": False, "NextRecordName": "ignored."},
    )
    assert client(boto, "route53").pages("list_resource_record_sets", "ResourceRecordSets") == [1, 2]
    assert boto.requests[1][1] == {"StartRecordName": "b.", "StartRecordType": "A"}
    boto = FakeBoto({"Roles": [1], "IsTruncated": True, "Marker": "m"}, {"Roles": [2], "IsTruncated": False})
    assert client(boto, "iam").pages("list_roles", "Roles") == [1, 2]
    assert boto.requests[1][1] == {"Marker": "m"}


def test_one_client_per_service_and_region_with_the_endpoint_given():
    options = {"region": "eu-west-1", "access_key": "AKIATEST", "secret_key": "s", "endpoint_url": "http://127.0.0.1:9"}
    owner = aws.Aws(options)
    assert owner.client("ec2") is owner.client("ec2", "eu-west-1")
    assert owner.client("ec2") is not owner.client("ec2", "eu-central-1")
    assert owner.client("ec2").boto.meta.endpoint_url == "http://127.0.0.1:9"


def test_no_region_is_one_sentence(monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(aws.AwsError, match="No AWS region is given"):
        aws.Aws().region  # noqa: B018


def test_a_quota_is_not_waited_for():
    boto = FakeBoto(failure("LimitExceededException"))
    with pytest.raises(aws.AwsError, match=r"logs:CreateLogGroup in eu-west-1 failed: No \(LimitExceededException"):
        client(boto, "logs").call("create_log_group")
    assert len(boto.requests) == 1


def test_a_change_that_meets_another_is_made_again_and_given_up_after_eight_tries():
    boto = FakeBoto(failure("OperationAborted", 409), {"Done": True})
    assert client(boto, "s3").call("put_bucket_policy") == {"Done": True}
    boto = FakeBoto(failure("OperationAborted", 409))
    with pytest.raises(aws.AwsError, match="OperationAborted"):
        client(boto, "s3").call("put_bucket_policy")
    assert len(boto.requests) == aws.BUSY_TRIES


def test_global_services_have_one_bucket_for_all_regions():
    owner = aws.Aws({"region": "eu-west-1"})
    assert owner.bucket("iam", "eu-west-1", "create_role") is owner.bucket("iam", "us-east-1", "create_policy")
    assert owner.bucket("s3", "eu-west-1", "put_object") is not owner.bucket("s3", "us-east-1", "put_object")


def test_tags_of_aws_stay_and_others_go_only_when_purged():
    have = {"aws:cloudformation:stack-name": "a", "old": "1", "kept": "2"}
    assert aws.tag_changes(have, {"kept": 2, "new": 3}) == ({"new": "3"}, ["old"])
    assert aws.tag_changes(have, {"kept": "other"}, purge=False) == ({"kept": "other"}, [])


def test_parallel_keeps_the_order_and_raises_what_went_wrong():
    assert aws.parallel(lambda item: item * 2, range(20)) == [item * 2 for item in range(20)]
    with pytest.raises(ZeroDivisionError):
        aws.parallel(lambda item: 1 / item, [1, 0])


def test_the_actions_called_are_named_as_iam_does():
    options = {"region": "eu-west-1", "access_key": "key", "secret_key": "secret", "endpoint_url": "http://127.0.0.1:1"}
    owner = aws.Aws(options, clock=FakeClock())
    for service, operation in (("s3", "list_buckets"), ("cloudwatch", "describe_alarms"), ("wafv2", "list_ip_sets")):
        owner.client(service).calls[operation] = 1
    assert owner.resource_actions() == ["cloudwatch:DescribeAlarms", "s3:ListBuckets", "wafv2:ListIPSets"]


class Ended(Exception):
    pass


class FakeModule:
    def __init__(self, **params):
        self.params = {"debug_botocore_endpoint_logs": True, **params}

    def exit_json(self, **result):
        raise Ended(result)

    fail_json = exit_json


@pytest.mark.parametrize("fault", ["", "It is broken."])
def test_run_ends_with_the_result_or_one_sentence(fault):
    def manage(connection):
        if fault:
            raise aws.AwsError(fault)
        return {"changed": True}

    with pytest.raises(Ended) as ended:
        aws.run(FakeModule(region="eu-west-1"), manage)
    expected = {"msg": fault} if fault else {"changed": True}
    assert ended.value.args[0] == {**expected, "resource_actions": []}


def test_options_are_those_that_amazon_aws_takes():
    from ansible_collections.amazon.aws.plugins.module_utils import modules

    theirs = modules.aws_argument_spec()
    assert set(theirs) <= {*aws.OPTIONS}
    for name in theirs:
        assert set(theirs[name].get("aliases", [])) <= set(aws.argument_spec()[name].get("aliases", [])), name


def test_the_certificate_check_and_further_settings_reach_the_client():
    options = {"region": "eu-west-1", "access_key": "key", "secret_key": "secret"}
    owner = aws.Aws({**options, "aws_ca_bundle": "/etc/ssl/ca.pem", "aws_config": {"read_timeout": 7}})
    assert owner.verify == "/etc/ssl/ca.pem"
    assert owner.client("s3").boto.meta.config.read_timeout == 7
    assert aws.Aws({**options, "validate_certs": False}).verify is False
    with pytest.raises(aws.AwsError, match="No client for s3 in eu-west-1"):
        aws.Aws({**options, "aws_config": {"no_such_setting": 1}}).client("s3")


@pytest.mark.parametrize(
    ("answer", "following"),
    [
        ({"Marker": "asked", "NextMarker": "next", "IsTruncated": True}, {"Marker": "next"}),
        ({"ContinuationToken": "asked", "NextContinuationToken": "next"}, {"ContinuationToken": "next"}),
        ({"Marker": "asked", "IsTruncated": False}, {}),
    ],
)
def test_the_next_page_is_not_the_one_just_read(answer, following):
    assert aws.next_page(answer) == following

"""Alarms and log groups against the strict front: sets, semantics, refusals, throttles, interruptions, regions."""

from __future__ import annotations

import json

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import cloudwatch_alarms, cloudwatch_log_groups
from botocore.exceptions import ClientError

from tests.integration import docs_example
from tests.integration.module_call import options

SNS = "arn:aws:sns:eu-west-1:123456789012:oncall"


def cpu(name, **changed):
    base = {
        "name": name,
        "namespace": "AWS/EC2",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": "i-1"},
        "comparison": "GreaterThanThreshold",
        "threshold": 80,
        "evaluation_periods": 3,
    }
    return {**base, **changed}


def fifty(prefix):
    return [cpu(f"{prefix}{number:02}", dimensions={"InstanceId": f"i-{number}"}) for number in range(50)]


@pytest.fixture(autouse=True)
def no_faults(front):
    front.forget_calls()
    yield
    front.faults()


@pytest.fixture
def alarms(front):
    def run(check=False, connection=None, **given):
        parameters = options(cloudwatch_alarms, **given)
        return cloudwatch_alarms.manage(parameters, connection or front.connection(), check)

    return run


@pytest.fixture
def groups(front):
    def run(check=False, **given):
        return cloudwatch_log_groups.manage(options(cloudwatch_log_groups, **given), front.connection(), check)

    return run


def described(front, prefix):
    answer = front.client("cloudwatch").describe_alarms(
        AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    return {entry["AlarmName"]: entry for entry in answer["MetricAlarms"] + answer["CompositeAlarms"]}


def refused(function, *arguments, **keywords):
    with pytest.raises(ClientError) as caught:
        function(*arguments, **keywords)
    return caught.value.response["Error"]["Code"], str(caught.value)


# Alarms


def test_fifty_unchanged_alarms_cost_two_calls(front, alarms):
    given = {"prefix": "fifty-", "alarms": fifty("fifty-"), "tags": {"platform": "trading"}, "alarm_actions": [SNS]}
    planned = alarms(check=True, **given)
    assert front.writes() == []
    done = alarms(**given)
    assert done["diff"] == planned["diff"]
    assert done["changes"] == planned["changes"]
    assert len(done["changes"]) == 50
    front.forget_calls()
    assert alarms(**given)["changed"] is False
    assert front.calls() == {"cloudwatch.DescribeAlarms": 1, "resourcegroupstaggingapi.GetResources": 1}


def test_more_than_one_page(front, alarms, monkeypatch):
    monkeypatch.setattr(cloudwatch_alarms, "PAGE", 5)
    monkeypatch.setattr(aws, "TAGS_PAGE", 5)
    many = [cpu(f"many-{number}") for number in range(6)]
    alarms(prefix="many-", alarms=many, tags={"a": "b"})
    front.forget_calls()
    assert alarms(prefix="many-", alarms=many, tags={"a": "b"})["changed"] is False
    assert front.calls() == {"cloudwatch.DescribeAlarms": 2, "resourcegroupstaggingapi.GetResources": 2}
    assert alarms(prefix="many-")["changes"] != []
    assert described(front, "many-") == {}


def test_an_edit_is_one_write_and_shows_only_itself(front, alarms):
    given = [cpu("edit-a"), cpu("edit-b")]
    alarms(prefix="edit-", alarms=given, tags={"platform": "trading"})
    front.forget_calls()
    changed = alarms(prefix="edit-", alarms=[cpu("edit-a", threshold=70), given[1]], tags={"platform": "trading"})
    assert front.writes() == ["cloudwatch.PutMetricAlarm"]
    before, after = (json.loads(changed["diff"][side])["alarm edit-a"] for side in ("before", "after"))
    assert {key for key in before if before[key] != after[key]} == {"threshold"}
    assert "edit-b" not in changed["diff"]["before"]


def test_metric_math_and_the_order_of_dimensions_are_no_change(front, alarms):
    """aws.md's defect 10: both always changed with amazon.aws.cloudwatch_metric_alarm."""
    wide = cpu("same-dim", namespace="AWS/EBS", metric="VolumeStalledIOCheck")
    wide["dimensions"] = {"VolumeId": "v", "InstanceId": "i"}
    read = {"namespace": "AWS/EBS", "metric": "VolumeReadOps", "dimensions": {"VolumeId": "v"}, "return_data": False}
    math = {
        "name": "same-math",
        "metrics": [{"id": "m1", **read}, {"id": "e", "expression": "m1 / PERIOD(m1)"}],
        "comparison": "GreaterThanThreshold",
        "threshold": 100,
    }
    alarms(prefix="same-", alarms=[wide, math])
    wide["dimensions"] = {"InstanceId": "i", "VolumeId": "v"}
    math["metrics"] = [{"id": "e", "expression": "m1/PERIOD( m1 )"}, {"id": "m1", **read}]
    front.forget_calls()
    assert alarms(prefix="same-", alarms=[math, wide])["changed"] is False
    assert front.writes() == []


def test_composites_come_after_and_go_before_what_they_read(front, alarms):
    tree = [
        {"name": "tree-a-top", "rule": "ALARM(tree-b) OR ALARM(tree-x)", "suppressor": {"alarm": "tree-y"}},
        {"name": "tree-b", "rule": 'ALARM("tree-x") AND ALARM("tree-y")'},
        cpu("tree-x"),
        cpu("tree-y"),
    ]
    alarms(prefix="tree-", alarms=tree)
    assert set(described(front, "tree-")) == {"tree-a-top", "tree-b", "tree-x", "tree-y"}
    tree[0]["rule"] = "ALARM(tree-x) OR (ALARM(tree-b))"
    assert alarms(prefix="tree-", alarms=tree)["changed"] is False
    assert alarms(prefix="tree-", alarms=[tree[3]])["changes"] == [
        "delete_alarms tree-a-top",
        "delete_alarms tree-b, tree-x",
    ]
    assert set(described(front, "tree-")) == {"tree-y"}


def test_anomaly_alarms_and_changes_by_hand(front, alarms):
    given = [cpu("hand-band", threshold=None, band=2, comparison="GreaterThanUpperThreshold"), cpu("hand-cpu")]
    alarms(prefix="hand-", alarms=given)
    assert alarms(prefix="hand-", alarms=given)["changed"] is False
    cloudwatch = front.client("cloudwatch")
    cloudwatch.disable_alarm_actions(AlarmNames=["hand-cpu"])
    arn = described(front, "hand-")["hand-band"]["AlarmArn"]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "by", "Value": "hand"}])
    assert alarms(prefix="hand-", alarms=given, purge_tags=False)["changes"] == ["put_metric_alarm hand-cpu"]
    assert alarms(prefix="hand-", alarms=given)["changes"] == ["untag_resource hand-band"]
    assert alarms(prefix="hand-", alarms=given)["changed"] is False


def test_dashboards_follow_the_alarms(front, alarms):
    given = {"prefix": "board-", "alarms": [cpu("board-a")], "dashboards": [{"name": "board-hosts"}]}
    assert "put_dashboard board-hosts" in alarms(**given)["changes"]
    assert alarms(**given)["changed"] is False
    given["alarms"][0]["threshold"] = 70
    assert alarms(**given)["changes"] == ["put_metric_alarm board-a", "put_dashboard board-hosts"]
    given["dashboards"] = []
    assert alarms(**given)["changes"] == ["delete_dashboards board-hosts"]


def test_an_event_rule_sends_the_changes_on(front, alarms):
    queue = front.client("sqs").create_queue(QueueName="alarms")["QueueUrl"].rsplit("/", 1)[1]
    target = {"id": "queue", "arn": f"arn:aws:sqs:eu-west-1:123456789012:{queue}"}
    given = {"prefix": "event-", "alarms": [cpu("event-a")], "event_rule": {"name": "event-rule", "targets": [target]}}
    alarms(**given)
    assert alarms(**given)["changed"] is False
    pattern = json.loads(front.client("events").describe_rule(Name="event-rule")["EventPattern"])
    assert pattern["detail"]["alarmName"] == [{"prefix": "event-"}]


def test_a_wrong_metric_is_refused_before_anything_is_written(front, alarms):
    with pytest.raises(aws.AwsError, match="AWS/EC2 has no metric CpuUtilization; CPUUtilization is meant"):
        alarms(prefix="wrong-", alarms=[cpu("wrong-a"), cpu("wrong-b", metric="CpuUtilization")])
    assert front.calls() == {}


def test_throttles_are_waited_for(front, alarms):
    front.faults(throttle=[{"service": "cloudwatch", "count": 10}])
    assert alarms(prefix="slow-", alarms=[cpu("slow-a")])["changed"] is True
    assert sum(front.calls().values()) == 12


def test_an_interrupted_run_is_finished_by_the_next(front, alarms):
    connection = front.connection()
    cloudwatch = connection.client("cloudwatch")
    call, left = cloudwatch.call, [3]

    def interrupted(operation, **parameters):
        if operation.startswith("put"):
            left[0] -= 1
            if left[0] < 0:
                raise aws.AwsError("The credentials have ended.")
        return call(operation, **parameters)

    cloudwatch.call = interrupted
    given = {
        "prefix": "cut-",
        "alarms": [{"name": "cut-0", "rule": "ALARM(cut-1)"}] + [cpu(f"cut-{n}") for n in range(1, 6)],
    }
    with pytest.raises(aws.AwsError, match="have ended"):
        alarms(connection=connection, **given)
    assert len(described(front, "cut-")) == 3
    assert len(alarms(**given)["changes"]) == 3
    assert alarms(**given)["changed"] is False


def test_lost_credentials_and_a_failing_region_are_one_sentence(front, alarms):
    front.faults(lost_credentials=True)
    with pytest.raises(aws.AwsError, match="does not accept the credentials"):
        alarms(prefix="lost-", alarms=[cpu("lost-a")])
    front.faults(failing_regions=["eu-west-1"])
    with pytest.raises(aws.AwsError, match="cloudwatch:DescribeAlarms in eu-west-1"):
        alarms(prefix="lost-", alarms=[cpu("lost-a")])


# What the front refuses, as CloudWatch does


def test_the_front_refuses_what_cloudwatch_refuses(front):
    cloudwatch = front.client("cloudwatch")
    good = {
        "AlarmName": "front-a",
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "ImageId", "Value": "ami-1"}],
        "Statistic": "Average",
        "Period": 300,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    query = {"Id": "a", "Expression": "1"}
    for changed, code in (
        ({"Period": 90}, "ValidationError"),
        ({"Period": 300, "EvaluationPeriods": 289}, "ValidationError"),
        ({"DatapointsToAlarm": 2}, "ValidationError"),
        ({"AlarmActions": ["nobody"]}, "ValidationError"),
        ({"AlarmActions": ["arn:aws:automate:eu-west-1:ec2:recover"]}, "ValidationError"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "ValidationError"),
        ({"ExtendedStatistic": "p99"}, "InvalidParameterCombination"),
        ({"Metrics": [query]}, "InvalidParameterCombination"),
    ):
        assert refused(cloudwatch.put_metric_alarm, **{**good, **changed})[0] == code, changed
    missing = {key: value for key, value in good.items() if key != "Threshold"}
    assert refused(cloudwatch.put_metric_alarm, **missing)[0] == "MissingParameter"
    math = {key: good[key] for key in ("AlarmName", "EvaluationPeriods", "Threshold", "ComparisonOperator")}
    for metrics in ([query, {**query, "Id": "b"}], [query, {**query, "ReturnData": False}], [{**query, "Id": "A"}]):
        assert refused(cloudwatch.put_metric_alarm, Metrics=metrics, **math)[0] == "ValidationError"
    cloudwatch.put_metric_alarm(**good)
    cloudwatch.put_composite_alarm(AlarmName="front-b", AlarmRule='ALARM("front-a")')
    cloudwatch.put_composite_alarm(AlarmName="front-c", AlarmRule="OK(front-b)")
    for name, rule in (("front-d", "ALARM(nobody)"), ("front-a", "TRUE"), ("front-d", "ALARM(front-a")):
        assert refused(cloudwatch.put_composite_alarm, AlarmName=name, AlarmRule=rule)[0] == "ValidationError"
    for names, code in (
        (["front-a"], "ValidationError"),
        (["front-c", "front-b"], "ValidationError"),
        (["nobody"], "ResourceNotFound"),
    ):
        assert refused(cloudwatch.delete_alarms, AlarmNames=names)[0] == code
    assert set(described(front, "front-")) == {"front-a", "front-b", "front-c"}
    arn = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:nobody"
    assert refused(cloudwatch.list_tags_for_resource, ResourceARN=arn)[0] == "ResourceNotFoundException"
    for name, body in (("a b", '{"widgets": []}'), ("ab", "{}"), ("ab", '{"widgets": [{}]}'), ("ab", "no")):
        assert refused(cloudwatch.put_dashboard, DashboardName=name, DashboardBody=body)[0].startswith(
            "InvalidParameter"
        )
    tagging = front.client("resourcegroupstaggingapi")
    code, _text = refused(tagging.get_resources, ResourceARNList=[arn], ResourcesPerPage=10)
    assert code == "InvalidParameterException"


# Log groups


def test_log_groups_as_a_set(front, groups):
    key = front.client("kms").create_key()["KeyMetadata"]["Arn"]
    counts = {"name": "root", "pattern": '{ $.userIdentity.type = "Root" }', "namespace": "audit", "metric": "RootUse"}
    given = {
        "prefix": "/set/",
        "log_groups": [
            {"name": "/set/a", "retention_days": 30, "kms_key_id": key, "metric_filters": [counts]},
            {"name": "/set/b"},
        ],
        "tags": {"platform": "trading"},
    }
    front.forget_calls()
    planned = groups(check=True, **given)
    assert front.writes() == []
    assert groups(**given)["diff"] == planned["diff"]
    front.forget_calls()
    assert groups(**given)["changed"] is False
    assert sum(front.calls().values()) == 3
    given["log_groups"][0].update(retention_days=0, kms_key_id=None, metric_filters=[])
    assert groups(**given)["changes"] == [
        "delete_retention_policy /set/a",
        "disassociate_kms_key /set/a",
        "delete_metric_filter /set/a",
    ]
    given["log_groups"][1]["tags"] = {"owner": "trade"}
    assert groups(**given)["changes"] == ["tag_resource /set/b"]
    assert groups(**given)["changed"] is False
    given["log_groups"].pop()
    assert groups(**given)["changed"] is False
    assert groups(prune=True, **given)["changes"] == ["delete_log_group /set/b"]


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"name": "/x/a", "retention_days": 31}, "retention 31"),
        ({"name": "/x/a b"}, "no valid name"),
        ({"name": "/y/a"}, "begin with the prefix /x/"),
        ({"name": "/x/a", "kms_key_id": "alias/logs"}, "ARN of a KMS key"),
        (
            {
                "name": "/x/a",
                "metric_filters": [{"name": "f", "pattern": "", "namespace": "AWS/EC2", "metric": "m"}],
            },
            "AWS's own",
        ),
    ],
)
def test_wrong_log_groups_are_refused_before_anything_is_written(front, groups, group, words):
    with pytest.raises(aws.AwsError, match=words):
        groups(prefix="/x/", log_groups=[group])
    assert front.calls() == {}


def test_the_front_refuses_what_cloudwatch_logs_refuses(front):
    logs = front.client("logs")
    logs.create_log_group(logGroupName="/front/a")
    code, _text = refused(logs.put_retention_policy, logGroupName="/front/a", retentionInDays=31)
    assert code == "InvalidParameterException"
    gone = "arn:aws:kms:eu-west-1:123456789012:key/11111111-1111-1111-1111-111111111111"
    code, _text = refused(logs.associate_kms_key, logGroupName="/front/a", kmsKeyId=gone)
    assert code == "InvalidParameterException"
    key = front.client("kms").create_key()["KeyMetadata"]["Arn"]
    assert refused(logs.associate_kms_key, logGroupName="/front/b", kmsKeyId=key)[0] == "ResourceNotFoundException"
    arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/front/b"
    assert refused(logs.tag_resource, resourceArn=arn, tags={"a": "b"})[0] == "ResourceNotFoundException"


def test_the_page_of_docs_runs(front, tmp_path, monkeypatch):
    front.faults()
    write = docs_example.inventory

    def with_hosts(directory, variables):
        write(directory, variables)
        path = directory / "hosts.yml"
        content = yaml.safe_load(path.read_text())
        hosts = {f"edge-{number}": {"ec2_instance_id": f"i-{number}"} for number in (1, 2)}
        path.write_text(yaml.safe_dump({"all": {**content["all"], "hosts": hosts}}))

    monkeypatch.setattr(docs_example, "inventory", with_hosts)
    docs_example.run_page(front, tmp_path / "alarms", "alarms.md", "aws_alarms.yml")
    found = described(front, "trading-watch-")
    assert {"edge-1-system", "edge-2-credits", "edge-degraded", "heartbeat", "backup-postgresql", "blind"} <= {
        name.removeprefix("trading-watch-") for name in found
    }
    assert len(described(front, "trade-api-")) == 2

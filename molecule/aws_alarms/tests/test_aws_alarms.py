"""The alarms as an AWS client sees them."""

import boto3
import pytest

SNS = "arn:aws:sns:eu-west-1:123456789012:oncall"


@pytest.fixture(scope="module")
def alarms():
    answer = boto3.client("cloudwatch").describe_alarms(
        AlarmNamePrefix="molecule-watch-", AlarmTypes=["MetricAlarm", "CompositeAlarm"], MaxRecords=100
    )
    return {
        entry["AlarmName"].removeprefix("molecule-watch-"): entry
        for entry in answer["MetricAlarms"] + answer["CompositeAlarms"]
    }


def test_each_host_recovers_from_a_broken_machine(alarms):
    for slot, number in (("edge-1", 1), ("database-1", 2), ("database-2", 3)):
        alarm = alarms[f"{slot}-system"]
        assert alarm["Dimensions"] == [{"Name": "InstanceId", "Value": f"i-{number:017}"}]
        assert alarm["AlarmActions"] == ["arn:aws:automate:eu-west-1:ec2:recover", SNS]


def test_each_volume_and_backup_is_watched(alarms):
    for number in (1, 2):
        for what in ("stalled", "latency", "throughput", "burst"):
            assert f"database-{number}-postgresql-{what}" in alarms
    assert alarms["backup-postgresql"]["TreatMissingData"] == "breaching"
    assert "edge-1-address" in alarms
    assert "database-1-address" not in alarms


def test_a_tier_that_loses_two_hosts_is_told(alarms):
    rule = alarms["database-degraded"]["AlarmRule"]
    assert rule == '(ALARM("molecule-watch-database-1-instance") AND ALARM("molecule-watch-database-2-instance"))'
    assert "edge-degraded" not in alarms


def test_dashboard_and_log_group_are_there():
    boards = boto3.client("cloudwatch").list_dashboards(DashboardNamePrefix="molecule-watch-")["DashboardEntries"]
    assert [board["DashboardName"] for board in boards] == ["molecule-watch-hosts"]
    groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix="/molecule/flow")["logGroups"]
    assert groups[0]["retentionInDays"] == 30

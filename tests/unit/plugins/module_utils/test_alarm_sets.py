"""Ready sets of alarms: which hosts, volumes and tiers get which alarms, and that the modules take them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter import alarms as filters
from ansible_collections.selfhosted.ec2.plugins.module_utils import alarm_plan, alarm_sets, log_plan
from ansible_collections.selfhosted.ec2.plugins.modules import cloudwatch_alarms, cloudwatch_log_groups

from tests.integration.module_call import options

ROOT = Path(__file__).resolve().parents[4]
TIERS = [
    {"name": "edge", "components": ["haproxy"], "count": 2, "instance_type": "t3.small", "public_address": True},
    {
        "name": "database",
        "components": ["postgresql", "prometheus"],
        "count": 3,
        "instance_type": "m7i.large",
        "volumes": [
            {"name": "data", "type": "gp3", "mount": "/data"},
            {"name": "old", "type": "gp2", "mount": "/old"},
        ],
    },
]
HOSTS = {
    "edge-1": {"ec2_instance_id": "i-1"},
    "edge-2": {},
    "database-1": {
        "ec2_instance_id": "i-3",
        "ec2_volumes": {"data": {"volume_id": "vol-1"}, "old": {"volume_id": "vol-2"}},
    },
    "database-2": {"ec2_instance_id": "i-4"},
    "database-3": {"ec2_instance_id": "i-5"},
}
COMMON = {"prefix": "trading-watch-", "namespace": "trading", "backups": ["postgresql"]}
NUMBERS = {"aws_alarms_heartbeat_minutes": 5, "aws_alarms_backup_hours": 26}


def role_data(role):
    """The role's templates, with a number where the role has a variable."""

    def filled(value, key=""):
        if isinstance(value, dict):
            return {name: filled(entry, name) for name, entry in value.items()}
        if isinstance(value, list):
            return [filled(entry) for entry in value]
        if not isinstance(value, str) or "{{" not in value:
            return value
        if key in ("threshold", "evaluation_periods"):
            return next((number for name, number in NUMBERS.items() if name in value), 90)
        return ["arn:aws:automate:eu-west-1:ec2:recover"] if key == "alarm_actions" else value

    return filled(yaml.safe_load((ROOT / "roles" / role / "vars/main.yml").read_text()))


@pytest.fixture(scope="module")
def ready():
    data = role_data("aws_alarms")
    made = filters.ready_alarms(data["__aws_alarms_base"] + data["__aws_alarms_by_agent"], TIERS, HOSTS, COMMON)
    return {alarm["name"].removeprefix("trading-watch-"): alarm for alarm in made}


def test_the_modules_take_the_ready_set(ready):
    known = {"trading": ["Heartbeat", "BackupSucceeded"]}
    given = options(cloudwatch_alarms, prefix="trading-watch-", alarms=list(ready.values()), known_metrics=known)
    assert alarm_plan.faults(given, "eu-west-1") == []
    assert alarm_plan.warnings(given) == []


def test_who_gets_which(ready):
    assert {"edge-1-system", "edge-1-credits", "edge-1-address", "edge-1-memory"} <= set(ready)
    assert not any(name.startswith("edge-2") for name in ready)
    assert "database-1-credits" not in ready
    assert "database-1-address" not in ready
    assert {"database-1-data-stalled", "database-1-data-full", "database-1-old-burst"} <= set(ready)
    assert "database-1-data-burst" not in ready
    assert {"heartbeat", "backup-postgresql", "database-degraded"} <= set(ready)
    assert "edge-degraded" not in ready
    assert ready["database-1-old-burst"]["dimensions"] == {"VolumeId": "vol-2"}
    assert ready["database-degraded"]["rule"].count(" OR ") == 2


def test_without_prometheus_there_is_no_heartbeat():
    data = role_data("aws_alarms")
    made = filters.ready_alarms(data["__aws_alarms_base"], TIERS[:1], HOSTS, {**COMMON, "backups": []})
    assert not [alarm for alarm in made if "heartbeat" in alarm["name"] or "backup" in alarm["name"]]


def test_a_template_that_makes_no_sense_is_told():
    with pytest.raises(alarm_sets.SetError, match="each 'planet'"):
        alarm_sets.ready([{"each": "planet", "alarm": {}}], TIERS, {}, COMMON)


def test_what_the_audit_watches_is_taken_by_the_modules():
    watch = role_data("aws_audit")["__aws_audit_watch"]
    assert {entry["name"] for entry in watch} >= {"root-use", "policy-change", "trail-change", "key-deletion"}
    metric_filters = alarm_sets.audit_filters(watch, "trading/audit")
    group = {"name": "/trading/audit", "metric_filters": metric_filters}
    assert log_plan.faults(options(cloudwatch_log_groups, prefix="/trading/", log_groups=[group])) == []
    for entry in metric_filters:
        assert entry["pattern"].count("(") == entry["pattern"].count(")")
        assert entry["pattern"].startswith("{ ")
        assert entry["pattern"].endswith(" }")
    made = alarm_sets.audit_alarms(watch, "trading/audit", "trading-audit-")
    known = {"trading/audit": [entry["name"] for entry in watch]}
    given = options(cloudwatch_alarms, prefix="trading-audit-", alarms=made, known_metrics=known)
    assert alarm_plan.faults(given, "eu-west-1") == []

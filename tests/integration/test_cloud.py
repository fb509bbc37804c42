"""cloud.yml as a whole: a second run changes nothing, and an edit shows as just that edit."""

from __future__ import annotations

import json
import re

import pytest

from tests.integration import docs_example
from tests.integration.front_client import ROOT

VARIABLES = {
    "aws_nosql_tables": [{"name": "trading-orders", "attributes": {"account": "S"}, "hash_key": "account"}],
}
EDIT = {
    "aws_object_storage_log_days": 60,
    "aws_nosql_tables": [{**VARIABLES["aws_nosql_tables"][0], "recovery_days": 7}],
}


@pytest.mark.long
def test_cloud_twice_and_an_edit(front, tmp_path):
    docs_example.inventory(tmp_path, VARIABLES)
    playbook = ROOT / "playbooks" / "cloud.yml"
    changed, output = docs_example.run(front, tmp_path, playbook)
    assert changed, output
    front.forget_calls()
    changed, output = docs_example.run(front, tmp_path, playbook)
    assert changed == 0, output
    # The lock alone is written: taken, renewed by each play, given back.
    assert {name for name in front.writes() if not name.startswith("sts.")} <= {
        "dynamodb.PutItem",
        "dynamodb.UpdateItem",
        "dynamodb.DeleteItem",
    }
    changed, output = docs_example.run(front, tmp_path, playbook, "--check", "--diff", "-e", json.dumps(EDIT))
    lines = {line for line in re.findall(r"^[+-][^+-].*$", output, re.MULTILINE)}
    assert lines == {
        "-trading-logs-123456789012 lifecycle.old.expire_days: 90",
        "+trading-logs-123456789012 lifecycle.old.expire_days: 60",
        "-trading-orders recovery_days: 35",
        "+trading-orders recovery_days: 7",
    }, output
    assert changed == 2

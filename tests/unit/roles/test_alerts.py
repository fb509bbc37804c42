"""The alert rules of all roles, by Prometheus's own tool where the machine has it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
RULES = sorted(ROLES.glob("*/files/alerts.yml"))


def case_files(rules):
    """The files of tests; those that take days have one of their own, as a file has one interval of evaluation."""
    return sorted(rules.parent.glob("alerts*_test.yml"))


@pytest.mark.skipif(not shutil.which("promtool"), reason="this machine has no promtool")
@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.parts[-3])
def test_rules_fire_when_they_should(rules):
    files = [path.name for path in case_files(rules)]
    run = subprocess.run(
        ["promtool", "test", "rules", *files], cwd=rules.parent, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.parts[-3])
def test_every_rule_is_tested(rules):
    named = {rule["alert"] for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]}
    cases = [case for path in case_files(rules) for case in yaml.safe_load(path.read_text())["tests"]]
    fired = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test["exp_alerts"]}
    assert named == fired

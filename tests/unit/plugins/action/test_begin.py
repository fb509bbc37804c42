"""playbooks/tasks/begin.yml over several plays of one run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]
BEGIN = {"name": "Begin", "import_tasks": str(ROOT / "playbooks/tasks/begin.yml")}
FACTS = {
    "platform_tiers": [{"name": "one", "components": [], "count": 0, "instance_type": "t3.small", "volumes": []}],
    "ec2_components": [],
    "ec2_tier": "one",
    "ec2_volumes": {},
}
SHOW = {"name": "Show", "debug": {"msg": "{{ inventory_hostname }} has {{ platform_secrets['app/a'] | length }}"}}


@pytest.fixture
def plays(play, cloud, inventory, tmp_path):
    """Return a function that runs plays that all begin alike, with tasks of their own after it."""
    cloud("dynamodb").create_table(
        TableName="trading-lock",
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    cloud("ssm").put_parameter(Name="/trading/app/a", Value="12345", Type="SecureString")

    def run(*parts):
        path = tmp_path / "plays.yml"
        path.write_text(
            yaml.safe_dump(
                [
                    {"hosts": hosts, "serial": 1, "gather_facts": False, "vars": FACTS, "tasks": [BEGIN, *tasks, SHOW]}
                    for hosts, tasks in parts
                ]
            )
        )
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_later_plays_have_the_secrets_and_renew_the_lock(plays):
    code, output = plays(("alpha", []), ("edge", []))
    assert code == 0, output
    assert all(f"{host} has 5" in output for host in ("a-1", "a-3", "edge-1"))


def test_a_lost_lock_ends_the_run_at_the_next_play(plays, cloud):
    steal = {
        "name": "Steal",
        "command": {
            "argv": [
                sys.executable,
                "-c",
                "import boto3; boto3.client('dynamodb', 'eu-west-1')"
                ".delete_item(TableName='trading-lock', Key={'name': {'S': 'trading'}})",
            ]
        },
        "delegate_to": "localhost",
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
    }
    code, output = plays(("a-1", [steal]), ("edge", []))
    assert code == 2
    assert "a-1 has 5" in output and "edge-1 has" not in output
    assert "This run has lost the lock of platform trading" in output

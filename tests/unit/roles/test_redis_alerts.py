"""The alert rules of role redis, by Prometheus's own tool where the machine has it."""

import shutil
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles" / "redis" / "files"


@pytest.mark.skipif(not shutil.which("promtool"), reason="this machine has no promtool")
def test_rules_fire_when_they_should():
    run = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"], cwd=FILES, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr

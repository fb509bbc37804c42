"""The alert rules of the roles, by Prometheus's own tool where the machine has it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"


@pytest.mark.skipif(not shutil.which("promtool"), reason="this machine has no promtool")
@pytest.mark.parametrize("role", sorted(path.parts[-3] for path in ROLES.glob("*/files/alerts_test.yml")))
def test_rules_fire_when_they_should(role):
    run = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"],
        cwd=ROLES / role / "files",
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr

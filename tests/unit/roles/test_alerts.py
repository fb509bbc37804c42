"""The alert rules of the roles, by Prometheus's own tool where the machine has it."""

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = sorted(Path(__file__).resolve().parents[3].glob("roles/*/files/alerts_test.yml"))


@pytest.mark.skipif(not shutil.which("promtool"), reason="this machine has no promtool")
@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.parents[1].name)
def test_rules_fire_when_they_should(tests):
    run = subprocess.run(
        ["promtool", "test", "rules", tests.name], cwd=tests.parent, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr

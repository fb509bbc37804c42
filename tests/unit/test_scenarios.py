"""Every role has a Molecule scenario, and the runner knows which of them it may take without being asked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
SCENARIOS = ROOT / "molecule"


@pytest.fixture(scope="module")
def run():
    spec = importlib.util.spec_from_file_location("tests_run", ROOT / "tests" / "run.py")
    module = importlib.util.module_from_spec(spec)
    # Its dataclass asks for the module by its name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("role", ROLES)
def test_the_role_has_a_scenario_with_tests_and_a_playbook(role):
    scenario = SCENARIOS / role
    assert (scenario / "molecule.yml").is_file()
    assert list(scenario.glob("tests/test_*.py"))
    assert (ROOT / "playbooks" / f"{role}.yml").is_file()


def test_the_runner_knows_all_of_them_and_no_other(run):
    assert sorted(run.scenarios()) == ROLES
    assert set(run.BY_NAME) < set(ROLES)


def test_what_needs_long_builds_is_built_first_and_runs_by_name_or_with_the_faults(run):
    usual = {report for suite in run.suite("roles") for report in suite.reports}
    assert usual == {f"verify-{role}" for role in ROLES if role not in run.BY_NAME}
    for role in run.BY_NAME:
        (suite,) = run.suite(f"role:{role}")
        assert "lab.builds" in suite.commands[0]
    long = {report for suite in run.suite("faults") for report in suite.reports}
    assert {"verify-kubernetes", "verify-kubernetes_addons"} <= long

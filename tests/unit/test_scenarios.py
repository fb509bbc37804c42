"""Every role has a Molecule scenario, and the runner knows which of them it may take without being asked, and when."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import deque
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


def test_kubernetes_is_last_of_what_runs_without_a_name_and_what_it_installs_is_built_first(run):
    assert run.DEFAULT[-1] == "kubernetes"
    (suite,) = run.suite("kubernetes")
    assert suite.commands[0] == run.build_command("kubernetes-1.37")
    assert suite.name.startswith(run.NEEDS_LAB)


@pytest.mark.parametrize(("minutes", "ran", "skipped"), [(9, 1, 0), (11, 0, 1)])
def test_a_suite_that_would_not_end_in_time_is_skipped_and_counted(run, monkeypatch, capsys, minutes, ran, skipped):
    done = []
    monkeypatch.setattr(run, "run_suite", lambda item, _environment, _deadline: done.append(item.name))
    item = run.Suite("late", [], begins_seconds=600)
    run.run_lane("none", deque([item]), {}, time.monotonic() - minutes * 60, time.monotonic() + 600)
    assert (len(done), item.skipped) == (ran, skipped)
    shown = capsys.readouterr().out
    if skipped:
        assert item.failed == 0
        assert "late skipped: 11 minutes are over, after 10 it may not end in time" in shown

"""The conformance suite: which cases run, each left out with a reason; what a report says; and the page of it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
NETWORK = "[sig-network] DNS should provide DNS for services [Conformance]"
SLOW = "[sig-network] DNS should wait (a|b) for *all* [LinuxOnly] [Conformance]"
OTHER = "[sig-network] DNS should support something new"
LISTED = f"""\
The following spec names can be used with 'ginkgo run --focus/skip':
    ../../root/go/network/dns.go:55: {NETWORK}
    ../../root/go/network/dns.go:95: {SLOW}
    ../../root/go/network/dns.go:99: {OTHER}

"""
REPORT = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="5">
  <testsuite name="Kubernetes e2e suite" tests="5">
    <testcase name="[SynchronizedBeforeSuite]" status="passed" time="1.5"></testcase>
    <testcase name="[It] {NETWORK}" status="passed" time="9.1"></testcase>
    <testcase name="[It] {SLOW}" status="failed" time="9.1">
      <failure type="failed">not within
        60 s</failure><system-err>much</system-err>
    </testcase>
    <testcase name="[It] {OTHER}" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
    <testcase name="[ReportAfterSuite] Kubernetes e2e suite report" status="failed">
      <failure>no room</failure></testcase>
  </testsuite>
</testsuites>
"""


@pytest.fixture(scope="module")
def conformance():
    sys.path[:0] = [str(ROOT / "tests" / "platform")]
    try:
        import kubernetes_conformance

        yield kubernetes_conformance
    finally:
        sys.modules.pop("kubernetes_conformance", None)
        del sys.path[:1]


@pytest.fixture
def suite(conformance):
    """A small one."""
    family = conformance.Family("network", "Network", 10, ("[sig-network] ",))
    return conformance.Suite(
        "1.37.2", {"network": family}, {SLOW: "it is | slow"}, {"[sig-cli] ": "not ours"}, {"a:1": "b"}
    )


def outcome(**values):
    counts = {"cases": 2, "passed": 2, "failed": {}, "missing": {}, "broken": []}
    measured = {"seconds": 331.0, "load": 2.5, "at": "2026-11-29T22:00:00+00:00", "commit": "abc1234"}
    return {"family": "network", "version": "1.37.2", **counts, **measured, **values}


def test_a_family_runs_its_conformance_cases_but_those_that_are_skipped(conformance, suite):
    cases = conformance.listed(LISTED)
    assert cases == [NETWORK, SLOW, OTHER]
    assert conformance.chosen(suite, suite.families["network"], cases) == [NETWORK]


def test_what_the_suite_is_told_chooses_the_same(conformance, suite):
    words = [word.partition("=") for word in conformance.selection(suite, suite.families["network"])]
    focus = [value for name, _is, value in words if name == "--ginkgo.focus"]
    skip = [value for name, _is, value in words if name == "--ginkgo.skip"]
    ran = [
        case
        for case in (NETWORK, SLOW, OTHER)
        if any(re.search(value, f"Kubernetes e2e suite {case}") for value in focus)
        and not any(re.search(value, f"Kubernetes e2e suite {case}") for value in skip)
    ]
    assert ran == [NETWORK]


def test_a_report_tells_cases_from_what_is_around_them(conformance, tmp_path):
    (tmp_path / "junit_01.xml").write_text(REPORT)
    report = conformance.parse(tmp_path / "junit_01.xml")
    assert report.states == {NETWORK: "passed", SLOW: "failed", OTHER: "skipped"}
    assert report.reasons[SLOW] == "not within 60 s"
    assert report.broken == ["ReportAfterSuite: no room"]
    passed, failed, missing = conformance.judge([NETWORK, SLOW, OTHER, "[sig-network] gone"], report)
    assert (passed, failed) == (1, {SLOW: "not within 60 s"})
    assert missing == {OTHER: "skipped", "[sig-network] gone": "the report does not name it"}


@pytest.mark.parametrize(
    "values",
    [
        {"cases": 0, "passed": 0},
        {"passed": 1, "failed": {SLOW: "it waits"}},
        {"passed": 1, "missing": {SLOW: "skipped"}},
        {"passed": 0},
        {"broken": ["ReportAfterSuite: no room"]},
    ],
)
def test_less_than_every_case_is_a_failure(conformance, values):
    conformance.assert_conformant(conformance.Outcome(**outcome()))
    with pytest.raises(AssertionError):
        conformance.assert_conformant(conformance.Outcome(**outcome(**values)))


def test_the_kubeconfig_verifies_the_name_at_an_address(conformance, tmp_path):
    path = conformance.kubeconfig(tmp_path, "https://10.0.0.1:6443", "kubernetes.lab.internal", "ca", "pem")
    found = yaml.safe_load(path.read_text())
    (cluster,) = found["clusters"]
    assert cluster["cluster"]["tls-server-name"] == "kubernetes.lab.internal"
    assert found["current-context"] != cluster["name"], "the suite would take the server without the name"
    assert (tmp_path / "administrator.pem").stat().st_mode & 0o77 == 0
    assert "pem" not in path.read_text().replace("administrator.pem", "")


def test_a_suite_that_does_not_end_is_ended(conformance, tmp_path, monkeypatch):
    status, _seconds = conformance.run(["sh", "-c", "echo begun; exit 3"], tmp_path / "log", 30)
    assert (status, (tmp_path / "log").read_text()) == (3, "begun\n")
    monkeypatch.setattr(conformance, "GRACE_SECONDS", 5)
    status, _seconds = conformance.run(["sh", "-c", "trap 'exit 7' TERM; sleep 600 & wait"], tmp_path / "log", 1)
    # The latter when its shell had no time to say otherwise.
    assert status in (7, -signal.SIGTERM)


# The page


def test_the_page_shows_the_newest_result_and_what_did_not_pass(conformance, suite):
    older, newer = outcome(), outcome(passed=1, failed={SLOW: "no | answer"})
    page = conformance.render(suite, [older, newer])
    assert "| Network | 2 | 1 | 1 | 0 | 6 | 2.5 | 2026-11-29, abc1234 |" in page
    assert r"no \| answer" in page
    assert r"| it is \| slow |" in page and "| not ours |" in page


def test_a_result_of_another_version_does_not_count(conformance, suite):
    assert "| Network | not run |" in conformance.render(suite, [outcome(version="1.36.4")])


def test_results_stay_where_there_are_no_newer_ones(conformance, suite):
    page = conformance.render(suite, [outcome(passed=1, failed={SLOW: "no answer"})])
    assert conformance.render(suite, [], page) == page
    assert "| Network | not run |" in conformance.render(suite, [])


def test_the_page_agrees_with_the_list(conformance):
    page = conformance.PAGE.read_text()
    assert conformance.render(conformance.read(), [], page) == page, "run python tests/platform/page.py"


# The list itself


def test_every_entry_has_a_reason(conformance):
    found = conformance.read()
    for reasons in (found.skips, found.left, found.images):
        assert all(len(reason) > 20 for reason in reasons.values()), reasons
    entries = tomllib.loads(conformance.LIST.read_text())
    assert len(found.skips) == len(entries["skip"]) and len(found.left) == len(entries["left"])
    assert all(any(family.has(case) for family in found.families.values()) for case in found.skips)


def test_the_lab_builds_the_images_and_no_others(conformance):
    found = conformance.read()
    entries = tomllib.loads((ROOT / "lab" / "artifacts.toml").read_text())["artifact"]
    built = [entry for entry in entries if entry.get("set") == conformance.SET]
    assert {entry["build"]["reference"] for entry in built if entry["name"] == "images"} == set(found.images)
    assert {entry["version"] for entry in built if entry["name"] != "images"} == {found.version}


@pytest.fixture(scope="module")
def cases(conformance, tmp_path_factory):
    """All cases of the suite that the lab has built."""
    built = Path("/var/cache/ec2-lab/artifacts/kubernetes-test") / conformance.read().version / "e2e.test-linux-amd64"
    if not built.exists():
        pytest.skip(f"the suite is not built: python -m lab.builds {conformance.SET}")
    program = tmp_path_factory.mktemp("suite") / "e2e.test"
    shutil.copyfile(built, program)
    program.chmod(0o755)
    shown = subprocess.run([program, "--list-tests"], check=True, capture_output=True, text=True, timeout=300).stdout
    program.unlink()
    return conformance.listed(shown)


@pytest.mark.long
def test_every_name_is_one_of_the_suite(conformance, cases):
    found = conformance.read()
    marked = [case for case in cases if conformance.MARK in case]
    assert set(found.skips) <= set(marked)
    for prefix in (*found.left, *(prefix for family in found.families.values() for prefix in family.prefixes)):
        assert any(case.startswith(prefix) for case in marked), prefix


@pytest.mark.long
def test_every_case_of_the_suite_runs_or_is_left_out_for_a_reason(conformance, cases):
    found = conformance.read()
    for case in cases:
        if conformance.MARK in case:
            places = [family.name for family in found.families.values() if family.has(case)]
            places += [prefix for prefix in found.left if case.startswith(prefix)]
            assert len(places) == 1, f"{case}: {places}"


@pytest.mark.long
def test_a_skipped_name_is_part_of_no_other(conformance, cases):
    for skipped in conformance.read().skips:
        assert [case for case in cases if skipped in case] == [skipped]

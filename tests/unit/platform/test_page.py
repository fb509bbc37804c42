"""The page of results: the newest result of each row, and what was not run says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULES = ("page", "faults", "operations", "running", "ledger", "witness")


@pytest.fixture(scope="module")
def page():
    sys.path[:0] = [str(ROOT / "tests" / "platform"), str(ROOT)]
    try:
        import page

        yield page
    finally:
        for name in MODULES:
            sys.modules.pop(name, None)
        del sys.path[:2]


def outcome(name, seconds, **values):
    times = {"seconds": seconds, "worst_client_seconds": seconds + 1, "read_seconds": 0.4, "well_seconds": 31.2}
    found = {"acknowledged": 900, "missing": 0, "two_writable_seconds": 0.0, "load": 1.5}
    return {"fault": name, **times, **found, "at": "2026-11-28T17:00:00+00:00", "commit": "abc1234", **values}


def test_the_newest_result_counts(page):
    text = page.render([outcome("leader's host killed", 22.04), outcome("leader's host killed", 19.06, missing=2)])
    (line,) = [line for line in text.splitlines() if line.startswith("| leader's host killed ")]
    assert "| 19.1 (20.1) | 0.4 | 31 | 900 | 2 | 0.0 | 1.5 | 2026-11-28, abc1234 |" in line


def test_what_was_not_run_says_so(page):
    text = page.render([])
    assert text.count("| not run |") == len(page.FAULTS) + len(page.OPERATIONS) + len(page.FURTHER)


def test_every_line_of_a_table_has_all_columns(page):
    lines = [line for line in page.render([outcome("switchover", 2)]).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(page.COLUMNS) + 1}

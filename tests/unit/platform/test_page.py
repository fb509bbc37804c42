"""The page of results: the newest result of each row, and what was not run says so."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MODULES = ("page", "faults", "operations", "running", "ledger", "witness", "results")
MODULES += ("kafka_faults", "kafka_ledger", "rabbitmq_faults", "rabbitmq_ledger")
MODULES += ("redis_faults", "redis_ledger", "files_ledger", "kubernetes_faults", "kubernetes_ledger")
MODULES += ("kubernetes_conformance",)


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
    products = ((page.FAULTS, page.OPERATIONS, page.FURTHER),)
    products += tuple((product.items,) for product in page.PRODUCTS.values())
    assert text.count("| not run |") == sum(len(items) for product in products for items in product)


def test_a_row_without_a_result_here_stays(page):
    before = page.render([outcome("switchover", 2), outcome("leader's postgres killed", 4)])
    after = page.render([outcome("switchover", 3)], page=before)
    assert "| leader's postgres killed | another member takes over | 4.0 (5.0) |" in after
    assert "| switchover | another member takes over | 3.0 (4.0) |" in after
    assert page.render([], page=after) == after


def test_kafka_and_rabbitmq_have_their_own_tables(page):
    common = {"missing": 0, "duplicates": 3, "load": 2.5, "at": "2026-11-28T21:00:00+00:00", "commit": "abc1234"}
    kafka = {"fault": "leader killed", "seconds_gap": 1.24, "seconds_p99": 2.0, "well_seconds": 24.6, **common}
    kafka.update(acknowledged=5000, out_of_order=0)
    rabbitmq = {
        "fault": "rolling restart of RabbitMQ",
        "seconds": 1.1,
        "well_seconds": 80.2,
        "confirmed": 700,
        **common,
    }
    text = page.render([], kafka=[kafka], rabbitmq=[rabbitmq])
    assert (
        "| leader killed | replicas in sync lead | 1.2 | 2 | 25 | 5000 | 0 | 0 | 3 | 2.5 | 2026-11-28, abc1234 |"
        in text
    )
    assert (
        "| rolling restart of RabbitMQ * | one member after the other, drained first | 1.1 | 80 | 700 | 0 | 3 |" in text
    )


def test_redis_has_its_own_table(page):
    times = {"seconds_haproxy": 5.61, "seconds_sentinel": 6.1, "well_seconds": 20.4, "lost_seconds": 0.31}
    counts = {"acknowledged": 1000, "acknowledged_by_wait": 1700, "missing": 7, "missing_after_wait": 0, "load": 3.0}
    redis = {"fault": "primary killed", **times, **counts, "at": "2026-11-29T11:00:00+00:00", "commit": "abc1234"}
    text = page.render([], redis=[redis])
    assert "| 5.6 | 6.1 | 20 | 2700 | 0 | 7 (0.3) | 3.0 | 2026-11-29, abc1234 |" in text


def test_file_storage_has_its_own_table(page):
    counts = {"acknowledged": 1712, "wrong": 76, "oldest_wrong_seconds": 3.31, "load": 40.0, "commit": "abc1234"}
    times = {"seconds": 238.4, "well_seconds": 240.2, "at": "2026-11-29T07:00:00+00:00"}
    text = page.render([], files=[{"fault": "primary's host lost", **times, **counts}])
    assert "| 238.4 | 240 | 1712 | 76 | 3.3 | 40.0 | 2026-11-29, abc1234 |" in text


def test_kubernetes_tells_the_api_from_the_workload(page):
    found = {
        "fault": "API server killed",
        "seconds_api": 1.26,
        "seconds_http": 0.31,
        "well_seconds": 31.2,
        "answered": 900,
        "failed": 0,
        "acknowledged": 400,
        "refused": 2,
        "missing": 0,
        "load": 2.5,
        "at": "2026-11-29T11:00:00+00:00",
        "commit": "abc1234",
    }
    assert "| 1.3 | 0.3 | 31 | 900 | 0 | 400 | 2 | 0 | 2.5 | 2026-11-29, abc1234 |" in page.render(
        [], kubernetes=[found]
    )


def test_every_line_of_a_table_has_all_columns(page):
    text = page.render([outcome("switchover", 2)])
    parts = re.split("## (?:Kafka|RabbitMQ|Redis|File storage|Kubernetes)\\n", text)
    all_columns = (page.COLUMNS, *(product.columns for product in page.PRODUCTS.values()))
    for part, columns in zip(parts, all_columns, strict=True):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert {line.count("|") for line in lines} == {len(columns) + 1}


def test_runs_are_cut_off_where_a_task_is_shown(page):
    """An import is none: Ansible shows what it brings."""
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")]
    shown = [name for file in files for name in shown_tasks(yaml.safe_load(file.read_text()) or [])]
    operations = [one for part in (page, page.kafka, page.rabbitmq) for one in part.OPERATIONS.values() if one.cut_at]
    assert operations
    for one in operations:
        assert any(one.cut_at[0] in name for name in shown), one.cut_at


def shown_tasks(tasks):
    for task in tasks:
        yield from shown_tasks([inner for part in ("block", "rescue", "always") for inner in task.get(part, [])])
        if not {"block", "ansible.builtin.import_tasks", "ansible.builtin.import_role"} & set(task):
            yield task.get("name", "")

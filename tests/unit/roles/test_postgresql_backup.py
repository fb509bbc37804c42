"""The program behind the backup timers: who acts, what it keeps, what it measures."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

from tests.unit.roles import program

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "postgresql" / "templates" / "pgbackrest-task.j2"


def member(name, role="quorum_standby", state="streaming", lag=0):
    return {"name": name, "role": role, "state": state, "lag": lag}


LEADER = member("database-1", "leader", "running")


@pytest.fixture
def tool():
    return program.load(TEMPLATE, __postgresql_backup_settings_file="/nowhere")


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "restore").mkdir()
    return {
        "stanza": "main",
        "name": "database-2",
        "data": str(tmp_path / "main"),
        "state": str(tmp_path),
        "restore": str(tmp_path / "restore"),
        "guard": str(tmp_path / "guard"),
        "run": str(tmp_path / "run"),
        "jitter": 1800,
    }


@pytest.mark.parametrize(
    ("members", "backup", "check"),
    [
        ([LEADER, member("database-3"), member("database-2")], "database-2", "database-3"),
        ([LEADER, member("database-2", state="stopped"), member("database-3")], "database-3", "database-3"),
        (
            [LEADER, member("database-2", lag=1 << 30), member("database-3", lag="unknown", state="start failed")],
            *["database-1"] * 2,
        ),
        ([], "", ""),
    ],
)
def test_one_member_acts(tool, members, backup, check):
    assert (tool.actor(members, "full"), tool.actor(members, "check")) == (backup, check)


def test_a_timer_on_another_member_does_nothing(tool, settings, monkeypatch, capsys):
    monkeypatch.setattr(tool, "cluster", lambda _settings: [LEADER, member("database-3")])
    monkeypatch.setattr(tool, "backup", lambda *_: pytest.fail("it must not act"))
    tool.act(settings, "full", scheduled=True)
    assert "database-3 does this now" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "stop", "wanted", "error", "done"),
    [
        ("diff", 100, "diff", False, True),
        ("full", 100, "diff", False, True),
        ("diff", 100, "full", False, False),
        ("full", 10, "full", False, False),
        ("full", 100, "full", True, False),
    ],
)
def test_a_backup_that_another_member_has_just_taken_counts(tool, kind, stop, wanted, error, done):
    assert tool.done_lately([{"type": kind, "timestamp": {"stop": stop}, "error": error}], wanted, 50) is done


def test_swap_keeps_the_old_data_and_can_be_repeated_anywhere(tool, settings, tmp_path, capsys):
    old, side = tmp_path / "main", tmp_path / "main.restore"
    old.mkdir()
    (old / "PG_VERSION").write_text("old")
    (tmp_path / "restore" / "request.json").write_text(json.dumps({"id": "one"}))
    with pytest.raises(tool.Failure, match="no side copy"):
        tool.swap(settings)
    side.mkdir()
    (side / "platform_restore.json").write_text(json.dumps({"id": "one"}))
    # Cut off between the two renames.
    old.rename(tmp_path / "main.before-1")
    tool.swap(settings)
    tool.swap(settings)
    assert capsys.readouterr().out.split() == ["changed", "unchanged"]
    assert json.loads((old / "platform_restore.json").read_text()) == {"id": "one"}
    assert (tmp_path / "main.before-1" / "PG_VERSION").read_text() == "old"


def test_wipe_removes_all_or_nothing_is_left_half(tool, settings, tmp_path, capsys):
    (tmp_path / "main" / "base").mkdir(parents=True)
    (tmp_path / "main.wiped" / "base").mkdir(parents=True)
    tool.wipe(settings)
    tool.wipe(settings)
    assert capsys.readouterr().out.split() == ["changed", "unchanged"]
    assert not (tmp_path / "main").exists()
    assert not (tmp_path / "main.wiped").exists()


def test_a_restored_member_forgets_the_target(tool, tmp_path):
    (tmp_path / "postgresql.auto.conf").write_text(
        "work_mem = '8MB'\nrestore_command = 'x'\nrecovery_target_time = '2026'\nprimary_conninfo = 'y'\n"
    )
    (tmp_path / "recovery.signal").touch()
    tool.settle(str(tmp_path))
    assert (tmp_path / "postgresql.auto.conf").read_text() == "work_mem = '8MB'\n"
    assert not (tmp_path / "recovery.signal").exists()


def test_metrics(tool):
    backups = [
        {"type": "full", "timestamp": {"stop": 100}},
        {"type": "diff", "timestamp": {"stop": 200}},
        {"type": "diff", "timestamp": {"stop": 300}, "error": True},
    ]
    checked = {"ok": True, "member": "database-3", "finished": 250, "tables": 4, "rows": 9, "seconds": 7.5}
    lines = tool.metrics(backups, 290, checked, 300).splitlines()
    for line in (
        "postgresql_backups 2",
        'postgresql_backup_last_success_timestamp_seconds{type="diff"} 200',
        'postgresql_backup_last_success_timestamp_seconds{type="full"} 100',
        "postgresql_wal_last_archived_timestamp_seconds 290",
        'postgresql_restore_check_success{member="database-3"} 1',
        'postgresql_restore_check_rows{member="database-3"} 9',
    ):
        assert line in lines


@pytest.mark.parametrize(("code", "told"), [(0, True), (50, False)])
def test_a_backup_that_succeeded_is_told(tool, settings, monkeypatch, code, told):
    lines = []

    def run(line, **_more):
        lines.append(line)
        return types.SimpleNamespace(returncode=code if line[0] == "pgbackrest" else 1)

    monkeypatch.setattr(tool.subprocess, "run", run)
    monkeypatch.setattr(tool.os.path, "exists", lambda path: path == tool.METRIC)
    monkeypatch.setattr(tool, "information", lambda settings: {"backup": []})
    monkeypatch.setattr(tool, "status", lambda settings: None)
    tool.backup(settings, "full", scheduled=True)
    assert ([tool.METRIC, "BackupSucceeded", "1", "backup=postgresql"] in lines) is told

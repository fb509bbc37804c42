"""pending_restarts: a unit is pending when a file changed after its main process started."""

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.selfhosted.ec2.plugins.modules import pending_restarts as module

SHOWN = """\
MainPID=71
ExecMainStartTimestamp={start}
Id=ssh.service
Names=ssh.service sshd.service
ActiveState={state}
ActiveEnterTimestamp={start}

MainPID=0
ExecMainStartTimestamp=
Id=nosuch.service
Names=nosuch.service
ActiveState=inactive
ActiveEnterTimestamp=
"""


def text(moment):
    whole = time.strftime("%a %Y-%m-%d %H:%M:%S", time.gmtime(moment))
    return f"{whole}.{int(moment % 1 * 1e6):06d} UTC"


def judge(units, start, state="active"):
    return module.judge(units, module.parse_show(SHOWN.format(start=text(start), state=state)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "app.conf"
    path.write_text("x")
    return path


def test_older_process_is_pending_and_says_why(file):
    result = judge([{"name": "sshd", "files": [str(file)]}], file.stat().st_ctime - 0.5)
    assert (result["pending"], result["running"]) == (["sshd"], ["sshd"])
    assert (result["reasons"], result["reloads"]) == ({"sshd": [str(file)]}, [])


def test_newer_process_is_not(file):
    result = judge([{"name": "ssh.service", "files": [str(file)]}], file.stat().st_ctime + 0.5)
    assert (result["pending"], result["running"], result["reasons"]) == ([], ["ssh.service"], {})


@pytest.mark.parametrize(("reloaded", "expected"), [(-1, ["ssh"]), (-0.25, ["ssh"]), (0.25, [])])
def test_a_reload_is_due_when_a_file_is_newer_than_the_last_start_and_reload(file, reloaded, expected):
    changed = file.stat().st_ctime
    shown = module.parse_show(SHOWN.format(start=text(changed - 0.5), state="active"))
    shown[0]["StateChangeTimestamp"] = text(changed + reloaded)
    result = module.judge([{"name": "ssh", "files": [], "reload_files": [str(file)]}], shown)
    assert (result["reloads"], result["pending"]) == (expected, [])


def test_a_reload_is_not_due_for_what_does_not_run_or_started_later(file):
    units = [{"name": name, "files": [], "reload_files": [str(file)]} for name in ("ssh", "nosuch")]
    assert judge(units, file.stat().st_ctime + 0.5)["reloads"] == []
    assert judge(units, 1.0, "failed")["reloads"] == []


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_stopped_unit_is_neither(file, state):
    assert not any(judge([{"name": "ssh", "files": [str(file)]}], 1.0, state).values())


def test_unknown_unit_and_absent_files(file):
    units = [{"name": "nosuch", "files": [str(file)]}, {"name": "ssh", "files": ["/does/not/exist", "/nor/*.conf"]}]
    result = judge(units, 1.0)
    assert (result["pending"], result["running"], result["reasons"]) == ([], ["ssh"], {})


@pytest.mark.parametrize(("told", "disabled"), [("disabled", ["ssh"]), ("enabled", []), ("static", []), ("", [])])
def test_what_runs_but_would_not_after_a_boot(told, disabled):
    shown = module.parse_show(SHOWN.format(start=text(5.0), state="active"))
    shown[0]["UnitFileState"] = told
    assert module.judge([{"name": "ssh", "files": []}], shown)["disabled"] == disabled


def test_patterns_and_links(tmp_path, file):
    deep = tmp_path / "d/e/deep.conf"
    deep.parent.mkdir(parents=True)
    deep.write_text("x")
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    found = module.newer_files([f"{tmp_path}/**/*.conf", f"{tmp_path}/link", f"{tmp_path}/dangling"], 1.0)
    assert found == [str(file), str(deep), f"{tmp_path}/link"]


def test_change_of_owner_or_content_counts_but_not_of_mtime_back(file):
    os.utime(file, (1, 1))
    assert module.newer_files([str(file)], time.time() - 60) == [str(file)]


def test_a_unit_that_waits_to_start_again_does_not_run():
    waiting = {"ActiveState": "activating", "MainPID": "0", "ExecMainStartTimestamp": text(5.0)}
    assert module.start_time(waiting) is None
    assert module.start_time(dict(waiting, MainPID="12")) == 5.0


def test_a_oneshot_that_stays_active_counts():
    unit = {"ActiveState": "active", "MainPID": "0", "ExecMainStartTimestamp": "", "ActiveEnterTimestamp": text(7.25)}
    assert module.start_time(unit) == 7.25


def test_names():
    assert module.full_name("etcd") == "etcd.service"
    assert module.full_name("srv-data.mount") == "srv-data.mount"
    assert module.full_name("postgresql@17-main") == "postgresql@17-main.service"
    assert module.full_name("app-1.2") == "app-1.2.service"


def test_times():
    assert module.parse_time("Sun 2026-11-22 18:48:23.250000 UTC") == 1795373303.25
    assert module.parse_time("") == 0.0
    assert module.parse_time("n/a") == 0.0

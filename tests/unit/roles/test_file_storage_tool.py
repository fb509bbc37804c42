"""The program that each member of the file storage runs: who takes writes, what is copied, kept and measured."""

from __future__ import annotations

import json
import threading
import types
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.roles import program

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "file_storage" / "templates" / "file-storage.py.j2"


@pytest.fixture
def tool():
    return program.load(TEMPLATE, __file_storage_base="/nowhere")


@pytest.fixture
def settings(tmp_path):
    for name in ("data", "state", "run", "metrics"):
        (tmp_path / name).mkdir()
    return {
        "name": "files-1",
        "domain": "trading.internal",
        "region": "eu-west-1",
        "table": "trading-lock",
        "record": "file_storage:file_storage",
        "members": {"files-1": "files-1.trading.internal", "files-2": "files-2.trading.internal"},
        "user": "nobody",
        "base": "/etc/file-storage",
        "directory": str(tmp_path),
        "role_file": str(tmp_path / "run" / "role.env"),
        "gateway_unit": "file-storage-gateway",
        "copy_interval": 5,
        "copy_bound": 60,
        "metrics": str(tmp_path / "metrics" / "file_storage.prom"),
        "quotas": {"reports": 0.5},
        "volume_id": "vol-1",
        "volume_tags": {"platform": "trading", "slot": "files-1", "volume": "files"},
        "snapshots_keep": 2,
    }


def own(settings, member="files-1"):
    path = Path(settings["directory"]) / "identity.json"
    path.write_text(json.dumps({"member": member, "domain": "trading.internal"}))


def record(primary="files-1", epoch=7):
    return {"primary": primary, "next": "", "epoch": epoch}


class Dynamodb:
    def __init__(self, item):
        self.item = item

    def get_item(self, **arguments):
        assert arguments["ConsistentRead"] is True
        if isinstance(self.item, Exception):
            raise self.item
        return {"Item": self.item} if self.item else {}


def test_record_is_read(tool, settings):
    item = {"name": {"S": "x"}, "primary": {"S": ""}, "next": {"S": "files-2"}, "epoch": {"N": "9"}}
    assert tool.read_record(settings, Dynamodb(item)) == {"primary": "", "next": "files-2", "epoch": 9}


@pytest.mark.parametrize("item", [{}, OSError("no route")])
def test_without_an_answer_nothing_is_decided(tool, settings, item):
    with pytest.raises(tool.Fault):
        tool.read_record(settings, Dynamodb(item))


def test_guard_lets_the_primary_write(tool, settings, monkeypatch):
    own(settings)
    monkeypatch.setattr(tool, "read_record", lambda _settings: record())
    tool.guard(settings)
    assert Path(settings["role_file"]).read_text() == "VGW_READ_ONLY=false\nVGW_HEALTH=/primary\nFILE_STORAGE_EPOCH=7\n"
    assert tool.read_role(settings) == {"role": "primary", "epoch": 7}


@pytest.mark.parametrize("primary", ["files-2", ""])
def test_guard_makes_all_others_read_only(tool, settings, monkeypatch, primary):
    monkeypatch.setattr(tool, "read_record", lambda _settings: record(primary))
    tool.guard(settings)
    assert Path(settings["role_file"]).read_text().startswith("VGW_READ_ONLY=true\nVGW_HEALTH=/standby\n")


def test_guard_refuses_an_empty_volume_under_an_old_identity(tool, settings, monkeypatch):
    monkeypatch.setattr(tool, "read_record", lambda _settings: record())
    with pytest.raises(tool.Fault, match="does not hold the store"):
        tool.guard(settings)
    assert not Path(settings["role_file"]).exists()


def test_guard_refuses_the_volume_of_another_member(tool, settings, monkeypatch):
    own(settings, "files-2")
    monkeypatch.setattr(tool, "read_record", lambda _settings: record("files-2"))
    with pytest.raises(tool.Fault, match=r"The volume belongs to files-2 of trading\.internal"):
        tool.guard(settings)


def test_guard_asks_once_a_boot(tool, settings, monkeypatch):
    own(settings)
    Path(settings["role_file"]).write_text(tool.role_text(settings, record()))
    monkeypatch.setattr(tool, "read_record", lambda _settings: pytest.fail("asked again"))
    tool.guard(settings)


def test_a_demoted_primary_restarts_its_gateway(tool, settings, monkeypatch):
    own(settings)
    Path(settings["role_file"]).write_text(tool.role_text(settings, record()))
    commands = []
    monkeypatch.setattr(tool.subprocess, "run", lambda command, **_options: commands.append(command))
    assert tool.follow(settings, record("")) is True
    assert commands == [["systemctl", "restart", "file-storage-gateway"]]
    assert tool.follow(settings, record("files-2", 8)) is False
    assert tool.read_role(settings) == {"role": "standby", "epoch": 8}


@pytest.fixture
def copied(tool, settings, monkeypatch):
    """The commands of passes, and the code with which rsync ends."""
    commands, code = [], [0]

    def run(command, **_options):
        commands.append(command)
        return types.SimpleNamespace(returncode=code[0], stderr="no\nroute")

    monkeypatch.setattr(tool.subprocess, "run", run)
    monkeypatch.setattr(tool, "user_ids", lambda _settings: {})
    return types.SimpleNamespace(commands=commands, code=code)


def test_the_first_pass_under_a_new_primary_keeps_aside_what_it_removes(tool, settings, copied):
    state = tool.run_pass(settings, record("files-2", 8), "files-2")
    tool.run_pass(settings, record("files-2", 8), "files-2")
    first, second = [command for command in copied.commands if command[0] == "rsync"]
    assert f"--backup-dir={settings['directory']}/aside/epoch-8" in first
    assert not [word for word in second if word.startswith("--backup")], (
        "what the primary deletes later is only deleted"
    )
    assert first[-2:] == ["rsync://files-2.trading.internal/data/", f"{settings['directory']}/data/"]
    assert state["started"] <= state["finished"]
    assert {"--xattrs", "--delete-delay", "--modify-window=-1"} <= set(second)


def test_the_first_whole_copy_ties_the_volume_to_its_member(tool, settings, copied):
    directory = Path(settings["directory"])
    (directory / "joining.json").write_text("{}")
    copied.code[0] = 12
    with pytest.raises(tool.Fault):
        tool.run_pass(settings, record("files-2", 8), "files-2")
    assert not (directory / "identity.json").exists()
    copied.code[0] = 0
    tool.run_pass(settings, record("files-2", 8), "files-2")
    # In the form in which the role writes it, which then changes nothing.
    text = '{\n    "domain": "trading.internal",\n    "member": "files-1"\n}\n'
    assert (directory / "identity.json").read_text() == text
    assert not (directory / "joining.json").exists()


def test_files_that_vanish_under_way_are_no_failure(tool, settings, copied):
    copied.code[0] = 24
    assert tool.run_pass(settings, record("files-2", 8), "files-2")["epoch"] == 8


def test_a_pass_that_fails_says_so_and_keeps_the_old_state(tool, settings, copied):
    copied.code[0] = 12
    with pytest.raises(tool.Fault, match=r"The copy from files-2 failed \(12\): no route"):
        tool.run_pass(settings, record("files-2", 8), "files-2")
    assert not (Path(settings["directory"]) / "state" / "copy.json").exists()


def test_buckets_are_measured(tool, settings):
    bucket = Path(settings["directory"]) / "data" / "reports"
    (bucket / "daily").mkdir(parents=True)
    (bucket / ".sgwtmp").mkdir()
    (bucket / ".sgwtmp" / "part").write_text("not an object")
    (bucket / "daily" / "one").write_text("12345")
    sizes = tool.measure(str(bucket.parent))
    assert sizes == {"reports": (5, 1)}
    text = tool.metrics_text(settings, "standby", 7, {"started": 10, "finished": 12.5}, False, sizes, {"at": 3})
    assert 'file_storage_bucket_bytes{bucket="reports"} 5\n' in text
    assert 'file_storage_bucket_quota_bytes{bucket="reports"} 536870912\n' in text
    assert "file_storage_copied_until_timestamp_seconds 10.000\n" in text
    assert "file_storage_primary 0\n" in text
    assert "snapshot_timestamp" not in text


def test_snapshots_are_due_from_the_moment_on_in_which_a_member_became_the_primary(tool, settings):
    text = tool.metrics_text(settings, "primary", 7, {"started": 10, "finished": 12}, False, {}, {})
    assert "copied_until" not in text
    assert "file_storage_snapshot_timestamp_seconds 7.000\n" in text
    for at, shown in ((3, 7), (9, 9)):
        text = tool.metrics_text(settings, "primary", 7, {}, False, {}, {"at": at})
        assert f"file_storage_snapshot_timestamp_seconds {shown}.000\n" in text


class Ec2:
    def __init__(self, snapshots):
        self.snapshots, self.deleted, self.made = snapshots, [], []

    def create_snapshot(self, **arguments):
        self.made.append(arguments)
        return {"SnapshotId": "snap-new"}

    def get_paginator(self, _name):
        return self

    def paginate(self, **arguments):
        assert arguments["OwnerIds"] == ["self"]
        assert {"Name": "tag:platform", "Values": ["trading"]} in arguments["Filters"]
        return [{"Snapshots": self.snapshots}]

    def delete_snapshot(self, **arguments):
        self.deleted.append(arguments["SnapshotId"])


def test_snapshot_by_the_primary_alone_and_the_oldest_go(tool, settings, monkeypatch):
    now = datetime.now(UTC)
    old = [
        {"SnapshotId": f"snap-{age}", "State": state, "StartTime": now - timedelta(hours=age)}
        for age, state in ((3, "completed"), (1, "completed"), (2, "completed"), (0, "pending"))
    ]
    ec2 = Ec2(old)
    monkeypatch.setattr(tool, "sync_disk", lambda _settings: None)
    tool.write_role(settings, tool.role_text(settings, record("files-2")))
    tool.snapshot(settings, ec2)
    assert ec2.made == []
    tool.write_role(settings, tool.role_text(settings, record()))
    tool.snapshot(settings, ec2)
    (made,) = ec2.made
    assert made["VolumeId"] == "vol-1"
    assert {"Key": "slot", "Value": "files-1"} in made["TagSpecifications"][0]["Tags"]
    assert ec2.deleted == ["snap-3"]


def test_a_move_waits_for_the_pass_that_runs(tool, settings, monkeypatch):
    own(settings)
    Path(settings["role_file"]).write_text(tool.role_text(settings, record("files-2")))
    order = []
    monkeypatch.setattr(tool, "load", lambda _path: settings)
    monkeypatch.setattr(tool, "read_record", lambda _settings: record("files-1", 8))
    monkeypatch.setattr(tool, "follow", lambda *_arguments: order.append("promoted"))
    move = threading.Thread(target=tool.main, args=(["role"],))
    with tool.alone(settings):
        move.start()
        move.join(0.3)
        order.append("copied")
    move.join(5)
    assert order == ["copied", "promoted"]

"""Files are kept once, brought back as they were, and a change that was cut off never takes its own half for them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from ansible_collections.selfhosted.ec2.plugins.modules import kept_files


@pytest.fixture
def place(tmp_path):
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "etcd.yaml").write_text("old")
    (tmp_path / "config.yaml").write_text("old")
    return tmp_path


def run(place, state, check_mode=False):
    params = {
        "directory": str(place / "before"),
        "files": [str(place / "manifests/*.yaml"), str(place / "config.yaml")],
        "state": state,
    }
    return [path.removeprefix(str(place) + "/") for path in kept_files.run(params, check_mode)]


def test_what_was_kept_first_comes_back_and_what_came_besides_goes(place):
    assert run(place, "kept") == ["config.yaml", "manifests/etcd.yaml"]
    (place / "manifests/etcd.yaml").write_text("half")
    assert run(place, "kept") == []
    (place / "manifests/api.yaml").write_text("new")
    assert run(place, "restored") == ["manifests/etcd.yaml", "manifests/api.yaml"]
    assert [path.name for path in (place / "manifests").iterdir()] == ["etcd.yaml"]
    assert (place / "manifests/etcd.yaml").read_text() == "old"
    assert run(place, "restored") == []
    assert run(place, "dropped") == ["before"] and run(place, "dropped") == []


def test_copies_that_were_cut_off_do_not_count(place):
    (place / "before.new").mkdir()
    (place / "before.new/1-etcd.yaml").write_text("half")
    assert run(place, "kept")
    assert (place / "before/1-etcd.yaml").read_text() == "old"


def test_files_of_one_name_are_kept_apart(tmp_path):
    params = {"directory": str(tmp_path / "before"), "files": [str(tmp_path / "*/ca.crt")]}
    files = [tmp_path / "etcd/ca.crt", tmp_path / "pki/ca.crt"]
    for file in files:
        file.parent.mkdir()
        file.write_text(str(file))
    assert kept_files.run({**params, "state": "kept"}, False) == [str(file) for file in files]
    for file in files:
        file.write_text("other")
    assert kept_files.run({**params, "state": "restored"}, False) == [str(file) for file in files]
    assert [file.read_text() for file in files] == [str(file) for file in files]


def test_a_file_that_has_gone_comes_back(place):
    run(place, "kept")
    (place / "config.yaml").unlink()
    assert run(place, "restored", check_mode=True) == ["config.yaml"]
    assert not (place / "config.yaml").exists()
    assert run(place, "restored") == ["config.yaml"]


def test_a_file_comes_back_into_a_directory_that_is_a_mount(place, monkeypatch):
    """No file can be renamed across its edge, and whoever watches the directory sees no name without a dot before."""
    renamed = []
    rename = os.rename

    def within_one_directory(source, target):
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link", source, None, target)
        renamed.append(Path(source).name)
        rename(source, target)

    run(place, "kept")
    (place / "manifests/etcd.yaml").write_text("new")
    monkeypatch.setattr(os, "rename", within_one_directory)
    monkeypatch.setattr(os, "replace", within_one_directory)
    assert run(place, "restored") == ["manifests/etcd.yaml"]
    assert (place / "manifests/etcd.yaml").read_text() == "old"
    assert [name for name in renamed if not name.startswith(".")] == []


def test_a_key_is_nobody_elses_to_read_at_any_moment(place, monkeypatch):
    """Also not when the disk is full in the middle, and then nothing of it is left."""
    manifest, seen = place / "manifests/etcd.yaml", []
    manifest.chmod(0o600)
    run(place, "kept")
    manifest.write_text("new")

    def full(*_arguments):
        seen.extend((path.name, path.stat().st_mode & 0o777) for path in (place / "manifests").iterdir())
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "rename", "replace"):
        monkeypatch.setattr(os, name, full)
    monkeypatch.setattr(shutil, "copystat", full)
    with pytest.raises(OSError, match="No space"):
        run(place, "restored")
    assert len(seen) == 2 and {mode for _name, mode in seen} == {0o600}
    assert [path.name for path in (place / "manifests").iterdir()] == ["etcd.yaml"]
    monkeypatch.undo()
    assert run(place, "restored") == ["manifests/etcd.yaml"]
    assert (manifest.read_text(), manifest.stat().st_mode & 0o777) == ("old", 0o600)


def test_nothing_is_brought_back_that_was_not_kept(place):
    with pytest.raises(OSError, match="index.json"):
        run(place, "restored")


def test_check_mode_keeps_nothing(place):
    assert run(place, "kept", check_mode=True)
    assert not (place / "before").exists()

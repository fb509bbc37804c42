"""A copy of a volume is of one moment: it is made again when the kernel wrote meanwhile."""

from __future__ import annotations

import pytest

from lab import volumes


@pytest.fixture
def copies(monkeypatch):
    made = []
    monkeypatch.setattr(volumes, "loop_of", lambda file: "/dev/loop0")
    monkeypatch.setattr(volumes, "_copy", lambda source, target: made.append(target))
    return made


def test_a_copy_is_made_again_until_nothing_was_written(monkeypatch, copies, tmp_path):
    counters = iter([1, 2, 2, 2])
    monkeypatch.setattr(volumes, "_writes", lambda device: [next(counters)])
    volumes.copy_still(tmp_path / "vol", tmp_path / "copy")
    assert len(copies) == 2


def test_a_volume_that_is_always_written_to_is_not_copied(monkeypatch, copies, tmp_path):
    counters = iter(range(100))
    monkeypatch.setattr(volumes, "_writes", lambda device: [next(counters)])
    with pytest.raises(volumes.VolumeError, match="was written to during each of 3 copies"):
        volumes.copy_still(tmp_path / "vol", tmp_path / "copy", tries=3)
    assert len(copies) == 3

"""What a lab changes of the machine, it gives back."""

from __future__ import annotations

from lab import machine


def test_the_machines_limit_comes_back(tmp_path):
    limit, kept = tmp_path / "limit", tmp_path / "kept"
    limit.write_text("128\n")
    machine.allow_watchers(kept, limit)
    machine.allow_watchers(kept, limit)
    assert int(limit.read_text()) == machine.ENOUGH_WATCHERS
    machine.restore_watchers(kept, limit)
    assert limit.read_text() == "128\n" and not kept.exists()


def test_a_machine_that_allows_enough_is_left_alone(tmp_path):
    limit, kept = tmp_path / "limit", tmp_path / "kept"
    limit.write_text("65536\n")
    machine.allow_watchers(kept, limit)
    machine.restore_watchers(kept, limit)
    assert limit.read_text() == "65536\n" and not kept.exists()

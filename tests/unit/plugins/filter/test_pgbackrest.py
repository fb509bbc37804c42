"""What of a restore is refused before anything is done, and what it says in the end."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.filter.pgbackrest import (
    check_refusal,
    restore_id,
    restore_refusal,
    restore_summary,
)

MEMBERS = ["database-1", "database-2", "database-3"]
GOOD = {"type": "time", "target": "2026-11-22 14:05:00+00", "promote": True, "confirm": "main", "wait": 3600}


def refusal(present=MEMBERS, enabled=True, **change):
    restore = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    return restore_refusal(restore, "main", MEMBERS, present, enabled)


def test_a_whole_and_confirmed_restore_is_accepted():
    assert refusal() == ""
    assert refusal(promote=False, confirm=None) == ""
    assert refusal(type="latest", target=None) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"confirm": None}, "confirm it by postgresql_restore.confirm: main (it is not set)"),
        ({"confirm": "yes"}, "(it is yes)"),
        ({"type": None}, "postgresql_restore.type is not set"),
        ({"target": None}, "postgresql_restore.target must say which"),
        ({"type": "latest"}, "has no target"),
        ({"host": "edge-1"}, "give one of database-1, database-2, database-3"),
        ({"present": MEMBERS[:2]}, "database-3 took no part in this run"),
        ({"enabled": False}, "no repository to restore from"),
    ],
)
def test_others_are_refused(change, words):
    assert words in refusal(**change)


def test_the_same_target_is_the_same_restore():
    assert restore_id(GOOD) == restore_id({**GOOD, "confirm": "other", "promote": False, "wait": 1})
    assert restore_id(GOOD) != restore_id({**GOOD, "target": "2026-11-22 14:06:00+00"})
    assert restore_id({**GOOD, "id": "again"}) == "again"


def test_summary():
    side = {"ok": True, "tables": 2, "rows": 30, "last_commit": 1795348800, "timeline": 3, "seconds": 7.5}
    text = restore_summary(GOOD, side, "database-2", "/data", "database-2")
    assert "2 tables with 30 rows, the last commit of 2026-11-22 12:00:00+00, timeline 3" in text
    assert "side copy is /data.restore on database-2" in restore_summary(
        {**GOOD, "promote": False}, side, "database-2", "/data", "database-1"
    )


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ([{}, {}], "No restore check has been made"),
        ([{}, {"finished": 1000, "ok": True, "member": "database-3"}], ""),
        ([{"finished": 1000, "ok": False, "member": "database-3", "error": "no space"}], "failed: no space"),
        (
            [
                {"finished": 1, "ok": False, "member": "database-1"},
                {"finished": 1000, "ok": True, "member": "database-3"},
            ],
            "",
        ),
        ([{"finished": -90000, "ok": True, "member": "database-3"}], "is 25 h old, more than 24 h"),
    ],
)
def test_restore_checks_that_do_not_count(checks, words):
    said = check_refusal(checks, 86400, 2000)
    assert words in said
    assert bool(said) == bool(words)

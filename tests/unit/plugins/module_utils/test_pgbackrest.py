"""Which targets a repository can be restored to, and what is said of the others."""

from __future__ import annotations

import json

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import pgbackrest

NOON = 1795348800  # 2026-11-22 12:00:00 UTC
HOUR = 3600


def backup(hour, timeline=1, lsn="0/1000000", **more):
    return {
        "label": f"backup-{hour}",
        "type": "full",
        "start": NOON + hour * HOUR - 60,
        "stop": NOON + hour * HOUR,
        "lsn_stop": lsn,
        "timeline": timeline,
        "size": 100,
        "error": False,
        "version": "2.55.1",
        **more,
    }


BACKUPS = [backup(0, lsn="0/1000000"), backup(4, lsn="0/4000000")]


def choose(kind, value=None, backups=BACKUPS, timeline=1, history=(), **more):
    target = {"type": kind, "target": value, **more}
    return pgbackrest.choose(target, backups, timeline, list(history), NOON + 8 * HOUR)["label"]


@pytest.mark.parametrize(
    ("kind", "value", "chosen"),
    [
        ("time", "2026-11-22 13:00:00+00", "backup-0"),
        ("time", "2026-11-22T16:00:01Z", "backup-4"),
        ("time", "2026-11-22 18:30:00.5+02", "backup-4"),
        ("time", "2026-11-22 18:30:00+05:30", "backup-0"),
        ("lsn", "0/3FFFFFF", "backup-0"),
        ("lsn", "1/0", "backup-4"),
        ("xid", "1234", "backup-4"),
        ("name", "before-migration", "backup-4"),
        ("latest", None, "backup-4"),
        ("immediate", None, "backup-4"),
    ],
)
def test_the_last_backup_before_the_target_is_chosen(kind, value, chosen):
    assert choose(kind, value) == chosen


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("time", "2026-11-22 11:59:00+00", "before the end of the oldest backup, 2026-11-22 12:00:00+00 (backup-0)"),
        ("time", "2026-11-22 20:00:01+00", "is in the future; it is 2026-11-22 20:00:00+00"),
        ("time", "2026-11-22 13:00:00", "give it with its offset"),
        ("time", "2026-13-22 13:00:00+00", "is no time"),
        ("time", "yesterday", "cannot be read"),
        ("lsn", "0/FFFFFF", "before the end of the oldest backup, 0/1000000"),
        ("lsn", "5000028", "cannot be read"),
        ("xid", "0x12", "is no number"),
        ("name", "a'; DROP", "cannot be a restore point"),
    ],
)
def test_a_target_that_cannot_be_reached_is_refused(kind, value, words):
    with pytest.raises(pgbackrest.BackrestError, match=".") as error:
        choose(kind, value)
    assert words in str(error.value)


def test_a_backup_that_is_named_is_the_only_one():
    assert choose("latest", set="backup-0") == "backup-0"
    with pytest.raises(pgbackrest.BackrestError, match="there are backup-0, backup-4"):
        choose("latest", set="backup-9")


# Timeline 1 was left at 0/2000000 for 13:00; the restore that made timeline 2 took place at 15:00.
HISTORY = "1\t0/2000000\tbefore 2026-11-22 13:00:00.25+00\n"


def test_backups_of_the_branch_that_was_left_do_not_count():
    history = pgbackrest.branches(HISTORY)
    backups = [BACKUPS[0], backup(2, lsn="0/3000000"), backup(5, timeline=2, lsn="0/2800000")]
    assert [entry["label"] for entry in pgbackrest.ancestry(backups, 2, history)] == ["backup-0", "backup-5"]
    assert [entry["label"] for entry in pgbackrest.ancestry(backups, 1, [])] == ["backup-0", "backup-2"]
    assert choose("time", "2026-11-22 16:30:00+00", backups, 2, history) == "backup-0"
    with pytest.raises(pgbackrest.BackrestError, match="no backup on the way to timeline 3"):
        choose("latest", None, [BACKUPS[1]], 3, history)


@pytest.mark.parametrize(
    ("moment", "left"),
    [("2026-11-22 12:59:00+00", None), ("2026-11-22 14:00:00+00", 1), ("2026-11-22 15:30:00+00", None)],
)
def test_a_time_on_a_branch_that_was_left_is_told(moment, left):
    history = pgbackrest.branches(HISTORY)
    times = {2: NOON + 3 * HOUR}
    assert pgbackrest.abandoned(pgbackrest.parse_time(moment), 2, history, times) == left


def test_a_failover_leaves_no_branch():
    history = pgbackrest.branches("1\t0/2000000\tno recovery target specified\n")
    assert pgbackrest.abandoned(NOON, 2, history, {2: NOON + HOUR}) is None


def test_broken_backups_do_not_count():
    assert choose("latest", None, [BACKUPS[0], backup(4, lsn="0/4000000", error=True)]) == "backup-0"


@pytest.mark.parametrize(
    ("backups", "words"),
    [([], "has no backup"), ([backup(0)], "ended 8 h ago, more than 2 h"), ([backup(7)], "")],
)
def test_backups_grow_stale(backups, words):
    said = pgbackrest.stale(backups, NOON + 8 * HOUR, 2 * HOUR)
    assert words in said
    assert bool(said) == bool(words)


def test_an_unknown_stanza_is_empty():
    found = pgbackrest.stanza_of("[]", "main")
    assert (found["code"], found["backups"], found["system_ids"]) == (pgbackrest.MISSING_PATH, [], [])


def test_information_is_read():
    text = json.dumps(
        [
            {
                "name": "main",
                "status": {"code": 0, "message": "ok"},
                "cipher": "aes-256-cbc",
                "db": [{"id": 1, "system-id": 7000, "version": "17"}],
                "archive": [{"id": "17-1", "min": "1", "max": "000000020000000000000009"}],
                "backup": [
                    {
                        "label": "20261122-120000F",
                        "type": "full",
                        "error": False,
                        "timestamp": {"start": NOON - 60, "stop": NOON},
                        "lsn": {"start": "0/2", "stop": "0/3000000"},
                        "archive": {"start": "1", "stop": "000000020000000000000003"},
                        "info": {"size": 42},
                        "backrest": {"version": "2.55.1"},
                    }
                ],
            }
        ]
    )
    found = pgbackrest.stanza_of(text, "main")
    assert found["system_ids"] == [7000]
    assert (found["backups"][0]["timeline"], found["backups"][0]["size"]) == (2, 42)


def test_a_failed_command_says_why():
    def runner(arguments):
        assert arguments == ["pgbackrest", "--stanza=main", "--output=json", "info"]
        return 55, "", "P00   WARN: x\nP00  ERROR: [055]: unable to load info file\n       HINT: y"

    with pytest.raises(pgbackrest.BackrestError, match=r"info ended with 55: \[055\]: unable to load info file$"):
        pgbackrest.info(runner, "main")

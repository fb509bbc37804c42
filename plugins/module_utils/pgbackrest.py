# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pgBackRest (2.55): what a repository holds, and which targets it can be restored to."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone

#: Status codes of a stanza in C(pgbackrest info --output=json) (pgBackRest, src/command/info/info.c).
OK, MISSING_PATH, NO_BACKUP, MISSING_DATA, MIXED, MISMATCH, OTHER = 0, 1, 2, 3, 4, 5, 99
#: What recovery may end at (PostgreSQL 17, "Recovery Target").
TARGETS = ("latest", "immediate", "time", "xid", "lsn", "name")
LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})\Z")
#: Names of restore points have at most 63 bytes (PostgreSQL 17, pg_create_restore_point).
RESTORE_POINT = re.compile(r"[A-Za-z0-9_.:-]{1,63}\Z")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}(:?\d{2})?)\Z")
#: Why a restore to a time began a timeline: the first commit it left out (PostgreSQL 17, getRecoveryStopReason).
STOPPED = re.compile(r"(?:before|after) (\d{4}-\d{2}-\d{2} [0-9:.]+[+-][0-9:]+)\Z")
#: A line of a history file: the timeline that was left, where, and why.
BRANCH = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)\s+(.*)$", re.MULTILINE)


class BackrestError(Exception):
    """A command of pgBackRest failed, or a target cannot be restored to; the text is one sentence."""


def run(runner, *arguments):
    """Return what a command of pgBackRest prints.

    :arg runner: takes a list of arguments, returns exit code, output and error output.
    :raises BackrestError: it failed.
    """
    code, out, err = runner(["pgbackrest", *arguments])
    if code != 0:
        raise BackrestError(f"pgbackrest {arguments[-1]} ended with {code}: {reason(err or out)}")
    return out


def info(runner, stanza):
    """Return the JSON text that pgBackRest says of a stanza.

    :raises BackrestError: the repository does not answer.
    """
    return run(runner, f"--stanza={stanza}", "--output=json", "info")


def reason(text):
    """Return the part of pgBackRest's messages that says what is wrong, in one line.

    >>> reason("P00   WARN: x\\nP00  ERROR: [028]: backup info file does not match\\n  HINT: is this right?")
    '[028]: backup info file does not match'
    """
    for line in text.splitlines():
        if "ERROR: " in line:
            return line.partition("ERROR: ")[2].strip()
    return " ".join(text.split())[:300] or "no message"


def stanza_of(text, name):
    """Return what C(info --output=json) says of one stanza.

    :returns: dict with C(code) and C(message) of its status, C(backups) (oldest first), C(system_ids),
        C(archive_max) (last WAL file in the repository, or ""), C(cipher).
    """
    found = next((entry for entry in json.loads(text) if entry["name"] == name), None)
    if found is None:
        return {
            "code": MISSING_PATH,
            "message": "missing stanza path",
            "backups": [],
            "system_ids": [],
            "archive_max": "",
            "cipher": "",
        }
    archives = [entry.get("max") or "" for entry in found.get("archive") or []]
    return {
        "code": found["status"]["code"],
        "message": found["status"]["message"],
        "backups": [backup_view(entry) for entry in found.get("backup") or []],
        "system_ids": [entry["system-id"] for entry in found.get("db") or []],
        "archive_max": archives[-1] if archives else "",
        "cipher": found.get("cipher", ""),
    }


def backup_view(entry):
    """Return the parts of a backup that matter here; times are seconds since 1970."""
    archive = entry.get("archive") or {}
    return {
        "label": entry["label"],
        "type": entry["type"],
        "start": entry["timestamp"]["start"],
        "stop": entry["timestamp"]["stop"],
        "lsn_stop": (entry.get("lsn") or {}).get("stop", ""),
        "timeline": int((archive.get("stop") or "0" * 8)[:8], 16),
        "size": entry["info"]["size"],
        "error": bool(entry.get("error")),
        "version": entry["backrest"]["version"],
    }


def parse_time(text):
    """Return seconds since 1970 of a time with its offset from UTC.

    :raises BackrestError: it has another form.
    """
    value = str(text).strip()
    if not TIME.match(value):
        raise BackrestError(
            f"The target time {value!r} cannot be read; give it with its offset, as 2026-11-22 14:05:00+00"
        )
    value = value.replace("Z", "+00:00")
    if re.search(r"[+-]\d{2}\Z", value):
        value += ":00"
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError as error:
        raise BackrestError(f"The target time {text!r} is no time: {error}") from error


def show_time(seconds):
    """Return seconds since 1970 as people and PostgreSQL read them, in UTC.

    >>> show_time(0)
    '1970-01-01 00:00:00+00'
    """
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00")


def lsn_number(text):
    """Return a WAL position as a number.

    :raises BackrestError: it has another form.
    """
    match = LSN.match(str(text).strip())
    if not match:
        raise BackrestError(
            f"The target LSN {text!r} cannot be read; give it as PostgreSQL prints it, such as 0/5000028"
        )
    return (int(match[1], 16) << 32) + int(match[2], 16)


def branches(history):
    """Return the timelines that a history file names: list of dict C(timeline), C(lsn), C(reason), oldest first."""
    return [
        {"timeline": int(number), "lsn": lsn, "reason": text.strip()} for number, lsn, text in BRANCH.findall(history)
    ]


def ancestry(backups, timeline, history):
    """Return the backups that lead to a timeline.

    :arg backups: oldest first.
    :arg timeline: the timeline to recover along.
    :arg history: what C(branches) returns for it. A backup of an earlier timeline counts when it ended before that.
    """
    left = {entry["timeline"]: lsn_number(entry["lsn"]) for entry in history}
    found = []
    for backup in backups:
        on = backup["timeline"]
        if on == timeline or (on in left and lsn_number(backup["lsn_stop"]) <= left[on]):
            found.append(backup)
    return found


def choose(target, backups, timeline, history, now):
    """Return the backup from which a target is reached.

    :arg target: dict C(type), C(target), and perhaps C(set) (a label).
    :arg backups: all backups of the repository, oldest first.
    :arg timeline: the timeline to recover along, and C(history) its branches.
    :arg now: seconds since 1970 on the host that asks.
    :raises BackrestError: none does; the text says why and what would.
    """
    usable = [backup for backup in ancestry(backups, timeline, history) if not backup["error"]]
    if not usable:
        raise BackrestError(
            f"The repository has no backup on the way to timeline {timeline}, so nothing can be restored along it"
        )
    if target.get("set"):
        chosen = [backup for backup in usable if backup["label"] == target["set"]]
        if not chosen:
            labels = ", ".join(backup["label"] for backup in usable)
            raise BackrestError(f"postgresql_restore.set is {target['set']}; on timeline {timeline} there are {labels}")
        usable = chosen
    return _reach(target, usable, now)


def _reach(target, usable, now):
    kind, value = target["type"], target.get("target")
    if kind == "time":
        moment = parse_time(value)
        if moment > now:
            raise BackrestError(f"The target time {value} is in the future; it is {show_time(now)}")
        before = [backup for backup in usable if backup["stop"] < moment]
        if not before:
            raise BackrestError(
                f"The target time {value} is before the end of the oldest backup,"
                f" {show_time(usable[0]['stop'])} ({usable[0]['label']}); give a later one"
            )
        return before[-1]
    if kind == "lsn":
        position = lsn_number(value)
        before = [backup for backup in usable if lsn_number(backup["lsn_stop"]) <= position]
        if not before:
            raise BackrestError(
                f"The target LSN {value} is before the end of the oldest backup, {usable[0]['lsn_stop']}"
                f" ({usable[0]['label']}); give a later one"
            )
        return before[-1]
    if kind == "xid" and not str(value).isdigit():
        raise BackrestError(f"The target transaction {value!r} is no number; give it as pg_current_xact_id() shows it")
    if kind == "name" and not RESTORE_POINT.match(str(value or "")):
        raise BackrestError(
            f"The target name {value!r} cannot be a restore point;"
            " give the name that was given to pg_create_restore_point(), 1 to 63 letters, digits and _.:-"
        )
    return usable[-1]


def abandoned(moment, timeline, history, times):
    """Return the timeline on which a moment lies that a later restore to a time left behind, or None.

    :arg moment: seconds since 1970.
    :arg timeline: the timeline to recover along, and C(history) its branches.
    :arg times: when each timeline began, seconds since 1970, by number.
    """
    following = [entry["timeline"] for entry in history[1:]] + [timeline]
    for entry, successor in zip(history, following):  # noqa: B905
        match = STOPPED.match(entry["reason"])
        began = times.get(successor)
        if match and began and parse_time(match[1]) < moment < began:
            return entry["timeline"]
    return None


def stale(backups, now, max_age):
    """Return why the backups are too old, as a sentence, or an empty text. Ages in seconds."""
    good = [backup for backup in backups if not backup["error"]]
    if not good:
        return "The repository has no backup."
    age = int(now - good[-1]["stop"])
    if age > max_age:
        return f"The last backup, {good[-1]['label']}, ended {age // 3600} h ago, more than {max_age // 3600} h."
    return ""

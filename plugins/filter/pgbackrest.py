# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

NEED_TARGET = ("time", "xid", "lsn", "name")
#: What says where a restore goes; the same values are the same restore.
IDENTITY = ("type", "target", "timeline", "set")


def restore_id(restore):
    """Return the name of a restore: the given one, or twelve hexadecimal digits that follow from its target."""
    if restore.get("id"):
        return str(restore["id"])
    text = "\n".join(str(restore.get(key, "")) for key in IDENTITY)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def restore_refusal(restore, scope, members, present, enabled):
    """Return why a restore must not begin, as a sentence, or an empty text.

    :arg restore: I(postgresql_restore) with the role's defaults.
    :arg scope: name of the cluster.
    :arg members: names of all members that the platform describes, and I(present) the hosts of this run.
    :arg enabled: whether backups are on.
    """
    kind, target = restore.get("type"), restore.get("target")
    absent = [member for member in members if member not in present]
    checks = (
        (not enabled, "postgresql_backup.enabled is false, so there is no repository to restore from; set it."),
        (
            kind is None,
            "postgresql_restore.type is not set; say where to, for example"
            ' -e \'{"postgresql_restore": {"type": "time", "target": "2026-11-22 14:05:00+00"}}\'.',
        ),
        (
            kind in NEED_TARGET and not target,
            f"postgresql_restore.type is {kind}, so postgresql_restore.target must say which.",
        ),
        (
            kind in ("latest", "immediate") and target,
            f"postgresql_restore.type is {kind}, which has no target, but postgresql_restore.target is {target};"
            " leave one out.",
        ),
        (
            restore.get("promote") and restore.get("confirm") != scope,
            f"This restore replaces the data of the cluster {scope}; confirm it by postgresql_restore.confirm: {scope}"
            f" (it is {restore.get('confirm') or 'not set'}), or set promote: false for a checked side copy.",
        ),
        (
            absent,
            f"{', '.join(absent)} took no part in this run; a restore needs every member, so that none comes back with"
            " other data. Start them, or provision them anew.",
        ),
        (
            restore.get("host") and restore["host"] not in members,
            f"postgresql_restore.host is {restore.get('host')}; give one of {', '.join(members)}.",
        ),
    )
    return next((sentence for wrong, sentence in checks if wrong), "")


def restore_summary(restore, side, host, data, leader):
    """Return what a restore has come to, as a sentence.

    :arg side: what was seen in the copy. :arg host: the member that restored. :arg data: its data directory.
    :arg leader: who leads now.
    """
    seen = ""
    if side.get("ok"):
        last = datetime.fromtimestamp(side["last_commit"], timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00")
        moment = last if side["last_commit"] else "the backup itself"
        seen = (
            f" It has {side['tables']} tables with {side['rows']} rows, the last commit of {moment},"
            f" timeline {side['timeline']}; made in {side['seconds']} s."
        )
    if not restore.get("promote"):
        return (
            f"The checked side copy is {data}.restore on {host}.{seen}"
            " Repeat with promote: true and confirm to put it in the place of the cluster's data, or remove it."
        )
    return (
        f"The cluster is restored, {leader} leads.{seen}"
        f" Data that it replaced lies beside {data} on {host} as *.before-*, until you remove it."
    )


def check_refusal(checks, max_age, now):
    """Return why the last restore check does not count, as a sentence, or an empty text.

    :arg checks: what each member remembers of its last one, {} when it made none.
    :arg max_age: seconds for which a check counts.
    :arg now: seconds since 1970.
    """
    made = sorted((check for check in checks if check), key=lambda check: check["finished"])
    if not made:
        return (
            "No restore check has been made; run verify_backup_postgresql.yml with -e postgresql_backup_check_now=true."
        )
    last = made[-1]
    if not last["ok"]:
        return f"The last restore check, on {last['member']}, failed: {last.get('error', 'it was cut off')}."
    hours = (now - last["finished"]) // 3600
    if now - last["finished"] > max_age:
        return f"The last restore check, on {last['member']}, is {hours} h old, more than {max_age // 3600} h."
    return ""


class FilterModule:
    """Filters of the restore."""

    def filters(self):
        return {
            "check_refusal": check_refusal,
            "restore_id": restore_id,
            "restore_refusal": restore_refusal,
            "restore_summary": restore_summary,
        }

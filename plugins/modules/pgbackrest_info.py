#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbackrest_info
short_description: Tell what pgBackRest's repository holds, and whether a target can be restored
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Lists the backups of a stanza. With O(target), chooses the backup from which recovery
    begins, or fails and says why none does.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
  stanza:
    description: Name of the stanza.
    type: str
    required: true
  target:
    description: Where recovery shall end.
    type: dict
    suboptions:
      type:
        description: Kind of target; V(latest) is the end of the archive, V(immediate) the end of the backup.
        type: str
        choices: [latest, immediate, time, xid, lsn, name]
        required: true
      target:
        description: The time (with its offset from UTC), transaction, WAL position or restore point.
        type: str
      timeline:
        description: Timeline to recover along; without it, the latest.
        type: int
      set:
        description: Label of the backup to begin from; without it, the last that fits.
        type: str
  max_age:
    description: Seconds after which the last backup counts as stale, and the module fails.
    type: int
"""

EXAMPLES = r"""
- name: See from which backup this time is reached
  selfhosted.ec2.pgbackrest_info:
    stanza: main
    target: {type: time, target: 2026-11-22 14:05:00+00}
  become: true
  become_user: postgres
"""

RETURN = r"""
backups:
  description: Backups, oldest first. Times are seconds since 1970, sizes bytes.
  returned: success
  type: list
  elements: dict
backup:
  description: Label of the backup from which the target is reached.
  returned: with O(target)
  type: str
timeline:
  description: Timeline along which it is reached.
  returned: with O(target)
  type: int
size:
  description: Bytes of the data at that backup.
  returned: with O(target)
  type: int
"""

import json
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import pgbackrest


def histories(runner, stanza):
    """Return text and time of each history file in the archive, by timeline."""
    listed = json.loads(
        pgbackrest.run(
            runner,
            f"--stanza={stanza}",
            "--output=json",
            "--filter=\\.history$",
            "--recurse",
            "repo-ls",
            f"archive/{stanza}",
        )
    )
    found = {}
    for path, entry in listed.items():
        if entry["type"] == "file":
            text = pgbackrest.run(runner, f"--stanza={stanza}", "repo-get", f"archive/{stanza}/{path}")
            found[int(path.rpartition("/")[2][:8], 16)] = {"text": text, "time": entry["time"]}
    return found


def find_target(runner, stanza, target, backups, now):
    """Return the backup and the timeline for a target.

    :raises pgbackrest.BackrestError: it cannot be reached.
    """
    if not backups:
        raise pgbackrest.BackrestError(f"The repository has no backup of {stanza}")
    archived = histories(runner, stanza)
    newest = max([*archived, *(backup["timeline"] for backup in backups)])
    timeline = target.get("timeline") or newest
    if timeline != 1 and timeline not in archived:
        known = ", ".join(str(number) for number in sorted({1, *archived}))
        raise pgbackrest.BackrestError(
            f"postgresql_restore.timeline is {timeline}, but the repository has only {known};"
            " leave it out for the latest"
        )
    history = pgbackrest.branches(archived[timeline]["text"]) if timeline in archived else []
    chosen = pgbackrest.choose(target, backups, timeline, history, now)
    if target["type"] == "time":
        times = {number: entry["time"] for number, entry in archived.items()}
        left = pgbackrest.abandoned(pgbackrest.parse_time(target["target"]), timeline, history, times)
        if left:
            raise pgbackrest.BackrestError(
                f"The target time {target['target']} lies on timeline {left}, which an earlier restore left;"
                f" add timeline: {left} to go there, or give a time after {pgbackrest.show_time(max(times.values()))}"
            )
    return chosen, timeline


def run(module):
    """Ask and judge; return the module's answer.

    :raises pgbackrest.BackrestError: the repository does not answer, or the target cannot be reached.
    """
    stanza, target = module.params["stanza"], module.params["target"]
    found = pgbackrest.stanza_of(pgbackrest.info(module.run_command, stanza), stanza)
    result = {"changed": False, "backups": found["backups"], "system_ids": found["system_ids"]}
    now = time.time()
    if target:
        chosen, timeline = find_target(module.run_command, stanza, target, found["backups"], now)
        result.update(backup=chosen["label"], timeline=timeline, size=chosen["size"])
    if module.params["max_age"] is not None:
        problem = pgbackrest.stale(found["backups"], now, module.params["max_age"])
        if problem:
            raise pgbackrest.BackrestError(problem.rstrip("."))
    return result


def main():
    target = {
        "type": {"type": "str", "required": True, "choices": list(pgbackrest.TARGETS)},
        "target": {"type": "str"},
        "timeline": {"type": "int"},
        "set": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "stanza": {"type": "str", "required": True},
            "target": {
                "type": "dict",
                "options": target,
                "required_if": [("type", kind, ("target",)) for kind in ("time", "xid", "lsn", "name")],
            },
            "max_age": {"type": "int"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (KeyError, ValueError, pgbackrest.BackrestError) as error:
        module.fail_json(msg=f"{error}.")


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pending_restarts
short_description: Tell which running units are older than their files
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Compares the start of each systemd unit's main process with the change time of the files it reads at its start.
    A unit whose files changed later waits for a restart.
  - The answer comes from the running process, so it survives an interrupted run; a handler's notification does not.
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: The module changes nothing.
  platform:
    platforms: posix
    support: full
    description: Linux hosts with systemd 248 or later.
options:
  units:
    description: The units to look at.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the unit, C(.service) may be left out.
        type: str
        required: true
      files:
        description:
          - Paths or shell patterns (C(**) for any depth) of files that need a restart when they change. What does not
            exist is ignored.
          - A directory counts by its own change time, that is when an entry was added, renamed or removed.
        type: list
        elements: path
        required: true
      reload_files:
        description:
          - As O(units[].files), for files that need only a reload. They are compared with the unit's last change of
            state, which is its start or its last reload.
        type: list
        elements: path
        default: []
"""

EXAMPLES = r"""
- name: service | See whether etcd waits for a restart
  selfhosted.ec2.pending_restarts:
    units:
      - name: etcd
        files: [/etc/default/etcd, "/etc/systemd/system/etcd.service.d/*.conf"]
  register: __etcd_units

- name: service | Sort the hosts by whether a restart is pending
  ansible.builtin.group_by:
    key: "etcd_restart_{{ 'pending' if __etcd_units.pending else 'done' }}"
  changed_when: false
"""

RETURN = r"""
pending:
  description: Units that run and are older than one of their files, named as in O(units).
  returned: success
  type: list
  elements: str
running:
  description: Units that run.
  returned: success
  type: list
  elements: str
disabled:
  description: Units that run, but that the host's next boot does not start, as C(systemctl is-enabled) tells it.
  returned: success
  type: list
  elements: str
reasons:
  description: For each pending unit the files that changed after its start.
  returned: success
  type: dict
reloads:
  description: Units that run and whose last start or reload is older than one of their O(units[].reload_files).
  returned: success
  type: list
  elements: str
"""

import glob
import os
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

PROPERTIES = ("Id", "Names", "ActiveState", "MainPID", "ExecMainStartTimestamp", "ActiveEnterTimestamp")
# A reload leaves the unit active, but it is a change of state.
PROPERTIES += ("StateChangeTimestamp", "UnitFileState")
SUFFIXES = (".service", ".socket", ".mount", ".timer", ".target", ".path")
RUNNING = ("active", "reloading", "refreshing", "activating", "deactivating")


def parse_time(text):
    """Seconds since 1970 from systemctl's `--timestamp=us+utc` text, 0.0 when the unit never started.

    >>> parse_time("Sun 2026-11-22 18:48:23.250000 UTC")
    1795373303.25
    """
    parts = text.split()
    if len(parts) < 3:
        return 0.0
    moment = datetime.strptime("%s %s" % (parts[1], parts[2]), "%Y-%m-%d %H:%M:%S.%f")
    return moment.replace(tzinfo=timezone.utc).timestamp()


def parse_show(text):
    """Property dicts from the output of `systemctl show`, one per unit."""
    return [
        dict(line.partition("=")[::2] for line in block.splitlines()) for block in text.split("\n\n") if block.strip()
    ]


def full_name(name):
    """Unit name with its suffix."""
    return name if name.endswith(SUFFIXES) else name + ".service"


def start_time(unit):
    """When a running unit's main process started, in seconds since 1970; None when it does not run.

    A unit without a main process (a oneshot that stays active) counts from when it became active.
    """
    if unit.get("ActiveState") not in RUNNING:
        return None
    if unit.get("MainPID", "0") == "0" and unit.get("ActiveState") != "active":
        return None
    times = (parse_time(unit.get(key, "")) for key in ("ExecMainStartTimestamp", "ActiveEnterTimestamp"))
    return next((time for time in times if time), None)


def newer_files(patterns, since):
    """Existing paths matched by the patterns whose change time is after `since` (seconds since 1970), sorted."""
    newer = set()
    for pattern in patterns:
        for path in glob.glob(pattern, recursive=True):
            try:
                # A link counts by what it points at and by itself: either may have been exchanged.
                changed = max(os.stat(path).st_ctime, os.lstat(path).st_ctime)
            except OSError:
                continue
            if changed > since:
                newer.add(path)
    return sorted(newer)


def judge(units, shown):
    """Lists pending, running and disabled and the reasons, from the `units` option and the properties systemd shows."""
    by_name = {name: unit for unit in shown for name in [unit.get("Id", "")] + unit.get("Names", "").split()}
    result = {"pending": [], "running": [], "disabled": [], "reasons": {}, "reloads": []}
    for unit in units:
        properties = by_name.get(full_name(unit["name"]), {})
        since = start_time(properties)
        if since is None:
            continue
        result["running"].append(unit["name"])
        if properties.get("UnitFileState") == "disabled":
            result["disabled"].append(unit["name"])
        files = newer_files(unit["files"], since)
        if files:
            result["pending"].append(unit["name"])
            result["reasons"][unit["name"]] = files
        reloaded = max(since, parse_time(properties.get("StateChangeTimestamp", "")))
        if newer_files(unit.get("reload_files", []), reloaded):
            result["reloads"].append(unit["name"])
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "files": {"type": "list", "elements": "path", "required": True},
                    "reload_files": {"type": "list", "elements": "path", "default": []},
                },
            }
        },
        supports_check_mode=True,
    )
    units = module.params["units"]
    command = ["systemctl", "show", "--no-pager", "--timestamp=us+utc", "--property=" + ",".join(PROPERTIES), "--"]
    shown = []
    if units:
        code, out, err = module.run_command(
            command + [full_name(unit["name"]) for unit in units], environ_update={"LC_ALL": "C"}
        )
        if code != 0:
            module.fail_json(msg="systemd did not answer on this host: %s" % (err.strip() or out.strip()))
        shown = parse_show(out)
    module.exit_json(changed=False, **judge(units, shown))


if __name__ == "__main__":
    main()

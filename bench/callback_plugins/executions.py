# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts module executions and seconds per role, and kubeadm's seconds; writes them as JSON to $EXECUTIONS_FILE."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: executions
type: aggregate
short_description: counts module executions per role
description:
  - Counts module executions and wall seconds per role, and the seconds that kubeadm took on each host.
  - Writes them as JSON to the file EXECUTIONS_FILE names.
"""

# These run on the controller and cost no module execution on a host.
CONTROLLER_ONLY = {
    *("add_host", "assert", "debug", "fail", "group_by", "meta", "set_fact", "set_stats", "validate_argument_spec"),
    *("import_role", "import_tasks", "include_role", "include_tasks", "include_vars"),
    *("preflight", "platform_lock", "platform_secrets"),
}


def ran_on(result):
    """Return the host of each execution that a result tells of: a delegated one counts for the host that it ran on."""
    # What a task with no_log tells lacks the rest.
    named = str(result._task.delegate_to or "")
    told = result._result
    items = told.get("results") or [told]
    found = [item.get("_ansible_delegated_vars") or {} if isinstance(item, dict) else {} for item in items]
    other = (told.get("_ansible_delegated_vars") or {}).get("ansible_delegated_host")
    fallback = other or (named if "{{" not in named else "") or result._host.get_name()
    return [delegated.get("ansible_delegated_host") or fallback for delegated in found]


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "executions"

    def __init__(self):
        super().__init__()
        self.executions = defaultdict(lambda: defaultdict(int))
        self.seconds = defaultdict(float)
        self.kubeadm = defaultdict(float)
        self.current = None

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._account()
        role = task._role.get_name().rpartition(".")[2] if task._role else "playbook"
        self.current = (role, time.monotonic())

    def _account(self):
        if self.current:
            role, started = self.current
            self.seconds[role] += time.monotonic() - started
            self.current = None

    def v2_runner_on_ok(self, result):
        task = result._task
        if task.action.rpartition(".")[2] in CONTROLLER_ONLY:
            return
        role = task._role.get_name().rpartition(".")[2] if task._role else "playbook"
        for name in ran_on(result):
            self.executions[role][name] += 1
        command = result._result.get("cmd") or [""]
        # An upgrade has the new one under the name of its architecture.
        if Path(command[0]).name.startswith("kubeadm"):
            taken = datetime.strptime(result._result["delta"], "%H:%M:%S.%f") - datetime.strptime("0", "%H")
            self.kubeadm[result._host.get_name()] += taken.total_seconds()

    def v2_playbook_on_stats(self, stats):
        self._account()
        report = {
            "roles": {
                role: {"seconds": round(self.seconds[role], 1), "executions": dict(self.executions.get(role, {}))}
                for role in self.seconds
            },
            "kubeadm": dict(self.kubeadm),
            "changed": sum(stats.changed.values()),
            "failed": sum(stats.failures.values()) + sum(stats.dark.values()),
        }
        target = os.environ.get("EXECUTIONS_FILE")
        if target:
            Path(target).write_text(json.dumps(report, indent=1))

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import getpass
import os
import socket

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.selfhosted.ec2.plugins.module_utils import lock as platform_lock
from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import BOTO_ERROR, Aws, AwsError


def owner_text(pid, task_vars):
    """Return who runs what: user@host, then the pid of Ansible, the playbook and, on AWX, the job."""
    # Without an entry for the user id, as in a container, getpass finds no name.
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    what = [f"pid {pid}"]
    what += [os.path.basename(str(playbook)) for playbook in context.CLIARGS.get("args") or ()]
    if task_vars.get("awx_job_id"):
        what.append(f"AWX job {task_vars['awx_job_id']}")
    return f"{user}@{socket.gethostname()} ({', '.join(what)})"


class ActionModule(ActionBase):
    """Hold the lock of a platform while Ansible runs."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(
            argument_spec={
                "platform": {"type": "str", "required": True},
                "region": {"type": "str"},
                "state": {"type": "str", "choices": ["held", "renewed", "free", "broken"], "default": "held"},
                "owner": {"type": "str"},
            },
            required_if=[("state", "broken", ("owner",))],
        )
        result.update(changed=False)
        if self._task.check_mode:
            result.update(msg="The lock is not touched in check mode.")
            return result
        if BOTO_ERROR:
            raise AnsibleActionFail("The Python package boto3 is not installed for Ansible's Python; install it.")
        try:
            result.update(self._do(args, task_vars))
        except (AwsError, platform_lock.LockError) as error:
            raise AnsibleActionFail(str(error)) from None
        return result

    @staticmethod
    def _do(args, task_vars):
        # A task runs in a child of ansible-playbook; the run, and with it the lock, is the parent's.
        pid = os.getppid()
        owner = owner_text(pid, task_vars)
        token = platform_lock.run_token(pid)
        platform, region = args["platform"], args["region"]
        lock = platform_lock.Lock(Aws({"region": region}, deadline=30).client("dynamodb"), platform, owner, token)
        if args["state"] == "broken":
            return {"changed": lock.break_held_by(args["owner"])}
        if args["state"] == "renewed":
            lock.hold_on()
            return {"owner": owner}
        if args["state"] == "free":
            lock.release()
            return {"owner": owner}
        if lock.take():
            platform_lock.start_keeper(platform, region, owner, token, pid)
        return {"owner": owner}

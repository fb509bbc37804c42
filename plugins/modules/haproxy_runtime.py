#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: haproxy_runtime
short_description: Reload a running HAProxy, drain its servers, wait for its services
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reloads HAProxy when one of its files is newer than the worker that runs.
    No reload is lost when a run was cut off after the files were written.
  - Sets the state of a server over the runtime socket, and waits for its sessions to end.
  - Waits until each of the named services has a server that is up.
  - The three may be asked for in one task and are done in this order.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.linux
attributes:
  check_mode:
    support: full
    description: Reports what would be done; a HAProxy that does not run yet is no error then. Waits for nothing.
  diff_mode:
    support: full
    description: The state of the servers before and after.
options:
  socket:
    description: The runtime socket, with the level C(admin).
    type: path
    default: /run/haproxy/admin.sock
  reload_for:
    description: Patterns of the files that HAProxy read when its worker started.
    type: list
    elements: str
    default: []
  reload_command:
    description: Command that reloads HAProxy. It ends when the new worker runs, and fails when HAProxy refuses.
    type: list
    elements: str
    default: [systemctl, reload, haproxy]
  server:
    description: The server whose O(state) is set.
    type: str
  service:
    description: Only in this service (backend), or in those that fit a pattern (V(web-*)); in all when it is empty.
    type: str
    default: ""
  state:
    description: V(ready) takes traffic, V(drain) gets no new connections, V(maint) is also not checked.
    type: str
    choices: [ready, drain, maint]
    default: ready
  save_command:
    description: Command run after a state was changed, that makes it survive a restart.
    type: list
    elements: str
    default: []
  allow_last:
    description: Take a server away although it is the last one up of a service.
    type: bool
    default: false
  keep_last:
    description: Leave a server in the services whose last one up it is, rather than fail.
    type: bool
    default: false
  allow_missing:
    description: Change nothing, rather than fail, when there is no such server.
    type: bool
    default: false
  drain_timeout:
    description: Seconds to wait until a server that was taken away has no session.
    type: int
    default: 0
  shutdown_sessions:
    description: End the sessions that are left then; without it they are an error.
    type: bool
    default: false
  expect_up:
    description: Services of which each must have a server that is up.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for O(expect_up).
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Reload when the configuration is newer than the worker, and wait for the services
  selfhosted.ec2.haproxy_runtime:
    reload_for: [/etc/haproxy/haproxy.cfg, /etc/haproxy/maps/*.map]
    expect_up: [postgresql, postgresql-ro]

- name: Take database-2 out of every service and wait a minute for its sessions
  selfhosted.ec2.haproxy_runtime:
    server: database-2
    state: drain
    drain_timeout: 60
"""

RETURN = r"""
reloaded_for:
  description: The files for which HAProxy was (in check mode would be) reloaded.
  returned: success
  type: list
  elements: str
servers:
  description:
    - The servers at the end, each with service, server, status, check, sessions and administrative (its O(state)).
  returned: success
  type: list
  elements: dict
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils.haproxy import (
    Runtime,
    RuntimeFault,
    chosen,
    left_without,
    newer_files,
    process_start,
    without_server,
)

POLL_SECONDS = 0.5


def wait_for(question, seconds):
    """Ask until the answer is empty or I(seconds) are over; return the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if not answer or time.monotonic() >= deadline:
            return answer
        time.sleep(POLL_SECONDS)


def run(module, command, what):
    """Run a command. Raises RuntimeFault with what it said when it fails."""
    code, out, err = module.run_command(command)
    if code != 0:
        raise RuntimeFault("%s: %s" % (what, (err.strip() or out.strip())))


def reload(module, runtime):
    """Reload when a file is newer than the worker; return these files."""
    files = newer_files(module.params["reload_for"], process_start(runtime.info().get("Pid", "")))
    if files and not module.check_mode:
        run(module, module.params["reload_command"], "HAProxy refused to reload and goes on with its old configuration")
    return files


def set_state(module, runtime):
    """Set the state of the named server; return the diff, None when nothing differs."""
    wanted, params = module.params["state"], module.params
    servers = runtime.servers()
    members = chosen(servers, params["server"], params["service"], params["allow_missing"])
    changes = [entry for entry in members if entry["administrative"] != wanted]
    last = [] if wanted == "ready" or params["allow_last"] else left_without(servers, changes)
    if params["keep_last"]:
        members, changes = ([entry for entry in each if entry["service"] not in last] for each in (members, changes))
    elif last:
        raise RuntimeFault(
            "%s is the last server that is up of %s; bring another one up first (for a PostgreSQL leader: switch over)."
            % (params["server"], ", ".join(last))
        )
    if not module.check_mode:
        for entry in changes:
            runtime.order("set server %s/%s state %s" % (entry["service"], entry["server"], wanted))
        if changes and params["save_command"]:
            run(module, params["save_command"], "The state is set, but could not be saved")
        if wanted != "ready":
            end_sessions(module, runtime)
    return change_diff(members, changes, wanted)


def change_diff(members, changes, wanted):
    """Return before and after as text, None when nothing changes."""
    if not changes:
        return None
    before = {"%s/%s" % (entry["service"], entry["server"]): entry["administrative"] for entry in members}
    return {
        "before": "".join("%s %s\n" % pair for pair in before.items()),
        "after": "".join("%s %s\n" % (name, wanted) for name in before),
    }


def end_sessions(module, runtime):
    """Wait for the sessions of the server that was taken away, then end or report them."""
    params = module.params

    def busy():
        members = chosen(runtime.servers(), params["server"], params["service"], params["allow_missing"])
        return [entry for entry in members if entry["sessions"] and entry["administrative"] != "ready"]

    left = wait_for(busy, params["drain_timeout"])
    if left and not params["shutdown_sessions"]:
        told = ", ".join("%d of %s" % (entry["sessions"], entry["service"]) for entry in left)
        raise RuntimeFault(
            "%s gets no new connections, but after %d s it still has sessions: %s; wait longer, or allow to end them."
            % (params["server"], params["drain_timeout"], told)
        )
    for entry in left:
        runtime.order("shutdown sessions server %s/%s" % (entry["service"], entry["server"]))


def work(module, runtime):
    """Do what was asked for; return the module's result."""
    params = module.params
    result = {"changed": False, "reloaded_for": [], "servers": []}
    if module.check_mode and not os.path.exists(params["socket"]):
        return result
    if params["reload_for"]:
        result["reloaded_for"] = reload(module, runtime)
    if params["server"]:
        diff = set_state(module, runtime)
        if diff:
            result["diff"] = diff
    result["changed"] = bool(result["reloaded_for"] or result.get("diff"))
    if params["expect_up"] and not module.check_mode:
        missing = wait_for(lambda: without_server(runtime.servers(), params["expect_up"]), params["timeout"])
        if missing:
            raise RuntimeFault("After %d s %s." % (params["timeout"], "; ".join(missing)))
    result["servers"] = runtime.servers()
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "default": "/run/haproxy/admin.sock"},
            "reload_for": {"type": "list", "elements": "str", "default": []},
            "reload_command": {"type": "list", "elements": "str", "default": ["systemctl", "reload", "haproxy"]},
            "server": {"type": "str"},
            "service": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["ready", "drain", "maint"], "default": "ready"},
            "save_command": {"type": "list", "elements": "str", "default": []},
            "allow_last": {"type": "bool", "default": False},
            "keep_last": {"type": "bool", "default": False},
            "allow_missing": {"type": "bool", "default": False},
            "drain_timeout": {"type": "int", "default": 0},
            "shutdown_sessions": {"type": "bool", "default": False},
            "expect_up": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        result = work(module, Runtime(module.params["socket"]))
    except RuntimeFault as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_settings
short_description: Bring a running Redis server and its Sentinel to what is described
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the runtime options of this host's server and of its Sentinel, and sets those that differ, by CONFIG SET and
    SENTINEL SET. What is equal is never set again.
  - Lets both load their ACL files, and the server its certificates, when these have changed since they were loaded.
  - Who is primary is never set. Only a Sentinel that watches nothing is told whom to watch.
extends_documentation_fragment:
  - selfhosted.ec2.redis
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the options before and after, without passwords.
    support: full
options:
  config:
    description: Runtime options of the server. Without it the server is left alone.
    type: dict
  secret_config:
    description: Further runtime options, whose values are never shown.
    type: dict
    default: {}
  acl_file:
    description: ACL file of the server.
    type: path
  tls_files:
    description: The server's certificate, key and authorities, by the names of their options.
    type: dict
    default: {}
  watch:
    description: Host that the Sentinel is told to watch when it watches nothing.
    type: str
    default: ""
  quorum:
    description: How many Sentinels must take the primary for down before a failover.
    type: int
    required: true
  sentinel_config:
    description: Options of the watched service, as SENTINEL SET names them.
    type: dict
    default: {}
  sentinel_user:
    description: User with which the Sentinel logs in at the servers.
    type: str
    required: true
  sentinel_password:
    description: Its password.
    type: str
    required: true
  sentinel_state_file:
    description: The file in which the Sentinel keeps its state; only read, to compare the password.
    type: path
    required: true
  sentinel_acl_file:
    description: ACL file of the Sentinel.
    type: path
  loaded_file:
    description: File on a volatile file system that says what the running processes have loaded.
    type: path
    default: /run/redis-loaded.json
"""

EXAMPLES = r"""
- name: Bring the server and the Sentinel to what is described
  selfhosted.ec2.redis_settings:
    name: cache-1
    members: {cache-1: cache-1.trading.internal}
    ca_file: /etc/redis/platform/tls/ca.crt
    password: "{{ platform_secrets['redis/admin_password'] }}"
    config: {maxmemory: 512mb, maxmemory-policy: noeviction}
    acl_file: /etc/redis/platform/users.acl
    quorum: 2
    sentinel_config: {down-after-milliseconds: 3000}
    sentinel_user: sentinel
    sentinel_password: "{{ platform_secrets['redis/sentinel_password'] }}"
    sentinel_state_file: /var/lib/redis/sentinel/sentinel.conf
"""

RETURN = r"""
steps:
  description: What was, or in check mode would be, done, without passwords.
  returned: always
  type: list
  elements: str
"""

import hashlib
import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import redis


def digest(paths):
    """Return the SHA-256 of some files' contents together, hexadecimal."""
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as handle:
            total.update(handle.read())
    return total.hexdigest()


class Loaded:
    """What the running processes have loaded: key to the process's run id and a digest."""

    def __init__(self, path):
        self._path = path
        self._known = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as handle:
                self._known = json.load(handle)

    def state(self, key, run_id, files):
        """Return C(current), C(changed) or C(unknown), when the process has started since."""
        known = self._known.get(key) or {}
        if known.get("run_id") != run_id:
            return "unknown"
        return "current" if known.get("digest") == digest(files) else "changed"

    def note(self, key, run_id, files):
        """Remember that a process has loaded the files as they are."""
        self._known[key] = {"run_id": run_id, "digest": digest(files)}
        with open(os.open(self._path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            json.dump(self._known, handle)
        os.replace(self._path + ".new", self._path)


class Bringer:
    """Compares and sets, and keeps what it did as text."""

    def __init__(self, params, check_mode):
        self._params = params
        self._check_mode = check_mode
        self._loaded = Loaded(params["loaded_file"])
        self.steps = []
        self.before = {}
        self.after = {}

    def do(self, shown, client, *words):
        """Send one command that changes something."""
        self.steps.append(shown)
        if not self._check_mode:
            client.call(*words)

    def load(self, key, run_id, client, files, *words):
        """Let a process load files that have changed. After its start that is no change: it has loaded them then."""
        state = self._loaded.state(key, run_id, files)
        if state == "changed":
            self.do(f"load {key}", client, *words)
        elif state == "unknown" and not self._check_mode:
            client.call(*words)
        if state != "current" and not self._check_mode:
            self._loaded.note(key, run_id, files)

    def sentinel(self, client):
        """Bring the Sentinel to what is described."""
        params, service = self._params, self._params["service"]
        try:
            state = redis.pairs(client.call("SENTINEL", "MASTER", service))
        except redis.Refused:
            state = None
        if state is None and params["watch"]:
            words = ("SENTINEL", "MONITOR", service, params["watch"], params["port"], params["quorum"])
            self.do(f"Sentinel watches {params['watch']}", client, *words)
            state = {} if self._check_mode else redis.pairs(client.call("SENTINEL", "MASTER", service))
        if state is None:
            return
        self._sentinel_options(client, state)
        wanted = {"auth-user": params["sentinel_user"], "auth-pass": params["sentinel_password"]}
        found = sentinel_credentials(params["sentinel_state_file"], service)
        for name, value in wanted.items():
            if found.get(name) != value:
                self.do(f"Sentinel option {name}", client, "SENTINEL", "SET", service, name, value)
        if params["sentinel_acl_file"]:
            run_id = redis.parse_info(client.call("INFO", "server"))["run_id"]
            self.load("sentinel_users", run_id, client, [params["sentinel_acl_file"]], "ACL", "LOAD")

    def _sentinel_options(self, client, state):
        wanted = {"quorum": self._params["quorum"], **self._params["sentinel_config"]}
        for name, value in sorted(wanted.items()):
            if name in state and not redis.same_value(name, value, state[name]):
                self.before[f"sentinel {name}"], self.after[f"sentinel {name}"] = state[name], str(value)
                words = ("SENTINEL", "SET", self._params["service"], name, value)
                self.do(f"Sentinel option {name}", client, *words)

    def server(self, client):
        """Bring the server to what is described."""
        params = self._params
        wanted = {**params["config"], **params["secret_config"]}
        found = redis.pairs(client.call("CONFIG", "GET", *wanted)) if wanted else {}
        changes = redis.config_changes(wanted, found)
        for name in changes:
            hidden = name in params["secret_config"]
            self.before[name] = "(not shown)" if hidden else found[name]
            self.after[name] = "(another one)" if hidden else changes[name]
        if changes:
            words = [word for pair in changes.items() for word in pair]
            self.do(f"options {', '.join(changes)}", client, "CONFIG", "SET", *words)
        run_id = redis.parse_info(client.call("INFO", "server"))["run_id"]
        if params["acl_file"]:
            self.load("users", run_id, client, [params["acl_file"]], "ACL", "LOAD")
        if params["tls_files"]:
            words = [word for pair in params["tls_files"].items() for word in pair]
            # The server reads the files again even when their names are the same.
            self.load("certificates", run_id, client, list(params["tls_files"].values()), "CONFIG", "SET", *words)


def sentinel_credentials(path, service):
    """Return C(auth-user) and C(auth-pass) of a service from a Sentinel's state file, as far as it has them."""
    found = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as handle:
            for words in map(str.split, handle):
                if len(words) == 4 and words[0] == "sentinel" and words[2] == service and words[1].startswith("auth-"):
                    found[words[1]] = words[3].strip('"')
    return found


def bring(params, check_mode):
    """Read, compare and set; return the module's answer.

    :raises redis.RedisError: a process does not answer, or refuses.
    :raises OSError, ValueError: a local file cannot be read, or an option is unknown.
    """
    cluster, bringer = redis.Cluster(params), Bringer(params, check_mode)
    with cluster.sentinel(params["name"]) as client:
        bringer.sentinel(client)
    if params["config"] is not None:
        with cluster.server(params["name"]) as client:
            bringer.server(client)
    diff = {"before": bringer.before, "after": bringer.after}
    return {"changed": bool(bringer.steps), "steps": bringer.steps, "diff": diff}


def main():
    module = AnsibleModule(
        argument_spec={
            **redis.argument_spec(),
            "config": {"type": "dict"},
            "secret_config": {"type": "dict", "default": {}, "no_log": True},
            "acl_file": {"type": "path"},
            "tls_files": {"type": "dict", "default": {}},
            "watch": {"type": "str", "default": ""},
            "quorum": {"type": "int", "required": True},
            "sentinel_config": {"type": "dict", "default": {}},
            "sentinel_user": {"type": "str", "required": True},
            "sentinel_password": {"type": "str", "required": True, "no_log": True},
            "sentinel_state_file": {"type": "path", "required": True},
            "sentinel_acl_file": {"type": "path"},
            "loaded_file": {"type": "path", "default": "/run/redis-loaded.json"},
        },
        supports_check_mode=True,
    )
    try:
        result = bring(module.params, module.check_mode)
    except (OSError, ValueError, redis.RedisError) as error:
        module.fail_json(msg=f"Redis was not brought to what is described: {error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

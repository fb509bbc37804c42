#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_failover
short_description: Let a replica take over from a Redis primary, without losing a write
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Lets the primary hold writes back, waits until a replica has all of them, asks a Sentinel for the failover, and
    makes the old primary a replica before the held writes go on, so that they are refused there and not lost.
  - Refuses unless all members are well.
extends_documentation_fragment:
  - selfhosted.ec2.redis
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Only says who was the primary before and after.
    support: none
options:
  primary:
    description: Move only when this member is the primary. Without it, whoever is.
    type: str
  wait:
    description: Seconds to wait for all members to be well before, and for another primary afterwards.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Let a replica take over
  selfhosted.ec2.redis_failover:
    name: cache-1
    members: {cache-1: cache-1.trading.internal, cache-2: cache-2.trading.internal, cache-3: cache-3.trading.internal}
    ca_file: /etc/redis/platform/tls/ca.crt
    password: "{{ platform_secrets['redis/admin_password'] }}"
"""

RETURN = r"""
before:
  description: The primary before.
  returned: always
  type: str
after:
  description: The primary afterwards.
  returned: always
  type: str
seconds:
  description: How long writes were held back.
  returned: when the primary moved
  type: float
"""

import contextlib
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import redis

#: Milliseconds for which the primary holds writes back at most.
PAUSE_MS = 4000


class Link:
    """A connection to a member's server that is made anew when a Sentinel has cut it off, as it does in a failover."""

    def __init__(self, cluster, name):
        self._cluster, self._name = cluster, name
        self._client = cluster.server(name)

    def call(self, *words):
        """Return the answer to one command that does no harm when it is sent twice.

        :raises redis.RedisError: the server refuses, or does not answer twice in a row.
        """
        try:
            return self._client.call(*words)
        except redis.Refused:
            raise
        except redis.RedisError:
            self.close()
            self._client = self._cluster.server(self._name)
            return self._client.call(*words)

    def close(self):
        """Close the connection."""
        self._client.close()


def await_offset(primary, replicas, end):
    """Wait until a replica has all that the primary has; True when one does."""
    wanted = int(redis.parse_info(primary.call("INFO", "replication"))["master_repl_offset"])
    while time.monotonic() < end:
        for replica in replicas.values():
            if int(redis.parse_info(replica.call("INFO", "replication"))["slave_repl_offset"]) >= wanted:
                return True
        time.sleep(0.02)
    return False


def await_promotion(replicas, end):
    """Return the first of the replicas that answers as a primary, None when none does in time."""
    while time.monotonic() < end:
        for name, replica in replicas.items():
            if replica.call("ROLE")[0] == "master":
                return name
        time.sleep(0.02)
    return None


def move(cluster, params, before):
    """Move the primary; return the seconds for which writes were held back.

    :raises redis.RedisError: the Sentinel refuses, or no replica has all writes in time.
    """
    with contextlib.ExitStack() as stack:
        links = {name: stack.enter_context(contextlib.closing(Link(cluster, name))) for name in cluster.members}
        sentinel = stack.enter_context(cluster.sentinel(params["name"]))
        primary = links.pop(before)
        started = time.monotonic()
        end = started + PAUSE_MS / 1000 - 0.5
        primary.call("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        try:
            if not await_offset(primary, links, end):
                raise redis.RedisError("no replica has all writes of the primary in time")
            sentinel.call("SENTINEL", "FAILOVER", params["service"])
            promoted = await_promotion(links, end)
            if promoted:
                primary.call("REPLICAOF", cluster.members[promoted], params["port"])
        finally:
            primary.call("CLIENT", "UNPAUSE")
        return round(time.monotonic() - started, 2)


def run(module):
    """Check, move and wait; return the module's answer."""
    params, cluster = module.params, redis.Cluster(module.params)
    before = cluster.wait_complete(params["name"], params["wait"])["primary"]
    if params["primary"] not in (None, before):
        return {"changed": False, "before": before, "after": before}
    if module.check_mode:
        return {"changed": True, "before": before, "after": ""}
    seconds = move(cluster, params, before)
    end = time.monotonic() + params["wait"]
    after = before
    while after in ("", before) and time.monotonic() < end:
        time.sleep(0.2)
        after = cluster.read()["primary"]
    if after in ("", before):
        raise redis.RedisError(f"no other member has become the primary within {params['wait']} s")
    after = cluster.wait_complete(params["name"], params["wait"])["primary"]
    return {"changed": True, "before": before, "after": after, "seconds": seconds}


def main():
    module = AnsibleModule(
        argument_spec={
            **redis.argument_spec(),
            "primary": {"type": "str"},
            "wait": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (OSError, redis.RedisError) as error:
        module.fail_json(msg=f"The primary of Redis was not moved: {error}.")


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_forget
short_description: Let the Sentinels forget members of Redis that are gone
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - A Sentinel never forgets another one, nor a replica. Those that are gone count for the majority that a failover
    needs, so after some replacements and removals the living ones could not reach it any more.
  - Asks each member's Sentinel whom it knows. One that knows others than the members is reset, and knows all members
    again before the next one is.
  - Refuses to reset anything unless all members are well.
extends_documentation_fragment:
  - selfhosted.ec2.redis
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: RV(forgotten) says as much.
    support: none
options:
  wait:
    description: Seconds to wait for all members to be well before, and for each Sentinel to know them afterwards.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Let the Sentinels forget who is gone
  selfhosted.ec2.redis_forget:
    name: cache-1
    members: {cache-1: cache-1.trading.internal, cache-2: cache-2.trading.internal, cache-3: cache-3.trading.internal}
    ca_file: /etc/redis/platform/tls/ca.crt
    password: "{{ platform_secrets['redis/admin_password'] }}"
"""

RETURN = r"""
forgotten:
  description:
    - What each Sentinel knew and should not, by member, as C(host:port).
    - Port 0 marks one whose address another one has now.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import redis


def known_strangers(cluster, name):
    """Return what a member's Sentinel knows and should not; nothing when it does not answer or watches nothing."""
    try:
        with cluster.sentinel(name) as client:
            listed = [
                one for what in ("SENTINELS", "REPLICAS") for one in client.call("SENTINEL", what, cluster.service)
            ]
    except redis.RedisError:
        return []
    return redis.strangers(listed, list(cluster.members.values()))


def reset(cluster, name, seconds):
    """Let a member's Sentinel begin anew with the primary alone, and wait until it knows all members.

    :raises redis.RedisError: it does not answer, or does not know them in time.
    """
    with cluster.sentinel(name) as client:
        client.call("SENTINEL", "RESET", cluster.service)
    others = len(cluster.members) - 1

    def lacking(found):
        # Too few Sentinels are among what "complete" finds, too few replicas are not.
        known = found["sentinels"][name]["replicas"]
        if known < others:
            return f"The Sentinel of {name} knows {known} of {others} replicas."
        return redis.missing(found, name, "complete")

    cluster.wait(lacking, seconds)


def run(module):
    """Ask, and reset where it is needed; return the module's answer."""
    params, cluster = module.params, redis.Cluster(module.params)
    forgotten = {name: known for name in cluster.members if (known := known_strangers(cluster, name))}
    if forgotten and not module.check_mode:
        cluster.wait_complete(params["name"], params["wait"])
        for name in forgotten:
            reset(cluster, name, params["wait"])
    return {"changed": bool(forgotten), "forgotten": forgotten}


def main():
    module = AnsibleModule(
        argument_spec={**redis.argument_spec(), "wait": {"type": "int", "default": 60}}, supports_check_mode=True
    )
    try:
        module.exit_json(**run(module))
    except (OSError, redis.RedisError) as error:
        module.fail_json(msg=f"Not all Sentinels of Redis were made to forget who is gone: {error}.")


if __name__ == "__main__":
    main()

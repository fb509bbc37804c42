#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_cluster_info
short_description: Read, or wait for, the state of a Redis primary with its replicas and Sentinels
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks every member's Sentinel who the primary is and every member's server what it is, in one execution.
  - A member that does not answer is no failure; it is reported as not well.
  - Reads whether this host's volume holds data, and its identity file.
extends_documentation_fragment:
  - selfhosted.ec2.redis
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.cluster_client.volume
  - selfhosted.ec2.cluster_client.wait
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
  require:
    description:
      - What must be so before the module returns.
      - "V(healthy): a majority of the Sentinels agrees on the primary, which is well, and so is this member."
      - "V(redundant): all other members are well, so this one may be stopped."
      - "V(complete): all members are well."
    type: str
    choices: [nothing, healthy, redundant, complete]
    default: nothing
"""

EXAMPLES = r"""
- name: Wait until this member is well
  selfhosted.ec2.redis_cluster_info:
    name: cache-1
    members: {cache-1: cache-1.trading.internal, cache-2: cache-2.trading.internal, cache-3: cache-3.trading.internal}
    ca_file: /etc/redis/platform/tls/ca.crt
    user: admin
    password: "{{ platform_secrets['redis/admin_password'] }}"
    require: healthy
    wait: 60
"""

RETURN = r"""
primary:
  description: The member that more than half of all Sentinels take for the primary, empty when there is none.
  returned: always
  type: str
primary_host:
  description: Its host name as the Sentinels know it.
  returned: always
  type: str
primaries:
  description: All members whose server answers as a primary.
  returned: always
  type: list
  elements: str
quorum:
  description: More than half of the Sentinels agree on a primary.
  returned: always
  type: bool
healthy:
  description: Members whose server and Sentinel are well.
  returned: always
  type: list
  elements: str
unhealthy:
  description: The others, with the reason.
  returned: always
  type: dict
servers:
  description: What each server says about itself.
  returned: always
  type: dict
sentinels:
  description: What each Sentinel says about the service.
  returned: always
  type: dict
identity:
  description: Content of the identity file, null when there is none.
  returned: always
  type: dict
holds_data:
  description: The data directory of this host holds a dump or an append-only file.
  returned: always
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, redis


def read(params):
    """Return the module's answer for its parameters.

    :raises OSError, ValueError: a local file cannot be read.
    """
    disk = redis.read_disk(params["identity_file"], params["data_dir"])
    return dict(redis.Cluster(params).read(), **disk)


def main():
    module = AnsibleModule(
        argument_spec={
            **redis.argument_spec(),
            **cluster_client.volume_options(),
            **cluster_client.gate_options("healthy", "redundant", "complete"),
        },
        supports_check_mode=True,
    )
    try:
        cluster, sentence = cluster_client.gate(module, read, redis.missing, pause=0.5)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"Redis cannot be read from this host: {error}.")
    cluster_client.leave(module, cluster, sentence)


if __name__ == "__main__":
    main()

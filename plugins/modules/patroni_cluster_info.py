#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_cluster_info
short_description: Read, or wait for, the state of a Patroni cluster
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks every member's REST API what it is, so that the answer is not older than the question.
  - A member that does not answer is no failure; it is reported as not well.
extends_documentation_fragment:
  - selfhosted.ec2.cluster_client.certificate
  - selfhosted.ec2.cluster_client.wait
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
  members:
    description: The members, names to the URLs of their REST APIs.
    type: dict
    required: true
  name:
    description: This host's member, for O(require).
    type: str
    required: true
  require:
    description:
      - What must be so before the module returns.
      - "V(healthy): this member runs, and streams if it is a replica; there is one leader and, with O(synchronous),
        a synchronous standby."
      - "V(redundant): all other members are well and Patroni is not paused, so this one may be stopped."
      - "V(complete): all members are well and Patroni is not paused."
    type: str
    choices: [nothing, healthy, redundant, complete]
    default: nothing
  synchronous:
    description: Require a synchronous standby where the cluster has a replica.
    type: bool
    default: true
  clone_wait:
    description: Seconds to wait besides while this member copies the leader's data.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Wait until this member is well
  selfhosted.ec2.patroni_cluster_info:
    name: database-1
    members: {database-1: "https://database-1.trading.internal:8008"}
    require: healthy
    wait: 60
    ca_file: /etc/patroni/tls/ca.crt
    cert_file: /etc/patroni/tls/postgresql.crt
    key_file: /etc/patroni/tls/postgresql.key
"""

RETURN = r"""
leader:
  description: The one leader, empty when there is none or more than one.
  returned: always
  type: str
leaders:
  description: All members that say they lead.
  returned: always
  type: list
  elements: str
replicas:
  description: Members that stream.
  returned: always
  type: list
  elements: str
synchronous:
  description: Synchronous standbys.
  returned: always
  type: list
  elements: str
unhealthy:
  description: Members that are not well, with the reason.
  returned: always
  type: dict
pending_restart:
  description: Members whose PostgreSQL waits for a restart to take a parameter.
  returned: always
  type: list
  elements: str
shrinks:
  description: A parameter gets smaller that standbys need as large as their leader, which must restart first, in place.
  returned: always
  type: bool
paused:
  description: Patroni is paused, so that no member takes over by itself.
  returned: always
  type: bool
members:
  description: What each member says about itself.
  returned: always
  type: dict
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, patroni


def read(params):
    """Return the state of the cluster.

    :raises OSError: a file of the certificates cannot be read.
    """
    members = params["members"]
    if not os.path.exists(params["cert_file"]):
        reason = f"{params['cert_file']} is not on this host"
        return dict(patroni.summary({}), members={}, unhealthy=dict.fromkeys(members, reason))
    client = patroni.Client(params["ca_file"], params["cert_file"], params["key_file"])
    views = cluster_client.ask_all(members, lambda name: patroni.member_view(client, members[name]))
    return dict(patroni.summary(views), members=views)


def wait_until(params):
    """Read again each second until O(require) is met; return the last answer and what is missing."""
    end = time.monotonic() + params["wait"]
    last = end + params["clone_wait"]
    while True:
        cluster = read(params)
        if cluster["members"].get(params["name"], {}).get("state") == patroni.CLONING:
            end = min(time.monotonic() + params["wait"], last)
        sentence = patroni.missing(cluster, params["name"], params["require"], params["synchronous"])
        if not sentence or time.monotonic() >= end:
            return cluster, sentence
        time.sleep(1)


def main():
    module = AnsibleModule(
        argument_spec={
            "members": {"type": "dict", "required": True},
            "name": {"type": "str", "required": True},
            **cluster_client.gate_options("healthy", "redundant", "complete"),
            "synchronous": {"type": "bool", "default": True},
            "clone_wait": {"type": "int", "default": 0},
            **cluster_client.certificate_options(),
        },
        supports_check_mode=True,
    )
    try:
        cluster, sentence = wait_until(module.params)
    except OSError as error:
        module.fail_json(msg=f"The PostgreSQL cluster cannot be read from this host: {error}.")
    cluster_client.leave(module, cluster, sentence)


if __name__ == "__main__":
    main()

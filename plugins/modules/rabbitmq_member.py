#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_member
short_description: Take a RabbitMQ member into maintenance or out of it, or let the cluster forget it
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - What the management API has no request for, by RabbitMQ's own commands, run on this host.
  - No member is ever reset.
extends_documentation_fragment:
  - selfhosted.ec2.rabbitmq
  - selfhosted.ec2.cluster_client.login
  - selfhosted.ec2.attributes.change
attributes:
  diff_mode:
    description: Shows no difference.
    support: none
  platform:
    description: Linux hosts with RabbitMQ's commands and the cluster's cookie.
    platforms: posix
    support: full
options:
  state:
    description:
      - "V(drained): this member closes its listeners and connections and hands the leaders of its queues over."
      - "V(active): it takes clients again."
      - "V(forgotten): the others take O(name), which must not run, out of the cluster and out of its quorum queues."
    type: str
    choices: [drained, active, forgotten]
    required: true
"""

EXAMPLES = r"""
- name: Hand over before a restart
  selfhosted.ec2.rabbitmq_member:
    name: queue-1
    members: {queue-1: queue-1.trading.internal, queue-2: queue-2.trading.internal, queue-3: queue-3.trading.internal}
    ca_file: /etc/rabbitmq/tls/ca.crt
    password: "{{ platform_secrets['rabbitmq/admin_password'] }}"
    state: drained
"""

RETURN = r"""
was:
  description: What the majority said of the member before, V(running), V(drained), V(stopped) or V(unknown).
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import rabbitmq

COMMANDS = {"drained": ["rabbitmq-upgrade", "drain"], "active": ["rabbitmq-upgrade", "revive"]}


def standing(cluster, name):
    """Return what the majority says of a member.

    :arg cluster: what C(rabbitmq.summary) returns.
    """
    if name in cluster["drained"]:
        return "drained"
    if name in cluster["running"]:
        return "running"
    return "stopped" if name in cluster["known"] else "unknown"


def command(params, cluster, was):
    """Return the command to run, None when nothing is to be done.

    :raises ValueError: it must not be done; the text is a sentence.
    """
    name, state = params["name"], params["state"]
    if state == "forgotten":
        if was in ("running", "drained"):
            raise ValueError(f"{name} runs in the cluster, so it is not forgotten; stop it first.")
        if was == "unknown":
            return None
        if not cluster["quorum"]:
            raise ValueError(f"No majority of RabbitMQ's members runs, so {name} is not forgotten.")
        speaker = rabbitmq.node_name(params["members"][next(m for m in cluster["healthy"] if m != name)])
        lost = rabbitmq.node_name(params["members"][name])
        return ["rabbitmqctl", "--node", speaker, "--longnames", "forget_cluster_node", lost]
    if was in ("stopped", "unknown"):
        # A member that does not run has no clients and no leaders.
        return None
    return COMMANDS[state] if (was == "drained") != (state == "drained") else None


def main():
    module = AnsibleModule(
        argument_spec={
            **rabbitmq.argument_spec(),
            "state": {"type": "str", "choices": ["drained", "active", "forgotten"], "required": True},
        },
        supports_check_mode=True,
    )
    try:
        cluster = rabbitmq.Cluster(module.params).read()
        was = standing(cluster, module.params["name"])
        line = command(module.params, cluster, was)
    except OSError as error:
        module.fail_json(msg=f"RabbitMQ cannot be read from this host: {error}.")
    except ValueError as error:
        module.fail_json(msg=str(error))
    if line and not module.check_mode:
        code, output, errors = module.run_command(line)
        if code != 0:
            module.fail_json(msg=f"{' '.join(line)} ended with {code}: {(errors or output).strip()[-600:]}")
    module.exit_json(changed=line is not None, was=was)


if __name__ == "__main__":
    main()

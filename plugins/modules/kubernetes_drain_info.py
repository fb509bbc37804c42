#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_drain_info
short_description: What would stop the drain of nodes
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Names the PodDisruptionBudgets that let none of their pods go, and the pods that no controller would start
    elsewhere.
  - Runs on a control plane, and speaks to a ready API server.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
  node_slots:
    description: Slots whose nodes are to be drained.
    type: list
    elements: str
    required: true
  allow_bare_pods:
    description: Pods that no controller would start elsewhere may be ended.
    type: bool
    default: false
  wait:
    description:
      - Seconds to wait while budgets let nothing go only because some of their pods are not ready, as after a drain
        that was cut off.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: See what would stop the drain of a worker
  selfhosted.ec2.kubernetes_drain_info:
    node_slots: [workers-1]
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"
"""

RETURN = r"""
obstacles:
  description: Names of nodes to what stops their drain; nodes that can be drained are left out.
  returned: always
  type: dict
  sample: {ip-10-20-0-9.ec2.internal: ["nobody would start the pod trading/lone elsewhere"]}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, kubernetes, kubernetes_nodes


def run(params, api):
    """Return the obstacles, once those that pass by themselves have passed or the time for them is over.

    :raises OSError, KubernetesError: the cluster cannot be asked, or refuses.
    """
    items = api.call("GET", "/api/v1/nodes")["items"]
    names = [
        node["metadata"]["name"] for slot in params["node_slots"] for node in kubernetes_nodes.nodes_of(items, slot)
    ]

    def read():
        pods = {name: kubernetes_nodes.read_pods(api, name) for name in names}
        return kubernetes_nodes.read_budgets(api), pods

    def obstacles(budgets, pods):
        return kubernetes_nodes.obstacles(budgets, pods, params["allow_bare_pods"])

    def passing(found):
        budgets, pods = found
        lasting = obstacles([budget for budget in budgets if kubernetes_nodes.is_whole(budget)], pods)
        return not lasting and obstacles(budgets, pods)

    return obstacles(*cluster_client.wait_until(read, passing, params["wait"])[0])


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "node_slots": {"type": "list", "elements": "str", "required": True},
            "allow_bare_pods": {"type": "bool", "default": False},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        found = run(module.params, kubernetes.ready_client(module.params, timeout=30))
    except (OSError, kubernetes.KubernetesError) as error:
        module.fail_json(msg=f"The pods of the nodes cannot be read: {error}.")
    module.exit_json(changed=False, obstacles=found)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_node
short_description: Take the pods from the node of a slot, give them back, or take the node from the cluster
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Evicts pods, so that PodDisruptionBudgets have their say; pods of DaemonSets and static pods stay.
  - A pod that a budget has held up follows five seconds after it may go, so that load balancers know by then what came
    in another's place.
  - A node that is not ready is cordoned and its pods are not waited for, since nobody there could end them.
  - A drain that does not come to its end makes the node schedulable again. What an operator has cordoned stays so.
  - Data of C(emptyDir) volumes ends with its pod.
  - Runs on a control plane, and speaks to a ready API server. A slot without a node is no failure.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows no difference; what was done is returned.
    support: none
options:
  node_slot:
    description: Slot whose node it is about, by the label C(selfhosted.ec2/slot).
    type: str
    required: true
  keep:
    description: Name of a node of the slot that is left alone, such as that of the instance that replaces the other.
    type: str
    default: ""
  state:
    description:
      - "V(drained): without pods that can run elsewhere, and none is placed there."
      - "V(schedulable): no longer cordoned, if this module has done that."
      - "V(absent): the cluster does not know the node, and approves no certificate for its kubelet."
    type: str
    choices: [drained, schedulable, absent]
    required: true
  wait:
    description: Seconds that a drain may take.
    type: int
    default: 300
  allow_bare_pods:
    description: End pods as well that no controller would start elsewhere.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Take the pods from it
  selfhosted.ec2.kubernetes_node:
    node_slot: workers-2
    state: drained
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"
"""

RETURN = r"""
nodes:
  description: Names of the nodes that it was about.
  returned: always
  type: list
  elements: str
evicted:
  description: Pods that were, or in check mode would be, asked to end.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes, kubernetes_nodes

#: What the role's program kubernetes-serving notes of nodes.
SERVING_NAMES = "/api/v1/namespaces/kube-system/configmaps/kubernetes-serving-names"


def wanted(node, state):
    """Tell whether a node is not yet as I(state) says, as far as the node itself tells."""
    cordoned = (node.get("spec") or {}).get("unschedulable", False)
    return {"drained": not cordoned, "schedulable": kubernetes_nodes.is_ours(node), "absent": True}[state]


def run(params, api, check_mode):
    """Return the module's result.

    :raises OSError, KubernetesError: the cluster cannot be asked, or refuses.
    """
    found = kubernetes_nodes.nodes_of(api.call("GET", "/api/v1/nodes")["items"], params["node_slot"], params["keep"])
    result = {"changed": False, "nodes": sorted(node["metadata"]["name"] for node in found), "evicted": []}
    for node in found:
        name = node["metadata"]["name"]
        result["changed"] |= wanted(node, params["state"])
        if params["state"] == "drained":
            if check_mode:
                going = kubernetes_nodes.leaving(kubernetes_nodes.read_pods(api, name))
                result["evicted"] += sorted(map(kubernetes_nodes.title, going))
            else:
                result["evicted"] += kubernetes_nodes.drain(api, node, params["wait"], params["allow_bare_pods"])
            result["changed"] |= bool(result["evicted"])
        elif check_mode or not wanted(node, params["state"]):
            continue
        elif params["state"] == "schedulable":
            kubernetes_nodes.uncordon(api, node)
        else:
            # Nothing that shows its names is approved any more.
            api.call("PATCH", SERVING_NAMES, {"data": {name: None}}, "application/merge-patch+json", missing_ok=True)
            api.call("DELETE", f"/api/v1/nodes/{name}", missing_ok=True)
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "node_slot": {"type": "str", "required": True},
            "keep": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["drained", "schedulable", "absent"], "required": True},
            "wait": {"type": "int", "default": 300},
            "allow_bare_pods": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        module.exit_json(**run(params, kubernetes.ready_client(params, timeout=30), module.check_mode))
    except (OSError, kubernetes.KubernetesError) as error:
        module.fail_json(msg=f"The node of {params['node_slot']} was not {params['state']}: {error}.")


if __name__ == "__main__":
    main()

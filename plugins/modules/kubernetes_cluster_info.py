#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_cluster_info
short_description: Read, or wait for, the state of a Kubernetes cluster and of this host's part of it
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks every API server whether it is ready, and one that is for the nodes, in one execution and without kubectl.
  - An API server that does not answer is no failure; it is reported as not ready.
  - Reads how far this host has joined, and the identity file of its etcd volume.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.cluster_client.wait
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
  name:
    description: Name of this host's node.
    type: str
    required: true
  etcd_directory:
    description: Where a control plane's etcd has its volume.
    type: path
    default: /var/lib/etcd
  server_version:
    description: Version that V(healthy) wants of this host's API server, if it has one.
    type: str
    default: ""
  kubelet_version:
    description: Version that V(healthy) wants of this host's node.
    type: str
    default: ""
  operator:
    description:
      - Read besides what an operator looks at; RV(certificates), RV(snapshot), RV(joined_at) and, on a control plane,
        RV(pods) and RV(pods_unwell).
    type: bool
    default: false
  require:
    description:
      - What must be so before the module returns.
      - "V(healthy): this host's node is ready, and its API server, if it has one."
      - "V(redundant): the API servers of all other control planes are ready, so this one may be stopped."
      - "V(known): the cloud has taken up every node that is ready, and its pods have a route."
    type: str
    choices: [nothing, healthy, redundant, known]
    default: nothing
"""

EXAMPLES = r"""
- name: Wait until this node is ready
  selfhosted.ec2.kubernetes_cluster_info:
    name: ip-10-20-0-5.eu-west-1.compute.internal
    slot: control-1
    members: {control-1: control-1.trading.internal, control-2: control-2.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"
    require: healthy
    wait: 60
"""

RETURN = r"""
members:
  description: Each control plane with C(ready), C(version) and C(error).
  returned: always
  type: dict
ready:
  description: Control planes whose API server is ready.
  returned: always
  type: list
  elements: str
nodes:
  description: >-
    The nodes that this host may read (a worker its own alone), by name, with C(slot), C(ready), C(reason),
    C(schedulable), C(drained) (by the collection, and not given back yet), C(control_plane), C(version), C(zone),
    C(provider_id), C(pod_network), C(routed) and C(taints).
  returned: always
  type: dict
error:
  description: Why no nodes could be read, empty when they were.
  returned: always
  type: str
architecture:
  description: The host's architecture, as releases name it.
  returned: always
  type: str
  sample: amd64
joined:
  description: This host's kubelet has joined a cluster.
  returned: always
  type: bool
finished:
  description: Its join has come to its end.
  returned: always
  type: bool
begins:
  description: It was to begin a cluster, and nothing says that it came to its end.
  returned: always
  type: bool
installed:
  description: Version of the kubelet that this host starts next, empty when there is none.
  returned: always
  type: str
manifests:
  description: The parts of a control plane that this host runs.
  returned: always
  type: list
  elements: str
etcd:
  description: Version of etcd that this host runs, empty when it runs none.
  returned: always
  type: str
network:
  description: The network of the pods that this host was configured for.
  returned: always
  type: str
  sample: vpc_routes
made_with:
  description: >-
    What the cluster was made with as far as this host's files tell it, C(service_network), C(pod_network) (both of a
    control plane), C(dns_domain) and C(endpoint), each an empty text otherwise.
  returned: always
  type: dict
kernel:
  description: Release of the host's kernel.
  returned: always
  type: str
swap:
  description: The host has swap space that is in use by the kernel.
  returned: always
  type: bool
endpoint_addresses:
  description: The addresses that this host finds for I(endpoint).
  returned: always
  type: list
  elements: str
kubelet:
  description: Why this host's kubelet does not answer, an empty text when it does or when the host has not joined.
  returned: always
  type: str
parts:
  description: Why each of them is not ready, an empty text when it is; empty when no API server could be asked.
  returned: always
  type: dict
applied:
  description: What the last change of this host's part came to, a hash and perhaps that it was cut off.
  returned: always
  type: list
  elements: str
encryption:
  description: Names of the keys that this host's API server has at its next start, the one that it writes with first.
  returned: always
  type: list
  elements: str
authorities:
  description: The cluster's authorities that this host trusts, each by a part of its hash, the one that signs first.
  returned: always
  type: list
  elements: str
strays:
  description: Files of this host that trust other authorities, or hold a certificate that another one has signed.
  returned: always
  type: list
  elements: str
trusted_since:
  description: When the authorities that this host trusts, or their order, last changed, in seconds since 1970, or 0.
  returned: always
  type: int
holds_etcd:
  description: The etcd volume of this host holds a member's data.
  returned: always
  type: bool
certificates:
  description: When each certificate of this host ends, in seconds since 1970, by its file.
  returned: with O(operator)
  type: dict
snapshot:
  description: When the newest snapshot of etcd on this host was made, in seconds since 1970, or 0.
  returned: with O(operator)
  type: int
joined_at:
  description: When this host's join came to its end, in seconds since 1970, or 0.
  returned: with O(operator)
  type: int
moment:
  description: The time on this host, in seconds since 1970.
  returned: with O(operator)
  type: int
pods:
  description: How many pods the cluster has.
  returned: with O(operator)
  type: int
pods_unwell:
  description: The pods that are not well, by namespace and name, with the reason.
  returned: with O(operator)
  type: dict
  sample: {trading/orders-7d9: CrashLoopBackOff}
identity:
  description: Content of the volume's identity file, null when there is none.
  returned: always
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import (
    certificates,
    cluster_client,
    kubernetes,
    kubernetes_nodes,
)


def read(params):
    """Return the module's answer for its parameters.

    :raises OSError, ValueError, CertificateError: a local file cannot be read.
    """
    found = dict(kubernetes.read_disk(params["etcd_directory"]), nodes={}, parts={}, error="", kubelet="")
    if params["operator"]:
        found.update(kubernetes.read_history(params["etcd_directory"]), moment=int(time.time()), pods=0, pods_unwell={})
    if found["joined"]:
        found["kubelet"] = kubernetes.kubelet_fault()
    found["endpoint_addresses"] = kubernetes.addresses(params["endpoint"])
    members = params["members"]
    views = cluster_client.ask_all(members, lambda slot: kubernetes.member_view(kubernetes.client(params, slot)))
    ready = sorted((slot for slot in members if views[slot]["ready"]), key=lambda slot: slot != params["slot"])
    if ready and kubernetes.credentials():
        try:
            api = kubernetes.client(params, ready[0])
            found["nodes"] = kubernetes.read_nodes(api, params["name"])
            found["parts"] = kubernetes.read_parts(api, params["name"], found["manifests"])
            if params["operator"] and found["manifests"]:
                pods = kubernetes_nodes.read_all_pods(api)
                found.update(pods=len(pods), pods_unwell=kubernetes_nodes.unwell(pods, time.time()))
        except (OSError, kubernetes.KubernetesError) as error:
            found["error"] = str(error)
    return dict(found, members=views, ready=sorted(ready))


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "name": {"type": "str", "required": True},
            "etcd_directory": {"type": "path", "default": "/var/lib/etcd"},
            "operator": {"type": "bool", "default": False},
            "server_version": {"type": "str", "default": ""},
            "kubelet_version": {"type": "str", "default": ""},
            **cluster_client.gate_options("healthy", "redundant", "known"),
        },
        supports_check_mode=True,
    )

    def missing(found, name, require):
        sentence = kubernetes.missing(found, name, require, module.params["slot"])
        return sentence or (kubernetes.older(found, module.params) if require == "healthy" else "")

    try:
        found, sentence = cluster_client.gate(module, read, missing)
    except (OSError, ValueError, certificates.CertificateError) as error:
        module.fail_json(msg=f"Kubernetes cannot be read from this host: {error}.")
    cluster_client.leave(module, found, sentence)


if __name__ == "__main__":
    main()

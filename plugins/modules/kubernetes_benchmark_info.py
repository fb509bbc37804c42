#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_benchmark_info
short_description: Judge a host or a cluster by the CIS Kubernetes Benchmark
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Judges what runs - the command lines of processes, what kubelets tell of their configuration, modes and owners of
    files, sockets, answers of the API - and not what was described.
  - The list of controls is that of CIS Kubernetes Benchmark 2.0.1, in words of our own.
  - Whether pods are refused is asked with pods that the API server judges and does not keep (dry run).
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.linux
options:
  scope:
    description:
      - "V(host): this host's processes and files."
      - "V(cluster): objects in the API, and what all kubelets tell of their configuration. It runs on a control plane."
    type: str
    choices: [host, cluster]
    default: host
  control_plane:
    description: This host is to be a control plane, so it is judged as one even where nothing of it runs.
    type: bool
    default: false
  kubelet:
    description: What this host's kubelet tells of its configuration, one of RV(kubelets) of the cluster.
    type: dict
    default: {}
  exceptions:
    description: Why a control may fail here, a sentence by the control's number. It counts as failed all the same.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Judge the cluster
  selfhosted.ec2.kubernetes_benchmark_info:
    scope: cluster
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"
"""

RETURN = r"""
controls:
  description: >-
    Those that concern the host or the cluster, each with C(number), C(title), C(level), C(automated),
    C(role), C(how), C(result) (V(pass), V(fail), V(manual) or V(not applicable)), C(found), C(right) and C(reason).
  returned: always
  type: list
  elements: dict
score:
  description: >-
    Numbers of C(passed), C(failed), C(manual) and C(not_applicable) controls, of failed ones with a reason
    (C(excepted)), and how many of a hundred judged ones have passed (C(percent)).
  returned: always
  type: dict
kubelets:
  description: What each kubelet tells of its configuration, by the name of its node. Empty for a host.
  returned: always
  type: dict
benchmark:
  description: Version of the benchmark.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import (
    kubernetes,
    kubernetes_benchmark,
    kubernetes_benchmark_facts,
)


def judge_host(params):
    """Return the module's answer for a host.

    :raises OSError: it cannot be read.
    """
    anonymous = None
    roles = [kubernetes_benchmark.WORKER]
    if params["control_plane"]:
        roles += [kubernetes_benchmark.CONTROL_PLANE, kubernetes_benchmark.ETCD]
        anonymous = kubernetes.Client(params["members"][params["slot"]], params["endpoint"], params["ca"])
    facts = kubernetes_benchmark_facts.read_host(anonymous, params["kubelet"])
    return kubernetes_benchmark.judge(facts, roles, params["exceptions"]), {}


def judge_cluster(params):
    """Return the module's answer for the cluster.

    :raises OSError, KubernetesError: no API server tells it.
    """
    api = kubernetes.ready_client(params, timeout=30)
    facts = kubernetes_benchmark_facts.read_cluster(api)
    controls = kubernetes_benchmark.judge(facts, [kubernetes_benchmark.POLICIES], params["exceptions"])
    return controls, kubernetes_benchmark_facts.read_kubelets(api)


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "scope": {"type": "str", "choices": ["host", "cluster"], "default": "host"},
            "control_plane": {"type": "bool", "default": False},
            "kubelet": {"type": "dict", "default": {}},
            "exceptions": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    strangers = kubernetes_benchmark.strangers(module.params["exceptions"])
    if strangers:
        module.fail_json(
            msg=f"exceptions names {strangers}, which CIS Kubernetes Benchmark {kubernetes_benchmark.VERSION} does not"
            " have; give numbers of its controls in quotes."
        )
    judge = judge_cluster if module.params["scope"] == "cluster" else judge_host
    try:
        controls, kubelets = judge(module.params)
    except (OSError, kubernetes.KubernetesError) as error:
        module.fail_json(msg=f"The {module.params['scope']} cannot be read: {error}.")
    module.exit_json(
        changed=False,
        controls=controls,
        score=kubernetes_benchmark.score(controls),
        kubelets=kubelets,
        benchmark=kubernetes_benchmark.VERSION,
    )


if __name__ == "__main__":
    main()

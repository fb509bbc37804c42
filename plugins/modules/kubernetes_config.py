#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_config
short_description: What kubeadm makes the parts of a cluster from
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Writes the documents that kubeadm reads in the cluster when a control plane joins, changes or is upgraded.
  - Each carries the hash of what it was made from, and the document before it, so that a change that did no good can be
    taken back.
  - Nothing that runs changes by this alone.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows no difference.
    support: none
options:
  cluster:
    description: The ClusterConfiguration, YAML; empty to compare the other one alone.
    type: str
    required: true
  kubelet:
    description: The KubeletConfiguration, YAML.
    type: str
    required: true
  hash:
    description: Hash of what both were made from.
    type: str
    required: true
  state:
    description:
      - "V(present): the documents are these."
      - "V(previous): the documents of this hash are those before them again."
      - "V(told): nothing is changed, and C(documents) names those that the cluster was told otherwise."
    type: str
    choices: [present, previous, told]
    default: present
"""

EXAMPLES = r"""
- name: Tell the cluster what is described
  selfhosted.ec2.kubernetes_config:
    cluster: "{{ cluster_configuration | to_nice_yaml }}"
    kubelet: "{{ kubelet_configuration | to_nice_yaml }}"
    hash: "{{ [cluster_configuration, kubelet_configuration] | to_json | hash('sha256') }}"
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"
"""

RETURN = r"""
documents:
  description: Documents that were, or in check mode would be, changed, or that differ.
  returned: always
  type: list
  elements: str
"""

import hashlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes

BASE = "/api/v1/namespaces/kube-system/configmaps/"
HASH = "selfhosted.ec2/config"
#: Hash of the document itself, since kubeadm writes it anew in words of its own.
TEXT = "selfhosted.ec2/text"
PREVIOUS = "selfhosted.ec2/previous"
PREVIOUS_HASH = "selfhosted.ec2/previous-config"
PREVIOUS_TEXT = "selfhosted.ec2/previous-text"
#: Option to (ConfigMap, key of its data).
DOCUMENTS = {"kubelet": ("kubelet-config", "kubelet"), "cluster": ("kubeadm-config", "ClusterConfiguration")}


def digest(text):
    """Return the hash of a document."""
    return hashlib.sha256(text.encode()).hexdigest()


def differs(current, text):
    """Tell whether the cluster was told another document; without a hash of the one that it was told, it was not."""
    told = (current["metadata"].get("annotations") or {}).get(TEXT)
    return bool(text and told) and told != digest(text)


def plan(current, key, text, wanted, state):
    """Return the merge patch that brings a ConfigMap to the state, or None.

    :arg text: the document of the hash I(wanted).
    """
    annotations = current["metadata"].get("annotations") or {}
    if state == "present":
        if annotations.get(HASH) == wanted:
            return None
        before = {PREVIOUS_HASH: annotations.get(HASH, ""), PREVIOUS_TEXT: annotations.get(TEXT, "")}
        after = {HASH: wanted, TEXT: digest(text), PREVIOUS: current["data"][key], **before}
        return {"data": {key: text}, "metadata": {"annotations": after}}
    if annotations.get(HASH) != wanted or PREVIOUS not in annotations:
        return None
    after = {HASH: annotations.get(PREVIOUS_HASH) or None, TEXT: annotations.get(PREVIOUS_TEXT) or None}
    after.update(dict.fromkeys((PREVIOUS, PREVIOUS_HASH, PREVIOUS_TEXT)))
    return {"data": {key: annotations[PREVIOUS]}, "metadata": {"annotations": after}}


def run(params, api, check_mode):
    """Return the documents that changed, or differ.

    :raises OSError, KubernetesError: the cluster cannot be asked, or refuses.
    """
    changed = []
    for option, (name, key) in DOCUMENTS.items():
        if params["state"] == "told":
            changed += [name] if differs(api.call("GET", BASE + name), params[option]) else []
            continue
        patch = plan(api.call("GET", BASE + name), key, params[option], params["hash"], params["state"])
        if patch:
            changed.append(name)
            if not check_mode:
                api.call("PATCH", BASE + name, patch, "application/merge-patch+json")
    return changed


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "cluster": {"type": "str", "required": True},
            "kubelet": {"type": "str", "required": True},
            "hash": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "previous", "told"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        documents = run(module.params, kubernetes.ready_client(module.params), module.check_mode)
    except (OSError, kubernetes.KubernetesError) as error:
        module.fail_json(msg=f"The cluster was not told its configuration: {error}.")
    module.exit_json(changed=bool(documents) and module.params["state"] != "told", documents=documents)


if __name__ == "__main__":
    main()

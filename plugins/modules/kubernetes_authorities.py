#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_authorities
short_description: Publish the authorities that a Kubernetes cluster trusts, to its pods and to new nodes
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Writes the authorities into the ConfigMap C(cluster-info) of C(kube-public). In the step V(drop) it takes all others
    out of C(extension-apiserver-authentication) of C(kube-system), in which API servers only ever add some.
  - Waits until the controller manager has written the last of them, in the step V(drop) no other one, into
    C(kube-root-ca.crt) of every namespace.
  - Then starts anew, pod by pod as their updates do, the workloads of some namespaces that have not been since the step
    of the rotation, and waits until all of them are whole. Programs of pods read the authorities at their start.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows what is written and started anew.
    support: full
options:
  certificates:
    description: The cluster's authorities that are to be trusted, PEM, the newest one last.
    type: str
    required: true
  front_proxy:
    description: The authorities of the API servers' own requests to further ones, PEM.
    type: str
    required: true
  rotation:
    description: Name of the rotation, the same for all of its steps.
    type: str
    required: true
  step:
    description: Step of the rotation; what has started since a later one is left alone.
    type: str
    choices: [add, promote, drop]
    required: true
  namespaces:
    description: Namespaces whose Deployments, DaemonSets and StatefulSets start anew.
    type: list
    elements: str
    default: [kube-system]
  wait:
    description: Seconds to wait for the controller manager, and again for the workloads.
    type: int
    default: 900
"""

EXAMPLES = r"""
- name: Let pods trust both authorities
  selfhosted.ec2.kubernetes_authorities:
    certificates: "{{ former }}{{ next }}"
    front_proxy: "{{ former_front_proxy }}{{ next_front_proxy }}"
    rotation: 0123456789ab
    step: add
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ former }}{{ next }}"
"""

RETURN = r"""
written:
  description: ConfigMaps that were changed, or in check mode would be.
  returned: always
  type: list
  elements: str
started:
  description: Workloads that were started anew, or in check mode would be.
  returned: always
  type: list
  elements: str
"""

import base64
import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, kubernetes
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_authorities as authorities

MERGE = "application/merge-patch+json"
NOTE = "selfhosted.ec2/authorities"
STEPS = ("add", "promote", "drop")
KINDS = ("daemonsets", "deployments", "statefulsets")
ROOTS = "/api/v1/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt"
PAUSE = 2
_CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
_AUTHENTICATION = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
_EMBEDDED = re.compile(r"(certificate-authority-data:\s*)(\S+)")


def trusts(text, params):
    """Tell whether a text has the newest of the authorities, and in the last step no other one.

    A run that is repeated finds what later steps have done already.
    """
    found, newest = authorities.names(text), authorities.names(params["certificates"])[-1]
    return set(found) == {newest} if params["step"] == "drop" else newest in found


def cluster_info(data, params):
    """Return the changes of what new nodes are told, by key."""
    text = data.get("kubeconfig", "")
    found = _EMBEDDED.search(text)
    if not found or trusts(base64.b64decode(found.group(2)).decode(), params):
        return {}
    fresh = base64.b64encode(params["certificates"].encode()).decode()
    return {"kubeconfig": _EMBEDDED.sub(lambda match: match.group(1) + fresh, text)}


def authentication(data, params):
    """Return the changes of what further API servers trust, by key: others are taken out, and nothing is added."""
    changes = {}
    if params["step"] != "drop":
        return changes
    for key, option in (("client-ca-file", "certificates"), ("requestheader-client-ca-file", "front_proxy")):
        wanted = set(authorities.names(params[option]))
        if set(authorities.names(data.get(key, ""))) - wanted:
            changes[key] = params[option]
    return changes


def publish(api, params, check_mode):
    """Write the ConfigMaps; return those that changed."""
    written = []
    for path, changes_of in ((_CLUSTER_INFO, cluster_info), (_AUTHENTICATION, authentication)):
        found = api.call("GET", path, missing_ok=True)
        changes = changes_of(found.get("data") or {}, params) if found else {}
        if changes:
            written.append(path.rpartition("/")[2])
            if not check_mode:
                api.call("PATCH", path, {"data": changes}, MERGE)
    return written


def behind(api, params):
    """Return the namespaces whose pods are not given the authorities."""
    items = api.call("GET", "/api/v1/namespaces")["items"]
    names = {item["metadata"]["name"] for item in items if not item["metadata"].get("deletionTimestamp")}
    told = {
        item["metadata"]["namespace"]
        for item in api.call("GET", ROOTS)["items"]
        if trusts((item.get("data") or {}).get("ca.crt", ""), params)
    }
    return sorted(names - told)


def is_due(note, rotation, step):
    """Tell whether a workload has not started anew since a step."""
    former, _dash, done = (note or "").rpartition("-")
    return former != rotation or done not in STEPS or STEPS.index(done) < STEPS.index(step)


def unready(kind, item):
    """Tell whether an update of a workload has not come to its end."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return True
    if kind == "daemonsets":
        wanted = status.get("desiredNumberScheduled", 0)
        counts = [status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)]
    else:
        wanted = spec.get("replicas", 1)
        ready = "availableReplicas" if kind == "deployments" else "readyReplicas"
        counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", ready)]
    return any(count != wanted for count in counts)


def workloads(api, namespaces):
    """Return the workloads: dict of path to (kind, object)."""
    found = {}
    for namespace in namespaces:
        for kind in KINDS:
            path = f"/apis/apps/v1/namespaces/{namespace}/{kind}"
            for item in api.call("GET", path)["items"]:
                found[f"{path}/{item['metadata']['name']}"] = (kind, item)
    return found


def start(api, params, check_mode):
    """Start workloads anew; return the paths of those that had not been since the step."""
    started = []
    for path, (_kind, item) in workloads(api, params["namespaces"]).items():
        notes = item["spec"]["template"].get("metadata", {}).get("annotations") or {}
        if is_due(notes.get(NOTE), params["rotation"], params["step"]):
            started.append(path)
            if not check_mode:
                note = {NOTE: f"{params['rotation']}-{params['step']}"}
                api.call("PATCH", path, {"spec": {"template": {"metadata": {"annotations": note}}}}, MERGE)
    return started


def wait_for(left, seconds, sentence):
    """Ask until nothing is left.

    :raises KubernetesError: something is left.
    """
    _found, names = cluster_client.wait_until(left, ", ".join, seconds, PAUSE)
    if names:
        raise kubernetes.KubernetesError(f"{sentence}: {names}")


def plain(path):
    """Return namespace, kind and name of a workload's path."""
    return "/".join(path.split("/")[-3:])


def run(params, api, check_mode):
    """Return the module's result.

    :raises OSError, KubernetesError: somebody does not answer, or something did not become what it shall be.
    """
    written = publish(api, params, check_mode)
    if not check_mode:
        wait_for(
            lambda: behind(api, params),
            params["wait"],
            "the controller manager has not given the authorities to all namespaces",
        )
    started = [plain(path) for path in start(api, params, check_mode)]
    if not check_mode:
        wait_for(
            lambda: [
                plain(path)
                for path, (kind, item) in workloads(api, params["namespaces"]).items()
                if unready(kind, item)
            ],
            params["wait"],
            "not all pods are ready",
        )
    after = "".join(f"{name}\n" for name in written + started)
    return {
        "changed": bool(written or started),
        "written": written,
        "started": started,
        "diff": {"before": "", "after": after},
    }


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "certificates": {"type": "str", "required": True},
            "front_proxy": {"type": "str", "required": True},
            "rotation": {"type": "str", "required": True},
            "step": {"type": "str", "choices": list(STEPS), "required": True},
            "namespaces": {"type": "list", "elements": "str", "default": ["kube-system"]},
            "wait": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    try:
        api = kubernetes.ready_client(module.params, timeout=30)
        module.exit_json(**run(module.params, api, module.check_mode))
    except (OSError, kubernetes.KubernetesError) as error:
        module.fail_json(msg=f"The authorities were not published: {error}.")


if __name__ == "__main__":
    main()

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the pods from a node and the node from the cluster: which pods go, what stands in their way, and the calls."""

from __future__ import annotations

import calendar
import time
from urllib.parse import quote

from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes

_MIRROR = "kubernetes.io/config.mirror"
_MERGE = "application/merge-patch+json"
#: Seconds after which whoever leads clients to pods from outside has found one that is ready; HAProxy takes two.
SETTLED = 5


#: Seconds that a pod has to start, and one that was told to end has beyond its time.
STARTING = 120
#: Whoever owns such a pod has started another one in place of one that failed.
_REPLACED = ("DaemonSet", "ReplicaSet", "ReplicationController", "StatefulSet")


def nodes_of(items, slot, keep=""):
    """Return the nodes of a slot, all but the one of the name I(keep)."""
    return [
        item
        for item in items
        if (item["metadata"].get("labels") or {}).get(kubernetes.SLOT_LABEL) == slot
        and item["metadata"]["name"] != keep
    ]


def title(pod):
    """Return a pod's namespace and name."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _owner(pod):
    return next(
        (owner["kind"] for owner in pod["metadata"].get("ownerReferences") or [] if owner.get("controller")), ""
    )


def seconds(moment):
    """Return a moment as objects have it in seconds since 1970."""
    return calendar.timegm(time.strptime(moment.partition(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S"))


def _fault(pod, now):
    """Return why a pod is not well, or an empty text."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    phase = status.get("phase", "")
    ended = metadata.get("deletionTimestamp")
    if phase == "Succeeded" or (phase == "Failed" and _owner(pod) in _REPLACED):
        return ""
    if ended:
        return "does not end" if now - seconds(ended) > STARTING else ""
    if phase == "Failed":
        return f"failed ({status.get('reason') or 'a container of it'})"
    ready, reason = kubernetes.condition(pod, "Ready")
    if ready or now - seconds(metadata["creationTimestamp"]) < STARTING:
        return ""
    if not (pod.get("spec") or {}).get("nodeName"):
        return f"finds no node ({kubernetes.condition(pod, 'PodScheduled')[1]})"
    containers = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    waiting = [(item.get("state") or {}).get("waiting") or {} for item in containers]
    return next((item["reason"] for item in waiting if item.get("reason")), "") or f"not ready ({reason})"


def unwell(pods, now):
    """Return the pods that are not well, each by its namespace and name with the reason, those of kube-system first.

    One that has been there for less than C(STARTING) seconds may still start.

    :arg now: the time in seconds since 1970.
    """
    found = {title(pod): _fault(pod, now) for pod in pods}
    ordered = sorted(found, key=lambda name: (not name.startswith("kube-system/"), name))
    return {name: found[name] for name in ordered if found[name]}


def leaving(pods):
    """Return the pods that leave a node when it is drained: not those of the node itself, nor those that have ended."""
    return [
        pod
        for pod in pods
        if _MIRROR not in (pod["metadata"].get("annotations") or {})
        and _owner(pod) != "DaemonSet"
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


def bare(pods):
    """Return the names of those among leaving pods that nobody starts elsewhere."""
    return sorted(title(pod) for pod in pods if not _owner(pod))


def selects(selector, labels):
    """Tell whether a label selector takes these labels; one without any term takes all of its namespace."""
    if selector is None:
        return False
    terms = [(key, "In", [value]) for key, value in (selector.get("matchLabels") or {}).items()]
    terms += [
        (term["key"], term["operator"], term.get("values") or []) for term in selector.get("matchExpressions") or []
    ]
    tests = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, values: key in labels,
        "DoesNotExist": lambda key, values: key not in labels,
    }
    return all(tests[operator](key, values) for key, operator, values in terms)


def is_whole(budget):
    """Tell whether all pods of a PodDisruptionBudget are healthy, so that it lets no more go however long one waits."""
    status = budget.get("status") or {}
    return status.get("currentHealthy", 0) >= status.get("expectedPods", 0)


def blocking(budgets, pods):
    """Return why PodDisruptionBudgets let none of their pods among these go, a text for each; [] when all may go."""
    found = []
    for budget in budgets:
        namespace, status = budget["metadata"]["namespace"], budget.get("status") or {}
        held = [
            pod
            for pod in pods
            if pod["metadata"]["namespace"] == namespace
            and selects(budget["spec"].get("selector"), pod["metadata"].get("labels") or {})
        ]
        if held and status.get("disruptionsAllowed", 0) < 1:
            found.append(
                f"PodDisruptionBudget {namespace}/{budget['metadata']['name']} lets no pod go"
                f" ({status.get('currentHealthy', 0)} of {status.get('expectedPods', 0)} are healthy,"
                f" {status.get('desiredHealthy', 0)} must be)"
            )
    return sorted(found)


def obstacles(budgets, pods_by_node, allow_bare):
    """Return what would stop the drain of nodes, dict of node to texts; nodes without any are left out.

    :arg pods_by_node: dict of node to its pods.
    :arg allow_bare: pods that nobody starts elsewhere may be ended.
    """
    found = {}
    for name, pods in sorted(pods_by_node.items()):
        going = leaving(pods)
        texts = blocking(budgets, going)
        if not allow_bare:
            texts += [f"nobody would start the pod {pod} elsewhere" for pod in bare(going)]
        if texts:
            found[name] = texts
    return found


def read_pods(api, name):
    """Return all pods of a node."""
    return api.call("GET", f"/api/v1/pods?fieldSelector={quote('spec.nodeName=' + name)}")["items"]


def read_all_pods(api):
    """Return all pods of the cluster."""
    return api.call("GET", "/api/v1/pods")["items"]


def read_budgets(api):
    """Return all PodDisruptionBudgets."""
    return api.call("GET", "/apis/policy/v1/poddisruptionbudgets")["items"]


def _patch(api, name, unschedulable, mark):
    body = {"spec": {"unschedulable": unschedulable}, "metadata": {"annotations": {kubernetes.DRAINED: mark}}}
    api.call("PATCH", f"/api/v1/nodes/{name}", body, _MERGE)


def is_ours(node):
    """Tell whether a node was cordoned here."""
    return kubernetes.DRAINED in (node["metadata"].get("annotations") or {})


def cordon(api, node):
    """Let nothing more be placed on a node; one that an operator has cordoned keeps that without a mark."""
    if not (node.get("spec") or {}).get("unschedulable"):
        _patch(api, node["metadata"]["name"], True, "true")


def uncordon(api, node):
    """Take a node's cordon away."""
    _patch(api, node["metadata"]["name"], None, None)


def evict(api, pod, dry_run=False):
    """Ask for the end of a pod, or whether it may end; return why it may not end yet, or an empty text.

    :raises KubernetesError: the API server refuses for another reason than a budget.
    """
    metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
    if dry_run:
        path += "?dryRun=All"
    try:
        api.call("POST", path, body, missing_ok=True)
    except kubernetes.KubernetesError as error:
        if error.status != 429:
            raise
        return f"{title(pod)}: {error}"
    return ""


class Evictions:
    """Evicts pods; one that a budget has held up follows when what came in another's place has been ready for a while.

    Until then nobody outside may know it yet, while the pod is the last of its workload that they know.
    """

    def __init__(self, api):
        self._api = api
        # Pod to the moment since which its budget lets it go, None while it does not.
        self._held = {}

    def ask(self, pod):
        """Evict a pod if it is time; return why it is not, or an empty text."""
        name = title(pod)
        if name in self._held:
            reason = evict(self._api, pod, dry_run=True)
            since = None if reason else self._held[name] or time.monotonic()
            self._held[name] = since
            if since is None or time.monotonic() - since < SETTLED:
                return reason or f"{name}: what came in place of others has been ready for less than {SETTLED} s"
        reason = evict(self._api, pod)
        if reason:
            self._held[name] = None
        return reason


def drain(api, node, seconds, allow_bare, pause=1):
    """Cordon a node and take its pods; return the names of those that were asked to end.

    A node that is not ready is only cordoned: nobody there could end its pods.

    :raises KubernetesError: pods are left when the time is over, or nobody would start one elsewhere. The node is then
        as schedulable as it was before.
    """
    name = node["metadata"]["name"]
    if not kubernetes.condition(node, "Ready")[0]:
        cordon(api, node)
        return []
    alone = [] if allow_bare else bare(leaving(read_pods(api, name)))
    if alone:
        raise kubernetes.KubernetesError(f"nobody would start the pods {', '.join(alone)} elsewhere")
    cordon(api, node)
    end, asked, evictions = time.monotonic() + seconds, set(), Evictions(api)
    while True:
        pods = leaving(read_pods(api, name))
        if not pods:
            return sorted(asked)
        refused = []
        for pod in pods:
            if not pod["metadata"].get("deletionTimestamp"):
                refused.append(evictions.ask(pod))
                asked.add(title(pod))
        if time.monotonic() >= end:
            reasons = [text for text in refused if text] or [f"{title(pod)} has not ended" for pod in pods]
            if is_ours(node) or not (node.get("spec") or {}).get("unschedulable"):
                uncordon(api, node)
            raise kubernetes.KubernetesError(f"pods of {name} are left after {seconds} s ({'; '.join(reasons)})")
        time.sleep(pause)

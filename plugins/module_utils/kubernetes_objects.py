# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of Kubernetes: their addresses, how two are compared or merged, and when a workload is available. Pure."""

from __future__ import annotations

import copy

MANAGER = "selfhosted.ec2"
PART_LABEL = "selfhosted.ec2/part"
WORKLOADS = ("Deployment", "DaemonSet")
#: What holds the kinds that each part has, so that the last object of one is found that is no longer described. kubectl
#: keeps them with the parent of an ApplySet (KEP-3659, contains-group-kinds).
RECORD = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "selfhosted-ec2-kinds", "namespace": "kube-system"},
}
#: Kinds that are looked through for a part of which nothing is recorded, besides those described.
PRUNED = (
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("apiregistration.k8s.io/v1", "APIService"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "IngressClass"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("scheduling.k8s.io/v1", "PriorityClass"),
    ("storage.k8s.io/v1", "CSIDriver"),
    ("storage.k8s.io/v1", "StorageClass"),
    ("v1", "ConfigMap"),
    ("v1", "LimitRange"),
    ("v1", "Namespace"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "ResourceQuota"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
)
#: Kinds that may refuse the deletion of others when what they ask has gone before them.
GUARDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
#: Kinds that take other objects along when they go, so that one is deleted only when a user names it.
HOLDERS = ("CustomResourceDefinition", "Namespace", "PersistentVolumeClaim")
#: What the API server writes by itself, so that two objects are compared without it.
OWN_METADATA = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def group_path(api_version):
    """Return the address of an API group, such as C(/apis/apps/v1)."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def group(api_version):
    """Return the group of an API version, an empty text for the core's."""
    return api_version.rpartition("/")[0]


def kinds(items):
    """Return the kinds of objects, dict of (group, kind) to the API version."""
    return {(group(item["apiVersion"]), item["kind"]): item["apiVersion"] for item in items}


def recorded(record, part):
    """Return the kinds that a part has as the record of them tells, as C(kinds) does, the usual ones if it does not.

    :arg record: the object C(RECORD) as the cluster has it, None for none.
    """
    text = ((record or {}).get("data") or {}).get(part)
    pairs = PRUNED if text is None else [line.split() for line in text.splitlines()]
    return {(group(api_version), kind): api_version for api_version, kind in pairs}


def record_text(found):
    """Return kinds as the record has them."""
    return "\n".join(sorted(f"{api_version} {kind}" for (_group, kind), api_version in found.items()))


def identity(item, resource):
    """Return what makes two descriptions those of one object, whatever version of its kind they have."""
    return group(item["apiVersion"]), object_path({**item, "apiVersion": "any"}, resource)


def object_path(item, resource):
    """Return the address of an object.

    :arg resource: dict C(name), C(namespaced) of its kind.
    """
    metadata = item["metadata"]
    scope = f"/namespaces/{metadata.get('namespace', 'default')}" if resource["namespaced"] else ""
    return f"{group_path(item['apiVersion'])}{scope}/{resource['name']}/{metadata['name']}"


def title(item):
    """Return an object's kind and name in words, such as C(Deployment kube-system/coredns)."""
    namespace = item["metadata"].get("namespace")
    return f"{item['kind']} {namespace + '/' if namespace else ''}{item['metadata']['name']}"


def labelled(item, part):
    """Return a copy of an object with the label of its part."""
    copied = copy.deepcopy(item)
    copied["metadata"].setdefault("labels", {})[PART_LABEL] = part
    return copied


def _named(items):
    return bool(items) and all(isinstance(item, dict) and "name" in item for item in items)


def merged(base, over):
    """Return a value with another one laid over it: dicts by key, lists whose entries have names by name.

    All else is replaced, and a null takes away.

    >>> merged({"env": [{"name": "a", "value": "1"}], "x": 1}, {"env": [{"name": "b", "value": "2"}], "x": None})
    {'env': [{'name': 'a', 'value': '1'}, {'name': 'b', 'value': '2'}]}
    """
    if isinstance(base, dict) and isinstance(over, dict):
        found = {key: value for key, value in base.items() if key not in over}
        for key, value in over.items():
            if value is not None:
                found[key] = merged(base[key], value) if key in base else value
        # In the order of the base.
        order = [*base, *(key for key in over if key not in base)]
        return {key: found[key] for key in order if key in found}
    if isinstance(base, list) and isinstance(over, list) and _named(base) and _named(over):
        changes = {item["name"]: item for item in over}
        kept = [merged(item, changes.pop(item["name"], {})) for item in base]
        return [*kept, *changes.values()]
    return over


def overlaid(items, overlays):
    """Return objects with parts laid over those of the same kind, namespace and name.

    :raises ValueError: a part for which there is no object; its text names it.
    """
    found = {(item["apiVersion"], title(item)): item for item in items}
    for part in overlays:
        key = (part["apiVersion"], title(part))
        if key not in found:
            raise ValueError(title(part))
        found[key] = merged(found[key], part)
    return list(found.values())


def essence(item):
    """Return what makes an object, without what the API server keeps about it."""
    kept = {key: value for key, value in item.items() if key not in ("status", "metadata")}
    kept["metadata"] = {key: value for key, value in item["metadata"].items() if key not in OWN_METADATA}
    return kept


def volumes_of(driver, volumes):
    """Return the names of the PersistentVolumes of a CSI driver, sorted."""
    return sorted(
        item["metadata"]["name"] for item in volumes if (item["spec"].get("csi") or {}).get("driver") == driver
    )


def unavailable(item):
    """Return why a Deployment or DaemonSet is not available in its newest form, or an empty text."""
    if item is None:
        return "it does not exist"
    status = item.get("status") or {}
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return "its change has not been seen yet"
    if item["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, ready = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    else:
        wanted = item["spec"].get("replicas", 1)
        updated, ready = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or ready < wanted:
        return f"{ready} of {wanted} pods are available, {updated} are of the newest form"
    return ""

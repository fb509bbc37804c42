#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_objects
short_description: Bring objects of a Kubernetes cluster to what is described
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Applies lists of objects on the server's side, all in one execution and without kubectl. What each would become is
    asked of the API server first; only what would differ is applied.
  - What a field manager of another name owns is taken over only where the description has it.
  - Objects with the label of a part that are not described in it are deleted, of whatever kind they are, custom ones
    too. The kinds that a part has had are kept in the ConfigMap C(kube-system/selfhosted-ec2-kinds); without it
    Kubernetes' usual kinds are looked through, and those described.
  - Namespaces, definitions of custom resources and claims of volumes take other objects along, so each of them must be
    named in O(remove); until it is, the module warns of it.
  - A CSIDriver is not deleted while there are PersistentVolumes of it; nothing else is then, and the module fails.
  - Runs on a control plane, and speaks to a ready API server.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Names the objects that are made, changed or deleted.
    support: full
options:
  parts:
    description: What belongs together, in the order in which it is applied.
    type: list
    elements: dict
    required: true
    suboptions:
      part:
        description: Value of the label C(selfhosted.ec2/part) that all of its objects get.
        type: str
        required: true
      objects:
        description:
          - The objects, as a manifest has them, in the order in which they are applied.
          - Needed unless there is O(parts[].manifest), after whose objects they come.
        type: list
        elements: dict
      manifest:
        description:
          - File of the host with further objects, in YAML; what is too large to be sent with each run. The host needs
            python3-yaml to read it.
          - In check mode a file that is not there yet is told as one step.
        type: path
      overlays:
        description:
          - Parts of objects that are laid over those of O(parts[].manifest) with the same kind, namespace and name.
          - Dicts are merged by key and lists whose entries have names by name; all else is replaced, and null takes
            away.
          - A part of an object that the file has not is refused.
        type: list
        elements: dict
        default: []
  remove:
    description:
      - Names of namespaces, definitions of custom resources and claims of volumes (these as namespace/name) that are
        deleted when they carry the label of a part that does not have them.
    type: list
    elements: str
    default: []
  wait:
    description:
      - Seconds to wait until the described Deployments and DaemonSets of all parts have all their pods and are
        available.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Make a namespace
  selfhosted.ec2.kubernetes_objects:
    parts:
      - part: teams
        objects:
          - {apiVersion: v1, kind: Namespace, metadata: {name: trading}}
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"

- name: Apply a file of the host with another size of packets
  selfhosted.ec2.kubernetes_objects:
    parts:
      - part: network
        manifest: /opt/kubernetes/calico-3.32.1/calico-3.32.1.yaml
        overlays:
          - apiVersion: v1
            kind: ConfigMap
            metadata: {name: calico-config, namespace: kube-system}
            data: {veth_mtu: "1450"}
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"
"""

RETURN = r"""
steps:
  description: What was, or in check mode would be, done, such as C(create Deployment kube-system/metrics-server).
  returned: always
  type: list
  elements: str
left:
  description: Objects that are no longer described and stay, since O(remove) does not name them.
  returned: always
  type: list
  elements: str
"""

import os
import time
from urllib.parse import quote

try:
    import yaml

    HAS_YAML = True
except ImportError:
    HAS_YAML = False

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, kubernetes, kubernetes_objects

#: Seconds in which a kind is served whose definition was just applied.
ESTABLISHED = 30
APPLY = "application/apply-patch+yaml"
VOLUMES = "/api/v1/persistentvolumes"
RECORD = kubernetes_objects.object_path(kubernetes_objects.RECORD, {"name": "configmaps", "namespaced": True})
#: Volumes that a refusal names.
SHOWN = 3


class Applier:
    """Compares and applies objects at one API server."""

    def __init__(self, api, check_mode, removed=()):
        self._api, self._check_mode, self._removed = api, check_mode, removed
        self._resources = {}
        self._defined = False
        self.steps, self.left = [], []

    def resource(self, api_version, kind):
        """Return the resource of a kind, dict C(name), C(namespaced), or None."""
        # A kind that is not known may come from an object that was applied meanwhile.
        if kind not in self._resources.get(api_version, ()):
            found = self._api.call("GET", kubernetes_objects.group_path(api_version), missing_ok=True) or {}
            self._resources[api_version] = {
                item["kind"]: item for item in found.get("resources", []) if "/" not in item["name"]
            }
        return self._resources[api_version].get(kind)

    def path(self, item):
        """Return the address of an object.

        :raises KubernetesError: the cluster does not know its kind.
        """
        resource = self.resource(item["apiVersion"], item["kind"])
        end = time.monotonic() + (ESTABLISHED if self._defined else 0)
        while resource is None and time.monotonic() < end:
            time.sleep(1)
            resource = self.resource(item["apiVersion"], item["kind"])
        if resource is None:
            raise kubernetes.KubernetesError(f"the cluster knows no {item['kind']} of {item['apiVersion']}")
        return kubernetes_objects.object_path(item, resource)

    def bring(self, parts):
        """Apply the objects of parts, and delete what carries the label of one and is not described in it.

        :arg parts: dict of a part's name to its objects.
        """
        record = self._api.call("GET", RECORD, missing_ok=True)
        described = {part: kubernetes_objects.kinds(items) for part, items in parts.items()}
        former = {part: kubernetes_objects.recorded(record, part) for part in parts}
        both = {part: {**former[part], **described[part]} for part in parts}
        # Before there is any object of a new kind: a run may be cut off.
        record = self._record(record, both)
        for part, items in parts.items():
            for item in items:
                self.apply(item, part)
        # Of a kind in two versions that which is described.
        looked = {}
        for found in (*former.values(), *described.values()):
            looked.update(found)
        left = self.prune(parts, looked)
        self._record(record, {part: {**left[part], **described[part]} for part in parts})

    def _record(self, record, found):
        """Record the kinds of parts; return the record."""
        data = {part: kubernetes_objects.record_text(kinds) for part, kinds in found.items()}
        current = (record or {}).get("data") or {}
        if self._check_mode or {**current, **data} == current:
            return record
        wanted = {**kubernetes_objects.RECORD, "data": {**current, **data}}
        self._api.call("PATCH", f"{RECORD}?fieldManager={quote(kubernetes_objects.MANAGER)}&force=true", wanted, APPLY)
        return wanted

    def apply(self, item, part):
        """Apply one object of a part where it would differ."""
        wanted = kubernetes_objects.labelled(item, part)
        name = kubernetes_objects.title(item)
        try:
            path = self.path(item)
        except kubernetes.KubernetesError:
            # Its kind may come from an object of the same list, which check mode does not make.
            if not self._check_mode:
                raise
            self.steps.append(f"create {name}")
            return
        query = f"{path}?fieldManager={quote(kubernetes_objects.MANAGER)}&force=true"
        current = self._api.call("GET", path, missing_ok=True)
        if current is not None:
            planned = self._api.call("PATCH", query + "&dryRun=All", wanted, APPLY)
            if kubernetes_objects.essence(planned) == kubernetes_objects.essence(current):
                return
        self.steps.append(f"{'create' if current is None else 'change'} {name}")
        if not self._check_mode:
            self._api.call("PATCH", query, wanted, APPLY)
            self._defined |= item["kind"] == "CustomResourceDefinition"

    def prune(self, parts, kinds):
        """Delete what carries the label of a part and is not described in it; return the kinds of what stays, by part.

        :arg parts: dict of a part's name to its objects.
        :arg kinds: those that are looked through, dict of (group, kind) to an API version.
        :raises KubernetesError: it is a driver that volumes need; then nothing is deleted.
        """
        doomed = self._undescribed(parts, kinds)
        for found, _resource in doomed:
            if found["kind"] == "CSIDriver":
                self._check_driver(found["metadata"]["name"])
        left = {part: [] for part in parts}
        for found, resource in sorted(doomed, key=lambda pair: pair[0]["kind"] not in kubernetes_objects.GUARDS):
            if not self._delete(found, resource):
                left[found["metadata"]["labels"][kubernetes_objects.PART_LABEL]].append(found)
        return {part: kubernetes_objects.kinds(items) for part, items in left.items()}

    def _undescribed(self, parts, kinds):
        """Return the objects of the parts that are not described there, each with its resource."""
        # A namespace may be left out, and two groups may have a kind of one name.
        described = {self._identity_or_none(item) for items in parts.values() for item in items}
        selector = quote(f"{kubernetes_objects.PART_LABEL} in ({','.join(parts)})")
        doomed = []
        for wanted, kind in sorted((api_version, kind) for (_group, kind), api_version in kinds.items()):
            api_version, resource = self._served(wanted, kind)
            if resource is None:
                continue
            base = f"{kubernetes_objects.group_path(api_version)}/{resource['name']}"
            for found in self._api.call("GET", f"{base}?labelSelector={selector}")["items"]:
                found.update(apiVersion=api_version, kind=kind)
                if kubernetes_objects.identity(found, resource) not in described:
                    doomed.append((found, resource))
        return doomed

    def _served(self, api_version, kind):
        """Return (API version, resource) of a kind, in another version of its group where that one is served no more.

        The resource is None for one that is served in none; its objects have gone with it.
        """
        resource = self.resource(api_version, kind)
        group = kubernetes_objects.group(api_version)
        if resource or not group:
            return api_version, resource
        versions = (self._api.call("GET", f"/apis/{group}", missing_ok=True) or {}).get("versions", [])
        others = [item["groupVersion"] for item in versions if item["groupVersion"] != api_version]
        served = [(other, found) for other in others if (found := self.resource(other, kind))]
        return served[0] if served else (api_version, None)

    def _check_driver(self, driver):
        """Raise KubernetesError while volumes need a CSI driver: without it they are neither mounted nor let go."""
        volumes = kubernetes_objects.volumes_of(driver, self._api.call("GET", VOLUMES)["items"])
        if volumes:
            shown = ", ".join(volumes[:SHOWN]) + (f" and {len(volumes) - SHOWN} more" if volumes[SHOWN:] else "")
            raise kubernetes.KubernetesError(
                f"the driver {driver} is no longer described, but there are volumes of it ({shown}),"
                " which would be neither mounted nor deleted; nothing was removed, delete their claims first"
            )

    def _identity_or_none(self, item):
        """Return what tells an object from others, None when the cluster does not know its kind."""
        resource = self.resource(item["apiVersion"], item["kind"])
        return kubernetes_objects.identity(item, resource) if resource else None

    def _delete(self, found, resource):
        """Delete an object, and tell whether it goes; one that takes others along only when it is named."""
        name = kubernetes_objects.title(found)
        if found["kind"] in kubernetes_objects.HOLDERS and name.partition(" ")[2] not in self._removed:
            self.left.append(name)
            return False
        self.steps.append(f"delete {name}")
        if not self._check_mode:
            self._api.call("DELETE", kubernetes_objects.object_path(found, resource), missing_ok=True)
        return True

    def wait(self, items, seconds):
        """Wait until the workloads among objects are available.

        :raises KubernetesError: one is not when the time is over.
        """
        _items, reason = cluster_client.wait_until(lambda: items, self._waiting, seconds)
        if reason:
            raise kubernetes.KubernetesError(reason)

    def _waiting(self, items):
        """Return what is not available yet, or an empty text."""
        for item in items:
            if item["kind"] in kubernetes_objects.WORKLOADS:
                current = self._api.call("GET", self.path(item), missing_ok=True)
                reason = kubernetes_objects.unavailable(current)
                if reason:
                    return f"{kubernetes_objects.title(item)} is not available ({reason})"
        return ""


def result(steps, left=()):
    """Return the module's result."""
    diff = {"before": "", "after": "".join(f"{step}\n" for step in steps)}
    return {"changed": bool(steps), "steps": steps, "left": list(left), "diff": diff}


def read_manifest(path, overlays):
    """Return the objects of a file with overlays laid over them.

    :raises OSError, KubernetesError: it cannot be read, or is not what the overlays are for.
    """
    # The one in C takes a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with open(path, encoding="utf-8") as handle:
            items = [item for item in yaml.load_all(handle, Loader=loader) if item]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise kubernetes.KubernetesError(f"{path} is no YAML ({' '.join(str(error).split())})") from error
    for item in items:
        if not isinstance(item, dict) or not {"apiVersion", "kind", "metadata"} <= set(item):
            raise kubernetes.KubernetesError(f"{path} holds what is no object of Kubernetes ({str(item)[:60]})")
    try:
        return kubernetes_objects.overlaid(items, overlays)
    except ValueError as error:
        raise kubernetes.KubernetesError(f"{path} has no {error}, which is to be changed") from error


def read_objects(parts, check_mode):
    """Return the objects of each part, and what a run would bring first: in check mode a manifest may not be there yet.

    :raises OSError, KubernetesError: a manifest cannot be read, or two parts have one name.
    """
    found, coming = {}, []
    for part in parts:
        path = part["manifest"]
        if part["part"] in found:
            raise kubernetes.KubernetesError(f"the part {part['part']} is given twice")
        if check_mode and path and not os.path.exists(path):
            coming.append(f"apply {path}")
        else:
            manifest = read_manifest(path, part["overlays"]) if path else []
            found[part["part"]] = manifest + (part["objects"] or [])
    return found, coming


def run(module):
    """Compare, apply, wait; return the module's result.

    :raises OSError, KubernetesError: the cluster cannot be asked, or refuses.
    """
    params = module.params
    parts, coming = read_objects(params["parts"], module.check_mode)
    objects = [item for items in parts.values() for item in items]
    if module.check_mode and not (parts and kubernetes.credentials()):
        # A host that is no control plane yet: there is no cluster to ask, and a run would make everything.
        return result(coming + [f"create {kubernetes_objects.title(item)}" for item in objects])
    applier = Applier(kubernetes.ready_client(params, timeout=30), module.check_mode, params["remove"])
    applier.bring(parts)
    if not module.check_mode and params["wait"]:
        applier.wait(objects, params["wait"])
    if applier.left:
        module.warn(f"{', '.join(applier.left)}: no longer described, but not named as to be removed.")
    return result(coming + applier.steps, applier.left)


def main():
    part = {
        "part": {"type": "str", "required": True},
        "objects": {"type": "list", "elements": "dict"},
        "manifest": {"type": "path"},
        "overlays": {"type": "list", "elements": "dict", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "parts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": part,
                "required_one_of": [("objects", "manifest")],
            },
            "remove": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    parts = module.params["parts"]
    if any(part["manifest"] for part in parts) and not HAS_YAML:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    try:
        module.exit_json(**run(module))
    except (OSError, kubernetes.KubernetesError) as error:
        names = ", ".join(part["part"] for part in parts)
        module.fail_json(msg=f"The objects of {names} are not as described: {error}.")


if __name__ == "__main__":
    main()

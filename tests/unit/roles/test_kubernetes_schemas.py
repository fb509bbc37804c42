"""Every object that the roles bring into a cluster, and those of the examples, against Kubernetes' own schemas."""

from __future__ import annotations

import re

import kubernetes_validate
import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_objects

from tests.unit.roles import playing
from tests.unit.roles import test_kubernetes_ebs_csi as addons

#: Minors that the roles install.
MINORS = ("1.36", "1.37")
ROLE = playing.ROOT / "roles/kubernetes_addons"
PARTS = {"cloud": "__kubernetes_addons_cloud_objects", "parts": "__kubernetes_addons_parts"}
#: What kubeadm has given its Deployment (cmd/kubeadm/app/phases/addons/dns/manifests.go); the role applies a part.
COREDNS = {
    "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
    "template": {"metadata": {"labels": {"k8s-app": "kube-dns"}}},
}


def faults(item, minor):
    """What a schema has against an object, unknown fields and all, as a list of one text or none."""
    try:
        kubernetes_validate.validate(item, minor, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(map(str, error.absolute_path))
        return [f"{kubernetes_objects.title(item)}: {path}: {error.message}"]
    return []


def whole(item):
    """An object as it is in the cluster: CoreDNS' Deployment with what kubeadm has given it."""
    if kubernetes_objects.title(item) != "Deployment kube-system/coredns":
        return item
    spec = item["spec"]["template"]["spec"]
    return {
        **item,
        "spec": {**COREDNS, "template": {**COREDNS["template"], "spec": {**spec, "containers": [{"name": "coredns"}]}}},
    }


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("schemas"))


def rendered(path):
    """All objects of the role, with everything that can be switched on."""
    (path / "templates").symlink_to(ROLE / "templates")
    files = [{"ansible.builtin.include_vars": {"file": str(ROLE / part / "main.yml")}} for part in ("defaults", "vars")]
    sets = {"ansible.builtin.set_fact": {"kubernetes_addons_ebs_csi": True}}
    shown = {name: f"{{{{ {value} }}}}" for name, value in PARTS.items()}
    save = {
        "ansible.builtin.copy": {"dest": f"{path}/objects.yaml", "content": "{{ shown | to_nice_yaml }}"},
        "vars": {"shown": shown},
    }
    play = {"name": "Write", "hosts": "all", "gather_facts": False, "tasks": [*files, sets, save]}
    code, text = playing.run(path, [play], {"all": {"hosts": {"control-1": addons.VARIABLES}}})
    assert code == 0, text
    found = yaml.safe_load((path / "objects.yaml").read_text())
    return found["cloud"] + [item for part in found["parts"] for item in part["objects"]]


@pytest.mark.parametrize("minor", MINORS)
def test_what_the_role_applies_is_valid(objects, minor):
    assert {"DaemonSet", "Deployment", "APIService", "CSIDriver", "StorageClass"} <= {item["kind"] for item in objects}
    assert [fault for item in objects for fault in faults(whole(item), minor)] == []


def test_a_misspelled_or_missing_field_is_found(objects):
    (found,) = [item for item in objects if item["metadata"]["name"] == "aws-cloud-controller-manager"]
    wrong = {**found, "spec": {**found["spec"], "selectors": {}}}
    assert len(faults(wrong, "1.37")) == 1
    assert len(faults({**found, "spec": {"template": found["spec"]["template"]}}, "1.37")) == 1


def examples():
    """Objects in the list kubernetes_addons_objects of the lab and of the guide: pairs of where and the object."""
    lab = playing.ROOT / "inventory/lab/group_vars/all/kubernetes.yml"
    guide = playing.ROOT / "docs/kubernetes.md"
    texts = [(lab.name, lab.read_text())]
    texts += [
        (guide.name, text) for text in re.findall(r"^```yaml\n(.*?)^```", guide.read_text(), re.DOTALL | re.MULTILINE)
    ]
    found = []
    for name, text in texts:
        if "kubernetes_addons_objects:" in text:
            found += [(name, item) for item in yaml.load(text, Loader=Unsafe)["kubernetes_addons_objects"]]
    return found


class Unsafe(yaml.SafeLoader):
    """Reads Ansible's tag of texts that are no templates."""


Unsafe.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def test_the_examples_are_valid():
    found = examples()
    assert len(found) >= 7
    assert [(name, fault) for name, item in found for fault in faults(item, "1.37")] == []

"""The documents in the cluster: written when what they were made from has changed, and taken back to those before."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_config


class Api:
    """ConfigMaps that take merge patches."""

    def __init__(self):
        self.maps = {
            kubernetes_config.BASE + name: {"metadata": {}, "data": {key: "by kubeadm", "other": "x"}}
            for name, key in kubernetes_config.DOCUMENTS.values()
        }

    def call(self, method, path, body=None, _content_type=None):
        if method == "PATCH":
            self.maps[path] = merged(self.maps[path], body)
        return copy.deepcopy(self.maps[path])

    def text(self):
        return self.maps[kubernetes_config.BASE + "kubeadm-config"]["data"]["ClusterConfiguration"]


def merged(current, patch):
    """Merge as the API server does."""
    found = dict(current)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key, {}), value) if isinstance(value, dict) else value
    return found


@pytest.fixture
def api():
    return Api()


def run(api, digest, state="present", check_mode=False):
    params = {"cluster": f"cluster {digest}", "kubelet": f"kubelet {digest}", "hash": digest, "state": state}
    return kubernetes_config.run(params, api, check_mode)


def test_they_are_written_once(api):
    assert run(api, "one", check_mode=True) == ["kubelet-config", "kubeadm-config"] and api.text() == "by kubeadm"
    assert run(api, "one") == ["kubelet-config", "kubeadm-config"]
    assert api.text() == "cluster one"
    assert run(api, "one") == []


def test_what_kubeadm_writes_later_keeps_the_mark(api):
    run(api, "one")
    api.maps[kubernetes_config.BASE + "kubeadm-config"]["data"]["ClusterConfiguration"] = "cluster one, version 2"
    assert run(api, "one") == []


def test_a_change_is_taken_back_to_the_documents_before_and_can_be_made_again(api):
    run(api, "one")
    run(api, "bad")
    assert run(api, "bad", "previous") == ["kubelet-config", "kubeadm-config"]
    assert api.text() == "cluster one"
    assert run(api, "one") == []
    assert run(api, "bad", "previous") == []
    assert run(api, "bad") == ["kubelet-config", "kubeadm-config"]


def test_the_first_documents_go_back_to_those_of_kubeadm(api):
    run(api, "bad")
    run(api, "bad", "previous")
    assert api.text() == "by kubeadm"
    assert api.maps[kubernetes_config.BASE + "kubeadm-config"]["metadata"]["annotations"] == {}


def test_documents_of_another_hash_are_not_taken_back(api):
    run(api, "one")
    run(api, "two")
    assert run(api, "one", "previous") == [] and api.text() == "cluster two"


def test_it_tells_what_the_cluster_was_told_otherwise(api):
    assert run(api, "one", "told") == [], "nobody has told it anything yet"
    run(api, "one")
    api.maps[kubernetes_config.BASE + "kubelet-config"]["data"]["kubelet"] = "kubelet one, in kubeadm's words"
    assert run(api, "one", "told") == []
    assert run(api, "two", "told") == ["kubelet-config", "kubeadm-config"]
    worker = {"cluster": "", "kubelet": "kubelet two", "hash": "two", "state": "told"}
    assert kubernetes_config.run(worker, api, False) == ["kubelet-config"]
    run(api, "two")
    run(api, "two", "previous")
    assert run(api, "one", "told") == [] and run(api, "two", "told") != []

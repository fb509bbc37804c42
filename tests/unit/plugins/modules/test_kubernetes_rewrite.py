"""What etcd holds under another key is written anew, and nothing is left when the module says so."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes
from ansible_collections.selfhosted.ec2.plugins.modules import kubernetes_rewrite as rewriting

PARAMS = {"key": "key-new", "resources": ["secrets"], "etcd_urls": ["https://127.0.0.1:2379"]}


def secretbox(name):
    return b"k8s:enc:secretbox:v1:" + name.encode() + b":" + bytes(range(256))


class Cluster:
    """An etcd, its gateway and an API server that writes with the new key."""

    def __init__(self, items):
        self.items = {f"/registry/{name}".encode(): value for name, value in items.items()}
        self.patched, self.refusals, self.pages = [], {}, 0

    def post(self, _url, path, asked):
        assert path == "/v3/kv/range"
        self.pages += 1
        first, end = (base64.b64decode(asked[name]) for name in ("key", "range_end"))
        names = sorted(name for name in self.items if first <= name < end)
        page = names[: int(asked["limit"])]
        items = [
            {"key": base64.b64encode(name).decode(), "value": base64.b64encode(self.items[name]).decode()}
            for name in page
        ]
        # As the gateway does, which leaves out what is false or empty.
        return {"kvs": items, **({"more": True} if len(page) < len(names) else {})} if page else {"header": {}}

    def call(self, method, path, body, content_type, missing_ok=False):
        assert (method, body, content_type, missing_ok) == ("PATCH", {}, "application/merge-patch+json", True)
        self.patched.append(path)
        namespace, _resource, name = path.removeprefix("/api/v1/namespaces/").split("/")
        refusals = self.refusals.get(name, [])
        if refusals:
            raise kubernetes.KubernetesError("refused", refusals.pop(0))
        place = f"/registry/secrets/{namespace}/{name}".encode()
        if place in self.items:
            self.items[place] = secretbox("key-new")

    def run(self, check_mode=False):
        return rewriting.run(PARAMS, self, self, check_mode)


def test_only_what_is_under_another_key_is_written_and_a_second_run_writes_nothing():
    cluster = Cluster(
        {
            "secrets/trading/a": secretbox("key1"),
            "secrets/trading/b": secretbox("key-new"),
            "secrets/trading/plain": b"k8s\0\n\x0cv1",
            "secrets/trading/other": b"k8s:enc:aescbc:v1:key-new:x",
            "secretsx/trading/a": secretbox("key1"),
            "configmaps/trading/a": b"k8s\0",
        }
    )
    found = cluster.run(check_mode=True)
    assert found["changed"] and found["rewritten"] == 3 and cluster.patched == []
    found = cluster.run()
    assert found["before"] == {"": 2, "key-new": 1, "key1": 1} and found["after"] == {"key-new": 4}
    assert found["rewritten"] == len(cluster.patched) == 3
    again = cluster.run()
    assert not again["changed"] and again["before"] == again["after"] == {"key-new": 4} and len(cluster.patched) == 3


def test_all_pages_are_read():
    cluster = Cluster({f"secrets/default/s-{number:04}": secretbox("key1") for number in range(250)})
    assert cluster.run()["after"] == {"key-new": 250}
    assert cluster.pages == 6


def test_an_empty_cluster_needs_no_other_key():
    assert Cluster({}).run() == {
        "changed": False,
        "before": {},
        "after": {},
        "rewritten": 0,
        "diff": {"before": {}, "after": {}},
    }


def test_what_somebody_else_changes_meanwhile_is_tried_again():
    cluster = Cluster({"secrets/default/a": secretbox("key1"), "secrets/default/b": secretbox("key1")})
    cluster.refusals = {"a": [409]}
    assert cluster.run()["after"] == {"key-new": 2}
    assert cluster.patched.count("/api/v1/namespaces/default/secrets/a") == 2


def test_what_is_left_under_another_key_is_a_failure():
    cluster = Cluster({"secrets/default/a": secretbox("key1"), "secrets/default/b": secretbox("key1")})
    cluster.refusals = {"a": [500] * 9}
    with pytest.raises(kubernetes.KubernetesError, match=r"1 of 2 objects .* secrets default/a \(refused\)"):
        cluster.run()
    assert cluster.items[b"/registry/secrets/default/b"] == secretbox("key-new"), "the others go on"


def test_a_long_value_is_read_no_further_than_the_name():
    assert rewriting.key_name(base64.b64encode(secretbox("key-0123456789ab") * 50).decode()) == "key-0123456789ab"
    assert rewriting.key_name("") == ""


def test_the_first_member_that_answers_is_asked():
    class Gateway:
        def post(self, url, _path):
            if url == "https://a:2379":
                raise rewriting.etcd.EtcdError("does not answer")

    urls = ["https://a:2379", "https://b:2379", "https://c:2379"]
    assert rewriting.answering(Gateway(), urls) == urls[1]
    # What is wrong with the last one shows when it is asked.
    assert rewriting.answering(Gateway(), urls[:1]) == urls[0]

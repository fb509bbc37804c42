#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_rewrite
short_description: Encrypt what etcd holds with another key
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads in etcd, page by page, under the name of which key each object is stored, and lets the API server write those
    anew that are not under the wanted one, by a patch that changes nothing. Then it reads all of them again.
  - What somebody else changes or deletes meanwhile is no failure, since it is written with the new key then, or gone.
  - It fails when objects are left under another key, so success is the proof that no other key is needed.
  - Every API server must write with the wanted key before.
  - Runs on a control plane. The content of no object is shown or leaves the host.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.cluster_client.certificate
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows how many objects were under which key, and how many are.
    support: full
options:
  key:
    description: Name of the key, of the provider secretbox, with which the objects shall be stored.
    type: str
    required: true
  resources:
    description: Resources that are encrypted, of the core group and with namespaces.
    type: list
    elements: str
    default: [secrets]
  etcd_urls:
    description: Members of etcd, of which the first that answers is asked; this host's own when not set.
    type: list
    elements: str
    default: ["https://127.0.0.1:2379"]
"""

EXAMPLES = r"""
- name: Let nothing need another key than the new one
  selfhosted.ec2.kubernetes_rewrite:
    key: key-0123456789ab
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"
    ca_file: /etc/kubernetes/pki/etcd/ca.crt
    cert_file: /etc/kubernetes/pki/apiserver-etcd-client.crt
    key_file: /etc/kubernetes/pki/apiserver-etcd-client.key
"""

RETURN = r"""
before:
  description: How many objects were stored under which key; those without encryption under an empty name.
  returned: always
  type: dict
  sample: {"key1": 41}
after:
  description: How many objects are stored under which key.
  returned: always
  type: dict
  sample: {"key-0123456789ab": 41}
rewritten:
  description: How many objects were, or in check mode would be, written anew.
  returned: always
  type: int
"""

import base64
from collections import Counter
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, etcd, kubernetes

#: An API server stores an encrypted object as this, the key's name, a colon and the cipher text
#: (its documentation, "Encrypting Confidential Data at Rest").
PREFIX = b"k8s:enc:secretbox:v1:"
PAGE = 100
PASSES = 3


def encoded(text):
    """Return a key of etcd as its gateway takes it."""
    return base64.b64encode(text).decode()


def key_name(value):
    """Return the name of the key that an object is stored under, an empty text for one that none of secretbox is.

    :arg value: what etcd holds, base64.
    """
    # The name stands at the beginning, and is short.
    head = base64.b64decode(value[:400])
    return head[len(PREFIX) :].partition(b":")[0].decode(errors="replace") if head.startswith(PREFIX) else ""


def stored(gateway, url, resource):
    """Return all objects of a resource, dict of (namespace, name) to the name of the key.

    :raises EtcdError: the member does not answer.
    """
    start = f"/registry/{resource}/".encode()
    found, end = {}, start[:-1] + b"0"
    first = start
    while first:
        answer = gateway.post(
            url, "/v3/kv/range", {"key": encoded(first), "range_end": encoded(end), "limit": str(PAGE)}
        )
        items = answer.get("kvs", [])
        for item in items:
            last = base64.b64decode(item["key"])
            namespace, _slash, name = last[len(start) :].decode().partition("/")
            found[namespace, name] = key_name(item["value"])
        first = last + b"\0" if items and answer.get("more") else None
    return found


def stored_all(gateway, url, resources):
    """Return all objects, dict of (resource, namespace, name) to the name of the key."""
    return {
        (resource, *place): name for resource in resources for place, name in stored(gateway, url, resource).items()
    }


def answering(gateway, urls):
    """Return the first member that answers; with one alone there is nothing to choose.

    :raises EtcdError: none does.
    """
    for url in urls[:-1]:
        try:
            gateway.post(url, "/v3/maintenance/status")
        except etcd.EtcdError:
            continue
        return url
    return urls[-1]


def rewrite(api, places):
    """Let the API server write objects anew; return why it did not, by object."""
    refused = {}
    for resource, namespace, name in places:
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/{resource}/{quote(name, safe='')}"
        try:
            # It writes what it finds under another key than its first one, also without a change.
            api.call("PATCH", path, {}, "application/merge-patch+json", missing_ok=True)
        except kubernetes.KubernetesError as error:
            refused[resource, namespace, name] = str(error)
    return refused


def counts(found):
    """Return how many objects are under which key."""
    return dict(sorted(Counter(found.values()).items()))


def run(params, gateway, api, check_mode):
    """Return the module's result.

    :raises OSError, EtcdError, KubernetesError: somebody does not answer, or objects are left under another key.
    """

    url = answering(gateway, params["etcd_urls"])

    def read():
        return stored_all(gateway, url, params["resources"])

    found = read()
    before, rewritten, refused = counts(found), set(), {}
    for _pass in range(PASSES):
        others = [place for place, name in found.items() if name != params["key"]]
        rewritten.update(others)
        if not others or check_mode:
            break
        refused = rewrite(api, others)
        found = read()
    left = [place for place, name in found.items() if name != params["key"]]
    if left and not check_mode:
        place = next((place for place in left if place in refused), left[0])
        raise kubernetes.KubernetesError(
            f"{len(left)} of {len(found)} objects are not stored under {params['key']}, such as"
            f" {' '.join([place[0], '/'.join(place[1:])])} ({refused.get(place, 'it was written anew')})"
        )
    result = {"changed": bool(rewritten), "before": before, "after": counts(found), "rewritten": len(rewritten)}
    return dict(result, diff={"before": before, "after": result["after"]})


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            **cluster_client.certificate_options(),
            "key": {"type": "str", "required": True, "no_log": False},
            "resources": {"type": "list", "elements": "str", "default": ["secrets"]},
            "etcd_urls": {"type": "list", "elements": "str", "default": ["https://127.0.0.1:2379"]},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        gateway = etcd.Gateway(params["ca_file"], params["cert_file"], params["key_file"], timeout=60)
        module.exit_json(**run(params, gateway, kubernetes.ready_client(params, timeout=30), module.check_mode))
    except (OSError, etcd.EtcdError, kubernetes.KubernetesError) as error:
        module.fail_json(msg=f"What etcd holds was not brought under the key {params['key']}: {error}.")


if __name__ == "__main__":
    main()

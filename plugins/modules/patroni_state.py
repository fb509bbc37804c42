#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_state
short_description: Make Patroni forget a cluster's members, leader and history in etcd
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Removes all keys of a cluster but its dynamic configuration, so that a restored member can begin the cluster anew.
  - Refuses while a leader holds its lock. Every Patroni of the cluster must be stopped.
extends_documentation_fragment:
  - selfhosted.ec2.cluster_client.certificate
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the keys before and after.
    support: full
options:
  scope:
    description: Name of the cluster.
    type: str
    required: true
  namespace:
    description: Where Patroni keeps its clusters.
    type: str
    default: /service
  endpoints:
    description: Client URLs of etcd.
    type: list
    elements: str
    required: true
  wait:
    description: Seconds to wait for the lock of a leader that was stopped to run out.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Forget the cluster that was
  selfhosted.ec2.patroni_state:
    scope: main
    endpoints: [https://database-1.trading.internal:2379]
    ca_file: /etc/patroni/tls/ca.crt
    cert_file: /etc/patroni/tls/postgresql.crt
    key_file: /etc/patroni/tls/postgresql.key
"""

RETURN = r"""
removed:
  description: The keys that were, or in check mode would be, removed.
  returned: success
  type: list
  elements: str
"""

import base64
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, etcd


def encode(text):
    """Return a key as the gateway takes it."""
    return base64.b64encode(text.encode()).decode()


def first_answer(gateway, endpoints, path, payload):
    """Return the answer of the first member that gives one.

    :raises etcd.EtcdError: none does.
    """
    error = etcd.EtcdError("no endpoint is given")
    for endpoint in endpoints:
        try:
            return gateway.post(endpoint, path, payload)
        except etcd.EtcdError as reason:
            error = reason
    raise error


def read_keys(gateway, endpoints, prefix):
    """Return the keys below a prefix."""
    # "0" follows "/": the range ends behind the last key with the prefix.
    payload = {"key": encode(prefix + "/"), "range_end": encode(prefix + "0"), "keys_only": True}
    answer = first_answer(gateway, endpoints, "/v3/kv/range", payload)
    return sorted(base64.b64decode(entry["key"]).decode() for entry in answer.get("kvs") or [])


def doomed(keys, prefix):
    """Return the keys to remove: all but the configuration."""
    return [key for key in keys if key != prefix + "/config"]


def run(module):
    """Read, wait for the lock and remove; return the module's answer.

    :raises etcd.EtcdError: etcd does not answer, or a leader holds its lock.
    """
    params = module.params
    gateway = etcd.Gateway(params["ca_file"], params["cert_file"], params["key_file"])
    prefix = params["namespace"].rstrip("/") + "/" + params["scope"]
    keys = read_keys(gateway, params["endpoints"], prefix)
    deadline = time.monotonic() + params["wait"]
    while prefix + "/leader" in keys and not module.check_mode:
        if time.monotonic() > deadline:
            raise etcd.EtcdError("a leader still holds its lock; stop Patroni on every member first")
        time.sleep(1)
        keys = read_keys(gateway, params["endpoints"], prefix)
    removed = doomed(keys, prefix)
    if not module.check_mode:
        for key in removed:
            first_answer(gateway, params["endpoints"], "/v3/kv/deleterange", {"key": encode(key)})
    kept = [key for key in keys if key not in removed]
    return {
        "changed": bool(removed),
        "removed": removed,
        "diff": {"before": "\n".join(keys) + "\n", "after": "\n".join(kept) + "\n"},
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "required": True},
            "namespace": {"type": "str", "default": "/service"},
            "endpoints": {"type": "list", "elements": "str", "required": True},
            "wait": {"type": "int", "default": 60},
            **cluster_client.certificate_options(),
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (OSError, etcd.EtcdError) as error:
        module.fail_json(msg=f"The state of {module.params['scope']} in etcd was not removed: {error}.")


if __name__ == "__main__":
    main()

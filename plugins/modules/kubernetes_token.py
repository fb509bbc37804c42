#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_token
short_description: A short-lived token with which one node joins
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Makes a bootstrap token for kubeadm's group of new nodes, or deletes it, and with it every older one of the same
    host, such as that of a run that was cut off.
  - Runs on a control plane, and speaks to its API server.
extends_documentation_fragment:
  - selfhosted.ec2.kubernetes
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows no difference; a token is a secret.
    support: none
options:
  node:
    description: Slot of the host that joins with it.
    type: str
    required: true
  state:
    description: Whether a new token is made, or all of this host are deleted.
    type: str
    choices: [present, absent]
    default: present
  minutes:
    description: Minutes until the token ends by itself.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Make a token
  selfhosted.ec2.kubernetes_token:
    node: workers-1
    slot: control-1
    members: {control-1: control-1.trading.internal}
    endpoint: kubernetes.trading.internal
    ca: "{{ platform_secrets['kubernetes/ca/certificate'] }}"
  no_log: true
"""

RETURN = r"""
token:
  description: The new token, a secret.
  returned: when O(state=present), not in check mode
  type: str
deleted:
  description: How many tokens of the host were deleted.
  returned: always
  type: int
"""

import base64
import datetime
import secrets
import string

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes

SECRETS = "/api/v1/namespaces/kube-system/secrets"
DESCRIPTION = "selfhosted.ec2: "
CHARACTERS = string.ascii_lowercase + string.digits


def new_token(node, minutes, now=None):
    """Return (token, the secret object that makes it valid)."""
    identity = "".join(secrets.choice(CHARACTERS) for _index in range(6))
    secret = "".join(secrets.choice(CHARACTERS) for _index in range(16))
    end = (now or datetime.datetime.now(datetime.timezone.utc)) + datetime.timedelta(minutes=minutes)
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": f"bootstrap-token-{identity}", "namespace": "kube-system"},
        "stringData": {
            "token-id": identity,
            "token-secret": secret,
            "description": DESCRIPTION + node,
            "expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        },
    }
    return f"{identity}.{secret}", body


def tokens_of(items, node):
    """Return the names of a host's tokens among secrets."""
    wanted = base64.b64encode((DESCRIPTION + node).encode()).decode()
    return [item["metadata"]["name"] for item in items if (item.get("data") or {}).get("description") == wanted]


def run(params, api, check_mode):
    """Return the module's result."""
    query = SECRETS + "?fieldSelector=type%3Dbootstrap.kubernetes.io/token"
    old = tokens_of(api.call("GET", query)["items"], params["node"])
    result = {"changed": bool(old) or params["state"] == "present", "deleted": len(old)}
    if check_mode:
        return result
    for name in old:
        api.call("DELETE", f"{SECRETS}/{name}", missing_ok=True)
    if params["state"] == "present":
        result["token"], body = new_token(params["node"], params["minutes"])
        api.call("POST", SECRETS, body)
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **kubernetes.member_options(),
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "minutes": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module.params, kubernetes.ready_client(module.params), module.check_mode))
    except (OSError, kubernetes.KubernetesError) as error:
        module.fail_json(msg=f"The token of {module.params['node']} was not changed: {error}.")


if __name__ == "__main__":
    main()

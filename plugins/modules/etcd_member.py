#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_member
short_description: Add, remove or replace a member in an etcd cluster's list
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Changes the list of members through a healthy member. It does not touch the data of any host.
  - V(replaced) removes the started member of the name and adds it anew, so that it can start with an empty disk.
    A member that was added and has not started yet is left as it is, so that a cut-off run can be repeated.
extends_documentation_fragment:
  - selfhosted.ec2.cluster_client.certificate
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows the names of the members before and after.
    support: full
options:
  name:
    description: Name of the member.
    type: str
    required: true
  peer_url:
    description: Address at which the other members reach it.
    type: str
    required: true
  state:
    description: What the list should hold.
    type: str
    choices: [present, absent, replaced]
    default: present
  endpoints:
    description: Client URLs of the other members.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Take the lost member out and let its successor in
  selfhosted.ec2.etcd_member:
    name: database-2
    peer_url: https://database-2.trading.internal:2380
    state: replaced
    endpoints: [https://database-1.trading.internal:2379, https://database-3.trading.internal:2379]
    ca_file: /etc/etcd/tls/ca.crt
    cert_file: /etc/etcd/tls/etcd.crt
    key_file: /etc/etcd/tls/etcd.key
"""

RETURN = r"""
steps:
  description: What was done, in order.
  returned: always
  type: list
  elements: dict
  sample: [{"action": "remove", "id": "8e9e05c52164694d"}, {"action": "add", "peer_url": "https://database-2.trading.internal:2380"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client, etcd


def plan(state, member, peer_url):
    """Return the steps that bring the list to I(state).

    :arg member: the listed member (see C(etcd.list_members)), or None.
    """
    add = {"action": "add", "peer_url": peer_url}
    if member is None:
        return [] if state == "absent" else [add]
    remove = {"action": "remove", "id": member["id"]}
    if state == "absent":
        return [remove]
    return [remove, add] if state == "replaced" and member["started"] else []


def apply(gateway, endpoint, steps):
    """Do the steps through one member.

    :raises etcd.EtcdError: the cluster refuses, for example because it would lose its quorum.
    """
    for step in steps:
        if step["action"] == "remove":
            gateway.post(endpoint, "/v3/cluster/member/remove", {"ID": str(int(step["id"], 16))})
        else:
            gateway.post(endpoint, "/v3/cluster/member/add", {"peerURLs": [step["peer_url"]]})


def run(module):
    """Read, plan and apply; return the module's answer."""
    params = module.params
    gateway = etcd.Gateway(params["ca_file"], params["cert_file"], params["key_file"])
    healthy = [url for url in params["endpoints"] if etcd.member_view(gateway, url)["healthy"]]
    if not healthy:
        raise etcd.EtcdError("none of " + ", ".join(params["endpoints"]) + " is healthy")
    listed = etcd.list_members(gateway, healthy)
    steps = plan(params["state"], etcd.find_member(listed, params["name"], params["peer_url"]), params["peer_url"])
    if not module.check_mode:
        apply(gateway, healthy[0], steps)
    before = sorted(member["name"] or member["peer_urls"][0] for member in listed)
    gone = {step["id"] for step in steps if step["action"] == "remove"}
    kept = [member["name"] or member["peer_urls"][0] for member in listed if member["id"] not in gone]
    after = sorted(kept + [step["peer_url"] for step in steps if step["action"] == "add"])
    return {"changed": bool(steps), "steps": steps, "diff": {"before": before, "after": after}}


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "peer_url": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "replaced"], "default": "present"},
            "endpoints": {"type": "list", "elements": "str", "required": True},
            **cluster_client.certificate_options(),
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (OSError, etcd.EtcdError) as error:
        module.fail_json(msg=f"Member {module.params['name']} of etcd was not changed: {error}.")


if __name__ == "__main__":
    main()

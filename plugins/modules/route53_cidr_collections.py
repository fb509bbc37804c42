#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: route53_cidr_collections
short_description: CIDR collections of Route 53, for records that answer by the client's network, as a set
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads all collections with their blocks, compares them, and writes one change for each collection that differs.
  - Records name a collection by its id and a location of it, see the option C(records[].cidr) of
    M(selfhosted.ec2.route53_records).
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows each block that changes.
    support: full
options:
  collections:
    description: Collections that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, at most 64 letters, digits, dashes and underscores.
        type: str
        required: true
      locations:
        description: Names of locations, at most 16 characters, to lists of blocks, /1 to /24 or, with IPv6, to /48.
        type: dict
        required: true
  prune_prefix:
    description: Collections whose name begins so and that are not described are emptied and deleted.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Networks of partners
  selfhosted.ec2.route53_cidr_collections:
    collections:
      - name: trading-partners
        locations:
          bank: [192.0.2.0/24, "2001:db8::/48"]
          broker: [198.51.100.0/24]
"""

RETURN = r"""
ids:
  description: Ids of the described collections that exist, by name.
  returned: always
  type: dict
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, cidr_plan, steps


def read(client, names, prefix):
    """Return the collections that are described or ours by the prefix: name to dict id, version, locations."""
    listed = client.pages("list_cidr_collections", "CidrCollections")
    found = [c for c in listed if c["Name"] in names or (prefix and c["Name"].startswith(prefix))]

    def one(collection):
        locations = {}
        for block in client.pages("list_cidr_blocks", "CidrBlocks", CollectionId=collection["Id"]):
            locations.setdefault(block["LocationName"], []).append(cidr_plan.canonical(block["CidrBlock"]))
        kept = {location: sorted(blocks) for location, blocks in locations.items()}
        return collection["Name"], {"id": collection["Id"], "version": collection["Version"], "locations": kept}

    return dict(aws.parallel(one, found))


def manage(params, client, check_mode):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    prefix = params["prune_prefix"]
    found = cidr_plan.faults(params["collections"], prefix)
    if found:
        raise aws.AwsError(" ".join(found))
    want = cidr_plan.desired(params["collections"])
    have = read(client, want, prefix)
    plan = cidr_plan.plan(want, have, prefix)
    made = steps.run(plan, client, {}) if plan and not check_mode else {}
    ids = {name: have[name]["id"] if name in have else made.get(f"@{name}", "") for name in want}
    return {
        "changed": bool(plan),
        "ids": {name: identity for name, identity in ids.items() if identity},
        "changes": [step.text for step in plan],
        "diff": cidr_plan.difference(want, have, prefix),
    }


def argument_spec():
    collection = {"name": {"type": "str", "required": True}, "locations": {"type": "dict", "required": True}}
    return {
        **aws.argument_spec(),
        "collections": {"type": "list", "elements": "dict", "default": [], "options": collection},
        "prune_prefix": {"type": "str", "default": ""},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection.client("route53"), module.check_mode))


if __name__ == "__main__":
    main()

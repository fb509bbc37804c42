#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: route53_zone
short_description: A Route 53 hosted zone with its VPCs, comment and tags
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Makes a public or private zone and keeps the VPCs that ask it, its comment and its tags as described.
  - New VPCs are associated before others are let go, so a private zone is never without one.
  - A zone that still has records is not removed.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows VPCs, comment and tags before and after.
    support: full
options:
  name:
    description: Name of the zone.
    type: str
    required: true
  zone_id:
    description: Id of the zone, needed when several have the name.
    type: str
  state:
    description: Whether the zone shall be there.
    type: str
    choices: [present, absent]
    default: present
  private_zone:
    description: Whether the private zone of that name is meant.
    type: bool
    default: false
  vpcs:
    description: The VPCs whose hosts ask a private zone. Without this option those of an existing zone stay.
    type: list
    elements: dict
    suboptions:
      id:
        description: Id of the VPC.
        type: str
        required: true
      region:
        description: Its region; default is the O(region) of the module.
        type: str
  purge_vpcs:
    description: Whether VPCs that O(vpcs) does not name are let go.
    type: bool
    default: true
  comment:
    description: Comment of the zone. Without this option that of an existing zone stays.
    type: str
  tags:
    description: Tags of the zone. Without this option those of an existing zone stay.
    type: dict
  purge_tags:
    description: Whether tags that O(tags) does not name are removed.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: The public zone
  selfhosted.ec2.route53_zone:
    name: trading.example
    comment: Public names of the trading platform
    tags: {platform: trading}

- name: A private zone that two VPCs ask
  selfhosted.ec2.route53_zone:
    name: trading.internal
    private_zone: true
    vpcs:
      - {id: vpc-0a1b2c3d4e5f60718}
      - {id: vpc-1a1b2c3d4e5f60718, region: eu-central-1}
"""

RETURN = r"""
zone_id:
  description: Id of the zone; empty when it does not exist (yet).
  returned: always
  type: str
name_servers:
  description: Name servers of a public zone, for its registrar.
  returned: always
  type: list
  elements: str
changes:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
"""

import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, dns_zone

#: NS and SOA, which every zone has.
OWN_RECORDS = 2


def read(route53, params):
    """Return (zone or None, its VPCs, its name servers, its tags) as the API shows them."""
    identity = params["zone_id"]
    if not identity:
        held = dns_zone.find(route53, params["name"], params["private_zone"])
        if held is None:
            return None, [], [], {}
        identity = held["Id"]
    answer = route53.call("get_hosted_zone", Id=identity)
    tags = {}
    if params["tags"] is not None:
        tagged = route53.call("list_tags_for_resource", ResourceType="hostedzone", ResourceId=identity)
        tags = aws.tags_of(tagged["ResourceTagSet"])
    zone = {**answer["HostedZone"], "Id": identity}
    return zone, answer.get("VPCs") or [], answer.get("DelegationSet", {}).get("NameServers", []), tags


def create(route53, params, vpcs):
    """Make the zone; return its id and name servers."""
    arguments = {
        "Name": params["name"],
        "CallerReference": str(uuid.uuid4()),
        "HostedZoneConfig": {"Comment": params["comment"] or "", "PrivateZone": params["private_zone"]},
    }
    for identity, region in vpcs.items():
        arguments["VPC"] = {"VPCId": identity, "VPCRegion": region}
    answer = route53.call("create_hosted_zone", **arguments)
    return dns_zone.bare_id(answer["HostedZone"]["Id"]), answer.get("DelegationSet", {}).get("NameServers", [])


def carry_out(route53, params, steps, identity, servers):
    """Do what the plan says; return the zone's id and name servers."""
    for _words, method, arguments in steps:
        if method == "create":
            identity, servers = create(route53, params, arguments)
            continue
        place = {"HostedZoneId": identity}
        if method in ("update_hosted_zone_comment", "delete_hosted_zone"):
            place = {"Id": identity}
        elif method == "change_tags_for_resource":
            place = {"ResourceType": "hostedzone", "ResourceId": identity}
        route53.call(method, **place, **arguments)
    return identity, servers


def removal(params, held):
    """Return the plan that removes the zone. Raises AwsError when it has records."""
    if held is None:
        return []
    records = held.get("ResourceRecordSetCount", OWN_RECORDS) - OWN_RECORDS
    if records > 0:
        raise aws.AwsError(f"The zone {params['name']} still has {records} records; remove them first.")
    return [(f"delete the zone {params['name']}", "delete_hosted_zone", {})]


def manage(params, connection, check_mode):
    """Compare, do what differs unless in check mode, and return the module's result. Raises AwsError."""
    found = dns_zone.faults(params)
    if found:
        raise aws.AwsError(" ".join(found))
    route53 = connection.client("route53")
    held, vpcs, servers, tags = read(route53, params)
    private = bool(held and held.get("Config", {}).get("PrivateZone"))
    if held and private != params["private_zone"]:
        raise aws.AwsError(f"The zone {params['zone_id']} is {dns_zone.kind(private)}; set private_zone accordingly.")
    if params["state"] == "absent":
        steps = removal(params, held)
    else:
        if held is None and params["private_zone"] and not params["vpcs"]:
            raise aws.AwsError(f"The zone {params['name']} is private and has no VPC; Route 53 needs one at least.")
        steps = dns_zone.plan(params, held, vpcs, tags, connection.region)
    identity = held["Id"] if held else ""
    if not check_mode:
        identity, servers = carry_out(route53, params, steps, identity, servers)
    before, after = dns_zone.description(params, held, vpcs, tags)
    return {
        "changed": bool(steps),
        "zone_id": identity,
        "name_servers": servers,
        "changes": [words for words, _method, _arguments in steps],
        "diff": {"before": before, "after": after},
    }


def argument_spec():
    vpc = {"id": {"type": "str", "required": True}, "region": {"type": "str"}}
    return {
        **aws.argument_spec(),
        "name": {"type": "str", "required": True},
        "zone_id": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "private_zone": {"type": "bool", "default": False},
        "vpcs": {"type": "list", "elements": "dict", "options": vpc},
        "purge_vpcs": {"type": "bool", "default": True},
        "comment": {"type": "str"},
        "tags": {"type": "dict"},
        "purge_tags": {"type": "bool", "default": True},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode))


if __name__ == "__main__":
    main()

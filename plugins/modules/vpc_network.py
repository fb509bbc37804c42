#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_network
short_description: The whole network of a platform as one plan
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Makes a VPC with its subnets, internet gateway, NAT gateways, route tables, endpoints and security groups, or
    removes them.
  - Reads everything with one call per kind, compares, and calls only for what differs. Rules that the description does
    not have are ended, in groups of the platform only.
  - Refuses, before the first write, a second platform of the same name and a network that overlaps another VPC's.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows the plan, one line per call.
    support: full
options:
  platform:
    description: Name of the platform, the value of the tag C(platform).
    type: str
    required: true
  environment:
    description: Value of the tag C(environment). Required when O(state=present).
    type: str
  state:
    description: Whether the network is there.
    type: str
    choices: [present, absent]
    default: present
  cidr:
    description: Network of the VPC. Required when O(state=present).
    type: str
  nat:
    description: One NAT gateway, one per zone, or none.
    type: str
    choices: [single, per_zone, none]
    default: single
  subnets:
    description: Subnets of the VPC.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Value of the tag C(Name).
        type: str
        required: true
      cidr:
        description: Network of the subnet.
        type: str
        required: true
      zone:
        description: Availability zone.
        type: str
        required: true
      kind:
        description: Whether the default route leads to the internet gateway.
        type: str
        choices: [private, public]
        required: true
  endpoints:
    description: VPC endpoints of AWS services.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Last part of the service's name, such as C(s3).
        type: str
        required: true
      type:
        description: Kind of endpoint.
        type: str
        choices: [Gateway, Interface]
        required: true
  security_groups:
    description: Security groups with all their rules.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group.
        type: str
        required: true
      tier:
        description: Value of the tag C(tier); empty for none.
        type: str
        default: ""
      description:
        description: Description of the group.
        type: str
        required: true
      ingress:
        description: Rules for what comes in.
        type: list
        elements: dict
        default: []
        suboptions: &rule
          protocol:
            description: Protocol.
            type: str
            choices: [tcp, udp]
            required: true
          from_port:
            description: First port.
            type: int
            required: true
          to_port:
            description: Last port.
            type: int
            required: true
          peer:
            description: A CIDR, C(group:<name>) for a group of this list, or C(prefix:<name>) for a prefix list of AWS.
            type: str
            required: true
          description:
            description: Purpose of the rule.
            type: str
      egress:
        description: Rules for what goes out.
        type: list
        elements: dict
        default: []
        suboptions: *rule
  private_tags:
    description: Further tags of the private subnets and their route tables.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Network of the platform, as the filter derives it from the description
  selfhosted.ec2.vpc_network:
    platform: trading
    environment: production
    cidr: 10.20.0.0/16
    nat: single
    subnets:
      - {name: trading-private-eu-west-1a, cidr: 10.20.0.0/20, zone: eu-west-1a, kind: private}
      - {name: trading-public-eu-west-1a, cidr: 10.20.128.0/20, zone: eu-west-1a, kind: public}
    security_groups:
      - name: trading-edge
        tier: edge
        description: Tier edge of trading
        ingress:
          - {protocol: tcp, from_port: 443, to_port: 443, peer: 0.0.0.0/0, description: clients}
"""

RETURN = r"""
vpc_id:
  description: Id of the VPC; empty in check mode when it does not exist yet.
  returned: always
  type: str
subnets:
  description: Ids of the subnets that exist, by name.
  returned: always
  type: dict
security_groups:
  description: Ids of the security groups that exist, by name.
  returned: always
  type: dict
actions:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, network_plan, steps

TIMEOUT = 600
CONNECTION = set(aws.OPTIONS)


def read(ec2, platform, prefix_lists=()):
    """Return the C(Network) that EC2 describes, with the prefix lists of these names."""
    vpcs = ec2.pages("describe_vpcs", "Vpcs", MaxResults=1000)
    own = network_plan.with_tag(vpcs, platform)
    mine = aws.platform_filter(platform)
    found = {
        "gateways": ec2.pages("describe_internet_gateways", "InternetGateways", Filters=mine, MaxResults=1000),
        "nat_gateways": ec2.pages("describe_nat_gateways", "NatGateways", Filter=mine, MaxResults=1000),
        "addresses": ec2.call("describe_addresses", Filters=mine)["Addresses"],
    }
    known = []
    if prefix_lists:
        named = [{"Name": "prefix-list-name", "Values": list(prefix_lists)}]
        known = ec2.pages("describe_managed_prefix_lists", "PrefixLists", Filters=named, MaxResults=100)
    ours = {name: network_plan.with_tag(items, platform) for name, items in found.items()}
    lists = {"vpcs": vpcs, "prefix_lists": known, **ours}
    if own:
        vpc = own[0]["VpcId"]
        inside = {"Filters": [{"Name": "vpc-id", "Values": [vpc]}], "MaxResults": 1000}
        lists["subnets"] = ec2.pages("describe_subnets", "Subnets", **inside)
        lists["route_tables"] = ec2.pages("describe_route_tables", "RouteTables", **{**inside, "MaxResults": 100})
        lists["endpoints"] = ec2.pages("describe_vpc_endpoints", "VpcEndpoints", **inside)
        lists["groups"] = ec2.pages("describe_security_groups", "SecurityGroups", **inside)
        lists["dns"] = {
            name: ec2.call("describe_vpc_attribute", VpcId=vpc, Attribute=attribute)[name]["Value"]
            for name, attribute in (
                ("EnableDnsSupport", "enableDnsSupport"),
                ("EnableDnsHostnames", "enableDnsHostnames"),
            )
        }
    return network_plan.Network(**lists)


def waits(ec2, clock):
    """Return the operations of the plan that only wait."""

    def nat(ids, done, what):
        def check():
            found = ec2.pages("describe_nat_gateways", "NatGateways", NatGatewayIds=ids)
            failed = next((entry for entry in found if entry["State"] == "failed"), None)
            if failed:
                raise aws.AwsError(f"The NAT gateway {failed['NatGatewayId']} failed: {failed.get('FailureMessage')}.")
            return all(entry["State"] in done for entry in found)

        steps.wait_until(check, what, clock, TIMEOUT)

    def endpoints(ids):
        # By id, DescribeVpcEndpoints fails as soon as one of them is gone.
        def check():
            found = ec2.pages("describe_vpc_endpoints", "VpcEndpoints", MaxResults=1000)
            left = [entry for entry in found if entry["VpcEndpointId"] in ids]
            return all(entry.get("State", "").lower() == "deleted" for entry in left)

        steps.wait_until(check, "the VPC endpoints are gone", clock, TIMEOUT)

    return {
        "wait_nat_available": lambda ids: nat(ids, ("available",), "the NAT gateway is available"),
        "wait_nat_deleted": lambda ids: nat(ids, ("deleted",), "the NAT gateway is deleted"),
        "wait_endpoints_deleted": endpoints,
    }


def by_name(ids, prefix):
    return {key[len(prefix) :]: value for key, value in ids.items() if key.startswith(prefix)}


def manage(wanted, state, ec2, clock, check_mode):
    """Compare, carry out unless in check mode, and return the module's result. Raises AwsError."""
    have = read(ec2, wanted["platform"], network_plan.prefix_lists(wanted) if state == "present" else ())
    if state == "absent":
        plan, ids = network_plan.removal(wanted["platform"], have), {}
    else:
        refused = network_plan.refusals(wanted, have)
        if refused:
            raise aws.AwsError(" ".join(refused))
        plan, ids = network_plan.plan(wanted, have)
    if plan and not check_mode:
        ids = steps.run(plan, ec2, ids, waits(ec2, clock))
    actions = [step.text for step in plan]
    return {
        "changed": bool(plan),
        "vpc_id": ids.get(network_plan.VPC, ""),
        "subnets": by_name(ids, "@subnet/"),
        "security_groups": by_name(ids, "@group/"),
        "actions": actions,
        "diff": {"before": "", "after": "".join(f"{line}\n" for line in actions)},
    }


def argument_spec():
    rule = {
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
        "from_port": {"type": "int", "required": True},
        "to_port": {"type": "int", "required": True},
        "peer": {"type": "str", "required": True},
        "description": {"type": "str"},
    }
    rules = {"type": "list", "elements": "dict", "default": [], "options": rule}
    subnet = {name: {"type": "str", "required": True} for name in ("name", "cidr", "zone")}
    subnet["kind"] = {"type": "str", "choices": ["private", "public"], "required": True}
    endpoint = {
        "service": {"type": "str", "required": True},
        "type": {"type": "str", "choices": ["Gateway", "Interface"], "required": True},
    }
    group = {
        "name": {"type": "str", "required": True},
        "tier": {"type": "str", "default": ""},
        "description": {"type": "str", "required": True},
        "ingress": rules,
        "egress": rules,
    }
    return {
        **aws.argument_spec(),
        "platform": {"type": "str", "required": True},
        "environment": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "cidr": {"type": "str"},
        "nat": {"type": "str", "choices": ["single", "per_zone", "none"], "default": "single"},
        "subnets": {"type": "list", "elements": "dict", "default": [], "options": subnet},
        "endpoints": {"type": "list", "elements": "dict", "default": [], "options": endpoint},
        "security_groups": {"type": "list", "elements": "dict", "default": [], "options": group},
        "private_tags": {"type": "dict", "default": {}},
    }


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_if=[("state", "present", ("environment", "cidr", "subnets"))],
    )

    def work(connection):
        wanted = {name: value for name, value in module.params.items() if name not in CONNECTION}
        wanted["region"] = connection.region
        client = connection.client("ec2")
        return manage(wanted, module.params["state"], client, connection.clock, module.check_mode)

    aws.run(module, work)


if __name__ == "__main__":
    main()

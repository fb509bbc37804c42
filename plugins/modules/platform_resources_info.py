#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_resources_info
short_description: What carries a platform's tag outside EC2 instances and the VPC
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Finds the Route 53 zones, key pairs, and the roles and instance profiles below the IAM path C(/<platform>/) that
    carry the tag C(platform) of the given value.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.info
options:
  platform:
    description: Value of the tag C(platform).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: What is left of the platform
  selfhosted.ec2.platform_resources_info:
    platform: trading
  register: left
"""

RETURN = r"""
zones:
  description: Zones with the tag, dict of zone_id, name, private and vpc_id.
  returned: always
  type: list
  elements: dict
key_pairs:
  description: Names of the key pairs with the tag.
  returned: always
  type: list
  elements: str
roles:
  description: Names of the roles with the tag, each with its instance profiles and inline policies.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

#: ListTagsForResources takes at most ten resources (Route 53 API reference).
TAG_BATCH = 10


def zones(route53, platform):
    """Return the zones with the platform's tag."""
    found = {
        zone["Id"].rsplit("/", 1)[-1]: zone
        for zone in route53.pages("list_hosted_zones", "HostedZones", MaxItems="100")
    }
    ids = sorted(found)
    result = []
    for first in range(0, len(ids), TAG_BATCH):
        answer = route53.call(
            "list_tags_for_resources", ResourceType="hostedzone", ResourceIds=ids[first : first + TAG_BATCH]
        )
        for entry in answer["ResourceTagSets"]:
            if aws.tags_of(entry).get("platform") == platform:
                result.append(zone_entry(route53, found[entry["ResourceId"]]))
    return result


def zone_entry(route53, zone):
    identity = zone["Id"].rsplit("/", 1)[-1]
    vpcs = route53.call("get_hosted_zone", Id=identity).get("VPCs") or [{}]
    return {
        "zone_id": identity,
        "name": zone["Name"].rstrip("."),
        "private": bool(zone["Config"].get("PrivateZone")),
        "vpc_id": vpcs[0].get("VPCId", ""),
        "vpc_region": vpcs[0].get("VPCRegion", ""),
    }


def roles(iam, platform):
    """Return the roles below the platform's path that carry its tag."""
    result = []
    for role in iam.pages("list_roles", "Roles", PathPrefix=f"/{platform}/"):
        name = role["RoleName"]
        if aws.tags_of(iam.call("list_role_tags", RoleName=name)).get("platform") != platform:
            continue
        profiles = iam.pages("list_instance_profiles_for_role", "InstanceProfiles", RoleName=name)
        result.append(
            {
                "name": name,
                "instance_profiles": [profile["InstanceProfileName"] for profile in profiles],
                "policies": iam.pages("list_role_policies", "PolicyNames", RoleName=name),
            }
        )
    return result


def collect(connection, platform):
    """Return the module's result. Raises AwsError."""
    keys = connection.client("ec2").call("describe_key_pairs", Filters=aws.platform_filter(platform))["KeyPairs"]
    return {
        "changed": False,
        "zones": zones(connection.client("route53"), platform),
        "key_pairs": sorted(key["KeyName"] for key in keys),
        "roles": roles(connection.client("iam"), platform),
    }


def main():
    spec = {**aws.argument_spec(), "platform": {"type": "str", "required": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    aws.run(module, lambda connection: collect(connection, module.params["platform"]))


if __name__ == "__main__":
    main()

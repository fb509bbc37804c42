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
  - Finds the EBS volumes that pods of the platform's cluster asked for, when O(kinds) has them.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.info
options:
  platform:
    description: Value of the tag C(platform).
    type: str
    required: true
  kinds:
    description: What is looked for. V(pod_volumes) have the tag C(ebs.csi.aws.com/cluster-name) of the given value.
    type: list
    elements: str
    choices: [zones, key_pairs, roles, pod_volumes]
    default: [zones, key_pairs, roles]
"""

EXAMPLES = r"""
- name: What is left of the platform
  selfhosted.ec2.platform_resources_info:
    platform: trading
  register: left

- name: What pods have stored
  selfhosted.ec2.platform_resources_info:
    platform: trading
    kinds: [pod_volumes]
  register: stored
"""

RETURN = r"""
zones:
  description: Zones with the tag, dict of zone_id, name, private and vpc_id.
  returned: when asked for
  type: list
  elements: dict
key_pairs:
  description: Names of the key pairs with the tag.
  returned: when asked for
  type: list
  elements: str
roles:
  description: Names of the roles with the tag, each with its instance profiles and inline policies.
  returned: when asked for
  type: list
  elements: dict
pod_volumes:
  description: Ids of the volumes that pods asked for.
  returned: when asked for
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

#: ListTagsForResources takes at most ten resources (Route 53 API reference).
TAG_BATCH = 10
#: What the EBS CSI driver gives each volume it makes (its option k8s-tag-cluster-id).
POD_VOLUME_TAG = "ebs.csi.aws.com/cluster-name"


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


def key_pairs(ec2, platform):
    keys = ec2.call("describe_key_pairs", Filters=aws.platform_filter(platform))["KeyPairs"]
    return sorted(key["KeyName"] for key in keys)


def pod_volumes(ec2, platform):
    """Return the ids of the volumes with the tag of the platform's cluster that are not on their way out."""
    filters = [
        {"Name": f"tag:{POD_VOLUME_TAG}", "Values": [platform]},
        {"Name": "status", "Values": ["creating", "available", "in-use", "error"]},
    ]
    return sorted(volume["VolumeId"] for volume in ec2.pages("describe_volumes", "Volumes", Filters=filters))


#: How each kind is found, and by which service's client.
KINDS = {
    "zones": ("route53", zones),
    "key_pairs": ("ec2", key_pairs),
    "roles": ("iam", roles),
    "pod_volumes": ("ec2", pod_volumes),
}
DEFAULT_KINDS = ["zones", "key_pairs", "roles"]


def collect(connection, platform, kinds=DEFAULT_KINDS):
    """Return the module's result. Raises AwsError."""
    result = {"changed": False}
    for kind in kinds:
        service, find = KINDS[kind]
        result[kind] = find(connection.client(service), platform)
    return result


def main():
    kinds = {"type": "list", "elements": "str", "choices": list(KINDS), "default": DEFAULT_KINDS}
    spec = {**aws.argument_spec(), "platform": {"type": "str", "required": True}, "kinds": kinds}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    aws.run(module, lambda connection: collect(connection, module.params["platform"], module.params["kinds"]))


if __name__ == "__main__":
    main()

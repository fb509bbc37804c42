# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters over a platform's description; what they compute is in module_utils/platform.py."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.selfhosted.ec2.plugins.module_utils import platform as planner
from ansible_collections.selfhosted.ec2.plugins.plugin_utils.role_files import COMMON_ROLES, RoleFiles


def platform_components(roles_path):
    """Return what each role below a folder says of its flows, names, quorum and secrets: dict by component.

    A role may have further components, such as a part that only some of its hosts have.
    """
    files = RoleFiles(DataLoader(), roles_path)
    result = {}
    for role in files.names():
        flows = dict(files.load(role, "vars", "flows.yml"))
        parts = flows.pop("components", {})
        secrets = files.load(role, "vars", "secrets.yml").get("secrets") or []
        result[role] = {**flows, "secrets": secrets, "every_host": role in COMMON_ROLES}
        result.update({name: {**part, "secrets": [], "every_host": False} for name, part in parts.items()})
    return result


def platform_faults(platform, components):
    """Return every fault of a description, one sentence each."""
    return planner.faults(platform, components)


def platform_network(platform, components):
    """Return the options of the module vpc_network."""
    return planner.network(platform, components)


def platform_tier_tags(platform, components):
    """Return the further tags of each tier's instances, for the option tier_tags of ec2_instances."""
    return planner.tier_tags(platform, components)


def platform_records(platform, components, instances, aliases=()):
    """Return the DNS records of the instances that ec2_instances returned, and of load balancers."""
    addresses = {instance["slot"]: instance["private_ip"] for instance in instances}
    return planner.records(platform, components, addresses, aliases)


def platform_prune(platform, components, removed=()):
    """Return which records provision may remove: hosts above their tier's count, removed ones, any role's services."""
    return planner.prune(platform, components, removed)


def platform_summary(instances):
    """Return the instances as lines of a table."""
    rows = [("SLOT", "STATE", "TYPE", "ZONE", "ADDRESS", "PUBLIC", "INSTANCE")]
    for instance in instances:
        keys = ("slot", "state", "instance_type", "zone", "private_ip", "public_ip", "instance_id")
        rows.append(tuple(str(instance[key]) for key in keys))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]  # noqa: B905


def platform_roles(platform, components):
    """Return the role of each tier's hosts, as the option roles of iam_service_roles."""
    policies = planner.policies(platform, components)
    roles = []
    for tier, document in policies.items():
        name = f"{platform['name']}-{tier}"
        roles.append(
            {
                "name": name,
                "description": f"Hosts of the tier {tier} of {platform['name']}",
                "services": ["ec2.amazonaws.com"],
                "inline_policies": {name: document} if document else {},
                "instance_profiles": [name],
                "tags": {"tier": tier},
            }
        )
    return roles


def platform_bucket_settings(platform):
    """Return the buckets as the module object_storage takes them."""
    return planner.bucket_settings(platform)


def platform_quorum(platform, components):
    """Return the names of the tiers whose members vote."""
    return [tier["name"] for tier in platform["tiers"] if planner.quorum_components(platform, tier, components)]


def platform_secrets_wanted(platform, components):
    """Return the secrets to make: the CA, those of the components in the platform, and the extra ones."""
    wanted = [{"name": "ca", "kind": "ca"}]
    for component in planner.platform_components(platform, components):
        wanted += (components.get(component) or {}).get("secrets") or []
    for entry in platform.get("extra_secrets") or []:
        wanted.append(entry if isinstance(entry, dict) else {"name": entry})
    unique = {}
    for entry in wanted:
        if entry["name"] not in ("ca/certificate", "ca/key"):
            unique.setdefault(entry["name"], entry)
    return list(unique.values())


def slots(tiers, component=None, cluster=None):
    """Return the slots of a component, or of all, in order."""
    if not isinstance(tiers, list):
        raise AnsibleFilterError(f"slots takes the list platform_tiers, not {type(tiers).__name__}.")
    return planner.slots(tiers, component, cluster)


def slots_of(names, tiers, component):
    """Return those of some slots whose tier has a component; tier-9 counts when the tier describes fewer hosts."""
    described = [tier["name"] for tier in tiers if component in tier["components"]]
    return [name for name in names if name.rpartition("-")[0] in described and name.rpartition("-")[2].isdigit()]


class FilterModule:
    """Filters over a platform's description."""

    def filters(self):
        return {
            "platform_bucket_settings": platform_bucket_settings,
            "platform_components": platform_components,
            "platform_faults": platform_faults,
            "platform_network": platform_network,
            "platform_prune": platform_prune,
            "platform_quorum": platform_quorum,
            "platform_records": platform_records,
            "platform_roles": platform_roles,
            "platform_secrets_wanted": platform_secrets_wanted,
            "platform_summary": platform_summary,
            "platform_tier_tags": platform_tier_tags,
            "slots": slots,
            "slots_of": slots_of,
        }

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of a host, from the platform's description and the inventory."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError


def volume_mounts(tiers, tier, attached, services=None):
    """Return a list of the volumes a host mounts: dicts with name, device, mount, filesystem and services.

    :arg tiers: the list platform_tiers.
    :arg tier: the name of the host's tier.
    :arg attached: ec2_volumes, from a volume's name to a dict with volume_id and device.
    :arg services: from a volume's name to a list of the units that must not run without it.
    :raises AnsibleFilterError: a volume of the description is not attached.
    """
    volumes = [volume for entry in tiers if entry["name"] == tier for volume in entry.get("volumes") or []]
    mounts = []
    for volume in volumes:
        name = volume["name"]
        if name not in attached:
            raise AnsibleFilterError(
                f"the volume {name} of tier {tier} is not attached to this host (it has "
                f"{', '.join(sorted(attached)) or 'none'}); run provision.yml first"
            )
        mounts.append(
            {
                "name": name,
                "device": attached[name]["device"],
                "mount": volume["mount"],
                "filesystem": volume.get("filesystem") or "xfs",
                "services": (services or {}).get(name) or [],
            }
        )
    return mounts


class FilterModule:
    """Filters for volumes."""

    def filters(self):
        return {"volume_mounts": volume_mounts}

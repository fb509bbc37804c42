# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that make ready sets of alarms; what they compute is in module_utils/alarm_sets.py."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import alarm_sets


def ready_alarms(templates, tiers, hosts, common):
    """Return the alarms of the templates for these tiers and hosts."""
    known = {
        slot: {
            "instance_id": host["ec2_instance_id"],
            "volumes": {name: volume["volume_id"] for name, volume in (host.get("ec2_volumes") or {}).items()},
        }
        for slot, host in hosts.items()
        if host.get("ec2_instance_id")
    }
    try:
        return alarm_sets.ready(templates, tiers, known, common)
    except alarm_sets.SetError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters that make ready sets of alarms."""

    def filters(self):
        return {
            "audit_alarms": alarm_sets.audit_alarms,
            "audit_filters": alarm_sets.audit_filters,
            "ready_alarms": ready_alarms,
        }

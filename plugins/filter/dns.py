# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.module_utils import dns_edge


def dns_zones(described, ids, edge):
    try:
        return dns_edge.zones(described, ids, edge)
    except dns_edge.EdgeError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self):
        return {"dns_zones": dns_zones, "dns_edge_checks": dns_edge.checks}

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that talk to the API servers of Kubernetes."""

    DOCUMENTATION = r"""
options:
  slot:
    description: This host's slot.
    type: str
    required: true
  members:
    description: The control planes, slots to the names or addresses of their API servers, which listen on port 6443.
    type: dict
    required: true
  endpoint:
    description: Name of the cluster's endpoint, which every API server's certificate holds.
    type: str
    required: true
  ca:
    description: Certificate of the cluster's authority, PEM.
    type: str
    required: true
notes:
  - The host shows the certificate of its API server, that of its kubelet where it has no API server, or none.
"""

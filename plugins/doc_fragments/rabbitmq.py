# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Further options of the modules that talk to RabbitMQ's management API."""

    DOCUMENTATION = r"""
options:
  members:
    description: All members, names to the host names that their certificates and their nodes' names hold.
    type: dict
    required: true
  port:
    description: TLS port of the management API.
    type: int
    default: 15671
  timeout:
    description: Seconds for one connection and one answer.
    type: int
    default: 5
"""

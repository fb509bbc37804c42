# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that talk to RabbitMQ's management API."""

    DOCUMENTATION = r"""
options:
  name:
    description: This host's member.
    type: str
    required: true
  members:
    description: All members, names to the host names that their certificates and their nodes' names hold.
    type: dict
    required: true
  port:
    description: TLS port of the management API.
    type: int
    default: 15671
  ca_file:
    description: Certificates to trust.
    type: path
    required: true
  user:
    description: User with the tag C(administrator).
    type: str
    default: admin
  password:
    description: Password of this user.
    type: str
    required: true
  timeout:
    description: Seconds for one connection and one answer.
    type: int
    default: 5
"""

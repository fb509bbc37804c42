# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that talk to Redis and its Sentinels."""

    DOCUMENTATION = r"""
options:
  name:
    description: This host's member.
    type: str
    required: true
  members:
    description: All members, names to the host names that their certificates hold and the Sentinels know.
    type: dict
    required: true
  service:
    description: Name under which the Sentinels watch the primary.
    type: str
    default: main
  port:
    description: TLS port of the servers.
    type: int
    default: 6379
  sentinel_port:
    description: TLS port of the Sentinels.
    type: int
    default: 26379
  ca_file:
    description: Certificates to trust.
    type: path
    required: true
  user:
    description: ACL user on servers and Sentinels that may do everything.
    type: str
    default: admin
  password:
    description: Password of this user.
    type: str
    required: true
  timeout:
    description: Seconds for one connection and one answer.
    type: int
    default: 3
"""

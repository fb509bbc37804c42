# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Further options of the modules that talk to Redis and its Sentinels."""

    DOCUMENTATION = r"""
options:
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
  timeout:
    description: Seconds for one connection and one answer.
    type: int
    default: 3
"""

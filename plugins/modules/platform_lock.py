#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_lock
short_description: Let one run at a time change a platform
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Holds the lock of a platform until this run of Ansible ends, whatever its end is.
    A second run fails at once with one sentence that names the owner, the playbook and since when.
  - The lock is an item in the DynamoDB table C(<platform>-lock) (hash key C(name), a string),
    written on the condition that there is none or its lease of 60 seconds is over.
  - A process of its own, the keeper, renews the lease every 15 seconds while the process of C(ansible-playbook) lives,
    and gives the lock back when it is gone. When the machine dies too, the lease ends the lock.
  - Further plays of the same run take the same lock again, or make sure that it is still theirs.
  - The lock of a run that has ended on the same machine is free at once, without waiting for its lease.
  - Not taken in check mode.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.controller
attributes:
  check_mode:
    description: Does nothing in check mode.
    support: full
  diff_mode:
    description: Changes nothing on a host, so there is no difference to show.
    support: none
options:
  platform:
    description: Name of the platform.
    type: str
    required: true
  region:
    description: The region; without it E(AWS_REGION), then E(AWS_DEFAULT_REGION).
    type: str
  state:
    description:
      - V(held) takes the lock, V(free) gives it back before the run's end.
      - V(renewed) fails when this run, which took the lock in an earlier play, has lost it since.
      - V(broken) removes the lock that O(owner) has; only when that run is dead, or it will go on beside the next.
    type: str
    choices: [held, renewed, free, broken]
    default: held
  owner:
    description: Whose lock to break, as the refusal names it; the first word, C(user@host), is enough.
    type: str
requirements:
  - boto3
"""

EXAMPLES = r"""
- name: Take the lock
  selfhosted.ec2.platform_lock:
    platform: "{{ platform_name }}"
    region: "{{ platform_region }}"
  run_once: true

- name: Break the lock of a run that is dead
  selfhosted.ec2.platform_lock:
    platform: trading
    region: eu-west-1
    state: broken
    owner: ana@bastion
"""

RETURN = r"""
owner:
  description: The owner as others see it.
  returned: O(state=held), O(state=renewed) and O(state=free), not in check mode
  type: str
  sample: ana@bastion (pid 4711, site.yml)
"""

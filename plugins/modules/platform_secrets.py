#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_secrets
short_description: Read all secrets of a platform at once
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads everything below C(/<platform>/) in SSM Parameter Store, decrypted, ten a call, on the controller.
    Nothing is written anywhere.
  - Fails with one sentence when a secret that a role of the inventory lists in C(vars/secrets.yml) does not exist,
    unless every variable of the role that would read it is set otherwise on all hosts of the role.
  - A successful result is never shown (as with C(no_log)); a failure is, and holds no secret.
  - Give the result to the hosts by C(set_fact) under C(no_log), as C(playbooks/tasks/begin.yml) does.
    It is no fact of its own, since facts may go to a fact cache on disk.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.controller
options:
  platform:
    description: Name of the platform.
    type: str
    required: true
  region:
    description: The region; without it E(AWS_REGION), then E(AWS_DEFAULT_REGION).
    type: str
  require:
    description: Names of further secrets that must exist, without the path of the platform.
    type: list
    elements: str
    default: []
  roles:
    description: The roles whose secrets must exist; without it, all roles that have a host in the inventory.
    type: list
    elements: str
  roles_path:
    description: The folder of the roles, if not this collection's own.
    type: path
requirements:
  - boto3
"""

EXAMPLES = r"""
- name: Read the secrets of the platform
  selfhosted.ec2.platform_secrets:
    platform: "{{ platform_name }}"
    region: "{{ platform_region }}"
  register: __begin_secrets
  run_once: true

- name: Give them to the hosts of the play
  ansible.builtin.set_fact:
    platform_secrets: "{{ __begin_secrets.secrets }}"
  no_log: true
"""

RETURN = r"""
secrets:
  description: Name without the path of the platform, and value. Never shown.
  returned: success
  type: dict
  sample: {"postgresql/superuser_password": "..."}
"""

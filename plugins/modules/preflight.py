#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Refuse wrong variables before any host is touched
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Checks the variables of all hosts of the inventory, those outside the play's limit too, against the roles of this
    collection. It runs on the controller and makes no connection.
  - The variables of the platform description that are set are checked against its specification,
    and each component of C(platform_tiers) must have a host, running or stopped, in the inventory.
  - "Names: a variable C(<role>_x) or C(platform_x) that its role, or the platform description, does not know
    is refused with the nearest known name. The role with the longest matching name owns a variable."
  - "Values: each role's argument specification (entry point C(main)) and the rules of its C(vars/preflight.yml),
    for every host of the role's group. A rule has C(that), an expression or a list, and C(message), a template.
    One with C(warning) only warns."
  - All faults of all hosts are collected and told at once, each once, with the hosts it is about.
    The values of secrets are not shown.
  - What depends on C(platform_secrets) or on facts, while these are not read yet, is not judged.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.info
  - selfhosted.ec2.attributes.controller
options:
  roles:
    description:
      - The roles to check; their groups must then have hosts.
      - Without it, all roles that have a host in the inventory, and the names of the platform description.
    type: list
    elements: str
  roles_path:
    description: The folder of the roles, if not this collection's own.
    type: path
  description_only:
    description: Only refuse unknown names C(platform_x) among the variables of the play's hosts; no host need exist.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Check the variables of all roles
  selfhosted.ec2.preflight:
  run_once: true

- name: Check the variables of one role
  selfhosted.ec2.preflight:
    roles: [etcd]
  run_once: true
"""

RETURN = r"""
roles:
  description: The roles that were checked.
  returned: always
  type: list
  elements: str
  sample: [ebs_volume, etcd, host_baseline, postgresql]
msg:
  description: One sentence for each fault, each on a line of its own, with the hosts in brackets.
  returned: failure
  type: str
  sample: |-
    Refused, nothing was touched.
    etcd_cluster_tokn is set, but role etcd has no such variable; did you mean etcd_cluster_token? [all hosts]
"""

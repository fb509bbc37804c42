#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbackrest_stanza
short_description: Make the stanza of a PostgreSQL cluster in pgBackRest's repository
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Asks the repository for the stanza, and creates it when it is missing. To be run on the leader
    as the user that owns the data.
  - A stanza that belongs to another cluster is refused, never upgraded and never deleted.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.change
  - selfhosted.ec2.attributes.linux
attributes:
  diff_mode:
    description: Shows whether the stanza was there.
    support: full
options:
  stanza:
    description: Name of the stanza.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Make the stanza
  selfhosted.ec2.pgbackrest_stanza:
    stanza: main
  become: true
  become_user: postgres
"""

RETURN = r"""
version:
  description: Version of pgBackRest.
  returned: success
  type: str
  sample: 2.55.1
backups:
  description: Backups of the stanza, oldest first.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import pgbackrest


def run(module):
    """Ask, and create what is missing; return the module's answer.

    :raises pgbackrest.BackrestError: the repository does not answer, or belongs to another cluster.
    """
    stanza = module.params["stanza"]
    version = pgbackrest.run(module.run_command, "version").split()[-1]
    found = pgbackrest.stanza_of(pgbackrest.info(module.run_command, stanza), stanza)
    missing = found["code"] in (pgbackrest.MISSING_PATH, pgbackrest.MISSING_DATA)
    if missing and not module.check_mode:
        pgbackrest.run(module.run_command, f"--stanza={stanza}", "stanza-create")
    elif found["code"] not in (pgbackrest.OK, pgbackrest.NO_BACKUP) and not missing:
        raise pgbackrest.BackrestError(f"the stanza {stanza} is in the state {found['message']!r}")
    return {
        "changed": missing,
        "version": version,
        "backups": found["backups"],
        "diff": {"before": "" if missing else f"{stanza}\n", "after": f"{stanza}\n"},
    }


def main():
    module = AnsibleModule(argument_spec={"stanza": {"type": "str", "required": True}}, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except (ValueError, pgbackrest.BackrestError) as error:
        module.fail_json(msg=f"The backup repository cannot be used: {error}.")


if __name__ == "__main__":
    main()

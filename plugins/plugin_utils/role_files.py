# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of the collection's roles say about variables, secrets and groups. Runs on the controller only."""

from __future__ import annotations

import os

#: Roles that every host has, whatever its components.
COMMON_ROLES = ("host_baseline", "ebs_volume")


class RoleFiles:
    """The roles below one folder, each file read once.

    :arg loader: Ansible's DataLoader; values keep the trust that templates need.
    :arg roles_path: the folder that holds the roles.
    """

    def __init__(self, loader, roles_path):
        self._loader = loader
        self.roles_path = roles_path
        self._read = {}

    def names(self):
        """Return the names of all roles, sorted."""
        if not os.path.isdir(self.roles_path):
            return []
        return sorted(
            name for name in os.listdir(self.roles_path) if os.path.isdir(os.path.join(self.roles_path, name, "tasks"))
        )

    def load(self, role, *parts):
        """Return the mapping in one file of a role, {} when there is no such file."""
        path = os.path.join(self.roles_path, role, *parts)
        if path not in self._read:
            data = self._loader.load_from_file(path, trusted_as_template=True) if os.path.isfile(path) else None
            self._read[path] = data or {}
        return self._read[path]

    def defaults(self, role):
        """Return the raw defaults of a role."""
        return self.load(role, "defaults", "main.yml")

    def variables(self, role):
        """Return the raw vars/main.yml of a role."""
        return self.load(role, "vars", "main.yml")

    def entry_points(self, role):
        """Return the argument specifications of a role: dict of entry point to its dict of options."""
        specs = self.load(role, "meta", "argument_specs.yml").get("argument_specs") or {}
        return {name: (spec or {}).get("options") or {} for name, spec in specs.items()}

    def known(self, role):
        """Return the set of variable names that a role knows."""
        names = set(self.defaults(role)) | set(self.variables(role)) | {f"{role}_group", f"{role}_members"}
        for options in self.entry_points(role).values():
            names |= set(options)
        return names

    def rules(self, role):
        """Return the list of rules of a role's vars/preflight.yml."""
        return self.load(role, "vars", "preflight.yml").get("rules") or []

    def secrets(self, role):
        """Return the names of the secrets in a role's vars/secrets.yml; a certificate authority is two."""
        entries = self.load(role, "vars", "secrets.yml").get("secrets") or []
        return [
            f"{entry['name']}{part}"
            for entry in entries
            for part in (("/certificate", "/key") if entry.get("kind") == "ca" else ("",))
        ]

    def default_group(self, role):
        """Return the group whose hosts have this role when C(<role>_group) is not set by a user."""
        return "all" if role in COMMON_ROLES else self.defaults(role).get(f"{role}_group", role)

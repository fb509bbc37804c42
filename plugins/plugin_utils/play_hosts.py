# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the whole inventory with their variables, as an action sees them on the controller."""

from __future__ import annotations

import os

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.playbook.block import Block
from ansible.template import Templar
from ansible.utils.vars import combine_vars
from ansible_collections.selfhosted.ec2.plugins.plugin_utils.role_files import RoleFiles

#: Roles whose names begin so are played on the controller: they speak to AWS, not to hosts.
CONTROLLER_ROLES = "aws_"
CONTROLLER = "localhost"
ROLES_PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "roles")


class PlayHosts:
    """Raw variables of every host of the inventory, and which roles each host has.

    :arg action: the action plugin that asks.
    :arg task_vars: the task variables given to it.
    """

    def __init__(self, action, task_vars):
        self._loader = action._loader
        self._hostvars = task_vars["hostvars"]
        self._play = getattr(action._task._parent, "_play", None)
        self.groups = task_vars.get("groups") or {}
        self.played = task_vars.get("ansible_play_hosts_all") or []
        self.on_controller = list(self.played) == [CONTROLLER]
        self.hosts = [CONTROLLER] if self.on_controller else sorted(self.groups.get("all", []))
        self.roles = RoleFiles(action._loader, action._task.args.get("roles_path") or ROLES_PATH)
        self._raw = {}

    def raw(self, host):
        """Return the untemplated variables of one host, with those of the play."""
        if host not in self._raw:
            manager, inventory = self._hostvars._variable_manager, self._hostvars._inventory
            found = manager.get_vars(play=self._play, host=inventory.get_host(host), include_hostvars=False)
            found.pop("vars", None)
            found["hostvars"] = self._hostvars
            self._raw[host] = found
        return self._raw[host]

    def given(self, host):
        """Return the names of the variables that a user set for a host: no facts, results of tasks, included files."""
        manager = self._hostvars._variable_manager
        produced = {*manager._nonpersistent_fact_cache.get(host, {}), *manager._vars_cache.get(host, {})}
        return [name for name in self.raw(host) if name not in produced]

    def variables(self, host, role):
        """Return the untemplated variables of a host as the tasks of a role see them."""
        merged = combine_vars(self.roles.defaults(role), self.raw(host))
        return combine_vars(merged, self.roles.variables(role))

    def templar(self, variables):
        """Return a template engine over I(variables)."""
        return Templar(loader=self._loader, variables=variables)

    def group_of(self, host, role):
        """Return the name of the group that makes a host a member of a role."""
        given = self.raw(host).get(f"{role}_group")
        if given is None:
            given = self.roles.default_group(role)
        try:
            return self.templar(self.raw(host)).template(given)
        except AnsibleError as error:
            raise AnsibleActionFail(f"{role}_group of {host} cannot be read: {error}") from error

    def members(self, role):
        """Return the hosts that have a role, sorted; roles of the controller only in plays of it."""
        if role.startswith(CONTROLLER_ROLES) or self.on_controller:
            return [CONTROLLER] if self.on_controller and role.startswith(CONTROLLER_ROLES) else []
        return [host for host in self.hosts if host in self.groups.get(self.group_of(host, role), [])]

    def played_roles(self):
        """Return the roles that the tasks of this play belong to or include by a literal name, sorted."""
        found, waiting = set(), list(getattr(self._play, "tasks", None) or [])
        while waiting:
            item = waiting.pop()
            if isinstance(item, Block):
                waiting += [*item.block, *item.rescue, *item.always]
            elif isinstance(item, list):
                waiting += item
            else:
                role = getattr(item, "_role", None)
                found |= {role.get_name() if role else None, getattr(item, "_role_name", None)}
        names = {str(name).rsplit(".", 1)[-1] for name in found if name}
        return sorted(names.intersection(self.roles.names()))

    def strangers(self, role):
        """Return the hosts of the play that are not in the group of a role, with this group: list of (host, group)."""
        if role.startswith(CONTROLLER_ROLES):
            return [(host, CONTROLLER) for host in self.played if host != CONTROLLER]
        groups = {host: self.group_of(host, role) for host in self.played if host in self.hosts}
        return [(host, group) for host, group in groups.items() if host not in self.groups.get(group, [])]

    def chosen_roles(self, wanted):
        """Return the roles to look at: I(wanted), or all that have a host in the inventory.

        :raises AnsibleActionFail: a wanted role does not exist.
        """
        existing = self.roles.names()
        for role in wanted or []:
            if role not in existing:
                raise AnsibleActionFail(
                    f"There is no role {role} in {self.roles.roles_path}; there are: {', '.join(existing) or 'none'}."
                )
        return list(wanted) if wanted else [role for role in existing if self.members(role)]

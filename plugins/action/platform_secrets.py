# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.selfhosted.ec2.plugins.module_utils import parameters, preflight
from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import BOTO_ERROR, Aws, AwsError
from ansible_collections.selfhosted.ec2.plugins.plugin_utils.play_hosts import PlayHosts


class ActionModule(ActionBase):
    """Read all secrets of a platform, once, on the controller."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(
            argument_spec={
                "platform": {"type": "str", "required": True},
                "region": {"type": "str"},
                "roles": {"type": "list", "elements": "str"},
                "roles_path": {"type": "path"},
                "require": {"type": "list", "elements": "str", "default": []},
            }
        )
        if BOTO_ERROR:
            raise AnsibleActionFail("The Python package boto3 is not installed for Ansible's Python; install it.")
        path = f"/{args['platform']}/"
        play = PlayHosts(self, task_vars)
        needed = self._needed(play, args)
        try:
            secrets = parameters.read_all(Aws({"region": args["region"]}, deadline=60).client("ssm"), path)
        except AwsError as error:
            raise AnsibleActionFail(f"The secrets below {path} cannot be read: {error}") from None
        missing = {name: variables for name, variables in needed.items() if name not in secrets}
        if missing:
            raise AnsibleActionFail(parameters.missing_sentence(path, missing))
        unmade = {name: variables for name, variables in self._read(play).items() if name not in secrets}
        if unmade:
            raise AnsibleActionFail(parameters.unmade_sentence(path, unmade))
        # Only success holds secrets: a failure stays readable.
        result.update(changed=False, secrets=secrets, _ansible_no_log=True)
        return result

    @staticmethod
    def _needed(play, args):
        """Return the secrets that the inventory's roles need: dict of name to the variables that may replace it."""
        needed = {name: set() for name in args["require"]}
        for role in play.chosen_roles(args["roles"]):
            defaults = play.roles.defaults(role)
            members = play.members(role)
            for name in play.roles.secrets(role):
                if any(not parameters.replaced(name, defaults, play.raw(host)) for host in members):
                    needed.setdefault(name, set()).update(parameters.users(name, defaults))
        return needed

    @staticmethod
    def _read(play):
        """Return the secrets that the inventory's own variables read: dict of name to these variables."""
        defaults = {role: play.roles.defaults(role) for role in play.roles.names()}
        members = {role: play.members(role) for role in defaults}
        found = {}
        for host in play.hosts:
            raw = play.raw(host)
            for variable in play.given(host):
                role = preflight.owner(variable, defaults)
                # A role's variables matter on its hosts; what its own defaults read is judged above.
                if role and (host not in members[role] or raw[variable] == defaults[role].get(variable)):
                    continue
                for name in parameters.names_read(raw[variable]):
                    found.setdefault(name, set()).add(variable)
        return found

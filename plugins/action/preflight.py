# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible_collections.selfhosted.ec2.plugins.module_utils import preflight
from ansible_collections.selfhosted.ec2.plugins.module_utils.inventory_model import group_name
from ansible_collections.selfhosted.ec2.plugins.plugin_utils.play_hosts import ROLES_PATH, PlayHosts

PLATFORM_SPEC = os.path.join(os.path.dirname(ROLES_PATH), "playbooks", "vars", "platform_spec.yml")

#: Not known before the hosts or the parameter store were asked; what hangs on them is checked by the role itself.
READ_LATER = ("platform_secrets", "ansible_facts", "ansible_local")


class ActionModule(ActionBase):
    """Check the variables of all hosts against all roles, on the controller."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(
            argument_spec={
                "roles": {"type": "list", "elements": "str"},
                "roles_path": {"type": "path"},
                "description_only": {"type": "bool", "default": False},
            }
        )
        play = PlayHosts(self, task_vars)
        wanted = self._task.args.get("roles")
        roles = play.chosen_roles(wanted)
        faults, warnings = preflight.Faults(), preflight.Faults()
        if args["description_only"]:
            # The play is of localhost, which the inventory need not name, and no host need exist yet.
            self._check_names(play, [], faults, self._platform_options(), play.played)
            return self._outcome(result, [], faults, [])
        checked = wanted or play.roles.names()
        platform = {} if wanted else self._platform_options()
        self._check_names(play, checked, faults, platform, play.hosts)
        if platform and play.hosts:
            HostCheck(play, "platform", play.hosts[0], faults, warnings, platform).run()
            if not play.on_controller:
                self._check_groups(play, faults)
        for role in wanted or play.played_roles():
            self._check_strangers(play, role, faults)
        for role in roles:
            members = play.members(role)
            if not members:
                faults.add(self._no_members(play, role))
            for host in members:
                HostCheck(play, role, host, faults, warnings, play.roles.entry_points(role).get("main", {})).run()
        for line in warnings.lines(play.hosts):
            self._display.warning(line)
        return self._outcome(result, roles, faults, play.hosts)

    @staticmethod
    def _outcome(result, roles, faults, hosts):
        lines = faults.lines(hosts)
        result.update(changed=False, roles=roles)
        if lines:
            result.update(failed=True, msg="Refused, nothing was touched.\n" + "\n".join(lines))
        return result

    def _platform_options(self):
        """Return the options of the platform description; which of them are needed is the playbook's business."""
        if not os.path.isfile(PLATFORM_SPEC):
            return {}
        options = self._loader.load_from_file(PLATFORM_SPEC)["platform_spec"]
        return {name: {**option, "required": False} for name, option in options.items()}

    @staticmethod
    def _check_names(play, roles, faults, platform, hosts):
        known = {role: play.roles.known(role) for role in roles}
        # Roles that are not checked still own their names: redis_sentinel_x is not redis's.
        owners = {role: known.get(role) for role in {*roles, *play.roles.names()}}
        if platform:
            owners["platform"] = known["platform"] = {*platform, "platform_secrets", "platform_spec"}
        for host in hosts:
            names = [name for name in play.given(host) if preflight.owner(name, owners) in known]
            for name, role, suggestion in preflight.unknown_names(names, known):
                faults.add(preflight.unknown_sentence(name, role, suggestion), host)

    @staticmethod
    def _check_groups(play, faults):
        """Every component of the platform description must have hosts, running or not."""
        variables = play.raw(play.hosts[0])
        try:
            tiers = play.templar(variables).template(variables.get("platform_tiers") or [])
            expected = [(group_name(name), tier) for tier in tiers if tier["count"] > 0 for name in tier["components"]]
        except (AnsibleError, KeyError, TypeError):
            return  # Not a description; what is wrong with it has been said above.
        for group, tier in expected:
            if not play.groups.get(group):
                faults.add(
                    f"Group {group} has no host, though tier {tier['name']} of platform_tiers has {tier['count']};"
                    " run the provision playbook, or check that the inventory is of this platform and region."
                )

    @staticmethod
    def _check_strangers(play, role, faults):
        """A role is only played on hosts of its group."""
        for host, group in play.strangers(role):
            faults.add(
                f"Role {role} would be played on a host that is not in its group {group}; play hosts of that group only"
                " (target), or give the host's tier the component and run the provision playbook.",
                host,
            )

    @staticmethod
    def _no_members(play, role):
        host = play.hosts[0] if play.hosts else None
        group = play.group_of(host, role) if host else role
        if group in play.groups:
            return f"Group {group} of role {role} has no host; provision the platform, or correct the inventory."
        return (
            f"Group {group} of role {role} is not in the inventory: no running or stopped instance carries this"
            " component; provision the platform, or correct the inventory or the group's name."
        )


class HostCheck:
    """One role's variables on one host against the options of its argument specification and its rules."""

    def __init__(self, play, role, host, faults, warnings, options):
        self._role, self._faults, self._warnings, self._options = role, faults, warnings, options
        self._host = None if role == "platform" else host
        self._files = play.roles
        self._variables = play.variables(host, role)
        self._templar = play.templar(self._variables)
        self._secret = preflight.dependents(self._variables, ["platform_secrets"])
        missing = [name for name in READ_LATER if not self._variables.get(name)]
        self._unknown_yet = preflight.dependents(self._variables, missing)

    def run(self):
        """Add every fault found."""
        wrong = set()
        for name, spec in self._options.items():
            for sentence in self._option(name, spec):
                self._faults.add(sentence, self._host)
                wrong.add(name)
        # A rule about a value that is wrong already would only say it again, less clearly.
        skipped = self._unknown_yet | preflight.dependents(self._variables, wrong)
        for rule in self._files.rules(self._role):
            sentence = self._rule(rule, skipped)
            if sentence:
                (self._warnings if rule.get("warning") else self._faults).add(sentence, self._host)

    def _option(self, name, spec):
        if self._variables.get(name) is None:
            return [preflight.missing_sentence(name, self._role, spec)] if spec.get("required") else []
        if name in self._unknown_yet:
            return []
        try:
            value = self._templar.template(self._variables[name])
        except AnsibleError as error:
            return [f"{name} cannot be evaluated: {_reason(error)}."]
        if value is None:
            return []
        return preflight.option_faults(name, spec, value, hidden=name in self._secret)

    def _rule(self, rule, skipped):
        conditions = rule["that"] if isinstance(rule["that"], list) else [rule["that"]]
        if preflight.mentions("{{" + " ".join(map(str, conditions)) + "}}") & skipped:
            return None
        try:
            if all(self._templar.evaluate_conditional(condition) for condition in conditions):
                return None
            return str(self._templar.template(rule["message"]))
        except AnsibleError as error:
            rule_text = preflight.show(" and ".join(map(str, conditions)))
            return f"The rule {rule_text} of role {self._role} cannot be evaluated: {_reason(error)}."


def _reason(error):
    """Return the innermost message of an error of the template engine, on one line, without a final full stop."""
    while isinstance(error.__cause__, Exception) and not isinstance(error, AnsibleUndefinedVariable):
        error = error.__cause__
    return " ".join(str(getattr(error, "message", None) or error).split()).rstrip(".")

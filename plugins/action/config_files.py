# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the templates of config_files on the controller and sends the whole set at once."""

from __future__ import annotations

import os

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.selfhosted.ec2.plugins.module_utils.handler_names import handler_names, notify

MODULE = "selfhosted.ec2.config_files"
MANAGED = "Managed by Ansible, changes made here are overwritten"


def check_file(option):
    """Refuse an entry of `files` that cannot be meant. Raises AnsibleActionFail."""
    if not isinstance(option, dict) or not option.get("dest"):
        raise AnsibleActionFail("An entry of files has no dest: %r." % (option,))
    dest = option["dest"]
    if ("template" in option) == ("content" in option):
        raise AnsibleActionFail("The file %s needs either template or content." % dest)
    check_mode_text(option, dest)
    if "content" in option and not isinstance(option["content"], str):
        raise AnsibleActionFail(
            "The content of %s is a %s, not text; use a filter such as to_nice_yaml or to_nice_json."
            % (dest, type(option["content"]).__name__)
        )


def check_mode_text(option, where):
    """An unquoted mode has been read as a number by YAML and means another one. Raises AnsibleActionFail."""
    mode = option.get("mode")
    if mode is not None and not isinstance(mode, str):
        raise AnsibleActionFail("The mode %s of %s is a number; write it in quotes, as '0640'." % (mode, where))


class ActionModule(ActionBase):
    """The controller's half of config_files."""

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        args = dict(self._task.args)
        files = args.get("files") or []
        if not isinstance(files, list):
            raise AnsibleActionFail("files must be a list, it is %s." % type(files).__name__)
        check_mode_text(args, "files")
        for option in files:
            check_file(option)
        for option in args.get("directories") or []:
            check_mode_text(option, option.get("path"))
        args["files"] = [self._render(option, task_vars) for option in files]
        result.update(self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars))
        if not result.get("failed"):
            result["notified"] = handler_names(files, "dest", result["changed_files"])
            notify(self._task, result["notified"])
        return result

    def _render(self, option, task_vars):
        """The entry with its text as content, without what only the controller needs."""
        own = ("template", "vars", "notify")
        sent = {key: value for key, value in option.items() if key not in own and value is not None}
        if "template" in option:
            sent["content"] = self._render_template(option, task_vars)
        return sent

    def _render_template(self, option, task_vars):
        name = option["template"]
        try:
            source = self._find_needle("templates", name)
        except AnsibleError as error:
            raise AnsibleActionFail("The template %s of %s was not found." % (name, option["dest"])) from error
        variables = dict(task_vars)
        variables.setdefault("ansible_managed", MANAGED)
        variables.update(template_path=name, template_fullpath=source, template_destpath=option["dest"])
        variables.update(option.get("vars") or {})
        paths = [*task_vars.get("ansible_search_path", []), self._loader.get_basedir(), os.path.dirname(source)]
        searchpath = [entry for path in paths for entry in (os.path.join(path, "templates"), path)]
        templar = self._templar.copy_with_new_env(searchpath=searchpath, available_variables=variables)
        try:
            text = templar.template(
                trust_as_template(self._loader.get_text_file_contents(source)),
                escape_backslashes=False,
                overrides={"trim_blocks": True, "lstrip_blocks": False, "newline_sequence": "\n"},
            )
        except AnsibleError as error:
            raise AnsibleActionFail("The template %s of %s cannot be rendered." % (name, option["dest"])) from error
        return "" if text is None else str(text)

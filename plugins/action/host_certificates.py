# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs what host_certificates asks for. The CA's key stays in the controller's memory."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates as x
from ansible_collections.selfhosted.ec2.plugins.module_utils.handler_names import handler_names, notify

MODULE = "selfhosted.ec2.host_certificates"
REQUIRED = ("name", "directory", "common_name")


def normalise(certificates):
    """The option certificates with defaults for what the signer needs. Raises AnsibleActionFail."""
    entries = []
    for option in certificates or []:
        missing = [key for key in REQUIRED if not option.get(key)]
        if missing:
            raise AnsibleActionFail("The certificate %r has no %s." % (option.get("name", option), missing[0]))
        entries.append(dict(option, usages=option.get("usages") or ["server", "client"]))
    paths = [path(option) for option in entries]
    double = sorted({item for item in paths if paths.count(item) > 1})
    if double:
        raise AnsibleActionFail("The certificate %s is listed more than once." % double[0])
    return entries


def path(option):
    """Path of a certificate's files without suffix."""
    return "%s/%s" % (option["directory"].rstrip("/"), option["name"])


def merge(first, second):
    """One result out of those of the two executions."""
    result = dict(second)
    for key in ("changed_certificates", "changed_files"):
        result[key] = list(dict.fromkeys(first[key] + second[key]))
    result["issued_certificates"] = first["issued_certificates"]
    result["diff"] = first.get("diff", []) + second.get("diff", [])
    result["warnings"] = first.get("warnings", []) + second.get("warnings", [])
    result["changed"] = first["changed"] or second["changed"]
    return result


class ActionModule(ActionBase):
    """The controller's half of host_certificates."""

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        if not x.HAS_CRYPTOGRAPHY:
            raise AnsibleActionFail("The controller lacks the Python package cryptography.")
        args = dict(self._task.args)
        entries = normalise(args.get("certificates"))
        domains = args.get("domains") or [self._variable("platform_domain", "platform_domain")]
        try:
            authority = x.Authority(
                args.pop("ca_certificate", None)
                or self._variable("platform_secrets['ca/certificate']", "ca_certificate"),
                args.pop("ca_key", None) or self._variable("platform_secrets['ca/key']", "ca_key"),
            )
            for option in entries:
                x.check_wanted(option, domains)
            sent = [
                dict(
                    {key: value for key, value in option.items() if key != "notify"},
                    directory=option["directory"].rstrip("/"),
                )
                for option in entries
            ]
            args.update(certificates=sent, ca_certificate=authority.bundle())
            result.update(self._round_trips(args, authority, task_vars))
        except x.CertificateError as error:
            raise AnsibleActionFail(str(error)) from error
        result.pop("requests", None)
        if not result.get("failed"):
            result["notified"] = handler_names(entries, "name", result["changed_certificates"])
            notify(self._task, result["notified"])
        return result

    def _round_trips(self, args, authority, task_vars):
        """Inspect; sign and install if there is anything to sign."""
        first = self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)
        requests = first.get("requests")
        if first.get("failed") or not requests:
            return first
        wanted = [option for option in args["certificates"] if path(option) in requests]
        days = int(args.get("valid_days") or 90)
        issued = {path(option): authority.sign(requests[path(option)], option, days) for option in wanted}
        again = dict(args, certificates=wanted, issued=issued)
        second = self._execute_module(module_name=MODULE, module_args=again, task_vars=task_vars)
        return second if second.get("failed") else merge(first, second)

    def _variable(self, expression, option):
        """A variable of the host, templated. Raises AnsibleActionFail when it is missing."""
        try:
            value = self._templar.template(trust_as_template("{{ %s }}" % expression))
        except AnsibleError as error:
            raise AnsibleActionFail("%s is not set; give the option %s." % (expression, option)) from error
        if not value:
            raise AnsibleActionFail("%s is empty; give the option %s." % (expression, option))
        return value

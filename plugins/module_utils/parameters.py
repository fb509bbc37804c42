# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of a platform in SSM Parameter Store."""

from __future__ import annotations

import re

#: A secret that a template reads by its literal name; one with a default may be missing.
_READ = re.compile(r"""platform_secrets\[\s*(['"])([^'"]+)\1\s*\](?!\s*\|\s*(?:d|default)\b)""")

#: GetParametersByPath gives at most ten parameters a page (its API reference, MaxResults).
PAGE = 10


def read_all(ssm, path):
    """Return every parameter below I(path), decrypted: dict of name without the path to value.

    :arg ssm: C(module_utils.aws.Client) of SSM.
    :arg path: such as C(/trading/).
    :raises AwsError: the call failed for good.
    """
    entries = ssm.pages(
        "get_parameters_by_path", "Parameters", Path=path, Recursive=True, WithDecryption=True, MaxResults=PAGE
    )
    return {entry["Name"][len(path) :]: entry["Value"] for entry in entries}


def users(name, defaults):
    """Return the variables among a role's raw I(defaults) that read the secret I(name) from C(platform_secrets)."""
    return [
        variable
        for variable, raw in defaults.items()
        if "platform_secrets" in str(raw) and (f"'{name}'" in str(raw) or f'"{name}"' in str(raw))
    ]


def replaced(name, defaults, given):
    """Tell whether a host sets every variable that would read a secret, so that the secret is not needed there.

    :arg defaults: raw defaults of the role.
    :arg given: raw variables of the host, without the role's defaults.
    """
    variables = users(name, defaults)
    return bool(variables) and all(
        variable in given and given[variable] is not None and "platform_secrets" not in str(given[variable])
        for variable in variables
    )


def names_read(value):
    """Return the literal names of secrets that a raw value (strings, lists and dicts, any depth) cannot do without."""
    if isinstance(value, str):
        return {found[1] for found in _READ.findall(value)}
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return set()
    return set().union(*map(names_read, value))


def unmade_sentence(path, missing):
    """Return the sentence for secrets that only the operator's own variables read and nobody has made.

    :arg missing: dict of secret name to the set of variables that read it.
    """
    parts = [f"{path}{name} (read by {', '.join(sorted(variables))})" for name, variables in sorted(missing.items())]
    noun, verb, them = ("The secret", "is", "it") if len(parts) == 1 else ("The secrets", "are", "them")
    return (
        f"{noun} {', '.join(parts)} {verb} not in SSM Parameter Store;"
        f" add {them} to platform_extra_secrets and run the provision playbook, which creates what is missing."
    )


def missing_sentence(path, missing):
    """Return the sentence for secrets that do not exist.

    :arg missing: dict of secret name to the set of variables that may replace it.
    """
    parts = []
    for name, variables in sorted(missing.items()):
        instead = f" (or set {' and '.join(sorted(variables))})" if variables else ""
        parts.append(f"{path}{name}{instead}")
    noun = "The secret" if len(parts) == 1 else "The secrets"
    verb = "is" if len(parts) == 1 else "are"
    return (
        f"{noun} {', '.join(parts)} {verb} not in SSM Parameter Store;"
        " run the provision playbook, which creates what is missing."
    )

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of variables against what roles know: pure functions, no templating, no files, no network."""

from __future__ import annotations

import difflib
import re

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

NOT_SHOWN = "(not shown)"
_SECRET_NAME = re.compile(r"(password|passwd|passphrase|secret|token|credential|private_key|(^|_)key$)", re.IGNORECASE)
_PUBLIC_NAME = re.compile(r"(public_key|_file|_path|_directory|_id|_arn)$", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE_MAX = 80


def owner(name, roles):
    """Return the role with the longest name that is a prefix of C(<role>_...) of the variable I(name), or None."""
    candidates = [role for role in roles if name.startswith(role + "_")]
    return max(candidates, key=len) if candidates else None


def nearest(name, known, prefix=""):
    """Return the known name most like I(name), or None when none is like it; the common I(prefix) does not count."""
    ends = {item.removeprefix(prefix): item for item in sorted(known)}
    found = difflib.get_close_matches(name.removeprefix(prefix), ends, n=1, cutoff=0.6)
    return ends[found[0]] if found else None


def unknown_names(names, known_by_role):
    """Name each variable that its role does not know.

    :arg names: variable names of one host.
    :arg known_by_role: dict of role name to the set of names it knows.
    :returns: list of (name, role, nearest known name or None), sorted by name.
    """
    found = []
    for name in sorted(names):
        role = owner(name, known_by_role)
        if role is not None and name not in known_by_role[role]:
            found.append((name, role, nearest(name, known_by_role[role], role + "_")))
    return found


def unknown_sentence(name, role, suggestion):
    """Return the sentence for one unknown variable of a role (or of the platform description)."""
    where = "the platform description" if role == "platform" else f"role {role}"
    hint = f"did you mean {suggestion}?" if suggestion else "see its documentation for the names it has."
    return f"{name} is set, but {where} has no such variable; {hint}"


def is_secret_name(name):
    """Tell whether a variable or option of this name is to be treated as a secret."""
    return bool(_SECRET_NAME.search(name)) and not _PUBLIC_NAME.search(name)


def mentions(value):
    """Return the set of words inside the templates of a raw value (strings, lists and dicts, any depth)."""
    if isinstance(value, str):
        return set(_WORD.findall(value)) if "{{" in value or "{%" in value else set()
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple)):
        parts = value
    else:
        return set()
    return set().union(*(mentions(part) for part in parts))


def dependents(variables, roots):
    """Return the names of variables whose templates refer, directly or through others, to one of I(roots).

    :arg variables: dict of name to raw (untemplated) value.
    :arg roots: names to begin with; they are part of the answer.
    """
    uses = {name: words for name, words in ((name, mentions(value)) for name, value in variables.items()) if words}
    reached, grown = set(roots), True
    while grown:
        more = {name for name, words in uses.items() if name not in reached and words & reached}
        reached |= more
        grown = bool(more)
    return reached


def show(value):
    """Return a value as it stands in a sentence: quoted text, short, on one line."""
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= _VALUE_MAX else text[: _VALUE_MAX - 3] + "..."


def describe(spec):
    """Return in words what an option of an argument specification takes."""
    kind = spec.get("type", "str")
    if spec.get("choices"):
        return "one of " + ", ".join(str(choice) for choice in spec["choices"])
    names = {"str": "text", "int": "a whole number", "bool": "true or false", "dict": "a mapping", "float": "a number"}
    if kind == "list":
        return "a list of " + names.get(spec.get("elements", ""), "values").replace("a ", "", 1)
    return names.get(kind, kind)


def secret_values(spec, value):
    """Return the texts inside I(value) that must not be shown: options marked no_log or with the name of a secret."""
    options = spec.get("options") or {}
    if isinstance(value, (list, tuple)):
        return set().union(*(secret_values(spec, item) for item in value))
    if not isinstance(value, dict):
        return set()
    found = set()
    for name, item in value.items():
        inner = options.get(name, {})
        if inner.get("no_log") or is_secret_name(str(name)):
            found.add(str(item))
        else:
            found |= secret_values(inner, item)
    return {text for text in found if text}


def mask(text, secrets):
    """Return I(text) with every one of I(secrets) replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, NOT_SHOWN)
    return text


def option_faults(name, spec, value, hidden=False):
    """Check one variable against its option of an argument specification.

    :arg value: the templated value.
    :arg hidden: the value comes from a secret and is never shown.
    :returns: list of sentences, empty when the value fits.
    """
    errors = ArgumentSpecValidator({name: spec}).validate({name: value}).error_messages
    if not errors:
        return []
    if hidden or spec.get("no_log") or is_secret_name(name):
        return [f"{name} is {NOT_SHOWN}, it must be {describe(spec)}."]
    if not ArgumentSpecValidator({name: _flat(spec)}).validate({name: value}).error_messages:
        secrets = secret_values(spec, value)
        return [_nested(name, mask(error, secrets)) for error in errors]
    return [f"{name} is {mask(show(value), secret_values(spec, value))}, it must be {describe(spec)}."]


def _nested(name, error):
    unknown, separator, known = error.partition(". Supported parameters include: ")
    if separator:
        return f"{name} has what it does not know: {unknown}; it knows {known.rstrip('.')}."
    return f"{name} does not fit: {error.replace('. and we', ' and we').rstrip('.')}."


def _flat(spec):
    return {key: item for key, item in spec.items() if key not in ("options", "elements")}


def missing_sentence(name, role, spec):
    """Return the sentence for a required variable that is not set."""
    text = spec.get("description", "")
    text = text[0] if isinstance(text, list) and text else text
    return f"{name} is not set, role {role} needs it ({str(text).rstrip('.') or describe(spec)})."


class Faults:
    """Sentences with the hosts they are about, in the order found, each once."""

    def __init__(self):
        self._hosts = {}

    def add(self, sentence, host=None):
        """Add one sentence, about I(host) or about none in particular."""
        self._hosts.setdefault(str(sentence).strip(), set()).update([host] if host else [])

    def __bool__(self):
        return bool(self._hosts)

    def lines(self, all_hosts=()):
        """Return the sentences, each with its hosts in brackets; I(all_hosts) are shortened to "all hosts"."""
        lines = []
        for sentence, hosts in self._hosts.items():
            if hosts and len(hosts) > 1 and hosts >= set(all_hosts):
                lines.append(f"{sentence} [all hosts]")
            elif hosts:
                lines.append(f"{sentence} [{', '.join(sorted(hosts))}]")
            else:
                lines.append(sentence)
        return lines

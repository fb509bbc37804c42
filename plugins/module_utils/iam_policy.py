# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM policy documents: what they mean, how large they are, what IAM would refuse, how they read. Pure."""

from __future__ import annotations

import json
import re

#: Characters without white space (IAM User Guide, "IAM and AWS STS quotas"); the first can be raised.
TRUST_CHARACTERS = 2048
MANAGED_CHARACTERS = 6144
#: All inline policies of one role or group together (same page).
INLINE_CHARACTERS = {"role": 10240, "group": 5120}
#: A policy may hold U+0020 to U+00FF, tab, line feed and carriage return (IAM API Reference, PolicyDocument).
BAD_CHARACTER = re.compile("[^\t\n\r\u0020-\u00ff]")
VERSIONS = ("2012-10-17", "2008-10-17")
ROOT_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):root\Z")
ACCOUNT_ID = re.compile(r"\d{12}\Z")
#: arn:partition:service:region:account:resource; wildcards may stand anywhere but in the service.
ARN = re.compile(r"arn:(aws[a-z-]*|\*|\$\{[^}]+\}):[a-z0-9*?-]+:[^:]*:[^:]*:.+\Z")
ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+\Z")
SID = re.compile(r"[A-Za-z0-9]*\Z")
ELEMENTS = {
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
}  # fmt: skip
#: IAM User Guide, "IAM JSON policy elements: Condition operators".
OPERATORS = {
    "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike",
    "StringNotLike", "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals",
    "NumericGreaterThan", "NumericGreaterThanEquals", "DateEquals", "DateNotEquals", "DateLessThan",
    "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals", "Bool", "BinaryEquals", "IpAddress",
    "NotIpAddress", "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", "Null",
}  # fmt: skip
PRINCIPALS = ("AWS", "Service", "Federated", "CanonicalUser")


class BadDocument(ValueError):
    """The text is no policy document; the message says why."""


def parse(document):
    """Return a document, given as dict or as JSON text, as a dict. Raises BadDocument."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError as error:
            raise BadDocument(f"is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadDocument("is no dictionary with Version and Statement")
    return document


def as_list(value):
    """Return a single value as a list, a list as it is, None as an empty one."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def statements(document):
    """Return the statements of a parsed document; a single one may stand without a list."""
    return as_list(document.get("Statement"))


def text_of(value):
    """Return a JSON value as IAM compares it: booleans and numbers as their text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def compact(document):
    """Return the document as the text that is sent: no white space that means nothing, the order as given."""
    return json.dumps(parse(document), separators=(",", ":"), ensure_ascii=False)


def size(document):
    """Return the characters that count against IAM's quotas: all but white space."""
    return len(re.sub(r"\s", "", compact(document)))


# Meaning


def canonical_principal(value):
    """Return a principal as a tuple of (kind, names); "*" is everybody in AWS, an account is its number."""
    if isinstance(value, str):
        value = {"AWS": value}
    result = []
    for kind in sorted(value):
        names = {text_of(name) for name in as_list(value[kind])}
        if kind == "AWS":
            names = {ROOT_ARN.sub(r"\1", name) for name in names}
        result.append((kind, tuple(sorted(names))))
    return tuple(result)


def canonical_condition(value):
    """Return a condition as a tuple of (operator, key, values); keys are compared without regard to case."""
    result = {}
    for operator, keys in (value or {}).items():
        for key, values in keys.items():
            known = result.setdefault((operator, key.lower()), set())
            known.update(text_of(item) for item in as_list(values))
    return tuple(sorted((operator, key, tuple(sorted(values))) for (operator, key), values in result.items()))


def canonical_statement(statement):
    """Return what a statement means, as a tuple that can be compared and sorted."""
    parts = [("Effect", statement.get("Effect")), ("Sid", statement.get("Sid") or "")]
    for name in ("Action", "NotAction"):
        if name in statement:
            parts.append((name, tuple(sorted({text_of(item).lower() for item in as_list(statement[name])}))))
    for name in ("Resource", "NotResource"):
        if name in statement:
            parts.append((name, tuple(sorted({text_of(item) for item in as_list(statement[name])}))))
    for name in ("Principal", "NotPrincipal"):
        if name in statement:
            parts.append((name, canonical_principal(statement[name])))
    if statement.get("Condition"):
        parts.append(("Condition", canonical_condition(statement["Condition"])))
    return tuple(parts)


def canonical(document):
    """Return what a document means: version, id and the set of its statements. Raises BadDocument.

    The order of statements, of names in a list, the case of actions and of condition keys, one text or a list of one,
    an account's number or its root ARN (in any partition) and white space make no difference.
    """
    parsed = parse(document)
    held = {json.dumps(canonical_statement(entry)) for entry in statements(parsed)}
    return parsed.get("Version") or VERSIONS[1], parsed.get("Id") or "", tuple(sorted(held))


def equal(one, other):
    """Tell whether two documents mean the same; a text that is no document equals nothing."""
    try:
        return canonical(one) == canonical(other)
    except (BadDocument, AttributeError, TypeError):
        return False


# What IAM would refuse


def faults(document, kind="identity"):
    """Return what is wrong with a document, ends of sentences such as "has no statement".

    :arg kind: C(identity) for what a role or group may do, C(trust) for who may take a role.
    """
    try:
        parsed = parse(document)
    except BadDocument as error:
        return [str(error)]
    found = []
    if parsed.get("Version") not in (None, *VERSIONS):
        found.append(f"has the Version {parsed['Version']!r}; it must be 2012-10-17, as text")
    unknown = sorted(set(parsed) - {"Version", "Id", "Statement"})
    if unknown:
        found.append(f"has the element {unknown[0]}; there are Version, Id and Statement")
    entries = statements(parsed)
    if not entries:
        found.append("has no statement")
    bad = BAD_CHARACTER.search(compact(parsed))
    if bad:
        found.append(f"holds the character {bad.group()!r}; IAM takes only those up to U+00FF")
    sids = [entry.get("Sid") for entry in entries if isinstance(entry, dict) and entry.get("Sid")]
    found += [f"has the Sid {sid} twice" for sid in sorted({str(sid) for sid in sids if sids.count(sid) > 1})]
    for number, entry in enumerate(entries, 1):
        found += [f"has a bad statement {label(entry, number)}: {fault}" for fault in statement_faults(entry, kind)]
    return found


def label(statement, number):
    """Return how a statement is called: its Sid, else its number."""
    return str((statement.get("Sid") if isinstance(statement, dict) else None) or number)


def statement_faults(statement, kind):
    """Return what is wrong with one statement."""
    if not isinstance(statement, dict):
        return ["it is no dictionary"]
    found = []
    unknown = sorted(set(statement) - ELEMENTS)
    if unknown:
        found.append(f"there is no element {unknown[0]}")
    if statement.get("Effect") not in ("Allow", "Deny"):
        found.append(f"Effect is {statement.get('Effect')!r}; it must be Allow or Deny")
    if not SID.match(str(statement.get("Sid") or "")):
        found.append("Sid must be letters and digits")
    found += _action_faults(statement, kind)
    found += _condition_faults(statement.get("Condition"))
    return found + (_trust_faults(statement) if kind == "trust" else _identity_faults(statement))


def _one_of(statement, name):
    have = [entry for entry in (name, f"Not{name}") if entry in statement]
    if len(have) == 1 and as_list(statement[have[0]]):
        return []
    return [f"it needs either {name} or Not{name}"]


def _action_faults(statement, kind):
    found = _one_of(statement, "Action")
    for action in as_list(statement.get("Action")) + as_list(statement.get("NotAction")):
        if action != "*" and not ACTION.match(str(action)):
            found.append(f"the action {action!r} must be service:Action, such as s3:GetObject")
        elif kind == "trust" and action != "*" and not str(action).lower().startswith("sts:"):
            found.append(f"the action {action!r} must be one of sts, such as sts:AssumeRole")
    return found


def _identity_faults(statement):
    found = _one_of(statement, "Resource")
    if "Principal" in statement or "NotPrincipal" in statement:
        found.append("it may not have a Principal: that is the role or group itself")
    for resource in as_list(statement.get("Resource")) + as_list(statement.get("NotResource")):
        if resource != "*" and not ARN.match(str(resource)):
            found.append(f"the resource {resource!r} must be * or an ARN, such as arn:aws:s3:::bucket/*")
    return found


def _trust_faults(statement):
    found = []
    if "Resource" in statement or "NotResource" in statement:
        found.append("it may not have a Resource: that is the role itself")
    have = [name for name in ("Principal", "NotPrincipal") if statement.get(name)]
    if len(have) != 1:
        return [*found, "it needs a Principal"]
    principal = statement[have[0]]
    if isinstance(principal, str):
        return found if principal == "*" else [*found, f"the principal {principal!r} must be a dictionary"]
    for kind, names in principal.items():
        if kind not in PRINCIPALS:
            found.append(f"there is no kind of principal {kind!r}; there are {', '.join(PRINCIPALS)}")
            continue
        for name in as_list(names):
            right = _principal_fault(kind, str(name))
            if right:
                found.append(f"the principal {kind} {name!r} must be {right}")
    return found


def _principal_fault(kind, name):
    if kind == "AWS":
        good = name == "*" or ACCOUNT_ID.match(name) or re.match(r"arn:aws[a-z-]*:(iam|sts)::\d{12}:.+\Z", name)
        return "" if good else "an account's twelve digits, in quotes, or an ARN of IAM or STS"
    if kind == "Service":
        return "" if re.match(r"[a-z0-9.-]+\.amazonaws\.com(\.cn)?\Z", name) else "such as ec2.amazonaws.com"
    if kind == "Federated":
        return "" if ARN.match(name) or re.match(r"[a-z0-9.-]+\Z", name) else "an ARN of a provider or its name"
    return ""


def _condition_faults(condition):
    if condition is None:
        return []
    if not isinstance(condition, dict) or not all(isinstance(keys, dict) for keys in condition.values()):
        return ["Condition must be a dictionary of operator to keys and values"]
    found = []
    for operator in condition:
        bare = re.sub(r"^(ForAllValues|ForAnyValue):", "", str(operator)).removesuffix("IfExists")
        if bare not in OPERATORS:
            found.append(f"there is no condition operator {operator!r}")
    return found


# Text


def line(statement):
    """Return a statement as one line."""
    actions = ", ".join(_names(statement, "Action", "not "))
    words = [statement.get("Effect", "?"), actions]
    if "Resource" in statement or "NotResource" in statement:
        words.append("on " + ", ".join(_names(statement, "Resource", "not ")))
    if "Principal" in statement or "NotPrincipal" in statement:
        words.append("by " + ", ".join(_principals(statement)))
    conditions = [f"{op} {key} {' or '.join(values)}" for op, key, values in _conditions(statement)]
    if conditions:
        words.append("if " + " and ".join(conditions))
    sid = statement.get("Sid")
    return " ".join(words) + (f" [{sid}]" if sid else "")


def lines(statement):
    """Return a statement as lines of a diff, one for each action, resource, principal and condition."""
    sid = statement.get("Sid")
    result = [f"{statement.get('Effect', '?')}{f' [{sid}]' if sid else ''}"]
    result += [f"  action {name}" for name in _names(statement, "Action", "not ")]
    result += [f"  resource {name}" for name in _names(statement, "Resource", "not ")]
    result += [f"  principal {name}" for name in _principals(statement)]
    for operator, key, values in _conditions(statement):
        result += [f"  condition {operator} {key}: {value}" for value in values]
    return result


def _names(statement, element, negation):
    given = [text_of(name) for name in as_list(statement.get(element))]
    return sorted(given) + sorted(negation + text_of(name) for name in as_list(statement.get(f"Not{element}")))


def _principals(statement):
    result = []
    for element, negation in (("Principal", ""), ("NotPrincipal", "not ")):
        if statement.get(element):
            pairs = canonical_principal(statement[element])
            result += [f"{negation}{kind} {name}" for kind, names in pairs for name in names]
    return result


def _conditions(statement):
    return sorted(
        (operator, key, sorted(text_of(item) for item in as_list(values)))
        for operator, keys in (statement.get("Condition") or {}).items()
        for key, values in keys.items()
    )


def aligned(before, after):
    """Return the statements of two documents as lines, each in the order of I(after), so that a diff shows only edits.

    :arg before: parsed document, None when there is none.
    :arg after: parsed document, None when there is none.
    """
    old = statements(before) if before else []
    new = statements(after) if after else []
    left = list(old)
    pairs = {}
    same = (
        lambda one, other: canonical_statement(one) == canonical_statement(other),
        lambda one, other: one.get("Sid") and one.get("Sid") == other.get("Sid"),
        lambda one, other: _names(one, "Action", "!") == _names(other, "Action", "!"),
        lambda one, other: True,
    )
    for test in same:
        for index, entry in enumerate(new):
            match = next((known for known in left if index not in pairs and test(known, entry)), None)
            if match is not None:
                pairs[index] = match
                left.remove(match)
    first = [pairs[index] for index in range(len(new)) if index in pairs] + left
    return [row for entry in first for row in lines(entry)], [row for entry in new for row in lines(entry)]


def edits(before, after):
    """Return what differs between two documents, one line per statement: "- ..." and "+ ..."."""
    old = {canonical_statement(entry): entry for entry in (statements(before) if before else [])}
    new = {canonical_statement(entry): entry for entry in (statements(after) if after else [])}
    gone = [f"- {line(entry)}" for key, entry in old.items() if key not in new]
    return gone + [f"+ {line(entry)}" for key, entry in new.items() if key not in old]

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of composite alarms: read, compared by meaning, put in the order of their dependence. Pure.

Source of the syntax: CloudWatch API Reference, PutCompositeAlarm, AlarmRule.
"""

from __future__ import annotations

import re

STATES = ("ALARM", "OK", "INSUFFICIENT_DATA")
TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([()])|([^\s()"]+))')


class RuleError(ValueError):
    """A rule that cannot be read; the text says where."""


def parse(text):
    """Return the canonical tree of a rule.

    ("AND" | "OR", operands in order), ("NOT", operand), (state, alarm name) or True or False. Rules whose operands
    are in another order, repeated or in further parentheses have equal trees. Raises RuleError.
    """
    try:
        tree, rest = _either(_tokens(text), "OR")
    except RecursionError:
        raise RuleError("it is nested too deeply") from None
    if rest:
        raise RuleError(f"there is {rest[0][1]!r} too much")
    return tree


def alarm_name(reference):
    """Return the name of an alarm given by name or ARN."""
    return reference.split(":alarm:", 1)[1] if reference.startswith("arn:") and ":alarm:" in reference else reference


def names(tree):
    """Return the set of the alarms that a tree reads."""
    if isinstance(tree, bool):
        return set()
    if tree[0] in STATES:
        return {tree[1]}
    operands = [tree[1]] if tree[0] == "NOT" else tree[1]
    return set().union(*(names(operand) for operand in operands))


def children_first(wanted):
    """Return the names in an order in which each comes after those it reads.

    :arg wanted: dict name to the set of names it reads; names that are not keys are passed over.
    Raises RuleError when alarms read each other in a circle.
    """
    order, state = [], {}

    def visit(name, path):
        if state.get(name) == "done":
            return
        if state.get(name) == "open":
            circle = [*path[path.index(name) :], name]
            raise RuleError(f"the composite alarms {' -> '.join(circle)} read each other in a circle")
        state[name] = "open"
        for child in sorted(wanted[name] & set(wanted)):
            visit(child, [*path, name])
        state[name] = "done"
        order.append(name)

    for name in sorted(wanted):
        visit(name, [])
    return order


def _tokens(text):
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise RuleError(f"{text[position:].strip()[:20]!r} cannot be read")
        quoted, mark, word = match.groups()
        if quoted is not None:
            found.append(("name", re.sub(r"\\(.)", r"\1", quoted)))
        else:
            found.append(("mark", mark) if mark else ("word", word))
        position = match.end()
    return found


def _either(tokens, operator):
    """Read operands of OR (each operands of AND) or of AND (each a term)."""
    operands, rest = [], tokens
    while True:
        operand, rest = _either(rest, "AND") if operator == "OR" else _term(rest)
        operands.append(operand)
        if not rest or rest[0] != ("word", operator):
            return _joined(operator, operands), rest
        rest = rest[1:]


def _joined(operator, operands):
    flat = []
    for operand in operands:
        same = not isinstance(operand, bool) and operand[0] == operator
        flat.extend(operand[1] if same else [operand])
    unique = tuple(sorted(set(flat), key=repr))
    return unique[0] if len(unique) == 1 else (operator, unique)


def _term(tokens):
    if not tokens:
        raise RuleError("it ends where an alarm is expected")
    first, rest = tokens[0], tokens[1:]
    if first == ("mark", "("):
        tree, rest = _either(rest, "OR")
        return tree, _closed(rest)
    if first == ("word", "NOT"):
        tree, rest = _term(rest)
        return ("NOT", tree), rest
    if first in (("word", "TRUE"), ("word", "FALSE")):
        return first[1] == "TRUE", rest
    if first[0] == "word" and first[1] in STATES and rest[:1] == [("mark", "(")]:
        if len(rest) < 2 or rest[1][0] == "mark":
            raise RuleError(f"{first[1]}() names no alarm")
        return (first[1], alarm_name(rest[1][1])), _closed(rest[2:])
    raise RuleError(f"{first[1]!r} is none of ALARM(...), OK(...), INSUFFICIENT_DATA(...), NOT, TRUE, FALSE")


def _closed(tokens):
    if tokens[:1] != [("mark", ")")]:
        raise RuleError("a closing parenthesis is missing")
    return tokens[1:]

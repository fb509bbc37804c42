"""The table of what the front refuses: action, rule, AWS's error, and where AWS documents it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.aws.call import AWSError, Call


@dataclass(frozen=True)
class Rule:
    """`function(call)` returns None, or the values for `message` when the call must be refused."""

    service: str
    actions: tuple[str, ...]
    function: Callable[[Call], dict[str, Any] | None]
    code: str
    message: str
    source: str
    status: int = 400


RULES: list[Rule] = []


def rule(
    service: str, actions: str, code: str, message: str, source: str, status: int = 400
) -> Callable[[Callable[[Call], dict[str, Any] | None]], Callable[[Call], dict[str, Any] | None]]:
    """Add the decorated function to the table. `actions` are separated by blanks."""

    def register(function: Callable[[Call], dict[str, Any] | None]) -> Callable[[Call], dict[str, Any] | None]:
        RULES.append(Rule(service, tuple(actions.split()), function, code, message, source, status))
        return function

    return register


def check(call: Call) -> None:
    """Raise the AWSError of the first rule that refuses the call; an accepted dry run is answered so, too."""
    model.check(call)
    for entry in of(call.service, call.action):
        values = entry.function(call)
        if values is not None:
            raise AWSError(entry.code, entry.message.format(**values), entry.status)
    if call.service == "ec2" and call.params.get("DryRun"):
        raise AWSError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def of(service: str, action: str) -> list[Rule]:
    """The rules of an action in the order they are checked."""
    if not _INDEX:
        for entry in RULES:
            for name in entry.actions:
                _INDEX.setdefault((entry.service, name), []).append(entry)
    return _INDEX.get((service, action), [])


_INDEX: dict[tuple[str, str], list[Rule]] = {}

# They fill the table.
from lab.aws.rules import (  # noqa: E402, F401  # noqa: E402, F401
    cloudtrail,
    cloudwatch,
    dynamodb,
    ec2,
    edge,
    iam,
    model,
    network,
    route53,
    s3,
    ssm,
    volumes,
    wafv2,
)

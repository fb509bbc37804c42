"""Constraints that the service's own model states: enumerations, patterns, lengths and ranges of every parameter.

Source: botocore's service models, which AWS publishes; message form of the services' ValidationException.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lab.aws.call import AWSError, Call

CODES = {
    "ec2": "InvalidParameterValue",
    "route53": "InvalidInput",
    "iam": "ValidationError",
    "sts": "ValidationError",
    "cloudwatch": "ValidationError",
    "elbv2": "ValidationError",
    "wafv2": "WAFInvalidParameterException",
    "logs": "InvalidParameterException",
}
# Patterns of the models that Python's re cannot read as they are, or that AWS itself does not apply.
UNCHECKED_PATTERNS = {"PolicyDocument", "AssumeRolePolicyDocument"}


def check(call: Call) -> None:
    """Raise the service's validation error if a parameter breaks a constraint of the model."""
    if call.service == "s3" or call.action not in call.model.operation_names:
        return
    shape = call.operation().input_shape
    if shape is None:
        return
    found = next(_violations(shape, call.params, ""), None)
    if found is not None:
        code = CODES.get(call.service, "ValidationException" if "json" in call.protocol else "InvalidParameterValue")
        raise AWSError(code, f"1 validation error detected: {found}")


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    if shape.type_name == "structure":
        yield from _structure(shape, value, path)
    elif shape.type_name == "list" and isinstance(value, list):
        yield from _bounds(shape, len(value), value, path, "have length")
        for index, item in enumerate(value, 1):
            yield from _violations(shape.member, item, f"{path}.{index}.member")
    elif shape.type_name == "string" and isinstance(value, str):
        yield from _text(shape, value, path)
    elif shape.type_name in ("integer", "long") and isinstance(value, int):
        yield from _bounds(shape, value, value, path, "have value")


def _structure(shape: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict) or shape.is_document_type:
        return
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in shape.members.items():
        if name in value:
            yield from _violations(member, value[name], _join(path, name))


def _join(path: str, name: str) -> str:
    name = name[0].lower() + name[1:]
    return f"{path}.{name}" if path else name


def _text(shape: Any, value: str, path: str) -> Iterator[str]:
    yield from _bounds(shape, len(value), value, path, "have length")
    if shape.enum and value not in shape.enum:
        yield (
            f"Value '{value}' at '{path}' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        )
    pattern = shape.metadata.get("pattern")
    if pattern and not any(path.lower().endswith(name.lower()) for name in UNCHECKED_PATTERNS):
        try:
            matches = re.fullmatch(pattern, value)
        except re.error:
            return
        if not matches:
            yield (
                f"Value '{value}' at '{path}' failed to satisfy constraint: "
                f"Member must satisfy regular expression pattern: {pattern}"
            )


def _bounds(shape: Any, size: int, value: Any, path: str, what: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    for limit, broken, words in (
        (least, least is not None and size < least, "greater"),
        (most, most is not None and size > most, "less"),
    ):
        if broken:
            yield (
                f"Value '{value}' at '{path}' failed to satisfy constraint: "
                f"Member must {what} {words} than or equal to {limit}"
            )

"""What DynamoDB refuses beyond what moto does. Source: DynamoDB API Reference, CreateTable."""

from __future__ import annotations

from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule

CREATE = "DynamoDB API Reference, CreateTable"


@rule("dynamodb", "CreateTable", "ValidationException", "{what} must be specified", CREATE)
def keys_missing(call: Call) -> dict[str, Any] | None:
    needed = ("KeySchema", "AttributeDefinitions")
    return next(({"what": name} for name in needed if not call.params.get(name)), None)

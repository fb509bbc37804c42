"""What DynamoDB refuses beyond what moto does. Source: DynamoDB API Reference and Developer Guide, "Quotas"."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule
from lab.aws.tables import TTL_SECONDS, busy

CREATE = "DynamoDB API Reference, CreateTable"
UPDATE = "DynamoDB API Reference, UpdateTable"
TTL = "DynamoDB API Reference, UpdateTimeToLive"
QUOTAS = "DynamoDB Developer Guide, Quotas"
INVALID = "One or more parameter values were invalid: "
MAX_GLOBAL = 20
MAX_LOCAL = 5
MAX_PROJECTED = 100
MAX_TAGS = 50


def _table(call: Call) -> Any:
    return call.backend().tables.get(call.params.get("TableName", ""))


def _indexes(call: Call) -> list[dict[str, Any]]:
    both = ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")
    return [index for name in both for index in call.params.get(name) or []]


def _keys(entries: Iterable[dict[str, Any]]) -> set[str]:
    return {key["AttributeName"] for entry in entries for key in entry.get("KeySchema") or []}


@rule("dynamodb", "CreateTable", "ValidationException", "{what} must be specified", CREATE)
def keys_missing(call: Call) -> dict[str, Any] | None:
    needed = ("KeySchema", "AttributeDefinitions")
    return next(({"what": name} for name in needed if not call.params.get(name)), None)


@rule(
    "dynamodb",
    "CreateTable",
    "ValidationException",
    INVALID
    + "Some index key attributes are not defined in AttributeDefinitions. Keys: {keys}, AttributeDefinitions: {known}",
    CREATE,
)
def keys_undefined(call: Call) -> dict[str, Any] | None:
    known = {entry["AttributeName"] for entry in call.params["AttributeDefinitions"]}
    keys = _keys([call.params, *_indexes(call)])
    return {"keys": sorted(keys), "known": sorted(known)} if keys - known else None


@rule(
    "dynamodb",
    "CreateTable",
    "ValidationException",
    INVALID
    + "Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions",
    CREATE,
)
def definitions_unused(call: Call) -> dict[str, Any] | None:
    known = {entry["AttributeName"] for entry in call.params["AttributeDefinitions"]}
    return {} if known - _keys([call.params, *_indexes(call)]) else None


@rule(
    "dynamodb",
    "CreateTable",
    "ValidationException",
    INVALID + "{kind} count exceeds the per-table limit of {most}",
    QUOTAS,
)
def too_many_indexes(call: Call) -> dict[str, Any] | None:
    limits = {"GlobalSecondaryIndexes": MAX_GLOBAL, "LocalSecondaryIndexes": MAX_LOCAL}
    for name, most in limits.items():
        if len(call.params.get(name) or []) > most:
            return {"kind": name.removesuffix("es"), "most": most}
    return None


@rule(
    "dynamodb",
    "CreateTable",
    "ValidationException",
    INVALID + "Number of NonKeyAttributes of all indexes exceeds {most}",
    QUOTAS,
)
def too_many_projected(call: Call) -> dict[str, Any] | None:
    count = sum(len(index.get("Projection", {}).get("NonKeyAttributes") or []) for index in _indexes(call))
    return {"most": MAX_PROJECTED} if count > MAX_PROJECTED else None


@rule(
    "dynamodb",
    "CreateTable",
    "ValidationException",
    INVALID + "Index KeySchema: a local secondary index needs the table's hash key and a range key of its own: {index}",
    CREATE,
)
def local_index_keys(call: Call) -> dict[str, Any] | None:
    hashes = [key["AttributeName"] for key in call.params["KeySchema"] if key["KeyType"] == "HASH"]
    for index in call.params.get("LocalSecondaryIndexes") or []:
        schema = index["KeySchema"]
        if len(schema) != 2 or schema[0]["AttributeName"] not in hashes or len(call.params["KeySchema"]) != 2:
            return {"index": index["IndexName"]}
    return None


@rule("dynamodb", "CreateTable TagResource", "ValidationException", INVALID + "Too many tags", QUOTAS)
def too_many_tags(call: Call) -> dict[str, Any] | None:
    return {} if len(call.params.get("Tags") or []) > MAX_TAGS else None


@rule(
    "dynamodb",
    "UpdateTable DeleteTable UpdateTimeToLive UpdateContinuousBackups",
    "ResourceInUseException",
    "Attempt to change a resource which is still in use: Table is being {doing}: {name}",
    "DynamoDB API Reference, UpdateTable: the table must be ACTIVE",
)
def table_busy(call: Call) -> dict[str, Any] | None:
    table = _table(call)
    state = busy(table) if table else ""
    doing = {"CREATING": "created", "UPDATING": "updated"}
    return {"doing": doing[state], "name": table.name} if state else None


@rule(
    "dynamodb",
    "UpdateTable",
    "ValidationException",
    "You can only perform one of the following operations at once: Modify the provisioned throughput settings of the "
    "table. Remove a global secondary index from the table. Create a new global secondary index on the table.",
    UPDATE,
)
def one_kind_of_change(call: Call) -> dict[str, Any] | None:
    params = call.params
    updates = params.get("GlobalSecondaryIndexUpdates") or []
    made = [entry for entry in updates if "Update" not in entry]
    kinds = [
        bool(params.get("BillingMode") or params.get("ProvisionedThroughput") or len(updates) > len(made)),
        bool(made),
        *(name in params for name in ("StreamSpecification", "SSESpecification", "TableClass")),
        "DeletionProtectionEnabled" in params,
    ]
    return {} if sum(kinds) > 1 else None


@rule(
    "dynamodb",
    "UpdateTable",
    "LimitExceededException",
    "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table",
    UPDATE,
)
def one_index_at_once(call: Call) -> dict[str, Any] | None:
    updates = call.params.get("GlobalSecondaryIndexUpdates") or []
    return {} if sum("Update" not in entry for entry in updates) > 1 else None


@rule(
    "dynamodb",
    "UpdateTable",
    "ValidationException",
    INVALID + "Some index key attributes are not defined in AttributeDefinitions. Keys: {keys}",
    UPDATE,
)
def new_index_undefined(call: Call) -> dict[str, Any] | None:
    created = [entry["Create"] for entry in call.params.get("GlobalSecondaryIndexUpdates") or [] if "Create" in entry]
    known = {entry["AttributeName"] for entry in call.params.get("AttributeDefinitions") or []}
    missing = _keys(created) - known
    return {"keys": sorted(missing)} if missing else None


@rule(
    "dynamodb",
    "UpdateTable",
    "ValidationException",
    INVALID + "ProvisionedThroughput must be specified when BillingMode is PROVISIONED, for the table and {indexes}",
    UPDATE,
)
def throughput_missing(call: Call) -> dict[str, Any] | None:
    table = _table(call)
    if table is None or call.params.get("BillingMode") != "PROVISIONED" or table.billing_mode == "PROVISIONED":
        return None
    updates = call.params.get("GlobalSecondaryIndexUpdates") or []
    given = {entry["Update"]["IndexName"] for entry in updates if "Update" in entry}
    missing = sorted({index.name for index in table.global_indexes} - given)
    return {"indexes": missing} if missing or not call.params.get("ProvisionedThroughput") else None


@rule(
    "dynamodb",
    "UpdateTable",
    "ValidationException",
    "The provisioned throughput for the table will not change. The requested value equals the current value.",
    UPDATE,
)
def nothing_to_change(call: Call) -> dict[str, Any] | None:
    table, wanted = _table(call), call.params.get("ProvisionedThroughput")
    only = not {"BillingMode", "GlobalSecondaryIndexUpdates"} & set(call.params)
    if table is None or not wanted or not only or not table.throughput:
        return None
    return {} if all(table.throughput.get(key) == value for key, value in wanted.items()) else None


def _ttl_state(call: Call) -> tuple[bool, bool, float]:
    table, wanted = _table(call), call.params.get("TimeToLiveSpecification") or {}
    enabled = bool(table) and table.ttl.get("TimeToLiveStatus") == "ENABLED"
    return enabled, bool(wanted.get("Enabled")), getattr(table, "lab_ttl_changed", float("-inf"))


@rule("dynamodb", "UpdateTimeToLive", "ValidationException", "TimeToLive is already {state}", TTL)
def ttl_unchanged(call: Call) -> dict[str, Any] | None:
    enabled, wanted, _changed = _ttl_state(call)
    return {"state": "enabled" if enabled else "disabled"} if enabled == wanted else None


@rule(
    "dynamodb",
    "UpdateTimeToLive",
    "ValidationException",
    "Time to live has been modified multiple times within a fixed interval",
    TTL,
)
def ttl_too_often(call: Call) -> dict[str, Any] | None:
    return {} if time.monotonic() - _ttl_state(call)[2] < TTL_SECONDS else None

"""DynamoDB tables take time to change, keep what moto forgets, and are described as AWS does."""

from __future__ import annotations

import time
import uuid
from typing import Any

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table

from lab.aws.call import CURRENT

#: Seconds that a table is being created or changed. Real ones take longer; nothing may rely on it.
BUSY_SECONDS = 0.3
#: Source: API Reference, UpdateTimeToLive: one change in an hour.
TTL_SECONDS = 3600
_MOTO: dict[str, Any] = {
    "describe": Table.describe,
    "create": DynamoDBBackend.create_table,
    "update": DynamoDBBackend.update_table,
    "ttl": DynamoDBBackend.update_time_to_live,
}


def busy(table: Any) -> str:
    """The state that a table is in for a moment, "" when it is active."""
    state, until = getattr(table, "lab_busy", ("", 0.0))
    return state if time.monotonic() < until else ""


def _work(table: Any, state: str, index: str = "") -> None:
    table.lab_busy = (state, time.monotonic() + BUSY_SECONDS)
    table.lab_index = index


def _create(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    table = _MOTO["create"](self, name, *args, **kwargs)
    params = _params()
    table.lab_class = params.get("TableClass", "STANDARD")
    _work(table, "CREATING")
    return table


def _update(self: Any, name: str, attr_definitions: Any, **kwargs: Any) -> Any:
    """moto takes the definitions of the call for all there are, and forgets encryption and class."""
    table = self.get_table(name)
    known = {entry["AttributeName"]: entry for entry in [*table.attr, *(attr_definitions or [])]}
    _MOTO["update"](self, name, attr_definitions=list(known.values()), **kwargs)
    params = _params()
    if "SSESpecification" in params:
        table.sse_specification = dict(params["SSESpecification"])
        if table.sse_specification.get("Enabled") and "KMSMasterKeyId" not in table.sse_specification:
            key = table._get_default_encryption_key(self.account_id, self.region_name)
            table.sse_specification["KMSMasterKeyId"] = key
    table.lab_class = params.get("TableClass", getattr(table, "lab_class", "STANDARD"))
    if (params.get("StreamSpecification") or {}).get("StreamEnabled") is False:
        table.stream_specification = None
        table.latest_stream_label = None
    created = [
        entry["Create"]["IndexName"] for entry in params.get("GlobalSecondaryIndexUpdates") or [] if "Create" in entry
    ]
    used = {key["AttributeName"] for schema in _schemas(table) for key in schema}
    table.attr = [entry for entry in table.attr if entry["AttributeName"] in used]
    _work(table, "UPDATING", created[0] if created else "")
    return table


def _schemas(table: Any) -> list[Any]:
    return [table.schema, *(index.schema for index in [*table.global_indexes, *table.indexes])]


def _ttl(self: Any, table_name: str, ttl_spec: dict[str, Any]) -> None:
    _MOTO["ttl"](self, table_name, ttl_spec)
    self.get_table(table_name).lab_ttl_changed = time.monotonic()


def _params() -> dict[str, Any]:
    call = CURRENT.get()
    return call.params if call else {}


def _describe(self: Any, base_key: str = "TableDescription") -> dict[str, Any]:
    """moto's tables have no identifier (which community.aws.dynamodb_table reads), no class and no states."""
    result = _MOTO["describe"](self, base_key)
    description = result[base_key]
    description["TableId"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.table_arn}/{self.created_at}"))
    description["TableClassSummary"] = {"TableClass": getattr(self, "lab_class", "STANDARD")}
    state = busy(self)
    if state:
        description["TableStatus"] = state
        for index in description["GlobalSecondaryIndexes"]:
            if state == "CREATING" or index["IndexName"] == self.lab_index:
                index["IndexStatus"] = "CREATING"
    return result


def install() -> None:
    """Replace moto's methods."""
    Table.describe = _describe
    DynamoDBBackend.create_table = _create
    DynamoDBBackend.update_table = _update
    DynamoDBBackend.update_time_to_live = _ttl

"""The record of who takes writes: one primary at most, whoever writes when."""

from __future__ import annotations

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import AwsError
from ansible_collections.selfhosted.ec2.plugins.modules import file_storage_record as module

NAME = "file_storage:file_storage"


class Table:
    """One item, written on a condition as DynamoDB does; `meddle` is called between read and write."""

    def __init__(self, record=None, meddle=None):
        record = record and {"previous": "", **record}
        self.item = None
        self.meddle = meddle
        if record:
            self.item = {
                "name": {"S": NAME},
                **{key: {"S": record[key]} for key in ("primary", "next", "previous")},
                "epoch": {"N": str(record["epoch"])},
            }

    def call(self, operation, **arguments):
        if operation == "get_item":
            assert arguments["ConsistentRead"]
            return {"Item": self.item} if self.item else {}
        if self.meddle:
            self.meddle(self)
        values = arguments.get("ExpressionAttributeValues")
        if values is None:
            good = self.item is None
        else:
            good = self.item and all(self.item[key.strip(":")] == value for key, value in values.items())
        if not good:
            raise AwsError("The condition does not hold.", "ConditionalCheckFailedException")
        self.item = arguments["Item"]
        return {}


def run(table, step, primary=None, check=False, now=100):
    return module.manage({"table": "lock", "name": NAME, "step": step, "primary": primary}, table, check, now)


def test_a_whole_move():
    table = Table()
    move = {"primary": "", "next": "files-2", "previous": "files-1", "epoch": 100}
    moved = {"primary": "files-2", "next": "", "previous": "files-1", "epoch": 200}
    assert run(table, "read")["record"] == {}
    assert run(table, "create", "files-1")["changed"]
    assert not run(table, "create", "files-2")["changed"]
    assert run(table, "begin", "files-2", now=200)["record"] == move
    assert not run(table, "begin", "files-2")["changed"]
    assert run(table, "finish", "files-2", now=200)["record"] == moved
    for step in ("begin", "finish"):
        assert not run(table, step, "files-2")["changed"]


def test_epochs_grow_although_clocks_differ():
    table = Table({"primary": "", "next": "files-2", "epoch": 500})
    assert run(table, "finish", "files-2", now=200)["record"]["epoch"] == 501


def test_a_move_that_was_cut_off_goes_on_to_the_same_member():
    table = Table({"primary": "", "next": "files-2", "epoch": 1})
    with pytest.raises(AwsError, match="A move of the file storage to files-2 has begun"):
        run(table, "begin", "files-3")


def test_nobody_finishes_what_has_not_begun():
    with pytest.raises(AwsError, match="No move of the file storage to files-2 has begun"):
        run(Table({"primary": "files-1", "next": "", "epoch": 1}), "finish", "files-2")


def test_two_runs_at_once():
    def meddle(table):
        table.meddle = None
        run(table, "begin", "files-3")

    with pytest.raises(AwsError, match="changed by another run"):
        run(Table({"primary": "files-1", "next": "", "epoch": 1}, meddle), "begin", "files-2")


def test_check_mode_writes_nothing():
    table = Table({"primary": "files-1", "next": "", "epoch": 1})
    assert run(table, "begin", "files-2", check=True)["changed"]
    assert run(table, "read")["record"]["primary"] == "files-1"

"""The program behind Redis's copies in S3: who dumps, what is kept, what is refused, what a restore writes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.unit.roles import program

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "redis" / "templates" / "backup.py.j2"
PRIMARY = {"role": "master", "connected_slaves": "2"}
REPLICA = {"role": "slave", "master_link_status": "up"}
BROKEN = {"role": "slave", "master_link_status": "down"}


@pytest.fixture
def tool():
    return program.load(TEMPLATE)


class Bucket:
    def __init__(self, objects):
        self.objects, self.deleted = objects, []

    def get_paginator(self, _name):
        return self

    def paginate(self, Prefix, **_arguments):
        return [{"Contents": [{"Key": key} for key in self.objects if key.startswith(Prefix)]}, {}]

    def download_file(self, _bucket, key, path):
        Path(path).write_bytes(self.objects[key][0])

    def head_object(self, Key, **_arguments):
        return {"Metadata": {"sha256": self.objects[Key][1]}}


SETTINGS = {"bucket": "backups", "prefix": "redis/redis", "flavor": "redis"}


@pytest.mark.parametrize(
    ("found", "host"),
    [
        ({"a": PRIMARY, "b": BROKEN, "c": REPLICA}, "c"),
        ({"a": PRIMARY, "b": REPLICA, "c": REPLICA}, "b"),
        ({"a": BROKEN, "b": PRIMARY}, "b"),
        ({}, ""),
    ],
)
def test_the_first_replica_that_streams_dumps(tool, found, host):
    assert tool.chosen(found) == host


@pytest.mark.parametrize("found", [{}, {"a": PRIMARY, "b": PRIMARY}])
def test_without_exactly_one_primary_nothing_is_restored(tool, found):
    with pytest.raises(tool.Fault, match="There must be one primary"):
        tool.primary_of(found)


def test_copies_are_listed_by_their_time_over_all_pages(tool):
    bucket = Bucket({"redis/redis/20261102T.rdb": (), "redis/redis/20261101T.rdb": (), "redis/other/2.rdb": ()})
    assert tool.copies(SETTINGS, bucket) == ["20261101T.rdb", "20261102T.rdb"]


def test_a_copy_that_was_changed_is_refused(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "check", lambda *_arguments: None)
    bucket = Bucket({"redis/redis/1.rdb": (b"whole", hashlib.sha256(b"whole").hexdigest())})
    monkeypatch.setattr(tool, "digest", lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest())
    assert tool.fetch(SETTINGS, bucket, "latest", str(tmp_path)) == "1.rdb"
    bucket.objects["redis/redis/1.rdb"] = (b"changed", hashlib.sha256(b"whole").hexdigest())
    with pytest.raises(tool.Fault, match="does not have the digest"):
        tool.fetch(SETTINGS, bucket, "1.rdb", str(tmp_path))
    with pytest.raises(tool.Fault, match=r"There is no copy 2\.rdb; there are: 1\.rdb"):
        tool.fetch(SETTINGS, bucket, "2.rdb", str(tmp_path))


class Server:
    """Databases of keys to (dump, end of life); what Redis answers to the commands of a transfer."""

    def __init__(self, databases):
        self.databases, self.chosen = databases, 0

    def info(self, _section):
        return {"# Keyspace": "", **{f"db{number}": "keys=1" for number in self.databases}}

    def call(self, name, *words):
        if name == "FLUSHALL":
            self.databases = {}
        elif name == "SELECT":
            self.chosen = words[0]
        elif name == "SCAN":
            keys = sorted(self.databases[self.chosen])
            return [b"0", keys[1:]] if words[0] == b"7" else [b"7", keys[:1]]
        return b"OK"

    def many(self, commands):
        answers = []
        for name, key, *words in commands:
            if name == "DUMP":
                answers.append(self.databases[self.chosen].get(key, (None, 0))[0])
            elif name == "PEXPIRETIME":
                answers.append(self.databases[self.chosen].get(key, (None, -2))[1])
            else:
                assert words[2:] == ["REPLACE", "ABSTTL"]
                self.databases.setdefault(self.chosen, {})[key] = (words[1], words[0])
        return answers


def test_a_restore_writes_every_database_with_the_time_to_live(tool):
    source = Server({0: {b"a": (b"A", -1), b"b": (b"B", 5000), b"c": (b"C", -1)}, 3: {b"d": (b"D", -1)}})
    target = Server({0: {b"later": (b"L", 0)}})
    assert tool.transfer(source, target) == 4
    assert target.databases == {0: {b"a": (b"A", 0), b"b": (b"B", 5000), b"c": (b"C", 0)}, 3: {b"d": (b"D", 0)}}


def test_keys_that_run_out_meanwhile_are_left_out(tool):
    source, target = Server({0: {b"a": (b"A", -1)}}), Server({})
    source.chosen = target.chosen = 0
    assert tool.write(source, target, [b"a", b"gone"]) == 1
    assert target.databases == {0: {b"a": (b"A", 0)}}

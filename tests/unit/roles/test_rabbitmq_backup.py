"""The script that takes RabbitMQ's definitions to S3 and back, against a bucket and an API of its own."""

import gzip
import io
import json
from pathlib import Path

import pytest

from tests.unit.roles import program

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "rabbitmq" / "templates" / "backup.py.j2"
DEFINITIONS = {
    "users": [
        {"name": "admin", "password_hash": "a", "tags": ["administrator"]},
        {"name": "trading", "password_hash": "b", "tags": []},
    ],
    "vhosts": [{"name": "trading"}],
    "queues": [{"vhost": "trading", "name": "orders", "type": "quorum", "durable": True, "arguments": {}}],
    "global_parameters": [{"name": "internal_cluster_id", "value": "1"}, {"name": "mine", "value": 2}],
}


class Bucket:
    """As much of S3 as the script uses."""

    def __init__(self):
        self.objects = {}

    def get_paginator(self, _name):
        return self

    def paginate(self, Bucket, Prefix):  # noqa: N803 (boto3's names)
        assert Bucket == "backups"
        found = [{"Key": key} for key in self.objects if key.startswith(Prefix)]
        return [{"Contents": found[:1]}, {"Contents": found[1:]}, {}]

    def put_object(self, Key, Body, **rest):  # noqa: N803
        assert rest["ServerSideEncryption"] == "AES256"
        self.objects[Key] = Body

    def delete_objects(self, Delete, **_rest):  # noqa: N803
        for item in Delete["Objects"]:
            del self.objects[item["Key"]]

    def get_object(self, Key, **_rest):  # noqa: N803
        return {"Body": io.BytesIO(self.objects[Key])}


class Api:
    """A management API that takes definitions."""

    waited = False

    def __init__(self, definitions, messages=0, running=("queue-1", "queue-2"), broken=False, messages_before=0):
        self.definitions = json.loads(json.dumps(definitions))
        self.messages, self.messages_before = messages, messages_before
        self.running, self.broken = running, broken
        self.imported = 0

    def call(self, path, body=None):
        if path == "nodes":
            return [
                {"name": f"rabbit@{name}.internal", "running": name in self.running} for name in ("queue-1", "queue-2")
            ]
        if path == "queues":
            # As the plugin: what it tells at once is what it was told before.
            told = self.messages if self.waited else self.messages_before
            return [{"name": "orders", **({} if told is None else {"messages": told})}]
        if body is not None:
            self.imported += 1
            if not self.broken:
                for kind, items in body.items():
                    self.definitions[kind] = [*self.definitions.get(kind, []), *items]
        return self.definitions


@pytest.fixture
def script(tmp_path, monkeypatch):
    module = program.load(TEMPLATE, __rabbitmq_backup_settings_file="backup.json")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: monkeypatch.setattr(Api, "waited", seconds > 10))
    module.settings = {
        "name": "queue-2",
        "hosts": {"queue-1": "queue-1.internal", "queue-2": "queue-2.internal"},
        "bucket": "backups",
        "prefix": "rabbitmq/definitions/",
        "keep": 3,
        "user": "admin",
        "metrics_directory": str(tmp_path),
    }
    return module


def test_only_the_first_running_member_acts_by_timer(script, capsys):
    bucket = Bucket()
    script.save(script.settings, bucket, Api(DEFINITIONS), scheduled=True)
    assert bucket.objects == {}
    assert "Another member" in capsys.readouterr().out
    script.save(script.settings, bucket, Api(DEFINITIONS, running=("queue-2",)), scheduled=True)
    assert len(bucket.objects) == 1


def test_what_is_saved_is_what_there_is_and_the_oldest_goes(script, tmp_path):
    bucket = Bucket()
    bucket.objects = {f"rabbitmq/definitions/2020-01-0{day}.json.gz": b"" for day in range(1, 5)}
    script.save(script.settings, bucket, Api(DEFINITIONS), scheduled=False)
    assert sorted(bucket.objects)[:2] == [
        "rabbitmq/definitions/2020-01-03.json.gz",
        "rabbitmq/definitions/2020-01-04.json.gz",
    ]
    newest = bucket.objects[max(bucket.objects)]
    assert json.loads(gzip.decompress(newest)) == DEFINITIONS
    assert "rabbitmq_backup_last_success_timestamp_seconds" in (tmp_path / "rabbitmq_backup.prom").read_text()


def saved(script):
    bucket = Bucket()
    script.save(script.settings, bucket, Api(DEFINITIONS), scheduled=False)
    return bucket


def test_a_restore_brings_all_but_the_clusters_own_and_can_be_repeated(script, capsys):
    bucket, api = saved(script), Api({"users": [{"name": "admin", "password_hash": "new", "tags": ["administrator"]}]})
    capsys.readouterr()
    script.restore(script.settings, bucket, api, "latest")
    assert json.loads(capsys.readouterr().out)["made"] == 3
    assert [user["password_hash"] for user in api.definitions["users"]] == ["new", "b"]
    assert [item["name"] for item in api.definitions["global_parameters"]] == ["mine"]
    script.restore(script.settings, bucket, api, "latest")
    assert (json.loads(capsys.readouterr().out)["made"], api.imported) == (0, 1)


def test_a_restore_is_refused_beside_messages_and_without_a_backup(script):
    with pytest.raises(script.Failure, match=r"Queues hold messages \(orders\)"):
        script.restore(script.settings, saved(script), Api({}, messages=1), "latest")
    with pytest.raises(script.Failure, match=r"do not say how many messages they hold \(orders\)"):
        script.restore(script.settings, saved(script), Api({}, messages=None), "latest")
    with pytest.raises(script.Failure, match="There is no backup latest in backups"):
        script.restore(script.settings, Bucket(), Api({}), "latest")


def test_a_restore_goes_by_what_queues_hold_now(script, capsys):
    """Not by the plugin's last counts, which may be from before they were emptied, or filled."""
    bucket = saved(script)
    script.restore(script.settings, bucket, Api({}, messages=0, messages_before=2), "latest")
    assert '"made": ' in capsys.readouterr().out
    with pytest.raises(script.Failure, match="Queues hold messages"):
        script.restore(script.settings, bucket, Api({}, messages=2, messages_before=0), "latest")


def test_a_restore_that_left_something_out_fails(script):
    with pytest.raises(script.Failure, match="3 objects of .* are not there after the restore: users trading"):
        script.restore(script.settings, saved(script), Api({}, broken=True), "latest")

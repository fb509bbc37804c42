"""The script that takes Kubernetes' etcd to a file and to S3 and back, with tools and a bucket of its own."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.unit.roles import program

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "kubernetes" / "templates" / "backup.py.j2"
NODE = "ip-10-20-0-1.eu-west-1.compute.internal"
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def snapshot(content=b"x" * 512):
    return content + hashlib.sha256(content).digest()


class Bucket:
    """As much of S3 as the script uses."""

    def __init__(self, **objects):
        self.objects = objects

    def get_paginator(self, _name):
        return self

    def paginate(self, Bucket, Prefix):  # noqa: N803 (boto3's names)
        assert Bucket == "backups"
        return [{"Contents": [{"Key": key} for key in self.objects if key.startswith(Prefix)]}, {}]

    def upload_file(self, path, bucket, key, ExtraArgs):  # noqa: N803
        assert (bucket, ExtraArgs) == ("backups", {"ServerSideEncryption": "AES256"})
        self.objects[key] = Path(path).read_bytes()

    def download_file(self, bucket, key, path):
        assert bucket == "backups"
        Path(path).write_bytes(self.objects[key])

    def delete_objects(self, Delete, **_rest):  # noqa: N803
        for item in Delete["Objects"]:
            del self.objects[item["Key"]]


class Commands:
    """etcd's tools and containerd's."""

    def __init__(self, path, leader=1):
        self.path, self.leader, self.calls = path, leader, []

    def __call__(self, argv, timeout=600):
        self.calls.append(argv)
        if "save" in argv:
            Path(argv[-1]).write_bytes(snapshot())
        if "--data-dir" in argv:
            (Path(argv[argv.index("--data-dir") + 1]) / "member").mkdir(parents=True)
        if "mount" in argv:
            (Path(argv[-1]) / "usr/local/bin").mkdir(parents=True, exist_ok=True)
            for name in ("etcdctl", "etcdutl"):
                (Path(argv[-1]) / "usr/local/bin" / name).touch()
        if "endpoint" in argv:
            return json.dumps([{"Status": {"leader": self.leader, "header": {"member_id": 1}}}])
        return json.dumps({"totalKey": 7, "revision": 9})


@pytest.fixture
def script(tmp_path, monkeypatch):
    module = program.load(TEMPLATE, __kubernetes_backup_settings_file="backup.json")
    module.MANIFESTS, module.STOPPED = str(tmp_path / "manifests"), str(tmp_path / "stopped")
    (tmp_path / "manifests").mkdir()
    for part in module.PARTS:
        (tmp_path / f"manifests/{part}.yaml").write_text(part)
    module.run = Commands(tmp_path)
    module.settings = {
        "node": NODE,
        "bucket": "backups",
        "prefix": "kubernetes/etcd/",
        "keep": 2,
        "keep_local": 2,
        "directory": str(tmp_path / "snapshots"),
        "data": str(tmp_path / "data"),
        "tools": str(tmp_path),
        "image": "registry.k8s.io/etcd:3.7.0-0",
        "metrics_directory": str(tmp_path),
    }
    return module


def answer(capsys):
    return json.loads(capsys.readouterr().out)


def test_the_one_that_leads_takes_its_copy_to_the_bucket(script, capsys, tmp_path):
    bucket = Bucket(**{f"kubernetes/etcd/2020-01-0{day}.db": b"" for day in (1, 2)}, other=b"")
    script.save(script.settings, bucket, now=NOW)
    found = answer(capsys)
    assert found["key"] == "kubernetes/etcd/2026-01-02T03-04-05Z.db" and found["revision"] == 9
    assert sorted(bucket.objects) == ["kubernetes/etcd/2020-01-02.db", found["key"], "other"]
    assert "kubernetes_backup_last_success_timestamp_seconds" in (tmp_path / "kubernetes_backup.prom").read_text()
    script.run.leader = 2
    script.save(script.settings, bucket, now=NOW)
    assert answer(capsys)["key"] == ""
    # The only one that saves, before a change.
    script.save(script.settings, bucket, now=NOW, copied=True)
    assert answer(capsys)["key"] == found["key"]


def test_the_volume_keeps_the_newest(script, tmp_path):
    (tmp_path / "snapshots").mkdir()
    for day in range(1, 4):
        (tmp_path / f"snapshots/2020-01-0{day}T00-00-00Z.db").touch()
    script.save({**script.settings, "bucket": ""}, None, now=NOW)
    names = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert names == ["2020-01-03T00-00-00Z.db", "2026-01-02T03-04-05Z.db"]


def test_the_timer_of_a_host_without_etcd_does_nothing(script, capsys, tmp_path):
    (tmp_path / "manifests/etcd.yaml").unlink()
    script.save(script.settings, Bucket(), scheduled=True)
    assert "no member" in capsys.readouterr().out and script.run.calls == []


@pytest.mark.parametrize(
    ("content", "said"), [(snapshot()[:-32], "no hash at its end"), (b"y" + snapshot()[1:], "does not fit")]
)
def test_a_snapshot_that_is_not_whole_is_refused(script, tmp_path, content, said):
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(script.Failure, match=said):
        script.check(script.settings, str(tmp_path / "a.db"))


def test_the_newest_backup_or_a_named_one_is_fetched(script, capsys, tmp_path):
    bucket = Bucket(**{"kubernetes/etcd/1.db": snapshot(b"a" * 512), "kubernetes/etcd/2.db": snapshot()})
    path = tmp_path / "restore/snapshot.db"
    script.fetch(script.settings, bucket, "latest", str(path))
    assert answer(capsys)["key"] == "kubernetes/etcd/2.db"
    script.fetch(script.settings, bucket, "kubernetes/etcd/1.db", str(path))
    assert path.read_bytes() == snapshot(b"a" * 512)
    with pytest.raises(script.Failure, match="There is no backup 3 in backups; there are 2"):
        script.fetch(script.settings, bucket, "3", str(path))
    with pytest.raises(script.Failure, match="There is no backup latest in backups; there are 0"):
        script.fetch(script.settings, Bucket(), "latest", str(path))


def process(root, number, name):
    (root / str(number)).mkdir(parents=True)
    (root / str(number) / "cmdline").write_bytes(f"/usr/local/bin/{name}\0--flag\0".encode())


def test_the_control_plane_ends_and_starts_by_its_manifests(script, tmp_path, monkeypatch):
    (tmp_path / "proc").mkdir()
    script.stop(0, 0, str(tmp_path / "proc"))
    assert list((tmp_path / "manifests").iterdir()) == []
    script.stop(0, 0, str(tmp_path / "proc"))
    script.move(script.STOPPED, script.MANIFESTS)
    assert (tmp_path / "manifests/etcd.yaml").read_text() == "etcd"
    assert list((tmp_path / "stopped").iterdir()) == []
    process(tmp_path / "proc", 7, "etcd")
    process(tmp_path / "proc", 8, "bash")
    with pytest.raises(script.Failure, match="etcd still run after 0 s"):
        script.stop(0, 0, str(tmp_path / "proc"))


def test_parts_that_the_kubelet_does_not_know_are_told_to_end(script, tmp_path, monkeypatch):
    process(tmp_path / "proc", 7, "kube-scheduler")
    process(tmp_path / "proc", 8, "bash")
    told = []

    def kill(number, number_of_signal):
        told.append((number, number_of_signal))
        shutil.rmtree(tmp_path / "proc" / str(number))

    monkeypatch.setattr(script.os, "kill", kill)
    monkeypatch.setattr(script.time, "sleep", lambda _seconds: None)
    script.stop(10, 0, str(tmp_path / "proc"))
    assert told == [(7, signal.SIGTERM)]


def test_a_member_is_made_anew_and_its_old_data_kept_aside(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "processes", lambda: [], raising=False)
    (tmp_path / "data/member").mkdir(parents=True)
    (tmp_path / "data/old").touch()
    (tmp_path / "data.new").mkdir()
    members = f"{NODE}=10.20.0.1,ip-10-20-0-2.internal=10.20.0.2"
    for _turn in range(2):
        script.restore(script.settings, "a.db", "token", members)
        argv = script.run.calls[-1]
        assert argv[argv.index("--initial-advertise-peer-urls") + 1] == "https://10.20.0.1:2380"
        assert argv[argv.index("--initial-cluster") + 1] == (
            f"{NODE}=https://10.20.0.1:2380,ip-10-20-0-2.internal=https://10.20.0.2:2380"
        )
        assert "--mark-compacted" in argv
    assert (tmp_path / "data/member").is_dir() and not (tmp_path / "data/old").exists()


def test_nothing_is_made_anew_under_a_running_part(script, monkeypatch):
    monkeypatch.setattr(script, "processes", lambda: ["etcd"], raising=False)
    with pytest.raises(script.Failure, match="etcd still run"):
        script.restore(script.settings, "a.db", "token", f"{NODE}=10.20.0.1")

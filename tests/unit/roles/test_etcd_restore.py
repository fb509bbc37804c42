"""A restore of etcd: its program, what is refused, and the role's tasks on three directories that stand for members."""

from __future__ import annotations

import datetime
import getpass
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter.etcd import etcd_start
from ansible_collections.selfhosted.ec2.plugins.module_utils import etcd

from tests.unit.roles import playing, program
from tests.unit.roles import test_kubernetes_backup as backup

ROLE = playing.ROOT / "roles/etcd"
TEMPLATE = ROLE / "templates/backup.py.j2"
MEMBERS = ["quorum-1", "quorum-2", "quorum-3"]
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
URL = '"peerURLs":["https://quorum-1.trading.internal:2380"]'
FOREIGN = '"peerURLs":["https://quorum-1.staging.internal:2380"]'


def snapshot(word="", hosts=URL):
    content = f"{word} {hosts}".encode().ljust(1024)
    return content + hashlib.sha256(content).digest()


# The program


class Bucket(backup.Bucket):
    """Which also tells sizes, and notes what was fetched."""

    def __init__(self, **objects):
        super().__init__(**objects)
        self.fetched = []

    def head_object(self, Bucket, Key):  # noqa: N803
        assert Bucket == "backups"
        return {"ContentLength": len(self.objects[Key])}

    def download_file(self, bucket, key, path):
        self.fetched.append(key)
        super().download_file(bucket, key, path)


class Commands:
    """etcd's tool and systemd's."""

    def __init__(self):
        self.calls, self.state, self.version, self.fails = [], "inactive", "", False

    def __call__(self, argv, timeout=600):
        self.calls.append(argv)
        if argv[0] == "systemctl":
            return self.state + "\n"
        if "version" in argv:
            return "etcdutl version: 3.6.14\nAPI version: 3.6\n"
        if "--data-dir" in argv:
            data = Path(argv[argv.index("--data-dir") + 1])
            (data / "member/wal").mkdir(parents=True)
            if self.fails:
                raise self.failure("expected sha256, got another")
            (data / "member/token").write_text(argv[argv.index("--initial-cluster-token") + 1])
            return ""
        return json.dumps({"totalKey": 7, "revision": 9, "version": self.version})


@pytest.fixture
def tool(tmp_path):
    module = program.load(TEMPLATE, __etcd_backup_settings_file="backup.json")
    module.run = Commands()
    module.run.failure = module.Failure
    module.settings = {
        "name": "quorum-1",
        "peer_url": "https://quorum-1.trading.internal:2380",
        "directory": str(tmp_path),
        "data": str(tmp_path / "data"),
        "user": getpass.getuser(),
        "etcdutl": "etcdutl",
        "bucket": "backups",
        "prefix": "etcd/etcd/",
        "keep": 2,
    }
    (tmp_path / "data/member").mkdir(parents=True)
    (tmp_path / "data/member/token").write_text("before")
    (tmp_path / "a.db").write_bytes(snapshot())
    return module


def member(tmp_path, name="data"):
    path = tmp_path / name / "member/token"
    return path.read_text() if path.exists() else None


def restored(tool, token, source="a"):
    path = str(Path(tool.settings["directory"]) / "a.db")
    tool.prepare(tool.settings, path, token, "quorum-1=u")
    tool.begin(tool.settings, token, source, "0")
    tool.place(tool.settings, token)


@pytest.mark.parametrize(
    ("content", "said"), [(snapshot()[:-32], "no hash at its end"), (b"y" + snapshot()[1:], "does not fit")]
)
def test_a_snapshot_that_is_not_whole_is_refused_and_does_not_stay(tool, tmp_path, content, said):
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(tool.Failure, match=said):
        tool.check(tool.settings, str(tmp_path / "a.db"))
    assert not (tmp_path / "a.db").exists()


def test_a_snapshot_tells_of_whom_it_is(tool, tmp_path):
    found = tool.check(tool.settings, str(tmp_path / "a.db"))
    assert found["members"] == ["quorum-1.trading.internal"] and found["keys"] == 7
    # Also where the name lies across two pieces that are read.
    content = b" " * ((1 << 20) - 20) + URL.encode()
    content = content.ljust((1 << 20) + 512)
    (tmp_path / "a.db").write_bytes(content + hashlib.sha256(content).digest())
    assert tool.read(str(tmp_path / "a.db"))[1] == ["quorum-1.trading.internal"]


@pytest.mark.parametrize(("version", "refused"), [("", False), ("3.6.0", False), ("3.5.0", False), ("3.7.0", True)])
def test_a_snapshot_of_a_newer_etcd_is_refused(tool, tmp_path, version, refused):
    tool.run.version = version
    if refused:
        with pytest.raises(tool.Failure, match=r"is of etcd 3\.7\.0, and 3\.6\.14 is here"):
            tool.check(tool.settings, str(tmp_path / "a.db"))
    else:
        tool.check(tool.settings, str(tmp_path / "a.db"))


def test_a_snapshot_goes_to_the_bucket_as_the_control_planes_name_theirs(tool, tmp_path, capsys):
    bucket = Bucket(**{"etcd/etcd/2020-01-01T00-00-00Z.db": b"", "etcd/etcd/2020-01-02T00-00-00Z.db": b"", "x": b""})
    tool.upload(tool.settings, bucket, str(tmp_path / "a.db"), NOW)
    assert json.loads(capsys.readouterr().out) == {"key": "etcd/etcd/2026-01-02T03-04-05Z.db", "removed": 1}
    assert sorted(bucket.objects) == ["etcd/etcd/2020-01-02T00-00-00Z.db", "etcd/etcd/2026-01-02T03-04-05Z.db", "x"]


def test_a_snapshot_that_is_here_is_not_fetched_again(tool, tmp_path, capsys):
    bucket, path = Bucket(**{"etcd/etcd/1.db": snapshot("one")}), tmp_path / "restore/snapshot.db"
    tool.fetch(tool.settings, bucket, "etcd/etcd/1.db", str(path))
    known = json.loads(capsys.readouterr().out)["sha256"]
    tool.fetch(tool.settings, bucket, "etcd/etcd/1.db", str(path), known)
    assert json.loads(capsys.readouterr().out)["sha256"] == known and len(bucket.fetched) == 1
    path.write_bytes(b"cut off")
    tool.fetch(tool.settings, bucket, "etcd/etcd/1.db", str(path), known)
    assert path.read_bytes() == snapshot("one") and len(bucket.fetched) == 2


def test_a_volume_without_room_is_refused(tool, monkeypatch, tmp_path):
    monkeypatch.setattr(tool.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(tool.Failure, match="has 1 MiB left, and the snapshot needs 128"):
        tool.prepare(tool.settings, str(tmp_path / "a.db"), "one", "quorum-1=u")
    assert not (tmp_path / "data.new").exists()


def test_a_member_is_made_as_the_manual_has_it(tool, tmp_path):
    tool.prepare(tool.settings, str(tmp_path / "a.db"), "one", "quorum-1=u1,quorum-2=u2")
    argv = tool.run.calls[-1]
    options = dict(zip(argv, argv[1:], strict=False))
    assert argv[:4] == ["etcdutl", "snapshot", "restore", str(tmp_path / "a.db")]
    assert options["--name"] == "quorum-1" and options["--initial-cluster"] == "quorum-1=u1,quorum-2=u2"
    assert options["--initial-cluster-token"] == "one" and options["--bump-revision"] == "1000000000"
    assert options["--initial-advertise-peer-urls"] == "https://quorum-1.trading.internal:2380"
    assert "--mark-compacted" in argv
    assert member(tmp_path) == "before", "what runs is not touched"


def test_what_the_tool_of_etcd_refuses_leaves_nothing(tool, tmp_path):
    tool.run.fails = True
    with pytest.raises(tool.Failure, match="expected sha256"):
        tool.prepare(tool.settings, str(tmp_path / "a.db"), "one", "quorum-1=u")
    assert not (tmp_path / "data.new").exists() and member(tmp_path) == "before"


def test_nothing_takes_a_place_under_a_running_etcd(tool, tmp_path):
    tool.prepare(tool.settings, str(tmp_path / "a.db"), "one", "quorum-1=u")
    tool.run.state = "activating"
    with pytest.raises(tool.Failure, match="etcd is activating"):
        tool.place(tool.settings, "one")
    assert member(tmp_path) == "before"


def test_old_data_is_kept_aside_and_the_same_restore_repeated_changes_nothing(tool, tmp_path):
    for _turn in range(2):
        restored(tool, "one")
        assert (member(tmp_path), member(tmp_path, "data.before")) == ("one", "before")
    assert len([argv for argv in tool.run.calls if "--data-dir" in argv]) == 1
    tool.done(tool.settings)
    assert tool.unfinished(tool.settings)["done"] is True
    tool.finish(tool.settings)
    tool.finish(tool.settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "data", "data.before"]
    assert tool.unfinished(tool.settings) is None and tool.mark(tool.settings["data"]) == ""


def test_another_snapshot_after_a_cut_does_not_take_the_old_data(tool, tmp_path):
    restored(tool, "one")
    restored(tool, "two")
    assert (member(tmp_path), member(tmp_path, "data.before")) == ("two", "before")
    assert not (tmp_path / "data.half").exists()
    tool.finish(tool.settings)
    restored(tool, "three")
    assert (member(tmp_path), member(tmp_path, "data.before")) == ("three", "two"), "that one was through"


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_cut_between_two_renames_is_made_good(tool, tmp_path, monkeypatch, cut):
    """Of data aside, of new data into its place, and after both."""
    rename, count = tool.os.rename, []

    def renames(source, target):
        count.append(source)
        if len(count) == cut:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(tool.os, "rename", renames)
    if cut == 3:
        restored(tool, "one")
    else:
        with pytest.raises(KeyboardInterrupt):
            restored(tool, "one")
    monkeypatch.setattr(tool.os, "rename", rename)
    restored(tool, "one")
    assert (member(tmp_path), member(tmp_path, "data.before")) == ("one", "before")


def test_wiped_data_leaves_what_was_aside(tool, tmp_path):
    restored(tool, "one")
    tool.finish(tool.settings)
    for name in ("token", ""):
        path = tmp_path / "data/member" / name
        path.unlink() if name else tool.shutil.rmtree(path)
    restored(tool, "two")
    assert (member(tmp_path), member(tmp_path, "data.before")) == ("two", "before")


# How a host starts meanwhile


def test_a_member_of_an_unfinished_restore_is_not_started(tool, tmp_path):
    places = (str(tmp_path / "data"), str(tmp_path / "identity.json"))
    assert etcd.read_disk(*places)["restoring"] == ""
    tool.begin(tool.settings, "one", "etcd/etcd/1.db", "0")
    view = {**etcd.read_disk(*places), "initialised": True, "listed": [], "cluster_id": ""}
    found = etcd_start({"quorum-1": view}, "quorum-1", MEMBERS, "trading.internal")
    assert found["state"] == "refused" and "A restore of quorum-1 from etcd/etcd/1.db was cut off" in found["error"]
    assert "restore_etcd.yml, or restore_kubernetes.yml" in found["error"]
    tool.done(tool.settings)
    assert etcd.read_disk(*places)["restoring"] == ""


# What is refused

TIERS = [{"name": "quorum", "components": ["kubernetes_etcd"], "count": 3}]
MEANT = {"key": "latest", "confirm": "trading"}
VARIABLES = {
    "platform_name": "trading",
    "platform_domain": "trading.internal",
    "platform_region": "eu-west-1",
    "platform_secrets": {},
    "platform_tiers": TIERS,
    "platform_buckets": [{"name": "backups", "purpose": "backup"}],
    "ec2_components": ["kubernetes_etcd"],
    "etcd_members": "{{ ansible_play_hosts_all }}",
    "__etcd_restore_api_down": True,
}
#: Whether restore_kubernetes.yml has had control planes in its run, which it had not here.
API_DOWN = yaml.safe_load((playing.ROOT / "playbooks/restore_kubernetes.yml").read_text())[1]["vars"][
    "__etcd_restore_api_down"
]
PATRONI = {
    "ec2_components": ["etcd", "postgresql"],
    "platform_tiers": [{"name": "database", "components": ["etcd", "postgresql"], "count": 3}],
}
REFUSED = {
    "good": ({"etcd_restore": MEANT}, ""),
    "file": ({"etcd_restore": {"file": __file__, "confirm": "trading"}, "platform_buckets": []}, ""),
    "no-file": ({"etcd_restore": {"file": "a.db", "confirm": "trading"}}, "etcd_restore.file is a.db, and there is no"),
    "nothing": ({}, "etcd_restore is {}; give key"),
    "unconfirmed": ({"etcd_restore": {**MEANT, "confirm": "main"}}, "and confirm (trading)."),
    "both": ({"etcd_restore": {**MEANT, "file": "a.db"}}, "give key"),
    "neither": ({"etcd_restore": {"confirm": "trading"}}, "give key"),
    "no-bucket": ({"etcd_restore": MEANT, "platform_buckets": []}, "there is no bucket to restore from"),
    "missing": (
        {"etcd_restore": MEANT, "etcd_members": "{{ ansible_play_hosts_all + ['quorum-9'] }}"},
        "quorum-9 take no part in this run",
    ),
    "two-clusters": (
        {"etcd_restore": MEANT, "etcd_members": "{{ ansible_play_hosts_all | difference(['good']) }}"},
        "good are no members of kubernetes_etcd",
    ),
    "api": ({"etcd_restore": MEANT, "__etcd_restore_api_down": False}, "restore_kubernetes.yml stops them"),
    "limited": ({"etcd_restore": MEANT, "__etcd_restore_api_down": API_DOWN}, "with all control planes in its run."),
    "lock": ({"etcd_restore": MEANT, **PATRONI}, "holds the lock of the leader of PostgreSQL"),
    "lock-accepted": ({"etcd_restore": {**MEANT, "accept_old_lock": True}, **PATRONI}, ""),
    "own-use": ({"etcd_restore": MEANT, "ec2_components": ["etcd"]}, ""),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    path = tmp_path_factory.mktemp("refused")
    files = [{"ansible.builtin.include_vars": {"file": str(ROLE / part / "main.yml")}} for part in ("defaults", "vars")]
    own, place = {"etcd_restore", "etcd_members"}, f"{path}/{{{{ inventory_hostname }}}}"
    tasks = [
        *files,
        {"ansible.builtin.set_fact": {name: f"{{{{ own.{name} | default({name}) }}}}" for name in sorted(own)}},
        {"ansible.builtin.copy": {"dest": place, "content": "{{ __etcd_restore_refusal }}"}},
        {"ansible.builtin.copy": {"dest": f"{place}.s3", "content": "{{ __etcd_backup }}"}},
    ]
    hosts = {}
    for name, (change, _words) in REFUSED.items():
        plain = {key: value for key, value in change.items() if key not in own}
        mine = {"etcd_members": "{{ ansible_play_hosts_all }}", **{k: v for k, v in change.items() if k in own}}
        hosts[name] = {**VARIABLES, **plain, "own": mine, "ansible_connection": "local"}
        del hosts[name]["etcd_members"]
    children = {"kubernetes_control_plane": {"hosts": {"control-1": {}}}}
    play = {"name": "Judge", "hosts": "all:!control-1", "gather_facts": False, "tasks": tasks}
    code, text = playing.run(path, [play], {"all": {"hosts": hosts, "children": children}})
    assert code == 0, text
    return {name: ((path / name).read_text(), yaml.safe_load((path / f"{name}.s3").read_text())) for name in REFUSED}


@pytest.mark.parametrize("name", REFUSED)
def test_a_restore_is_refused_in_one_sentence(said, name):
    words = REFUSED[name][1]
    assert words in said[name][0] and bool(said[name][0]) == bool(words), said[name][0]


def test_each_cluster_has_its_place_in_the_bucket(said):
    assert said["good"][1]["prefix"] == "kubernetes/etcd/", "where the control planes' are, too"
    assert said["own-use"][1]["prefix"] == "etcd/etcd/"
    flows = yaml.safe_load((ROLE / "vars/flows.yml").read_text())
    assert [use["prefix"] for use in flows["buckets"]] == ["etcd"]
    assert [use["prefix"] for use in flows["components"]["kubernetes_etcd"]["buckets"]] == ["kubernetes"]


# The role's tasks, with the program as it is, an etcdutl of a few lines, and directories in the place of hosts

#: What only a host has: they are left out, or what they would change on one is noted.
LEFT_OUT = ("install.yml", "tool.yml", "certificates.yml", "view.yml", "files.yml", "health.yml", "identity.yml")
ETCDUTL = """#!{python}
import json, pathlib, sys
words = sys.argv[1:]
if words == ["version"]:
    print("etcdutl version: 3.6.14")
elif words[1] == "status":
    print(json.dumps({{"totalKey": 7, "revision": 9}}))
else:
    data = pathlib.Path(words[words.index("--data-dir") + 1]) / "member"
    data.mkdir(parents=True)
    (data / "token").write_text(words[words.index("--initial-cluster-token") + 1])
    (data / "content").write_bytes(pathlib.Path(words[2]).read_bytes())
"""
BOTO3 = """import pathlib
class S3:
    root = pathlib.Path({root!r})
    def get_paginator(self, _name): return self
    def paginate(self, Bucket, Prefix):
        return [{{"Contents": [{{"Key": str(path.relative_to(self.root))}} for path in self.root.rglob("*.db")]}}]
    def head_object(self, Bucket, Key): return {{"ContentLength": (self.root / Key).stat().st_size}}
    def download_file(self, bucket, key, path): pathlib.Path(path).write_bytes((self.root / key).read_bytes())
def client(*_words, **_more): return S3()
"""


class Hosts:
    """Three directories with what role etcd would have written there, and a bucket."""

    def __init__(self, path):
        self.path, self.bucket = path, path / "bucket/kubernetes/etcd"
        self.identity = None
        self.bucket.mkdir(parents=True)
        (path / "bin").mkdir()
        for name, text in (
            ("etcdutl", ETCDUTL.format(python=sys.executable)),
            ("systemctl", "#!/bin/sh\necho inactive\n"),
        ):
            (path / "bin" / name).write_text(text)
            (path / "bin" / name).chmod(0o755)
        (path / "boto3.py").write_text(BOTO3.format(root=str(path / "bucket")))
        for name in MEMBERS:
            place = path / name
            (place / "data/member").mkdir(parents=True)
            (place / "data/member/token").write_text("before")
            text = program_text(str(place / "backup.json"))
            (place / "etcd-backup").write_text(text)
            (place / "etcd-backup").chmod(0o755)
            settings = {
                "name": name,
                "peer_url": "u",
                "directory": str(place),
                "data": str(place / "data"),
                "user": getpass.getuser(),
                "etcdutl": str(path / "bin/etcdutl"),
                "bucket": "backups",
                "prefix": "kubernetes/etcd/",
                "region": "eu-west-1",
                "keep": 3,
            }
            (place / "backup.json").write_text(json.dumps(settings))

    def play(self, restore, *arguments, cut="", on="quorum-2"):
        """Restore, perhaps cut off at a task on a host; returns the exit code and what is said."""
        place = f"{self.path}/{{{{ inventory_hostname }}}}"
        files = [
            {"ansible.builtin.include_vars": {"file": str(ROLE / part / "main.yml")}} for part in ("defaults", "vars")
        ]
        facts = {
            "etcd_members": MEMBERS,
            "etcd_directory": place,
            "etcd_restore": restore,
            "__etcd_backup_script": f"{place}/etcd-backup",
        }
        play = {
            "name": "Restore",
            "hosts": "all",
            "gather_facts": False,
            "any_errors_fatal": True,
            "environment": {"PATH": f"{self.path}/bin:/usr/bin:/bin", "PYTHONPATH": str(self.path)},
            "tasks": [
                *files,
                {"ansible.builtin.set_fact": facts},
                {
                    "ansible.builtin.set_fact": {
                        "__etcd_tool": {"changed": False},
                        "__etcd_view": {"identity": self.identity},
                    }
                },
                *self.tasks("restore.yml", cut, on),
            ],
        }
        variables = {**{key: value for key, value in VARIABLES.items() if key != "etcd_members"}, **LOCAL}
        group = {"kubernetes_etcd": {"hosts": dict.fromkeys(MEMBERS, {})}}
        hosts = {"all": {"hosts": dict.fromkeys(MEMBERS, variables), "children": group}}
        return playing.run(self.path, [play], hosts, *arguments)

    def tasks(self, file, cut, on):
        """The tasks of a file with those of the files that it takes in."""
        return self.all_of(yaml.safe_load((ROLE / "tasks" / file).read_text()), cut, on)

    def all_of(self, tasks, cut, on):
        end = {"name": "Cut", "ansible.builtin.fail": {"msg": "cut"}, "when": f"inventory_hostname == '{on}'"}
        found = []
        for task in tasks:
            found += [end] if task["name"].rpartition(" | ")[2] == cut else []
            found += self.one(task, cut, on)
        return found

    def one(self, task, cut, on):
        other = task.get("ansible.builtin.import_tasks") or task.get("ansible.builtin.include_tasks")
        if other in LEFT_OUT or "ansible.builtin.systemd_service" in task:
            return []
        if other:
            return [{"name": task["name"], "block": self.tasks(other, cut, on), "when": task.get("when", True)}]
        if "block" in task:
            return [{**task, "block": self.all_of(task["block"], cut, on)}]
        return [task]

    def tokens(self, name="data"):
        return {host: (self.path / host / name / "member/token").read_text() for host in MEMBERS}

    def contents(self):
        return {(self.path / host / "data/member/content").read_bytes() for host in MEMBERS}

    def marks(self):
        names = ("restore", "data/restored", "data.new", "data.half")
        return [f"{host}/{name}" for host in MEMBERS for name in names if (self.path / host / name).exists()]


LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def program_text(settings):
    """The program as the role writes it, for this process's Python."""
    text = TEMPLATE.read_text()
    for old, new in (
        ("{{ '#!' }}/usr/bin/python3", f"#!{sys.executable}"),
        ("{{ ansible_managed | default('Managed by Ansible') | comment }}", "# Managed"),
        ("{{ __etcd_backup_settings_file | to_json }}", json.dumps(settings)),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def hosts(tmp_path):
    found = Hosts(tmp_path)
    (found.bucket / "2026-01-01T00-00-00Z.db").write_bytes(snapshot("one"))
    (found.bucket / "2026-01-02T00-00-00Z.db").write_bytes(snapshot("two"))
    return found


def test_all_members_are_made_anew_from_the_newest_and_keep_what_they_had(hosts):
    code, text = hosts.play(MEANT)
    assert code == 0, text
    (token,) = set(hosts.tokens().values())
    assert token.startswith("trading-kubernetes_etcd-restored-20")
    assert hosts.contents() == {snapshot("two")} and set(hosts.tokens("data.before").values()) == {"before"}
    assert hosts.marks() == [] and "7 keys" in text


def test_check_mode_touches_nothing_and_names_the_snapshot(hosts):
    code, text = hosts.play(MEANT, "--check")
    assert code == 0, text
    assert "made anew from kubernetes/etcd/2026-01-02T00-00-00Z.db" in " ".join(text.split())
    assert set(hosts.tokens().values()) == {"before"} and hosts.marks() == []


@pytest.mark.parametrize(
    ("change", "content", "words"),
    [
        ({"key": "kubernetes/etcd/no.db"}, b"", "There is no snapshot kubernetes/etcd/no.db in backups"),
        ({}, snapshot("three")[:-1] + b"x", "its hash does not fit"),
        (
            {},
            snapshot("three", FOREIGN),
            "is of quorum-1.staging.internal, and this cluster has quorum-1.trading.internal",
        ),
    ],
)
def test_what_cannot_be_restored_is_refused_before_anything_is_touched(hosts, change, content, words):
    if content:
        (hosts.bucket / "2026-01-03T00-00-00Z.db").write_bytes(content)
    code, text = hosts.play({**MEANT, **change})
    assert code and words in " ".join(text.split()), text
    assert set(hosts.tokens().values()) == {"before"}
    assert not [mark for mark in hosts.marks() if "data" in mark]
    assert not [host for host in MEMBERS if (hosts.path / host / "restore/unfinished.json").exists()]


def test_a_volume_of_another_member_is_refused(hosts):
    hosts.identity = {"member": "quorum-9", "domain": "trading.internal", "cluster_id": "1"}
    code, text = hosts.play(MEANT)
    assert code and "quorum-9" in text, text
    assert set(hosts.tokens().values()) == {"before"} and hosts.marks() == []


def test_a_new_host_has_the_tool_of_etcd_before_a_snapshot_is_judged():
    """It is of the release, where etcd_version names one, and not of the packages."""
    tasks = yaml.safe_load((ROLE / "tasks/restore_data.yml").read_text())
    names = [task.get("ansible.builtin.import_tasks") or task["name"] for task in tasks]
    judged = names.index("restore_data | Bring the snapshot to this host, and see whether it is whole")
    assert names.index("certificates.yml") < names.index("view.yml") < names.index("files.yml") < judged


@pytest.mark.long
def test_the_snapshot_of_another_cluster_may_be_meant(hosts):
    (hosts.bucket / "2026-01-03T00-00-00Z.db").write_bytes(snapshot("three", FOREIGN))
    code, text = hosts.play({**MEANT, "accept_other_cluster": True})
    assert code == 0, text
    assert hosts.contents() == {snapshot("three", FOREIGN)}


@pytest.mark.long
@pytest.mark.parametrize(
    "cut",
    ["Note what is restored", "Note that all members are well"],
)
def test_a_restore_that_was_cut_off_goes_on_with_the_same_snapshot(hosts, cut):
    """Meanwhile a newer snapshot appears, which one that has not yet begun takes."""
    code, _text = hosts.play(MEANT, cut=cut)
    assert code
    begun = {name: hosts.path / name / "restore/unfinished.json" for name in MEMBERS}
    tokens = {json.loads(path.read_text())["token"] for path in begun.values() if path.exists()}
    newer = snapshot("newer")
    (hosts.bucket / "2026-01-09T00-00-00Z.db").write_bytes(newer)
    code, text = hosts.play(MEANT)
    assert code == 0, text
    assert hosts.contents() == ({snapshot("two")} if tokens else {newer})
    assert not tokens or set(hosts.tokens().values()) == tokens
    assert set(hosts.tokens("data.before").values()) == {"before"} and hosts.marks() == []


@pytest.mark.long
def test_members_that_are_not_equally_far_become_so(hosts):
    """One has its new data in place, one has not noted yet what is restored, as a task that is cut off leaves them."""
    code, _text = hosts.play(MEANT, cut="Put the new data in the place of the old")
    assert code
    first, _second, third = (hosts.path / name for name in MEMBERS)
    token = json.loads((first / "restore/unfinished.json").read_text())["token"]
    place = {"PATH": f"{hosts.path}/bin:/usr/bin:/bin"}
    subprocess.run([first / "etcd-backup", "place", token], check=True, env=place, capture_output=True)
    (third / "restore/unfinished.json").unlink()
    code, text = hosts.play(MEANT)
    assert code == 0, text
    assert set(hosts.tokens().values()) == {token} and set(hosts.tokens("data.before").values()) == {"before"}
    assert hosts.marks() == []


@pytest.mark.long
def test_one_that_was_through_is_only_ended(hosts):
    code, _text = hosts.play(MEANT, cut="Remove the marks and the snapshot")
    assert code
    tokens = hosts.tokens()
    code, text = hosts.play(MEANT)
    assert code == 0, text
    assert "is restored already; only its marks were left" in " ".join(text.split())
    assert hosts.tokens() == tokens and hosts.marks() == []
    code, text = hosts.play({**MEANT, "key": "kubernetes/etcd/2026-01-01T00-00-00Z.db"})
    assert code == 0, text
    assert hosts.contents() == {snapshot("one")} and hosts.tokens("data.before") == tokens


@pytest.mark.long
def test_a_file_is_restored_and_another_one_begins_anew(hosts, tmp_path):
    for word in ("one", "two"):
        (tmp_path / f"{word}.db").write_bytes(snapshot(f"file {word}"))
    code, _text = hosts.play({"file": str(tmp_path / "one.db"), "confirm": "trading"}, cut="Start etcd")
    assert code
    code, text = hosts.play({"file": str(tmp_path / "two.db"), "confirm": "trading"})
    assert code == 0, text
    assert hosts.contents() == {snapshot("file two")} and hosts.marks() == []
    assert set(hosts.tokens("data.before").values()) == {"before"}

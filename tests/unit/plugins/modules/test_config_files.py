"""config_files: all validated before any is replaced, the diff and check mode are the plan."""

from __future__ import annotations

import copy
import os
import stat
import time
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.selfhosted.ec2.plugins.module_utils import atomic_files
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import FileError
from ansible_collections.selfhosted.ec2.plugins.modules import config_files as module


class FakeModule:
    """The part of AnsibleModule that config_files uses."""

    def __init__(self, params, tmpdir, check_mode=False):
        self.params = params
        self.tmpdir = str(tmpdir)
        self.check_mode = check_mode
        self._diff = True
        self.warnings = []
        self.commands = []

    def warn(self, text):
        self.warnings.append(text)

    def run_command(self, argv, environ_update=None):
        self.commands.append(argv)
        content = Path(argv[-1]).read_text() if Path(argv[-1]).is_file() else ""
        return (1, "", f"{argv[-1]}: line 1: bad word") if "bad" in content else (0, "", "")


def parameters(**given):
    params = {
        "files": [],
        "owner": None,
        "group": None,
        "mode": "0644",
        "directories": [],
        "purge": [],
        "validate_all": [],
    }
    params.update(copy.deepcopy(given))
    return params


@pytest.fixture
def run(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def call(check_mode=False, **given):
        call.module = FakeModule(parameters(**given), scratch, check_mode)
        return module.work(call.module)

    yield call
    assert list(scratch.iterdir()) == []
    assert not [path for path in tmp_path.rglob(".*")], "a temporary file was left"


def entry(path, content="text\n", **more):
    return {"dest": str(path), "content": content, **more}


def test_writes_and_then_changes_nothing(run, tmp_path):
    files = [entry(tmp_path / "a.conf", mode="0640"), entry(tmp_path / "b.conf")]
    assert run(files=files)["changed_files"] == [str(tmp_path / "a.conf"), str(tmp_path / "b.conf")]
    assert stat.S_IMODE((tmp_path / "a.conf").stat().st_mode) == 0o640
    inode = (tmp_path / "a.conf").stat().st_ino
    result = run(files=files)
    assert result["changed"] is False
    assert result["diff"] == []
    assert (tmp_path / "a.conf").stat().st_ino == inode


def test_one_refused_file_leaves_all_as_they_were(run, tmp_path):
    (tmp_path / "a.conf").write_text("old\n")
    files = [entry(tmp_path / "a.conf"), entry(tmp_path / "b.conf", "bad\n", validate="true %s")]
    with pytest.raises(FileError) as error:
        run(files=files, directories=[{"path": str(tmp_path / "new/sub"), "mode": "0755"}])
    message = str(error.value)
    assert str(tmp_path / "b.conf") in message
    assert "'true %s'" in message
    assert "bad word" in message
    assert "nothing was replaced" in message
    assert (tmp_path / "a.conf").read_text() == "old\n"
    assert not (tmp_path / "b.conf").exists()
    assert not (tmp_path / "new").exists()


def test_validator_sees_the_final_mode_and_suffix_in_the_target_directory(run, tmp_path, monkeypatch):
    seen = []

    def look(self, argv, environ_update=None):
        path = Path(argv[1])
        seen.append((path.parent, path.suffix, stat.S_IMODE(path.stat().st_mode), path.read_text()))
        return 0, "", ""

    monkeypatch.setattr(FakeModule, "run_command", look)
    run(files=[entry(tmp_path / "a.yml", mode="0600", validate=["true", "%s"])])
    assert seen == [(tmp_path, ".yml", 0o600, "text\n")]


def test_what_a_validator_says_of_a_secret_is_hidden(run, tmp_path):
    with pytest.raises(FileError, match="hidden") as error:
        run(files=[entry(tmp_path / "a", "bad", secret=True, validate=["true", "%s"])])
    assert "bad word" not in str(error.value)


def test_unchanged_files_are_not_validated(run, tmp_path):
    files = [entry(tmp_path / "a", validate=["true", "%s"])]
    run(files=files)
    run(files=files)
    assert run.module.commands == []


def test_check_mode_tells_the_same_and_changes_nothing(run, tmp_path):
    given = {
        "files": [entry(tmp_path / "d/a", owner="nobody-knows-me", validate=["no-such-command", "%s"])],
        "directories": [{"path": str(tmp_path / "d"), "mode": "0750"}],
    }
    result = run(check_mode=True, **given)
    assert result["changed_files"] == [str(tmp_path / "d/a")]
    assert result["created_directories"] == [str(tmp_path / "d")]
    assert "nobody-knows-me:" in str(result["diff"])
    assert not (tmp_path / "d").exists()


def test_check_mode_warns_of_a_refused_file(run, tmp_path):
    result = run(check_mode=True, files=[entry(tmp_path / "a", "bad", validate=["true", "%s"])])
    assert result["changed"] is True
    assert "bad word" in run.module.warnings[0]


def test_missing_owner_is_refused_before_anything(run, tmp_path):
    with pytest.raises(FileError, match="no user nobody-knows-me"):
        run(files=[entry(tmp_path / "a"), entry(tmp_path / "b", owner="nobody-knows-me")])
    assert not (tmp_path / "a").exists()


def test_missing_validator_is_refused(run, tmp_path):
    with pytest.raises(FileError, match="no-such-command is not on the host"):
        run(files=[entry(tmp_path / "a", validate=["no-such-command", "%s"])])
    assert not (tmp_path / "a").exists()


def test_missing_directory_is_named(run, tmp_path):
    with pytest.raises(FileError, match="list it in directories"):
        run(files=[entry(tmp_path / "absent/a")])


def test_mode_alone_keeps_the_inode(run, tmp_path):
    run(files=[entry(tmp_path / "a")])
    before = (tmp_path / "a").stat()
    result = run(files=[entry(tmp_path / "a", mode="0600")])
    assert result["changed_files"] == [str(tmp_path / "a")]
    assert (tmp_path / "a").stat().st_ino == before.st_ino
    assert [item["after"][-5:] for item in result["diff"]] == ["0600\n"]


def test_owner_is_kept_when_not_given(run, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "a").write_text("old")
    os.chown(tmp_path / "a", 65534, 65534)
    run(files=[entry(tmp_path / "a")])
    assert (tmp_path / "a").stat().st_uid == 65534


def test_a_link_is_replaced_not_followed(run, tmp_path):
    (tmp_path / "other").write_text("other")
    (tmp_path / "a").symlink_to(tmp_path / "other")
    result = run(files=[entry(tmp_path / "a")])
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "other").read_text() == "other"
    assert "link to" in result["diff"][0]["before"]


def test_purge_removes_what_is_not_listed(run, tmp_path):
    folder = tmp_path / "conf.d"
    folder.mkdir()
    for name in ("mine.cfg", "old.cfg", "old.txt"):
        (folder / name).write_text("x")
    (folder / "sub.cfg").mkdir()
    given = {"files": [entry(folder / "mine.cfg")], "purge": [{"directory": str(folder), "patterns": ["*.cfg"]}]}
    result = run(**given)
    assert result["removed_files"] == [str(folder / "old.cfg")]
    assert sorted(path.name for path in folder.iterdir()) == ["mine.cfg", "old.txt", "sub.cfg"]
    assert run(**given)["changed"] is False


def test_purge_looks_into_every_directory_that_fits(run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.toml").write_text("x")
    purge = [{"directory": str(tmp_path / "*"), "patterns": ["hosts.toml"]}]
    assert run(files=[entry(tmp_path / "a" / "hosts.toml")], purge=purge)["removed_files"] == [
        str(tmp_path / "b" / "hosts.toml")
    ]


def test_secret_and_binary_content_stay_out_of_the_diff(run, tmp_path):
    (tmp_path / "binary").write_bytes(b"\x00\xff\x00")
    result = run(files=[entry(tmp_path / "key", "hunter2\n", secret=True), entry(tmp_path / "binary", "hello\n")])
    shown = str(result["diff"])
    assert "hunter2" not in shown
    assert "hello" not in shown
    assert "secret" in shown
    assert "binary" in shown


def test_validate_all_sees_the_directory_as_it_would_be(run, tmp_path, monkeypatch):
    folder = tmp_path / "haproxy"
    folder.mkdir()
    (folder / "kept.cfg").write_text("kept")
    (folder / "old.cfg").write_text("old")
    seen = {}

    def look(self, argv, environ_update=None):
        copied = Path(argv[2])
        assert copied != folder
        assert copied.parent == folder.parent
        seen.update({path.name: path.read_text() for path in copied.iterdir()})
        return (1, "", "no frontend") if "broken" in seen.values() else (0, "", "")

    monkeypatch.setattr(FakeModule, "run_command", look)
    given = {
        "purge": [{"directory": str(folder), "patterns": ["old*"]}],
        "validate_all": [{"directory": str(folder), "command": "true -f %s"}],
    }
    run(files=[entry(folder / "new.cfg", "new")], **given)
    assert seen == {"kept.cfg": "kept", "new.cfg": "new"}
    with pytest.raises(FileError, match="no frontend"):
        run(files=[entry(folder / "new.cfg", "broken")], **given)
    assert (folder / "new.cfg").read_text() == "new"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"files": [entry("relative")]}, "not absolute"),
        ({"files": [entry("/x/a"), entry("/x/a")]}, "more than once"),
        ({"files": [{"dest": "/x/a"}]}, "neither template nor content"),
        ({"files": [entry("/x/a", mode="rw-r--r--")]}, "octal"),
        ({"files": [entry("/x/a", validate=["haproxy", "-c"])]}, "has no %s"),
        ({"files": [entry("/")]}, "is a directory"),
        ({"directories": [{"path": "/etc/hostname", "mode": "0755"}]}, "should be a directory"),
    ],
)
def test_bad_input(run, given, message):
    with pytest.raises(FileError, match=message):
        run(**given)


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "a"
    account = atomic_files.Account()
    atomic_files.write_atomic(str(path), b"x" * 100000, account, 0o644)
    with path.open("rb") as reader:
        atomic_files.write_atomic(str(path), b"y" * 100000, account, 0o644)
        assert set(reader.read()) == {ord("x")}
    assert set(path.read_bytes()) == {ord("y")}


def test_rename_changes_ctime(run, tmp_path):
    """pending_restarts relies on it."""
    run(files=[entry(tmp_path / "a", "1")])
    before = time.time()
    time.sleep(0.05)
    run(files=[entry(tmp_path / "a", "2")])
    assert (tmp_path / "a").stat().st_ctime > before


def test_the_hosts_journal_gets_no_content(tmp_path, monkeypatch, capsys):
    """Ansible writes the options of every module there."""
    written = []
    monkeypatch.setattr(AnsibleModule, "log", lambda self, msg, log_args=None: written.append(f"{msg} {log_args}"))
    asked = {
        "files": [entry(tmp_path / "a", "planted-secret\n", secret=True)],
        "_ansible_no_log": False,
        "_ansible_tmpdir": str(tmp_path),
        "_ansible_remote_tmp": str(tmp_path),
    }
    with patch_module_args(asked), pytest.raises(SystemExit):
        module.main()
    assert (tmp_path / "a").read_text() == "planted-secret\n"
    assert "planted-secret" not in "".join(written) + capsys.readouterr().out

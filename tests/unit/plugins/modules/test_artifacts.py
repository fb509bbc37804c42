"""artifacts: pinned downloads, refused when a byte differs, unpacked without leaving their directory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import FileError
from ansible_collections.selfhosted.ec2.plugins.modules import artifacts as module


class FakeModule:
    """The part of AnsibleModule that Installer uses."""

    def __init__(self, mirror=None):
        self.params = {"mirror": mirror, "timeout": 5}


def names(path):
    return sorted(item.name for item in path.iterdir())


def make_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for member in members:
            name, content, bits = (*member, 0o644)[:3]
            info = tarfile.TarInfo(name)
            info.mode = bits
            info.uid = 1234
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return path


def option(path, where, **more):
    values = {
        "name": "tool",
        "version": "1.2.3",
        "urls": [f"file://{path}"],
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "unpack_to": str(where),
        "strip": 1,
        "links": {},
        "mode": "0755",
        "file": None,
    }
    return dict(values, **more)


def install(options, mirror=None):
    artifacts = [module.make_artifact(item) for item in options]
    module.Installer(FakeModule(mirror), artifacts).run()
    return artifacts


@pytest.fixture
def archive(tmp_path):
    return make_tar(
        tmp_path / "tool-1.2.3.tar.gz",
        [
            ("./tool-1.2.3/bin/tool", b"#!/bin/sh\n", 0o777),
            ("tool-1.2.3/README", b"read me\n"),
            ("tool-1.2.3/again", (tarfile.LNKTYPE, "tool-1.2.3/README")),
            ("tool-1.2.3/lib/link", (tarfile.SYMTYPE, "../README")),
        ],
    )


def test_installs_unpacked_and_linked(tmp_path, archive):
    link = tmp_path / "bin" / "tool"
    artifact = install([option(archive, tmp_path / "opt", links={str(link): "bin/tool"})])[0]
    root = tmp_path / "opt" / "tool-1.2.3"
    assert link.read_text() == "#!/bin/sh\n"
    assert (root / "bin/tool").stat().st_mode & 0o7777 == 0o755
    assert (root / "README").stat().st_uid == os.geteuid()
    assert (root / "again").read_text() == (root / "lib/link").read_text() == "read me\n"
    assert names(tmp_path / "opt") == ["tool-1.2.3"]
    result, diff = module.report([artifact])
    assert result["changed"] is False
    assert diff == {"before": "", "after": ""}


@pytest.mark.parametrize("mode, suffix", [("w:xz", "tar.xz"), ("w:bz2", "tar.bz2"), ("w", "tar")])
def test_other_compressions(tmp_path, mode, suffix):
    path = make_tar(tmp_path / ("x." + suffix), [("a/b", b"content")], mode)
    install([option(path, tmp_path / "opt")])
    assert (tmp_path / "opt/tool-1.2.3/b").read_bytes() == b"content"


def test_zip_keeps_the_executable_bit(tmp_path):
    path = tmp_path / "tool.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("top/run")
        info.external_attr = 0o100755 << 16
        archive.writestr(info, b"run")
        archive.writestr("top/data", b"data")
    install([option(path, tmp_path / "opt")])
    root = tmp_path / "opt/tool-1.2.3"
    assert root.joinpath("run").stat().st_mode & 0o777 == 0o755
    assert root.joinpath("data").stat().st_mode & 0o777 == 0o644


def test_a_plain_file(tmp_path):
    path = tmp_path / "tool-linux"
    path.write_bytes(b"\x7fELF")
    install([option(path, tmp_path / "opt", mode="0750")])
    assert (tmp_path / "opt/tool-1.2.3/tool-linux").stat().st_mode & 0o7777 == 0o750


def test_flipped_byte_is_refused_and_nothing_is_left(tmp_path, archive):
    good = option(archive, tmp_path / "opt", name="good")
    bad = option(archive, tmp_path / "opt", links={str(tmp_path / "link"): "README"})
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    flipped = tmp_path / "flipped.tar.gz"
    flipped.write_bytes(data)
    bad["urls"] = [f"file://{flipped}"]
    with pytest.raises(FileError) as error:
        install([good, bad])
    message = str(error.value)
    assert "tool 1.2.3" in message
    assert bad["sha256"] in message
    assert hashlib.sha256(data).hexdigest() in message
    assert names(tmp_path / "opt") == []
    assert not (tmp_path / "link").exists()


def test_next_address_is_tried(tmp_path, archive):
    values = option(archive, tmp_path / "opt")
    values["urls"].insert(0, f"file://{tmp_path}/absent.tar.gz")
    install([values])
    assert (tmp_path / "opt/tool-1.2.3/README").exists()


def test_mirror_replaces_the_addresses(tmp_path, archive):
    values = option(archive, tmp_path / "opt", urls=[f"https://unreachable.invalid/dl/{archive.name}?x=1"])
    place = tmp_path / "mirror/tool/1.2.3"
    place.mkdir(parents=True)
    archive.rename(place / archive.name)
    install([values], mirror=f"file://{tmp_path}/mirror/")
    assert (tmp_path / "opt/tool-1.2.3/README").exists()


@pytest.mark.parametrize(
    "member",
    [
        ("top/../../evil", b"x"),
        ("/etc/evil", b"x"),
        ("top/evil", (tarfile.SYMTYPE, "../../etc")),
        ("top/evil", (tarfile.SYMTYPE, "/etc")),
        ("top/evil", (tarfile.LNKTYPE, "../../etc/passwd")),
        ("top/evil", (tarfile.CHRTYPE, "")),
        ("top/out/evil", b"x"),
    ],
)
@pytest.mark.parametrize("data_filter", [True, False])
def test_unsafe_members_are_refused(tmp_path, member, data_filter, monkeypatch):
    if not data_filter:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    # "out" looks harmless by its text alone, but leads through "up" above the directory.
    chain = [("top/d/up", (tarfile.SYMTYPE, "..")), ("top/out", (tarfile.SYMTYPE, "d/up/.."))]
    path = make_tar(tmp_path / "evil.tar.gz", [("top/fine", b"x"), *chain, member])
    with pytest.raises(FileError, match="unsafe path"):
        install([option(path, tmp_path / "opt")])
    assert names(tmp_path / "opt") == []


def test_unsafe_zip_is_refused(tmp_path):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../evil", b"x")
    with pytest.raises(FileError, match="unsafe path"):
        install([option(path, tmp_path / "opt", strip=0)])
    assert not (tmp_path / "evil").exists()


def test_broken_archive(tmp_path):
    path = tmp_path / "broken.tar.gz"
    path.write_bytes(b"not a tar")
    with pytest.raises(FileError, match="is broken"):
        install([option(path, tmp_path / "opt")])


def test_upgrade_moves_the_link_and_keeps_the_old_version(tmp_path, archive):
    links = {str(tmp_path / "current"): "."}
    install([option(archive, tmp_path / "opt", links=links)])
    newer = module.make_artifact(option(archive, tmp_path / "opt", version="1.3.0", links=links))
    result, diff = module.report([newer])
    assert result["installed"] == ["tool"]
    assert f"-> {tmp_path}/opt/tool-1.2.3\n" in diff["before"]
    module.Installer(FakeModule(), [newer]).run()
    assert str((tmp_path / "current").readlink()) == str(tmp_path / "opt/tool-1.3.0")
    assert (tmp_path / "opt/tool-1.2.3").is_dir()


def test_same_version_with_another_digest_is_replaced(tmp_path, archive):
    install([option(archive, tmp_path / "opt")])
    other = make_tar(tmp_path / "other.tar.gz", [("top/new", b"new")])
    install([option(other, tmp_path / "opt")])
    assert names(tmp_path / "opt/tool-1.2.3") == [".artifact.json", "new"]


def test_a_half_removed_directory_is_installed_again(tmp_path, archive):
    artifact = install([option(archive, tmp_path / "opt")])[0]
    Path(artifact.directory, module.MARKER).unlink()
    assert module.report([artifact])[0]["installed"] == ["tool"]


def test_a_file_in_the_links_place_is_not_replaced(tmp_path, archive):
    (tmp_path / "mine").write_text("mine")
    artifact = module.make_artifact(option(archive, tmp_path / "opt", links={str(tmp_path / "mine"): "README"}))
    with pytest.raises(FileError, match="something else"):
        module.report([artifact])


def test_a_link_to_nothing_is_refused(tmp_path, archive):
    with pytest.raises(FileError, match="has no bin/absent"):
        install([option(archive, tmp_path / "opt", links={str(tmp_path / "l"): "bin/absent"})])
    assert names(tmp_path / "opt") == []


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"sha256": "abc"}, "64 hexadecimal"),
        ({"urls": []}, "is empty"),
        ({"version": "../1"}, "directory name"),
        ({"links": {"relative": "x"}}, "absolute path"),
        ({"links": {"/a": "../x"}}, "inside the artifact"),
        ({"mode": "rwx"}, "octal"),
    ],
)
def test_bad_input(tmp_path, archive, wrong, message):
    with pytest.raises(FileError, match=message):
        module.make_artifact(option(archive, tmp_path, **wrong))


def test_marker_is_readable_json(tmp_path, archive):
    artifact = install([option(archive, tmp_path / "opt")])[0]
    marker = json.loads(Path(artifact.directory, module.MARKER).read_text())
    assert marker["sha256"] == artifact.sha256


def test_a_bundle_is_filled_verified_and_installed_from(tmp_path):
    archive = make_tar(tmp_path / "tool.tar.gz", [("tool-1/bin/tool", b"new", 0o755)])
    binary = tmp_path / "kubelet"
    binary.write_bytes(b"a binary")
    options = [
        option(archive, tmp_path / "opt", unpack_to=None),
        option(binary, tmp_path / "opt", name="kubelet", file="kubelet-linux-amd64", strip=0),
    ]
    artifacts = [module.make_artifact(item) for item in options]
    bundle = module.Bundle(str(tmp_path / "bundle"), artifacts)
    with pytest.raises(module.FileError, match=r"tool 1\.2\.3 is not there; kubelet 1\.2\.3 is not there"):
        bundle.verify()
    bundle.fill(bundle.lacking(), None, 5)
    bundle.verify()
    assert (tmp_path / "bundle/kubelet/1.2.3/kubelet-linux-amd64").read_bytes() == b"a binary"
    (artifact,) = install([options[1]], mirror=str(tmp_path / "bundle"))
    assert (tmp_path / "opt/kubelet-1.2.3/kubelet-linux-amd64").read_bytes() == b"a binary"
    assert artifact.directory == str(tmp_path / "opt/kubelet-1.2.3")


def test_a_flipped_byte_in_a_bundle_is_found_named_and_installs_nothing(tmp_path):
    options = []
    for name in ("kubeadm", "kubelet"):
        (tmp_path / name).write_bytes(name.encode())
        options.append(option(tmp_path / name, tmp_path / "opt", name=name, strip=0))
    artifacts = [module.make_artifact(item) for item in options]
    bundle = module.Bundle(str(tmp_path / "bundle"), artifacts)
    bundle.fill(bundle.lacking(), None, 5)
    held = tmp_path / "bundle/kubelet/1.2.3/kubelet"
    held.write_bytes(b"kubelfu")
    with pytest.raises(module.FileError, match=r"bundle .* cannot be used: kubelet 1\.2\.3 has SHA-256"):
        bundle.verify()
    with pytest.raises(module.FileError, match=r"The artifact kubelet 1\.2\.3 was not installed"):
        install(options, mirror=str(tmp_path / "bundle"))
    assert not list((tmp_path / "opt").glob("kube*"))
    assert [artifact.name for artifact, _found in bundle.lacking()] == ["kubelet"]
    bundle.fill(bundle.lacking(), None, 5)
    bundle.verify()

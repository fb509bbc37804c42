"""ebs_volumes: never format what holds anything, refuse what belongs elsewhere, plan before acting."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import block_devices as block
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import FileError
from ansible_collections.selfhosted.ec2.plugins.modules import ebs_volumes as module
from hypothesis import given
from hypothesis import strategies as st

GIB = 1 << 30
IDENTITY = {"platform": "trading", "slot": "db-1", "volume": "etcd"}


class FakeModule:
    """The part of AnsibleModule that Work uses."""

    def __init__(self, check_mode=False, **params):
        self.params = {"platform": "trading", "slot": "db-1", "adopt": [], "wait": 0, **params}
        self.check_mode = check_mode


class FakeHost(module.Host):
    """A host whose devices are files and whose mounts are directories; commands are only noted."""

    def __init__(self, check, signatures=(), mounted=False, size=2 * GIB):
        super().__init__(check)
        self.found = list(signatures)
        self.mounted = mounted
        self.size = size
        self.commands = []

    def run(self, *argv, codes=(0,)):
        self.commands.append(argv)
        if argv[:2] == ("systemctl", "start"):
            self.mounted = True
        return ""

    def probe(self, volume):
        return self.found

    def mounts(self):
        return {volume["mount"]: "7:1" for volume in self.module.params["volumes"]} if self.mounted else {}

    def read_identity(self, volume):
        return module.identity_of(volume.mount)

    def filesystem_size(self, volume):
        return self.size


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A function that runs the module against a fake host; gives the Work and the host."""
    device, mount, units = tmp_path / "dev", tmp_path / "mount", tmp_path / "units"
    with device.open("wb") as stream:
        stream.truncate(2 * GIB)
    units.mkdir()
    monkeypatch.setattr(module, "UNITS", str(units))
    monkeypatch.setattr(block, "device_number", lambda path: "7:1")

    def run(check_mode=False, option=None, params=None, **host):
        volume = {
            "name": "etcd", "device": str(device), "mount": str(mount), "filesystem": "xfs",
            "options": ["noatime", "nofail"], "owner": None, "group": None, "mode": None, "services": ["etcd"],
            **(option or {}),
        }  # fmt: skip
        fake = FakeModule(check_mode, volumes=[volume], **(params or {}))
        work = module.Work(fake, FakeHost(fake, **host))
        work.run()
        return work

    run.device, run.mount, run.units = device, mount, units
    return run


def names(work):
    return [argv[0] if argv[0] != "systemctl" else f"systemctl {argv[1]}" for argv in work.host.commands]


def test_blank_device_is_formatted_mounted_and_marked(world):
    work = world()
    assert names(work) == ["mkfs.xfs", "systemctl daemon-reload", "systemctl start", "systemctl enable"]
    assert work.result["formatted"] == work.result["mounted"] == ["etcd"]
    assert json.loads((world.mount / ".volume-identity").read_text()) == IDENTITY
    drop_in = (world.units / "etcd.service.d/volume.conf").read_text()
    assert f"RequiresMountsFor={world.mount}\n" in drop_in
    assert f"AssertPathIsMountPoint={world.mount}\n" in drop_in


def settle(world, **identity):
    """The state after a first run."""
    world.mount.mkdir(exist_ok=True)
    (world.mount / ".volume-identity").write_text(json.dumps({**IDENTITY, **identity}))
    unit = block.unit_name(str(world.mount))
    wants = world.units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit).symlink_to(world.units / unit)


def test_second_run_does_nothing(world):
    world()
    settle(world)
    work = world(signatures=["xfs"], mounted=True)
    assert work.result == {"formatted": [], "mounted": [], "grown": [], "changed_files": [], "changed": False}
    assert work.host.commands == []
    assert work.diff == []


def test_check_mode_plans_the_same_and_touches_nothing(world):
    work = world(check_mode=True)
    assert work.result["formatted"] == ["etcd"]
    assert work.result["changed"]
    assert work.host.commands == []
    assert list(world.units.iterdir()) == []
    assert not world.mount.exists()


@pytest.mark.parametrize("found", [["ext4"], ["gpt"], ["gpt", "xfs"], ["LVM2_member"], ["crypto_LUKS"], ["swap"]])
def test_other_signatures_are_refused(world, found):
    with pytest.raises(FileError, match="where xfs is wanted; it was not touched"):
        world(signatures=found)


def test_bytes_without_a_signature_are_refused(world):
    with world.device.open("r+b") as stream:
        stream.seek(block.HEAD - 1)
        stream.write(b"\x01")
    with pytest.raises(FileError, match="not blank"):
        world()


def test_wrong_identity_fails_closed(world):
    settle(world, slot="db-2")
    with pytest.raises(
        FileError, match="belongs to volume etcd of db-2 on platform trading, not to volume etcd of db-1"
    ):
        world(signatures=["xfs"], mounted=True)


def test_files_without_identity_are_refused_and_adopted_on_demand(world):
    world.mount.mkdir()
    (world.mount / "member").mkdir()
    with pytest.raises(FileError, match="List it in adopt"):
        world(signatures=["xfs"], mounted=True)
    world(signatures=["xfs"], mounted=True, params={"adopt": ["etcd"]})
    assert json.loads((world.mount / ".volume-identity").read_text()) == IDENTITY


def test_empty_filesystem_without_identity_was_cut_off_before_it_got_one(world):
    world.mount.mkdir()
    (world.mount / "lost+found").mkdir()
    world(signatures=["xfs"], mounted=True)
    assert json.loads((world.mount / ".volume-identity").read_text()) == IDENTITY


def test_broken_identity(world):
    world.mount.mkdir()
    (world.mount / ".volume-identity").write_text("{")
    with pytest.raises(FileError, match="cannot be read"):
        world(signatures=["xfs"], mounted=True)


def test_files_on_the_root_disk_are_not_hidden(world):
    world.mount.mkdir()
    (world.mount / "data").write_text("x")
    with pytest.raises(FileError, match="holds files on the root disk"):
        world()


def test_another_device_at_the_mount_point(world, monkeypatch):
    world.mount.mkdir()
    monkeypatch.setattr(block, "device_number", lambda path: "7:2")
    with pytest.raises(FileError, match="Another device is mounted"):
        world(signatures=["xfs"], mounted=True)


def test_absent_device(world):
    with pytest.raises(FileError, match="is the volume attached"):
        world(option={"device": "/dev/disk/by-id/absent"})


def test_grown_volume(world):
    world()
    settle(world)
    work = world(signatures=["xfs"], mounted=True, size=GIB)
    assert work.result["grown"] == ["etcd"]
    assert work.host.commands == [("xfs_growfs", "-d", str(world.mount))]
    assert world(signatures=["xfs"], mounted=True, size=2 * GIB - module.GROW_FROM + 1).result["changed"] is False


def test_root_directory_of_the_mount(world):
    world()
    settle(world)
    work = world(signatures=["xfs"], mounted=True, option={"mode": "0700"})
    assert work.result["changed_files"] == [str(world.mount)]
    assert world.mount.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mount", ["/", "relative"])
def test_mount_points_that_cannot_be(world, mount):
    with pytest.raises(FileError, match="cannot be used"):
        world(option={"mount": mount})


def test_two_volumes_in_one_place():
    one = {
        "device": "/dev/a", "mount": "/data", "filesystem": "xfs", "options": [], "owner": None, "group": None,
        "mode": None, "services": [],
    }  # fmt: skip
    fake = FakeModule(volumes=[dict(one, name="a"), dict(one, name="b", device="/dev/b")])
    with pytest.raises(FileError, match="mount /data is given to more than one"):
        module.Work(fake, FakeHost(fake)).run()


def test_one_drop_in_for_a_service_with_two_volumes():
    volumes = [
        module.Volume(name, "/dev/x", mount, "xfs", [], None, None, None, ["db", "x.timer"])
        for name, mount in (("a", "/srv/a"), ("b", "/srv/b"))
    ]
    texts = module.drop_ins(volumes)
    assert sorted(texts) == [
        "/etc/systemd/system/db.service.d/volume.conf",
        "/etc/systemd/system/x.timer.d/volume.conf",
    ]
    assert texts["/etc/systemd/system/db.service.d/volume.conf"].count("RequiresMountsFor=") == 2


def test_unit_names():
    assert block.unit_name("/var/lib/etcd/") == "var-lib-etcd.mount"
    assert block.unit_name("/srv/my-data") == r"srv-my\x2ddata.mount"
    assert block.unit_name("/.hidden/ü") == r"\x2ehidden-\xc3\xbc.mount"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1))
def test_unit_names_can_be_read_back(name):
    escaped = block.unit_name("/x" + name.replace("/", "_"))
    stem = escaped.removesuffix(".mount")
    plain = b"".join(
        bytes([int(part[:2], 16)]) + part[2:].encode() if index else part.encode()
        for index, part in enumerate(stem.replace("-", "/").split("\\x"))
    )
    assert plain.decode() == "x" + name.replace("/", "_")


def test_signatures():
    blkid = block.parse_blkid("DEVNAME=/dev/nvme1n1\nUUID=1-2\nTYPE=xfs\nUSAGE=filesystem\n")
    assert block.signatures(blkid, '{"signatures": [{"device": "nvme1n1", "type": "xfs"}]}') == ["xfs"]
    assert block.signatures({}, "") == []
    assert block.signatures({"PTTYPE": "gpt"}, '{"signatures": [{"type": "PMBR"}]}') == ["PMBR", "gpt"]
    with pytest.raises(ValueError, match="cannot be read"):
        block.signatures({}, "nonsense")


def test_mounts():
    text = (
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "40 22 7:1 / /srv/my\\040data rw,noatime shared:1 - xfs /dev/nvme1n1 rw\n"
        "41 22 7:2 / /srv/my\\040data rw - xfs /dev/nvme2n1 rw\n"
    )
    assert block.parse_mounts(text) == {"/": "254:0", "/srv/my data": "7:2"}


def test_ext4_size(tmp_path):
    superblock = bytearray(1024)
    struct.pack_into("<I", superblock, 0x4, 5)
    struct.pack_into("<I", superblock, 0x18, 2)
    Path(tmp_path / "small").write_bytes(b"\0" * 1024 + superblock)
    assert block.ext4_size(str(tmp_path / "small")) == 5 * 4096
    struct.pack_into("<I", superblock, 0x60, 0x80)
    struct.pack_into("<I", superblock, 0x150, 1)
    Path(tmp_path / "large").write_bytes(b"\0" * 1024 + superblock)
    assert block.ext4_size(str(tmp_path / "large")) == ((1 << 32) + 5) * 4096

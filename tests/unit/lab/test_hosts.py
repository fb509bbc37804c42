"""Pure parts of the hosts' side of the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from lab import cgroups, cli, faults, hosts, image, machine, mounts, processes, reconciler, volumes
from lab.paths import BadLabName, Lab

# Names


@pytest.mark.parametrize("name", ["", "Lab", "1lab", "my-lab", "a" * 13, "../x", "lab\n"])
def test_bad_lab_names_are_refused(name, monkeypatch):
    monkeypatch.delenv("LAB", raising=False)
    with pytest.raises(BadLabName, match="1 to 12 lower-case letters or digits"):
        Lab(name or "?")


def test_labs_have_addresses_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    labs = [Lab(name) for name in ("lab", "test", "one", "two")]
    assert [lab.index for lab in labs] == [0, 1, 2, 3]
    assert Lab("one").index == 2
    assert len({lab.port for lab in labs}) == len({lab.vpc_cidr for lab in labs}) == 4
    assert labs[0].endpoint == "http://127.0.0.1:4566"
    assert labs[1].vpc_cidr == "10.21.0.0/16"


def test_a_lab_that_went_gives_its_index_back(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    from lab.paths import forget_index

    assert [Lab("one").index, Lab("two").index] == [2, 3]
    forget_index("one")
    assert [Lab("two").index, Lab("new").index] == [3, 2]


def test_a_lab_that_goes_while_the_last_one_takes_the_register_along_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path / "state")
    from lab.paths import forget_index, labs_locked

    assert Lab("one").index == 2
    with ThreadPoolExecutor(1) as pool:
        with labs_locked():
            going = pool.submit(forget_index, "one")
            assert not wait([going], timeout=0.2).done
            (tmp_path / "state/indexes.json").unlink()
        assert going.result(5) is None


# Starting


def test_a_host_that_cannot_be_opened_for_containers_does_not_run_on(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    lab = Lab("one")
    lab.instance("i-1").mkdir(parents=True)
    (tmp_path / "namespace").touch()
    calls = []

    class Process:
        def poll(self):
            return None

    def refuse(*_):
        raise hosts.HostError("no control groups")

    host = type("Host", (), {"containers": True, "memory_mib": 64})
    for name, value in {
        "read": lambda *_: host,
        "is_running": lambda *_: False,
        "init_pid": lambda *_: 1,
        "clear": lambda *_: calls.append("clear"),
        "nspawn_options": lambda *_: [],
        "_mount_root": lambda *_: tmp_path,
        "_write_device_list": lambda *_: None,
        "_open_for_containers": refuse,
    }.items():
        monkeypatch.setattr(hosts, name, value)
    monkeypatch.setattr(hosts.cgroups, "make", lambda *_: [])
    monkeypatch.setattr(hosts.subprocess, "Popen", lambda *_args, **_kwargs: calls.append("start") or Process())
    monkeypatch.setattr(Lab, "namespace_path", lambda *_: tmp_path / "namespace")
    with pytest.raises(hosts.HostError, match="no control groups"):
        hosts.start(lab, "i-1")
    assert calls == ["clear", "start", "clear"]


def test_a_host_is_opened_for_containers_when_its_systemd_has_looked_at_control_groups(tmp_path, monkeypatch):
    ran = []
    done = type("Done", (), {"returncode": 0})
    for name, value in {"PROCESSES": tmp_path, "BOOT_SECONDS": 0.05, "init_pid": lambda *_: 7}.items():
        monkeypatch.setattr(hosts, name, value)
    monkeypatch.setattr(hosts, "enter", lambda *_: ["enter"])
    monkeypatch.setattr(hosts.subprocess, "run", lambda command, **_: ran.append(command) or done)
    (tmp_path / "7/root/run/systemd").mkdir(parents=True)
    (tmp_path / "7/comm").write_text("systemd\n")
    with pytest.raises(hosts.HostError, match="i-1 did not start systemd"):
        hosts._open_for_containers(Lab("one"), "i-1")
    assert not ran
    (tmp_path / "7/root/run/systemd/notify").touch()
    hosts._open_for_containers(Lab("one"), "i-1")
    assert ran == [["enter"]]


# Image

DEB822 = """\
Types: deb
# http://snapshot.example/archive
URIs: http://archive.example/debian/
Suites: trixie trixie-updates

Types: deb
URIs: http://archive.example/debian-security
Suites: trixie-security
"""


def test_archives_of_both_formats_of_sources():
    lines = (
        "deb [signed-by=/x.gpg arch=amd64] https://other.example/apt stable main\n#deb http://no.example/debian a b\n"
    )
    uris = image.parse_sources(DEB822 + "\n" + lines)
    assert uris == [
        "http://archive.example/debian",
        "http://archive.example/debian-security",
        "https://other.example/apt",
    ]
    assert image.pick_archives(uris) == {
        "debian": "http://archive.example/debian",
        "debian-security": "http://archive.example/debian-security",
    }


def test_archive_can_be_named():
    assert (
        image.pick_archives([], "http://mirror.example/x/")["debian-security"]
        == "http://mirror.example/x/debian-security"
    )


def test_a_machine_without_debian_archive_is_told_what_to_set():
    with pytest.raises(image.ImageError, match="LAB_DEBIAN_ARCHIVE"):
        image.pick_archives(["https://other.example/apt"])


def test_image_name_follows_its_recipe(monkeypatch):
    before = image.path()
    monkeypatch.setattr(image, "PACKAGES", [*image.PACKAGES, "nano"])
    assert image.path() != before
    assert image.path("bookworm") != image.path("trixie")


def test_interrupted_image_build_is_thrown_away(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "CACHE", tmp_path)
    rest = tmp_path / "images" / ".building-trixie-old"
    rest.mkdir(parents=True)
    monkeypatch.setattr(image, "_bootstrap", lambda suite, work: (work / "etc").mkdir(parents=True))
    monkeypatch.setattr(image, "_configure", lambda root, suite: None)
    built = image.build(say=lambda text: None)
    assert (built / "etc").is_dir()
    assert not rest.exists()
    assert [path.name for path in built.parent.glob(".building*")] == []


def test_images_of_old_recipes_go_unless_a_host_stands_on_them(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "STATE", tmp_path / "state")
    images = tmp_path / "images"
    for name in ("trixie-new", "trixie-old", "trixie-used", ".building-x"):
        (images / name).mkdir(parents=True)
    place = tmp_path / "state/lab/instances/i-1"
    place.mkdir(parents=True)
    (place / "instance.json").write_text(json.dumps({"base": str(images / "trixie-used")}))
    assert image.unused(images / "trixie-new") == [images / "trixie-old"]


# Hosts


def test_host_keys_are_read_from_the_last_block_of_the_console():
    console = (
        "x\n-----BEGIN SSH HOST KEY KEYS-----\r\nssh-rsa OLD root@a\r\n-----END SSH HOST KEY KEYS-----\nlogin:\n"
        "-----BEGIN SSH HOST KEY KEYS-----\r\necdsa-sha2-nistp256 AAAA+/= root@a\r\nssh-ed25519 BBBB root@a\r\n"
        "-----END SSH HOST KEY KEYS-----\n"
    )
    assert hosts.parse_host_keys(console) == ["ecdsa-sha2-nistp256 AAAA+/=", "ssh-ed25519 BBBB"]
    assert hosts.parse_host_keys("-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA") == []


def test_device_list_makes_nodes_and_links_as_ec2_names_them():
    text = hosts.device_list({"vol-0b": 2, "vol-0a": 1}, {"vol-0a": (7, 3), "vol-0b": (7, 11)})
    assert text.splitlines()[2:] == [
        "b+ /dev/nvme1n1 0660 root disk - 7:3",
        "L+ /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a - - - - ../../nvme1n1",
        "b+ /dev/nvme2n1 0660 root disk - 7:11",
        "L+ /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0b - - - - ../../nvme2n1",
    ]


def test_host_is_named_by_its_address():
    assert hosts.Host("i-1", "10.20.1.5", base="/base").hostname == "ip-10-20-1-5"


def test_root_disk_is_made_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path / "state")
    base = tmp_path / "base"
    (base / "home/admin").mkdir(parents=True)
    (base / "etc/ssl/certs").mkdir(parents=True)
    lab = Lab("unit")
    half = lab.instances / ".new-i-1" / "upper"
    half.mkdir(parents=True)
    (half / "rest").touch()
    host = hosts.Host("i-1", "10.20.1.5", 512, "ssh-ed25519 AAAA me", "10.20.0.2", "x.internal", base=str(base))
    hosts.create(lab, host)
    upper = lab.instance("i-1") / "upper"
    assert not (upper / "rest").exists()
    assert (upper / "etc/hostname").read_text() == "ip-10-20-1-5\n"
    assert (upper / "etc/resolv.conf").read_text() == "nameserver 10.20.0.2\nsearch x.internal\n"
    assert (upper / "home/admin/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA me\n"
    assert (upper / "home/admin/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert len((upper / "etc/machine-id").read_text().strip()) == 32
    assert hosts.read(lab, "i-1") == host
    assert hosts.known(lab) == ["i-1"]


def test_a_grown_instance_type_changes_the_memory_only(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    lab = Lab("unit")
    lab.instance("i-1").mkdir(parents=True)
    (lab.instance("i-1") / "instance.json").write_text(
        json.dumps({"instance_id": "i-1", "address": "10.20.1.5", "memory_mib": 512, "base": "/old"})
    )
    hosts.update(lab, hosts.Host("i-1", "10.20.1.5", 1024, base="/new"))
    assert (hosts.read(lab, "i-1").memory_mib, hosts.read(lab, "i-1").base) == (1024, "/old")


def test_nspawn_options_hold_no_space(tmp_path):
    host = hosts.Host("i-0123456789abcdef0", "10.20.1.5", base="/base", containers=True)
    options = hosts.nspawn_options(Lab("lab"), host, Path("/var/lib/ec2-lab/lab/instances/i-0/root"))
    assert not [option for option in options if " " in option]
    assert "--network-namespace-path=/run/netns/lab-i-0123456789abcdef0" in options


def test_only_hosts_with_containers_have_more_rights():
    options = {}
    for containers in (True, False):
        host = hosts.Host("i-1", "10.20.1.5", base="/base", containers=containers)
        options[containers] = set(hosts.nspawn_options(Lab("lab"), host, Path("/root")))
    assert options[False] - options[True] == {"--capability=CAP_NET_ADMIN"}
    assert "--capability=all" in options[True]
    assert f"--bind={Lab('lab').instance('i-1')}/containerd:/var/lib/containerd" in options[True]


# Control groups

CGROUP_V1 = "9:name=systemd:/\n4:memory:/box/b0\n2:cpu,cpuacct:/\n0::/\n"


def test_own_groups():
    assert cgroups.parse_own(CGROUP_V1) == {"systemd": "", "memory": "box/b0", "cpu": "", "cpuacct": "", "unified": ""}


def test_a_process_inside_a_host_group_makes_no_group_below_it():
    assert cgroups.parse_own("4:memory:/box/ec2-lab/lab/i-1\n") == {"memory": "box"}


@pytest.mark.parametrize(("controller", "name", "weight"), [("cpu", "cpu.shares", "4096"), ("", "cpu.weight", "400")])
def test_hosts_have_the_processor_time_of_several_processes(tmp_path, monkeypatch, controller, name, weight):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "is_v2", lambda: not controller)
    monkeypatch.setattr(cgroups, "parse_own", lambda _text: {})
    top = tmp_path / controller / "ec2-lab"
    top.mkdir(parents=True)
    (top / name).write_text("1")
    cgroups.make("lab", "i-1", 1)
    assert (top / name).read_text() == weight


def test_groups_are_found_wherever_they_were_made(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    for place in ("freezer/ec2-lab/lab/i-1", "memory/box/b0/ec2-lab/lab/i-1", "memory/box/b0/ec2-lab/other/i-2"):
        (tmp_path / place).mkdir(parents=True)
    found = {str(place.relative_to(tmp_path)) for place in cgroups.existing("lab")}
    assert found == {"freezer/ec2-lab/lab", "memory/box/b0/ec2-lab/lab"}
    assert len(cgroups.existing("lab", "i-1")) == 2
    assert cgroups.existing("lab", "i-2") == []


# Reconciler


@pytest.mark.parametrize(
    ("state", "running", "faulted", "exit_code", "reboot", "action"),
    [
        ("pending", False, False, None, False, "start"),
        ("pending", True, False, None, False, "report-running"),
        ("pending", False, True, None, False, "start"),
        ("running", True, False, None, False, None),
        ("running", True, False, None, True, "reboot"),
        ("running", True, True, None, True, None),
        ("running", False, False, hosts.REBOOT_EXIT, False, "start"),
        ("running", False, False, None, False, "start"),
        ("running", False, False, 1, False, "start"),
        ("running", False, False, 0, False, "report-stopped"),
        ("running", False, True, None, False, None),
        ("stopping", True, False, None, False, "stop"),
        ("stopping", False, False, None, False, "stop"),
        ("stopping", True, True, None, False, "stop"),
        ("stopped", True, False, None, False, "stop"),
        ("stopped", False, False, 0, False, None),
        ("shutting-down", True, True, None, False, "remove"),
        ("terminated", False, False, 0, False, "remove"),
    ],
)
def test_what_is_done_with_a_host(state, running, faulted, exit_code, reboot, action):
    assert reconciler.decide(state, running, faulted, exit_code, reboot) == action


def attachment(instance: str, device: str, state: str) -> list[dict]:
    return [{"InstanceId": instance, "Device": device, "State": state}]


def test_root_devices_and_leaving_volumes_are_not_attached():
    described = [
        {"VolumeId": "vol-root", "Attachments": attachment("i-1", "/dev/xvda", "attached")},
        {"VolumeId": "vol-data", "Attachments": attachment("i-1", "/dev/sdf", "attaching")},
        {"VolumeId": "vol-leaving", "Attachments": attachment("i-1", "/dev/sdg", "detaching")},
        {"VolumeId": "vol-other", "Attachments": attachment("i-2", "/dev/sdf", "attached")},
        {"VolumeId": "vol-free"},
    ]
    instance = {"InstanceId": "i-1", "RootDeviceName": "/dev/xvda"}
    assert set(reconciler.wanted_volumes(instance, described)) == {"vol-data"}


def test_resolver_is_base_plus_two():
    assert reconciler.resolver("10.20.0.0/16") == "10.20.0.2"


# Volumes


def test_volume_grows_and_never_shrinks(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    lab = Lab("unit")
    file = volumes.make(lab, "vol-1", 1)
    assert file.stat().st_size == volumes.GIB
    assert file.stat().st_blocks == 0
    volumes.make(lab, "vol-1", 2)
    assert file.stat().st_size == 2 * volumes.GIB
    volumes.make(lab, "vol-1", 1)
    assert file.stat().st_size == 2 * volumes.GIB


def test_volume_from_a_snapshot_has_its_content(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    lab = Lab("unit")
    with volumes.make(lab, "vol-1", 1).open("r+b") as file:
        file.write(b"data")
    volumes.snapshot(lab, "vol-1", "snap-1")
    copy = volumes.make(lab, "vol-2", 2, "snap-1")
    assert copy.stat().st_size == 2 * volumes.GIB
    assert copy.open("rb").read(4) == b"data"
    assert copy.stat().st_blocks < 100
    with pytest.raises(volumes.VolumeError, match="vol-3 has no content yet"):
        volumes.snapshot(lab, "vol-3", "snap-2")


def test_link_name_is_that_of_ec2():
    assert volumes.link_name("vol-0a1b2c") == "nvme-Amazon_Elastic_Block_Store_vol0a1b2c"


# Processes


def test_a_pid_is_only_ours_with_its_start_time_and_boot():
    mine = {"pid": os.getpid(), "start": processes.start_time(os.getpid()), "boot": processes.boot_id()}
    assert processes.same(mine)
    assert not processes.same({**mine, "start": mine["start"] + 1})
    assert not processes.same({**mine, "boot": "another"})
    assert not processes.same({})


def test_a_reused_pid_is_not_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.RUN", tmp_path)
    lab = Lab("lab")
    lab.run.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        record = {"pid": stranger.pid, "start": 1, "boot": processes.boot_id()}
        lab.pid_file("unittest").write_text(json.dumps(record))
        assert processes.pid_of(lab, "unittest") is None
        assert not processes.stop(lab, "unittest")
        assert stranger.poll() is None
        stranger.kill()


def test_a_process_without_pid_file_is_found_by_its_mark(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.RUN", tmp_path)
    lab = Lab("lab")
    environment = {**os.environ, processes.MARK: f"lab:unit{os.getpid()}"}
    with subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"], env=environment,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # fmt: skip
        process.stdout.readline()
        name = f"unit{os.getpid()}"
        assert processes.pid_of(lab, name) == process.pid
        lab.run.mkdir(parents=True, exist_ok=True)
        assert processes.stop(lab, name)
        assert process.wait(5) != 0


def test_a_running_aws_that_does_not_answer_is_not_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.RUN", tmp_path)
    monkeypatch.setattr(processes, "stop", lambda *_: pytest.fail("it was ended"))
    monkeypatch.setattr(processes, "pid_of", lambda *_: 4711)
    with pytest.raises(processes.ProcessError, match="runs \\(pid 4711\\) but has not answered"):
        processes.start(Lab("lab"), "aws", lambda: False, seconds=0)


# Machine, mounts, command


def test_missing_packages_are_named_once():
    assert machine.missing_packages(lambda command, path: None if command in ("ip", "tc") else "/x") == ["iproute2"]


def test_without_root_the_user_is_told(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(machine.MachineError, match="sudo"):
        machine.check()


def test_removing_a_tree_that_is_not_there_is_no_error(tmp_path):
    mounts.remove_tree(tmp_path / "none")
    (tmp_path / "some/deep").mkdir(parents=True)
    mounts.remove_tree(tmp_path / "some")
    assert list(tmp_path.iterdir()) == []


def test_faults_are_recorded_until_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    lab = Lab("unit")
    assert faults.recorded(lab) == {}
    faults.record(lab, "i-1", "kill")
    faults.record(lab, "i-1", "kill")
    faults.record(lab, "i-2", "fill-disk /data")
    assert faults.recorded(lab) == {"i-1": ["kill"], "i-2": ["fill-disk /data"]}
    faults.forget(lab, "i-1")
    assert faults.recorded(lab) == {"i-2": ["fill-disk /data"]}


def test_status_table_is_aligned():
    assert cli.table([["NAME", "STATE"], ["a", "running"], ["database-1", "-"]]) == (
        "NAME        STATE\na           running\ndatabase-1  -"
    )


def test_environment_of_a_lab_that_is_not_up_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    assert cli.main(["--lab", "lab", "env"]) == 1
    assert capsys.readouterr().err == "lab: The lab lab is not up; start it with `lab --lab lab up`.\n"

"""The lab follows its AWS: hosts, volumes, restarts of its own processes, and nothing left behind.

Runs as root in the lab named by LAB (the environment of `lab env`); the last test makes and removes a lab of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest

from lab import api, cgroups, hosts, keys, processes, volumes
from lab.paths import Lab

pytestmark = pytest.mark.skipif(
    "LAB" not in os.environ, reason='LAB is not set; run `lab up` and eval "$(lab env)" first'
)

FOLLOWS_SECONDS = 30  # 5 s on a quiet machine; longer than that is a fault, not load
STOP_SECONDS = 45  # a shutdown may take 10 s before it is by force


def until(condition, seconds: float, what: str) -> float:
    """Wait for the condition; the seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"after {seconds} s still not: {what}"
        time.sleep(0.05)
    return time.monotonic() - started


class Bench:
    """A VPC of its own in a lab, apart from those of the lab's other users, and what tests do there."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.ec2 = boto3.client("ec2", region_name=lab.region, endpoint_url=lab.endpoint, **lab.credentials)
        keys.make(lab)
        block = f"10.{120 + lab.index}"
        self.vpc = self.ec2.create_vpc(CidrBlock=f"{block}.0.0/16")["Vpc"]["VpcId"]
        subnet = {"VpcId": self.vpc, "CidrBlock": f"{block}.0.0/20", "AvailabilityZone": f"{lab.region}a"}
        self.subnet = self.ec2.create_subnet(**subnet)["Subnet"]["SubnetId"]
        self.group = self.ec2.create_security_group(GroupName="test", Description="test", VpcId=self.vpc)["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": lab.controller_cidr}]}
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[ssh])
        self.key = f"test-lab-{int(time.time())}"
        public = lab.ssh_key.with_suffix(".pub").read_bytes()
        self.ec2.import_key_pair(KeyName=self.key, PublicKeyMaterial=public)
        images = self.ec2.describe_images(Owners=["136693071363"])["Images"]
        debian = [image for image in images if image["Name"].startswith("debian-13-amd64-")]
        self.image = max(debian, key=lambda image: image["CreationDate"])["ImageId"]

    def run(self, count: int = 1, **arguments) -> list[str]:
        answer = self.ec2.run_instances(
            ImageId=self.image,
            MinCount=count,
            MaxCount=count,
            InstanceType="t3.small",
            KeyName=self.key,
            SubnetId=self.subnet,
            SecurityGroupIds=[self.group],
            MetadataOptions={"HttpTokens": "required"},
            **arguments,
        )
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def instance(self, instance_id: str) -> dict:
        return self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]

    def state(self, instance_id: str) -> str:
        return self.instance(instance_id)["State"]["Name"]

    def reaches(self, instance_id: str, state: str, seconds: float = FOLLOWS_SECONDS) -> float:
        return until(lambda: self.state(instance_id) == state, seconds, f"{instance_id} is {state}")

    def address(self, instance_id: str) -> str:
        return self.instance(instance_id)["PrivateIpAddress"]

    def ssh(self, instance_id: str, command: str) -> str:
        address = self.address(instance_id)
        assert keys.wait_for_ssh(address, 30), f"no sshd on {address}"
        line = keys.ssh(self.lab, instance_id, address, [command])
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def volume(self, size: int, **arguments) -> str:
        zone = f"{self.lab.region}a"
        return self.ec2.create_volume(AvailabilityZone=zone, Size=size, VolumeType="gp3", **arguments)["VolumeId"]

    def volume_state(self, volume_id: str) -> str:
        """The volume's state, or that of its attachment while it has one."""
        volume = self.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
        return volume["Attachments"][0]["State"] if volume["Attachments"] else volume["State"]

    def attach(self, volume_id: str, instance_id: str, device: str = "/dev/sdf") -> str:
        self.ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)
        until(lambda: self.volume_state(volume_id) == "attached", FOLLOWS_SECONDS, f"{volume_id} is attached")
        return f"/dev/disk/by-id/{volumes.link_name(volume_id)}"

    def detach(self, volume_id: str) -> None:
        self.ec2.detach_volume(VolumeId=volume_id)
        until(lambda: self.volume_state(volume_id) == "available", FOLLOWS_SECONDS, f"{volume_id} is detached")

    def remove(self) -> None:
        living = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
        filters = [{"Name": "vpc-id", "Values": [self.vpc]}, living]
        found = [i for r in self.ec2.describe_instances(Filters=filters)["Reservations"] for i in r["Instances"]]
        ids = [instance["InstanceId"] for instance in found]
        if ids:
            self.ec2.terminate_instances(InstanceIds=ids)
        for instance_id in ids:
            self.reaches(instance_id, "terminated", STOP_SECONDS)
        self.ec2.delete_security_group(GroupId=self.group)
        self.ec2.delete_subnet(SubnetId=self.subnet)
        self.ec2.delete_vpc(VpcId=self.vpc)
        self.ec2.delete_key_pair(KeyName=self.key)


def lab_command(name: str, *words: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "lab", "--lab", name, *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def bench():
    made = Bench(Lab(os.environ["LAB"]))
    yield made
    made.remove()


@pytest.fixture(scope="module")
def host(bench) -> str:
    """A running host with sshd."""
    user_data = "#!/bin/sh\necho once >> /root/user-data-ran\n"
    (instance_id,) = bench.run(UserData=user_data)
    bench.reaches(instance_id, "running")
    bench.ssh(instance_id, "true")
    return instance_id


def test_five_hosts_are_up_within_a_minute(bench):
    started = time.monotonic()
    ids = bench.run(5)
    for instance_id in ids:
        bench.reaches(instance_id, "running", 60)
        assert keys.wait_for_ssh(bench.address(instance_id), 60)
    assert time.monotonic() - started < 60
    bench.ec2.terminate_instances(InstanceIds=ids)
    for instance_id in ids:
        bench.reaches(instance_id, "terminated")
        assert not bench.lab.instance(instance_id).exists()
        assert not cgroups.existing(bench.lab.name, instance_id)


def test_host_is_like_an_instance(bench, host):
    address = bench.address(host)
    assert bench.ssh(host, "hostname") == f"ip-{address.replace('.', '-')}"
    assert bench.ssh(host, "sudo -n id -u") == "0"
    assert bench.ssh(host, "sudo passwd -S root | cut -d ' ' -f 2") == "L"
    until(lambda: bench.ssh(host, "systemctl is-system-running || true") == "running", 30, "the host has booted")
    assert bench.ssh(host, "sudo cat /root/user-data-ran") == "once"
    console = bench.ec2.get_console_output(InstanceId=host)["Output"]
    assert hosts.parse_host_keys(console) == hosts.host_keys(bench.lab, host)
    assert any(key.startswith("ssh-ed25519 ") for key in hosts.parse_host_keys(console))


def test_stop_and_start_keep_disk_and_address(bench, host):
    address, key = bench.address(host), hosts.host_keys(bench.lab, host)
    bench.ssh(host, "echo kept | sudo tee /etc/kept")
    bench.ec2.stop_instances(InstanceIds=[host])
    bench.reaches(host, "stopped", STOP_SECONDS)
    assert not hosts.pids(bench.lab, host)
    assert not keys.wait_for_ssh(address, 1)
    bench.ec2.start_instances(InstanceIds=[host])
    bench.reaches(host, "running")
    assert bench.address(host) == address
    assert bench.ssh(host, "cat /etc/kept") == "kept"
    assert hosts.host_keys(bench.lab, host) == key
    assert bench.ssh(host, "sudo cat /root/user-data-ran") == "once"


@pytest.mark.parametrize("by", ["api", "guest"])
def test_reboot(bench, host, by):
    before = hosts.init_pid(bench.lab, host)
    if by == "api":
        bench.ec2.reboot_instances(InstanceIds=[host])
    else:
        with contextlib.suppress(AssertionError):
            bench.ssh(host, "sudo systemctl reboot")
    until(lambda: hosts.init_pid(bench.lab, host) not in (before, None), STOP_SECONDS, f"{host} has booted again")
    assert bench.state(host) == "running"
    assert bench.ssh(host, "cat /etc/hostname")


def test_shutdown_inside_the_host_stops_the_instance(bench, host):
    with contextlib.suppress(AssertionError):
        bench.ssh(host, "sudo systemctl poweroff")
    bench.reaches(host, "stopped", STOP_SECONDS)
    bench.ec2.start_instances(InstanceIds=[host])
    bench.reaches(host, "running")


def test_volume_comes_grows_and_goes_with_its_data(bench, host):
    volume_id = bench.volume(1)
    device = bench.attach(volume_id, host)
    bench.ssh(host, f"sudo mkfs.xfs -q {device} && sudo mount {device} /mnt && echo data | sudo tee /mnt/file && sync")
    bench.ec2.modify_volume(VolumeId=volume_id, Size=2)
    size = f"sudo blockdev --getsize64 {device}"
    until(lambda: bench.ssh(host, size) == str(2 * volumes.GIB), FOLLOWS_SECONDS, f"{volume_id} has grown")
    bench.ssh(host, "sudo xfs_growfs /mnt && sudo umount /mnt")
    bench.detach(volume_id)
    assert bench.ssh(host, f"test -e {device} || echo gone") == "gone"
    assert volumes.loop_of(bench.lab.volume(volume_id)) is None

    (other,) = bench.run()
    bench.reaches(other, "running")
    bench.attach(volume_id, other)
    assert bench.ssh(other, f"sudo mount {device} /mnt && cat /mnt/file") == "data"
    bench.ec2.terminate_instances(InstanceIds=[other])
    bench.reaches(other, "terminated", STOP_SECONDS)
    assert bench.volume_state(volume_id) == "available"
    bench.ec2.delete_volume(VolumeId=volume_id)
    until(lambda: not bench.lab.volume(volume_id).exists(), FOLLOWS_SECONDS, f"{volume_id} has no file")


def test_volume_of_a_stopped_host_goes_straight_to_another(bench, host):
    """As when a broken host is replaced; the new one must not race the old one for the device."""
    mapping = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3", "DeleteOnTermination": False}}
    (first,) = bench.run(BlockDeviceMappings=[mapping])
    bench.reaches(first, "running")
    (volume_id,) = hosts.attached(bench.lab, first)
    device = f"/dev/disk/by-id/{volumes.link_name(volume_id)}"
    bench.ssh(first, f"echo mine | sudo dd of={device} bs=512 count=1 conv=sync,fsync 2> /dev/null")
    bench.ec2.stop_instances(InstanceIds=[first])
    bench.reaches(first, "stopped", STOP_SECONDS)
    bench.ec2.detach_volume(VolumeId=volume_id)
    bench.attach(volume_id, host)
    assert bench.ssh(host, f"sudo head -c 4 {device}") == "mine"
    assert volume_id not in hosts.attached(bench.lab, first)
    bench.ec2.terminate_instances(InstanceIds=[first])
    bench.reaches(first, "terminated")
    assert bench.ssh(host, f"sudo head -c 4 {device}") == "mine"
    bench.detach(volume_id)
    bench.ec2.delete_volume(VolumeId=volume_id)


MOUNT_UNIT = """\
[Unit]
Description=Data
[Mount]
What={device}
Where=/data
Type=ext4
[Install]
WantedBy=local-fs.target
"""


def test_volume_is_mounted_at_boot_by_a_native_unit(bench, host):
    volume_id = bench.volume(1)
    device = bench.attach(volume_id, host, "/dev/sdg")
    unit = MOUNT_UNIT.format(device=device).replace("\n", "\\n")
    bench.ssh(
        host,
        f"sudo mkfs.ext4 -q {device} && printf '{unit}' | sudo tee /etc/systemd/system/data.mount"
        " && sudo systemctl enable --now data.mount && echo there | sudo tee /data/file",
    )
    bench.ec2.stop_instances(InstanceIds=[host])
    bench.reaches(host, "stopped", STOP_SECONDS)
    bench.ec2.start_instances(InstanceIds=[host])
    bench.reaches(host, "running")
    assert bench.ssh(host, "systemctl is-active data.mount && cat /data/file") == "active\nthere"
    bench.ssh(host, "sudo systemctl disable --now data.mount")
    bench.detach(volume_id)
    bench.ec2.delete_volume(VolumeId=volume_id)


def test_snapshot_gives_a_volume_with_the_same_content(bench, host):
    source = bench.volume(1)
    device = bench.attach(source, host, "/dev/sdh")
    bench.ssh(host, f"echo snapshot | sudo dd of={device} bs=512 count=1 conv=sync,fsync 2> /dev/null")
    snapshot = bench.ec2.create_snapshot(VolumeId=source)["SnapshotId"]
    until(bench.lab.snapshot(snapshot).exists, FOLLOWS_SECONDS, f"{snapshot} is taken")
    bench.ssh(host, f"echo later | sudo dd of={device} bs=512 count=1 conv=sync,fsync 2> /dev/null")
    copy = bench.volume(1, SnapshotId=snapshot)
    other = bench.attach(copy, host, "/dev/sdi")
    assert bench.ssh(host, f"sudo head -c 8 {other}") == "snapshot"
    for volume_id in (source, copy):
        bench.detach(volume_id)
        bench.ec2.delete_volume(VolumeId=volume_id)
    bench.ec2.delete_snapshot(SnapshotId=snapshot)
    until(lambda: not bench.lab.snapshot(snapshot).exists(), FOLLOWS_SECONDS, f"{snapshot} has no file")


def test_reconciler_killed_and_started_again_goes_on_with_the_hosts(bench, host):
    init = hosts.init_pid(bench.lab, host)
    os.kill(processes.pid_of(bench.lab, "reconcile"), signal.SIGKILL)
    (other,) = bench.run()
    time.sleep(1)
    assert bench.state(other) == "pending"
    done = lab_command(bench.lab.name, "up")
    assert done.returncode == 0, done.stderr
    bench.reaches(other, "running")
    assert hosts.init_pid(bench.lab, host) == init
    bench.ec2.terminate_instances(InstanceIds=[other])
    bench.reaches(other, "terminated", STOP_SECONDS)


def test_up_again_changes_nothing(bench, host):
    before = [processes.pid_of(bench.lab, name) for name in processes.NAMES]
    assert None not in before
    done = lab_command(bench.lab.name, "up")
    assert done.returncode == 0, done.stderr
    assert "started" not in done.stdout
    assert [processes.pid_of(bench.lab, name) for name in processes.NAMES] == before


def test_killed_host_stays_dead_until_healed(bench, host):
    done = lab_command(bench.lab.name, "fault", "kill", host)
    assert done.returncode == 0, done.stderr
    assert not hosts.is_running(bench.lab, host)
    assert not keys.wait_for_ssh(bench.address(host), 4)
    assert bench.state(host) == "running"
    assert not hosts.is_running(bench.lab, host)
    assert "kill" in lab_command(bench.lab.name, "status").stdout
    assert host in lab_command(bench.lab.name, "heal", host).stdout
    until(lambda: hosts.is_running(bench.lab, host), FOLLOWS_SECONDS, f"{host} runs again")
    assert bench.ssh(host, "true") == ""


def test_frozen_host_does_not_answer_until_healed(bench, host):
    bench.ssh(host, "true")
    init = hosts.init_pid(bench.lab, host)
    assert lab_command(bench.lab.name, "fault", "freeze", host).returncode == 0
    assert not keys.wait_for_ssh(bench.address(host), 3)
    assert lab_command(bench.lab.name, "heal", host).returncode == 0
    assert bench.ssh(host, "true") == ""
    assert hosts.init_pid(bench.lab, host) == init


def test_full_disk(bench, host):
    volume_id = bench.volume(1)
    device = bench.attach(volume_id, host, "/dev/sdj")
    bench.ssh(host, f"sudo mkfs.ext4 -q {device} && sudo mount {device} /mnt")
    refused = lab_command(bench.lab.name, "fault", "fill-disk", host, "/var")
    assert refused.returncode == 1
    assert "only an EBS volume can be filled" in refused.stderr
    assert lab_command(bench.lab.name, "fault", "fill-disk", host, "/mnt").returncode == 0
    assert "No space left" in bench.ssh(host, "sudo dd if=/dev/zero of=/mnt/more bs=1M count=1 2>&1 || true")
    assert lab_command(bench.lab.name, "heal", host).returncode == 0
    bench.ssh(host, "sudo dd if=/dev/zero of=/mnt/more bs=1M count=1 && sudo umount /mnt")
    bench.detach(volume_id)
    bench.ec2.delete_volume(VolumeId=volume_id)


def test_unknown_host_is_one_sentence(bench):
    done = lab_command(bench.lab.name, "ssh", "nosuch-1")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"lab: The lab {bench.lab.name} has no instance nosuch-1; `lab status` shows those it has."
    )


def leftovers(lab: Lab) -> list[str]:
    """All that lies on this machine of a lab."""
    found = [f"process {pid}" for pid in processes.find(lab)]
    found += [f"group {place}" for place in cgroups.existing(lab.name)]
    found += [f"directory {path}" for path in (lab.state, lab.run) if path.exists()]
    found += [f"loop device {device}" for device in volumes.loops_below(lab.state)]
    mounted = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounted if str(lab.state) in line or f"/{lab.name}-" in line]
    spaces = Path("/run/netns")
    found += [f"namespace {path}" for path in spaces.glob(f"{lab.namespace_prefix}*")]
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    found += [f"link {line.split()[0]}" for line in links if line.startswith(f"el{lab.index:02d}")]
    found += [f"nspawn {path}" for path in Path("/run/systemd/nspawn").glob(f"*/{lab.name}-*")]
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout.splitlines()
    found += [f"route {line}" for line in routes if f"el{lab.index:02d}" in line]
    return found


def test_down_leaves_nothing_whatever_was_ended_before():
    lab = Lab("scratch")
    assert lab_command("scratch", "down").returncode == 0
    lab = Lab("scratch")
    try:
        assert lab_command("scratch", "up").returncode == 0
        bench = Bench(lab)
        mapping = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}}
        (first,) = bench.run(BlockDeviceMappings=[mapping])
        bench.reaches(first, "running")
        assert leftovers(lab)

        # AWS is gone: what it knew is gone, and `lab up` begins anew without the old host.
        os.kill(processes.pid_of(lab, "aws"), signal.SIGKILL)
        done = lab_command("scratch", "up")
        assert done.returncode == 0, done.stderr
        assert "starting anew" in done.stdout
        assert hosts.known(lab) == []
        assert api.instances(api.ec2(lab)) == []

        # Everything is ended at once, with a host and a mounted volume in place.
        bench = Bench(lab)
        (second,) = bench.run(BlockDeviceMappings=[mapping])
        bench.reaches(second, "running")
        (volume_id,) = hosts.attached(lab, second)
        device = f"/dev/disk/by-id/{volumes.link_name(volume_id)}"
        bench.ssh(second, f"sudo mkfs.ext4 -q {device} && sudo mount {device} /mnt")
        for pid in [*processes.find(lab), *hosts.pids(lab, second)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A pid file whose pid another process has now must not end that process.
        lab.pid_file("aws").write_text(f'{{"pid": {os.getpid()}, "start": 1, "boot": "{processes.boot_id()}"}}')
    finally:
        done = lab_command("scratch", "down")
    assert done.returncode == 0, done.stderr
    assert leftovers(lab) == []
    assert lab_command("scratch", "down").returncode == 0

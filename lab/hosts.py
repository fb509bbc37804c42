"""Hosts: a Debian system per instance in systemd-nspawn, on an overlay of the base image.

A host is what its control group holds: nothing here trusts a process id that was written down.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab import cgroups, image, mounts, volumes
from lab.paths import ADMIN_USER, INTERFACE, Lab

MIB = 1 << 20
HALT_SIGNAL = signal.SIGRTMIN + 3  # systemd(1): halt the machine, orderly
REBOOT_EXIT = 133  # systemd-nspawn with EXIT_ON_REBOOT=1
STOP_SECONDS = 10
#: Below /var/lib of a host with containers: their own overlays cannot be made on the overlay that its root is.
BOUND = ("containerd", "kubelet")
BOOT_SECONDS = 30
PROCESSES = Path("/proc")

START = """\
for group in "$@"; do echo $$ > "$group/cgroup.procs" || exit 1; done
systemd-nspawn $LAB_NSPAWN
code=$?
echo $code > "$LAB_EXIT.new" && mv "$LAB_EXIT.new" "$LAB_EXIT"
"""


class HostError(RuntimeError):
    """A host cannot be made or started; the text is one sentence."""


@dataclass
class Host:
    """What a host is made of. Memory in MiB; addresses as text; `resolver` empty copies the machine's resolv.conf."""

    instance_id: str
    address: str
    memory_mib: int = 1024
    public_key: str = ""
    resolver: str = ""
    search: str = ""
    suite: str = image.SUITE
    apt_sources: str = ""
    user_data: bool = True
    base: str = ""  # root directory of the image it was made from; a newer image does not change a host
    containers: bool = False  # whether it may run containers, which takes more rights than the others have
    extra: dict = field(default_factory=dict)

    def __post_init__(self):
        self.base = self.base or str(image.path(self.suite))

    @property
    def hostname(self) -> str:
        return "ip-" + self.address.replace(".", "-")


def directory(lab: Lab, instance_id: str) -> Path:
    return lab.instance(instance_id)


def exists(lab: Lab, instance_id: str) -> bool:
    return (lab.instance(instance_id) / "instance.json").exists()


def read(lab: Lab, instance_id: str) -> Host:
    return Host(**json.loads((lab.instance(instance_id) / "instance.json").read_text()))


def known(lab: Lab) -> list[str]:
    """Ids of all hosts that have a root disk, running or not."""
    if not lab.instances.is_dir():
        return []
    return sorted(path.parent.name for path in lab.instances.glob("*/instance.json"))


def _write_json(path: Path, value) -> None:
    temporary = path.with_suffix(f".new{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.replace(path)


# Root disks


def create(lab: Lab, host: Host) -> None:
    """Make the host's root disk; a directory that is there was finished. Takes 10 ms."""
    target = lab.instance(host.instance_id)
    if exists(lab, host.instance_id):
        return
    lab.instances.mkdir(parents=True, exist_ok=True)
    mounts.remove_tree(target)
    work = lab.instances / f".new-{host.instance_id}"
    mounts.remove_tree(work)
    for name in ("upper", "work", "root", *(BOUND if host.containers else ())):
        (work / name).mkdir(parents=True)
    work.chmod(0o711)
    _first_files(lab, host, work / "upper")
    (work / "console.log").touch()
    (work / "instance.json").write_text(json.dumps(asdict(host), indent=1))
    work.rename(target)


def update(lab: Lab, host: Host) -> None:
    """Take over what may change while a host is stopped: its memory. Image and root disk stay."""
    present = read(lab, host.instance_id)
    if present.memory_mib != host.memory_mib:
        present.memory_mib = host.memory_mib
        _write_json(lab.instance(host.instance_id) / "instance.json", asdict(present))


def _first_files(lab: Lab, host: Host, upper: Path) -> None:
    base = Path(host.base)
    upper.chmod(0o755)
    for name in ("etc", "home", "usr", "var", "var/lib", "etc/ssl", "etc/ssl/certs", "usr/local", "usr/local/share"):
        (upper / name).mkdir(exist_ok=True)
    image.write(upper, "etc/hostname", host.hostname + "\n")
    image.write(upper, "etc/machine-id", uuid.uuid4().hex + "\n", 0o444)
    image.write(upper, "etc/hosts", image.FILES["etc/hosts"][1] + f"127.0.1.1 {host.hostname}\n")
    image.write(upper, "etc/resolv.conf", _resolv_conf(host))
    if host.apt_sources:
        image.write(upper, "etc/apt/sources.list.d/debian.sources", host.apt_sources)
    if not host.user_data:
        image.write(upper, "var/lib/instance/user-data.done", "")
    if host.containers:
        # It sees the machine's kernel log, which is not its own to keep.
        image.write(upper, "etc/systemd/journald.conf.d/machine.conf", "[Journal]\nReadKMsg=no\n")
    for timer in image.STAMPS:
        image.write(upper, f"var/lib/systemd/timers/stamp-{timer}.timer", "")
    _authorized_keys(host, upper, base)
    if lab.ca_certificate.exists():
        trust(lab.ca_certificate.read_text(), upper, base)


def _resolv_conf(host: Host) -> str:
    if not host.resolver:
        return Path("/etc/resolv.conf").read_text()
    search = f"search {host.search}\n" if host.search else ""
    return f"nameserver {host.resolver}\n{search}"


def _authorized_keys(host: Host, upper: Path, base: Path) -> None:
    owner = (base / "home" / ADMIN_USER).stat()
    home = upper / "home" / ADMIN_USER
    image.write(upper, f"home/{ADMIN_USER}/.ssh/authorized_keys", host.public_key.strip() + "\n", 0o600)
    home.chmod(0o700)
    (home / ".ssh").chmod(0o700)
    for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(path, owner.st_uid, owner.st_gid)


def trust(certificate: str, upper: Path, base: Path) -> None:
    """Let the system trust a CA, as update-ca-certificates would: single file, bundle, and OpenSSL's hash link."""
    image.write(upper, "usr/local/share/ca-certificates/lab.crt", certificate)
    bundle = (base / "etc/ssl/certs/ca-certificates.crt").read_text()
    image.write(upper, "etc/ssl/certs/ca-certificates.crt", bundle + certificate)
    name = subprocess.run(
        ["openssl", "x509", "-noout", "-hash"], input=certificate, capture_output=True, text=True, check=True
    ).stdout.strip()
    for link, destination in (
        ("lab.pem", "/usr/local/share/ca-certificates/lab.crt"),
        (f"{name}.0", "lab.pem"),
    ):
        path = upper / "etc/ssl/certs" / link
        path.unlink(missing_ok=True)
        path.symlink_to(destination)


def _mount_root(lab: Lab, host: Host) -> Path:
    place = lab.instance(host.instance_id)
    root = place / "root"
    if mounts.is_mounted(root):
        return root
    # `volatile`: the root disk need not survive a crash of this machine, so syncing it is left out.
    mounts.remove_tree(place / "work/work/incompat")
    options = f"lowerdir={host.base},upperdir={place / 'upper'},workdir={place / 'work'},volatile"
    subprocess.run(["mount", "-t", "overlay", "ec2-lab", "-o", options, str(root)], check=True)
    return root


# Volumes of a host


def attached(lab: Lab, instance_id: str) -> dict[str, int]:
    """Volumes of the host: volume id -> N of /dev/nvme<N>n1."""
    try:
        return json.loads((lab.instance(instance_id) / "volumes.json").read_text())
    except OSError:
        return {}


def attach(lab: Lab, instance_id: str, volume_id: str) -> None:
    """Give the host a volume whose file is there, at once if it runs, else with its next start."""
    present = attached(lab, instance_id)
    if volume_id not in present:
        present[volume_id] = next(n for n in range(1, 100) if n not in present.values())
        _write_json(lab.instance(instance_id) / "volumes.json", present)
    volumes.show(lab.volume(volume_id))
    _write_device_list(lab, instance_id)
    init = init_pid(lab, instance_id)
    if init:
        _make_nodes(lab, init, volume_id, present[volume_id])


def detach(lab: Lab, instance_id: str, volume_id: str) -> bool:
    """Take a volume from the host; False while the host still has it mounted (call again)."""
    present = attached(lab, instance_id)
    init = init_pid(lab, instance_id)
    if init and volume_id in present:
        dev = Path(f"/proc/{init}/root/dev")
        with contextlib.suppress(OSError):
            (dev / "disk/by-id" / volumes.link_name(volume_id)).unlink(missing_ok=True)
            (dev / f"nvme{present[volume_id]}n1").unlink(missing_ok=True)
    if not volumes.release(lab.volume(volume_id)):
        return False
    if present.pop(volume_id, None):
        _write_json(lab.instance(instance_id) / "volumes.json", present)
        _write_device_list(lab, instance_id)
    return True


def device_list(present: dict[str, int], numbers: dict[str, tuple[int, int]]) -> str:
    """tmpfiles.d lines that make the nodes and links at boot, before local file systems are mounted."""
    lines = ["d /dev/disk 0755 root root -", "d /dev/disk/by-id 0755 root root -"]
    for volume_id, n in sorted(present.items()):
        major, minor = numbers[volume_id]
        lines.append(f"b+ /dev/nvme{n}n1 0660 root disk - {major}:{minor}")
        lines.append(f"L+ /dev/disk/by-id/{volumes.link_name(volume_id)} - - - - ../../nvme{n}n1")
    return "\n".join(lines) + "\n"


def _write_device_list(lab: Lab, instance_id: str) -> None:
    place = lab.instance(instance_id)
    present = attached(lab, instance_id)
    numbers = {volume_id: volumes.numbers(volumes.show(lab.volume(volume_id))) for volume_id in present}
    # A running host's file is written through its overlay: what is below a mounted overlay must not change.
    root = place / "root" if mounts.is_mounted(place / "root") else place / "upper"
    image.write(root, "etc/tmpfiles.d/ec2-volumes.conf", device_list(present, numbers))


def _make_nodes(lab: Lab, init: int, volume_id: str, n: int) -> None:
    dev = Path(f"/proc/{init}/root/dev")
    major, minor = volumes.numbers(volumes.show(lab.volume(volume_id)))
    node, link = dev / f"nvme{n}n1", dev / "disk/by-id" / volumes.link_name(volume_id)
    if not node.exists() or node.stat().st_rdev != os.makedev(major, minor):
        node.unlink(missing_ok=True)
        os.mknod(node, 0o60660, os.makedev(major, minor))
        os.chown(node, 0, 6)  # group disk, the same number in every Debian
        node.chmod(0o660)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(f"../../nvme{n}n1")


# Running


def start(lab: Lab, instance_id: str) -> subprocess.Popen | None:
    """Boot the host; its namespace must be there. Returns at once when it runs already. Raises HostError."""
    if is_running(lab, instance_id):
        return None
    host = read(lab, instance_id)
    clear(lab, instance_id)
    namespace = lab.namespace_path(lab.host_namespace(instance_id))
    if not namespace.exists():
        raise HostError(f"Host {instance_id} has no network namespace {namespace}, so it cannot be started.")
    root = _mount_root(lab, host)
    _write_device_list(lab, instance_id)
    place = lab.instance(instance_id)
    exit_file = place / "exit"
    exit_file.unlink(missing_ok=True)
    groups = cgroups.make(lab.name, instance_id, host.memory_mib * MIB)
    with (place / "console.log").open("ab") as console:
        process = subprocess.Popen(
            ["sh", "-c", START, "ec2-lab-host", *map(str, groups)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            cwd="/",
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
                "EXIT_ON_REBOOT": "1",
                "LAB_EXIT": str(exit_file),
                "LAB_NSPAWN": " ".join(nspawn_options(lab, host, root)),
            },
        )
    deadline = time.monotonic() + BOOT_SECONDS
    while init_pid(lab, instance_id) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            clear(lab, instance_id)
            raise HostError(f"Host {instance_id} did not start; its console says: {last_line(place / 'console.log')}")
        time.sleep(0.03)
    if host.containers:
        try:
            _open_for_containers(lab, instance_id)
        except HostError:
            # Without it the host would look as if it ran, and nobody would open it again.
            clear(lab, instance_id)
            raise
    return process


def _open_for_containers(lab: Lab, instance_id: str) -> None:
    """Let the host make control groups, set kernel values and share mounts with its containers.

    /sys as a whole stays read-only: with a writable one systemd waits for devices that nobody announces.
    """
    # Earlier systemd-nspawn is still mounting, and systemd may be looking which controllers of control groups it can
    # write to: those that were open by then it would manage, and remove what the kubelet makes there.
    deadline = time.monotonic() + BOOT_SECONDS
    while not _listens(lab, instance_id):
        if time.monotonic() > deadline:
            raise HostError(f"Host {instance_id} did not start systemd within {BOOT_SECONDS} s.")
        time.sleep(0.03)
    command = (
        "mount --make-rshared / && mount -o remount,bind,rw /proc/sys"
        " && for group in /sys/fs/cgroup /sys/fs/cgroup/*; do"
        ' if mountpoint -q "$group"; then mount -o remount,bind,rw "$group" || exit 1; fi; done'
    )
    done = subprocess.run(enter(lab, instance_id, ["sh", "-c", command]), capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"Host {instance_id} cannot be given what containers need: {done.stderr.strip()}")


def _listens(lab: Lab, instance_id: str) -> bool:
    """Whether the host's systemd takes messages of its units, which it does when it has looked at control groups."""
    init = init_pid(lab, instance_id)
    return init is not None and (PROCESSES / str(init) / "root/run/systemd/notify").exists()


def machine_name(lab: Lab, instance_id: str) -> str:
    return f"{lab.name}-{instance_id}"


def nspawn_options(lab: Lab, host: Host, root: Path) -> list[str]:
    """Arguments of systemd-nspawn; none contains a space, since names of labs and instances do not."""
    instance_id = host.instance_id
    more = ["--capability=CAP_NET_ADMIN"]
    if host.containers:
        more = ["--capability=all", "--bind=/dev/fuse", "--bind=/dev/kmsg"]
        more += [f"--system-call-filter={name}" for name in ("@keyring", "bpf", "perf_event_open")]
        more += [f"--bind={lab.instance(instance_id) / name}:/var/lib/{name}" for name in BOUND]
    return [
        "--quiet", f"--directory={root}", "--register=no", "--keep-unit", "--boot",
        f"--machine={machine_name(lab, instance_id)}",
        f"--network-namespace-path={lab.namespace_path(lab.host_namespace(instance_id))}",
        *more, "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only",
        "--kill-signal=SIGRTMIN+3",
    ]  # fmt: skip


def last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", lines[-1]) if lines else "nothing"


def pids(lab: Lab, instance_id: str) -> set[int]:
    return cgroups.pids(cgroups.tracker(cgroups.existing(lab.name, instance_id)))


def is_running(lab: Lab, instance_id: str) -> bool:
    return init_pid(lab, instance_id) is not None


def init_pid(lab: Lab, instance_id: str) -> int | None:
    """The host's process 1 as this machine numbers it."""
    for pid in pids(lab, instance_id):
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            numbers = next(line for line in status if line.startswith("NSpid:")).split()[1:]
            # One level below this process, and not a container inside the host.
            if len(numbers) == _level() + 1 and numbers[-1] == "1":
                return pid
    return None


def _level() -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("NSpid:"))
    return len(line.split()) - 1


def exit_code(lab: Lab, instance_id: str) -> int | None:
    """How the host's last run ended: 0 powered off, 133 rebooted, None killed or never ended."""
    try:
        return int((lab.instance(instance_id) / "exit").read_text())
    except (OSError, ValueError):
        return None


def stop(lab: Lab, instance_id: str, seconds: float = STOP_SECONDS) -> None:
    """Shut the host down in order, after `seconds` by force. Its root disk, volumes and address stay."""
    places = cgroups.existing(lab.name, instance_id)
    init = init_pid(lab, instance_id)
    if init:
        with contextlib.suppress(OSError):
            cgroups.freeze(places, False)
        with contextlib.suppress(ProcessLookupError):
            os.kill(init, HALT_SIGNAL)
        deadline = time.monotonic() + seconds
        while pids(lab, instance_id) and time.monotonic() < deadline:
            time.sleep(0.05)
    clear(lab, instance_id)


def kill(lab: Lab, instance_id: str) -> None:
    """Take the power away: no process of the host runs on, nothing is shut down."""
    cgroups.kill(cgroups.existing(lab.name, instance_id))


def clear(lab: Lab, instance_id: str) -> None:
    """Remove what a run leaves: processes, groups, the overlay mount, nspawn's own directories."""
    places = cgroups.existing(lab.name, instance_id)
    if not cgroups.kill(cgroups.tracker(places)):
        raise HostError(f"Processes of host {instance_id} cannot be ended; they may hang in input or output.")
    cgroups.remove(places)
    root = lab.instance(instance_id) / "root"
    mounts.unmount_below(root)
    name = machine_name(lab, instance_id)
    for rest in (Path("/run/systemd/nspawn/propagate") / name, Path("/run/systemd/nspawn/unix-export") / name):
        mounts.unmount_below(rest)
        with contextlib.suppress(OSError):
            rest.rmdir()
    (lab.instance(instance_id) / ".#root.lck").unlink(missing_ok=True)


def remove(lab: Lab, instance_id: str) -> None:
    """Remove the host with its root disk; volumes keep their files. Absent is no error."""
    clear(lab, instance_id)
    for volume_id in attached(lab, instance_id):
        volumes.release(lab.volume(volume_id))
    place = lab.instance(instance_id)
    if place.exists():
        mounts.unmount_below(place)
        shutil.rmtree(place, ignore_errors=False)


# Reaching into a host


def enter(lab: Lab, instance_id: str, command: list[str]) -> list[str]:
    """The command line that runs a command as root inside the host. Raises HostError when it does not run."""
    init = init_pid(lab, instance_id)
    if init is None:
        raise HostError(f"Host {instance_id} does not run.")
    return ["nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "--", *command]


def host_keys(lab: Lab, instance_id: str) -> list[str]:
    """Public SSH host keys that the host printed to its console, newest boot last printed wins; empty before that."""
    text = lab.console_log(instance_id).read_text(errors="replace") if lab.console_log(instance_id).exists() else ""
    return parse_host_keys(text)


def parse_host_keys(text: str) -> list[str]:
    """`type key` of each host key between cloud-init's markers; the last block counts."""
    blocks = re.findall(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", text, re.DOTALL)
    if not blocks:
        return []
    return re.findall(r"((?:ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+)", blocks[-1])


def interface_up(lab: Lab, instance_id: str) -> bool:
    """Whether the host's interface has an address (it is made by lab.network)."""
    namespace = lab.host_namespace(instance_id)
    done = subprocess.run(
        ["ip", "-n", namespace, "-j", "addr", "show", "dev", INTERFACE], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and '"inet"' in done.stdout

"""The base image of the hosts: a small Debian 13 root, near to the official cloud image, built once per recipe."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from lab import mounts
from lab.paths import CACHE, MIRROR_HOST, STATE

SUITE = "trixie"
_PACKAGES = """
adduser apt-utils bash-completion bsdutils ca-certificates cron cron-daemon-common curl dbus dmsetup e2fsprogs
ethtool fdisk file gnupg gpgv init iproute2 iptables iputils-ping jq kmod less libnss-myhostname
libpam-systemd locales logrotate lsb-release lsof mount netbase netcat-openbsd nftables openssh-client openssh-server
openssl parted procps psmisc python3 python3-apt python3-cryptography rsync socat sudo systemd systemd-sysv
tcpdump tzdata util-linux vim-tiny wget xfsprogs xz-utils zstd
"""
PACKAGES = _PACKAGES.split()

FIRST_BOOT = """\
#!/bin/sh
# Makes the host's SSH keys and shows the public ones on the console, in the format of cloud-init.
set -eu
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
ssh-keygen -q -A
{
    echo '-----BEGIN SSH HOST KEY KEYS-----'
    cut -d ' ' -f 1-2 /etc/ssh/ssh_host_*_key.pub | sed "s/$/ root@$(hostname)/"
    echo '-----END SSH HOST KEY KEYS-----'
} > /dev/console
mkdir -p /var/lib/instance
touch /var/lib/instance/keys
"""

USER_DATA = """\
#!/bin/sh
# Runs the instance's user data once, if it is a script.
set -eu
imds=http://169.254.169.254/latest
token=$(curl -sSf --retry 10 --retry-connrefused --retry-delay 1 --connect-timeout 2 -X PUT \\
    -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$imds/api/token")
script=/var/lib/instance/user-data
umask 077
curl -sf --retry 3 --connect-timeout 2 -H "X-aws-ec2-metadata-token: $token" -o "$script" "$imds/user-data" \\
    || : > "$script"
touch /var/lib/instance/user-data.done
if [ "$(head -c 2 "$script")" = '#!' ]; then
    chmod 0700 "$script"
    exec "$script"
fi
"""

KEYS_UNIT = """\
[Unit]
Description=Make the SSH host keys of this instance
ConditionPathExists=!/var/lib/instance/keys
Before=ssh.service ssh.socket

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/instance-keys

[Install]
WantedBy=multi-user.target
"""

USER_DATA_UNIT = """\
[Unit]
Description=Run the user data of this instance
ConditionPathExists=!/var/lib/instance/user-data.done
After=network.target ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/instance-user-data

[Install]
WantedBy=multi-user.target
"""

SOURCES = """\
Types: deb
URIs: {debian}
Suites: {suite} {suite}-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: {security}
Suites: {suite}-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

# Path in the image: (mode, content)
FILES = {
    "usr/local/sbin/instance-keys": (0o755, FIRST_BOOT),
    "usr/local/sbin/instance-user-data": (0o755, USER_DATA),
    "etc/systemd/system/instance-keys.service": (0o644, KEYS_UNIT),
    "etc/systemd/system/instance-user-data.service": (0o644, USER_DATA_UNIT),
    "etc/sudoers.d/90-cloud-init-users": (0o440, "admin ALL=(ALL) NOPASSWD:ALL\n"),
    "etc/dpkg/dpkg.cfg.d/unsafe-io": (0o644, "force-unsafe-io\n"),
    "etc/apt/apt.conf.d/80retries": (0o644, 'Acquire::Retries "3";\nAcquire::Languages "none";\n'),
    "etc/ssh/sshd_config.d/50-cloud-init.conf": (0o600, "PasswordAuthentication no\n"),
    "etc/default/locale": (0o644, "LANG=C.UTF-8\n"),
    "etc/fstab": (0o644, "# The root device is given by the machine.\n"),
    "etc/machine-id": (0o444, ""),
    "etc/hostname": (0o644, "localhost\n"),
    "etc/hosts": (0o644, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"),
    "etc/resolv.conf": (0o644, ""),
}

# nspawn mounts /tmp itself. A systemd that loses sight of that for a moment would mount another one over it, and
# whoever has files there, such as a module of Ansible, finds them gone.
MASKED = ("console-getty.service", "systemd-networkd-wait-online.service", "systemd-timesyncd.service", "tmp.mount")
ENABLED = ("instance-keys.service", "instance-user-data.service", "ssh.service")
# Rules of a timer that was missed would start all of apt's daily work in the first minute of a host.
STAMPS = ("apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "e2scrub_all", "fstrim", "logrotate")

# Documentation. The directories of manuals stay: a package that makes a link there fails without them.
LEFT_OUT = (
    "path-exclude=/usr/share/man/*",
    "path-include=/usr/share/man/man[1-9]",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
)


class ImageError(RuntimeError):
    """The base image cannot be built; the text is one sentence for the user."""


def parse_sources(text: str) -> list[str]:
    """URIs of apt sources in either format (deb822 or one line each)."""
    uris = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if match := re.match(r"URIs:\s*(.+)", line, re.IGNORECASE):
            uris += match.group(1).split()
        elif match := re.match(r"deb\s+(?:\[[^]]*\]\s*)?(\S+)\s", line):
            uris.append(match.group(1))
    return [uri.rstrip("/") for uri in uris]


def pick_archives(uris: list[str], override: str | None = None) -> dict[str, str]:
    """The archive of each path prefix (`debian`, `debian-security`); `override` is a base URI for both."""
    if override:
        return {prefix: f"{override.rstrip('/')}/{prefix}" for prefix in ("debian", "debian-security")}
    found: dict[str, str] = {}
    for uri in uris:
        prefix = uri.rsplit("/", 1)[-1]
        if uri.startswith(("http://", "https://")) and prefix in ("debian", "debian-security"):
            found.setdefault(prefix, uri)
    if "debian" in found:
        found.setdefault("debian-security", found["debian"] + "-security")
        return found
    raise ImageError(
        "The apt sources of this machine name no Debian archive; set LAB_DEBIAN_ARCHIVE to the address above its "
        "debian and debian-security directories."
    )


def machine_archives() -> dict[str, str]:
    """What the machine's own apt sources name for `debian` and `debian-security`."""
    texts = []
    for pattern in ("sources.list", "sources.list.d/*.sources", "sources.list.d/*.list"):
        texts += [path.read_text() for path in sorted(Path("/etc/apt").glob(pattern))]
    return pick_archives(parse_sources("\n".join(texts)), os.environ.get("LAB_DEBIAN_ARCHIVE"))


def sources(debian: str, security: str, suite: str = SUITE) -> str:
    return SOURCES.format(debian=debian, security=security, suite=suite)


def lab_sources(suite: str = SUITE) -> str:
    """apt sources of a lab host: the lab's mirror."""
    return sources(f"http://{MIRROR_HOST}/debian", f"http://{MIRROR_HOST}/debian-security", suite)


def digest(suite: str = SUITE) -> str:
    recipe = [suite, sorted(PACKAGES), sorted(FILES.items()), MASKED, ENABLED, STAMPS, LEFT_OUT, lab_sources(suite)]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]


def path(suite: str = SUITE) -> Path:
    """Where the image of the present recipe lies, built or not."""
    return CACHE / "images" / f"{suite}-{digest(suite)}"


def build(suite: str = SUITE, say=print) -> Path:
    """The image's root directory, built first if need be (30 to 90 s). Raises ImageError."""
    target = path(suite)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        for rest in target.parent.glob(".building-*"):
            mounts.remove_tree(rest)
        work = target.parent / f".building-{target.name}"
        started = time.monotonic()
        say(f"building the base image {target.name} with mmdebstrap")
        _bootstrap(suite, work)
        _configure(work, suite)
        os.sync()
        work.rename(target)
        say(f"base image {target.name} built in {time.monotonic() - started:.0f} s")
        for old in unused(target):
            mounts.remove_tree(old)
    return target


def unused(newest: Path) -> list[Path]:
    """Images of older recipes that no host of any lab stands on."""
    used = set()
    for host in STATE.glob("*/instances/*/instance.json"):
        with contextlib.suppress(OSError, ValueError):
            used.add(json.loads(host.read_text()).get("base"))
    images = [path for path in newest.parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [path for path in images if path != newest and str(path) not in used]


def _bootstrap(suite: str, work: Path) -> None:
    archives = machine_archives()
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    lines = [f"deb {signed} {archives['debian']} {name} main" for name in (suite, f"{suite}-updates")]
    lines.append(f"deb {signed} {archives['debian-security']} {suite}-security main")
    log = work.parent / "build.log"
    command = [
        "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt={option}" for option in LEFT_OUT),
        "--dpkgopt=force-unsafe-io", suite, str(work),
    ]  # fmt: skip
    with log.open("w") as output:
        result = subprocess.run(
            command, input="\n".join(lines) + "\n", text=True, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if result.returncode:
        mounts.remove_tree(work)
        raise ImageError(f"mmdebstrap could not build the image from {archives['debian']}; its output is in {log}.")


def _configure(root: Path, suite: str) -> None:
    for name, (mode, content) in FILES.items():
        write(root, name, content, mode)
    for old in (root / "etc/apt/sources.list", *(root / "etc/apt/sources.list.d").iterdir()):
        old.unlink(missing_ok=True)
    write(root, "etc/apt/sources.list.d/debian.sources", lab_sources(suite))
    in_root = ["chroot", str(root)]
    groups = "adm,audio,cdrom,dialout,dip,floppy,plugdev,sudo,video"
    subprocess.run([*in_root, "useradd", "-m", "-s", "/bin/bash", "-c", "Debian", "-G", groups, "admin"], check=True)
    subprocess.run([*in_root, "passwd", "-q", "-l", "root"], check=True)
    for words in (["mask", *MASKED], ["enable", *ENABLED]):
        # It warns of the missing /proc, which changing links does not need.
        subprocess.run([*in_root, "systemctl", "-q", *words], check=True, stderr=subprocess.DEVNULL)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for place in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
        for rest in (root / place).glob("*"):
            if rest.is_file():
                rest.unlink()
    os.utime(
        root / "var/lib/apt/lists", (0, 0)
    )  # apt clients must see that the lists are old, not that they are fresh and empty
    (root / "var/log/journal").mkdir(exist_ok=True)
    shutil.copy2(root / "usr/share/zoneinfo/Etc/UTC", root / "etc/localtime", follow_symlinks=True)


def write(root: Path, name: str, content: str, mode: int = 0o644) -> None:
    """Write a file of a root directory, replacing what is there (also a link)."""
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.write_text(content)
    target.chmod(mode)

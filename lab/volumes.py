"""EBS volumes: one sparse file per volume, shown to its host as a loop device. Sizes in GiB."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
import time
from pathlib import Path

from lab.paths import RUN, Lab

GIB = 1 << 30
LOOP_MAJOR = 7
LOOP_CONTROL = Path("/dev/loop-control")
LOOP_CTL_GET_FREE = 0x4C82
LOOP_CTL_ADD = 0x4C80


class VolumeError(RuntimeError):
    """A volume cannot be made or shown; the text is one sentence."""


def link_name(volume_id: str) -> str:
    """Name below /dev/disk/by-id, as udev makes it of the NVMe serial number on EC2."""
    return f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"


def make(lab: Lab, volume_id: str, size: int, snapshot_id: str | None = None) -> Path:
    """The volume's file with at least `size` GiB, made (from a snapshot if one is named) or grown if need be."""
    target = lab.volume(volume_id)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(f".new{os.getpid()}")
        source = lab.snapshot(snapshot_id) if snapshot_id else None
        if source is not None and source.exists():
            _copy(source, temporary)
        else:
            temporary.touch(mode=0o600)
        temporary.replace(target)
    if target.stat().st_size < size * GIB:
        grow(target, size)
    return target


def grow(file: Path, size: int) -> None:
    """Let the file have `size` GiB; a loop device on it learns of it at once."""
    os.truncate(file, size * GIB)
    device = loop_of(file)
    if device:
        subprocess.run(["losetup", "-c", device], check=True)


def delete(lab: Lab, volume_id: str) -> None:
    """Remove the volume's file and loop device; absent is no error."""
    file = lab.volume(volume_id)
    release(file)
    file.unlink(missing_ok=True)


def snapshot(lab: Lab, volume_id: str, snapshot_id: str) -> None:
    """Copy the volume as its disk is now (crash consistent, as on EBS). Raises VolumeError without a file."""
    source, target = lab.volume(volume_id), lab.snapshot(snapshot_id)
    if target.exists():
        return
    if not source.exists():
        raise VolumeError(f"Volume {volume_id} has no content yet, so snapshot {snapshot_id} cannot be taken of it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    device = loop_of(source)
    if device:
        subprocess.run(["blockdev", "--flushbufs", device], check=False)
    temporary = target.with_suffix(f".new{os.getpid()}")
    _copy(source, temporary)
    temporary.replace(target)


def copy_still(file: Path, target: Path, tries: int = 10) -> None:
    """Copy a volume of a host that stands still, as its disk is at one moment: caches above the disk are left out.

    The kernel may still write for it; a copy during which it did is made again. Raises VolumeError.
    """
    device = loop_of(file)
    for _ in range(tries):
        before = _writes(device)
        _copy(file, target)
        if _writes(device) == before:
            return
    raise VolumeError(f"Volume {file.name} was written to during each of {tries} copies.")


def _writes(device: str | None) -> list[str]:
    """How often the device has been written to, and how many requests it has under way."""
    if device is None:
        return []
    counters = (Path("/sys/block") / Path(device).name / "stat").read_text().split()
    return [counters[4], counters[8]]


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], check=True)
    target.chmod(0o600)


def loop_of(file: Path) -> str | None:
    """The loop device on the file, if there is one that is not being released."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if backing.read_text().strip() == str(file) and (backing.parent / "autoclear").read_text().strip() == "0":
                return f"/dev/{backing.parent.parent.name}"
    return None


def loops_below(directory: Path) -> list[str]:
    """All loop devices whose files lie below the directory, also those of removed files."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if backing.read_text().startswith(f"{directory}/"):
                found.append(f"/dev/{backing.parent.parent.name}")
    return found


def show(file: Path) -> str:
    """The loop device of the file, set up if need be. Raises VolumeError when the kernel gives none."""
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / "loop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        device = loop_of(file)
        if device:
            return device
        _wait_released(file)
        for _ in range(20):
            device = _free_loop()
            # Direct I/O: what a guest has synced is on the machine's disk, and nothing is cached twice.
            done = subprocess.run(
                ["losetup", "--direct-io=on", device, str(file)], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return device
            if "busy" not in done.stderr.lower():
                break
    raise VolumeError(f"No loop device can be set up on {file}: {done.stderr.strip()}.")


def _free_loop() -> str:
    with LOOP_CONTROL.open("rb+", buffering=0) as control:
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
    device = Path(f"/dev/loop{number}")
    if not device.exists():
        os.mknod(device, stat.S_IFBLK | 0o660, os.makedev(LOOP_MAJOR, number))
    return str(device)


def _wait_released(file: Path, seconds: float = 5) -> None:
    """A device that was released while mounted goes when its last mount goes; two devices on one file would tear it."""
    deadline = time.monotonic() + seconds
    while any(_backing(entry) == str(file) for entry in Path("/sys/block").glob("loop*")):
        if time.monotonic() > deadline:
            raise VolumeError(f"The loop device of {file} is still mounted, so the volume cannot be attached.")
        time.sleep(0.1)


def _backing(entry: Path) -> str | None:
    try:
        return (entry / "loop/backing_file").read_text().strip()
    except OSError:
        return None


def release(file: Path, seconds: float = 3) -> bool:
    """Give up the file's loop device; True when it is gone, False when a mount still holds it (it goes with that)."""
    device = loop_of(file)
    if device:
        subprocess.run(["losetup", "-d", device], check=False, capture_output=True)
    deadline = time.monotonic() + seconds
    while any(_backing(entry) == str(file) for entry in Path("/sys/block").glob("loop*")):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def release_below(directory: Path) -> None:
    """Give up every loop device whose file lies below the directory."""
    for device in loops_below(directory):
        subprocess.run(["losetup", "-d", device], check=False, capture_output=True)


def numbers(device: str) -> tuple[int, int]:
    """Major and minor number of a block device."""
    rdev = Path(device).stat().st_rdev
    return os.major(rdev), os.minor(rdev)

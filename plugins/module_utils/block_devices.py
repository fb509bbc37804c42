# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on a block device, what is mounted where, and systemd's names for it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct

# _IOR('X', 100, struct xfs_fsop_geom_v1), linux/fs/xfs/libxfs/xfs_fs.h: blocksize is the first u32, datablocks the
# u64 at byte 32.
XFS_IOC_FSGEOMETRY_V1 = 0x80705864
XFS_GEOMETRY_SIZE = 112
HEAD = 1024 * 1024  # bytes at the start that must be zero before a device counts as blank


def unit_name(path):
    r"""Name of the mount unit of a path, as systemd-escape --path --suffix=mount gives it.

    >>> unit_name("/var/lib/etcd")
    'var-lib-etcd.mount'
    >>> unit_name("/srv/my-data")
    'srv-my\\x2ddata.mount'
    """
    text = re.sub("/+", "/", path).strip("/")
    if not text:
        return "-.mount"

    def escape(match):
        return "".join("\\x%02x" % byte for byte in match.group().encode())

    escaped = re.sub("[^A-Za-z0-9:_./]", escape, text)
    if escaped.startswith("."):
        escaped = "\\x2e" + escaped[1:]
    return escaped.replace("/", "-") + ".mount"


def device_size(path):
    """Size of a block device (or a file) in bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.lseek(handle, 0, os.SEEK_END)
    finally:
        os.close(handle)


def is_blank(path):
    """Whether the first mebibyte holds nothing but zeros, as on a new EBS volume."""
    with open(path, "rb") as stream:
        return not stream.read(HEAD).strip(b"\0")


def parse_blkid(text):
    """The values of `blkid -p -o export` as a dict."""
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def signatures(blkid, wipefs):
    """Sorted names of everything found on a device, from the output of blkid and of `wipefs --no-act --json`."""
    found = {blkid[key] for key in ("TYPE", "PTTYPE") if blkid.get(key)}
    try:
        found |= {entry["type"] for entry in json.loads(wipefs or "{}").get("signatures", [])}
    except (ValueError, KeyError) as error:
        raise ValueError("wipefs gave an answer that cannot be read: %r" % wipefs) from error
    return sorted(found)


def parse_mounts(mountinfo):
    """Mount point to "major:minor" from the text of /proc/self/mountinfo; the topmost mount of a point counts."""

    def plain(text):
        return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)

    fields = [line.split() for line in mountinfo.splitlines()]
    return {plain(field[4]): field[2] for field in fields if len(field) > 4}


def device_number(path):
    """ "major:minor" of a block device."""
    number = os.stat(path).st_rdev
    return "%d:%d" % (os.major(number), os.minor(number))


def xfs_size(mount):
    """Bytes of a mounted XFS's data section."""
    handle = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        data = fcntl.ioctl(handle, XFS_IOC_FSGEOMETRY_V1, b"\0" * XFS_GEOMETRY_SIZE)
    finally:
        os.close(handle)
    return struct.unpack_from("=I", data, 0)[0] * struct.unpack_from("=Q", data, 32)[0]


def ext4_size(device):
    """Bytes of the ext4 on a device, from its superblock (1024 bytes in; fields little endian)."""
    with open(device, "rb") as stream:
        stream.seek(1024)
        block = stream.read(1024)
    low, scale = struct.unpack_from("<I", block, 0x4)[0], struct.unpack_from("<I", block, 0x18)[0]
    high = struct.unpack_from("<I", block, 0x150)[0] if struct.unpack_from("<I", block, 0x60)[0] & 0x80 else 0
    return ((high << 32) + low) * (1024 << scale)

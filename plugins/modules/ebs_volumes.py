#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ebs_volumes
short_description: Format, mount and grow the EBS volumes of a host
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Waits for the device links, makes a filesystem on what is blank, writes native systemd mount units by device link,
    mounts, grows a filesystem whose volume was grown, and lets services depend on their mount. All volumes of a host
    take one module execution.
  - A device that holds anything is never formatted. What it holds is looked for by blkid, by wipefs, and by reading its
    first mebibyte.
  - Each filesystem carries a file C(.volume-identity) with platform, slot and name of the volume. A volume that belongs
    elsewhere, or that has files but no identity, is refused.
  - Everything is looked at before anything is changed.
attributes:
  check_mode:
    support: full
    description: Looks at the devices as always (a filesystem that is not mounted is mounted read-only for a moment).
  diff_mode:
    support: full
    description: The mount units and drop-ins, and one line for each filesystem that is made, mounted or grown.
  platform:
    platforms: posix
    support: full
    description: Linux hosts with systemd.
options:
  volumes:
    description: The volumes.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the volume in its slot.
        type: str
        required: true
      device:
        description: Link of the device, C(/dev/disk/by-id/...).
        type: path
        required: true
      mount:
        description: Mount point. A directory that holds files while nothing is mounted there is refused.
        type: path
        required: true
      filesystem:
        description: Kind of filesystem.
        type: str
        choices: [xfs, ext4]
        default: xfs
      options:
        description: Mount options.
        type: list
        elements: str
        default: [noatime, nofail]
      owner:
        description: Owner of the mounted root directory, left as it is when not set.
        type: str
      group:
        description: Group of the mounted root directory, left as it is when not set.
        type: str
      mode:
        description: Mode of the mounted root directory as octal text, left as it is when not set.
        type: str
      services:
        description:
          - Units that must not run without this volume. Each gets a drop-in C(volume.conf), which also stops it when
            the volume goes.
        type: list
        elements: str
        default: []
  platform:
    description: Name of the platform, for the identity.
    type: str
    required: true
  slot:
    description: Slot of the host, for the identity.
    type: str
    required: true
  adopt:
    description: Names of volumes whose identity may be written anew, although they hold files of another one or none.
    type: list
    elements: str
    default: []
  wait:
    description: Seconds to wait for device links, none in check mode.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: configure | Mount the volumes
  selfhosted.ec2.ebs_volumes:
    platform: trading
    slot: database-1
    volumes:
      - name: etcd
        device: /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1b2c3d4e5f60718
        mount: /var/lib/etcd
        services: [etcd]
"""

RETURN = r"""
formatted:
  description: Names of the volumes that got a filesystem.
  returned: success
  type: list
  elements: str
mounted:
  description: Names of the volumes that were mounted.
  returned: success
  type: list
  elements: str
grown:
  description: Names of the volumes whose filesystem was enlarged.
  returned: success
  type: list
  elements: str
changed_files:
  description: Units, drop-ins and identities that were written.
  returned: success
  type: list
  elements: str
"""

import json
import os
import tempfile
import time
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import block_devices as block
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import (
    Account,
    FileError,
    FileState,
    apply_attributes,
    attributes_differ,
    content_diff,
    find_account,
    parse_mode,
    read_state,
    write_atomic,
)

IDENTITY = ".volume-identity"
UNITS = "/etc/systemd/system"
GROW_FROM = 64 * 1024 * 1024  # bytes; EBS volumes have whole gibibytes, a filesystem may leave a rest unused
ROOT_ONLY = {IDENTITY, "lost+found"}

UNIT = """\
# Managed by Ansible, changes made here are overwritten
[Unit]
Description=Volume {name} of {slot}

[Mount]
What={device}
Where={mount}
Type={filesystem}
Options={options}

[Install]
WantedBy=multi-user.target
"""

# RequiresMountsFor mounts it and waits, BindsTo stops the service when it goes, and the assertion holds even when
# somebody masked the mount unit: without the volume the service would write to the root disk.
DROP_IN_HEAD = "# Managed by Ansible, changes made here are overwritten\n[Unit]\n"
DROP_IN = "RequiresMountsFor={mount}\nBindsTo={unit}\nAfter={unit}\nAssertPathIsMountPoint={mount}\n"


@dataclass
class Volume:
    """One entry of the option volumes, what was found, and what is to be done."""

    name: str
    device: str
    mount: str
    filesystem: str
    options: list
    owner: str | None
    group: str | None
    mode: str | None
    services: list
    blank: bool = False
    mounted: bool = False
    identity: dict | None = None
    names: set = field(default_factory=set)
    grow: bool = False

    @property
    def unit(self):
        """Name of the mount unit."""
        return block.unit_name(self.mount)

    @property
    def label(self):
        """How messages call it."""
        return "the volume %s (%s)" % (self.name, os.path.basename(self.device))

    @property
    def title(self):
        """The same at the start of a sentence."""
        return "T" + self.label[1:]

    @property
    def enabled(self):
        """The link that lets systemd mount it at boot."""
        return os.path.join(UNITS, "multi-user.target.wants", self.unit)


def mount_unit(volume, slot):
    """Content of the mount unit."""
    values = {key: getattr(volume, key) for key in ("name", "mount", "filesystem")}
    # A percent sign begins a specifier in unit files.
    device = volume.device.replace("%", "%%")
    return UNIT.format(slot=slot, device=device, options=",".join(volume.options), **values)


def drop_ins(volumes):
    """Path to content of the drop-ins that tie services to their mounts."""
    texts = {}
    for volume in volumes:
        for service in volume.services:
            name = service if "." in service else service + ".service"
            path = os.path.join(UNITS, name + ".d", "volume.conf")
            texts[path] = texts.get(path, DROP_IN_HEAD) + DROP_IN.format(mount=volume.mount, unit=volume.unit)
    return texts


def identity_fault(volume, wanted, adopt):
    """Why a volume with a filesystem must not be used, as a sentence; empty when it may."""
    if volume.blank or volume.name in adopt or volume.identity == wanted:
        return ""
    if volume.identity:
        return "%s belongs to %s, not to %s; nothing was touched." % (
            volume.title,
            describe(volume.identity),
            describe(wanted),
        )
    if volume.names - ROOT_ONLY:
        return (
            "%s holds files but no %s, so it is unknown whose they are; nothing was touched. "
            "List it in adopt if they belong to %s." % (volume.title, IDENTITY, describe(wanted))
        )
    return ""


def describe(identity):
    """An identity in words."""
    return "volume %s of %s on platform %s" % tuple(identity.get(key, "?") for key in ("volume", "slot", "platform"))


def content_fault(volume, found, blank):
    """Why a device must not be used, from its signatures and whether its start is zero, as a sentence."""
    label = volume.title
    if found and found != [volume.filesystem]:
        return "%s holds %s where %s is wanted; it was not touched." % (label, " and ".join(found), volume.filesystem)
    if not found and not blank:
        return (
            "%s has no known filesystem, but it is not blank; it was not touched. "
            "Wipe it by hand if its content may be lost." % label
        )
    return ""


class Host:
    """The calls that look at the host or change it."""

    def __init__(self, module):
        self.module = module

    def run(self, *argv, codes=(0,)):
        """Output of a command. Raises FileError with the command and what it said."""
        code, out, err = self.module.run_command(list(argv), environ_update={"LC_ALL": "C.UTF-8"})
        if code not in codes:
            said = err.strip() or out.strip() or "no output"
            raise FileError("'%s' failed (exit code %d): %s" % (" ".join(argv), code, said))
        return out

    def wait(self, volumes, seconds):
        """Wait for the device links. Raises FileError that names a missing one."""
        end = time.monotonic() + seconds
        while True:
            missing = [volume for volume in volumes if not os.path.exists(volume.device)]
            if not missing:
                return
            if time.monotonic() >= end:
                raise FileError(
                    "The device %s of the volume %s is not there; is the volume attached to this instance?"
                    % (missing[0].device, missing[0].name)
                )
            time.sleep(0.5)

    def mounts(self):
        """Mount points with device numbers."""
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            return block.parse_mounts(stream.read())

    def probe(self, volume):
        """Signatures on the device."""
        # 2 is "nothing found"; 8, several contradicting signatures, is an error.
        blkid = block.parse_blkid(self.run("blkid", "-p", "-o", "export", volume.device, codes=(0, 2)))
        return block.signatures(blkid, self.run("wipefs", "--no-act", "--json", volume.device))

    def read_identity(self, volume):
        """The identity and the names of the root directory; a filesystem that is not mounted is mounted read-only."""
        if volume.mounted:
            return identity_of(volume.mount)
        place = tempfile.mkdtemp(prefix="volume-", dir=self.module.tmpdir)
        quiet = {"xfs": "ro,norecovery", "ext4": "ro,noload"}[volume.filesystem]
        try:
            self.run("mount", "-t", volume.filesystem, "-o", quiet, volume.device, place)
            try:
                return identity_of(place)
            finally:
                self.run("umount", place)
        finally:
            os.rmdir(place)

    def filesystem_size(self, volume):
        """Bytes of a mounted filesystem."""
        return block.xfs_size(volume.mount) if volume.filesystem == "xfs" else block.ext4_size(volume.device)

    def format(self, volume):
        """Make a filesystem. The tools refuse by themselves, too, when they find one."""
        if volume.filesystem == "xfs":
            self.run("mkfs.xfs", "-q", volume.device)
        else:
            self.run("mkfs.ext4", "-q", "-E", "nodiscard", volume.device)

    def enlarge(self, volume):
        """Let the filesystem fill its device."""
        if volume.filesystem == "xfs":
            self.run("xfs_growfs", "-d", volume.mount)
        else:
            self.run("resize2fs", os.path.realpath(volume.device))


def identity_of(directory):
    """Identity (None when there is none) and the names in a directory. Raises FileError for a broken identity."""
    names = set(os.listdir(directory))
    if IDENTITY not in names:
        return None, names
    try:
        with open(os.path.join(directory, IDENTITY), encoding="utf-8") as stream:
            return dict(json.load(stream)), names
    except (OSError, ValueError, TypeError) as error:
        raise FileError("The file %s in %s cannot be read." % (IDENTITY, directory)) from error


class Work:
    """Looks at all volumes, plans, and carries out."""

    def __init__(self, module, host):
        self.module = module
        self.host = host
        self.params = module.params
        self.volumes = [
            Volume(**dict(option, mount=os.path.normpath(option["mount"]))) for option in module.params["volumes"]
        ]
        self.result = {"formatted": [], "mounted": [], "grown": [], "changed_files": []}
        self.diff = []
        self.files = {}

    def run(self):
        """Everything. Raises FileError; when it is raised by look, nothing was changed."""
        self.check_options()
        self.host.wait(self.volumes, 0 if self.module.check_mode else self.params["wait"])
        for volume in self.volumes:
            self.look(volume)
        self.plan()
        if not self.module.check_mode:
            self.act()
        self.result["changed"] = any(self.result.values())

    def check_options(self):
        """Refuse what cannot be meant. Raises FileError."""
        for key in ("name", "device", "mount"):
            values = [getattr(volume, key) for volume in self.volumes]
            double = sorted({value for value in values if values.count(value) > 1})
            if double:
                raise FileError("The %s %s is given to more than one volume." % (key, double[0]))
        for volume in self.volumes:
            if not os.path.isabs(volume.mount) or volume.mount == "/":
                raise FileError("The mount point %s of %s cannot be used." % (volume.mount, volume.label))

    def wanted(self, volume):
        """The identity a volume should carry."""
        return {"platform": self.params["platform"], "slot": self.params["slot"], "volume": volume.name}

    def look(self, volume):
        """Find out about one volume. Raises FileError when it must not be used."""
        found = self.host.probe(volume)
        volume.blank = not found
        fault = content_fault(volume, found, volume.blank and block.is_blank(volume.device))
        if fault:
            raise FileError(fault)
        self.look_at_mount(volume)
        if not volume.blank:
            volume.identity, volume.names = self.host.read_identity(volume)
        fault = identity_fault(volume, self.wanted(volume), self.params["adopt"])
        if fault:
            raise FileError(fault)
        if volume.mounted:
            volume.grow = block.device_size(volume.device) - self.host.filesystem_size(volume) >= GROW_FROM

    def look_at_mount(self, volume):
        """See what is at the mount point. Raises FileError when that is something else."""
        mounts = self.host.mounts()
        if volume.mount in mounts:
            if mounts[volume.mount] != block.device_number(volume.device):
                raise FileError(
                    "Another device is mounted at %s; stop what uses it and unmount it before %s can take its place."
                    % (volume.mount, volume.label)
                )
            volume.mounted = True
        elif os.path.isdir(volume.mount) and os.listdir(volume.mount):
            raise FileError(
                "The directory %s holds files on the root disk, which %s would hide; move them away first."
                % (volume.mount, volume.label)
            )

    def plan(self):
        """Fill in the result, the files to write and the diff."""
        for volume in self.volumes:
            for key, needed in (("formatted", volume.blank), ("mounted", not volume.mounted), ("grown", volume.grow)):
                if needed:
                    self.result[key].append(volume.name)
                    self.diff.append({"prepared": "%s (%s): %s\n" % (volume.name, volume.mount, key)})
            path = os.path.join(UNITS, volume.unit)
            self.plan_file(path, mount_unit(volume, self.params["slot"]))
            if volume.identity != self.wanted(volume):
                self.result["changed_files"].append(os.path.join(volume.mount, IDENTITY))
            if not os.path.islink(volume.enabled):
                self.result["changed_files"].append(volume.enabled)
            if volume.mounted and self.root_differs(volume):
                self.result["changed_files"].append(volume.mount)
        for path, text in drop_ins(self.volumes).items():
            self.plan_file(path, text)

    def plan_file(self, path, text):
        """Note a unit or drop-in that has to be written."""
        before = read_state(path)
        if before.kind == "file" and before.content == text.encode() and before.mode == 0o644:
            return
        self.files[path] = text.encode()
        self.result["changed_files"].append(path)
        old = before.content if before.kind == "file" else None
        self.diff.append(content_diff(path, old, text.encode()))

    def root_differs(self, volume):
        """Whether owner, group or mode of the mounted root directory have to change."""
        state = read_state(volume.mount)
        mode = state.mode if volume.mode is None else parse_mode(volume.mode)
        return attributes_differ(state, find_account(volume.owner, volume.group), mode)

    def act(self):
        """Carry out the plan."""
        for volume in self.volumes:
            if volume.blank:
                self.host.format(volume)
        for path, content in self.files.items():
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            write_atomic(path, content, Account(0, 0), 0o644, FileState())
        if self.files:
            self.host.run("systemctl", "daemon-reload")
        for volume in self.volumes:
            self.mount(volume)
            self.finish(volume)

    def mount(self, volume):
        """Mount by the unit; enable it for the next start; remount when its options changed."""
        if not volume.mounted:
            os.makedirs(volume.mount, mode=0o755, exist_ok=True)
            self.host.run("systemctl", "start", volume.unit)
        elif os.path.join(UNITS, volume.unit) in self.files:
            self.host.run("systemctl", "reload", volume.unit)
        if not os.path.islink(volume.enabled):
            self.host.run("systemctl", "enable", volume.unit)
        if self.host.mounts().get(volume.mount) != block.device_number(volume.device):
            raise FileError("systemd reports %s as started, but %s is not mounted." % (volume.unit, volume.label))

    def finish(self, volume):
        """What needs the mounted filesystem: identity, size, owner."""
        if volume.identity != self.wanted(volume):
            content = json.dumps(self.wanted(volume), sort_keys=True) + "\n"
            write_atomic(os.path.join(volume.mount, IDENTITY), content.encode(), Account(0, 0), 0o444)
        if block.device_size(volume.device) - self.host.filesystem_size(volume) >= GROW_FROM:
            self.host.enlarge(volume)
            if volume.name not in self.result["grown"]:
                self.result["grown"].append(volume.name)
        if self.root_differs(volume):
            account = find_account(volume.owner, volume.group)
            if account.missing:
                raise FileError("The host has no %s for the directory %s." % (account.missing[0], volume.mount))
            mode = read_state(volume.mount).mode if volume.mode is None else parse_mode(volume.mode)
            apply_attributes(volume.mount, account, mode)


VOLUME = {
    "name": {"type": "str", "required": True},
    "device": {"type": "path", "required": True},
    "mount": {"type": "path", "required": True},
    "filesystem": {"type": "str", "choices": ["xfs", "ext4"], "default": "xfs"},
    "options": {"type": "list", "elements": "str", "default": ["noatime", "nofail"]},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
    "services": {"type": "list", "elements": "str", "default": []},
}


def main():
    module = AnsibleModule(
        argument_spec={
            "volumes": {"type": "list", "elements": "dict", "required": True, "options": VOLUME},
            "platform": {"type": "str", "required": True},
            "slot": {"type": "str", "required": True},
            "adopt": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    work = Work(module, Host(module))
    try:
        work.run()
    except (FileError, ValueError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="%s: %s." % (error.filename or "The volumes cannot be mounted", error.strerror))
    if module._diff:
        work.result["diff"] = work.diff
    module.exit_json(**work.result)


if __name__ == "__main__":
    main()

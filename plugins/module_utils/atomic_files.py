# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on a host: what is there, what is wanted, and replacing one by the other atomically."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass

DIFF_LIMIT = 256 * 1024  # bytes; a larger file's diff is only announced


class FileError(Exception):
    """A file operation that cannot be done; the message is one sentence for the user."""


@dataclass(frozen=True)
class FileState:
    """What lies at a path: `kind` is absent, file, directory or other (a link, a device)."""

    kind: str = "absent"
    content: bytes = b""
    uid: int = -1
    gid: int = -1
    mode: int = 0
    target: str = ""

    @property
    def attributes(self):
        """Owner, group and mode as text, empty when nothing is there."""
        if self.kind == "absent":
            return ""
        return "%s:%s %04o" % (account_name(pwd.getpwuid, self.uid), account_name(grp.getgrgid, self.gid), self.mode)


@dataclass(frozen=True)
class Account:
    """The numeric owner and group of a file; None leaves it as it is. `missing` names accounts the host lacks."""

    uid: int | None = None
    gid: int | None = None
    missing: tuple[str, ...] = ()


def account_name(lookup, number):
    """The name of a numeric user or group, or the number as text when it has none."""
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


def _account_id(lookup, name):
    if name is None:
        return None
    if name.isdigit():
        return int(name)
    return lookup(name)[2]


def find_account(owner, group):
    """Numeric ids of an owner and a group given by name or number.

    A name the host does not know is listed in `missing` ("user x", "group x"), so that check mode can go on.
    """
    ids, missing = [], []
    for lookup, kind, name in ((pwd.getpwnam, "user", owner), (grp.getgrnam, "group", group)):
        try:
            ids.append(_account_id(lookup, name))
        except KeyError:
            ids.append(None)
            missing.append("%s %s" % (kind, name))
    return Account(ids[0], ids[1], tuple(missing))


def parse_mode(text):
    """File mode from octal text such as "0640". Raises FileError for anything else."""
    try:
        mode = int(text, 8)
    except (TypeError, ValueError):
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise FileError("The mode %r is not an octal number: write it in quotes, for example '0640'." % (text,))
    return mode


def read_state(path):
    """The FileState of a path, links not followed. Raises FileError when the path cannot be read."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return FileState()
    except OSError as error:
        raise FileError("%s cannot be read: %s." % (path, error.strerror)) from error
    common = {"uid": info.st_uid, "gid": info.st_gid, "mode": stat.S_IMODE(info.st_mode)}
    if stat.S_ISDIR(info.st_mode):
        return FileState("directory", **common)
    if stat.S_ISLNK(info.st_mode):
        return FileState("other", target=os.readlink(path), **common)
    if not stat.S_ISREG(info.st_mode):
        return FileState("other", **common)
    try:
        with open(path, "rb") as stream:
            return FileState("file", stream.read(), **common)
    except OSError as error:
        raise FileError("%s cannot be read: %s." % (path, error.strerror)) from error


def attributes_differ(state, account, mode):
    """Whether an existing path needs chown or chmod. An account the host lacks counts as a difference."""
    return (
        bool(account.missing)
        or (account.uid is not None and account.uid != state.uid)
        or (account.gid is not None and account.gid != state.gid)
        or mode != state.mode
    )


def wanted_attributes(state, account, owner, group, mode):
    """Owner, group and mode as text after the change; unmanaged parts stay as they are."""
    uid = state.uid if state.uid >= 0 else os.geteuid()
    gid = state.gid if state.gid >= 0 else os.getegid()
    user = owner or account_name(pwd.getpwuid, uid)
    team = group or account_name(grp.getgrgid, gid)
    return "%s:%s %04o" % (user, team, mode)


def apply_attributes(path, account, mode):
    """chown and chmod of an existing path. Owner first: chown clears setuid bits."""
    os.chown(path, -1 if account.uid is None else account.uid, -1 if account.gid is None else account.gid)
    os.chmod(path, mode)


def stage(directory, name, content, account, mode, previous=None):
    """Write content to a temporary file in `directory` with its final owner and mode; returns its path.

    The name keeps its suffix, since some validators choose the format by it, and starts with a dot, since
    programs that read a whole directory skip such files. `previous` is the FileState whose owner is kept
    where the account leaves it open.
    """
    handle, path = tempfile.mkstemp(prefix=".", suffix="." + name, dir=directory)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            kept = previous if previous is not None and previous.kind == "file" else FileState()
            os.fchown(
                stream.fileno(),
                kept.uid if account.uid is None else account.uid,
                kept.gid if account.gid is None else account.gid,
            )
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(path)
        raise
    return path


def sync_directory(path):
    """Make renames in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path, content, account, mode, previous=None):
    """Replace one file by rename, durable when this returns."""
    directory = os.path.dirname(path)
    temporary = stage(directory, os.path.basename(path), content, account, mode, previous)
    try:
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(directory)


def _text(content):
    """Text for a diff, or None for binary or very large content."""
    if len(content) > DIFF_LIMIT or b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def content_diff(path, before, after, secret=False):
    """One entry of an Ansible diff. `before` and `after` are bytes, None when the file is absent on that side."""
    entry = {
        "before_header": path if before is not None else path + " (absent)",
        "after_header": path if after is not None else path + " (absent)",
    }
    old, new = _text(before or b""), _text(after or b"")
    if secret:
        note = "content hidden, it is secret"
    elif old is None or new is None:
        note = "content not shown, it is binary or large"
    else:
        return dict(entry, before=old, after=new)
    lines = "".join("%s %s\n" % item for item in (("---", entry["before_header"]), ("+++", entry["after_header"])))
    return {"prepared": "%s(%s)\n" % (lines, note)}


def attributes_diff(path, before, after):
    """One entry of an Ansible diff for owner, group and mode, given as text."""
    header = path + " (owner, group, mode)"
    return {
        "before_header": header,
        "after_header": header,
        "before": before + "\n" if before else "",
        "after": after + "\n" if after else "",
    }

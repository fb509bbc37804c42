#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: Install pinned downloads, or keep them in a bundle
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Downloads files, checks their SHA-256, unpacks each into a directory of its version, and links what is wanted from
    there. All of a role's downloads take one module execution.
  - With O(state=bundled) it keeps the downloads in a directory that serves as O(mirror) where there is no network, and
    with O(state=verified) it checks such a directory.
  - Nothing is installed before every download of the list has been checked and unpacked. Each directory appears by
    rename, and each link is exchanged by rename.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.linux
attributes:
  check_mode:
    support: full
    description: Reports what would be installed, without a download.
  diff_mode:
    support: full
    description: One line per artifact and link.
options:
  artifacts:
    description: The artifacts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name, part of the directory.
        type: str
        required: true
      version:
        description: Version, part of the directory.
        type: str
        required: true
      urls:
        description:
          - Where to get it, tried in this order. The suffix tells what it is; C(.tar), C(.tar.gz), C(.tgz), C(.tar.xz),
            C(.tar.bz2) and C(.zip) are unpacked, all else is one file.
        type: list
        elements: str
        required: true
      sha256:
        description: SHA-256 of the download, in hexadecimal.
        type: str
        required: true
      file:
        description:
          - Name of the file in a mirror, a bundle, and where it is not unpacked; the last part of the first address
            when not set.
        type: str
      unpack_to:
        description: Parent directory. The content goes to C(<unpack_to>/<name>-<version>). Needed to install.
        type: path
      strip:
        description: Leading parts of the paths in the archive to leave out.
        type: int
        default: 0
      links:
        description: Symbolic links to make, from absolute path to a path inside the artifact (C(.) for the whole).
        type: dict
        default: {}
      mode:
        description: Mode of a file that is not unpacked.
        type: str
        default: "0755"
  mirror:
    description:
      - Base address to use instead of those in C(urls); a file is expected at C(<mirror>/<name>/<version>/<file>).
      - An absolute path is a directory of the host, a bundle for example.
    type: str
  bundle:
    description: Directory of the bundle. Needed unless O(state=present).
    type: path
  state:
    description:
      - With V(present), what is not installed is installed.
      - With V(bundled), what is not in O(bundle), or not as its SHA-256 says, is downloaded there.
      - With V(verified), fails with the names of what O(bundle) lacks, or holds with another SHA-256.
    type: str
    choices: [present, bundled, verified]
    default: present
  timeout:
    description: Seconds without data after which an address is given up.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: install | Install Prometheus
  selfhosted.ec2.artifacts:
    mirror: "{{ platform_artifact_mirror | default(omit) }}"
    artifacts:
      - name: prometheus
        version: 3.1.0
        urls: ["https://downloads.example.com/prometheus-3.1.0.linux-amd64.tar.gz"]
        sha256: 5cf9a1e0f6a4b6e9f0a0d1a2a1c1f0b9a7e6d5c4b3a291807f6e5d4c3b2a1908
        unpack_to: /opt/prometheus
        strip: 1
        links:
          /usr/local/bin/prometheus: prometheus
          /usr/local/bin/promtool: promtool
  notify: Restart Prometheus
"""

RETURN = r"""
directories:
  description: Directory of each artifact by name.
  returned: state is present
  type: dict
bundled:
  description: Names of the artifacts that were (in check mode would be) brought into the bundle.
  returned: state is bundled
  type: list
  elements: str
installed:
  description: Names of the artifacts that were (in check mode would be) downloaded.
  returned: state is present
  type: list
  elements: str
linked:
  description: Links that were (in check mode would be) made or changed.
  returned: state is present
  type: list
  elements: str
"""

import contextlib
import hashlib
import json
import os
import posixpath
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import FileError, parse_mode, sync_directory

MARKER = ".artifact.json"
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
CHUNK = 1024 * 1024  # bytes read at once


@dataclass
class Artifact:
    """One entry of the option artifacts with what is there."""

    name: str
    version: str
    urls: list
    sha256: str
    unpack_to: str
    strip: int
    links: dict
    mode: int
    file: str = ""
    staged: str = ""

    @property
    def label(self):
        """Name and version as shown to the user."""
        return "%s %s" % (self.name, self.version)

    @property
    def directory(self):
        """Directory of this version."""
        return os.path.join(self.unpack_to, "%s-%s" % (self.name, self.version))

    @property
    def file_name(self):
        """Name of the download."""
        return self.file or posixpath.basename(unquote(urlsplit(self.urls[0]).path))

    @property
    def place(self):
        """Where it lies in a mirror or a bundle."""
        return "/".join((self.name, self.version, self.file_name))

    @property
    def marker(self):
        """What the marker file says when exactly this is installed."""
        return {"sha256": self.sha256, "strip": self.strip, "file": self.file_name, "mode": "%04o" % self.mode}

    def installed_as(self):
        """The marker of what is installed, an empty dict when nothing (or nothing complete) is."""
        try:
            with open(os.path.join(self.directory, MARKER), encoding="utf-8") as stream:
                return json.load(stream)
        except (OSError, ValueError):
            return {}

    def missing_links(self):
        """Links that are absent or point elsewhere, with their targets. Raises FileError when no link is there."""
        missing = {}
        for path, inside in sorted(self.links.items()):
            target = os.path.normpath(os.path.join(self.directory, inside))
            if os.path.lexists(path) and not os.path.islink(path):
                raise FileError("%s cannot be a link for %s, there is something else; remove it." % (path, self.label))
            if not os.path.islink(path) or os.readlink(path) != target:
                missing[path] = target
        return missing


def make_artifact(option):
    """The Artifact of an option. Raises FileError for values that cannot be used."""
    where = "the artifact %s %s" % (option["name"], option["version"])
    if not re.fullmatch("[0-9a-fA-F]{64}", option["sha256"]):
        raise FileError("The sha256 of %s is %r, it needs 64 hexadecimal digits." % (where, option["sha256"]))
    if not option["urls"]:
        raise FileError("The list urls of %s is empty." % where)
    for part in (option["name"], option["version"]):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", part):
            raise FileError("%r of %s cannot be part of a directory name." % (part, where))
    for path, inside in option["links"].items():
        if not os.path.isabs(path) or os.path.isabs(str(inside)) or ".." in str(inside).split("/"):
            raise FileError(
                "The link %s: %s of %s needs an absolute path and one inside the artifact." % (path, inside, where)
            )
    if "/" in (option["file"] or ""):
        raise FileError("The file %r of %s cannot be the name of a file." % (option["file"], where))
    values = dict(option, sha256=option["sha256"].lower(), mode=parse_mode(option["mode"]), file=option["file"] or "")
    return Artifact(**values)


def addresses(artifact, mirror):
    """Where to try to get an artifact, in order."""
    if mirror:
        base = "file://%s" % mirror if os.path.isabs(mirror) else mirror
        return ["%s/%s" % (base.rstrip("/"), artifact.place)]
    return artifact.urls


def fetch(url, path, timeout):
    """Download into a file; returns the SHA-256. Raises OSError, of which urllib's errors are a kind."""
    digest = hashlib.sha256()
    with open_url(url, timeout=timeout, http_agent="selfhosted.ec2.artifacts") as answer, open(path, "wb") as stream:
        while True:
            data = answer.read(CHUNK)
            if not data:
                break
            digest.update(data)
            stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()


def download(artifact, path, mirror, timeout):
    """Get an artifact from the first address that has it right. Raises FileError that tells of every address."""
    problems = []
    for url in addresses(artifact, mirror):
        try:
            found = fetch(url, path, timeout)
        except (OSError, URLError, ValueError) as error:
            problems.append("%s: %s" % (url, error))
            continue
        if found == artifact.sha256:
            return
        problems.append("%s has SHA-256 %s instead of %s" % (url, found, artifact.sha256))
    raise FileError("The artifact %s was not installed: %s." % (artifact.label, "; ".join(problems)))


def stripped(name, count):
    """A path of an archive without its first parts; empty when nothing is left. Raises ValueError when unsafe.

    >>> stripped("./prometheus-3.1.0/console/index.html", 1)
    'console/index.html'
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise ValueError(name)
    return "/".join(parts[count:])


def _safe_link(member):
    """Whether a symbolic link of an archive stays inside it."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
    return not posixpath.isabs(member.linkname) and target.split("/")[0] != ".."


def tar_members(archive, strip):
    """Members to extract, renamed. Raises ValueError with the name of an unsafe one."""
    for member in archive:
        original = member.name
        member.name = stripped(member.name, strip)
        if not member.name:
            continue
        if member.islnk():
            member.linkname = stripped(member.linkname, strip)
        if not (member.isreg() or member.isdir() or member.islnk() or (member.issym() and _safe_link(member))):
            raise ValueError(original)
        # Not the archive's users, and nothing that others may write.
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() or member.mode & 0o111 else 0o644
        yield member


def unpack_tar(path, directory, strip):
    """Extract a tar archive. Raises ValueError for an unsafe member, OSError or TarError for a broken archive."""
    with tarfile.open(path) as archive:
        # The standard filter checks again where this Python has it (3.12, and later releases of 3.11).
        options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        root = os.path.realpath(directory)
        for member in tar_members(archive, strip):
            parent = os.path.realpath(os.path.join(root, os.path.dirname(member.name)))
            if os.path.commonpath([root, parent]) != root:
                raise ValueError(member.name)
            try:
                archive.extract(member, directory, **options)
            except getattr(tarfile, "FilterError", ()) as error:
                raise ValueError(member.name) from error


def unpack_zip(path, directory, strip):
    """Extract a zip archive; the executable bit is kept. Raises ValueError for an unsafe member."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = stripped(info.filename, strip)
            mode = info.external_attr >> 16
            if stat.S_ISLNK(mode):
                raise ValueError(info.filename)
            target = os.path.join(directory, name)
            if not name or info.is_dir():
                os.makedirs(target, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with archive.open(info) as source, open(target, "wb") as stream:
                shutil.copyfileobj(source, stream)
            os.chmod(target, 0o755 if mode & 0o111 else 0o644)


def unpack(artifact, path, directory):
    """Bring the download into a directory. Raises FileError for a broken or unsafe archive."""
    try:
        if artifact.file_name.endswith(TAR_SUFFIXES):
            unpack_tar(path, directory, artifact.strip)
        elif artifact.file_name.endswith(".zip"):
            unpack_zip(path, directory, artifact.strip)
        else:
            target = os.path.join(directory, artifact.file_name)
            shutil.copyfile(path, target)
            os.chmod(target, artifact.mode)
    except ValueError as error:
        raise FileError(
            "The archive of %s holds the unsafe path %s, it was not installed." % (artifact.label, error)
        ) from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise FileError("The archive of %s is broken (%s), it was not installed." % (artifact.label, error)) from error


def sha256_of(path):
    """SHA-256 of a file; empty when there is none. Raises OSError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for data in iter(lambda: stream.read(CHUNK), b""):
                digest.update(data)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


class Bundle:
    """A directory of downloads in the layout of a mirror."""

    def __init__(self, directory, artifacts):
        self.directory = directory
        self.artifacts = artifacts

    def path(self, artifact):
        """Where an artifact lies in it."""
        return os.path.join(self.directory, artifact.place)

    def lacking(self):
        """Artifacts that are absent or have another SHA-256, each with the one it has."""
        held = [(artifact, sha256_of(self.path(artifact))) for artifact in self.artifacts]
        return [(artifact, found) for artifact, found in held if found != artifact.sha256]

    def verify(self):
        """Raises FileError that names every artifact which is absent or differs."""
        problems = [
            "%s has SHA-256 %s instead of %s" % (artifact.label, found, artifact.sha256)
            if found
            else "%s is not there" % artifact.label
            for artifact, found in self.lacking()
        ]
        if problems:
            raise FileError("The bundle %s cannot be used: %s." % (self.directory, "; ".join(problems)))

    def fill(self, lacking, mirror, timeout):
        """Download what it lacks, each in place by rename. Raises FileError."""
        for artifact, _found in lacking:
            directory = os.path.dirname(self.path(artifact))
            os.makedirs(directory, mode=0o755, exist_ok=True)
            handle, scratch = tempfile.mkstemp(prefix=".artifact-", dir=directory)
            os.close(handle)
            try:
                download(artifact, scratch, mirror, timeout)
                os.chmod(scratch, 0o644)
                os.rename(scratch, self.path(artifact))
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(scratch)


class Installer:
    """Stages every artifact that is missing, then puts all in place."""

    def __init__(self, module, artifacts):
        self.module = module
        self.artifacts = artifacts
        self.scratch = []

    def stage(self, artifact):
        """Download, check and unpack beside the final directory."""
        os.makedirs(artifact.unpack_to, mode=0o755, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=".artifact-", dir=artifact.unpack_to)
        self.scratch.append(scratch)
        path = os.path.join(scratch, "download")
        download(artifact, path, self.module.params["mirror"], self.module.params["timeout"])
        artifact.staged = os.path.join(scratch, "content")
        os.mkdir(artifact.staged)
        os.chmod(artifact.staged, 0o755)
        unpack(artifact, path, artifact.staged)
        os.unlink(path)
        for link, inside in artifact.links.items():
            if not os.path.lexists(os.path.join(artifact.staged, inside)):
                raise FileError("The artifact %s has no %s for the link %s." % (artifact.label, inside, link))
        with open(os.path.join(artifact.staged, MARKER), "w", encoding="utf-8") as stream:
            json.dump(artifact.marker, stream)
        os.sync()

    def place(self, artifact):
        """Exchange the directory of a version by rename."""
        old = os.path.join(os.path.dirname(artifact.staged), "old")
        if os.path.lexists(artifact.directory):
            os.rename(artifact.directory, old)
        os.rename(artifact.staged, artifact.directory)
        sync_directory(artifact.unpack_to)

    def run(self):
        """Install what is missing and set the links. Raises FileError, with nothing installed."""
        try:
            missing = [artifact for artifact in self.artifacts if artifact.installed_as() != artifact.marker]
            for artifact in missing:
                self.stage(artifact)
            for artifact in missing:
                self.place(artifact)
            for artifact in self.artifacts:
                for path, target in artifact.missing_links().items():
                    set_link(path, target)
        finally:
            for path in self.scratch:
                shutil.rmtree(path, ignore_errors=True)


def set_link(path, target):
    """Make or exchange a symbolic link atomically."""
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    temporary = os.path.join(directory, ".%s.new" % name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)


def report(artifacts):
    """The result and its diff, computed before anything is done."""
    result = {"directories": {}, "installed": [], "linked": []}
    before, after = [], []
    for artifact in artifacts:
        result["directories"][artifact.name] = artifact.directory
        was = artifact.installed_as()
        if was != artifact.marker:
            result["installed"].append(artifact.name)
            before += ["%s sha256 %s\n" % (artifact.directory, was["sha256"])] if was.get("sha256") else []
            after.append("%s sha256 %s\n" % (artifact.directory, artifact.sha256))
        for path, target in artifact.missing_links().items():
            result["linked"].append(path)
            before += ["%s -> %s\n" % (path, os.readlink(path))] if os.path.islink(path) else []
            after.append("%s -> %s\n" % (path, target))
    result["changed"] = bool(after)
    return result, {"before": "".join(before), "after": "".join(after)}


def install(module, artifacts):
    """Install what is missing. Raises FileError, with nothing installed."""
    for artifact in artifacts:
        if not artifact.unpack_to:
            raise FileError("The artifact %s needs unpack_to to be installed." % artifact.label)
    result, diff = report(artifacts)
    if result["changed"] and not module.check_mode:
        Installer(module, artifacts).run()
    return result, diff


def bundle(module, artifacts):
    """Fill or verify a bundle. Raises FileError."""
    held = Bundle(module.params["bundle"], artifacts)
    if module.params["state"] == "verified":
        held.verify()
        return {"changed": False}, {}
    lacking = held.lacking()
    if not module.check_mode:
        held.fill(lacking, module.params["mirror"], module.params["timeout"])
    names = [artifact.name for artifact, _found in lacking]
    after = "".join("%s\n" % held.path(artifact) for artifact, _found in lacking)
    return {"changed": bool(names), "bundled": names}, {"before": "", "after": after}


def main():
    module = AnsibleModule(
        argument_spec={
            "artifacts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "version": {"type": "str", "required": True},
                    "urls": {"type": "list", "elements": "str", "required": True},
                    "sha256": {"type": "str", "required": True},
                    "file": {"type": "str"},
                    "unpack_to": {"type": "path"},
                    "strip": {"type": "int", "default": 0},
                    "links": {"type": "dict", "default": {}},
                    "mode": {"type": "str", "default": "0755"},
                },
            },
            "mirror": {"type": "str"},
            "bundle": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "bundled", "verified"], "default": "present"},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "bundled", ["bundle"]), ("state", "verified", ["bundle"])],
        supports_check_mode=True,
    )
    try:
        artifacts = [make_artifact(option) for option in module.params["artifacts"]]
        result, diff = (install if module.params["state"] == "present" else bundle)(module, artifacts)
    except FileError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="%s: %s." % (error.filename or "The artifacts cannot be installed", error.strerror))
    if module._diff and diff:
        result["diff"] = diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()

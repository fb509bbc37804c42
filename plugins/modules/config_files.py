#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Write a set of configuration files in one round trip
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Renders templates on the controller, sends all files of a set in one module execution, checks every changed file
    with its validator before any of them is replaced, and replaces each one by rename.
  - Removes files that the set no longer has, from the directories named in O(purge).
  - Each file may name the handlers that its change notifies.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.linux
attributes:
  check_mode:
    support: full
    description: Reports the same changes and the same diff, and runs the validators on temporary files. An owner,
      group, directory or validator that the host does not have yet is no error in check mode; a validator that refuses
      a file gives a warning, since an earlier step of the same run may bring what it misses.
  diff_mode:
    support: full
    description: One entry per file; the content of files marked O(files[].secret) and of binary files is not shown.
notes:
  - A symbolic link at O(files[].dest) is replaced by the file, not followed.
options:
  files:
    description: The files. Each has either O(files[].template) or O(files[].content).
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Absolute path on the host.
        type: path
        required: true
      template:
        description:
          - Jinja template, searched as M(ansible.builtin.template) does (C(templates/) of the role, then beside the
            playbook). A newline after a block is removed and the last newline is kept. C(ansible_managed) is a fixed
            text unless the variable is set.
        type: str
      content:
        description: The text of the file, taken as it is.
        type: str
      vars:
        description: Further variables for this template.
        type: dict
        default: {}
      owner:
        description: Owner, by name or number. Left as it is (root for a new file) without this and O(owner).
        type: str
      group:
        description: Group, by name or number.
        type: str
      mode:
        description: Mode as octal text, for example V("0640").
        type: str
      validate:
        description:
          - Command that ends with 0 when the file is good, as a list of arguments or as a string; C(%s) stands for the
            path of the temporary file, which has its final owner and mode, lies in the target directory and keeps the
            suffix of its name.
        type: raw
      notify:
        description: Handlers to notify when this file changes. Any change notifies those of the task's C(notify).
        type: list
        elements: str
        default: []
      secret:
        description: Keep the content out of the diff.
        type: bool
        default: false
  owner:
    description: Owner of files and directories that name none.
    type: str
  group:
    description: Group of files and directories that name none.
    type: str
  mode:
    description: Mode of files that name none.
    type: str
    default: "0644"
  directories:
    description: Directories to create, with missing parents (those get mode 0755), in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      owner:
        description: Owner, by name or number.
        type: str
      group:
        description: Group, by name or number.
        type: str
      mode:
        description: Mode as octal text.
        type: str
        default: "0755"
  purge:
    description: Files to remove unless O(files) has them.
    type: list
    elements: dict
    default: []
    suboptions:
      directory:
        description: Directory, without those below it; with C(*) in it all that fit.
        type: path
        required: true
      patterns:
        description: Shell patterns of file names, for example C(*.cfg). Files that begin with a dot are never removed.
        type: list
        elements: str
        required: true
  validate_all:
    description: Commands that check a whole directory as it would be after the change, run when a file in it changes.
    type: list
    elements: dict
    default: []
    suboptions:
      directory:
        description: Directory to check; C(%s) in the command stands for a copy beside it that has the new files.
        type: path
        required: true
      command:
        description: Command as a list of arguments or as a string.
        type: raw
        required: true
"""

EXAMPLES = r"""
- name: configure | Write the configuration
  selfhosted.ec2.config_files:
    owner: root
    group: haproxy
    mode: "0640"
    directories:
      - {path: /etc/haproxy/conf.d, mode: "0750"}
    files:
      - dest: /etc/haproxy/conf.d/10-global.cfg
        template: global.cfg.j2
        notify: [Reload HAProxy]
      - dest: /etc/systemd/system/haproxy.service.d/limits.conf
        content: |
          [Service]
          LimitNOFILE=100000
        mode: "0644"
        notify: [Reload systemd]
    purge:
      - {directory: /etc/haproxy/conf.d, patterns: ["*.cfg"]}
    validate_all:
      - {directory: /etc/haproxy/conf.d, command: [haproxy, -c, -f, "%s"]}
"""

RETURN = r"""
changed_files:
  description: Files that were (in check mode would be) written, removed, or given another owner, group or mode.
  returned: success
  type: list
  elements: str
removed_files:
  description: The removed ones among them.
  returned: success
  type: list
  elements: str
created_directories:
  description: Directories that were made or given another owner, group or mode.
  returned: success
  type: list
  elements: str
notified:
  description: Handlers notified for single files.
  returned: success
  type: list
  elements: str
"""

import contextlib
import fnmatch
import glob
import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import (
    Account,
    FileError,
    FileState,
    apply_attributes,
    attributes_diff,
    attributes_differ,
    content_diff,
    find_account,
    parse_mode,
    read_state,
    stage,
    sync_directory,
    wanted_attributes,
)


@dataclass
class Item:
    """One file or directory: as it is, as it shall be, and where its new content waits."""

    path: str
    before: FileState
    content: bytes = b""
    account: Account = field(default_factory=Account)
    mode: int = 0
    owner: str | None = None
    group: str | None = None
    command: list = field(default_factory=list)
    secret: bool = False
    staged: str = ""

    @property
    def rewrite(self):
        """Whether the content must be written."""
        return self.before.kind != "file" or self.before.content != self.content

    @property
    def changed(self):
        """Whether anything about the file must change."""
        return self.rewrite or attributes_differ(self.before, self.account, self.mode)

    def diffs(self):
        """Diff entries of this file."""
        entries = []
        if self.rewrite:
            before = self.before.content if self.before.kind == "file" else None
            if self.before.target:
                before = ("link to %s\n" % self.before.target).encode()
            entries.append(content_diff(self.path, before, self.content, self.secret))
        was, will = (
            self.before.attributes,
            wanted_attributes(self.before, self.account, self.owner, self.group, self.mode),
        )
        if was != will:
            entries.append(attributes_diff(self.path, was, will))
        return entries


@dataclass
class Plan:
    """All that the module would change."""

    directories: list
    files: list
    removals: list

    @property
    def changed(self):
        """Whether there is anything to do."""
        return bool(self.directories or self.files or self.removals)

    def missing_accounts(self):
        """Accounts that the host lacks, with the path that needs them."""
        return [
            "%s (%s)" % (name, item.path) for item in self.directories + self.files for name in item.account.missing
        ]

    def diff(self):
        """The Ansible diff."""
        entries = []
        for item in self.directories:
            will = wanted_attributes(item.before, item.account, item.owner, item.group, item.mode)
            entries.append(attributes_diff(item.path + "/", item.before.attributes, will))
        for item in self.files:
            entries += item.diffs()
        entries += [content_diff(item.path, item.before.content, None, item.secret) for item in self.removals]
        return entries


def parse_command(value, where):
    """A validator as a list of arguments. Raises FileError when it has no %s."""
    argv = shlex.split(value) if isinstance(value, str) else [str(part) for part in value or []]
    if argv and not any("%s" in part for part in argv):
        raise FileError("The validator of %s has no %%s for the file to check: %s." % (where, shlex.join(argv)))
    return argv


def make_item(path, option, defaults, content=b""):
    """The Item of one entry of `files` or `directories`."""
    owner, group = option.get("owner") or defaults["owner"], option.get("group") or defaults["group"]
    return Item(
        path=path,
        before=read_state(path),
        content=content,
        account=find_account(owner, group),
        mode=parse_mode(option.get("mode") or defaults["mode"]),
        owner=owner,
        group=group,
        command=parse_command(option.get("validate"), path),
        secret=bool(option.get("secret")),
    )


def check_options(params):
    """Refuse contradictory options. Raises FileError."""
    paths = [option["dest"] for option in params["files"]]
    for path in paths + [option["path"] for option in params["directories"]]:
        if not os.path.isabs(path):
            raise FileError("The path %s is not absolute." % path)
    double = sorted({path for path in paths if paths.count(path) > 1})
    if double:
        raise FileError("The file %s is listed more than once." % double[0])
    for option in params["files"]:
        if option.get("content") is None:
            raise FileError("The file %s has neither template nor content." % option["dest"])


def find_removals(purge, keep):
    """Items for files in purged directories that are not kept."""
    removals = []
    places = [(directory, option["patterns"]) for option in purge for directory in glob.glob(option["directory"])]
    for directory, patterns in sorted(places):
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            path = os.path.join(directory, name)
            if (
                name.startswith(".")
                or path in keep
                or not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
            ):
                continue
            state = read_state(path)
            if state.kind != "directory":
                # What is in a file that nobody owns any more is unknown, so its content is not shown.
                removals.append(Item(path, state, secret=True))
    return removals


def make_plan(params):
    """Compare what is wanted with what is there. Raises FileError."""
    check_options(params)
    defaults = {key: params[key] for key in ("owner", "group", "mode")}
    directories = [make_item(option["path"].rstrip("/"), option, defaults) for option in params["directories"]]
    files = [make_item(option["dest"], option, defaults, option["content"].encode()) for option in params["files"]]
    for item in directories:
        if item.before.kind not in ("directory", "absent"):
            raise FileError("%s should be a directory, but is something else; remove it first." % item.path)
    for item in files:
        if item.before.kind == "directory":
            raise FileError("%s should be a file, but is a directory." % item.path)
    keep = {item.path for item in files}
    return Plan(
        [item for item in directories if attributes_differ(item.before, item.account, item.mode)],
        [item for item in files if item.changed],
        find_removals(params["purge"], keep),
    )


def make_directory(item):
    """Create a directory with its parents, or correct its attributes; returns the directories created."""
    created, path = [], item.path
    while not os.path.isdir(path):
        created.insert(0, path)
        path = os.path.dirname(path)
    for path in created:
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)
    apply_attributes(item.path, item.account, item.mode)
    return created


class Worker:
    """Carries out a plan: directories, temporary files, validators, then the replacements."""

    def __init__(self, module, plan, validate_all):
        self.module = module
        self.plan = plan
        self.validate_all = validate_all
        self.scratch = []
        self.created = []

    def run(self):
        """Stage and validate everything; replace it unless in check mode. Raises FileError, with nothing replaced."""
        try:
            if not self.module.check_mode:
                for item in self.plan.directories:
                    self.created += make_directory(item)
            for item in self.plan.files:
                self.stage(item)
            for option in self.validate_all:
                self.validate_directory(option)
            if not self.module.check_mode:
                self.replace()
        except BaseException:
            for path in reversed(self.created):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
            raise
        finally:
            self.clean()

    def stage(self, item):
        """Write the new content beside its destination and run its validator."""
        if not item.rewrite:
            return
        directory, name = os.path.split(item.path)
        account, mode = item.account, item.mode
        if not os.path.isdir(directory) or item.account.missing:
            if not self.module.check_mode:
                raise FileError(
                    "The directory %s of %s does not exist; list it in directories." % (directory, item.path)
                )
            directory, account, mode = self.scratch_directory(), Account(), 0o600
        item.staged = stage(directory, name, item.content, account, mode, item.before)
        if item.command:
            self.validate(item.command, item.staged, item.path, item.secret)

    def scratch_directory(self):
        """A temporary directory for check mode on a host that has no target directory yet."""
        path = tempfile.mkdtemp(dir=self.module.tmpdir)
        self.scratch.append(path)
        return path

    def validate(self, command, path, shown, secret=False):
        """Run a validator. A refusal is a FileError, in check mode a warning."""
        if shutil.which(command[0], path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin") is None:
            if self.module.check_mode:
                return
            raise FileError("%s cannot be checked: the command %s is not on the host." % (shown, command[0]))
        argv = [part.replace("%s", path) for part in command]
        code, out, err = self.module.run_command(argv, environ_update={"LC_ALL": "C.UTF-8"})
        if code == 0:
            return
        output = "\n".join(text.strip() for text in (err, out) if text.strip()).replace(path, shown) or "no output"
        if secret:
            # Validators quote the line they do not like.
            output = "its output is hidden, the file is secret"
        message = "%s was refused by '%s' (exit code %d), nothing was replaced: %s" % (
            shown,
            shlex.join(command).replace("'%s'", "%s"),
            code,
            output,
        )
        if not self.module.check_mode:
            raise FileError(message)
        self.module.warn(message)

    def validate_directory(self, option):
        """Check a copy of a directory that has the new files in place."""
        directory = option["directory"].rstrip("/")
        prefix = directory + "/"
        changes = [item for item in self.plan.files + self.plan.removals if item.path.startswith(prefix)]
        if not changes:
            return
        command = parse_command(option["command"], directory)
        parent = os.path.dirname(directory)
        copy = tempfile.mkdtemp(
            prefix=".%s." % os.path.basename(directory), dir=parent if os.path.isdir(parent) else self.module.tmpdir
        )
        self.scratch.append(copy)
        if os.path.isdir(directory):
            copy_tree(directory, copy)
        for item in changes:
            target = os.path.join(copy, item.path[len(prefix) :])
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if item.staged:
                copy_file(item.staged, target)
            elif item in self.plan.removals:
                os.unlink(target)
        self.validate(command, copy, directory)

    def replace(self):
        """Put every staged file in place. Each rename is atomic."""
        for item in self.plan.files:
            if item.staged:
                os.rename(item.staged, item.path)
                item.staged = ""
            else:
                apply_attributes(item.path, item.account, item.mode)
        for item in self.plan.removals:
            os.unlink(item.path)
        for directory in {os.path.dirname(item.path) for item in self.plan.files + self.plan.removals}:
            sync_directory(directory)

    def clean(self):
        """Remove what is left of temporary files."""
        for item in self.plan.files:
            if item.staged:
                with contextlib.suppress(OSError):
                    os.unlink(item.staged)
        for path in self.scratch:
            shutil.rmtree(path, ignore_errors=True)


def copy_file(source, target):
    """Copy a file with mode and owner."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    shutil.copy2(source, target, follow_symlinks=False)
    info = os.lstat(source)
    os.lchown(target, info.st_uid, info.st_gid)


def copy_tree(source, target):
    """Copy a directory into an existing one, without files that begin with a dot."""
    shutil.copystat(source, target)
    info = os.stat(source)
    os.chown(target, info.st_uid, info.st_gid)
    for entry in os.scandir(source):
        path = os.path.join(target, entry.name)
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            os.mkdir(path)
            copy_tree(entry.path, path)
        else:
            copy_file(entry.path, path)


ATTRIBUTES = {"owner": {"type": "str"}, "group": {"type": "str"}}
ARGUMENTS = {
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": dict(
            ATTRIBUTES,
            dest={"type": "path", "required": True},
            template={"type": "str"},
            content={"type": "str"},
            vars={"type": "dict", "default": {}},
            mode={"type": "str"},
            validate={"type": "raw"},
            notify={"type": "list", "elements": "str", "default": []},
            secret={"type": "bool", "default": False, "no_log": False},
        ),
    },
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": dict(ATTRIBUTES, path={"type": "path", "required": True}, mode={"type": "str", "default": "0755"}),
    },
    "purge": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "directory": {"type": "path", "required": True},
            "patterns": {"type": "list", "elements": "str", "required": True},
        },
    },
    "validate_all": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"directory": {"type": "path", "required": True}, "command": {"type": "raw", "required": True}},
    },
}


def work(module):
    """Plan, act, and return the result."""
    plan = make_plan(module.params)
    missing = plan.missing_accounts()
    if missing and not module.check_mode:
        raise FileError("The host has no %s; create it before its files." % missing[0])
    if plan.changed:
        Worker(module, plan, module.params["validate_all"]).run()
    changed = [item.path for item in plan.files + plan.removals]
    result = {
        "changed": plan.changed,
        "changed_files": changed,
        "removed_files": [item.path for item in plan.removals],
        "created_directories": [item.path for item in plan.directories],
    }
    if module._diff:
        result["diff"] = plan.diff()
    return result


class QuietModule(AnsibleModule):
    """Ansible writes the options of each module into the host's journal; here those hold the contents of secret files.

    The no_log of the constructor does not help: the task's own, which is false by default, replaces it.
    """

    def log(self, msg, log_args=None):
        """Write a line into the journal unless it tells the options."""
        if log_args is None:
            super().log(msg)


def main():
    module = QuietModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    # Keeps the contents out of the result.
    hidden = {"module_args": {"files": [option["dest"] for option in module.params["files"]]}}
    try:
        result = work(module)
    except FileError as error:
        module.fail_json(msg=str(error), invocation=hidden)
    except OSError as error:
        module.fail_json(
            msg="%s: %s." % (error.filename or "The files cannot be written", error.strerror), invocation=hidden
        )
    module.exit_json(invocation=hidden, **result)


if __name__ == "__main__":
    main()

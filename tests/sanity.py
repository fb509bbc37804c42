"""Run ansible-test sanity on a copy of the collection, offline and without an ignore file.

ansible-test wants the checkout under ansible_collections/ and fetches its pip bootstrap script from a server of its
own; where that server is out of reach, Python's own ensurepip does the same work.

Usage: python tests/sanity.py [TEST ...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "sanity"
TESTS = (
    *("action-plugin-docs", "ansible-doc", "compile", "empty-init", "ignores", "import", "line-endings", "no-assert"),
    *("no-get-exception", "no-illegal-filenames", "no-smart-quotes", "pep8", "replace-urlopen", "runtime-metadata"),
    *("shebang", "use-argspec-type-path", "use-compat-six", "validate-modules"),
)
SHIPPED = ("galaxy.yml", "meta", "plugins", "roles", "playbooks", "README.md", "LICENSE")
BOOTSTRAP = """\
import ensurepip, subprocess, sys
arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
ensurepip.bootstrap()
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *arguments]))
"""


def pip_version() -> str:
    """The pip that ansible-test installs into its environments, as its own source names it."""
    from ansible_test._internal import python_requirements

    return python_requirements.get_venv_packages(Version())["pip"]


class Version:
    """The one attribute that ansible-test asks of a Python."""

    version = f"{sys.version_info.major}.{sys.version_info.minor}"


def copy_collection() -> Path:
    """A git checkout of what the collection ships, as ansible-test asks for."""
    target = WORK / "ansible_collections" / "selfhosted" / "ec2"
    shutil.rmtree(target, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *SHIPPED],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)
    subprocess.run(["git", "add", "--all"], cwd=target, check=True)
    return target


def main() -> int:
    target = copy_collection()
    home = WORK / "home"
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f"get_pip_{pip_version().replace('.', '_')}.py").write_text(BOOTSTRAP)
    environment = {**os.environ, "HOME": str(home), "ANSIBLE_CONFIG": "/dev/null"}
    chosen = [argument for test in sys.argv[1:] or TESTS for argument in ("--test", test)]
    command = ["ansible-test", "sanity", "--python", Version.version, "--color", "no", *chosen]
    return subprocess.run(command, cwd=target, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

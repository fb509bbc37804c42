"""See that the collection works with the oldest Python and its dependency set (requirements.txt), in under a minute.

Usage: python tests/older_python.py

Resolves and installs the set, imports all unit tests and with them all plugins, runs the tests of the filters, and
checks the syntax of all playbooks. Where the machine has no such Python it says so and checks nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "3.11"
VENV = ROOT / ".cache" / f"venv-{VERSION}"


def find_python() -> str | None:
    """The Python of that version, tried: a shim of a version manager may be there without one behind it."""
    managed = sorted(Path.home().glob(f".pyenv/versions/{VERSION}.*/bin/python3"))
    for candidate in [shutil.which(f"python{VERSION}"), *map(str, managed)]:
        asked = "import sys; print('%d.%d' % sys.version_info[:2])"
        if candidate and run_quietly([candidate, "-c", asked]).strip() == VERSION:
            return candidate
    return None


def run_quietly(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def install(python: str) -> None:
    """Make the environment, unless the same set is in it already."""
    wanted = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()
    mark = VENV / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, str(VENV)], check=True)
    where = str(VENV / "bin" / "python")
    subprocess.run([uv, "pip", "install", "--quiet", "--python", where, "-r", "requirements.txt"], check=True, cwd=ROOT)
    mark.write_text(wanted)


def commands() -> list[list[str]]:
    python = str(VENV / "bin" / "python")
    playbooks = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "playbooks").glob("*.yml"))
    return [
        [python, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", "-q", "tests/unit"],
        [python, "-m", "pytest", "-p", "no:cacheprovider", "tests/unit/plugins/filter"],
        [str(VENV / "bin" / "ansible-playbook"), "--syntax-check", *playbooks],
    ]


def main() -> int:
    python = find_python()
    if not python:
        print(f"Python {VERSION} is not on this machine, so its dependency set was not checked.")
        return 0
    install(python)
    environment = {**os.environ, "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"}
    failed = 0
    for command in commands():
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            failed += 1
            shown = " ".join(Path(part).name for part in command[:4])
            print(f"Python {VERSION}: {shown} ended with {run.returncode}:\n{run.stdout[-4000:]}{run.stderr[-2000:]}")
    if not failed:
        print(f"Python {VERSION} with its dependency set: all unit tests import, filters and playbooks are well.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

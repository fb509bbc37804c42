"""Run ansible-playbook on hosts of a made-up inventory; nothing leaves this process's machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run(path, plays, inventory, *arguments):
    """Run plays in the directory I(path); return the exit code and what is said."""
    (path / "inventory.json").write_text(json.dumps(inventory))
    (path / "play.json").write_text(json.dumps(plays))
    (path / "ansible.cfg").write_text("[defaults]\nnocolor = True\n")
    result = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "inventory.json", "play.json", *arguments],
        cwd=path,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(path / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr

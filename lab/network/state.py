"""What the network remembers on disk: which hosts there are; and the lock that its writers share."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.paths import Lab


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """One writer of the lab's network at a time, over all processes. Not to be nested."""
    lab.network_state.mkdir(parents=True, exist_ok=True)
    with (lab.network_state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_json(file: Path, content: Any) -> None:
    """Replace the file's content at once."""
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True))
    temporary.replace(file)


def hosts_file(lab: Lab) -> Path:
    return lab.network_state / "hosts.json"


def known_hosts(lab: Lab) -> dict[str, dict]:
    """Instance id to VPC and interfaces, as of the last apply."""
    try:
        return json.loads(hosts_file(lab).read_text())
    except FileNotFoundError:
        return {}

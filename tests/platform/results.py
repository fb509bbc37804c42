"""Results of faults and operations, kept until the page of results is written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path


def load(path: Path) -> list[dict]:
    """All results of a file, the oldest first."""
    return json.loads(path.read_text()) if path.exists() else []


def record(path: Path, outcome: object) -> None:
    """Add an outcome, a dataclass or a dict, to the results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = outcome if isinstance(outcome, dict) else asdict(outcome)
    path.write_text(json.dumps([*load(path), found], indent=1) + "\n")

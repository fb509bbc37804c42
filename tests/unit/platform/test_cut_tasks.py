"""The tasks at which tests on the platform end a run have the names that roles and playbooks give them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
#: As ansible-playbook shows a task of a role or of an imported file: "restart | Restart etcd".
TASK_NAME = re.compile(r"\w+ \| [A-Z].+")


def named_tasks():
    """Where a test names a task, and its name."""
    for path in sorted((ROOT / "tests" / "platform").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and TASK_NAME.fullmatch(node.value):
                yield f"{path.name}:{node.lineno}", node.value


def shown_names(tasks):
    """The names of tasks that a run shows: what is imported shows its own tasks, and a block shows those in it."""
    for task in tasks:
        for inner in ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks", "handlers"):
            yield from shown_names(task.get(inner, []))
        if not any(key.startswith("ansible.builtin.import_") or key in ("block", "hosts") for key in task):
            yield task.get("name", "")


@pytest.fixture(scope="module")
def tasks():
    files = [*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
    found = [yaml.safe_load(path.read_text()) for path in files]
    return [name for document in found if isinstance(document, list) for name in shown_names(document)]


@pytest.mark.parametrize(("place", "name"), list(named_tasks()))
def test_a_named_task_exists(tasks, place, name):
    assert any(name in task for task in tasks), f"{place} waits for the task {name!r}, which nothing has"

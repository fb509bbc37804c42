"""What roles and playbooks say to the operator is one sentence, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted([*ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("playbooks/**/*.yml")])
SAID = ("msg", "fail_msg", "success_msg")


class Loader(yaml.SafeLoader):
    """Takes Ansible's own tags for what they stand before."""


Loader.add_multi_constructor("!", lambda loader, _tag, node: loader.construct_scalar(node))


def messages(found: object) -> Iterator[str]:
    if isinstance(found, dict):
        yield from (text for name, text in found.items() if name in SAID and isinstance(text, str))
    for inner in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from messages(inner)


def line_breaks(text: str) -> int:
    """How many line breaks are said: YAML keeps those beside a line that is indented more than the others."""
    return re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", text, flags=re.DOTALL).strip().count("\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_message_has_a_line_break(path):
    said = list(messages(yaml.load(path.read_text(), Loader)))  # noqa: S506 (a safe loader)
    assert [text for text in said if line_breaks(text)] == []


def test_a_line_break_beside_a_line_that_is_indented_more_is_found():
    folded = yaml.safe_load("msg: >-\n  {{ a\n     if b else c }}. Run\n  this again\n")
    assert [line_breaks(text) for text in messages([{"tasks": [folded]}])] == [1]

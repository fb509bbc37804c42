"""Runs what a page of docs/ shows, so that no example is wrong.

Every block marked ```yaml of the page counts: a mapping holds inventory variables (a later block changes earlier
ones), a list of plays is a playbook, a list of tasks is run on localhost. A block after a line `<!-- not run -->`
is left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.integration.front_client import REGION, ROOT, Front

BLOCK = re.compile(r"(<!-- not run -->\n+)?^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLATFORM = {
    "platform_name": "trading",
    "platform_environment": "test",
    "platform_region": REGION,
    "platform_zones": [f"{REGION}{letter}" for letter in "abc"],
    "platform_domain": "trading.internal",
    "platform_network": {"cidr": "10.20.0.0/16"},
    "platform_tiers": [],
}
RECAP = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)


@dataclass
class Page:
    """What a page shows: variables and playbooks, in order."""

    variables: dict[str, Any] = field(default_factory=dict)
    playbooks: list[list[dict[str, Any]]] = field(default_factory=list)


def read(name: str) -> Page:
    """The examples of docs/<name>."""
    page = Page()
    for left_out, text in BLOCK.findall((ROOT / "docs" / name).read_text()):
        if left_out:
            continue
        content = yaml.safe_load(text)
        if isinstance(content, dict):
            page.variables |= content
        elif all("hosts" in entry or "import_playbook" in str(entry) for entry in content):
            page.playbooks.append(content)
        else:
            page.playbooks.append([play_of(content)])
    assert page.variables or page.playbooks, f"docs/{name} shows nothing that can be run"
    return page


def play_of(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "Example",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "module_defaults": {"group/selfhosted.ec2.aws": {"region": "{{ platform_region }}"}},
        "tasks": tasks,
    }


def run(front: Front, directory: Path, *arguments: Path | str) -> tuple[int, str]:
    """Run playbooks with the inventory of the directory; return how many tasks changed something, and the output."""
    counts, output = recaps(front, directory, *arguments)
    return counts[-1], output


def recaps(front: Front, directory: Path, *arguments: Path | str) -> tuple[list[int], str]:
    """Run playbooks; return how many tasks have changed something after each of them, and the output."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(directory / "hosts.yml")]
    environment = {**front.environment, "ANSIBLE_LOCALHOST_WARNING": "0"}
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return [int(changed) for _host, changed, _unreachable, _failed in RECAP.findall(output)], output


def inventory(directory: Path, variables: dict[str, Any]) -> None:
    """Write an inventory of localhost alone with these variables, over those of a small platform."""
    directory.mkdir(parents=True, exist_ok=True)
    interpreter = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    description = {"all": {"vars": {**PLATFORM, **interpreter, **variables}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(description))


def run_page(front: Front, directory: Path, name: str, playbook: str = "") -> str:
    """Run all that docs/<name> shows, then playbooks/<playbook>, twice: the second time nothing changes.

    Returns the output of the first time.
    """
    page = read(name)
    inventory(directory, page.variables)
    paths: list[Path] = []
    for number, content in enumerate(page.playbooks):
        path = directory / f"example_{number}.yml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        paths.append(path)
    if playbook:
        paths.append(ROOT / "playbooks" / playbook)
    # Both times in one process: Ansible's start costs seconds, and its counts go on from playbook to playbook.
    counts, output = recaps(front, directory, *paths, *paths)
    changed, again = counts[len(paths) - 1], counts[-1] - counts[len(paths) - 1]
    first = "PLAY RECAP".join(output.split("PLAY RECAP")[: len(paths) + 1])
    assert changed, f"What docs/{name} shows changed nothing:\n{first}"
    assert again == 0, f"What docs/{name} shows changed something once more:\n{output[len(first) :]}"
    return first

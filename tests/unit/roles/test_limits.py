"""Playbooks whose first play refuses for all later ones, run with and without --limit."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.unit.roles import playing

HOSTS = ["control-1", "control-2", "control-3", "workers-1"]
GIVEN = {
    "reset_kubernetes": {"node": "control-2", "reset_confirm": "control-2"},
    "replace_node": {"node": "control-2", "replace_confirm": "control-2"},
    "remove_nodes": {"platform_remove": ["control-4"], "platform_confirm": ["control-4"]},
}
REFUSAL = "run it without --limit"


def run(path, playbook, given, *arguments):
    """Run a playbook whose later plays only say that they were played, on hosts that nobody can reach."""
    (path / "tasks").symlink_to(playing.ROOT / "playbooks/tasks")
    first, *rest = yaml.safe_load((playing.ROOT / "playbooks" / f"{playbook}.yml").read_text())
    said = [{"ansible.builtin.debug": {"msg": "PLAYED"}}]
    later = [{"hosts": play.get("hosts", "localhost"), "gather_facts": False, "tasks": said} for play in rest]
    tiers = [
        {"name": "control", "components": ["kubernetes", "kubernetes_control_plane"], "count": 3},
        {"name": "workers", "components": ["kubernetes"], "count": 1},
    ]
    groups = {"kubernetes": HOSTS, "kubernetes_control_plane": HOSTS[:3], "state_running": [*HOSTS, "control-4"]}
    groups["tier_control"] = HOSTS[:3]
    children = {name: {"hosts": dict.fromkeys(hosts, {})} for name, hosts in groups.items()}
    inventory = {"all": {"vars": {"platform_tiers": tiers}, "children": children}}
    return playing.run(path, [first, *later], inventory, "-e", json.dumps(given), *arguments)


@pytest.mark.parametrize("limit", ["control-2", "control-2,localhost", "control-4"])
@pytest.mark.parametrize("playbook", list(GIVEN))
def test_with_a_limit_nothing_of_it_is_played(tmp_path, playbook, limit):
    """A limit would leave the refusals out, or the plays that take a node from its cluster before its host is wiped."""
    code, said = run(tmp_path, playbook, GIVEN[playbook], "--limit", limit)
    assert code != 0 and "PLAYED" not in said and REFUSAL in " ".join(said.split())


@pytest.mark.parametrize("playbook", list(GIVEN))
def test_without_one_it_goes_on_when_it_is_confirmed(tmp_path, playbook):
    code, said = run(tmp_path, playbook, GIVEN[playbook])
    assert code == 0 and "PLAYED" in said, said


@pytest.mark.parametrize("playbook", list(GIVEN))
def test_without_a_confirmation_nothing_of_it_is_played(tmp_path, playbook):
    code, said = run(tmp_path, playbook, {})
    assert code != 0 and "PLAYED" not in said and REFUSAL not in " ".join(said.split())

"""Run ansible-playbook on hosts of a made-up inventory; nothing leaves this process's machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

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


def write(path, role, unit, documents, sets, variables, tasks):
    """Render documents of a role and the unit of its template on hosts, each with settings of its own.

    :arg documents: dict of name to an expression, or to a text that is rendered.
    :arg sets: dict of host to what is set there, over the role's defaults and I(variables).
    :arg tasks: further ones, before what is rendered.
    :returns: dict of host to its documents, with C(unit), the lines of its unit.
    """
    first = [{"ansible.builtin.include_vars": {"file": str(role / part / "main.yml")}} for part in ("defaults", "vars")]
    own = [
        {"ansible.builtin.set_fact": facts, "when": f"inventory_hostname == '{host}'"}
        for host, facts in sets.items()
        if facts
    ]
    dest = f"{path}/{{{{ inventory_hostname }}}}"
    shown = {"dest": f"{dest}.yaml", "content": "{{ documents | to_nice_yaml }}"}
    last = [
        {"ansible.builtin.copy": shown, "vars": {"documents": documents}},
        {"ansible.builtin.template": {"src": str(role / "templates" / unit), "dest": f"{dest}.service"}},
    ]
    hosts = dict.fromkeys(sets, variables)
    inventory = {"all": {"hosts": hosts, "children": {"state_running": {"hosts": dict.fromkeys(hosts, {})}}}}
    play = {"name": "Write", "hosts": "all", "gather_facts": False, "tasks": [*first, *tasks, *own, *last]}
    code, text = run(path, [play], inventory)
    assert code == 0, text
    return {
        host: {
            **yaml.safe_load((path / f"{host}.yaml").read_text()),
            "unit": (path / f"{host}.service").read_text().splitlines(),
        }
        for host in sets
    }


def judged(rules):
    """What preflight rules would say, as texts that are rendered."""
    return [f"{{% if not ({rule['that']}) %}}{rule['message']}{{% else %}}nothing{{% endif %}}" for rule in rules]

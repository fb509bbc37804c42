"""The action of config_files in a real play: rendering, one execution, notifications by file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.selfhosted.ec2.plugins.action import config_files as action

ROOT = Path(__file__).parents[4]

PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {color: green}
  tasks:
    - name: Write
      selfhosted.ec2.config_files:
        files:
          - {dest: "{{ out }}/a.conf", template: a.conf.j2, vars: {shape: round}, notify: [One, Two]}
          - {dest: "{{ out }}/b.conf", content: "b {{ value }}\\n", notify: Two}
          - {dest: "{{ out }}/c.conf", content: "c\\n", notify: Three, secret: true}
      notify: Any
      register: result
    - {name: Keep, ansible.builtin.copy: {content: "{{ result | to_json }}", dest: "{{ out }}.json", mode: "0600"}}
  handlers:
    - {name: One, ansible.builtin.debug: {msg: one}}
    - {name: Two, ansible.builtin.debug: {msg: two}}
    - {name: Three, ansible.builtin.debug: {msg: three}}
    - {name: Any, ansible.builtin.debug: {msg: any}}
"""

TEMPLATE = """\
# {{ ansible_managed }}
{% for item in [1, 2] %}
{{ item }} {{ color }} {{ shape }} {{ template_path }}
{% endfor %}
[{% include 'part.j2' %}]
last
"""


@pytest.fixture
def play(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "ansible.cfg").touch()
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "templates/a.conf.j2").write_text(TEMPLATE)
    (tmp_path / "templates/part.j2").write_text("part of {{ inventory_hostname }}\n")

    def run(*options, value="1"):
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache"),
            "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
        }
        extra = json.dumps({"out": str(tmp_path / "out"), "value": value, "ansible_python_interpreter": sys.executable})
        command = [sys.executable, "-m", "ansible", "playbook", str(tmp_path / "play.yml"), "-i", "localhost,"]
        process = subprocess.run(
            [*command, "-e", extra, *options], capture_output=True, text=True, env=environment, check=False
        )
        assert process.returncode == 0, process.stdout + process.stderr
        handlers = re.findall(r"RUNNING HANDLER \[(\w+)\]", process.stdout)
        return handlers, json.loads((tmp_path / "out.json").read_text())

    return run


def test_renders_and_notifies_by_file(play, tmp_path):
    handlers, _result = play("--diff")
    assert handlers == ["One", "Two", "Three", "Any"]
    assert (tmp_path / "out/a.conf").read_text() == (
        "# Managed by Ansible, changes made here are overwritten\n"
        "1 green round a.conf.j2\n2 green round a.conf.j2\n[part of localhost]\nlast\n"
    )
    assert play()[0] == []
    handlers, result = play("-vvv", value="hunter2")
    assert handlers == ["Two", "Any"]
    assert result["notified"] == ["Two"]
    assert result["changed_files"] == [str(tmp_path / "out/b.conf")]
    assert "hunter2" not in json.dumps(result)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"content": "x"}, "has no dest"),
        ({"dest": "/x"}, "either template or content"),
        ({"dest": "/x", "content": "x", "template": "y"}, "either template or content"),
        ({"dest": "/x", "content": {"a": 1}}, "is a dict, not text"),
        ({"dest": "/x", "content": "x", "mode": 0o640}, "write it in quotes"),
    ],
)
def test_bad_input(option, message):
    with pytest.raises(AnsibleActionFail, match=message):
        action.check_file(option)

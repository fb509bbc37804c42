"""Whole runs of ansible-playbook on the controller, with roles and AWS of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parents[4]
REGION = "eu-west-1"

ROLES = {
    "alpha": {
        "defaults/main.yml": {
            "alpha_group": "alpha",
            "alpha_members": "{{ groups[alpha_group] }}",
            "alpha_port": 2379,
            "alpha_password": "{{ platform_secrets['alpha/password'] }}",
            "alpha_length": "{{ alpha_password | length }}",
            "alpha_memory": "{{ ansible_facts['memtotal_mb'] // 4 }}",
        },
        "meta/argument_specs.yml": {
            "argument_specs": {
                "main": {
                    "options": {
                        "alpha_port": {"type": "int", "description": "The port."},
                        "alpha_token": {"type": "str", "required": True, "description": "The token of the cluster."},
                        "alpha_password": {"type": "str", "description": "The password."},
                        "alpha_length": {"type": "int", "description": "Its length."},
                        "alpha_memory": {"type": "int", "description": "Memory."},
                    }
                },
                "restart": {"options": {"alpha_patience": {"type": "int", "description": "Seconds."}}},
            }
        },
        "vars/preflight.yml": {
            "rules": [
                {
                    "that": "alpha_members | length % 2 == 1",
                    "message": "alpha_members has {{ alpha_members | length }} members; give an odd number.",
                },
                {
                    "that": ["alpha_port > 1024", "alpha_port < 65536"],
                    "message": "alpha_port is {{ alpha_port }} on {{ inventory_hostname }}; give 1025 to 65535.",
                },
                {"warning": True, "that": "alpha_port != 6443", "message": "alpha_port is 6443, as others have it."},
                {"that": "alpha_length >= 12", "message": "alpha_password is too short; give 12 characters."},
            ]
        },
        "vars/secrets.yml": {"secrets": [{"name": "alpha/password", "length": 32}]},
    },
    "alpha_extra": {"defaults/main.yml": {"alpha_extra_speed": 1}},
}


@pytest.fixture
def roles(tmp_path):
    """A folder with the roles alpha and alpha_extra."""
    for role, files in ROLES.items():
        for name, content in {"tasks/main.yml": [], **files}.items():
            path = tmp_path / "roles" / role / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content))
    return tmp_path / "roles"


@pytest.fixture
def inventory(tmp_path):
    """Three hosts with the component alpha, one without; nothing answers at their address."""
    path = tmp_path / "hosts.yml"
    content = {
        "all": {
            "vars": {
                "platform_name": "trading",
                "platform_region": REGION,
                "ansible_host": "192.0.2.1",
                "alpha_token": "one",
            },
            "children": {"alpha": {"hosts": {"a-1": {}, "a-2": {}, "a-3": {}}}, "edge": {"hosts": {"edge-1": {}}}},
        }
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def play(tmp_path, inventory, monkeypatch):
    """Return a function that runs a playbook of the given tasks and returns (exit code, output)."""
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    (tmp_path / "ansible.cfg").write_text("[defaults]\ninject_facts_as_vars = False\n")
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".cache"))
    monkeypatch.setenv("ANSIBLE_LOCAL_TEMP", str(tmp_path / "tmp"))

    def run(tasks, *arguments, hosts="alpha", variables=None):
        path = tmp_path / "play.yml"
        path.write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": tasks}]))
        extra = ["-e", yaml.safe_dump(variables, default_flow_style=True, width=10**6)] if variables else []
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(path)]
        done = subprocess.run(
            [*command, *extra, *arguments], capture_output=True, text=True, check=False, env={**os.environ}
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def cloud(monkeypatch):
    """moto on loopback; returns a function that gives a client."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    # Its state belongs to the process, so earlier tests left theirs.
    urllib.request.urlopen(f"{url}/moto-api/reset", data=b"").close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unittesting")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unittesting")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield lambda service: boto3.client(service, region_name=REGION, endpoint_url=url)
    server.stop()

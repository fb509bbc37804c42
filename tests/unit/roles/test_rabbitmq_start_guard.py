"""The script that refuses a start of RabbitMQ without its own data."""

import json
import types
from pathlib import Path

import jinja2
import pytest

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "rabbitmq" / "templates" / "start-guard.py.j2"
MINE = {"member": "queue-1", "domain": "trading.internal", "version": "4.0.5-6"}


@pytest.fixture
def guard(tmp_path):
    """The script with files of its own."""
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 (Python, not HTML)
    environment.filters.update(comment=lambda text: f"# {text}", to_json=json.dumps)
    values = {
        "__rabbitmq_name": "queue-1",
        "platform_domain": "trading.internal",
        "__rabbitmq_data_dir": str(tmp_path / "data"),
        "__rabbitmq_identity_file": str(tmp_path / "identity.json"),
        "__rabbitmq_bootstrap_file": str(tmp_path / "bootstrap"),
        "__rabbitmq_upgrades": {"3.10": ["3.11"], "4.0": ["4.2"]},
    }
    module = types.ModuleType("guard")
    exec(environment.from_string(TEMPLATE.read_text()).render(values), vars(module))  # noqa: S102
    module.INSTALLED = str(tmp_path / "rabbitmq_server-*")
    (tmp_path / "rabbitmq_server-4.0.5").mkdir()
    return module


@pytest.mark.parametrize(
    ("identity", "holds_data", "permitted", "installed", "reason"),
    [
        (MINE, True, False, "4.0.5", ""),
        (MINE, True, False, "4.2.1", ""),
        (None, False, True, "4.0.5", ""),
        (None, False, False, "4.0.5", "its volume has no identity"),
        (None, True, False, "4.0.5", "its volume has no identity"),
        (MINE, False, True, "4.0.5", "its volume has an identity, but no data"),
        ({**MINE, "member": "queue-2"}, True, True, "4.0.5", "its volume belongs to queue-2 of trading.internal"),
        ({**MINE, "version": "3.10.8-1"}, True, False, "4.0.5", "its data is of RabbitMQ 3.10, and 4.0 does not"),
        (MINE, True, False, "4.3.0", "its data is of RabbitMQ 4.0, and 4.3 does not"),
    ],
)
def test_who_may_start(guard, identity, holds_data, permitted, installed, reason):
    found = guard.fault(identity, holds_data, permitted, installed)
    assert found.startswith(reason) if reason else found == ""


def test_the_files_are_read(guard, tmp_path):
    with pytest.raises(SystemExit, match=r"RabbitMQ does not start: its volume has no identity"):
        guard.main()
    (tmp_path / "bootstrap").write_text("queue-1\n")
    guard.main()
    (tmp_path / "identity.json").write_text(json.dumps(MINE))
    with pytest.raises(SystemExit, match="no data"):
        guard.main()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "schema.DAT").write_text("")
    guard.main()

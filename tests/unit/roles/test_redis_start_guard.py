"""The script that decides a Redis server's role at its start, against Sentinels of its own."""

import json
from pathlib import Path

import pytest

from tests.unit.roles import program

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "redis" / "templates" / "start-guard.py.j2"
ME, OTHER = "cache-1.trading.internal", "cache-2.trading.internal"
SENTINELS = [ME, OTHER, "cache-3.trading.internal"]
LIVE = ["flags", "slave", "slave-repl-offset", "100"]
DOWN = ["flags", "s_down,slave,disconnected", "slave-repl-offset", "100"]
NEVER_SYNCED = ["flags", "slave", "slave-repl-offset", "0"]


@pytest.fixture
def guard(tmp_path, monkeypatch):
    """The script with a clock of its own, and settings."""
    module = program.load(TEMPLATE)
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    module.settings = {
        "name": "cache-1",
        "host": ME,
        "domain": "trading.internal",
        "hosts": SENTINELS,
        "service": "main",
        "port": 6379,
        "identity_file": str(tmp_path / "identity.json"),
        "bootstrap_file": str(tmp_path / "bootstrap"),
        "wait": 60,
    }
    (tmp_path / "identity.json").write_text(json.dumps({"member": "cache-1", "domain": "trading.internal"}))
    return module


def sentinels(guard, named, replicas=(), promoted=None):
    """Let the Sentinels name a host each; a failover makes them all name I(promoted)."""
    asked = []

    def ask(host, _settings, *words):
        asked.append(words[1])
        if words[1] == "REPLICAS":
            return list(replicas)
        if words[1] == "FAILOVER":
            if promoted:
                named.update(dict.fromkeys(SENTINELS, promoted))
            return "OK"
        primary = named.get(host)
        return [primary, "6379"] if primary else OSError("no answer")

    guard.ask = ask
    return asked


def test_replica_of_whom_a_majority_names(guard):
    sentinels(guard, {ME: OTHER, OTHER: OTHER})
    assert guard.decide(guard.settings) == f"replicaof {OTHER} 6379"


@pytest.mark.parametrize("named", [{}, {ME: ME}, {ME: ME, OTHER: OTHER}])
def test_without_a_majority_it_does_not_start(guard, named):
    sentinels(guard, dict(named))
    with pytest.raises(SystemExit, match="no majority of the Sentinels names a primary"):
        guard.decide(guard.settings)


def test_named_primary_lets_a_live_replica_take_over(guard):
    asked = sentinels(guard, dict.fromkeys(SENTINELS, ME), [LIVE], promoted=OTHER)
    assert guard.decide(guard.settings) == f"replicaof {OTHER} 6379"
    assert "FAILOVER" in asked


@pytest.mark.parametrize("replica", [DOWN, NEVER_SYNCED])
def test_named_primary_starts_as_such_when_no_replica_can_take_over(guard, replica):
    asked = sentinels(guard, dict.fromkeys(SENTINELS, ME), [replica])
    assert guard.decide(guard.settings).startswith("# named by the Sentinels")
    assert "FAILOVER" not in asked


@pytest.mark.parametrize("identity", ["", '{"member": "cache-2", "domain": "trading.internal"}'])
def test_empty_or_foreign_volume_never_becomes_the_primary(guard, identity):
    Path(guard.settings["identity_file"]).write_text(identity)
    sentinels(guard, dict.fromkeys(SENTINELS, ME), [DOWN])
    with pytest.raises(SystemExit, match="its volume is empty or another member's"):
        guard.decide(guard.settings)


def test_first_start_of_all_is_the_exception(guard):
    Path(guard.settings["identity_file"]).unlink()
    Path(guard.settings["bootstrap_file"]).touch()
    sentinels(guard, dict.fromkeys(SENTINELS, ME))
    assert guard.decide(guard.settings).startswith("# the first start of all")

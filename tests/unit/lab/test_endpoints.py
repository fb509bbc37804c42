"""What `make lab` shows at its end."""

from __future__ import annotations

import pytest

from lab import endpoints


def node(name, ready="True", **labels):
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": {"kubeletVersion": "v1.37.2"}},
    }


def test_nodes_are_shown_with_their_zones(capsys):
    zone = {"topology.kubernetes.io/zone": "eu-west-1a"}
    found = endpoints.node_rows([node("ip-2", **zone), node("ip-1", **zone)])
    assert found == [(name, "Ready", "eu-west-1a", "v1.37.2") for name in ("ip-1", "ip-2")]
    endpoints.show_nodes(found)
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["node", "ready", "zone", "version"],
        ["ip-1", "Ready", "eu-west-1a", "v1.37.2"],
        ["ip-2", "Ready", "eu-west-1a", "v1.37.2"],
    ]
    with pytest.raises(SystemExit, match="ip-3, ip-4 is not ready or has no zone"):
        endpoints.show_nodes(endpoints.node_rows([node("ip-3"), node("ip-4", "False", **zone)]))


def test_a_control_plane_that_runs_is_asked(monkeypatch):
    asked = []

    def run(command, **_options):
        asked.append(command)
        text = 'control-2 | CHANGED | rc=0 >>\n{"kind": "NodeList", "items": [1]}\n'
        return type("Done", (), {"stdout": text})

    monkeypatch.setattr(endpoints.subprocess, "run", run)
    hosts = {"hosts": ["control-1", "control-2"]}
    found = {"kubernetes_control_plane": hosts, "state_running": {"hosts": ["control-2", "workers-1"]}}
    assert endpoints.kubernetes_nodes(found) == [1]
    assert asked[0][3] == "control-2"

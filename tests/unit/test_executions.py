"""For which host the bench's callback counts an execution."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

PATH = Path(__file__).resolve().parents[2] / "bench/callback_plugins/executions.py"
SPEC = importlib.util.spec_from_file_location("executions", PATH)
executions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(executions)


def to(host):
    return {"_ansible_delegated_vars": {"ansible_delegated_host": host}}


@pytest.mark.parametrize(
    ("delegate_to", "told", "hosts"),
    [
        (None, {}, ["workers-3"]),
        (None, {"results": [{}, {}]}, ["workers-3", "workers-3"]),
        ("control-1", to("control-1"), ["control-1"]),
        # With no_log all else is taken away.
        ("control-1", {"censored": "hidden"}, ["control-1"]),
        ("{{ item }}", {"results": [to("control-1"), to("control-2")]}, ["control-1", "control-2"]),
        ("{{ item }}", {"results": ["hidden"]}, ["workers-3"]),
    ],
)
def test_a_delegated_execution_counts_for_the_host_that_it_ran_on(delegate_to, told, hosts):
    task, host = SimpleNamespace(delegate_to=delegate_to), SimpleNamespace(get_name=lambda: "workers-3")
    assert executions.ran_on(SimpleNamespace(_task=task, _host=host, _result=told)) == hosts

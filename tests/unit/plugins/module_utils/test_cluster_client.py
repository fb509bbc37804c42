"""What the modules of all clusters share."""

from __future__ import annotations

import json

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client


class Ended(Exception):
    """The module has ended."""


class Module:
    """Keeps what a module ends with."""

    def __init__(self, **params):
        self.params = params

    def exit_json(self, **result):
        raise Ended(result)

    def fail_json(self, **result):
        raise Ended({"failed": True, **result})


def test_reading_goes_on_until_nothing_is_missing():
    answers = iter(["joins", "copies", "well", "never read"])
    missing = {"joins": "It joins.", "copies": "It copies.", "well": ""}
    assert cluster_client.wait_until(lambda: next(answers), missing.get, 60, pause=0) == ("well", "")


def test_without_a_time_to_wait_it_is_read_once():
    answers = iter(["joins", "well"])
    found = cluster_client.wait_until(lambda: next(answers), lambda answer: "" if answer == "well" else answer, 0)
    assert found == ("joins", "joins")


def test_the_gate_asks_for_what_the_options_say():
    module = Module(name="a", require="healthy", wait=0)
    asked = []
    cluster_client.gate(module, lambda params: {"of": params["name"]}, lambda *words: asked.append(words))
    assert asked == [({"of": "a"}, "a", "healthy")]


@pytest.mark.parametrize(
    ("sentence", "result"),
    [("", {"changed": False, "leader": "a"}), ("b is away.", {"failed": True, "msg": "b is away.", "leader": "a"})],
)
def test_a_module_fails_with_what_is_missing(sentence, result):
    with pytest.raises(Ended) as ended:
        cluster_client.leave(Module(), {"leader": "a"}, sentence)
    assert ended.value.args == (result,)


def test_all_members_are_asked():
    assert cluster_client.ask_all({"a": 1, "b": 2}, str.upper) == {"a": "A", "b": "B"}
    assert cluster_client.ask_all({}, str.upper) == {}


def test_the_identity_of_a_volume(tmp_path):
    path = tmp_path / "identity.json"
    assert cluster_client.read_identity(None) is None
    assert cluster_client.read_identity(path) is None
    path.write_text(json.dumps({"member": "a"}))
    assert cluster_client.read_identity(path) == {"member": "a"}
    path.write_text("{")
    with pytest.raises(ValueError):
        cluster_client.read_identity(path)

from types import SimpleNamespace

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils.haproxy import RuntimeFault
from ansible_collections.selfhosted.ec2.plugins.modules import haproxy_runtime


class FakeRuntime:
    """Servers of two services; a drained server loses one session each time it is looked at."""

    def __init__(self):
        self.orders = []
        self.state = {
            (service, server): {
                "service": service,
                "server": server,
                "status": "UP",
                "check": "L7OK 200",
                "sessions": 2,
                "administrative": "ready",
            }
            for service in ("web", "raw")
            for server in ("a", "b")
        }

    def servers(self):
        for entry in self.state.values():
            if entry["administrative"] != "ready":
                entry["sessions"] = max(0, entry["sessions"] - 1)
        return [dict(entry) for entry in self.state.values()]

    def order(self, command):
        self.orders.append(command)
        words = command.split()
        if words[:2] == ["set", "server"]:
            self.state[tuple(words[2].split("/"))]["administrative"] = words[4]


class FakeModule:
    def __init__(self, check_mode=False, **params):
        self.check_mode = check_mode
        self.commands = []
        self.params = {
            "server": "a",
            "service": "",
            "state": "drain",
            "save_command": ["save"],
            "allow_last": False,
            "keep_last": False,
            "allow_missing": False,
            "drain_timeout": 5,
            "shutdown_sessions": False,
            **params,
        }

    def run_command(self, command):
        self.commands.append(command)
        return 0, "", ""


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time that passes by sleeping only."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(haproxy_runtime, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))


def test_a_server_is_drained_in_all_services_and_the_state_saved():
    module, runtime = FakeModule(), FakeRuntime()
    diff = haproxy_runtime.set_state(module, runtime)
    assert diff == {"before": "web/a ready\nraw/a ready\n", "after": "web/a drain\nraw/a drain\n"}
    assert runtime.orders == ["set server web/a state drain", "set server raw/a state drain"]
    assert module.commands == [["save"]]
    assert haproxy_runtime.set_state(module, runtime) is None
    assert module.commands == [["save"]]


def test_a_pattern_means_several_services_and_a_server_that_none_has_may_be_no_error():
    runtime = FakeRuntime()
    haproxy_runtime.set_state(FakeModule(service="w*"), runtime)
    assert runtime.orders == ["set server web/a state drain"]
    with pytest.raises(RuntimeFault, match="There is no server c in service w"):
        haproxy_runtime.set_state(FakeModule(service="w*", server="c"), runtime)
    module = FakeModule(service="w*", server="c", allow_missing=True)
    assert haproxy_runtime.set_state(module, runtime) is None
    assert runtime.orders == ["set server web/a state drain"] and module.commands == []


def test_check_mode_says_the_same_and_orders_nothing():
    module, runtime = FakeModule(check_mode=True, service="web"), FakeRuntime()
    assert haproxy_runtime.set_state(module, runtime) == {"before": "web/a ready\n", "after": "web/a drain\n"}
    assert runtime.orders == module.commands == []


def test_the_last_server_is_kept_unless_it_may_go():
    runtime = FakeRuntime()
    runtime.state["web", "b"]["status"] = "DOWN"
    with pytest.raises(RuntimeFault, match="a is the last server that is up of web; bring another one up first"):
        haproxy_runtime.set_state(FakeModule(), runtime)
    assert runtime.orders == []
    assert haproxy_runtime.set_state(FakeModule(allow_last=True), runtime)


def test_where_a_server_is_the_last_it_may_stay_and_leave_the_other_services():
    runtime = FakeRuntime()
    runtime.state["web", "b"]["status"] = "DOWN"
    runtime.state["web", "a"]["sessions"] = 1000
    diff = haproxy_runtime.set_state(FakeModule(keep_last=True), runtime)
    assert diff == {"before": "raw/a ready\n", "after": "raw/a drain\n"}
    assert runtime.orders == ["set server raw/a state drain"]
    assert haproxy_runtime.set_state(FakeModule(keep_last=True), runtime) is None


def test_sessions_that_do_not_end_are_an_error_or_are_ended():
    runtime = FakeRuntime()
    runtime.state["raw", "a"]["sessions"] = 1000
    with pytest.raises(RuntimeFault, match="after 5 s it still has sessions: 9.. of raw; wait longer"):
        haproxy_runtime.set_state(FakeModule(), runtime)
    assert runtime.state["raw", "a"]["administrative"] == "drain"
    haproxy_runtime.set_state(FakeModule(shutdown_sessions=True), runtime)
    assert runtime.orders[-1] == "shutdown sessions server raw/a"


def test_bringing_back_waits_for_nothing():
    module, runtime = FakeModule(state="ready"), FakeRuntime()
    runtime.state["web", "a"]["administrative"] = "drain"
    diff = haproxy_runtime.set_state(module, runtime)
    assert diff == {"before": "web/a drain\nraw/a ready\n", "after": "web/a ready\nraw/a ready\n"}
    assert runtime.orders == ["set server web/a state ready"]


def test_a_refused_reload_is_told_with_its_reason():
    module = FakeModule()
    module.run_command = lambda command: (1, "", "[ALERT] unknown keyword 'nonsense'")
    with pytest.raises(RuntimeFault, match="goes on with its old configuration: .*nonsense"):
        haproxy_runtime.run(module, ["reload"], "HAProxy refused to reload and goes on with its old configuration")

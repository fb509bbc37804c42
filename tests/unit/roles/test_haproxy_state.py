"""The script that keeps HAProxy's view of its servers, against a configuration and a socket of its own."""

import socket
import threading
import types
from pathlib import Path

import jinja2
import pytest

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "haproxy" / "templates" / "haproxy-state.j2"
CONFIG = """
frontend web
    bind *:80
backend web
    server a a.example:8443 check
    server b 192.0.2.2:8443 check
backend api
    server-template node 2 api.example:81 check
"""
HEAD = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state"
TAIL = "1 1 9 15 3 4 6 0 0 0"
SHOWN = f"""1
{HEAD}
3 web 1 a 10.0.0.1 2 8 {TAIL} a.example 8080 - 0 0 - - 0
3 web 2 b 192.0.2.9 0 0 {TAIL} - 8080 - 0 0 - - 0
4 api 1 node1 10.0.0.5 2 0 {TAIL} api.example 80 - 0 0 - - 0
5 gone 1 x 10.0.0.6 2 0 {TAIL} - 80 - 0 0 - - 0

"""


def answer(path, reply):
    """Answer one connection on a new socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        link, _peer = listener.accept()
        with listener, link:
            link.recv(1000)
            link.sendall(reply.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def script(tmp_path):
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 (a Python file)
    environment.filters["comment"] = lambda text: f"# {text}"
    text = environment.from_string(TEMPLATE.read_text()).render(
        ansible_managed="Managed", __haproxy_state=str(tmp_path / "state"), __haproxy_socket=str(tmp_path / "runtime")
    )
    module = types.ModuleType("haproxy_state")
    exec(compile(text, "haproxy-state", "exec"), module.__dict__)  # noqa: S102 (it has no .py name to import)
    module.CONFIG, module.MASTER = str(tmp_path / "haproxy.cfg"), str(tmp_path / "master")
    (tmp_path / "haproxy.cfg").write_text(CONFIG)
    return module


def test_state_has_the_ports_of_the_configuration_and_only_resolved_addresses(script, tmp_path):
    thread = answer(tmp_path / "runtime", SHOWN)
    script.save()
    thread.join(2)
    version, *rows = (tmp_path / "state").read_text().splitlines()
    assert version == "1"
    assert rows == [
        f"3 web 1 a 10.0.0.1 2 8 {TAIL} a.example 8443 -",
        f"3 web 2 b - 0 0 {TAIL} - 8443 -",
        f"4 api 1 node1 10.0.0.5 2 0 {TAIL} api.example 81 -",
    ]
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_clients_of_the_api_leave_the_old_worker(script, tmp_path, monkeypatch):
    """The others' connections go on there. The answers are those of HAProxy 3.0."""
    session = "{}: proto=tcpv4 src=10.0.0.4:46466 fe={} be={} srv=control-3 ts=00"
    shown = [session.format("0x1", "kubernetes", "kubernetes"), session.format("0x2", "web", "web")]
    shown.append(session.format("0x3", "kubernetes-services", "kubernetes-echo"))
    replies = {
        "reload": "Success=1\n",
        "show proc": "1124 master 2\n# workers\n1456 worker 0 0d00h00m00s\n# old workers\n1236 worker 1 0d00h18m15s\n",
        "@!1236 show sess": "\n".join(shown),
        "@!1236 shutdown session 0x1": "",
    }
    asked = []
    monkeypatch.setattr(script, "save", lambda: None)
    monkeypatch.setattr(script, "ask", lambda path, command: asked.append((path, command)) or replies[command])
    monkeypatch.setattr("sys.argv", ["haproxy-state", "reload"])
    assert script.main() == 0
    assert asked == [(script.MASTER, command) for command in replies]


def test_a_reload_counts_although_nobody_can_be_moved(script, tmp_path, monkeypatch, capsys):
    thread = answer(tmp_path / "master", "Success=1")
    monkeypatch.setattr(script, "save", lambda: None)
    monkeypatch.setattr("sys.argv", ["haproxy-state", "reload"])
    assert script.main() == 0
    thread.join(2)
    assert "Connections stay with the old worker" in capsys.readouterr().err


@pytest.mark.parametrize(("reply", "status"), [("Success=1\n--\nfine", 0), ("Success=0\n--\n[ALERT] bad", 1)])
def test_reload_ends_as_the_master_says(script, tmp_path, monkeypatch, capsys, reply, status):
    threads = [answer(tmp_path / "runtime", SHOWN), answer(tmp_path / "master", reply)]
    monkeypatch.setattr("sys.argv", ["haproxy-state", "reload"])
    assert script.main() == status
    for thread in threads:
        thread.join(2)
    assert reply in capsys.readouterr().out


def test_a_worker_that_does_not_answer_does_not_stop_a_reload(script, tmp_path, monkeypatch, capsys):
    thread = answer(tmp_path / "master", "Success=1")
    monkeypatch.setattr("sys.argv", ["haproxy-state", "reload"])
    assert script.main() == 0
    thread.join(2)
    assert "not saved" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()

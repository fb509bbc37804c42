"""The fence of a primary whose Patroni stands still: when it acts, on what, and when it does not."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.unit.roles import program

TEMPLATE = Path(__file__).resolve().parents[3] / "roles" / "postgresql" / "templates" / "fence.j2"


@pytest.fixture(scope="module")
def fence():
    return program.load(TEMPLATE)


@pytest.mark.parametrize(
    ("silent", "hangs", "restarted", "verdict"),
    [
        (0, False, False, "nothing"),
        (3.9, False, False, "nothing"),
        (4, False, False, "restart"),
        (8, False, True, "nothing"),
        (12, False, True, "end"),
        (12, False, False, "end"),
        (1, True, False, "end"),
    ],
)
def test_a_silent_patroni_is_started_anew_and_the_primary_ended_before_the_lease(
    fence, silent, hangs, restarted, verdict
):
    assert fence.decide(silent, hangs, restarted, 12) == verdict


@pytest.fixture
def server(tmp_path):
    """A process that is called postgres, with its file in a data directory."""
    program = tmp_path / "postgres"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n{tmp_path}\n")
    while Path(f"/proc/{process.pid}/comm").read_text() != "postgres\n":
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


def test_only_a_running_primary_is_watched(fence, tmp_path, server):
    assert fence.postmaster(str(tmp_path)) == server.pid
    (tmp_path / "standby.signal").touch()
    assert fence.postmaster(str(tmp_path)) == 0


@pytest.mark.parametrize("content", ["", "-17\n", "text\n", f"{os.getpid()}\n"])
def test_no_server_no_other_process_and_no_single_user_mode_is_taken_for_one(fence, tmp_path, content):
    (tmp_path / "postmaster.pid").write_text(content)
    assert fence.postmaster(str(tmp_path)) == 0


def test_maintenance_is_read_from_what_patroni_wrote_down(fence, tmp_path):
    assert fence.paused(str(tmp_path)) is False
    for pause in (True, False, None):
        (tmp_path / "patroni.dynamic.json").write_text(json.dumps({"ttl": 20, "pause": pause}))
        assert fence.paused(str(tmp_path)) is bool(pause)
    (tmp_path / "patroni.dynamic.json").write_text("{")
    assert fence.paused(str(tmp_path)) is False


def test_the_children_of_a_process_are_found(fence):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in fence.children(os.getpid())
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(("state", "ended"), [("active", [17]), ("deactivating", []), ("failed", [])])
def test_a_patroni_that_is_told_to_stop_is_left_alone(fence, monkeypatch, state, ended):
    killed = []
    shown = subprocess.CompletedProcess([], 0, stdout=f"MainPID=17\nActiveState={state}\n")
    monkeypatch.setattr(fence, "kill", lambda process, number: killed.append(process))
    monkeypatch.setattr(fence.subprocess, "run", lambda *_arguments, **_options: shown)
    fence.end_patroni("patroni.service")
    assert killed == ended


def test_a_server_that_stands_still_is_ended_by_force(fence, tmp_path, server, monkeypatch):
    monkeypatch.setattr(fence, "GRACE_SECONDS", 0.2)
    server.send_signal(signal.SIGSTOP)  # SIGQUIT waits until it goes on
    while " T " not in Path(f"/proc/{server.pid}/stat").read_text():
        time.sleep(0.01)
    fence.end_server(server.pid, str(tmp_path))
    assert server.wait(5) == -signal.SIGKILL


@pytest.fixture
def patroni(tmp_path):
    """A server that answers as Patroni's /liveness; its status can be set."""
    certificate, key = tmp_path / "ca.crt", tmp_path / "key"
    line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    line += ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(line, check=True, capture_output=True)

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.status, server.authority = 200, str(certificate)
    server.url = f"https://localhost:{server.server_port}/liveness"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_sign_of_life_is_told_from_a_loop_that_stands_still_and_from_silence(fence, patroni):
    assert fence.ask(patroni.url, patroni.authority, 5) is True
    patroni.status = 503
    assert fence.ask(patroni.url, patroni.authority, 5) is False
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        url = f"https://localhost:{silent.getsockname()[1]}/liveness"
        assert fence.ask(url, patroni.authority, 0.3) is None

import os
import socket
import threading
import time

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import haproxy

STATISTICS = """# pxname,svname,scur,status,check_status,check_code,
rw,database-1,3,UP,L7OK,200,
rw,database-2,0,DOWN,* L7STS,503,
ro,database-1,0,DOWN,L7STS,503,
ro,database-2,1,UP 1/2,L7OK,200,
ro,database-3,0,DRAIN,L7OK,200,
new,node1,0,MAINT (resolution),,,
"""
STATES = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state
3 rw 1 database-1 10.0.0.1 2 0
3 rw 2 database-2 10.0.0.2 0 0
4 ro 1 database-1 10.0.0.1 0 0
4 ro 2 database-2 10.0.0.2 2 0
4 ro 3 database-3 10.0.0.3 2 8
5 new 1 node1 - 0 33
"""


@pytest.fixture
def servers():
    return haproxy.parse_servers(STATISTICS, STATES)


def test_servers_have_what_both_views_say(servers):
    assert servers[1] == {
        "service": "rw",
        "server": "database-2",
        "status": "DOWN",
        "check": "L7STS 503",
        "sessions": 0,
        "administrative": "ready",
    }
    assert [server["administrative"] for server in servers] == ["ready", "ready", "ready", "ready", "drain", "maint"]


def test_a_server_that_is_going_down_is_still_up_and_a_drained_one_is_not(servers):
    assert [haproxy.is_up(server) for server in servers] == [True, False, False, True, False, False]


def test_services_without_a_server_are_told_with_the_reasons(servers):
    assert haproxy.without_server(servers, ["rw", "ro"]) == []
    assert haproxy.without_server(servers, ["new"]) == [
        "service new has no server up: node1 is MAINT (resolution) (not checked yet)"
    ]
    assert haproxy.without_server(servers, ["new/rw"]) == [], "a fallback will do"
    assert haproxy.without_server(servers, ["gone"]) == ["service gone has no server up: it has none at all"]


def test_a_name_means_the_server_in_all_services_or_in_one(servers):
    assert [entry["service"] for entry in haproxy.chosen(servers, "database-2")] == ["rw", "ro"]
    assert [entry["service"] for entry in haproxy.chosen(servers, "database-2", "ro")] == ["ro"]
    with pytest.raises(
        haproxy.RuntimeFault, match="no server database-9 in service rw; there are: database-1, database-2"
    ):
        haproxy.chosen(servers, "database-9", "rw")


def test_the_last_server_up_is_found_for_each_service(servers):
    assert haproxy.left_without(servers, haproxy.chosen(servers, "database-1")) == ["rw"]
    assert haproxy.left_without(servers, haproxy.chosen(servers, "database-2")) == ["ro"]
    assert haproxy.left_without(servers, haproxy.chosen(servers, "database-3")) == []


@pytest.fixture
def runtime(tmp_path):
    """A socket that answers each question with what `answers` holds for it."""
    answers, path = {}, str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve():
        while True:
            try:
                link, _peer = listener.accept()
            except OSError:
                return
            with link:
                link.sendall(answers.get(link.recv(1000).decode().strip(), "Unknown command.").encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield haproxy.Runtime(path), answers
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(2)


def test_answers_and_refusals_of_the_socket(runtime):
    asked, answers = runtime
    answers.update({"show info": "Name: HAProxy\nPid: 12\n", "set server rw/a state drain": "\n"})
    assert asked.info() == {"Name": "HAProxy", "Pid": "12"}
    asked.order("set server rw/a state drain")
    with pytest.raises(haproxy.RuntimeFault, match="refused 'set server rw/b state drain': Unknown command."):
        asked.order("set server rw/b state drain")


def test_a_socket_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(haproxy.RuntimeFault, match="does not answer on .*: No such file or directory"):
        haproxy.Runtime(str(tmp_path / "none")).info()


def test_files_newer_than_a_process_are_found(tmp_path):
    started = haproxy.process_start(os.getpid())
    assert time.time() - 3600 < started < time.time()
    with pytest.raises(haproxy.RuntimeFault, match="worker 999999999 is gone"):
        haproxy.process_start(999999999)
    for name in ("a.map", "b.map", "c.list"):
        (tmp_path / name).write_text("x")
    pattern = [str(tmp_path / "*.map")]
    assert haproxy.newer_files(pattern, started) == [str(tmp_path / "a.map"), str(tmp_path / "b.map")]
    assert haproxy.newer_files(pattern, time.time() + 10) == []

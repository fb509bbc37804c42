import threading
import time

import psycopg
import pytest

from tests.platform import ledger


class Server:
    """A table, and what becomes of the writes to come: number -> (error, whether it is written, warning)."""

    def __init__(self):
        self.rows = []
        self.plan = {}
        self.writes = 0
        self.lock = threading.Lock()
        self.refuse_connections = 0

    def connect(self, _conninfo):
        with self.lock:
            if self.refuse_connections:
                self.refuse_connections -= 1
                raise psycopg.OperationalError("no server")
        return Connection(self)


class Connection:
    def __init__(self, server):
        self.server = server
        self.handler = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def add_notice_handler(self, handler):
        self.handler = handler

    def execute(self, statement, parameters=None):
        if statement.startswith("SELECT"):
            return self
        if statement.startswith("INSERT"):
            with self.server.lock:
                self.server.writes += 1
                error, written, warning = self.server.plan.get(self.server.writes, (None, True, None))
                if written:
                    self.server.rows.append(tuple(parameters))
            if warning:
                self.handler(warning)
            if error:
                raise error
        return self

    def fetchall(self):
        return list(self.server.rows)


class Warned:
    message_primary = "canceling wait for synchronous replication due to user request"


def run(tmp_path, server, writes, clients=1):
    book = ledger.Ledger(["x"] * clients, tmp_path / "ids", rate=1000, connect=server.connect)
    book.prepare()
    with book:
        assert book.wait_for(writes, 5)
    return book


def test_what_was_acknowledged_is_in_the_file_and_in_the_table(tmp_path):
    server = Server()
    book = run(tmp_path, server, 30, clients=3)
    lines = [tuple(line.split()[:2]) for line in (tmp_path / "ids").read_text().splitlines()]
    assert sorted(lines) == sorted((str(item.client), str(item.sequence)) for item in book.acknowledged)
    assert len({client for client, _ in lines}) == 3
    assert book.missing() == []
    assert book.counts().acknowledged == len(lines) == len(server.rows)


def test_a_lost_acknowledged_id_is_named(tmp_path):
    server = Server()
    book = run(tmp_path, server, 10)
    lost = server.rows.pop(4)
    assert book.missing() == [lost]


def test_a_broken_connection_leaves_an_unknown_that_may_or_may_not_be_there(tmp_path):
    server = Server()
    server.plan = {
        3: (psycopg.OperationalError("gone"), True, None),
        5: (psycopg.OperationalError("gone"), False, None),
    }
    book = run(tmp_path, server, 10)
    assert (book.counts().unknown, book.counts().refused) == (2, 0)
    assert book.missing() == []
    sequences = [item.sequence for item in book.acknowledged]
    assert 3 not in sequences
    assert 5 not in sequences
    assert len(set(sequences)) == len(sequences), "an id was repeated"


def test_a_read_only_server_refuses_and_no_server_is_no_write(tmp_path):
    server = Server()
    server.plan = {2: (psycopg.errors.ReadOnlySqlTransaction("read only"), False, None)}
    server.refuse_connections = 0
    book = ledger.Ledger(["x"], tmp_path / "ids", rate=1000, connect=server.connect)
    book.prepare()
    server.refuse_connections = 4
    with book:
        assert book.wait_for(5, 5)
    counts = book.counts()
    assert (counts.refused, counts.unknown, counts.connections_failed) == (1, 0, 4)


def test_a_commit_with_a_warning_is_not_acknowledged(tmp_path):
    server = Server()
    server.plan = {4: (None, True, Warned)}
    book = run(tmp_path, server, 8)
    assert book.counts().unknown == 1
    assert 4 not in [item.sequence for item in book.acknowledged]


def test_gaps_are_those_that_end_after_the_fault():
    moments = [0.0, 5.0, 5.1, 5.2, 8.2, 8.3]
    assert ledger.longest_gap(moments, 5.15) == pytest.approx(3.0)
    assert ledger.longest_gap(moments, 1.0) == pytest.approx(5.0)
    assert ledger.longest_gap(moments, 9.0) == float("inf")


def test_a_write_that_hangs_is_cut_off(tmp_path):
    import socket

    near, far = socket.socketpair()

    class Hanging(Connection):
        def fileno(self):
            return near.fileno()

        def execute(self, statement, parameters=None):
            if statement.startswith("INSERT"):
                near.recv(1)
                raise psycopg.OperationalError("cut")
            return self

    server = Server()
    book = ledger.Ledger(["x"], tmp_path / "ids", rate=1000, patience=0.3, connect=lambda _text: Hanging(server))
    book.prepare()
    with book:
        deadline = time.monotonic() + 5
        while book.counts().unknown == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert book.counts().unknown >= 1
    near.close()
    far.close()


def test_clients_begin_with_different_edges():
    addresses = ["10.0.0.1", "10.0.0.2"]
    texts = [
        ledger.edge_conninfo("postgresql.lab.internal", addresses, 5432, first, dbname="trades") for first in (0, 1)
    ]
    first, second = (psycopg.conninfo.conninfo_to_dict(text) for text in texts)
    assert (first["hostaddr"], second["hostaddr"]) == ("10.0.0.1,10.0.0.2", "10.0.0.2,10.0.0.1")
    assert first["sslmode"] == "verify-full"
    assert first["host"] == "postgresql.lab.internal,postgresql.lab.internal"

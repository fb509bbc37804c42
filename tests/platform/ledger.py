"""Write unique ids into PostgreSQL, keep what was acknowledged, and ask for it afterwards.

An id counts as acknowledged only when the server said that the transaction is committed, without a warning. Ids whose
fate the client cannot know (the connection broke while a write was under way) are counted, and may or may not be there.

    python tests/platform/ledger.py "host=postgresql.lab.internal,... sslmode=verify-full ..." --seconds 30
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import itertools
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

CREATE = "CREATE TABLE IF NOT EXISTS ledger (client uuid, sequence bigint, PRIMARY KEY (client, sequence))"
INSERT = "INSERT INTO ledger (client, sequence) VALUES (%s, %s)"
READ = "SELECT max(sequence) FROM ledger WHERE client = %s"
SELECT = "SELECT client, sequence FROM ledger WHERE client = ANY(%s)"

#: SQLSTATE classes and codes of errors after which a write has certainly not happened: read-only transaction,
#: no resources or rights, unknown object, server starting up.
REFUSED_CLASSES = ("25", "28", "42", "53", "3D")
REFUSED_CODES = ("57P03",)


@dataclass(frozen=True)
class Acknowledgement:
    """One committed id and when its answer came, in seconds of the monotonic clock."""

    moment: float
    client: uuid.UUID
    sequence: int


@dataclass
class Counts:
    """How the writes ended. Connections that could not be made are not writes."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    connections_failed: int = 0


def edge_conninfo(name: str, addresses: list[str], port: int, first: int = 0, **parameters: object) -> str:
    """Connection string to one service behind several addresses.

    :param name: DNS name that the server's certificate must hold.
    :param addresses: the addresses; libpq tries them in this order.
    :param first: index of the address to begin with, so that clients can be spread.
    :param parameters: further libpq parameters, such as dbname, user, password, sslrootcert.
    """
    turned = [addresses[(first + i) % len(addresses)] for i in range(len(addresses))]
    return psycopg.conninfo.make_conninfo(
        host=",".join([name] * len(turned)),
        hostaddr=",".join(turned),
        port=str(port),
        sslmode="verify-full",
        connect_timeout="2",
        tcp_user_timeout="4000",
        keepalives_idle="2",
        keepalives_interval="1",
        keepalives_count="3",
        **parameters,
    )


def is_refused(error: psycopg.Error) -> bool:
    """Whether the server said that the write did not happen."""
    code = error.sqlstate or ""
    return code.startswith(REFUSED_CLASSES) or code in REFUSED_CODES


def connect(conninfo: str) -> psycopg.Connection:
    """A connection on which each statement is its own transaction, fit for a pooler in transaction mode."""
    return psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)


@dataclass
class Writer:
    """One client: writes, reconnects, never repeats an id.

    :ivar pause: seconds between two writes.
    :ivar busy_since: when the write under way began, by the monotonic clock; None between writes.
    """

    conninfo: str
    pause: float
    record: Callable[[Acknowledgement], None]
    connect: Callable[[str], psycopg.Connection] = connect
    counts: Counts = field(default_factory=Counts)
    name: uuid.UUID = field(default_factory=uuid.uuid4)
    connection: psycopg.Connection | None = None
    busy_since: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Write until `stop` is set."""
        numbers = itertools.count(1)
        while not stop.is_set():
            try:
                self.connection = self.connect(self.conninfo)
            except psycopg.Error:
                self.counts.connections_failed += 1
                stop.wait(self.pause)
                continue
            with contextlib.suppress(psycopg.Error), self.connection:
                self._write_until_it_breaks(numbers, stop)

    def step(self, sequence: int) -> None:
        """Do the one thing that is counted."""
        self.connection.execute(INSERT, [self.name, sequence])

    def cut(self) -> None:
        """Break the connection; the write under way fails then."""
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.connection.fileno())) as copy,
        ):
            copy.shutdown(socket.SHUT_RDWR)

    def _write_until_it_breaks(self, numbers: Iterator[int], stop: threading.Event) -> None:
        warnings: list[str] = []
        self.connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
        for sequence in numbers:
            self.busy_since = time.monotonic()
            try:
                self.step(sequence)
            except psycopg.Error as error:
                if is_refused(error):
                    self.counts.refused += 1
                else:
                    self.counts.unknown += 1
                # A pooler may hold a connection to a server that has become read-only: take another one.
                stop.wait(self.pause)
                return
            finally:
                self.busy_since = None
            if warnings:  # "canceling wait for synchronous replication": committed here, perhaps nowhere else
                self.counts.unknown += 1
                warnings.clear()
            else:
                self.counts.acknowledged += 1
                self.record(Acknowledgement(time.monotonic(), self.name, sequence))
            if stop.wait(self.pause):
                return


class Reader(Writer):
    """One client that reads; its answers are counted as a writer's acknowledgements are."""

    def step(self, sequence: int) -> None:
        self.connection.execute(READ, [self.name]).fetchone()


class Ledger:
    """Several writers at once, and what became of their writes.

    :param conninfos: one connection string per client.
    :param path: file that gets one line per acknowledged id, written before the next write of that client.
    :param rate: writes per second of all clients together, at most.
    :param patience: seconds after which a write under way is given up and its connection cut.
    :param reading: connection string of a client that only reads.
    """

    def __init__(
        self,
        conninfos: Iterable[str],
        path: Path,
        rate: float = 50,
        patience: float = 10,
        connect=connect,
        reading: str = "",
    ):
        self.conninfos = list(conninfos)
        self.path = path
        self.acknowledged: list[Acknowledgement] = []
        self._connect = connect
        self._lock = threading.Lock()
        self._stop = threading.Event()
        pause = len(self.conninfos) / rate
        self.writers = [Writer(text, pause, self._record, connect) for text in self.conninfos]
        self.reads: list[Acknowledgement] = []
        self.readers = [Reader(reading, pause, self.reads.append, connect)] if reading else []
        self._threads: list[threading.Thread] = []
        self._patience = patience
        self._file = None

    def _record(self, item: Acknowledgement) -> None:
        with self._lock:
            self._file.write(f"{item.client} {item.sequence} {item.moment:.6f}\n")
            self._file.flush()
            self.acknowledged.append(item)

    def prepare(self) -> None:
        """Make the table."""
        with self._connect(self.conninfos[0]) as connection:
            connection.execute(CREATE)

    def __enter__(self) -> Ledger:
        self._file = self.path.open("a")
        work = [(client.run, [self._stop]) for client in self.writers + self.readers] + [(self._watch, [])]
        self._threads = [threading.Thread(target=target, args=arguments, daemon=True) for target, arguments in work]
        for thread in self._threads:
            thread.start()
        return self

    def _watch(self) -> None:
        while any(thread.is_alive() for thread in self._threads if thread is not threading.current_thread()):
            for client in self.writers + self.readers:
                if client.busy_since and time.monotonic() - client.busy_since > self._patience:
                    client.cut()
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        deadline = time.monotonic() + self._patience + 5
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        with self._lock:
            self._file.close()
        if any(thread.is_alive() for thread in self._threads):
            raise RuntimeError(f"a writer of the ledger did not end within {self._patience + 5:.0f} s")

    def counts(self) -> Counts:
        """The writers' counts, summed."""
        total = Counts()
        for writer in self.writers:
            for name in vars(total):
                setattr(total, name, getattr(total, name) + getattr(writer.counts, name))
        return total

    def wait_for(self, writes: int, seconds: float, since: float = 0.0) -> bool:
        """Wait until so many ids were acknowledged after the moment `since`; False when the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._acknowledged_after(since) >= writes:
                return True
            time.sleep(0.05)
        return False

    def _acknowledged_after(self, moment: float) -> int:
        with self._lock:
            return len(self.acknowledged) - bisect.bisect_right([item.moment for item in self.acknowledged], moment)

    def longest_gap(self, since: float, client: uuid.UUID | None = None) -> float:
        """Longest time without an acknowledgement that ended after `since`, in seconds.

        :param client: only of this client; by default of all together.
        """
        with self._lock:
            moments = [item.moment for item in self.acknowledged if client in (None, item.client)]
        return longest_gap(moments, since)

    def worst_client_gap(self, since: float) -> float:
        """The longest gap of the client that had the longest one."""
        return max(self.longest_gap(since, writer.name) for writer in self.writers)

    def read_gap(self, since: float) -> float:
        """Longest time without an answer to the reader that ended after `since`, in seconds."""
        return longest_gap([item.moment for item in self.reads], since)

    def missing(self) -> list[tuple[uuid.UUID, int]]:
        """Acknowledged ids that the table does not have, read from the primary."""
        expected = {(item.client, item.sequence) for item in self.acknowledged}
        with self._connect(self.conninfos[0]) as connection:
            rows = connection.execute(SELECT, [[writer.name for writer in self.writers]]).fetchall()
        return sorted(expected - set(rows))


def longest_gap(moments: list[float], since: float) -> float:
    """Longest difference of neighbours in `moments`, counting those that end after `since`; infinite without any."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments) if later > since]
    return max(gaps, default=float("inf"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Write ids for a while, then look whether what was acknowledged is there."
    )
    parser.add_argument("conninfo", nargs="+", help="libpq connection string, one per client")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=50, help="writes per second of all clients together")
    parser.add_argument("--file", type=Path, default=Path("ledger.txt"))
    arguments = parser.parse_args()
    ledger = Ledger(arguments.conninfo, arguments.file, arguments.rate)
    ledger.prepare()
    started = time.monotonic()
    with ledger:
        time.sleep(arguments.seconds)
    missing = ledger.missing()
    counts = ledger.counts()
    print(
        f"{counts.acknowledged} acknowledged, {counts.refused} refused, {counts.unknown} unknown,"
        f" {counts.connections_failed} connections failed; longest gap {ledger.longest_gap(started):.2f} s;"
        f" {len(missing)} acknowledged ids are missing"
    )
    for client, sequence in missing[:20]:
        print(f"missing: {client} {sequence}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

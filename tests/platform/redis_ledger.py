"""Write unique ids into Redis, keep what was acknowledged, and ask for it afterwards.

Two kinds of acknowledgement: the primary's own answer (plain), and WAIT 1, which says that a replica has the write too.
Clients reach the primary through HAProxy or by asking the Sentinels.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.sentinel import MasterNotFoundError, Sentinel
from running import wait_until_well

PORT, SENTINEL_PORT, SERVICE = 6379, 26379, "main"
WAIT_MS = 1000
ERRORS = (redis.RedisError, MasterNotFoundError, OSError)


@dataclass(frozen=True)
class Redis:
    """How the platform's Redis is reached.

    :ivar members: address by slot.
    :ivar edges: addresses of the edge hosts, none when there is no HAProxy.
    :ivar authority: file with the platform's CA certificate.
    """

    domain: str
    members: dict[str, str]
    edges: list[str]
    authority: Path
    user: str
    password: str = field(repr=False)

    def names(self) -> dict[str, list[str]]:
        known = {f"{slot}.{self.domain}": [address] for slot, address in self.members.items()}
        return {**known, f"redis.{self.domain}": self.edges}

    def options(self, **more: object) -> dict:
        return {
            "username": self.user,
            "password": self.password,
            "ssl": True,
            "ssl_ca_certs": str(self.authority),
            "socket_timeout": 2,
            "socket_connect_timeout": 1,
            "retry": None,
            "decode_responses": True,
            **more,
        }

    def through_edge(self) -> redis.Redis:
        return redis.Redis(host=f"redis.{self.domain}", port=PORT, **self.options())

    def by_sentinel(self) -> redis.Redis:
        hosts = [(f"{slot}.{self.domain}", SENTINEL_PORT) for slot in self.members]
        return Sentinel(hosts, sentinel_kwargs=self.options(), **self.options()).master_for(SERVICE)

    def member(self, slot: str, **more: object) -> redis.Redis:
        return redis.Redis(host=f"{slot}.{self.domain}", port=PORT, **self.options(**more))

    def sentinel(self, slot: str, **more: object) -> redis.Redis:
        return redis.Redis(host=f"{slot}.{self.domain}", port=SENTINEL_PORT, **self.options(**more))

    def primary(self) -> str:
        """The slot that a majority of the Sentinels names, empty when none does."""
        named: list[str] = []
        for slot in self.members:
            with contextlib.suppress(*ERRORS):
                client = self.sentinel(slot)
                named.append(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[0].split(".")[0])
                client.close()
        return next((name for name in set(named) if named.count(name) > len(self.members) // 2), "")

    def primaries(self) -> list[str]:
        """The slots whose servers answer as a primary."""
        found = []
        for slot in self.members:
            with contextlib.suppress(*ERRORS), self.member(slot) as client:
                if client.execute_command("INFO", "replication")["role"] == "master":
                    found.append(slot)
        return found

    def complaints(self) -> list[str]:
        """What keeps Redis from being well."""
        primary, found = self.primary(), []
        if not primary:
            return ["no majority of the Sentinels names a primary"]
        for slot in self.members:
            try:
                with self.member(slot) as client:
                    state = client.execute_command("INFO", "replication")
            except ERRORS as error:
                found.append(f"{slot}: {error}")
                continue
            if slot == primary and (state["role"], state["connected_slaves"]) != ("master", len(self.members) - 1):
                found.append(f"{slot} is {state['role']} with {state['connected_slaves']} replicas")
            if slot != primary and state.get("master_link_status") != "up":
                found.append(f"{slot} does not stream")
        return found

    def wait_until_well(self, seconds: float = 60) -> None:
        """Wait until there is one primary and all others follow it. Raises NotWell."""
        wait_until_well("Redis", self.complaints, seconds, pause=0.5)


@dataclass(frozen=True)
class Acknowledgement:
    """One write and when its answer came, in seconds of the monotonic clock; whether a replica had it."""

    moment: float
    sequence: int
    waited: bool


class Writer(threading.Thread):
    """One client that writes members into a set of its own, about `rate` a second, and never repeats an id."""

    def __init__(self, connect, wait: bool, rate: float = 50):
        super().__init__(daemon=True)
        self.key = f"ledger:{uuid.uuid4()}"
        self.acknowledged: list[Acknowledgement] = []
        self.unknown = 0
        self._connect, self._wait, self._pause = connect, wait, 1 / rate
        self._stopping = threading.Event()

    def run(self) -> None:
        numbers = itertools.count(1)
        while not self._stopping.is_set():
            with contextlib.suppress(*ERRORS), self._connect() as pool, pool.client() as client:
                client.ping()
                self._write(client, numbers)
            self._stopping.wait(self._pause)

    def _write(self, client: redis.Redis, numbers: Iterator[int]) -> None:
        while not self._stopping.wait(self._pause):
            sequence = next(numbers)
            try:
                client.sadd(self.key, sequence)
                replicas = client.wait(1, WAIT_MS) if self._wait else 0
            except ERRORS:
                self.unknown += 1
                raise
            if replicas or not self._wait:
                self.acknowledged.append(Acknowledgement(time.monotonic(), sequence, self._wait))
            else:
                self.unknown += 1

    def stop(self) -> None:
        self._stopping.set()
        self.join(10)

    def missing(self, client: redis.Redis) -> list[Acknowledgement]:
        """What was acknowledged and is not there."""
        there = {int(member) for member in client.smembers(self.key)}
        return [item for item in self.acknowledged if item.sequence not in there]

    def gap(self, moment: float) -> float:
        """The longest time between two acknowledgements around and after a moment, in seconds."""
        moments = [item.moment for item in self.acknowledged]
        before = [at for at in moments if at < moment][-1:]
        later = before + [at for at in moments if at >= moment]
        return max((b - a for a, b in itertools.pairwise(later)), default=float("inf"))


class Watch(threading.Thread):
    """Asks one member all the time what it is; keeps when it answered as a primary."""

    def __init__(self, connect):
        super().__init__(daemon=True)
        self.answers: list[tuple[float, str]] = []
        self._connect = connect
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(0.02):
            with contextlib.suppress(*ERRORS), self._connect() as client:
                self.answers.append((time.monotonic(), client.execute_command("INFO", "replication")["role"]))

    def stop(self) -> None:
        self._stopping.set()
        self.join(10)


def on_host(slot: str, command: str) -> str:
    """Run a command on a host of the lab."""
    line = ["lab", "ssh", slot, command]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout

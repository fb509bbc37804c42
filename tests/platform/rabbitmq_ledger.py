"""Publish unique ids to RabbitMQ, keep what was confirmed, consume by hand-made acknowledgements, and compare.

An id counts only when the server has confirmed it. One whose fate the client cannot know may or may not arrive; one
that arrives twice is counted, since at-least-once is what is promised.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pika
import pika.exceptions
from running import wait_until_well

from lab import endpoints

VHOST = "trading"
EXCHANGE = QUEUE = "trade-notices"
ERRORS = (pika.exceptions.AMQPError, OSError)
UNIT = "rabbitmq-server"


@dataclass
class RabbitMQ:
    """How the platform's RabbitMQ is reached.

    :ivar members: address by slot.
    :ivar edges: addresses of the edge hosts.
    """

    domain: str
    members: dict[str, str]
    edges: list[str]
    authority: Path
    user: str
    password: str = field(repr=False)

    @property
    def service(self) -> str:
        return f"rabbitmq.{self.domain}"

    def names(self) -> dict[str, list[str]]:
        """Addresses by name, as the platform's resolver has them."""
        return {self.service: self.edges}

    def connect(self) -> pika.BlockingConnection:
        """A connection through the edge, on which a silent server is noticed within seconds."""
        return endpoints.rabbitmq_connection(self.service, self.user, self.password, str(self.authority))

    def on_host(self, slot: str, command: str, timeout: float = 60) -> str:
        """Output of a command on a member's host."""
        line = ["lab", "ssh", slot, command]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=timeout).stdout

    def queues(self, besides: str = "") -> dict[str, dict]:
        """Quorum queues by name, as the first member that answers sees them."""
        node = f"rabbit@$(hostname).{self.domain}"
        line = f"sudo rabbitmqctl --longnames -n {node} list_queues -q -p {VHOST} --formatter json"
        for slot in self.members:
            if slot != besides:
                with contextlib.suppress(subprocess.SubprocessError, ValueError):
                    found = json.loads(self.on_host(slot, f"{line} name leader members online messages"))
                    return {queue["name"]: queue for queue in found}
        return {}

    def leader(self, besides: str = "") -> str:
        """The member that leads the ledger's queue, an empty text when there is none."""
        leader = self.queues(besides).get(QUEUE, {}).get("leader") or ""
        return leader.partition("@")[2].partition(".")[0]

    def complaints(self) -> list[str]:
        """What keeps RabbitMQ from being well."""
        queues = self.queues()
        if not queues:
            return ["no member answers"]
        return [
            f"queue {name} is online on {len(queue['online'])} members, led by {queue['leader'] or 'none'}"
            for name, queue in queues.items()
            if len(queue["online"]) < len(self.members) or not queue["leader"]
        ]

    def wait_until_well(self, seconds: float = 180) -> None:
        """Wait until every queue has its leader and all its members online. Raises NotWell."""
        # Each look is an Erlang machine of its own on a member's host.
        wait_until_well("RabbitMQ", self.complaints, seconds, pause=3)


class Worker(threading.Thread):
    """A client that connects anew when its connection breaks, until it is stopped."""

    def __init__(self, connect, run: str):
        super().__init__(daemon=True)
        self.run_id = run
        self._connect = connect
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(*ERRORS):
                connection = self._connect()
                try:
                    self.work(connection.channel())
                finally:
                    with contextlib.suppress(*ERRORS):
                        connection.close()
            self._stopping.wait(0.1)

    def work(self, channel) -> None:
        raise NotImplementedError

    def stop(self, seconds: float = 20) -> None:
        self._stopping.set()
        self.join(seconds)


class Publisher(Worker):
    """Publishes persistent messages, one after the other, each confirmed before the next.

    :ivar confirmed: id and moment of each confirmed message.
    :ivar unknown: messages whose confirmation never came.
    """

    def __init__(self, connect, run: str, rate: float = 40):
        super().__init__(connect, run)
        self.name_ = uuid.uuid4().hex[:8]
        self.confirmed: list[tuple[str, float]] = []
        self.unknown = 0
        self._numbers = itertools.count(1)
        self._pause = 1 / rate

    def work(self, channel) -> None:
        channel.confirm_delivery()
        properties = pika.BasicProperties(delivery_mode=2)
        while not self._stopping.wait(self._pause):
            identity = f"{self.run_id}/{self.name_}/{next(self._numbers)}"
            try:
                channel.basic_publish(EXCHANGE, f"trade.{self.name_}", identity.encode(), properties, mandatory=True)
            except ERRORS:
                self.unknown += 1
                raise
            self.confirmed.append((identity, time.monotonic()))

    def gap(self, moment: float) -> float:
        """The longest time between two confirmations around and after a moment, in seconds."""
        moments = [at for _identity, at in self.confirmed]
        later = [at for at in moments if at < moment][-1:] + [at for at in moments if at >= moment]
        return max((b - a for a, b in itertools.pairwise(later)), default=float("inf"))


class Consumer(Worker):
    """Consumes, notes each id, and acknowledges it afterwards.

    :ivar received: how often each id of this run came.
    """

    def __init__(self, connect, run: str):
        super().__init__(connect, run)
        self.received: Counter[str] = Counter()

    def work(self, channel) -> None:
        channel.basic_qos(prefetch_count=50)
        for method, _properties, body in channel.consume(QUEUE, inactivity_timeout=0.5):
            if method is not None:
                identity = body.decode()
                if identity.startswith(self.run_id + "/"):
                    self.received[identity] += 1
                channel.basic_ack(method.delivery_tag)
            if self._stopping.is_set():
                return


class Ledger:
    """Publishers and a consumer at once, and what became of the messages."""

    def __init__(self, rabbitmq: RabbitMQ, publishers: int = 2):
        run = uuid.uuid4().hex[:12]
        self.publishers = [Publisher(rabbitmq.connect, run) for _number in range(publishers)]
        self.consumer = Consumer(rabbitmq.connect, run)

    def __enter__(self) -> Ledger:
        for thread in (*self.publishers, self.consumer):
            thread.start()
        return self

    def __exit__(self, *_error) -> None:
        for thread in (*self.publishers, self.consumer):
            thread.stop()

    def publishing_since(self, moment: float, count: int = 10) -> bool:
        """Whether every publisher had so many messages confirmed after a moment."""
        return all(sum(at > moment for _id, at in publisher.confirmed[-200:]) >= count for publisher in self.publishers)

    def settle(self, seconds: float = 60) -> None:
        """Stop publishing, and wait until all that was confirmed has come, or no longer."""
        for publisher in self.publishers:
            publisher.stop()
        deadline = time.monotonic() + seconds
        while self.missing() and time.monotonic() < deadline:
            time.sleep(0.2)

    def confirmed(self) -> list[str]:
        return [identity for publisher in self.publishers for identity, _at in publisher.confirmed]

    def missing(self) -> list[str]:
        """What was confirmed and never came."""
        return [identity for identity in self.confirmed() if identity not in self.consumer.received]

    def duplicates(self) -> int:
        return sum(count - 1 for count in self.consumer.received.values())

    def unknown(self) -> int:
        return sum(publisher.unknown for publisher in self.publishers)

    def gap(self, moment: float) -> float:
        return max(publisher.gap(moment) for publisher in self.publishers)

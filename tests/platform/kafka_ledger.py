"""Write unique ids into a Kafka topic, keep what was acknowledged, and read it back as a consumer group.

A client is a process of its own with a hosts file that has the brokers' names (librdkafka resolves names by itself), so
certificates are verified by name. It ends when its input does, and then prints what it saw, as JSON.

Usage of a client: python kafka_ledger.py write|read SETTINGS
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from lab import endpoints


@dataclass(frozen=True)
class Kafka:
    """How the platform's Kafka is reached.

    :ivar members: address by slot.
    :ivar authority: file with the platform's CA certificate.
    """

    domain: str
    members: dict[str, str]
    authority: Path
    user: str
    password: str = field(repr=False)

    def options(self) -> dict[str, str]:
        """Options of librdkafka."""
        names = [f"{slot}.{self.domain}" for slot in self.members]
        return endpoints.kafka_options(names, self.user, self.password, str(self.authority))

    def tell_hosts(self, directory: Path) -> Path:
        """Write the hosts file of all clients of a directory, also of those that run; return it."""
        hosts = directory / "hosts"
        lines = [f"{address} {slot}.{self.domain}\n" for slot, address in self.members.items()]
        hosts.write_text("127.0.0.1 localhost\n" + "".join(lines))
        return hosts


class Client:
    """A client process."""

    def __init__(self, kafka: Kafka, directory: Path, kind: str, **settings: object):
        hosts, given = kafka.tell_hosts(directory), directory / f"{kind}-{uuid.uuid4()}.json"
        given.touch(0o600)
        given.write_text(json.dumps({"options": kafka.options(), **settings}))
        command = [*endpoints.WITH_HOSTS, str(hosts), sys.executable, __file__, kind, str(given)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self._process.stdout.readline()
        if not first:
            raise AssertionError(f"the client that is to {kind} ended with {self._process.wait()}")
        self.begun = json.loads(first)

    def end(self, timeout: float = 90) -> dict:
        """Let the client finish; what it saw."""
        out, _error = self._process.communicate(timeout=timeout)
        return json.loads(out)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Ledger:
    """What a writer and a reader of one run saw.

    :ivar acknowledged: (moment, partition, number, seconds until the answer), moments of the monotonic clock.
    :ivar found: numbers in the order they were read, by partition.
    """

    acknowledged: list[tuple[float, int, int, float]]
    found: dict[int, list[int]]
    unknown: int = 0

    @property
    def missing(self) -> list[int]:
        """Numbers that were acknowledged and not found."""
        there = {number for numbers in self.found.values() for number in numbers}
        return sorted(number for _at, _partition, number, _took in self.acknowledged if number not in there)

    @property
    def out_of_order(self) -> list[int]:
        """Numbers that were first read after a later one of their partition."""
        wrong = []
        for numbers in self.found.values():
            highest = 0
            for number in dict.fromkeys(numbers):
                wrong += [number] if number < highest else []
                highest = max(highest, number)
        return wrong

    @property
    def duplicates(self) -> int:
        return sum(len(numbers) - len(set(numbers)) for numbers in self.found.values())

    def gap(self, moment: float) -> float:
        """The longest time between two acknowledgements of one partition around and after a moment, in seconds."""
        longest = 0.0
        for partition in {item[1] for item in self.acknowledged}:
            moments = sorted(at for at, own, _number, _took in self.acknowledged if own == partition)
            later = [at for at in moments if at < moment][-1:] + [at for at in moments if at >= moment]
            longest = max([longest, *(b - a for a, b in itertools.pairwise(later))])
        return longest

    def recovery(self, moment: float, limit: float = 1.0) -> float:
        """Seconds after a moment until the 99th percentile of the answers' times stays below a limit."""
        seconds = defaultdict(list)
        for at, _partition, _number, took in self.acknowledged:
            if at >= moment:
                # By the moment of writing: an answer that came late belongs to the time it was waited for.
                seconds[int(max(at - took - moment, 0))].append(took)
        slow = [second for second, took in seconds.items() if sorted(took)[int(len(took) * 0.99)] > limit]
        return max(slow) + 1.0 if slow else 0.0


def write(settings: dict, stopping: threading.Event) -> dict:
    """Write numbers, in turn to each partition, about `rate` a second, until told to stop."""
    acknowledged: list[tuple[float, int, int, float]] = []
    failed = 0
    producer = Producer(
        {
            **settings["options"],
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "delivery.timeout.ms": 120000,
            "request.timeout.ms": 8000,
            "topic.metadata.refresh.interval.ms": 5000,
        }
    )
    topic = settings["topic"]
    partitions = producer.list_topics(topic, timeout=30).topics[topic].partitions
    print(json.dumps({"leaders": {number: part.leader for number, part in partitions.items()}}), flush=True)

    def answered(number: int, sent: float):
        def note(error, message):
            nonlocal failed
            now = time.monotonic()
            if error:
                failed += 1
            else:
                acknowledged.append((now, message.partition(), number, now - sent))

        return note

    for number in itertools.count(1):
        if stopping.wait(1 / settings["rate"]):
            break
        content = json.dumps({"run": settings["run"], "number": number})
        note = answered(number, time.monotonic())
        producer.produce(topic, content, partition=number % len(partitions), on_delivery=note)
        producer.poll(0)
    left = producer.flush(60)
    return {"acknowledged": acknowledged, "unknown": failed + left}


def read(settings: dict, stopping: threading.Event) -> dict:
    """Read as a group until told to stop, and then to the end that each partition has by then."""
    found: dict[int, list[int]] = defaultdict(list)
    reached: dict[int, int] = defaultdict(int)
    own = {"group.id": settings["group"], "auto.offset.reset": "earliest", "session.timeout.ms": 10000}
    consumer = Consumer({**settings["options"], **own, "enable.auto.commit": True, "auto.commit.interval.ms": 1000})
    consumer.subscribe([settings["topic"]])
    print(json.dumps({}), flush=True)

    def take() -> None:
        message = consumer.poll(0.5)
        if message is None or message.error():
            return
        reached[message.partition()] = message.offset() + 1
        content = json.loads(message.value())
        if content.get("run") == settings["run"]:
            found[message.partition()].append(content["number"])

    while not stopping.is_set():
        take()
    partitions = consumer.list_topics(settings["topic"], timeout=30).topics[settings["topic"]].partitions
    ends = {
        number: consumer.get_watermark_offsets(TopicPartition(settings["topic"], number))[1] for number in partitions
    }
    # The leader of a partition may have changed a moment ago.
    deadline = time.monotonic() + settings["patience"]
    while any(reached[number] < end for number, end in ends.items()) and time.monotonic() < deadline:
        take()
    consumer.close()
    return {"found": found}


def main() -> int:
    kind, path = sys.argv[1:]
    settings = json.loads(Path(path).read_text())
    Path(path).unlink()
    stopping = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()
    try:
        print(json.dumps({"write": write, "read": read}[kind](settings, stopping)), flush=True)
    except KafkaException as error:
        print(f"kafka_ledger.py {kind}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

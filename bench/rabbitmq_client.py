"""Publish confirmed messages to the RabbitMQ of this host: rabbitmq_client.py tls|plain MESSAGES RATE

As fast as a window of 200 unconfirmed messages allows, or at a RATE a second (0: no limit). Prints JSON: messages a
second, and the milliseconds until the confirmation. The login is the backup's, readable for root alone.
"""

from __future__ import annotations

import json
import ssl
import sys
import time
from pathlib import Path

import pika

QUEUE, SIZE, WINDOW = "bench", 1024, 200
SETTINGS = "/etc/rabbitmq/backup.json"


class Bench:
    """One connection, one channel, confirmations as they come."""

    def __init__(self, parameters: pika.ConnectionParameters, messages: int, rate: float):
        self.messages, self.rate = messages, rate
        self.sent: dict[int, float] = {}
        self.latencies: list[float] = []
        self.published = 0
        self.connection = pika.SelectConnection(parameters, on_open_callback=lambda _c: self.open())
        self.channel = None
        self.started = self.ended = 0.0

    def open(self) -> None:
        self.connection.channel(on_open_callback=self.declare)

    def declare(self, channel) -> None:
        self.channel = channel
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"}, callback=self.begin)

    def begin(self, _frame) -> None:
        self.channel.confirm_delivery(self.confirmed)
        self.started = time.monotonic()
        self.publish()

    def publish(self) -> None:
        """Fill the window, or send what is due at the rate."""
        while self.published < self.messages and len(self.sent) < WINDOW:
            due = self.published / self.rate if self.rate else 0
            wait = due - (time.monotonic() - self.started)
            if wait > 0:
                self.connection.ioloop.call_later(wait, self.publish)
                return
            self.published += 1
            self.sent[self.published] = time.monotonic()
            self.channel.basic_publish("", QUEUE, b"x" * SIZE, pika.BasicProperties(delivery_mode=2))

    def confirmed(self, frame) -> None:
        now, tag = time.monotonic(), frame.method.delivery_tag
        if not isinstance(frame.method, pika.spec.Basic.Ack):
            raise SystemExit("the server refused a message")
        tags = [t for t in self.sent if t <= tag] if frame.method.multiple else [tag]
        self.latencies += [now - self.sent.pop(t) for t in tags]
        if len(self.latencies) == self.messages:
            self.ended = now
            self.channel.queue_delete(QUEUE, callback=lambda _frame: self.connection.close())
        elif not self.rate:
            self.publish()

    def run(self) -> dict[str, float]:
        self.connection.add_on_close_callback(lambda *_reason: self.connection.ioloop.stop())
        self.connection.ioloop.start()
        ordered = sorted(self.latencies)
        return {
            "per_second": round(self.messages / (self.ended - self.started), 1),
            "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
            "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 2),
        }


def main() -> None:
    settings = json.loads(Path(SETTINGS).read_text())
    host = settings["hosts"][settings["name"]]
    tls = sys.argv[1] == "tls"
    context = ssl.create_default_context(cafile=settings["ca_file"])
    parameters = pika.ConnectionParameters(
        host=host if tls else "127.0.0.1",
        port=5671 if tls else 5672,
        credentials=pika.PlainCredentials(settings["user"], settings["password"]),
        ssl_options=pika.SSLOptions(context, host) if tls else None,
    )
    print(json.dumps(Bench(parameters, int(sys.argv[2]), float(sys.argv[3])).run()))


if __name__ == "__main__":
    main()

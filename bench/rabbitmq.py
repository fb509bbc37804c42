"""RabbitMQ: seconds until publishing goes on after the leader of a queue is killed, and TLS beside plain.

Usage: python bench/rabbitmq.py [RUNS]     (after `make lab`; the environment of `lab env`; default 3 runs each)

The plain listener exists for the measurement only, on the loopback address of one member, and the client runs there.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pika

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "platform"), str(ROOT)]

import rabbitmq_faults as faults  # noqa: E402
from running import Platform  # noqa: E402

GOAL = 5
DIRECTORY = "/tmp/rabbitmq-bench"  # noqa: S108 (on the lab's host)
LISTENER = "rabbit_networking:{}_tcp_listener({})."
ADDRESS = '{"127.0.0.1", 5672}'


def on_host(slot: str, command: str, text: bytes | None = None) -> str:
    line = ["lab", "ssh", slot, command]
    return subprocess.run(line, input=text, check=True, capture_output=True, timeout=300).stdout.decode()


def evaluate(rabbitmq, slot: str, expression: str) -> None:
    node = f"rabbit@{slot}.{rabbitmq.domain}"
    on_host(slot, f"sudo rabbitmqctl -q --longnames --node {node} eval '{expression}'")


def send_client(slot: str) -> None:
    """Put the client and the library it needs on a host."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(Path(pika.__file__).parent, "pika")
        archive.add(ROOT / "bench" / "rabbitmq_client.py", "rabbitmq_client.py")
    on_host(slot, f"mkdir -p {DIRECTORY} && tar -x -C {DIRECTORY}", packed.getvalue())


def throughput(rabbitmq, runs: int) -> None:
    slot = next(iter(rabbitmq.members))
    send_client(slot)
    evaluate(rabbitmq, slot, LISTENER.format("start", f"{ADDRESS}, 2"))
    try:
        for title, messages, rate in (("as fast as it goes", 5000, 0), ("latency at 100 a second", 1000, 100)):
            results = {way: [] for way in ("plain", "tls")}
            for _run in range(runs):
                for way, found in results.items():
                    line = f"sudo PYTHONPATH={DIRECTORY} python3 {DIRECTORY}/rabbitmq_client.py {way} {messages} {rate}"
                    found.append(json.loads(on_host(slot, line)))
            for key in ("per_second", "p50_ms", "p99_ms"):
                plain, tls = (statistics.median(item[key] for item in results[way]) for way in ("plain", "tls"))
                print(f"{title:26} {key:11} {plain:9.1f} {tls:9.1f} {tls / plain:6.2f}", flush=True)
    finally:
        evaluate(rabbitmq, slot, LISTENER.format("stop", ADDRESS))
        on_host(slot, f"rm -rf {DIRECTORY}")


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as directory:
        platform = Platform.find(Path(directory) / "ca.crt")
        queues = faults.Queues(platform)
        outcomes = [faults.run_fault(queues, "queue leader killed") for _run in range(runs)]
        seconds = [outcome.seconds for outcome in outcomes]
        missing = sum(outcome.missing for outcome in outcomes)
        print(f"leader killed: median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s, goal {GOAL} s;")
        print(f"confirmed messages lost: {missing}\n")
        print(f"{'1 KiB, quorum queue':26} {'':11} {'plain':>9} {'TLS':>9}  ratio")
        throughput(queues.rabbitmq, runs)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

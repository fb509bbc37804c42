"""Put unique objects into the file storage through HAProxy, keep what was acknowledged, and ask for it afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import ssl
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from lab.endpoints import ASSETS

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results" / "file_storage.json"
#: What test_files.py does: name and what happens, for the page of results.
FAULTS = {
    "gateway killed": "systemd starts it again",
    "planned move": "the new primary copies once more and takes the right to write",
    "planned move, cut off and repeated": "the same command goes on; until then nobody takes writes",
    "primary's host lost": "the operator gives the right to write to the other member",
    "primary's volume lost": "the same; a new member on an empty volume copies all",
    "volume grown": "nobody restarts",
}
ERRORS = (BotoCoreError, ClientError, OSError)
BUCKET = "reports"


def public_object(host: str, path: str, authority: str) -> tuple[int, str, bytes]:
    """Status, content type and content of an object of a public bucket, through HAProxy and the cache."""
    context = ssl.create_default_context(cafile=authority)
    connection = http.client.HTTPSConnection(host, ASSETS, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()


@dataclass(frozen=True)
class Acknowledgement:
    """One object and when its answer came, in seconds of the monotonic clock, with the SHA-256 of its content."""

    moment: float
    key: str
    digest: str


class Writer(threading.Thread):
    """One client that puts objects below a prefix of its own, about `rate` a second, and never the same twice."""

    def __init__(self, connect, rate: float = 20, size: int = 20000):
        super().__init__(daemon=True)
        self.prefix = f"ledger/{uuid.uuid4()}"
        self.acknowledged: list[Acknowledgement] = []
        self.unknown = 0
        self._client, self._pause, self._size = connect(), 1 / rate, size
        self._stopping = threading.Event()

    def run(self) -> None:
        for number in itertools.count(1):
            if self._stopping.wait(self._pause):
                return
            body = hashlib.sha256(f"{self.prefix}{number}".encode()).digest() * (self._size // 32)
            key = f"{self.prefix}/{number}"
            try:
                self._client.put_object(Bucket=BUCKET, Key=key, Body=body)
            except ERRORS:
                self.unknown += 1
                continue
            digest = hashlib.sha256(body).hexdigest()
            self.acknowledged.append(Acknowledgement(time.monotonic(), key, digest))

    def stop(self) -> None:
        self._stopping.set()
        self.join(20)

    def wrong(self, s3) -> list[Acknowledgement]:
        """What was acknowledged and is not there, or with other content."""
        return [item for item in self.acknowledged if found(s3, item.key) != item.digest]

    def gap(self, moment: float) -> float:
        """The longest time between two acknowledgements around and after a moment, in seconds."""
        moments = [item.moment for item in self.acknowledged]
        later = [at for at in moments if at < moment][-1:] + [at for at in moments if at >= moment]
        return max((b - a for a, b in itertools.pairwise(later)), default=float("inf"))


def found(s3, key: str) -> str:
    """The SHA-256 of an object, empty when it is not there."""
    with contextlib.suppress(s3.exceptions.NoSuchKey):
        return hashlib.sha256(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()
    return ""

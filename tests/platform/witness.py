"""Who takes writes: each database host is asked all the time, so that two at once cannot go unseen."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# A frozen server answers nothing; the next question must come all the same. Debian's `psql` would start another one.
ASK = (
    "psql=$(ls /usr/lib/postgresql/*/bin/psql | tail -1); while :; do begun=$(date +%s.%N);"
    " answer=$(timeout 2 $psql -AtXqc 'SELECT pg_is_in_recovery()' 2>/dev/null);"
    " echo $begun $(date +%s.%N) ${answer:-none}; sleep 0.3; done"
)
#: Seconds without an answer, longer than a question and the pause before the next one take.
SILENCE = 5


@dataclass(frozen=True)
class Answer:
    """One answer of a server: it was true at some moment between the two. Seconds since 1970."""

    host: str
    begun: float
    ended: float
    writable: bool


def parse(host: str, line: str) -> Answer | None:
    """The answer in a line; None when the server gave none, or the line was cut off."""
    with contextlib.suppress(ValueError):
        begun, ended, answer = line.split()
        if answer in ("t", "f"):
            return Answer(host, float(begun), float(ended), answer == "f")
    return None


def spans(answers: Iterable[Answer]) -> list[tuple[str, float, float]]:
    """Host, and from when to when at least it took writes.

    A standby's answer ends a span, and so does a silence: a host that stands still takes no writes. What is known by
    one answer alone lasts as long as that took.
    """
    found: list[list[Answer]] = []
    current: dict[str, list[Answer]] = {}
    for item in sorted(answers, key=lambda item: item.begun):
        known = current.get(item.host)
        if not item.writable:
            current.pop(item.host, None)
        elif known and item.begun - known[-1].ended < SILENCE:
            known.append(item)
        else:
            current[item.host] = [item]
            found.append(current[item.host])
    return [
        (span[0].host, span[0].ended, span[-1].begun) if len(span) > 1 else (span[0].host, span[0].begun, span[0].ended)
        for span in found
    ]


def two_at_once(answers: Iterable[Answer]) -> float:
    """The longest time in seconds during which two hosts certainly took writes, 0 without one."""
    pairs = itertools.combinations(spans(answers), 2)
    shared = [min(one[2], other[2]) - max(one[1], other[1]) for one, other in pairs if one[0] != other[0]]
    return max([0.0, *shared])


class Witness:
    """Asks the hosts while the block runs; a host that is gone is asked again when it is back.

    :param ssh: the line that runs a command on a host.
    """

    def __init__(self, hosts: Iterable[str], ssh: Callable[[str, list[str]], list[str]]):
        self._ssh = ssh
        self.answers: list[Answer] = []
        self._stop = threading.Event()
        self._shells: dict[str, subprocess.Popen] = {}
        self._threads = [threading.Thread(target=self._listen, args=[host], daemon=True) for host in hosts]

    def _listen(self, host: str) -> None:
        line = self._ssh(host, ["sudo", "-u", "postgres", "sh", "-c", ASK])
        while not self._stop.is_set():
            with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as shell:
                self._shells[host] = shell
                for text in shell.stdout:
                    answer = parse(host, text)
                    if answer:
                        self.answers.append(answer)
            self._stop.wait(1)

    def __enter__(self) -> Witness:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for shell in list(self._shells.values()):
            shell.kill()
        for thread in self._threads:
            thread.join(10)

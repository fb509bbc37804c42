"""What the control API of the front reads and writes: counters, faults, and who is told of changes."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lab.aws.call import AWSError, Call

# Source: EC2 API Reference, "Error codes"; Common Errors pages of the other services.
THROTTLE_CODES = {
    "ec2": ("RequestLimitExceeded", "Request limit exceeded.", 503),
    "s3": ("SlowDown", "Please reduce your request rate.", 503),
    "sqs": ("RequestThrottled", "Rate exceeded", 400),
}
FAULTS: dict[str, Any] = {
    "latency_ms": 0,
    "throttle": [],
    "rates": [],
    "failing_regions": [],
    "failing_zones": [],
    "lost_credentials": False,
    "eventual_consistency_seconds": 0,
}


class BadFaults(ValueError):
    """The faults asked for make no sense."""


def _list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _throttles(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and set(item) <= {"service", "action", "count"}
        and isinstance(item.get("service"), str)
        and isinstance(item.get("count", 1), int)
        for item in value
    )


def _rates(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and {"service", "size", "per_second"} <= set(item) <= {"service", "action", "size", "per_second"}
        and all(_number(item[name]) and item[name] > 0 for name in ("size", "per_second"))
        for item in value
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 600_000


CHECKS = {
    "latency_ms": (_number, "a number of milliseconds from 0 to 600000"),
    "throttle": (_throttles, 'a list of {"service": "ec2", "action": "DescribeInstances" (or none: all), "count": 10}'),
    "rates": (_rates, 'a list of {"service": "route53", "action": "..." (or none: all), "size": 50, "per_second": 10}'),
    "failing_regions": (_list_of_text, "a list of region names"),
    "failing_zones": (_list_of_text, "a list of zone names"),
    "lost_credentials": (lambda value: isinstance(value, bool), "true or false"),
    "eventual_consistency_seconds": (_number, "a number of seconds"),
}


class Bucket:
    """A token bucket as AWS keeps one: full at first, refilled all the time, a call without a token is refused."""

    def __init__(self, service: str, size: float, per_second: float, action: str | None = None):
        self.service, self.action, self.size, self.per_second = service, action, size, per_second
        self.tokens, self.seen = float(size), time.monotonic()

    def refuses(self, call: Call) -> bool:
        if call.service != self.service or self.action not in (None, call.action):
            return False
        now = time.monotonic()
        self.tokens, self.seen = min(self.size, self.tokens + (now - self.seen) * self.per_second), now
        if self.tokens < 1:
            return True
        self.tokens -= 1
        return False


class State:
    """Counters, faults and listeners of one front. Safe for many threads."""

    def __init__(self, listeners: Path | None = None):
        self.lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.callers: dict[str, Counter[str]] = {}
        self.buckets: list[Bucket] = []
        self.faults: dict[str, Any] = dict(FAULTS)
        self.listeners = listeners

    def count(self, call: Call) -> None:
        with self.lock:
            self.calls[f"{call.service}.{call.action}"] += 1

    def count_caller(self, call: Call) -> None:
        """Count what a role calls; the administrator has none."""
        if call.identity.role:
            with self.lock:
                self.callers.setdefault(call.identity.role, Counter())[f"{call.service}.{call.action}"] += 1

    def set_faults(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Replace all faults: what is not named is off. Raises BadFaults."""
        for name, value in wanted.items():
            if name not in CHECKS:
                raise BadFaults(f"There is no fault {name!r}; there are {', '.join(CHECKS)}.")
            accepts, form = CHECKS[name]
            if not accepts(value):
                raise BadFaults(f"The fault {name} is {value!r}; it must be {form}.")
        with self.lock:
            self.faults = {**FAULTS, **wanted, "throttle": [dict(t) for t in wanted.get("throttle", [])]}
            self.buckets = [Bucket(**rate) for rate in wanted.get("rates", [])]
            return self.faults

    def suffer(self, call: Call) -> None:
        """Apply the faults that meet this call. Raises AWSError; sleeps for the latency."""
        with self.lock:
            faults = self.faults
            throttled = self._take_throttle(call)
        if faults["latency_ms"]:
            time.sleep(faults["latency_ms"] / 1000)
        if throttled:
            fallback = ("ThrottlingException" if "json" in call.protocol else "Throttling", "Rate exceeded", 400)
            raise AWSError(*THROTTLE_CODES.get(call.service, fallback))
        if call.region in faults["failing_regions"]:
            code = "Unavailable" if call.service == "ec2" else "ServiceUnavailable"
            raise AWSError(code, "The server is overloaded and can't handle the request.", 503)
        if faults["lost_credentials"]:
            from lab.aws.signature import refusal

            raise refusal(call, 2)

    def _take_throttle(self, call: Call) -> bool:
        # Every bucket that meets the call loses a token, as the account's and the action's do.
        if any([bucket.refuses(call) for bucket in self.buckets]):
            return True
        for throttle in self.faults["throttle"]:
            meets = throttle["service"] == call.service and throttle.get("action", call.action) == call.action
            if meets and throttle.get("count", 1) > 0:
                throttle["count"] = throttle.get("count", 1) - 1
                return True
        return False

    def notify(self) -> None:
        """Tell every listener that something changed; one that does not read is skipped."""
        if self.listeners is None:
            return
        for path in self.listeners.glob("*.sock"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                try:
                    sender.sendto(b"changed", str(path))
                except OSError:
                    continue

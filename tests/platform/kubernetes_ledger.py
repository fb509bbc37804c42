"""Ask a workload of Kubernetes through HAProxy, and write into its API the same way; keep what was answered.

The workload counts its answers, and each pod begins at one: a count that comes twice, or a request that comes back with
another one's content, is an answer that nobody gave.
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import socket
import ssl
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes

SERVICES = 8443
TIMEOUT = 5
NAMESPACE = "ledger"


@dataclass(frozen=True)
class Cluster:
    """How the platform's Kubernetes is reached.

    :ivar edges: address by slot of the edge hosts.
    :ivar authority: file with the platform's CA certificate.
    :ivar ca: certificates of the cluster's authorities.
    :ivar pem: an administrator's certificate and key.
    """

    domain: str
    edges: dict[str, str]
    authority: Path
    ca: str
    pem: str = field(repr=False)

    @property
    def workload(self) -> str:
        return f"echo.{self.domain}"

    @functools.cached_property
    def context(self) -> ssl.SSLContext:
        """What verifies HAProxy; made once, since it reads the authority from its file."""
        return ssl.create_default_context(cafile=str(self.authority))

    def api(self, edge: str) -> kubernetes.Client:
        """The API through one edge host."""
        return kubernetes.Client(self.edges[edge], f"kubernetes.{self.domain}", self.ca, self.pem, TIMEOUT)

    def ask(self, edge: str, body: str) -> dict:
        """What a pod answers. Raises OSError."""
        link = socket.create_connection((self.edges[edge], SERVICES), TIMEOUT)
        connection = http.client.HTTPSConnection(self.workload, SERVICES, timeout=TIMEOUT, context=self.context)
        try:
            connection.sock = self.context.wrap_socket(link, server_hostname=self.workload)
            connection.request("POST", "/ledger", body=body)
            answer = connection.getresponse()
            text = answer.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"no whole answer ({error!r})") from error
        finally:
            connection.close()
            link.close()
        if answer.status != http.client.OK:
            raise OSError(f"status {answer.status}")
        return json.loads(text)


class Client(threading.Thread):
    """Does one thing after the other until it is stopped; keeps the moments of answers and of errors."""

    def __init__(self, edge: str, rate: float):
        super().__init__(daemon=True)
        self.edge, self._pause, self._end = edge, 1 / rate, threading.Event()
        self.answers: list[tuple[float, str, object]] = []
        self.errors: list[tuple[float, str]] = []
        self._numbers = itertools.count()

    def once(self, name: str) -> object:
        """Do it once. Raises OSError or KubernetesError."""
        raise NotImplementedError

    def run(self) -> None:
        run = uuid.uuid4().hex[:8]
        while not self._end.is_set():
            name = f"{self.edge}-{run}-{next(self._numbers)}"
            begun = time.monotonic()
            try:
                found = self.once(name)
                self.answers.append((time.monotonic(), name, found))
            except (OSError, kubernetes.KubernetesError) as error:
                self.errors.append((time.monotonic(), str(error)))
            self._end.wait(max(0.0, begun + self._pause - time.monotonic()))

    def stop(self) -> None:
        self._end.set()
        self.join(3 * TIMEOUT)


class Requests(Client):
    """Requests to the workload."""

    def __init__(self, cluster: Cluster, edge: str, rate: float = 10):
        super().__init__(edge, rate)
        self._cluster = cluster

    def once(self, name: str) -> tuple[str, int]:
        found = self._cluster.ask(self.edge, name)
        if found["body"] != name:
            raise OSError(f"{name} was answered with {found['body']!r}")
        return found["pod"], found["count"]


class Writes(Client):
    """Objects written into the API.

    What one client is told says little of who comes while it waits, so there are several, one after the other.
    """

    def __init__(self, cluster: Cluster, edge: str, rate: float = 1):
        super().__init__(edge, rate)
        self.use(cluster)

    def use(self, cluster: Cluster) -> None:
        """Go on with what an administrator trusts and shows now."""
        self._api = cluster.api(self.edge)

    def once(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        self._api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", body)


def gap(clients: list[Client], since: float) -> float:
    """The longest time from a moment on, in seconds, in which none of these clients was answered."""
    answered = sorted(moment for client in clients for moment, *_rest in client.answers if moment > since)
    return max((later - earlier for earlier, later in itertools.pairwise([since, *answered])), default=0.0)


def begin(api: kubernetes.Client) -> None:
    """Make the namespace of the ledger, anew."""
    end(api)
    while api.call("GET", f"/api/v1/namespaces/{NAMESPACE}", missing_ok=True):
        time.sleep(1)
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})


def end(api: kubernetes.Client) -> None:
    api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}", missing_ok=True)


def missing(api: kubernetes.Client, writers: list[Writes], until: float | None = None) -> list[str]:
    """Objects that were acknowledged, until a moment if it is given, and are not there."""
    found = {
        item["metadata"]["name"] for item in api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps")["items"]
    }
    answers = [answer for writer in writers for answer in writer.answers]
    return sorted({name for moment, name, _none in answers if until is None or moment < until} - found)


def twice(readers: list[Requests]) -> int:
    """Answers with a pod's count that another answer had."""
    counts = [found for reader in readers for _moment, _name, found in reader.answers]
    return len(counts) - len(set(counts))

"""Write docs/faults.md from the newest result of each fault and operation (bench/results/), and docs/conformance.md.

A row without a result on this machine stays as the page has it.

Usage: python tests/platform/page.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT), str(ROOT / ".cache")]

import files_ledger as files  # noqa: E402
import kafka_faults as kafka  # noqa: E402
import kubernetes_conformance as conformance  # noqa: E402
import kubernetes_faults as kubernetes  # noqa: E402
import rabbitmq_faults as rabbitmq  # noqa: E402
import redis_faults as redis  # noqa: E402
import results  # noqa: E402
from faults import FAULTS, RESULTS  # noqa: E402
from operations import FURTHER, OPERATIONS  # noqa: E402

PAGE = ROOT / "docs" / "faults.md"
HEAD = """\
# Faults and operations, and what became of the clients

Written by `make test-faults` (`tests/platform`); not edited by hand. Four clients write unique ids through both HAProxy
hosts and PgBouncer, one reads on the read-only port, and each database host is asked all the time whether it takes
writes. After each row all acknowledged ids were looked for, and the platform became well by itself: one leader, all
standbys streaming, etcd complete, both edge hosts serving. Nobody did anything but end the fault itself (start the
instance, heal the network, free the disk).

- **Writes**, **reads**: the longest time in seconds in which no client at all got an answer; in brackets that of the
  client that waited longest.
- **Well**: seconds from the fault until everything was as before, the fault's own duration included.
- **Lost**: acknowledged ids that were not there. **Two**: seconds in which two hosts took writes at once.

All hosts, AWS, the clients and Ansible share one machine with two cores; **load** is its load average, and whatever is
above two had to wait for a processor.
"""
COLUMNS = ["", "what happens", "writes", "reads", "well", "acknowledged", "lost", "two", "load", "measured"]
FOOT = """
Lost and partitioned hosts cost Patroni's `ttl` (20 s, its lowest) and up to one `loop_wait` (5 s). Operations marked *
were ended by SIGKILL in their middle; the same command then finished them, and the figures cover both runs.
"""


KAFKA = """
## Kafka

One idempotent producer (`acks=all`, 200 messages a second over all partitions of `orders`, 50 beside newer rows of
operations) and one consumer group, by the brokers' own names.

- **Gap**: the longest time in seconds in which a partition acknowledged nothing. **p99**: seconds from the beginning
  until the 99th percentile of the answers' times stays below one second.
- **Lost**: acknowledged messages that the group did not read. **Disordered**: read after a later one of their
  partition. **Twice**: read again.

A broker that is lost without a word costs the 6 s of its lease (`broker.session.timeout.ms`; 9 s in rows of
2026-11-28), for all writes that wait for its replicas; the active controller costs the election of another before that.
One second in which one answer of a hundred took longer than a second moves **p99**, also when another task of the
machine is why.

"""
KAFKA_COLUMNS = [
    "",
    "what happens",
    "gap",
    "p99",
    "well",
    "acknowledged",
    "lost",
    "disordered",
    "twice",
    "load",
    "measured",
]
RABBITMQ = """
## RabbitMQ

Two publishers, each message confirmed before the next, and one consumer that acknowledges by hand, through both HAProxy
hosts.

- **Gap**: the longest time in seconds in which one of the publishers got no confirmation.
- **Lost**: confirmed messages that did not come to the consumer. **Twice**: those that came again.

A member that ends is known to have ended at once. One that is silent, frozen or cut off, is taken for gone after
`rabbitmq_net_ticktime` (15 s, give or take a quarter; Erlang's own is 60 s); a part of the cluster that pauses and
finds the others again takes up to twice that. Less would be quicker, but a member that stands still for a few seconds
would then be parted from the others, pause and start again, which costs more than it had stood still.

"""
RABBITMQ_COLUMNS = ["", "what happens", "gap", "well", "confirmed", "lost", "twice", "load", "measured"]
REDIS = """
## Redis

Three clients write 50 times a second each: through HAProxy with WAIT 1, through HAProxy without, and with WAIT 1 to the
server that the Sentinels name.

- **HAProxy**, **Sentinel**: the longest time in seconds in which a client got no acknowledgement that way.
- **WAIT**: writes that WAIT 1 acknowledged and that were not there. **Plain**: other acknowledged writes that were not
  there, in brackets the seconds between the first and the last of them; [redis](redis.md) states how many there may be.

"""
REDIS_COLUMNS = ["", "what happens", "HAProxy", "Sentinel", "well", "acknowledged", "WAIT", "plain", "load", "measured"]
FILES = """
## File storage

Two clients put an object of 20 kB 20 times a second each, through HAProxy. The platform of these tests copies each 5 s
and states a bound of 60 s ([file storage](file-storage.md)).

- **Writes**: the longest time in seconds in which a client got no acknowledgement. **Well**: until all of them write.
- **Lost**: acknowledged objects that were not there, or differed. **Oldest**: how many seconds before the loss the
  oldest of them was acknowledged; with the primary lost, what nobody had copied is lost with it, or kept aside.

"""
FILES_COLUMNS = ["", "what happens", "writes", "well", "acknowledged", "lost", "oldest", "load", "measured"]
KUBERNETES = """
## Kubernetes

Through each HAProxy host a client asks a workload of two pods ten times a second, and five clients write an object a
second each into the API, one after the other. Each pod counts its answers, so an answer that nobody gave would be seen.

- **API**: the longest time in seconds in which none of the five was acknowledged anything; rows measured before 2026-12
  had one client that wrote five times a second, which counts its own waiting, too. **Workload**: the longest time in
  which its client got no answer.
- **Failed**: requests to the workload that got no answer. **Refused**: writes that the API did not acknowledge, and the
  client did not repeat. **Lost**: acknowledged writes that were not there.

etcd elects another leader after a second here, as it does by default; elsewhere the lab has it wait five, since its
machine may be busy, and so it did in rows of commits before 44381c0.

"""
KUBERNETES_COLUMNS = [
    "",
    "what happens",
    "API",
    "workload",
    "well",
    "answered",
    "failed",
    "acknowledged",
    "refused",
    "lost",
    "load",
    "measured",
]


#: The cells of the rows of a page, by how many there are and the first of them.
Rows = dict[tuple[int, str], list[str]]


def measured(outcome: dict) -> list[str]:
    """The last two cells of a row."""
    return [str(outcome.get("load", "")), f"{outcome['at'][:10]}, {outcome['commit']}"]


def database_cells(outcome: dict) -> list[str]:
    return [
        f"{outcome['seconds']:.1f} ({outcome['worst_client_seconds']:.1f})",
        f"{outcome['read_seconds']:.1f}",
        f"{outcome['well_seconds']:.0f}",
        str(outcome["acknowledged"]),
        str(outcome["missing"]),
        f"{outcome['two_writable_seconds']:.1f}",
        *measured(outcome),
    ]


def kafka_cells(outcome: dict) -> list[str]:
    counts = (outcome[name] for name in ("acknowledged", "missing", "out_of_order", "duplicates"))
    times = [f"{outcome['seconds_gap']:.1f}", f"{outcome['seconds_p99']:.0f}", f"{outcome['well_seconds']:.0f}"]
    return [*times, *map(str, counts), *measured(outcome)]


def rabbitmq_cells(outcome: dict) -> list[str]:
    counts = (outcome[name] for name in ("confirmed", "missing", "duplicates"))
    return [f"{outcome['seconds']:.1f}", f"{outcome['well_seconds']:.0f}", *map(str, counts), *measured(outcome)]


def redis_cells(outcome: dict) -> list[str]:
    waited = outcome["missing_after_wait"]
    return [
        f"{outcome['seconds_haproxy']:.1f}",
        f"{outcome['seconds_sentinel']:.1f}",
        f"{outcome['well_seconds']:.0f}",
        str(outcome["acknowledged"] + outcome["acknowledged_by_wait"]),
        str(waited),
        f"{outcome['missing'] - waited} ({outcome['lost_seconds']:.1f})",
        *measured(outcome),
    ]


def files_cells(outcome: dict) -> list[str]:
    counts = [str(outcome["acknowledged"]), str(outcome["wrong"])]
    times = [f"{outcome['seconds']:.1f}", f"{outcome['well_seconds']:.0f}"]
    return [*times, *counts, f"{outcome['oldest_wrong_seconds']:.1f}", *measured(outcome)]


def kubernetes_cells(outcome: dict) -> list[str]:
    times = [f"{outcome['seconds_api']:.1f}", f"{outcome['seconds_http']:.1f}", f"{outcome['well_seconds']:.0f}"]
    counts = (outcome[name] for name in ("answered", "failed", "acknowledged", "refused", "missing"))
    return [*times, *map(str, counts), *measured(outcome)]


def table(columns: list[str], items: dict[str, str], found: list[dict], cells, old: Rows) -> str:
    """A table of items, name to what happens; one without a result has what the old page says of it, or not run."""
    newest = {outcome["fault"]: outcome for outcome in found if "well_seconds" in outcome}
    lines = [columns, ["---"] * len(columns)]
    for name, expected in items.items():
        first, known = [name, expected], old.get((len(columns), name))
        if name.removesuffix(" *") in newest:
            lines.append([*first, *cells(newest[name.removesuffix(" *")])])
        elif known:
            lines.append([*first, *known[2:]])
        else:
            lines.append([*first, "not run", *[""] * (len(columns) - 3)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def rows(page: str) -> Rows:
    """The cells of a page's tables by how many a row has and its first: products have faults of one name."""
    lines = (line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| "))
    return {(len(cells), cells[0].strip()): [cell.strip() for cell in cells] for cells in lines}


def named(faults: dict, operations: dict, further: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Faults, and operations with a star where they were cut off: name to what happens."""
    starred = {name + (" *" if one.cut_at else ""): one.expected for name, one in operations.items()}
    return {name: fault.expected for name, fault in faults.items()}, {**starred, **further}


def in_one(product: ModuleType) -> dict[str, str]:
    """The same of a product's module, in one table."""
    faults, operations = named(product.FAULTS, product.OPERATIONS, product.FURTHER)
    return {**faults, **operations}


@dataclass(frozen=True)
class Product:
    """One product's part of the page.

    :ivar head: what stands before its table.
    :ivar items: name of each row to what happens.
    :ivar cells: gives the cells of a row from an outcome.
    :ivar results: the file with its outcomes.
    """

    head: str
    columns: list[str]
    items: dict[str, str]
    cells: Callable[[dict], list[str]]
    results: Path


PRODUCTS = {
    "kafka": Product(KAFKA, KAFKA_COLUMNS, in_one(kafka), kafka_cells, kafka.RESULTS),
    "rabbitmq": Product(RABBITMQ, RABBITMQ_COLUMNS, in_one(rabbitmq), rabbitmq_cells, rabbitmq.RESULTS),
    "redis": Product(REDIS, REDIS_COLUMNS, {**redis.FAULTS, **redis.OPERATIONS}, redis_cells, redis.RESULTS),
    "files": Product(FILES, FILES_COLUMNS, files.FAULTS, files_cells, files.RESULTS),
    "kubernetes": Product(KUBERNETES, KUBERNETES_COLUMNS, in_one(kubernetes), kubernetes_cells, kubernetes.RESULTS),
}


def render(found: list[dict], page: str = "", **of_products: list[dict]) -> str:
    """The page from all results, of which the last one of each name counts, and from the page as it was.

    :arg found: outcomes of the database's faults and operations; those of other products by their names in PRODUCTS.
    """
    old = rows(page)
    faults, operations = named(FAULTS, OPERATIONS, FURTHER)
    parts = [HEAD, "\n## Faults\n\n", table(COLUMNS, faults, found, database_cells, old)]
    parts += ["\n## Operations\n\n", table(COLUMNS, operations, found, database_cells, old), FOOT]
    for name, product in PRODUCTS.items():
        outcomes = of_products.get(name, [])
        parts += [product.head, table(product.columns, product.items, outcomes, product.cells, old)]
    return "".join(parts)


def main() -> int:
    of_products = {name: results.load(product.results) for name, product in PRODUCTS.items()}
    page = PAGE.read_text() if PAGE.exists() else ""
    PAGE.write_text(render(results.load(RESULTS), page, **of_products))
    former = conformance.PAGE.read_text() if conformance.PAGE.exists() else ""
    conformance.PAGE.write_text(conformance.render(conformance.read(), results.load(conformance.RESULTS), former))
    print(f"wrote {PAGE.relative_to(ROOT)} and {conformance.PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's parameters: the server's own catalogue of them, their values, and sizes that follow from a host.

Sections named below are those of PostgreSQL 17's documentation.
"""

from __future__ import annotations

import json
import re

#: Bytes in a unit of memory, and microseconds in a unit of time (section 19.1.1).
BYTES = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4, "8kB": 8192, "16MB": 16 * 1024**2}
MICROSECONDS = {"us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
MIB = 1024**2

_NUMBER = re.compile(r"^\s*(-?\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$")
_TRUE, _FALSE = ("on", "true", "yes", "1"), ("off", "false", "no", "0")

#: What the running server says of its parameters (pg_settings, section 52.24).
CATALOGUE_QUERY = (
    "SELECT json_object_agg(name, json_build_object('setting', setting, 'unit', unit, 'vartype', vartype,"
    " 'context', context)) FROM pg_catalog.pg_settings"
)

#: EBS volume types on solid-state disks; the others are magnetic (EC2 user guide, "Amazon EBS volume types").
SOLID = ("gp2", "gp3", "io1", "io2")
WORK_MEM_MINIMUM_KIB = 64
MAX_WORKER_PROCESSES = 8
HASH_MEM_MULTIPLIER = 2.0


def read_catalogue(run):
    """Return the catalogue of the server on this host, empty when no server answers.

    :returns: dict of name to dict C(setting), C(unit), C(vartype), C(context).
    :arg run: C(AnsibleModule.run_command); the query runs as C(postgres), whom the server knows by the host's user.
    """
    command = ["runuser", "-u", "postgres", "--", "psql", "-XAtqc", CATALOGUE_QUERY, "postgres"]
    status, out, _error = run(command, cwd="/")
    return json.loads(out) if status == 0 else {}


def needs(context):
    """Return V(restart) or V(reload), by a parameter's context (pg_settings.context).

    Only C(postmaster) waits for a start of the server; the contexts of backends reach new sessions by a reload.
    """
    return "restart" if context == "postmaster" else "reload"


def label(name, catalogue):
    """Return V(restart), V(reload), or V(unknown) for a parameter that the server does not know."""
    known = catalogue.get(str(name).lower())
    return needs(known["context"]) if known else "unknown"


def memory_bytes(value, unit="B"):
    """Return a value of memory in bytes. A number without a unit counts in I(unit). Raises ValueError.

    >>> memory_bytes("4MB"), memory_bytes("16", "8kB")
    (4194304, 131072)
    """
    return _amount(value, unit, BYTES)


def _amount(value, unit, units):
    match = _NUMBER.match(str(value))
    if not match or (match[2] or unit) not in units:
        raise ValueError(f"{value!r} is no amount in {', '.join(units)}")
    return round(float(match[1]) * units[match[2] or unit])


def normal(value, vartype, unit=""):
    """Return a parameter's value in a form in which equal settings are equal, as the server compares them."""
    text = "on" if value is True else "off" if value is False else str(value)
    if vartype == "bool":
        lower = text.lower()
        return "on" if lower in _TRUE else "off" if lower in _FALSE else lower
    for units in (BYTES, MICROSECONDS):
        if unit in units:
            try:
                # The server keeps whole numbers of its unit (section 19.1.1: "a fractional value is rounded").
                return round(_amount(text, unit, units) / units[unit])
            except ValueError:
                return text
    if vartype in ("integer", "real"):
        try:
            return float(text)
        except ValueError:
            return text
    return text.lower() if vartype == "enum" else text


def changes(wanted, catalogue):
    """Return the parameters whose value the server does not have: dict of name to a text with V(reload) or V(restart).

    :arg wanted: dict of name to value; None takes a parameter back to the server's default.
    """
    found = {}
    for name, value in sorted(wanted.items()):
        known = catalogue.get(str(name).lower())
        if known is None:
            continue
        kind, unit = known["vartype"], known.get("unit") or ""
        if normal(value, kind, unit) != normal(known["setting"], kind, unit):
            found[name] = f"{known['setting']}{unit and ' x ' + unit} -> {value} ({needs(known['context'])})"
    return found


def sizes(memory_mib, vcpus, volume_type, volume_mib, connections, given):
    """Return the parameters that follow from a host. What the user gives is left out, and the rest fits itself to it.

    :arg memory_mib: memory for PostgreSQL and the kernel's cache, I(vcpus) its processors.
    :arg volume_type: EBS type of the volume with the data, I(volume_mib) its size; 0 when it is unknown.
    :arg connections: max_connections.
    :arg given: the user's parameters.
    :raises ValueError: one of the user's values cannot be read.
    """
    found = _memory(memory_mib, vcpus, connections, given)
    found.update(_processes(vcpus, given))
    found.update(_storage(volume_type))
    found.update(_wal(volume_mib))
    return {name: value for name, value in found.items() if name not in given}


def _memory(memory_mib, vcpus, connections, given):
    """A quarter each for shared buffers, for maintenance and for sessions; the last one is the kernel's.

    shared_buffers: a quarter is "a reasonable starting value" (19.4.1). effective_cache_size: that and what the kernel
    is left to cache files with (19.7.2). maintenance_work_mem: "up to autovacuum_max_workers times this memory may be
    allocated" (19.4.1), three by default, and one more for an operator. work_mem: C(work_mem).
    """
    maintenance = min(max(memory_mib // 16, 64), 1024)
    return {
        "shared_buffers": f"{max(memory_mib // 4, 128)}MB",
        "effective_cache_size": f"{max(memory_mib * 5 // 8, 256)}MB",
        "maintenance_work_mem": f"{maintenance}MB",
        "work_mem": f"{work_mem_kib(memory_mib, vcpus, connections, given)}kB",
    }


def work_mem_kib(memory_mib, vcpus, connections, given):
    """Return work_mem in KiB.

    Each session may take work_mem for each of its sorts, and hash_mem_multiplier times as much for a hash table; a
    parallel worker takes its own (19.4.1). One such operation in every connection and every worker at a time fits into
    a quarter of the memory. Between 64 kB, the server's own minimum, and 64 MB.
    """
    sessions = connections + max_parallel_workers(vcpus, given)
    quarter = memory_mib * 1024 // 4
    fair = int(quarter / sessions / float(given.get("hash_mem_multiplier", HASH_MEM_MULTIPLIER)))
    return min(max(fair, WORK_MEM_MINIMUM_KIB), 65536)


def max_parallel_workers(vcpus, given):
    """Return max_parallel_workers: one per processor, since each can keep one busy, but no more than
    max_worker_processes, above which it has no effect (19.4.6)."""
    return int(
        given.get("max_parallel_workers", min(vcpus, int(given.get("max_worker_processes", MAX_WORKER_PROCESSES))))
    )


def _processes(vcpus, given):
    """Half of the processors for one query or one index build, at most four, so that others go on (19.4.6)."""
    each = min(vcpus // 2, 4)
    return {
        "max_parallel_workers": max_parallel_workers(vcpus, given),
        "max_parallel_workers_per_gather": each,
        "max_parallel_maintenance_workers": each,
    }


def _storage(volume_type):
    """random_page_cost: 4.0 assumes a magnetic disk; on a solid-state one a random page costs hardly more than the next
    (19.7.2). effective_io_concurrency: the number of drives for magnetic ones, "in the hundreds" for solid-state ones
    (19.4.5)."""
    solid = volume_type in SOLID
    return {
        "random_page_cost": 1.1 if solid else 4.0,
        "effective_io_concurrency": 200 if solid else 2,
        "maintenance_io_concurrency": 200 if solid else 10,
    }


def _wal(volume_mib):
    """max_wal_size is a soft limit between two checkpoints (28.5): a tenth of the volume, 256 MB to 16 GB.
    max_slot_wal_keep_size: without a limit a lost standby's slot fills the volume (19.6.1); a fifth of it."""
    if not volume_mib:
        return {}
    largest = min(max(volume_mib // 10 // 16 * 16, 256), 16384)
    return {
        "max_wal_size": f"{largest}MB",
        "min_wal_size": f"{max(largest // 4, 80)}MB",
        "max_slot_wal_keep_size": f"{volume_mib // 5}MB",
    }


def memory_bound_mib(memory_mib, vcpus, connections, given):
    """Return what all sessions take at most when each sorts or hashes once at a time, in MiB."""
    kib = work_mem_kib(memory_mib, vcpus, connections, given)
    if "work_mem" in given:
        kib = memory_bytes(given["work_mem"], "kB") // 1024
    multiplier = float(given.get("hash_mem_multiplier", HASH_MEM_MULTIPLIER))
    return round(kib * multiplier * (connections + max_parallel_workers(vcpus, given)) / 1024)


def memory_refusal(memory_mib, vcpus, connections, given):
    """Return why the connections do not fit into the memory, as a sentence, or an empty text.

    The server's buffers and what sessions may take for sorting leave something to the kernel.
    """
    try:
        buffers = memory_bytes(given.get("shared_buffers", f"{max(memory_mib // 4, 128)}MB"), "8kB") // MIB
        bound = memory_bound_mib(memory_mib, vcpus, connections, given)
    except ValueError as error:
        return unreadable(error)
    if buffers + bound <= memory_mib * 9 // 10:
        return ""
    return (
        f"postgresql_max_connections {connections} with work_mem needs up to {bound} MiB (every session and parallel"
        f" worker sorting or hashing once), and shared_buffers {buffers} MiB, but nine tenths of the memory are"
        f" {memory_mib * 9 // 10} MiB; lower them, or take a larger instance type."
    )


def unreadable(error):
    """Return the sentence about one of the user's values."""
    return f"postgresql_parameters has a value that PostgreSQL would not take: {error}."


def wal_refusal(volume_mib, parameters):
    """Return why a volume is too small for the WAL that may lie on it at once, as a sentence, or an empty text.

    WAL stays until a checkpoint, for standbys that lag, and for slots; the other half of the volume is for the data.

    :arg parameters: all parameters, computed and given.
    """
    names = ("max_wal_size", "wal_keep_size", "max_slot_wal_keep_size")
    if not volume_mib:
        return ""
    try:
        amounts = {name: memory_bytes(parameters.get(name, 0), "MB") // MIB for name in names}
    except ValueError as error:
        return unreadable(error)
    unlimited = amounts["max_slot_wal_keep_size"] < 0
    total = sum(amounts.values())
    if not unlimited and total * 2 <= volume_mib:
        return ""
    text = ", ".join(f"{name} {parameters.get(name, 0)}" for name in names)
    reason = (
        "the slot of a lost standby would keep WAL without a limit" if unlimited else f"together {total} MiB of WAL"
    )
    return (
        f"The volume with postgresql_directory has {volume_mib} MiB, and half of it must hold {text}: {reason};"
        " make the volume larger, or set smaller values in postgresql_parameters."
    )

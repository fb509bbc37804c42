# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's runtime socket: questions, answers, and what follows from them."""

from __future__ import annotations

import csv
import fnmatch
import glob
import os
import socket
import time

FORCED_MAINTENANCE = 0x01  # bits of srv_admin_state, HAProxy management guide, "show servers state"
FORCED_DRAIN = 0x08


class RuntimeFault(Exception):
    """The socket does not answer, or HAProxy refused a command. The text is one sentence."""


class Runtime:
    """The runtime socket of a running HAProxy.

    :arg path: path of the socket.
    :arg timeout: seconds to wait for an answer.
    """

    def __init__(self, path, timeout=10):
        self.path = path
        self._timeout = timeout

    def ask(self, command):
        """Return the answer to one command.

        :raises RuntimeFault: the socket does not answer.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(self._timeout)
                link.connect(self.path)
                link.sendall(command.encode() + b"\n")
                parts = []
                while True:
                    part = link.recv(65536)
                    if not part:
                        return b"".join(parts).decode(errors="replace").strip()
                    parts.append(part)
        except OSError as error:
            raise RuntimeFault("HAProxy does not answer on %s: %s." % (self.path, error.strerror or error)) from error

    def order(self, command):
        """Give a command that is silent when it succeeds.

        :raises RuntimeFault: it was not.
        """
        answer = self.ask(command)
        if answer:
            raise RuntimeFault("HAProxy refused %r: %s" % (command, answer.splitlines()[0]))

    def info(self):
        """Return C(show info) as a dict of text."""
        return dict(line.split(": ", 1) for line in self.ask("show info").splitlines() if ": " in line)

    def servers(self):
        """Return the servers: list of dict, see C(parse_servers)."""
        return parse_servers(self.ask("show stat -1 4 -1"), self.ask("show servers state"))


def parse_servers(statistics, states):
    """Join the two views that HAProxy has of its servers.

    :arg statistics: CSV of C(show stat).
    :arg states: table of C(show servers state).
    :returns: list of dict(service, server, status, check, sessions, administrative).
    """
    administrative = parse_states(states)
    rows = csv.DictReader(statistics.lstrip("# ").splitlines())
    return [
        {
            "service": row["pxname"],
            "server": row["svname"],
            "status": row["status"],
            "check": " ".join(filter(None, (row.get("check_status", "").lstrip("* "), row.get("check_code", "")))),
            "sessions": int(row["scur"] or 0),
            "administrative": administrative.get((row["pxname"], row["svname"]), "ready"),
        }
        for row in rows
    ]


def parse_states(states):
    """Return dict of (backend, server) to V(ready), V(drain) or V(maint), as an operator set it."""
    found = {}
    for line in states.splitlines():
        fields = line.split()
        if len(fields) > 6 and fields[0].isdigit():
            bits = int(fields[6])
            state = "maint" if bits & FORCED_MAINTENANCE else "drain" if bits & FORCED_DRAIN else "ready"
            found[fields[1], fields[3]] = state
    return found


def is_up(server):
    """Tell whether a server takes new connections."""
    return server["status"].startswith(("UP", "no check")) and server["administrative"] == "ready"


def without_server(servers, services):
    """Return one text for each of I(services) that has no server up, naming every server's state.

    :arg services: names of services; C(files/files-standby) is well when one of the two has a server up.
    """
    texts = []
    for service in services:
        members = [server for server in servers if server["service"] in service.split("/")]
        if not any(is_up(server) for server in members):
            told = ", ".join(
                "%s is %s (%s)" % (s["server"], s["status"], s["check"] or "not checked yet") for s in members
            )
            texts.append("service %s has no server up: %s" % (service, told or "it has none at all"))
    return texts


def chosen(servers, server, service="", allow_missing=False):
    """Return the entries of I(servers) that a name means, in the services that fit the pattern I(service) or in all.

    :raises RuntimeFault: there is none, and I(allow_missing) is not given.
    """
    possible = [entry for entry in servers if fnmatch.fnmatchcase(entry["service"], service or "*")]
    found = [entry for entry in possible if entry["server"] == server]
    if found or allow_missing:
        return found
    known = sorted({entry["server"] for entry in possible})
    where = "service %s" % service if service else "any service"
    raise RuntimeFault("There is no server %s in %s; there are: %s." % (server, where, ", ".join(known) or "none"))


def left_without(servers, leaving):
    """Return the services whose last server that is up is among I(leaving)."""
    names = {(entry["service"], entry["server"]) for entry in leaving}
    last = []
    for service in sorted({entry["service"] for entry in leaving if is_up(entry)}):
        rest = [s for s in servers if s["service"] == service and (service, s["server"]) not in names]
        if not any(is_up(s) for s in rest):
            last.append(service)
    return last


def newer_files(patterns, moment):
    """Return the paths matched by I(patterns) that changed after I(moment) (seconds since 1970), sorted."""
    paths = {path for pattern in patterns for path in glob.glob(pattern)}
    return sorted(path for path in paths if os.stat(path).st_ctime > moment)


def process_start(pid, proc="/proc"):
    """Return when a process started, in seconds since 1970, exact to a clock tick.

    :raises RuntimeFault: there is no such process.
    """
    try:
        with open(os.path.join(proc, str(pid), "stat")) as stream:
            ticks = int(stream.read().rpartition(")")[2].split()[19])
    except OSError as error:
        raise RuntimeFault("HAProxy's worker %s is gone: %s." % (pid, error.strerror)) from error
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")

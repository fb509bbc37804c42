# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis and Sentinel over TLS: a small client of the RESP2 protocol, and what a cluster's answers mean."""

from __future__ import annotations

import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.selfhosted.ec2.plugins.module_utils import cluster_client

PORT = 6379
SENTINEL_PORT = 26379
#: Sizes as redis.conf writes them, in bytes.
_UNITS = {"k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3, "b": 1, "": 1}


class RedisError(Exception):
    """One request failed; the text says which address and why."""


class Refused(RedisError):
    """The server answered with an error."""


class Client:
    """One connection to a Redis server or a Sentinel, over TLS with the name verified, logged in.

    :arg host: name that the certificate must hold, or an address with I(name).
    :arg port: TCP port.
    :arg context: C(ssl.SSLContext), see C(cluster_client.tls_context).
    :arg user: ACL user.
    :arg password: its password.
    :arg timeout: seconds for the connection and for one answer.
    :arg name: name in the certificate when it is not I(host).
    :raises RedisError: the server cannot be reached, or refuses the user.
    """

    def __init__(self, host, port, context, user, password, timeout=3, name=None):
        self.address = f"{host}:{port}"
        try:
            plain = socket.create_connection((host, port), timeout)
            try:
                self._socket = context.wrap_socket(plain, server_hostname=name or host)
            except (OSError, ValueError):
                plain.close()
                raise
        except (OSError, ValueError) as error:
            raise RedisError(f"{self.address} does not answer: {error}") from error
        self._stream = self._socket.makefile("rb")
        try:
            self.call("AUTH", user, password)
        except RedisError:
            self.close()
            raise

    def call(self, *words):
        """Return the answer to one command: str, int, None or list; bulk texts are decoded.

        :raises Refused: the server answered with an error.
        :raises RedisError: the connection broke.
        """
        parts = [str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        try:
            self._socket.sendall(request)
            answer = self._read()
        except (OSError, ValueError) as error:
            raise RedisError(f"{self.address} broke off: {error}") from error
        if isinstance(answer, Refused):
            raise Refused(f"{self.address} answered {words[0]} with: {answer}")
        return answer

    def _read(self):
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise ValueError("the connection was closed")
        kind, text = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"+":
            return text
        if kind == b"-":
            return Refused(text)
        if kind == b":":
            return int(text)
        if kind == b"$":
            size = int(text)
            return None if size < 0 else self._stream.read(size + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            size = int(text)
            return None if size < 0 else [self._read() for _number in range(size)]
        raise ValueError(f"unknown answer {line[:20]!r}")

    def close(self):
        """Close the connection."""
        self._stream.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()


def argument_spec():
    """Return the options of the doc fragments C(cluster_client.login) and C(redis)."""
    return {
        **cluster_client.login_options(),
        "members": {"type": "dict", "required": True},
        "service": {"type": "str", "default": "main"},
        "port": {"type": "int", "default": PORT},
        "sentinel_port": {"type": "int", "default": SENTINEL_PORT},
        "timeout": {"type": "int", "default": 3},
    }


class Cluster:
    """The servers and Sentinels of all members.

    :arg params: values of the options of C(argument_spec).
    """

    def __init__(self, params):
        self._params = params
        self.members = params["members"]
        self.service = params["service"]
        # Before the first certificate nobody can be asked.
        self._context = cluster_client.tls_context(params["ca_file"]) if os.path.exists(params["ca_file"]) else None

    def server(self, name):
        """Return a C(Client) of a member's server."""
        return self._connect(name, self._params["port"])

    def sentinel(self, name):
        """Return a C(Client) of a member's Sentinel."""
        return self._connect(name, self._params["sentinel_port"])

    def _connect(self, name, port):
        if not self._context:
            raise RedisError(f"{self._params['ca_file']} is not on this host")
        user, password, timeout = (self._params[key] for key in ("user", "password", "timeout"))
        return Client(self.members[name], port, self._context, user, password, timeout)

    def read(self):
        """Return what C(summary) says, and what it is made of: C(servers) and C(sentinels)."""
        with ThreadPoolExecutor(max_workers=2 * len(self.members) or 1) as pool:
            servers = {name: pool.submit(server_view, self.server, name) for name in self.members}
            sentinels = {name: pool.submit(sentinel_view, self.sentinel, name, self.service) for name in self.members}
        servers = {name: future.result() for name, future in servers.items()}
        sentinels = {name: future.result() for name, future in sentinels.items()}
        return dict(summary(servers, sentinels, self.members), servers=servers, sentinels=sentinels)

    def wait(self, lacking, seconds):
        """Return what C(read) says once nothing is lacking.

        :arg lacking: function that returns what an answer of C(read) lacks, as a sentence, or an empty text.
        :raises RedisError: something still is after so many seconds; the text is that sentence without its end.
        """
        found, sentence = cluster_client.wait_until(self.read, lacking, seconds, pause=0.5)
        if sentence:
            raise RedisError(sentence.rstrip("."))
        return found

    def wait_complete(self, name, seconds):
        """Return what C(read) says once all members are well.

        :arg name: the member that asks.
        :raises RedisError: they are not within so many seconds.
        """
        return self.wait(lambda found: missing(found, name, "complete"), seconds)


def pairs(answer):
    """Return a flat list of names and values as a dict."""
    return dict(zip(answer[::2], answer[1::2], strict=True))


def parse_info(text):
    """Return the lines of INFO as a dict of name to text.

    >>> parse_info("# Replication\\r\\nrole:master\\r\\n")
    {'role': 'master'}
    """
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def server_view(connect, name):
    """Return what one server says about itself.

    :arg connect: function that returns a C(Client) of the member's server.
    :returns: dict with C(reachable), C(role) (C(primary), C(replica) or empty), C(follows) (host a replica follows),
        C(streams) (the replica has its copy and follows), C(offset), C(version), C(loading), C(error).
    """
    view = {
        "reachable": False,
        "role": "",
        "follows": "",
        "streams": False,
        "offset": 0,
        "version": "",
        "replicas": 0,
        "error": "",
    }
    try:
        with connect(name) as client:
            info = parse_info(client.call("INFO"))
    except RedisError as error:
        return dict(view, error=str(error))
    primary = info.get("role") == "master"
    view.update(
        reachable=True,
        role="primary" if primary else "replica",
        follows=info.get("master_host", ""),
        streams=info.get("master_link_status") == "up" and info.get("master_sync_in_progress") == "0",
        offset=int(info.get("master_repl_offset" if primary else "slave_repl_offset", 0)),
        version=info.get("valkey_version") or info.get("redis_version", ""),
        replicas=int(info.get("connected_slaves", 0)),
    )
    if info.get("loading") == "1":
        view["error"] = "it loads its data"
    elif not primary and not view["streams"]:
        view["error"] = f"it does not stream from {view['follows']}"
    return view


def sentinel_view(connect, name, service):
    """Return what one Sentinel says about the service.

    :returns: dict with C(reachable), C(primary) (host it takes for the primary, empty when it watches nothing),
        C(down) (it takes that one for down), C(sentinels) (others that it knows), C(replicas) (of the primary, that it
        knows), C(epoch), C(error).
    """
    view = {"reachable": False, "primary": "", "down": False, "sentinels": 0, "replicas": 0, "epoch": 0, "error": ""}
    try:
        with connect(name) as client:
            view["reachable"] = True
            state = pairs(client.call("SENTINEL", "MASTER", service))
    except Refused as error:
        watches_nothing = view["reachable"] and "No such master" in str(error)
        return dict(view, error=f"it does not watch {service}" if watches_nothing else str(error))
    except RedisError as error:
        return dict(view, error=str(error))
    flags = state["flags"].split(",")
    view.update(
        primary=state["ip"],
        down="s_down" in flags or "o_down" in flags,
        sentinels=int(state["num-other-sentinels"]),
        replicas=int(state["num-slaves"]),
        epoch=int(state["config-epoch"]),
    )
    if view["down"]:
        view["error"] = f"it takes the primary {view['primary']} for down"
    elif "failover_in_progress" in flags:
        view["error"] = "a failover is under way"
    return view


def strangers(listed, hosts):
    """Return the instances that a Sentinel knows and should not: no member's, or one whose address a new one has taken.

    The latter is a lost Sentinel that came back with an empty volume: the others keep it with port 0, and it counts
    for their majority (sentinel.c, sentinelProcessHelloMessage).

    :arg listed: what SENTINEL SENTINELS or SENTINEL REPLICAS answered: a flat list of names and values for each.
    :arg hosts: host names of all members.
    :returns: list of C(host:port).
    """
    known = [pairs(one) for one in listed]
    return sorted(f"{one['ip']}:{one['port']}" for one in known if one["ip"] not in hosts or one["port"] == "0")


def majority_primary(sentinels, members):
    """Return the host that more than half of all I(members)' Sentinels take for the primary, or an empty text.

    :arg sentinels: dict of member to what C(sentinel_view) returns.
    :arg members: number of members described, answering or not.
    """
    named = [view["primary"] for view in sentinels.values() if view["primary"]]
    for host in set(named):
        if named.count(host) > members // 2:
            return host
    return ""


def summary(servers, sentinels, hosts):
    """Return the cluster as a whole.

    :arg servers: dict of member to what C(server_view) returns.
    :arg sentinels: dict of member to what C(sentinel_view) returns.
    :arg hosts: dict of member to the host name under which the Sentinels know it.
    """
    host = majority_primary(sentinels, len(hosts))
    primary = next((name for name, known in hosts.items() if known == host), "")
    unhealthy = {}
    for name in hosts:
        reasons = _server_faults(name, servers[name], primary, hosts) + _sentinel_faults(
            sentinels[name], host, len(hosts)
        )
        if reasons:
            unhealthy[name] = "; ".join(reasons)
    return {
        "primary": primary,
        "primary_host": host,
        "primaries": sorted(name for name, view in servers.items() if view["role"] == "primary"),
        "quorum": bool(host),
        "healthy": sorted(set(hosts) - set(unhealthy)),
        "unhealthy": unhealthy,
    }


def _server_faults(name, view, primary, hosts):
    if view["error"]:
        return [view["error"]]
    if name == primary:
        return [] if view["role"] == "primary" else ["the Sentinels take it for the primary, but it is a replica"]
    if view["role"] == "primary":
        return ["it answers as a primary, but the Sentinels name " + (primary or "none")]
    if primary and view["follows"] != hosts[primary]:
        return [f"it follows {view['follows']}, not the primary {hosts[primary]}"]
    return []


def _sentinel_faults(view, host, members):
    if view["error"]:
        return ["Sentinel: " + view["error"]]
    if host and view["primary"] != host:
        return [f"Sentinel: it takes {view['primary']} for the primary, not {host}"]
    if view["sentinels"] < members - 1:
        return [f"Sentinel: it knows {view['sentinels']} of {members - 1} others"]
    return []


def missing(cluster, name, require):
    """Return what is not yet as I(require) says, as a sentence, or an empty text.

    :arg cluster: what C(summary) returns.
    :arg require: C(nothing), C(healthy), C(redundant) or C(complete), see module redis_cluster_info.
    """
    if require == "nothing":
        return ""
    unhealthy = cluster["unhealthy"]
    sentence = cluster_client.unwell("Redis", unhealthy, name, require)
    if sentence:
        return sentence
    if not cluster["quorum"]:
        well = ", ".join(cluster["healthy"]) or "none"
        return f"No majority of the Sentinels agrees on a primary of Redis; well are {well}."
    if require == "healthy" and name in unhealthy:
        return f"Redis on {name} is not well ({unhealthy[name]})."
    if cluster["primary"] in unhealthy and require != "redundant":
        return f"The primary of Redis, {cluster['primary']}, is not well ({unhealthy[cluster['primary']]})."
    return ""


def read_disk(identity_file, data_dir):
    """Return C(identity) (dict, or None without the file) and C(holds_data) of this host's volume.

    :raises ValueError: the identity file is not JSON.
    """
    holds = bool(data_dir) and (
        os.path.exists(os.path.join(data_dir, "dump.rdb")) or os.path.isdir(os.path.join(data_dir, "appendonlydir"))
    )
    return {"identity": cluster_client.read_identity(identity_file), "holds_data": holds}


def same_value(name, wanted, found):
    """Tell whether a runtime option has the wanted value, however it is written.

    >>> same_value("maxmemory", "512mb", "536870912")
    True
    """
    wanted, found = _plain(wanted), _plain(found)
    if wanted == found:
        return True
    if name == "client-output-buffer-limit":
        # The server lists all classes, the file only those it sets.
        return set(_limits(wanted)) <= set(_limits(found))
    if name == "notify-keyspace-events":
        return set(wanted) == set(found)
    return size(wanted) is not None and size(wanted) == size(found)


def _plain(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(str(value).split()).lower().strip('"')


def _limits(text):
    words = ["slave" if word == "replica" else word for word in text.split()]
    return [(words[i], *(size(word) for word in words[i + 1 : i + 4])) for i in range(0, len(words) - 3, 4)]


def size(text):
    """Return the bytes in a size such as C(512mb), None when the text is none.

    >>> size("1gb"), size("noeviction")
    (1073741824, None)
    """
    text = text.lower()
    digits = text.rstrip("bgkm")
    unit = text[len(digits) :]
    negative = digits.startswith("-")
    if not digits.lstrip("-").isdigit() or unit not in _UNITS:
        return None
    return (-1 if negative else 1) * int(digits.lstrip("-")) * _UNITS[unit]


def config_changes(wanted, found):
    """Return the runtime options to set: dict of name to text.

    :arg wanted: dict of option to value.
    :arg found: what CONFIG GET returned, dict of name to text.
    :raises ValueError: the server does not know an option.
    """
    changes = {}
    for name, value in sorted(wanted.items()):
        if name not in found:
            raise ValueError(f"the server has no option {name}")
        if not same_value(name, value, found[name]):
            changes[name] = "yes" if value is True else "no" if value is False else str(value)
    return changes


def password_hash(password):
    """Return a password as an ACL file keeps it (Redis: SHA-256, hexadecimal, after C(#)).

    :raises ValueError: the password is shorter than 16 characters, since the hash has no salt.
    """
    if len(password) < 16:
        raise ValueError("its password has fewer than 16 characters; Redis keeps no salt, so give a long random one")
    return hashlib.sha256(password.encode()).hexdigest()

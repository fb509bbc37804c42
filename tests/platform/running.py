"""The running platform as its operator sees it: by the inventory, over SSH, through the edge."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg
from ledger import edge_conninfo

from lab import endpoints, keys
from lab.paths import Lab

ROOT = Path(__file__).resolve().parent.parent.parent
PATRONICTL = ["sudo", "patronictl", "-c", "/etc/patroni/config.yml", "list", "-f", "json"]
ETCDCTL = "etcdctl --cacert=/etc/etcd/tls/ca.crt --cert=/etc/etcd/tls/etcd.crt --key=/etc/etcd/tls/etcd.key"
#: psql's exit code when the server takes no connection.
NO_CONNECTION = 2
IS_STANDBY = ["sudo", "-u", "postgres", "psql", "-AtXqc", "SELECT pg_is_in_recovery()"]
DATABASE_UNITS = ["etcd", "patroni", "pgbouncer"]
EDGE_UNITS = ["haproxy"]
STREAMING = ("streaming", "running")


class NotWell(AssertionError):
    """The platform did not become well in time; the text says what is wrong."""


def plain(value: object) -> str:
    """A text of the inventory; what its plugin found is marked as not to be templated."""
    return str(value["__ansible_unsafe"] if isinstance(value, dict) else value)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a condition holds. Raises AssertionError with what did not come when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def wait_until_well(name: str, complaints: Callable[[], list[str]], seconds: float, pause: float) -> None:
    """Ask every `pause` seconds for what is not well, until nothing is. Raises NotWell with the last answer."""
    deadline = time.monotonic() + seconds
    while found := complaints():
        if time.monotonic() > deadline:
            raise NotWell(f"{name} is not well after {seconds:.0f} s: {'; '.join(found)}")
        time.sleep(pause)


def leaders_of(members: dict[str, dict]) -> list[str]:
    """The names of those members that Patroni calls leader."""
    return [name for name, member in members.items() if member["Role"] == "Leader"]


@dataclass
class Platform:
    """Names and addresses of the running platform.

    :ivar edges: address by name of the edge hosts.
    :ivar databases: instance id by name of the database hosts.
    :ivar hosts: instance id and address by name of all hosts.
    :ivar zones: availability zone by name of all these hosts.
    """

    name: str
    domain: str
    edges: dict[str, str]
    databases: dict[str, str]
    zones: dict[str, str]
    hosts: dict[str, tuple[str, str]]
    authority: Path
    password: str = field(repr=False)
    _lab: Lab = field(default_factory=lambda: Lab(os.environ["LAB"]), repr=False)
    _ways: dict[str, list[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def find(cls, authority: Path) -> Platform:
        """The platform of the inventory; its CA certificate is written to `authority`."""
        found, described = endpoints.inventory(), endpoints.variables()
        variables = found["_meta"]["hostvars"]
        authority.write_text(endpoints.secret(described["name"], "ca/certificate"))
        # TIERS may have left them out.
        edges, databases = (sorted(found.get(name, {}).get("hosts", [])) for name in ("haproxy", "postgresql"))
        return cls(
            name=described["name"],
            domain=described["domain"],
            edges={host: plain(variables[host]["ansible_host"]) for host in edges},
            databases={host: plain(variables[host]["ec2_instance_id"]) for host in databases},
            hosts={
                host: (plain(values["ec2_instance_id"]), plain(values["ansible_host"]))
                for host, values in variables.items()
                if "ansible_host" in values
            },
            zones={host: plain(variables[host]["ec2_zone"]) for host in [*edges, *databases]},
            authority=authority,
            password=endpoints.secret(described["name"], "postgresql/users/trading"),
        )

    def conninfo(self, first: int = 0, port: int = endpoints.READ_WRITE) -> str:
        """Connection string through the edge, beginning with edge host number `first`."""
        return edge_conninfo(
            f"postgresql.{self.domain}",
            list(self.edges.values()),
            port,
            first,
            dbname="trades",
            user="trading",
            password=self.password,
            sslrootcert=str(self.authority),
        )

    def ssh(self, host: str, command: list[str]) -> list[str]:
        """The line that runs a command on a host. `lab ssh` would ask the API first, which takes a second."""
        if host not in self._ways:
            self._ways[host] = keys.ssh(self._lab, *self.hosts[host], [])
        return [*self._ways[host], shlex.join(command)]

    def run(self, host: str, command: list[str], timeout: float = 30) -> str:
        """Output of a command on a host. Raises CalledProcessError or TimeoutExpired."""
        return subprocess.run(
            self.ssh(host, command), check=True, capture_output=True, text=True, timeout=timeout, cwd=ROOT
        ).stdout

    def shell(self, host: str, script: str, timeout: float = 60) -> str:
        """Output of a script that root runs on a host. Raises CalledProcessError or TimeoutExpired."""
        return self.run(host, ["sudo", "sh", "-c", script], timeout)

    def members(self, besides: Iterable[str] = ()) -> dict[str, dict]:
        """What Patroni says of its members, asked at any host but those `besides`."""
        for host in self.databases:
            if host not in besides:
                try:
                    listed = json.loads(self.run(host, PATRONICTL))
                except (subprocess.SubprocessError, ValueError):
                    continue
                return {member["Member"]: member for member in listed}
        return {}

    def leaders(self, besides: Iterable[str] = ()) -> list[str]:
        """The members that Patroni calls leader."""
        return leaders_of(self.members(besides))

    def standbys(self) -> list[str]:
        """The members that stream."""
        return sorted(name for name, member in self.members().items() if member["State"] == "streaming")

    def etcd_status(self) -> dict[str, dict]:
        """What each member of etcd says of itself, by the host's name; of one that is down nothing."""
        for host in self.databases:
            line = f"{ETCDCTL} --endpoints=https://{host}.{self.domain}:2379 endpoint status --cluster -w json"
            try:
                listed = json.loads(self.shell(host, line))
            except (subprocess.SubprocessError, ValueError):
                continue
            return {item["Endpoint"].removeprefix("https://").split(".")[0]: item["Status"] for item in listed}
        return {}

    def etcd_leader(self) -> str:
        """The host of etcd's leader."""
        return next(
            host for host, status in self.etcd_status().items() if status["leader"] == status["header"]["member_id"]
        )

    def writable(self) -> list[str]:
        """The hosts whose PostgreSQL takes writes, each asked itself; one that takes no connection takes none."""
        return [host for host in self.databases if self._is_standby(host) == "f"]

    def _is_standby(self, host: str) -> str:
        try:
            return self.run(host, IS_STANDBY).strip()
        except subprocess.CalledProcessError as error:
            if error.returncode != NO_CONNECTION:
                raise
            return ""

    def complaints(self) -> list[str]:
        """What keeps the platform's databases from being well, as sentences; empty when they are, or there are none."""
        if not self.databases:
            return []
        members, found = self.members(), []
        if set(members) != set(self.databases):
            found.append(f"Patroni knows {sorted(members)} of {sorted(self.databases)}")
        if len(leaders_of(members)) != 1:
            found.append(f"the leaders are {leaders_of(members)}")
        waiting = [name for name, member in members.items() if member["State"] not in STREAMING]
        if waiting:
            found.append(f"not streaming: {waiting}")
        return found or self._etcd_complaints() or self._edge_complaints()

    def _etcd_complaints(self) -> list[str]:
        missing = sorted(set(self.databases) - set(self.etcd_status()))
        return [f"etcd does not run on {missing}"] if missing else []

    def _edge_complaints(self) -> list[str]:
        found = []
        for number, edge in enumerate(self.edges):
            try:
                alone = psycopg.conninfo.conninfo_to_dict(self.conninfo(number))
                alone["host"], alone["hostaddr"] = (alone[key].split(",")[0] for key in ("host", "hostaddr"))
                with psycopg.connect(**alone) as connection:
                    connection.execute("SELECT 1")
            except psycopg.Error as error:
                found.append(f"{edge} does not serve: {str(error).splitlines()[0]}")
        return found

    def wait_until_well(self, seconds: float = 180) -> None:
        """Wait until all members stream, there is one leader, and each edge host serves. Raises NotWell."""
        wait_until_well("The platform", self.complaints, seconds, pause=1)

    def stop_instances(self, hosts: list[str]) -> None:
        """Stop database hosts by the AWS API."""
        boto3.client("ec2").stop_instances(InstanceIds=[self.databases[host] for host in hosts])

    def start_instances(self, hosts: list[str]) -> None:
        """Start them again, once they have stopped."""
        client, ids = boto3.client("ec2"), [self.databases[host] for host in hosts]
        client.get_waiter("instance_stopped").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        client.start_instances(InstanceIds=ids)

    def terminate(self, host: str) -> None:
        """Terminate a host by the AWS API, and wait until it is gone."""
        client, ids = boto3.client("ec2"), [self.hosts[host][0]]
        client.terminate_instances(InstanceIds=ids)
        client.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 120})

    def instance_types(self) -> set[str]:
        """The types of the database hosts' instances."""
        answer = boto3.client("ec2").describe_instances(InstanceIds=list(self.databases.values()))
        return {item["InstanceType"] for entry in answer["Reservations"] for item in entry["Instances"]}

    def refresh(self) -> None:
        """Read the inventory again, after an operation that gives or takes instances."""
        again = Platform.find(self.authority)
        self.edges, self.databases, self.zones = again.edges, again.databases, again.zones
        self.hosts, self._ways = again.hosts, {}

    def power(self, hosts: list[str]) -> list[str]:
        """Take the power of several hosts at once; returns them."""
        self.lab("fault", "power", *hosts)
        return hosts

    def lab(self, *words: str) -> None:
        """Run the command `lab`."""
        subprocess.run(["lab", *words], check=True, capture_output=True, text=True, cwd=ROOT)

    def playbook(self, name: str, *arguments: str) -> int:
        """Run one of the playbooks; the number of changes it reports. Raises AssertionError with its output."""
        return playbook_changes(name, *arguments)

    def processes(self) -> dict[str, dict[str, str]]:
        """The main process of each service by host: what a run must not restart."""
        units = {**dict.fromkeys(self.databases, DATABASE_UNITS), **dict.fromkeys(self.edges, EDGE_UNITS)}
        return {host: dict(zip(names, self.main_pids(host, names), strict=True)) for host, names in units.items()}

    def main_pids(self, host: str, units: list[str]) -> list[str]:
        return self.run(host, ["systemctl", "show", "--property=MainPID", "--value", *units]).split()


def described(name: str) -> Any:
    """A variable of the inventory, as a playbook has it."""
    line = ["ansible", "localhost", "-m", "debug", "-a", f"msg={{{{ {name} | to_json }}}}", "-o"]
    printed = subprocess.run(line, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    found = json.loads(printed[printed.index("{") :])["msg"]
    return json.loads(found) if isinstance(found, str) else found


def tiers(component: str = "postgresql", **changes: object) -> str:
    """The described tiers with changes to the one of a component, as an argument of -e."""
    found = described("platform_tiers")
    return json.dumps(
        {"platform_tiers": [{**tier, **changes} if component in tier["components"] else tier for tier in found]}
    )


def _play(name: str, arguments: tuple[str, ...]) -> tuple[str, subprocess.CompletedProcess]:
    """Run a playbook; its line, and how it ended."""
    line = ["ansible-playbook", f"playbooks/{name}.yml", *arguments]
    return " ".join(line), subprocess.run(line, check=False, capture_output=True, text=True, cwd=ROOT)


def playbook_changes(name: str, *arguments: str) -> int:
    """Run a playbook and count the changes in its recap. Raises AssertionError with its output."""
    line, run = _play(name, arguments)
    if run.returncode:
        raise AssertionError(f"{line} ended with {run.returncode}:\n{run.stdout[-6000:]}{run.stderr[-1000:]}")
    recap = re.findall(r"changed=(\d+)", run.stdout.rpartition("PLAY RECAP")[2])
    assert recap, f"{line} touched no host:\n{run.stdout[-3000:]}"
    return sum(int(count) for count in recap)


def playbook_says(name: str, *arguments: str) -> str:
    """Run a playbook with differences and at the highest verbosity; all that it says. Raises AssertionError."""
    line, run = _play(name, ("-vvvvvv", "--diff", *arguments))
    assert run.returncode == 0, f"{line} ended with {run.returncode}:\n{run.stdout[-6000:]}{run.stderr[-1000:]}"
    return run.stdout + run.stderr


def playbook_fails(name: str, *arguments: str) -> str:
    """Run a playbook that must fail; what it said, as one line. Raises AssertionError when it does not fail."""
    line, run = _play(name, arguments)
    assert run.returncode, f"{line} did not fail:\n{run.stdout[-6000:]}"
    return " ".join((run.stdout + run.stderr).split())


def secret_values(platform: str) -> dict[str, str]:
    """The platform's secrets by name, without certificates, which everybody may read."""
    pages = boto3.client("ssm").get_paginator("get_parameters_by_path")
    found = pages.paginate(Path=f"/{platform}/", Recursive=True, WithDecryption=True)
    items = [item for page in found for item in page["Parameters"]]
    values = {item["Name"].removeprefix(f"/{platform}/"): item["Value"] for item in items}
    return {name: value for name, value in values.items() if not name.endswith("certificate")}


def middle_line(secret: str) -> str:
    """The part of a secret that no other one shares: a key's first and last lines are every key's."""
    lines = secret.splitlines()
    return lines[len(lines) // 2]

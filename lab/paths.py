"""Every path, port, address and name of a lab. The other parts ask here and build none themselves."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

CACHE = Path("/var/cache/ec2-lab")
STATE = Path("/var/lib/ec2-lab")
RUN = Path("/run/ec2-lab")

FIRST_PORT = 4566
REGION = "eu-west-1"
ACCOUNT = "123456789012"
DEFAULT_LAB = "lab"
FIXED_INDEXES = {"lab": 0, "test": 1}
MAX_INDEX = 60

INET_NETWORK = ipaddress.ip_network("198.51.100.0/24")
TLS_ADDRESS = "198.51.100.10"
MIRROR_ADDRESS = "198.51.100.20"
IMDS_ADDRESS = "169.254.169.254"
TIME_ADDRESS = "169.254.169.123"
MIRROR_HOST = "packages.mirror.internal"
INTERFACE = "ens5"
ADMIN_USER = "admin"


class BadLabName(ValueError):
    """The name cannot name a lab."""


def _check(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", name):
        raise BadLabName(f"The lab name {name!r} must be 1 to 12 lower-case letters or digits, a letter first.")
    return name


def _index(name: str) -> int:
    """The lab's number: fixed for `lab` and `test`, else the first free one, kept in the state directory."""
    if name in FIXED_INDEXES:
        return FIXED_INDEXES[name]
    register = STATE / "indexes.json"
    try:
        known = json.loads(register.read_text())
        if name in known:
            return known[name]
    except (OSError, ValueError):
        pass
    return _assign(name, register)


@contextlib.contextmanager
def labs_locked() -> Iterator[None]:
    """No lab of this machine begins or ends meanwhile, so what all of them share is not made and removed at once."""
    # A directory that stays: a lock file would have to go with the last lab.
    descriptor = os.open(STATE.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _assign(name: str, register: Path) -> int:
    try:
        with labs_locked():
            register.parent.mkdir(parents=True, exist_ok=True)
            known = {}
            with contextlib.suppress(OSError, ValueError):
                known = json.loads(register.read_text())
            if name not in known:
                taken = set(known.values()) | set(FIXED_INDEXES.values())
                known[name] = next(i for i in range(2, MAX_INDEX) if i not in taken)
                temporary = register.with_suffix(f".{os.getpid()}")
                temporary.write_text(json.dumps(known, indent=1))
                temporary.replace(register)
            return known[name]
    except PermissionError:
        # Without root only reading commands run; they never see a lab that root has not made.
        return 2 + int(hashlib.sha256(name.encode()).hexdigest(), 16) % (MAX_INDEX - 2)


def forget_index(name: str) -> None:
    """Give back the index of a lab that was taken down. Unknown names are no error."""
    register = STATE / "indexes.json"
    with labs_locked():
        if name in FIXED_INDEXES or not register.exists():
            return
        known = json.loads(register.read_text())
        known.pop(name, None)
        temporary = register.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(known, indent=1))
        temporary.replace(register)


class Lab:
    """Names of one lab. `name`: 1 to 12 lower-case letters and digits; raises BadLabName otherwise."""

    def __init__(self, name: str | None = None):
        self.name = _check(name or os.environ.get("LAB") or DEFAULT_LAB)
        self.index = _index(self.name)
        self.state = STATE / self.name
        self.run = RUN / self.name
        self.cache = CACHE

    def __repr__(self) -> str:
        return f"Lab({self.name!r}, index {self.index})"

    # The AWS endpoint
    @property
    def port(self) -> int:
        return FIRST_PORT + self.index

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def aws_socket(self) -> Path:
        """Unix socket of `lab aws`, for the hosts' TLS front."""
        return self.run / "aws.sock"

    @property
    def changed_directory(self) -> Path:
        """A process that wants to hear of changes binds a datagram socket here; the front sends to each."""
        return self.run / "changed.d"

    def changed_socket(self, process: str) -> Path:
        return self.changed_directory / f"{process}.sock"

    @property
    def region(self) -> str:
        return REGION

    @property
    def account(self) -> str:
        return ACCOUNT

    @property
    def credentials(self) -> dict[str, str]:
        """Access keys of the lab's administrator; long enough that Ansible does not mask every letter of its output."""
        return {
            "aws_access_key_id": f"AKIALAB{self.index:02d}ADMINISTRA"[:20].ljust(20, "X"),
            "aws_secret_access_key": f"lab-{self.name}-administrator-secret-key".ljust(40, "0")[:40],
        }

    # Networks
    @property
    def vpc_cidr(self) -> str:
        return f"10.{20 + self.index}.0.0/16"

    @property
    def controller_cidr(self) -> str:
        return f"100.64.{self.index}.0/24"

    @property
    def inet_namespace(self) -> str:
        return f"{self.name}-inet"

    def router_namespace(self, vpc_id: str) -> str:
        return f"{self.name}-{vpc_id}"

    def host_namespace(self, instance_id: str) -> str:
        return f"{self.name}-{instance_id}"

    @property
    def namespace_prefix(self) -> str:
        """All network namespaces of the lab begin so, and no other's."""
        return f"{self.name}-"

    @staticmethod
    def namespace_path(namespace: str) -> Path:
        return Path("/run/netns") / namespace

    # Certificates and keys
    @property
    def ca_certificate(self) -> Path:
        """The CA of the TLS front; every host of the lab trusts it."""
        return self.state / "tls" / "ca.crt"

    @property
    def tls_directory(self) -> Path:
        return self.state / "tls"

    @property
    def ssh_key(self) -> Path:
        """Private key of the operator; the public one is beside it with .pub."""
        return self.state / "ssh" / "id_ed25519"

    # Instances and volumes
    @property
    def instances(self) -> Path:
        return self.state / "instances"

    def instance(self, instance_id: str) -> Path:
        return self.instances / instance_id

    def console_log(self, instance_id: str) -> Path:
        return self.instance(instance_id) / "console.log"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    def volume(self, volume_id: str) -> Path:
        """The sparse file with the volume's content."""
        return self.volumes / f"{volume_id}.img"

    @property
    def snapshots(self) -> Path:
        return self.state / "snapshots"

    def snapshot(self, snapshot_id: str) -> Path:
        return self.snapshots / f"{snapshot_id}.img"

    @property
    def network_state(self) -> Path:
        """What the reconciler last applied and what faults are on; JSON files of lab.network."""
        return self.state / "network"

    # Processes
    def pid_file(self, process: str) -> Path:
        return self.run / f"{process}.pid"

    def log_file(self, process: str) -> Path:
        return self.state / "logs" / f"{process}.log"

    @property
    def faults_file(self) -> Path:
        """Faults of hosts that the reconciler must leave alone: {instance id: [fault]}."""
        return self.state / "faults.json"

    @property
    def mirror(self) -> Path:
        """Files the mirror serves besides the Debian archive; shared by all labs."""
        return self.cache / "mirror"

    @property
    def artifact_manifest(self) -> Path:
        """The manifest of releases for what the mirror's builds made."""
        return self.cache / "artifacts" / "kubernetes-releases.json"

"""Names and addresses that only the network of a lab knows; all interface names fit the kernel's 15 characters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# Inside a router namespace.
INET_LINK = "inet"
CONTROLLER_LINK = "ctl"
# On the lo of the inet namespace: its end of every link, and a client on the internet.
INET_GATEWAY = "198.51.100.1"
INET_CLIENT = "203.0.113.10"
# The internet's DNS server: public zones only.
INET_RESOLVER = "198.51.100.53"


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Names:
    """Interface names and link addresses of the lab with this index (0 to 99)."""

    index: int

    @property
    def host_prefix(self) -> str:
        return f"el{self.index:02d}h"

    @property
    def machine_prefix(self) -> str:
        return f"el{self.index:02d}m"

    def host_link(self, instance_id: str, device_index: int = 0) -> str:
        """The router's end of a host's interface."""
        return self.host_prefix + _hash(f"{instance_id}/{device_index}", 10)

    def machine_link(self, vpc_id: str) -> str:
        """The machine's end of the controller link."""
        return self.machine_prefix + _hash(vpc_id, 10)

    def inet_link(self, vpc_id: str) -> str:
        """The inet namespace's end of a router's way out."""
        return f"el{self.index:02d}i" + _hash(vpc_id, 10)

    @property
    def controller_address(self) -> str:
        return f"100.64.{self.index}.1"

    @property
    def router_controller_address(self) -> str:
        """The router's end of the controller link; the same in every router, as each link is its own."""
        return f"100.64.{self.index}.2"

    @staticmethod
    def router_inet_address(vpc_id: str) -> str:
        """A router's own address towards inet, in 100.127.0.0/16 (shared address space, RFC 6598)."""
        number = int(_hash(vpc_id, 8), 16) % 65022 + 257
        return f"100.127.{number >> 8}.{number & 255}"

    @staticmethod
    def table(route_table_id: str) -> int:
        """Kernel routing table of a VPC route table, clear of the reserved 0 and 253 to 255."""
        return 1000 + int(_hash(route_table_id, 7), 16)

"""The network of a lab: a router per VPC, a namespace per host, and the internet they see.

What differs from a VPC: no IPv6, no network ACLs, no peering, MTU 1500; one VPC endpoint opens the one address that
stands for all of AWS; routes inside the VPC's own block are not followed; a TTL is one less after the router.
"""

from __future__ import annotations

from lab.network import faults
from lab.network.apply import apply, attach_host, detach_host, remove_all
from lab.network.model import Vpc, read_models
from lab.network.namespaces import NetworkError

__all__ = ["NetworkError", "Vpc", "apply", "attach_host", "detach_host", "faults", "read_models", "remove_all"]

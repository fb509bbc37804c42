"""The network of a lab: a router per VPC, a namespace per host, and the internet they see."""

from __future__ import annotations

from lab.network import faults
from lab.network.apply import apply, attach_host, detach_host, remove_all
from lab.network.model import Vpc, read_models
from lab.network.namespaces import NetworkError

__all__ = ["NetworkError", "Vpc", "apply", "attach_host", "detach_host", "faults", "read_models", "remove_all"]

"""What a VPC and the internet answer to the hosts of a lab: DNS, instance metadata, time and a package mirror."""

from __future__ import annotations

from lab.services.main import run

__all__ = ["run"]

"""The machine images of the lab: Debian's official ones by owner, name and age, in every region.

Source of owner and names: wiki.debian.org, Cloud/AmazonEC2Image (account 136693071363,
`debian-<release>-<architecture>-<build>`).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

DEBIAN = "136693071363"
BUILDS = (
    ("13", "20260914-2240"),
    ("13", "20261101-2289"),
    ("12", "20261020-2277"),
)
ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}
ROOT_DEVICE = "/dev/xvda"
ROOT_SIZE_GIB = 8


def _id(region: str, name: str) -> str:
    return "ami-0" + hashlib.sha256(f"{region}/{name}".encode()).hexdigest()[:16]


def images(region: str) -> list[dict[str, Any]]:
    """Every image of a region, as keyword arguments of moto's Ami."""
    result = []
    for release, build in BUILDS:
        for short, architecture in ARCHITECTURES.items():
            name = f"debian-{release}-{short}-{build}"
            result.append(
                {
                    "ami_id": _id(region, name),
                    "name": name,
                    "description": f"Debian {release} ({build})",
                    "owner_id": DEBIAN,
                    "public": True,
                    "architecture": architecture,
                    "virtualization_type": "hvm",
                    "hypervisor": "xen",
                    "image_location": f"amazon/{name}",
                    "root_device_type": "ebs",
                    "root_device_name": ROOT_DEVICE,
                    "sriov": "simple",
                    "creation_date": datetime.strptime(build.split("-")[0] + "0714", "%Y%m%d%H%M").replace(tzinfo=UTC),
                }
            )
    return result

"""volume_mounts: what a host mounts, from the description and the inventory."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.selfhosted.ec2.plugins.filter.volume_mounts import volume_mounts

TIERS = [
    {"name": "edge", "components": ["haproxy"]},
    {
        "name": "database",
        "volumes": [
            {"name": "etcd", "size": 2, "type": "gp3", "mount": "/var/lib/etcd"},
            {
                "name": "data",
                "size": 9,
                "mount": "/data",
                "filesystem": "ext4",
            },
        ],
    },
]
ATTACHED = {
    "etcd": {"volume_id": "vol-1", "device": "/dev/disk/by-id/one"},
    "data": {"volume_id": "vol-2", "device": "/dev/disk/by-id/two"},
}


def test_volumes_of_the_tier():
    assert volume_mounts(TIERS, "database", ATTACHED, {"data": ["db"]}) == [
        {
            "name": "etcd", "mount": "/var/lib/etcd", "filesystem": "xfs", "device": "/dev/disk/by-id/one",
            "services": [],
        },
        {
            "name": "data", "mount": "/data", "filesystem": "ext4", "device": "/dev/disk/by-id/two",
            "services": ["db"],
        },
    ]  # fmt: skip


def test_tier_without_volumes():
    assert volume_mounts(TIERS, "edge", {}) == []
    assert volume_mounts(TIERS, "unknown", {}) == []


def test_volume_that_is_not_attached_is_named():
    with pytest.raises(AnsibleFilterError, match=r"volume data of tier database is not attached .*\(it has etcd\)"):
        volume_mounts(TIERS, "database", {"etcd": ATTACHED["etcd"]})

"""Volumes as the services on them find them."""

import json

import pytest

VOLUMES = {"data": ("/srv/data", "xfs"), "my-logs": ("/srv/my-logs", "ext4")}
UNITS = {"data": "srv-data.mount", "my-logs": r"'srv-my\x2dlogs.mount'"}


def root(host, command):
    """Result of a command as root."""
    with host.sudo():
        return host.run(command)


@pytest.mark.parametrize("name", VOLUMES)
def test_mounted_by_device_link(host, name):
    path, filesystem = VOLUMES[name]
    mount = host.mount_point(path)
    assert mount.exists
    assert mount.filesystem == filesystem
    assert "noatime" in mount.options
    assert host.check_output(f"systemctl is-enabled {UNITS[name]}") == "enabled"
    unit = host.check_output(f"systemctl cat {UNITS[name]}")
    assert "What=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol" in unit


@pytest.mark.parametrize("name", VOLUMES)
def test_identity(host, name):
    identity = json.loads(host.file(f"{VOLUMES[name][0]}/.volume-identity").content_string)
    assert identity == {"platform": "molecule", "slot": "store-1", "volume": name}


def test_service_pulls_its_mounts_and_stops_with_them(host):
    try:
        assert root(host, f"systemctl stop volume-test {UNITS['data']}").rc == 0
        assert not host.mount_point("/srv/data").exists
        assert root(host, "systemctl start volume-test").rc == 0
        assert host.mount_point("/srv/data").exists
        assert root(host, f"systemctl stop {UNITS['data']}").rc == 0
        assert not host.service("volume-test").is_running
    finally:
        root(host, f"systemctl start {UNITS['data']}")


def test_service_never_starts_on_the_root_disk(host):
    override = "/run/systemd/system/srv-data.mount.d"
    try:
        root(host, f"systemctl stop volume-test {UNITS['data']}")
        root(host, f"mkdir -p {override}")
        root(host, f"printf '[Mount]\\nWhat=/dev/absent\\n' > {override}/test.conf")
        root(host, "systemctl daemon-reload")
        assert root(host, "systemctl start volume-test").rc != 0
        assert not host.service("volume-test").is_running
        assert root(host, "ls -A /srv/data").stdout == ""
    finally:
        root(host, f"rm -r {override}")
        root(host, "systemctl daemon-reload")
        root(host, "systemctl reset-failed")
        root(host, f"systemctl start {UNITS['data']}")
    assert host.mount_point("/srv/data").exists

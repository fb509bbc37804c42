from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import inventory_model as model

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVu1Oa3mXzJBgvoYbE0nmcuFcbnKhXoYbFrPZgSgU1q"


def instance(name="database-1", identifier=None, state="running", zone="eu-west-1a", public="", **tags):
    """Return an instance as DescribeInstances gives it."""
    tags = {"Name": name, "tier": "database", "components": "etcd postgresql", "ssh_host_key": KEY, **tags}
    return {
        "InstanceId": identifier or f"i-{abs(hash(name)):x}"[:12],
        "InstanceType": "t3.medium",
        "ImageId": "ami-1",
        "State": {"Name": state},
        "PrivateIpAddress": "10.20.1.5",
        **({"PublicIpAddress": public} if public else {}),
        "PrivateDnsName": "ip-10-20-1-5.eu-west-1.compute.internal",
        "Placement": {"AvailabilityZone": zone, "AvailabilityZoneId": "euw1-az1"},
        "SubnetId": "subnet-1",
        "VpcId": "vpc-1",
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items() if value is not None],
    }


def build(*instances, connection=None, quorum_groups=()):
    found = model.records([{"Instances": list(instances)}], "eu-west-1")
    return model.build(found, connection or model.Connection(), quorum_groups)


def test_variables_of_a_host():
    one = instance(memory_mib="4096", **{"volume:postgresql": "vol-0a1b"})
    found = build(one, connection=model.Connection(user="admin"))
    variables = found.hosts["database-1"]
    assert variables["ansible_host"] == "10.20.1.5"
    assert variables["ansible_user"] == "admin"
    assert variables["ec2_memory_mib"] == 4096
    assert variables["ec2_zone_id"] == "euw1-az1"
    assert variables["ec2_components"] == ["etcd", "postgresql"]
    assert variables["ec2_volumes"] == {
        "postgresql": {
            "volume_id": "vol-0a1b",
            "device": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1b",
        }
    }


def test_what_is_read_is_what_the_lean_parser_keeps():
    full = instance(memory_mib="4096", public="203.0.113.9")
    kept = {name: value for name, value in full.items() if name in model.MEMBERS}
    assert model.record(kept, "eu-west-1") == model.record(full, "eu-west-1")
    assert set(full) == set(model.MEMBERS)


def test_groups_by_component_cluster_tier_zone_and_state():
    found = build(instance(cluster="eu-1"), instance("edge-1", state="stopped", tier="edge", components="haproxy"))
    assert found.groups == {
        "etcd": ["database-1"],
        "etcd_eu_1": ["database-1"],
        "haproxy": ["edge-1"],
        "postgresql": ["database-1"],
        "postgresql_eu_1": ["database-1"],
        "state_running": ["database-1"],
        "state_stopped": ["edge-1"],
        "tier_database": ["database-1"],
        "tier_edge": ["edge-1"],
        "zone_eu_west_1a": ["database-1", "edge-1"],
    }


@pytest.mark.parametrize("state", ["terminated", "shutting-down"])
def test_what_is_gone_is_no_host(state):
    assert build(instance(state=state)).hosts == {}


def test_a_terminated_instance_does_not_clash_with_its_successor():
    found = build(instance(identifier="i-01", state="terminated"), instance(identifier="i-02"))
    assert found.hosts["database-1"]["ec2_instance_id"] == "i-02"
    assert found.warnings == []


def test_duplicate_names_are_an_error_that_names_both():
    with pytest.raises(model.ModelError, match=r"database-1 \(i-01 and i-02\)"):
        build(instance(identifier="i-02"), instance(identifier="i-01"))


def test_two_stopped_instances_of_one_name_are_an_error():
    with pytest.raises(model.ModelError, match="i-01 and i-02"):
        build(instance(identifier="i-01", state="stopped"), instance(identifier="i-02", state="stopping"))


def test_a_stopped_instance_gives_way_to_a_running_one_with_a_warning():
    found = build(instance(identifier="i-01", state="stopped"), instance(identifier="i-02"))
    assert found.hosts["database-1"]["ec2_instance_id"] == "i-02"
    assert found.groups["state_running"] == ["database-1"] and "state_stopped" not in found.groups
    assert len(found.warnings) == 1 and "i-01 is stopped" in found.warnings[0]


def test_an_instance_without_a_name_goes_by_its_id():
    assert list(build(instance(name=None, identifier="i-0f")).hosts) == ["i-0f"]


def options(found, host="database-1"):
    """Return ssh's options as its own parser understands the host variables."""
    arguments = shlex.split(found.hosts[host]["ansible_ssh_common_args"])
    shown = subprocess.run(["ssh", "-G", "-F", "none", *arguments, "host"], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)


def test_the_host_key_is_checked_against_the_tag():
    found = options(build(instance(identifier="i-0a")))
    assert found["hostkeyalias"] == "i-0a"
    assert found["stricthostkeychecking"] == "true"
    assert found["userknownhostsfile"] == "/dev/null" and found["globalknownhostsfile"] == "/dev/null"
    assert found["knownhostscommand"] == f"/bin/echo i-0a {KEY}"


@pytest.mark.parametrize("key", [None, "", "ssh-ed25519 AAAA; rm -rf /", "ssh-ed25519 AAAA\nssh-rsa BBBB", "%h AAAA"])
def test_without_a_proper_key_nothing_is_trusted(key):
    found = build(instance(identifier="i-0a", ssh_host_key=key))
    assert options(found).get("knownhostscommand", "none") == "none"
    assert options(found)["stricthostkeychecking"] == "true"
    assert len(found.warnings) == 1 and "database-1" in found.warnings[0]


def test_a_stopped_host_without_a_key_is_not_warned_of():
    assert build(instance(ssh_host_key=None, state="stopped")).warnings == []


def test_public_connection_takes_the_private_address_where_there_is_no_public_one():
    connection = model.Connection(kind=model.PUBLIC)
    found = build(instance(public="203.0.113.9"), instance("database-2"), connection=connection)
    assert [found.hosts[name]["ansible_host"] for name in ("database-1", "database-2")] == ["203.0.113.9", "10.20.1.5"]


def test_bastion_of_the_platform_is_checked_by_its_own_tag():
    connection = model.Connection(model.BASTION, "admin", bastion="haproxy", bastion_private_key_file="/k e y")
    edge = instance("edge-1", identifier="i-0e", public="203.0.113.9", components="haproxy", tier="edge")
    found = build(instance(identifier="i-0d"), edge, connection=connection)
    outer = options(found)
    inner = shlex.split(outer["proxycommand"])
    assert inner[0] == "ssh" and inner[-1] == "203.0.113.9"
    assert inner[inner.index("-W") + 1] == "[%h]:%p"
    assert inner[inner.index("-i") + 1] == "/k e y"
    assert f"KnownHostsCommand=/bin/echo i-0e {KEY}" in inner and "HostKeyAlias=i-0e" in inner
    assert "proxycommand" not in options(found, "edge-1")
    assert found.hosts["edge-1"]["ansible_host"] == "203.0.113.9"


def test_bastion_elsewhere_uses_the_key_given_or_known_hosts():
    given = model.Connection(kind=model.BASTION, bastion="jump.example", bastion_host_key=KEY, bastion_user="ana")
    inner = shlex.split(options(build(instance(), connection=given))["proxycommand"])
    assert f"KnownHostsCommand=/bin/echo jump.example {KEY}" in inner and inner[inner.index("-l") + 1] == "ana"
    known = model.Connection(kind=model.BASTION, bastion="jump.example")
    inner = shlex.split(options(build(instance(), connection=known))["proxycommand"])
    assert "StrictHostKeyChecking=yes" in inner and not any("KnownHosts" in part for part in inner)


def test_a_bastion_that_does_not_run_or_is_not_given_is_an_error():
    edge = instance("edge-1", state="stopped", components="haproxy")
    with pytest.raises(model.ModelError, match="haproxy is not running"):
        build(edge, instance(), connection=model.Connection(kind=model.BASTION, bastion="haproxy"))
    with pytest.raises(model.ModelError, match="no bastion is given"):
        build(instance(), connection=model.Connection(kind=model.BASTION))


def test_ssm_connection_names_instance_and_region():
    found = build(instance(identifier="i-0a"), connection=model.Connection(kind=model.SSM))
    assert found.hosts["database-1"]["ansible_host"] == "i-0a"
    assert options(found)["proxycommand"] == (
        "aws ssm start-session --target i-0a --region eu-west-1"
        " --document-name AWS-StartSSHSession --parameters portNumber=%p"
    )


def test_a_quorum_that_one_zone_can_end_is_named():
    members = [instance(f"database-{n}", zone=f"eu-west-1{zone}") for n, zone in enumerate("aab", 1)]
    (sentence,) = build(*members, quorum_groups=["etcd", "kafka"]).warnings
    assert "Group etcd" in sentence and "2 of its 3 members are in eu-west-1a" in sentence


@pytest.mark.parametrize("zones", ["abc", "aabbc", "ab", "a"])
def test_a_quorum_that_survives_a_zone_is_not_named(zones):
    members = [instance(f"database-{n}", zone=f"eu-west-1{zone}") for n, zone in enumerate(zones, 1)]
    assert build(*members, quorum_groups=["etcd"]).warnings == []


def test_each_cluster_is_looked_at_by_itself():
    zones = {"one": "aab", "two": "abc"}
    members = [
        instance(f"{cluster}-{n}", zone=f"eu-west-1{zone}", cluster=cluster)
        for cluster, letters in zones.items()
        for n, zone in enumerate(letters)
    ]
    (sentence,) = build(*members, quorum_groups=["etcd"]).warnings
    assert "Group etcd_one" in sentence


SSHD = "/usr/sbin/sshd"


@pytest.fixture
def separation_directory():
    """The directory that sshd wants, and that only its service unit makes."""
    directory = Path("/run/sshd")
    made = not directory.exists()
    if made:
        directory.mkdir(mode=0o755)
    yield
    if made:
        directory.rmdir()


@pytest.mark.skipif(not Path(SSHD).exists(), reason="needs sshd")
@pytest.mark.usefixtures("separation_directory")
@pytest.mark.parametrize("right", [True, False])
def test_ssh_meets_a_real_server(tmp_path, right):
    for name in ("host", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    public = (tmp_path / ("host.pub" if right else "other.pub")).read_text().rsplit(" ", 1)[0]
    found = build(instance(identifier="i-0a", ssh_host_key=public)).hosts["database-1"]
    # A server on standard input and output, for this one connection; no network.
    server = f"{SSHD} -i -f /dev/null -h {tmp_path / 'host'} -o StrictModes=no -o UsePAM=no"
    answer = subprocess.run(
        ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", f"ProxyCommand={server}"]
        + [*shlex.split(found["ansible_ssh_common_args"]), "nobody@10.0.0.1", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 255
    expected = "Permission denied" if right else "Host key verification failed"
    assert expected in answer.stderr

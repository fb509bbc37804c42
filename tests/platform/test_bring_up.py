"""The main job: a platform from a description, and a second run that has nothing to do."""

from __future__ import annotations

import json
import subprocess

import pytest
from running import ROOT, middle_line, playbook_changes, playbook_fails, secret_values

from lab import endpoints

# Files come and go while find reads; what is gone holds no secret.
READ_WHAT_ALL_MAY_READ = (
    "find /etc /run /var/lib/haproxy /tmp -xdev -type f -perm -o+r -size -64k -newer /etc/hostname"
    " -exec cat {} + 2>/dev/null | tr -cd '[:print:]\\n'; true"
)


def test_a_client_writes_and_reads_through_the_edge_over_verified_tls(platform):
    milliseconds = endpoints.write_and_read(
        list(platform.edges.values()), f"postgresql.{platform.domain}", platform.password, str(platform.authority)
    )
    assert milliseconds > 0


def test_inventory_shows_components_tiers_and_zones(platform):
    graph = subprocess.run(
        ["ansible-inventory", "--graph"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for group in ("@etcd", "@postgresql", "@haproxy", "@tier_database", "@tier_edge", "@state_running", "@zone_"):
        assert group in graph


def test_provision_again_changes_nothing(platform):
    assert playbook_changes("provision") == 0


# In the short suite test_replace.py runs it unchanged once, after a failover; here after nothing at all.
@pytest.mark.long
def test_site_again_changes_nothing_and_restarts_nothing(platform):
    before = platform.processes()
    assert playbook_changes("site") == 0
    assert platform.processes() == before


def test_no_secret_is_on_a_command_line_or_in_a_world_readable_file(platform):
    secrets = secret_values(platform.name).values()
    for host in [*platform.databases, *platform.edges]:
        shown = platform.run(host, ["sudo", "ps", "-eo", "args"])
        readable = platform.run(host, ["sudo", "sh", "-c", READ_WHAT_ALL_MAY_READ])
        for secret in secrets:
            assert secret not in shown
            assert middle_line(secret) not in readable


def test_wrong_credentials_are_an_error_not_an_empty_inventory(platform, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-of-this-access-key-000000")
    run = subprocess.run(["ansible-inventory", "--list"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "SignatureDoesNotMatch" in run.stderr or "AuthFailure" in run.stderr


def test_stopped_endpoint_is_an_error_not_an_empty_inventory(platform, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    run = subprocess.run(["ansible-inventory", "--list"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "127.0.0.1:1" in run.stderr


def test_unknown_variable_is_refused_before_any_host_is_touched(platform):
    shown = playbook_fails("site", "-e", json.dumps({"postgresql_tll": 30}))
    assert "postgresql_ttl" in shown
    assert "host_baseline : install" not in shown


def test_a_network_that_kubernetes_has_not_is_refused_before_anything_is_made(platform):
    shown = playbook_fails("provision", "-e", "kubernetes_network=flannel")
    assert "value of kubernetes_network must be one of: vpc_routes, cilium, calico, got: flannel" in shown
    assert "Take the lock" not in shown

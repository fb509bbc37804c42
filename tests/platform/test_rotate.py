"""New certificates for what takes them by its ordinary run: the same command ends a run that was cut off, all is served
with new keys, and nobody moves. The databases and brokers have rows of their own in docs/faults.md.
"""

from __future__ import annotations

import pytest
from operations import cut_off
from running import playbook_changes

from lab import endpoints

pytestmark = pytest.mark.long
#: By component, the ports that show the host's certificate; HAProxy shows its own where it ends TLS.
PORTS = {"redis": [6379, 26379], "file_storage": [7070, 7080, 7090], "haproxy": [443]}


def served(platform, hosts):
    """The SHA-256 of the certificate that each host and port shows."""
    found = {}
    for component, ports in PORTS.items():
        for host in hosts.get(component, {}).get("hosts", []):
            for port in ports:
                show = f"openssl s_client -connect {host}.{platform.domain}:{port} </dev/null 2>/dev/null"
                shown = platform.shell(host, f"{show} | openssl x509 -noout -fingerprint -sha256")
                found[host, port] = shown.partition("=")[2].strip()
    return found


def process(platform, host, unit):
    return platform.main_pids(host, [unit])[0]


def test_all_certificates_are_new_and_no_server_restarted(platform):
    found = endpoints.inventory()
    before = served(platform, found)
    assert before, "the platform has none of these components"
    kept = [(host, "redis-server") for host in found.get("redis", {}).get("hosts", [])]
    kept += [(host, "haproxy") for host in found.get("haproxy", {}).get("hosts", [])]
    processes = {place: process(platform, *place) for place in kept}
    cut_off("rotate_certificates", [], "rotate | Restart the Sentinel", 2)
    playbook_changes("rotate_certificates")
    after = served(platform, found)
    assert [place for place in before if after[place] == before[place]] == []
    assert {place: process(platform, *place) for place in kept} == processes
    for component in PORTS:
        if component in found:
            assert playbook_changes(component) == 0

"""Fixtures of the tests on the running platform. The environment is that of `lab env`, with LAB naming the lab."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from running import Platform, playbook_changes  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only in the long fault matrix")
    config.addinivalue_line("markers", "smoke: of the long ones, what make test runs of Kubernetes")


@pytest.fixture(scope="session")
def built():
    """The small platform, brought up by the two playbooks a user runs; what each changed."""
    return {name: playbook_changes(name) for name in ("provision", "site")}


@pytest.fixture(scope="session")
def platform(built, tmp_path_factory):
    """The running platform, well."""
    found = Platform.find(tmp_path_factory.mktemp("platform") / "ca.crt")
    found.wait_until_well()
    return found

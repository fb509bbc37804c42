"""Fixtures that the tests of the AWS modules share."""

import pytest

from tests.integration.front_client import Front


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """A strict front of the test file's own, a new account: C(front.connection()), C(front.client(service))."""
    server = Front(tmp_path_factory.mktemp("front") / "front")
    yield server
    server.close()

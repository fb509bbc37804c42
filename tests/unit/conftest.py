"""What holds for all unit tests."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_account():
    """No unit test sees an account or an endpoint that the shell has, such as that of `lab env`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        yield

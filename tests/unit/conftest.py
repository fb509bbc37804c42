"""What holds for all unit tests."""

import os

import pytest
from hypothesis import settings

# A machine that is busy makes no test fail.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")


@pytest.fixture(scope="session", autouse=True)
def no_account():
    """No unit test sees an account or an endpoint that the shell has, such as that of `lab env`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        yield

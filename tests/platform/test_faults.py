"""Faults under load: afterwards all that was acknowledged is there, with one leader and no manual step.

The times are recorded in bench/results/, not asserted.
"""

import faults
import pytest

SHORT = ["leader's postgres killed", "leader's instance stopped", "leader partitioned", "edge host killed"]
LONG = [name for name in faults.FAULTS if name not in SHORT]


@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_acknowledged_writes_survive(platform, tmp_path, name):
    outcome = faults.run_fault(platform, name, tmp_path)
    faults.record(outcome)
    faults.assert_nothing_lost(outcome)
    if faults.FAULTS[name].moves_leader is not None:
        assert (outcome.leaders != [outcome.before]) == faults.FAULTS[name].moves_leader

"""The nft text of partitions, and rates."""

from __future__ import annotations

import pytest

from lab.network.faults import bits, ruleset
from lab.network.names import Names
from lab.network.namespaces import NetworkError

NAMES = Names(3)
A, B, C = (NAMES.host_link(name) for name in ("i-a", "i-b", "i-c"))


def cut(**entry):
    full = {"hosts": ["i-a"], "from_hosts": None, "one_way": False, "controller": True} | entry
    return [line.strip() for line in ruleset(NAMES, [full]).splitlines() if line.strip().endswith("drop")]


def test_from_everything():
    assert cut() == [
        f'oifname {{ "{A}" }} iifname != {{ "{A}" }} drop',
        f'iifname {{ "{A}" }} oifname != {{ "{A}" }} drop',
    ]


def test_controller_spared():
    assert cut(controller=False)[0] == f'oifname {{ "{A}" }} iifname != {{ "{A}", "ctl" }} drop'


def test_hosts_of_one_side_keep_each_other():
    assert cut(hosts=["i-a", "i-b"])[0] == f'oifname {{ "{A}", "{B}" }} iifname != {{ "{A}", "{B}" }} drop'


def test_between_two_sets_and_one_way():
    both = cut(hosts=["i-a"], from_hosts=["i-b", "i-c"])
    towards = f'iifname {{ "{B}", "{C}" }} oifname {{ "{A}" }} drop'
    assert both == [towards, f'iifname {{ "{A}" }} oifname {{ "{B}", "{C}" }} drop']
    assert cut(hosts=["i-a"], from_hosts=["i-b", "i-c"], one_way=True) == [towards]


def test_no_partition_drops_nothing():
    text = ruleset(NAMES, [])
    assert "drop" not in text
    assert "policy accept" in text


@pytest.mark.parametrize(("rate", "number"), [("500kbit", 500_000), ("1mbit", 10**6), ("2gbit", 2 * 10**9)])
def test_rate(rate, number):
    assert bits(rate) == number


@pytest.mark.parametrize("rate", ["", "0mbit", "1", "1MB", "-1mbit", "1mbit; reboot", "1.5mbit"])
def test_bad_rate_is_refused(rate):
    with pytest.raises(NetworkError, match="kbit, mbit or gbit"):
        bits(rate)

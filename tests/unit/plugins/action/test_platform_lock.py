from __future__ import annotations

import time

import pytest


@pytest.fixture
def lock(play):
    """Return a function that takes the lock and then does further tasks."""

    def run(*arguments, further=(), **options):
        given = {"platform": "{{ platform_name }}", "region": "{{ platform_region }}", **options}
        task = {"name": "Lock", "selfhosted.ec2.platform_lock": given, "run_once": True, "register": "__lock"}
        return play([task, *further], *arguments)

    return run


@pytest.fixture
def table(cloud):
    """The lock's table; returns a function that gives its only item, or None."""
    cloud("dynamodb").create_table(
        TableName="trading-lock",
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return lambda: next(iter(cloud("dynamodb").scan(TableName="trading-lock")["Items"]), None)


def hold(cloud, owner="ana@one (pid 7, site.yml)", seconds=60):
    now = int(time.time())
    item = {"name": "trading", "owner": owner, "token": "ana"}
    cloud("dynamodb").put_item(
        TableName="trading-lock",
        Item={key: {"S": value} for key, value in item.items()}
        | {"started": {"N": str(now)}, "expires": {"N": str(now + seconds)}},
    )


def test_taken_twice_in_one_run_and_given_back_at_its_end(lock, table):
    again = {
        "name": "Again",
        "selfhosted.ec2.platform_lock": {"platform": "trading", "region": "eu-west-1"},
        "run_once": True,
        "register": "__again",
    }
    same = {"name": "Same", "assert": {"that": "__again.owner == __lock.owner and 'play.yml' in __lock.owner"}}
    code, output = lock(further=[again, same])
    assert code == 0, output
    assert "changed=0" in output
    deadline = time.monotonic() + 20
    while table() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert table() is None


def test_a_lost_lock_ends_the_run_at_its_next_play(lock, table, cloud):
    renew = {
        "name": "Renew",
        "selfhosted.ec2.platform_lock": {"platform": "trading", "region": "eu-west-1", "state": "renewed"},
        "run_once": True,
    }
    assert lock(further=[renew])[0] == 0
    hold(cloud)
    code, output = lock(state="renewed")
    assert code == 2 and "This run has lost the lock of platform trading" in output
    assert table()["token"] == {"S": "ana"}


def test_a_second_operator_gets_one_sentence(lock, table, cloud):
    hold(cloud)
    code, output = lock()
    assert code == 2
    assert "Platform trading is being changed by ana@one (pid 7, site.yml) since 20" in output
    assert table()["token"] == {"S": "ana"}


def test_check_mode_neither_takes_nor_minds_it(lock, table, cloud):
    assert lock("--check")[0] == 0 and table() is None
    hold(cloud)
    assert lock("--check")[0] == 0 and table()["token"] == {"S": "ana"}


def test_broken_by_its_owners_name(lock, table, cloud):
    hold(cloud)
    code, output = lock(state="broken")
    assert code == 2 and "owner" in output
    code, output = lock(state="broken", owner="ben@two")
    assert code == 2 and "is not held by ben@two but by ana@one" in output and table()
    code, output = lock(state="broken", owner="ana@one")
    assert code == 0 and "changed=1" in output and table() is None


def test_without_table(lock, cloud):
    code, output = lock()
    assert code == 2 and "The table trading-lock of the platform's lock does not exist" in output

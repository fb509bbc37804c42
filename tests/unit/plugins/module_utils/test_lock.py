from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request

import boto3
import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import lock as platform_lock
from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import Aws, AwsError
from moto import mock_aws
from moto.server import ThreadedMotoServer

REGION = "eu-west-1"
ANA, BEN = "ana@one (pid 7, site.yml)", "ben@two (pid 8, etcd.yml)"


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unittesting")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unittesting")


def create_table(**arguments):
    boto3.client("dynamodb", region_name=REGION, **arguments).create_table(
        TableName="trading-lock",
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


class Time:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def dynamodb():
    with mock_aws():
        yield Aws({"region": REGION}).client("dynamodb")


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def locks(dynamodb, clock):
    """The lock as the runs of Ana and of Ben see it."""
    create_table()
    return [platform_lock.Lock(dynamodb, "trading", owner, owner[:3], clock) for owner in (ANA, BEN)]


def test_the_second_is_told_who_what_and_since_when(locks, clock):
    ana, ben = locks
    assert ana.take() is True
    clock.now += 20
    with pytest.raises(platform_lock.LockError) as refusal:
        ben.take()
    assert str(refusal.value).startswith(
        "Platform trading is being changed by ana@one (pid 7, site.yml) since 2027-01-15 08:00:00 UTC;"
    )
    assert "ends in 40 s" in str(refusal.value)
    assert str(refusal.value).endswith("or at once by the playbook break_lock with -e lock_owner=ana@one.")


def test_the_same_run_takes_it_again_and_its_lease_begins_anew(locks, clock):
    ana, ben = locks
    ana.take()
    clock.now += 50
    assert ana.take() is False
    clock.now += 50
    with pytest.raises(platform_lock.LockError):
        ben.take()
    assert ana.holder()["started"] == "1800000000"


def test_a_run_that_has_ended_on_this_machine_gives_way_at_once(locks, monkeypatch):
    ana, ben = locks
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ana.token = platform_lock.run_token(child.pid)
    ana.take()
    with pytest.raises(platform_lock.LockError):
        ben.take()
    child.kill()
    child.wait()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "other")
        with pytest.raises(platform_lock.LockError):
            ben.take()
    assert ben.take() is True
    assert ana.renew() is False and ana.release() is False
    assert ben.holder()["owner"] == BEN


def test_a_later_play_notices_that_the_lock_is_lost(locks, clock):
    ana, ben = locks
    ana.take()
    ana.hold_on()
    clock.now += platform_lock.LEASE + 1
    ben.take()
    with pytest.raises(platform_lock.LockError, match=r"has lost the lock of platform trading .* now \(ben@two"):
        ana.hold_on()
    ben.release()
    with pytest.raises(platform_lock.LockError, match="another run may have been at it meanwhile"):
        ana.hold_on()


def test_given_back_it_is_free(locks):
    ana, ben = locks
    ana.take()
    assert ben.release() is False
    assert ana.release() is True
    assert ana.release() is False
    assert ben.take() is True


def test_a_lease_that_is_over_goes_to_the_next_and_stays_there(locks, clock):
    ana, ben = locks
    ana.take()
    clock.now += platform_lock.LEASE + 1
    assert ben.take() is True
    assert ana.renew() is False
    assert ana.release() is False
    assert ben.holder()["owner"] == BEN


def test_a_renewed_lease_is_not_over(locks, clock):
    ana, ben = locks
    ana.take()
    for _turn in range(10):
        clock.now += platform_lock.RENEW
        assert ana.renew() is True
    with pytest.raises(platform_lock.LockError):
        ben.take()


def test_broken_only_by_its_owners_name(locks):
    ana, ben = locks
    assert ben.break_held_by("ana@one") is False
    ana.take()
    with pytest.raises(platform_lock.LockError, match=r"not held by carl@three but by ana@one \(pid 7, site.yml\)"):
        ben.break_held_by("carl@three")
    assert ben.break_held_by("ana@one") is True
    ben.take()
    assert ana.break_held_by(BEN) is True
    assert ana.holder() == {}


def test_without_its_table_it_says_what_to_do(dynamodb):
    lock = platform_lock.Lock(dynamodb, "trading", ANA, "ana")
    for action in (lock.take, lock.renew, lock.release, lock.holder):
        with pytest.raises(platform_lock.LockError, match="table trading-lock of the platform's lock does not exist"):
            action()


class Recorder:
    """A lock that only notes what is done with it; C(answers) are those of renew, an exception is raised."""

    def __init__(self, answers=()):
        self.answers, self.done = list(answers), []

    def renew(self):
        self.done.append("renew")
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def release(self):
        self.done.append("release")


def keep(lock, lives):
    """Run the keeper for a process that lives so many seconds; return the seconds slept."""
    slept = []
    platform_lock.keep(lock, 1, sleep=slept.append, alive=lambda pid: "born" if sum(slept) < lives else None)
    return sum(slept)


def test_the_keeper_renews_every_quarter_of_the_lease_and_gives_back_at_the_end():
    lock = Recorder()
    assert keep(lock, 50) == 50
    assert lock.done == ["renew"] * 3 + ["release"]


def test_the_keeper_ends_when_the_lock_is_lost_and_leaves_it_alone():
    lock = Recorder([True, False])
    assert keep(lock, 500) == 30
    assert lock.done == ["renew", "renew"]


def test_the_keeper_goes_on_when_aws_does_not_answer():
    lock = Recorder([AwsError("No answer."), True])
    keep(lock, 40)
    assert lock.done == ["renew", "renew", "release"]


def test_the_keeper_of_a_process_that_is_gone_already_gives_back_at_once():
    lock = Recorder()
    assert keep(lock, 0) == 0
    assert lock.done == ["release"]


def test_a_pid_used_again_is_another_process():
    births = iter(["one", "one", "two"])
    lock = Recorder()
    platform_lock.keep(lock, 1, sleep=lambda seconds: None, alive=lambda pid: next(births))
    assert lock.done == ["release"]


def test_started_at_tells_the_living_from_the_dead():
    assert platform_lock.started_at(os.getpid()) == platform_lock.started_at(os.getpid()) != ""
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 20
    while platform_lock.started_at(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    # Not waited for, so it is a zombie.
    assert platform_lock.started_at(child.pid) is None
    child.wait()
    assert platform_lock.started_at(child.pid) is None


def test_the_keepers_process_outlives_its_starter_and_ends_with_the_run(monkeypatch):
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # Its state belongs to the process, so earlier tests left theirs.
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    run = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        create_table()
        dynamodb = Aws({"region": REGION}).client("dynamodb")
        ana = platform_lock.Lock(dynamodb, "trading", ANA, "ana")
        ben = platform_lock.Lock(dynamodb, "trading", BEN, "ben")
        ana.take()
        platform_lock.start_keeper("trading", REGION, ANA, "ana", run.pid)
        time.sleep(1)
        assert ana.holder()["owner"] == ANA
        with pytest.raises(platform_lock.LockError):
            ben.take()
        run.kill()
        deadline = time.monotonic() + 20
        while ana.holder() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert ben.take() is True
    finally:
        run.kill()
        run.wait()
        server.stop()

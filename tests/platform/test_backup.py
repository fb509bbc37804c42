"""Backups and restores of the running platform: what was committed before the target is back, and nothing after."""

from __future__ import annotations

import json
import os
import time
import urllib.request

import boto3
import psycopg
import pytest
from running import playbook_changes, playbook_fails

from tests.iam_names import action_of, allowed

ROWS = 1000


def restore(**values):
    """Arguments that restore the cluster to a target."""
    return ["-e", json.dumps({"postgresql_restore": {"confirm": "main", **values}})]


@pytest.fixture(scope="module")
def moment(platform):
    """A full backup, then rows, a moment, and after it a mistake."""
    playbook_changes("backup_postgresql", "-e", "postgresql_backup_type=full")
    with psycopg.connect(platform.conninfo(), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kept, later")
        connection.execute("CREATE TABLE kept (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE later (id int PRIMARY KEY)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, %s)", (ROWS,))
        time.sleep(1)
        (found,) = connection.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'").fetchone()
        time.sleep(1)
        connection.execute("INSERT INTO later VALUES (1)")
        connection.execute("DROP TABLE kept")
    return f"{found}+00"


def test_without_confirmation_nothing_is_done(platform, moment):
    before = platform.processes()
    said = playbook_fails("restore_postgresql", *restore(type="time", target=moment, confirm=""))
    assert "confirm it by postgresql_restore.confirm: main" in said
    assert platform.processes() == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"type": "time", "target": "2020-01-01 00:00:00+00"}, "before the end of the oldest backup"),
        ({"type": "time", "target": "2100-01-01 00:00:00+00"}, "is in the future"),
        ({"type": "latest", "timeline": 99}, "but the repository has only"),
        ({"type": "latest", "set": "19990101-000000F"}, "postgresql_restore.set is 19990101-000000F"),
    ],
)
def test_targets_that_cannot_be_reached_are_refused(platform, moment, values, words):
    before = platform.processes()
    assert words in playbook_fails("restore_postgresql", *restore(**values))
    assert platform.processes() == before


def test_a_dropped_table_is_back_and_nothing_later_is(platform, moment):
    assert playbook_changes("restore_postgresql", *restore(type="time", target=moment)) > 0
    platform.wait_until_well()
    with psycopg.connect(platform.conninfo()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (ROWS,)
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)


@pytest.mark.long
def test_the_same_restore_again_changes_nothing(platform, moment):
    before = platform.processes()
    assert playbook_changes("restore_postgresql", *restore(type="time", target=moment)) == 0
    assert platform.processes() == before


#: How the target is found on the leader after row 2 was written; a transaction is asked for its own number.
POINTS = {
    "name": ["INSERT INTO {table} VALUES (2)", "SELECT 'before' FROM pg_create_restore_point('before')"],
    "lsn": ["INSERT INTO {table} VALUES (2)", "SELECT pg_current_wal_lsn()"],
    "xid": ["INSERT INTO {table} VALUES (2); SELECT pg_current_xact_id()"],
}


@pytest.mark.long
@pytest.mark.parametrize("kind", POINTS)
def test_restore_to_a_point_has_what_came_before_it_and_nothing_after(platform, moment, kind):
    (leader,) = platform.leaders()
    table = f"until_{kind}"
    with psycopg.connect(platform.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY)")
        connection.execute(f"INSERT INTO {table} VALUES (1)")
    statements = [word for text in POINTS[kind] for word in ("-c", text.format(table=table))]
    target = platform.run(leader, ["sudo", "-u", "postgres", "psql", "-XAtq", "-d", "trades", *statements]).strip()
    with psycopg.connect(platform.conninfo(), autocommit=True) as connection:
        connection.execute(f"INSERT INTO {table} VALUES (3)")
    assert playbook_changes("restore_postgresql", *restore(type=kind, target=target)) > 0
    platform.wait_until_well()
    with psycopg.connect(platform.conninfo()) as connection:
        assert connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall() == [(1,), (2,)]


@pytest.mark.long
def test_a_restore_check_passes_and_is_measured(platform):
    playbook_changes("verify_backup_postgresql", "-e", "postgresql_backup_check_now=true")
    results = [
        platform.run(host, ["sudo", "cat", "/var/lib/postgresql-backup/postgresql_backup.prom"])
        for host in platform.databases
    ]
    assert any("postgresql_restore_check_success" in text and "} 1\n" in text for text in results)


@pytest.mark.long
def test_all_volumes_wiped_and_rebuilt_from_the_repository(platform, moment):
    with psycopg.connect(platform.conninfo(), autocommit=True) as connection:
        connection.execute("INSERT INTO later VALUES (2)")
    (leader,) = platform.leaders()
    platform.run(leader, ["sudo", "-u", "postgres", "pgbackrest", "--stanza=main", "check"], timeout=120)
    for host in platform.databases:
        platform.run(host, ["sudo", "systemctl", "stop", "patroni"], timeout=120)
    for host in platform.databases:
        platform.run(host, ["sudo", "sh", "-c", "rm -rf /var/lib/postgresql/17 /var/lib/postgresql/restore"])
    assert "restore it (restore_postgresql.yml)" in playbook_fails("postgresql")
    assert playbook_changes("restore_postgresql", *restore(type="latest")) > 0
    platform.wait_until_well()
    with psycopg.connect(platform.conninfo()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (ROWS,)
        assert connection.execute("SELECT count(*) FROM later WHERE id = 2").fetchone() == (1,)
    assert playbook_changes("postgresql") == 0


def test_the_hosts_role_has_the_rights_that_its_calls_need(platform):
    """What the hosts called with their role, by the front's record, against the policy that provision has written."""
    with urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/_lab/callers") as answer:
        called = {action_of(name) for name in json.load(answer)["lab-database"]}
    iam = boto3.client("iam")
    (name,) = iam.list_role_policies(RoleName="lab-database")["PolicyNames"]
    rights = allowed(iam.get_role_policy(RoleName="lab-database", PolicyName=name)["PolicyDocument"])
    assert called - rights == set()
    assert {"s3:listbucket", "s3:getobject", "s3:putobject"} <= called
    print(f"rights that no call needed: {', '.join(sorted(rights - called)) or 'none'}")

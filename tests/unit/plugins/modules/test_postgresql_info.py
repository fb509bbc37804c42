"""What modules tell of a host: its packages, its data, and who uses a login."""

from __future__ import annotations

from ansible_collections.selfhosted.ec2.plugins.modules import postgresql_host_info as host
from ansible_collections.selfhosted.ec2.plugins.modules import postgresql_login_info as login

LISTED = "patroni 4.0.7-1 ii \npgbackrest 2.55.1-1 hi \npgbouncer 1.24.1-1 rc \n"


def test_a_package_is_missing_when_absent_removed_or_of_another_version():
    wanted = ["patroni", "pgbackrest=2.55.1-1", "pgbackrest=2.56.0-1", "pgbouncer", "postgresql-17"]
    assert host.missing_packages(wanted, LISTED) == ["pgbackrest=2.56.0-1", "pgbouncer", "postgresql-17"]


def test_files_tell_which_data_a_volume_holds(tmp_path):
    data = tmp_path / "17" / "main"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    (data / "base").mkdir()
    (data / "base" / "PG_VERSION").write_text("17\n")
    (tmp_path / "restore_in_progress").write_text("x")
    program = tmp_path / "pgbackrest"
    program.write_text("#!")
    found = host.found_files(str(tmp_path), [str(program), str(tmp_path / "absent")])
    assert [entry["path"] for entry in found] == [
        str(data / "PG_VERSION"),
        str(program),
        str(tmp_path / "restore_in_progress"),
    ]
    assert found[0]["size"] == 3


def test_memory_and_the_asked_part_of_the_catalogue():
    assert host.memory_mib("MemFree: 1 kB\nMemTotal:        2097152 kB\n") == 2048
    assert host.asked({"work_mem": 1, "DateStyle": 2, "port": 3}, ["datestyle", "work_mem"]) == {
        "work_mem": 1,
        "DateStyle": 2,
    }


def test_poolers_own_connections_are_no_use_by_somebody():
    sessions = [("orders_b", "127.0.0.1"), ("orders_b", "10.20.0.9"), ("orders_b", "a socket")]
    clients = [{"user": "orders_b", "addr": "10.20.0.5"}, {"user": "other", "addr": "10.20.0.6"}]
    assert login.users_of(["orders_b"], sessions, clients) == {"orders_b": ["10.20.0.5", "10.20.0.9", "a socket"]}
    assert login.users_of(["orders_b"], sessions[:1], clients[1:]) == {}

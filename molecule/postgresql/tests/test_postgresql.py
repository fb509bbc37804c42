"""A PostgreSQL member as its clients and its operator see it."""

import json
import os
import re
import time
from pathlib import Path

import boto3
import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"
CA = "/etc/patroni/tls/ca.crt"
REST = f"curl -s --max-time 5 --cacert {CA}"
CLIENT_CERTIFICATE = "--cert /etc/patroni/tls/postgresql.crt --key /etc/patroni/tls/postgresql.key"
SECRETS = [
    *(f"{name}_password" for name in ("superuser", "replication", "rewind", "pooler", "exporter")),
    *("users/orders", "logins/trades/a", "logins/trades/b", "logins/trades/current"),
]


@pytest.fixture(scope="session")
def secrets():
    """The secrets of the platform that belong to PostgreSQL."""
    ssm = boto3.client("ssm", region_name=os.environ.get("AWS_REGION", "eu-west-1"))
    names = [f"/molecule/postgresql/{name}" for name in SECRETS]
    found = ssm.get_parameters(Names=names, WithDecryption=True)["Parameters"]
    assert len(found) == len(SECRETS)
    return {parameter["Name"].removeprefix("/molecule/postgresql/"): parameter["Value"] for parameter in found}


@pytest.fixture
def cluster(host):
    """Members by name, as this host's Patroni sees them."""
    with host.sudo():
        answer = json.loads(host.check_output(f"{REST} https://localhost:8008/cluster"))
    return {member["name"]: member for member in answer["members"]}


@pytest.fixture
def leader(cluster):
    """Name of the one leader."""
    found = [name for name, member in cluster.items() if member["role"] == "leader"]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def own(host, cluster):
    """Name of this host's member. Its own pooler is the only one it reaches: the others are for the load balancers."""
    name = host.check_output("hostname").split(".")[0]
    assert name in cluster
    return name


def sql(host, query, database="postgres"):
    """Rows of a query, asked by the superuser over the socket."""
    with host.sudo("postgres"):
        return host.check_output("psql -XAtq -d %s -c %s", database, query).splitlines()


def client(host, query, address, port=6432, password="", **options):
    """Result of psql as the application's user over the network."""
    values = {"host": address, "port": port, "dbname": "orders", "user": "orders", "sslmode": "verify-full"}
    values.update(sslrootcert=CA, connect_timeout=5)
    values.update(options)
    conninfo = " ".join(f"{key}={value}" for key, value in values.items())
    with host.sudo():
        return host.run("env PGPASSWORD=%s psql -XAtq -d %s -c %s", password, conninfo, query)


@pytest.mark.parametrize("unit", ["patroni", "pgbouncer", "postgresql-fence"])
def test_runs_and_starts_at_boot(host, unit):
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_one_leader_and_two_synchronous_standbys(cluster, leader):
    assert sorted(cluster) == ["database-1", "database-2", "database-3"]
    others = [member for name, member in cluster.items() if name != leader]
    assert {member["role"] for member in others} == {"quorum_standby"}
    assert {member["state"] for member in others} == {"streaming"}
    assert len({member["timeline"] for member in cluster.values()}) == 1


def test_write_at_the_leader_is_read_here(host, cluster, leader, own, secrets):
    mark = f"{own}-{time.time_ns()}"
    made = client(
        host,
        "CREATE TABLE IF NOT EXISTS trading.marks (mark text PRIMARY KEY);"
        f" INSERT INTO trading.marks VALUES ('{mark}')",
        cluster[leader]["host"],
        port=6432 if own == leader else 5432,
        password=secrets["users/orders"],
    )
    assert made.rc == 0, made.stderr
    for _ in range(50):
        if sql(host, f"SELECT mark FROM trading.marks WHERE mark = '{mark}'", "orders") == [mark]:
            assert sql(host, "SELECT has_table_privilege('reporting', 'trading.marks', 'SELECT')", "orders") == ["t"]
            return
        time.sleep(0.1)
    pytest.fail("the row did not arrive within five seconds")


@pytest.mark.parametrize("port", [5432, 6432])
def test_client_verifies_the_server_by_slot_and_service_name(host, cluster, own, secrets, port):
    address = cluster[own]["host"]
    service = "postgresql." + address.split(".", 1)[1]
    number = host.check_output("getent ahostsv4 %s", address).split()[0]
    password = secrets["users/orders"]
    assert client(host, "SELECT 1", address, port, password).stdout.strip() == "1"
    assert client(host, "SELECT 1", service, port, password, hostaddr=number).stdout.strip() == "1"
    other = client(host, "SELECT 1", "other.example.org", port, password, hostaddr=number)
    assert other.rc != 0
    assert "does not match host name" in other.stderr


@pytest.mark.parametrize("port", [5432, 6432])
def test_plain_text_wrong_ca_and_wrong_password_are_refused(host, cluster, own, secrets, port):
    address, password = cluster[own]["host"], secrets["users/orders"]
    plain = client(host, "SELECT 1", address, port, password, sslmode="disable")
    assert plain.rc != 0
    assert "no encryption" in plain.stderr or "SSL required" in plain.stderr
    foreign = client(host, "SELECT 1", address, port, password, sslrootcert="/etc/ssl/certs/ca-certificates.crt")
    assert "certificate verify failed" in foreign.stderr
    wrong = client(host, "SELECT 1", address, port, "wrong")
    assert wrong.rc != 0
    assert "authentication failed" in wrong.stderr


def test_superuser_cannot_log_in_over_the_network(host, cluster, own, secrets):
    password = secrets["superuser_password"]
    answer = client(host, "SELECT 1", cluster[own]["host"], 5432, password, user="postgres", dbname="postgres")
    assert "pg_hba.conf rejects" in answer.stderr
    pooled = client(host, "SELECT 1", cluster[own]["host"], 6432, password, user="postgres", dbname="postgres")
    assert "no such user" in pooled.stderr


def test_only_scram(host):
    methods = set(sql(host, "SELECT DISTINCT auth_method FROM pg_hba_file_rules"))
    assert methods <= {"peer", "scram-sha-256", "reject"}
    assert sql(host, "SHOW password_encryption") == ["scram-sha-256"]
    stored = sql(host, "SELECT rolname FROM pg_authid WHERE rolpassword NOT LIKE 'SCRAM-SHA-256$%'")
    assert stored == []


def test_replication_is_encrypted_and_verified(host, leader, own):
    if own == leader:
        rows = "SELECT count(*) FROM pg_stat_replication r JOIN pg_stat_ssl s USING (pid) WHERE s.ssl"
        assert sql(host, rows) == ["2"]
    else:
        assert "sslmode=verify-full" in sql(host, "SHOW primary_conninfo")[0].replace("'", "")


def test_patroni_lets_only_members_with_a_certificate_write(host, cluster, own):
    patch = "-o /dev/null -w %{http_code} -X PATCH -d '{\"ttl\": 20}'"
    member = f"https://{cluster[own]['host']}:8008/config"
    with host.sudo():
        assert host.check_output(f"{REST} {patch} {member}") == "403"
        assert host.check_output(f"{REST} {CLIENT_CERTIFICATE} {patch} {member}") == "200"
        assert host.check_output(f"{REST} {CLIENT_CERTIFICATE} {patch} https://localhost:8008/config") == "403"
    assert host.run("curl -s --max-time 5 http://localhost:8008/cluster").rc != 0


def test_health_checks_tell_leader_from_replica(host, cluster, leader):
    for name, member in cluster.items():
        url = f"https://{member['host']}:8008"
        with host.sudo():
            primary = host.check_output(f"{REST} -o /dev/null -w %{{http_code}} {url}/primary")
            replica = host.check_output(f"{REST} -o /dev/null -w %{{http_code}} {url}/replica")
        assert (primary, replica) == (("200", "503") if name == leader else ("503", "200"))


def test_a_replica_that_lags_leaves_the_read_only_port(host, cluster, leader, own, secrets):
    if own != sorted(name for name in cluster if name != leader)[0]:
        pytest.skip("one replica shows it")

    def answer(limit):
        with host.sudo():
            return host.check_output(
                f"{REST} -o /dev/null -w %{{http_code}} 'https://localhost:8008/replica?lag={limit}'"
            )

    def replay(signal):
        with host.sudo():
            host.check_output(f"pkill --signal {signal} -f '^postgres: .*startup recovering'")

    # Patroni ends a pause that PostgreSQL was asked for; what is received is not replayed while this process stands.
    replay("STOP")
    try:
        wal = "SELECT length(pg_logical_emit_message(true, 'lag', repeat('x', 3000000))::text) > 0"
        made = client(host, wal, cluster[leader]["host"], 5432, secrets["users/orders"])
        assert made.stdout.strip() == "t", made.stderr
        # Patroni compares with the leader's position of its last round.
        for _ in range(30):
            if answer("1MB") == "503":
                break
            time.sleep(0.5)
        assert (answer("1MB"), answer("16MB")) == ("503", "200")
    finally:
        replay("CONT")
    for _ in range(30):
        if answer("1MB") == "200":
            return
        time.sleep(0.5)
    pytest.fail("the replica did not come back")


@pytest.mark.parametrize(
    ("port", "word"), [(9187, "pg_up 1"), (9127, "pgbouncer_up 1"), (2381, "etcd_server_has_leader 1")]
)
def test_metrics_are_for_holders_of_a_certificate(host, cluster, own, port, word):
    url = f"https://{cluster[own]['host']}:{port}/metrics"
    with host.sudo():
        assert word in host.check_output(f"{REST} {CLIENT_CERTIFICATE} {url}").splitlines()
        assert host.run(f"{REST} {url}").rc != 0
        assert host.run(f"curl -s --max-time 5 {url.replace('https', 'http')}").stdout.find(word) == -1


def test_the_exporter_may_only_monitor(host):
    rights = "SELECT rolsuper, rolcreatedb, rolreplication, rolpassword IS NULL"
    rights += ", pg_has_role('prometheus', 'pg_monitor', 'USAGE')"
    assert sql(host, rights + " FROM pg_authid WHERE rolname = 'prometheus'") == ["f|f|f|t|t"]
    units = [f"prometheus-{name}-exporter" for name in ("postgres", "pgbouncer")]
    assert [host.check_output(f"systemctl show --value -p User {unit}") for unit in units] == ["prometheus"] * 2


def test_the_alerts_find_their_metrics(host, cluster, leader, own):
    """All that the rules of both roles read; what the exporter of a host says of backups has a test of its own."""
    if own != leader:
        pytest.skip("the leader shows it")
    rules = "".join((ROLES / role / "files" / "alerts.yml").read_text() for role in ("postgresql", "etcd"))
    wanted = set(re.findall(r"\b((?:patroni|pg|pgbouncer|etcd|platform)_[a-z0-9_]+)", rules))
    shown = ""
    with host.sudo():
        for port in (8008, 9187, 9127, 2381):
            shown += host.check_output(f"{REST} {CLIENT_CERTIFICATE} https://{cluster[own]['host']}:{port}/metrics")
        shown += host.check_output("cat /var/lib/prometheus/node-exporter/*.prom")
    assert {name for name in wanted if f"\n{name}" not in shown} == set()


def test_an_owner_has_two_logins_that_act_as_it(host, cluster, own, secrets):
    address = cluster[own]["host"]
    for letter in "ab":
        for port in (5432, 6432):
            options = {"user": f"trades_{letter}", "dbname": "trades", "password": secrets[f"logins/trades/{letter}"]}
            answer = client(host, "SELECT session_user || current_user", address, port, **options)
            assert answer.stdout.strip() == f"trades_{letter}trades", answer.stderr
    assert client(host, "SELECT 1", address, 5432, "x", user="trades", dbname="trades").rc != 0


def test_described_objects_are_there(host):
    assert sql(host, "SELECT extname FROM pg_extension WHERE extname = 'pg_stat_statements'", "orders")
    owner = "SELECT pg_get_userbyid(datdba), has_database_privilege('reporting', 'orders', 'CONNECT') FROM pg_database"
    assert sql(host, owner + " WHERE datname = 'orders'") == ["orders|t"]
    assert sql(host, "SELECT has_database_privilege('public', 'orders', 'CONNECT')") == ["f"]
    assert sql(host, "SELECT rolconnlimit, rolconfig FROM pg_roles WHERE rolname = 'orders'") == [
        "50|{statement_timeout=30s}"
    ]


def test_users_cannot_read_verifiers(host, cluster, own, secrets):
    answer = client(
        host,
        "SELECT * FROM pgbouncer.get_auth('orders')",
        cluster[own]["host"],
        password=secrets["users/orders"],
        dbname="postgres",
    )
    assert answer.rc != 0
    assert "permission denied" in answer.stderr


def test_memory_is_sized_by_the_instance_type(host):
    assert sql(host, "SHOW shared_buffers") == ["512MB"]


def test_no_parameter_waits_for_a_restart(host):
    assert sql(host, "SELECT name FROM pg_settings WHERE pending_restart") == []


def test_secrets_are_private(host, secrets):
    with host.sudo():
        for path in ("/etc/patroni/config.yml", "/etc/pgbouncer/userlist.txt"):
            assert (host.file(path).user, host.file(path).group, host.file(path).mode) == ("root", "postgres", 0o640)
        assert host.file("/etc/patroni/tls/postgresql.key").mode == 0o600
        shown = host.check_output("ps -eo args") + host.check_output("journalctl --no-pager -u patroni -u pgbouncer")
    # Which login is current is no secret.
    assert not [name for name, value in secrets.items() if value in shown and not name.endswith("/current")]


def test_data_lies_on_the_volume_and_the_unit_needs_it(host):
    assert host.mount_point("/var/lib/postgresql").exists
    assert sql(host, "SHOW data_directory") == ["/var/lib/postgresql/17/main"]
    assert "var-lib-postgresql.mount" in host.check_output("systemctl show patroni --property=Requires")

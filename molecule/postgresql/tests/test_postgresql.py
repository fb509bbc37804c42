"""A PostgreSQL member as its clients and its operator see it."""

import json
import os
import time

import boto3
import pytest

CA = "/etc/patroni/tls/ca.crt"
REST = f"curl -s --max-time 5 --cacert {CA}"
CLIENT_CERTIFICATE = "--cert /etc/patroni/tls/postgresql.crt --key /etc/patroni/tls/postgresql.key"
SECRETS = ["superuser_password", "replication_password", "rewind_password", "pooler_password", "users/orders"]


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
    assert not [name for name, value in secrets.items() if value in shown]


def test_data_lies_on_the_volume_and_the_unit_needs_it(host):
    assert host.mount_point("/var/lib/postgresql").exists
    assert sql(host, "SHOW data_directory") == ["/var/lib/postgresql/17/main"]
    assert "var-lib-postgresql.mount" in host.check_output("systemctl show patroni --property=Requires")

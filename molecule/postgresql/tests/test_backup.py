"""Backups as a member's operator sees them; the restores are in tests/platform."""

import json

TIMERS = [f"postgresql-backup-{task}.timer" for task in ("full", "diff", "check", "status")]


def backrest(host, *words):
    """Output of pgBackRest as the user of the data."""
    with host.sudo("postgres"):
        return host.check_output("pgbackrest --stanza=main " + " ".join(words))


def test_the_server_between_members_and_the_timers_run(host):
    for unit in ["pgbackrest.service", *TIMERS]:
        assert host.service(unit).is_running, unit
        assert host.service(unit).is_enabled, unit


def test_wal_reaches_the_encrypted_repository_by_the_instances_role(host):
    backrest(host, "check")
    (stanza,) = json.loads(backrest(host, "--output=json", "info"))
    assert stanza["cipher"] == "aes-256-cbc"
    assert stanza["archive"][0]["max"]
    with host.sudo():
        config = host.file("/etc/pgbackrest/pgbackrest.conf")
        assert (config.user, config.group, config.mode) == ("root", "postgres", 0o640)
        assert "repo1-s3-key-type=auto" in config.content_string
        assert "repo1-s3-key=" not in config.content_string


def test_members_have_one_version(host):
    assert host.check_output("pgbackrest version").startswith("pgBackRest 2.")


def test_only_the_member_that_patroni_points_at_acts(host):
    with host.sudo():
        members = json.loads(
            host.check_output("curl -s --max-time 5 --cacert /etc/patroni/tls/ca.crt https://localhost:8008/cluster")
        )["members"]
    chosen = sorted(member["name"] for member in members if member["role"] != "leader")[0]
    own = host.check_output("hostname").split(".")[0]
    if own != chosen:
        with host.sudo("postgres"):
            assert host.check_output("/usr/local/sbin/postgresql-backup full --scheduled") == f"{chosen} does this now."


def test_metrics_are_written_for_the_exporter(host):
    with host.sudo():
        host.check_output("systemctl start postgresql-backup@status.service")
        metrics = host.file("/var/lib/prometheus/node-exporter/postgresql_backup.prom")
        assert metrics.mode == 0o644
        assert "postgresql_backup_status_timestamp_seconds" in metrics.content_string


def test_archiving_waits_for_nothing_and_is_due_within_a_minute(host):
    with host.sudo("postgres"):
        shown = host.check_output("psql -XAtqc 'SHOW archive_timeout' -c 'SHOW archive_mode' -c 'SHOW archive_command'")
    assert shown.splitlines() == ["50s", "on", "pgbackrest --stanza=main archive-push %p"]

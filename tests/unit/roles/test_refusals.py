"""Bad input of the roles below: each with one plain sentence, before any host is asked."""

from __future__ import annotations

import pytest

from tests.unit.roles import playing

SLOTS = ["database-1", "database-2", "database-3"]
ROLES = ("etcd", "postgresql", "redis", "kafka", "rabbitmq", "file_storage", "containerd")
LEAVING = ("etcd", "postgresql", "kafka", "rabbitmq")
MEMBERS = tuple(f"{role}_members" for role in ROLES)
GOOD = {
    "platform_name": "trading",
    "platform_domain": "trading.internal",
    "platform_region": "eu-west-1",
    "platform_network": {"cidr": "10.20.0.0/16"},
    "platform_secrets": {
        **{f"postgresql/{name}_password": "x" for name in ("superuser", "replication", "rewind", "pooler", "exporter")},
        **{f"rabbitmq/{name}": "x" * 16 for name in ("admin_password", "erlang_cookie")},
        **{f"redis/{name}_password": "x" * 16 for name in ("admin", "replication", "sentinel", "monitor")},
        **{f"kafka/{name}": "x" * 32 for name in ("cluster_seed", "broker_password", "admin_password")},
        "file_storage/root_secret": "x" * 40,
    },
    "etcd_members": SLOTS,
    "postgresql_members": SLOTS,
    "postgresql_etcd_members": SLOTS,
    "redis_members": SLOTS,
    "rabbitmq_members": SLOTS,
    "kafka_members": SLOTS,
    "kafka_sha256": {"4.3.1": "a" * 64},
    "kafka_finish": True,
    "platform_zones": ["eu-west-1a", "eu-west-1b", "eu-west-1c"],
    "file_storage_members": SLOTS,
    "file_storage_sha256": "0" * 64,
    "containerd_group": "containerd",
    "containerd_kubernetes_version": "1.36",
    "ec2_memory_mib": 2048,
    "ec2_private_ip": "10.20.0.4",
    "ec2_tier": "database",
}
DATABASE_TIER = [
    {
        "name": "database",
        "components": ["etcd", "postgresql"],
        "count": 3,
        "volumes": [{"name": "postgresql", "size": 4, "type": "gp3", "mount": "/var/lib/postgresql"}],
    }
]
BAD = {
    "even-quorum": ("etcd", {"etcd_members": [*SLOTS, "database-4"]}, "etcd_members has 4 members"),
    "single-member": ("etcd", {"etcd_members": ["database-1"]}, "give 3 or 5"),
    "member-twice": ("etcd", {"etcd_members": ["database-1", "database-2", "database-2"]}, "names a member twice"),
    "election": ("etcd", {"etcd_heartbeat_ms": 500}, "less than five times etcd_heartbeat_ms (500)"),
    "unknown-name": ("etcd", {"etcd_hearbeat_ms": 5}, "did you mean etcd_heartbeat_ms?"),
    "wrong-type": ("etcd", {"etcd_quota_bytes": "much"}, "etcd_quota_bytes is 'much', it must be a whole number"),
    "timers": ("postgresql", {"postgresql_retry_timeout": 10}, "= 25 is more than postgresql_ttl 20"),
    "short-ttl": ("postgresql", {"postgresql_ttl": 15}, "Patroni takes 20 seconds or more"),
    "rto-budget": ("postgresql", {"postgresql_ttl": 60}, "a lost host costs up to 68 s"),
    "quote": (
        "postgresql",
        {"postgresql_databases": [{"name": "o'rders", "owner": "orders"}]},
        "postgresql_databases has the name o'rders",
    ),
    "reserved-role": ("postgresql", {"postgresql_roles": [{"name": "postgres"}]}, "keeps for itself"),
    "plain-text": (
        "postgresql",
        {
            "postgresql_hba": [
                {"type": "host", "database": "all", "user": "all", "address": "0.0.0.0/0", "method": "scram-sha-256"}
            ]
        },
        "only hostssl is accepted",
    ),
    "weak-method": (
        "postgresql",
        {
            "postgresql_hba": [
                {"type": "hostssl", "database": "all", "user": "all", "address": "0.0.0.0/0", "method": "md5"}
            ]
        },
        "scram-sha-256",
    ),
    "fixed-parameter": ("postgresql", {"postgresql_parameters": {"ssl": "off"}}, "postgresql_parameters sets ssl"),
    "no-bucket": ("postgresql", {"postgresql_backup": {"enabled": True}}, "there is no bucket"),
    "retention": (
        "postgresql",
        {"postgresql_backup": {"retention_full": 0}},
        "retention_full is 0, which would remove the last full backup",
    ),
    "foreign-bucket": (
        "postgresql",
        {
            "platform_buckets": [{"name": "own-backup", "purpose": "backup"}],
            "postgresql_backup": {"bucket": "someone-elses"},
        },
        "is someone-elses, which platform_buckets does not describe with purpose backup (own-backup)",
    ),
    "small-volume": (
        "postgresql",
        {"postgresql_parameters": {"max_wal_size": "2GB"}, "platform_tiers": DATABASE_TIER},
        "The volume with postgresql_directory has 4096 MiB, and half of it must hold max_wal_size 2GB",
    ),
    "endless-slots": (
        "postgresql",
        {"postgresql_parameters": {"max_slot_wal_keep_size": -1}, "platform_tiers": DATABASE_TIER},
        "the slot of a lost standby would keep WAL without a limit",
    ),
    "connections": (
        "postgresql",
        {"postgresql_max_connections": 20000},
        "postgresql_max_connections 20000 with work_mem needs up to 2500 MiB",
    ),
    "large-work-mem": ("postgresql", {"postgresql_parameters": {"work_mem": "16MB"}}, "needs up to 6464 MiB"),
    "last-standby": (
        "postgresql",
        {"postgresql_members": ["database-1"], "platform_remove": ["database-2"]},
        "postgresql_members has 1 member",
    ),
    "login-of-owner": (
        "postgresql",
        {"postgresql_logins": [{"owner": "orders"}], "postgresql_roles": [{"name": "orders_a"}]},
        "postgresql_logins makes the roles orders_a",
    ),
    "backup-option": (
        "postgresql",
        {"postgresql_backup": {"options": {"repo1-cipher-type": "none"}}},
        "postgresql_backup.options sets repo1-cipher-type",
    ),
    "backup-path": ("postgresql", {"postgresql_backup": {"path": "main"}}, "give an absolute path in the bucket"),
    "archive-parameter": (
        "postgresql",
        {"postgresql_parameters": {"archive_command": "cp"}},
        "postgresql_parameters sets archive_command, which follow from postgresql_backup",
    ),
    "restore-type": ("postgresql", {"postgresql_restore": {"type": "yesterday"}}, "postgresql_restore"),
    "dcs": ("postgresql", {"postgresql_dcs": {"ttl": 30}}, "postgresql_dcs sets ttl"),
    "even-sentinels": ("redis", {"redis_members": [*SLOTS, "database-4"]}, "redis_members has 4 members"),
    "two-sentinels": ("redis", {"redis_members": ["database-1", "database-2"]}, "give an odd number, 3 or more"),
    "beside-postgresql": (
        "redis",
        {"platform_tiers": [{"name": "database", "components": ["postgresql", "redis"], "count": 3}]},
        "Redis wants vm.overcommit_memory 1 and PostgreSQL 2",
    ),
    "too-much-memory": ("redis", {"redis_maxmemory_mib": 1800}, "but the host has 2048 MiB"),
    "unknown-flavor": ("redis", {"redis_flavor": "keydb"}, "redis_flavor"),
    "unknown-durability": ("redis", {"redis_durability": "none"}, "redis_durability"),
    "role-in-config": ("redis", {"redis_config": {"replicaof": "a 1"}}, "redis_config sets replicaof"),
    "system-user": ("redis", {"redis_users": [{"name": "admin", "password": "p" * 16}]}, "keeps for itself"),
    "user-twice": (
        "redis",
        {"redis_users": [{"name": "web", "password": "p" * 16}, {"name": "web", "password": "q" * 16}]},
        "redis_users names a user twice",
    ),
    "even-queues": ("rabbitmq", {"rabbitmq_members": [*SLOTS, "database-4"]}, "rabbitmq_members has 4 members"),
    "disk-below-memory": (
        "rabbitmq",
        {"rabbitmq_disk_free_limit_mib": 50},
        "rabbitmq_disk_free_limit_mib is 50, below the memory watermark of 1228 MiB",
    ),
    "too-much-watermark": (
        "rabbitmq",
        {"rabbitmq_memory_watermark_mib": 1900},
        "on a host of 2048 MiB; give 128 to 1433",
    ),
    "small-queue-volume": (
        "rabbitmq",
        {
            "platform_tiers": [
                {
                    "name": "database",
                    "components": ["rabbitmq"],
                    "count": 3,
                    "volumes": [{"name": "rabbitmq", "size": 2, "mount": "/var/lib/rabbitmq"}],
                }
            ]
        },
        "rabbitmq_disk_free_limit_mib is 1228, more than half of the volume at /var/lib/rabbitmq (2 GiB)",
    ),
    "mirrored": (
        "rabbitmq",
        {
            "rabbitmq_vhosts": [
                {"name": "t", "policies": [{"name": "ha", "pattern": ".*", "definition": {"ha-mode": "all"}}]}
            ]
        },
        "The policy ha mirrors classic queues (ha-mode)",
    ),
    "plain-listener": (
        "rabbitmq",
        {"rabbitmq_config": {"listeners.tcp.default": 5672}},
        "rabbitmq_config sets listeners.tcp.default",
    ),
    "no-delivery-limit": ("rabbitmq", {"rabbitmq_delivery_limit": 0}, "rabbitmq_delivery_limit is 0"),
    "old-series": ("rabbitmq", {"rabbitmq_version": "3.13.7-1"}, "give a version of the series 4.0 to 4.3"),
    "guest": ("rabbitmq", {"rabbitmq_users": [{"name": "guest", "password": "p"}]}, "keeps for itself or removes"),
    "unknown-vhost": (
        "rabbitmq",
        {"rabbitmq_users": [{"name": "web", "password": "p", "permissions": [{"vhost": "shop", "read": ".*"}]}]},
        "permissions on the vhost shop, which rabbitmq_vhosts does not describe",
    ),
    "unknown-queue-type": (
        "rabbitmq",
        {"rabbitmq_vhosts": [{"name": "t", "queues": [{"name": "q", "type": "mirrored"}]}]},
        "rabbitmq_vhosts",
    ),
    "even-voters": (
        "kafka",
        {"kafka_controllers": ["even-voters", "database-2"]},
        "kafka_controllers has 2 members",
    ),
    "unknown-broker": ("kafka", {"kafka_brokers": ["unknown-broker", "database-9"]}, "name database-9, which"),
    "old-kafka": ("kafka", {"kafka_version": "3.9.1", "kafka_sha256": {"3.9.1": "a" * 64}}, "kafka_version is 3.9.1"),
    "no-checksum": ("kafka", {"kafka_version": "4.3.2"}, "kafka_sha256 has no SHA-256 of version 4.3.2"),
    "min-isr": ("kafka", {"kafka_min_insync_replicas": 3}, "give at most 2"),
    "topic-min-isr": (
        "kafka",
        {"kafka_topics": [{"name": "orders", "partitions": 3, "min_insync_replicas": 3}]},
        "kafka_topics gives orders a min_insync_replicas that is not below its replication_factor",
    ),
    "factor-above-brokers": (
        "kafka",
        {"kafka_topics": [{"name": "orders", "partitions": 3, "replication_factor": 4}]},
        "kafka_topics gives orders more replicas than there are brokers (3)",
    ),
    "factor-above-zones": (
        "kafka",
        {"kafka_replication_factor": 3, "platform_zones": ["eu-west-1a", "eu-west-1b"]},
        "kafka_replication_factor is 3, but there are 3 brokers in 2 zones",
    ),
    "scram-between-controllers": (
        "kafka",
        {"kafka_config": {"listener.name.controllers.sasl.enabled.mechanisms": "SCRAM-SHA-512"}},
        "Kafka has no SCRAM between controllers",
    ),
    "listeners-in-config": (
        "kafka",
        {"kafka_config": {"listeners": "PLAINTEXT://:9092"}},
        "kafka_config sets listeners",
    ),
    "user-of-the-role": ("kafka", {"kafka_users": [{"name": "admin", "password": "p"}]}, "keeps for itself"),
    "rights-of-nobody": (
        "kafka",
        {"kafka_acls": [{"user": "web", "resource": "topic", "name": "orders", "operations": ["read"]}]},
        "whom kafka_users does not describe",
    ),
    "heap-of-its-own": ("kafka", {"kafka_java_options": ["-Xmx4g"]}, "kafka_java_options sets -Xmx4g"),
    "heap-above-memory": ("kafka", {"kafka_heap_mib": 1800}, "but the host has 2048 MiB"),
    "removed-and-described": (
        "kafka",
        {"kafka_topics": [{"name": "orders", "partitions": 3}], "kafka_remove_topics": ["orders"]},
        "name it in one of them",
    ),
    "redis-no-bucket": (
        "redis",
        {"redis_backup": {"enabled": True}},
        "redis_backup.enabled is true, but there is no bucket",
    ),
    "redis-keep": ("redis", {"redis_backup": {"keep": 0}}, "would remove the last copy"),
    "bucket-name": (
        "file_storage",
        {"file_storage_buckets": [{"name": "Trade_Reports"}]},
        "'Trade_Reports' must be 3 to",
    ),
    "bucket-dot": ("file_storage", {"file_storage_buckets": [{"name": "trade.reports"}]}, "'trade.reports' has a dot"),
    "bucket-twice": (
        "file_storage",
        {"file_storage_buckets": [{"name": "reports"}, {"name": "reports"}]},
        "file_storage_buckets names a bucket twice",
    ),
    "unknown-grantee": (
        "file_storage",
        {"file_storage_buckets": [{"name": "reports", "grants": [{"user": "ghost", "access": "read"}]}]},
        "grants rights to 'ghost', who is not in file_storage_users",
    ),
    "unknown-access": (
        "file_storage",
        {"file_storage_buckets": [{"name": "reports", "grants": [{"user": "ghost", "access": "all"}]}]},
        "file_storage_buckets does not fit",
    ),
    "root-user": ("file_storage", {"file_storage_users": [{"name": "root", "secret": "s" * 16}]}, "keeps for itself"),
    "user-name": ("file_storage", {"file_storage_users": [{"name": "A B", "secret": "s" * 16}]}, "has the name 'A B'"),
    "one-copy": ("file_storage", {"file_storage_members": ["database-1"]}, "a second copy needs 2 or more"),
    "no-checksum-of-files": ("file_storage", {"file_storage_sha256": "latest"}, "64 hexadecimal digits"),
    "own-option": ("file_storage", {"file_storage_config": {"VGW_READ_ONLY": "false"}}, "sets VGW_READ_ONLY"),
    "bound": (
        "file_storage",
        {"file_storage_copy_interval": 200},
        "file_storage_copy_bound is 300, but a pass begins every 200 s",
    ),
    "containerd-1": (
        "containerd",
        {"containerd_version": "1.7.28"},
        "containerd_version is 1.7.28, but Kubernetes 1.36 needs containerd 2",
    ),
    "containerd-unknown-sum": (
        "containerd",
        {"containerd_version": "2.3.99"},
        "no sha256 of containerd 2.3.99 for amd64",
    ),
    "kubernetes-unknown": (
        "containerd",
        {"containerd_kubernetes_version": "1.30", "containerd_version": "2.3.4", "containerd_runc_version": "1.4.3"},
        "Kubernetes 1.30 is not in the manifest of releases",
    ),
    "image-unknown": (
        "containerd",
        {"containerd_images": ["a.example.com/b:1"]},
        "no digest of image a.example.com/b:1",
    ),
    "pause-without-registry": ("containerd", {"containerd_pause_image": "pause:3.10"}, "'pause:3.10' needs a registry"),
    "registry-with-scheme": (
        "containerd",
        {"containerd_registries": [{"host": "https://ghcr.io", "mirrors": [{"url": "https://m.example.com"}]}]},
        "has the host 'https://ghcr.io'; give the registry's name as images have it",
    ),
    "mirror-without-scheme": (
        "containerd",
        {"containerd_registries": [{"host": "ghcr.io", "mirrors": [{"url": "m.example.com"}]}]},
        "has the mirror 'm.example.com'",
    ),
    "registry-twice": (
        "containerd",
        {"containerd_registries": [{"host": "ghcr.io", "mirrors": []}, {"host": "ghcr.io", "mirrors": []}]},
        "names a registry twice (ghcr.io, ghcr.io)",
    ),
    "containerd-own-option": (
        "containerd",
        {"containerd_config": {"root": "/data"}},
        "containerd_config sets version or root",
    ),
    "template-path": ("containerd", {"containerd_cni_template": "cni.tmpl"}, "is 'cni.tmpl'; give an absolute path"),
    "containerd-name": ("containerd", {"containerd_verison": "2.3.4"}, "did you mean containerd_version?"),
    "no-snapshot-left": ("file_storage", {"file_storage_snapshots": {"keep": 0}}, "would remove the last snapshot"),
}


def variables(host, change=()):
    """Good variables of a host, with a change; the host itself is the first member."""
    members = [host, *SLOTS[1:]]
    good = {name: members if name in MEMBERS else value for name, value in GOOD.items()}
    return {
        **good,
        **{name: members[:1] + value[1:] if name in MEMBERS else value for name, value in dict(change).items()},
    }


def preflight(path, role, hosts):
    """Check one role for hosts with their variables, all in one run; return the exit code and what it says."""
    groups = {name: {"hosts": dict.fromkeys(hosts, {})} for name in ROLES}
    task = {"name": "Check", "selfhosted.ec2.preflight": {"roles": [role]}, "run_once": True}
    play = {"name": "Check", "hosts": "all", "gather_facts": False, "tasks": [task]}
    return playing.run(path, [play], {"all": {"hosts": hosts, "children": groups}})


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """What is said about each fault; a fault is a host of that name."""
    said = {}
    for role in ROLES:
        hosts = {name: variables(name, change) for name, (owner, change, _) in BAD.items() if owner == role}
        code, text = preflight(tmp_path_factory.mktemp(role), role, hosts)
        assert code != 0
        assert "nothing was touched" in text
        lines = text.split("Refused, nothing was touched.")[1].split("\nOrigin:")[0].splitlines()
        said.update({name: [line for line in lines if f"[{name}]" in line] for name in hosts})
    return said


@pytest.mark.parametrize("role", ROLES)
def test_good_input_is_accepted(tmp_path, role):
    hosts = {"database-1": variables("database-1")}
    if role in LEAVING:
        # One that remove_nodes.yml takes away is in the group, and no longer described.
        hosts = {**hosts, "database-9": {**GOOD, "platform_remove": ["database-9"]}}
    code, text = preflight(tmp_path, role, hosts)
    assert code == 0, text


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_refused_in_one_sentence(faults, fault):
    assert len(faults[fault]) == 1, faults[fault]
    assert BAD[fault][2] in faults[fault][0]
    assert "cannot be evaluated" not in faults[fault][0]

"""Sizes that follow from a host, what does not fit it, and what the server's catalogue says of a change."""

from __future__ import annotations

import json

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import postgresql_settings as settings
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024**2
SMALL = {"memory_mib": 2048, "vcpus": 2, "volume_type": "gp3", "volume_mib": 2048, "connections": 200}
CATALOGUE = {
    "work_mem": {"setting": "4096", "unit": "kB", "vartype": "integer", "context": "user"},
    "shared_buffers": {"setting": "65536", "unit": "8kB", "vartype": "integer", "context": "postmaster"},
    "archive_mode": {"setting": "on", "unit": None, "vartype": "enum", "context": "postmaster"},
    "log_lock_waits": {"setting": "on", "unit": None, "vartype": "bool", "context": "superuser"},
    "wal_sender_timeout": {"setting": "10000", "unit": "ms", "vartype": "integer", "context": "user"},
    "random_page_cost": {"setting": "1.1", "unit": None, "vartype": "real", "context": "user"},
    "log_line_prefix": {"setting": "%m [%p] ", "unit": None, "vartype": "string", "context": "sighup"},
    "log_connections": {"setting": "off", "unit": None, "vartype": "bool", "context": "superuser-backend"},
}


def sizes(user=(), **host):
    return settings.sizes(**{**SMALL, **host}, given=dict(user))


def test_a_small_host():
    assert sizes() == {
        "shared_buffers": "512MB",
        "effective_cache_size": "1280MB",
        "maintenance_work_mem": "128MB",
        "work_mem": "1297kB",
        "max_parallel_workers": 2,
        "max_parallel_workers_per_gather": 1,
        "max_parallel_maintenance_workers": 1,
        "random_page_cost": 1.1,
        "effective_io_concurrency": 200,
        "maintenance_io_concurrency": 200,
        "max_wal_size": "256MB",
        "min_wal_size": "80MB",
        "max_slot_wal_keep_size": "409MB",
    }


def test_a_large_host_meets_the_upper_bounds():
    found = sizes(memory_mib=262144, vcpus=64, volume_mib=4 * MIB, connections=100)
    assert (found["maintenance_work_mem"], found["work_mem"]) == ("1024MB", "65536kB")
    assert (found["max_parallel_workers"], found["max_parallel_workers_per_gather"]) == (8, 4)
    assert found["max_wal_size"] == "16384MB"


@pytest.mark.parametrize(("kind", "cost", "reads"), [("io2", 1.1, 200), ("st1", 4.0, 2), ("standard", 4.0, 2)])
def test_the_volume_decides_what_a_random_page_costs(kind, cost, reads):
    found = sizes(volume_type=kind)
    assert (found["random_page_cost"], found["effective_io_concurrency"]) == (cost, reads)


def test_what_the_user_gives_is_left_and_the_rest_follows_it():
    found = sizes({"work_mem": "16MB", "max_worker_processes": 1, "hash_mem_multiplier": 1})
    assert "work_mem" not in found
    assert found["max_parallel_workers"] == 1
    assert sizes({"hash_mem_multiplier": 1})["work_mem"] == "2595kB"


def test_without_a_described_volume_the_server_keeps_its_own_limits_of_wal():
    assert not {"max_wal_size", "max_slot_wal_keep_size"} & set(sizes(volume_mib=0))


@given(
    memory=st.integers(1024, 2**20),
    vcpus=st.integers(1, 128),
    connections=st.integers(10, 500),
    volume=st.integers(4096, 2**24),
)
def test_all_sessions_together_fit_into_a_quarter_of_the_memory(memory, vcpus, connections, volume):
    host = (memory, vcpus, connections, {})
    assert settings.memory_bound_mib(*host) <= memory // 4 + 1
    assert settings.memory_refusal(*host) == ""
    found = sizes(memory_mib=memory, vcpus=vcpus, connections=connections, volume_mib=volume)
    assert settings.memory_bytes(found["shared_buffers"]) <= memory * MIB // 4
    assert settings.wal_refusal(volume, {**found, "wal_keep_size": "256MB"}) == ""


@pytest.mark.parametrize(
    ("connections", "user", "words"),
    [
        (20000, {}, "postgresql_max_connections 20000 with work_mem needs up to 2500 MiB"),
        (200, {"work_mem": "16MB"}, "needs up to 6464 MiB"),
        (200, {"shared_buffers": "1800MB"}, "shared_buffers 1800 MiB"),
        (200, {"work_mem": "much"}, "'much' is no amount in B, kB"),
    ],
)
def test_connections_that_do_not_fit_into_the_memory(connections, user, words):
    assert words in settings.memory_refusal(2048, 2, connections, user)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_wal_size": "2GB", "max_slot_wal_keep_size": "819MB"}, "together 2867 MiB"),
        ({"max_wal_size": "256MB", "max_slot_wal_keep_size": -1}, "without a limit"),
        ({"max_wal_size": "2 apples"}, "would not take"),
    ],
)
def test_a_volume_too_small_for_its_wal(parameters, words):
    sentence = settings.wal_refusal(4096, parameters)
    assert words in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("context", "expected"),
    [("postmaster", "restart"), ("sighup", "reload"), ("superuser-backend", "reload"), ("user", "reload")],
)
def test_the_context_decides_between_reload_and_restart(context, expected):
    assert settings.needs(context) == expected


def test_changes_are_compared_as_the_server_counts_and_carry_their_label():
    same = {
        "work_mem": "4MB",
        "shared_buffers": "512MB",
        "archive_mode": "ON",
        "log_lock_waits": True,
        "wal_sender_timeout": "10s",
        "random_page_cost": "1.10",
        "log_line_prefix": "%m [%p] ",
    }
    assert settings.changes(same, CATALOGUE) == {}
    assert settings.changes({"work_mem": "6MB", "shared_buffers": "1GB", "log_connections": 1}, CATALOGUE) == {
        "log_connections": "off -> 1 (reload)",
        "shared_buffers": "65536 x 8kB -> 1GB (restart)",
        "work_mem": "4096 x kB -> 6MB (reload)",
    }


def test_what_the_server_does_not_know_is_no_change_and_has_no_label():
    assert settings.changes({"auto_explain.log_analyze": "on"}, CATALOGUE) == {}
    assert settings.label("auto_explain.log_analyze", CATALOGUE) == "unknown"


@given(st.integers(0, 2**20), st.sampled_from(["kB", "MB", "GB"]))
def test_an_amount_equals_itself_in_the_servers_unit(number, unit):
    wanted = settings.normal(f"{number}{unit}", "integer", "8kB")
    assert wanted == round(number * settings.BYTES[unit] / 8192)


def test_the_catalogue_is_read_as_the_servers_own_user():
    def run(command, cwd):
        assert command[:3] == ["runuser", "-u", "postgres"]
        return 0, json.dumps(CATALOGUE), ""

    assert settings.read_catalogue(run) == CATALOGUE
    assert settings.read_catalogue(lambda command, cwd: (2, "", "no server")) == {}

"""Tasks of role postgresql, with the answers of hosts and modules put in their place: no server is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.filter.postgresql import blank_refusal

from tests.unit.roles import playing

ROOT = Path(__file__).resolve().parents[3]
TASKS = ROOT / "roles" / "postgresql" / "tasks"


def tasks(file, *names):
    """Tasks of one file of the role, by the ends of their names."""
    found = {task["name"].split(" | ")[1]: task for task in yaml.safe_load((TASKS / file).read_text())}
    return [found[name] for name in names]


def play(path, steps, hosts, *arguments):
    """Run tasks on hosts that are all this process; return the exit code and what is said."""
    return run(path, [{"name": "Play", "hosts": "all", "gather_facts": False, "tasks": steps}], hosts, *arguments)


def run(path, plays, hosts, *arguments):
    """Run plays on hosts that are all this process; return the exit code and what is said."""
    inventory = {
        "all": {"hosts": hosts, "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
    }
    return playing.run(path, plays, inventory, *arguments)


def test_switchover_in_check_mode_asks_nobody_and_fails_nowhere(tmp_path):
    variables = {
        "__postgresql_before": {"leader": "database-1"},
        "__postgresql_cluster": {"leader": "database-1"},
        "__postgresql_rest_urls": {"database-1": "https://database-1.invalid:8008"},
        "__postgresql_candidate": "database-2",
        **{f"__postgresql_{name}": "/nowhere" for name in ("ca", "cert", "key")},
    }
    names = ("Refuse to call it done when the leader is the same", "Show who leads")
    steps = tasks("hand_over.yml", "Let a standby take over") + tasks("switchover.yml", *names)
    code, text = play(tmp_path, steps, {"database-1": variables}, "--check")
    assert code == 0, text
    assert "failed=0" in text


def test_new_authorities_make_a_restart_of_patroni_pending():
    (task,) = tasks("units.yml", "See what runs and what is older than its files")
    files = {unit["name"]: unit["files"] for unit in task["selfhosted.ec2.pending_restarts"]["units"]}
    assert "{{ __postgresql_ca }}" in files["patroni"]


@pytest.mark.parametrize(
    ("host", "variables", "looks"),
    [
        ("database-2", {"__postgresql_reload": {"changed": True}}, True),
        ("database-2", {"__postgresql_config": {"changed": True}}, True),
        ("database-2", {"__postgresql_reload": {"changed": False}}, False),
    ],
)
def test_all_members_look_again_when_any_member_changed(tmp_path, host, variables, looks):
    (block,) = tasks("contents.yml", "Look again once the members saw the changed settings")
    block["block"] = [{"name": "Look", "ansible.builtin.debug": {"msg": "looks again on {{ inventory_hostname }}"}}]
    hosts = {f"database-{number}": {"__postgresql_config": {"changed": False}} for number in (1, 2, 3)}
    hosts[host].update(variables)
    code, text = play(tmp_path, [block], hosts)
    assert code == 0, text
    assert text.count("looks again on") == (len(hosts) if looks else 0)


def test_a_look_that_is_not_taken_leaves_what_the_first_one_found():
    (block,) = tasks("contents.yml", "Look again once the members saw the changed settings")
    # A skipped import would register its skip, and with it forget who waits for a restart.
    assert "ansible.builtin.include_tasks" in block["block"][-1]


@pytest.mark.parametrize(
    ("held", "version", "scope", "refused"),
    [
        ([], "17", "main", ""),
        (["17/main"], "17", "main", ""),
        (["15/main", "17/main"], "17", "main", ""),
        (["17/main.failed"], "17", "main", ""),
        (
            ["17/main"],
            "18",
            "main",
            "is 17/main (version/scope), but postgresql_version and postgresql_scope are 18/main",
        ),
        (
            ["17/main"],
            "17",
            "other",
            "is 17/main (version/scope), but postgresql_version and postgresql_scope are 17/other",
        ),
    ],
)
def test_data_of_another_version_or_scope_is_refused(tmp_path, held, version, scope, refused):
    directory = tmp_path / "postgresql"
    for path in held:
        (directory / path / "base" / "1").mkdir(parents=True)
        for inner in ("", "base/1"):
            (directory / path / inner / "PG_VERSION").write_text("17\n")
    (asking,) = yaml.safe_load((TASKS / "host.yml").read_text())
    steps = [asking, *yaml.safe_load((TASKS / "data.yml").read_text())[1:]]
    variables = {
        "postgresql_directory": str(directory),
        "postgresql_version": version,
        "postgresql_scope": scope,
        "__postgresql_data_dir": str(directory / version / scope),
        "__postgresql_restore_guard": str(directory / "restore_in_progress"),
        "__postgresql_backup": {"enabled": False, "version": ""},
        "__postgresql_packages": [],
        "__postgresql_wanted_parameters": {},
    }
    code, text = play(tmp_path, steps, {"database-1": variables})
    assert (code != 0) == bool(refused), text
    assert refused in text


def test_data_is_judged_before_anything_is_written():
    order = [task["ansible.builtin.import_tasks"] for task in yaml.safe_load((TASKS / "main.yml").read_text())]
    assert order.index("data.yml") < order.index("install.yml")


MEMBERS = ["database-1", "database-2", "database-3"]


@pytest.mark.parametrize(
    ("full", "present", "words"),
    [
        ([], MEMBERS, ""),
        (["database-2", "database-3"], MEMBERS, "start them first (-e target=database-2:database-3)"),
        ([], MEMBERS[:2], "database-3 took no part in this run"),
    ],
)
def test_an_empty_member_does_not_begin_a_cluster_beside_data(full, present, words):
    sentence = blank_refusal("database-1", MEMBERS, full, present)
    assert words in sentence
    assert bool(sentence) == bool(words)


@pytest.mark.parametrize(
    ("full", "running", "leaders", "refused"),
    [
        ([], [], [], []),
        (MEMBERS, [], [], []),
        (MEMBERS[1:], [], ["database-2"], []),
        (MEMBERS[1:], MEMBERS, [], []),
        (MEMBERS[1:], [], [], ["database-1"]),
    ],
)
def test_who_may_start_without_a_leader(tmp_path, full, running, leaders, refused):
    (gate,) = tasks("service.yml", "Let an empty member start only where it can begin or join the right cluster")
    (assertion,) = tasks("blank.yml", "Refuse to begin an empty cluster beside the data of others")
    (path := tmp_path / "blank.json").write_text(json.dumps([assertion]))
    gate["ansible.builtin.include_tasks"] = str(path)
    shared = yaml.safe_load((TASKS.parent / "vars" / "main.yml").read_text())
    hosts = {
        name: {
            "postgresql_members": MEMBERS,
            "__postgresql_name": name,
            "__postgresql_holds_data": name in full,
            "__postgresql_units": {"running": ["patroni"] if name in running else []},
            "__postgresql_peers": {"leaders": leaders, "members": {"database-2": {}}},
            **{key: shared[key] for key in ("__postgresql_full", "__postgresql_blank_refusal")},
        }
        for name in MEMBERS
    }
    code, text = play(tmp_path, [gate], hosts)
    assert (code != 0) == bool(refused), text
    assert [name for name in MEMBERS if f"{name} has no PostgreSQL data" in text] == refused


@pytest.mark.parametrize("due", [[], ["patroni"], ["patroni", "pgbouncer"]])
def test_a_reload_that_an_interrupted_run_lost_is_taken_up(tmp_path, due):
    steps = [
        *tasks("service.yml", "Reload Patroni where its files are newer than its last reload"),
        *tasks("service.yml", "Reload PgBouncer where its files are newer than its last reload"),
    ]
    handlers = [
        {"name": f"Reload {name}", "ansible.builtin.debug": {"msg": f"{name} reloads"}}
        for name in ("Patroni", "PgBouncer")
    ]
    block = {"name": "Service", "hosts": "all", "gather_facts": False, "tasks": steps, "handlers": handlers}
    code, text = run(tmp_path, [block], {"database-1": {"__postgresql_units": {"reloads": due}}})
    assert code == 0, text
    assert [name for name in ("Patroni", "PgBouncer") if f"{name} reloads" in text] == [
        {"patroni": "Patroni", "pgbouncer": "PgBouncer"}[unit] for unit in due
    ]


@pytest.mark.parametrize(
    ("pending", "members", "restarted"),
    [
        (["pgbouncer"], [], ["pgbouncer"]),
        (["patroni"], [], ["patroni"]),
        ([], ["database-1"], ["patroni"]),
        (["pgbouncer"], ["database-2"], ["pgbouncer"]),
        (["patroni", "pgbouncer"], [], ["patroni", "pgbouncer"]),
        (None, [], ["patroni", "pgbouncer"]),
    ],
)
def test_only_what_waits_is_restarted(tmp_path, pending, members, restarted):
    """A change of PgBouncer alone leaves PostgreSQL running."""
    found = yaml.safe_load((ROOT / "roles" / "postgresql" / "vars" / "main.yml").read_text())["__postgresql_restarts"]
    variables = {
        "__postgresql_name": "database-1",
        "__postgresql_restarts": found,
        "__postgresql_cluster": {"pending_restart": members},
        **({} if pending is None else {"__postgresql_units": {"pending": pending}}),
    }
    step = {"ansible.builtin.assert": {"that": f"__postgresql_restarts == {restarted}"}}
    code, said = play(tmp_path, [step], {"database-1": variables})
    assert code == 0, said

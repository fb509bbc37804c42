from __future__ import annotations

import pytest


@pytest.fixture
def check(play, roles):
    """Return a function that runs preflight with extra variables."""

    def run(*arguments, wanted=None, **variables):
        options = {"roles_path": str(roles), **({"roles": wanted} if wanted else {})}
        task = {"name": "Check", "selfhosted.ec2.preflight": options, "run_once": True}
        return play([task], *arguments, variables=variables)

    return run


def test_right_input_passes_without_secrets_or_facts(check):
    code, output = check()
    assert code == 0 and "changed=0" in output


def test_all_faults_of_all_hosts_are_told_at_once_whatever_the_limit(check):
    wrong = {"alpha_prot": 1, "alpha_extra_sped": 2, "alpha_port": "abc", "platform_domian": "x"}
    code, output = check("--limit", "a-1", alpha_members=["a-1", "a-2"], **wrong)
    assert code == 2
    for sentence in (
        "alpha_prot is set, but role alpha has no such variable; did you mean alpha_port? [all hosts]",
        "alpha_extra_sped is set, but role alpha_extra has no such variable; did you mean alpha_extra_speed?",
        "platform_domian is set, but the platform description has no such variable; did you mean platform_domain?",
        "alpha_port is 'abc', it must be a whole number. [a-1, a-2, a-3]",
        "alpha_members has 2 members; give an odd number. [a-1, a-2, a-3]",
    ):
        assert sentence in output
    assert "cannot be evaluated" not in output


def test_rules_see_the_variables_of_each_host(check):
    code, output = check(alpha_port=80)
    assert code == 2
    assert "alpha_port is 80 on a-2; give 1025 to 65535. [a-2]" in output


def test_a_rule_may_warn_and_refuse_nothing(check):
    code, output = check(alpha_port=6443)
    assert code == 0 and "alpha_port is 6443, as others have it. [a-1, a-2, a-3]" in " ".join(output.split())
    assert "as others have it" not in check()[1]


def test_names_of_every_entry_point_are_known(check):
    assert check(alpha_patience=3)[0] == 0


def test_a_required_variable_that_is_not_set(check, inventory):
    inventory.write_text(inventory.read_text().replace("alpha_token: one", "other: one"))
    code, output = check()
    assert code == 2
    assert "alpha_token is not set, role alpha needs it (The token of the cluster)." in output


def test_what_hangs_on_secrets_is_judged_once_they_are_read(check):
    code, output = check(platform_secrets={"alpha/password": "hunter2"})
    assert code == 2
    assert "alpha_password is too short; give 12 characters." in output
    assert "hunter2" not in output


def test_an_undefined_name_of_the_users_own_is_a_fault(check):
    code, output = check(alpha_port="{{ nowhere }}")
    assert code == 2
    assert "alpha_port cannot be evaluated: 'nowhere' is undefined." in output


def test_a_role_that_is_named_must_exist_and_have_hosts(check):
    code, output = check(wanted=["beta"])
    assert code == 2 and "There is no role beta" in output
    code, output = check(wanted=["alpha"], alpha_group="nobody")
    assert code == 2 and "Group nobody of role alpha is not in the inventory" in output


def test_a_component_of_the_description_without_hosts(check):
    tiers = [
        {"name": "one", "components": ["alpha", "beta-two"], "count": 3, "instance_type": "t3.small"},
        {"name": "none", "components": ["gamma"], "count": 0, "instance_type": "t3.small"},
    ]
    code, output = check(platform_tiers=tiers)
    assert code == 2
    assert "Group beta_two has no host, though tier one of platform_tiers has 3; run the provision playbook" in output
    assert "Group alpha" not in output and "gamma" not in output


def test_a_role_by_itself_does_not_judge_names_of_others(check):
    assert check(wanted=["alpha"], alpha_extra_sped=1, platform_domian=1)[0] == 0


def test_it_does_the_same_in_check_mode(check):
    assert check("--check")[0] == 0
    assert check("--check", alpha_prot=1)[0] == 2


STRANGER = "Role alpha would be played on a host that is not in its group alpha; play hosts of that group only"


def test_a_role_is_only_played_on_hosts_of_its_group(play, roles):
    task = {"name": "Check", "selfhosted.ec2.preflight": {"roles_path": str(roles), "roles": ["alpha"]}}
    code, output = play([task], hosts="a-1:edge-1")
    assert code == 2 and STRANGER in output and "[edge-1]" in output
    assert play([task], hosts="a-1")[0] == 0


@pytest.mark.parametrize("kind", ["import_role", "include_role"])
def test_roles_of_a_play_are_found_in_its_tasks(play, roles, kind):
    task = {"name": "Check", "selfhosted.ec2.preflight": {"roles_path": str(roles)}, "run_once": True}
    (roles / "alpha/tasks/restart.yml").write_text('[{"name": "Restart", "debug": {"msg": "it-ran"}}]')
    part = {"name": "Part", "block": [{"name": "Role", kind: {"name": "alpha", "tasks_from": "restart"}}]}
    code, output = play([task, part], hosts="a-1:edge-1")
    assert code == 2 and STRANGER in output and "it-ran" not in output
    code, output = play([task, part], hosts="a-1")
    assert code == 0 and "it-ran" in output


def test_common_roles_are_for_any_host(play, roles):
    (roles / "host_baseline/tasks").mkdir(parents=True)
    (roles / "host_baseline/tasks/main.yml").write_text("[]")
    task = {"name": "Check", "selfhosted.ec2.preflight": {"roles_path": str(roles), "roles": ["host_baseline"]}}
    assert play([task], hosts="a-1:edge-1")[0] == 0


def test_names_of_the_description_are_known_before_there_is_a_host(play, inventory):
    inventory.write_text("all: {vars: {platform_name: trading, platform_domian: x, alpha_prot: 1}}")
    task = {"name": "Check", "selfhosted.ec2.preflight": {"description_only": True}}
    code, output = play([task], hosts="localhost")
    assert code == 2 and "platform_domian is set" in output and "did you mean platform_domain? [localhost]" in output
    inventory.write_text("all: {vars: {platform_name: trading, alpha_prot: 1}}")
    assert play([task], hosts="localhost")[0] == 0


def test_a_play_of_localhost_checks_the_roles_that_speak_to_aws(play, inventory):
    wrong = "aws_object_storage_log_days: 0, aws_object_storage_buckts: [], postgresql_prt: 1"
    inventory.write_text(f"all: {{vars: {{platform_name: trading, platform_region: eu-west-1, {wrong}}}}}")
    code, output = play([{"name": "Check", "selfhosted.ec2.preflight": {}}], hosts="localhost")
    assert code == 2
    assert "aws_object_storage_log_days is 0; give 1 day or more. [localhost]" in output
    assert "aws_object_storage_buckts is set" in output and "did you mean aws_object_storage_buckets?" in output
    assert "postgresql_prt is set" in output


def test_a_role_that_speaks_to_aws_is_played_on_localhost_only(check, roles):
    tasks = roles / "aws_beta" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text("[]")
    code, output = check(wanted=["aws_beta"])
    assert code == 2
    assert "Role aws_beta would be played on a host that is not in its group localhost" in output

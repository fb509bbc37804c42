from __future__ import annotations

import pytest

SECRET = "S3cret-{{ 1 + 1 }}-value"


@pytest.fixture
def read(play, roles):
    """Return a function that reads the secrets and shows how many characters the password has."""

    def run(*arguments, options=None, **variables):
        tasks = [
            {
                "name": "Read",
                "selfhosted.ec2.platform_secrets": {
                    "platform": "{{ platform_name }}",
                    "region": "{{ platform_region }}",
                    "roles_path": str(roles),
                    **(options or {}),
                },
                "register": "__read",
                "run_once": True,
            },
            {
                "name": "Give",
                "set_fact": {"platform_secrets": "{{ __read.secrets }}"},
                "run_once": True,
                "no_log": True,
            },
            {"name": "Count", "debug": {"msg": "{{ inventory_hostname }} has {{ platform_secrets | length }}"}},
            {"name": "Compare", "assert": {"that": "platform_secrets['alpha/password'] | length == 24"}},
        ]
        return play(tasks, *arguments, variables=variables)

    return run


def put(cloud, *names):
    for name in names:
        cloud("ssm").put_parameter(Name=f"/trading/{name}", Value=SECRET, Type="SecureString")


def test_all_hosts_get_all_secrets_and_nothing_is_shown(read, cloud):
    put(cloud, "alpha/password", *(f"more/{n}" for n in range(22)))
    for mode in ((), ("--check",)):
        code, output = read("-vvv", *mode)
        assert code == 0, output
        assert all(f"a-{n} has 23" in output for n in (1, 2, 3))
        assert "S3cret" not in output


def test_a_missing_secret_is_named_with_what_may_replace_it(read, cloud):
    code, output = read(options={"require": ["ca/key"]})
    assert code == 2
    assert "The secrets /trading/alpha/password (or set alpha_password), /trading/ca/key are not in SSM" in output


def test_a_secret_is_not_needed_where_its_variable_is_set(read, cloud):
    put(cloud, "other/one")
    code, output = read(alpha_password="from the vault")
    assert "are not in SSM" not in output and "a-1 has 1" in output
    assert code == 2  # The comparison: there is no such secret.


def test_a_secret_that_only_the_inventory_reads_must_have_been_made(read, cloud):
    put(cloud, "alpha/password")
    users = [{"name": "ana", "password": "{{ platform_secrets['users/ana'] }}"}]
    code, output = read(alpha_users=users, alpha_other="{{ platform_secrets['users/none'] | default('') }}")
    assert code == 2
    assert (
        "The secret /trading/users/ana (read by alpha_users) is not in SSM Parameter Store;"
        " add it to platform_extra_secrets and run the provision playbook" in output
    )
    code, output = read(alpha_extra_users=users)
    assert code == 0, output  # No host has the role alpha_extra.
    put(cloud, "users/ana")
    code, output = read(alpha_users=users)
    assert code == 0, output


def test_a_failing_endpoint_is_one_readable_sentence(read, cloud, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    code, output = read()
    assert code == 2
    assert "The secrets below /trading/ cannot be read: ssm:GetParametersByPath in eu-west-1 failed" in output

"""A secret that shall have the value of another one."""

from __future__ import annotations

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import ssm_secrets


class Ssm:
    """Parameters in memory."""

    def __init__(self, **values):
        self.values, self.written = {f"/trading/{name}": value for name, value in values.items()}, []

    def pages(self, _operation, _key, **_arguments):
        return [{"Name": name} for name in self.values]

    def call(self, operation, **arguments):
        if operation == "get_parameter":
            return {"Parameter": {"Value": self.values[arguments["Name"]]}}
        assert operation == "put_parameter" and arguments["Type"] == "SecureString"
        assert arguments["Overwrite"] == (arguments["Name"] in self.values)
        self.written.append(arguments["Name"])
        self.values[arguments["Name"]] = arguments["Value"]
        return {}


def run(ssm, *secrets, check_mode=False):
    shape = {"kind": "random", "common_name": None, "length": 32, "alphabet": None, "value": None, "replace": False}
    params = {"path": "/trading", "state": "present", "tags": {"a": "b"}, "common_name": "CA"}
    return ssm_secrets.manage({**params, "secrets": [{**shape, **item} for item in secrets]}, ssm, check_mode)


def test_a_copy_is_written_where_it_differs_and_its_value_is_not_told():
    ssm = Ssm(old="former", new="secret", same="secret")
    wanted = [{"name": name, "copy_of": "new"} for name in ("old", "same", "absent")]
    found = run(ssm, *wanted, check_mode=True)
    assert (found["replaced"], found["created"], ssm.written) == (["old"], ["absent"], [])
    found = run(ssm, *wanted)
    assert ssm.written == ["/trading/old", "/trading/absent"] and set(ssm.values.values()) == {"secret"}
    assert "secret" not in str(found)
    assert not run(ssm, *wanted)["changed"]


def test_a_copy_of_no_name_is_refused():
    with pytest.raises(aws.AwsError, match=r"The secret a cannot be a copy of '/b', which is no name\."):
        run(Ssm(), {"name": "a", "copy_of": "/b"})

"""The plan of IAM: refusals, equal means no write, the plan applied gives what is wanted."""

import copy
import random

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, iam_plan, iam_policy, steps
from ansible_collections.selfhosted.ec2.plugins.modules import iam_service_roles

ACCOUNT = "123456789012"
QUOTAS = {"trust_characters": 2048, "attached_policies": 10}
READ = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:{partition}:s3:::t-{account}/*"}],
}


def options(**given):
    checked = ArgumentSpecValidator(iam_service_roles.argument_spec()).validate({"path": "/t/", **given})
    assert not checked.error_messages
    return checked.validated_parameters


def role(name="a", **more):
    return {"name": name, "services": ["ec2.amazonaws.com"], **more}


def rights(sid="", actions=("s3:GetObject",)):
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [{"Sid": sid, **statement} if sid else statement]}


class Iam:
    """IAM with its quotas and conflicts, as far as the plan uses it."""

    def __init__(self):
        self.roles, self.policies, self.groups, self.profiles, self.calls = {}, {}, {}, {}, []

    def call(self, operation, **given):
        self.calls.append(operation)
        getattr(self, operation)(**given)

    def need(self, condition, code):
        if not condition:
            raise aws.AwsError(code, code)

    def target(self, given):
        return self.roles[given["RoleName"]] if "RoleName" in given else self.groups[given["GroupName"]]

    def create_policy(self, **given):
        arn = f"arn:aws:iam::{ACCOUNT}:policy{given['Path']}{given['PolicyName']}"
        self.need(arn not in self.policies, "EntityAlreadyExists")
        self.policies[arn] = {"given": given, "versions": {"v1": given["PolicyDocument"]}, "default": "v1", "next": 2}

    def create_policy_version(self, PolicyArn, PolicyDocument, SetAsDefault):
        policy = self.policies[PolicyArn]
        self.need(len(policy["versions"]) < 5, "LimitExceeded")
        name = f"v{policy['next']}"
        policy["versions"][name], policy["default"], policy["next"] = PolicyDocument, name, policy["next"] + 1

    def set_default_policy_version(self, PolicyArn, VersionId):
        self.policies[PolicyArn]["default"] = VersionId

    def delete_policy_version(self, PolicyArn, VersionId):
        self.need(self.policies[PolicyArn]["default"] != VersionId, "DeleteConflict")
        del self.policies[PolicyArn]["versions"][VersionId]

    def delete_policy(self, PolicyArn):
        used = any(PolicyArn in item["attached"] for item in [*self.roles.values(), *self.groups.values()])
        bounds = any(item["boundary"] == PolicyArn for item in self.roles.values())
        self.need(not used and not bounds and len(self.policies[PolicyArn]["versions"]) == 1, "DeleteConflict")
        del self.policies[PolicyArn]

    def create_role(self, **given):
        self.need(given["RoleName"] not in self.roles, "EntityAlreadyExists")
        boundary = given.get("PermissionsBoundary", "")
        self.need(not boundary or boundary in self.policies, "NoSuchEntity")
        tags = {tag["Key"]: tag["Value"] for tag in given.get("Tags", [])}
        self.roles[given["RoleName"]] = {
            "given": dict(given), "attached": [], "inline": {}, "boundary": boundary, "tags": tags,
        }  # fmt: skip

    def update_assume_role_policy(self, RoleName, PolicyDocument):
        self.roles[RoleName]["given"]["AssumeRolePolicyDocument"] = PolicyDocument

    def update_role(self, RoleName, Description, MaxSessionDuration):
        self.roles[RoleName]["given"].update(Description=Description, MaxSessionDuration=MaxSessionDuration)

    def put_role_permissions_boundary(self, RoleName, PermissionsBoundary):
        self.need(PermissionsBoundary in self.policies, "NoSuchEntity")
        self.roles[RoleName]["boundary"] = PermissionsBoundary

    def delete_role_permissions_boundary(self, RoleName):
        self.roles[RoleName]["boundary"] = ""

    def tag_role(self, RoleName, Tags):
        self.roles[RoleName]["tags"].update({tag["Key"]: tag["Value"] for tag in Tags})

    def untag_role(self, RoleName, TagKeys):
        for key in TagKeys:
            del self.roles[RoleName]["tags"][key]

    def put_role_policy(self, **given):
        target, kind = self.target(given), "role" if "RoleName" in given else "group"
        target["inline"][given["PolicyName"]] = given["PolicyDocument"]
        size = sum(iam_policy.size(text) for text in target["inline"].values())
        self.need(size <= iam_policy.INLINE_CHARACTERS[kind], "LimitExceeded")

    def delete_role_policy(self, **given):
        del self.target(given)["inline"][given["PolicyName"]]

    def attach_role_policy(self, **given):
        target = self.target(given)
        self.need(given["PolicyArn"] in self.policies or ":aws:policy/" in given["PolicyArn"], "NoSuchEntity")
        target["attached"].append(given["PolicyArn"])
        self.need(len(target["attached"]) <= 10, "LimitExceeded")

    def detach_role_policy(self, **given):
        self.target(given)["attached"].remove(given["PolicyArn"])

    put_group_policy, delete_group_policy = put_role_policy, delete_role_policy
    attach_group_policy, detach_group_policy = attach_role_policy, detach_role_policy

    def delete_role(self, RoleName):
        entry = self.roles[RoleName]
        held = RoleName in self.profiles.values()
        self.need(not entry["attached"] and not entry["inline"] and not held, "DeleteConflict")
        del self.roles[RoleName]

    def create_group(self, GroupName, Path):
        self.groups[GroupName] = {"path": Path, "attached": [], "inline": {}}

    def delete_group(self, GroupName):
        entry = self.groups[GroupName]
        self.need(not entry["attached"] and not entry["inline"], "DeleteConflict")
        del self.groups[GroupName]

    def create_instance_profile(self, InstanceProfileName, Path, Tags=()):
        self.need(InstanceProfileName not in self.profiles, "EntityAlreadyExists")
        self.profiles[InstanceProfileName] = ""

    def add_role_to_instance_profile(self, InstanceProfileName, RoleName):
        self.need(not self.profiles[InstanceProfileName], "LimitExceeded")
        self.profiles[InstanceProfileName] = RoleName

    def remove_role_from_instance_profile(self, InstanceProfileName, RoleName):
        self.need(self.profiles[InstanceProfileName] == RoleName, "NoSuchEntity")
        self.profiles[InstanceProfileName] = ""

    def delete_instance_profile(self, InstanceProfileName):
        self.need(not self.profiles.pop(InstanceProfileName), "DeleteConflict")

    def held(self):
        """Return what is there as the three lists of the API say it."""

        def attached(entry):
            return [{"PolicyName": arn.rsplit("/", 1)[-1], "PolicyArn": arn} for arn in entry["attached"]]

        def inline(entry):
            return [{"PolicyName": name, "PolicyDocument": text} for name, text in entry["inline"].items()]

        details = {"RoleDetailList": [], "GroupDetailList": [], "Policies": []}
        for name, entry in self.roles.items():
            profiles = [profile for profile, holder in self.profiles.items() if holder == name]
            details["RoleDetailList"].append({
                "RoleName": name, "Arn": f"arn:aws:iam::{ACCOUNT}:role/t/{name}", "Path": "/t/",
                "AssumeRolePolicyDocument": entry["given"]["AssumeRolePolicyDocument"],
                "RolePolicyList": inline(entry), "AttachedManagedPolicies": attached(entry),
                "PermissionsBoundary": {"PermissionsBoundaryArn": entry["boundary"]} if entry["boundary"] else None,
                "InstanceProfileList": [{"InstanceProfileName": profile, "Path": "/t/"} for profile in profiles],
                "Tags": [{"Key": key, "Value": value} for key, value in entry["tags"].items()],
            })  # fmt: skip
        for name, entry in self.groups.items():
            details["GroupDetailList"].append({
                "GroupName": name, "Arn": f"arn:aws:iam::{ACCOUNT}:group/t/{name}", "Path": "/t/",
                "GroupPolicyList": inline(entry), "AttachedManagedPolicies": attached(entry),
            })  # fmt: skip
        for arn, entry in self.policies.items():
            users = [*self.roles.values(), *self.groups.values()]
            details["Policies"].append({
                "PolicyName": arn.rsplit("/", 1)[-1], "Arn": arn, "Path": "/t/",
                "Description": entry["given"].get("Description", ""),
                "AttachmentCount": sum(arn in user["attached"] for user in users),
                "PermissionsBoundaryUsageCount": sum(user["boundary"] == arn for user in self.roles.values()),
                "PolicyVersionList": [
                    {"VersionId": version, "Document": text, "IsDefaultVersion": version == entry["default"]}
                    for version, text in entry["versions"].items()
                ],
            })  # fmt: skip
        roles = [
            {"RoleName": name, "Description": entry["given"].get("Description"),
             "MaxSessionDuration": entry["given"]["MaxSessionDuration"]}
            for name, entry in self.roles.items()
        ]  # fmt: skip
        profiles = [
            {"InstanceProfileName": name, "Path": "/t/", "Roles": [{"RoleName": holder}] if holder else []}
            for name, holder in self.profiles.items()
        ]
        return iam_plan.held(details, roles, profiles)

    def run(self, params, stop=None):
        """Converge, perhaps only the first I(stop) steps; return the plan."""
        want, have = iam_plan.desired(params, ACCOUNT), self.held()
        removed = iam_plan.to_remove(want, have, params["prune"])
        removed["profiles"] = iam_plan.empty_profiles(want, have, params["prune"], removed)
        assert iam_plan.conflicts(want, have, ACCOUNT, removed, params["prune"]) == []
        plan = iam_plan.plan(want, have, removed)
        difference = iam_plan.difference(want, have, removed)
        assert difference["before"] != difference["after"] or all(
            "version" in step.text or "profile" in step.text for step in plan
        )
        steps.run(plan[:stop], self, {})
        return plan


def some(chance):
    """Return options that make sense, by chance."""
    names = ["a", "b", "c", "d"]
    actions = ["s3:GetObject", "s3:PutObject", "ec2:*"]
    policies = [
        {"name": f"p{name}", "document": rights(actions=chance.sample(actions, 2))}
        for name in names
        if chance.random() < 0.6
    ]
    made = [policy["name"] for policy in policies]

    def entry(name):
        amount = chance.choice([1, 9000])
        inline = {n: rights("x" * amount) for n in chance.sample(["i", "j", "k"], 1 if amount > 1 else 2)}
        managed = chance.sample(
            [*made, *(f"arn:aws:iam::aws:policy/P{number}" for number in range(14))], chance.randint(0, 10)
        )
        return {"name": name, "inline_policies": inline, "managed_policies": managed}

    roles = []
    profiles = chance.sample(["x", "y", "z", "w"], 4)
    for name in names:
        if chance.random() < 0.7:
            more = {"instance_profiles": [profiles.pop()]} if chance.random() < 0.7 else {"instance_profiles": []}
            boundary = chance.choice([*made, ""])
            roles.append({
                **role(name), **entry(name), **more, "permissions_boundary": boundary,
                "description": chance.choice(["", "d"]), "max_session_duration": chance.choice([3600, 7200]),
                "tags": {key: chance.choice("12") for key in chance.sample("uvw", 2)},
            })  # fmt: skip
    groups = [{**entry(name), "inline_policies": {"i": rights()}} for name in names if chance.random() < 0.5]
    return options(roles=roles, policies=policies, groups=groups, prune={"path": "/t/"})


@pytest.mark.parametrize("seed", range(50))
def test_the_plan_applied_gives_what_is_wanted_also_after_an_interruption(seed):
    chance = random.Random(seed)  # noqa: S311
    iam = Iam()
    for _change in range(4):
        params = some(chance)
        assert iam_plan.faults(params, QUOTAS) == []
        plan = iam.run(params, stop=chance.randint(0, 12))
        iam.run(params)
        assert iam.run(params) == [], plan
    assert set(iam.roles) == {entry["name"] for entry in params["roles"]}
    assert {name: profile for profile, name in iam.profiles.items()} == {
        entry["name"]: entry["instance_profiles"][0] for entry in params["roles"] if entry["instance_profiles"]
    }


def test_nothing_is_left_at_the_end():
    iam = Iam()
    iam.run(some(random.Random(3)))  # noqa: S311
    iam.run(options(prune={"path": "/t/"}))
    assert (iam.roles, iam.policies, iam.groups, iam.profiles) == ({}, {}, {}, {})


def test_what_is_not_ours_stays():
    iam = Iam()
    iam.run(options(roles=[role("a", tags={"team": "x"}), role("b")]))
    assert [step.text for step in iam.run(options(prune={"tags": {"team": "x"}}))] == ["delete the role a"]
    assert iam.run(options(prune={"path": "/t/u/"})) == []


def test_a_policy_gets_versions_and_never_a_sixth():
    iam = Iam()
    for number in range(8):
        iam.run(options(policies=[{"name": "p", "document": rights(f"s{number}")}]))
    (policy,) = iam.policies.values()
    assert len(policy["versions"]) == 5 and policy["default"] == "v8"
    back = iam.run(options(policies=[{"name": "p", "document": rights("s5")}]))
    assert [step.operation for step in back] == ["set_default_policy_version"]


def test_new_rights_come_before_old_ones_end_unless_the_quota_is_full():
    iam = Iam()
    arns = [f"arn:aws:iam::aws:policy/P{number}" for number in range(12)]
    iam.run(options(roles=[role(managed_policies=arns[:2])]))
    plan = iam.run(options(roles=[role(managed_policies=arns[2:4])]))
    assert [step.operation.split("_")[0] for step in plan] == ["attach"] * 2 + ["detach"] * 2
    plan = iam.run(options(roles=[role(managed_policies=arns[:10])]))
    plan = iam.run(options(roles=[role(managed_policies=arns[2:])]))
    assert [step.operation.split("_")[0] for step in plan] == ["detach"] * 2 + ["attach"] * 2


def test_a_boundary_comes_first_and_goes_last():
    iam, policy = Iam(), [{"name": "limit", "document": READ}]
    iam.run(options(policies=policy, roles=[role()]))
    bound = role(permissions_boundary="limit", inline_policies={"i": READ})
    plan = [step.operation for step in iam.run(options(policies=policy, roles=[bound]))]
    assert plan == ["put_role_permissions_boundary", "put_role_policy"]
    plan = [step.operation for step in iam.run(options(policies=policy, roles=[role()]))]
    assert plan == ["delete_role_policy", "delete_role_permissions_boundary"]


def test_a_profile_moves_from_role_to_role():
    iam = Iam()
    iam.run(options(roles=[role("a", instance_profiles=["x"]), role("b", instance_profiles=["y"])]))
    swapped = options(roles=[role("a", instance_profiles=["y"]), role("b", instance_profiles=["x"])])
    iam.run(swapped)
    assert iam.profiles == {"x": "b", "y": "a"} and iam.run(swapped) == []


LONG = rights("x" * 6200)
BAD = [
    ({"roles": [role(services=None)]}, "The role a needs either services or trust."),
    ({"roles": [role(trust=rights())]}, "needs either services or trust"),
    ({"roles": [role("a b")]}, "The role name 'a b' must be 1 to 64"),
    ({"roles": [role("a" * 65)]}, "must be 1 to 64"),
    ({"roles": [role(), role("A")]}, "names are the same whatever their case"),
    ({"roles": [role(path="x")]}, "must begin and end with a slash"),
    ({"roles": [role(path="/aws-service-role/x/")]}, "which is AWS's own"),
    ({"roles": [role(max_session_duration=60)]}, "it must be 3600 to 43200 s"),
    ({"roles": [role(tags={"aws:x": "y"})]}, "has the tag 'aws:x'"),
    ({"roles": [role(tags={"A": "y", "a": "z"})]}, "keys differ by case alone"),
    ({"roles": [role(permissions_boundary="nothing")]}, "the permissions_boundary 'nothing'"),
    ({"roles": [role(managed_policies=["nothing"])]}, "the managed policy 'nothing'"),
    ({"roles": [role(managed_policies=["arn:aws:s3:::b"])]}, "the managed policy 'arn:aws:s3:::b'"),
    (
        {"roles": [role(managed_policies=[f"arn:aws:iam::aws:policy/P{n}" for n in range(11)])]},
        "The role a has 11 managed policies; IAM attaches 10.",
    ),
    ({"roles": [role(inline_policies={"i": rights("x" * 5200), "j": rights("y" * 5000)})]}, "IAM takes 10240 in all"),
    ({"policies": [{"name": "p", "document": LONG}]}, "IAM takes 6144; split it into 2"),
    ({"groups": [{"name": "g", "inline_policies": {"i": rights("x" * 5100)}}]}, "IAM takes 5120 in all"),
    ({"roles": [role(services=None, trust=rights())]}, "may not have a Resource"),
    (
        {"roles": [role(services=[f"{'x' * 40}{number}.amazonaws.com" for number in range(40)])]},
        "IAM takes 2048",
    ),
    (
        {"roles": [role(services=None, trust={"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]})]},
        "lets everybody take it (principal *)",
    ),
    ({"policies": [{"name": "p", "document": {"Statement": []}}]}, "The policy p has no statement."),
    ({"prune": {"path": "/"}}, "everything in the account"),
    ({"prune": {}}, "needs path or tags"),
    ({"roles": [role("a", instance_profiles=["x"]), role("b", instance_profiles=["x"])]}, "it holds one role"),
]  # fmt: skip


@pytest.mark.parametrize("given, words", BAD)
def test_bad_input_is_one_sentence(given, words):
    found = iam_plan.faults(options(**given), QUOTAS)
    assert any(words in fault and fault.endswith(".") for fault in found), found


def test_raised_quotas_count():
    given = options(roles=[role(managed_policies=[f"arn:aws:iam::aws:policy/P{n}" for n in range(11)])])
    assert iam_plan.faults(given, {**QUOTAS, "attached_policies": 20}) == []


def test_conflicts_with_what_is_there():
    iam = Iam()
    iam.run(options(roles=[role("a", instance_profiles=["x"], tags={"platform": "other"})],
                    policies=[{"name": "p", "document": READ, "description": "one"}]))  # fmt: skip
    own = f"arn:aws:iam::{ACCOUNT}:policy/t/missing"
    cases = [
        ({"roles": [role("A")]}, "is there as a"),
        ({"roles": [role("a", path="/u/")]}, "a path cannot be changed"),
        ({"policies": [{"name": "p", "document": READ, "description": "two"}]}, "cannot be changed"),
        ({"policies": [{"name": "P", "document": READ}]}, "is there as"),
        ({"roles": [role("n", managed_policies=[own])]}, "of role n does not exist"),
        ({"roles": [role("n", permissions_boundary=own)]}, "permissions boundary"),
        ({"roles": [role("n", instance_profiles=["x"])]}, "holds the role a, which is not in roles"),
        ({"roles": [role("a")], "prune": {"tags": {"platform": "mine"}}}, "belongs to somebody else"),
    ]
    have = iam.held()
    for given, words in cases:
        params = options(**given)
        want = iam_plan.desired(params, ACCOUNT)
        removed = iam_plan.to_remove(want, have, params["prune"])
        found = iam_plan.conflicts(want, have, ACCOUNT, removed, params["prune"])
        assert any(words in fault for fault in found), (given, found)


def test_a_policy_in_use_elsewhere_is_not_removed():
    iam = Iam()
    iam.run(options(policies=[{"name": "p", "document": READ}]))
    have = iam.held()
    arn = next(iter(have["policies"]))
    have["policies"][arn]["attached"] = 2
    params = options(prune={"path": "/t/"})
    want = iam_plan.desired(params, ACCOUNT)
    removed = iam_plan.to_remove(want, have, params["prune"])
    assert "2 others use it" in iam_plan.conflicts(want, have, ACCOUNT, removed, params["prune"])[0]


def test_the_diff_shows_the_edit_alone():
    iam = Iam()
    params = options(roles=[role(inline_policies={"i": READ, "j": rights()}, tags={"k": "v"})])
    iam.run(params)
    edited = copy.deepcopy(params)
    edited["roles"][0]["inline_policies"]["i"]["Statement"][0]["Action"].append("s3:PutObject")
    want, have = iam_plan.desired(edited, ACCOUNT), iam.held()
    removed = iam_plan.to_remove(want, have, None)
    shown = iam_plan.difference(want, have, removed)
    rows = [set(shown[side].splitlines()) for side in ("before", "after")]
    assert rows[0] - rows[1] == set() and rows[1] - rows[0] == {"      action s3:PutObject"}
    assert "inline policy j" not in shown["after"] and "tags" not in shown["after"]

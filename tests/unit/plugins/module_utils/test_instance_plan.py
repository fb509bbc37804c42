"""The plan of instances without an API: refusals, what a plan touches, and its order."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import instance_plan, platform, steps
from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import AwsError, tag_list
from hypothesis import given, settings
from hypothesis import strategies as st

BLOCK = "-----BEGIN SSH HOST KEY KEYS-----\n{}\n-----END SSH HOST KEY KEYS-----\n"
DESCRIPTION = {
    "name": "t",
    "environment": "e",
    "zones": ["a", "b", "c"],
    "tiers": [
        {
            "name": "db",
            "components": ["etcd"],
            "count": 5,
            "instance_type": "t3.small",
            "volumes": [{"name": "v", "size": 2, "mount": "/v"}, {"name": "w", "size": 3, "mount": "/w"}],
        },
        {"name": "edge", "components": ["haproxy"], "count": 2, "instance_type": "t3.micro", "public_address": True},
    ],
}


def wanted(**more):
    instances = platform.instances(DESCRIPTION)
    return {
        "platform": "t",
        "environment": "e",
        "instances": instances,
        "key_name": "t",
        "images": {slot: {"id": "ami-1", "device": "/dev/xvda", "size": 8} for slot in instances},
        "memory": {"t3.small": 2048, "t3.micro": 1024},
        "remove": [],
        "confirm": [],
        "quorum_tiers": ["db"],
        "start_stopped": False,
        "token": "run",
        "ids": {f"@group/t-{tier}": f"sg-{tier}" for tier in ("db", "edge")},
        **more,
    }


def instance(slot, state="running", **tags):
    want = platform.instances(DESCRIPTION).get(slot) or {"zone": "a", "instance_type": "t3.small", "tags": {}}
    tier = slot.rsplit("-", 1)[0]
    own = {"Name": slot, "tier": tier, **want["tags"], "memory_mib": "2048" if tier == "db" else "1024"}
    own.update({f"volume:{name}": f"vol-{slot}-{name}" for name in want.get("volumes", {})})
    return {
        "InstanceId": f"i-{slot}",
        "InstanceType": want["instance_type"],
        "State": {"Name": state},
        "Placement": {"AvailabilityZone": want["zone"]},
        "SubnetId": "subnet-1",
        "SecurityGroups": [{"GroupId": f"sg-{tier}"}],
        "IamInstanceProfile": {"Arn": f"arn:aws:iam::1:instance-profile/t/t-{tier}"},
        "MetadataOptions": dict(instance_plan.METADATA),
        "BlockDeviceMappings": [],
        "Tags": tag_list({**own, **tags}),
    }


def volume(slot, name, holder="", **more):
    want = platform.instances(DESCRIPTION)[slot]
    return {
        "VolumeId": f"vol-{slot}-{name}",
        "State": "in-use" if holder else "available",
        "Size": want["volumes"][name]["size"],
        "VolumeType": "gp3",
        "Encrypted": True,
        "AvailabilityZone": want["zone"],
        "Attachments": [{"InstanceId": holder, "State": "attached"}] if holder else [],
        "Tags": tag_list({"slot": slot, "volume": name}),
        **more,
    }


def address(slot, holder=""):
    return {
        "AllocationId": f"eipalloc-{slot}",
        "PublicIp": "198.51.100.1",
        "InstanceId": holder,
        "AssociationId": "eipassoc-1" if holder else "",
        "Tags": tag_list({"slot": slot}),
    }


def have(slots, **more):
    """Everything of some slots, as a run would have made it."""
    want = platform.instances(DESCRIPTION)
    known = [slot for slot in slots if slot in want]
    return instance_plan.Have(
        [instance(slot) for slot in slots],
        [volume(slot, name, f"i-{slot}") for slot in known for name in want[slot]["volumes"]],
        [address(slot, f"i-{slot}") for slot in known if want[slot]["public_address"]],
        {f"i-{slot}": True for slot in slots},
        **more,
    )


SLOTS = sorted(platform.instances(DESCRIPTION))


@settings(max_examples=100, deadline=None)
@given(st.sets(st.sampled_from(SLOTS)))
def test_a_plan_makes_what_is_missing_and_touches_nothing_else(existing):
    plan = instance_plan.plan(wanted(), have(sorted(existing)))
    launched = {step.produces.split("/")[1] for step in plan if step.operation == "launch"}
    assert launched == set(SLOTS) - existing
    assert not [step for step in plan if any(f"i-{slot}" in str(step.arguments) for slot in existing)]
    assert instance_plan.refusals(wanted(), have(sorted(existing))) == []
    assert set(instance_plan.view(wanted(), have(sorted(existing)))[1]) == launched


@settings(max_examples=50, deadline=None)
@given(st.sets(st.sampled_from(SLOTS)))
def test_every_reference_is_made_before_it_is_used(existing):
    current = have(sorted(existing))
    ids = instance_plan.references(wanted(), current)
    ids.update({f"@subnet/{want['subnet']}": "subnet-1" for want in wanted()["instances"].values()})
    for step in instance_plan.plan(wanted(), current):
        steps.resolve(step.arguments, ids)
        if step.produces:
            ids[step.produces] = "id-1"


def test_instances_that_end_are_no_slots_and_their_volumes_are_waited_for():
    current = instance_plan.Have(
        [instance("db-1", "shutting-down")], [volume("db-1", "v", "i-db-1"), volume("db-1", "w")], []
    )
    assert current.instances == {}
    plan = [s for s in instance_plan.plan(wanted(), current) if s.text.startswith("db-1")]
    assert [step.operation for step in plan] == [
        "launch",
        "wait_volumes",
        "attach_volume",
        "attach_volume",
        "wait_attached",
    ]
    devices = [step.arguments["Device"] for step in plan if step.operation == "attach_volume"]
    assert devices == ["/dev/sdf", "/dev/sdg"]


def test_launches_are_encrypted_tagged_and_idempotent_within_a_run():
    plan = instance_plan.plan(wanted(), have([]))
    arguments = next(step.arguments for step in plan if step.operation == "launch")
    assert arguments["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert arguments["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
    }
    assert arguments["DisableApiTermination"] is True
    tags = {tag["Key"]: tag["Value"] for tag in arguments["TagSpecifications"][0]["Tags"]}
    assert tags["Name"] == "db-1" and tags["volume:v"] == "@volume/db-1/v" and tags["components"] == "etcd"
    tokens = [step.arguments["ClientToken"] for step in plan if "ClientToken" in step.arguments]
    assert len(set(tokens)) == len(tokens) and max(map(len, tokens)) <= 64
    again = instance_plan.plan(wanted(), have([]))
    assert tokens == [step.arguments["ClientToken"] for step in again if "ClientToken" in step.arguments]


@pytest.mark.parametrize(
    "instances, volumes, words",
    [
        ([instance("db-1"), {**instance("db-1"), "InstanceId": "i-2"}], [], "i-db-1 and i-2 both claim db-1"),
        ([], [volume("db-1", "v", Encrypted=False)], "is not encrypted"),
        ([], [volume("db-1", "v", Size=9)], "has 9 GiB and cannot shrink to 2"),
        ([], [volume("db-1", "v", AvailabilityZone="c")], "lies in c, the slot in a"),
        ([instance("db-2")], [volume("db-1", "v", "i-db-2")], "is attached to db-2"),
        ([instance("db-9")], [], "db-9 exists (i-db-9) but is not described"),
    ],
)
def test_refusals(instances, volumes, words):
    found = instance_plan.refusals(wanted(), instance_plan.Have(instances, volumes, []))
    assert any(words in sentence for sentence in found), found


def test_a_removal_ends_protection_and_address_but_no_volume():
    current = have([*SLOTS, "db-6", "db-7"])
    extra = ["db-6", "db-7"]
    told = wanted(remove=extra, confirm=extra)
    assert instance_plan.refusals(told, current) == []
    operations = [step.operation for step in instance_plan.plan(told, current)]
    assert operations == ["modify_instance_attribute"] * 2 + ["terminate_instances", "wait_terminated"]


@pytest.mark.parametrize(
    "console, key",
    [
        (BLOCK.format("ssh-rsa AAAAB3 root@x\nssh-ed25519 AAAAC3Nz root@x"), "ssh-ed25519 AAAAC3Nz"),
        ("ssh-ed25519 AAAAEvil user@x\n" + BLOCK.format("ssh-ed25519 AAAAGood root@x"), "ssh-ed25519 AAAAGood"),
        (BLOCK.format("ssh-rsa AAAAB3 root@x"), ""),
        ("ssh-ed25519 AAAAC3Nz root@x", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_host_key(console, key):
    assert instance_plan.host_key(console) == key


# Steps


class Client:
    def __init__(self, *errors):
        self.errors, self.done = list(errors), []

    def call(self, operation, **arguments):
        self.done.append((operation, arguments))
        if self.errors:
            raise AwsError("ec2:X failed.", self.errors.pop(0))
        return {"Thing": [{"Id": "new-1"}]}


def test_steps_hand_ids_on():
    client = Client()
    plan = [
        steps.Step("make", "create", {}, "@thing/a", ("Thing", 0, "Id")),
        steps.Step("use", "use", {"Ids": ["@thing/a", "@old"], "Tags": [{"Value": "@thing/a"}]}),
    ]
    ids = steps.run(plan, client, {"@old": "old-1"})
    assert client.done[1] == ("use", {"Ids": ["new-1", "old-1"], "Tags": [{"Value": "new-1"}]})
    assert ids["@thing/a"] == "new-1"


def test_a_step_that_fails_says_what_was_to_be_done():
    with pytest.raises(AwsError, match="To make a thing failed: ec2:X failed."):
        steps.run([steps.Step("make a thing", "create", {})], Client("Denied"), {})
    steps.run([steps.Step("take it away", "delete", {}, tolerate=("Gone",))], Client("Gone"), {})


def test_waiting_ends_with_a_sentence():
    class Clock:
        time = 0

        def now(self):
            return self.time

        def sleep(self, seconds):
            self.time += seconds

    clock = Clock()
    with pytest.raises(AwsError, match="Waited 10 s in vain until the moon is full"):
        steps.wait_until(lambda: False, "the moon is full", clock, 10)
    assert 10 < clock.time < 14
    assert steps.wait_until(lambda: "yes", "now", clock, 10) == "yes"


def test_replacement_ends_the_instance_and_keeps_volumes_and_address():
    have = instance_plan.Have([instance("edge-1"), instance("edge-2")], [], [address("edge-1", "i-edge-1")])
    first, left = instance_plan.replacement(wanted(replace=["edge-1"], replace_volumes=False), have)
    assert [step.operation for step in first] == [
        "modify_instance_attribute",
        "terminate_instances",
        "wait_terminated",
    ]
    assert sorted(left.instances) == ["edge-2"]
    assert left.addresses == have.addresses


def test_replacement_sets_old_volumes_aside_and_keeps_what_it_made_itself():
    mine = [*volume("db-1", "w")["Tags"], {"Key": instance_plan.REPLACING_TAG, "Value": "true"}]
    have = instance_plan.Have([], [volume("db-1", "v"), volume("db-1", "w", Tags=mine), volume("db-2", "v")])
    first, left = instance_plan.replacement(wanted(replace=["db-1"], replace_volumes=True), have)
    assert [step.arguments["Resources"] for step in first] == [["vol-db-1-v"]]
    assert sorted(left.volumes) == [("db-1", "w"), ("db-2", "v")]


@pytest.mark.parametrize(("state", "ends"), [("running", False), ("pending", False), ("stopped", True)])
def test_an_instance_of_an_interrupted_replacement_stays_while_it_runs(state, ends):
    have = instance_plan.Have([instance("db-1", state, replacing="true")])
    first, _left = instance_plan.replacement(wanted(replace=["db-1"], replace_volumes=False), have)
    assert bool(first) == ends


def test_replacement_of_two_voters_or_of_an_unknown_slot_is_refused():
    both = instance_plan.replacement_refusals(wanted(replace=["db-1", "db-2"]))
    assert len(both) == 1 and "replace one at a time" in both[0]
    assert (
        "db-9 is to be replaced, but is not described"
        in instance_plan.replacement_refusals(wanted(replace=["db-9"]))[0]
    )
    assert not instance_plan.replacement_refusals(wanted(replace=["edge-1", "edge-2", "db-1"]))

"""Health checks: refusals, canonical settings, what an update sends, and the plan."""

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import dns_edge
from ansible_collections.selfhosted.ec2.plugins.module_utils import health_check_plan as plans
from hypothesis import given, settings
from hypothesis import strategies as st

ADDRESS = "54.214.0.7"
CHILD = "11111111-2222-3333-4444-555555555555"


def check(name="edge", kind="HTTPS", **more):
    return {"name": name, "type": kind, **({"ip_address": ADDRESS} if kind in plans.ENDPOINT else {}), **more}


@pytest.mark.parametrize(
    "bad, words",
    [
        (check("a b"), "must have a name"),
        (check(ip_address="10.0.0.1"), "it must be a public address"),
        (check(ip_address="edge"), "it must be a public address"),
        (check(ip_address=None), "needs ip_address or fqdn"),
        (check(kind="TCP"), "needs port, as every check of type TCP"),
        (check(kind="TCP", port=443, path="/"), "has path, which a check of type TCP has not"),
        (check(kind="HTTP_STR_MATCH"), "needs search_string"),
        (check(request_interval=20), "it must be 10 or 30 seconds"),
        (check(failure_threshold=11), "it must be 1 to 10"),
        (check(regions=["eu-west-1"]), "three or more of"),
        (check(fqdn="a b"), "it must be a domain name"),
        (check(kind="CALCULATED", children=["nobody"], health_threshold=1), "a check of this list, or an id"),
        (check(kind="CALCULATED", children=["edge"], health_threshold=1), "children of each other"),
        (check(kind="CLOUDWATCH_METRIC"), "needs alarm"),
        (check(kind="CLOUDWATCH_METRIC", alarm={"name": "x", "region": "eu-west-1"}, port=1), "has port, which"),
    ],
)
def test_bad_checks_are_one_sentence(bad, words):
    (found,) = plans.faults([bad], "trading")
    assert words in found and found.endswith(".")


def test_names_and_owners():
    assert "is there twice" in plans.faults([check(), check()], "trading")[0]
    assert "The owner 'a:b'" in plans.faults([], "a:b")[0]
    assert plans.faults([check(), check("all", "CALCULATED", children=["edge", CHILD], health_threshold=1)], "t") == []


def shown(entry, ids=None, reference="trading:edge:1", identity="id", version=1):
    """The check as the API shows it."""
    return {
        "Id": identity,
        "CallerReference": reference,
        "HealthCheckConfig": plans.config(entry, ids),
        "HealthCheckVersion": version,
    }


def test_defaults_and_spellings_are_no_change():
    held = shown(check())
    held["HealthCheckConfig"].update(ResourcePath="/", Regions=list(reversed(plans.REGIONS)), SearchString="")
    assert plans.plan([check(port=443, enable_sni=True, inverted=False)], "trading", [held], True) == []


def test_what_an_update_sends():
    held = shown(check(path="/old", regions=["us-east-1", "us-west-1", "eu-west-1"], disabled=True), version=4)
    wanted = check(port=8443)
    (step,) = plans.plan([wanted], "trading", [held], False)
    assert plans.words(step) == "update edge: Disabled, Port, Regions, ResourcePath"
    assert plans.update(plans.config(wanted), held) == {
        "HealthCheckId": "id",
        "HealthCheckVersion": 4,
        "Port": 8443,
        "Disabled": False,
        "ResetElements": ["Regions", "ResourcePath"],
    }


def test_what_cannot_be_changed_makes_a_new_check_and_the_old_one_goes_last():
    held = [shown(check())]
    wanted = [check(request_interval=10)]
    assert [step["action"] for step in plans.plan(wanted, "trading", held, False)] == ["create"]
    assert [step["action"] for step in plans.plan(wanted, "trading", held, True)] == ["create", "delete"]


def test_checks_of_others_are_never_touched():
    held = [shown(check(), reference="other:edge:1"), shown(check(), reference="by hand", identity="2")]
    linked = {**shown(check(), identity="3"), "LinkedService": {"ServicePrincipal": "x"}}
    assert plans.plan([], "trading", [*held, linked], True) == []


NAMES = ["a", "b", "c"]
CHECKS = st.lists(
    st.builds(
        lambda name, kind, port, path, interval, down: check(
            name, kind, port=port, request_interval=interval, disabled=down, **({"path": path} if kind != "TCP" else {})
        ),
        st.sampled_from(NAMES),
        st.sampled_from(["HTTPS", "HTTP", "TCP"]),
        st.integers(1, 3),
        st.sampled_from([None, "/", "/x"]),
        st.sampled_from([10, 30, None]),
        st.sampled_from([None, True, False]),
    ),
    max_size=3,
    unique_by=lambda entry: entry["name"],
)


def calculated(checks):
    names = [entry["name"] for entry in checks]
    return [*checks, check("all", "CALCULATED", children=names, health_threshold=1)] if names else checks


def apply(steps, wanted, held, serial):
    """Return the checks after the steps, as the front would have them."""
    by_id = {entry["Id"]: {**entry} for entry in held}
    described = {entry["name"]: entry for entry in wanted}
    ids = {name: entry["Id"] for name, entry in plans.choose(wanted, "trading", held).items()}
    for step in steps:
        if step["action"] == "create":
            identity = f"{serial}-{step['name']}"
            ids[step["name"]] = identity
            by_id[identity] = shown(described[step["name"]], ids, f"trading:{step['name']}:{serial}", identity)
        elif step["action"] == "delete":
            del by_id[step["id"]]
        else:
            arguments = plans.update(plans.config(described[step["name"]], ids), by_id[step["id"]])
            entry = by_id[step["id"]]
            changed = {k: v for k, v in arguments.items() if not k.startswith(("HealthCheck", "Reset"))}
            config = {**entry["HealthCheckConfig"], **changed}
            for member in arguments.get("ResetElements", []):
                config.pop(member, None)
            by_id[step["id"]] = {**entry, "HealthCheckConfig": config}
    return list(by_id.values())


@settings(max_examples=50, deadline=None)
@given(CHECKS, CHECKS)
def test_the_plan_applied_gives_what_is_wanted(before, wanted):
    before, wanted = calculated(before), calculated(wanted)
    stranger = shown(check(), reference="other:edge:1", identity="other")
    held = apply(plans.plan(before, "trading", [stranger], True), before, [stranger], 1)
    after = apply(plans.plan(wanted, "trading", held, True), wanted, held, 2)
    assert plans.plan(wanted, "trading", after, True) == []
    assert sorted(plans.name_of(entry, "trading") for entry in after) == sorted(["", *(e["name"] for e in wanted)])


# The edge
EDGE = {"names": ["www.a.example"], "addresses": {"edge-10": "5.5.5.5", "edge-2": "4.4.4.4"}, "ttl": 60}


def test_edges_answer_side_by_side_or_one_after_the_other():
    ids = {"edge-2": "id-2", "edge-10": "id-10"}
    described = [
        {"name": "example"},
        {"name": "a.example", "records": [{"name": "x.a.example", "values": ["1.1.1.1"]}]},
    ]
    _first, second = dns_edge.zones(described, ids, {**EDGE, "routing": "multivalue"})
    assert [r.get("health_check_id") for r in second["records"]] == [None, "id-2", "id-10"]
    assert all(r["multivalue"] for r in second["records"][1:])
    _first, second = dns_edge.zones(described, ids, {**EDGE, "routing": "failover"})
    assert [r.get("failover") for r in second["records"]] == [None, "primary", "secondary"]
    assert [c["name"] for c in dns_edge.checks({**EDGE["addresses"], "edge-1": ""}, {"type": "TCP"})] == [
        "edge-2",
        "edge-10",
    ]


@pytest.mark.parametrize(
    "described, edge, words",
    [
        ([], {}, "lies in none of the zones"),
        ([{"name": "a.example", "private_zone": True}], {}, "lies in none of the zones"),
        ([{"name": "a.example"}], {"addresses": {"edge-1": "5.5.5.5"}, "routing": "failover"}, "needs two edge slots"),
        ([{"name": "a.example", "records": [{"name": "a.example", "health_check": "x"}]}], {"names": []}, "there are"),
    ],
)
def test_bad_descriptions_of_the_edge(described, edge, words):
    with pytest.raises(dns_edge.EdgeError, match=words):
        dns_edge.zones(described, {}, {**EDGE, "routing": "multivalue", **edge})

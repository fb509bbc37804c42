"""Web ACLs: form, checks, canonical comparison, capacity and plan, with statements of every kind to depth five."""

from __future__ import annotations

import copy
import random

import botocore.session
import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import waf_capacity, waf_checks, waf_form, waf_plan
from ansible_collections.selfhosted.ec2.plugins.modules import waf_web_acl
from hypothesis import given, settings
from hypothesis import strategies as st

MODEL = botocore.session.get_session().get_service_model("wafv2")
SHAPES = {name: MODEL.shape_for(name) for name in waf_web_acl.SHAPES}
REGION = "eu-west-1"
ALB = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/edge/0123456789abcdef"
LOG = "arn:aws:logs:eu-west-1:123456789012:log-group:aws-waf-logs-api"
VISIBILITY = waf_form.visibility("api")


def options(**given):
    defaults = {name: spec.get("default") for name, spec in waf_web_acl.argument_spec().items()}
    result = {**defaults, "name": "api", **given}
    for kind, spec in (("ip_sets", "addresses version"), ("rule_groups", "capacity custom_response_bodies")):
        blank = {"description": "", **dict.fromkeys(spec.split())}
        result[kind] = [{**blank, **entry} for entry in result[kind]]
    result["regex_sets"] = [{"description": "", **entry} for entry in result["regex_sets"]]
    if result["logging"]:
        result["logging"] = {"redacted_fields": None, "filter": None, **result["logging"]}
    return result


def rule(name="one", priority=0, action="block", **more):
    statement = more.pop("statement", {"geo_match": {"country_codes": ["NL", "BE"]}})
    return {"name": name, "priority": priority, "action": action, "statement": statement, **more}


def want(**given):
    faults = []
    result = waf_plan.desired(options(**given), SHAPES, faults)
    assert faults == []
    return result


def faults(region=REGION, **given):
    found = []
    wanted = waf_plan.desired(options(**given), SHAPES, found)
    return found or waf_checks.faults(wanted, region)


NOTHING = {
    "arns": {}, "ip_set": {}, "regex_set": {}, "rule_group": {}, "summaries": {}, "acl": None, "logging": None,
    "associated": set(), "foreign": {}, "distributions": {}, "tags": {},
}  # fmt: skip


def applied(plan, before=NOTHING):
    """What an account has after a plan, as AWS would show it."""
    have = copy.deepcopy(before)
    for change in plan.changes:
        operation, parameters = change["operation"], change["parameters"]
        if change["makes"] is not None:
            have["arns"][str(change["makes"])] = f"arn:aws:wafv2:eu-west-1:123456789012:regional/{change['makes']}/id"
        content = waf_plan.resolve(parameters, have["arns"])
        body = {name: value for name, value in content.items() if name not in ("Scope", "Id", "LockToken", "Tags")}
        entry = {"content": body, "id": "id", "token": "token", "arn": have["arns"].get(str(change["makes"]), "")}
        if operation.endswith("web_acl") and operation != "associate_web_acl":
            body.pop("Name")
            have["acl"] = {**entry, "capacity": 1, "arn": have["arns"]["web_acl"]}
        elif operation == "put_logging_configuration":
            have["logging"] = content["LoggingConfiguration"]
        elif operation == "associate_web_acl":
            have["associated"].add(content["ResourceArn"])
        else:
            kind = {"regex_pattern_set": "regex_set"}.get(operation.split("_", 1)[1], operation.split("_", 1)[1])
            held = have[kind].get(content["Name"], {"content": {}})["content"]
            fixed = {key: held[key] for key in ("IPAddressVersion", "Capacity") if key in held}
            have[kind][content["Name"]] = {**entry, "content": {**fixed, **body}}
    return have


# Statements of every kind

TEXTS = st.sampled_from(["/admin", "Select", "é", "x" * 200])
FIELDS = st.sampled_from(
    ["uri_path", "query_string", "method", "all_query_arguments", "body", {"body": {"oversize_handling": "MATCH"}},
     {"single_header": "User-Agent"}, {"json_body": {"match_pattern": "all", "match_scope": "VALUE"}},
     {"cookies": {"match_pattern": {"included_cookies": ["b", "a"]}, "match_scope": "ALL",
                  "oversize_handling": "MATCH"}},
     {"headers": {"match_pattern": "all", "match_scope": "KEY", "oversize_handling": "NO_MATCH"}},
     {"ja3_fingerprint": {"fallback_behavior": "MATCH"}}]
)  # fmt: skip
TRANSFORMATIONS = st.lists(st.sampled_from(["NONE", "LOWERCASE", "URL_DECODE", "CMD_LINE"]), min_size=1, unique=True)
ARN = "arn:aws:wafv2:eu-west-1:123456789012:regional/ipset/x/1"
FORWARDED = {"header_name": "X-Forwarded-For", "fallback_behavior": "MATCH"}


def matching(**more):
    return st.fixed_dictionaries({"field_to_match": FIELDS, "text_transformations": TRANSFORMATIONS, **more})


LEAVES = st.one_of(
    st.builds(lambda v: {"geo_match": {"country_codes": v}},
              st.lists(st.sampled_from(["NL", "BE", "DE"]), min_size=1, unique=True)),
    st.builds(lambda v: {"label_match": {"scope": "LABEL", "key": v}}, st.sampled_from(["a:b", "c"])),
    st.builds(lambda v: {"size_constraint": {**v, "comparison_operator": "GT", "size": 8192}}, matching()),
    st.builds(lambda v: {"sqli_match": v}, matching(sensitivity_level=st.sampled_from(["LOW", "HIGH"]))),
    st.builds(lambda v: {"xss_match": v}, matching()),
    st.builds(lambda v: {"byte_match": v},
              matching(search_string=TEXTS, positional_constraint=st.sampled_from(["EXACTLY", "CONTAINS"]))),
    st.builds(lambda v: {"regex_match": {**v, "regex_string": "^/v[0-9]+/"}}, matching()),
    st.just({"ip_set_reference": {"arn": ARN, "ip_set_forwarded_ip_config": {**FORWARDED, "position": "ANY"}}}),
    st.just({"ip_set_reference": {"name": "blocked"}}),
    st.builds(lambda v: {"regex_pattern_set_reference": {**v, "name": "paths"}}, matching()),
    st.just({"asn_match": {"asn_list": [64512, 64513]}}),
)  # fmt: skip
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda v: {"and": v}, st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda v: {"or": {"statements": v}}, st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda v: {"not": v}, inner),
    ),
    max_leaves=8,
)
STATEMENTS = st.one_of(
    NESTED,
    st.builds(lambda v: {"rate_based": {"limit": 100, "scope_down_statement": v}}, NESTED),
    st.builds(
        lambda v: {"rate_based": {"limit": 10, "evaluation_window_sec": 60, "custom_keys": v}},
        st.lists(st.sampled_from([{"header": "X-Api-Key"}, "ip", "http_method"]), min_size=1, unique_by=str),
    ),
)
GROUPS = st.sampled_from(
    [{"managed_rule_group": {"name": "AWSManagedRulesCommonRuleSet", "version": "Version_1.1",
                             "rule_action_overrides": {"SizeRestrictions_BODY": "count", "Log4J": "captcha"}}},
     {"managed_rule_group": {"name": "AWSManagedRulesSQLiRuleSet", "excluded_rules": ["SQLi_BODY"]}},
     {"rule_group_reference": {"name": "own"}}]
)  # fmt: skip
SETS = {
    "ip_sets": [{"name": "blocked", "addresses": ["192.0.2.0/24", "198.51.100.7/32"]}],
    "regex_sets": [{"name": "paths", "patterns": ["^/a", "^/b"]}],
    "rule_groups": [{"name": "own", "rules": [rule()], "capacity": 10}],
}


@st.composite
def descriptions(draw):
    rules = [rule(f"r{n}", n, statement=s) for n, s in enumerate(draw(st.lists(STATEMENTS, max_size=4)))]
    groups = draw(st.lists(GROUPS, max_size=2))
    rules += [{"name": f"g{n}", "priority": 50 + n, "statement": s} for n, s in enumerate(groups)]
    return {**SETS, "rules": rules, "resources": [ALB], "logging": {"destination": LOG + ":*"}}


def shuffled(value, seed, name=""):
    """The same meaning in another order, as a user or AWS might write it."""
    if isinstance(value, dict):
        keys = list(value)
        seed.shuffle(keys)
        return {key: shuffled(value[key], seed, key) for key in keys}
    if isinstance(value, list):
        items = [shuffled(entry, seed) for entry in value]
        if name in waf_plan.UNORDERED:
            seed.shuffle(items)
        return items
    return value


@settings(max_examples=60, deadline=None)
@given(descriptions(), st.integers(0, 1000))
def test_plan_applied_is_what_was_wanted_in_any_order(description, seed):
    wanted = want(**copy.deepcopy(description))
    assert waf_checks.faults(wanted, REGION) == []
    first = waf_plan.plan(wanted, NOTHING)
    assert first.faults == []
    assert first.changes
    have = applied(first)
    have["acl"]["content"] = shuffled(have["acl"]["content"], random.Random(seed))
    again = waf_plan.plan(wanted, have)
    assert again.changes == []
    assert again.by_hand == []


@settings(max_examples=60, deadline=None)
@given(STATEMENTS)
def test_capacity_question_and_estimate_agree(statement):
    rules = want(rules=[rule(statement=statement)])["acl"]["Rules"]
    least, most = waf_capacity.estimate(rules)
    asked, more = waf_capacity.question(rules, {})
    assert least <= most
    assert waf_capacity.estimate(asked)[1] + more == most
    assert not [ref for ref in waf_plan.references(asked) if isinstance(ref, waf_form.Reference)]


@settings(max_examples=40, deadline=None)
@given(descriptions())
def test_what_the_api_shows_may_be_written_back(description):
    """Names as in the diff, and as in the API, mean the same as the short forms."""
    wanted = want(**copy.deepcopy(description))
    for written in (wanted["acl"]["Rules"], [snaked(entry) for entry in wanted["acl"]["Rules"]]):
        rules = want(**{**SETS, "rules": written})["acl"]["Rules"]
        assert waf_plan.canonical(rules) == waf_plan.canonical(wanted["acl"]["Rules"])


def snaked(value):
    if isinstance(value, dict):
        return {waf_form.snake(key): snaked(inner) for key, inner in value.items()}
    return [snaked(entry) for entry in value] if isinstance(value, list) else value


# Planning


def plans(before, after):
    """The plan from one description to another."""
    return waf_plan.plan(want(**after), applied(waf_plan.plan(want(**before), NOTHING)))


def test_one_changed_limit_is_one_entry_of_the_diff():
    before = [rule("a", 1, statement={"rate_based": {"limit": 100}}), rule("b", 2)]
    after = [rule("a", 1, statement={"rate_based": {"limit": 200}}), rule("b", 2)]
    plan = plans({"rules": before}, {"rules": after})
    (change,) = plan.changes
    (entry,) = change["diffs"]
    assert entry["before_header"] == "web ACL api, rule a"
    assert entry["before"]["statement"]["rate_based_statement"]["limit"] == 100
    assert entry["after"]["statement"]["rate_based_statement"]["limit"] == 200


def test_settings_alone_are_a_change():
    for setting in (
        {"visibility_config": {"metric_name": "other"}},
        {"captcha_config": {"immunity_time": 60}},
        {"token_domains": ["a.example.com"]},
        {"custom_response_bodies": {"no": {"content_type": "TEXT_PLAIN", "content": "no"}}},
        {"default_action": "block"},
        {"description": "For the API"},
        {"association_config": {"request_body": {"API_GATEWAY": {"default_size_inspection_limit": "KB_32"}}}},
    ):
        plan = plans({"rules": [rule()]}, {"rules": [rule()], **setting})
        assert [change["operation"] for change in plan.changes] == ["update_web_acl"], setting
        assert plan.rules is None


def test_what_was_made_by_hand_is_kept_or_replaced():
    described = {"rules": [rule("a", 1)], "ip_sets": [{"name": "s", "addresses": ["192.0.2.0/24"]}]}
    by_hand = {
        "rules": [rule("a", 1), rule("hand", 2)],
        "ip_sets": [{"name": "s", "addresses": ["192.0.2.0/24", "203.0.113.0/24"]}],
        "captcha_config": {"immunity_time": 60},
    }
    names = ["address 203.0.113.0/24 in the IP set s", "rule hand (priority 2) in the web ACL api",
             "captcha_config of the web ACL api"]  # fmt: skip
    replaced = plans(by_hand, described)
    assert replaced.by_hand == names
    assert [change["operation"] for change in replaced.changes] == ["update_ip_set", "update_web_acl"]
    headers = [entry["before_header"] for entry in replaced.changes[1]["diffs"]]
    assert headers == ["web ACL api", "web ACL api, rule hand"]
    assert "CaptchaConfig" not in replaced.changes[1]["parameters"]
    kept = plans(by_hand, {**described, "by_hand": "keep"})
    assert (kept.by_hand, kept.changes) == (names, [])
    edited = plans(by_hand, {**described, "rules": [rule("a", 1, "count")], "by_hand": "keep"})
    parameters = edited.changes[0]["parameters"]
    assert [entry["Name"] for entry in parameters["Rules"]] == ["a", "hand"]
    assert parameters["CaptchaConfig"] == {"ImmunityTimeProperty": {"ImmunityTime": 60}}


def test_a_kept_rule_does_not_take_a_described_priority():
    plan = plans({"rules": [rule("hand", 2)]}, {"rules": [rule("a", 2)], "by_hand": "keep"})
    assert plan.faults == [
        "The rule hand was made by hand in the web ACL api with the priority 2 of the rule a;"
        " give the latter another one."
    ]


def test_addresses_of_others_are_left_alone_when_none_are_described():
    held = {"ip_sets": [{"name": "s", "addresses": ["192.0.2.0/24"]}]}
    plan = plans(held, {"ip_sets": [{"name": "s", "addresses": None}]})
    assert (plan.changes, plan.by_hand) == ([], [])


def test_counting_stops_nobody():
    rules = [rule("a", 1), rule("b", 2, "captcha"), rule("c", 3, "allow"), manages("d", priority=4)]
    acl = want(rules=rules, default_action="block", count_only=True)["acl"]
    actions = [entry.get("Action") or entry["OverrideAction"] for entry in acl["Rules"]]
    assert actions == [{"Count": {}}, {"Count": {}}, {"Allow": {}}, {"Count": {}}]
    assert acl["DefaultAction"] == {"Allow": {}}


def test_resources_get_and_lose_the_web_acl():
    other = ALB.replace("edge", "other")
    held = applied(waf_plan.plan(want(resources=[ALB, other]), NOTHING))
    keeping = waf_plan.plan(want(resources=[ALB]), held)
    assert (keeping.changes, keeping.by_hand) == ([], [f"resource {other} of the web ACL api"])
    purging = waf_plan.plan(want(resources=[ALB], purge_resources=True), held)
    assert [change["operation"] for change in purging.changes] == ["disassociate_web_acl"]
    moved = waf_plan.plan(want(resources=[ALB]), {**NOTHING, "foreign": {ALB: "theirs"}})
    assert moved.changes[-1]["diffs"][0]["before"] == {"web_acl": "theirs"}


def test_prune_spares_what_is_used_or_described():
    summaries = [{"Name": f"api-{n}", "Id": "i", "ARN": f"{ARN}{n}", "LockToken": "t"} for n in ("used", "old", "own")]
    summaries.append({**summaries[0], "Name": "theirs", "ARN": ARN + "theirs"})
    have = {**NOTHING, "summaries": {"ip_set": summaries}, "arns": {"ip_set/api-used": f"{ARN}used"}}
    wanted = want(
        prune_prefix="api-",
        ip_sets=[{"name": "api-own", "addresses": []}],
        rules=[rule(statement={"ip_set_reference": {"name": "api-used"}})],
    )
    changes = waf_plan.plan(wanted, have).changes
    assert [c["parameters"]["Name"] for c in changes if c["operation"].startswith("delete")] == ["api-old"]


# Refusals


def manages(name, **more):
    return {"name": name, "statement": {"managed_rule_group": {"name": "AWSManagedRulesCommonRuleSet"}}, **more}


def one(statement):
    return {"rules": [rule(statement=statement)]}


def blocks(*addresses):
    return {"ip_sets": [{"name": "s", "addresses": list(addresses)}]}


REFUSED = {
    "priority": ({"rules": [rule("a", 1), rule("b", 1)]}, "the rules a and b both have the priority 1"),
    "name": ({"rules": [rule("a", 1), rule("a", 2)]}, "there are two rules named a"),
    "capacity": ({"rules": [manages(f"m{n}", priority=n) for n in range(8)]}, "needs at least 5600 WCU; 5000"),
    "scope": ({"scope": "CLOUDFRONT"}, "works in the region us-east-1 only, not in eu-west-1"),
    "everything": (blocks("0.0.0.0/0"), "AWS WAF does not take /0"),
    "host bits": (blocks("192.0.2.1/24"), "must be a block such as 192.0.2.0/24"),
    "no address": (blocks("office"), "has 'office'; it must be a block"),
    "families": (blocks("192.0.2.0/24", "2001:db8::/32"), "holds IPV4 and IPV6"),
    "log name": ({"logging": {"destination": LOG.replace("aws-waf-", "")}}, "whose name begins with aws-waf-logs-"),
    "log ARN": ({"logging": {"destination": "aws-waf-logs-x"}}, "must be the ARN of a log group"),
    "statement": (one({"geo": {"country_codes": ["NL"]}}), "did you mean geo_match"),
    "member": (one({"geo_match": {"countries": ["NL"]}}), "did you mean country_codes"),
    "two kinds": (one({"geo_match": {"country_codes": ["NL"]}, "not": {}}), "has 2 members"),
    "country": (one({"geo_match": {"country_codes": ["XX"]}}), "country_codes 1 is 'XX'"),
    "lone and": (one({"and": [rule()["statement"]]}), "at least two are needed"),
    "nested rate": (one({"not": {"rate_based": {"limit": 100}}}), "cannot stand inside another"),
    "window": (one({"rate_based": {"limit": 100, "evaluation_window_sec": 90}}), "is 90; it must"),
    "limit": (one({"rate_based": {"limit": 5}}), "limit is 5; it must be 10 to 2000000000"),
    "constant": (one({"rate_based": {"limit": 50, "aggregate_key_type": "CONSTANT"}}), "scope_down"),
    "action": ({"rules": [rule(action="deny")]}, "action is 'deny'"),
    "group action": ({"rules": [{**manages("m", priority=1), "action": "block"}]}, "must have override_action"),
    "group in group": ({"rule_groups": [{"name": "g", "rules": [manages("m", priority=1)]}]}, "a rule group cannot"),
    "body": ({"rules": [rule(action={"block": {"custom_response": {"response_code": 403,
                                                                   "custom_response_body_key": "x"}}})]},
             "which custom_response_bodies does not have"),
    "search": (one({"byte_match": {"search_string": "x" * 201, "field_to_match": "method",
                                                         "positional_constraint": "EXACTLY"}}), "has 201 bytes"),
    "description": ({"description": "what (for)?"}, "description is 'what (for)?'; it must match"),
    "patterns": ({"regex_sets": [{"name": "r", "patterns": ["x"] * 11}]}, "has 11 patterns"),
    "NLB": ({"resources": [ALB.replace("/app/", "/net/")]}, "only an Application Load Balancer can"),
    "distribution": ({"resources": ["arn:aws:cloudfront::123456789012:distribution/E1"]}, "needs the scope CLOUDFRONT"),
    "region": ({"resources": [ALB.replace("eu-west-1", "eu-west-2")]}, "it is in eu-west-2, the web ACL in eu-west-1"),
    "instance": ({"resources": ["arn:aws:rds:eu-west-1:123456789012:db:x"]}, "AWS WAF protects"),
    "twice": ({"ip_sets": [{"name": "s", "addresses": []}] * 2}, "The IP set s is there twice"),
    "references": ({"rules": [rule(f"r{n}", n, statement={"ip_set_reference": {"arn": ARN}}) for n in range(51)]},
                   "51 references"),
    "group size": ({"rule_groups": [{"name": "g", "rules": [rule()], "capacity": 6000}]}, "has the capacity 6000"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_one_sentence(case):
    given_options, sentence = REFUSED[case]
    found = faults(**given_options)
    assert len([text for text in found if sentence in text]) == 1, found
    assert all(text.endswith(".") for text in found)


def test_unknown_references_and_fixed_members_are_refused():
    rules = [rule(statement={"not": {"ip_set_reference": {"name": "nowhere"}}})]
    plan = waf_plan.plan(want(rules=rules), NOTHING)
    assert plan.faults == ["A rule refers to the ip_set 'nowhere', which is neither described nor there."]
    held = blocks("192.0.2.0/24")
    assert "cannot change; use another name" in plans(held, blocks("2001:db8::/32")).faults[0]
    groups = [{"rule_groups": [{"name": "g", "rules": [rule()], "capacity": size}]} for size in (10, 20)]
    assert "has the capacity 10, which cannot become 20" in plans(*groups).faults[0]


def test_capacity_counts_what_the_guide_says():
    def units(statement):
        return waf_capacity.estimate(want(rules=[rule(statement=statement)])["acl"]["Rules"])

    match = {"field_to_match": "uri_path", "search_string": "x"}
    assert units({"byte_match": {**match, "positional_constraint": "EXACTLY"}}) == (2, 2)
    both = {"byte_match": {**match, "positional_constraint": "CONTAINS", "text_transformations": ["LOWERCASE"]}}
    assert units({"or": [both, both]}) == (30, 40)
    assert units({"sqli_match": {"field_to_match": "all_query_arguments", "sensitivity_level": "HIGH"}}) == (40, 40)
    json_body = {"json_body": {"match_pattern": "all", "match_scope": "ALL"}}
    assert units({"xss_match": {"field_to_match": json_body}}) == (80, 80)
    assert units({"rate_based": {"limit": 10, "custom_keys": ["ip", {"header": "x"}]}}) == (62, 62)

"""waf_web_acl against the strict front: calls, repeated and interrupted runs, conflicts, throttles, changes by hand.

The defects meant are those found in other modules for AWS WAF: see docs/waf.md.
"""

from __future__ import annotations

import copy
import uuid

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import waf_web_acl
from botocore.exceptions import ClientError

from lab.aws import waf as front_waf
from lab.aws.rules import wafv2 as front_rules
from tests.integration import docs_example
from tests.integration.front_client import REGION

LOG = f"arn:aws:logs:{REGION}:123456789012:log-group:aws-waf-logs-api"
BODIES = {"refused": {"content_type": "APPLICATION_JSON", "content": '{"error": "refused"}'}}
MATCH = {"field_to_match": "uri_path", "positional_constraint": "STARTS_WITH"}


def rule(name, priority, statement, action="block", **more):
    return {"name": name, "priority": priority, "action": action, "statement": statement, **more}


def description(name, alb):
    """Ten rules, three IP sets, a log and a load balancer."""
    sets = [f"{name}-{part}" for part in ("allowed", "blocked", "office")]
    admin = {"byte_match": {**MATCH, "search_string": "/admin", "text_transformations": ["LOWERCASE", "URL_DECODE"]}}
    outside = {"not": {"ip_set_reference": {"name": sets[2]}}}
    refused = {"block": {"custom_response": {"response_code": 403, "custom_response_body_key": "refused"}}}
    key_rate = {"rate_based": {"limit": 300, "evaluation_window_sec": 60, "custom_keys": [{"header": "X-Api-Key"}]}}
    return {
        "name": name,
        "ip_sets": [
            {"name": sets[0], "addresses": ["192.0.2.0/24"]},
            {"name": sets[1], "addresses": ["198.51.100.0/24", "203.0.113.7/32"]},
            {"name": sets[2], "addresses": ["2001:db8::/32"]},
        ],
        "custom_response_bodies": BODIES,
        "captcha_config": {"immunity_time": 120},
        "token_domains": ["trade.example.com", "api.example.com"],
        "rules": [
            rule("allowed", 0, {"ip_set_reference": {"name": sets[0]}}, "allow"),
            rule("blocked", 1, {"ip_set_reference": {"name": sets[1]}}, refused),
            rule("admin", 2, {"and": [admin, outside]}, labels=["api:admin"]),
            rule("rate", 3, {"rate_based": {"limit": 2000}}),
            rule("rate-key", 4, key_rate),
            rule("size", 5, {"size_constraint": {"field_to_match": "body", "comparison_operator": "GT", "size": 99}}),
            rule("geo", 6, {"or": [{"geo_match": {"country_codes": ["KP", "IR"]}}, {"not": outside}]}, "captcha"),
            rule("sql", 7, {"sqli_match": {"field_to_match": "query_string", "text_transformations": ["URL_DECODE"]}}),
            {"name": "core", "priority": 8, "statement": {
                "managed_rule_group": {"name": "AWSManagedRulesCommonRuleSet", "excluded_rules": ["Agent_HEADER"]}}},
            {"name": "bad-inputs", "priority": 9, "statement": {
                "managed_rule_group": {"name": "AWSManagedRulesKnownBadInputsRuleSet", "version": "Version_1.22"}}},
        ],
        "logging": {
            "destination": f"{LOG}:*",
            "redacted_fields": [{"single_header": "Authorization"}],
            "filter": {"default_behavior": "DROP", "filters": [
                {"behavior": "KEEP", "requirement": "MEETS_ANY",
                 "conditions": [{"action_condition": {"action": "BLOCK"}}]}]},
        },
        "resources": [alb],
    }  # fmt: skip


class World:
    def __init__(self, front):
        self.front = front
        self.waf = front.client("wafv2")
        ec2, self.elb = front.client("ec2"), front.client("elbv2")
        vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        blocks = zip(("10.20.0.0/20", "10.20.16.0/20"), "ab", strict=True)
        self.subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
            for block, zone in blocks
        ]
        self.warnings = []

    def alb(self, kind="application"):
        name = f"lb-{uuid.uuid4().hex[:8]}"
        answer = self.elb.create_load_balancer(Name=name, Subnets=self.subnets, Scheme="internal", Type=kind)
        return answer["LoadBalancers"][0]["LoadBalancerArn"]

    def new(self):
        return description(f"acl-{uuid.uuid4().hex[:8]}", self.alb())

    def run(self, wanted, check=False, connection=None, **more):
        found = ArgumentSpecValidator(waf_web_acl.argument_spec()).validate({**self.front.options, **wanted, **more})
        assert not found.error_messages
        connection = connection or aws.Aws({**self.front.options, **more}, clock=self.front.connection().clock)
        return waf_web_acl.manage(found.validated_parameters, connection, check, self.warnings.append)

    def acl(self, wanted):
        summary = next(s for s in self.waf.list_web_acls(Scope="REGIONAL")["WebACLs"] if s["Name"] == wanted["name"])
        answer = self.waf.get_web_acl(Name=summary["Name"], Id=summary["Id"], Scope="REGIONAL")
        return answer["WebACL"], answer["LockToken"]

    def by_hand(self, wanted, **changes):
        """Change the web ACL as somebody at the console would: read, change, replace."""
        acl, token = self.acl(wanted)
        same = "Name Id DefaultAction Rules VisibilityConfig CustomResponseBodies CaptchaConfig TokenDomains"
        content = {name: acl[name] for name in same.split() if name in acl}
        self.waf.update_web_acl(**{**content, "Scope": "REGIONAL", "LockToken": token, **changes})


@pytest.fixture(scope="module")
def world(front):
    return World(front)


@pytest.fixture
def made(world):
    wanted = world.new()
    world.run(wanted)
    return wanted


def test_new_in_twelve_calls_then_unchanged_in_few(world):
    wanted = world.new()
    planned = world.run(wanted, check=True)
    assert not [name for name in world.front.writes() if name.startswith("wafv2.") and "CheckCapacity" not in name]
    world.front.forget_calls()
    done = world.run(wanted)
    calls = world.front.calls()
    assert sum(calls.values()) <= 12, calls
    assert done["diff"] == planned["diff"]
    assert done["changes"] == planned["changes"]
    world.front.forget_calls()
    again = world.run(wanted)
    assert (again["changed"], again["diff"], again["by_hand"]) == (False, [], [])
    assert sum(world.front.calls().values()) <= 8
    assert world.front.writes() == []
    assert again["web_acl"] == done["web_acl"]


def test_another_order_of_the_same_is_unchanged(world, made):
    other = copy.deepcopy(made)
    other["rules"].reverse()
    other["ip_sets"][1]["addresses"].reverse()
    other["token_domains"].reverse()
    other["rules"][3]["statement"]["or"].reverse()
    other["logging"]["redacted_fields"] = [{"single_header": "authorization"}]
    assert world.run(other)["changes"] == []


def test_the_diff_shows_the_edit_alone(world, made):
    made["rules"][4]["statement"]["rate_based"]["limit"] = 400
    planned = world.run(made, check=True)
    assert [entry["before_header"] for entry in planned["diff"]] == [f"web ACL {made['name']}, rule rate-key"]
    before, after = planned["diff"][0]["before"], planned["diff"][0]["after"]
    before["statement"]["rate_based_statement"]["limit"] = 400
    assert before == after
    world.run(made)
    assert world.run(made)["changed"] is False


def test_what_was_changed_by_hand_is_shown_and_kept_or_replaced(world, made):
    acl, _token = world.acl(made)
    hand = {**acl["Rules"][3], "Name": "hand", "Priority": 70}
    world.by_hand(made, Rules=[*acl["Rules"], hand], ChallengeConfig={"ImmunityTimeProperty": {"ImmunityTime": 600}})
    lines = [
        f"rule hand (priority 70) in the web ACL {made['name']}",
        f"challenge_config of the web ACL {made['name']}",
    ]
    kept = world.run(made, by_hand="keep")
    assert (kept["changed"], kept["by_hand"]) == (False, lines)
    assert kept["diff"][0]["prepared"] == "".join(f"kept, though not described: {line}\n" for line in lines)
    made["rules"][3]["statement"]["rate_based"]["limit"] = 1000
    world.run(made, by_hand="keep")
    acl, _token = world.acl(made)
    assert acl["Rules"][-1]["Name"] == "hand"
    assert acl["ChallengeConfig"] == {"ImmunityTimeProperty": {"ImmunityTime": 600}}
    replaced = world.run(made)
    assert replaced["by_hand"] == lines
    assert [entry["before_header"].split(", ")[-1] for entry in replaced["diff"]] == [
        f"web ACL {made['name']}",
        "rule hand",
    ]
    acl, _token = world.acl(made)
    assert "hand" not in [entry["Name"] for entry in acl["Rules"]]
    assert "ChallengeConfig" not in acl


def test_what_is_described_is_put_back(world, made):
    world.by_hand(made, CaptchaConfig={"ImmunityTimeProperty": {"ImmunityTime": 9999}}, TokenDomains=[])
    assert [change.split()[0] for change in world.run(made, by_hand="keep")["changes"]] == ["update"]
    acl, _token = world.acl(made)
    assert acl["CaptchaConfig"] == {"ImmunityTimeProperty": {"ImmunityTime": 120}}
    assert len(acl["TokenDomains"]) == 2


class Interrupting(aws.Aws):
    """A connection whose first call of an action is preceded by somebody else's deed."""

    def __init__(self, front, action, deed):
        super().__init__(front.options, clock=front.connection().clock)
        self.action, self.deeds = action, [deed]

    def client(self, service, region=None):
        client = super().client(service, region)
        if not hasattr(client, "interrupted"):
            client.interrupted, call = True, client.call

            def interrupted(operation, **parameters):
                if operation == self.action and self.deeds:
                    self.deeds.pop()()
                return call(operation, **parameters)

            client.call = interrupted
        return client


def test_a_lock_conflict_is_read_again_and_merged(world, made):
    acl, _token = world.acl(made)
    hand = {**acl["Rules"][3], "Name": "hand", "Priority": 70}
    connection = Interrupting(world.front, "update_web_acl", lambda: world.by_hand(made, Rules=[*acl["Rules"], hand]))
    made["rules"][3]["statement"]["rate_based"]["limit"] = 1500
    result = world.run(made, connection=connection, by_hand="keep")
    assert result["changes"] == [f"update web acl {made['name']}"]
    acl, _token = world.acl(made)
    assert [entry["Name"] for entry in acl["Rules"]][-1] == "hand"
    assert acl["Rules"][3]["Statement"]["RateBasedStatement"]["Limit"] == 1500


@pytest.mark.parametrize("action", ["create_ip_set", "check_capacity", "create_web_acl", "put_logging_configuration"])
def test_an_interrupted_run_is_finished_by_the_next(world, action):
    def die():
        raise aws.AwsError("The run was stopped.")

    wanted = world.new()
    with pytest.raises(aws.AwsError, match="was stopped"):
        world.run(wanted, connection=Interrupting(world.front, action, die))
    assert world.run(wanted)["changed"]
    assert world.run(wanted)["changed"] is False


def test_ten_throttles_are_waited_out(world):
    world.front.faults(throttle=[{"service": "wafv2", "count": 10}])
    wanted = world.new()
    assert world.run(wanted)["changed"]
    world.front.faults()
    assert world.run(wanted)["changed"] is False


def test_what_was_just_made_is_waited_for(world):
    world.front.faults(eventual_consistency_seconds=0.3)
    wanted = world.new()
    world.front.forget_calls()
    assert world.run(wanted)["changed"]
    calls = world.front.calls()
    world.front.faults()
    assert calls["wafv2.CreateWebACL"] + calls["wafv2.AssociateWebACL"] > 2
    assert world.run(wanted)["changed"] is False


def test_bad_input_is_refused_before_the_first_call(world):
    wanted = world.new()
    world.front.forget_calls()
    for bad, sentence in (
        ({"rules": [wanted["rules"][0], {**wanted["rules"][1], "priority": 0}]}, "both have the priority 0"),
        ({"scope": "CLOUDFRONT", "resources": []}, "works in the region us-east-1 only"),
        ({"ip_sets": [{"name": "all", "addresses": ["0.0.0.0/0"]}]}, "does not take /0"),
        ({"logging": {"destination": LOG.replace("aws-waf-", "")}}, "begins with aws-waf-logs-"),
        ({"rules": [rule("x", 1, {"weather": "rain"})]}, "unknown member 'weather'"),
    ):
        with pytest.raises(aws.AwsError, match=sentence):
            world.run({**wanted, **bad})
    assert world.front.calls() == {}


def test_what_only_the_account_knows_is_refused_before_the_first_write(world, made):
    gone = made["resources"][0].rsplit("/", 1)[0] + "/0000000000000000"
    big = [{"name": "big", "description": "", "capacity": 4900, "rules": [rule("x", 1, made["rules"][5]["statement"])]}]
    group = {"name": "group", "priority": 50, "statement": {"rule_group_reference": {"name": "big"}}}
    world.front.forget_calls()
    for bad, sentence in (
        ({"resources": [gone]}, "does not exist; it cannot get the web ACL"),
        ({"rules": [rule("x", 1, {"ip_set_reference": {"name": "nowhere"}})]}, "'nowhere', which is neither"),
        ({"rule_groups": big, "rules": [*made["rules"], group]}, "WCU; 5000 are allowed"),
    ):
        with pytest.raises(aws.AwsError, match=sentence):
            world.run({**made, **bad})
    assert [name for name in world.front.writes() if "CheckCapacity" not in name] == []


def test_groups_regex_sets_and_tags(world):
    wanted = world.new()
    name = wanted["name"]
    wanted["regex_sets"] = [{"name": f"{name}-paths", "patterns": ["^/v[0-9]+/orders", "^/health$"]}]
    paths = {"regex_pattern_set_reference": {"name": f"{name}-paths", "field_to_match": "uri_path"}}
    inner = [rule("unknown", 0, {"not": paths}), rule("blocked", 1, {"ip_set_reference": {"name": f"{name}-blocked"}})]
    wanted["rule_groups"] = [{"name": f"{name}-own", "rules": inner}]
    wanted["rules"].append(
        {"name": "own", "priority": 60, "statement": {"rule_group_reference": {"name": f"{name}-own"}}}
    )
    wanted.update(tags={"platform": "trading"}, prune_prefix=f"{name}-")
    done = world.run(wanted)
    assert world.run(wanted)["changed"] is False
    summary = next(s for s in world.waf.list_rule_groups(Scope="REGIONAL")["RuleGroups"] if s["Name"] == f"{name}-own")
    held = world.waf.get_rule_group(ARN=summary["ARN"])["RuleGroup"]
    assert held["Capacity"] == 26
    world.waf.tag_resource(ResourceARN=done["web_acl"]["arn"], Tags=[{"Key": "team", "Value": "x"}])
    assert world.run(wanted)["changed"] is False
    purged = world.run(wanted, purge_tags=True, tags={"platform": "other"})
    assert len([line for line in purged["changes"] if line.startswith("tag")]) == 6
    assert len([line for line in purged["changes"] if line.startswith("untag")]) == 1
    wanted.update(tags=None, rules=wanted["rules"][3:5], ip_sets=[], regex_sets=[], rule_groups=[])
    changes = world.run(wanted)["changes"]
    assert [line.split(f" {name}")[0] for line in changes] == [
        "update web acl", "delete rule group", "delete regex pattern set",
        "delete ip set", "delete ip set", "delete ip set",
    ]  # fmt: skip
    assert world.run(wanted)["changed"] is False


def test_count_only_is_one_switch(world, made):
    first = world.run(made, count_only=True)
    assert first["changed"]
    actions = [next(iter(entry.get("Action") or entry["OverrideAction"])) for entry in world.acl(made)[0]["Rules"]]
    assert set(actions) == {"Allow", "Count"}
    assert world.run(made, count_only=True)["changed"] is False
    world.run(made)
    assert next(iter(world.acl(made)[0]["Rules"][1]["Action"])) == "Block"


def test_a_resource_moves_and_a_removed_acl_leaves_nothing(world, made):
    other = world.new()
    other["resources"] = made["resources"]
    moved = world.run(other)
    assert moved["diff"][-1]["before"] == {"web_acl": made["name"]}
    with pytest.raises(ClientError, match="WAFAssociatedItem"):
        acl, token = world.acl(other)
        world.waf.delete_web_acl(Name=other["name"], Id=acl["Id"], Scope="REGIONAL", LockToken=token)
    world.run(other, state="absent")
    assert world.run(other, state="absent")["changed"] is False
    names = [s["Name"] for s in world.waf.list_ip_sets(Scope="REGIONAL")["IPSets"]]
    assert not [name for name in names if name.startswith(other["name"])]
    assert made["name"] in [s["Name"] for s in world.waf.list_web_acls(Scope="REGIONAL")["WebACLs"]]


def test_a_distribution_gets_the_web_acl_by_its_own_configuration(world):
    cloudfront = world.front.client("cloudfront")
    origin = {"Id": "haproxy", "DomainName": "origin.example.com",
              "CustomOriginConfig": {"HTTPPort": 80, "HTTPSPort": 443,
                                     "OriginProtocolPolicy": "https-only"}}  # fmt: skip
    made = cloudfront.create_distribution(
        DistributionConfig={
            "CallerReference": "one", "Comment": "edge", "Enabled": True, "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": {"TargetOriginId": "haproxy", "ViewerProtocolPolicy": "https-only"},
        }
    )["Distribution"]  # fmt: skip
    wanted = {"name": "edge", "scope": "CLOUDFRONT", "resources": [made["ARN"]],
              "rules": [rule("rate", 0, {"rate_based": {"limit": 100}})]}  # fmt: skip
    there = {"region": "us-east-1"}
    done = world.run(wanted, **there)
    config = cloudfront.get_distribution_config(Id=made["Id"])["DistributionConfig"]
    assert config["WebACLId"] == done["web_acl"]["arn"]
    assert config["Comment"] == "edge"
    assert world.run(wanted, **there)["changed"] is False
    assert world.run(wanted, state="absent", **there)["changes"] == [
        f"update distribution {made['Id']}",
        "delete web acl edge",
    ]
    assert cloudfront.get_distribution_config(Id=made["Id"])["DistributionConfig"]["WebACLId"] == ""


def test_many_sets_are_listed_to_the_last_page(world):
    for number in range(101):
        world.waf.create_ip_set(Name=f"page-{number:03}", Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=[])
    wanted = {"name": "paged", "rules": [rule("last", 0, {"ip_set_reference": {"name": "page-100"}})]}
    assert world.run(wanted)["changed"]
    assert world.run(wanted)["changed"] is False


# The front itself


def visible(name="x"):
    return {"SampledRequestsEnabled": True, "CloudWatchMetricsEnabled": True, "MetricName": name}


def api_rule(name, priority, statement, action=None):
    return {"Name": name, "Priority": priority, "Action": action or {"Block": {}}, "Statement": statement,
            "VisibilityConfig": visible()}  # fmt: skip


GEO = {"GeoMatchStatement": {"CountryCodes": ["NL"]}}
RATE = {"RateBasedStatement": {"Limit": 100, "AggregateKeyType": "IP"}}
CORE, INVALID = "AWSManagedRulesCommonRuleSet", "WAFInvalidParameterException"
MANY = [
    {**api_rule(f"m{n}", n, {"ManagedRuleGroupStatement": {"VendorName": "AWS", "Name": CORE}}),
     "OverrideAction": {"None": {}}} for n in range(8)
]  # fmt: skip
for entry in MANY:
    del entry["Action"]
REFUSED = {
    "priorities": ([api_rule("a", 1, GEO), api_rule("b", 1, GEO)], INVALID, "must be unique"),
    "names": ([api_rule("a", 1, GEO), api_rule("a", 2, GEO)], "WAFDuplicateItemException", "duplicate"),
    "no statement": ([api_rule("a", 1, {})], INVALID, "field: STATEMENT"),
    "lone and": ([api_rule("a", 1, {"AndStatement": {"Statements": [GEO]}})], INVALID, "AND_STATEMENT"),
    "nested rate": ([api_rule("a", 1, {"NotStatement": {"Statement": RATE}})], INVALID, "RateBased"),
    "two actions": ([{**api_rule("a", 1, GEO), "OverrideAction": {"None": {}}}], INVALID, "field: RULE"),
    "window": ([api_rule("a", 1, {"RateBasedStatement": {**RATE["RateBasedStatement"], "EvaluationWindowSec": 90}})],
               INVALID, "RATE_BASED"),
    "regex": ([api_rule("a", 1, {"RegexMatchStatement": {"RegexString": "(", "FieldToMatch": {"Method": {}},
               "TextTransformations": [{"Priority": 0, "Type": "NONE"}]}})], INVALID, "REGEX_PATTERN"),
    "no body": ([api_rule("a", 1, GEO, {"Block": {"CustomResponse": {"ResponseCode": 403,
                                                                          "CustomResponseBodyKey": "x"}}})],
                INVALID, "CUSTOM_RESPONSE_BODY"),
    "reference": ([api_rule("a", 1, {"IPSetReferenceStatement": {"ARN": "arn:aws:wafv2:nowhere:ipset"}})],
                  INVALID, "reference in your rule statement"),
    "capacity": (MANY, "WAFLimitsExceededException", "need 5600 WCU"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_front_refuses_rules(world, case):
    rules, code, text = REFUSED[case]
    with pytest.raises(ClientError, match=text) as refused:
        world.waf.create_web_acl(
            Name=f"no-{uuid.uuid4().hex[:8]}", Scope="REGIONAL", DefaultAction={"Allow": {}},
            VisibilityConfig=visible(), Rules=rules,
        )  # fmt: skip
    assert refused.value.response["Error"]["Code"] == code


def test_the_front_refuses_addresses_scopes_logs_and_resources(world, made):
    acl, token = world.acl(made)
    mine = {"Name": acl["Name"], "Id": acl["Id"], "Scope": "REGIONAL", "LockToken": token}
    config = {"ResourceArn": acl["ARN"], "LogDestinationConfigs": [LOG.replace("aws-waf-", "")]}
    nlb = world.alb("network")
    for address in ("192.0.2.1", "0.0.0.0/0", "192.0.2.1/24", "2001:db8::/32"):
        with pytest.raises(ClientError, match=f"IP_ADDRESS, parameter: {address}"):
            world.waf.create_ip_set(Name="no", Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=[address])
    for call, arguments, text in (
        ("list_web_acls", {"Scope": "CLOUDFRONT"}, "The scope is not valid"),
        ("put_logging_configuration", {"LoggingConfiguration": config}, "LOG_DESTINATION"),
        ("associate_web_acl", {"WebACLArn": acl["ARN"], "ResourceArn": nlb}, "RESOURCE_ARN"),
        ("associate_web_acl", {"WebACLArn": acl["ARN"] + "x", "ResourceArn": nlb}, "doesn't exist"),
        ("delete_web_acl", mine, "being used"),
        ("delete_web_acl", {**mine, "LockToken": str(uuid.uuid4())}, "Reapply your changes"),
    ):
        with pytest.raises(ClientError, match=text):
            getattr(world.waf, call)(**arguments)


def test_an_update_replaces_and_windows_are_filled_in(world, made):
    world.by_hand(made, TokenDomains=["only.example.com"])
    acl, token = world.acl(made)
    assert acl["Rules"][3]["Statement"]["RateBasedStatement"]["EvaluationWindowSec"] == 300
    world.waf.update_web_acl(
        Name=acl["Name"], Id=acl["Id"], Scope="REGIONAL", LockToken=token, DefaultAction={"Block": {}},
        VisibilityConfig=visible(),
    )  # fmt: skip
    acl, _token = world.acl(made)
    assert not {"Rules", "TokenDomains", "CaptchaConfig", "CustomResponseBodies"} & set(acl)
    assert acl["Capacity"] == 0


def test_the_front_knows_every_kind_of_statement():
    statements = set(front_rules.BASE) | {"ByteMatchStatement", "RateBasedStatement", *front_rules.GROUPS}
    assert len(statements) == 13
    assert set(front_waf.KINDS) == {"WebACL", "IPSet", "RegexPatternSet", "RuleGroup"}


HEALTH = """
- name: Health
  hosts: localhost
  connection: local
  gather_facts: false
  module_defaults: {group/selfhosted.ec2.aws: {region: "{{ platform_region }}"}}
  tasks:
    - name: Compare
      ansible.builtin.import_role: {name: selfhosted.ec2.aws_edge, tasks_from: health}
"""


def test_the_page_runs_as_it_stands(front, tmp_path):
    output = docs_example.run_page(front, tmp_path, "waf.md", "aws_edge.yml")
    assert "There is nothing to make" not in output
    stopping = docs_example.run(front, tmp_path, docs_example.ROOT / "playbooks/aws_edge.yml", "--check", "--diff",
                                "-e", '{"aws_edge_count_only": false}')  # fmt: skip
    assert stopping[0] == 1
    assert "web ACL trading-edge, rule partners-only" in stopping[1]
    health = tmp_path / "health.yml"
    health.write_text(HEALTH)
    assert docs_example.run(front, tmp_path, health)[0] == 0
    with pytest.raises(AssertionError, match="The web ACL trading-edge is not as described, run the playbook aws_edge"):
        docs_example.run(front, tmp_path, health, "-e", '{"aws_edge_admin_paths": ["/admin"]}')


def test_a_direct_edge_gets_nothing(front, tmp_path):
    docs_example.inventory(tmp_path, {})
    front.forget_calls()
    changed, output = docs_example.run(front, tmp_path, docs_example.ROOT / "playbooks/aws_edge.yml")
    assert "The layout of the edge is direct" in output
    assert not [name for name in front.calls() if name.startswith("wafv2.")]


def test_an_edge_with_another_way_in_is_refused(front, tmp_path):
    tier = {"name": "edge", "components": ["haproxy"], "count": 2, "public_address": True, "instance_type": "t3.small"}
    docs_example.inventory(tmp_path, {"platform_edge": "alb", "platform_tiers": [{**tier, "volumes": []}]})
    with pytest.raises(AssertionError, match="The tier edge has public addresses, which lead past the web ACL"):
        docs_example.run(front, tmp_path, docs_example.ROOT / "playbooks/aws_edge.yml")

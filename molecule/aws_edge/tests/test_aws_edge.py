"""The web ACL as an AWS client sees it."""

import boto3
import pytest

NAME = "molecule-edge"


@pytest.fixture(scope="module")
def waf():
    return boto3.client("wafv2")


@pytest.fixture(scope="module")
def acl(waf):
    summary = next(entry for entry in waf.list_web_acls(Scope="REGIONAL")["WebACLs"] if entry["Name"] == NAME)
    return waf.get_web_acl(Name=NAME, Id=summary["Id"], Scope="REGIONAL")["WebACL"]


def test_baseline_stops_and_fits_what_the_price_includes(acl):
    rules = {rule["Name"]: rule for rule in acl["Rules"]}
    assert list(rules) == [
        "blocked-addresses", "admin-paths", "rate-per-address", "rate-per-key", "ip-reputation", "core-rules",
        "known-bad-inputs", "sql-injection",
    ]  # fmt: skip
    assert rules["admin-paths"]["Action"] == {"Block": {}}
    assert rules["core-rules"]["OverrideAction"] == {"None": {}}
    overrides = rules["core-rules"]["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"]
    assert overrides == [{"Name": "SizeRestrictions_BODY", "ActionToUse": {"Count": {}}}]
    assert 1000 < acl["Capacity"] < 1500


def test_sets_hold_one_family_each(waf):
    sets = {entry["Name"]: entry for entry in waf.list_ip_sets(Scope="REGIONAL")["IPSets"]}
    held = {}
    for name in ("blocked", "blocked-v6", "admin", "admin-v6"):
        entry = sets[f"{NAME}-{name}"]
        answer = waf.get_ip_set(Name=entry["Name"], Id=entry["Id"], Scope="REGIONAL")
        held[name] = answer["IPSet"]["Addresses"]
    assert held == {
        "blocked": ["198.51.100.0/24"], "blocked-v6": ["2001:db8:bad::/48"],
        "admin": ["203.0.113.10/32"], "admin-v6": [],
    }  # fmt: skip


def test_log_leaves_out_secrets(waf, acl):
    logging = waf.get_logging_configuration(ResourceArn=acl["ARN"])["LoggingConfiguration"]
    assert [field["SingleHeader"]["Name"] for field in logging["RedactedFields"]] == [
        "authorization", "cookie", "X-Api-Key",
    ]  # fmt: skip


def test_tags_name_the_platform(waf, acl):
    tags = waf.list_tags_for_resource(ResourceARN=acl["ARN"])["TagInfoForResource"]["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"platform": "molecule", "environment": "test"}

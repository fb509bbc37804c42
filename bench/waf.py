"""Compare waf_web_acl with community.aws's wafv2 modules on the same strict front, in one run.

A web ACL with ten rules, three IP sets and a load balancer; ours with a log besides, for which community.aws has no
module. Prints the calls, seconds and CPU seconds of whole `ansible-playbook` runs, new and unchanged, without and with
150 ms of latency for each call, and how many times faster ours is.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import playbook_run
from playbook_run import ROOT, Front

REGION = "eu-west-1"
LATENCY_MS = 150
MOST_CALLS = {"new": 12, "unchanged": 9}
RESULTS = ROOT / "bench" / "results"
MANAGED = ("CommonRuleSet", "KnownBadInputsRuleSet", "SQLiRuleSet", "AmazonIpReputationList")
SETS = {"allowed": ["192.0.2.0/24"], "blocked": ["198.51.100.0/24", "203.0.113.7/32"], "office": ["2001:db8::/32"]}


def rules(references: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """Ten rules in the names of the API, as snake_case of them suits both; `references` are those to the IP sets."""
    statements: list[tuple[str, str, dict[str, Any]]] = [
        ("allowed", "allow", {"ip_set_reference_statement": references["allowed"]}),
        ("blocked", "block", {"ip_set_reference_statement": references["blocked"]}),
        ("admin", "block", {"and_statement": {"statements": [
            {"byte_match_statement": {"field_to_match": {"uri_path": {}}, "positional_constraint": "STARTS_WITH",
                                      "search_string": "/admin", "text_transformations": transformations()}},
            {"not_statement": {"statement": {"ip_set_reference_statement": references["office"]}}}]}}),
        ("rate", "block", {"rate_based_statement": {
            "limit": 2000, "evaluation_window_sec": 300, "aggregate_key_type": "IP"}}),
        ("size", "block", {"size_constraint_statement": {
            "field_to_match": {"query_string": {}}, "comparison_operator": "GT", "size": 4096,
            "text_transformations": transformations()}}),
        ("geo", "block", {"geo_match_statement": {"country_codes": ["KP"]}}),
    ]  # fmt: skip
    result = [
        {"name": name, "priority": number, "action": {action: {}}, "statement": statement}
        for number, (name, action, statement) in enumerate(statements)
    ]
    for number, name in enumerate(MANAGED, len(result)):
        group = {"managed_rule_group_statement": {"vendor_name": "AWS", "name": f"AWSManagedRules{name}"}}
        result.append({"name": name, "priority": number, "override_action": {"none": {}}, "statement": group})
    for entry in result:
        entry["visibility_config"] = {
            "sampled_requests_enabled": True,
            "cloud_watch_metrics_enabled": True,
            "metric_name": entry["name"],
        }
    return result


def transformations() -> list[dict[str, Any]]:
    return [{"type": "NONE", "priority": 0}]


def ours(name: str, alb: str) -> list[dict[str, Any]]:
    """Tasks with our module: all in one."""
    options = {
        "name": name,
        "ip_sets": [{"name": f"{name}-{part}", "addresses": addresses} for part, addresses in SETS.items()],
        "rules": rules({part: {"name": f"{name}-{part}"} for part in SETS}),
        "logging": {"destination": f"arn:aws:logs:{REGION}:123456789012:log-group:aws-waf-logs-{name}"},
        "resources": [alb],
    }
    return [{"name": "All", "selfhosted.ec2.waf_web_acl": options}]


def theirs(name: str, alb: str) -> list[dict[str, Any]]:
    """Tasks with community.aws: one for each set, the web ACL and the association; there is none for the log."""
    tasks: list[dict[str, Any]] = []
    for part, addresses in SETS.items():
        options = {"name": f"{name}-{part}", "scope": "REGIONAL", "state": "present", "addresses": addresses,
                   "ip_address_version": "IPV6" if ":" in addresses[0] else "IPV4"}  # fmt: skip
        tasks.append({"name": part, "community.aws.wafv2_ip_set": options, "register": part})
    references = {part: {"arn": f"{{{{ {part}.arn }}}}"} for part in SETS}
    acl = {"name": name, "scope": "REGIONAL", "state": "present", "default_action": "Allow", "metric_name": name,
           "sampled_requests": True, "cloudwatch_metrics": True, "rules": rules(references)}  # fmt: skip
    tasks.append({"name": "Web ACL", "community.aws.wafv2_web_acl": acl, "register": "acl"})
    association = {"name": name, "scope": "REGIONAL", "state": "present", "arn": alb}
    return [*tasks, {"name": "Association", "community.aws.wafv2_resources": association}]


class Measure:
    """A front of its own, and runs of playbooks against it."""

    def __init__(self, directory: Path):
        self.directory, self.front = directory, Front(directory / "front")
        ec2, self.elb = self.front.client("ec2"), self.front.client("elbv2")
        vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{16 * n}.0/20", AvailabilityZone=f"{REGION}{zone}")
            for n, zone in enumerate("ab")
        ]

    def alb(self, name: str) -> str:
        subnets = [answer["Subnet"]["SubnetId"] for answer in self.subnets]
        answer = self.elb.create_load_balancer(Name=name, Subnets=subnets, Scheme="internal")
        return str(answer["LoadBalancers"][0]["LoadBalancerArn"])

    def run(self, tasks: list[dict[str, Any]]) -> dict[str, Any]:
        """Run the tasks once: calls, seconds, CPU seconds and how many tasks changed something."""
        run = playbook_run.measure(self.front, self.directory, playbook_run.play(*tasks))
        return {
            "calls": run.calls,
            "seconds": round(run.seconds, 2),
            "cpu": round(run.cpu, 2),
            "changed": run.changed,
        }


def measure(directory: Path, repeat: int) -> dict[str, dict[str, Any]]:
    """All cases: the fastest of `repeat` unchanged runs, the first run for what is new."""
    bench, results = Measure(directory), {}
    try:
        for latency in (0, LATENCY_MS):
            bench.front.faults(latency_ms=latency)
            for side, tasks_of in (("ours", ours), ("community.aws", theirs)):
                name = f"{'ours' if side == 'ours' else 'theirs'}-{latency}"
                tasks = tasks_of(name, bench.alb(name))
                results[f"new, {latency} ms, {side}"] = bench.run(copy.deepcopy(tasks))
                runs = [bench.run(copy.deepcopy(tasks)) for _ in range(repeat)]
                results[f"unchanged, {latency} ms, {side}"] = min(runs, key=lambda run: run["seconds"])
    finally:
        bench.front.close()
    return results


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"{'case':<20}{'ours':>28}{'community.aws':>28}{'ratio':>8}"]
    for kind in ("new", "unchanged"):
        for latency in (0, LATENCY_MS):
            mine, other = (results[f"{kind}, {latency} ms, {side}"] for side in ("ours", "community.aws"))
            shown = [f"{run['calls']} calls {run['seconds']} s ({run['cpu']} CPU)" for run in (mine, other)]
            lines.append(
                f"{f'{kind}, {latency} ms':<20}{shown[0]:>28}{shown[1]:>28}{other['seconds'] / mine['seconds']:>7.1f}x"
            )
    return lines


def faults(results: dict[str, dict[str, Any]]) -> list[str]:
    """What ours must not do, whatever the machine's speed."""
    found = []
    for case, run in results.items():
        kind = case.split(",")[0]
        if case.endswith("ours") and run["calls"] > MOST_CALLS[kind]:
            found.append(f"{case}: {run['calls']} calls, {MOST_CALLS[kind]} are allowed")
        if case.endswith("ours") and kind == "unchanged" and run["changed"]:
            found.append(f"{case}: {run['changed']} tasks changed something")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure waf_web_acl beside community.aws.")
    parser.add_argument("--repeat", type=int, default=2, help="unchanged runs; the fastest counts")
    with tempfile.TemporaryDirectory() as directory:
        results = measure(Path(directory), parser.parse_args().repeat)
    print("Ten rules, three IP sets, association; ours with logging besides")
    print("\n".join(table(results)))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "waf.json").write_text(json.dumps(results, indent=2) + "\n")
    found = faults(results)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

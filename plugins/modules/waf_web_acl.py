#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: waf_web_acl
short_description: An AWS WAF web ACL with its sets, rule groups, log and resources
version_added: 0.1.0
author:
  - The selfhosted.ec2 authors (@selfhosted)
description:
  - Manages a web ACL of AWS WAF (WAFv2) and all it needs in one run - IP sets, regex sets, rule groups, rules of every
    kind, logging and the resources it protects.
  - Reads, compares meaning, and replaces with the lock token; when somebody else wrote meanwhile it reads again and
    plans anew, five times at most.
  - What AWS would refuse is refused before the first write - priorities, scopes, addresses, log names, references and
    capacity, which is estimated offline and then asked of CheckCapacity.
  - A rule that means the same as before is sent as it was, so that its rate counts go on.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows what differs, an entry for each rule, set, log and resource; names what is kept undescribed.
    support: full
options:
  name:
    description: Name of the web ACL.
    type: str
    required: true
  scope:
    description: V(REGIONAL), or V(CLOUDFRONT) for CloudFront distributions; the latter needs the region us-east-1.
    type: str
    choices: [REGIONAL, CLOUDFRONT]
    default: REGIONAL
  state:
    description:
      - V(absent) removes the web ACL, its log and associations, and the sets and groups that are described.
    type: str
    choices: [present, absent]
    default: present
  description:
    description: Description of the web ACL.
    type: str
    default: ""
  default_action:
    description: What happens to requests that no rule decides; V(allow), V(block), or a mapping with one of them.
    type: raw
    default: allow
  rules:
    description:
      - The rules. Each has C(name), C(priority), C(statement), C(action) (or C(override_action) for groups), and may
        have C(labels), C(captcha_config), C(challenge_config) and C(visibility_config).
      - Names are those of the WAFv2 API in snake_case; C(_statement) at the end may be left out.
      - C(and) and C(or) hold a list of statements, C(not) a statement. References have a C(name) or an C(arn).
      - A choice without content is its name alone, as in C(action=block) and C(field_to_match=uri_path).
      - C(text_transformations) is a list of types, none by default.
      - A managed rule group is of the vendor C(AWS) by default; its C(rule_action_overrides) may map rules to actions.
    type: list
    elements: dict
    default: []
  count_only:
    description:
      - Rules count what they would stop, groups count, and the default is to allow, so that a new web ACL can be
        watched before it stops anyone.
    type: bool
    default: false
  by_hand:
    description:
      - What becomes of rules, settings, addresses, patterns and response bodies that nobody described.
      - V(replace) removes them and shows it in the diff; V(keep) keeps them, and the diff names them.
    type: str
    choices: [replace, keep]
    default: replace
  custom_response_bodies:
    description: Bodies that blocking actions answer with, by name; each has C(content_type) and C(content).
    type: dict
  captcha_config:
    description: How long a solved CAPTCHA counts, as C(immunity_time) in seconds.
    type: dict
  challenge_config:
    description: How long a passed challenge counts, as C(immunity_time) in seconds.
    type: dict
  token_domains:
    description: Domains whose tokens are accepted besides the resource's own.
    type: list
    elements: str
  association_config:
    description: How much of a body is inspected, by kind of resource, as in the API.
    type: dict
  data_protection_config:
    description: Which fields are hashed or replaced in logs, as in the API.
    type: dict
  visibility_config:
    description: Sampling and metrics of the web ACL; on, under its name, by default.
    type: dict
  ip_sets:
    description: IP sets of the account that rules refer to.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      addresses:
        description: Blocks such as C(192.0.2.0/24). Without this option the set is made empty and others fill it.
        type: list
        elements: str
      version:
        description: Address family; that of the first address by default.
        type: str
        choices: [IPV4, IPV6]
      description:
        description: Description.
        type: str
        default: ""
  regex_sets:
    description: Regex pattern sets of the account that rules refer to.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      patterns:
        description: Regular expressions, ten at most.
        type: list
        elements: str
        required: true
      description:
        description: Description.
        type: str
        default: ""
  rule_groups:
    description: Rule groups of the account that rules refer to.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      rules:
        description: Rules, as those of the web ACL, but no groups.
        type: list
        elements: dict
        required: true
      capacity:
        description: WCU that its rules may ever need, fixed when it is made; what they need now by default.
        type: int
      custom_response_bodies:
        description: Bodies that its blocking actions answer with.
        type: dict
      description:
        description: Description.
        type: str
        default: ""
  logging:
    description: Where requests are logged; without this option logging is left as it is.
    type: dict
    suboptions:
      destination:
        description:
          - ARN of a log group, bucket or delivery stream whose name begins with C(aws-waf-logs-). Empty ends logging.
        type: str
        required: true
      redacted_fields:
        description: Fields that are left out, as in C(field_to_match).
        type: list
        elements: raw
      filter:
        description: Which requests are logged, as LoggingFilter of the API.
        type: dict
  resources:
    description:
      - ARNs of what the web ACL protects - Application Load Balancers, stages of API Gateway and so on, or CloudFront
        distributions. Without this option associations are left as they are.
    type: list
    elements: str
  purge_resources:
    description: Whether other resources lose the web ACL; of the kinds that O(resources) names, or load balancers.
    type: bool
    default: false
  prune_prefix:
    description: Sets and rule groups whose name begins so are deleted when nobody describes or uses them.
    type: str
    default: ""
  tags:
    description: Tags of the web ACL and of the described sets and groups; without this option they stay.
    type: dict
  purge_tags:
    description: Whether tags that are not in O(tags) are removed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Protect the load balancer
  selfhosted.ec2.waf_web_acl:
    name: trading-api
    region: eu-west-1
    count_only: true
    ip_sets:
      - name: trading-blocked
        addresses: [192.0.2.0/24]
    rules:
      - name: blocked-addresses
        priority: 0
        action: block
        statement:
          ip_set_reference: {name: trading-blocked}
      - name: rate-per-address
        priority: 10
        action: block
        statement:
          rate_based: {limit: 2000, evaluation_window_sec: 60}
      - name: core-rules
        priority: 20
        statement:
          managed_rule_group:
            name: AWSManagedRulesCommonRuleSet
            rule_action_overrides: {SizeRestrictions_BODY: count}
    logging:
      destination: arn:aws:logs:eu-west-1:123456789012:log-group:aws-waf-logs-trading
      redacted_fields: [{single_header: authorization}]
    resources:
      - arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/trading/0123456789abcdef
"""

RETURN = r"""
web_acl:
  description: The web ACL; its ARN is empty when check mode finds none.
  returned: success
  type: dict
  sample: {name: trading-api, arn: "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/api/a1b2", capacity: 727}
arns:
  description: ARNs of the described sets and groups, by C(ip_set/name), C(regex_set/name), C(rule_group/name).
  returned: success
  type: dict
changes:
  description: What was done, or would be done in check mode, one line each, in order.
  returned: success
  type: list
  elements: str
by_hand:
  description: What the account had and nobody described, one line each.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, waf_capacity, waf_checks, waf_plan
from ansible_collections.selfhosted.ec2.plugins.module_utils.waf_form import Reference, snake

SHAPES = ("Rule", "FieldToMatch", "LoggingFilter", "Regex", "UpdateWebACLRequest", "UpdateRuleGroupRequest")
IDENTITY = ("Name", "Scope", "Id", "LockToken")
MEMBERS = {"ip_set": "IPSet", "regex_set": "RegexPatternSet", "rule_group": "RuleGroup"}
MISSING = "WAFNonexistentItemException"
#: Somebody else wrote since we read.
CONFLICTS = ("WAFOptimisticLockException", "PreconditionFailed", "InvalidIfMatchVersion", "WAFDuplicateItemException")
ATTEMPTS = 5
#: What was just made or freed is not known everywhere yet (API Reference, Errors of each action).
UNSETTLED = ("WAFUnavailableEntityException", "WAFAssociatedItemException")
SETTLE_SECONDS = 60
TAG_PAGE = 100


class Account:
    """The clients, and what is read of the account."""

    def __init__(self, connection):
        self.waf = connection.client("wafv2")
        self.connection = connection
        model = self.waf.boto.meta.service_model
        self.shapes = {name: model.shape_for(name) for name in SHAPES}

    def client(self, operation):
        if operation.endswith("_distribution"):
            return self.connection.client("cloudfront", waf_checks.GLOBAL_REGION)
        return self.waf

    def summaries(self, operation, key, scope):
        """Return all pages of a list; WAFv2 asks for the next one by NextMarker."""
        found, more = [], {}
        while True:
            answer = self.waf.call(operation, Scope=scope, **more)
            found += answer.get(key) or []
            if not answer.get("NextMarker") or not answer.get(key):
                return found
            more = {"NextMarker": answer["NextMarker"]}

    def read(self, want, absent):
        """Return what waf_plan.plan compares with, in two rounds of calls that run side by side."""
        kinds = [kind for kind in waf_plan.KINDS if want[kind] or want["prune_prefix"] or kind in _named(want)]
        names = ["WebACL", *(MEMBERS[kind] for kind in kinds)]
        lists = aws.parallel(lambda name: self.summaries(f"list_{_operation(name)}s", f"{name}s", want["scope"]), names)
        summaries = dict(zip(["acl", *kinds], lists, strict=True))
        acl = next((s for s in summaries.pop("acl") if s["Name"] == want["name"]), None)
        arns = {f"{kind}/{s['Name']}": s["ARN"] for kind in kinds for s in summaries[kind]}
        have = {"summaries": summaries, "arns": arns, "associated": set(), "foreign": {}, "distributions": {}}
        have.update({kind: {} for kind in waf_plan.KINDS}, acl=None, logging=None, tags={})
        aws.parallel(lambda read: read(), self._details(want, have, acl, absent))
        have["foreign"] = self._foreign(want, have) if not absent else {}
        return have

    def _details(self, want, have, acl, absent):
        """Return the functions that each fill in a part of what is there."""
        reads = []
        for kind, entries in have["summaries"].items():
            for summary in [] if absent else entries:
                if summary["Name"] in want[kind]:
                    reads.append(lambda k=kind, s=summary: self._read_set(want, have, k, s))
        if acl:
            reads.append(lambda: self._read_acl(want, have, acl))
            if want["logging"] is not None or absent:
                reads.append(lambda: self._read_logging(have, acl["ARN"]))
            if want["resources"] is not None or absent:
                types = _resource_types(want, self.waf.boto.meta.service_model, absent)
                reads += [lambda kind=kind: self._read_resources(have, acl["ARN"], kind) for kind in types]
        for arn in want["resources"] or []:
            if arn.split(":")[2] == "cloudfront":
                reads.append(lambda a=arn: self._read_distribution(have, a))
        if want["tags"] is not None and not absent:
            described = [f"{kind}/{name}" for kind in waf_plan.KINDS for name in want[kind]]
            tagged = [have["arns"][key] for key in described if key in have["arns"]] + ([acl["ARN"]] if acl else [])
            pages = [tagged[start : start + TAG_PAGE] for start in range(0, len(tagged), TAG_PAGE)]
            reads += [lambda page=page: self._read_tags(have, page) for page in pages]
        return reads

    def _read_set(self, want, have, kind, summary):
        key = waf_plan.API_NAMES[kind]
        answer = self.waf.call(f"get_{key}", Name=summary["Name"], Scope=want["scope"], Id=summary["Id"])
        content = answer[MEMBERS[kind]]
        entry = {"content": content, "id": summary["Id"], "token": answer["LockToken"], "arn": summary["ARN"]}
        have[kind][summary["Name"]] = entry

    def _read_acl(self, want, have, summary):
        answer = self.waf.call("get_web_acl", Name=summary["Name"], Scope=want["scope"], Id=summary["Id"])
        mutable = [name for name in self.shapes["UpdateWebACLRequest"].members if name not in IDENTITY]
        content = {name: answer["WebACL"][name] for name in mutable if answer["WebACL"].get(name) not in (None, "")}
        have["acl"] = {"content": content, "id": summary["Id"], "token": answer["LockToken"], "arn": summary["ARN"]}
        have["acl"]["capacity"] = answer["WebACL"].get("Capacity", 0)

    def _read_logging(self, have, arn):
        try:
            answer = self.waf.call("get_logging_configuration", ResourceArn=arn)
        except aws.AwsError as error:
            if error.code != MISSING:
                raise
            return
        held = answer["LoggingConfiguration"]
        held["LogDestinationConfigs"] = [name.removesuffix(":*") for name in held["LogDestinationConfigs"]]
        have["logging"] = held

    def _read_resources(self, have, arn, kind):
        answer = self.waf.call("list_resources_for_web_acl", WebACLArn=arn, ResourceType=kind)
        have["associated"].update(answer.get("ResourceArns") or [])

    def _read_distribution(self, have, arn):
        client = self.client("get_distribution")
        answer = client.call("get_distribution_config", Id=arn.rsplit("/", 1)[-1])
        config = answer["DistributionConfig"]
        have["distributions"][arn] = {"web_acl": config.get("WebACLId", ""), "etag": answer["ETag"], "config": config}

    def _read_tags(self, have, arns):
        found = aws.read_tags(self.connection.client("resourcegroupstaggingapi"), arns)
        have["tags"].update({arn: found.get(arn, {}) for arn in arns})

    def _foreign(self, want, have):
        """Return the web ACLs of the resources that have not ours; a resource that does not exist is an error."""
        missing = [a for a in want["resources"] or [] if a not in have["associated"] and a not in have["distributions"]]

        def ask(arn):
            try:
                answer = self.waf.call("get_web_acl_for_resource", ResourceArn=arn)
            except aws.AwsError as error:
                if error.code != MISSING:
                    raise
                raise aws.AwsError(
                    f"The resource {arn} does not exist; it cannot get the web ACL {want['name']}."
                ) from error
            return (answer.get("WebACL") or {}).get("Name")

        return {arn: name for arn, name in zip(missing, aws.parallel(ask, missing), strict=True) if name}


def _operation(name):
    """Return the boto3 name of a kind: IPSet is ip_set."""
    return snake(name)


def _named(want):
    """Return the kinds that rules refer to by name."""
    rules = [want["acl"]["Rules"], *(group["Rules"] for group in want["rule_group"].values())]
    return {str(ref).split("/", 1)[0] for ref in waf_plan.references(rules) if isinstance(ref, Reference)}


def _resource_types(want, model, absent):
    """Return the kinds of resources to list: those described, load balancers without any, all for a deletion."""
    if want["scope"] == "CLOUDFRONT":
        return []
    if absent:
        return list(model.shape_for("ResourceType").enum)
    services = {arn.split(":")[2] for arn in want["resources"]} or {"elasticloadbalancing"}
    return sorted(waf_checks.RESOURCE_TYPES[service] for service in services)


def ask_capacity(account, want, rules, groups, warn):
    """Return the WCU of rules, asked of AWS as far as it can be; I(groups): capacities of groups yet to be made."""
    asked, more = waf_capacity.question(rules, groups)
    if not asked:
        return more
    try:
        return more + settled(account, "check_capacity", {"Scope": want["scope"], "Rules": asked})["Capacity"]
    except aws.AwsError as error:
        if error.code not in aws.DENIED_CODES:
            raise
    warn("CheckCapacity is not allowed with these credentials, so the WCU are estimated.")
    return waf_capacity.estimate(rules, groups)[1]


def check_capacities(account, want, have, plan, warn):
    """Ask for the WCU of all rules that change, before anything is written; return those of the web ACL.

    Fills in the capacity of new groups that have none. Raises AwsError when there is too little room.
    """
    groups = {}
    for name, rules in plan.groups.items():
        needed = ask_capacity(account, want, rules, {}, warn)
        held = have["rule_group"].get(name)
        wanted = held["content"]["Capacity"] if held else want["rule_group"][name].get("Capacity")
        groups[f"rule_group/{name}"] = wanted or max(needed, 1)
        plan.faults += waf_plan.capacity_faults(f"The rule group {name}", needed, wanted or waf_capacity.LIMIT)
    for change in plan.changes:
        if change["operation"] == "create_rule_group":
            change["parameters"].setdefault("Capacity", groups[str(change["makes"])])
    capacity = have["acl"]["capacity"] if have["acl"] else 0
    if plan.rules is not None:
        capacity = ask_capacity(account, want, plan.rules, groups, warn)
        plan.faults += waf_plan.capacity_faults(f"The web ACL {want['name']}", capacity, waf_capacity.LIMIT)
        if waf_plan.capacity_warning(capacity):
            warn(waf_plan.capacity_warning(capacity))
    if plan.faults:
        raise aws.AwsError(" ".join(plan.faults))
    return capacity


def settled(account, operation, parameters):
    """Call, and again for a minute while AWS does not yet know everywhere what was just made or freed."""
    clock = account.connection.clock
    until, tries = clock.now() + SETTLE_SECONDS, 0
    while True:
        try:
            return account.client(operation).call(operation, **parameters)
        except aws.AwsError as error:
            tries += 1
            if error.code not in UNSETTLED or clock.now() > until or tries > 30:
                raise
            clock.sleep(aws.back_off(tries + 2))


def apply(account, plan, arns, done):
    """Carry out the changes in order; each is added to I(done) when it is done, ARNs of new things to I(arns)."""
    for change in plan.changes:
        answer = settled(account, change["operation"], waf_plan.resolve(change["parameters"], arns))
        if change["makes"] is not None:
            arns[str(change["makes"])] = answer["Summary"]["ARN"]
        done.append(change)


def manage(params, connection, check_mode, warn):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    account, faults = Account(connection), []
    want = waf_plan.desired(params, account.shapes, faults)
    faults = faults or waf_checks.faults(want, account.waf.region)
    if faults:
        raise aws.AwsError(" ".join(faults))
    absent, done = params["state"] == "absent", []
    for attempt in range(1, ATTEMPTS + 1):
        have = account.read(want, absent)
        plan = waf_plan.plan_absent(want, have) if absent else waf_plan.plan(want, have)
        if plan.faults:
            raise aws.AwsError(" ".join(plan.faults))
        capacity = 0 if absent else check_capacities(account, want, have, plan, warn)
        arns = {**have["arns"], **({"web_acl": have["acl"]["arn"]} if have["acl"] else {})}
        if check_mode:
            done = plan.changes
            break
        try:
            apply(account, plan, arns, done)
            break
        except aws.AwsError as error:
            if error.code not in CONFLICTS or attempt == ATTEMPTS:
                raise
    return result(want, plan, done, arns, capacity)


def result(want, plan, done, arns, capacity):
    """Return what the module answers."""
    diffs = [entry for change in done for entry in change["diffs"]]
    if plan.by_hand and want["keep"]:
        kept = "".join(f"kept, though not described: {line}\n" for line in plan.by_hand)
        diffs.append({"prepared": kept})
    described = {f"{kind}/{name}" for kind in waf_plan.KINDS for name in want[kind]}
    return {
        "changed": bool(done),
        "web_acl": {"name": want["name"], "arn": arns.get("web_acl", ""), "capacity": capacity},
        "arns": {key: arns[key] for key in sorted(described & arns.keys())},
        "changes": [change_text(change) for change in done],
        "by_hand": plan.by_hand,
        "diff": diffs,
    }


def change_text(change):
    """Return a change as one line: the call, and what it is about."""
    parameters = change["parameters"]
    about = parameters.get("Name") or parameters.get("ResourceArn") or parameters.get("ResourceARN")
    about = about or parameters.get("Id") or parameters["LoggingConfiguration"]["LogDestinationConfigs"][0]
    return f"{change['operation'].replace('_', ' ')} {about}"


def argument_spec():
    text, rules = {"type": "str", "default": ""}, {"type": "list", "elements": "dict"}
    named = {"name": {"type": "str", "required": True}, "description": text}
    texts = {"type": "list", "elements": "str"}

    def entries(**options):
        return {**rules, "default": [], "options": {**named, **options}}

    return {
        **aws.argument_spec(),
        **named,
        "scope": {"type": "str", "choices": ["REGIONAL", "CLOUDFRONT"], "default": "REGIONAL"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "default_action": {"type": "raw", "default": "allow"},
        "rules": {**rules, "default": []},
        "count_only": {"type": "bool", "default": False},
        "by_hand": {"type": "str", "choices": ["replace", "keep"], "default": "replace"},
        "custom_response_bodies": {"type": "dict"},
        "captcha_config": {"type": "dict"},
        "challenge_config": {"type": "dict"},
        "token_domains": {**texts, "no_log": False},
        "association_config": {"type": "dict"},
        "data_protection_config": {"type": "dict"},
        "visibility_config": {"type": "dict"},
        "ip_sets": entries(addresses=texts, version={"type": "str", "choices": ["IPV4", "IPV6"]}),
        "regex_sets": entries(patterns={**texts, "required": True}),
        "rule_groups": entries(
            rules={**rules, "required": True}, capacity={"type": "int"}, custom_response_bodies={"type": "dict"}
        ),
        "logging": {
            "type": "dict",
            "options": {
                "destination": {"type": "str", "required": True},
                "redacted_fields": {"type": "list", "elements": "raw"},
                "filter": {"type": "dict"},
            },
        },
        "resources": texts,
        "purge_resources": {"type": "bool", "default": False},
        "prune_prefix": text,
        "tags": {"type": "dict"},
        "purge_tags": {"type": "bool", "default": False},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode, module.warn))


if __name__ == "__main__":
    main()

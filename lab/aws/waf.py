"""WAFv2, answered by the front itself: moto merges updates, and lacks capacities and the list of resources.

Source: WAFv2 API Reference. Every update replaces all that may change; whoever updates shows the newest lock token.
"""

from __future__ import annotations

import copy
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from moto.elbv2.models import elbv2_backends

from lab.aws.call import ACCOUNT, AWSError, Call
from lab.aws.handlers import PASS, handler
from lab.aws.rules import wafv2 as rules

MISSING = "AWS WAF couldn't perform the operation because your resource doesn't exist."
IN_USE = "AWS WAF couldn't perform the operation because your resource is being used by another resource."
STALE = (
    "AWS WAF couldn't save your changes because someone changed the resource after you started to edit it. "
    "Reapply your changes."
)
DUPLICATE = (
    "AWS WAF could not perform the operation because some resource in your request is a duplicate of an existing one."
)
REFERENCE = "Error reason: A reference in your rule statement is not valid., field: RULE, parameter: Statement"
#: Kind: member of the answer, member of the list's answer, name in the ARN.
KINDS = {
    "WebACL": ("WebACL", "WebACLs", "webacl"),
    "IPSet": ("IPSet", "IPSets", "ipset"),
    "RegexPatternSet": ("RegexPatternSet", "RegexPatternSets", "regexpatternset"),
    "RuleGroup": ("RuleGroup", "RuleGroups", "rulegroup"),
}
#: What stays through updates.
FIXED = ("Name", "Id", "ARN", "IPAddressVersion", "Capacity", "LabelNamespace")
NOT_KEPT = ("Scope", "Tags", "LockToken", "Name", "Id")
RESOURCE_TYPES = {
    "elasticloadbalancing": "APPLICATION_LOAD_BALANCER",
    "apigateway": "API_GATEWAY",
    "appsync": "APPSYNC",
    "cognito-idp": "COGNITO_USER_POOL",
    "apprunner": "APP_RUNNER_SERVICE",
    "ec2": "VERIFIED_ACCESS_INSTANCE",
    "amplify": "AMPLIFY",
}
PAGE = 100


@dataclass
class Item:
    """A web ACL, rule group, IP set or regex pattern set."""

    kind: str
    scope: str
    region: str
    content: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: str(uuid.uuid4()))
    made: float = field(default_factory=time.time)

    @property
    def arn(self) -> str:
        return str(self.content["ARN"])

    def summary(self) -> dict[str, Any]:
        shown = {name: self.content.get(name) for name in ("Name", "Id", "ARN", "Description")}
        return {**shown, "LockToken": self.token}


ITEMS: dict[str, Item] = {}
LOGGING: dict[str, dict[str, Any]] = {}
#: Resource to web ACL, both by ARN.
ASSOCIATED: dict[str, str] = {}


def _error(code: str, message: str) -> AWSError:
    return AWSError(code, message)


def _missing() -> AWSError:
    return _error("WAFNonexistentItemException", MISSING)


def _settled(call: Call, item: Item) -> None:
    """What was just made is not known everywhere yet. Source: API Reference, WAFUnavailableEntityException."""
    if time.time() - item.made < call.state.faults["eventual_consistency_seconds"]:
        message = "AWS WAF couldn't retrieve a resource that you specified for this operation. Try your request again."
        raise _error("WAFUnavailableEntityException", message)


def _items(call: Call, kind: str) -> list[Item]:
    scope = call.params["Scope"]
    return [i for i in ITEMS.values() if (i.kind, i.scope, i.region) == (kind, scope, call.region)]


def _find(call: Call, kind: str) -> Item:
    arn = call.params.get("ARN")
    if arn:
        item = ITEMS.get(arn)
        if item is None or item.kind != kind:
            raise _missing()
        return item
    wanted = (call.params.get("Name"), call.params.get("Id"))
    found = [i for i in _items(call, kind) if (i.content["Name"], i.content["Id"]) == wanted]
    if not found:
        raise _missing()
    return found[0]


def _locked(call: Call, kind: str) -> Item:
    item = _find(call, kind)
    if item.token != call.params["LockToken"]:
        raise _error("WAFOptimisticLockException", STALE)
    return item


def _group_capacity(arn: str) -> int:
    return int(ITEMS[arn].content["Capacity"])


def _capacity(call: Call) -> int:
    """WCU of the call's rules; every reference must exist."""
    wanted = call.params.get("Rules") or []
    for _kind, content, _depth in rules.all_statements(wanted):
        arn = (content or {}).get("ARN")
        if arn and (arn not in ITEMS or ITEMS[arn].scope != call.params["Scope"]):
            code = "WAFNonexistentItemException" if call.action == "CheckCapacity" else rules.INVALID
            raise _error(code, MISSING if call.action == "CheckCapacity" else REFERENCE)
        if arn:
            _settled(call, ITEMS[arn])
    return rules.capacity(wanted, _group_capacity)


def _fill_defaults(content: dict[str, Any]) -> None:
    """What AWS shows though nobody said it. Source: API Reference, RateBasedStatement."""
    for kind, statement, _depth in rules.all_statements(content.get("Rules") or []):
        if kind == "RateBasedStatement":
            statement.setdefault("EvaluationWindowSec", 300)


def _content(call: Call) -> dict[str, Any]:
    given = {name: value for name, value in call.params.items() if name not in NOT_KEPT and value is not None}
    content = copy.deepcopy(given)
    _fill_defaults(content)
    return content


def _check_capacity(call: Call, kind: str, content: dict[str, Any], allowed: int) -> None:
    if kind in ("WebACL", "RuleGroup"):
        needed = _capacity(call)
        rules.refuse_capacity(needed, allowed)
        if kind == "WebACL":
            content["Capacity"] = needed


def _create(call: Call, kind: str) -> dict[str, Any]:
    name, scope = call.params["Name"], call.params["Scope"]
    if any(i.content["Name"] == name for i in _items(call, kind)):
        raise _error("WAFDuplicateItemException", DUPLICATE)
    content = _content(call)
    _check_capacity(call, kind, content, call.params.get("Capacity") or rules.MAX_WCU)
    identifier = str(uuid.uuid4())
    where = "global" if scope == "CLOUDFRONT" else "regional"
    arn = f"arn:aws:wafv2:{call.region}:{ACCOUNT}:{where}/{KINDS[kind][2]}/{name}/{identifier}"
    if kind in ("WebACL", "RuleGroup"):
        content["LabelNamespace"] = f"awswaf:{ACCOUNT}:{kind.lower()}:{name}:"
    tags = {tag["Key"]: tag["Value"] for tag in call.params.get("Tags") or []}
    ITEMS[arn] = Item(kind, scope, call.region, {"Name": name, "Id": identifier, "ARN": arn, **content}, tags)
    return {"Summary": ITEMS[arn].summary()}


def _update(call: Call, kind: str) -> dict[str, Any]:
    item, content = _locked(call, kind), _content(call)
    _check_capacity(call, kind, content, item.content["Capacity"] if kind == "RuleGroup" else rules.MAX_WCU)
    kept = {name: item.content[name] for name in FIXED if name in item.content}
    item.content = {**kept, **content}
    item.token = str(uuid.uuid4())
    return {"NextLockToken": item.token}


def _get(call: Call, kind: str) -> dict[str, Any]:
    item = _find(call, kind)
    return {KINDS[kind][0]: item.content, "LockToken": item.token}


def _delete(call: Call, kind: str) -> dict[str, Any]:
    item = _locked(call, kind)
    used = item.arn in ASSOCIATED.values() or item.arn in LOGGING
    used = used or any(
        (content or {}).get("ARN") == item.arn
        for other in ITEMS.values()
        for _kind, content, _depth in rules.all_statements(other.content.get("Rules") or [])
    )
    if used:
        raise _error("WAFAssociatedItemException", IN_USE)
    del ITEMS[item.arn]
    return {}


def _list(call: Call, kind: str) -> dict[str, Any]:
    found = sorted(_items(call, kind), key=lambda item: item.content["Name"])
    start = call.params.get("NextMarker")
    names = [item.content["Name"] for item in found]
    first = names.index(start) + 1 if start in names else 0
    page = found[first : first + (call.params.get("Limit") or PAGE)]
    more = first + len(page) < len(found)
    marker = {"NextMarker": page[-1].content["Name"]} if page and more else {}
    return {KINDS[kind][1]: [item.summary() for item in page], **marker}


def _register() -> None:
    actions = {"Create{}": _create, "Update{}": _update, "Get{}": _get, "Delete{}": _delete, "List{}s": _list}
    for kind in KINDS:
        for pattern, function in actions.items():
            handler("wafv2", pattern.format(kind))(lambda call, _front, f=function, k=kind: f(call, k))


_register()


@handler("wafv2", "CheckCapacity")
def check_capacity(call: Call, _front: Any) -> dict[str, Any]:
    return {"Capacity": _capacity(call)}


# Association


def _resource(arn: str) -> None:
    """Raise AWS's error unless the resource exists and may have a regional web ACL."""
    service = arn.split(":")[2] if arn.count(":") >= 5 else ""
    if service not in RESOURCE_TYPES:
        raise _error(rules.INVALID, rules.FORMAT.format(field="RESOURCE_ARN", parameter=arn))
    if service != "elasticloadbalancing":
        return
    balancer = elbv2_backends[ACCOUNT][arn.split(":")[3]].load_balancers.get(arn)
    if balancer is None:
        raise _missing()
    if balancer.type != "application":  # moto's network load balancers have the same form of ARN
        raise _error(rules.INVALID, rules.FORMAT.format(field="RESOURCE_ARN", parameter=arn))


@handler("wafv2", "AssociateWebACL")
def associate(call: Call, _front: Any) -> dict[str, Any]:
    acl = ITEMS.get(call.params["WebACLArn"])
    if acl is None or acl.kind != "WebACL":
        raise _missing()
    if acl.scope != "REGIONAL":
        raise _error(rules.INVALID, rules.FORMAT.format(field="SCOPE_VALUE", parameter=acl.scope))
    _settled(call, acl)
    _resource(call.params["ResourceArn"])
    ASSOCIATED[call.params["ResourceArn"]] = acl.arn
    return {}


@handler("wafv2", "DisassociateWebACL")
def disassociate(call: Call, _front: Any) -> dict[str, Any]:
    _resource(call.params["ResourceArn"])
    ASSOCIATED.pop(call.params["ResourceArn"], None)
    return {}


@handler("wafv2", "GetWebACLForResource")
def acl_of_resource(call: Call, _front: Any) -> dict[str, Any]:
    _resource(call.params["ResourceArn"])
    acl = ITEMS.get(ASSOCIATED.get(call.params["ResourceArn"], ""))
    return {"WebACL": acl.content} if acl else {}


@handler("wafv2", "ListResourcesForWebACL")
def resources_of_acl(call: Call, _front: Any) -> dict[str, Any]:
    acl = ITEMS.get(call.params["WebACLArn"])
    if acl is None:
        raise _missing()
    kind = call.params.get("ResourceType") or "APPLICATION_LOAD_BALANCER"
    held = [r for r, owner in ASSOCIATED.items() if owner == acl.arn and RESOURCE_TYPES[r.split(":")[2]] == kind]
    return {"ResourceArns": sorted(held)}


# Logging


def _logged(call: Call) -> str:
    arn = call.params.get("ResourceArn") or call.params["LoggingConfiguration"]["ResourceArn"]
    if arn not in ITEMS:
        raise _missing()
    return str(arn)


@handler("wafv2", "PutLoggingConfiguration")
def put_logging(call: Call, _front: Any) -> dict[str, Any]:
    LOGGING[_logged(call)] = copy.deepcopy(call.params["LoggingConfiguration"])
    return {"LoggingConfiguration": call.params["LoggingConfiguration"]}


@handler("wafv2", "GetLoggingConfiguration")
def get_logging(call: Call, _front: Any) -> dict[str, Any]:
    arn = _logged(call)
    if arn not in LOGGING:
        raise _missing()
    return {"LoggingConfiguration": LOGGING[arn]}


@handler("wafv2", "DeleteLoggingConfiguration")
def delete_logging(call: Call, _front: Any) -> dict[str, Any]:
    get_logging(call, None)
    del LOGGING[call.params["ResourceArn"]]
    return {}


@handler("wafv2", "ListLoggingConfigurations")
def list_logging(call: Call, _front: Any) -> dict[str, Any]:
    found = [entry for arn, entry in LOGGING.items() if ITEMS[arn].scope == call.params["Scope"]]
    return {"LoggingConfigurations": found}


# Tags


def _tagged(call: Call) -> Item:
    item = ITEMS.get(call.params["ResourceARN"])
    if item is None:
        raise _missing()
    return item


def _tag_list(item: Item) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(item.tags.items())]


@handler("wafv2", "TagResource")
def tag(call: Call, _front: Any) -> dict[str, Any]:
    _tagged(call).tags.update({entry["Key"]: entry["Value"] for entry in call.params["Tags"]})
    return {}


@handler("wafv2", "UntagResource")
def untag(call: Call, _front: Any) -> dict[str, Any]:
    for key in call.params["TagKeys"]:
        _tagged(call).tags.pop(key, None)
    return {}


@handler("wafv2", "ListTagsForResource")
def list_tags(call: Call, _front: Any) -> dict[str, Any]:
    item = _tagged(call)
    return {"TagInfoForResource": {"ResourceARN": item.arn, "TagList": _tag_list(item)}}


@handler("resourcegroupstaggingapi", "GetResources")
def tagged_resources(call: Call, _front: Any) -> Any:
    """moto's tagging service does not know WAFv2."""
    wanted = call.params.get("ResourceARNList") or []
    if not wanted or not all(":wafv2:" in arn for arn in wanted):
        return PASS
    held = [ITEMS[arn] for arn in wanted if arn in ITEMS and ITEMS[arn].tags]
    return {"ResourceTagMappingList": [{"ResourceARN": item.arn, "Tags": _tag_list(item)} for item in held]}

"""CloudFront's distributions and VPC origins, answered by the front itself: moto keeps a part of a configuration only.

Source: CloudFront API Reference. A configuration is kept as it came; whoever changes it shows the newest entity tag.
"""

from __future__ import annotations

import copy
import time
import uuid
from typing import Any

from moto.elbv2.models import elbv2_backends

from lab.aws.call import ACCOUNT, AWSError, Call
from lab.aws.handlers import handler
from lab.aws.waf import ITEMS

#: Seconds until what was changed is deployed; CloudFront takes minutes.
DEPLOY_SECONDS = 0.3
DISTRIBUTIONS: dict[str, dict[str, Any]] = {}
ORIGINS: dict[str, dict[str, Any]] = {}
TAGS: dict[str, dict[str, str]] = {}
STALE = "The request failed because it didn't meet the preconditions in one or more request-header fields."


def _identity() -> str:
    return "E" + uuid.uuid4().hex[:13].upper()


def _held(table: dict[str, dict[str, Any]], identity: str, code: str) -> dict[str, Any]:
    if identity not in table:
        raise AWSError(
            code, f"The specified {'VPC origin' if table is ORIGINS else 'distribution'} does not exist.", 404
        )
    return table[identity]


def _newest(call: Call, held: dict[str, Any]) -> None:
    if not call.params.get("IfMatch"):
        raise AWSError("InvalidIfMatchVersion", "The If-Match version is missing or not valid for the resource.", 400)
    if call.params["IfMatch"] != held["etag"]:
        raise AWSError("PreconditionFailed", STALE, 412)


def _stamp(held: dict[str, Any]) -> None:
    held["etag"], held["changed"] = _identity(), time.time()


def _status(held: dict[str, Any]) -> str:
    return "Deployed" if time.time() - held["changed"] >= DEPLOY_SECONDS else "InProgress"


def _keep_tags(arn: str, tags: dict[str, Any] | None) -> None:
    TAGS.setdefault(arn, {}).update({tag["Key"]: tag.get("Value", "") for tag in (tags or {}).get("Items") or []})


# Distributions


def _check(config: dict[str, Any], own: str = "") -> None:
    """Raise what CloudFront answers to a configuration that it does not take."""
    aliases = (config.get("Aliases") or {}).get("Items") or []
    for path in ("Aliases", "Origins"):
        part = config.get(path) or {}
        if part.get("Quantity", 0) != len(part.get("Items") or []):
            text = "The value of Quantity and the size of Items don't match."
            raise AWSError("InconsistentQuantities", text, 400)
    origins = {origin["Id"]: origin for origin in (config.get("Origins") or {}).get("Items") or []}
    if config["DefaultCacheBehavior"]["TargetOriginId"] not in origins:
        raise AWSError("NoSuchOrigin", "One or more of your origins or origin groups do not exist.", 404)
    for origin in origins.values():
        _check_origin(origin)
    certificate = config.get("ViewerCertificate") or {}
    shown = certificate.get("ACMCertificateArn", "")
    if (aliases and not shown) or (shown and ":us-east-1:" not in shown):
        text = "To add an alternate domain name, attach a trusted certificate of us-east-1 that covers it."
        raise AWSError("InvalidViewerCertificate", text, 400)
    for identity, other in DISTRIBUTIONS.items():
        taken = set((other["config"].get("Aliases") or {}).get("Items") or []) & set(aliases)
        if identity != own and taken:
            text = "One or more of the CNAMEs you provided are already associated with a different resource."
            raise AWSError("CNAMEAlreadyExists", text, 409)
    acl = config.get("WebACLId")
    if acl and (acl not in ITEMS or ITEMS[acl].scope != "CLOUDFRONT"):
        raise AWSError("InvalidWebACLId", "The web ACL that was specified is not valid.", 400)


def _check_origin(origin: dict[str, Any]) -> None:
    kinds = [key for key in ("CustomOriginConfig", "S3OriginConfig", "VpcOriginConfig") if origin.get(key)]
    if len(kinds) != 1:
        raise AWSError(
            "InvalidOrigin", "An origin has one of CustomOriginConfig, S3OriginConfig, VpcOriginConfig.", 400
        )
    if kinds != ["VpcOriginConfig"]:
        return
    held = ORIGINS.get(origin["VpcOriginConfig"].get("VpcOriginId", ""))
    if held is None:
        raise AWSError("EntityNotFound", "The entity was not found.", 404)
    if _status(held) != "Deployed":
        raise AWSError("InvalidOrigin", "The VPC origin is not deployed.", 400)


def _shown(held: dict[str, Any]) -> dict[str, Any]:
    """A distribution; what was not given has its default. Source: API Reference, DistributionConfig."""
    return {
        "Id": held["id"],
        "ARN": held["arn"],
        "Status": _status(held),
        "LastModifiedTime": held["changed"],
        "InProgressInvalidationBatches": 0,
        "DomainName": f"{held['id'].lower()}.cloudfront.net",
        "DistributionConfig": _config(held),
    }


def _config(held: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "DefaultRootObject": "",
        "WebACLId": "",
        "PriceClass": "PriceClass_All",
        "HttpVersion": "http2",
        "IsIPV6Enabled": True,
        "Aliases": {"Quantity": 0},
        "OriginGroups": {"Quantity": 0},
        "CacheBehaviors": {"Quantity": 0},
        "CustomErrorResponses": {"Quantity": 0},
        "Restrictions": {"GeoRestriction": {"RestrictionType": "none", "Quantity": 0}},
        "Staging": False,
    }
    return {**defaults, **copy.deepcopy(held["config"])}


def _create(config: dict[str, Any], tags: dict[str, Any] | None) -> dict[str, Any]:
    _check(config)
    if any(other["config"]["CallerReference"] == config["CallerReference"] for other in DISTRIBUTIONS.values()):
        text = "The caller reference you attempted to create the distribution with is associated with another one."
        raise AWSError("DistributionAlreadyExists", text, 409)
    identity = _identity()
    held = {
        "id": identity,
        "config": copy.deepcopy(config),
        "arn": f"arn:aws:cloudfront::{ACCOUNT}:distribution/{identity}",
    }
    _stamp(held)
    DISTRIBUTIONS[identity] = held
    _keep_tags(held["arn"], tags)
    return {"Distribution": _shown(held), "ETag": held["etag"], "Location": f"/2020-05-31/distribution/{identity}"}


@handler("cloudfront", "CreateDistribution")
def create_distribution(call: Call, _front: Any) -> dict[str, Any]:
    return _create(call.params["DistributionConfig"], None)


@handler("cloudfront", "CreateDistributionWithTags")
def create_distribution_with_tags(call: Call, _front: Any) -> dict[str, Any]:
    both = call.params["DistributionConfigWithTags"]
    return _create(both["DistributionConfig"], both["Tags"])


@handler("cloudfront", "GetDistribution")
def get_distribution(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(DISTRIBUTIONS, call.params["Id"], "NoSuchDistribution")
    return {"Distribution": _shown(held), "ETag": held["etag"]}


@handler("cloudfront", "GetDistributionConfig")
def get_distribution_config(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(DISTRIBUTIONS, call.params["Id"], "NoSuchDistribution")
    return {"DistributionConfig": _config(held), "ETag": held["etag"]}


@handler("cloudfront", "UpdateDistribution")
def update_distribution(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(DISTRIBUTIONS, call.params["Id"], "NoSuchDistribution")
    _newest(call, held)
    config = call.params["DistributionConfig"]
    if config["CallerReference"] != held["config"]["CallerReference"]:
        raise AWSError("IllegalUpdate", "The update contains modifications that are not allowed.", 400)
    _check(config, held["id"])
    held["config"] = copy.deepcopy(config)
    _stamp(held)
    return {"Distribution": _shown(held), "ETag": held["etag"]}


@handler("cloudfront", "DeleteDistribution")
def delete_distribution(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(DISTRIBUTIONS, call.params["Id"], "NoSuchDistribution")
    _newest(call, held)
    if held["config"]["Enabled"] or _status(held) != "Deployed":
        raise AWSError("DistributionNotDisabled", "The specified CloudFront distribution is not disabled.", 409)
    del DISTRIBUTIONS[held["id"]]
    TAGS.pop(held["arn"], None)
    return {}


@handler("cloudfront", "ListDistributions")
def list_distributions(_call: Call, _front: Any) -> dict[str, Any]:
    items = []
    for held in DISTRIBUTIONS.values():
        shown = _shown(held)
        config = shown.pop("DistributionConfig")
        keys = "Aliases Origins DefaultCacheBehavior Comment PriceClass Enabled ViewerCertificate WebACLId HttpVersion"
        shown.update({key: config.get(key) for key in keys.split()})
        items.append({key: value for key, value in shown.items() if value is not None})
    listed = {"Marker": "", "MaxItems": 100, "IsTruncated": False, "Quantity": len(items), "Items": items}
    return {"DistributionList": listed}


# VPC origins


def _check_endpoint(config: dict[str, Any]) -> None:
    arn = config["Arn"]
    if ":loadbalancer/" in arn:
        balancer = elbv2_backends[ACCOUNT][arn.split(":")[3]].load_balancers.get(arn)
        if balancer is None or balancer.scheme != "internal" or not balancer.security_groups:
            text = "The load balancer does not exist, is not internal, or has no security group."
            raise AWSError("InvalidArgument", text, 400)


def _origin(held: dict[str, Any]) -> dict[str, Any]:
    when = {"CreatedTime": held["changed"], "LastModifiedTime": held["changed"]}
    shown = {"Id": held["id"], "Arn": held["arn"], "Status": "Deploying" if _status(held) != "Deployed" else "Deployed"}
    return {**shown, **when, "VpcOriginEndpointConfig": copy.deepcopy(held["config"])}


@handler("cloudfront", "CreateVpcOrigin")
def create_vpc_origin(call: Call, _front: Any) -> dict[str, Any]:
    config = call.params["VpcOriginEndpointConfig"]
    _check_endpoint(config)
    if any(other["config"]["Name"] == config["Name"] for other in ORIGINS.values()):
        raise AWSError("EntityAlreadyExists", "The entity already exists. You must provide a unique entity.", 409)
    identity = "vo_" + uuid.uuid4().hex[:20]
    held = {
        "id": identity,
        "config": copy.deepcopy(config),
        "arn": f"arn:aws:cloudfront::{ACCOUNT}:vpcorigin/{identity}",
    }
    _stamp(held)
    ORIGINS[identity] = held
    _keep_tags(held["arn"], call.params.get("Tags"))
    return {"VpcOrigin": _origin(held), "ETag": held["etag"]}


@handler("cloudfront", "GetVpcOrigin")
def get_vpc_origin(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(ORIGINS, call.params["Id"], "EntityNotFound")
    return {"VpcOrigin": _origin(held), "ETag": held["etag"]}


@handler("cloudfront", "ListVpcOrigins")
def list_vpc_origins(_call: Call, _front: Any) -> dict[str, Any]:
    items = []
    for held in ORIGINS.values():
        shown = _origin(held)
        config = shown.pop("VpcOriginEndpointConfig")
        items.append({**shown, "Name": config["Name"], "OriginEndpointArn": config["Arn"], "AccountId": ACCOUNT})
    listed = {"Marker": "", "MaxItems": 100, "IsTruncated": False, "Quantity": len(items), "Items": items}
    return {"VpcOriginList": listed}


@handler("cloudfront", "UpdateVpcOrigin")
def update_vpc_origin(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(ORIGINS, call.params["Id"], "EntityNotFound")
    _newest(call, held)
    _check_endpoint(call.params["VpcOriginEndpointConfig"])
    held["config"] = copy.deepcopy(call.params["VpcOriginEndpointConfig"])
    _stamp(held)
    return {"VpcOrigin": _origin(held), "ETag": held["etag"]}


@handler("cloudfront", "DeleteVpcOrigin")
def delete_vpc_origin(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(ORIGINS, call.params["Id"], "EntityNotFound")
    _newest(call, held)
    used = [
        origin
        for other in DISTRIBUTIONS.values()
        for origin in (other["config"].get("Origins") or {}).get("Items") or []
        if (origin.get("VpcOriginConfig") or {}).get("VpcOriginId") == held["id"]
    ]
    if used:
        text = "The entity cannot be deleted while it is in use."
        raise AWSError("CannotDeleteEntityWhileInUse", text, 409)
    shown = _origin(ORIGINS.pop(held["id"]))
    return {"VpcOrigin": shown, "ETag": held["etag"]}


# Tags


@handler("cloudfront", "ListTagsForResource")
def list_tags(call: Call, _front: Any) -> dict[str, Any]:
    held = TAGS.get(call.params["Resource"], {})
    return {"Tags": {"Items": [{"Key": key, "Value": value} for key, value in sorted(held.items())]}}


@handler("cloudfront", "TagResource")
def tag(call: Call, _front: Any) -> dict[str, Any]:
    if call.params["Resource"] not in TAGS:
        raise AWSError("NoSuchResource", "A resource that was specified is not valid.", 404)
    _keep_tags(call.params["Resource"], call.params["Tags"])
    return {}

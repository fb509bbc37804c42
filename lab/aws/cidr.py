"""CIDR collections of Route 53, which moto lacks. Source: Route 53 API Reference, ChangeCidrCollection."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

from lab.aws.call import AWSError, Call
from lab.aws.handlers import handler

#: Developer Guide, "IP-based routing": the longest prefixes; every address is the location *.
LONGEST = {4: 24, 6: 48}
COLLECTIONS: dict[str, dict[str, Any]] = {}
PAGE = 100


def _held(identity: str) -> dict[str, Any]:
    if identity not in COLLECTIONS:
        raise AWSError("NoSuchCidrCollectionException", "The CIDR collection you specified does not exist.", 404)
    return COLLECTIONS[identity]


def _shown(held: dict[str, Any]) -> dict[str, Any]:
    return {key: held[key] for key in ("Arn", "Id", "Name", "Version")}


@handler("route53", "CreateCidrCollection")
def create(call: Call, _front: Any) -> dict[str, Any]:
    if any(other["Name"] == call.params["Name"] for other in COLLECTIONS.values()):
        raise AWSError("CidrCollectionAlreadyExistsException", "A CIDR collection with this name exists already.", 400)
    identity = str(uuid.uuid4())
    arn = f"arn:aws:route53:::cidrcollection/{identity}"
    COLLECTIONS[identity] = {"Arn": arn, "Id": identity, "Name": call.params["Name"], "Version": 1, "blocks": {}}
    return {"Collection": _shown(COLLECTIONS[identity]), "Location": f"/2013-04-01/cidrcollection/{identity}"}


@handler("route53", "ChangeCidrCollection")
def change(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(call.params["Id"])
    wanted = call.params.get("CollectionVersion")
    if wanted is not None and wanted != held["Version"]:
        text = "The CIDR collection version you provided does not match the one in the account."
        raise AWSError("CidrCollectionVersionMismatchException", text, 409)
    blocks = dict(held["blocks"])
    for entry in call.params["Changes"]:
        for block in entry["CidrList"]:
            _apply(blocks, entry, block)
    held["blocks"], held["Version"] = blocks, held["Version"] + 1
    return {"Id": f"/change/C{uuid.uuid4().hex[:13].upper()}"}


def _apply(blocks: dict[str, str], entry: dict[str, Any], block: str) -> None:
    try:
        network = ipaddress.ip_network(block)
    except ValueError:
        raise AWSError("InvalidInput", f"{block} is not a valid CIDR block.", 400) from None
    if not 1 <= network.prefixlen <= LONGEST[network.version]:
        raise AWSError("InvalidInput", f"The prefix length of {block} is not allowed.", 400)
    if entry["Action"] == "DELETE_IF_EXISTS":
        if blocks.get(str(network)) == entry["LocationName"]:
            del blocks[str(network)]
        return
    if blocks.get(str(network), entry["LocationName"]) != entry["LocationName"]:
        raise AWSError("CidrBlockInUseException", f"{block} is in another location of the collection.", 400)
    blocks[str(network)] = entry["LocationName"]


@handler("route53", "ListCidrCollections")
def list_collections(call: Call, _front: Any) -> dict[str, Any]:
    return _page(call, [_shown(held) for held in COLLECTIONS.values()], "CidrCollections")


@handler("route53", "ListCidrBlocks")
def list_blocks(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(call.params["CollectionId"])
    items = [{"CidrBlock": block, "LocationName": location} for block, location in sorted(held["blocks"].items())]
    return _page(call, items, "CidrBlocks")


def _page(call: Call, items: list[dict[str, Any]], member: str) -> dict[str, Any]:
    size, start = int(call.params.get("MaxResults") or PAGE), int(call.params.get("NextToken") or 0)
    end = start + size
    return {member: items[start:end], **({"NextToken": str(end)} if end < len(items) else {})}


@handler("route53", "DeleteCidrCollection")
def delete(call: Call, _front: Any) -> dict[str, Any]:
    held = _held(call.params["Id"])
    if held["blocks"]:
        raise AWSError("CidrCollectionInUseException", "This CIDR collection is in use, and isn't empty.", 400)
    del COLLECTIONS[held["Id"]]
    return {}

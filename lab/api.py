"""What the machine's side of the lab reads from and reports to the lab's AWS."""

from __future__ import annotations

import http.client
import json
from typing import Any

import boto3
from botocore.config import Config

from lab.paths import Lab

# Calls of the lab itself are not counted and suffer no injected faults.
INTERNAL_HEADER = "X-Lab-Internal"


class NoAWS(RuntimeError):
    """The lab's AWS does not answer."""


def control(lab: Lab, method: str, path: str, document: Any = None, timeout: float = 10) -> Any:
    """One call of the control API (`path` without /_lab/). Raises NoAWS, or ValueError with the API's sentence."""
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=timeout)
    try:
        body = json.dumps(document) if document is not None else None
        connection.request(method, f"/_lab/{path}", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException):
        raise NoAWS(f"The AWS of lab {lab.name} does not answer on {lab.endpoint}; start it with `lab up`.") from None
    finally:
        connection.close()
    result = json.loads(content or b"{}")
    if answer.status >= 400:
        raise ValueError(result.get("error", f"HTTP {answer.status}"))
    return result


def ec2(lab: Lab, region: str | None = None) -> Any:
    """A boto3 EC2 client of the lab's administrator whose calls are neither counted nor made to fail."""
    client = boto3.client(
        "ec2",
        region_name=region or lab.region,
        endpoint_url=lab.endpoint,
        config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=30, max_pool_connections=16),
        **lab.credentials,
    )
    client.meta.events.register("before-send.ec2.*", _mark)
    return client


def _mark(request: Any, **_: Any) -> None:
    request.headers[INTERNAL_HEADER] = "1"


def pages(client: Any, call: str, key: str, **arguments: Any) -> list[dict]:
    return [item for page in client.get_paginator(call).paginate(**arguments) for item in page[key]]


def instances(client: Any) -> list[dict]:
    return [i for r in pages(client, "describe_instances", "Reservations") for i in r["Instances"]]


def tag_of(instance: dict, key: str) -> str:
    """A tag's value, or nothing."""
    return next((tag["Value"] for tag in instance.get("Tags", []) if tag["Key"] == key), "")


def name_of(instance: dict) -> str:
    """The Name tag, or nothing."""
    return tag_of(instance, "Name")


def find(lab: Lab, wanted: str) -> dict:
    """The instance with this id or Name, the living one if several had the name. Raises ValueError."""
    found = [i for i in instances(ec2(lab)) if wanted in (i["InstanceId"], name_of(i))]
    living = [i for i in found if i["State"]["Name"] not in ("shutting-down", "terminated")]
    if len(living) > 1:
        raise ValueError(f"{len(living)} instances have the name {wanted}; use one of the ids in `lab status`.")
    if not living:
        raise ValueError(f"The lab {lab.name} has no instance {wanted}; `lab status` shows those it has.")
    return living[0]

"""What Parameter Store refuses. Source: SSM API Reference, PutParameter and GetParametersByPath."""

from __future__ import annotations

import re
from typing import Any

from lab.aws.call import Call
from lab.aws.rules import rule

PUT = "SSM API Reference, PutParameter"
MAX_LEVELS = 15
MAX_NAME = 1011
SIZES = {"Standard": 4096, "Advanced": 8192, "Intelligent-Tiering": 8192}


@rule(
    "ssm",
    "PutParameter",
    "ValidationException",
    'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of '
    "sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 "
    "symbols .-_",
    PUT,
)
def name_characters(call: Call) -> dict[str, Any] | None:
    name = call.params.get("Name", "")
    good = re.fullmatch(r"/?[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)*", name)
    return None if good else {}


@rule(
    "ssm",
    "PutParameter",
    "ValidationException",
    "Parameter name must be a fully qualified name: it must begin with a slash when it contains one.",
    PUT,
)
def name_qualified(call: Call) -> dict[str, Any] | None:
    name = call.params.get("Name", "")
    return {} if "/" in name and not name.startswith("/") else None


@rule(
    "ssm",
    "PutParameter",
    "HierarchyLevelLimitExceededException",
    "Hierarchy can have a maximum of {limit} levels.",
    PUT,
)
def levels(call: Call) -> dict[str, Any] | None:
    return {"limit": MAX_LEVELS} if call.params.get("Name", "").strip("/").count("/") >= MAX_LEVELS else None


@rule("ssm", "PutParameter", "ValidationException", "The parameter name is longer than {limit} characters.", PUT)
def name_length(call: Call) -> dict[str, Any] | None:
    return {"limit": MAX_NAME} if len(call.params.get("Name", "")) > MAX_NAME else None


@rule(
    "ssm",
    "PutParameter",
    "ValidationException",
    "{tier} tier parameters support a maximum parameter value of {limit} characters.",
    PUT,
)
def value_length(call: Call) -> dict[str, Any] | None:
    tier = call.params.get("Tier") or "Standard"
    limit = SIZES.get(tier, SIZES["Standard"])
    return {"tier": tier, "limit": limit} if len(call.params.get("Value", "").encode()) > limit else None


@rule(
    "ssm",
    "PutParameter",
    "ParameterAlreadyExists",
    "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
    PUT,
)
def parameter_exists(call: Call) -> dict[str, Any] | None:
    held = call.backend()._parameters.get(call.params.get("Name"))
    return {} if held and not call.params.get("Overwrite") else None


@rule(
    "ssm",
    "GetParametersByPath",
    "ValidationException",
    "The parameter path must begin with a slash: {path}",
    "SSM API Reference, GetParametersByPath",
)
def path_form(call: Call) -> dict[str, Any] | None:
    path = call.params.get("Path", "")
    return None if path.startswith("/") else {"path": path}

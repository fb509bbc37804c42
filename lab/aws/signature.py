"""Signature version 4, checked. Source: IAM User Guide, "Create a signed AWS API request"."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
import urllib.parse
from typing import Any

from lab.aws.call import AWSError, Call
from lab.aws.credentials import Directory, Expired, Identity

MAX_SKEW_SECONDS = 300
S3_MAX_SKEW_SECONDS = 900
# service -> codes for: no signature, unknown key, expired token. Others follow their protocol.
CODES = {
    "ec2": ("AuthFailure", "AuthFailure", "RequestExpired"),
    "s3": ("AccessDenied", "InvalidAccessKeyId", "ExpiredToken"),
}
QUERY_CODES = ("MissingAuthenticationToken", "InvalidClientTokenId", "ExpiredToken")
JSON_CODES = ("MissingAuthenticationTokenException", "UnrecognizedClientException", "ExpiredTokenException")
MESSAGES = (
    "Request is missing Authentication Token",
    "The security token included in the request is invalid.",
    "The security token included in the request is expired",
)
EC2_MESSAGES = (
    "AWS was not able to validate the provided access credentials",
    "AWS was not able to validate the provided access credentials",
    "Request has expired.",
)
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


def refusal(call: Call, kind: int) -> AWSError:
    """The service's own error for a missing signature (0), an unknown key (1) or an expired token (2)."""
    codes = CODES.get(call.service, JSON_CODES if "json" in call.protocol else QUERY_CODES)
    messages = EC2_MESSAGES if call.service == "ec2" else MESSAGES
    status = {"ec2": (401, 401, 400)}.get(call.service, (400, 400, 400) if "json" in call.protocol else (403, 403, 403))
    return AWSError(codes[kind], messages[kind], status[kind])


def authenticate(call: Call, directory: Directory) -> Identity:
    """The caller's identity. Raises AWSError as AWS refuses: unsigned, unknown key, expired, wrong signature."""
    signed = _signed_parts(call.environ)
    if signed is None:
        raise refusal(call, 0)
    try:
        identity = directory.find(call.access_key, signed["token"])
    except Expired:
        raise refusal(call, 2) from None
    if identity is None:
        raise refusal(call, 1)
    _check_age(call, signed)
    if not hmac.compare_digest(_sign(call, signed, identity.secret_key), signed["signature"]):
        code = "InvalidSignatureException" if "json" in call.protocol else "SignatureDoesNotMatch"
        if call.service == "ec2":
            code = "AuthFailure"
        raise AWSError(code, MISMATCH, 401 if call.service == "ec2" else 403 if "json" not in call.protocol else 400)
    return identity


def _signed_parts(environ: dict[str, Any]) -> dict[str, Any] | None:
    header = environ.get("HTTP_AUTHORIZATION", "")
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^,]+),\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})", header
    )
    if found:
        return {
            "scope": found.group(1).split("/", 1)[1],
            "headers": found.group(2).split(";"),
            "signature": found.group(3),
            "date": environ.get("HTTP_X_AMZ_DATE", ""),
            "token": environ.get("HTTP_X_AMZ_SECURITY_TOKEN", ""),
            "query": environ.get("QUERY_STRING", ""),
            "presigned": 0,
        }
    return _presigned_parts(environ)


def _presigned_parts(environ: dict[str, Any]) -> dict[str, Any] | None:
    raw = environ.get("QUERY_STRING", "")
    query = dict(urllib.parse.parse_qsl(raw, keep_blank_values=True))
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" or "/" not in query.get("X-Amz-Credential", ""):
        return None
    return {
        "scope": query["X-Amz-Credential"].split("/", 1)[1],
        "headers": query.get("X-Amz-SignedHeaders", "").split(";"),
        "signature": query.get("X-Amz-Signature", ""),
        "date": query.get("X-Amz-Date", ""),
        "token": query.get("X-Amz-Security-Token", ""),
        "query": "&".join(p for p in raw.split("&") if not p.startswith("X-Amz-Signature=")),
        "presigned": int(query.get("X-Amz-Expires", "0") or 0),
    }


def _check_age(call: Call, signed: dict[str, Any]) -> None:
    try:
        made = calendar.timegm(time.strptime(signed["date"], "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise refusal(call, 0) from None
    age = time.time() - made
    if signed["presigned"]:
        if age > signed["presigned"]:
            raise AWSError("AccessDenied", "Request has expired", 403)
        return
    if call.service == "s3" and abs(age) > S3_MAX_SKEW_SECONDS:
        message = "The difference between the request time and the current time is too large."
        raise AWSError("RequestTimeTooSkewed", message, 403)
    if call.service != "s3" and abs(age) > MAX_SKEW_SECONDS:
        message = f"Signature expired: {signed['date']} is not within 5 minutes of the server's clock."
        code = "RequestExpired" if call.service == "ec2" else "SignatureDoesNotMatch"
        code = "InvalidSignatureException" if "json" in call.protocol else code
        raise AWSError(code, message, 400 if call.service == "ec2" else 403)


def _header(environ: dict[str, Any], name: str) -> str:
    key = name.upper().replace("-", "_")
    value = environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", "")
    return re.sub(r" +", " ", value.strip())


def _canonical_path(call: Call) -> str:
    raw = urllib.parse.urlsplit(call.environ.get("RAW_URI", "/")).path or "/"
    if call.service == "s3":
        return raw
    return urllib.parse.quote(raw, safe="/~")


def _canonical_query(query: str) -> str:
    pairs = []
    for part in query.split("&"):
        if part:
            name, _equals, value = part.partition("=")
            pairs.append((name, value.replace("+", "%20")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _payload_hash(call: Call, signed: dict[str, Any]) -> str:
    stated = call.environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    if call.service == "s3":
        return stated or "UNSIGNED-PAYLOAD"
    if signed["presigned"]:
        return hashlib.sha256(b"").hexdigest()
    return hashlib.sha256(call.body).hexdigest()


def _sign(call: Call, signed: dict[str, Any], secret_key: str) -> str:
    headers = "".join(f"{name}:{_header(call.environ, name)}\n" for name in signed["headers"])
    request = "\n".join(
        [
            call.environ["REQUEST_METHOD"],
            _canonical_path(call),
            _canonical_query(signed["query"]),
            headers,
            ";".join(signed["headers"]),
            _payload_hash(call, signed),
        ]
    )
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", signed["date"], signed["scope"], digest])
    key = b"AWS4" + secret_key.encode()
    for part in signed["scope"].split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

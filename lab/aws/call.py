"""One AWS request: which service and action it is, its parameters, and how to answer in that service's protocol."""

from __future__ import annotations

import json
import re
import urllib.parse
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import XFormedAttributePicker, get_serializer_class
from moto.core.utils import get_service_model

ACCOUNT = "123456789012"
REST = ("rest-xml", "rest-json")
# Signing names that differ from botocore's service names.
BOTOCORE_NAMES = {
    "access-analyzer": "accessanalyzer",
    "monitoring": "cloudwatch",
    "elasticloadbalancing": "elbv2",
    "email": "ses",
    "sso": "sso-admin",
    "tagging": "resourcegroupstaggingapi",
}
# Words with which the names of reading actions begin.
READING = ("Describe", "Get", "List", "Head", "Search", "Lookup", "Simulate", "Check", "Query", "Scan", "BatchGet")
GLOBAL_SERVICES = ("iam", "route53", "cloudfront", "sts")

XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
ERROR_EC2 = (
    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    "<RequestID>{request}</RequestID></Response>"
)
ERROR_S3 = (
    "<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request}</RequestId><HostId>lab</HostId></Error>"
)
ERROR_QUERY = (
    '<ErrorResponse xmlns="{space}"><Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message></Error>'
    "<RequestId>{request}</RequestId></ErrorResponse>"
)

CURRENT: ContextVar[Call | None] = ContextVar("current_call", default=None)


class AWSError(Exception):
    """An error AWS would answer. `code` and `message` are AWS's, `status` the HTTP status, `extra` further members."""

    def __init__(self, code: str, message: str, status: int = 400, **extra: Any):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.extra = code, message, status, extra


@dataclass
class Answer:
    """A complete HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> bool:
        return self.status >= 400


@dataclass
class Call:
    """One request. `params` are named and typed as boto3's; `moto` is moto's name of the service's package."""

    service: str
    region: str
    action: str
    access_key: str
    model: ServiceModel
    protocol: str
    environ: dict[str, Any]
    body: bytes
    params: dict[str, Any] = field(default_factory=dict)
    identity: Any = None
    state: Any = None

    @property
    def reads(self) -> bool:
        return self.action.startswith(READING)

    @property
    def internal(self) -> bool:
        """Whether the lab itself calls: neither counted nor made to fail."""
        return self.environ.get("HTTP_X_LAB_INTERNAL") == "1"

    def backend(self, service: str | None = None, region: str | None = None) -> Any:
        """moto's backend of a service in this call's region; IAM, STS and Route 53 have one for all regions."""
        from moto.backends import get_backend

        service = service or self.service
        backends = get_backend(service)[ACCOUNT]
        return backends["aws"] if service in GLOBAL_SERVICES and service != "sts" else backends[region or self.region]

    def operation(self) -> OperationModel:
        if self.action in self.model.operation_names:
            return self.model.operation_model(self.action)
        return OperationModel({}, self.model)

    def answer(self, result: Any) -> Answer:
        """Serialise a result (members named as boto3's) or an AWSError."""
        if isinstance(result, AWSError):
            return self._error(result)
        if self.service == "sts" and self.environ.get("HTTP_ACCEPT") == "application/json":
            return self._json(result)
        serializer = get_serializer_class(self.model.service_name, self.protocol)
        picker = XFormedAttributePicker(response_transformers=_transformers() if self.service == "ec2" else {})
        return _answer(serializer(operation_model=self.operation(), value_picker=picker).serialize(result))

    def _json(self, result: Any) -> Answer:
        """STS answers so who asks for it. Source: pkg/token of aws-iam-authenticator, which reads nothing else."""
        told = {f"{self.action}Result": result, "ResponseMetadata": {"RequestId": str(uuid.uuid4())}}
        document = json.dumps({f"{self.action}Response": told})
        return Answer(200, {"Content-Type": "application/json"}, document.encode())

    def _error(self, error: AWSError) -> Answer:
        """The error document of the service's protocol. Source: the AWS protocol tests in botocore (error traits)."""
        if "json" in self.protocol:
            document = {"__type": error.code, "message": error.message, **error.extra}
            headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": error.code}
            return Answer(error.status, headers, json.dumps(document).encode())
        code, message, request = escape(error.code), escape(error.message), uuid.uuid4()
        side = "Sender" if error.status < 500 else "Receiver"
        if self.protocol == "ec2":
            body = ERROR_EC2.format(code=code, message=message, request=request)
        elif self.service == "s3":
            body = ERROR_S3.format(code=code, message=message, request=request)
        else:
            body = ERROR_QUERY.format(code=code, message=message, request=request, side=side, space=self._namespace())
        return Answer(error.status, {"Content-Type": "text/xml"}, (XML + body).encode())

    def _namespace(self) -> str:
        metadata = self.model.metadata
        return metadata.get("xmlNamespace") or "https://route53.amazonaws.com/doc/2013-04-01/"


def _transformers() -> dict[str, Any]:
    from moto.ec2.responses import EC2Response

    return EC2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER


def _answer(serialized: Any) -> Answer:
    body = serialized["body"]
    body = body.encode() if isinstance(body, str) else bytes(body or b"")
    headers = {str(k): str(v) for k, v in serialized["headers"].items()}
    return Answer(int(serialized["status_code"]), headers, body)


def scope(environ: dict[str, Any]) -> tuple[str, str, str] | None:
    """Access key, region and service from the signature's credential scope, or None for an unsigned request."""
    found = re.search(r"Credential=([^,\s]+)", environ.get("HTTP_AUTHORIZATION", ""))
    text = found.group(1) if found else None
    if text is None:
        query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
        text = query.get("X-Amz-Credential", [None])[0]
    parts = text.split("/") if text else []
    return (parts[0], parts[2], parts[3]) if len(parts) == 5 else None


def service_of_host(host: str) -> tuple[str, str] | None:
    """Service and region that a host name of AWS stands for, or None for another name."""
    name = host.split(":")[0].removesuffix(".amazonaws.com")
    if name == host.split(":")[0]:
        return None
    labels = name.split(".")
    if "s3" in labels:
        after = labels[labels.index("s3") + 1 :]
        return "s3", after[0] if after else "us-east-1"
    return labels[0], labels[1] if len(labels) > 1 else "us-east-1"


def path_style(environ: dict[str, Any]) -> dict[str, Any]:
    """What changes of a virtual-host style S3 request when its bucket goes into the path; {} for any other request."""
    host = environ.get("HTTP_HOST", "").split(":")[0]
    found = service_of_host(host)
    bucket = host.removesuffix(".amazonaws.com").split(".s3")[0] if found and ".s3" in host else ""
    if not found or found[0] != "s3" or not bucket:
        return {}
    return {
        "PATH_INFO": f"/{bucket}{environ['PATH_INFO']}",
        "RAW_URI": f"/{bucket}{environ['RAW_URI']}",
        "HTTP_HOST": f"s3.{found[1]}.amazonaws.com",
    }


def parse(environ: dict[str, Any], body: bytes) -> Call:
    """Find service, action and parameters. Raises AWSError (without a protocol to answer in: query) if it cannot."""
    signed = scope(environ)
    access_key, region, signing_name = signed or ("", *_unsigned(environ))
    service = BOTOCORE_NAMES.get(signing_name, signing_name)
    model = get_service_model(service)
    request = Request({**environ, **path_style(environ)})
    protocol = "rest-xml" if service == "s3" else determine_request_protocol(model, request.content_type)
    call = Call(service, region, "", access_key, model, protocol, environ, body)
    url_params: dict[str, Any] = {}
    if protocol in REST:
        try:
            operation, url_params = get_service_router(service).match(request)
            call.action = operation.name
        except Exception:
            call.action = f"{request.method} {request.path}"
    elif "json" in protocol:
        call.action = environ.get("HTTP_X_AMZ_TARGET", "").split(".")[-1]
    else:
        call.action = request.values.get("Action", "")
    if service != "s3" and call.action in model.operation_names:
        call.params = _parameters(call, request, url_params)
    return call


def _parameters(call: Call, request: Request, url_params: dict[str, Any]) -> dict[str, Any]:
    parser = PROTOCOL_PARSERS[call.protocol](call.operation())
    return parser.parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": call.body,
            "url_path": request.path,
            "url_params": url_params,
        }
    )


def _unsigned(environ: dict[str, Any]) -> tuple[str, str]:
    """Region and service of a request without a signature: by host name, by target, by version, else S3."""
    by_host = service_of_host(environ.get("HTTP_HOST", ""))
    if by_host:
        return by_host[1], by_host[0]
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    for prefix, service in (
        ("AmazonSSM", "ssm"),
        ("DynamoDB_", "dynamodb"),
        ("TrentService", "kms"),
        ("AWSWAF", "wafv2"),
    ):
        if target.startswith(prefix):
            return "us-east-1", service
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return "us-east-1", "ec2"
    return "us-east-1", "s3"

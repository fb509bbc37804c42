# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One boto3 session, one client per service and region, and calls that keep to AWS's request rates."""

from __future__ import annotations

import concurrent.futures
import os
import random
import threading
import time
import traceback

from ansible.module_utils.basic import env_fallback, missing_required_lib

try:
    import boto3
    import botocore.config
    import botocore.credentials
    import botocore.exceptions
    import botocore.session

    BOTO_ERROR = None
except ImportError:
    BOTO_ERROR = traceback.format_exc()

#: botocore.retries.standard.ThrottledRetryableChecker, and the codes that services use besides.
THROTTLE_CODES = frozenset((
    "BandwidthLimitExceeded", "EC2ThrottledException", "LimitExceededException", "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException",
    "SlowDown", "ThrottledException", "Throttling", "ThrottlingException", "TooManyRequestsException",
    "TooManyUpdates", "TransactionInProgressException", "Client.RequestLimitExceeded",
))  # fmt: skip
#: Where LimitExceededException is a rate (DynamoDB: operations on tables at the same time); elsewhere it is a quota
#: that no waiting changes. Source: the error descriptions of the services' API references.
LIMITS_THAT_PASS = ("dynamodb", "kinesis")
#: Errors that a later try may not meet: the request reached nobody, or the service failed.
TRANSIENT_CODES = frozenset((
    "RequestTimeout", "RequestTimeoutException", "InternalError", "ServiceUnavailable", "InternalServerError",
    "IDPCommunicationError", "BadDigest", "ReplicatedWriteConflictException",
))  # fmt: skip
TRANSIENT_STATUS = frozenset((500, 502, 503, 504))
TRANSIENT_TRIES = 4

#: Another change of the same thing is under way and this one was not begun, so any call may be made again.
#: Source: S3 API Reference, Error responses; IAM API Reference, error tables.
BUSY_CODES = frozenset(("ConcurrentModification", "EntityTemporarilyUnmodifiable", "OperationAborted"))
BUSY_TRIES = 8

CREDENTIAL_CODES = frozenset((
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId",
    "RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException", "IncompleteSignature",
))  # fmt: skip
DENIED_CODES = frozenset(("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"))

#: Token buckets (size, refill per second) by service and action family; the action itself, read, write or "*".
#: Route 53: "Throttling for Amazon Route 53 API requests", 50 and 10/s for the account, whatever the action.
#: EC2: "Request throttling for the Amazon EC2 API", describe 100 and 20/s, changes 50 and 10/s, RunInstances 5 and 2/s.
#: SSM: service quotas, GetParametersByPath 40/s, PutParameter 3/s. WAFv2: one change a second for each action.
#: DynamoDB: "Quotas", changes of tables 10/s where ten may be under way. CloudTrail: "Quotas", 10/s, LookupEvents 2/s.
#: CloudWatch: "Service quotas", PutMetricAlarm 3/s, DescribeAlarms 9/s, PutDashboard 10/s.
RATES = {
    ("route53", "*"): (50, 10),
    ("ec2", "read"): (100, 20),
    ("ec2", "write"): (50, 10),
    ("ec2", "run_instances"): (5, 2),
    ("ssm", "read"): (40, 40),
    ("ssm", "write"): (10, 3),
    ("wafv2", "read"): (10, 5),
    ("wafv2", "write"): (10, 1),
    ("dynamodb", "write"): (10, 10),
    ("cloudtrail", "*"): (10, 10),
    ("cloudtrail", "lookup_events"): (2, 2),
    ("cloudwatch", "write"): (9, 3),
    ("cloudwatch", "read"): (9, 9),
    ("iam", "write"): (20, 5),
    ("s3", "read"): (100, 100),
    ("s3", "write"): (50, 20),
}
#: One account has one bucket for these, whatever the region of the client.
GLOBAL_SERVICES = ("cloudfront", "globalaccelerator", "iam", "route53", "shield")
#: What IAM calls a service where that is not its signing name. Source: Service Authorization Reference.
IAM_PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}
DEFAULT_RATE = (50, 10)

#: Back-off: 0.25 s doubling to 8 s, with equal jitter, so ten throttles in a row cost at most 50 s.
FIRST_DELAY = 0.25
LONGEST_DELAY = 8.0
DEADLINE = 300.0
#: Calls of one module that are under way at the same time; the clients hold 16 connections.
WORKERS = 8
#: GetResources takes so many ARNs in one call.
TAGS_PAGE = 100

#: How the paged actions ask for the next page: member of the answer to parameter of the request.
NEXT = (
    ("NextToken", "NextToken"),
    ("nextToken", "nextToken"),
    # The later one counts: some services repeat what they were asked for beside what comes next.
    ("ContinuationToken", "ContinuationToken"),
    ("NextContinuationToken", "ContinuationToken"),
    ("Marker", "Marker"),
    ("NextMarker", "Marker"),
    ("NextRecordName", "StartRecordName"),
    ("NextRecordType", "StartRecordType"),
    ("NextRecordIdentifier", "StartRecordIdentifier"),
)


class AwsError(Exception):
    """A call that failed for good; the text is one sentence. C(code) is AWS's code, "" when AWS was not reached."""

    def __init__(self, sentence, code=""):
        super(AwsError, self).__init__(sentence)
        self.code = code


class Clock:
    """The machine's clock: C(now()) in seconds, never going back, and C(sleep(seconds))."""

    def now(self):
        return time.monotonic()

    def sleep(self, seconds):
        time.sleep(seconds)


class TokenBucket:
    """A bucket of C(size) tokens, refilled by C(rate) a second; C(take()) waits until there is one."""

    def __init__(self, size, rate, clock):
        self.size, self.rate, self.clock = size, rate, clock
        self.tokens, self.seen = float(size), clock.now()
        self.lock = threading.Lock()

    def _refill(self):
        now = self.clock.now()
        self.tokens = min(self.size, self.tokens + (now - self.seen) * self.rate)
        self.seen = now

    def take(self):
        with self.lock:
            self._refill()
            self.tokens -= 1
            missing = -self.tokens / self.rate
        if missing > 0:
            self.clock.sleep(missing)

    def drain(self):
        """Forget the saved tokens: AWS has just said that there are none."""
        with self.lock:
            self._refill()
            self.tokens = min(self.tokens, 0.0)


def argument_spec():
    """Return the connection options that every AWS module of this collection takes, named as amazon.aws does."""

    def text(aliases, environment, **more):
        return {"type": "str", "aliases": aliases, "fallback": (env_fallback, environment), **more}

    return {
        "region": text(["aws_region"], ["AWS_REGION", "AWS_DEFAULT_REGION"]),
        "profile": text(["aws_profile"], ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]),
        "access_key": text(
            ["aws_access_key_id", "aws_access_key"], ["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"], no_log=False
        ),
        "secret_key": text(
            ["aws_secret_access_key", "aws_secret_key"], ["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"], no_log=True
        ),
        "session_token": text(["aws_session_token"], ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"], no_log=True),
        "endpoint_url": text(["aws_endpoint_url"], ["AWS_ENDPOINT_URL", "AWS_URL"]),
        "aws_ca_bundle": {"type": "path", "fallback": (env_fallback, ["AWS_CA_BUNDLE"])},
        "validate_certs": {"type": "bool", "default": True},
        "aws_config": {"type": "dict"},
        "debug_botocore_endpoint_logs": {
            "type": "bool",
            "default": False,
            "fallback": (env_fallback, ["ANSIBLE_DEBUG_BOTOCORE_LOGS"]),
        },
        "assume_role_arn": {"type": "str", "aliases": ["iam_role_arn"]},
    }


OPTIONS = tuple(argument_spec())


def tag_options():
    """Return the options of the doc fragment C(aws.tags)."""
    return {"tags": {"type": "dict", "default": {}}, "purge_tags": {"type": "bool", "default": True}}


def require_boto(module):
    """End I(module) with one sentence when boto3 is not installed."""
    if BOTO_ERROR:
        module.fail_json(msg=missing_required_lib("boto3 and botocore"), exception=BOTO_ERROR)


def run(module, manage):
    """Call I(manage)(connection), and end I(module) with its result or with the sentence of an AwsError.

    With C(debug_botocore_endpoint_logs) the result has C(resource_actions) as amazon.aws's modules do.
    """
    require_boto(module)
    connection = Aws(module.params)
    more = {}
    try:
        outcome, fault = manage(connection), ""
    except AwsError as error:
        outcome, fault = {}, str(error)
    if module.params["debug_botocore_endpoint_logs"]:
        more["resource_actions"] = connection.resource_actions()
    if fault:
        module.fail_json(msg=fault, **more)
    module.exit_json(**outcome, **more)


def is_read(operation):
    """Tell whether a boto3 method only reads, so that a second try cannot do anything twice."""
    return operation.startswith(("describe_", "get_", "list_", "head_", "simulate_", "check_", "lookup_"))


def parallel(function, items, workers=WORKERS):
    """Return I(function) of each item, in the order of the items, several at a time; the first error is raised."""
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    with concurrent.futures.ThreadPoolExecutor(min(workers, len(items))) as pool:
        return list(pool.map(function, items))


class Aws:
    """Clients of one account.

    :arg options: dict with any of the names in C(OPTIONS); values of None are left to boto3's own search.
    :arg clock: what tells the time and sleeps; tests give one of their own.
    :arg deadline: seconds after which a call that is throttled again and again is given up.
    """

    def __init__(self, options=None, clock=None, deadline=DEADLINE, rates=None):
        self.options = {name: (options or {}).get(name) or None for name in OPTIONS}
        self.verify = (options or {}).get("validate_certs") is not False and (self.options["aws_ca_bundle"] or True)
        self.clock = clock or Clock()
        self.deadline = deadline
        self.rates = RATES if rates is None else rates
        self._session = None
        self._clients = {}
        self._buckets = {}
        self._lock = threading.Lock()

    @property
    def region(self):
        """The region of the options or the environment; raises AwsError without one."""
        region = self.options["region"] or os.environ.get("AWS_REGION") or self.session.region_name
        if not region:
            raise AwsError("No AWS region is given: set the option region, or AWS_REGION in the environment.")
        return region

    @property
    def session(self):
        if self._session is None:
            try:
                self._session = self._open_session()
            except botocore.exceptions.BotoCoreError as error:
                raise AwsError(f"The AWS session cannot be opened: {error}.") from error
        return self._session

    def _open_session(self):
        options = self.options
        keys = {}
        if options["access_key"]:
            keys = {
                "aws_access_key_id": options["access_key"],
                "aws_secret_access_key": options["secret_key"],
                "aws_session_token": options["session_token"],
            }
        elif options["profile"]:
            keys = {"profile_name": options["profile"]}
        session = boto3.Session(region_name=options["region"], **keys)
        return self._assume_role(session) if options["assume_role_arn"] else session

    def _assume_role(self, session):
        """Return a session of the role; its credentials are fetched again before they end."""

        def create_client(service, **arguments):
            arguments.pop("region_name", None)
            return session.client(service, endpoint_url=self.options["endpoint_url"], verify=self.verify, **arguments)

        fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
            client_creator=create_client,
            source_credentials=session.get_credentials(),
            role_arn=self.options["assume_role_arn"],
            extra_args={"RoleSessionName": "selfhosted.ec2"},
        )
        assumed = botocore.session.Session()
        assumed._credentials = botocore.credentials.DeferredRefreshableCredentials(
            refresh_using=fetcher.fetch_credentials, method="assume-role"
        )
        return boto3.Session(botocore_session=assumed, region_name=self.options["region"])

    def client(self, service, region=None):
        """Return the C(Client) of a service in a region (default: the session's)."""
        region = region or self.region
        with self._lock:
            if (service, region) not in self._clients:
                self._clients[(service, region)] = Client(self, self._boto_client(service, region), service, region)
            return self._clients[(service, region)]

    def _boto_client(self, service, region):
        # Retries are ours: botocore's three tries know no deadline and no bucket.
        settings = {
            "connect_timeout": 10,
            "read_timeout": 60,
            "max_pool_connections": 16,
            "user_agent_extra": "selfhosted.ec2",
            **(self.options["aws_config"] or {}),
            "retries": {"mode": "standard", "total_max_attempts": 1},
        }
        try:
            return self.session.client(
                service,
                region_name=region,
                endpoint_url=self.options["endpoint_url"],
                verify=self.verify,
                config=botocore.config.Config(**settings),
            )
        except (botocore.exceptions.BotoCoreError, TypeError, ValueError) as error:
            raise AwsError(f"No client for {service} in {region} can be made: {error}.") from error

    def resource_actions(self):
        """Return the actions called so far, as IAM and amazon.aws's C(resource_actions) name them, sorted."""
        found = set()
        for client in self._clients.values():
            prefix = client.boto.meta.service_model.signing_name
            found |= {f"{IAM_PREFIXES.get(prefix, prefix)}:{_api_name(client.boto, name)}" for name in client.calls}
        return sorted(found)

    def bucket(self, service, region, operation):
        """Return the token bucket of an action: by its own name, else read or write, else the service's."""
        family = "read" if is_read(operation) else "write"
        name = next((n for n in (operation, family, "*") if (service, n) in self.rates), family)
        key = (service, "" if service in GLOBAL_SERVICES else region, name)
        with self._lock:
            if key not in self._buckets:
                size, rate = self.rates.get((service, name), DEFAULT_RATE)
                self._buckets[key] = TokenBucket(size, rate, self.clock)
            return self._buckets[key]


class Client:
    """A client of one service in one region. C(calls) counts the requests sent, by boto3 method name."""

    def __init__(self, aws, boto, service, region):
        self.aws, self.boto, self.service, self.region = aws, boto, service, region
        self.calls = {}

    def call(self, operation, **parameters):
        """Call a boto3 method such as C(describe_instances) and return its answer.

        Waits for a token, tries again with jittered back-off when throttled, and when the service failed and the
        call reads or carries a ClientToken. Raises AwsError with one sentence when it cannot be done.
        """
        clock = self.aws.clock
        bucket = self.aws.bucket(self.service, self.region, operation)
        started, tries = clock.now(), 0
        while True:
            bucket.take()
            tries += 1
            self.calls[operation] = self.calls.get(operation, 0) + 1
            try:
                return getattr(self.boto, operation)(**parameters)
            except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
                delay = back_off(tries)
                late = clock.now() - started + delay > self.aws.deadline
                if late or not self._may_retry(error, operation, parameters, tries):
                    raise self._failure(operation, error, tries) from error
                if self._throttled(error):
                    bucket.drain()
                clock.sleep(delay)

    def pages(self, operation, key, **parameters):
        """Return the items below I(key) of all pages of a reading call."""
        items = []
        while True:
            answer = self.call(operation, **parameters)
            items.extend(answer.get(key) or [])
            following = next_page(answer)
            if not following:
                return items
            parameters = {**parameters, **following}

    def _may_retry(self, error, operation, parameters, tries):
        if self._throttled(error) or (error_code(error) in BUSY_CODES and tries < BUSY_TRIES):
            return True
        if tries >= TRANSIENT_TRIES or not is_transient(error):
            return False
        return is_read(operation) or "ClientToken" in parameters or connection_refused(error)

    def _throttled(self, error):
        return is_throttle(self.service, error_code(error))

    def _failure(self, operation, error, tries):
        where = f"{self.service}:{_api_name(self.boto, operation)} in {self.region}"
        code = error_code(error)
        return AwsError(sentence(where, error, code, tries, self._throttled(error)), code)


def is_throttle(service, code):
    """Tell whether an error code of a service says that it was called too often."""
    return code in THROTTLE_CODES and (code != "LimitExceededException" or service in LIMITS_THAT_PASS)


def _api_name(boto, operation):
    """Return the API's name of a boto3 method, by the client's own table where it is a real client."""
    names = getattr(getattr(boto, "meta", None), "method_to_api_mapping", None)
    return names.get(operation, operation_name(operation)) if isinstance(names, dict) else operation_name(operation)


def next_page(answer):
    """Return the parameters that ask for the page after I(answer), {} when it was the last."""
    if answer.get("IsTruncated") is False:
        return {}
    return {parameter: answer[member] for member, parameter in NEXT if answer.get(member)}


def back_off(tries):
    """Return the seconds to wait after the I(tries)-th try: doubling, at most 8, between a half and the whole of it."""
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(tries - 1, 16))
    return longest * (0.5 + random.random() / 2)  # noqa: S311


def error_code(error):
    """Return AWS's code of an exception, "" for one that is not AWS's answer."""
    return getattr(error, "response", {}).get("Error", {}).get("Code", "")


def is_transient(error):
    """Tell whether the same call may succeed a little later."""
    if isinstance(error, botocore.exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return error_code(error) in TRANSIENT_CODES or status in TRANSIENT_STATUS
    return isinstance(error, (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError))


def connection_refused(error):
    """Tell whether the request cannot have reached the service."""
    return isinstance(error, (botocore.exceptions.EndpointConnectionError, botocore.exceptions.ConnectTimeoutError))


def operation_name(operation):
    """Return the API's name of a boto3 method: describe_instances is DescribeInstances."""
    return "".join(word.capitalize() for word in operation.split("_"))


def sentence(where, error, code, tries, throttled=None):
    """Return one sentence: the action, what AWS answered, its code and request id."""
    if isinstance(error, botocore.exceptions.NoCredentialsError):
        return (
            f"{where} was not called: there are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
            " or AWS_PROFILE, or use an instance profile."
        )
    if not isinstance(error, botocore.exceptions.ClientError):
        return f"{where} failed after {tries} tries: {str(error).rstrip('.')}."
    message = error.response["Error"].get("Message", "").rstrip(".")
    request = error.response.get("ResponseMetadata", {}).get("RequestId", "unknown")
    tail = f"({code}, request {request})"
    if throttled if throttled is not None else code in THROTTLE_CODES:
        return f"{where} is still throttled after {tries} tries: {message} {tail}."
    if code in CREDENTIAL_CODES:
        return f"{where} was refused, AWS does not accept the credentials: {message} {tail}."
    if code in DENIED_CODES:
        return f"{where} was refused, the credentials lack the right: {message} {tail}."
    return f"{where} failed: {message} {tail}."


def tags_of(resource, key="Tags"):
    """Return the tags of an answer's resource as a dict."""
    return {tag["Key"]: tag["Value"] for tag in resource.get(key) or []}


def tag_list(tags):
    """Return a dict of tags as the API's list, sorted by key."""
    return [{"Key": key, "Value": str(tags[key])} for key in sorted(tags)]


def read_tags(tagging, arns):
    """Return the tags of resources by their ARNs; those without any are left out.

    :arg tagging: client of the Resource Groups Tagging API.
    """
    found = {}
    for start in range(0, len(arns), TAGS_PAGE):
        answer = tagging.call("get_resources", ResourceARNList=arns[start : start + TAGS_PAGE])
        found.update({entry["ResourceARN"]: tags_of(entry) for entry in answer["ResourceTagMappingList"]})
    return found


def merge_tags(have, want, purge=True):
    """Return the tags that a resource shall have.

    :arg have: dict of its tags; those of AWS itself (C(aws:)) always stay, others only unless I(purge).
    :arg want: dict of the described tags; values become text.
    """
    kept = {key: value for key, value in have.items() if not purge or key.startswith("aws:")}
    return {**kept, **{str(key): str(value) for key, value in want.items()}}


def tag_changes(have, want, purge=True):
    """Return (dict of tags to set, list of keys to remove) that lead from I(have) to I(want)."""
    merged = merge_tags(have, want, purge)
    changed = {key: value for key, value in merged.items() if have.get(key) != value}
    return changed, sorted(set(have) - set(merged))


def tag_specification(kind, tags):
    """Return TagSpecifications of one resource of a I(kind) such as C(instance)."""
    return [{"ResourceType": kind, "Tags": tag_list(tags)}]


def platform_filter(platform):
    """Return the EC2 filter for what carries the platform's tag."""
    return [{"Name": "tag:platform", "Values": [platform]}]

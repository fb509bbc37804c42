# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS clients for plugins that run on the controller, and their errors as sentences."""

from __future__ import annotations

import os

from ansible.errors import AnsibleError

try:
    import botocore.config
    import botocore.session
    from botocore import exceptions as botocore_errors
except ImportError:
    botocore = None

_CREDENTIALS = (
    "AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException",
    "InvalidAccessKeyId", "ExpiredToken", "ExpiredTokenException", "RequestExpired",
)  # fmt: skip
_CREDENTIALS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or use an instance profile."
_DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")


def session():
    """Return a new botocore session.

    :raises AnsibleError: botocore is not installed.
    """
    if botocore is None:
        raise AnsibleError("The Python package boto3 is not installed for the controller's Python; install it.")
    return botocore.session.Session(profile=os.environ.get("AWS_PROFILE") or None)


def region_or_environment(region):
    """Return the region given, or the one of the environment, or None."""
    return region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def client(service, region=None, from_session=None, attempts=8):
    """Return a client that retries throttled calls and gives up soon on a dead endpoint.

    :arg region: name of the region; default the environment's.
    :arg attempts: number of tries of one call.
    :raises AnsibleError: no boto3, no region.
    """
    where = region_or_environment(region)
    if not where:
        raise AnsibleError("No AWS region is given: set platform_region, or AWS_REGION in the environment.")
    source = from_session or session()
    retries = {"mode": "standard", "total_max_attempts": attempts}
    config = botocore.config.Config(retries=retries, connect_timeout=5, read_timeout=30)
    return source.create_client(service, region_name=where, config=config)


def sentence(what, error):
    """Return one sentence from what could not be done and why.

    :arg what: the beginning, such as "The secrets below /trading/ cannot be read".
    :arg error: the exception.
    """
    return f"{what}: {reason(error)}"


def reason(error):
    """Return why a call to AWS failed and what would be right."""
    if botocore is None or not isinstance(error, (botocore_errors.ClientError, botocore_errors.BotoCoreError)):
        return str(error)
    if isinstance(error, botocore_errors.ClientError):
        code, text = error.response["Error"].get("Code", "?"), error.response["Error"].get("Message", "").rstrip(".")
        if code in _CREDENTIALS:
            return f"AWS does not accept the credentials ({code}: {text}); {_CREDENTIALS_HINT}"
        if code in _DENIED:
            return f"the credentials lack a right ({code}: {text})."
        return f"AWS answered {code} to {error.operation_name}: {text}."
    if isinstance(error, botocore_errors.NoCredentialsError):
        return f"there are no AWS credentials; {_CREDENTIALS_HINT}"
    if isinstance(error, (botocore_errors.ConnectionError, botocore_errors.HTTPClientError)):
        return f"the AWS endpoint does not answer ({str(error).rstrip('.')})."
    return str(error).rstrip(".") + "."

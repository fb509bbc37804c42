# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  region:
    description: AWS region; default from E(AWS_REGION) or E(AWS_DEFAULT_REGION).
    type: str
    aliases: [aws_region]
  profile:
    description: Named profile of the AWS configuration; default from E(AWS_PROFILE).
    type: str
    aliases: [aws_profile]
  access_key:
    description: Access key id; default from E(AWS_ACCESS_KEY_ID). Wins over O(profile).
    type: str
    aliases: [aws_access_key_id, aws_access_key]
  secret_key:
    description: Secret access key; default from E(AWS_SECRET_ACCESS_KEY).
    type: str
    aliases: [aws_secret_access_key, aws_secret_key]
  session_token:
    description: Session token of temporary credentials; default from E(AWS_SESSION_TOKEN).
    type: str
    aliases: [aws_session_token]
  endpoint_url:
    description: Address to call instead of AWS's own; default from E(AWS_ENDPOINT_URL).
    type: str
    aliases: [aws_endpoint_url]
  aws_ca_bundle:
    description: File of the certificate authorities to trust; default from E(AWS_CA_BUNDLE).
    type: path
  validate_certs:
    description: Whether the certificate of the endpoint is checked.
    type: bool
    default: true
  aws_config:
    description: Further settings of botocore's C(Config), such as C(proxies); C(retries) is this collection's own.
    type: dict
  debug_botocore_endpoint_logs:
    description:
      - Whether the result has C(resource_actions), the API actions that were called.
      - Default from E(ANSIBLE_DEBUG_BOTOCORE_LOGS).
    type: bool
    default: false
  assume_role_arn:
    description: Role to assume with the credentials; the session is renewed while the module runs.
    type: str
    aliases: [iam_role_arn]
requirements:
  - boto3 >= 1.38.23
notes:
  - Calls keep to AWS's request rates, and are tried again when throttled, for at most five minutes each.
"""

    # Modules that make a set of things, with C(aws.tag_options).
    TAGS = r"""
options:
  tags:
    description: Tags of everything that is described.
    type: dict
    default: {}
  purge_tags:
    description: Whether tags that are not described are removed.
    type: bool
    default: true
"""

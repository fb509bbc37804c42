# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is unwise in IAM policies, found without AWS: wildcards, PassRole, confused deputies, unknown actions."""

from __future__ import annotations

import difflib
import fnmatch

from ansible_collections.selfhosted.ec2.plugins.module_utils import iam_policy

try:
    import botocore.exceptions
    import botocore.session
except ImportError:  # the module has said so already
    botocore = None

LEVELS = ("note", "warning", "error")

#: IAM's prefix of actions to botocore's services where they differ (signing names and endpoint prefixes of its models,
#: checked against the actions in AWS's managed policies).
SERVICES = {
    "access-analyzer": ("accessanalyzer",),
    "airflow": ("mwaa",),
    "aoss": ("opensearchserverless",),
    "applicationinsights": ("application-insights",),
    "aps": ("amp",),
    "bedrock": ("bedrock", "bedrock-agent", "bedrock-agent-runtime", "bedrock-runtime", "bedrock-data-automation"),
    "cassandra": ("keyspaces",),
    "dynamodb": ("dynamodb", "dynamodbstreams", "dax"),
    "elasticfilesystem": ("efs",),
    "elasticloadbalancing": ("elb", "elbv2"),
    "elasticmapreduce": ("emr",),
    "es": ("es", "opensearch"),
    "events": ("events", "eventbridgev2"),
    "geo": ("location",),
    "greengrass": ("greengrass", "greengrassv2"),
    "kinesisanalytics": ("kinesisanalytics", "kinesisanalyticsv2"),
    "lex": ("lex-models", "lex-runtime", "lexv2-models", "lexv2-runtime"),
    "mobiletargeting": ("pinpoint",),
    "profile": ("customer-profiles",),
    "rds": ("rds", "neptune", "docdb"),
    "s3": ("s3", "s3control"),
    "servicequotas": ("service-quotas",),
    "ses": ("ses", "sesv2", "mailmanager"),
    "sso": ("sso", "sso-admin"),
    "states": ("stepfunctions",),
    "tag": ("resourcegroupstaggingapi",),
    "timestream": ("timestream-query", "timestream-write"),
}
#: Actions that are no operation of the service's API, of the services whose list is complete with them: an unknown
#: action of these is an error, of others a warning. Source: Service Authorization Reference, AWS's managed policies.
PERMISSION_ONLY = {
    "access-analyzer": "",
    "acm": "",
    "application-autoscaling": "",
    "autoscaling": "",
    "cloudformation": "CreateUploadBucket GetResource ListResources TagResource UntagResource",
    "cloudtrail": "CreateServiceLinkedChannel DeleteServiceLinkedChannel GetServiceLinkedChannel"
    " ListServiceLinkedChannels UpdateServiceLinkedChannel",
    "cloudwatch": "CallWithBearerToken GenerateQuery GenerateQueryResultsSummary GetService GetServiceLevelObjective"
    " Link",
    "dynamodb": "ConditionCheckItem DescribeReservedCapacity DescribeReservedCapacityOfferings GetAbacStatus"
    " PartiQLDelete PartiQLInsert PartiQLSelect PartiQLUpdate PurchaseReservedCapacityOfferings ReadDataForReplication"
    " ReplicateSettings RestoreTableFromAwsBackup StartAwsBackupJob UpdateAbacStatus WriteDataForReplication"
    " CreateTableReplica DeleteTableReplica",
    "ebs": "",
    "ec2": "AssociateVerifiedAccessInstanceWebAcl CreateCoipPoolPermission CreateLocalGatewayRouteTablePermission"
    " CreateOdbNetworkPeering DeleteCoipPoolPermission DeleteLocalGatewayRouteTablePermission DeleteOdbNetworkPeering"
    " DescribeLocalGatewayRouteTablePermissions DescribeVerifiedAccessInstanceWebAclAssociations"
    " DisassociateVerifiedAccessInstanceWebAcl GetVerifiedAccessInstanceWebAcl InjectApiError ModifyOdbNetworkPeering"
    " PauseVolumeIO PutResourcePolicy SendSpotInstanceInterruptions",
    "ec2messages": "AcknowledgeMessage DeleteMessage FailMessage GetEndpoint GetMessages SendReply",
    "ecr": "BatchImportUpstreamImage GetImageCopyStatus ReplicateImage",
    "eks": "AccessKubernetesApi ListDashboardData ListDashboardResources MutateViaKubernetesApi",
    "elasticloadbalancing": "AllowVendedLogDeliveryForResource CreateWebACLAssociation DeleteWebACLAssociation"
    " DescribeWebACLAssociation GetLoadBalancerWebACL SetWebACL",
    "events": "",
    "execute-api": "Invoke InvalidateCache ManageConnections",
    "globalaccelerator": "",
    "guardduty": "",
    "health": "",
    "iam": "PassRole",
    "kms": "ReEncryptFrom ReEncryptTo SynchronizeMultiRegionKey",
    "logs": "CallWithBearerToken CreateLogDelivery DeleteLogDelivery GetLogDelivery Link ListEntitiesForLogGroup"
    " ListLogDeliveries ListLogGroupsForEntity StopLiveTail UpdateLogDelivery Unmask",
    "organizations": "CreateBuilderIdOwnedAccount",
    "route53": "",
    "s3": "AllowVendedLogDeliveryForResource BypassGovernanceRetention DeleteBucketWebsite DeleteObjectVersion"
    " DeleteObjectVersionTagging GetAccelerateConfiguration GetAccountPublicAccessBlock"
    " GetAnalyticsConfiguration GetBucketObjectLockConfiguration GetBucketPublicAccessBlock"
    " GetEncryptionConfiguration GetIntelligentTieringConfiguration GetInventoryConfiguration"
    " GetLifecycleConfiguration GetMetricsConfiguration GetObjectVersion GetObjectVersionAcl"
    " GetObjectVersionAttributes GetObjectVersionForReplication GetObjectVersionTagging"
    " GetObjectVersionTorrent GetReplicationConfiguration InitiateReplication ListAllMyBuckets ListBucket"
    " ListBucketMultipartUploads ListBucketVersions ListMultipartUploadParts"
    " ObjectOwnerOverrideToBucketOwner PutAccelerateConfiguration PutAccountPublicAccessBlock"
    " PutAnalyticsConfiguration PutBucketObjectLockConfiguration PutBucketPublicAccessBlock"
    " PutEncryptionConfiguration PutIntelligentTieringConfiguration PutInventoryConfiguration"
    " PutLifecycleConfiguration PutMetricsConfiguration PutObjectVersionAcl PutObjectVersionTagging"
    " PutReplicationConfiguration ReplicateDelete ReplicateObject ReplicateTags",
    "secretsmanager": "",
    "sns": "",
    "sqs": "",
    "ssm": "DescribeDocumentParameters GetManifest ListInstanceAssociations PutConfigurePackageResult"
    " RegisterManagedInstance UpdateInstanceAssociationStatus UpdateInstanceInformation",
    "ssmmessages": "CreateControlChannel CreateDataChannel OpenControlChannel OpenDataChannel",
    "states": "",
    "sts": "GetServiceBearerToken SetContext SetSourceIdentity TagGetWebIdentityToken TagSession",
    "tag": "",
    "wafv2": "DisassociateFirewallManager PutFirewallManagerRuleGroups ValidateNetworkSecurityManagerRuleConfiguration"
    " ValidateNetworkSecurityManagerWebACLConfiguration",
}
#: Operations of S3 that no policy can name, and the action that allows them (S3 User Guide, "Required permissions for
#: S3 API operations").
S3_OPERATIONS = {
    "completemultipartupload": "PutObject", "copyobject": "PutObject", "createmultipartupload": "PutObject",
    "deletebucketencryption": "PutEncryptionConfiguration", "deletebucketlifecycle": "PutLifecycleConfiguration",
    "deletebucketreplication": "PutReplicationConfiguration", "deleteobjects": "DeleteObject",
    "deletepublicaccessblock": "PutBucketPublicAccessBlock", "getbucketaccelerateconfiguration":
    "GetAccelerateConfiguration", "getbucketencryption": "GetEncryptionConfiguration",
    "getbucketlifecycle": "GetLifecycleConfiguration", "getbucketlifecycleconfiguration": "GetLifecycleConfiguration",
    "getbucketreplication": "GetReplicationConfiguration", "getobjectlockconfiguration":
    "GetBucketObjectLockConfiguration",
    "getpublicaccessblock": "GetBucketPublicAccessBlock", "headbucket": "ListBucket", "headobject": "GetObject",
    "listbuckets": "ListAllMyBuckets", "listmultipartuploads": "ListBucketMultipartUploads",
    "listobjects": "ListBucket", "listobjectsv2": "ListBucket", "listobjectversions": "ListBucketVersions",
    "listparts": "ListMultipartUploadParts", "putbucketencryption": "PutEncryptionConfiguration",
    "putbucketlifecycle": "PutLifecycleConfiguration", "putbucketlifecycleconfiguration": "PutLifecycleConfiguration",
    "putbucketreplication": "PutReplicationConfiguration", "putobjectlockconfiguration":
    "PutBucketObjectLockConfiguration",
    "putpublicaccessblock": "PutBucketPublicAccessBlock", "uploadpart": "PutObject", "uploadpartcopy": "PutObject",
}  # fmt: skip
READS = (
    "batchget", "check", "describe", "get", "head", "list", "lookup", "query", "scan", "search", "simulate", "view",
)  # fmt: skip
#: Services that take a role only for what runs in the role's own account and send no aws:SourceArn with it.
OWN_ACCOUNT_SERVICES = ("ec2.amazonaws.com", "lambda.amazonaws.com", "pods.eks.amazonaws.com", "ssm.amazonaws.com")
#: Condition keys that narrow who may take a role.
DEPUTY_KEYS = {
    "aws:sourcearn", "aws:sourceaccount", "aws:sourceorgid", "aws:sourceorgpaths", "sts:externalid", "aws:principalarn",
    "aws:principalorgid", "aws:principalorgpaths", "aws:principalaccount", "aws:multifactorauthpresent",
    "aws:sourceip", "aws:sourcevpc", "aws:sourcevpce", "aws:userid",
}  # fmt: skip
#: Rights with which whoever has them on everything can give himself any right.
ESCALATION = (
    "iam:AttachGroupPolicy", "iam:AttachRolePolicy", "iam:AttachUserPolicy", "iam:CreateAccessKey",
    "iam:CreateLoginProfile", "iam:CreatePolicyVersion", "iam:PutGroupPolicy", "iam:PutRolePolicy",
    "iam:PutUserPolicy", "iam:SetDefaultPolicyVersion", "iam:UpdateAssumeRolePolicy", "iam:UpdateLoginProfile",
    "iam:AddUserToGroup",
)  # fmt: skip


class Actions:
    """The actions IAM knows, by prefix, as botocore's models of the services give them; read when first asked for.

    :arg more: further actions that count as known, C(service:Action).
    """

    def __init__(self, more=()):
        self.more = {action.lower() for action in more}
        self._session = None
        self._known = {}

    def of(self, prefix):
        """Return the actions of a prefix, lower case to its spelling; None when there is no model of the service."""
        prefix = prefix.lower()
        if prefix not in self._known:
            self._known[prefix] = self._read(prefix)
        return self._known[prefix]

    def _read(self, prefix):
        names = PERMISSION_ONLY.get(prefix, "").split()
        found = prefix in ("ec2messages", "ssmmessages", "execute-api")
        for service in SERVICES.get(prefix, (prefix,)):
            operations = self._operations(service)
            found = found or bool(operations)
            names += operations
        if prefix == "s3":
            names = [name for name in names if name.lower() not in S3_OPERATIONS]
        return {name.lower(): name for name in names} if found else None

    def _operations(self, service):
        if botocore is None:
            return []
        self._session = self._session or botocore.session.Session()
        try:
            return list(self._session.get_service_model(service).operation_names)
        except (botocore.exceptions.UnknownServiceError, botocore.exceptions.DataNotFoundError):
            return []

    def fault(self, action):
        """Return (level, sentence) for an action that IAM does not know, None for a known one."""
        prefix, _colon, name = action.partition(":")
        if action == "*" or name == "*" or action.lower() in self.more:
            return None
        known = self.of(prefix)
        if known is None:
            return "warning", f"the service {prefix} is not known here; put {action} into known_actions if it is right"
        pattern = bool(set(name) & set("*?"))
        if fnmatch.filter(known, name.lower()) if pattern else name.lower() in known:
            return None
        certain = prefix.lower() in PERMISSION_ONLY and not pattern
        return ("error" if certain else "warning"), self._unknown(prefix, name, known)

    def _unknown(self, prefix, name, known):
        if prefix.lower() == "s3" and name.lower() in S3_OPERATIONS:
            return f"no policy knows {prefix}:{name}; what allows it is s3:{S3_OPERATIONS[name.lower()]}"
        near = difflib.get_close_matches(name.lower(), known, 1)
        hint = f"; the nearest is {prefix}:{known[near[0]]}" if near else ""
        return f"there is no action {prefix}:{name}{hint}"


def finding(level, rule, where, text):
    """Return one finding: C(level) of LEVELS, C(rule) its name, C(where) the policy, C(text) the sentence."""
    return {"level": level, "rule": rule, "where": where, "text": text[:1].upper() + text[1:] + "."}


def findings(where, document, kind, actions, account=""):
    """Return the findings of one document.

    :arg where: how the policy is called in the findings.
    :arg kind: C(identity) or C(trust).
    :arg actions: C(Actions).
    :arg account: number of the own account, "" when it is not known.
    """
    parsed = iam_policy.parse(document)
    result = []
    if (parsed.get("Version") or iam_policy.VERSIONS[1]) == iam_policy.VERSIONS[1]:
        result.append(("note", "old-version", "Version is not 2012-10-17, so policy variables are plain text"))
    for number, statement in enumerate(iam_policy.statements(parsed), 1):
        name = iam_policy.label(statement, number)
        checks = (trust_findings(statement, account) if kind == "trust" else identity_findings(statement)) + (
            action_findings(statement, actions)
        )
        result += [(level, rule, f"statement {name}: {text}") for level, rule, text in checks]
    return [finding(level, rule, where, text) for level, rule, text in result]


def action_findings(statement, actions):
    """Return the actions that IAM does not know: (level, rule, text)."""
    result = []
    for action in iam_policy.as_list(statement.get("Action")) + iam_policy.as_list(statement.get("NotAction")):
        fault = actions.fault(str(action))
        if fault:
            result.append((fault[0], "unknown-action", fault[1]))
    return result


def allows(patterns, action):
    """Tell whether one of the patterns of actions covers an action."""
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)


def identity_findings(statement):
    """Return what is unwise in a statement of rights: (level, rule, text)."""
    if statement.get("Effect") != "Allow":
        return []
    patterns = [str(action) for action in iam_policy.as_list(statement.get("Action"))]
    resources = [str(resource) for resource in iam_policy.as_list(statement.get("Resource"))]
    everything = "*" in resources or "NotResource" in statement
    found = []
    if "NotAction" in statement:
        found.append(("error", "not-action", "NotAction with Allow gives every right but those named"))
    if "NotResource" in statement:
        found.append(("warning", "not-resource", "NotResource with Allow reaches everything but what is named"))
    if allows(patterns, "iam:PassRole"):
        found += _pass_role(statement, patterns, resources)
    if everything:
        found += _wildcards(statement, patterns)
    return found


def _pass_role(statement, patterns, resources):
    keys = {key for _op, key, _values in iam_policy.canonical_condition(statement.get("Condition"))}
    if "iam:passedtoservice" in keys or "*" in patterns:
        return []
    if any(resource == "*" or resource.endswith(":role/*") for resource in resources):
        return [("error", "pass-role", "iam:PassRole on every role gives the rights of every role; name the roles")]
    return [("warning", "pass-role", "iam:PassRole needs the condition iam:PassedToService")]


def _wildcards(statement, patterns):
    if statement.get("Condition"):
        return []
    if "*" in patterns:
        return [("error", "wildcard", "every action on every resource")]
    services = [pattern for pattern in patterns if pattern.endswith(":*")]
    if services:
        return [("warning", "wildcard", f"{', '.join(services)} on every resource")]
    strong = [action for action in ESCALATION if allows(patterns, action)]
    if strong:
        return [("error", "escalation", f"{', '.join(strong)} on every resource gives any right")]
    writes = [p for p in patterns if not p.partition(":")[2].lower().startswith(READS)]
    if writes:
        return [("note", "wildcard-resource", f"{', '.join(writes)} on every resource")]
    return []


def trust_findings(statement, account):
    """Return what is unwise in a statement of trust: (level, rule, text)."""
    if statement.get("Effect") != "Allow":
        return []
    if "NotPrincipal" in statement:
        return [("error", "principal", "NotPrincipal with Allow lets everybody else take the role")]
    conditions = iam_policy.canonical_condition(statement.get("Condition"))
    keys = {key for _operator, key, _values in conditions}
    narrowed = bool(keys & DEPUTY_KEYS)
    found = []
    for kind, names in iam_policy.canonical_principal(statement.get("Principal") or {}):
        for name in names:
            found += _principal_findings(kind, name, keys, narrowed, account)
    return found


def _principal_findings(kind, name, keys, narrowed, account):
    if kind == "AWS" and name == "*":
        return [("warning" if narrowed else "error", "principal", "the principal * is everybody in every account")]
    if kind == "Federated":
        about = any(key.endswith((":sub", ":aud", ":amr")) or key == "saml:aud" for key in keys)
        return [] if about else [("error", "federated", f"{name} needs a condition on its sub or aud")]
    if narrowed:
        return []
    if kind == "Service" and name not in OWN_ACCOUNT_SERVICES:
        text = f"{name} can be made to act for another account; add the condition aws:SourceAccount or aws:SourceArn"
        return [("warning", "confused-deputy", text)]
    if kind == "AWS" and _foreign(name, account):
        text = f"{name} is another account and needs the condition sts:ExternalId or aws:PrincipalOrgID"
        return [("warning", "confused-deputy", text)]
    return []


def _foreign(name, account):
    owner = name if iam_policy.ACCOUNT_ID.match(name) else name.split(":")[4] if name.count(":") > 4 else ""
    return bool(account and owner and owner != account)


def accepted(entry, accepts):
    """Tell whether a finding is accepted: by its rule, and by the name of its policy, which may have wildcards."""
    return any(
        accept["rule"] == entry["rule"] and fnmatch.fnmatchcase(entry["where"], accept.get("where") or "*")
        for accept in accepts or []
    )


def failing(entries, level):
    """Return the findings that end the run: those of I(level) and above; C(never) is no level."""
    if level not in LEVELS:
        return []
    return [entry for entry in entries if LEVELS.index(entry["level"]) >= LEVELS.index(level)]

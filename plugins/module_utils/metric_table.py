# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics that AWS services publish, and the sets of dimensions they publish them with. Data.

Only namespaces that a platform of this collection meets. Each entry has its source: the page of the service's guide.
What AWS adds later is given to the module by its option known_metrics.
"""

from __future__ import annotations

#: Metrics that one namespace publishes with one of several sets of dimensions.
TABLE = [
    {
        "namespace": "AWS/EC2",
        "source": "EC2 User Guide, CloudWatch metrics that are available for your instances",
        "metrics": """
            CPUUtilization DiskReadBytes DiskReadOps DiskWriteBytes DiskWriteOps MetadataNoToken
            MetadataNoTokenRejected NetworkIn NetworkOut NetworkPacketsIn NetworkPacketsOut CPUCreditBalance
            CPUCreditUsage CPUSurplusCreditBalance CPUSurplusCreditsCharged DedicatedHostCPUUtilization
            EBSReadOps EBSWriteOps EBSReadBytes EBSWriteBytes EBSIOBalance% EBSByteBalance%
            InstanceEBSIOPSExceededCheck InstanceEBSThroughputExceededCheck GPUPowerUtilization
            StatusCheckFailed StatusCheckFailed_Instance StatusCheckFailed_System StatusCheckFailed_AttachedEBS""",
        "dimensions": ["InstanceId", "AutoScalingGroupName", "ImageId", "InstanceType", ""],
    },
    {
        "namespace": "AWS/EBS",
        "source": "EBS User Guide, Amazon CloudWatch metrics for Amazon EBS",
        "metrics": """
            VolumeReadBytes VolumeWriteBytes VolumeReadOps VolumeWriteOps VolumeTotalReadTime VolumeTotalWriteTime
            VolumeIdleTime VolumeQueueLength VolumeThroughputPercentage VolumeConsumedReadWriteOps BurstBalance
            VolumeAvgReadLatency VolumeAvgWriteLatency VolumeIOPSExceededCheck VolumeThroughputExceededCheck
            VolumeStalledIOCheck VolumeAvgIOPS VolumeAvgThroughput""",
        "dimensions": ["VolumeId", "VolumeId InstanceId"],
    },
    {
        "namespace": "AWS/NATGateway",
        "source": "VPC User Guide, NAT gateway metrics and dimensions",
        "metrics": """
            ActiveConnectionCount BytesInFromDestination BytesInFromSource BytesOutToDestination BytesOutToSource
            ConnectionAttemptCount ConnectionEstablishedCount ErrorPortAllocation IdleTimeoutCount PacketsDropCount
            PacketsInFromDestination PacketsInFromSource PacketsOutToDestination PacketsOutToSource
            PeakBytesPerSecond PeakPacketsPerSecond""",
        "dimensions": ["NatGatewayId"],
    },
    {
        "namespace": "AWS/NetworkELB",
        "source": "Network Load Balancer Guide, CloudWatch metrics",
        "metrics": """
            ActiveFlowCount ActiveFlowCount_TCP ActiveFlowCount_TLS ActiveFlowCount_UDP ClientTLSNegotiationErrorCount
            ConsumedLCUs HealthyHostCount NewFlowCount NewFlowCount_TCP NewFlowCount_TLS NewFlowCount_UDP
            PeakPacketsPerSecond PortAllocationErrorCount ProcessedBytes ProcessedPackets RejectedFlowCount
            TargetTLSNegotiationErrorCount TCP_Client_Reset_Count TCP_ELB_Reset_Count TCP_Target_Reset_Count
            UnHealthyHostCount UnhealthyRoutingFlowCount SecurityGroupBlockedFlowCount_Inbound_TCP""",
        "dimensions": [
            "LoadBalancer", "LoadBalancer AvailabilityZone", "LoadBalancer TargetGroup",
            "LoadBalancer TargetGroup AvailabilityZone",
        ],
    },
    {
        "namespace": "AWS/ApplicationELB",
        "source": "Application Load Balancer Guide, CloudWatch metrics",
        "metrics": """
            ActiveConnectionCount ClientTLSNegotiationErrorCount ConsumedLCUs
            DesyncMitigationMode_NonCompliant_Request_Count HealthyHostCount HTTP_Fixed_Response_Count
            HTTP_Redirect_Count HTTPCode_ELB_3XX_Count HTTPCode_ELB_4XX_Count
            HTTPCode_ELB_5XX_Count HTTPCode_ELB_500_Count HTTPCode_ELB_502_Count HTTPCode_ELB_503_Count
            HTTPCode_ELB_504_Count HTTPCode_Target_2XX_Count HTTPCode_Target_3XX_Count HTTPCode_Target_4XX_Count
            HTTPCode_Target_5XX_Count NewConnectionCount ProcessedBytes RejectedConnectionCount RequestCount
            RequestCountPerTarget RuleEvaluations TargetConnectionErrorCount TargetResponseTime
            TargetTLSNegotiationErrorCount UnHealthyHostCount""",
        "dimensions": [
            "LoadBalancer", "LoadBalancer AvailabilityZone", "LoadBalancer TargetGroup", "TargetGroup",
            "LoadBalancer TargetGroup AvailabilityZone",
        ],
    },
    {
        "namespace": "AWS/WAFV2",
        "source": "WAF Developer Guide, Metrics and dimensions",
        "metrics": """
            AllowedRequests BlockedRequests CountedRequests CaptchaRequests ChallengeRequests PassedRequests
            RequestsWithValidCaptchaToken RequestsWithValidChallengeToken""",
        "dimensions": ["WebACL", "WebACL Rule", "WebACL Region Rule", "WebACL Region", "RuleGroup Rule",
                       "RuleGroup Region Rule"],
    },
    {
        "namespace": "AWS/Route53",
        "source": "Route 53 Developer Guide, Monitoring health checks and hosted zones",
        "metrics": """
            ChildHealthCheckHealthyCount ConnectionTime HealthCheckPercentageHealthy HealthCheckStatus SSLHandshakeTime
            TimeToFirstByte DNSQueries""",
        "dimensions": ["HealthCheckId", "HealthCheckId Region", "HostedZoneId", "Region", ""],
    },
    {
        "namespace": "AWS/CloudFront",
        "source": "CloudFront Developer Guide, Types of metrics",
        "metrics": """
            Requests BytesDownloaded BytesUploaded 4xxErrorRate 5xxErrorRate TotalErrorRate CacheHitRate OriginLatency
            401ErrorRate 403ErrorRate 404ErrorRate 502ErrorRate 503ErrorRate 504ErrorRate""",
        "dimensions": ["DistributionId Region"],
    },
    {
        "namespace": "AWS/DynamoDB",
        "source": "DynamoDB Developer Guide, DynamoDB metrics and dimensions",
        "metrics": """
            AccountMaxReads AccountMaxTableLevelReads AccountMaxTableLevelWrites AccountMaxWrites
            AccountProvisionedReadCapacityUtilization AccountProvisionedWriteCapacityUtilization
            AgeOfOldestUnreplicatedRecord ConditionalCheckFailedRequests ConsumedReadCapacityUnits
            ConsumedWriteCapacityUnits
            MaxProvisionedTableReadCapacityUtilization MaxProvisionedTableWriteCapacityUtilization
            OnlineIndexConsumedWriteCapacity OnlineIndexPercentageProgress OnlineIndexThrottleEvents
            PendingReplicationCount ProvisionedReadCapacityUnits ProvisionedWriteCapacityUnits ReadThrottleEvents
            ReplicationLatency ReturnedBytes ReturnedItemCount ReturnedRecordsCount SuccessfulRequestLatency
            SystemErrors TimeToLiveDeletedItemCount ThrottledRequests TransactionConflict UserErrors
            WriteThrottleEvents""",
        "dimensions": [
            "TableName", "TableName Operation", "TableName GlobalSecondaryIndexName", "TableName ReceivingRegion",
            "TableName Operation StreamLabel", "",
        ],
    },
    {
        "namespace": "AWS/S3",
        "source": "S3 User Guide, Metrics and dimensions",
        "metrics": """
            BucketSizeBytes NumberOfObjects AllRequests GetRequests PutRequests DeleteRequests HeadRequests PostRequests
            SelectRequests ListRequests BytesDownloaded BytesUploaded 4xxErrors 5xxErrors FirstByteLatency
            TotalRequestLatency ReplicationLatency BytesPendingReplication OperationsPendingReplication
            OperationsFailedReplication""",
        "dimensions": [
            "BucketName StorageType", "BucketName FilterId", "SourceBucket DestinationBucket RuleId",
        ],
    },
    {
        "namespace": "AWS/SNS",
        "source": "SNS Developer Guide, Monitoring Amazon SNS topics using CloudWatch",
        "metrics": """
            NumberOfMessagesPublished NumberOfNotificationsDelivered NumberOfNotificationsFailed
            NumberOfNotificationsFilteredOut NumberOfNotificationsRedrivenToDlq
            NumberOfNotificationsFailedToRedriveToDlq
            PublishSize SMSSuccessRate SMSMonthToDateSpentUSD""",
        "dimensions": ["TopicName", "Application", "PhoneNumber", "Application Platform", "Country", "SMSType", ""],
    },
    {
        "namespace": "AWS/SQS",
        "source": "SQS Developer Guide, Available CloudWatch metrics",
        "metrics": """
            ApproximateAgeOfOldestMessage ApproximateNumberOfMessagesDelayed ApproximateNumberOfMessagesNotVisible
            ApproximateNumberOfMessagesVisible NumberOfEmptyReceives NumberOfMessagesDeleted NumberOfMessagesReceived
            NumberOfMessagesSent SentMessageSize""",
        "dimensions": ["QueueName"],
    },
    {
        "namespace": "AWS/Events",
        "source": "EventBridge User Guide, Monitoring Amazon EventBridge",
        "metrics": """
            DeadLetterInvocations Events FailedInvocations Invocations InvocationsFailedToBeSentToDlq
            InvocationsSentToDlq MatchedEvents ThrottledRules TriggeredRules InvocationAttempts
            RetryInvocationAttempts SuccessfulInvocationAttempts IngestionToInvocationStartLatency""",
        "dimensions": ["RuleName", "EventBusName", "EventBusName RuleName", "EventSourceName", ""],
    },
    {
        "namespace": "AWS/Logs",
        "source": "CloudWatch Logs User Guide, Monitoring usage with CloudWatch metrics",
        "metrics": """
            IncomingBytes IncomingLogEvents ForwardedBytes ForwardedLogEvents DeliveryErrors DeliveryThrottling
            EMFParsingErrors EMFValidationErrors""",
        "dimensions": [
            "LogGroupName", "LogGroupName DestinationType FilterName", "DestinationType FilterName LogGroupName", "",
        ],
    },
    {
        "namespace": "AWS/Backup",
        "source": "AWS Backup Developer Guide, CloudWatch metrics",
        "metrics": """
            NumberOfBackupJobsCreated NumberOfBackupJobsPending NumberOfBackupJobsRunning NumberOfBackupJobsAborted
            NumberOfBackupJobsCompleted NumberOfBackupJobsFailed NumberOfBackupJobsExpired NumberOfCopyJobsCreated
            NumberOfCopyJobsRunning NumberOfCopyJobsCompleted NumberOfCopyJobsFailed NumberOfRestoreJobsPending
            NumberOfRestoreJobsRunning NumberOfRestoreJobsCompleted NumberOfRestoreJobsFailed
            NumberOfRecoveryPointsCompleted NumberOfRecoveryPointsPartial NumberOfRecoveryPointsExpired
            NumberOfRecoveryPointsDeleting NumberOfRecoveryPointsCold""",
        "dimensions": ["ResourceType", "BackupVaultName", "ResourceType BackupVaultName", ""],
    },
    {
        "namespace": "AWS/Billing",
        "source": "CloudWatch User Guide, Create a billing alarm",
        "metrics": "EstimatedCharges",
        "dimensions": [
            "Currency", "Currency ServiceName", "Currency LinkedAccount", "Currency LinkedAccount ServiceName",
        ],
    },
    {
        "namespace": "AWS/CertificateManager",
        "source": "Certificate Manager User Guide, Supported CloudWatch metrics",
        "metrics": "DaysToExpiry",
        "dimensions": ["CertificateArn"],
    },
    {
        "namespace": "AWS/KMS",
        "source": "KMS Developer Guide, KMS metrics and dimensions",
        "metrics": "SecondsUntilKeyMaterialExpiration SuccessfulRequest",
        "dimensions": ["KeyId", "KeyArn Operation"],
    },
    {
        "namespace": "AWS/Lambda",
        "source": "Lambda Developer Guide, Types of metrics",
        "metrics": """
            Invocations Errors DeadLetterErrors DestinationDeliveryFailures Throttles Duration IteratorAge
            ConcurrentExecutions ProvisionedConcurrentExecutions UnreservedConcurrentExecutions AsyncEventsReceived
            AsyncEventAge AsyncEventsDropped""",
        "dimensions": ["FunctionName", "FunctionName Resource", "FunctionName Resource ExecutedVersion", ""],
    },
    {
        "namespace": "AWS/SSM-RunCommand",
        "source": "Systems Manager User Guide, Monitoring Run Command metrics",
        "metrics": "CommandsSucceeded CommandsFailed CommandsDeliveryTimedOut",
        "dimensions": [""],
    },
    {
        "namespace": "AWS/DDoSProtection",
        "source": "Shield Developer Guide, AWS Shield Advanced metrics",
        "metrics": "DDoSDetected DDoSAttackBitsPerSecond DDoSAttackPacketsPerSecond DDoSAttackRequestsPerSecond",
        "dimensions": ["ResourceArn", "AttackVector ResourceArn"],
    },
    {
        "namespace": "AWS/Usage",
        "source": "CloudWatch User Guide, AWS usage metrics",
        "metrics": "CallCount ResourceCount",
        "dimensions": ["Class Resource Service Type", "Class Service Type"],
    },
    {
        # Not AWS/*, but documented; the agent's configuration decides on the dimensions.
        "namespace": "CWAgent",
        "source": "CloudWatch User Guide, Metrics collected by the CloudWatch agent",
        "metrics": """
            cpu_usage_active cpu_usage_idle cpu_usage_iowait cpu_usage_steal cpu_usage_system cpu_usage_user disk_free
            disk_inodes_free disk_inodes_total disk_inodes_used disk_total disk_used disk_used_percent mem_active
            mem_available mem_available_percent mem_buffered mem_cached mem_free mem_total mem_used mem_used_percent
            netstat_tcp_established netstat_tcp_time_wait processes_blocked processes_running processes_total
            processes_zombies swap_free swap_used swap_used_percent""",
        "dimensions": None,
    },
]  # fmt: skip

#: namespace -> (metrics, sets of dimensions or None for any, source)
KNOWN = {
    entry["namespace"]: (
        frozenset(entry["metrics"].split()),
        None if entry["dimensions"] is None else frozenset(frozenset(names.split()) for names in entry["dimensions"]),
        entry["source"],
    )
    for entry in TABLE
}


def examine(namespace, metric, dimensions, known=None):
    """Tell whether a metric exists: (fault, warning), each one clause or "".

    :arg dimensions: names of its dimensions.
    :arg known: further metrics, dict by namespace to a list of names, whatever their dimensions.
    """
    if metric in (known or {}).get(namespace, ()):
        return "", ""
    if namespace not in KNOWN:
        if namespace.startswith("AWS/"):
            return f"the namespace {namespace} is not in the table of known ones; add the metric to known_metrics", ""
        return "", f"{namespace} {metric} is a custom metric, which cannot be checked before it is published"
    metrics, sets, source = KNOWN[namespace]
    if metric not in metrics:
        return f"{namespace} has no metric {metric}{_nearest(metric, metrics)} (source: {source})", ""
    if sets is not None and frozenset(dimensions) not in sets:
        names = " or ".join(", ".join(sorted(names)) or "none" for names in sorted(sets, key=sorted))
        given = ", ".join(sorted(dimensions)) or "none"
        return f"{namespace} {metric} is not published with the dimensions {given}, but with {names} ({source})", ""
    return "", ""


def _nearest(name, names):
    folded = {candidate.lower().replace("_", ""): candidate for candidate in names}
    found = folded.get(name.lower().replace("_", ""))
    return f"; {found} is meant" if found else ""

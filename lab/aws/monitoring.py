"""CloudWatch alarms, their tags, keys of log groups, and trails: what moto lacks or answers otherwise than AWS."""

from __future__ import annotations

import base64
import copy
from datetime import UTC, datetime
from typing import Any

from lab.aws.call import AWSError, Call
from lab.aws.handlers import PASS, handler
from lab.aws.rules.cloudtrail import trail_of
from lab.aws.rules.cloudwatch import alarms, kms_key

PAGE = 50
MANAGEMENT = {"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": []}
# What PutMetricAlarm fills in; DescribeAlarms shows it. Source: CloudWatch API Reference, PutMetricAlarm.
DEFAULTS = {"ActionsEnabled": True, "OKActions": [], "AlarmActions": [], "InsufficientDataActions": []}
# Public keys that ListPublicKeys shows: DER by region and fingerprint. PUT /_lab/public_keys sets them, in base 64.
PUBLIC_KEYS: dict[str, dict[str, bytes]] = {}


def _put(call: Call, kind: str) -> dict[str, Any]:
    """Replace the whole alarm; tags count only for a new one. Source: CloudWatch API Reference, PutMetricAlarm."""
    name, known = call.params["AlarmName"], alarms(call)
    params = {key: value for key, value in copy.deepcopy(call.params).items() if value is not None and key != "Tags"}
    if kind == "metric":
        for metric in params.get("Metrics") or []:
            metric.setdefault("ReturnData", True)
        if not params.get("Metrics"):
            params.setdefault("Dimensions", [])
        params.setdefault("TreatMissingData", "missing")
    arn = f"arn:aws:cloudwatch:{call.region}:{call.identity.account}:alarm:{name}"
    now = datetime.now(UTC)
    state = known[name]["state"] if name in known else {"StateValue": "INSUFFICIENT_DATA", "StateReason": "Unchecked"}
    if name not in known:
        tags = call.backend().tagger
        tags.delete_all_tags_for_resource(arn)
        tags.tag_resource(arn, call.params.get("Tags") or [])
    known[name] = {"kind": kind, "params": {**DEFAULTS, **params}, "arn": arn, "state": state, "updated": now}
    return {}


@handler("cloudwatch", "PutMetricAlarm")
def put_metric_alarm(call: Call, _front: Any) -> dict[str, Any]:
    return _put(call, "metric")


@handler("cloudwatch", "PutCompositeAlarm")
def put_composite_alarm(call: Call, _front: Any) -> dict[str, Any]:
    return _put(call, "composite")


@handler("cloudwatch", "DescribeAlarms")
def describe_alarms(call: Call, _front: Any) -> dict[str, Any]:
    """Only metric alarms unless AlarmTypes asks for more. Source: CloudWatch API Reference, DescribeAlarms."""
    p = call.params
    names, prefix = p.get("AlarmNames") or [], p.get("AlarmNamePrefix") or ""
    if names and prefix:
        raise AWSError("InvalidParameterCombination", "AlarmNames and AlarmNamePrefix cannot be used together.")
    kinds = {t.removesuffix("Alarm").lower() for t in p.get("AlarmTypes") or ["MetricAlarm"]}
    found = [
        (name, entry)
        for name, entry in sorted(alarms(call).items())
        if entry["kind"] in kinds and (not names or name in names) and name.startswith(prefix)
    ]
    if p.get("StateValue"):
        found = [(name, entry) for name, entry in found if entry["state"]["StateValue"] == p["StateValue"]]
    if p.get("NextToken"):
        found = [(name, entry) for name, entry in found if name >= p["NextToken"]]
    page, rest = found[: p.get("MaxRecords") or PAGE], found[p.get("MaxRecords") or PAGE :]
    result: dict[str, Any] = {"MetricAlarms": [], "CompositeAlarms": []}
    for _name, entry in page:
        shown = {
            **entry["params"],
            **entry["state"],
            "AlarmArn": entry["arn"],
            "AlarmConfigurationUpdatedTimestamp": entry["updated"],
            "StateUpdatedTimestamp": entry["updated"],
        }
        result["MetricAlarms" if entry["kind"] == "metric" else "CompositeAlarms"].append(shown)
    if rest:
        result["NextToken"] = rest[0][0]
    return result


@handler("cloudwatch", "DeleteAlarms")
def delete_alarms(call: Call, _front: Any) -> dict[str, Any]:
    for name in call.params["AlarmNames"]:
        entry = alarms(call).pop(name, None)
        if entry:
            call.backend().tagger.delete_all_tags_for_resource(entry["arn"])
    return {}


@handler("cloudwatch", "EnableAlarmActions")
def enable_actions(call: Call, _front: Any) -> dict[str, Any]:
    return _switch(call, True)


@handler("cloudwatch", "DisableAlarmActions")
def disable_actions(call: Call, _front: Any) -> dict[str, Any]:
    return _switch(call, False)


def _switch(call: Call, enabled: bool) -> dict[str, Any]:
    for name in call.params["AlarmNames"]:
        if name in alarms(call):
            alarms(call)[name]["params"]["ActionsEnabled"] = enabled
    return {}


@handler("cloudwatch", "SetAlarmState")
def set_state(call: Call, _front: Any) -> dict[str, Any]:
    entry = alarms(call).get(call.params["AlarmName"])
    if entry is None:
        raise AWSError("ResourceNotFound", f"Unknown alarm: {call.params['AlarmName']}", 404)
    entry["state"] = {"StateValue": call.params["StateValue"], "StateReason": call.params["StateReason"]}
    return {}


@handler("cloudwatch", "TagResource")
def tag_alarm(call: Call, _front: Any) -> Any:
    arn = call.params["ResourceARN"]
    if ":alarm:" not in arn:
        return PASS
    call.backend().tagger.tag_resource(arn, call.params["Tags"])
    return {}


@handler("cloudwatch", "UntagResource")
def untag_alarm(call: Call, _front: Any) -> Any:
    arn = call.params["ResourceARN"]
    if ":alarm:" not in arn:
        return PASS
    call.backend().tagger.untag_resource_using_names(arn, call.params["TagKeys"])
    return {}


@handler("cloudwatch", "ListTagsForResource")
def alarm_tags(call: Call, _front: Any) -> Any:
    arn = call.params["ResourceARN"]
    if ":alarm:" not in arn:
        return PASS
    return {"Tags": call.backend().tagger.list_tags_for_resource(arn)["Tags"]}


@handler("resourcegroupstaggingapi", "GetResources")
def tags_by_arn(call: Call, _front: Any) -> Any:
    """By ARN: of alarms and log groups moto finds nothing. What never had a tag is left out, as AWS leaves it out."""
    wanted = call.params.get("ResourceARNList") or []
    if not wanted or not all(":alarm:" in arn or ":log-group:" in arn for arn in wanted):
        return PASS
    held: dict[str, dict[str, str]] = {}
    for arn in wanted:
        service = "cloudwatch" if ":alarm:" in arn else "logs"
        held[arn] = call.backend(service).tagger.get_tag_dict_for_resource(arn)
    return {
        "PaginationToken": "",
        "ResourceTagMappingList": [
            {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            for arn, tags in held.items()
            if tags
        ],
    }


@handler("logs", "AssociateKmsKey")
def associate_key(call: Call, _front: Any) -> dict[str, Any]:
    call.backend().groups[call.params["logGroupName"]].kms_key_id = call.params["kmsKeyId"]
    return {}


@handler("logs", "DisassociateKmsKey")
def disassociate_key(call: Call, _front: Any) -> dict[str, Any]:
    call.backend().groups[call.params["logGroupName"]].kms_key_id = None
    return {}


@handler("cloudtrail", "CreateTrail")
def create_trail(call: Call, _front: Any) -> dict[str, Any]:
    p = call.params
    trail = call.backend().create_trail(
        p["Name"],
        p["S3BucketName"],
        p.get("S3KeyPrefix"),
        p.get("SnsTopicName"),
        p.get("IncludeGlobalServiceEvents", True),
        p.get("IsMultiRegionTrail", False),
        p.get("EnableLogFileValidation", False),
        p.get("IsOrganizationTrail", False),
        p.get("CloudWatchLogsLogGroupArn"),
        p.get("CloudWatchLogsRoleArn"),
        _key_arn(call),
        p.get("TagsList") or [],
    )
    return _shown(trail)


@handler("cloudtrail", "UpdateTrail")
def update_trail(call: Call, _front: Any) -> dict[str, Any]:
    """An empty value takes a setting away. Source: CloudTrail API Reference, UpdateTrail."""
    trail, p = trail_of(call), call.params
    before = copy.copy(trail.__dict__)
    trail.update(
        p.get("S3BucketName"),
        p.get("S3KeyPrefix"),
        p.get("SnsTopicName"),
        p.get("IncludeGlobalServiceEvents"),
        p.get("IsMultiRegionTrail"),
        p.get("EnableLogFileValidation"),
        p.get("IsOrganizationTrail"),
        p.get("CloudWatchLogsLogGroupArn"),
        p.get("CloudWatchLogsRoleArn"),
        _key_arn(call),
    )
    try:
        trail.check_bucket_exists()
        trail.check_topic_exists()
    except Exception:
        trail.__dict__.update(before)
        raise
    return _shown(trail)


def _key_arn(call: Call) -> str | None:
    """The trail shows the ARN of its key, however it was named. Source: CloudTrail API Reference, Trail: KmsKeyId."""
    given = call.params.get("KmsKeyId")
    return kms_key(call, given).arn if given else given


def _shown(trail: Any) -> dict[str, Any]:
    return {key: value for key, value in trail.description(include_region=True).items() if value not in (None, "")}


@handler("cloudtrail", "DescribeTrails")
def describe_trails(call: Call, _front: Any) -> dict[str, Any]:
    """moto passes over the names asked for."""
    names = call.params.get("trailNameList") or []
    found = list(call.backend().describe_trails(call.params.get("includeShadowTrails", True)))
    wanted = [t for t in found if not names or t.trail_name in names or t.arn in names]
    return {"trailList": [_shown(trail) for trail in {t.arn: t for t in wanted}.values()]}


@handler("cloudtrail", "PutEventSelectors")
def put_selectors(call: Call, _front: Any) -> dict[str, Any]:
    trail = trail_of(call)
    trail.event_selectors = call.params.get("EventSelectors") or []
    trail.advanced_event_selectors = call.params.get("AdvancedEventSelectors") or []
    return get_selectors(call, _front)


@handler("cloudtrail", "GetEventSelectors")
def get_selectors(call: Call, _front: Any) -> dict[str, Any]:
    """A new trail logs all management events. Source: CloudTrail API Reference, PutEventSelectors."""
    trail = trail_of(call)
    if trail.advanced_event_selectors:
        return {"TrailARN": trail.arn, "AdvancedEventSelectors": trail.advanced_event_selectors}
    default = {**MANAGEMENT, "ExcludeManagementEventSources": []}
    shown = [{**default, **entry} for entry in trail.event_selectors]
    return {"TrailARN": trail.arn, "EventSelectors": shown or [default]}


@handler("cloudtrail", "PutInsightSelectors")
def put_insights(call: Call, _front: Any) -> dict[str, Any]:
    """The list replaces the one before; moto adds to it."""
    trail = trail_of(call)
    trail.insight_selectors = call.params.get("InsightSelectors") or []
    return {"TrailARN": trail.arn, "InsightSelectors": trail.insight_selectors}


@handler("cloudtrail", "GetInsightSelectors")
def get_insights(call: Call, _front: Any) -> dict[str, Any]:
    trail = trail_of(call)
    if not trail.insight_selectors:
        raise AWSError("InsightNotEnabledException", f"Trail {trail.arn} does not have Insights enabled.")
    return {"TrailARN": trail.arn, "InsightSelectors": trail.insight_selectors}


@handler("cloudtrail", "ListPublicKeys")
def public_keys(call: Call, _front: Any) -> dict[str, Any]:
    held = PUBLIC_KEYS.get(call.region, {})
    return {"PublicKeyList": [{"Fingerprint": name, "Value": held[name]} for name in sorted(held)]}


def set_public_keys(document: dict[str, dict[str, str]]) -> None:
    """Replace the public keys of the regions that the document names. Raises ValueError."""
    for region, keys in document.items():
        PUBLIC_KEYS[region] = {name: base64.b64decode(value, validate=True) for name, value in keys.items()}

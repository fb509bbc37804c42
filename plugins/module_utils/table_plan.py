# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DynamoDB tables as a set: what is wrong with a description, what differs, and the requests in the order AWS takes."""

from __future__ import annotations

import re

#: Source: DynamoDB Developer Guide, "Naming rules" and "Quotas".
NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
MAX_GLOBAL = 20
MAX_LOCAL = 5
MAX_PROJECTED = 100
MAX_TAGS = 50
RECOVERY_DAYS = (1, 35)
TYPES = ("S", "N", "B")
PROJECTIONS = {"all": "ALL", "keys_only": "KEYS_ONLY", "include": "INCLUDE"}
STREAMS = {
    "none": "",
    "keys_only": "KEYS_ONLY",
    "new_image": "NEW_IMAGE",
    "old_image": "OLD_IMAGE",
    "new_and_old_images": "NEW_AND_OLD_IMAGES",
}
BILLING = {"on_demand": "PAY_PER_REQUEST", "provisioned": "PROVISIONED"}
CLASSES = {"standard": "STANDARD", "infrequent_access": "STANDARD_INFREQUENT_ACCESS"}
KINDS = ("read", "write")
METRICS = {"read": "DynamoDBReadCapacityUtilization", "write": "DynamoDBWriteCapacityUtilization"}


# Validation


def faults(tables, absent, confirm):
    """Return sentences on what is wrong with a description.

    :arg tables: list of dict as the module's option C(tables).
    :arg absent: names of tables that shall not be there; each must be in I(confirm), too.
    """
    names = [table["name"] for table in tables]
    found = [f"Table {name} is described twice." for name in sorted(set(names)) if names.count(name) > 1]
    for name in absent:
        if name in names:
            found.append(f"Table {name} is both described and named in absent.")
        elif name not in confirm:
            found.append(f"Table {name} is in absent; name it in confirm, too, to lose all its items.")
    for name in [*names, *absent]:
        if not NAME.fullmatch(name):
            found.append(f"Table name {name!r} must be 3 to 255 letters, digits, dots, dashes and underscores.")
    for table in tables:
        for check in (_key_faults, _index_faults, _capacity_faults, _other_faults):
            found += [f"Table {table['name']}: {sentence}." for sentence in check(table)]
    return found


def keys_of(entry):
    """Return the names of the key attributes of a table or index, one or two."""
    return [name for name in (entry["hash_key"], entry["range_key"]) if name]


def _key_faults(table):
    attributes = table["attributes"]
    used = set(keys_of(table)).union(*(keys_of(index) for index in table["indexes"]), [])
    known = ", ".join(attributes) or "none"
    for name in keys_of(table):
        if name not in attributes:
            yield f"its key {name} is not among attributes ({known})"
    for index in table["indexes"]:
        for name in keys_of(index):
            if name not in attributes:
                yield f"the key {name} of index {index['name']} is not among attributes ({known})"
    for name, kind in attributes.items():
        if kind not in TYPES:
            yield f"attribute {name} is {kind}; a key is S (text), N (number) or B (bytes)"
        if name not in used:
            yield f"attribute {name} is no key of the table or an index; DynamoDB takes only keys here"
    if table["hash_key"] == table["range_key"]:
        yield f"hash_key and range_key are both {table['hash_key']}"


def _index_faults(table):
    names = [index["name"] for index in table["indexes"]]
    for name in sorted(set(names)):
        if names.count(name) > 1:
            yield f"two indexes are named {name}"
        if not NAME.fullmatch(name):
            yield f"index name {name!r} must be 3 to 255 letters, digits, dots, dashes and underscores"
    for kind, most in (("global", MAX_GLOBAL), ("local", MAX_LOCAL)):
        count = sum(index["type"] == kind for index in table["indexes"])
        if count > most:
            yield f"there are {count} {kind} indexes; DynamoDB takes {most}"
    projected = sum(len(index["attributes"]) for index in table["indexes"])
    if projected > MAX_PROJECTED:
        yield f"the indexes project {projected} attributes; DynamoDB takes {MAX_PROJECTED} together"
    for index in table["indexes"]:
        yield from (f"index {index['name']} {sentence}" for sentence in _one_index(table, index))


def _one_index(table, index):
    if (index["projection"] == "include") != bool(index["attributes"]):
        yield "needs attributes with projection include, and takes them with no other"
    if index["type"] == "global":
        return
    if not table["range_key"]:
        yield "is local, which needs a table with a range_key"
    if index["hash_key"] != table["hash_key"]:
        yield f"is local, so its hash_key is the table's, {table['hash_key']}"
    if not index["range_key"] or index["range_key"] == table["range_key"]:
        yield "is local, so it needs a range_key of its own"
    if index["capacity"]:
        yield "is local and shares the table's capacity"


def _capacity_faults(table):
    provisioned = table["billing"] == "provisioned"
    entries = [("", table["capacity"])]
    entries += [(f"index {index['name']}: ", index["capacity"]) for index in table["indexes"]]
    if provisioned and not table["capacity"]:
        yield "billing is provisioned, which needs capacity"
    for where, capacity in entries:
        if not capacity:
            continue
        if not provisioned:
            yield f"{where}capacity goes with billing provisioned only"
        for kind in KINDS:
            most = capacity[f"max_{kind}"]
            if capacity[kind] < 1:
                yield f"{where}capacity.{kind} is {capacity[kind]}; give 1 or more"
            if most is not None and most < capacity[kind]:
                yield f"{where}capacity.max_{kind} is {most}, less than {kind} ({capacity[kind]})"
        if not 20 <= capacity["target"] <= 90:
            yield f"{where}capacity.target is {capacity['target']}; give 20 to 90 percent"


def _other_faults(table):
    first, last = RECOVERY_DAYS
    if table["recovery_days"] and not first <= table["recovery_days"] <= last:
        yield f"recovery_days is {table['recovery_days']}; give {first} to {last}, or 0 for no recovery"
    if table["ttl_attribute"] in keys_of(table):
        yield f"ttl_attribute is {table['ttl_attribute']}, a key of the table; a time to live is another attribute"
    if table["encryption"] and table["encryption"]["key"] and table["encryption"]["type"] != "kms":
        yield "encryption.key goes with type kms only"
    if len(table["tags"]) > MAX_TAGS:
        yield f"there are {len(table['tags'])} tags; DynamoDB takes {MAX_TAGS}"
    reserved = sorted(key for key in table["tags"] if key.lower().startswith("aws:"))
    if reserved:
        yield f"tag {reserved[0]} begins with aws:, which AWS keeps to itself"


# What is wanted, and what is there, in one form


def desired(table):
    """Return a described table in the form that is compared. C(scaling) has an entry for each scaled capacity."""
    provisioned = table["billing"] == "provisioned"
    indexes = {index["name"]: index for index in table["indexes"] if index["type"] == "global"}
    capacities = {
        "": table["capacity"],
        **{name: index["capacity"] or table["capacity"] for name, index in indexes.items()},
    }
    return {
        "keys": _keys(table, table["attributes"]),
        "local_indexes": {
            index["name"]: _index(index, table["attributes"]) for index in table["indexes"] if index["type"] == "local"
        },
        "billing": BILLING[table["billing"]],
        "capacity": {name: _units(capacity) for name, capacity in capacities.items()} if provisioned else {},
        "scaling": _wanted_scaling(capacities) if provisioned else {},
        "indexes": {name: _index(index, table["attributes"]) for name, index in indexes.items()},
        "stream": STREAMS[table["stream"]],
        "encryption": _wanted_encryption(table["encryption"]),
        "table_class": CLASSES[table["table_class"]],
        "deletion_protection": table["deletion_protection"],
        "ttl_attribute": table["ttl_attribute"] or "",
        "recovery_days": table["recovery_days"],
        "tags": {str(key): str(value) for key, value in table["tags"].items()},
    }


def _keys(entry, attributes):
    return [f"{name}:{attributes[name]}" for name in keys_of(entry)]


def _index(index, attributes):
    return {
        "keys": _keys(index, attributes),
        "projection": PROJECTIONS[index["projection"]],
        "attributes": sorted(index["attributes"]),
    }


def _units(capacity):
    return {kind: capacity[kind] for kind in KINDS}


def _wanted_scaling(capacities):
    found = {}
    for name, capacity in capacities.items():
        for kind in KINDS:
            most = capacity[f"max_{kind}"]
            if most is not None:
                found[f"{name}/{kind}"] = {"min": capacity[kind], "max": most, "target": capacity["target"]}
    return found


def _wanted_encryption(encryption):
    if not encryption or encryption["type"] == "aws_owned":
        return "aws_owned"
    return key_id(encryption["key"]) or "kms"


def key_id(key):
    """Return a KMS key as it is compared: the id or alias, without the ARN's front."""
    return re.sub(r"^arn:[^:]+:kms:[^:]*:[^:]*:(key/)?", "", key or "")


def actual(description, ttl, backups, tags, scaling):
    """Return a table in the form that is compared, from the answers of the API.

    :arg description: DescribeTable's C(Table). :arg ttl: C(TimeToLiveDescription).
    :arg backups: C(ContinuousBackupsDescription). :arg tags: dict.
    :arg scaling: dict C(<index or nothing>/<read or write>) to dict min, max, target.
    """
    attributes = {entry["AttributeName"]: entry["AttributeType"] for entry in description["AttributeDefinitions"]}
    indexes = description.get("GlobalSecondaryIndexes") or []
    billing = description.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    units = {"": description, **{index["IndexName"]: index for index in indexes}}
    capacity = {name: _there(entry.get("ProvisionedThroughput") or {}) for name, entry in units.items()}
    stream = description.get("StreamSpecification") or {}
    recovery = (backups or {}).get("PointInTimeRecoveryDescription", {})
    enabled = recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
    return {
        "keys": _schema(description["KeySchema"], attributes),
        "local_indexes": {
            index["IndexName"]: _actual_index(index, attributes)
            for index in description.get("LocalSecondaryIndexes") or []
        },
        "billing": billing,
        "capacity": capacity if billing == "PROVISIONED" else {},
        "scaling": scaling,
        "indexes": {index["IndexName"]: _actual_index(index, attributes) for index in indexes},
        "stream": stream.get("StreamViewType", "") if stream.get("StreamEnabled") else "",
        "encryption": _actual_encryption(description.get("SSEDescription")),
        "table_class": description.get("TableClassSummary", {}).get("TableClass", "STANDARD"),
        "deletion_protection": bool(description.get("DeletionProtectionEnabled")),
        "ttl_attribute": ttl.get("AttributeName", "") if ttl.get("TimeToLiveStatus", "").startswith("ENABL") else "",
        "recovery_days": recovery.get("RecoveryPeriodInDays", RECOVERY_DAYS[1]) if enabled else 0,
        "tags": tags,
    }


def _there(throughput):
    return {"read": throughput.get("ReadCapacityUnits", 0), "write": throughput.get("WriteCapacityUnits", 0)}


def _schema(schema, attributes):
    ordered = sorted(schema, key=lambda entry: entry["KeyType"] != "HASH")
    return [f"{entry['AttributeName']}:{attributes.get(entry['AttributeName'], '?')}" for entry in ordered]


def _actual_index(index, attributes):
    projection = index.get("Projection") or {}
    return {
        "keys": _schema(index["KeySchema"], attributes),
        "projection": projection.get("ProjectionType", "ALL"),
        "attributes": sorted(projection.get("NonKeyAttributes") or []),
    }


def _actual_encryption(description):
    # No description, or DISABLED, is the key that DynamoDB owns.
    if not description or description.get("Status") not in ("ENABLED", "ENABLING", "UPDATING"):
        return "aws_owned"
    return key_id(description.get("KMSMasterKeyArn")) or "kms"


# The plan


def impossible(name, have, want, replace_indexes):
    """Return sentences on differences that DynamoDB cannot make true, or only with I(replace_indexes)."""
    found = []
    if have["keys"] != want["keys"]:
        found.append(
            f"Table {name} has the keys {', '.join(have['keys'])}, not {', '.join(want['keys'])}; keys cannot be"
            " changed, so describe a table of another name and move the items."
        )
    if have["local_indexes"] != want["local_indexes"]:
        found.append(
            f"Table {name} has the local indexes {_names(have)}, the description {_names(want)}, or they differ inside;"
            " local indexes are made with the table only."
        )
    for index in sorted(set(have["indexes"]) & set(want["indexes"])):
        if have["indexes"][index] != want["indexes"][index] and not replace_indexes:
            found.append(
                f"Index {index} of table {name} has other keys or another projection; it can only be removed and made"
                " anew, during which queries fail: give it another name, or set replace_indexes."
            )
    return found


def _names(table):
    return ", ".join(sorted(table["local_indexes"])) or "none"


def plan(name, have, want):
    """Return the steps from I(have) (None: no table) to I(want): list of dict table, aspect, before, after.

    They are in an order that DynamoDB takes, one kind of change in each; after each the table must be active again.
    """
    if have is None:
        after = [("ttl_attribute", ""), ("recovery_days", 0), ("scaling", {})]
        steps = [_step(name, "table", None, {key: want[key] for key in want if key not in dict(after)})]
        return steps + [_step(name, key, before or None, want[key]) for key, before in after if want[key] != before]
    steps = [
        _step(name, aspect, have[aspect], want[aspect])
        for aspect in ("tags", "deletion_protection")
        if have[aspect] != want[aspect]
    ]
    # Scaling that goes must go before the capacity, which it would set again.
    gone = {key: value for key, value in have["scaling"].items() if key in want["scaling"]}
    if gone != have["scaling"]:
        steps.append(_step(name, "scaling", have["scaling"], gone))
    steps += _index_steps(name, have, want, removals=True)
    steps += _capacity_steps(name, have, want)
    if have["stream"] and want["stream"] and have["stream"] != want["stream"]:
        steps.append(_step(name, "stream", have["stream"], ""))
        have = {**have, "stream": ""}
    for aspect in ("stream", "encryption", "table_class"):
        if have[aspect] != want[aspect]:
            steps.append(_step(name, aspect, have[aspect], want[aspect]))
    steps += _index_steps(name, have, want, removals=False)
    if have["ttl_attribute"] and want["ttl_attribute"] and have["ttl_attribute"] != want["ttl_attribute"]:
        steps.append(_step(name, "ttl_attribute", have["ttl_attribute"], ""))
        have = {**have, "ttl_attribute": ""}
    for aspect in ("ttl_attribute", "recovery_days"):
        if have[aspect] != want[aspect]:
            steps.append(_step(name, aspect, have[aspect], want[aspect]))
    if gone != want["scaling"]:
        steps.append(_step(name, "scaling", gone, want["scaling"]))
    return steps


def _step(name, aspect, before, after):
    return {"table": name, "aspect": aspect, "before": before, "after": after}


def _index_steps(name, have, want, removals):
    steps = []
    for index in sorted(set(have["indexes"]) | set(want["indexes"])):
        before, after = have["indexes"].get(index), want["indexes"].get(index)
        if before == after:
            continue
        if removals and before:
            steps.append(_step(name, f"index {index}", before, None))
        elif not removals and after:
            capacity = want["capacity"].get(index)
            steps.append(_step(name, f"index {index}", None, {**after, "capacity": capacity} if capacity else after))
    return steps


def _capacity_steps(name, have, want):
    """One step for the billing mode with all capacities, or one for what differs of them."""
    if have["billing"] != want["billing"]:
        # Indexes that are made later bring their capacity along.
        units = {key: value for key, value in want["capacity"].items() if not key or _stays(key, have, want)}
        return [_step(name, "billing", {"mode": have["billing"]}, {"mode": want["billing"], "capacity": units})]
    before, after = {}, {}
    for key, units in want["capacity"].items():
        there = have["capacity"].get(key)
        if there is None or (key and not _stays(key, have, want)):
            continue
        # What scales belongs to the scaling, once it is there.
        fixed = {kind for kind in KINDS if f"{key}/{kind}" not in want["scaling"]}
        if any(there[kind] != units[kind] for kind in fixed):
            before[key] = there
            after[key] = {kind: units[kind] if kind in fixed else there[kind] for kind in KINDS}
    return [_step(name, "capacity", before, after)] if after else []


def _stays(index, have, want):
    return index in have["indexes"] and have["indexes"][index] == want["indexes"].get(index)


# Requests


def definitions(*key_lists):
    """Return AttributeDefinitions of all key attributes in lists of C(name:type), each once."""
    names = dict.fromkeys(entry for keys in key_lists for entry in keys)
    pairs = [entry.rsplit(":", 1) for entry in sorted(names)]
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in pairs]


def _key_schema(keys):
    pairs = zip(keys, ("HASH", "RANGE"), strict=False)
    return [{"AttributeName": entry.rsplit(":", 1)[0], "KeyType": kind} for entry, kind in pairs]


def _index_request(name, index):
    projection = {"ProjectionType": index["projection"]}
    if index["attributes"]:
        projection["NonKeyAttributes"] = index["attributes"]
    entry = {"IndexName": name, "KeySchema": _key_schema(index["keys"]), "Projection": projection}
    return {**entry, "ProvisionedThroughput": _throughput(index["capacity"])} if index.get("capacity") else entry


def _throughput(units):
    return {"ReadCapacityUnits": units["read"], "WriteCapacityUnits": units["write"]}


def _stream(view):
    return {"StreamEnabled": True, "StreamViewType": view} if view else {"StreamEnabled": False}


def _encryption(value):
    if value == "aws_owned":
        return {"Enabled": False}
    return {"Enabled": True, "SSEType": "KMS", **({} if value == "kms" else {"KMSMasterKeyId": value})}


def create_request(name, want):
    """Return the parameters of CreateTable for a table in the compared form."""
    request = {
        "TableName": name,
        "AttributeDefinitions": definitions(
            want["keys"], *(index["keys"] for key in ("indexes", "local_indexes") for index in want[key].values())
        ),
        "KeySchema": _key_schema(want["keys"]),
        "BillingMode": want["billing"],
        "DeletionProtectionEnabled": want["deletion_protection"],
        "TableClass": want["table_class"],
    }
    if want["capacity"]:
        request["ProvisionedThroughput"] = _throughput(want["capacity"][""])
    if want["indexes"]:
        request["GlobalSecondaryIndexes"] = [
            _index_request(index, {**entry, "capacity": want["capacity"].get(index)})
            for index, entry in want["indexes"].items()
        ]
    if want["local_indexes"]:
        request["LocalSecondaryIndexes"] = [_index_request(*pair) for pair in want["local_indexes"].items()]
    if want["stream"]:
        request["StreamSpecification"] = _stream(want["stream"])
    if want["encryption"] != "aws_owned":
        request["SSESpecification"] = _encryption(want["encryption"])
    if want["tags"]:
        request["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(want["tags"].items())]
    return request


def update_request(step):
    """Return the parameters of UpdateTable, besides the name, for a step on anything that it changes."""
    aspect, after = step["aspect"], step["after"]
    if aspect.startswith("index "):
        index = aspect.split(" ", 1)[1]
        if after is None:
            return {"GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": index}}]}
        return {
            "AttributeDefinitions": definitions(after["keys"]),
            "GlobalSecondaryIndexUpdates": [{"Create": _index_request(index, after)}],
        }
    if aspect == "billing":
        return {"BillingMode": after["mode"], **_capacity_request(after["capacity"])}
    return _UPDATES[aspect](after)


def _capacity_request(capacity):
    request = {}
    if "" in capacity:
        request["ProvisionedThroughput"] = _throughput(capacity[""])
    updates = [
        {"Update": {"IndexName": name, "ProvisionedThroughput": _throughput(units)}}
        for name, units in sorted(capacity.items())
        if name
    ]
    return {**request, "GlobalSecondaryIndexUpdates": updates} if updates else request


_UPDATES = {
    "deletion_protection": lambda after: {"DeletionProtectionEnabled": after},
    "capacity": _capacity_request,
    "stream": lambda after: {"StreamSpecification": _stream(after)},
    "encryption": lambda after: {"SSESpecification": _encryption(after)},
    "table_class": lambda after: {"TableClass": after},
}


def ttl_request(step):
    """Return TimeToLiveSpecification of a step on C(ttl_attribute)."""
    return {"Enabled": bool(step["after"]), "AttributeName": step["after"] or step["before"]}


def recovery_request(step):
    """Return PointInTimeRecoverySpecification of a step on C(recovery_days)."""
    days = step["after"]
    if not days:
        return {"PointInTimeRecoveryEnabled": False}
    return {"PointInTimeRecoveryEnabled": True, "RecoveryPeriodInDays": days}


def scaled(table, key):
    """Return (resource id, scalable dimension, policy name) of an entry of C(scaling)."""
    index, kind = key.rsplit("/", 1)
    resource = f"table/{table}/index/{index}" if index else f"table/{table}"
    dimension = f"dynamodb:{'index' if index else 'table'}:{kind.capitalize()}CapacityUnits"
    return resource, dimension, f"{resource}-{kind}"


def scaling_of(table, targets, policies):
    """Return the scaling of a table from Application Auto Scaling's targets and policies."""
    rates = {
        (policy["ResourceId"], policy["ScalableDimension"]): policy.get("TargetTrackingScalingPolicyConfiguration", {})
        for policy in policies
    }
    found = {}
    for target in targets:
        resource, dimension = target["ResourceId"], target["ScalableDimension"]
        parts = resource.split("/")
        if parts[:2] != ["table", table]:
            continue
        key = f"{parts[3] if len(parts) == 4 else ''}/{'read' if 'Read' in dimension else 'write'}"
        rate = rates.get((resource, dimension), {}).get("TargetValue")
        found[key] = {"min": target["MinCapacity"], "max": target["MaxCapacity"], "target": int(rate) if rate else 0}
    return found


def lines(steps, side):
    """Return one side (C(before), C(after)) of the steps as the lines of a diff, one for each value."""
    found = []
    for step in steps:
        found += _flat(f"{step['table']} {step['aspect']}", step[side])
    return found


def _flat(path, value):
    if value is None or value in ("", {}, []):
        return []
    if isinstance(value, dict):
        return [line for key in sorted(value) for line in _flat(f"{path}.{key or 'table'}", value[key])]
    text = ", ".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value
    return [f"{path}: {text}"]

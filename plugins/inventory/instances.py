# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: instances
short_description: The instances of one platform, by their tags
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Reads the EC2 instances with the tag C(platform) of the given value, from all given regions at once.
    A host is named by its tag C(Name), the slot. Terminated instances and those shutting down are left out.
  - "Groups: one for each word of the tag C(components), C(<component>_<cluster>) if the tag C(cluster) is set,
    C(tier_<tier>), C(zone_<zone>) and C(state_<state>); dashes become underscores."
  - Host keys are checked against the tag C(ssh_host_key), which provision fills from the instance's console output.
    A host without that tag is refused by ssh.
  - A read that fails is an error, never an empty inventory; set C(any_unparsed_is_failed) in C(ansible.cfg),
    so that Ansible ends with it. A successful empty answer is valid.
  - During the outage of a zone, DescribeInstances fails as a whole. Each zone is then asked by itself.
  - Two instances that are both stopped or both not, with one Name, are an error.
    If only one of them is stopped, it is left out with a warning.
  - "The file must be named C(instances.yml), end with C(.instances.yml), or hold C(plugin: selfhosted.ec2.instances)."
requirements:
  - boto3
options:
  plugin:
    description: Says that the file is for this plugin.
    type: str
    required: true
    choices: [selfhosted.ec2.instances]
  platform:
    description: The value of the tag C(platform), that is the variable C(platform_name).
    type: str
    required: true
    env: [{name: EC2_INVENTORY_PLATFORM}]
  regions:
    description: The regions to read; without it E(AWS_REGION), E(AWS_DEFAULT_REGION) or the profile's.
    type: list
    elements: str
    default: []
    env: [{name: EC2_INVENTORY_REGIONS}]
  profile:
    description: The AWS profile; without it, and without keys in the environment, boto3's own search.
    type: str
    env: [{name: EC2_INVENTORY_PROFILE}, {name: AWS_PROFILE}]
  assume_role_arn:
    description: A role to assume for reading.
    type: str
    env: [{name: EC2_INVENTORY_ASSUME_ROLE_ARN}]
  endpoint_url:
    description: Another EC2 endpoint.
    type: str
    env: [{name: EC2_INVENTORY_ENDPOINT_URL}, {name: AWS_ENDPOINT_URL_EC2}, {name: AWS_ENDPOINT_URL}]
  filters:
    description: Further filters of DescribeInstances, name to value or list of values. As JSON in the environment.
    type: raw
    default: {}
    env: [{name: EC2_INVENTORY_FILTERS}]
  connection:
    description:
      - How hosts are reached. V(private) uses the private address, V(public) the public one where there is one.
      - V(bastion) goes through O(bastion) by ssh. V(ssm) goes through Session Manager,
        which needs the command C(aws) and its session manager plugin.
    type: str
    choices: [private, public, bastion, ssm]
    default: private
    env: [{name: EC2_INVENTORY_CONNECTION}]
  user:
    description: The user to log in as, C(ansible_user); not set when empty.
    type: str
    default: ""
    env: [{name: EC2_INVENTORY_USER}]
  bastion:
    description:
      - The Name of an instance of the platform, or a component, of which the first running instance is taken,
        or any other host name or address.
    type: str
    default: ""
    env: [{name: EC2_INVENTORY_BASTION}]
  bastion_user:
    description: The user on the bastion; without it O(user).
    type: str
    default: ""
    env: [{name: EC2_INVENTORY_BASTION_USER}]
  bastion_port:
    description: The bastion's ssh port.
    type: int
    default: 22
    env: [{name: EC2_INVENTORY_BASTION_PORT}]
  bastion_host_key:
    description:
      - The public host key of a bastion that is no instance of the platform; without it, it must be in C(known_hosts).
    type: str
    default: ""
    env: [{name: EC2_INVENTORY_BASTION_HOST_KEY}]
  bastion_private_key_file:
    description: The private key for the bastion; without it, ssh's own search and its agent.
    type: str
    default: ""
    env: [{name: EC2_INVENTORY_BASTION_PRIVATE_KEY_FILE}, {name: ANSIBLE_PRIVATE_KEY_FILE}]
  cache_seconds:
    description:
      - For how many seconds a region's answer is used again without asking AWS; V(0) asks each time.
      - A refresh of the inventory (C(--flush-cache), the task C(meta) with C(refresh_inventory)) asks in any case.
    type: int
    default: 0
    env: [{name: EC2_INVENTORY_CACHE_SECONDS}]
  cache_directory:
    description:
      - Where C(<platform>-<hash>.json) lies, of mode 0600.
      - It is written only with O(cache_seconds) or O(on_region_failure=stale).
    type: path
    default: ~/.cache/selfhosted_ec2
    env: [{name: EC2_INVENTORY_CACHE_DIRECTORY}]
  on_region_failure:
    description:
      - What a region that cannot be read does. V(fail) is an error.
      - V(stale) takes its hosts from the last good answer, if that is not older than O(max_stale), and gives them
        the variable C(ec2_stale_seconds), the age of that answer.
    type: str
    choices: [fail, stale]
    default: fail
    env: [{name: EC2_INVENTORY_ON_REGION_FAILURE}]
  max_stale:
    description: How old, in seconds, an answer may be to stand in for a region that cannot be read.
    type: int
    default: 3600
    env: [{name: EC2_INVENTORY_MAX_STALE}]
  required_regions:
    description:
      - The regions without which there is no inventory; without it, all. Another region that can neither be read nor
        be replaced from the last answer is left out with a warning.
    type: list
    elements: str
    env: [{name: EC2_INVENTORY_REQUIRED_REGIONS}]
  min_hosts:
    description: Fewer hosts than this are an error.
    type: int
    default: 0
    env: [{name: EC2_INVENTORY_MIN_HOSTS}]
  quorum_groups:
    description:
      - Groups (components) that need a majority. A warning names each that the loss of one zone would leave without it.
    type: list
    elements: str
    default: [etcd, kubernetes_etcd, kafka, rabbitmq, elasticsearch, redis, kubernetes_control_plane]
    env: [{name: EC2_INVENTORY_QUORUM_GROUPS}]
  deadline:
    description: Seconds after which a region that throttles is given up.
    type: int
    default: 60
    env: [{name: EC2_INVENTORY_DEADLINE}]
  strict:
    description: Whether a failing expression of C(compose), C(groups) or C(keyed_groups) is an error, or passed over.
    type: bool
    default: false
    env: [{name: EC2_INVENTORY_STRICT}]
  compose:
    description: Host variables made of expressions over the other ones. From the environment as JSON.
    type: raw
    default: {}
    env: [{name: EC2_INVENTORY_COMPOSE}]
  groups:
    description: Groups of the hosts for which an expression is true. From the environment as JSON.
    type: raw
    default: {}
    env: [{name: EC2_INVENTORY_GROUPS}]
  keyed_groups:
    description:
      - A list of C(key), C(prefix), C(separator), C(parent_group), C(default_value) and C(trailing_separator), as in
        M(ansible.builtin.constructed); a group for each value of the key. From the environment as JSON.
    type: raw
    default: []
    env: [{name: EC2_INVENTORY_KEYED_GROUPS}]
  leading_separator:
    description: Whether the name of a keyed group without prefix begins with the separator.
    type: bool
    default: true
    env: [{name: EC2_INVENTORY_LEADING_SEPARATOR}]
  use_extra_vars:
    description: Whether the expressions see the extra variables of the command line.
    type: bool
    default: false
    env: [{name: EC2_INVENTORY_USE_EXTRA_VARS}]
"""

EXAMPLES = r"""
# instances.yml
plugin: selfhosted.ec2.instances
platform: trading
regions: [eu-west-1]
user: admin

# From outside the VPC, through a host of the tier edge; the last good answer stands in for ten minutes.
# plugin: selfhosted.ec2.instances
# platform: trading
# connection: bastion
# bastion: haproxy
# on_region_failure: stale
# max_stale: 600
# min_hosts: 5

# More groups and variables; here and in the environment (as JSON, EC2_INVENTORY_KEYED_GROUPS).
# plugin: selfhosted.ec2.instances
# platform: trading
# keyed_groups:
#   - {prefix: type, key: ec2_instance_type}
# compose:
#   ansible_port: 2222
# groups:
#   big: ec2_memory_mib | default(0) >= 16384
"""

import hashlib
import json
import os
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.template import trust_as_template
from ansible_collections.selfhosted.ec2.plugins.module_utils import inventory_model as model

#: DescribeInstances gives at most 1,000 instances a page (its API reference, MaxResults).
PAGE = 1000
#: DescribeInstances by ids takes at most 1,000 of them (EC2 developer guide, pagination).
IDS = 1000
WORKERS = 8
CACHE_VERSION = 1
_ID = re.compile(r"\bi-[0-9a-f]+\b")
_OURS = re.compile(r"^plugin:\s*['\"]?selfhosted\.ec2\.instances\b", re.MULTILINE)


@dataclass
class Reading:
    """What one region answered: records, and of what failed the sentence and the zone (None: the whole region)."""

    records: list = field(default_factory=list)
    failures: list = field(default_factory=list)


class Cache:
    """The last good records of each region, in one JSON file of mode 0600.

    :arg path: of the file.
    :arg now: the time, in seconds since 1970.
    """

    def __init__(self, path, now):
        self.path, self.now = path, now
        self.regions = self._load()

    def _load(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                data = json.load(file)
            return data["regions"] if data["version"] == CACHE_VERSION else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def age(self, region):
        """Return the age of a region's records in whole seconds, None when there are none."""
        entry = self.regions.get(region)
        return max(0, int(self.now - entry["read"])) if entry else None

    def records(self, region):
        """Return the records of a region, [] when there are none."""
        return self.regions.get(region, {}).get("records", [])

    def store(self, region, records):
        """Remember the records of a region as read now."""
        self.regions[region] = {"read": self.now, "records": records}

    def save(self):
        """Write the file, whole or not at all."""
        folder = os.path.dirname(self.path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".inventory-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"version": CACHE_VERSION, "regions": self.regions}, file, separators=(",", ":"))
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise


def lean(session):
    """Let a boto3 session parse of an instance only what the model reads: two thirds less time for a page."""
    core = session._session
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    shapes = core.get_component("data_loader").load_service_model("ec2", "service-2")["shapes"]
    instance = shapes["Instance"]
    instance["members"] = {name: shape for name, shape in instance["members"].items() if name in model.MEMBERS}


def read_region(client, filters, known):
    """Read the instances of one region; when the region as a whole cannot be read, zone by zone.

    :arg client: C(module_utils.aws.Client) of EC2.
    :arg filters: of DescribeInstances.
    :arg known: the last records of the region; their ids are asked for by zone, since a call that names only
        instances of healthy zones works while others are disrupted (DescribeInstances, API reference).
    :returns: Reading.
    """
    from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

    try:
        pages = client.pages("describe_instances", "Reservations", Filters=filters, MaxResults=PAGE)
        return Reading(records=model.records(pages, client.region))
    except aws.AwsError as error:
        hopeless = aws.CREDENTIAL_CODES | aws.DENIED_CODES | aws.THROTTLE_CODES
        if not error.code or error.code in hopeless or error.code.startswith("Invalid"):
            return Reading(failures=[(str(error), None)])
        return read_zones(client, filters, known, str(error))


def read_zones(client, filters, known, sentence):
    """Read one region zone by zone; arguments and answer as those of C(read_region), I(sentence) is its failure."""
    from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

    ids = {}
    for item in known:
        ids.setdefault(item["ec2_zone"], []).append(item["ec2_instance_id"])
    try:
        zones = sorted(ids) or sorted(
            zone["ZoneName"] for zone in client.call("describe_availability_zones")["AvailabilityZones"]
        )
    except aws.AwsError:
        return Reading(failures=[(sentence, None)])
    reading = Reading()
    for zone in zones:
        try:
            reading.records += model.records(_zone_pages(client, zone, filters, ids.get(zone)), client.region)
        except aws.AwsError as error:
            reading.failures.append((str(error), zone))
    if len(reading.failures) == len(zones):
        return Reading(failures=[(sentence, None)])
    return reading


def _zone_pages(client, zone, filters, ids):
    if not ids:
        of_zone = {"Name": "availability-zone", "Values": [zone]}
        return client.pages("describe_instances", "Reservations", Filters=[*filters, of_zone], MaxResults=PAGE)
    found = []
    for start in range(0, len(ids), IDS):
        found += _by_ids(client, filters, ids[start : start + IDS])
    return found


def _by_ids(client, filters, ids):
    """Return the reservations of those of the ids that still exist: AWS refuses a call that names one that is gone."""
    from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

    while ids:
        try:
            return client.pages("describe_instances", "Reservations", Filters=filters, InstanceIds=ids)
        except aws.AwsError as error:
            gone = set(_ID.findall(str(error))) if error.code == "InvalidInstanceID.NotFound" else set()
            if not gone & set(ids):
                raise
            ids = [item for item in ids if item not in gone]
    return []


class InventoryModule(BaseInventoryPlugin, Constructable):
    """The instances of one platform."""

    NAME = "selfhosted.ec2.instances"

    def verify_file(self, path):
        if not super().verify_file(path) or not path.endswith((".yml", ".yaml")):
            return False
        if os.path.basename(path).rsplit(".", 1)[0].split(".")[-1] == "instances":
            return True
        with open(path, encoding="utf-8") as file:
            return bool(_OURS.search(file.read()))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            items = self._records(use_cache=cache)
            found = model.build(items, self._connection(), self.get_option("quorum_groups"))
        except model.ModelError as error:
            raise AnsibleParserError(str(error)) from None
        if len(found.hosts) < self.get_option("min_hosts"):
            raise AnsibleParserError(
                f"Platform {self.get_option('platform')} has {len(found.hosts)} hosts in {', '.join(self._regions())},"
                f" fewer than min_hosts, {self.get_option('min_hosts')}."
            )
        for sentence in found.warnings:
            self.display.warning(sentence)
        self._fill(found)

    # Reading

    def _records(self, use_cache):
        """Return the records of all regions, from the cache where it is fresh, and keep what was read."""
        regions = self._regions()
        store = Cache(self._cache_path(), time.time()) if self._keeps() else None
        fresh = self.get_option("cache_seconds") if use_cache else 0
        ages = {region: store.age(region) if store else None for region in regions}
        to_read = [region for region in regions if ages[region] is None or ages[region] >= fresh]
        readings = self._read(to_read, store)
        found = []
        for region in regions:
            found += self._accept(region, readings[region], store) if region in readings else store.records(region)
        if store and any(not reading.failures for reading in readings.values()):
            self._save(store)
        return found

    def _read(self, regions, store):
        """Return dict of region to Reading, all regions at once."""
        if not regions:
            return {}
        from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

        if aws.BOTO_ERROR:
            raise AnsibleParserError(
                "The Python package boto3 is not installed for the Python that runs Ansible; install it."
            )
        options = {name: self.get_option(name) for name in ("profile", "assume_role_arn", "endpoint_url")}
        session = aws.Aws({**options, "region": regions[0]}, deadline=self.get_option("deadline"))
        filters = self._filters()
        try:
            lean(session.session)
            clients = {region: session.client("ec2", region) for region in regions}
        except aws.AwsError as error:
            raise AnsibleParserError(str(error)) from None
        with ThreadPoolExecutor(max_workers=min(WORKERS, len(regions))) as pool:
            jobs = {
                region: pool.submit(read_region, clients[region], filters, store.records(region) if store else [])
                for region in regions
            }
            return {region: job.result() for region, job in jobs.items()}

    def _accept(self, region, reading, store):
        """Return the records of a region, with stale ones for what failed.

        :raises AnsibleParserError: something failed and nothing may stand in for it.
        """
        if not reading.failures:
            if store:
                store.store(region, reading.records)
            return reading.records
        found = list(reading.records)
        for sentence, zone in reading.failures:
            where = f"Zone {zone}" if zone else f"Region {region}"
            found += self._stand_in(region, zone, where, sentence, store)
        return found

    def _stand_in(self, region, zone, where, sentence, store):
        age = store.age(region) if store else None
        why = ""
        if self.get_option("on_region_failure") == "stale":
            limit = self.get_option("max_stale")
            if age is not None and age <= limit:
                self.display.warning(f"{where} cannot be read, its hosts are as they were {age} s ago: {sentence}")
                return [
                    {**item, "ec2_stale_seconds": age}
                    for item in store.records(region)
                    if zone is None or item["ec2_zone"] == zone
                ]
            why = f" The last answer is {age} s old, more than max_stale, {limit} s."
            if age is None:
                why = " No earlier answer is kept."
        required = self.get_option("required_regions")
        if required is None or region in required:
            raise AnsibleParserError(f"{where} cannot be read: {sentence}{why}")
        self.display.warning(f"{where} cannot be read and is left out: {sentence}{why}")
        return []

    # Options

    def _regions(self):
        regions = self.get_option("regions") or [
            os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or self._profile_region()
        ]
        if not regions[0]:
            raise AnsibleParserError("No AWS region is given: set the option regions, or AWS_REGION.")
        return list(dict.fromkeys(regions))

    def _profile_region(self):
        from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

        try:
            return aws.Aws({"profile": self.get_option("profile")}).region
        except aws.AwsError:
            return None

    def _structure(self, name, kind):
        """Return an option that is a dict or a list, given as such or as JSON in the environment."""
        value = self.get_option(name)
        if isinstance(value, str):
            try:
                value = _trusted(json.loads(value))
            except ValueError as error:
                raise AnsibleParserError(f"The option {name} is {value!r}, which is no JSON: {error}.") from None
        if value and not isinstance(value, kind):
            raise AnsibleParserError(f"The option {name} is {value!r}; give a {'mapping' if kind is dict else 'list'}.")
        return value or kind()

    def _filters(self):
        wanted = {
            **self._structure("filters", dict),
            "tag:platform": self.get_option("platform"),
        }
        wanted.setdefault("instance-state-name", list(model.LIVE_STATES))
        return [
            {"Name": name, "Values": [str(value) for value in (values if isinstance(values, list) else [values])]}
            for name, values in wanted.items()
        ]

    def _connection(self):
        options = ("user", "bastion", "bastion_user", "bastion_port", "bastion_host_key", "bastion_private_key_file")
        return model.Connection(kind=self.get_option("connection"), **{name: self.get_option(name) for name in options})

    def _keeps(self):
        return self.get_option("cache_seconds") > 0 or self.get_option("on_region_failure") == "stale"

    def _cache_path(self):
        """Return the cache's path; another account, endpoint or filter has another file."""
        identity = json.dumps(
            [
                self._filters(),
                self.get_option("profile"),
                self.get_option("assume_role_arn"),
                self.get_option("endpoint_url"),
                os.environ.get("AWS_ACCESS_KEY_ID"),
            ]
        )
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        platform = model.group_name(self.get_option("platform"))
        return os.path.join(self.get_option("cache_directory"), f"{platform}-{digest}.json")

    def _save(self, store):
        try:
            store.save()
        except OSError as error:
            self.display.warning(f"The cache {store.path} cannot be written: {error}.")

    # Filling

    def _fill(self, found):
        inventory = self.inventory
        for group in ["state_running", *found.groups]:
            inventory.add_group(group)
        for name, variables in found.hosts.items():
            inventory.add_host(name)
            # One update instead of a call for each variable: a third of the time at 5,000 hosts.
            inventory.hosts[name].vars.update(variables)
            # Ids, addresses and a key that the model has checked hold no template: plain text for readers of the JSON.
            for connection in ("ansible_host", "ansible_ssh_common_args"):
                inventory.hosts[name].vars[connection] = trust_as_template(variables[connection])
        for group, names in found.groups.items():
            for name in names:
                inventory.add_host(name, group)
        self._construct(found.hosts)

    def _construct(self, hosts):
        compose = self._structure("compose", dict)
        groups = self._structure("groups", dict)
        keyed_groups = self._structure("keyed_groups", list)
        if not (compose or groups or keyed_groups):
            return
        strict = self.get_option("strict")
        try:
            for name in hosts:
                variables = self.inventory.get_host(name).get_vars()
                self._set_composite_vars(compose, variables, name, strict)
                if compose:
                    variables = self.inventory.get_host(name).get_vars()
                self._add_host_to_composed_groups(groups, variables, name, strict, fetch_hostvars=False)
                self._add_host_to_keyed_groups(keyed_groups, variables, name, strict, fetch_hostvars=False)
        except AnsibleError as error:
            raise AnsibleParserError(str(error)) from error


def _trusted(value):
    """Return a value from the environment, its texts trusted as templates, as those of the file are."""
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value

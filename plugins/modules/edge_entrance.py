#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: edge_entrance
short_description: The load balancer, VPC origin and distribution before HAProxy or the API of Kubernetes
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - With the layout V(alb) an internet-facing Application Load Balancer in the public subnets, with a regional web ACL,
    sends to the hosts of O(tiers).
  - With the layout V(cloudfront) a CloudFront distribution with a web ACL of the scope CLOUDFRONT sends through a VPC
    origin to an internal Network Load Balancer in the private subnets, and that to the hosts. Nothing of it has a
    public address in the VPC.
  - With the layout V(nlb) an internal Network Load Balancer in the private subnets passes TCP through to single
    instances, which O(state=registered) and O(state=deregistered) name. They see its addresses in place of the
    clients', so that an instance can reach itself through it. It is what leads to the API of Kubernetes with
    C(kubernetes_endpoint_balancer) V(nlb).
  - Everything is read side by side, compared, planned, and only what differs is written. The web ACL is in its place
    before anything listens.
  - Names follow from O(name); a target group whose port or protocol is to change is made anew, and the old one removed
    once nothing sends to it.
  - CloudFront takes minutes to deploy; the module waits for a VPC origin, and for a distribution only to remove it.
extends_documentation_fragment:
  - selfhosted.ec2.aws
  - selfhosted.ec2.attributes.plan
attributes:
  diff_mode:
    description: Shows each value that changes.
    support: full
options:
  platform:
    description: Value of the tag C(platform) of the subnets, the security group and the instances.
    type: str
    required: true
  name:
    description: Beginning of the names of what is made; at most 25 characters.
    type: str
    required: true
  layout:
    description: What stands before HAProxy.
    type: str
    choices: [alb, cloudfront, nlb]
    required: true
  state:
    description:
      - Whether it is there.
      - With V(registered) it sends to O(instances) when the module ends, with V(deregistered) it sends nothing to them
        any more and O(target.drain_seconds) are over. Nothing else of it is looked at.
    type: str
    choices: [present, absent, registered, deregistered]
    default: present
  tiers:
    description: Tiers whose instances take the requests; not with the layout V(nlb).
    type: list
    elements: str
    default: []
  instances:
    description: Ids of the instances that are registered or deregistered, with the layout V(nlb).
    type: list
    elements: str
    default: []
  security_group:
    description: Name of the load balancer's security group, which provision makes; O(platform) with C(-entrance).
    type: str
  target:
    description: Where the hosts take requests.
    type: dict
    suboptions:
      port:
        description: Port of HAProxy, or of the API; with the layout V(nlb) the load balancer's, too.
        type: int
        default: 443
      tls:
        description:
          - Whether TLS is spoken there. The load balancers do not look at its certificate.
          - With the layout V(nlb) TLS goes through to it, and O(target.health_path) is asked for over HTTPS.
        type: bool
        default: true
      health_port:
        description: Port that is asked whether the host may get requests.
        type: int
        default: 8405
      health_path:
        description: Path that answers 200 then.
        type: str
        default: /health
      drain_seconds:
        description: Seconds that a host which leaves keeps its connections.
        type: int
        default: 60
  certificate:
    description: ARN of the certificate of ACM that the load balancer shows.
    type: str
  tls_policy:
    description: TLS policy of the load balancer.
    type: str
    default: ELBSecurityPolicy-TLS13-1-2-2021-06
  web_acl:
    description: ARN of the web ACL. Without it none stands before the load balancer or distribution.
    type: str
  aliases:
    description: Names under which clients reach the distribution.
    type: list
    elements: str
    default: []
  viewer_certificate:
    description: ARN of the certificate of ACM in us-east-1 that the distribution shows; required with O(aliases).
    type: str
  price_class:
    description: Which of CloudFront's locations serve.
    type: str
    choices: [PriceClass_100, PriceClass_200, PriceClass_All]
    default: PriceClass_100
  cross_zone:
    description: Whether a Network Load Balancer sends from each zone to the hosts of all zones.
    type: bool
    default: true
  deletion_protection:
    description: Whether AWS refuses to delete the load balancer; O(state=absent) ends it first.
    type: bool
    default: true
  tags:
    description: Tags of all that is made; other tags are left as they are.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: An Application Load Balancer with a web ACL
  selfhosted.ec2.edge_entrance:
    platform: trading
    name: trading-edge
    layout: alb
    tiers: [edge]
    certificate: arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d
    web_acl: arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/trading-edge/0a1b2c3d
    tags: {platform: trading, environment: production}

- name: An internal Network Load Balancer before the API of Kubernetes
  selfhosted.ec2.edge_entrance: &api
    platform: trading
    name: trading-k8s
    layout: nlb
    security_group: trading-kubernetes-api
    target: {port: 6443, health_port: 6443, health_path: /readyz}

- name: A control plane that it leads to
  selfhosted.ec2.edge_entrance:
    <<: *api
    state: registered
    instances: [i-0123456789abcdef0]
"""

RETURN = r"""
address:
  description: Name to which clients' names shall point; empty before the distribution or load balancer exists.
  returned: always
  type: str
zone_id:
  description: Route 53 zone of the load balancer's name, for records that are aliases; empty before it exists.
  returned: always
  type: str
targets:
  description: Ids of the registered instances before this run, with the layout V(nlb).
  returned: always
  type: list
  elements: str
load_balancer:
  description: ARN of the load balancer; empty before it exists.
  returned: always
  type: str
distribution:
  description: ARN of the distribution; empty without one.
  returned: always
  type: str
actions:
  description: What was done, or in check mode would be done, one line each.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, entrance_plan, steps

#: Seconds; CloudFront deploys within minutes, sometimes a quarter of an hour.
TIMEOUT = 600
DEPLOY_TIMEOUT = 1800
NOT_FOUND = ("LoadBalancerNotFound", "LoadBalancerNotFoundException")
NO_ACL = "WAFNonexistentItemException"
#: A web ACL or load balancer that was made just now is not known everywhere for some seconds.
YOUNG_ACL = "WAFUnavailableEntityException"


class Account:
    """What the account holds of one entrance. Reads go side by side, in two rounds."""

    def __init__(self, connection, want):
        self.connection, self.want = connection, want
        self.ec2, self.elb = connection.client("ec2"), connection.client("elbv2")
        self.cloudfront = connection.client("cloudfront", entrance_plan.GLOBAL_REGION)
        self.ids, self.have = {}, {}
        self.raw = {"distribution": None, "origin": None, "listeners": {}, "old_groups": {}, "interfaces": False}
        self.world = {}
        self.states = {}
        self.address = ""

    def call(self, operation, **arguments):
        """Carry out a step: C(service:operation)."""
        service, _colon, method = operation.partition(":")
        region = entrance_plan.GLOBAL_REGION if service == "cloudfront" else None
        return self.connection.client(service, region).call(method, **arguments)

    def read(self):
        """Read everything."""
        first = [self._balancer, self._groups]
        if self.want["state"] == "present":
            first += [self._subnets, self._security_group]
            first += [] if self.want["layout"] == "nlb" else [self._instances]
        if self.want["state"] == "absent":
            first.append(self._interfaces)
        if self.want["layout"] == "cloudfront":
            first += [self._find_origin, self.find_distribution]
        aws.parallel(lambda read: read(), first)
        present, second = self.want["state"] == "present", []
        if present and entrance_plan.BALANCER in self.ids:
            second += [self._listeners, self._balancer_attributes, self._elb_tags]
            if self.want["layout"] == "alb":
                second.append(self._web_acl)
        if self.want["layout"] == "nlb" and entrance_plan.TARGETS in self.ids:
            second.append(self.read_states)
        if present and entrance_plan.TARGETS in self.ids:
            second += [self._target_attributes, *([] if self.want["layout"] == "nlb" else [self._targets])]
            second += [] if entrance_plan.BALANCER in self.ids else [self._elb_tags]
        if self.raw["origin"]:
            second.append(self._origin)
        if self.raw["distribution"]:
            second += [self._distribution, *([self._distribution_tags] if present else [])]
        aws.parallel(lambda read: read(), second)

    # The first round

    def _balancer(self):
        found = self.describe_balancer(Names=[entrance_plan.balancer_name(self.want)])
        self.world["balancer"] = found
        if found:
            self.ids[entrance_plan.BALANCER] = found["LoadBalancerArn"]
            self.ids[entrance_plan.ADDRESS] = self.address = found["DNSName"]
            self.have["load balancer"] = {
                "subnets": sorted(zone["SubnetId"] for zone in found["AvailabilityZones"]),
                "security group": sorted(found.get("SecurityGroups") or []),
            }

    def describe_balancer(self, **which):
        try:
            return self.elb.call("describe_load_balancers", **which)["LoadBalancers"][0]
        except aws.AwsError as error:
            if error.code not in NOT_FOUND:
                raise
            return None

    def _interfaces(self):
        described = [{"Name": "description", "Values": [entrance_plan.interface_description(self.want)]}]
        found = self.ec2.pages("describe_network_interfaces", "NetworkInterfaces", Filters=described, MaxResults=1000)
        self.raw["interfaces"] = bool(found)
        return self.raw["interfaces"]

    def _groups(self):
        wanted = entrance_plan.target_name(self.want)
        for group in self.elb.pages("describe_target_groups", "TargetGroups", PageSize=400):
            name = group["TargetGroupName"]
            if name == wanted and self.want["state"] != "absent":
                self.ids[entrance_plan.TARGETS] = group["TargetGroupArn"]
                self.have["target group"] = group
            elif entrance_plan.is_own_group(self.want, name):
                self.raw["old_groups"][name] = group["TargetGroupArn"]

    def _subnets(self):
        kind = "public" if self.want["layout"] == "alb" else "private"
        names = f"{self.want['platform']}-{kind}-"
        found = [
            subnet
            for subnet in self.ec2.pages(
                "describe_subnets", "Subnets", Filters=aws.platform_filter(self.want["platform"]), MaxResults=1000
            )
            if aws.tags_of(subnet).get("Name", "").startswith(names)
        ]
        self.world["subnets"] = [subnet["SubnetId"] for subnet in found]
        self.world["zones"] = {subnet["AvailabilityZone"] for subnet in found}
        self.world["vpc"] = found[0]["VpcId"] if found else ""

    def _security_group(self):
        filters = [*aws.platform_filter(self.want["platform"]), {"Name": "group-name", "Values": [self.group_name]}]
        found = self.ec2.pages("describe_security_groups", "SecurityGroups", Filters=filters, MaxResults=1000)
        self.world["group"] = found[0]["GroupId"] if found else ""

    @property
    def group_name(self):
        return self.want["security_group"]

    def _instances(self):
        filters = [
            *aws.platform_filter(self.want["platform"]),
            {"Name": "tag:tier", "Values": self.want["tiers"]},
            {"Name": "instance-state-name", "Values": list(entrance_plan.ALIVE)},
        ]
        launches = self.ec2.pages("describe_instances", "Reservations", Filters=filters, MaxResults=1000)
        instances = [instance for launch in launches for instance in launch["Instances"]]
        self.world["alive"] = {entry["InstanceId"] for entry in instances}
        self.world["running"] = {e["InstanceId"] for e in instances if e["State"]["Name"] == "running"}

    def _listed(self, operation, key):
        """The items of a list of CloudFront; its pages lie below the list."""
        items, more = [], {}
        while True:
            page = self.cloudfront.call(operation, **more)[key]
            items += page.get("Items") or []
            if not page.get("IsTruncated"):
                return items
            more = {"Marker": page["NextMarker"]}

    def _find_origin(self):
        found = [o for o in self._listed("list_vpc_origins", "VpcOriginList") if o["Name"] == self.want["name"]]
        if found:
            self.raw["origin"] = {"Id": found[0]["Id"]}
            self.ids[entrance_plan.ORIGIN] = found[0]["Id"]

    def find_distribution(self):
        name = entrance_plan.comment(self.want)
        found = [d for d in self._listed("list_distributions", "DistributionList") if d["Comment"] == name]
        if len(found) > 1:
            ids = " and ".join(sorted(entry["Id"] for entry in found))
            raise aws.AwsError(f"The distributions {ids} both have the comment {name!r}; it must be of one alone.")
        if found:
            self.raw["distribution"] = {key: found[0][key] for key in ("Id", "ARN", "DomainName")}
            self.ids["@distribution"] = found[0]["ARN"]

    # The second round

    def _listeners(self):
        arn = self.ids[entrance_plan.BALANCER]
        for listener in self.elb.pages("describe_listeners", "Listeners", LoadBalancerArn=arn):
            self.raw["listeners"][listener["Port"]] = listener["ListenerArn"]
            self.have[f"listener {listener['Port']}"] = listener

    def _balancer_attributes(self):
        answer = self.elb.call("describe_load_balancer_attributes", LoadBalancerArn=self.ids[entrance_plan.BALANCER])
        self.have["load balancer attributes"] = aws.tags_of(answer, "Attributes")

    def _target_attributes(self):
        answer = self.elb.call("describe_target_group_attributes", TargetGroupArn=self.ids[entrance_plan.TARGETS])
        self.have["target group attributes"] = aws.tags_of(answer, "Attributes")

    def _elb_tags(self):
        kinds = {entrance_plan.BALANCER: "load balancer", entrance_plan.TARGETS: "target group"}
        arns = {self.ids[reference]: kind for reference, kind in kinds.items() if reference in self.ids}
        for entry in self.elb.call("describe_tags", ResourceArns=list(arns))["TagDescriptions"]:
            self.have[f"tags of {arns[entry['ResourceArn']]}"] = aws.tags_of(entry)

    def read_states(self):
        """Read what the load balancer thinks of each target."""
        answer = self.elb.call("describe_target_health", TargetGroupArn=self.ids[entrance_plan.TARGETS])
        found = {entry["Target"]["Id"]: entry["TargetHealth"] for entry in answer["TargetHealthDescriptions"]}
        self.states = {identity: health["State"] for identity, health in found.items()}
        return found

    def _targets(self):
        self.read_states()
        self.have["targets"] = self.registered()

    def registered(self):
        """The instances that are targets, as they were read last."""
        return sorted(identity for identity, state in self.states.items() if state != "draining")

    def _web_acl(self):
        try:
            answer = self.connection.client("wafv2").call(
                "get_web_acl_for_resource", ResourceArn=self.ids[entrance_plan.BALANCER]
            )
        except aws.AwsError as error:
            if error.code != NO_ACL:
                raise
            answer = {}
        acl = answer.get("WebACL")
        self.have["web ACL"] = {"arn": acl["ARN"]} if acl else None

    def _origin(self):
        answer = self.cloudfront.call("get_vpc_origin", Id=self.raw["origin"]["Id"])
        self.raw["origin"]["ETag"] = answer["ETag"]
        self.have["VPC origin"] = answer["VpcOrigin"]["VpcOriginEndpointConfig"]

    def _distribution(self):
        answer = self.cloudfront.call("get_distribution_config", Id=self.raw["distribution"]["Id"])
        self.raw["distribution"].update(ETag=answer["ETag"], DistributionConfig=answer["DistributionConfig"])
        self.have["distribution"] = answer["DistributionConfig"]

    def _distribution_tags(self):
        answer = self.cloudfront.call("list_tags_for_resource", Resource=self.raw["distribution"]["ARN"])
        self.have["tags of distribution"] = aws.tags_of(answer["Tags"], "Items")

    # Waits

    def waits(self):
        """Return the operations of the plan that wait, or need an answer first."""
        return {
            "wait_active": self._active,
            "wait_gone": self._gone,
            "associate": self._associate,
            "wait_origin": self._origin_deployed,
            "delete_distribution": self._delete_distribution,
            "delete_origin": self._delete_origin,
            "delete_target_group": self._delete_target_group,
        }

    def _until(self, check, what, timeout=TIMEOUT):
        return steps.wait_until(check, what, self.connection.clock, timeout)

    def _active(self, arn):
        def check():
            found = self.describe_balancer(LoadBalancerArns=[arn])
            state = (found or {}).get("State", {}).get("Code")
            if state == "failed":
                raise aws.AwsError(f"The load balancer {arn} failed: {found['State'].get('Reason')}.")
            return found if state == "active" else None

        return self._until(check, "the load balancer is active")

    def _gone(self):
        name = entrance_plan.balancer_name(self.want)

        def check():
            return not self.describe_balancer(Names=[name]) and not self._interfaces()

        return self._until(check, f"{name} and its network interfaces are gone")

    def settle(self):
        """Wait until the load balancer sends to the instances that are registered, and no more to those that leave."""
        registered = self.want["state"] == "registered"
        names = ", ".join(self.want["instances"])
        last = {"found": {}}

        def check():
            last.update(found=self.read_states())
            return entrance_plan.settled(self.want, self.states)

        what = f"{names} {'is healthy' if registered else 'gets nothing more'} behind the load balancer"
        try:
            self._until(check, what, TIMEOUT if registered else TIMEOUT + self.want["target"]["drain_seconds"])
        except aws.AwsError as error:
            meant = [last["found"].get(identity, {}) for identity in self.want["instances"]]
            bad = [health.get("Description") for health in meant if health.get("State") != "healthy"]
            why = "; ".join(sorted({text for text in bad if text}))
            raise aws.AwsError(f"{error} ({why})" if why and registered else str(error)) from error

    def _associate(self, acl, balancer):
        def check():
            try:
                return self.call("wafv2:associate_web_acl", WebACLArn=acl, ResourceArn=balancer) or True
            except aws.AwsError as error:
                if error.code != YOUNG_ACL:
                    raise
                return False

        return self._until(check, "AWS WAF knows the new web ACL everywhere")

    def _origin_deployed(self, identity):
        def check():
            return self.cloudfront.call("get_vpc_origin", Id=identity)["VpcOrigin"]["Status"] == "Deployed"

        return self._until(check, "the VPC origin is deployed", DEPLOY_TIMEOUT)

    def _delete_distribution(self, identity):
        def deployed():
            answer = self.cloudfront.call("get_distribution", Id=identity)
            return answer["ETag"] if answer["Distribution"]["Status"] == "Deployed" else None

        tag = self._until(deployed, "the distribution is switched off everywhere", DEPLOY_TIMEOUT)
        return self.cloudfront.call("delete_distribution", Id=identity, IfMatch=tag)

    def _delete_origin(self, identity):
        tag = self.cloudfront.call("get_vpc_origin", Id=identity)["ETag"]
        return self.cloudfront.call("delete_vpc_origin", Id=identity, IfMatch=tag)

    def _delete_target_group(self, arn):
        def check():
            try:
                self.elb.call("delete_target_group", TargetGroupArn=arn)
            except aws.AwsError as error:
                if error.code != "ResourceInUse":
                    raise
                return False
            return True

        return self._until(check, "nothing sends to the old target group")


def present(want, account):
    """Return the parts that differ and the steps that make them as wanted."""
    world = {"registered": account.have.get("targets") or [], **account.world}
    refused = entrance_plan.world_faults(want, world)
    if refused:
        raise aws.AwsError(" ".join(refused))
    parts = entrance_plan.desired(want, world, account.ids)
    changed = entrance_plan.differences(account.have, parts)
    plan = entrance_plan.Planner(want, account.have, account.ids, account.raw).steps(parts, changed)
    plan += entrance_plan.old_groups(account.raw["old_groups"])
    return plan, entrance_plan.diff(account.have, parts, changed)


def of_targets(want, account):
    """Return the steps that register or deregister the instances, and the diff."""
    if not {entrance_plan.BALANCER, entrance_plan.TARGETS} <= set(account.ids):
        name = entrance_plan.balancer_name(want)
        raise aws.AwsError(
            f"There is no load balancer {name} with the target group {entrance_plan.target_name(want)};"
            " run provision.yml with kubernetes_endpoint_balancer: nlb first."
        )
    plan = entrance_plan.of_targets(want, account.states)
    return plan, {"before": "", "after": "".join(f"{step.text}\n" for step in plan)}


def manage(params, connection, check_mode):
    """Compare, write what differs unless in check mode, and return the module's result. Raises AwsError."""
    want = {**params, "tags": {key: str(value) for key, value in params["tags"].items()}}
    want["security_group"] = params["security_group"] or f"{params['platform']}-entrance"
    found = entrance_plan.faults(want, connection.region)
    if found:
        raise aws.AwsError(" ".join(found))
    account = Account(connection, want)
    account.read()
    if want["state"] == "absent":
        plan = entrance_plan.removal(want, account.ids, account.raw)
        diff = {"before": "".join(f"{step.text}\n" for step in plan), "after": ""}
    elif want["state"] == "present":
        plan, diff = present(want, account)
    else:
        plan, diff = of_targets(want, account)
    ids = dict(account.ids)
    before = account.registered()
    if plan and not check_mode:
        ids = steps.run(plan, account, ids, account.waits())
    # Also where a run that was cut off has registered them: who goes on may rely on it.
    named = want["state"] in entrance_plan.OF_TARGETS and not check_mode
    if named and (plan or not entrance_plan.settled(want, account.states)):
        account.settle()
    return {**result(want, account, ids, plan, diff, check_mode), "targets": before}


def result(want, account, ids, plan, diff, check_mode):
    """Return what the module answers."""
    gone = want["state"] == "absent" and not check_mode
    address, zone = ids.get(entrance_plan.ADDRESS, ""), ""
    if entrance_plan.BALANCER in ids and not gone:
        found = account.world["balancer"] or account.describe_balancer(LoadBalancerArns=[ids[entrance_plan.BALANCER]])
        zone = found["CanonicalHostedZoneId"]
    if want["layout"] == "cloudfront":
        if "@distribution" in ids and not account.raw["distribution"]:
            account.find_distribution()
        address = (account.raw["distribution"] or {}).get("DomainName", "")
    return {
        "changed": bool(plan),
        "address": "" if gone else address,
        "zone_id": zone,
        "load_balancer": "" if gone else ids.get(entrance_plan.BALANCER, ""),
        "distribution": "" if gone else ids.get("@distribution", ""),
        "actions": [step.text for step in plan],
        "diff": diff,
    }


def argument_spec():
    def text(**more):
        return {"type": "str", **more}

    names = {"type": "list", "elements": "str", "default": []}
    target = {
        "port": {"type": "int", "default": 443},
        "tls": {"type": "bool", "default": True},
        "health_port": {"type": "int", "default": 8405},
        "health_path": text(default="/health"),
        "drain_seconds": {"type": "int", "default": 60},
    }
    return {
        **aws.argument_spec(),
        "platform": text(required=True),
        "name": text(required=True),
        "layout": text(choices=list(entrance_plan.LAYOUTS), required=True),
        "state": text(choices=["present", "absent", *entrance_plan.OF_TARGETS], default="present"),
        "tiers": names,
        "instances": names,
        "security_group": text(),
        "target": {"type": "dict", "apply_defaults": True, "options": target},
        "certificate": text(),
        "tls_policy": text(default=entrance_plan.TLS_POLICY),
        "web_acl": text(),
        "aliases": names,
        "viewer_certificate": text(),
        "price_class": text(choices=["PriceClass_100", "PriceClass_200", "PriceClass_All"], default="PriceClass_100"),
        "cross_zone": {"type": "bool", "default": True},
        "deletion_protection": {"type": "bool", "default": True},
        "tags": {"type": "dict", "default": {}},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    aws.run(module, lambda connection: manage(module.params, connection, module.check_mode))


if __name__ == "__main__":
    main()

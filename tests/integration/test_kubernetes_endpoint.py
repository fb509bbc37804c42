"""The load balancer before the API of Kubernetes against the strict front: from provision.yml to teardown.yml."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws
from ansible_collections.selfhosted.ec2.plugins.modules import edge_entrance

from tests.integration import test_provision
from tests.integration.front_client import ROOT, parameters

NAME = "kubernetes.lab.internal."
API = {
    "platform": "lab",
    "name": "lab-k8s",
    "layout": "nlb",
    "security_group": "lab-kubernetes-api",
    "target": {"port": 6443, "health_port": 6443, "health_path": "/readyz", "drain_seconds": 30},
    "tags": {"platform": "lab", "environment": "lab"},
}
#: As the roles of Kubernetes include it on a control plane that has begun, joined, leaves or starts anew.
TASKS = """
- hosts: tier_control:&state_running
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.include_role: {name: selfhosted.ec2.kubernetes, tasks_from: balancer}
      vars:
        __kubernetes_targets: "{{ ['control-1', 'control-2'] | map('extract', hostvars, 'ec2_instance_id') }}"
        __kubernetes_target_state: "{{ wanted }}"
"""


class Endpoint:
    """The lab's small platform with control planes and HAProxy, and what leads to its API."""

    def __init__(self, front, directory):
        self.front, self.directory = front, directory
        self.ec2, self.elb, self.route53 = (front.client(s) for s in ("ec2", "elbv2", "route53"))
        front.show_consoles()

    def play(self, name, *arguments, **settings):
        extra = json.dumps({"kubernetes_endpoint_balancer": "nlb", **settings})
        run = test_provision.play(self.front, name, "-e", extra, *arguments, TIERS="control,edge")
        assert run.returncode == 0, run.stdout + run.stderr
        return run

    def targets_become(self, state):
        # Twice: the second time changes nothing.
        (self.directory / "balancer.yml").write_text(TASKS + TASKS)
        name = os.path.relpath(self.directory / "balancer", ROOT / "playbooks")
        run = self.play(name, "-e", f"wanted={state}")
        recap = run.stdout.rpartition("PLAY RECAP")[2]
        return sum(int(line.split("changed=")[1].split()[0]) for line in recap.splitlines() if "changed=" in line)

    def run(self, check=False, connection=None, **more):
        wanted = parameters(edge_entrance, {**API, **more})
        return edge_entrance.manage(wanted, connection or self.front.connection(), check)

    def hosts(self):
        found = self.ec2.describe_instances(Filters=[{"Name": "tag:tier", "Values": ["control"]}])["Reservations"]
        return sorted(entry["InstanceId"] for launch in found for entry in launch["Instances"])

    def balancer(self):
        return self.elb.describe_load_balancers(Names=["lab-k8s-nlb"])["LoadBalancers"][0]

    def group(self):
        return self.elb.describe_target_groups(Names=["lab-k8s-6443s"])["TargetGroups"][0]

    def states(self):
        health = self.elb.describe_target_health(TargetGroupArn=self.group()["TargetGroupArn"])
        return {e["Target"]["Id"]: e["TargetHealth"]["State"] for e in health["TargetHealthDescriptions"]}

    def interfaces(self):
        filters = [{"Name": "description", "Values": ["ELB net/lab-k8s-nlb/*"]}]
        return self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]

    def record(self):
        zone = self.route53.list_hosted_zones_by_name(DNSName="lab.internal")["HostedZones"][0]
        records = self.route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
        return next(record for record in records if record["Name"] == NAME)

    def rules(self, group, way):
        found = self.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [group]}])
        return {
            (entry["FromPort"], peer)
            for entry in found["SecurityGroups"][0][way]
            for peer in [r["CidrIp"] for r in entry["IpRanges"]] + [p["GroupId"] for p in entry["UserIdGroupPairs"]]
        }

    def group_id(self, name):
        found = self.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])
        return found["SecurityGroups"][0]["GroupId"]


@pytest.fixture(scope="module")
def endpoint(front, tmp_path_factory):
    made = Endpoint(front, tmp_path_factory.mktemp("endpoint"))
    made.play("provision", "--check", "--diff")
    made.play("provision")
    return made


def test_provision_makes_it_as_described(endpoint):
    balancer, group = endpoint.balancer(), endpoint.group()
    assert (balancer["Scheme"], balancer["Type"]) == ("internal", "network")
    subnets = endpoint.ec2.describe_subnets(Filters=[{"Name": "tag:platform", "Values": ["lab"]}])["Subnets"]
    private = {s["SubnetId"] for s in subnets if aws.tags_of(s)["Name"].startswith("lab-private-")}
    assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == private and len(private) == 3
    (listener,) = endpoint.elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    assert (listener["Protocol"], listener["Port"]) == ("TCP", 6443)
    assert (group["Protocol"], group["Port"], group["TargetType"]) == ("TCP", 6443, "instance")
    assert (group["HealthCheckProtocol"], group["HealthCheckPort"]) == ("HTTPS", "6443")
    assert group["HealthCheckPath"] == "/readyz" and group["Matcher"] == {"HttpCode": "200"}
    answer = endpoint.elb.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])
    attributes = aws.tags_of(answer, "Attributes")
    assert attributes["preserve_client_ip.enabled"] == "false"
    assert attributes["deregistration_delay.timeout_seconds"] == "30"
    answer = endpoint.elb.describe_load_balancer_attributes(LoadBalancerArn=balancer["LoadBalancerArn"])
    attributes = aws.tags_of(answer, "Attributes")
    assert attributes["load_balancing.cross_zone.enabled"] == "true"
    assert attributes["deletion_protection.enabled"] == "true"


def test_the_api_is_reached_by_its_group_alone(endpoint):
    api, control = (endpoint.group_id(f"lab-{name}") for name in ("kubernetes-api", "control"))
    assert endpoint.rules("lab-kubernetes-api", "IpPermissions") == {(6443, "100.64.40.0/24"), (6443, "10.40.0.0/16")}
    assert endpoint.rules("lab-kubernetes-api", "IpPermissionsEgress") == {(6443, control)}
    assert (6443, api) in endpoint.rules("lab-control", "IpPermissions")
    for tier in ("control", "edge"):
        assert (6443, api) in endpoint.rules(f"lab-{tier}", "IpPermissionsEgress")


def test_the_name_follows_the_first_target_and_provision_leaves_it_there(endpoint):
    # As long as there is none, HAProxy has the name: a cluster that lives behind it goes on.
    assert len(endpoint.record()["ResourceRecords"]) == 2 and endpoint.states() == {}
    # The targets, and the name.
    assert endpoint.targets_become("registered") == 2
    first = endpoint.hosts()
    assert sorted(endpoint.states().values()) == ["healthy"] * 2 and set(endpoint.states()) < set(first)
    assert endpoint.record()["AliasTarget"]["DNSName"].endswith(f"{endpoint.balancer()['DNSName']}.")
    assert test_provision.changed(endpoint.play("provision")) == 0
    assert endpoint.targets_become("deregistered") == 1 and endpoint.states() == {}


def test_settings_are_data_and_shown_alone(endpoint):
    shown = endpoint.run(check=True, cross_zone=False, deletion_protection=False)
    assert shown["actions"] == ["set the attributes of lab-k8s-nlb"]
    assert shown["diff"]["after"].splitlines() == [
        "load balancer attributes.deletion_protection.enabled: false",
        "load balancer attributes.load_balancing.cross_zone.enabled: false",
    ]
    endpoint.elb.modify_target_group_attributes(
        TargetGroupArn=endpoint.group()["TargetGroupArn"],
        Attributes=[{"Key": "preserve_client_ip.enabled", "Value": "true"}],
    )
    assert endpoint.run()["actions"] == ["set the attributes of lab-k8s-6443s"]
    endpoint.front.forget_calls()
    assert not endpoint.run()["changed"] and not endpoint.front.writes()
    assert sum(endpoint.front.calls().values()) <= 10


def test_targets_come_and_go_and_are_waited_for(endpoint):
    one, two = endpoint.hosts()[:2]
    planned = endpoint.run(check=True, state="registered", instances=[one, two])
    assert planned["actions"] == [f"register {one}, {two}"] and endpoint.states() == {}
    done = endpoint.run(state="registered", instances=[one, two])
    assert done["actions"] == planned["actions"] and done["diff"] == planned["diff"]
    assert endpoint.states() == {one: "healthy", two: "healthy"}
    endpoint.front.forget_calls()
    again = endpoint.run(state="registered", instances=[two])
    assert not again["changed"] and again["targets"] == sorted([one, two]) and not endpoint.front.writes()
    assert sum(endpoint.front.calls().values()) == 3
    assert endpoint.run(state="deregistered", instances=[one])["actions"] == [f"deregister {one}"]
    assert endpoint.states() == {two: "healthy"}
    # One that is still leaving comes back.
    group = endpoint.group()["TargetGroupArn"]
    endpoint.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": two}])
    assert endpoint.run(state="registered", instances=[two])["changed"]
    assert endpoint.states() == {two: "healthy"}
    # A run that is cut off after it has registered one: the next waits.
    endpoint.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": one}])
    assert not endpoint.run(state="registered", instances=[one])["changed"]
    assert endpoint.states()[one] == "healthy"
    endpoint.run(state="deregistered", instances=[one, two])


def test_what_cannot_be_is_one_sentence(endpoint):
    def said(**more):
        endpoint.front.forget_calls()
        with pytest.raises(aws.AwsError) as caught:
            endpoint.run(**more)
        assert not endpoint.front.writes()
        return str(caught.value)

    assert said(tiers=["control"]) == "tiers belongs to other layouts; the layout is nlb."
    assert "instances belong to the states registered and deregistered" in said(instances=["i-1"])
    assert said(state="registered") == "instances is empty; name those that are meant."
    assert "belongs to the layout nlb" in said(state="registered", layout="alb", instances=["i-1"])
    assert "run provision.yml with kubernetes_endpoint_balancer: nlb" in said(
        state="registered", name="other", instances=["i-1"]
    )
    assert "run provision with kubernetes_endpoint_balancer: nlb." in said(security_group="other")


def test_the_operator_may_do_all_of_it(endpoint):
    connection = endpoint.front.connection()
    one = endpoint.hosts()[0]
    endpoint.run(connection=connection, name="new-k8s")
    endpoint.run(connection=connection, name="new-k8s", deletion_protection=False, tags={"a": "b"})
    for state in ("registered", "deregistered"):
        endpoint.run(connection=connection, name="new-k8s", state=state, instances=[one])
    balancer = endpoint.elb.describe_load_balancers(Names=["new-k8s-nlb"])["LoadBalancers"][0]["LoadBalancerArn"]
    group = endpoint.elb.describe_target_groups(Names=["new-k8s-6443s"])["TargetGroups"][0]["TargetGroupArn"]
    endpoint.elb.modify_target_group(TargetGroupArn=group, HealthCheckPath="/livez")
    action = [{"Type": "forward", "TargetGroupArn": group}]
    endpoint.elb.create_listener(LoadBalancerArn=balancer, Protocol="TCP", Port=8080, DefaultActions=action)
    endpoint.run(connection=connection, name="new-k8s")
    endpoint.run(connection=connection, name="new-k8s", state="absent")
    known = yaml.safe_load((ROOT / "roles/aws_iam/vars/main.yml").read_text())["__aws_iam_endpoint"]
    called = {action for action in connection.resource_actions() if action.startswith("elasticloadb")}
    changes = {f"elasticloadbalancing:{name}" for name in ("ModifyListener", "SetSecurityGroups", "SetSubnets")}
    # What Elastic Load Balancing itself asks for, which no call of ours shows.
    theirs = {"ec2:DescribeAccountAttributes"}
    assert called == set(known) - changes - theirs and theirs < set(known)


def test_provision_refuses_before_anything_is_touched(endpoint):
    endpoint.front.forget_calls()
    extra = json.dumps({"kubernetes_endpoint_balancer": "nlb", "kubernetes_endpoint": "api.example.com"})
    run = test_provision.play(endpoint.front, "provision", "-e", extra, TIERS="control,edge")
    assert run.returncode != 0
    assert "api.example.com, which is not in the private zone lab.internal" in " ".join(run.stdout.split())
    assert not endpoint.front.writes()


def test_removal_waits_for_the_interfaces_which_hold_its_group(endpoint):
    assert len(endpoint.interfaces()) == len(endpoint.balancer()["AvailabilityZones"])
    assert endpoint.run(state="absent", check=True)["actions"][-1].startswith("delete the target group")
    endpoint.run(state="absent")
    assert endpoint.interfaces() == []
    # As after a run that was cut off while it waited: made by provision.yml again, then gone without its interfaces.
    endpoint.play("provision")
    endpoint.elb.modify_load_balancer_attributes(
        LoadBalancerArn=endpoint.balancer()["LoadBalancerArn"],
        Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}],
    )
    endpoint.elb.delete_load_balancer(LoadBalancerArn=endpoint.balancer()["LoadBalancerArn"])
    assert endpoint.interfaces()
    endpoint.run(state="absent")
    assert endpoint.interfaces() == []
    endpoint.play("provision")


def test_teardown_removes_it_although_it_is_protected(endpoint):
    endpoint.run(state="registered", instances=endpoint.hosts())
    endpoint.play("teardown", "-e", "confirm_platform=lab")
    assert endpoint.elb.describe_load_balancers()["LoadBalancers"] == []
    assert endpoint.elb.describe_target_groups()["TargetGroups"] == []

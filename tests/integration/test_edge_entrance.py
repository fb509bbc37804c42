"""edge_entrance against the strict front: both layouts, from the network that provision makes to the web ACL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import yaml
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws, platform
from ansible_collections.selfhosted.ec2.plugins.modules import edge_entrance, vpc_network, waf_web_acl
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration import docs_example
from tests.integration.front_client import REGION, ROOT, parameters

UNKNOWN = f"arn:aws:acm:{REGION}:123456789012:certificate/0a1b2c3d"
VIEWERS = "arn:aws:acm:us-east-1:123456789012:certificate/4e5f6a7b"
COMPONENTS = {"haproxy": {"flows": [{"port": 443, "from": ["public"]}, {"port": 5432, "from": ["clients"]}]}}


def make_certificate(front):
    """The ARN of a certificate that ACM has."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.example.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return front.client("acm").import_certificate(Certificate=pem, PrivateKey=secret)["CertificateArn"]


class Edge:
    """A platform with a network and two HAProxy hosts, and the calls on its entrance."""

    def __init__(self, front, layout, name, cidr):
        self.front, self.layout, self.name = front, layout, name
        self.ec2, self.elb, self.cloudfront = (front.client(s) for s in ("ec2", "elbv2", "cloudfront"))
        self.description = {
            "name": name, "environment": "test", "region": REGION, "zones": [f"{REGION}a", f"{REGION}b"],
            "domain": f"{name}.internal", "edge": layout,
            "network": {"cidr": cidr, "nat": "single", "client_cidrs": ["10.0.0.0/8"]},
            "tiers": [{"name": "front", "components": ["haproxy"], "count": 2, "instance_type": "t3.micro"}],
        }  # fmt: skip
        wanted = {**platform.network(self.description, COMPONENTS), "region": REGION}
        connection = front.connection()
        self.network = vpc_network.manage(wanted, "present", connection.client("ec2"), connection.clock, False)
        images = self.ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-13-amd64-*"]}])["Images"]
        self.image = images[0]["ImageId"]
        self.hosts = [self.launch(zone) for zone in "ab"]
        self.acl, self.certificate = self.make_acl(), make_certificate(front)

    def launch(self, zone):
        tags = aws.tag_specification("instance", {"platform": self.name, "tier": "front"})
        return self.ec2.run_instances(
            ImageId=self.image, InstanceType="t3.micro", MinCount=1, MaxCount=1, TagSpecifications=tags,
            SubnetId=self.network["subnets"][f"{self.name}-private-{REGION}{zone}"],
            SecurityGroupIds=[self.network["security_groups"][f"{self.name}-front"]],
        )["Instances"][0]["InstanceId"]  # fmt: skip

    def make_acl(self, name="edge"):
        scope, region = ("REGIONAL", REGION) if self.layout == "alb" else ("CLOUDFRONT", "us-east-1")
        connection = aws.Aws({**self.front.options, "region": region}, clock=self.front.connection().clock)
        given = parameters(waf_web_acl, {**self.front.options, "name": f"{self.name}-{name}", "scope": scope})
        return waf_web_acl.manage(given, connection, False, lambda _warning: None)["web_acl"]["arn"]

    def run(self, check=False, connection=None, **more):
        given = {
            "platform": self.name, "name": f"{self.name}-edge", "layout": self.layout, "tiers": ["front"],
            "certificate": self.certificate, "web_acl": self.acl, "tags": {"platform": self.name}, **more,
        }  # fmt: skip
        wanted = parameters(edge_entrance, given)
        return edge_entrance.manage(wanted, connection or self.front.connection(), check)

    def group(self, name):
        identity = self.network["security_groups"][f"{self.name}-{name}"]
        return self.ec2.describe_security_groups(GroupIds=[identity])["SecurityGroups"][0]

    def ways_in(self, name):
        """Ports and sources that a group lets in."""
        found = set()
        for entry in self.group(name)["IpPermissions"]:
            peers = [item["CidrIp"] for item in entry["IpRanges"]]
            peers += [item["GroupId"] for item in entry["UserIdGroupPairs"]]
            peers += [item["PrefixListId"] for item in entry["PrefixListIds"]]
            found |= {(entry["FromPort"], peer) for peer in peers}
        return found

    def distribution(self):
        listed = self.cloudfront.list_distributions()["DistributionList"]["Items"]
        (summary,) = [entry for entry in listed if entry["Comment"] == f"{self.name}-edge of {self.name}"]
        return summary["Id"], self.cloudfront.get_distribution_config(Id=summary["Id"])

    def targets(self):
        group = self.elb.describe_target_groups(Names=[f"{self.name}-edge-443s"])["TargetGroups"][0]
        health = self.elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
        return {entry["Target"]["Id"] for entry in health["TargetHealthDescriptions"]}


@pytest.fixture(scope="module")
def alb(front):
    return Edge(front, "alb", "shop", "10.70.0.0/16")


@pytest.fixture(scope="module")
def cdn(front):
    return Edge(front, "cloudfront", "desk", "10.71.0.0/16")


def test_only_the_way_through_the_web_acl_leads_in(alb, cdn):
    entrance = alb.network["security_groups"]["shop-entrance"]
    assert alb.ways_in("entrance") == {(443, "0.0.0.0/0"), (80, "0.0.0.0/0")}
    assert alb.ways_in("front") == {(443, entrance), (8405, entrance), (5432, "10.0.0.0/8")}
    lists = cdn.ec2.describe_managed_prefix_lists()["PrefixLists"]
    cloudfront = next(e["PrefixListId"] for e in lists if e["PrefixListName"].endswith("cloudfront.origin-facing"))
    assert cdn.ways_in("entrance") == {(443, cloudfront)}
    assert {port for port, _peer in cdn.ways_in("front")} == {443, 8405, 5432}


def test_alb_new_then_unchanged_and_check_is_the_run(alb):
    planned = alb.run(check=True)
    assert planned["changed"] and planned["load_balancer"] == ""
    done = alb.run()
    assert done["actions"] == planned["actions"] and done["diff"] == planned["diff"]
    assert alb.targets() == set(alb.hosts)
    # The web ACL is in its place before anything listens.
    texts = done["actions"]
    assert texts.index("put the web ACL before shop-edge-alb") < texts.index("listen on port 443 of shop-edge-alb")
    balancer = alb.elb.describe_load_balancers(Names=["shop-edge-alb"])["LoadBalancers"][0]
    assert balancer["Scheme"] == "internet-facing" and balancer["DNSName"] == done["address"]
    held = alb.front.client("wafv2").get_web_acl_for_resource(ResourceArn=balancer["LoadBalancerArn"])
    assert held["WebACL"]["ARN"] == alb.acl
    alb.front.forget_calls()
    again = alb.run()
    assert (again["changed"], again["actions"], again["diff"]) == (False, [], {"before": "", "after": ""})
    assert sum(alb.front.calls().values()) <= 11 and not alb.front.writes()


def test_an_edit_is_shown_alone_and_another_port_moves_over(alb):
    alb.run()
    shown = alb.run(check=True, tls_policy="ELBSecurityPolicy-TLS13-1-3-2021-06")
    assert shown["diff"] == {
        "before": "listener 443.SslPolicy: ELBSecurityPolicy-TLS13-1-2-2021-06\n",
        "after": "listener 443.SslPolicy: ELBSecurityPolicy-TLS13-1-3-2021-06\n",
    }
    moved = alb.run(target={"port": 8443})
    assert moved["actions"][-1] == "delete the target group shop-edge-443s"
    assert not alb.run(target={"port": 8443})["changed"]
    assert alb.run()["changed"] and not alb.run()["changed"]


def test_what_was_changed_by_hand_is_put_back(alb):
    alb.run()
    balancer = alb.elb.describe_load_balancers(Names=["shop-edge-alb"])["LoadBalancers"][0]["LoadBalancerArn"]
    alb.front.client("wafv2").disassociate_web_acl(ResourceArn=balancer)
    group = alb.elb.describe_target_groups(Names=["shop-edge-443s"])["TargetGroups"][0]["TargetGroupArn"]
    action = [{"Type": "forward", "TargetGroupArn": group}]
    alb.elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=8080, DefaultActions=action)
    alb.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": alb.hosts[0]}])
    done = alb.run()
    assert done["actions"] == [
        f"register {alb.hosts[0]}",
        "put the web ACL before shop-edge-alb",
        "end the listener on port 8080 of shop-edge-alb",
    ]
    assert not alb.run()["changed"]


def test_a_replaced_host_changes_the_targets_and_a_stopped_one_stays(alb):
    alb.run()
    old = alb.hosts.pop()
    alb.ec2.terminate_instances(InstanceIds=[old])
    alb.hosts.append(alb.launch("b"))
    # What is terminated leaves the target group by itself.
    assert alb.run()["actions"] == [f"register {alb.hosts[1]}"] and old not in alb.targets()
    alb.ec2.stop_instances(InstanceIds=[alb.hosts[0]])
    assert not alb.run()["changed"] and alb.targets() == set(alb.hosts)


def test_a_web_acl_that_aws_does_not_know_everywhere_yet_is_waited_for(alb):
    alb.run()
    alb.front.faults(eventual_consistency_seconds=0.5)
    try:
        young = alb.make_acl("young")
        alb.front.forget_calls()
        assert alb.run(web_acl=young)["actions"] == ["put the web ACL before shop-edge-alb"]
        assert alb.front.calls()["wafv2.AssociateWebACL"] >= 1
    finally:
        alb.front.faults()
    assert alb.run()["changed"]


def test_cloudfront_new_then_unchanged(cdn):
    planned = cdn.run(check=True, aliases=["api.example.com"], viewer_certificate=VIEWERS)
    done = cdn.run(aliases=["api.example.com"], viewer_certificate=VIEWERS)
    assert done["actions"] == planned["actions"] and done["diff"] == planned["diff"]
    assert done["address"].endswith(".cloudfront.net")
    config = cdn.distribution()[1]["DistributionConfig"]
    assert config["WebACLId"] == cdn.acl and config["Aliases"]["Items"] == ["api.example.com"]
    origin = config["Origins"]["Items"][0]
    held = cdn.cloudfront.get_vpc_origin(Id=origin["VpcOriginConfig"]["VpcOriginId"])["VpcOrigin"]
    balancer = cdn.elb.describe_load_balancers(Names=["desk-edge-nlb"])["LoadBalancers"][0]
    assert held["VpcOriginEndpointConfig"]["Arn"] == balancer["LoadBalancerArn"]
    assert (balancer["Scheme"], balancer["Type"]) == ("internal", "network")
    assert origin["DomainName"] == balancer["DNSName"] and cdn.targets() == set(cdn.hosts)
    cdn.front.forget_calls()
    again = cdn.run(aliases=["api.example.com"], viewer_certificate=VIEWERS)
    assert (again["changed"], again["actions"]) == (False, []) and not cdn.front.writes()
    assert sum(cdn.front.calls().values()) <= 15


def test_what_is_not_described_of_a_distribution_stays(cdn):
    more = {"aliases": ["api.example.com"], "viewer_certificate": VIEWERS}
    cdn.run(**more)
    identity, answer = cdn.distribution()
    config = {**answer["DistributionConfig"], "DefaultRootObject": "index.html", "PriceClass": "PriceClass_All"}
    cdn.cloudfront.update_distribution(Id=identity, IfMatch=answer["ETag"], DistributionConfig=config)
    done = cdn.run(**more)
    assert done["diff"] == {
        "before": "distribution.PriceClass: PriceClass_All\n",
        "after": "distribution.PriceClass: PriceClass_100\n",
    }
    config = cdn.distribution()[1]["DistributionConfig"]
    assert config["DefaultRootObject"] == "index.html"


def test_a_run_interrupted_thrice_is_finished_and_all_is_removed(front):
    edge = Edge(front, "cloudfront", "cut", "10.72.0.0/16")
    for service, operation in (
        ("elbv2", "create_load_balancer"),
        ("cloudfront", "create_vpc_origin"),
        ("cloudfront", "create_distribution_with_tags"),
    ):
        connection = front.connection()
        client = connection.client(service, None if service == "elbv2" else "us-east-1")

        def call(name, _real=client.call, _last=operation, **arguments):
            answer = _real(name, **arguments)
            if name == _last:
                raise aws.AwsError("cut off")
            return answer

        client.call = call
        with pytest.raises(aws.AwsError, match="cut off"):
            edge.run(connection=connection)
    # The distribution is the last that is made.
    assert not edge.run()["changed"]
    connection = front.connection()
    gone = edge.run(connection=connection, state="absent")
    known = yaml.safe_load((ROOT / "roles/aws_iam/vars/main.yml").read_text())
    reads = {"ec2:DescribeNetworkInterfaces"}
    assert set(connection.resource_actions()) == set(known["__aws_iam_edge"]) | reads
    assert reads < set(known["__aws_iam_reads"])
    assert gone["changed"] and gone["address"] == ""
    assert not edge.run(state="absent")["changed"]


def test_absent_removes_what_there_is_protected_or_not(alb):
    alb.run()
    planned = alb.run(check=True, state="absent")
    done = alb.run(state="absent")
    assert done["actions"] == planned["actions"] and planned["diff"]["before"].count("\n") == len(done["actions"])
    assert not alb.run(state="absent")["changed"]
    assert [
        g for g in alb.elb.describe_target_groups()["TargetGroups"] if g["TargetGroupName"].startswith("shop")
    ] == []


@pytest.mark.parametrize(
    ("layout", "given", "words"),
    [
        ("alb", {"certificate": None}, "certificate is missing; give the ARN of a certificate of ACM in eu-west-1"),
        ("alb", {"certificate": VIEWERS}, "must be the ARN of a certificate of ACM in eu-west-1"),
        ("alb", {"web_acl": "arn:aws:wafv2:us-east-1:123456789012:global/webacl/a/b"}, "no regional web ACL"),
        ("alb", {"aliases": ["a.example.com"]}, "aliases belong to the layout cloudfront"),
        ("alb", {"tiers": []}, "tiers is empty"),
        ("alb", {"target": {"port": 0}}, "target.port is 0"),
        ("alb", {"name": "internal-edge"}, "1 to 25 lower-case letters"),
        ("cloudfront", {"aliases": ["a.example.com"]}, "viewer_certificate is missing"),
        ("cloudfront", {"viewer_certificate": UNKNOWN}, "of ACM in us-east-1"),
        ("cloudfront", {"web_acl": "acl"}, "no global web ACL of us-east-1"),
    ],
)
def test_bad_input_is_refused_before_the_first_call(front, layout, given, words):
    wanted = {"platform": "shop", "name": "shop-edge", "layout": layout, "tiers": ["front"], "certificate": UNKNOWN}
    front.forget_calls()
    with pytest.raises(aws.AwsError, match=words):
        edge_entrance.manage(parameters(edge_entrance, {**wanted, **given}), front.connection(), False)
    assert not front.calls()


def test_what_the_account_lacks_is_one_sentence(front):
    wanted = {"platform": "none", "name": "none-edge", "layout": "alb", "tiers": ["front"], "certificate": UNKNOWN}
    front.forget_calls()
    with pytest.raises(
        aws.AwsError, match="has no public subnets; run provision first. There is no security group none-entr"
    ):
        edge_entrance.manage(parameters(edge_entrance, wanted), front.connection(), False)
    assert not front.writes()


def test_the_front_refuses_what_aws_refuses(cdn):
    def code(client, operation, **arguments):
        with pytest.raises(ClientError) as caught:
            getattr(client, operation)(**arguments)
        return caught.value.response["Error"]["Code"]

    more = {"aliases": ["api.example.com"], "viewer_certificate": VIEWERS}
    cdn.run(**more)
    elb, cloudfront = cdn.elb, cdn.cloudfront
    private = [cdn.network["subnets"][f"desk-private-{REGION}{zone}"] for zone in "ab"]
    balancer = elb.describe_load_balancers(Names=["desk-edge-nlb"])["LoadBalancers"][0]["LoadBalancerArn"]
    group = elb.describe_target_groups(Names=["desk-edge-443s"])["TargetGroups"][0]["TargetGroupArn"]
    assert code(elb, "create_load_balancer", Name="one-zone", Subnets=private[:1]) == "ValidationError"
    assert code(elb, "create_load_balancer", Name="-bad", Subnets=private) == "ValidationError"
    foreign = cdn.ec2.create_security_group(
        GroupName="x", Description="x", VpcId=cdn.ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    )["GroupId"]
    assert (
        code(elb, "set_security_groups", LoadBalancerArn=balancer, SecurityGroups=[foreign]) == "InvalidSecurityGroup"
    )
    assert code(elb, "delete_load_balancer", LoadBalancerArn=balancer) == "OperationNotPermitted"
    targets = [{"Id": "i-0123456789abcdef0"}]
    assert code(elb, "register_targets", TargetGroupArn=group, Targets=targets) == "InvalidTarget"
    identity, answer = cdn.distribution()
    config, tag = answer["DistributionConfig"], answer["ETag"]
    change = {"Id": identity, "IfMatch": tag}
    assert code(cloudfront, "update_distribution", **{**change, "IfMatch": "old"}, DistributionConfig=config) == (
        "PreconditionFailed"
    )
    wrong = {**config, "WebACLId": "nothing"}
    assert code(cloudfront, "update_distribution", **change, DistributionConfig=wrong) == "InvalidWebACLId"
    wrong = {**config, "Aliases": {"Quantity": 2, "Items": ["a.example.com"]}}
    assert code(cloudfront, "update_distribution", **change, DistributionConfig=wrong) == "InconsistentQuantities"
    wrong = {**config, "CallerReference": "other"}
    assert code(cloudfront, "update_distribution", **change, DistributionConfig=wrong) == "IllegalUpdate"
    assert code(cloudfront, "delete_distribution", **change) == "DistributionNotDisabled"
    origin = config["Origins"]["Items"][0]["VpcOriginConfig"]["VpcOriginId"]
    tag = cloudfront.get_vpc_origin(Id=origin)["ETag"]
    assert code(cloudfront, "delete_vpc_origin", Id=origin, IfMatch=tag) == "CannotDeleteEntityWhileInUse"
    endpoint = {
        "Name": "public",
        "Arn": balancer,
        "HTTPPort": 80,
        "HTTPSPort": 443,
        "OriginProtocolPolicy": "https-only",
    }
    assert code(cloudfront, "create_vpc_origin", VpcOriginEndpointConfig={**endpoint, "Arn": f"{balancer}0"}) == (
        "InvalidArgument"
    )


# The role


HEALTH = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/selfhosted.ec2.aws: {region: eu-west-1}
  tasks:
    - name: Compare
      ansible.builtin.import_role: {name: selfhosted.ec2.aws_edge, tasks_from: health}
"""


def test_the_role_makes_web_acl_and_entrance_and_health_sees_drift(front, tmp_path):
    edge = Edge(front, "alb", "stock", "10.76.0.0/16")
    tiers = [{**edge.description["tiers"][0], "volumes": []}]
    variables = {"platform_name": "stock", "platform_edge": "alb", "platform_tiers": tiers}
    docs_example.inventory(tmp_path, {**variables, "aws_edge_certificate": edge.certificate})
    health = tmp_path / "health.yml"
    health.write_text(HEALTH)
    playbook = docs_example.ROOT / "playbooks/aws_edge.yml"
    changed, output = docs_example.run(front, tmp_path, playbook)
    # The table of the lock, the web ACL, the entrance.
    assert changed == 3 and edge.targets() == set(edge.hosts), output
    assert docs_example.run(front, tmp_path, playbook, health)[0] == 0
    group = edge.elb.describe_target_groups(Names=["stock-edge-443s"])["TargetGroups"][0]["TargetGroupArn"]
    edge.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": edge.hosts[0]}])
    with pytest.raises(AssertionError, match=f"The entrance stock-edge is not as described.*register {edge.hosts[0]}"):
        docs_example.run(front, tmp_path, health)

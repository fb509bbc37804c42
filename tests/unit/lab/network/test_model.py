"""The model from what the EC2 API answers (moto in this process)."""

from __future__ import annotations

import boto3
import pytest
from moto import mock_aws

from lab.network.model import Route, Rule, build, read_models


@pytest.fixture
def ec2(monkeypatch):
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        yield boto3.client(
            "ec2", region_name="eu-west-1", aws_access_key_id="test-key-id", aws_secret_access_key="test-secret"
        )


@pytest.fixture
def network(ec2):
    """A VPC with a public and a private subnet, a NAT gateway and one instance in each subnet."""
    made = {"vpc": ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]}
    made["group"] = ec2.create_security_group(GroupName="g", Description="d", VpcId=made["vpc"])["GroupId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=made["vpc"])
    for name, block in (("public", "10.20.0.0/20"), ("private", "10.20.16.0/20")):
        subnet = ec2.create_subnet(VpcId=made["vpc"], CidrBlock=block)["Subnet"]["SubnetId"]
        table = ec2.create_route_table(VpcId=made["vpc"])["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        started = ec2.run_instances(
            ImageId="ami-1234abcd", MinCount=1, MaxCount=1, SubnetId=subnet, SecurityGroupIds=[made["group"]]
        )
        made[name], made[f"{name}_table"] = subnet, table
        made[f"{name}_host"] = started["Instances"][0]["InstanceId"]
    ec2.create_route(RouteTableId=made["public_table"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    address = ec2.allocate_address(Domain="vpc")
    nat = ec2.create_nat_gateway(SubnetId=made["public"], AllocationId=address["AllocationId"])["NatGateway"]
    made["nat"], made["nat_address"] = nat["NatGatewayId"], address["PublicIp"]
    ec2.create_route(
        RouteTableId=made["private_table"], DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat["NatGatewayId"]
    )
    return made


def model_of(ec2):
    models = read_models(ec2)
    assert len(models) == 1
    return models[0]


def host_of(vpc, instance_id):
    return next(host for host in vpc.hosts if host.instance_id == instance_id)


def test_only_vpcs_with_instances_have_a_model(ec2):
    ec2.create_vpc(CidrBlock="10.21.0.0/16")
    assert read_models(ec2) == []


def test_routes_and_subnets(ec2, network):
    vpc = model_of(ec2)
    assert vpc.id == network["vpc"]
    assert vpc.resolver == "10.20.0.2"
    assert vpc.subnet(network["private"]).gateway == "10.20.16.1"
    assert vpc.subnet(network["private"]).route_table == network["private_table"]
    assert vpc.route_tables[network["public_table"]] == (Route("0.0.0.0/0", "igw"),)
    assert vpc.route_tables[network["private_table"]] == (Route("0.0.0.0/0", "nat", network["nat_address"]),)


def test_nat_gateway_needs_a_public_subnet(ec2, network):
    ec2.delete_route(RouteTableId=network["public_table"], DestinationCidrBlock="0.0.0.0/0")
    assert model_of(ec2).route_tables[network["private_table"]] == (Route("0.0.0.0/0", "blackhole"),)


def test_route_to_an_instance_until_it_is_terminated(ec2, network):
    ec2.create_route(
        RouteTableId=network["private_table"], DestinationCidrBlock="10.244.0.0/24", InstanceId=network["public_host"]
    )
    vpc = model_of(ec2)
    eni = host_of(vpc, network["public_host"]).interfaces[0].id
    assert Route("10.244.0.0/24", "interface", eni) in vpc.route_tables[network["private_table"]]
    ec2.terminate_instances(InstanceIds=[network["public_host"]])
    assert Route("10.244.0.0/24", "blackhole") in model_of(ec2).route_tables[network["private_table"]]


def test_source_destination_check(ec2, network):
    instance_id = network["private_host"]
    assert host_of(model_of(ec2), instance_id).interfaces[0].source_dest_check
    ec2.modify_instance_attribute(InstanceId=instance_id, SourceDestCheck={"Value": False})
    assert not host_of(model_of(ec2), instance_id).interfaces[0].source_dest_check


def test_elastic_address(ec2, network):
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=network["public_host"])
    interface = host_of(model_of(ec2), network["public_host"]).interfaces[0]
    assert interface.public == ((interface.addresses[0], address["PublicIp"]),)


def test_moved_elastic_address_has_one_owner(ec2, network):
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    for name in ("private_host", "public_host"):
        ec2.associate_address(AllocationId=address, InstanceId=network[name], AllowReassociation=True)
    vpc = model_of(ec2)
    assert host_of(vpc, network["private_host"]).interfaces[0].public == ()
    assert len(host_of(vpc, network["public_host"]).interfaces[0].public) == 1


def test_security_group_rules(ec2, network):
    group = network["group"]
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 22,
                "ToPort": 23,
                "IpRanges": [{"CidrIp": "10.0.0.0/8"}],
                "UserIdGroupPairs": [{"GroupId": group}],
            }
        ],
    )
    vpc = model_of(ec2)
    found = next(item for item in vpc.groups if item.id == group)
    assert found.ingress == (Rule("tcp", 22, 23, ("10.0.0.0/8",), (group,)),)
    assert found.egress == (Rule("-1", None, None, ("0.0.0.0/0",)),)
    assert host_of(vpc, network["private_host"]).interfaces[0].groups == (group,)


def test_endpoints(ec2, network):
    assert model_of(ec2).endpoint_route_tables == ()
    ec2.create_vpc_endpoint(
        VpcId=network["vpc"],
        ServiceName="com.amazonaws.eu-west-1.s3",
        VpcEndpointType="Gateway",
        RouteTableIds=[network["private_table"]],
    )
    assert model_of(ec2).endpoint_route_tables == (network["private_table"],)
    ec2.create_vpc_endpoint(
        VpcId=network["vpc"],
        ServiceName="com.amazonaws.eu-west-1.ssm",
        VpcEndpointType="Interface",
        SubnetIds=[network["private"]],
    )
    assert set(model_of(ec2).endpoint_route_tables) == set(model_of(ec2).route_tables)


def test_instance_without_interfaces_is_left_out():
    lists = "subnets route_tables internet_gateways nat_gateways security_groups addresses vpc_endpoints"
    answers = {name: [] for name in lists.split()}
    answers["vpcs"] = [{"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16"}]
    answers["instances"] = [{"InstanceId": "i-1", "State": {"Name": "running"}, "VpcId": "vpc-1"}]
    assert build(answers) == []

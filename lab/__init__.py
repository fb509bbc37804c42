"""EC2 on one machine: an AWS endpoint, Debian hosts, volumes and a VPC network, as the API describes them."""

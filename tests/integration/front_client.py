"""The strict front in a process of its own, and clients for it, as the tests of the AWS modules use them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.selfhosted.ec2.plugins.module_utils import aws

from lab.paths import Lab
from tests.integration.front_process import HOST_KEY

ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-west-1"


class QuickClock(aws.Clock):
    """Sleeps a little only: the front without hosts needs no time."""

    def sleep(self, seconds):
        super().sleep(min(seconds, 0.02))


@functools.cache
def starter():
    """The process that forks the fronts; it ends with this one, which closes its input."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.front_process"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


class Front:
    """The front's process and clients for it."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        starter().stdin.write(f"{directory}\n")
        pid, self.url = starter().stdout.readline().split()
        self.pid = int(pid)
        keys = Lab("test").credentials
        self.options = {
            "region": REGION,
            "endpoint_url": self.url,
            "access_key": keys["aws_access_key_id"],
            "secret_key": keys["aws_secret_access_key"],
        }
        self.boto = boto3.Session(region_name=REGION, **keys)
        self.environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": keys["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": keys["aws_secret_access_key"],
            "LAB_VPC_CIDR": "10.40.0.0/16",
            "LAB_CONTROLLER_CIDR": "100.64.40.0/24",
            "LAB_SSH_PUBLIC_KEY": f"{HOST_KEY} operator",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "0",
        }

    def connection(self):
        return aws.Aws(self.options, clock=QuickClock())

    def client(self, service):
        return self.boto.client(service, endpoint_url=self.url)

    def calls(self):
        with urllib.request.urlopen(f"{self.url}/_lab/calls") as answer:
            return json.load(answer)

    def forget_calls(self):
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_lab/calls", method="DELETE")):
            pass

    def writes(self):
        """The calls since the last C(forget_calls) that were not reads."""
        reads = ("Describe", "Get", "Head", "List")
        return [name for name in self.calls() if not name.split(".")[1].startswith(reads)]

    def faults(self, **faults):
        """Replace the front's faults, such as throttle=[{"service": "s3", "count": 10}]; none ends them."""
        request = urllib.request.Request(f"{self.url}/_lab/faults", json.dumps(faults).encode(), method="PUT")
        with urllib.request.urlopen(request):
            pass

    def show_consoles(self):
        (self.directory / "consoles").touch()

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)


def parameters(module, given):
    """The parameters of a module as it would get them: checked and with their defaults."""
    result = ArgumentSpecValidator(module.argument_spec()).validate(given)
    assert not result.error_messages, result.error_messages
    return result.validated_parameters

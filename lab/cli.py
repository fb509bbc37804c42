"""The command `lab`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from lab import hosts, keys
from lab.paths import DEFAULT_LAB, BadLabName, Lab


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="lab", description="EC2 on one machine.")
    top.add_argument(
        "--lab", default=os.environ.get("LAB") or DEFAULT_LAB, help="name of the lab (default: %(default)s)"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # A plain host without AWS or VPC, for trying a role by hand.
    one = commands.add_parser("dev-host")
    one.add_argument("name")
    one.add_argument("address")
    one.add_argument("volumes", nargs="*", type=int, metavar="GIB")
    one.add_argument("--memory", type=int, default=2048, metavar="MIB")
    one.set_defaults(run=_dev_host)
    one = commands.add_parser("dev-drop")
    one.add_argument("names", nargs="+")
    one.set_defaults(run=_dev_drop)
    one = commands.add_parser("dev-ssh")
    one.add_argument("name")
    one.add_argument("words", nargs=argparse.REMAINDER)
    one.set_defaults(run=_dev_ssh)
    return top


def _dev_host(arguments) -> int:
    from lab import devhosts, volumes

    lab = devhosts.create(arguments.name, arguments.address, arguments.volumes, arguments.memory)
    print(f"{arguments.name} answers: ssh -i {lab.ssh_key} admin@{arguments.address}")
    for volume_id in hosts.attached(lab, arguments.name):
        print(f"  {volume_id}: /dev/disk/by-id/{volumes.link_name(volume_id)}")
    return 0


def _dev_drop(arguments) -> int:
    from lab import devhosts

    for name in arguments.names:
        devhosts.drop(name)
    return 0


def _dev_ssh(arguments) -> int:
    lab = Lab("dev")
    address = hosts.read(lab, arguments.name).address
    return subprocess.run(keys.ssh(lab, arguments.name, address, arguments.words), check=False).returncode


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (BadLabName, RuntimeError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The command `lab`: EC2 on one machine."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys

from botocore.exceptions import BotoCoreError, ClientError

from lab import api, cgroups, devhosts, faults, hosts, keys, lifecycle, machine, processes, reconciler, volumes
from lab.paths import ADMIN_USER, DEFAULT_LAB, BadLabName, Lab

MIB = 1 << 20
EPILOG = """\
HOST is an instance's Name (the slot, like database-1) or its id.
A lab other than the usual one: lab --lab NAME ..., or LAB=NAME in the environment.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="lab", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument(
        "--lab", default=os.environ.get("LAB") or DEFAULT_LAB, metavar="NAME", help="which lab (default: %(default)s)"
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run, text: str | None = None) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text) if text else commands.add_parser(name)
        one.set_defaults(run=run)
        return one

    add("up", _up, "start the lab; what runs already is left alone")
    add("down", _down, "remove everything of the lab from this machine")
    one = add("status", _status, "show the lab's processes and hosts")
    one.add_argument("--all", action="store_true", help="terminated instances, too")
    add("env", _env, 'print the environment for AWS tools and Ansible: eval "$(lab env)"')
    one = add("ssh", _ssh, "log in to a host, or run a command there")
    one.add_argument("host", metavar="HOST")
    one.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    one = add("console", _console, "show a host's console and open a root shell on it (without network or SSH)")
    one.add_argument("host", metavar="HOST")
    one.add_argument("--log", action="store_true", help="only print what the console has shown")
    _add_faults(add)
    one = add("heal", _heal, "end the faults of a host, or all faults")
    one.add_argument("host", nargs="?", metavar="HOST")
    # Processes of the lab itself, started by `lab up`.
    add("reconcile", lambda arguments: reconciler.run(Lab(arguments.lab)))
    add("services", _services)
    _add_dev(add)
    return top


def _add_faults(add) -> None:
    fault = add("fault", None, "make a fault").add_subparsers(required=True, metavar="FAULT")

    def one(name: str, run, text: str) -> argparse.ArgumentParser:
        made = fault.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        return made

    one("kill", _kill, "power lost, until healed or stopped and started").add_argument(
        "hosts", nargs="+", metavar="HOST"
    )
    one("power", _power, "power lost, and with it all that was not on a disk yet, until healed").add_argument(
        "hosts", nargs="+", metavar="HOST"
    )
    one("freeze", _freeze, "all processes stand still").add_argument("hosts", nargs="+", metavar="HOST")
    cut = one("partition", _partition, "cut hosts off from the network, or from some hosts only")
    cut.add_argument("hosts", nargs="+", metavar="HOST")
    cut.add_argument("--from", dest="others", nargs="+", metavar="HOST", help="only from these hosts")
    cut.add_argument("--one-way", action="store_true", help="only packets towards HOST are lost")
    cut.add_argument("--keep-controller", action="store_true", help="this machine still reaches HOST")
    slow = one("slow", _slow, "limit a host's network rate, each way")
    slow.add_argument("host", metavar="HOST")
    slow.add_argument("--rate", default="1mbit", help="like 500kbit, 1mbit, 1gbit (default: %(default)s)")
    fill = one("fill-disk", _fill_disk, "fill an EBS volume of a host")
    fill.add_argument("host", metavar="HOST")
    fill.add_argument("path", metavar="PATH", help="where the volume is mounted")
    one("zone", _zone, "a zone is lost: its hosts and its API calls").add_argument("zone", metavar="ZONE")


def _add_dev(add) -> None:
    """A plain host without AWS or VPC, for trying a role by hand; shown in no help."""
    one = add("dev-host", _dev_host)
    one.add_argument("name")
    one.add_argument("address")
    one.add_argument("volumes", nargs="*", type=int, metavar="GIB")
    one.add_argument("--memory", type=int, default=2048, metavar="MIB")
    one = add("dev-drop", _dev_drop)
    one.add_argument("names", nargs="+")
    one = add("dev-ssh", _dev_ssh)
    one.add_argument("name")
    one.add_argument("words", nargs=argparse.REMAINDER)


# The lab


def _up(arguments) -> int:
    lab = Lab(arguments.lab)
    lifecycle.up(lab, lifecycle.progress())
    print(lifecycle.summary(lab))
    return 0


def _down(arguments) -> int:
    lifecycle.down(Lab(arguments.lab), lifecycle.progress())
    return 0


def _services(arguments) -> int:
    from lab import services

    services.run(Lab(arguments.lab))
    return 0


def environment(lab: Lab) -> dict[str, str]:
    return {
        "LAB": lab.name,
        "AWS_ENDPOINT_URL": lab.endpoint,
        "AWS_ACCESS_KEY_ID": lab.credentials["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": lab.credentials["aws_secret_access_key"],
        "AWS_REGION": lab.region,
        "AWS_DEFAULT_REGION": lab.region,
        "ANSIBLE_PRIVATE_KEY_FILE": str(lab.ssh_key),
        "ANSIBLE_REMOTE_USER": ADMIN_USER,
        "LAB_VPC_CIDR": lab.vpc_cidr,
        "LAB_CONTROLLER_CIDR": lab.controller_cidr,
        "LAB_ARTIFACT_MANIFEST": str(lab.artifact_manifest),
        "LAB_SSH_PUBLIC_KEY": lab.ssh_key.with_suffix(".pub").read_text().strip(),
    }


def _env(arguments) -> int:
    lab = Lab(arguments.lab)
    if not lab.ssh_key.with_suffix(".pub").exists():
        raise RuntimeError(f"The lab {lab.name} is not up; start it with `lab --lab {lab.name} up`.")
    for name, value in environment(lab).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def table(rows: list[list[str]]) -> str:
    """Rows as aligned columns; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _status(arguments) -> int:
    lab = Lab(arguments.lab)
    running = {name: processes.pid_of(lab, name) for name in reversed(processes.NAMES)}
    print(f"lab {lab.name} at {lab.endpoint}: " + ", ".join(f"{n} {p or 'does not run'}" for n, p in running.items()))
    if not lifecycle.aws_answers(lab):
        left = len(hosts.known(lab))
        print(f"Its AWS does not answer; {left} hosts are left here. `lab up` starts anew, `lab down` removes all.")
        return 1
    rows = [["INSTANCE", "NAME", "ZONE", "ADDRESS", "STATE", "HOST", "MEMORY MiB", "FAULTS"]]
    for instance in sorted(api.instances(api.ec2(lab)), key=lambda i: (api.name_of(i), i["InstanceId"])):
        if arguments.all or instance["State"]["Name"] != "terminated":
            rows.append(_status_row(lab, instance))
    print(table(rows))
    for what, sentence in reconciler.troubles(lab).items():
        print(f"trouble: {what}: {sentence}")
    return 0


def _status_row(lab: Lab, instance: dict) -> list[str]:
    instance_id = instance["InstanceId"]
    runs = hosts.is_running(lab, instance_id)
    used = cgroups.memory_used(cgroups.existing(lab.name, instance_id)) if runs else None
    limit = hosts.read(lab, instance_id).memory_mib if hosts.exists(lab, instance_id) else 0
    return [
        instance_id,
        api.name_of(instance) or "-",
        instance["Placement"]["AvailabilityZone"],
        instance.get("PrivateIpAddress", "-"),
        instance["State"]["Name"],
        "up" if runs else "down",
        f"{used // MIB}/{limit}" if used is not None else "-",
        ", ".join(faults.shown(lab, instance_id)) or "-",
    ]


# Hosts


def _ssh(arguments) -> int:
    machine.check()
    lab = Lab(arguments.lab)
    instance = api.find(lab, arguments.host)
    instance_id = instance["InstanceId"]
    if not hosts.is_running(lab, instance_id):
        raise hosts.HostError(f"{arguments.host} does not run; the instance is {instance['State']['Name']}.")
    command = keys.ssh(lab, instance_id, instance["PrivateIpAddress"], arguments.words)
    return subprocess.run(command, check=False).returncode


def _console(arguments) -> int:
    machine.check()
    lab = Lab(arguments.lab)
    instance_id = api.find(lab, arguments.host)["InstanceId"]
    log = lab.console_log(instance_id)
    text = log.read_text(errors="replace") if log.exists() else ""
    if arguments.log:
        print(text, end="")
        return 0
    print("\n".join(text.splitlines()[-20:]))
    return subprocess.run(hosts.enter(lab, instance_id, ["/bin/bash", "--login"]), check=False).returncode


# Faults


def _ids(arguments) -> tuple[Lab, list[str]]:
    machine.check()
    lab = Lab(arguments.lab)
    return lab, [api.find(lab, name)["InstanceId"] for name in arguments.hosts]


def _kill(arguments) -> int:
    lab, ids = _ids(arguments)
    faults.kill(lab, ids)
    return 0


def _power(arguments) -> int:
    lab, ids = _ids(arguments)
    faults.power(lab, ids)
    return 0


def _freeze(arguments) -> int:
    lab, ids = _ids(arguments)
    for instance_id in ids:
        faults.freeze(lab, instance_id)
    return 0


def _partition(arguments) -> int:
    lab, ids = _ids(arguments)
    others = [api.find(lab, name)["InstanceId"] for name in arguments.others] if arguments.others else None
    faults.partition(lab, ids, others, arguments.one_way, not arguments.keep_controller)
    return 0


def _slow(arguments) -> int:
    machine.check()
    lab = Lab(arguments.lab)
    faults.slow(lab, api.find(lab, arguments.host)["InstanceId"], arguments.rate)
    return 0


def _fill_disk(arguments) -> int:
    machine.check()
    lab = Lab(arguments.lab)
    faults.fill_disk(lab, api.find(lab, arguments.host)["InstanceId"], arguments.path)
    return 0


def _zone(arguments) -> int:
    machine.check()
    lost = faults.zone(Lab(arguments.lab), arguments.zone)
    print(f"zone {arguments.zone} is lost with {len(lost)} hosts: {' '.join(lost) or 'none'}")
    return 0


def _heal(arguments) -> int:
    machine.check()
    lab = Lab(arguments.lab)
    healed = faults.heal(lab, api.find(lab, arguments.host)["InstanceId"] if arguments.host else None)
    print(f"healed: {' '.join(healed) or 'no host had a fault'}")
    return 0


# Plain hosts


def _dev_host(arguments) -> int:
    machine.check()
    lab = devhosts.create(arguments.name, arguments.address, arguments.volumes, arguments.memory)
    print(f"{arguments.name} answers: ssh -i {lab.ssh_key} {ADMIN_USER}@{arguments.address}")
    for volume_id in hosts.attached(lab, arguments.name):
        print(f"  {volume_id}: /dev/disk/by-id/{volumes.link_name(volume_id)}")
    return 0


def _dev_drop(arguments) -> int:
    machine.check()
    for name in arguments.names:
        devhosts.drop(name)
    return 0


def _dev_ssh(arguments) -> int:
    lab = Lab("dev")
    address = hosts.read(lab, arguments.name).address
    return subprocess.run(keys.ssh(lab, arguments.name, address, arguments.words), check=False).returncode


def main(argv: list[str] | None = None) -> int:
    """Entry of the command. Returns the exit code; an expected failure is one sentence on stderr."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (BadLabName, RuntimeError, ValueError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(f"lab: the lab's AWS answers: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

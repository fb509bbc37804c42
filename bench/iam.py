"""Compare iam_service_roles with amazon.aws.iam_* on the same strict front, in one run.

ROLES roles, each with a managed policy, an inline policy and an instance profile: made, then run again unchanged. The
anchors take one task item for each thing, since their modules take one. Prints seconds of the whole
`ansible-playbook`, API calls, and how many times fewer ours are, without latency and with LATENCY milliseconds a call.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from route53 import HEADER, Front, Run, measure, play, ratios

PATH = "/bench/"
UNCHANGED_CALLS = 2
TIMES_FASTER = 10
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def rights(number: int) -> dict[str, Any]:
    """The policy document of one role."""
    statement = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:aws:s3:::bench-{number}/*",
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def ours(names: list[str]) -> list[dict[str, Any]]:
    """All in one task."""
    options = {
        "path": PATH,
        "policies": [{"name": name, "document": rights(number)} for number, name in enumerate(names)],
        "roles": [
            {
                "name": name,
                "services": ["ec2.amazonaws.com"],
                "description": name,
                "managed_policies": [name],
                "inline_policies": {"own": rights(number)},
                "instance_profiles": [name],
                "tags": {"bench": "yes"},
            }
            for number, name in enumerate(names)
        ],
    }
    return play({"name": "Roles", "selfhosted.ec2.iam_service_roles": options})


def theirs(names: list[str]) -> list[dict[str, Any]]:
    """One task item for each policy, role, inline policy and profile, as users of the anchors write it."""
    items = [{"name": name, "document": rights(number)} for number, name in enumerate(names)]
    role = {
        "name": "{{ item.name }}",
        "path": PATH,
        "description": "{{ item.name }}",
        "assume_role_policy_document": TRUST,
        "managed_policies": ["{{ item.name }}"],
        "create_instance_profile": False,
        "tags": {"bench": "yes"},
    }
    inline = {
        "iam_type": "role",
        "iam_name": "{{ item.name }}",
        "policy_name": "own",
        "policy_json": "{{ item.document }}",
        "state": "present",
    }
    policy = {"name": "{{ item.name }}", "path": PATH, "policy": "{{ item.document }}"}
    profile = {"name": "{{ item.name }}", "path": PATH, "role": "{{ item.name }}"}
    modules = [("managed_policy", policy), ("role", role), ("policy", inline), ("instance_profile", profile)]
    tasks = [{"name": name, f"amazon.aws.iam_{name}": options, "loop": items} for name, options in modules]
    return [{**play({})[0], "tasks": tasks}]


def compare(folder: Path, names: list[str], latency: int, anchor: bool) -> bool:
    """Measure both, each in an account of its own, print their rows; return whether the figures were reached."""
    results: dict[str, dict[str, Run]] = {}
    for name, playbook in (("ours", ours(names)), ("amazon.aws", theirs(names)))[: 2 if anchor else 1]:
        front = Front(folder / f"{name}-{latency}")
        try:
            front.faults(latency_ms=latency)
            results[name] = {state: measure(front, folder, playbook) for state in ("new", "unchanged")}
        finally:
            front.close()
    reached = True
    for state in ("new", "unchanged"):
        run = results["ours"][state]
        ratio = ""
        if anchor:
            other = results["amazon.aws"][state]
            ratio = f"{other.columns()} {ratios(run, other)}"
            reached = reached and (other.seconds / run.seconds >= TIMES_FASTER or state == "new")
        print(f"{latency:7d} {state:10} {run.columns()} {ratio}", flush=True)
        reached = reached and run.changed == (state == "new")
    return reached and results["ours"]["unchanged"].calls <= UNCHANGED_CALLS


def main() -> int:
    """Run the comparison without and with latency."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roles", type=int, default=10)
    parser.add_argument("--latency", type=int, nargs="+", default=[0, 150], help="milliseconds of each call")
    parser.add_argument("--ours-only", action="store_true")
    arguments = parser.parse_args()
    names = [f"bench-{number}" for number in range(arguments.roles)]
    print(f"{arguments.roles} roles")
    print(HEADER.format("amazon.aws.iam_*"))
    reached = True
    with tempfile.TemporaryDirectory() as folder:
        for latency in arguments.latency:
            reached &= compare(Path(folder), names, latency, not arguments.ours_only)
    verdict = "yes" if reached else "NO"
    print(f"unchanged at most {UNCHANGED_CALLS} calls, at least {TIMES_FASTER} times faster: {verdict}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())

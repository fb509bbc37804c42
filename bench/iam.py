"""Compare iam_service_roles with amazon.aws.iam_* on the same strict front, in one run.

ROLES roles, each with a managed policy, an inline policy and an instance profile: made, then run again unchanged. The
anchors take one task item for each thing, since their modules take one. Prints seconds of the whole
`ansible-playbook`, API calls, and how many times fewer ours are, without latency and with LATENCY milliseconds a call.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from playbook_run import HEADER, Front, Run, measure, parser, play, print_row

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
    return play(*tasks)


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
        run, other = (results[name][state] if name in results else None for name in ("ours", "amazon.aws"))
        print_row(latency, state, run, other)
        reached = reached and (other is None or state == "new" or other.seconds / run.seconds >= TIMES_FASTER)
        reached = reached and bool(run.changed) == (state == "new")
    return reached and results["ours"]["unchanged"].calls <= UNCHANGED_CALLS


def main() -> int:
    """Run the comparison without and with latency."""
    options = parser(__doc__)
    options.add_argument("--roles", type=int, default=10)
    options.add_argument("--ours-only", action="store_true")
    wanted = options.parse_args()
    names = [f"bench-{number}" for number in range(wanted.roles)]
    print(f"{wanted.roles} roles")
    print(HEADER.format("amazon.aws.iam_*"))
    reached = True
    with tempfile.TemporaryDirectory() as folder:
        for latency in wanted.latency:
            reached &= compare(Path(folder), names, latency, not wanted.ours_only)
    verdict = "yes" if reached else "NO"
    print(f"unchanged at most {UNCHANGED_CALLS} calls, at least {TIMES_FASTER} times faster: {verdict}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())

"""Compare cloudwatch_alarms with amazon.aws.cloudwatch_metric_alarm on the same strict front, in one run.

Fifty alarms, new and unchanged, with and without latency for each call. Prints seconds of the whole `ansible-playbook`,
API calls, and how many times faster ours is. Theirs sets no tags, ours sets and compares them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import playbook_run
from playbook_run import Front, Run

MAX_UNCHANGED_CALLS = 3
SNS = "arn:aws:sns:eu-west-1:123456789012:oncall"


def alarm(prefix: str, number: int) -> dict[str, Any]:
    """Return what both modules are told of an alarm, by the names that they share."""
    return {
        "name": f"{prefix}{number:02}",
        "description": f"Host {number} is at the end of its CPU.",
        "namespace": "AWS/EC2",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": f"i-{number:017x}"},
        "statistic": "Average",
        "period": 300,
        "evaluation_periods": 3,
        "threshold": 90.0,
        "comparison": "GreaterThanOrEqualToThreshold",
        "alarm_actions": [SNS],
    }


def ours(prefix: str, count: int) -> dict[str, Any]:
    """Return our task."""
    alarms = [alarm(prefix, number) for number in range(count)]
    options = {"prefix": prefix, "alarms": alarms, "tags": {"platform": "bench"}}
    return {"name": "Alarms", "selfhosted.ec2.cloudwatch_alarms": options}


def theirs(prefix: str, count: int) -> dict[str, Any]:
    """Return the task of amazon.aws: a loop, since the module takes one alarm."""
    names = ("name", "description", "namespace", "dimensions", "statistic", "period", "evaluation_periods")
    names += ("threshold", "comparison", "alarm_actions")
    options = {name: f"{{{{ item.{name} }}}}" for name in names}
    return {
        "name": "Alarms",
        "amazon.aws.cloudwatch_metric_alarm": {**options, "metric_name": "{{ item.metric }}", "state": "present"},
        "loop": [alarm(prefix, number) for number in range(count)],
        "loop_control": {"label": "{{ item.name }}"},
    }


def measure(front: Front, directory: Path, task: dict[str, Any], changed: bool) -> Run:
    """Run one task as a playbook. Ends the program when it did other than expected."""
    run = playbook_run.measure(front, directory, playbook_run.play(task))
    if bool(run.changed) != changed:
        raise SystemExit(f"{run.changed} tasks changed something, which was {'' if changed else 'not '}expected.")
    return run


def main() -> None:
    """Measure and print."""
    parser = playbook_run.parser(__doc__)
    parser.add_argument("--alarms", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        front = Front(Path(folder) / "front")
        try:
            for latency in arguments.latency:
                front.faults(latency_ms=latency)
                figures += compare(front, Path(folder), arguments.alarms, latency)
        finally:
            front.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    worst = max(entry["calls"] for entry in figures if entry["state"] == "unchanged")
    if arguments.alarms <= 100 and worst > MAX_UNCHANGED_CALLS:
        raise SystemExit(f"Unchanged alarms cost {worst} calls; at most {MAX_UNCHANGED_CALLS}.")


def shown(run: Run) -> str:
    return f"{run.seconds:>7.2f} s {run.calls:>4} calls"


def compare(front: Front, directory: Path, count: int, latency: int) -> list[dict[str, Any]]:
    """Measure both, new and unchanged, print a line for each and return our figures with the ratios."""
    figures = []
    for state, changed in (("new", True), ("unchanged", False)):
        our = measure(front, directory, ours(f"ours-{latency}-", count), changed)
        label = f"{count} alarms {state:<9} {latency:>4} ms"
        print(f"{label}  selfhosted.ec2.cloudwatch_alarms    {shown(our)}", flush=True)
        their = measure(front, directory, theirs(f"theirs-{latency}-", count), changed)
        times = f"{their.seconds / our.seconds:.1f} times our seconds, {their.calls / our.calls:.0f} times our calls"
        print(f"{label}  amazon.aws.cloudwatch_metric_alarm  {shown(their)}  {times}", flush=True)
        figures.append(
            {
                "state": state,
                "latency_ms": latency,
                "seconds": round(our.seconds, 2),
                "calls": our.calls,
                "their_seconds": round(their.seconds, 2),
                "their_calls": their.calls,
            }
        )
    return figures


if __name__ == "__main__":
    main()

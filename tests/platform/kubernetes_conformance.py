"""The Kubernetes conformance suite: which of its cases run (conformance.toml), how, and what became of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import tomllib
import xml.etree.ElementTree as ET  # noqa: S405 (reads files that the suite wrote here)
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
LIST = Path(__file__).resolve().parent / "conformance.toml"
RESULTS = ROOT / "bench" / "results" / "conformance.json"
PAGE = ROOT / "docs" / "conformance.md"
SET = "conformance-1.37"
MARK = "[Conformance]"
#: What the suite has after its own time is over, to end and to write its report.
GRACE_SECONDS = 300
_LISTED = re.compile(r"^ {4}\S+\.go:\d+: (.*\S)\s*$", re.MULTILINE)
_KIND = re.compile(r"^\[(\w+)\] ?")


@dataclass(frozen=True)
class Family:
    """Cases that run in one go.

    :ivar minutes: how long they may take together.
    """

    name: str
    title: str
    minutes: int
    prefixes: tuple[str, ...]

    def has(self, case: str) -> bool:
        return MARK in case and case.startswith(self.prefixes)


@dataclass(frozen=True)
class Suite:
    """What of the suite runs.

    :ivar skips: case to reason, of the families' cases that do not run.
    :ivar left: how other cases begin, to reason.
    :ivar images: name to what it is made of.
    """

    version: str
    families: dict[str, Family]
    skips: dict[str, str]
    left: dict[str, str]
    images: dict[str, str]


def read(path: Path = LIST) -> Suite:
    """What of the suite runs, as the file says. Raises KeyError for an entry without a reason."""
    found = tomllib.loads(path.read_text())
    families = [Family(**{**entry, "prefixes": tuple(entry["prefixes"])}) for entry in found["family"]]
    return Suite(
        version=found["version"],
        families={family.name: family for family in families},
        skips={entry["case"]: entry["reason"] for entry in found.get("skip", [])},
        left={entry["prefix"]: entry["reason"] for entry in found.get("left", [])},
        images={entry["name"]: entry["made"] for entry in found["image"]},
    )


def listed(text: str) -> list[str]:
    """The names of all cases, from what `e2e.test --list-tests` prints."""
    return _LISTED.findall(text)


def chosen(suite: Suite, family: Family, cases: list[str]) -> list[str]:
    """Those of all cases that a family runs."""
    return sorted(case for case in cases if family.has(case) and case not in suite.skips)


def selection(suite: Suite, family: Family) -> list[str]:
    """The arguments that choose a family's cases: expressions of Go, in which an escaped sign is itself, as here."""
    mark = re.escape(MARK)
    focus = [f"--ginkgo.focus={re.escape(prefix)}.*{mark}" for prefix in family.prefixes]
    # The expressions are searched in the suite's name and a case's; no case has another one's whole name in its own.
    return focus + [f"--ginkgo.skip={re.escape(case)}" for case in suite.skips if family.has(case)]


@dataclass
class Report:
    """What a report says.

    :ivar states: case to state; the suite calls those that it did not begin skipped.
    :ivar broken: parts of the suite around the cases that failed.
    :ivar reasons: case to the first lines of why it did not pass.
    """

    states: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def parse(path: Path) -> Report:
    """Read the report that the suite writes (junit_01.xml). Raises OSError or ParseError."""
    report = Report()
    for case in ET.parse(path).getroot().iter("testcase"):  # noqa: S314
        kind = _KIND.match(case.get("name", ""))
        name = case.get("name", "")[kind.end() if kind else 0 :].strip()
        trouble = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        state = case.get("status") or ("passed" if trouble is None else trouble.tag)
        if kind and kind[1] != "It":
            if trouble is not None and trouble.tag != "skipped":
                report.broken.append(f"{kind[1]}: {first_lines(trouble)}")
            continue
        report.states[name] = state
        if trouble is not None:
            report.reasons[name] = first_lines(trouble)
    return report


def first_lines(trouble: ET.Element) -> str:
    """Why something failed, short."""
    return " ".join((trouble.get("message") or trouble.text or "").split())[:300]


@dataclass
class Outcome:
    """What became of a family's cases.

    :ivar cases: how many were to run.
    :ivar failed: case to why, of those that ran and did not pass.
    :ivar missing: case to why, of those that were to run and did not.
    :ivar broken: parts of the suite around them that failed.
    """

    family: str
    version: str
    cases: int
    passed: int
    failed: dict[str, str]
    missing: dict[str, str]
    broken: list[str]
    seconds: float
    load: float
    at: str
    commit: str


def judge(wanted: list[str], report: Report) -> tuple[int, dict[str, str], dict[str, str]]:
    """How many of the wanted cases passed, which failed, and which did not run; both with the reason."""
    failed, missing, passed = {}, {}, 0
    for case in wanted:
        state = report.states.get(case, "")
        if state == "passed":
            passed += 1
        elif state in ("", "skipped", "pending"):
            missing[case] = report.reasons.get(case, "the report does not name it")
        else:
            failed[case] = report.reasons.get(case, state)
    return passed, failed, missing


def assert_conformant(outcome: Outcome) -> None:
    """Raises AssertionError unless every case that was to run has run and passed."""
    found = asdict(outcome)
    assert outcome.cases > 0, "no case of the suite was chosen"
    assert outcome.passed > 0, found
    assert not outcome.failed and not outcome.missing and not outcome.broken, found
    assert outcome.passed == outcome.cases, found


# On a machine that reaches the API


def kubeconfig(directory: Path, server: str, name: str, ca: str, pem: str) -> Path:
    """Write a kubeconfig for the API at an address, under the name that its certificate holds.

    The context has another name than its cluster: the suite would take the server from a cluster of the context's name,
    and a server that is given by itself makes it, and kubectl, forget the certificate's name.
    """
    for file, content in (("ca.crt", ca), ("administrator.pem", pem)):
        (directory / file).touch(mode=0o600)
        (directory / file).write_text(content)
    identity = str(directory / "administrator.pem")
    cluster = {"server": server, "tls-server-name": name, "certificate-authority": str(directory / "ca.crt")}
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "platform", "cluster": cluster}],
        "users": [{"name": "administrator", "user": {"client-certificate": identity, "client-key": identity}}],
        "contexts": [{"name": "suite", "context": {"cluster": "platform", "user": "administrator"}}],
        "current-context": "suite",
    }
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(found))
    return path


def program(cache: Path, name: str, version: str, file: str, directory: Path) -> Path:
    """A program that the lab has built, to be run from a directory. Raises AssertionError when it was not built."""
    built = cache / "artifacts" / name / version / file
    assert built.is_file(), f"{built} is not there; build it: python -m lab.builds kubernetes-1.37 {SET}"
    target = directory / name
    if not target.exists():
        shutil.copyfile(built, target)
        target.chmod(0o755)
    return target


def run(line: list[str], log: Path, seconds: float) -> tuple[int, float]:
    """Run the suite, its output to a file; how it ended, and after how many seconds.

    When its time is over it is told to end, which ginkgo takes for an interrupt: it cleans up and writes its report.
    Not by SIGINT, which whatever runs in the background of a shell ignores.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                status = -signal.SIGKILL
        finally:
            # kubectl, which it calls, may still be there.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status, time.monotonic() - started


# The page

HEAD = """\
# The Kubernetes conformance suite

Written by `make test-faults` (`tests/platform`) from its results and `tests/platform/conformance.toml`; not edited by
hand. The suite is Kubernetes' own, `e2e.test` of {version}, built from its Go modules (`python -m lab.builds
{set}`). It runs on the machine of the tests and reaches the API through HAProxy, one case after the other, on
three control planes and two workers that share two cores. This is not the certification of the CNCF, which takes all
{mark} cases on a cluster of one's own: what is not run is listed here with its reason.

## Results

"""
COLUMNS = ["", "cases", "passed", "failed", "did not run", "minutes", "load", "measured"]


def table(lines: list[list[str]]) -> str:
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in lines) + "\n"


def code(name: str) -> str:
    return f"`{name}`"


def results_part(suite: Suite, found: list[dict]) -> str:
    """The newest result of each family, and what did not pass."""
    newest = {outcome["family"]: outcome for outcome in found if outcome["version"] == suite.version}
    lines, wrong = [COLUMNS], []
    for name, family in suite.families.items():
        outcome = newest.get(name)
        if not outcome:
            lines.append([family.title, "not run", *[""] * (len(COLUMNS) - 2)])
            continue
        counts = [outcome["cases"], outcome["passed"], len(outcome["failed"]), len(outcome["missing"])]
        measured = f"{outcome['at'][:10]}, {outcome['commit']}"
        minutes = f"{outcome['seconds'] / 60:.0f}"
        lines.append([family.title, *map(str, counts), minutes, str(outcome["load"]), measured])
        wrong += [[code(case), reason] for case, reason in {**outcome["failed"], **outcome["missing"]}.items()]
    text = table(lines)
    if wrong:
        text += "\n### What did not pass\n\n" + table([["case", "the suite says"], *wrong])
    return text


def lists_part(suite: Suite) -> str:
    """What does not run, and what the images are made of."""
    skipped = [["case", "why it does not run"], *([code(case), reason] for case, reason in suite.skips.items())]
    left = [["cases that begin with", "why they do not run"]]
    left += [[code(prefix.strip()), reason] for prefix, reason in suite.left.items()]
    taken = [["part", "cases that begin with"]]
    taken += [
        [family.title, ", ".join(code(prefix.strip()) for prefix in family.prefixes)]
        for family in suite.families.values()
    ]
    images = [["image", "made of"], *([code(name), made] for name, made in suite.images.items())]
    return (
        "## What runs\n\n"
        f"Of the cases called `{MARK}`, those for parallel and those for serial runs alike:\n\n{table(taken)}"
        f"\n## What is skipped\n\nSingle cases of these parts:\n\n{table(skipped)}"
        f"\nOther parts of the suite:\n\n{table(left)}"
        "\n## Images\n\nNone of them comes from a registry; all nodes hold them (`kubernetes_images`).\n\n"
        f"{table(images)}"
    )


def render(suite: Suite, found: list[dict], page: str = "") -> str:
    """The page; without a result on this machine that part stays as it was."""
    former = re.search(r"(?<=^## Results\n\n)(.*?)\n(?=## What runs\n)", page, re.MULTILINE | re.DOTALL)
    results = former[1] if former and not found else results_part(suite, found)
    head = HEAD.format(version=suite.version, set=SET, mark=code(MARK))
    return f"{head}{results}\n{lists_part(suite)}"

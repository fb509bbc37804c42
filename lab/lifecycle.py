"""`lab up` and `lab down`: the whole lab, from whatever an earlier run has left."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import api, cgroups, hosts, image, keys, machine, mounts, network, processes, volumes
from lab.paths import DEFAULT_LAB, RUN, STATE, Lab, forget_index, labs_locked

Say = Callable[[str], None]


def progress() -> Say:
    """A function that prints lines with the seconds since now."""
    started = time.monotonic()
    return lambda text: print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)


@contextmanager
def _alone(lab: Lab) -> Iterator[None]:
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / f"{lab.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"Another `lab up` or `lab down` of lab {lab.name} runs; wait for its end.") from None
        yield


def aws_answers(lab: Lab) -> bool:
    try:
        return api.control(lab, "GET", "health").get("status") == "ok"
    except (api.NoAWS, ValueError):
        return False


def up(lab: Lab, say: Say) -> None:
    """Everything runs afterwards; what runs already is left alone. Raises RuntimeError with one sentence."""
    machine.check()
    with _alone(lab):
        # First of all: what all labs share goes with the last one that has a directory.
        with labs_locked():
            for directory in (lab.run, lab.changed_directory, lab.state / "logs", lab.tls_directory):
                directory.mkdir(parents=True, exist_ok=True)
            machine.allow_watchers(STATE / "watchers")
        lab.tls_directory.chmod(0o700)
        image.build(say=say)
        keys.make(lab)
        _start_aws(lab, say)
        if network.read_models(api.ec2(lab)) == []:
            network.apply(lab, [])
        for name, ready in _daemons(lab):
            if processes.start(lab, name, ready):
                say(f"{name} started")


def _start_aws(lab: Lab, say: Say) -> None:
    if not processes.pid_of(lab, "aws") and _leftovers(lab):
        say(f"the AWS of lab {lab.name} is gone, and with it all it knew: removing the old hosts and starting anew")
        processes.stop(lab, "reconcile")
        _remove_hosts(lab)
        network.remove_all(lab)
        for directory in (lab.volumes, lab.snapshots):
            volumes.release_below(directory)
            mounts.remove_tree(directory)
        lab.faults_file.unlink(missing_ok=True)
    if processes.start(lab, "aws", lambda: aws_answers(lab)):
        say(f"aws started on {lab.endpoint}")


def _leftovers(lab: Lab) -> bool:
    spaces = network.namespaces.listed()
    return bool(
        hosts.known(lab)
        or cgroups.existing(lab.name)
        or any(lab.volumes.glob("*"))
        or any(space.startswith(lab.namespace_prefix) for space in spaces)
    )


def _daemons(lab: Lab) -> list[tuple[str, Callable[[], bool]]]:
    """What is started after AWS, in this order, and how one sees that it is ready."""
    return [
        ("tls", lambda: lab.ca_certificate.exists() and _runs(lab, "tls", "haproxy")),
        ("services", lambda: lab.changed_socket("services").exists() and _runs(lab, "services")),
        ("reconcile", lambda: lab.changed_socket("reconcile").exists() and _runs(lab, "reconcile")),
    ]


def _runs(lab: Lab, name: str, program: str = "") -> bool:
    pid = processes.pid_of(lab, name)
    if not pid:
        return False
    with contextlib.suppress(OSError):
        return program in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
    return False


def summary(lab: Lab) -> str:
    option = "" if lab.name == DEFAULT_LAB else f" --lab {lab.name}"
    return (
        f"lab {lab.name} is up: AWS at {lab.endpoint}, addresses for a VPC {lab.vpc_cidr}, "
        f"hosts see this machine as {lab.controller_cidr}\n"
        f'use it:   eval "$(lab{option} env)"'
    )


def down(lab: Lab, say: Say) -> None:
    """Remove everything of this lab, whole or half there; nothing else. What is absent is no error."""
    machine.check()
    with _alone(lab):
        for name in processes.NAMES:
            if processes.stop(lab, name):
                say(f"{name} ended")
        removed = _remove_hosts(lab)
        if removed:
            say(f"{removed} hosts removed")
        network.remove_all(lab)
        volumes.release_below(lab.state)
        _wait_for_loops(lab)
        mounts.remove_tree(lab.state)
        mounts.remove_tree(lab.run)
        forget_index(lab.name)
    (RUN / f"{lab.name}.lock").unlink(missing_ok=True)
    with labs_locked():
        _remove_empty()
    say(f"lab {lab.name} is down; the base image and the mirror's files stay in {lab.cache}")


def _remove_hosts(lab: Lab) -> int:
    """All hosts with their processes and groups, also those whose directory is damaged."""
    known = hosts.known(lab)
    cgroups.kill(cgroups.existing(lab.name))
    for instance_id in known:
        hosts.remove(lab, instance_id)
    for rest in Path("/run/systemd/nspawn").glob(f"*/{lab.name}-*"):
        mounts.unmount_below(rest)
        with contextlib.suppress(OSError):
            rest.rmdir()
    cgroups.remove(cgroups.existing(lab.name))
    cgroups.remove_empty_tops()
    mounts.unmount_below(lab.instances)
    if lab.instances.exists():
        shutil.rmtree(lab.instances)
    return len(known)


def _wait_for_loops(lab: Lab, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while volumes.loops_below(lab.state) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = volumes.loops_below(lab.state)
    if left:
        raise RuntimeError(f"The loop devices {', '.join(left)} of lab {lab.name} are still in use by another process.")


def _remove_empty() -> None:
    """The directories that all labs share, with the last lab."""
    if STATE.is_dir() and not any(path.is_dir() for path in STATE.iterdir()):
        machine.restore_watchers(STATE / "watchers")
        (STATE / "indexes.json").unlink(missing_ok=True)
    if RUN.is_dir() and {path.name for path in RUN.iterdir()} <= {"loop.lock"}:
        (RUN / "loop.lock").unlink(missing_ok=True)
    for directory in (STATE, RUN):
        with contextlib.suppress(OSError):
            directory.rmdir()

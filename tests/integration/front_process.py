"""Strict fronts without hosts, each in a process of its own: `python -m tests.integration.front_process`.

Reading the services' models takes seconds, so one process does it once and forks: for each line of its input, the
directory of a front, it prints the front's process id and address. A front ends with this process.

Consoles show a host key as soon as the file DIRECTORY/consoles exists.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

from lab.aws import server
from lab.paths import Lab

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
CONSOLE = f"boot\n-----BEGIN SSH HOST KEY KEYS-----\n{HOST_KEY} root@host\n-----END SSH HOST KEY KEYS-----\nlogin:\n"
MODELS = (
    *("cloudfront", "cloudtrail", "cloudwatch", "dynamodb", "ec2", "elbv2", "iam", "kms", "logs", "route53", "s3"),
    *("ssm", "sts", "wafv2"),
)
PR_SET_PDEATHSIG = 1


class QuietLab(Lab):
    """A lab below one directory, whose instances print what cloud-init would."""

    directory: Path

    def console_log(self, instance_id):
        path = super().console_log(instance_id)
        if (self.directory / "consoles").exists() and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(CONSOLE)
        return path


def prepare():
    """Import and read what every front needs, before the first is forked."""
    os.environ.update(server.ENVIRONMENT)
    from moto.backends import get_backend
    from moto.core.utils import get_service_model

    import lab.aws.front  # noqa: F401 (reads moto and its tables)

    for name in MODELS:
        get_service_model(name)
        get_backend(name)


def serve(directory):
    """Be the front of a directory until a signal ends this process."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    quiet = QuietLab("test")
    quiet.directory, quiet.state, quiet.run = directory, directory / "state", directory / "run"
    (quiet.run / "changed.d").mkdir(parents=True)
    front = server.Server(server.application(quiet, hosts=False), 0, None)
    print(f"{os.getpid()} http://127.0.0.1:{front.port}", flush=True)
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    front.run()


def main():
    prepare()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    for line in sys.stdin:
        if os.fork() == 0:
            serve(Path(line.strip()))
            os._exit(0)


if __name__ == "__main__":
    main()

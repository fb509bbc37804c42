"""A strict front in a process of its own, without hosts: `python front_process.py DIRECTORY` prints its address.

Consoles show a host key as soon as the file DIRECTORY/consoles exists.
"""

import sys
from pathlib import Path

from lab.aws import server
from lab.paths import Lab

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
CONSOLE = f"boot\n-----BEGIN SSH HOST KEY KEYS-----\n{HOST_KEY} root@host\n-----END SSH HOST KEY KEYS-----\nlogin:\n"


class QuietLab(Lab):
    """A lab below one directory, whose instances print what cloud-init would."""

    directory: Path

    def console_log(self, instance_id):
        path = super().console_log(instance_id)
        if (self.directory / "consoles").exists() and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(CONSOLE)
        return path


def main(directory):
    lab = QuietLab("test")
    lab.directory, lab.state, lab.run = directory, directory / "state", directory / "run"
    (lab.run / "changed.d").mkdir(parents=True)
    front = server.Server(server.application(lab, hosts=False), 0, None)
    print(f"http://127.0.0.1:{front.port}", flush=True)
    front.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The process `lab aws`: one WSGI server on a TCP port for the controller and a unix socket for the hosts."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher

from lab.paths import Lab

THREADS = 32
MAX_BODY_BYTES = 5 * 1024**3
ENVIRONMENT = {
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    "MOTO_ACCOUNT_ID": "123456789012",
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
    "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}


def application(lab: Lab, hosts: bool = True) -> Any:
    """The front of a lab as a WSGI application. `hosts`: a reconciler will report the states of instances."""
    os.environ.update(ENVIRONMENT)
    from lab.aws import lifecycle, mends, speed
    from lab.aws.credentials import Directory, lab_secret
    from lab.aws.front import Front
    from lab.aws.state import State

    directory = Directory(lab.credentials, lab_secret(lab.state), lab.account)
    mends.install()
    speed.install()
    listeners = lab.run / "changed.d"
    return Front(State(listeners), directory, lifecycle.install(immediate=not hosts), lab.console_log)


class Parser(HTTPRequestParser):
    """Asks for no body that is there already, or empty: waitress 3.0.2 would then wait for it for ever."""

    def received(self, data: bytes) -> int:
        count: int = super().received(data)
        if self.completed:
            self.expect_continue = False
        return count


class Channel(HTTPChannel):
    parser_class = Parser


class Server:
    """Both sockets, served by one pool of threads. `port` 0 takes a free one; `socket` None leaves it out."""

    def __init__(self, app: Any, port: int, socket: Path | None):
        self.map: dict[int, Any] = {}
        self.dispatcher = ThreadedTaskDispatcher()
        self.dispatcher.set_thread_count(THREADS)
        common = {"map": self.map, "_dispatcher": self.dispatcher, "threads": THREADS}
        options: dict[str, Any] = {"ident": "", "channel_timeout": 300, "connection_limit": 500}
        options["max_request_body_size"] = MAX_BODY_BYTES
        self.tcp = create_server(app, host="127.0.0.1", port=port, **common, **options)
        self.tcp.channel_class = Channel
        self.port = self.tcp.effective_port
        if socket is not None:
            socket.parent.mkdir(parents=True, exist_ok=True)
            socket.unlink(missing_ok=True)
            local = create_server(app, unix_socket=str(socket), unix_socket_perms="660", **common, **options)
            local.channel_class = Channel

    def run(self) -> None:
        self.tcp.run()

    def close(self) -> None:
        self.dispatcher.shutdown()
        for dispatcher in list(self.map.values()):
            dispatcher.close()


def main(arguments: list[str] | None = None) -> int:
    """Entry of `python -m lab.aws`. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="lab aws", description="Serve the AWS endpoint of a lab.")
    parser.add_argument("--lab", default=None, help="name of the lab (default: lab)")
    parser.add_argument("--port", type=int, default=None, help="TCP port on 127.0.0.1 (default: the lab's)")
    parser.add_argument("--no-hosts", action="store_true", help="no reconciler: instances change state at once")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    lab = Lab(options.lab)
    os.umask(0o027)
    (lab.run / "changed.d").mkdir(parents=True, exist_ok=True)
    port = lab.port if options.port is None else options.port
    server = Server(application(lab, not options.no_hosts), port, lab.aws_socket)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"AWS endpoint of the lab {lab.name}: http://127.0.0.1:{server.port} and {lab.aws_socket}", flush=True)
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        server.run()
    return 0

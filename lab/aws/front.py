"""The strict front: a WSGI application that checks each request as AWS does, then hands it to moto."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.exceptions import NotFound

from lab.aws import cidr, edge, handlers, iam, monitoring, rules, targets, waf  # noqa: F401 (some add handlers)
from lab.aws.call import CURRENT, Answer, AWSError, Call, parse, path_style
from lab.aws.credentials import Directory
from lab.aws.lifecycle import Lifecycle
from lab.aws.signature import authenticate
from lab.aws.state import BadFaults, State

LOG = logging.getLogger("lab.aws")
STATUS = {200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content", 400: "Bad Request", 404: "Not Found"}
UNREADABLE = b"<ErrorResponse><Error><Code>MalformedInput</Code><Message>unreadable</Message></Error></ErrorResponse>"
NOTIFYING = ("ec2", "route53", "iam")
Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Front:
    """The application. `started` is when it began (seconds since 1970); `log` the front's request log, if any."""

    def __init__(self, state: State, directory: Directory, lifecycle: Lifecycle, console: Callable[[str], Path]):
        self.state, self.directory, self.lifecycle, self.console = state, directory, lifecycle, console
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.locks: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self.started = time.time()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["RAW_URI"] = environ.get("REQUEST_URI", environ.get("PATH_INFO", "/"))
        control = environ.get("PATH_INFO", "").startswith("/_lab/")
        answer = self.control(environ) if control else self.serve(environ)
        phrase = STATUS.get(answer.status, "Answer")
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
        if answer.status not in (204, 304) and environ["REQUEST_METHOD"] != "HEAD":
            headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
            headers["Content-Length"] = str(len(answer.body))
        start_response(f"{answer.status} {phrase}", list(headers.items()))
        return [answer.body]

    # AWS
    def serve(self, environ: Environ) -> Answer:
        """Answer one AWS request."""
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("wsgi.input_terminated", None)
        try:
            call = parse(environ, body)
        except Exception as error:
            LOG.warning("A request could not be read: %s", error)
            return Answer(400, {"Content-Type": "text/xml"}, UNREADABLE)
        environ["wsgi.input"] = io.BytesIO(body)
        if not call.internal:
            self.state.count(call)
        token = CURRENT.set(call)
        try:
            return self._answer(call)
        except AWSError as error:
            return call.answer(error)
        except Exception:
            LOG.exception("%s %s in %s", call.service, call.action, call.region)
            return call.answer(AWSError("InternalError", "An internal error has occurred", 500))
        finally:
            CURRENT.reset(token)

    def _answer(self, call: Call, internal: bool = False) -> Answer:
        # The lab's own calls see a front without faults.
        call.state = State() if internal else self.state
        call.state.suffer(call)
        call.identity = authenticate(call, self.directory)
        if not internal:
            self.state.count_caller(call)
        with self.locks[call.service]:
            handlers.before(call)
            rules.check(call)
            result = handlers.handle(call, self)
            answer = self._moto(call) if result is handlers.PASS else call.answer(result)
            if not answer.error:
                handlers.after(call, self)
        if not call.reads and not answer.error and call.service in NOTIFYING:
            self.state.notify()
        return answer

    def _moto(self, call: Call) -> Answer:
        environ = call.environ
        environ.update(path_style(environ))
        environ["wsgi.input"] = io.BytesIO(call.body)
        collected: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            collected.append((status, headers))

        try:
            body = b"".join(self.moto(environ, start_response))
        except NotImplementedError:
            raise unknown_action(call) from None
        except NotFound:
            raise unknown_action(call) from None
        status, headers = collected[-1]
        code = int(status.split()[0])
        page = b"<html" in body[:200].lower() or (call.service != "s3" and not body.strip().startswith((b"<", b"{")))
        if page and (code >= 500 or (code == 404 and call.service != "s3")):
            raise unknown_action(call)
        return Answer(code, dict(headers), body)

    # The lab's own interface
    def control(self, environ: Environ) -> Answer:
        """Answer a request for /_lab/..."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        parts = environ["PATH_INFO"].strip("/").split("/")[1:]
        try:
            document = json.loads(environ["wsgi.input"].read(length) or b"{}")
            status, result = self._control(environ["REQUEST_METHOD"], parts, document)
        except (BadFaults, ValueError) as error:
            status, result = 400, {"error": str(error)}
        except KeyError as error:
            status, result = 404, {"error": f"There is no {error.args[0]}."}
        return Answer(status, {"Content-Type": "application/json"}, json.dumps(result).encode())

    def _control(self, method: str, parts: list[str], document: dict[str, Any]) -> tuple[int, Any]:
        what = (method, parts[0] if parts else "", len(parts))
        if what == ("GET", "health", 1):
            return 200, {"status": "ok", "started": self.started, "hosts": not self.lifecycle.immediate}
        if what == ("GET", "calls", 1):
            return 200, dict(sorted(self.state.calls.items()))
        if what == ("GET", "callers", 1):
            return 200, {role: dict(sorted(calls.items())) for role, calls in sorted(self.state.callers.items())}
        if what == ("DELETE", "calls", 1):
            self.state.calls.clear()
            self.state.callers.clear()
            return 200, {}
        if what == ("PUT", "public_keys", 1):
            monitoring.set_public_keys(document)
            return 200, {}
        if parts[:1] == ["faults"]:
            return self._faults(method, document)
        with self.locks["ec2"]:
            return self._reports(what, parts, document)

    def _faults(self, method: str, document: dict[str, Any]) -> tuple[int, Any]:
        if method in ("PUT", "DELETE"):
            return 200, self.state.set_faults(document if method == "PUT" else {})
        return 200, self.state.faults

    def _reports(self, what: tuple[str, str, int], parts: list[str], document: dict[str, Any]) -> tuple[int, Any]:
        if what == ("GET", "instances", 1):
            return 200, handlers.instances(self)
        if what == ("PUT", "instances", 2):
            self.lifecycle.report(parts[1], str(document.get("state")))
        elif what == ("PUT", "volumes", 2):
            self.lifecycle.report_volume(parts[1], str(document.get("state")))
        else:
            return 404, {"error": f"{what[0]} /_lab/{'/'.join(parts)} is not part of the lab's interface."}
        self.state.notify()
        return 200, {}


def unknown_action(call: Call) -> AWSError:
    """What AWS answers to an action it does not know; SDKs do not retry it."""
    message = f"The action {call.action} is not valid for this web service: the lab does not have it."
    return AWSError("UnknownOperationException" if "json" in call.protocol else "InvalidAction", message)

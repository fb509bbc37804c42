"""A caching mirror: Debian packages from the machine's own apt sources, and checked artifacts."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from lab import builds
from lab.services.http import serve_on

SOURCES = Path("/etc/apt")
ARTIFACT_LIST = Path(__file__).parent.parent / "artifacts.toml"
# Index files are asked for anew after this many seconds.
INDEX_SECONDS = 3600
UPSTREAM_TIMEOUT = 30
CHUNK = 1 << 18
# Below the timeouts of clients.
WAITING_SECONDS = 10
_PART = re.compile(r"[A-Za-z0-9._~+:%@=^,-]+")


class MirrorError(Exception):
    """The answer is this HTTP status and one sentence."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


# Where the archive comes from


def apt_uris(directory: Path = SOURCES) -> list[str]:
    """The HTTP URIs of the machine's apt sources, deb822 and one-line, in their order, each once."""
    lists = directory / "sources.list.d"
    files = [directory / "sources.list", *sorted(lists.glob("*.list")), *sorted(lists.glob("*.sources"))]
    found: list[str] = []
    for file in files:
        if file.is_file():
            text = file.read_text(errors="replace")
            found += _deb822(text) if file.suffix == ".sources" else _one_line(text)
    uris = [uri.rstrip("/") for uri in found if uri.startswith(("http://", "https://"))]
    return list(dict.fromkeys(uris))


def _one_line(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+\S+", line)
        if match:
            found.append(match[1])
    return found


def _deb822(text: str) -> list[str]:
    found: list[str] = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        if fields.get("enabled", "yes").lower() not in {"no", "false", "off"}:
            found += fields.get("uris", "").split()
    return found


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and name:
            fields[name] += " " + line.strip()
        elif ":" in line:
            name, _colon, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def upstreams(uris: list[str]) -> dict[str, str]:
    """The archives that the mirror offers, by first path part: debian and debian-security."""
    found: dict[str, str] = {}
    for uri in uris:
        name = uri.rpartition("/")[2]
        if name in {"debian", "debian-security"}:
            found.setdefault(name, uri)
    if "debian" in found and "debian-security" not in found:
        # An archive host commonly carries both side by side; a machine may have only the first in its sources.
        found["debian-security"] = found["debian"] + "-security"
    return found


def apt_proxies(dump: str) -> dict[str, str]:
    """The proxies by scheme from the output of `apt-config dump`."""
    found = dict(re.findall(r'^Acquire::(https?)::Proxy "([^"]+)";$', dump, re.MULTILINE))
    return {scheme: proxy for scheme, proxy in found.items() if proxy != "DIRECT"}


def _opener() -> urllib.request.OpenerDirector:
    """Fetches as the machine's apt does, else as the environment says."""
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        dump = ""
    proxies = apt_proxies(dump)
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies or None))


# Requests


@dataclass(frozen=True)
class Target:
    """Where a request's file lies in the cache and upstream. `immutable`: its content never changes under its name."""

    file: Path
    url: str
    immutable: bool
    sha256: str = ""
    build: dict[str, Any] = field(default_factory=dict, hash=False)


def parts_of(path: str) -> list[str]:
    """The decoded parts of a request's path. Raises MirrorError for one that could lead elsewhere."""
    raw = path.partition("?")[0].strip("/").split("/")
    parts = [urllib.parse.unquote(part) for part in raw]
    if not all(_PART.fullmatch(part) for part in parts) or {".", ".."} & set(parts):
        raise MirrorError(400, f"The path {path} is not one of the mirror's; it has /debian/ and /artifacts/.")
    return parts


def debian_target(parts: list[str], cache: Path, archives: dict[str, str]) -> Target:
    """The target of /debian/... or /debian-security/...; raises MirrorError without such an apt source."""
    if parts[0] not in archives:
        raise MirrorError(
            502, f"The mirror has no source for /{parts[0]}/: the machine's apt sources name no URI that ends in it."
        )
    quoted = urllib.parse.quote("/".join(parts[1:]), safe="/+~:@=,")
    immutable = parts[-1].endswith((".deb", ".udeb")) or "by-hash" in parts
    return Target(cache.joinpath(*parts), f"{archives[parts[0]]}/{quoted}", immutable)


def read_artifacts(file: Path = ARTIFACT_LIST) -> dict[tuple[str, str, str], dict[str, str]]:
    """The artifact list by (name, version, file)."""
    entries = tomllib.loads(file.read_text()).get("artifact", [])
    return {(entry["name"], entry["version"], entry["file"]): entry for entry in entries}


def artifact_target(parts: list[str], cache: Path, artifacts: dict[tuple[str, str, str], dict[str, str]]) -> Target:
    """The target of /artifacts/<name>/<version>/<file>; raises MirrorError for one that is not listed."""
    entry = artifacts.get((parts[1], parts[2], parts[3])) if len(parts) == 4 else None
    if not entry:
        raise MirrorError(404, f"There is no artifact {'/'.join(parts[1:])} in lab/artifacts.toml.")
    file = cache.joinpath(*parts[1:])
    return Target(file, entry.get("url", ""), True, entry.get("sha256", ""), entry if "build" in entry else {})


class Cache:
    """Files below a directory that several labs share; one fetch per file at a time over all processes."""

    def __init__(self, locks: Path):
        self.locks = locks
        self._opener = _opener()
        self._checked: dict[Path, tuple[int, int, str]] = {}

    @contextlib.contextmanager
    def _locked(self, target: Target) -> Iterator[None]:
        self.locks.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(str(target.file).encode()).hexdigest()
        # 256 lock files instead of one per cached file, which nobody would ever remove. A build has its own: it takes
        # minutes, in which packages go on.
        name = f"build-{name}" if target.build else name[:2]
        with (self.locks / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def get(self, target: Target) -> Path:
        """The file, fetched if need be. Raises MirrorError. A stale index is served when upstream fails."""
        if not self._fresh(target):
            with self._locked(target):
                if not self._fresh(target):
                    self._fetch(target)
        self._verify(target)
        return target.file

    @staticmethod
    def _stamp(file: Path) -> Path:
        return file.with_name(f".{file.name}.checked")

    def _fresh(self, target: Target) -> bool:
        if not target.file.is_file():
            return False
        if target.immutable:
            return True
        with contextlib.suppress(FileNotFoundError):
            return time.time() - self._stamp(target.file).stat().st_mtime < INDEX_SECONDS
        return False

    def _fetch(self, target: Target) -> None:
        if target.build:
            try:
                builds.build(target.build, target.file)
            except builds.BuildError as error:
                raise MirrorError(502, str(error)) from None
            return
        if not target.url:
            raise MirrorError(404, f"The file {target.file} is not there and lab/artifacts.toml names no url for it.")
        present = target.file.is_file()
        headers = {"User-Agent": "ec2-lab-mirror"}
        if present:
            headers["If-Modified-Since"] = formatdate(target.file.stat().st_mtime, usegmt=True)
        request = urllib.request.Request(target.url, headers=headers)  # noqa: S310 - only http(s), see apt_uris
        try:
            with self._opener.open(request, timeout=UPSTREAM_TIMEOUT) as answer:
                self._store(target.file, answer)
        except urllib.error.HTTPError as error:
            if error.code in {404, 410}:
                raise MirrorError(404, f"Upstream has no {target.url}.") from None
            if error.code != 304 and not present:
                raise MirrorError(502, f"Upstream answered {error.code} for {target.url}.") from None
        except OSError as error:
            if not present:
                raise MirrorError(502, f"{target.url} could not be fetched: {error}.") from None
        # Also after a failure: a dead upstream must not hold up every request.
        self._stamp(target.file).touch()

    @staticmethod
    def _store(file: Path, answer: Any) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with temporary.open("wb") as out:
                shutil.copyfileobj(answer, out, CHUNK)
            length = answer.headers.get("Content-Length")
            if length and temporary.stat().st_size != int(length):
                raise MirrorError(502, f"{answer.url} ended after {temporary.stat().st_size} of {length} bytes.")
            modified = answer.headers.get("Last-Modified")
            if modified:
                moment = parsedate_to_datetime(modified).timestamp()
                os.utime(temporary, (moment, moment))
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def _verify(self, target: Target) -> None:
        """Compare the SHA-256, once for each content of the file: that of the list, or else what a build wrote."""
        expected, source = target.sha256, "lab/artifacts.toml"
        if not expected and target.build:
            source = str(builds.sums(target.file))
            expected = builds.sums(target.file).read_text().strip()
        if not expected:
            return
        info = target.file.stat()
        seen = self._checked.get(target.file)
        if seen and seen[:2] == (info.st_mtime_ns, info.st_size):
            found = seen[2]
        else:
            with target.file.open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
            self._checked[target.file] = (info.st_mtime_ns, info.st_size, found)
        if found != expected:
            wanted = f"{source} says {expected}"
            raise MirrorError(502, f"The SHA-256 of {target.file} is {found}; {wanted}. Remove the file.")


class Mirror:
    """Answers requests from the cache directories `debian` and `artifacts`."""

    def __init__(self, debian: Path, artifacts: Path, archives: dict[str, str] | None = None):
        self.debian, self.artifacts = debian, artifacts
        self._archives = archives
        self.cache = Cache(debian / ".locks")

    def target(self, path: str) -> Target:
        """Raises MirrorError for a path that is not the mirror's."""
        parts = parts_of(path)
        if parts[0] == "artifacts":
            return artifact_target(parts, self.artifacts, read_artifacts())
        if parts[0] not in {"debian", "debian-security"} or len(parts) < 2:
            raise MirrorError(404, f"The mirror has no {path}; it has /debian/, /debian-security/ and /artifacts/.")
        archives = upstreams(apt_uris()) if self._archives is None else self._archives
        return debian_target(parts, self.debian, archives)


class Server:
    """Serves the mirror on a bound socket until closed."""

    def __init__(self, sock: socket.socket, mirror: Mirror):
        class Handler(_Handler):
            pass

        Handler.mirror = mirror
        self.close = serve_on(sock, Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    mirror: Mirror

    def log_message(self, *_arguments: Any) -> None:
        """Only failures are worth a line; they are written where they occur."""

    def do_GET(self) -> None:
        try:
            target = self.mirror.target(self.path)
            with self._kept_waiting() if target.build else contextlib.nullcontext():
                file = self.mirror.cache.get(target)
        except MirrorError as error:
            self._fail(error.status, str(error))
        else:
            self._send(file)

    do_HEAD = do_GET

    @contextlib.contextmanager
    def _kept_waiting(self) -> Iterator[None]:
        """Tell the client now and then that its answer will come, so a build of minutes meets no client's timeout."""
        done = threading.Event()

        def tell() -> None:
            with contextlib.suppress(OSError):
                while not done.wait(WAITING_SECONDS):
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        teller = threading.Thread(target=tell, daemon=True)
        if self.request_version != "HTTP/1.0":
            teller.start()
        try:
            yield
        finally:
            done.set()
            if teller.ident:
                teller.join()

    def _fail(self, status: int, message: str) -> None:
        if status >= 500:
            print(f"mirror: {message}", file=sys.stderr, flush=True)
        body = f"{message}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send(self, file: Path) -> None:
        with file.open("rb") as content:
            info = os.fstat(content.fileno())
            if self._unchanged(info.st_mtime):
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(info.st_size))
            self.send_header("Last-Modified", formatdate(info.st_mtime, usegmt=True))
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(ConnectionError):
                    shutil.copyfileobj(content, self.wfile, CHUNK)

    def _unchanged(self, modified: float) -> bool:
        since = self.headers.get("If-Modified-Since")
        try:
            return bool(since) and int(modified) <= parsedate_to_datetime(since).timestamp()
        except (TypeError, ValueError):
            return False

"""Builds those artifacts of the mirror that have no address to fetch them from: Go commands, and what Maven has.

Usage: python -m lab.builds [NAME ...]     (all that artifacts.toml has a build for)

Each build has a directory here with go.mod and go.sum, so its modules are pinned; the toolchain is the one of go.mod,
so the SHA-256 in artifacts.toml holds on every machine of one kind.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.builds import maven

HERE = Path(__file__).parent
#: The same bytes for the same content, whoever builds it when.
MOMENT = 0


class BuildError(Exception):
    """A build failed; the text is one sentence, then what the build said."""


def archive(entry: str, content: bytes) -> bytes:
    """A gzipped tar archive with one executable file, stored and not deflated, since zlib's releases differ."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(entry)
        member.size, member.mode, member.mtime = len(content), 0o755, MOMENT
        tar.addfile(member, io.BytesIO(content))
    outer = io.BytesIO()
    with gzip.GzipFile(fileobj=outer, mode="wb", compresslevel=0, mtime=MOMENT, filename="") as packed:
        packed.write(inner.getvalue())
    return outer.getvalue()


def toolchain(directory: Path) -> str:
    """The toolchain that go.mod names: Go takes it or a later one, a build exactly this one. Raises BuildError."""
    found = re.search(r"^toolchain (\S+)$", (directory / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise BuildError(f"{directory.name}/go.mod names no toolchain; give it a line such as toolchain go1.26.8.")
    return found[1]


def go_command(directory: Path, package: str, flags: str, target: Path) -> None:
    """Build one Go command at low priority. Raises BuildError."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if not go:
        raise BuildError(f"Go is not installed, and {package} is built by it; install Go 1.26 or later.")
    line = [
        "nice",
        "-n",
        "10",
        go,
        "build",
        "-mod=readonly",
        "-trimpath",
        "-ldflags",
        flags,
        "-o",
        str(target),
        package,
    ]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOAMD64": "v1"}
    environment["GOTOOLCHAIN"] = toolchain(directory)
    done = subprocess.run(line, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{package} could not be built:\n{done.stderr[-2000:]}")


def go_archive(build: dict[str, Any], file: Path) -> None:
    """Build a Go command and put it into an archive of the upstream layout, in place by rename.

    :param build: `directory` (below this one), `package`, `flags` (for the linker), `entry` (path in the archive).
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".build-") as scratch:
        command = Path(scratch) / "command"
        go_command(HERE / build["directory"], build["package"], build["flags"], command)
        packed = Path(scratch) / file.name
        packed.write_bytes(archive(build["entry"], command.read_bytes()))
        packed.replace(file)


def maven_artifact(build: dict[str, Any], file: Path) -> None:
    """Make an archive, or take one file, from Maven. Raises BuildError."""
    try:
        maven.make(build, file)
    except maven.MavenError as error:
        raise BuildError(str(error)) from None


KINDS: dict[str, Callable[[dict[str, Any], Path], None]] = {"go": go_archive, "maven": maven_artifact}


def build(entry: dict[str, Any], file: Path) -> None:
    """Build the file of an entry of artifacts.toml. Raises BuildError."""
    KINDS[entry["build"]["kind"]](entry["build"], file)


def buildable(path: Path) -> list[dict[str, Any]]:
    """The entries of an artifact list that have a build."""
    return [entry for entry in tomllib.loads(path.read_text()).get("artifact", []) if "build" in entry]

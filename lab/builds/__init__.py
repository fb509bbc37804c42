"""Builds those artifacts of the mirror that have no address to fetch them from: Go commands, and what Maven has.

Usage: python -m lab.builds [NAME ...]
Names are those of artifacts.toml, of artifacts or sets; default, or no name at all, is what is in no set.

Each build has a directory here with go.mod and go.sum, so its modules are pinned; the toolchain is the one of go.mod,
so the SHA-256 in artifacts.toml holds on every machine of one kind. What takes Debian's packages in has none there: its
build writes what it made beside it, <file>.sha256.
"""

from __future__ import annotations

import gzip
import hashlib
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
from typing import Any, NamedTuple

from lab.builds import images, maven

HERE = Path(__file__).parent
#: The same bytes for the same content, whoever builds it when.
MOMENT = 0


class BuildError(Exception):
    """A build failed; the text is one sentence, then what the build said."""


def archive(files: dict[str, bytes]) -> bytes:
    """A gzipped tar archive of executable files, stored and not deflated, since zlib's releases differ."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o755, MOMENT
            tar.addfile(member, io.BytesIO(content))
    outer = io.BytesIO()
    with gzip.GzipFile(fileobj=outer, mode="wb", compresslevel=0, mtime=MOMENT, filename="") as packed:
        packed.write(inner.getvalue())
    return outer.getvalue()


def toolchain(directory: Path) -> str:
    """The toolchain that go.mod names: Go takes it or a later one, a build exactly this one. Raises BuildError."""
    text = (directory / "go.mod").read_text()
    found = re.search(r"^toolchain (\S+)$", text, re.MULTILINE)
    if not found:
        # Go leaves the line out where a module needs the very version it would name.
        needed = re.search(r"^go (\d+\.\d+\.\d+)$", text, re.MULTILINE)
        if needed:
            return f"go{needed[1]}"
        raise BuildError(f"{directory.name}/go.mod names no toolchain; give it a line such as toolchain go1.26.8.")
    return found[1]


def go() -> str:
    """Where Go is; empty when it is not installed."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin") or ""


def go_environment(directory: Path, c: bool = False) -> dict[str, str]:
    """The environment of each of Go's commands. Raises BuildError."""
    environment = {**os.environ, "CGO_ENABLED": "1" if c else "0", "GOFLAGS": "", "GOAMD64": "v1"}
    return {**environment, "GOTOOLCHAIN": toolchain(directory)}


def go_command(directory: Path, package: str, flags: str, target: Path, tags: str = "") -> None:
    """Build one Go command, or the tests of a package that ends in .test, at low priority. Raises BuildError.

    :param tags: those of a command that needs C.
    """
    if not go():
        raise BuildError(f"Go is not installed, and {package} is built by it; install Go 1.26 or later.")
    if tags:
        check_c(package)
    tested = package.removesuffix(".test")
    line = [
        "nice",
        "-n",
        "10",
        go(),
        *(["build"] if tested == package else ["test", "-c", "-vet=off"]),
        "-mod=readonly",
        "-trimpath",
        "-ldflags",
        flags,
        *(["-tags", tags] if tags else []),
        "-o",
        str(target),
        tested,
    ]
    environment = go_environment(directory, bool(tags))
    done = subprocess.run(line, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{package} could not be built:\n{done.stderr[-2000:]}")


def go_files(directory: Path, files: dict[str, str]) -> dict[str, bytes]:
    """Files that lie beside the sources of Go packages: absolute path in an image, and back path to content.

    Raises BuildError.
    """
    made = {}
    for path, name in files.items():
        package, _slash, file = name.rpartition("/")
        line = [go(), "list", "-mod=readonly", "-f", "{{.Dir}}", package]
        environment = go_environment(directory)
        done = subprocess.run(line, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"The sources of {package} could not be had:\n{done.stderr[-2000:]}")
        made[path] = (Path(done.stdout.strip()) / file).read_bytes()
    return made


def check_c(package: str, which=shutil.which, run=subprocess.run) -> None:
    """What a Go command with parts in C needs besides Go. Raises BuildError."""
    missing = [name for name, command in (("gcc", "gcc"), ("pkg-config", "pkg-config")) if not which(command)]
    # pkg-config is what the build itself asks for the library.
    if "pkg-config" in missing or run(["pkg-config", "--exists", "libseccomp"], check=False).returncode:
        missing.append("libseccomp-dev")
    if missing:
        raise BuildError(
            f"{package} has parts in C; it is built with: apt-get install --yes {' '.join(missing)} libc6-dev"
        )


def go_commands(build: dict[str, Any], packages: dict[str, str], scratch: Path) -> dict[str, bytes]:
    """Build Go commands: name of a file to package, and back name to content. Raises BuildError.

    :param build: `directory` (below this one), `flags` for the linker, else those of its file `flags`, and `tags`.
    """
    directory = HERE / build["directory"]
    flags = build.get("flags") or (directory / "flags").read_text().strip()
    made = {}
    for name, package in packages.items():
        command = scratch / "command"
        go_command(directory, package, flags, command, build.get("tags", ""))
        made[name] = command.read_bytes()
    return made


def go_artifact(build: dict[str, Any], scratch: Path) -> bytes:
    """One Go command as it is (`package`), or several in an archive as upstream has it (`entries`: path to package)."""
    if "package" in build:
        return go_commands(build, {"": build["package"]}, scratch)[""]
    return archive(go_commands(build, build["entries"], scratch))


def image_artifact(build: dict[str, Any], scratch: Path) -> bytes:
    """A container image of Go commands. Raises BuildError.

    :param build: `reference`, `entries` (absolute path to package), `packages` of Debian below them, if any; the first
        entry is what the image runs, unless `runs` has a `command` and, or, an `entrypoint`. Besides: `files` (absolute
        path to a file beside the sources of a Go package), `links`, `directories`, the `mode` of the commands, and
        `multicall`, the file of a Debian package that is all the commands it lists.
    """
    layers, links = [], dict(build.get("links", {}))
    try:
        if build.get("packages"):
            layers.append(images.debian_layer(build["packages"], scratch))
        files = go_commands(build, build.get("entries", {}), scratch)
        if "multicall" in build:
            multicall = multicall_commands(build["multicall"], scratch)
            files |= multicall.files
            links |= multicall.links
    except images.ImageBuildError as error:
        raise BuildError(str(error)) from None
    if files or links:
        mode = int(build.get("mode", "755"), 8)
        layers.append(images.layer(files, links, build.get("directories", []), mode))
    if build.get("files"):
        layers.append(images.layer(go_files(HERE / build["directory"], build["files"]), mode=0o644))
    runs = build.get("runs", {"entrypoint": [next(iter(files), "")]})
    return images.archive(build["reference"], layers, images.Runs(runs.get("entrypoint", []), runs.get("command", [])))


class Multicall(NamedTuple):
    """A command under all its names."""

    files: dict[str, bytes]
    links: dict[str, str]


def multicall_commands(described: dict[str, str], scratch: Path) -> Multicall:
    """A command of Debian that is many: itself in /bin, and a link to it for each name that it lists.

    :param described: `package` and `file` of Debian.
    """
    content = images.debian_file(described["package"], described["file"], scratch)
    name = Path(described["file"]).name
    command = scratch / name
    command.write_bytes(content)
    command.chmod(0o755)
    listed = subprocess.run([str(command), "--list"], capture_output=True, text=True, check=True).stdout.split()
    command.unlink()
    return Multicall({f"/bin/{name}": content}, {f"/bin/{applet}": name for applet in listed if applet != name})


def made(make: Callable[[dict[str, Any], Path], bytes]) -> Callable[[dict[str, Any], Path], None]:
    """Put what is made into a file, in place by rename."""

    def build(description: dict[str, Any], file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".build-") as scratch:
            content = make(description, Path(scratch))
            ready = Path(scratch) / file.name
            ready.write_bytes(content)
            sums(file).write_text(hashlib.sha256(content).hexdigest() + "\n")
            ready.replace(file)

    return build


def sums(file: Path) -> Path:
    """Where the SHA-256 of what a build made stands."""
    return file.with_name(f"{file.name}.sha256")


def maven_artifact(build: dict[str, Any], file: Path) -> None:
    """Make an archive, or take one file, from Maven. Raises BuildError."""
    try:
        maven.make(build, file)
    except maven.MavenError as error:
        raise BuildError(str(error)) from None


KINDS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "go": made(go_artifact),
    "image": made(image_artifact),
    "maven": maven_artifact,
}


def build(entry: dict[str, Any], file: Path) -> None:
    """Build the file of an entry of artifacts.toml. Raises BuildError."""
    KINDS[entry["build"]["kind"]](entry["build"], file)


def buildable(path: Path, names: list[str]) -> list[dict[str, Any]]:
    """The entries of an artifact list that have a build, by names and sets; `default` are those in no set."""
    entries = [entry for entry in tomllib.loads(path.read_text()).get("artifact", []) if "build" in entry]
    return [
        entry
        for name in names or ["default"]
        for entry in entries
        if name in (entry["name"], entry.get("set", "default"))
    ]

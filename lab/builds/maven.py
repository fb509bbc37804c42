"""Builds an archive, or takes one file, from what Maven coordinates name."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class MavenError(Exception):
    """A build failed; the text is one sentence, then what Maven said."""


def dependencies(pom: Path, version: str, directory: Path) -> None:
    """Copy all that a pom needs at run time into a directory. Raises MavenError."""
    maven = shutil.which("mvn")
    if not maven:
        raise MavenError(f"Maven is not installed, and {pom.parent.name} comes from it; install the package maven.")
    line = ["nice", "-n", "10", maven, "-q", "-B", "-f", str(pom), f"-Dwanted={version}"]
    line += ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={directory}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MavenError(f"{pom.parent.name} {version} could not be had by Maven:\n{done.stdout[-2000:]}")


def archive(top: str, tree: Path) -> bytes:
    """A gzipped tar archive of a directory below `top`: the same bytes for the same content.

    It is stored and not deflated, since zlib's releases differ.
    """
    files = {f"{top}/{path.relative_to(tree)}": path for path in tree.rglob("*") if path.is_file()}
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            content = files[name].read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(member, io.BytesIO(content))
    outer = io.BytesIO()
    with gzip.GzipFile(fileobj=outer, mode="wb", compresslevel=0, mtime=0, filename="") as packed:
        packed.write(inner.getvalue())
    return outer.getvalue()


def make(build: dict[str, Any], file: Path) -> None:
    """Make an artifact from Maven, in place by rename. Raises MavenError.

    :param build: `version` and `directory` (below this one, with pom.xml and what else belongs into the archive), and
        `libraries`, where in the archive the libraries go; without it the library of the file's name is the artifact.
    """
    own = HERE / build["directory"]
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".build-") as scratch:
        tree = Path(scratch) / "tree"
        libraries = tree / build.get("libraries", "")
        libraries.mkdir(parents=True)
        dependencies(own / "pom.xml", build["version"], libraries)
        made = Path(scratch) / file.name
        if "libraries" in build:
            shutil.copytree(own, tree, ignore=shutil.ignore_patterns("pom.xml"), dirs_exist_ok=True)
            made.write_bytes(archive(file.name.removesuffix(".tgz"), tree))
        else:
            shutil.copyfile(libraries / file.name, made)
        made.replace(file)

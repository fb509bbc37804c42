"""Container images as OCI archives: the same bytes for the same content, whoever builds them when."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import image

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
NAME = "io.containerd.image.name"


class ImageBuildError(Exception):
    """An image could not be built; the text is one sentence."""


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Runs:
    """What an image runs: arguments are added to the entry point, and take the command's place."""

    entrypoint: list[str]
    command: list[str] = field(default_factory=list)


def layer(
    files: dict[str, bytes],
    links: dict[str, str] | None = None,
    directories: Iterable[str] = (),
    mode: int = 0o755,
) -> bytes:
    """A layer of executable files by their absolute path, with the directories above them and /tmp.

    :param links: absolute path to what the symbolic link there says.
    :param directories: further ones, by their absolute path.
    """
    inner, links = io.BytesIO(), links or {}
    below = [*files, *links, *(f"{directory}/." for directory in directories)]
    parents = {str(parent).strip("/") for name in below for parent in Path(name).parents}
    parents |= {directory.strip("/") for directory in directories}
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted({*parents, "tmp"} - {"", "."}):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(member)
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name.strip("/"))
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
        for name, target in sorted(links.items()):
            member = tarfile.TarInfo(name.strip("/"))
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(member)
    return inner.getvalue()


def archive(reference: str, layers: list[bytes], runs: Runs, architecture: str = "amd64") -> bytes:
    """An OCI archive with one image, named by its reference."""
    what = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
    if runs.entrypoint:
        what["Entrypoint"] = runs.entrypoint
    if runs.command:
        # Two images of the same content have a digest each, as their names do elsewhere.
        what |= {"Cmd": runs.command, "WorkingDir": "/", "Labels": {"org.opencontainers.image.ref.name": reference}}
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": what,
        "rootfs": {"type": "layers", "diff_ids": [_digest(content) for content in layers]},
    }
    blobs = [_json(config), *layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, blobs[0]),
        "layers": [_descriptor(LAYER, content) for content in layers],
    }
    blobs.append(_json(manifest))
    top = {
        **_descriptor(MANIFEST, blobs[-1]),
        "platform": {"architecture": architecture, "os": "linux"},
        "annotations": {NAME: reference, "org.opencontainers.image.ref.name": reference.rpartition(":")[2]},
    }
    files = {f"blobs/sha256/{_digest(content)[7:]}": content for content in blobs}
    files["oci-layout"] = _json({"imageLayoutVersion": "1.0.0"})
    files["index.json"] = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]})
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return outer.getvalue()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def digest(file: Path) -> str:
    """The digest of the image in an archive."""
    with tarfile.open(file) as tar:
        return json.load(tar.extractfile("index.json"))["manifests"][0]["digest"]


def debian_layer(packages: list[str], scratch: Path) -> bytes:
    """A layer with a small Debian root that has these packages. Raises ImageBuildError."""
    return _debian("essential", packages, scratch)


def debian_file(package: str, path: str, scratch: Path) -> bytes:
    """One file of a package of Debian. Raises ImageBuildError."""
    with tarfile.open(fileobj=io.BytesIO(_debian("extract", [package], scratch))) as tar:
        try:
            return tar.extractfile(f"./{path}").read()
        except (KeyError, AttributeError):
            raise ImageBuildError(f"The package {package} of Debian {image.SUITE} has no file /{path}.") from None


def _debian(variant: str, packages: list[str], scratch: Path) -> bytes:
    archives = image.machine_archives()
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    target = scratch / "root.tar"
    command = [
        "mmdebstrap", "--mode=root", f"--variant={variant}", f"--include={','.join(packages)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=force-unsafe-io",
        image.SUITE, str(target), f"deb {signed} {archives['debian']} {image.SUITE} main",
    ]  # fmt: skip
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageBuildError(f"mmdebstrap could not make a root with {', '.join(packages)}:\n{done.stderr[-2000:]}")
    return target.read_bytes()

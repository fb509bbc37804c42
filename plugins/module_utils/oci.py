# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images as archives of the OCI layout: checked blob by blob up to a pinned digest, pulled and written."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from urllib.parse import urlencode

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
NAME = "io.containerd.image.name"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
REFERENCE = re.compile(r"(?P<registry>[a-z0-9.-]+(?::\d+)?)/(?P<repository>[a-z0-9._/-]+):(?P<tag>[A-Za-z0-9_.-]+)")
CHUNK = 1024 * 1024  # bytes read at once
#: Manifests and indexes are a few KiB; a registry may refuse those above 4 MiB.
LIMIT = 4 * CHUNK


class OciError(Exception):
    """An image cannot be used; the text is one sentence that names it."""


def parse_reference(name):
    """Registry, repository and tag of an image's name. Raises OciError.

    >>> parse_reference("registry.k8s.io/coredns/coredns:v1.14.6")
    ('registry.k8s.io', 'coredns/coredns', 'v1.14.6')
    """
    found = REFERENCE.fullmatch(name)
    if not found or "." not in found["registry"]:
        raise OciError(
            "The image name '%s' needs a registry, a repository and a tag, registry.k8s.io/pause:3.10.2." % name
        )
    return found["registry"], found["repository"], found["tag"]


def host_of(registry):
    """The host of a registry; Docker Hub's has another name than its images."""
    return {"docker.io": "registry-1.docker.io"}.get(registry, registry)


def check_digest(name, digest):
    """Raises OciError for what is no digest."""
    if not DIGEST.fullmatch(digest or ""):
        raise OciError("The digest of image %s is '%s'; it needs sha256: and 64 hexadecimal digits." % (name, digest))


def archive_path(name, architecture):
    """Where an image's archive lies in a mirror or a bundle.

    >>> archive_path("registry.k8s.io/coredns/coredns:v1.14.6", "amd64")
    'images/v1.14.6/registry.k8s.io_coredns_coredns-amd64.tar'
    """
    registry, repository, tag = parse_reference(name)
    return "images/%s/%s-%s.tar" % (tag, "_".join([registry, *repository.split("/")]), architecture)


def digest_of(content):
    """The digest of bytes."""
    return "sha256:%s" % hashlib.sha256(content).hexdigest()


def _path(digest):
    return "blobs/%s" % digest.replace(":", "/")


def _is_index(document):
    return document.get("mediaType") in INDEXES or "manifests" in document


def choose(document, architecture):
    """The descriptor of an index for one architecture of Linux; None when there is none."""
    for descriptor in document.get("manifests", []):
        platform = descriptor.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return descriptor
    return None


class Archive:
    """An archive that is open for reading. Raises OciError when it is none of the OCI layout."""

    def __init__(self, tar, name):
        self.tar, self.name = tar, name
        self.members = {member.name.removeprefix("./"): member for member in tar if member.isreg()}

    def check(self, digest, architecture):
        """Check every blob of the image from the pinned digest down. Raises OciError with what is wrong."""
        check_digest(self.name, digest)
        tops = self._json(self._read("index.json", LIMIT), "index.json").get("manifests", [])
        top = next((descriptor for descriptor in tops if descriptor.get("digest") == digest), None)
        if top is None:
            held = ", ".join(str(descriptor.get("digest")) for descriptor in tops) or "nothing"
            raise self._wrong("it holds %s instead of the pinned %s" % (held, digest))
        # The name it is imported under stands beside the digest, not below it.
        named = top.get("annotations", {}).get(NAME)
        if named != self.name or len(tops) != 1:
            raise self._wrong("it would be imported as %s" % named)
        document = self._document(top)
        if _is_index(document):
            chosen = choose(document, architecture)
            if chosen is None:
                raise self._wrong("it has no image for %s" % architecture)
            document = self._document(chosen)
        for descriptor in [document.get("config", {}), *document.get("layers", [])]:
            self._check_blob(descriptor)

    def _document(self, descriptor):
        content = self._read(_path(descriptor["digest"]), LIMIT)
        self._compare(descriptor["digest"], digest_of(content))
        return self._json(content, descriptor["digest"])

    def _check_blob(self, descriptor):
        wanted = descriptor.get("digest", "")
        check_digest(self.name, wanted)
        found = hashlib.sha256()
        with self._open(_path(wanted)) as stream:
            for data in iter(lambda: stream.read(CHUNK), b""):
                found.update(data)
        self._compare(wanted, "sha256:%s" % found.hexdigest())

    def _compare(self, wanted, found):
        if wanted != found:
            raise self._wrong("its blob %s has the digest %s" % (wanted, found))

    def _open(self, path):
        if path not in self.members:
            raise self._wrong("it lacks %s" % path)
        return self.tar.extractfile(self.members[path])

    def _read(self, path, limit):
        with self._open(path) as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise self._wrong("its %s is larger than %s bytes" % (path, limit))
        return content

    def _json(self, content, path):
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise self._wrong("its %s is no JSON object" % path)
        return document

    def _wrong(self, what):
        return OciError("The archive of image %s was refused: %s." % (self.name, what))


def check_archive(path, name, digest, architecture):
    """Check an archive file against a pinned digest. Raises OciError; OSError when it cannot be read."""
    try:
        with tarfile.open(path, "r:") as tar:
            Archive(tar, name).check(digest, architecture)
    except tarfile.TarError as error:
        raise OciError("The archive of image %s was refused: it is broken (%s)." % (name, error)) from error


def challenge(header):
    """The parts of a registry's Bearer challenge; empty for another one.

    >>> challenge('Bearer realm="https://auth.example.com/token",service="registry.example.com"')["service"]
    'registry.example.com'
    """
    kind, _space, rest = (header or "").partition(" ")
    if kind.lower() != "bearer":
        return {}
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


class Registry:
    """Reads one repository of a registry without credentials of its own.

    :arg send: function(url, headers) that returns (status, headers, stream); it follows redirects without the headers.
    """

    def __init__(self, name, send):
        self.name, self.send = name, send
        registry, self.repository, self.tag = parse_reference(name)
        self.base = "https://%s/v2/%s" % (host_of(registry), self.repository)
        self.token = ""

    def _get(self, path, accept=()):
        headers = {"Accept": ", ".join(accept)} if accept else {}
        for _attempt in range(2):
            if self.token:
                headers["Authorization"] = "Bearer %s" % self.token
            status, answered, stream = self.send("%s/%s" % (self.base, path), headers)
            if status != 401 or self.token:
                break
            self._log_in(challenge(answered.get("www-authenticate")))
        if status != 200:
            raise OciError("The registry answered %s for %s of image %s." % (status, path, self.name))
        return stream

    def _log_in(self, asked):
        if not asked.get("realm"):
            raise OciError("The registry of image %s wants a login that is not anonymous." % self.name)
        query = {"service": asked.get("service", ""), "scope": "repository:%s:pull" % self.repository}
        status, _headers, stream = self.send("%s?%s" % (asked["realm"], urlencode(query)), {})
        answer = json.load(stream) if status == 200 else {}
        self.token = answer.get("token") or answer.get("access_token") or ""
        if not self.token:
            raise OciError("The registry of image %s gave no anonymous token (%s)." % (self.name, status))

    def manifest(self, which):
        """The bytes of a manifest or index, by tag or digest; those of a digest are checked."""
        with self._get("manifests/%s" % which, INDEXES + MANIFESTS) as stream:
            content = stream.read(LIMIT)
        if which.startswith("sha256:") and digest_of(content) != which:
            raise OciError("The registry sent %s for %s of image %s." % (digest_of(content), which, self.name))
        return content

    def digest(self):
        """What the tag stands for now."""
        return digest_of(self.manifest(self.tag))

    def pull(self, digest, architecture, path):
        """Write the image of one architecture as an archive; it is as good as the digest, for all is checked."""
        check_digest(self.name, digest)
        top = self.manifest(digest)
        documents = {digest: top}
        document = json.loads(top)
        if _is_index(document):
            chosen = choose(document, architecture)
            if chosen is None:
                raise OciError("The image %s has none for %s." % (self.name, architecture))
            content = self.manifest(chosen["digest"])
            documents[chosen["digest"]] = content
            document = json.loads(content)
        kind = json.loads(top).get("mediaType") or INDEXES[0]
        index = {
            "schemaVersion": 2,
            "mediaType": INDEXES[0],
            "manifests": [{"mediaType": kind, "digest": digest, "size": len(top), "annotations": {NAME: self.name}}],
        }
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            _add(tar, "index.json", json.dumps(index, sort_keys=True).encode())
            for name, content in documents.items():
                _add(tar, _path(name), content)
            blobs = {blob["digest"]: blob for blob in [document["config"], *document["layers"]]}
            for blob in blobs.values():
                check_digest(self.name, blob["digest"])
                with self._get("blobs/%s" % blob["digest"]) as stream:
                    member = tarfile.TarInfo(_path(blob["digest"]))
                    member.size = blob["size"]
                    tar.addfile(member, stream)
        check_archive(path, self.name, digest, architecture)


def _add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))

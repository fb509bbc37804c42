"""Image archives are what their digest says, or are refused with the name of the image."""

import io
import json
import tarfile

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import oci

from lab.builds import images

NAME = "registry.example.com/tools/echo:1.0"


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "echo.tar"
    path.write_bytes(images.archive(NAME, [images.layer({"/echo": b"a binary"})], images.Runs(["/echo"], [])))
    return path


def rewritten(path, change):
    """The archive with its members (name to content) changed."""
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    change(files)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_a_good_archive_is_accepted(archive):
    oci.check_archive(archive, NAME, images.digest(archive), "amd64")


def test_a_flipped_byte_in_any_blob_is_found_and_the_image_named(archive):
    digest = images.digest(archive)
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar:
        blobs = [(member.offset_data, member.size) for member in tar if member.name.startswith("blobs/")]
    assert len(blobs) == 3
    for offset, size in blobs:
        for place in (offset, offset + size - 1):
            archive.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(
                oci.OciError, match=r"archive of image registry\.example\.com/tools/echo:1\.0 was refused"
            ):
                oci.check_archive(archive, NAME, digest, "amd64")


def test_an_archive_of_another_image_is_refused(archive):
    with pytest.raises(oci.OciError, match="instead of the pinned sha256:0000"):
        oci.check_archive(archive, NAME, "sha256:" + "0" * 64, "amd64")


def test_an_archive_that_would_take_another_name_is_refused(archive):
    digest = images.digest(archive)
    with pytest.raises(oci.OciError, match="would be imported as"):
        oci.check_archive(archive, "registry.example.com/tools/pause:1.0", digest, "amd64")


def test_a_second_image_in_the_archive_is_refused(archive):
    def change(files):
        index = json.loads(files["index.json"])
        index["manifests"].append({**index["manifests"][0], "annotations": {oci.NAME: "registry.example.com/evil:1"}})
        files["index.json"] = json.dumps(index).encode()

    with pytest.raises(oci.OciError, match="would be imported as"):
        oci.check_archive(rewritten(archive, change), NAME, images.digest(archive), "amd64")


def test_a_missing_layer_is_named(archive):
    digest = images.digest(archive)

    def change(files):
        largest = max((name for name in files if name.startswith("blobs/")), key=lambda name: len(files[name]))
        del files[largest]

    with pytest.raises(oci.OciError, match="it lacks blobs/sha256/"):
        oci.check_archive(rewritten(archive, change), NAME, digest, "amd64")


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"not a tar archive")
    with pytest.raises(oci.OciError, match="it is broken"):
        oci.check_archive(tmp_path / "file", NAME, "sha256:" + "0" * 64, "amd64")


@pytest.mark.parametrize("name", ["pause:3.10", "registry.k8s.io/pause", "registry.k8s.io/Pause:1", "a b.io/c:1", ""])
def test_names_without_registry_or_tag_are_refused(name):
    with pytest.raises(oci.OciError, match="needs a registry, a repository and a tag"):
        oci.parse_reference(name)


@pytest.mark.parametrize("digest", ["", None, "sha256:ab", "md5:" + "0" * 64, "sha256:" + "G" * 64])
def test_wrong_digests_are_refused(digest):
    with pytest.raises(oci.OciError, match="needs sha256: and 64"):
        oci.check_digest(NAME, digest)


class FakeRegistry:
    """A registry that wants a token and has one image for two architectures behind an index."""

    def __init__(self):
        self.blobs, self.asked, self.wrong = {}, [], None
        children = []
        for architecture in ("amd64", "arm64"):
            layer = self.put(images.layer({"/echo": architecture.encode()}))
            config = self.put(json.dumps({"architecture": architecture, "os": "linux"}).encode())
            manifest = json.dumps({"mediaType": oci.MANIFESTS[0], "config": config, "layers": [layer]}).encode()
            platform = {"os": "linux", "architecture": architecture}
            children.append({**self.put(manifest), "mediaType": oci.MANIFESTS[0], "platform": platform})
        self.index = json.dumps({"mediaType": oci.INDEXES[0], "manifests": children}).encode()
        self.digest = self.put(self.index)["digest"]

    def put(self, content):
        self.blobs[oci.digest_of(content)] = content
        return {"digest": oci.digest_of(content), "size": len(content)}

    def send(self, url, headers):
        self.asked.append(url)
        if url.startswith("https://auth.example.com/token?"):
            assert "scope=repository%3Atools%2Fecho%3Apull" in url
            return 200, {}, io.BytesIO(b'{"token": "t0ken"}')
        if headers.get("Authorization") != "Bearer t0ken":
            challenge = 'Bearer realm="https://auth.example.com/token",service="registry.example.com"'
            return 401, {"www-authenticate": challenge}, io.BytesIO()
        which = url.rpartition("/")[2]
        content = self.index if which == "1.0" else self.blobs.get(which)
        if content is None:
            return 404, {}, io.BytesIO()
        return 200, {}, io.BytesIO(b"x" * len(content) if which == self.wrong else content)


def test_a_pulled_image_is_an_archive_of_one_architecture_under_the_digest_of_the_index(tmp_path):
    registry = FakeRegistry()
    path = tmp_path / "pulled.tar"
    oci.Registry(NAME, registry.send).pull(registry.digest, "arm64", path)
    oci.check_archive(path, NAME, registry.digest, "arm64")
    with pytest.raises(oci.OciError, match="it lacks"):
        oci.check_archive(path, NAME, registry.digest, "amd64")
    assert sum(url.startswith("https://auth.") for url in registry.asked) == 1


def test_the_digest_of_a_tag_is_that_of_what_the_registry_sends():
    registry = FakeRegistry()
    assert oci.Registry(NAME, registry.send).digest() == registry.digest


def test_whatever_a_registry_sends_wrong_is_found(tmp_path):
    for wrong in list(FakeRegistry().blobs):
        registry = FakeRegistry()
        registry.wrong = wrong
        for architecture in ("amd64", "arm64"):
            path = tmp_path / "pulled.tar"
            try:
                oci.Registry(NAME, registry.send).pull(registry.digest, architecture, path)
            except oci.OciError as error:
                assert NAME in str(error)
                break
        else:
            raise AssertionError(f"{wrong} was taken although it was wrong")


def test_an_architecture_that_an_image_lacks_is_named(tmp_path):
    registry = FakeRegistry()
    with pytest.raises(oci.OciError, match=r"echo:1\.0 has none for riscv64"):
        oci.Registry(NAME, registry.send).pull(registry.digest, "riscv64", tmp_path / "pulled.tar")


def test_an_unknown_image_is_said_to_be_so():
    with pytest.raises(oci.OciError, match=r"answered 404 for manifests/2\.0 of image"):
        oci.Registry("registry.example.com/tools/echo:2.0", FakeRegistry().send).digest()

"""Images are imported by their digest, all checked before the first."""

import http.server
import json
import threading

import pytest
from ansible_collections.selfhosted.ec2.plugins.module_utils import oci, registry_client
from ansible_collections.selfhosted.ec2.plugins.modules import container_images as module

from lab.builds import images

NAMES = ["registry.example.com/echo:1", "registry.example.com/pause:2"]


class FakeModule:
    def __init__(self, held=None, check_mode=False, **params):
        self.params = {"namespace": "k8s.io", "owner": None, "release": False, **params}
        self.check_mode, self.held, self.calls = check_mode, held or {}, []
        self.importable = {}

    def get_bin_path(self, name, opt_dirs):
        return "/usr/local/bin/" + name

    def run_command(self, line):
        assert line[:4] == ["/usr/local/bin/ctr", "--namespace", "k8s.io", "images"]
        self.calls.append(line[4:])
        if line[4] == "import":
            self.held.update(self.importable[line[5]])
        elif line[4] == "label":
            # As ctr does: a label without a value goes.
            digest, labels = self.held[line[5]]
            kept = dict(label.split("=") for label in labels.split(",") if "=" in label)
            kept.update(label.split("=") for label in line[6:])
            self.held[line[5]] = (digest, ",".join(f"{key}={value}" for key, value in kept.items() if value) or "-")
        rows = [f"{name} x/y {digest} 1.2 MiB linux/amd64 {labels}" for name, (digest, labels) in self.held.items()]
        return 0, "\n".join(["REF TYPE DIGEST SIZE PLATFORMS LABELS", *rows]) + "\n", ""


@pytest.fixture
def mirror(tmp_path):
    """A directory with both images, and the option that wants them."""
    wanted = []
    for name in NAMES:
        path = tmp_path / oci.archive_path(name, "amd64")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.archive(name, [images.layer({"/run": name.encode()})], images.Runs(["/run"], [])))
        wanted.append({"name": name, "digest": images.digest(path)})
    return tmp_path, wanted


def importable(mirror, fake):
    directory, wanted = mirror
    for image in wanted:
        path = str(directory / oci.archive_path(image["name"], "amd64"))
        fake.importable[path] = {image["name"]: (image["digest"], "-")}
    return fake


def test_only_what_is_missing_is_imported_and_all_is_pinned(mirror):
    directory, wanted = mirror
    fake = importable(mirror, FakeModule({NAMES[0]: (wanted[0]["digest"], "-")}))
    result = module.import_images(fake, module.Source(str(directory), "amd64", 5), wanted)
    assert result == {"imported": [NAMES[1]], "pinned": NAMES, "released": []}
    assert [call[0] for call in fake.calls] == ["ls", "import", "ls", "label", "label"]
    assert fake.calls[-1] == ["label", NAMES[1], module.PINNED]


def test_nothing_is_done_when_all_is_there(mirror):
    directory, wanted = mirror
    held = {image["name"]: (image["digest"], f"a=b,{module.PINNED}") for image in wanted}
    fake = FakeModule(held)
    result = module.import_images(fake, module.Source(str(directory), "amd64", 5), wanted)
    assert result == {"imported": [], "pinned": [], "released": []}
    assert fake.calls == [["ls"]]


def images_of(fake, mirror, owner, wanted, release=True):
    fake.params.update(owner=owner, release=release)
    return module.import_images(fake, module.Source(str(mirror[0]), "amd64", 5), wanted)


def pinned(fake):
    return [name for name, (_digest, labels) in fake.held.items() if module.PINNED in labels]


def test_what_nobody_wants_any_more_is_left_to_the_kubelet(mirror):
    wanted = mirror[1]
    fake = importable(mirror, FakeModule({"other.example.com/own:1": ("sha256:" + "0" * 64, module.PINNED)}))
    others = list(fake.held)
    assert images_of(fake, mirror, "kubernetes", wanted)["pinned"] == NAMES
    assert images_of(fake, mirror, "containerd", wanted[1:])["released"] == []
    assert images_of(fake, mirror, "kubernetes", wanted[:0], release=False)["released"] == []
    assert pinned(fake) == [*others, *NAMES]
    assert images_of(fake, mirror, "kubernetes", wanted[:0])["released"] == NAMES
    # The second one is still another's, and what somebody pinned by hand is nobody's business.
    assert pinned(fake) == [*others, NAMES[1]]
    assert images_of(fake, mirror, "kubernetes", wanted[:0])["released"] == []
    assert images_of(fake, mirror, "containerd", wanted[:0])["released"] == NAMES[1:]
    assert pinned(fake) == others


def test_a_name_with_another_digest_is_imported_again(mirror):
    directory, wanted = mirror
    held = {image["name"]: ("sha256:" + "0" * 64, module.PINNED) for image in wanted}
    fake = importable(mirror, FakeModule(held))
    assert module.import_images(fake, module.Source(str(directory), "amd64", 5), wanted)["imported"] == NAMES


def test_a_flipped_byte_in_the_last_archive_stops_before_the_first_import(mirror):
    directory, wanted = mirror
    path = directory / oci.archive_path(NAMES[1], "amd64")
    content = bytearray(path.read_bytes())
    content[content.index(NAMES[1].encode() + b"\0")] ^= 1
    path.write_bytes(content)
    fake = importable(mirror, FakeModule())
    with pytest.raises(oci.OciError, match=r"image registry\.example\.com/pause:2 was refused"):
        module.import_images(fake, module.Source(str(directory), "amd64", 5), wanted)
    assert fake.calls == [["ls"]]


def test_an_archive_that_is_not_there_is_named(mirror):
    directory, wanted = mirror
    (directory / oci.archive_path(NAMES[0], "amd64")).unlink()
    with pytest.raises(oci.OciError, match=r"image registry\.example\.com/echo:1 is not in"):
        module.import_images(FakeModule(), module.Source(str(directory), "amd64", 5), wanted)


def test_what_containerd_made_of_an_import_is_compared(mirror):
    directory, wanted = mirror
    fake = importable(mirror, FakeModule())
    for held in fake.importable.values():
        held.update({name: ("sha256:" + "1" * 64, "-") for name in held})
    with pytest.raises(oci.OciError, match="After its import registry.example.com/echo:1 is sha256:1111"):
        module.import_images(fake, module.Source(str(directory), "amd64", 5), wanted)


def test_check_mode_downloads_and_imports_nothing(mirror, monkeypatch):
    monkeypatch.setattr(module.os.path, "exists", lambda _path: False)
    fake = FakeModule(check_mode=True)
    result = module.import_images(fake, module.Source("https://mirror.invalid", "amd64", 5), mirror[1])
    assert result == {"imported": NAMES, "pinned": NAMES, "released": []}
    assert fake.calls == []


def test_a_bundle_is_filled_and_serves_as_a_mirror(mirror, tmp_path):
    directory, wanted = mirror
    fake = FakeModule(bundle=str(tmp_path / "bundle"))
    source = module.Source(str(directory), "amd64", 5)
    assert module.fill_bundle(fake, source, wanted) == {"imported": NAMES}
    assert module.fill_bundle(fake, source, wanted) == {"imported": []}
    path = tmp_path / "bundle" / oci.archive_path(NAMES[0], "amd64")
    path.write_bytes(path.read_bytes()[:-1024])
    path.write_bytes(path.read_bytes().replace(b"echo", b"ecko"))
    with pytest.raises(oci.OciError, match="echo:1 was refused"):
        module.Source(str(tmp_path / "bundle"), "amd64", 5).archive(wanted[0], "")
    assert module.fill_bundle(fake, source, wanted) == {"imported": NAMES[:1]}
    module.Source(str(tmp_path / "bundle"), "amd64", 5).archive(wanted[0], "")


class Store(http.server.BaseHTTPRequestHandler):
    """A registry at /v2/ that leads to a store beside it."""

    seen: list = []

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Authorization")))
        if self.path == "/v2/blob":
            self.send_response(307)
            self.send_header("Location", "/store")
            self.end_headers()
        elif self.path == "/store":
            body = json.dumps({"found": True}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Bearer realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_arguments):
        """Quiet."""


def test_a_token_is_not_shown_to_where_a_registry_leads():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        client = registry_client.Client("test", 5)
        base = f"http://127.0.0.1:{server.server_port}"
        status, _headers, stream = client.send(f"{base}/v2/blob", {"Authorization": "Bearer t0ken"})
        assert (status, json.load(stream)) == (200, {"found": True})
        assert Store.seen == [("/v2/blob", "Bearer t0ken"), ("/store", None)]
        status, headers, _stream = client.send(f"{base}/v2/private", {})
        assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="x"')
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(oci.OciError, match="could not be asked"):
        client.send(f"{base}/v2/blob", {})

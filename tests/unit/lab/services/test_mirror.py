"""The mirror: apt sources, paths, cache."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lab.services.mirror import (
    Cache,
    MirrorError,
    Target,
    apt_proxies,
    apt_uris,
    artifact_target,
    debian_target,
    parts_of,
    read_artifacts,
    upstreams,
)

ARCHIVES = {"debian": "http://archive.example/debian", "debian-security": "http://archive.example/debian-security"}


def test_apt_sources_in_both_formats(tmp_path):
    lists = tmp_path / "sources.list.d"
    lists.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://comment.example/debian trixie main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian/ trixie main\n"
        "deb-src http://source.example/debian trixie main\n"
        "deb cdrom:[Debian]/ trixie main\n"
    )
    (lists / "two.sources").write_text(
        "Types: deb\n# URIs: http://comment.example/debian\nURIs: http://two.example/debian\n"
        " http://two.example/debian-security\nSuites: trixie\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.example/debian\n"
    )
    (lists / "ignored.list.save").write_text("deb http://old.example/debian trixie main\n")
    assert apt_uris(tmp_path) == [
        "http://one.example/debian",
        "http://two.example/debian",
        "http://two.example/debian-security",
    ]


def test_upstreams_are_the_first_of_each_name():
    found = upstreams(["http://x.example/ubuntu", "http://a.example/debian", "http://b.example/debian"])
    assert found == {"debian": "http://a.example/debian", "debian-security": "http://a.example/debian-security"}
    assert upstreams(["http://x.example/ubuntu"]) == {}


def test_proxies_of_apt():
    dump = 'Acquire "";\nAcquire::http::Proxy "http://proxy.example:3128";\nAcquire::https::Proxy "DIRECT";\n'
    assert apt_proxies(dump) == {"http": "http://proxy.example:3128"}
    assert apt_proxies('Acquire::http::Proxy::other.example "DIRECT";\n') == {}


@pytest.mark.parametrize(
    "path", ["/debian/../x", "/debian/%2e%2e/x", "/debian//x", "/debian/a%2fb", "/", "/debian/a b", "/debian/%00"]
)
def test_paths_that_lead_elsewhere_are_refused(path):
    with pytest.raises(MirrorError) as refused:
        parts_of(path)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("path", "url", "immutable"),
    [
        ("/debian/dists/trixie/InRelease", "debian/dists/trixie/InRelease", False),
        ("/debian/pool/main/g/g++/g++_4%3a14_amd64.deb", "debian/pool/main/g/g++/g++_4:14_amd64.deb", True),
        ("/debian/dists/trixie/main/by-hash/SHA256/ab", "debian/dists/trixie/main/by-hash/SHA256/ab", True),
        ("/debian-security/x~1.deb?y", "debian-security/x~1.deb", True),
    ],
)
def test_debian_paths(tmp_path, path, url, immutable):
    target = debian_target(parts_of(path), tmp_path, ARCHIVES)
    assert target.url == f"http://archive.example/{url}"
    assert target.immutable is immutable
    assert target.file == tmp_path / url


def test_archive_without_a_source(tmp_path):
    with pytest.raises(MirrorError, match="apt sources") as refused:
        debian_target(["debian", "x"], tmp_path, {})
    assert refused.value.status == 502


def test_artifact_list(tmp_path):
    listed = tmp_path / "artifacts.toml"
    listed.write_text(
        '[[artifact]]\nname = "a"\nversion = "1"\nfile = "f"\nsha256 = "00"\nurl = "http://a.example/f"\n'
    )
    target = artifact_target(["artifacts", "a", "1", "f"], tmp_path, read_artifacts(listed))
    assert target == Target(tmp_path / "a/1/f", "http://a.example/f", True, "00")
    # The list that is shipped can be read.
    assert isinstance(read_artifacts(), dict)


class Upstream:
    """A server with one changeable file that counts its requests."""

    def __init__(self):
        self.content, self.status, self.modified = b"one", 200, "Sun, 22 Nov 2026 10:00:00 GMT"
        self.requests: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.requests.append(self.headers.get("If-Modified-Since"))
                time.sleep(0.05)
                same = self.headers.get("If-Modified-Since") == outer.modified
                self.send_response(304 if same else outer.status)
                self.send_header("Last-Modified", outer.modified)
                if not same:
                    self.send_header("Content-Length", str(len(outer.content)))
                self.end_headers()
                if not same:
                    self.wfile.write(outer.content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/file"


@pytest.fixture
def upstream():
    made = Upstream()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "locks")


def expire(target):
    stamp = target.file.with_name(f".{target.file.name}.checked")
    os.utime(stamp, (0, 0))


def test_immutable_file_is_fetched_once_by_many(tmp_path, upstream, cache):
    target = Target(tmp_path / "x.deb", upstream.url, True)
    threads = [threading.Thread(target=cache.get, args=(target,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.file.read_bytes() == b"one"
    assert len(upstream.requests) == 1


def test_index_is_revalidated_after_its_time(tmp_path, upstream, cache):
    target = Target(tmp_path / "InRelease", upstream.url, False)
    cache.get(target)
    cache.get(target)
    assert len(upstream.requests) == 1
    expire(target)
    assert cache.get(target).read_bytes() == b"one"
    assert upstream.requests[1] == upstream.modified
    expire(target)
    upstream.content, upstream.modified = b"two", "Sun, 22 Nov 2026 11:00:00 GMT"
    assert cache.get(target).read_bytes() == b"two"


def test_stale_index_is_served_when_upstream_fails(tmp_path, upstream, cache):
    target = Target(tmp_path / "InRelease", upstream.url, False)
    cache.get(target)
    expire(target)
    upstream.status, upstream.modified = 503, "Sun, 22 Nov 2026 11:00:00 GMT"
    assert cache.get(target).read_bytes() == b"one"


@pytest.mark.parametrize(("status", "answer"), [(404, 404), (503, 502)])
def test_failures_are_not_cached(tmp_path, upstream, cache, status, answer):
    target = Target(tmp_path / "x.deb", upstream.url, True)
    upstream.status = status
    with pytest.raises(MirrorError) as failed:
        cache.get(target)
    assert failed.value.status == answer
    assert not target.file.exists()
    upstream.status = 200
    assert cache.get(target).read_bytes() == b"one"


def test_artifact_with_a_flipped_byte_is_not_served(tmp_path, cache):
    entry = {"name": "a", "version": "1", "file": "f", "sha256": hashlib.sha256(b"right").hexdigest()}
    target = artifact_target(["artifacts", "a", "1", "f"], tmp_path, {("a", "1", "f"): entry})
    with pytest.raises(MirrorError, match="names no url"):
        cache.get(target)
    target.file.parent.mkdir(parents=True)
    target.file.write_bytes(b"right")
    assert cache.get(target) == target.file
    target.file.write_bytes(b"wrong")
    with pytest.raises(MirrorError, match="SHA-256"):
        cache.get(target)
    with pytest.raises(MirrorError, match="no artifact"):
        artifact_target(["artifacts", "a", "2", "f"], tmp_path, {("a", "1", "f"): entry})

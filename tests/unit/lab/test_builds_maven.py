"""Archives from Maven: the same bytes for the same content, and files where they belong."""

import io
import tarfile

import pytest

from lab.builds import maven


@pytest.fixture
def copied(monkeypatch):
    """Maven that copies two libraries."""

    def dependencies(pom, version, directory):
        assert pom.name == "pom.xml"
        for name in ("b.jar", f"a-{version}.jar"):
            (directory / name).write_bytes(name.encode())

    monkeypatch.setattr(maven, "dependencies", dependencies)


def test_an_archive_has_the_upstream_layout_and_always_the_same_bytes(copied, tmp_path):
    build = {"version": "4.3.1", "directory": "kafka", "libraries": "libs"}
    files = [tmp_path / name / "kafka_2.13-4.3.1.tgz" for name in ("one", "two")]
    for file in files:
        maven.make(build, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    with tarfile.open(fileobj=io.BytesIO(files[0].read_bytes())) as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes["kafka_2.13-4.3.1/libs/a-4.3.1.jar"] == 0o644
    assert modes["kafka_2.13-4.3.1/bin/kafka-topics.sh"] == 0o755
    assert not any("pom.xml" in name for name in modes)
    assert list(modes) == sorted(modes)


def test_one_library_is_taken_as_it_is(copied, tmp_path):
    build = {"version": "1.0.1", "directory": "jmx_prometheus_javaagent"}
    maven.make(build, tmp_path / "a-1.0.1.jar")
    assert (tmp_path / "a-1.0.1.jar").read_bytes() == b"a-1.0.1.jar"


def test_without_maven_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(maven.shutil, "which", lambda _name: None)
    with pytest.raises(maven.MavenError, match="install the package maven"):
        maven.make({"version": "1", "directory": "kafka", "libraries": "libs"}, tmp_path / "x.tgz")

"""The built collection holds what users need, nothing else, and works by FQCN from an empty path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NOT_SHIPPED = (
    "lab/",
    "tests/",
    "molecule/",
    "bench/",
    "awx/",
    "inventory/",
    ".ci/",
    ".config/",
    ".cache/",
    ".venv",
    "Makefile",
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    """Built from the committed and new files only, as a release is."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", "--output-path", folder],
        cwd=source,
        check=True,
        capture_output=True,
    )
    return next(folder.glob("selfhosted-ec2-*.tar.gz"))


@pytest.fixture(scope="module")
def installed(artifact, tmp_path_factory) -> dict[str, str]:
    """The environment in which the artifact is the only selfhosted.ec2 there is."""
    path = tmp_path_factory.mktemp("installed")
    configuration = path / "ansible.cfg"
    configuration.write_text("[defaults]\n")
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "install", "--no-deps", "--offline", "-p", path, artifact],
        cwd=path, check=True, capture_output=True, env={**os.environ, "ANSIBLE_CONFIG": str(configuration)},
    )  # fmt: skip
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_COLLECTIONS_PATH": str(path),
        "HERE": str(path),
    }


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=environment["HERE"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_artifact_has_no_lab_tests_or_ci_files(artifact):
    with tarfile.open(artifact) as archive:
        names = archive.getnames()
    assert [name for name in names if name.startswith(NOT_SHIPPED)] == []
    for needed in ("README.md", "LICENSE", "meta/runtime.yml", "playbooks/site.yml", "plugins/inventory/instances.py"):
        assert needed in names


def modules() -> list[str]:
    return sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))


def test_every_module_has_documentation(installed):
    result = run(installed, "ansible-doc", "-t", "module", *(f"selfhosted.ec2.{name}" for name in modules()))
    assert result.returncode == 0, result.stderr
    for name in modules():
        assert f"selfhosted.ec2.{name}" in result.stdout


def test_inventory_plugin_has_documentation(installed):
    result = run(installed, "ansible-doc", "-t", "inventory", "selfhosted.ec2.instances")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("role", sorted(path.parent.parent.name for path in (ROOT / "roles").glob("*/tasks/main.yml")))
def test_role_has_documentation(installed, role):
    result = run(installed, "ansible-doc", "-t", "role", f"selfhosted.ec2.{role}")
    assert result.returncode == 0, result.stderr
    assert "ENTRY POINT" in result.stdout


@pytest.mark.parametrize("playbook", sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml")))
def test_playbook_parses_by_fqcn(installed, playbook):
    result = run(installed, "ansible-playbook", "--syntax-check", "-i", "localhost,", f"selfhosted.ec2.{playbook}")
    assert result.returncode == 0, result.stderr

"""The manifest of releases for what the lab builds: other sums than upstream's files, other digests than its images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from lab.builds import images, sums

OWN = Path(__file__).parents[2] / "plugins/plugin_utils/kubernetes_releases.yml"


def compose(own: dict[str, Any], entries: list[dict[str, Any]], cache: Path) -> dict[str, Any]:
    """The collection's manifest with the sums and digests of those entries that lie in the cache, and no others."""
    files: dict[str, Any] = {name: {**entry, "sha256": {}} for name, entry in own["files"].items()}
    found: dict[str, Any] = {}
    for entry in entries:
        file = cache / entry["name"] / entry["version"] / entry["file"]
        if not file.is_file():
            continue
        if entry["build"]["kind"] == "image":
            repository, _colon, tag = entry["build"]["reference"].rpartition(":")
            found.setdefault(repository, {})[tag] = images.digest(file)
        else:
            sha256 = entry.get("sha256") or sums(file).read_text().strip()
            blank = {"url": f"https://{entry['name']}.invalid/{{version}}/{entry['file']}", "sha256": {}}
            files.setdefault(entry["name"], blank)["sha256"][entry["version"]] = {"amd64": sha256}
    return {"releases": own["releases"], "files": files, "images": found}


def write(entries: list[dict[str, Any]], cache: Path, target: Path) -> None:
    """Write the manifest of what lies in the cache, in place by rename."""
    content = json.dumps(compose(yaml.safe_load(OWN.read_text()), entries, cache), indent=1, sort_keys=True) + "\n"
    new = target.with_name(f".{target.name}.{os.getpid()}")
    new.write_text(content)
    new.replace(target)

"""Build what the mirror would build at its first request."""

from __future__ import annotations

import signal
import sys

from lab.builds import buildable, manifest
from lab.paths import Lab
from lab.services.mirror import ARTIFACT_LIST, Mirror, MirrorError, read_artifacts


def main(names: list[str]) -> int:
    # Ended in the middle, it ends the build and leaves nothing half made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lab = Lab("lab")
    mirror = Mirror(lab.mirror, lab.cache / "artifacts")
    releases = [entry for entry in read_artifacts().values() if "set" in entry]
    failed = 0
    for entry in buildable(ARTIFACT_LIST, names):
        path = "/artifacts/" + "/".join(entry[part] for part in ("name", "version", "file"))
        try:
            print(mirror.cache.get(mirror.target(path)), flush=True)
            if "set" in entry:
                manifest.write(releases, mirror.artifacts, lab.artifact_manifest)
        except MirrorError as error:
            # The others are asked for, too.
            print(error, file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

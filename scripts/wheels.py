"""Ask the index whether every locked package has a wheel for each Python and system we support.

uv resolves requirements-dev.lock, which contains requirements.lock, without building anything:
hashes required, wheels only. What came of it is written to scripts/wheels.json with the day and the
lock's digest, so that a test sees a lock that nobody has asked about. `make lock` calls it; so does
whoever makes a release.

    python scripts/wheels.py

Exit code 1 where a package is missing somewhere, with uv's own words.
"""

import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-dev.lock"
RECORD = ROOT / "scripts" / "wheels.json"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
}
"""A system: uv's name for it, with the oldest C library that torch's own wheels take."""
MACOS = "14.0"
"""The oldest macOS that torch's wheels take."""


def digest() -> str:
    """Return the SHA-256 of the lock."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def missing(python: str, platform: str) -> str:
    """Return what uv says is missing for a Python on a system, or an empty string."""
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as target:
        ended = subprocess.run(
            [
                uv, "pip", "install", "--dry-run", "--quiet", "--no-deps", "--require-hashes",
                "--only-binary", ":all:", "--python-version", python, "--python-platform", platform,
                "--target", target, "--requirements", LOCK,
            ],
            env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return ended.stderr.strip() if ended.returncode else ""


def main() -> None:
    """Parse the command line, ask for each Python and system, write what came of it."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    found: dict[str, dict[str, str]] = {}
    for system, platform in SYSTEMS.items():
        for python in PYTHONS:
            said = missing(python, platform)
            found.setdefault(system, {})[python] = "missing" if said else "complete"
            print(f"{system}, Python {python}: {said or 'complete'}")
    record = {"asked": f"{datetime.date.today()}", "lock": digest(), "wheels": found}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    sys.exit(any("missing" in row.values() for row in found.values()))


if __name__ == "__main__":
    main()

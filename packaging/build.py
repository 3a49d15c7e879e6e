"""Builds the frozen program and proves it: `python3 packaging/build.py [--no-selftest]`.

Writes `dist/seawall/` (the program in one folder) with `manifest.json` (commit, and the SHA-256 of
every file) and runs `seawall selftest` from that folder, offscreen, with a data directory of its
own. Everything it writes is in the checkout or in a temporary folder that it removes.
Exit status: 0 when built and the self-test passed; 1 when either failed; 2 when the set-up could
not be completed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import (
    PROJECT_ROOT,
    SetupProblem,
    child_environment,
    ensure_dependencies,
    ensure_qt_libraries,
    say,
)

_DIST = PROJECT_ROOT / "dist"
_PROGRAM_FOLDER = _DIST / "seawall"
_SELFTEST_LIMIT_S = 60
_FAILED_EXIT = 1
_USAGE_EXIT = 2
_INTERRUPTED_EXIT = 130


def main() -> int:
    """Build, write the manifest, run the self-test."""
    parser = argparse.ArgumentParser(
        prog="packaging/build.py", description="Build the frozen program and prove it."
    )
    parser.add_argument("--no-selftest", action="store_true", help="only build")
    chosen = parser.parse_args()
    try:
        python = ensure_dependencies(["run", "dev"])
        ensure_qt_libraries()
        if not _build(python):
            say("PyInstaller failed; its own words are above.")
            return _FAILED_EXIT
        size_mb = _write_manifest() / 1_000_000
        say(f"Built {_PROGRAM_FOLDER} ({size_mb:.0f} MB).")
        return 0 if chosen.no_selftest or _selftest() else _FAILED_EXIT
    except SetupProblem as problem:
        say(str(problem))
        return _USAGE_EXIT
    except OSError as error:
        say(f"The build stopped: {error}. Check that {PROJECT_ROOT} is writable and not full.")
        return _FAILED_EXIT
    except KeyboardInterrupt:
        say("Interrupted.")
        return _INTERRUPTED_EXIT


def _build(python: Path) -> bool:
    work = PROJECT_ROOT / "build"
    command = [
        *(str(python), "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN"),
        *("--distpath", str(_DIST), "--workpath", str(work)),
        str(PROJECT_ROOT / "packaging" / "seawall.spec"),
    ]
    # Its cache would be in the person's home; everything of ours stays in the project.
    environment = {**child_environment(), "PYINSTALLER_CONFIG_DIR": str(work / "cache")}
    finished = subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    return finished.returncode == 0


def _write_manifest() -> int:
    """Write the hash of every file, sorted; return the size of them all in bytes."""
    files = sorted(path for path in _PROGRAM_FOLDER.rglob("*") if path.is_file())
    hashes = {
        str(path.relative_to(_PROGRAM_FOLDER)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "manifest.json"
    }
    manifest = {"program": "seawall", "commit": _commit(), "files": hashes}
    (_PROGRAM_FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return sum(path.stat().st_size for path in files if not path.is_symlink())


def _commit() -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None  # A source archive without history.
    return answer.stdout.strip()


def _selftest() -> bool:
    program = _PROGRAM_FOLDER / ("seawall.exe" if os.name == "nt" else "seawall")
    environment = {**child_environment(), "QT_QPA_PLATFORM": "offscreen"}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="seawall-selftest-") as data_folder:
        command = [str(program), "--data-dir", data_folder, "selftest"]
        try:
            finished = subprocess.run(
                command,
                cwd=data_folder,  # Not the checkout: the program must find everything in itself.
                env=environment,
                stdin=subprocess.DEVNULL,
                timeout=_SELFTEST_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            say(f"The self-test of the frozen program took longer than {_SELFTEST_LIMIT_S} s.")
            return False
    passed = finished.returncode == 0
    verdict = "passed" if passed else f"failed (exit {finished.returncode})"
    say(f"Self-test of the frozen program {verdict} in {time.monotonic() - started:.1f} s.")
    return passed


if __name__ == "__main__":
    sys.exit(main())

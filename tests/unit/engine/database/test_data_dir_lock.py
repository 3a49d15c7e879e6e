"""The lock of a data directory: one holder, across processes, gone with the process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.database import DataDirLock
from engine.model.errors import DataDirectoryInUse

HOLDER = """
import sys, signal
from pathlib import Path
from engine.database import DataDirLock
DataDirLock(Path(sys.argv[1]), purpose="engine").acquire()
print("held", flush=True)
signal.pause()
"""


def test_the_second_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with DataDirLock(tmp_path, purpose="engine") as lock:
        assert lock.held
        with pytest.raises(DataDirectoryInUse, match="engine"):
            DataDirLock(tmp_path, purpose="panic").acquire()
    with DataDirLock(tmp_path, purpose="panic") as lock:
        assert lock.held


def test_it_ends_with_a_killed_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "held\n"
        with pytest.raises(DataDirectoryInUse, match=str(process.pid)):
            DataDirLock(tmp_path, purpose="second").acquire()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with DataDirLock(tmp_path, purpose="second") as lock:
        assert lock.held
    assert (tmp_path / "lock").stat().st_mode & 0o077 == 0

"""One engine a data directory: an operating-system lock on its file ``lock``.

The lock ends with the process however it ends, so there is nothing stale to clean up; what the file
says (process and purpose, as JSON) is only for the message to whoever comes second. The file is
never removed: a lock on a name that somebody else may delete and create again locks nothing.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from engine.model.errors import DataDirectoryInUse

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["DataDirLock"]

_NOTE_BYTES_MAX: Final = 512
# Windows locks are mandatory: lock a byte that nobody reads, far behind the note.
_LOCKED_BYTE: Final = 1 << 20


class DataDirLock:
    """Holds the lock of a data directory from ``acquire`` to ``release``. A context manager too."""

    def __init__(self, data_dir: Path, *, purpose: str) -> None:
        self._path = data_dir / "lock"
        self._purpose = purpose
        self._fd = -1
        # Once acquired: the purpose of a holder that ended without releasing it, or "".
        self.left_by = ""

    @property
    def held(self) -> bool:
        return self._fd >= 0

    def acquire(self) -> None:
        """Take the lock at once, or raise ``DataDirectoryInUse`` that says who has it."""
        if self.held:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(fd)
        except OSError as error:
            holder = _holder(fd)
            os.close(fd)
            raise DataDirectoryInUse(
                f"another Seawall uses {self._path.parent}: {holder}"
            ) from error
        self.left_by = _purpose(fd)
        note = json.dumps({"pid": os.getpid(), "purpose": self._purpose})
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, note.encode()[:_NOTE_BYTES_MAX])
        self._fd = fd

    def release(self) -> None:
        """Give the lock up; harmless when it is not held."""
        if self.held:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _purpose(fd: int) -> str:
    """What the note says of a holder that never released the lock."""
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        return str(json.loads(os.read(fd, _NOTE_BYTES_MAX))["purpose"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _holder(fd: int) -> str:
    """Who has it, as far as the note can be read."""
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        note = json.loads(os.read(fd, _NOTE_BYTES_MAX))
        return f"process {int(note['pid'])} ({note['purpose']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown process"

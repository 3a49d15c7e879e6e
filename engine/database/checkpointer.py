"""Checkpoints of the WAL on a thread of their own, so that no commit waits for one.

Two steps. A passive checkpoint on this thread moves nearly everything while the writer goes on; it
can never catch the pages of the newest commits. So the writer then finishes it between two groups,
which is only a few pages, and the next commit begins the WAL at its start. That matters for speed,
not only for size: overwriting a WAL costs half of what growing one does (measured: 60 and 115 µs a
synced commit).

Fails: silently but counted (``failures``): a disk that refuses is noticed by the
writer, and a WAL that was not checkpointed is longer, never wrong.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Final

__all__ = ["Checkpointer"]


class Checkpointer:
    """Started and closed by the writer's thread."""

    # How many pages may wait for a checkpoint. SQLite's own default is 1,000.
    PAGES: Final = 2_000

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wanted = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self.runs = 0
        self.failures = 0
        self.wal_pages = 0
        self.is_finish_wanted = False

    def start(self) -> None:
        self._thread = threading.Thread(
            target=self._run, name=f"checkpoints-{self._path.name}", daemon=True
        )
        self._thread.start()

    def wake(self) -> None:
        """Ask for a checkpoint soon."""
        self._wanted.set()

    def finish(self, connection: sqlite3.Connection) -> None:
        """Checkpoint the few pages left, on the writer's own connection and between two groups."""
        self.is_finish_wanted = False
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """End the thread; the last connection that closes checkpoints the rest."""
        self._ending = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            while True:
                self._wanted.wait()
                self._wanted.clear()
                if self._ending:
                    return
                try:
                    row = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                except sqlite3.Error:
                    self.failures += 1
                    continue
                self.runs += 1
                self.wal_pages = int(row[1])
                self.is_finish_wanted = True

"""Online backups into a folder, kept by count.

A backup is a copy in one read transaction (writers go on meanwhile), turned into a single file
without a WAL, checked, synced, and only then given its name, so that a file with the right name is
a good backup. Names sort by time: ``state-<UTC nanoseconds>-g<generation>.db``. Blocks on the disk:
for a thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import Final

from engine.database.connections import OWNER_ONLY, check_integrity, reader_uri, store_errors
from engine.database.generation import read_generation
from engine.model.errors import InvariantBroken, StoreError

__all__ = ["BackupFolder"]

_NAME: Final = re.compile(r"state-(\d{19})-g(\d+)\.db")


class BackupFolder:
    """The folder ``backups/`` of a data directory; keeps the newest ``keep`` copies."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder = folder
        self._keep = max(1, keep)

    def paths(self) -> list[Path]:
        """Every finished backup, the newest first."""
        if not self._folder.is_dir():
            return []
        found = [entry for entry in self._folder.iterdir() if _NAME.fullmatch(entry.name)]
        return sorted(found, key=lambda entry: entry.name, reverse=True)

    def newest_good(self) -> Path | None:
        """The newest backup that passes its integrity check."""
        return next((path for path in self.paths() if not check_integrity(path)), None)

    def newest_ns(self) -> int | None:
        """When the newest backup was made; rows younger than it must not be pruned."""
        newest = next(iter(self.paths()), None)
        return self.made_ns(newest) if newest else None

    def made_ns(self, backup: Path) -> int:
        """When a backup of this folder was made, by its name."""
        return int(_parts_of(backup)[1])

    def generation_of(self, backup: Path) -> int:
        """The generation of the database that was copied, by the backup's name."""
        return int(_parts_of(backup)[2])

    def back_up(self, database: Path, *, now_ns: int) -> Path:
        """Copy the database as it is now; returns the backup. Raises ``StoreError``, leaving no
        half copy."""
        with store_errors(f"cannot back up {database.name}"):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = self._folder / "unfinished"
            unfinished.unlink(missing_ok=True)
            os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT, OWNER_ONLY))
            try:
                generation = _copy(database, unfinished)
                findings = check_integrity(unfinished)
                if findings:
                    raise StoreError(f"the backup is not sound: {'; '.join(findings)}")
                _sync(unfinished)
                # Names sort by time, and the newest made must be the newest named: a clock that
                # was set back, or a replay, must not make it the first to be removed.
                stamp_ns = max(now_ns, (self.newest_ns() or 0) + 1)
                final = self._folder / f"state-{stamp_ns:019d}-g{generation}.db"
                unfinished.replace(final)
            finally:
                unfinished.unlink(missing_ok=True)
            for surplus in self.paths()[self._keep :]:
                surplus.unlink(missing_ok=True)
        return final


def _parts_of(backup: Path) -> re.Match[str]:
    match = _NAME.fullmatch(backup.name)
    if match is None:
        raise InvariantBroken(f"{backup.name} is not the name of a backup")
    return match


def _copy(database: Path, target: Path) -> int:
    with (
        contextlib.closing(sqlite3.connect(reader_uri(database), uri=True)) as source,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        source.backup(copy)
        # The copy inherits the WAL mode; as a single file it can be moved and restored whole.
        copy.execute("PRAGMA journal_mode=DELETE").fetchall()
        try:
            return read_generation(copy)
        except sqlite3.OperationalError:
            return 0  # A database from before its first migration has no generation yet.


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""How a SQLite file is opened here: owner-only, WAL, every commit synced, constraints on.

Why here: a durability promise is only as good as the pragmas of the one connection that writes, so
they are written once. Blocks on the disk: for the writer's thread and start-up, never for the loop.
Fails: every SQLite error becomes ``StoreError`` with its cause.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.model.errors import DatabaseCorrupt, StoreError

__all__ = [
    "OWNER_ONLY",
    "check_integrity",
    "is_corruption",
    "open_for_writing",
    "reader_uri",
    "store_errors",
]

OWNER_ONLY: Final = 0o600
_STATEMENTS_KEPT: Final = 512
_DAMAGED: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_BUSY_TIMEOUT_MS: Final = 2_000
_WAL_BYTES_KEPT: Final = 64 * 1024 * 1024


@contextlib.contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn what SQLite and the file system raise into ``StoreError``, saying what was being
    done."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        kind = DatabaseCorrupt if is_corruption(error) else StoreError
        raise kind(f"{doing}: {error}") from error


def is_corruption(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is not what it wrote."""
    return getattr(error, "sqlite_errorname", "").startswith(_DAMAGED)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The connection of the one writer. Creates the file, readable by its owner only."""
    with store_errors(f"cannot open {path.name}"):
        # SQLite gives -wal and -shm the permissions of the database, so it must have them first.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY))
        path.chmod(OWNER_ONLY)
        connection = sqlite3.connect(
            path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_KEPT,
            timeout=_BUSY_TIMEOUT_MS / 1000,
        )
        try:
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                # Checkpoints cost milliseconds and have a thread of their own.
                "wal_autocheckpoint=0",
                f"journal_size_limit={_WAL_BYTES_KEPT}",
                # Temporary tables in memory, so that a full disk has one way less to fail us.
                "temp_store=MEMORY",
                "cache_size=-16000",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.Error:
            connection.close()
            raise
    return connection


def reader_uri(path: Path) -> str:
    """An address that opens the database for reading only; a missing file is an error, never
    made."""
    return f"{path.absolute().as_uri()}?mode=ro"


def check_integrity(path: Path) -> list[str]:
    """What ``PRAGMA quick_check`` has to say; empty means sound. A missing file is a finding
    too."""
    try:
        with contextlib.closing(sqlite3.connect(reader_uri(path), uri=True)) as connection:
            rows = connection.execute("PRAGMA quick_check(20)").fetchall()
    except (sqlite3.Error, OSError) as error:
        return [f"{path.name} cannot be checked: {error}"]
    findings = [str(row[0]) for row in rows]
    return [] if findings == ["ok"] else findings

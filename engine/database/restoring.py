"""Puts the newest good backup in the place of a damaged or lost database, losing nothing by it.

Why in this order: the copy is made beside, brought to today's schema, given its new generation and
synced; only then is the damaged database moved aside, with its WAL (which SQLite would otherwise
play into the copy), and the copy renamed into its place. Killed anywhere in between, the next start
finds a missing database beside backups and does it again. Nothing is ever deleted: the damaged file
stays as ``state.db.corrupt-<UTC>``.
Blocks on the disk: for a start, before anything lives. Fails: ``StoreError``, the damaged file
where it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from engine.database.backups import BackupFolder
from engine.database.connections import OWNER_ONLY, check_integrity, reader_uri, store_errors
from engine.database.generation import read_generation, write_generation
from engine.database.migrations import Migration, apply_migrations, schema_version
from engine.model.errors import StoreError

__all__ = ["RestorePlan", "is_damage", "plan_restore", "restore"]

_SIDES: Final = ("-wal", "-shm")
# What a disk or another process does to a statement; the file may be perfectly well.
_NOT_DAMAGE: Final = (
    *("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_BUSY"),
    *("SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_INTERRUPT", "SQLITE_PROTOCOL"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """Which backup will be restored, and the generation above all that were ever seen here."""

    backup: Path
    made_ns: int
    generation: int


def is_damage(error: BaseException) -> bool:
    """Whether reading failed for what is in the file, rather than for the disk or another user."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error):
            return not getattr(cause, "sqlite_errorname", "").startswith(_NOT_DAMAGE)
        cause = cause.__cause__
    # Bytes that are no record any more: wrong JSON, wrong text, wrong numbers.
    return isinstance(error, (ValueError, ArithmeticError, TypeError, KeyError))


def plan_restore(
    database: Path,
    backups: BackupFolder,
    *,
    migrations: Sequence[Migration],
    above_generation: int,
) -> RestorePlan | None:
    """The newest backup that is sound and of a schema we know; None without one.

    `above_generation` is what the latch file remembers; the database's own word counts too, as far
    as it can still be read, and so do the names of all backups.
    """
    chosen = next((path for path in backups.paths() if _is_usable(path, migrations)), None)
    if chosen is None:
        return None
    known = [above_generation, _generation_of(database)]
    known += [backups.generation_of(path) for path in backups.paths()]
    return RestorePlan(backup=chosen, made_ns=backups.made_ns(chosen), generation=max(known) + 1)


def restore(
    plan: RestorePlan,
    database: Path,
    *,
    migrations: Sequence[Migration],
    now_ns: int,
    note: Callable[[sqlite3.Connection], None],
) -> Path:
    """Carry the plan out; returns where the damaged database is now.

    `note` writes into the restored database what has happened, in one transaction with its new
    generation.
    """
    with store_errors(f"cannot restore {plan.backup.name}"):
        copy = database.with_name(database.name + ".restoring")
        copy.unlink(missing_ok=True)
        shutil.copyfile(plan.backup, copy)
        copy.chmod(OWNER_ONLY)
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=FULL").fetchall()
            apply_migrations(connection, migrations)
            connection.execute("BEGIN IMMEDIATE")
            write_generation(connection, plan.generation, created_ns=now_ns, note=note)
            connection.execute("COMMIT")
        findings = check_integrity(copy)
        if findings:
            raise StoreError(f"the restored copy is not sound: {'; '.join(findings)}")
        _sync(copy)
        aside = _set_aside(database, now_ns)
        copy.replace(database)
        _sync(database.parent)
    return aside


def _set_aside(database: Path, now_ns: int) -> Path:
    """Move the database and what belongs to it to a name that nobody uses."""
    moment = datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = database.with_name(f"{database.name}.corrupt-{moment}")
    number = 1
    while any(aside.with_name(aside.name + side).exists() for side in ("", *_SIDES)):
        number += 1
        aside = database.with_name(f"{database.name}.corrupt-{moment}-{number}")
    # The database first: whoever is killed here leaves a missing one, which is found.
    for side in ("", *_SIDES):
        part = database.with_name(database.name + side)
        if part.exists():
            part.replace(aside.with_name(aside.name + side))
    return aside


def _is_usable(backup: Path, migrations: Sequence[Migration]) -> bool:
    if check_integrity(backup):
        return False
    try:
        with contextlib.closing(sqlite3.connect(reader_uri(backup), uri=True)) as connection:
            known = schema_version(connection) <= migrations[-1].number
            return known and read_generation(connection) > 0
    except sqlite3.Error:
        return False


def _generation_of(database: Path) -> int:
    """As far as the damaged file can be read; 0 where it cannot."""
    try:
        with contextlib.closing(sqlite3.connect(reader_uri(database), uri=True)) as connection:
            return read_generation(connection)
    except (sqlite3.Error, ValueError, OSError):
        return 0


def _sync(path: Path) -> None:
    """A file, or a folder where folders can be synced."""
    if path.is_dir() and os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

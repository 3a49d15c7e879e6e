"""Numbered migrations: files ``NNNN_name.sql``, each applied whole in one transaction, or not at
all.

The number of the last one is ``PRAGMA user_version``. A database with a higher number was written
by a newer Seawall and is refused with ``SchemaTooNew`` before anything is touched.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

from engine.database.connections import store_errors
from engine.model.errors import InvariantBroken, SchemaTooNew

__all__ = ["Migration", "apply_migrations", "load_migrations", "schema_version"]

_FILE_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: its number, its name and the statements."""

    number: int
    name: str
    sql: str


def load_migrations(folder: Traversable) -> tuple[Migration, ...]:
    """The migrations of a folder in order. A gap or a double number is ``InvariantBroken``."""
    found = sorted(
        (
            Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8"))
            for entry in folder.iterdir()
            if (match := _FILE_NAME.fullmatch(entry.name))
        ),
        key=lambda migration: migration.number,
    )
    numbers = [migration.number for migration in found]
    if not found or numbers != list(range(1, len(found) + 1)):
        raise InvariantBroken(f"migrations are not numbered 1, 2, 3 … without a gap: {numbers}")
    return tuple(found)


def schema_version(connection: sqlite3.Connection) -> int:
    """Number of the last migration applied; 0 for an empty database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def apply_migrations(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[int]:
    """Bring the schema up to date; returns the numbers applied."""
    with store_errors("cannot read the schema version"):
        version = schema_version(connection)
    newest = migrations[-1].number
    if version > newest:
        raise SchemaTooNew(
            f"this database has schema {version}, and this version of Seawall knows up to {newest}:"
            " use the newer version, or restore the backup made before the upgrade"
        )
    applied = []
    for migration in migrations[version:]:
        with store_errors(f"migration {migration.number} ({migration.name}) failed"):
            _apply(connection, migration)
        applied.append(migration.number)
    return applied


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Not executescript(): that commits first, and a migration must be whole or nothing.
        for statement in _statements(migration.sql):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {migration.number}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> Iterator[str]:
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement

"""Migrations: in order, whole or not at all."""

from __future__ import annotations

import contextlib
import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest

from engine.database import Migration, load_migrations
from engine.database.migrations import apply_migrations, schema_version
from engine.model.errors import InvariantBroken, StoreError

ONE = Migration(1, "one", "CREATE TABLE a (x); -- comment; with semicolon\nCREATE TABLE b (x);\n")
TWO = Migration(2, "two", "ALTER TABLE a ADD COLUMN y;\n")


@pytest.fixture
def connection() -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(":memory:", isolation_level=None))


def test_only_the_missing_ones_are_applied(
    connection: contextlib.closing[sqlite3.Connection],
) -> None:
    with connection as database:
        assert apply_migrations(database, [ONE]) == [1]
        assert apply_migrations(database, [ONE, TWO]) == [2]
        assert apply_migrations(database, [ONE, TWO]) == []
        assert schema_version(database) == 2


def test_one_that_fails_leaves_the_schema_as_it_was(
    connection: contextlib.closing[sqlite3.Connection],
) -> None:
    broken = Migration(2, "broken", "CREATE TABLE c (x);\nCREATE TABLE a (x);\n")
    with connection as database:
        with pytest.raises(StoreError, match="2 \\(broken\\)"):
            apply_migrations(database, [ONE, broken])
        assert schema_version(database) == 1
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        assert tables == {"a", "b"}


def test_a_gap_in_the_numbers_is_found(tmp_path: Path) -> None:
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE a (x);")
    (tmp_path / "0003_three.sql").write_text("CREATE TABLE b (x);")
    with pytest.raises(InvariantBroken, match="1, 3"):
        load_migrations(tmp_path)


def test_our_own_apply_to_an_empty_database(
    connection: contextlib.closing[sqlite3.Connection],
) -> None:
    migrations = load_migrations(files("resources") / "migrations")
    with connection as database:
        assert len(apply_migrations(database, migrations)) == len(migrations)
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []

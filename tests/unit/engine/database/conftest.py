"""A writer on a real file with one small table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.database import DatabaseWriter, Migration

NOTES = Migration(
    1,
    "notes",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);\n"
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE, body BLOB);\n",
)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def writer(database: Path) -> AsyncIterator[DatabaseWriter]:
    opened = DatabaseWriter(path=database, migrations=[NOTES])
    await opened.open()
    yield opened
    await opened.close()

"""The reader: sees what was committed, writes nothing, counts what is under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.database import DatabaseReader, DatabaseWriter
from engine.model.errors import StoreError


async def test_it_sees_the_last_commit_and_can_write_nothing(
    writer: DatabaseWriter, database: Path
) -> None:
    reader = DatabaseReader(path=database)
    with pytest.raises(StoreError, match="not open"):
        await reader.fetch_all("SELECT 1")
    await reader.open()
    await writer.submit(lambda c: c.execute("INSERT INTO notes (text) VALUES ('seen')"))
    assert await reader.fetch_all("SELECT text FROM notes WHERE id = ?", (1,)) == [("seen",)]
    with pytest.raises(StoreError, match="readonly"):
        await reader.fetch_all("DELETE FROM notes")
    assert reader.pending == 0
    await reader.close()
    await reader.close()


async def test_a_missing_database_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    reader = DatabaseReader(path=tmp_path / "missing.db")
    with pytest.raises(StoreError):
        await reader.open()
    assert list(tmp_path.iterdir()) == []

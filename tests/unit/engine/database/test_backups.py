"""Backups: whole, checked, kept by count, made while the writer writes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from engine.database import (
    BackupFolder,
    DatabaseWriter,
    check_integrity,
    read_generation,
    write_generation,
)
from engine.model.errors import StoreError


def insert(number: int, connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO notes (id) VALUES (?)", (number,))


async def test_a_copy_made_under_load_is_whole(
    writer: DatabaseWriter, database: Path, tmp_path: Path
) -> None:
    folder = BackupFolder(tmp_path / "backups", keep=3)
    await writer.submit(lambda c: write_generation(c, 4, created_ns=1))
    done = asyncio.Event()

    async def write() -> int:
        number = 0
        while not done.is_set():
            number += 1
            await writer.submit(partial(insert, number))
        return number

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(write())
        backup = await asyncio.to_thread(folder.back_up, database, now_ns=17)
        done.set()
    assert backup.name == f"state-{17:019d}-g4.db"
    assert backup.stat().st_mode & 0o077 == 0
    assert check_integrity(backup) == []
    with contextlib.closing(sqlite3.connect(backup)) as connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM notes ORDER BY id")]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) <= writing.result()
    assert [entry.name for entry in backup.parent.iterdir()] == [backup.name]
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_the_newest_are_kept_and_the_newest_good_one_is_found(
    writer: DatabaseWriter, database: Path, tmp_path: Path
) -> None:
    folder = BackupFolder(tmp_path / "backups", keep=2)
    assert folder.newest_good() is None
    assert folder.newest_ns() is None
    first, second, third = (folder.back_up(database, now_ns=n) for n in (1, 2, 3))
    assert not first.exists()
    assert folder.paths() == [third, second]
    assert folder.newest_ns() == 3
    third.write_bytes(b"not a database any more")
    assert folder.newest_good() == second


def test_a_database_that_is_not_there_is_not_backed_up(tmp_path: Path) -> None:
    folder = BackupFolder(tmp_path / "backups", keep=2)
    with pytest.raises(StoreError):
        folder.back_up(tmp_path / "missing.db", now_ns=1)
    assert folder.paths() == []
    assert list((tmp_path / "backups").iterdir()) == []
    assert check_integrity(tmp_path / "missing.db")


async def test_a_generation_only_ever_rises(writer: DatabaseWriter) -> None:
    assert await writer.submit(read_generation) == 0
    await writer.submit(lambda c: write_generation(c, 2, created_ns=1))
    with pytest.raises(StoreError, match="not above 2"):
        await writer.submit(lambda c: write_generation(c, 2, created_ns=1))
    assert await writer.submit(read_generation) == 2

"""A backup in the place of a damaged database: what of the old one must not come with it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.database import (
    BackupFolder,
    Migration,
    is_damage,
    plan_restore,
    read_generation,
    restore,
    write_generation,
)
from engine.database.connections import open_for_writing
from engine.database.migrations import apply_migrations
from engine.model.errors import StoreError

_SCHEMA = (
    Migration(1, "meta", "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);"),
    Migration(2, "notes", "CREATE TABLE notes (text TEXT);"),
)
_NOW_NS = 1_767_225_600_000_000_000


class _Lost:
    """A database with a backup, and a younger row in its WAL only, as a SIGKILL leaves it."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "state.db"
        self.backups = BackupFolder(folder / "backups", keep=9)
        live = folder / "live.db"
        with contextlib.closing(open_for_writing(live)) as connection:
            apply_migrations(connection, _SCHEMA)
            write_generation(connection, 3, created_ns=1)
            connection.execute("INSERT INTO notes VALUES ('in the backup')")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.backups.back_up(live, now_ns=5)
            connection.execute("INSERT INTO notes VALUES ('only in the WAL')")
            for side in ("", "-wal", "-shm"):
                shutil.copyfile(f"{live}{side}", f"{self.database}{side}")

    def restored(self, *, above_generation: int = 0) -> Path:
        plan = plan_restore(
            self.database, self.backups, migrations=_SCHEMA, above_generation=above_generation
        )
        assert plan is not None
        return restore(
            plan, self.database, migrations=_SCHEMA, now_ns=_NOW_NS, note=_note("restored")
        )

    def notes(self, path: Path | None = None) -> list[str]:
        with contextlib.closing(sqlite3.connect(path or self.database)) as connection:
            return [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY rowid")]

    def generation(self) -> int:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return read_generation(connection)


def _note(text: str) -> Callable[[sqlite3.Connection], None]:
    def note(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES (?)", (text,))

    return note


def test_the_old_wal_is_never_played_into_the_restored_copy(tmp_path: Path) -> None:
    lost = _Lost(tmp_path)
    aside = lost.restored()
    assert lost.notes() == ["in the backup", "restored"]
    # Nothing was deleted, and the old one can still be read whole.
    assert aside.name == "state.db.corrupt-20260101T000000Z"
    assert lost.notes(aside) == ["in the backup", "only in the WAL"]


def test_the_generation_is_above_every_one_that_was_ever_seen(tmp_path: Path) -> None:
    lost = _Lost(tmp_path)
    first = lost.restored()
    assert lost.generation() == 4
    lost.restored(above_generation=9)
    assert lost.generation() == 10
    # The database's own word counts as well, and a name is never used twice.
    second = lost.restored()
    assert lost.generation() == 11
    assert len({first, second, *tmp_path.glob("state.db.corrupt-*Z*")}) >= 3


def test_killed_halfway_the_next_one_begins_again(tmp_path: Path) -> None:
    lost = _Lost(tmp_path)
    # The database was moved aside, its WAL and a half-made copy are what the kill has left.
    lost.database.rename(tmp_path / "moved")
    (tmp_path / "state.db.restoring").write_bytes(b"half a copy")
    lost.restored()
    assert lost.notes() == ["in the backup", "restored"]
    assert not (tmp_path / "state.db.restoring").exists()


def test_a_rotten_or_newer_backup_is_passed_over_and_none_is_none(tmp_path: Path) -> None:
    lost = _Lost(tmp_path)
    good = lost.backups.paths()[0]
    newer = tmp_path / "backups" / f"state-{7:019d}-g3.db"
    shutil.copyfile(good, newer)
    with contextlib.closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version = 99")
    (tmp_path / "backups" / f"state-{8:019d}-g3.db").write_bytes(b"rotten")
    plan = plan_restore(lost.database, lost.backups, migrations=_SCHEMA, above_generation=0)
    assert plan is not None
    assert plan.backup == good
    good.unlink()
    assert plan_restore(lost.database, lost.backups, migrations=_SCHEMA, above_generation=0) is None


def test_what_the_disk_did_is_no_damage_of_the_file(tmp_path: Path) -> None:
    def caused(error: Exception) -> StoreError:
        outer = StoreError("not read")
        outer.__cause__ = error
        return outer

    with (
        contextlib.closing(sqlite3.connect(tmp_path / "a.db", timeout=0)) as one,
        contextlib.closing(sqlite3.connect(tmp_path / "a.db", timeout=0)) as two,
    ):
        one.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as locked:
            two.execute("CREATE TABLE t (a)")
    assert not is_damage(caused(locked.value))
    assert not is_damage(StoreError("closed"))
    assert is_damage(ValueError("not JSON"))
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        with pytest.raises(sqlite3.OperationalError) as gone:
            connection.execute("SELECT * FROM intents")
        with pytest.raises(sqlite3.OperationalError) as garbled:
            connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchall()
    assert is_damage(caused(gone.value))
    assert is_damage(caused(garbled.value))

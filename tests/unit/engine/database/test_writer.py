"""The writer: in order, durable when it says so, one failure at a time, and honest about the
disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.database import (
    BackupFolder,
    DatabaseWriter,
    Job,
    Migration,
    WriterHealth,
    one_statement,
    write_generation,
)
from engine.model.errors import DatabaseCorrupt, InvariantBroken, SchemaTooNew, StoreError
from tests.waiting import eventually

NOTES = Migration(
    1,
    "notes",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);\n"
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE, body BLOB);\n",
)


def note(text: str) -> Callable[[sqlite3.Connection], int]:
    def job(connection: sqlite3.Connection) -> int:
        return connection.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid or 0

    return job


def half(connection: sqlite3.Connection) -> None:
    note("half")(connection)
    raise KeyError("after writing")


def _append(numbers: list[int], number: int, _: asyncio.Future[int]) -> None:
    numbers.append(number)


def notes(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY id")]


def hold(writer: DatabaseWriter) -> threading.Event:
    """Occupy the writer's thread until the event is set, so that what follows forms one group."""
    release = threading.Event()
    writer.submit(lambda _: release.wait(10))
    return release


async def test_a_resolved_job_is_in_the_file(writer: DatabaseWriter, database: Path) -> None:
    assert await writer.submit(note("one")) == 1
    assert notes(database) == ["one"]


async def test_jobs_run_and_resolve_in_the_order_of_submission(writer: DatabaseWriter) -> None:
    resolved: list[int] = []
    release = hold(writer)
    futures = [writer.submit(note(f"n{n}")) for n in range(700)]
    for number, future in enumerate(futures):
        future.add_done_callback(partial(_append, resolved, number))
    release.set()
    assert await asyncio.gather(*futures) == list(range(1, 701))
    assert resolved == list(range(700))


async def test_what_is_queued_meanwhile_is_one_group_of_at_most_500(writer: DatabaseWriter) -> None:
    before = writer.statistics().groups
    release = hold(writer)
    # The one that holds may be alone or have company; wait until it is under way.
    await eventually(lambda: writer._queue.empty())
    futures = [writer.submit(note(f"n{n}")) for n in range(700)]
    release.set()
    await asyncio.gather(*futures)
    await eventually(lambda: writer.statistics().groups - before == 3)


async def test_a_failing_job_does_not_harm_its_neighbours(
    writer: DatabaseWriter, database: Path
) -> None:
    release = hold(writer)
    first, bad, same, last = (
        writer.submit(note("first")),
        writer.submit(half),
        writer.submit(note("first")),
        writer.submit(note("last")),
    )
    release.set()
    await asyncio.gather(first, bad, same, last, return_exceptions=True)
    assert isinstance(bad.exception(), KeyError)
    assert isinstance(same.exception(), StoreError)
    assert isinstance(same.exception().__cause__, sqlite3.IntegrityError)  # type: ignore[union-attr]
    assert notes(database) == ["first", "last"]
    assert writer.healthy
    assert writer.statistics().jobs_failed == 2


async def test_a_lone_failing_job_leaves_nothing(writer: DatabaseWriter, database: Path) -> None:
    with pytest.raises(KeyError):
        await writer.submit(half)
    await writer.submit(note("next"))
    assert notes(database) == ["next"]


async def test_a_commit_that_fails_fails_the_whole_group(
    writer: DatabaseWriter, database: Path
) -> None:
    """Method: a deferred constraint is violated, which SQLite finds only at COMMIT."""

    def defer(connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TABLE child (id INTEGER REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        connection.execute("INSERT INTO child VALUES (99)")

    release = hold(writer)
    await eventually(lambda: writer._queue.empty())
    good, bad = writer.submit(note("good")), writer.submit(defer)
    release.set()
    await asyncio.gather(good, bad, return_exceptions=True)
    assert isinstance(good.exception(), StoreError)
    assert isinstance(bad.exception(), StoreError)
    assert notes(database) == []
    assert not writer.healthy
    await writer.submit(note("after"))
    assert writer.health == WriterHealth(True)
    assert writer.statistics().groups_failed == 1


async def test_batched_neighbours_run_as_one_and_a_bad_one_fails_alone(
    writer: DatabaseWriter, database: Path
) -> None:
    calls: list[int] = []

    def insert(connection: sqlite3.Connection, items: list[str]) -> list[str]:
        calls.append(len(items))
        connection.executemany("INSERT INTO notes (text) VALUES (?)", [(i,) for i in items])
        return [item.upper() for item in items]

    release = hold(writer)
    await eventually(lambda: writer._queue.empty())
    good = [writer.submit_batched(insert, f"n{n}") for n in range(10)]
    release.set()
    assert await asyncio.gather(*good) == [f"N{n}" for n in range(10)]
    assert calls == [10]
    release = hold(writer)
    await eventually(lambda: writer._queue.empty())
    mixed = [writer.submit_batched(insert, text) for text in ("a", "n1", "b")]
    release.set()
    await asyncio.wait(mixed)
    assert [type(future.exception()) for future in mixed] == [type(None), StoreError, type(None)]
    assert notes(database) == [*(f"n{n}" for n in range(10)), "a", "b"]


async def test_pending_falls_only_when_the_loop_knows(writer: DatabaseWriter) -> None:
    seen: list[int] = []
    futures = [writer.submit(note(f"n{n}")) for n in range(3)]
    for future in futures:
        future.add_done_callback(lambda _: seen.append(writer.pending))
    assert writer.pending == 3
    await asyncio.gather(*futures)
    assert writer.pending == 0
    assert writer.lag_s == 0.0


async def test_cancelling_the_wait_does_not_undo_the_write(
    writer: DatabaseWriter, database: Path
) -> None:
    future = writer.submit(note("kept"))
    future.cancel()
    await writer.submit(note("next"))
    assert notes(database) == ["kept", "next"]
    assert writer.pending == 0


async def test_close_carries_out_what_is_queued(database: Path) -> None:
    writer = DatabaseWriter(path=database, migrations=[NOTES])
    await writer.open()
    futures = [writer.submit(note(f"n{n}")) for n in range(1200)]
    await writer.close()
    await writer.close()
    assert all(future.done() and not future.exception() for future in futures)
    assert len(notes(database)) == 1200
    assert not database.with_name("state.db-wal").exists()
    with pytest.raises(StoreError, match="closed"):
        await writer.submit(note("late"))


async def test_participants_hear_of_what_was_committed_and_of_nothing_else(database: Path) -> None:
    class Notes:
        def __init__(self) -> None:
            self.running: list[str] = []
            self.heard: list[str] = []
            self.lost = 0

        def is_behind(self) -> bool:
            return False

        def begin(self, connection: sqlite3.Connection) -> None:
            assert connection.in_transaction

        def failed(self, group: Sequence[Job]) -> None:
            self.lost += len(group)

        def mark(self) -> int:
            return len(self.running)

        def rollback(self, mark: int) -> None:
            del self.running[mark:]

        def take(self) -> list[str]:
            taken, self.running = self.running, []
            return taken

        def committed(self, taken: list[str]) -> None:
            self.heard += taken

    listener = Notes()
    writer = DatabaseWriter(path=database, migrations=[NOTES])
    writer.join(listener)

    def say(text: str, *, fail: bool = False) -> Callable[[sqlite3.Connection], None]:
        def job(connection: sqlite3.Connection) -> None:
            listener.running.append(text)
            if fail:
                connection.execute("INSERT INTO nowhere VALUES (1)")

        return job

    await writer.open()
    release = hold(writer)
    jobs = [writer.submit(say(t, fail=t == "bad")) for t in ("one", "bad", "two")]
    release.set()
    await asyncio.wait(jobs)
    with pytest.raises(StoreError):
        await writer.submit(say("bad alone", fail=True))
    await writer.submit(say("three"))
    assert listener.heard == ["one", "two", "three"]
    assert isinstance(jobs[1].exception(), StoreError)
    with pytest.raises(InvariantBroken):
        writer.join(listener)
    await writer.close()


async def test_full_disk_is_said_and_recovered_from(tmp_path: Path) -> None:
    """Method: a real file system of one megabyte, filled by somebody else, then freed again."""
    with small_disk(tmp_path) as disk:
        heard: list[WriterHealth] = []
        writer = DatabaseWriter(path=disk / "state.db", migrations=[NOTES], on_health=heard.append)
        await writer.open()
        await writer.submit(note("before"))
        with pytest.raises(OSError, match="space"):
            (disk / "filler").write_bytes(bytes(4 * 1024 * 1024))
        with pytest.raises(StoreError):
            await writer.submit(big_note)
        assert not writer.healthy
        assert "full" in writer.last_error or "I/O" in writer.last_error
        (disk / "filler").unlink()
        # Nobody writes: the writer finds out by itself.
        await eventually(lambda: writer.healthy, timeout_s=5)
        await writer.submit(note("after"))
        assert [health.healthy for health in heard] == [False, True]
        await writer.close()
        assert notes(disk / "state.db") == ["before", "after"]


async def test_a_database_that_cannot_be_written_is_said(writer: DatabaseWriter) -> None:
    def forbid(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = 1")

    await writer.submit(forbid)
    with pytest.raises(StoreError, match="readonly"):
        await writer.submit(note("refused"))
    assert not writer.healthy
    assert "readonly" in writer.last_error


async def test_files_are_for_their_owner_only(writer: DatabaseWriter, database: Path) -> None:
    await writer.submit(note("one"))
    names = sorted(entry.name for entry in database.parent.glob("state.db*"))
    assert names == ["state.db", "state.db-shm", "state.db-wal"]
    for name in names:
        assert stat.S_IMODE(database.with_name(name).stat().st_mode) == 0o600


async def test_every_commit_is_synced_in_wal_mode(writer: DatabaseWriter) -> None:
    def pragmas(connection: sqlite3.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await writer.submit(pragmas) == ["wal", 2, 1]


async def test_the_wal_does_not_grow_without_end(writer: DatabaseWriter, database: Path) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (body) VALUES (zeroblob(2000))")

    for _ in range(80):
        await asyncio.gather(*(writer.submit(fill) for _ in range(100)))
    await eventually(lambda: writer.statistics().checkpoints > 0)
    assert database.with_name("state.db-wal").stat().st_size < 64 * 1024 * 1024


async def test_newer_schema_is_refused_and_untouched(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 7")
    content = database.read_bytes()
    writer = DatabaseWriter(path=database, migrations=[NOTES])
    with pytest.raises(SchemaTooNew, match="schema 7"):
        await writer.open()
    await writer.close()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert len(database.read_bytes()) == len(content)


@pytest.mark.parametrize("damage", ["no database", "torn page"])
async def test_damaged_database_is_refused(database: Path, damage: str) -> None:
    if damage == "no database":
        database.write_bytes(b"this is not a database" * 100)
    else:
        writer = DatabaseWriter(path=database, migrations=[NOTES])
        await writer.open()
        for number in range(200):
            await writer.submit(note(f"{number}" * 50))
        await writer.close()
        with database.open("r+b") as file:
            file.seek(4096 * 3)
            file.write(os.urandom(4096 * 3))
    writer = DatabaseWriter(path=database, migrations=[NOTES])
    with pytest.raises(DatabaseCorrupt):
        await writer.open()
    await writer.close()


async def test_a_backup_is_made_before_an_upgrade(database: Path, tmp_path: Path) -> None:
    backups = BackupFolder(tmp_path / "backups", keep=2)
    writer = DatabaseWriter(path=database, migrations=[NOTES], backups=backups, now_ns=lambda: 5)
    await writer.open()
    await writer.submit(lambda connection: write_generation(connection, 1, created_ns=1))
    await writer.submit(note("kept"))
    await writer.close()
    assert backups.paths() == []
    more = Migration(2, "more", "ALTER TABLE notes ADD COLUMN colour TEXT;")
    writer = DatabaseWriter(
        path=database, migrations=[NOTES, more], backups=backups, now_ns=lambda: 5
    )
    assert await writer.open() == [2]
    await writer.close()
    assert [notes(path) for path in backups.paths()] == [["kept"]]


async def test_a_first_start_that_was_killed_leaves_no_history(
    database: Path, tmp_path: Path
) -> None:
    """Goal: tables without a generation are nothing to go back to, so no backup claims it."""
    backups = BackupFolder(tmp_path / "backups", keep=2)
    writer = DatabaseWriter(path=database, migrations=[NOTES], backups=backups, now_ns=lambda: 5)
    await writer.open()
    await writer.close()
    more = Migration(2, "more", "ALTER TABLE notes ADD COLUMN colour TEXT;")
    writer = DatabaseWriter(
        path=database, migrations=[NOTES, more], backups=backups, now_ns=lambda: 5
    )
    assert await writer.open() == [2]
    await writer.close()
    assert backups.paths() == []


def big_note(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO notes (text, body) VALUES ('big', zeroblob(900000))")


@contextlib.contextmanager
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk of its own cannot be mounted here: needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# --- a batch that is one statement ----------------------------------------------------------------


@one_statement
def note_all(connection: sqlite3.Connection, texts: list[str]) -> list[None]:
    rows = ", ".join(("(?)",) * len(texts))
    connection.execute(f"INSERT INTO notes (text) VALUES {rows}", texts)
    return [None] * len(texts)


async def test_a_batch_of_one_statement_needs_no_transaction_around_it(
    writer: DatabaseWriter, database: Path
) -> None:
    """Why: at each statement the interpreter lock is given up, and comes back late."""
    said: list[str] = []
    await writer.submit(lambda connection: connection.set_trace_callback(said.append))
    said.clear()
    release = hold(writer)
    jobs = [writer.submit_batched(note_all, f"n{number}") for number in range(20)]
    release.set()
    await asyncio.gather(*jobs)
    said.clear()
    await asyncio.gather(*(writer.submit_batched(note_all, f"m{number}") for number in range(20)))
    assert {line.split()[0] for line in said} == {"INSERT"}
    assert notes(database) == [*(f"n{n}" for n in range(20)), *(f"m{n}" for n in range(20))]


async def test_a_bad_item_of_such_a_batch_fails_alone_and_others_go_into_transactions(
    writer: DatabaseWriter, database: Path
) -> None:
    await writer.submit(lambda c: c.execute("CREATE UNIQUE INDEX once ON notes (text)").fetchall())
    jobs = [writer.submit_batched(note_all, text) for text in ("one", "one", "two", "three")]
    await asyncio.wait(jobs)
    assert [isinstance(job.exception(), StoreError) for job in jobs] == [False, True, False, False]
    mixed: list[asyncio.Future[Any]] = [
        writer.submit_batched(note_all, "four"),
        writer.submit(note("five")),
        writer.submit_batched(note_all, "six"),
    ]
    await asyncio.gather(*mixed)
    assert notes(database) == ["one", "two", "three", "four", "five", "six"]

"""Where an engine of the kill campaign dies by its own hand, and what is put there to make it.

A point is reached when the engine's own code comes by; nothing of what it does is changed, except
that a backup is copied in small steps, and a restored file in two halves, so that half of either
can be left behind. Points of the database are statements as SQLite begins to carry them out, on the
writer's own connection; `COMMIT` is seen before it happens. Installed in a process that has one
engine and no future.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import engine.database.backups as backups
import engine.database.restoring as restoring
import engine.database.writer as writer
import engine.kernel.state_loss as state_loss
import engine.kernel.storage as storage
import engine.redis_link.past_events as past_events
from engine.database import Migration
from engine.trade_state import TradeStore

__all__ = ["EXTRA_MIGRATIONS", "Reaper", "install", "use_migrations"]

_COPY_PAGES = 4
# Batches of what is taken back from Redis, small enough that there are several.
_TAKEN_BATCH = 25
# A newer Seawall's schema: what a campaign's database of today is older than.
EXTRA_MIGRATIONS = (
    (
        "copied_fills",
        "CREATE TABLE copied_fills (execution_id TEXT PRIMARY KEY, quantity TEXT);\n"
        "INSERT INTO copied_fills SELECT execution_id, quantity FROM fills;\n"
        "CREATE INDEX copied_by_quantity ON copied_fills (quantity);\n",
    ),
    (
        "counted_fills",
        "ALTER TABLE copied_fills ADD COLUMN number INTEGER NOT NULL DEFAULT 0;\n"
        "UPDATE copied_fills SET number = (SELECT count(*) FROM copied_fills AS earlier"
        " WHERE earlier.execution_id < copied_fills.execution_id);\n"
        "CREATE TABLE copied_orders AS SELECT client_order_id, state FROM orders;\n",
    ),
)


class Reaper:
    """Counts the visits to one kill point, from whatever thread, and dies at the last."""

    def __init__(self, point: str, count: int) -> None:
        self._point, self._left = point, count
        self._is_migrating = self._is_policy = False

    def visit(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, point: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, with a visit behind it."""

        def visited(*args: Any, **kwargs: Any) -> Any:
            result = work(*args, **kwargs)
            self.visit(point)
            return result

        return visited

    def traced(self, statement: str) -> None:
        """A statement that the state database's writer begins."""
        if statement == "COMMIT":
            self.visit("migration:commit" if self._is_migrating else "group:before commit")
        elif self._is_migrating:
            self.visit("migration:statement")
        elif statement.startswith("DELETE FROM outbox"):
            self.visit("prune:delete")
        elif not statement.startswith(("PRAGMA", "SELECT", "BEGIN")):
            self.visit("group:statement")
            if self._is_policy:
                self.visit("policy:half written")
            self._is_policy = statement.startswith("INSERT INTO policy_versions")

    def migrating(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def migrated(connection: sqlite3.Connection, *args: Any) -> Any:
            file = connection.execute("PRAGMA database_list").fetchall()[0][2]
            self._is_migrating = file.endswith("state.db")
            try:
                return work(connection, *args)
            finally:
                self._is_migrating = False

        return migrated


def install(reaper: Reaper) -> None:
    """Put the points into this process."""
    _into_writer(reaper)
    _into_backups(reaper)
    _into_restoring(reaper)


def use_migrations(count: int) -> None:
    """Let this process know `count` more migrations than this version of Seawall has."""
    load = storage.load_migrations

    def more(folder: Any) -> tuple[Migration, ...]:
        known = load(folder)
        extra = EXTRA_MIGRATIONS[:count]
        numbered = enumerate(extra, len(known) + 1)
        return (*known, *(Migration(number, name, sql) for number, (name, sql) in numbered))

    storage.load_migrations = more


def _into_writer(reaper: Reaper) -> None:
    opened, post = writer.open_for_writing, writer.DatabaseWriter._post

    def open_traced(path: Path) -> sqlite3.Connection:
        connection = opened(path)
        if path.name == "state.db":
            connection.set_trace_callback(reaper.traced)
        return connection

    writer.open_for_writing = open_traced
    writer.apply_migrations = reaper.migrating(writer.apply_migrations)

    def post_after(self: Any, callback: Callable[..., object], *args: Any) -> None:
        if callback == self._deliver and args[0].outcomes and self.path.name == "state.db":
            reaper.visit("group:committed, untold")
        post(self, callback, *args)

    writer.DatabaseWriter._post = post_after  # type: ignore[method-assign]


def _into_backups(reaper: Reaper) -> None:
    read_generation = backups.read_generation

    def copy_slowly(database: Path, target: Path) -> int:
        with (
            closing(sqlite3.connect(backups.reader_uri(database), uri=True)) as source,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            source.backup(
                copy, pages=_COPY_PAGES, progress=lambda *_: reaper.visit("backup:copying")
            )
            copy.execute("PRAGMA journal_mode=DELETE").fetchall()
            try:
                return read_generation(copy)
            except sqlite3.OperationalError:
                return 0

    backups._copy = copy_slowly
    backups._sync = reaper.around("backup:unnamed", backups._sync)
    folder = backups.BackupFolder
    folder.back_up = reaper.around("backup:named", folder.back_up)  # type: ignore[method-assign]


def _into_restoring(reaper: Reaper) -> None:
    copyfile = shutil.copyfile

    def copy_in_halves(source: Path, target: Path) -> Any:
        content = Path(source).read_bytes()
        Path(target).write_bytes(content[: len(content) // 2])
        reaper.visit("restore:half copied")
        return copyfile(source, target)

    shutil.copyfile = copy_in_halves  # type: ignore[assignment]
    restoring.apply_migrations = reaper.around("restore:migrated", restoring.apply_migrations)
    restoring._set_aside = reaper.around("restore:set aside", restoring._set_aside)
    state_loss.restore = reaper.around("restore:in place", state_loss.restore)
    past_events.REPLAY_BATCH_MAX = _TAKEN_BATCH
    take_back, end = TradeStore.take_back, TradeStore.end_taking_back

    def take(self: Any, *args: Any, **kwargs: Any) -> Any:
        reaper.visit("take back:batch")
        return take_back(self, *args, **kwargs)

    def ended(self: Any, *args: Any, **kwargs: Any) -> Any:
        reaper.visit("take back:all")
        return end(self, *args, **kwargs)

    TradeStore.take_back = take  # type: ignore[method-assign]
    TradeStore.end_taking_back = ended  # type: ignore[method-assign]

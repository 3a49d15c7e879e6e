"""A state database on a real file for benchmarks, and the bare SQLite connection beside it."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from engine.database import DatabaseReader, DatabaseWriter, load_migrations
from engine.database.migrations import apply_migrations
from engine.journal import Journal
from engine.model.events import Event, payload
from engine.runtime import SystemClock
from engine.trade_state import TradeStore

__all__ = [
    "INSERT_OUTBOX",
    "NODE",
    "StateDatabase",
    "bare_database",
    "outbox_row",
    "state_database",
]

INSERT_OUTBOX = (
    "INSERT INTO outbox (seq, event_id, type, ts_ns, source, trace, class, payload)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
NODE = "desk"


@dataclass(frozen=True, slots=True)
class StateDatabase:
    """The engine's own way to the disk."""

    writer: DatabaseWriter
    reader: DatabaseReader
    journal: Journal
    store: TradeStore


@contextlib.asynccontextmanager
async def state_database(*, standalone: bool = True) -> AsyncIterator[StateDatabase]:
    """Open a fresh one in a temporary folder, and close it and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
        path = Path(folder) / "state.db"
        writer = DatabaseWriter(
            path=path, migrations=load_migrations(files("resources") / "migrations")
        )
        reader = DatabaseReader(path=path)
        journal = Journal(writer=writer, reader=reader, clock=SystemClock())
        store = TradeStore(writer=writer, reader=reader, journal=journal, node=NODE)
        await writer.open()
        try:
            await reader.open()
            await journal.open(standalone=standalone)
            yield StateDatabase(writer, reader, journal, store)
            await reader.close()
        finally:
            await writer.close()


@contextlib.contextmanager
def bare_database() -> Iterator[sqlite3.Connection]:
    """The same schema on a plain connection: WAL, `synchronous=FULL`, SQLite's own checkpoints."""
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            apply_migrations(connection, load_migrations(files("resources") / "migrations"))
            yield connection
        finally:
            connection.close()


def outbox_row(seq: int, event: Event) -> tuple[object, ...]:
    """What the journal writes for an event."""
    return (
        *(seq, event.id, event.TYPE, event.ts_ns, event.source, event.trace),
        *(event.CLASS, payload(event)),
    )

"""The generation of a database: part of every client order id, so that an old id is never used
again.

Every new or restored database gets a higher one than any before it; the latch file remembers the
highest beside it. Both functions run inside a writer's job or on an own connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from engine.model.errors import StoreError

__all__ = ["is_unused", "read_generation", "write_generation"]


def read_generation(connection: sqlite3.Connection) -> int:
    """The generation, 0 for a database that has not been given one yet."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    return int(row[0]) if row else 0


def is_unused(connection: sqlite3.Connection) -> bool:
    """Whether it has the place for a generation and was never given one: its first start did not
    come to its end."""
    has_place = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
    return has_place is not None and read_generation(connection) == 0


def write_generation(
    connection: sqlite3.Connection,
    generation: int,
    *,
    created_ns: int,
    note: Callable[[sqlite3.Connection], None] | None = None,
) -> None:
    """Raise the generation; going back is refused with ``StoreError``.

    ``note`` writes in the same transaction why it was raised.
    """
    known = read_generation(connection)
    if generation <= known:
        raise StoreError(f"generation {generation} is not above {known}")
    connection.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [("generation", str(generation)), ("created_ns", str(created_ns))],
    )
    if note is not None:
        note(connection)

"""Reads beside the writer, off the loop, through aiosqlite.

Why beside: WAL lets readers see the last commit without waiting for the writer. ``pending`` counts
reads under way, so that a simulated clock can hold still for them as it does for writes. Fails:
``StoreError`` with its cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from engine.database.connections import reader_uri, store_errors
from engine.model.errors import DatabaseCorrupt, StoreError

__all__ = ["DatabaseReader"]


class DatabaseReader:
    """One read-only connection; queries run one after another on its thread."""

    def __init__(self, *, path: Path, on_damage: Callable[[str], None] | None = None) -> None:
        """``on_damage`` hears what SQLite says of a page that is not what it was."""
        self._path = path
        self._on_damage = on_damage
        self._connection: aiosqlite.Connection | None = None
        self._pending = 0

    @property
    def pending(self) -> int:
        """Reads asked for and not answered yet."""
        return self._pending

    async def open(self) -> None:
        # Asked first: a failed connect of aiosqlite leaves its thread ending after the loop may be.
        if not self._exists():
            raise StoreError(f"cannot open {self._path.name} for reading: there is no such file")
        self._pending += 1
        try:
            with store_errors(f"cannot open {self._path.name} for reading"):
                self._connection = await aiosqlite.connect(
                    reader_uri(self._path), uri=True, isolation_level=None
                )
        finally:
            self._pending -= 1

    def _exists(self) -> bool:
        return self._path.is_file()

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one query. Bound what you ask for: the answer is held in memory."""
        if self._connection is None:
            raise StoreError(f"{self._path.name} is not open for reading")
        self._pending += 1
        try:
            with store_errors(f"cannot read {self._path.name}"):
                return [tuple(r) for r in await self._connection.execute_fetchall(sql, parameters)]
        except DatabaseCorrupt as error:
            if self._on_damage is not None:
                self._on_damage(str(error))
            raise
        finally:
            self._pending -= 1

    async def close(self) -> None:
        """Close the connection and end its thread; harmless when it is not open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with store_errors(f"cannot close {self._path.name}"):
                await connection.close()

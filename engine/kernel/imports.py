"""Imports of what older programs left behind, into a data directory on which no engine runs.

Each opens the directory as a start does (lock, recovery, migrations; a new one is made), writes in
one transaction with its audit entry, and closes. Blocks: for the command line, which has no loop.
Fails: `DataDirectoryInUse`, `StoreError`, `OperatorMessage` when the file cannot be read; nothing
is imported then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engine.journal import read_buffer
from engine.kernel.data_directory import DataDirectory
from engine.kernel.storage import Storage, open_storage
from engine.model.config import Configuration
from engine.model.errors import OperatorMessage
from engine.runtime import SystemClock
from engine.trade_state import read_state

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What is imported where, by whom and why."""

    path: Path
    data_dir: Path
    configuration: Configuration
    author: str
    reason: str


def import_state(request: ImportRequest) -> dict[str, Any]:
    """A legacy trade_state.json; returns the report."""
    try:
        reading = read_state(request.path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorMessage(f"cannot read {request.path}: {error}") from error

    async def work(storage: Storage, now_ns: int) -> list[str]:
        known = await storage.store.import_trades(
            reading.trades,
            who=request.author,
            what=f"import of trades from {request.path.name}",
            why=request.reason,
            ts_ns=now_ns,
        )
        return list(known)

    known = _in_storage(request, work)
    refused = reading.refused | dict.fromkeys(known, "a trade of this id is here already")
    taken = [trade.trade_id for trade in reading.trades if trade.trade_id not in refused]
    return {"ok": True, "taken": taken, "refused": refused, "unknown_keys": reading.unknown}


def import_buffer(request: ImportRequest) -> dict[str, Any]:
    """An old event buffer, JSON lines or SQLite; returns the report."""
    reading = read_buffer(request.path)

    async def work(storage: Storage, now_ns: int) -> int:
        journal = storage.journal
        # Without a link the commit acknowledges; with one these events wait for it like all others.
        await journal.open(standalone=not await journal.was_linked())
        new = await journal.import_events(reading.events, source=f"import:{request.path.name}")
        await storage.store.append_audit(
            who=request.author,
            what=f"import of {new} events from {request.path.name}",
            why=request.reason,
            where="import",
            ts_ns=now_ns,
        )
        return new

    new = _in_storage(request, work)
    return {
        "ok": True,
        "imported": new,
        "duplicates": reading.duplicates + len(reading.events) - new,
        "bad_lines": [
            {"line": number, "why": why} for number, why in sorted(reading.bad_lines.items())
        ],
    }


def _in_storage(request: ImportRequest, work: Callable[[Storage, int], Awaitable[T]]) -> T:
    async def run() -> T:
        clock = SystemClock()
        storage = await open_storage(
            DataDirectory(request.data_dir), configuration=request.configuration, clock=clock
        )
        try:
            return await work(storage, clock.now_ns())
        finally:
            await storage.close()

    return asyncio.run(run())


__all__ = ["ImportRequest", "import_buffer", "import_state"]

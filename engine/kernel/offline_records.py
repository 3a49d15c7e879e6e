"""The records of a data directory from a shell: backups, and the audit trail.

Writers take the data directory's lock, so no engine can start meanwhile, and one that runs refuses
them; readers work beside an engine as well. Blocks on the disk: for the command line, which has no
loop. Times UTC nanoseconds. Fails: `DataDirectoryInUse`, `StoreError`, and `OperatorMessage` where
there is nothing to work on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.database import BackupFolder, DatabaseReader, DataDirLock
from engine.kernel.backup_keeper import Backup, backup_json
from engine.kernel.data_directory import DataDirectory
from engine.model.config import Configuration
from engine.model.errors import OperatorMessage
from engine.model.records import AuditEntry
from engine.runtime import SystemClock
from engine.trade_state import TradeHistory

T = TypeVar("T")


def back_up_offline(data_dir: Path, configuration: Configuration) -> dict[str, Any]:
    """Make a backup under the lock."""
    directory = _directory(data_dir)
    with DataDirLock(data_dir, purpose="backup"):
        folder = BackupFolder(directory.backups, keep=configuration.backup.keep)
        path = folder.back_up(directory.state_db, now_ns=SystemClock().now_ns())
        return backup_json(Backup(path=path, made_ns=folder.made_ns(path)))


def verify_audit(data_dir: Path) -> dict[str, Any]:
    """Whether the audit trail is unbroken, or its first broken link with what is there now."""
    return asyncio.run(_with_history(data_dir, _verify_audit))


def read_audit(data_dir: Path) -> list[dict[str, Any]]:
    """The whole audit trail, oldest first, a mapping for each entry."""
    entries = asyncio.run(_with_history(data_dir, _read_audit))
    return [msgspec.to_builtins(entry) for entry in entries]


async def _with_history(data_dir: Path, read: Callable[[TradeHistory], Awaitable[T]]) -> T:
    reader = DatabaseReader(path=_directory(data_dir).state_db)
    await reader.open()
    try:
        return await read(TradeHistory(reader=reader))
    finally:
        await reader.close()


async def _read_audit(history: TradeHistory) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    while page := await history.audit(after_seq=entries[-1].seq if entries else 0):
        entries += page
    return entries


async def _verify_audit(history: TradeHistory) -> dict[str, Any]:
    broken = await history.verify_audit()
    entries = await _read_audit(history)
    found = next((entry for entry in entries if entry.seq == broken), None)
    if broken is None:
        why = ""
    elif found is None:
        why = f"entry {broken} is missing"
    else:
        why = f"entry {broken} ({found.who}: {found.what}) is not what was written"
    return {"ok": broken is None, "entries": len(entries), "first_broken": broken, "why": why}


def _directory(data_dir: Path) -> DataDirectory:
    directory = DataDirectory(data_dir)
    if not directory.state_db.is_file():
        raise OperatorMessage(f"there is no state database in {data_dir}")
    return directory


__all__ = ["back_up_offline", "read_audit", "verify_audit"]

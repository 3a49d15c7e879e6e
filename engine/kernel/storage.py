"""Opens everything on disk in the one right order, and closes it in the opposite one.

Order: lock, latch (armed only together with a new data directory), state database with migrations
and generation, journal, trade state. The latch is read before anything else can fail, so that a
broken database never hides a stop.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files

from engine.database import (
    BackupFolder,
    DatabaseReader,
    DatabaseWriter,
    DataDirLock,
    load_migrations,
    read_generation,
    write_generation,
)
from engine.journal import Journal
from engine.kernel.data_directory import DataDirectory
from engine.latch import LatchFile, LatchState
from engine.model.config import Configuration
from engine.ports import Clock
from engine.trade_state import OpenState, TradeStore


@dataclass(slots=True, kw_only=True)
class Storage:
    """What was opened, and what a start needs to know of the last run."""

    directory: DataDirectory
    lock: DataDirLock
    latch: LatchFile
    latch_state: LatchState
    owner: str
    writer: DatabaseWriter
    reader: DatabaseReader
    journal: Journal
    store: TradeStore
    backups: BackupFolder
    generation: int
    open_state: OpenState
    was_new: bool

    async def close(self) -> None:
        """Write what is queued, close, release the lock."""
        await self.reader.close()
        await self.writer.close()
        self.lock.release()


async def open_storage(
    directory: DataDirectory, *, configuration: Configuration, clock: Clock
) -> Storage:
    """Open; raises DataDirectoryInUse, StoreError, SchemaTooNew, and leaves nothing open then."""
    directory.create()
    lock = DataDirLock(directory.root, purpose="engine")
    lock.acquire()
    try:
        return await _open(directory, lock, configuration, clock)
    except BaseException:
        lock.release()
        raise


async def _open(
    directory: DataDirectory, lock: DataDirLock, configuration: Configuration, clock: Clock
) -> Storage:
    owner = f"{configuration.node.name}:{os.getpid()}"
    latch = LatchFile(directory.latch)
    was_new = directory.is_new and not directory.latch.exists()
    latch_state = (
        latch.create_armed(generation=1, owner=owner, written_ns=clock.now_ns())
        if was_new
        else latch.read()
    )
    backups = BackupFolder(directory.backups, keep=configuration.backup.keep)
    writer = DatabaseWriter(
        path=directory.state_db,
        migrations=load_migrations(files("resources") / "migrations"),
        backups=backups,
        now_ns=clock.now_ns,
    )
    reader = DatabaseReader(path=directory.state_db)
    journal = Journal(
        writer=writer,
        reader=reader,
        clock=clock,
        bytes_max=configuration.journal.max_bytes,
        age_max_s=configuration.journal.max_age * 86_400.0,
    )
    store = TradeStore(writer=writer, reader=reader, journal=journal, node=configuration.node.name)
    await writer.open()
    try:
        await reader.open()
        generation = await writer.submit(read_generation)
        if generation == 0:
            # Above whatever the latch remembers: an id of a lost database is never used again.
            generation = max(1, latch_state.generation + (0 if was_new else 1))
            created_ns = clock.now_ns()
            await writer.submit(
                lambda connection: write_generation(connection, generation, created_ns=created_ns)
            )
        open_state = await store.load_open()
    except BaseException:
        await reader.close()
        await writer.close()
        raise
    return Storage(
        directory=directory,
        lock=lock,
        latch=latch,
        latch_state=latch_state,
        owner=owner,
        writer=writer,
        reader=reader,
        journal=journal,
        store=store,
        backups=backups,
        generation=generation,
        open_state=open_state,
        was_new=was_new,
    )


__all__ = ["Storage", "open_storage"]

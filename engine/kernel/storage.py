"""Opens everything on disk in the one right order, and closes it in the opposite one.

Order: lock, latch (armed only together with a new data directory), state database with migrations
and generation, journal, trade state. The latch is read before anything else can fail, so that a
broken database never hides a stop. A damaged or missing state database is restored from the newest
good backup, or the start is refused (`engine.kernel.state_loss`). Blocks while it does: nothing
lives yet.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files

import msgspec

from engine.database import (
    BackupFolder,
    DatabaseReader,
    DatabaseWriter,
    DataDirLock,
    is_damage,
    load_migrations,
    read_generation,
    write_generation,
)
from engine.journal import Journal
from engine.kernel.data_directory import DataDirectory
from engine.kernel.state_loss import (
    StateLoss,
    found_missing,
    loss_note,
    older_than_it_was,
    restore_backup,
)
from engine.latch import LatchFile, LatchState
from engine.model.config import Configuration
from engine.model.errors import DatabaseCorrupt
from engine.ports import Clock
from engine.trade_state import LossNote, OpenState, TradeStore

# 2020-01-01 in UTC seconds: counting from here keeps a number short.
_EPOCH_S = 1_577_836_800


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
    # What a damaged or old database cost, and what was done about it.
    loss: StateLoss | None

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
        latch.create_armed(
            generation=first_generation(configuration, clock.now_ns()),
            owner=owner,
            written_ns=clock.now_ns(),
        )
        if was_new
        else latch.read()
    )
    opener = _Opener(
        directory=directory,
        configuration=configuration,
        clock=clock,
        backups=BackupFolder(directory.backups, keep=configuration.backup.keep),
        was_new=was_new,
    )
    # Whoever is killed leaves the WAL behind.
    wal_lost = lock.left_by == "engine" and not directory.state_wal.exists()
    loss: StateLoss | None = None
    try:
        if damage := found_missing(directory):
            raise DatabaseCorrupt(damage)  # noqa: TRY301 - Seen here or while opening: one remedy.
        database = await opener.open(latch_state, wal_lost=wal_lost)
    except DatabaseCorrupt as error:
        loss, latch_state = restore_backup(
            directory,
            backups=opener.backups,
            migrations=opener.migrations,
            latch=latch,
            latch_state=latch_state,
            damage=str(error),
            now_ns=clock.now_ns(),
        )
        database = await opener.open(latch_state, wal_lost=False)
    return Storage(
        directory=directory,
        lock=lock,
        latch=latch,
        latch_state=latch_state,
        owner=owner,
        writer=database.writer,
        reader=database.reader,
        journal=database.journal,
        store=database.store,
        backups=opener.backups,
        generation=database.open_state.generation,
        open_state=database.open_state,
        was_new=was_new,
        loss=loss or database.loss,
    )


def first_generation(configuration: Configuration, now_ns: int) -> int:
    """The generation of a new data directory. An exchange remembers the orders of whatever
    directory the account was traded from before: the minutes since 2020 are above any of those, so
    that no order id is used twice. The paper venue is as new as its directory.
    """
    if configuration.engine.mode == "paper":
        return 1
    return max(1, (now_ns // 1_000_000_000 - _EPOCH_S) // 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Database:
    """The state database, opened and read."""

    writer: DatabaseWriter
    reader: DatabaseReader
    journal: Journal
    store: TradeStore
    open_state: OpenState
    loss: StateLoss | None


class _Opener:
    """Opens the state database; a second time when the first found it damaged."""

    def __init__(
        self,
        *,
        directory: DataDirectory,
        configuration: Configuration,
        clock: Clock,
        backups: BackupFolder,
        was_new: bool,
    ) -> None:
        self.backups = backups
        self.migrations = load_migrations(files("resources") / "migrations")
        self._directory = directory
        self._configuration = configuration
        self._clock = clock
        self._was_new = was_new

    async def open(self, latch_state: LatchState, *, wal_lost: bool) -> _Database:
        """Open, migrate, settle the generation and read what is open; raises `StoreError`."""
        directory, configuration = self._directory, self._configuration
        writer = DatabaseWriter(
            path=directory.state_db,
            migrations=self.migrations,
            backups=self.backups,
            now_ns=self._clock.now_ns,
        )
        reader = DatabaseReader(path=directory.state_db, on_damage=writer.note_damage)
        journal = Journal(
            writer=writer,
            reader=reader,
            clock=self._clock,
            bytes_max=configuration.journal.max_bytes,
            age_max_s=configuration.journal.max_age * 86_400.0,
        )
        store = TradeStore(
            writer=writer, reader=reader, journal=journal, node=configuration.node.name
        )
        await writer.open()
        try:
            await reader.open()
            loss = await self._settle_generation(writer, latch_state, wal_lost=wal_lost)
            open_state = await store.load_open()
            if open_state.totals_json is not None:
                msgspec.json.decode(open_state.totals_json)
        except BaseException as error:
            await reader.close()
            await writer.close()
            if isinstance(error, Exception) and is_damage(error):
                name = directory.state_db.name
                raise DatabaseCorrupt(f"{name} cannot be read: {error}") from error
            raise
        return _Database(
            writer=writer,
            reader=reader,
            journal=journal,
            store=store,
            open_state=open_state,
            loss=loss,
        )

    async def _settle_generation(
        self, writer: DatabaseWriter, latch_state: LatchState, *, wal_lost: bool
    ) -> StateLoss | None:
        """Give a new database its generation, and an older one than there was a higher one."""
        found = await writer.submit(read_generation)
        now_ns = self._clock.now_ns()
        note: LossNote | None = None
        loss: StateLoss | None = None
        if found == 0:
            if self._directory.has_books:
                raise DatabaseCorrupt(f"{self._directory.state_db.name} has lost its generation")
            # Above whatever the latch remembers: an id of a lost database is never used again.
            generation = max(1, latch_state.generation + (0 if self._was_new else 1))
        else:
            why = older_than_it_was(self._directory, found, latch_state, wal_lost=wal_lost)
            if not why:
                return None
            generation = max(found, latch_state.generation) + 1
            loss = StateLoss(text=f"{why}. Compare policy, holds and positions, then START")
            note = loss_note(loss.text, now_ns=now_ns)
        await writer.submit(lambda c: write_generation(c, generation, created_ns=now_ns, note=note))
        return loss


__all__ = ["Storage", "first_generation", "open_storage"]

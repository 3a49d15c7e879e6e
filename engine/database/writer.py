"""The one writer: a thread that owns the only writing connection and commits in groups.

Why a thread: a synced commit waits for the disk, and the loop must not. Why groups: one sync for
everything that has come in meanwhile. A group is whatever is queued when the thread looks, up to
500 jobs; it never waits for company, since under load company arrives during the commit before, and
alone a job should not wait. A group stops growing by itself well below 5 ms, because nothing is
added once it has begun.

A job is a function of the connection. It runs inside the group's transaction, in a savepoint of its
own, so that one that fails takes nothing with it; its future is resolved after the COMMIT, on the
loop, in the order of submission, all of a group in one callback. A COMMIT that fails fails every
job of the group with ``StoreError`` and nothing of them is applied.

Loop and threads: ``submit`` and everything else public is for the loop's thread; jobs and the
``mark``, ``rollback`` and ``take`` of participants run on the writer's thread. ``pending`` counts
what was submitted and has not been resolved on the loop: a simulated clock holds still until it is
zero.

Fails: a full or read-only disk makes ``health.healthy`` false with the cause; the writer goes on
trying (a small write a second while idle) and says so when it works again. A damaged page, met by
the writer or by a reader (``note_damage``), is never well again: only a restart repairs the file.
The queue is unbounded
on purpose: see ``engine.model.limits``; ``lag_s`` is what the gate watches.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final, TypeVar, cast

from engine.database.backups import BackupFolder
from engine.database.checkpointer import Checkpointer
from engine.database.connections import open_for_writing, store_errors
from engine.database.generation import is_unused
from engine.database.group_commit import (
    CommitParticipant,
    GroupCommitter,
    GroupResult,
    Job,
    Told,
)
from engine.database.migrations import Migration, apply_migrations, schema_version
from engine.model.errors import DatabaseCorrupt, EngineError, InvariantBroken, StoreError
from engine.model.limits import WRITER_GROUP_ROWS_MAX

__all__ = ["DatabaseWriter", "WriterHealth", "WriterStatistics"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Item = TypeVar("_Item")

_IDLE_S: Final = 0.25
_PROBE_S: Final = 1.0
_PAGES_PER_GROUP: Final = 6
_ROWS_PER_PAGE: Final = 4


@dataclass(frozen=True, slots=True)
class WriterHealth:
    """Whether the last thing the disk was asked to do was done, and if not, why."""

    healthy: bool
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterStatistics:
    """Counts since the start; durations of the last 1,024 commits in milliseconds."""

    jobs: int
    jobs_failed: int
    groups: int
    groups_failed: int
    rows: int
    pending: int
    lag_s: float
    commit_ms_p50: float
    commit_ms_p99: float
    checkpoints: int
    wal_pages: int


class DatabaseWriter:
    """Carries out jobs on the database in the order of submission, durably and in groups."""

    def __init__(
        self,
        *,
        path: Path,
        migrations: Sequence[Migration],
        backups: BackupFolder | None = None,
        now_ns: Callable[[], int] | None = None,
        on_health: Callable[[WriterHealth], None] | None = None,
    ) -> None:
        """``backups`` and ``now_ns`` together make a backup before each upgrade of the schema."""
        self._path = path
        self._migrations = migrations
        self._backups = backups
        self._now_ns = now_ns
        self._on_health = on_health
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._participants: list[CommitParticipant] = []
        self._checkpointer = Checkpointer(path)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed: asyncio.Future[None] | None = None
        self._accepting = False
        self._pending = 0
        self._progress_ns = 0
        self._health = WriterHealth(True)
        self._said_failing = self._damage = ""
        # Written by the thread, read by the loop for statistics: single assignments, no invariants.
        self._failing = ""
        self._committer: GroupCommitter | None = None
        self._in_hand: list[Job] = []
        self._jobs = self._jobs_failed = self._groups = self._rows = 0
        self._uncheckpointed = 0

    # --- on the loop ---------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        return self._path

    @property
    def pending(self) -> int:
        """Jobs submitted and not yet resolved on the loop."""
        return self._pending

    @property
    def lag_s(self) -> float:
        """How long there has been no progress although something is pending."""
        return (perf_counter_ns() - self._progress_ns) / 1e9 if self._pending else 0.0

    @property
    def health(self) -> WriterHealth:
        return self._health

    @property
    def healthy(self) -> bool:
        return self._health.healthy

    @property
    def last_error(self) -> str:
        return self._health.last_error

    @property
    def damage(self) -> str:
        """What SQLite said of a damaged page; empty while it has met none."""
        return self._damage

    def note_damage(self, why: str) -> None:
        """Somebody met a damaged page: from now on the database is not healthy."""
        self._damage = self._damage or why
        self._set_health(self._said_failing)

    def join(self, participant: CommitParticipant) -> None:
        """Let a participant follow the transactions. Before ``open`` only."""
        if self._thread is not None:
            raise InvariantBroken("participants join before the writer is opened")
        self._participants.append(participant)

    async def open(self) -> list[int]:
        """Open, check, back up if need be, and migrate; returns the migrations applied.

        Raises ``StoreError``, ``SchemaTooNew`` or ``DatabaseCorrupt``; the file is then as it was.
        """
        if self._thread is not None:
            raise InvariantBroken("the writer was opened before")
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()
        opened: asyncio.Future[list[int]] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name=f"writer-{self._path.name}", daemon=True
        )
        self._thread.start()
        applied = await opened
        self._accepting = True
        return applied

    def submit(self, job: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        """Queue a job; the future is resolved with its result after the commit. Never blocks."""
        return cast("asyncio.Future[_T]", self._put(job, None))

    def submit_batched(
        self, batch: Callable[[sqlite3.Connection, list[_Item]], Iterable[_T]], item: _Item
    ) -> asyncio.Future[_T]:
        """Queue one item of a job that is cheaper for many: neighbours with the same ``batch`` run
        as one.

        ``batch`` returns one result for each item. When it fails for several, it is tried for each
        alone.
        """
        return cast("asyncio.Future[_T]", self._put(batch, (item,)))

    def hand_over(
        self,
        batch: Callable[[sqlite3.Connection, list[_Item]], Iterable[object]],
        item: _Item,
        told: Told,
    ) -> None:
        """Like ``submit_batched``, where one hears for many and nobody waits for one of them.

        Raises ``StoreError`` when closed.
        """
        if not self._accepting:
            raise StoreError(f"{self._path.name} is closed")
        self._queue_job((batch, (item,), told))

    def statistics(self) -> WriterStatistics:
        commits = sorted(self._committer.commit_ns) if self._committer else []
        return WriterStatistics(
            jobs=self._jobs,
            jobs_failed=self._jobs_failed,
            groups=self._groups,
            groups_failed=self._committer.groups_failed if self._committer else 0,
            rows=self._rows,
            pending=self._pending,
            lag_s=self.lag_s,
            commit_ms_p50=commits[len(commits) // 2] / 1e6 if commits else 0.0,
            commit_ms_p99=commits[len(commits) * 99 // 100] / 1e6 if commits else 0.0,
            checkpoints=self._checkpointer.runs,
            wal_pages=self._checkpointer.wal_pages,
        )

    async def close(self) -> None:
        """Carry out what is queued, then close the database and end the thread. Harmless when
        closed."""
        self._accepting = False
        if self._thread is None or self._closed is None:
            return
        if not self._closed.done():
            self._queue.put(None)
        await asyncio.shield(self._closed)
        self._thread.join()

    def _put(self, function: Callable[..., Any], payload: tuple[Any] | None) -> asyncio.Future[Any]:
        if self._loop is None:
            raise InvariantBroken("the writer is not open")
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._accepting:
            future.set_exception(StoreError(f"{self._path.name} is closed"))
            return future
        self._queue_job((function, payload, future))
        return future

    def _queue_job(self, job: Job) -> None:
        if not self._pending:
            self._progress_ns = perf_counter_ns()
        self._pending += 1
        self._queue.put(job)

    def _deliver(self, result: GroupResult) -> None:
        """Tell the loop about one group: participants first, then the futures in order."""
        self._progress_ns = perf_counter_ns()
        self._set_health(result.failing)
        try:
            for participant, notes in zip(self._participants, result.taken, strict=False):
                participant.committed(notes)
        finally:
            for told, value, error in result.outcomes:
                self._pending -= 1
                self._jobs_failed += error is not None
                if told.done():
                    continue
                if error is None:
                    told.set_result(value)
                else:
                    told.set_exception(error)

    def _ended(self, why: str) -> None:
        """The thread is gone. Whatever it left is refused, so that nobody waits for ever."""
        self._accepting = False
        left = self._in_hand
        while not self._queue.empty():
            job = self._queue.get_nowait()
            left += [job] if job is not None else []
        refusal = StoreError(f"{self._path.name} is closed{': ' if why else ''}{why}")
        self._deliver(GroupResult([(job[2], None, refusal) for job in left], [], why))
        if self._closed is not None:
            _settle(self._closed, None, None)

    def _set_health(self, failing: str) -> None:
        self._said_failing = failing
        if self._committer is not None:
            self._damage = self._damage or self._committer.damage
        words = f"damaged: {self._damage}" if self._damage else failing
        if words == self._health.last_error:
            return
        self._health = WriterHealth(not words, words)
        if self._on_health is not None:
            self._on_health(self._health)

    # --- on the writer's thread ------------------------------------------------------------------

    def _run(self, opened: asyncio.Future[list[int]]) -> None:
        try:
            connection, applied = self._open()
        except EngineError as error:
            self._post(_settle, opened, None, error)
            self._post(self._ended, "")
            return
        self._post(_settle, opened, applied, None)
        why = "the writer's thread ended by itself"
        try:
            self._work(connection, GroupCommitter(connection, self._participants))
            why = ""
        finally:
            self._checkpointer.close()
            connection.close()
            self._post(self._ended, why)

    def _open(self) -> tuple[sqlite3.Connection, list[int]]:
        connection = open_for_writing(self._path)
        try:
            with store_errors(f"cannot check {self._path.name}"):
                findings = [row[0] for row in connection.execute("PRAGMA quick_check(20)")]
                version = schema_version(connection)
            if findings != ["ok"]:
                raise DatabaseCorrupt(f"{self._path.name} is damaged: {'; '.join(findings)}")
            upgrade = 0 < version < self._migrations[-1].number
            # A first start that was killed while it made the tables leaves nothing worth keeping,
            # and a backup of it would look like a history that there never was.
            if upgrade and not is_unused(connection) and self._backups and self._now_ns:
                self._backups.back_up(self._path, now_ns=self._now_ns())
            applied = apply_migrations(connection, self._migrations)
            self._checkpointer.start()
        except EngineError:
            connection.close()
            raise
        return connection, applied

    def _work(self, connection: sqlite3.Connection, committer: GroupCommitter) -> None:
        self._committer = committer
        while True:
            group = self._next_group(connection, committer)
            jobs = [job for job in group if job is not None]
            if jobs:
                before = connection.total_changes
                self._in_hand = jobs
                result = committer.commit(jobs)
                self._in_hand = []
                self._failing = result.failing
                # First the news, then the book-keeping: somebody is waiting to send an order.
                self._post(self._deliver, result)
                self._groups += 1
                self._jobs += len(jobs)
                self._rows += connection.total_changes - before
                self._care_for_wal(connection, connection.total_changes - before)
            if len(jobs) < len(group):
                self._catch_up(committer)
                if committer.is_behind():
                    _log.error("%s was closed without what the disk refused", self._path.name)
                return

    def _next_group(
        self, connection: sqlite3.Connection, committer: GroupCommitter
    ) -> list[Job | None]:
        """Wait for a job and take all that are queued; a ``None`` among them asks the thread to
        end."""
        group: list[Job | None] = []
        while not group:
            is_sick = self._failing or committer.is_behind()
            timeout = _PROBE_S if is_sick else _IDLE_S if self._uncheckpointed else None
            try:
                group.append(self._queue.get(timeout=timeout))
            except queue.Empty:
                self._when_idle(connection, committer)
        take = self._queue.get_nowait
        try:
            while len(group) < WRITER_GROUP_ROWS_MAX:
                group.append(take())
        except queue.Empty:
            pass
        return group

    def _when_idle(self, connection: sqlite3.Connection, committer: GroupCommitter) -> None:
        """Nobody may be asking for a write, so find out by ourselves whether a sick disk is well
        again."""
        if self._failing:
            self._failing = committer.probe()
            self._post(self._deliver, GroupResult([], [], self._failing))
        if not self._failing:
            self._catch_up(committer)
        if self._checkpointer.is_finish_wanted:
            self._checkpointer.finish(connection)
        elif self._uncheckpointed:
            self._uncheckpointed = 0
            self._checkpointer.wake()

    def _catch_up(self, committer: GroupCommitter) -> None:
        """Write what the disk refused before, although nobody asks for a write now."""
        if committer.is_behind():
            result = committer.commit([])
            self._failing = result.failing
            self._post(self._deliver, result)

    def _care_for_wal(self, connection: sqlite3.Connection, rows: int) -> None:
        # The WAL's length cannot be asked for without a checkpoint. A commit writes a handful of
        # pages, one for each table and index it touches, and rows in a row share theirs.
        self._uncheckpointed += _PAGES_PER_GROUP + rows // _ROWS_PER_PAGE
        if self._uncheckpointed >= self._checkpointer.PAGES:
            self._uncheckpointed = 0
            self._checkpointer.wake()
        if self._checkpointer.is_finish_wanted:
            self._checkpointer.finish(connection)

    def _post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call back on the loop; a loop that is gone has nobody left to tell."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            _log.warning("the loop ended before %s was closed", self._path.name)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)

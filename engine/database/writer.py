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
trying (a small write a second while idle) and says so when it works again. The queue is unbounded
on purpose: see ``engine.model.limits``; ``lag_s`` is what the gate watches.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final, Protocol, TypeVar, cast

from engine.database.backups import BackupFolder
from engine.database.checkpointer import Checkpointer
from engine.database.connections import open_for_writing, store_errors
from engine.database.migrations import Migration, apply_migrations, schema_version
from engine.model.errors import DatabaseCorrupt, EngineError, InvariantBroken, StoreError, require
from engine.model.limits import WRITER_GROUP_ROWS_MAX

__all__ = ["CommitParticipant", "DatabaseWriter", "WriterHealth", "WriterStatistics"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Item = TypeVar("_Item")

# (function, (item,) of a batched job or None, future or None). A plain tuple: it is made on the
# loop, for every event, where microseconds count.
_Job = tuple[Callable[..., Any], tuple[Any] | None, "asyncio.Future[Any] | None"]
_Outcome = tuple["asyncio.Future[Any] | None", Any, Exception | None]

_IDLE_S: Final = 0.25
_PROBE_S: Final = 1.0
_COMMITS_REMEMBERED: Final = 1_024
# These mean that the disk or the file is at fault, and not the job.
_DISK_FAULTS: Final = (
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_READONLY",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_CANTOPEN",
)


class CommitParticipant(Protocol):
    """Memory that must follow the transaction: told on the loop what was committed, and only that.

    The first three are called on the writer's thread, ``committed`` on the loop before the futures
    of the group.
    """

    def mark(self) -> int:
        """Where the notes of the running transaction stand."""

    def rollback(self, mark: int) -> None:
        """Forget every note made since ``mark``."""

    def take(self) -> Any:
        """Hand over the notes of the transaction that was just committed, and begin anew."""

    def committed(self, taken: Any) -> None:
        """What ``take`` returned, on the loop."""


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


class _GroupLost(Exception):
    """SQLite rolled the whole transaction back while a job ran."""


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
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._participants: list[CommitParticipant] = []
        self._checkpointer = Checkpointer(path)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed: asyncio.Future[None] | None = None
        self._accepting = False
        self._pending = 0
        self._progress_ns = 0
        self._health = WriterHealth(True)
        # Written by the thread, read by the loop for statistics: single assignments, no invariants.
        self._failing = self._failing_in_group = ""
        self._in_hand: list[_Job] = []
        self._jobs = self._jobs_failed = self._groups = self._groups_failed = self._rows = 0
        self._uncheckpointed = 0
        self._commit_ns: deque[int] = deque(maxlen=_COMMITS_REMEMBERED)

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

    def statistics(self) -> WriterStatistics:
        commits = sorted(self._commit_ns)
        return WriterStatistics(
            jobs=self._jobs,
            jobs_failed=self._jobs_failed,
            groups=self._groups,
            groups_failed=self._groups_failed,
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
        if not self._pending:
            self._progress_ns = perf_counter_ns()
        self._pending += 1
        self._queue.put((function, payload, future))
        return future

    def _deliver(self, outcomes: list[_Outcome], taken: list[Any], failing: str) -> None:
        """Tell the loop about one group: participants first, then the futures in order."""
        self._progress_ns = perf_counter_ns()
        self._set_health(failing)
        try:
            for participant, notes in zip(self._participants, taken, strict=False):
                participant.committed(notes)
        finally:
            for future, result, error in outcomes:
                self._pending -= 1
                self._jobs_failed += error is not None
                if future is None or future.done():
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

    def _ended(self, why: str) -> None:
        """The thread is gone. Whatever it left is refused, so that nobody waits for ever."""
        self._accepting = False
        left = self._in_hand
        while not self._queue.empty():
            job = self._queue.get_nowait()
            left += [job] if job is not None else []
        refusal = StoreError(f"{self._path.name} is closed{': ' if why else ''}{why}")
        self._deliver([(job[2], None, refusal) for job in left], [], why)
        if self._closed is not None:
            _settle(self._closed, None, None)

    def _set_health(self, failing: str) -> None:
        if failing == self._health.last_error:
            return
        self._health = WriterHealth(not failing, failing)
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
            self._work(connection)
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
            if 0 < version < self._migrations[-1].number and self._backups and self._now_ns:
                self._backups.back_up(self._path, now_ns=self._now_ns())
            applied = apply_migrations(connection, self._migrations)
            self._checkpointer.start()
        except EngineError:
            connection.close()
            raise
        return connection, applied

    def _work(self, connection: sqlite3.Connection) -> None:
        while True:
            group = self._next_group(connection)
            jobs = [job for job in group if job is not None]
            if jobs:
                self._in_hand = jobs
                self._commit(connection, jobs)
                self._in_hand = []
            if len(jobs) < len(group):
                return

    def _next_group(self, connection: sqlite3.Connection) -> list[_Job | None]:
        """Wait for a job and take all that are queued; a ``None`` among them asks the thread to
        end."""
        group: list[_Job | None] = []
        while not group:
            timeout = _PROBE_S if self._failing else _IDLE_S if self._uncheckpointed else None
            try:
                group.append(self._queue.get(timeout=timeout))
            except queue.Empty:
                self._when_idle(connection)
        take = self._queue.get_nowait
        try:
            while len(group) < WRITER_GROUP_ROWS_MAX:
                group.append(take())
        except queue.Empty:
            pass
        return group

    def _when_idle(self, connection: sqlite3.Connection) -> None:
        if self._failing:
            self._probe(connection)
        if self._uncheckpointed:
            self._uncheckpointed = 0
            self._checkpointer.wake()

    def _probe(self, connection: sqlite3.Connection) -> None:
        """Find out whether the disk takes a write again, since nobody may be asking for one."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE writer_probe (filler BLOB)")
            connection.execute("INSERT INTO writer_probe VALUES (zeroblob(65536))")
            connection.execute("DROP TABLE writer_probe")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(connection)
            self._failing = str(error)
        else:
            self._failing = ""
        self._post(self._deliver, [], [], self._failing)

    def _commit(self, connection: sqlite3.Connection, group: list[_Job]) -> None:
        """One transaction for the group, and the news of it to the loop."""
        self._failing_in_group = ""
        before = connection.total_changes
        outcomes: list[_Outcome] = []
        taken: list[Any] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._run_jobs(connection, group, outcomes)
            if connection.in_transaction:  # A job that was alone and failed has ended it already.
                started = perf_counter_ns()
                connection.execute("COMMIT")
                self._commit_ns.append(perf_counter_ns() - started)
            taken = [participant.take() for participant in self._participants]
        except (sqlite3.Error, _GroupLost) as error:
            cause = error.__cause__ if isinstance(error, _GroupLost) else error
            _roll_back(connection)
            for participant in self._participants:
                participant.rollback(0)
            outcomes = [(job[2], None, _store_error("commit failed", cause)) for job in group]
            self._failing_in_group = str(cause)
            self._groups_failed += 1
        self._failing = self._failing_in_group
        # First the news, then the book-keeping: somebody is waiting to send an order.
        self._post(self._deliver, outcomes, taken, self._failing)
        rows = connection.total_changes - before
        self._groups += 1
        self._jobs += len(group)
        self._rows += rows
        self._care_for_wal(connection, rows)

    def _run_jobs(
        self, connection: sqlite3.Connection, group: list[_Job], outcomes: list[_Outcome]
    ) -> None:
        if len(group) == 1 and group[0][1] is None:
            result, error = self._run_alone(connection, group[0][0])
            outcomes.append((group[0][2], result, error))
            return
        index = 0
        while index < len(group):
            function, payload, future = group[index]
            if payload is None:
                result, error = self._run_one(connection, function)
                outcomes.append((future, result, error))
                index += 1
                continue
            end = index + 1
            while end < len(group) and group[end][0] is function and group[end][1] is not None:
                end += 1
            self._run_batch(connection, group[index:end], outcomes)
            index = end

    def _run_batch(
        self, connection: sqlite3.Connection, jobs: list[_Job], outcomes: list[_Outcome]
    ) -> None:
        function = jobs[0][0]
        items = [payload[0] for _, payload, _ in jobs if payload is not None]
        results, error = self._run_one(connection, partial(_listed, function, items))
        if error is None:
            outcomes.extend(
                (job[2], result, None) for job, result in zip(jobs, results, strict=True)
            )
            return
        for job, item in zip(jobs, items, strict=True):
            alone, error = self._run_one(connection, partial(_listed, function, [item]))
            outcomes.append((job[2], alone[0] if error is None else None, error))

    def _run_alone(
        self, connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], Any]
    ) -> tuple[Any, Exception | None]:
        """Run the only job of a group: the transaction itself serves as its savepoint."""
        try:
            return job(connection), None
        except Exception as error:  # A job is anybody's code; its error belongs to its future.
            if not connection.in_transaction:
                raise _GroupLost from error
            connection.execute("ROLLBACK")
            for participant in self._participants:
                participant.rollback(0)
            return None, self._job_error(error)

    def _run_one(
        self, connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], Any]
    ) -> tuple[Any, Exception | None]:
        """Run a job in its savepoint; its error is its own, unless it cost the whole
        transaction."""
        marks = [participant.mark() for participant in self._participants]
        connection.execute("SAVEPOINT job")
        try:
            result = job(connection)
            connection.execute("RELEASE job")
        except Exception as error:  # A job is anybody's code; its error belongs to its future.
            if not connection.in_transaction:
                raise _GroupLost from error
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            for participant, mark in zip(self._participants, marks, strict=True):
                participant.rollback(mark)
            return None, self._job_error(error)
        return result, None

    def _job_error(self, error: Exception) -> Exception:
        """What the job's future is told; a fault of the disk is remembered for the health as well."""
        if not isinstance(error, sqlite3.Error):
            return error
        if getattr(error, "sqlite_errorname", "").startswith(_DISK_FAULTS):
            self._failing_in_group = str(error)
        return _store_error("not written", error)

    def _care_for_wal(self, connection: sqlite3.Connection, rows: int) -> None:
        self._uncheckpointed += rows
        if self._uncheckpointed >= self._checkpointer.ROWS:
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


def _listed(
    batch: Callable[[sqlite3.Connection, list[Any]], Iterable[Any]],
    items: list[Any],
    connection: sqlite3.Connection,
) -> list[Any]:
    results = list(batch(connection, items))
    require(len(results) == len(items), "a batched job returns one result for each item")
    return results


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            _log.warning("a failed transaction could not be rolled back", exc_info=True)


def _store_error(what: str, cause: BaseException | None) -> StoreError:
    error = StoreError(f"{what}: {cause}")
    error.__cause__ = cause
    return error

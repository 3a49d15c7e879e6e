"""One group of jobs as one transaction: what happens on the writer's thread between two looks at
its queue.

Why apart: it is plain synchronous code without a loop or a lock, and it is where a promise is kept
or broken. Each job runs in a savepoint of its own, so that one that fails takes nothing with it. A
COMMIT that fails, or a fault at which SQLite rolls everything back, fails every job of the group
with ``StoreError``. Runs on the writer's thread only.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any, Final, Protocol, TypeVar

from engine.database.connections import is_corruption
from engine.model.errors import StoreError, require

__all__ = [
    "CommitParticipant",
    "GroupCommitter",
    "GroupResult",
    "Job",
    "Outcome",
    "Told",
    "is_disk_fault",
    "one_statement",
]

_log = logging.getLogger(__name__)


class Told(Protocol):
    """Who hears what became of a job: a future, or one that stands for many."""

    def done(self) -> bool:
        """Whether it has stopped listening."""

    def set_result(self, result: Any, /) -> None:
        """It was committed."""

    def set_exception(self, error: Exception, /) -> None:
        """It was not."""


# (function, (item,) of a batched job or None, who is told). A plain tuple: it is made on the loop,
# for every event, where microseconds count.
Job = tuple[Callable[..., Any], tuple[Any] | None, Told]
Outcome = tuple[Told, Any, Exception | None]


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


_Batch = TypeVar("_Batch", bound=Callable[..., Any])


def one_statement(batch: _Batch) -> _Batch:
    """Mark a batched job that executes a single statement, however many its items.

    A group that is nothing but one such batch needs no BEGIN, savepoint and COMMIT around it: the
    statement is the transaction. What that saves is not SQLite's work but the interpreter lock,
    which is given up at each statement and, beside a busy loop, comes back late.
    """
    batch.is_one_statement = True  # type: ignore[attr-defined]
    return batch


class CommitParticipant(Protocol):
    """Memory that must follow the transaction: told on the loop what was committed, and only that.

    All are called on the writer's thread, but ``committed``: that is on the loop, before the
    futures of the group.
    """

    def is_behind(self) -> bool:
        """Whether something waits that the disk would not take."""

    def begin(self, connection: sqlite3.Connection) -> None:
        """A transaction begins: write what waits, before anything else."""

    def failed(self, group: Sequence[Job]) -> None:
        """Nothing of these jobs was committed, whether they had run or not."""

    def mark(self) -> int:
        """Where the notes of the running transaction stand."""

    def rollback(self, mark: int) -> None:
        """Forget every note made since ``mark``."""

    def take(self) -> Any:
        """Hand over the notes of the transaction that was just committed, and begin anew."""

    def committed(self, taken: Any) -> None:
        """What ``take`` returned, on the loop."""


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What became of a group: outcomes in order, the participants' notes, and what ails the
    disk."""

    outcomes: list[Outcome]
    taken: list[Any]
    failing: str


class _GroupLost(Exception):
    """SQLite rolled the whole transaction back while a job ran."""


class GroupCommitter:
    """Carries out groups on the writing connection."""

    def __init__(
        self, connection: sqlite3.Connection, participants: list[CommitParticipant]
    ) -> None:
        self._connection = connection
        self._participants = participants
        self._failing = ""
        self.commit_ns: deque[int] = deque(maxlen=_COMMITS_REMEMBERED)
        self.groups_failed = 0
        # What SQLite said when it met a damaged page; that does not pass by itself.
        self.damage = ""

    def commit(self, group: list[Job]) -> GroupResult:
        """Run and commit the jobs; never raises for what a job or the disk did."""
        self._failing = ""
        if _is_one_statement(group) and not self.is_behind():
            result = self._commit_statement(group)
            if result is not None:
                return result
        outcomes: list[Outcome] = []
        taken: list[Any] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for participant in self._participants:
                participant.begin(self._connection)
            self._run_jobs(group, outcomes)
            if self._connection.in_transaction:  # A lone job that failed has ended it already.
                started = perf_counter_ns()
                self._connection.execute("COMMIT")
                self.commit_ns.append(perf_counter_ns() - started)
            taken = [participant.take() for participant in self._participants]
        except (sqlite3.Error, _GroupLost) as error:
            cause = error.__cause__ if isinstance(error, _GroupLost) else error
            return self._lose(group, cause)
        return GroupResult(outcomes, taken, self._failing)

    def _commit_statement(self, group: list[Job]) -> GroupResult | None:
        """Run a batch as its own transaction; None when it is to be tried with one around it, which
        finds out who is at fault."""
        started = perf_counter_ns()
        items = [payload[0] for _, payload, _ in group if payload is not None]
        try:
            results = _listed(group[0][0], items, self._connection)
        except Exception as error:  # A job is anybody's code; its error belongs to its future.
            if isinstance(error, sqlite3.Error) and is_disk_fault(error):
                return self._lose(group, error)
            self._roll_back()
            return None
        self.commit_ns.append(perf_counter_ns() - started)
        outcomes: list[Outcome] = [
            (job[2], result, None) for job, result in zip(group, results, strict=True)
        ]
        return GroupResult(outcomes, [one.take() for one in self._participants], "")

    def _lose(self, group: list[Job], cause: BaseException | None) -> GroupResult:
        """Nothing of the group was committed."""
        self._roll_back()
        for participant in self._participants:
            participant.failed(group)
        self._failing = str(cause)
        self.groups_failed += 1
        self._note_damage(cause)
        return GroupResult(
            [(job[2], None, _store_error("commit failed", cause)) for job in group],
            [],
            self._failing,
        )

    def is_behind(self) -> bool:
        """Whether an empty group would write what waits."""
        return any(participant.is_behind() for participant in self._participants)

    def probe(self) -> str:
        """Find out whether the disk takes a write; returns what ails it, or nothing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("CREATE TABLE writer_probe (filler BLOB)")
            self._connection.execute("INSERT INTO writer_probe VALUES (zeroblob(65536))")
            self._connection.execute("DROP TABLE writer_probe")
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            self._note_damage(error)
            return str(error)
        return ""

    def _run_jobs(self, group: list[Job], outcomes: list[Outcome]) -> None:
        if len(group) == 1 and group[0][1] is None:
            result, error = self._run_alone(group[0][0])
            outcomes.append((group[0][2], result, error))
            return
        index = 0
        while index < len(group):
            function, payload, future = group[index]
            if payload is None:
                result, error = self._run_one(function)
                outcomes.append((future, result, error))
                index += 1
                continue
            end = index + 1
            while end < len(group) and group[end][0] == function and group[end][1] is not None:
                end += 1
            self._run_batch(group[index:end], outcomes)
            index = end

    def _run_batch(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        function = jobs[0][0]
        items = [payload[0] for _, payload, _ in jobs if payload is not None]
        results, error = self._run_one(partial(_listed, function, items))
        if error is None:
            outcomes.extend(
                (job[2], result, None) for job, result in zip(jobs, results, strict=True)
            )
            return
        for job, item in zip(jobs, items, strict=True):
            alone, error = self._run_one(partial(_listed, function, [item]))
            outcomes.append((job[2], alone[0] if error is None else None, error))

    def _run_alone(self, job: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Exception | None]:
        """Run the only job of a group: the transaction itself serves as its savepoint."""
        try:
            return job(self._connection), None
        except Exception as error:  # A job is anybody's code; its error belongs to its future.
            if not self._connection.in_transaction:
                raise _GroupLost from error
            self._roll_back()
            return None, self._job_error(error)

    def _run_one(self, job: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Exception | None]:
        """Run a job in its savepoint; its error is its own, unless it cost the whole
        transaction."""
        marks = [participant.mark() for participant in self._participants]
        self._connection.execute("SAVEPOINT job")
        try:
            result = job(self._connection)
            self._connection.execute("RELEASE job")
        except Exception as error:  # A job is anybody's code; its error belongs to its future.
            if not self._connection.in_transaction:
                raise _GroupLost from error
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            for participant, mark in zip(self._participants, marks, strict=True):
                participant.rollback(mark)
            return None, self._job_error(error)
        return result, None

    def _job_error(self, error: Exception) -> Exception:
        """What the job's future is told; a fault of the disk is remembered for the health as
        well."""
        if not isinstance(error, sqlite3.Error):
            return error
        if is_disk_fault(error):
            self._failing = str(error)
            self._note_damage(error)
        return _store_error("not written", error)

    def _note_damage(self, error: BaseException | None) -> None:
        if is_corruption(error) and not self.damage:
            self.damage = str(error)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                _log.warning("a failed transaction could not be rolled back", exc_info=True)
        for participant in self._participants:
            participant.rollback(0)


def _is_one_statement(group: list[Job]) -> bool:
    if not group:
        return False
    function = group[0][0]
    if not getattr(function, "is_one_statement", False):
        return False
    for other, payload, _ in group:
        if payload is None or other != function:
            return False
    return True


def is_disk_fault(error: sqlite3.Error) -> bool:
    """Whether the disk or the file is at fault, and not the job."""
    return getattr(error, "sqlite_errorname", "").startswith(_DISK_FAULTS)


def _listed(
    batch: Callable[[sqlite3.Connection, list[Any]], Iterable[Any]],
    items: list[Any],
    connection: sqlite3.Connection,
) -> list[Any]:
    results = list(batch(connection, items))
    require(len(results) == len(items), "a batched job returns one result for each item")
    return results


def _store_error(what: str, cause: BaseException | None) -> StoreError:
    error = StoreError(f"{what}: {cause}")
    error.__cause__ = cause
    return error

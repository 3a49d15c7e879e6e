"""Events that the disk refuses: held in order, written first, lost only when they must be."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from engine.database import DatabaseReader, DatabaseWriter, load_migrations
from engine.journal import Journal
from engine.journal._held_back import HeldBack
from engine.model.errors import StoreError
from engine.model.events import AlarmRaised, EmergencyTriggered, Event
from engine.model.ids import EventId, TraceId, TripId
from engine.runtime.simulation import SimClock
from tests.waiting import eventually


class Desk:
    """A journal on a disk that begins, or commits, nothing while it is sick."""

    def __init__(self, path: Path) -> None:
        self.writer = DatabaseWriter(
            path=path, migrations=load_migrations(files("resources") / "migrations")
        )
        self.reader = DatabaseReader(path=path)
        self.journal = Journal(
            writer=self.writer, reader=self.reader, clock=SimClock(start_ns=1_000_000_000_000)
        )
        self._refused = ""

    async def watch(self) -> None:
        self.connection = await self.writer.submit(lambda connection: connection)

    def refuse(self, word: str) -> None:
        """Begin or commit nothing from now on; "" is well again."""
        self._refused = word
        # It also makes SQLite judge anew what it has prepared.
        self.connection.set_authorizer(self._judge)

    def limit(self, *, pages: int) -> None:
        """Let the file grow by so many pages; from outside, as a sick disk is made well."""
        size = self.connection.execute("PRAGMA page_count").fetchone()[0]
        self.connection.execute(f"PRAGMA max_page_count = {size + pages}")

    def _judge(self, action: int, first: str | None, *_: str | None) -> int:
        """A statement that is a transaction of its own is refused as well."""
        is_refused = action == sqlite3.SQLITE_TRANSACTION and first == self._refused
        if action == sqlite3.SQLITE_INSERT and self._refused:
            is_refused = not self.connection.in_transaction
        return sqlite3.SQLITE_DENY if is_refused else sqlite3.SQLITE_OK

    def keep(self, *names: str) -> None:
        for name in names:
            self.journal.keep(alarm(name))

    async def done(self) -> None:
        await eventually(lambda: self.writer.pending == 0)

    async def ids(self) -> list[str]:
        found: list[str] = []
        after = 0
        while rows := await self.journal.read_batch(after):
            found += [row.event_id for row in rows]
            after = rows[-1].seq
        return found


@asynccontextmanager
async def desk(path: Path) -> AsyncIterator[Desk]:
    made = Desk(path)
    await made.writer.open()
    await made.reader.open()
    await made.journal.open(standalone=False)
    await made.watch()
    try:
        yield made
    finally:
        await made.reader.close()
        await made.writer.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextlib.contextmanager
def held_up(writer: DatabaseWriter) -> Iterator[None]:
    """What is queued meanwhile is one group."""
    release = threading.Event()
    holding = writer.submit(lambda _: release.wait(10))
    holding.add_done_callback(lambda done: done.exception())
    try:
        yield
    finally:
        release.set()


def alarm(name: str, *, text: object = "text") -> Event:
    return AlarmRaised(
        id=EventId(name),
        ts_ns=1,
        source="test",
        trace=TraceId(name),
        code="TEST",
        priority=3,
        text=text,  # type: ignore[arg-type]
        action="look",
    )


def trip(name: str) -> Event:
    return EmergencyTriggered(
        id=EventId(name),
        ts_ns=1,
        source="test",
        trace=TraceId(name),
        trip_id=TripId(name),
        phase="tripped",
        reason="test",
    )


@pytest.mark.parametrize("refused", ["BEGIN", "COMMIT"])
async def test_what_is_refused_is_written_by_itself_when_the_disk_is_well(
    database: Path, refused: str
) -> None:
    async with desk(database) as d:
        d.keep("e-1")
        await d.done()
        d.refuse(refused)
        d.keep("e-2", "e-3")
        await d.done()
        d.keep("e-4")
        await d.done()
        assert await d.ids() == ["e-1"]
        assert (d.journal.snapshot().held, d.journal.snapshot().lost) == (3, 0)
        assert not d.writer.healthy
        d.refuse("")
        await eventually(lambda: d.journal.snapshot().held == 0, timeout_s=5)
        await eventually(lambda: d.journal.tail_seq() == 4)
        assert await d.ids() == ["e-1", "e-2", "e-3", "e-4"]
        assert d.journal.pending == 4
        assert [event.id for event in d.journal.recent()] == ["e-1", "e-2", "e-3", "e-4"]
        assert d.writer.healthy


async def test_they_are_in_front_of_what_comes_after_them(database: Path) -> None:
    """Method: the first write after the fault is somebody else's; theirs comes before it."""
    async with desk(database) as d:
        d.refuse("COMMIT")
        d.keep("e-1", "e-2")
        await d.done()
        d.refuse("")
        job = d.writer.submit(lambda c: d.journal.append_in(c, [alarm("e-3")]))
        d.keep("e-4")
        await job
        await d.done()
        assert await d.ids() == ["e-1", "e-2", "e-3", "e-4"]


async def test_a_lone_job_that_fails_does_not_lose_them(database: Path) -> None:
    async with desk(database) as d:
        d.refuse("COMMIT")
        d.keep("e-1")
        await d.done()
        d.refuse("")
        with pytest.raises(StoreError):
            await d.writer.submit(lambda c: c.execute("INSERT INTO nowhere VALUES (1)"))
        await eventually(lambda: d.journal.tail_seq() == 1, timeout_s=5)
        assert await d.ids() == ["e-1"]


async def test_a_fault_of_the_disk_within_a_job_keeps_the_order(database: Path) -> None:
    """Method: a limit on the pages, which SQLite meets at the statement and not at the commit."""

    async with desk(database) as d:
        d.limit(pages=1)
        names = [f"e-{number}" for number in range(400)]
        for start in range(0, 400, 40):
            with held_up(d.writer):
                d.keep(*names[start : start + 40])
            await d.done()
        assert d.journal.snapshot().held > 100
        d.limit(pages=1_000)
        await eventually(lambda: d.journal.tail_seq() == 400, timeout_s=5)
        assert await d.ids() == names
        assert d.journal.snapshot().held == 0


def test_behind_one_that_was_refused_the_next_waits_within_the_same_transaction() -> None:
    """A fault that leaves the transaction alive: the next write would work, and be too early."""
    written: list[str] = []
    fault = sqlite3.OperationalError("disk I/O error")
    fault.sqlite_errorname = "SQLITE_IOERR_WRITE"
    refusals = [fault]

    def append(_: sqlite3.Connection, events: Sequence[Event]) -> None:
        if refusals:
            raise refusals.pop()
        written.extend(event.id for event in events)

    held = HeldBack(append)
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        held.begin(connection)
        with pytest.raises(sqlite3.OperationalError):
            held.write(connection, [alarm("e-1")])
        held.write(connection, [alarm("e-2")])
        held.committed()
        assert (written, len(held)) == ([], 2)
        held.begin(connection)
        held.write(connection, [alarm("e-3")])
        held.committed()
    assert (written, len(held)) == (["e-1", "e-2", "e-3"], 0)


async def test_a_small_one_does_not_slip_past_a_large_one_that_found_no_room(
    database: Path,
) -> None:
    """Method: one group, a job between them; room for the small one only."""
    async with desk(database) as d:
        d.keep("e-1")
        await d.done()
        d.limit(pages=0)
        with held_up(d.writer):
            d.journal.keep(alarm("large", text="x" * 50_000))
            between = d.writer.submit(lambda c: c.execute("SELECT 1").fetchall())
            d.keep("small")
        await asyncio.wait([between])
        assert isinstance(between.exception(), StoreError)  # SQLite ended the whole transaction.
        await d.done()
        d.limit(pages=1_000)
        await eventually(lambda: d.journal.tail_seq() == 3, timeout_s=5)
        assert await d.ids() == ["e-1", "large", "small"]


@pytest.mark.allow_log("cannot be written to the journal|could not be written to the journal")
async def test_one_that_can_never_be_written_is_counted_and_harms_no_other(database: Path) -> None:
    async with desk(database) as d:
        with held_up(d.writer):
            d.keep("e-1")
            d.journal.keep(alarm("odd", text=object()))
            d.keep("e-2", "e-1")
        await d.done()
        assert await d.ids() == ["e-1", "e-2"]
        assert d.journal.snapshot().lost == 2
        d.refuse("BEGIN")
        d.keep("e-3", "e-2")
        d.journal.keep(alarm("odd", text=object()))
        d.keep("e-4")
        await d.done()
        d.refuse("")
        await eventually(lambda: d.journal.tail_seq() == 4, timeout_s=5)
        assert await d.ids() == ["e-1", "e-2", "e-3", "e-4"]
        assert (d.journal.snapshot().held, d.journal.snapshot().lost) == (0, 4)


async def test_memory_is_bounded_and_records_are_kept_all_the_same(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.journal._held_back.JOURNAL_HELD_MAX", 10)
    async with desk(database) as d:
        d.refuse("BEGIN")
        d.keep(*(f"e-{number}" for number in range(15)))
        d.journal.keep(trip("t-1"))
        await d.done()
        assert (d.journal.snapshot().held, d.journal.snapshot().lost) == (11, 5)
        d.refuse("")
        await eventually(lambda: d.journal.tail_seq() == 11, timeout_s=5)
        assert await d.ids() == [*(f"e-{number}" for number in range(10)), "t-1"]


@pytest.mark.allow_log("was closed without what the disk refused")
async def test_closing_tries_once_more_and_says_what_is_left(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(database) as d:
        d.refuse("COMMIT")
        d.keep("e-1")
        await d.done()
        d.refuse("")
    assert not caplog.records
    async with desk(database) as d:
        assert await d.ids() == ["e-1"]
        d.refuse("COMMIT")
        d.keep("e-2")
        await d.done()
    assert "was closed without" in caplog.text
    with pytest.raises(StoreError):
        d.keep("e-3")


async def test_who_waits_is_told_and_nothing_is_written_later(database: Path) -> None:
    """`publish_durable` answers for its event; it must not appear after the refusal."""
    async with desk(database) as d:
        d.refuse("COMMIT")
        with pytest.raises(StoreError):
            await d.journal.append(alarm("e-1"))
        d.keep("e-2")
        await d.done()
        d.refuse("")
        await eventually(lambda: d.journal.tail_seq() == 1, timeout_s=5)
        assert await d.ids() == ["e-2"]
        await asyncio.sleep(0)

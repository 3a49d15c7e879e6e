"""The journal: with the state or not at all, in order, counted truly, pruned only when
acknowledged."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from engine.database import DatabaseReader, DatabaseWriter, load_migrations
from engine.journal import Journal, JournalRow, outbox
from engine.model.errors import StoreError
from engine.model.events import AlarmRaised, Event, OrderIntended, decode
from engine.model.ids import ClientOrderId, EventId, Symbol, TraceId
from engine.model.values import Side
from engine.runtime.simulation import SimClock


class Desk:
    """A journal on a real file, with all it stands on."""

    def __init__(self, path: Path, *, bytes_max: int = 1_000_000) -> None:
        self.clock = SimClock(start_ns=1_000_000_000_000)
        self.writer = DatabaseWriter(
            path=path, migrations=load_migrations(files("resources") / "migrations")
        )
        self.reader = DatabaseReader(path=path)
        self.journal = Journal(
            writer=self.writer,
            reader=self.reader,
            clock=self.clock,
            bytes_max=bytes_max,
            age_max_s=100,
        )


@asynccontextmanager
async def desk(
    path: Path, *, standalone: bool = False, bytes_max: int = 1_000_000
) -> AsyncIterator[Desk]:
    made = Desk(path, bytes_max=bytes_max)
    await made.writer.open()
    await made.reader.open()
    await made.journal.open(standalone=standalone)
    try:
        yield made
    finally:
        await made.reader.close()
        await made.writer.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def event(number: int, *, ts_ns: int = 1_000_000_000_000) -> Event:
    return OrderIntended(
        id=EventId(f"e-{number}"),
        ts_ns=ts_ns,
        source="execution",
        trace=TraceId("t-1"),
        client_order_id=ClientOrderId(f"desk-g1-{number}"),
        symbol=Symbol("BTCUSDT"),
        side=Side.BUY,
        quantity=Decimal("0.010"),
        price=Decimal("60000.10"),
    )


async def test_appended_events_are_read_back_in_order(database: Path) -> None:
    async with desk(database) as d:
        events = [event(n) for n in range(450)]
        await asyncio.gather(*(d.journal.append(e) for e in events))
        rows: list[JournalRow] = []
        while batch := await d.journal.read_batch(rows[-1].seq if rows else 0, limit=1000):
            assert len(batch) <= 200
            rows += batch
        assert [row.seq for row in rows] == list(range(1, 451))
        assert [
            decode(r.type, r.event_id, r.ts_ns, r.source, r.trace, r.payload) for r in rows
        ] == events
        assert d.journal.tail_seq() == 450
        assert d.journal.recent() == events


async def test_an_event_is_committed_with_its_state_or_not_at_all(database: Path) -> None:
    async with desk(database) as d:

        def change(connection: sqlite3.Connection, number: int, *, fail: bool) -> None:
            connection.execute("INSERT INTO meta VALUES (?, 'x')", (f"k{number}",))
            d.journal.append_in(connection, [event(number)])
            if fail:
                raise KeyError(number)

        release = threading.Event()
        d.writer.submit(lambda _: release.wait(10))
        jobs = [
            d.writer.submit(lambda c: change(c, 1, fail=False)),
            d.writer.submit(lambda c: change(c, 2, fail=True)),
            d.writer.submit(lambda c: change(c, 3, fail=False)),
        ]
        release.set()
        await asyncio.wait(jobs)
        assert isinstance(jobs[1].exception(), KeyError)
        rows = await d.journal.read_batch(0)
        keys = await d.reader.fetch_all("SELECT key FROM meta WHERE key LIKE 'k_' ORDER BY key")
        assert [(row.seq, row.event_id) for row in rows] == [(1, "e-1"), (2, "e-3")]
        assert keys == [("k1",), ("k3",)]
        assert d.journal.pending == 2
        assert [e.id for e in d.journal.recent()] == ["e-1", "e-3"]


async def test_the_same_event_twice_is_refused(database: Path) -> None:
    async with desk(database) as d:
        await d.journal.append(event(1))
        with pytest.raises(StoreError, match="UNIQUE"):
            await d.journal.append(event(1))
        assert d.journal.snapshot().written == 1


async def test_standalone_the_commit_acknowledges(database: Path) -> None:
    async with desk(database, standalone=True) as d:
        await asyncio.gather(*(d.journal.append(event(n)) for n in range(10)))
        assert d.journal.pending == 0
        assert d.journal.acknowledged_seq == 10
        figures = d.journal.snapshot()
        assert (figures.written, figures.acknowledged, figures.pending) == (10, 10, 0)
    async with desk(database, standalone=False) as d:
        assert (d.journal.acknowledged_seq, d.journal.pending) == (10, 0)
        await d.journal.append(event(11))
        assert (d.journal.acknowledged_seq, d.journal.pending) == (10, 1)


async def test_the_cursor_moves_and_survives(database: Path) -> None:
    async with desk(database) as d:
        await asyncio.gather(*(d.journal.append(event(n)) for n in range(10)))
        await d.journal.acknowledge(4)
        await d.journal.acknowledge(2)
        assert (d.journal.acknowledged_seq, d.journal.pending) == (4, 6)
        assert await d.journal.new_epoch(above=7) == 8
    async with desk(database) as d:
        assert (d.journal.epoch, d.journal.acknowledged_seq, d.journal.pending) == (8, 4, 6)
        assert d.journal.tail_seq() == 10
        assert await d.journal.rewind(1) == 1
        assert d.journal.pending == 9
        assert await d.journal.rewind(7) == 1
        await d.journal.acknowledge(10)
        assert d.journal.pending == 0
        assert d.journal.snapshot().oldest_pending_age_s is None


async def test_rewind_goes_no_further_back_than_the_rows_reach(database: Path) -> None:
    async with desk(database, bytes_max=1) as d:
        await asyncio.gather(*(d.journal.append(event(n, ts_ns=1)) for n in range(10)))
        await d.journal.acknowledge(6)
        assert (await d.journal.prune()).rows == 6
        assert await d.journal.rewind(2) == 6
        assert d.journal.pending == 4


async def test_the_age_of_what_is_pending(database: Path) -> None:
    async with desk(database) as d:
        now_ns = d.clock.now_ns()
        await d.journal.append(event(1, ts_ns=now_ns - 3_000_000_000))
        await d.journal.append(event(2, ts_ns=now_ns - 1_000_000_000))
        assert d.journal.snapshot().oldest_pending_age_s == 3.0
        await d.journal.acknowledge(1)
        assert d.journal.snapshot().oldest_pending_age_s == 1.0


async def test_dead_letters_are_parked_shown_and_requeued_at_the_tail(database: Path) -> None:
    async with desk(database) as d:
        await asyncio.gather(*(d.journal.append(event(n)) for n in range(1, 4)))
        await d.journal.park(2, "OOM command not allowed")
        figures = d.journal.snapshot()
        assert (figures.written, figures.pending, figures.dead_lettered) == (3, 2, 1)
        assert [row.seq for row in await d.journal.read_batch(0)] == [1, 3]
        (letter,) = await d.journal.dead_letters()
        assert (letter.seq, letter.event_id, letter.error) == (2, "e-2", "OOM command not allowed")
        assert await d.journal.requeue(2) == 4
        row = (await d.journal.read_batch(3))[0]
        assert (row.seq, row.event_id, row.replaces) == (4, "e-2", 2)
        assert d.journal.snapshot().dead_lettered == 0
        assert d.journal.pending == 3
        with pytest.raises(StoreError):
            await d.journal.requeue(2)
        with pytest.raises(StoreError):
            await d.journal.park(2, "again")


async def test_pruning_takes_what_is_old_and_acknowledged_only(database: Path) -> None:
    async with desk(database) as d:
        now_ns = d.clock.now_ns()
        old, new = now_ns - 200_000_000_000, now_ns - 1_000_000_000
        ages = [old] * 1200 + [new] * 10
        await asyncio.gather(*(d.journal.append(event(n, ts_ns=t)) for n, t in enumerate(ages)))
        assert (await d.journal.prune()).rows == 0
        await d.journal.acknowledge(1205)
        assert (await d.journal.prune(keep_since_ns=old)).rows == 0
        assert (await d.journal.prune()).rows == 1200
        assert [row.seq for row in await d.journal.read_batch(0)] == list(range(1201, 1211))
        assert d.journal.tail_seq() == 1210


async def test_over_the_cap_acknowledged_rows_go_and_the_others_stay(database: Path) -> None:
    async with desk(database, bytes_max=100_000) as d:
        past_ns = d.clock.now_ns() - 1
        await asyncio.gather(*(d.journal.append(event(n, ts_ns=past_ns)) for n in range(1000)))
        full = await d.journal.prune()
        assert full.rows == 0
        assert full.utilisation > 1
        await d.journal.acknowledge(900)
        freed = await d.journal.prune()
        assert freed.rows in (500, 900)
        assert d.journal.pending == 100
        assert freed.utilisation < full.utilisation
    async with desk(database, bytes_max=100_000) as again:
        assert again.journal.snapshot().bytes == round(freed.utilisation * 100_000)


async def test_the_size_of_a_long_journal_is_measured_before_anything_goes(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a start need not read every row, and nothing is removed on the strength of a guess.

    Method: the oldest rows are much larger than the newest, so an estimate by these is wrong.
    """
    async with desk(database) as d:
        past_ns = d.clock.now_ns() - 1
        large = [
            msgspec.structs.replace(event(n, ts_ns=past_ns), strategy="x" * 2_000)
            for n in range(100)
        ]
        small = [event(n, ts_ns=past_ns) for n in range(100, 400)]
        await asyncio.gather(*(d.journal.append(one) for one in (*large, *small)))
        true_bytes = d.journal.bytes
    monkeypatch.setattr(outbox, "EXACT_ROWS_MAX", 50)
    async with desk(database, bytes_max=true_bytes - 1) as again:
        assert again.journal.bytes < true_bytes / 2
        await again.journal.append(event(400, ts_ns=past_ns))
        await again.journal.acknowledge(401)
        freed = await again.journal.prune()
        assert freed.rows >= 1
        [(left, count)] = await again.reader.fetch_all(
            "SELECT sum(length(payload)), count(*) FROM outbox"
        )
        assert again.journal.bytes == left + count * outbox.ROW_OVERHEAD_BYTES


async def test_numbers_are_never_used_again(database: Path) -> None:
    async with desk(database, bytes_max=1) as d:
        await asyncio.gather(*(d.journal.append(event(n, ts_ns=1)) for n in range(1, 4)))
        await d.journal.park(3, "refused")
        await d.journal.acknowledge(2)
        await d.journal.prune()
        with pytest.raises(KeyError):
            await d.writer.submit(partial(append_and_fail, d.journal))
    async with desk(database) as d:
        await d.journal.append(event(5))
        assert [row.seq for row in await d.journal.read_batch(2)] == [4]
        assert await d.journal.requeue(3) == 5
        await d.journal.append(event(6))
        assert [row.seq for row in await d.journal.read_batch(2)] == [4, 5, 6]


def append_and_fail(journal: Journal, connection: sqlite3.Connection) -> None:
    journal.append_in(connection, [event(4)])
    raise KeyError(4)


async def test_neighbours_are_appended_together(database: Path) -> None:
    """Method: a hundred queued behind a job that waits make a group with one statement of rows."""
    async with desk(database) as d:
        sql: list[str] = []
        release = threading.Event()

        def trace_and_wait(connection: sqlite3.Connection) -> None:
            connection.set_trace_callback(sql.append)
            release.wait(10)

        d.writer.submit(trace_and_wait)
        futures = [d.journal.append(event(n)) for n in range(100)]
        release.set()
        await asyncio.gather(*futures)
        assert len([statement for statement in sql if statement.startswith("INSERT")]) <= 2
        await d.writer.submit(lambda c: c.set_trace_callback(None))


async def test_the_link_is_woken_after_each_commit(database: Path) -> None:
    async with desk(database) as d:
        seen: list[int] = []
        d.journal.set_wake(lambda: seen.append(d.journal.tail_seq()))
        await d.journal.append(event(1))
        await d.writer.submit(lambda c: None)
        await d.journal.append(event(2))
        assert seen == [1, 2]


async def test_memory_keeps_the_last_thousand(database: Path) -> None:
    async with desk(database) as d:
        await asyncio.gather(*(d.journal.append(event(n)) for n in range(1100)))
        assert [e.id for e in d.journal.recent()] == [f"e-{n}" for n in range(100, 1100)]


async def test_one_that_cannot_be_encoded_fails_alone(database: Path) -> None:
    async with desk(database) as d:
        bad = AlarmRaised(
            id=EventId("bad"),
            ts_ns=1,
            source="s",
            trace=TraceId("t"),
            code="c",
            priority=1,
            text=object(),  # type: ignore[arg-type]
            action="",
        )
        futures = [d.journal.append(e) for e in (event(1), bad, event(2))]
        await asyncio.wait(futures)
        assert [type(f.exception()) for f in futures] == [type(None), TypeError, type(None)]
        assert [row.event_id for row in await d.journal.read_batch(0)] == ["e-1", "e-2"]


async def test_replay_figures_are_shown(database: Path) -> None:
    async with desk(database) as d:
        d.journal.note_replay(events=10_000, duration_s=0.5)
        assert d.journal.snapshot().last_replay_rate_per_s == 20_000


async def test_a_full_group_is_one_statement(database: Path) -> None:
    """Goal: the promise of `one_statement`, without which a group could be half written."""
    async with desk(database) as d:
        said: list[str] = []
        await d.writer.submit(lambda connection: connection.set_trace_callback(said.append))
        release = threading.Event()
        d.writer.submit(lambda _: release.wait(10))
        jobs = [d.journal.append(event(number)) for number in range(1_200)]
        release.set()
        await asyncio.gather(*jobs)
        written = [line for line in said if line.startswith("INSERT INTO outbox")]
        assert len(written) in (3, 4)
        around = [line for line in said if line.startswith(("SAVEPOINT", "RELEASE"))]
        assert len(around) <= 4  # Of the job that held the others up, at most.

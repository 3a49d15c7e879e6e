"""At the cap: what waits is given up by class, counted truly, said in the journal, and never what
may have been sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from engine.database import DatabaseReader, DatabaseWriter, load_migrations
from engine.journal import Journal, JournalRow
from engine.model.events import (
    AccountEquityUpdated,
    Event,
    JournalShed,
    OrderIntended,
    SignalReceived,
    decode,
)
from engine.model.ids import ClientOrderId, SignalId, Symbol
from engine.model.values import Side
from engine.runtime import IdSource, Stamper
from engine.runtime.simulation import SimClock

_CAP = 200_000


class _HandClock(SimClock):
    """Time that the test moves by hand."""

    def __init__(self) -> None:
        super().__init__(start_ns=1_000_000_000_000)
        self.passed_s = 0.0

    def now_ns(self) -> int:
        return super().now_ns() + round(self.passed_s * 1e9)

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + round(self.passed_s * 1e9)


class Desk:
    """A journal with a small cap, linked to a Redis that takes nothing."""

    def __init__(self, path: Path, seed: int) -> None:
        self.clock = _HandClock()
        self.stamp = Stamper(clock=self.clock, ids=IdSource(seed=seed), source="test")
        self.writer = DatabaseWriter(
            path=path, migrations=load_migrations(files("resources") / "migrations")
        )
        self.reader = DatabaseReader(path=path)
        self.journal = Journal(
            writer=self.writer, reader=self.reader, clock=self.clock, bytes_max=_CAP
        )

    def equity(self) -> Event:
        some = Decimal(100_000)
        return AccountEquityUpdated(
            **self.stamp(), equity=some, balance=some, unrealised=some, peak=some, drawdown=some
        )

    def signal(self) -> Event:
        return SignalReceived(
            **self.stamp(),
            signal_id=SignalId("s"),
            symbol=Symbol("BTCUSDT"),
            side=Side.BUY,
            confidence=0.5,
            strategy="breakout",
        )

    def order(self) -> Event:
        return OrderIntended(
            **self.stamp(),
            client_order_id=ClientOrderId("desk-g1-1"),
            symbol=Symbol("BTCUSDT"),
            side=Side.BUY,
            quantity=Decimal(1),
        )

    async def append(self, *events: Event) -> list[str]:
        await asyncio.gather(*(self.journal.append(event) for event in events))
        return [event.id for event in events]

    async def shed(self, *, after_s: float = 10.0) -> list[JournalShed]:
        """Look, wait, and look again."""
        first = await self.journal.shed(self.stamp)
        self.clock.passed_s += after_s
        return first + await self.journal.shed(self.stamp)

    async def rows(self) -> list[JournalRow]:
        found: list[JournalRow] = []
        while batch := await self.journal.read_batch(found[-1].seq if found else 0):
            found += batch
        return found

    async def kept(self) -> Counter[str]:
        return Counter(row.type for row in await self.rows())


@asynccontextmanager
async def desk(path: Path, *, standalone: bool = False, seed: int = 1) -> AsyncIterator[Desk]:
    made = Desk(path, seed)
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


async def test_telemetry_goes_first_and_only_as_much_as_must(database: Path) -> None:
    async with desk(database) as d:
        rounds = 0
        while d.journal.bytes < 1.1 * _CAP:
            await d.append(d.order(), d.equity(), d.signal())
            rounds += 1
        before = d.journal.snapshot()
        events = await d.shed()
        after = d.journal.snapshot()
        gone = before.written - sum((await d.kept()).values()) + len(events)
        assert after.shed == gone > 0
        assert after.shed_types == {"account.equity.updated": gone}
        assert 0.90 * _CAP < after.bytes <= 0.96 * _CAP
        # The oldest went.
        left = [row.seq for row in await d.rows() if row.type == "account.equity.updated"]
        assert left == list(range(3 * gone + 2, 3 * rounds + 1, 3))
        assert after.pending == after.written - after.shed == len(await d.rows())


async def test_notes_go_when_no_telemetry_is_left_and_records_never(database: Path) -> None:
    async with desk(database) as d:
        for _ in range(300):
            await d.append(d.order(), d.order(), d.order(), d.signal())
        await d.append(*(d.equity() for _ in range(60)))
        await d.shed()
        kept = await d.kept()
        assert kept["order.intended"] == 900
        assert kept["account.equity.updated"] == 0
        assert kept["signal.received"] == 0
        figures = d.journal.snapshot()
        assert figures.shed_types == {"account.equity.updated": 60, "signal.received": 300}
        assert figures.bytes > _CAP
        assert figures.bytes == sum(150 + len(row.payload) for row in await d.rows())


async def test_it_is_said_in_the_journal_in_the_same_transaction(database: Path) -> None:
    async with desk(database) as d:
        await d.append(*(d.equity() for _ in range(1_000)))
        events = await d.shed()
        told = [row for row in await d.rows() if row.type == "journal.shed"]
        decoded = [decode(r.type, r.event_id, r.ts_ns, r.source, r.trace, r.payload) for r in told]
        assert decoded == events
        [event] = events
        assert event.types == {"account.equity.updated": event.events}
        assert (event.first_seq, event.last_seq) == (1, event.events)
        assert event.first_ns <= event.last_ns == event.first_ns
        assert d.journal.recent()[-1] == event


async def test_what_has_not_waited_is_not_given_up(database: Path) -> None:
    """A link that is up acknowledges within a second, and loses nothing."""
    async with desk(database) as d:
        await d.append(*(d.equity() for _ in range(1_000)))
        assert await d.shed(after_s=9.9) == []
        await d.append(*(d.equity() for _ in range(100)))
        d.clock.passed_s += 0.2
        await d.journal.shed(d.stamp)
        kept = [row.seq for row in await d.rows() if row.type == "account.equity.updated"]
        assert kept[-100:] == list(range(1_001, 1_101))


async def test_what_may_have_been_sent_is_never_given_up(database: Path) -> None:
    async with desk(database) as d:
        await d.append(*(d.equity() for _ in range(1_000)))
        sent = await d.journal.read_to_send(0, 150)
        await d.shed()
        rows = await d.rows()
        assert rows[:150] == sent
        assert rows[150].seq > 151
        assert d.journal.snapshot().shed > 0


async def test_reading_to_send_and_shedding_exclude_each_other(database: Path) -> None:
    """Method: both at once, many times; whatever was read to be sent is still there."""
    async with desk(database) as d:
        after = 0
        for _ in range(12):
            await d.append(*(d.equity() for _ in range(300)))
            await d.journal.shed(d.stamp)
            d.clock.passed_s += 10
            read, _ = await asyncio.gather(
                d.journal.read_to_send(after, 30), d.journal.shed(d.stamp)
            )
            assert read
            after = read[-1].seq
            there = {row.seq for row in await d.rows()}
            assert {row.seq for row in read} <= there
        assert d.journal.snapshot().shed > 1_000


async def test_the_cursor_passes_over_the_holes(database: Path) -> None:
    async with desk(database) as d:
        await d.append(*(d.equity() for _ in range(1_000)), d.order())
        await d.shed()
        arrived = []
        after = 0
        while batch := await d.journal.read_to_send(after, 200):
            arrived += [row.event_id for row in batch]
            after = batch[-1].seq
            await d.journal.acknowledge(after)
        figures = d.journal.snapshot()
        assert figures.pending == 0
        assert figures.acknowledged == len(arrived) == figures.written - figures.shed
        assert figures.oldest_pending_age_s is None


async def test_counts_and_numbers_survive_a_restart_and_what_was_there_stays(
    database: Path,
) -> None:
    async with desk(database) as d:
        await d.append(*(d.equity() for _ in range(1_000)))
        await d.shed()
        before, rows = d.journal.snapshot(), await d.rows()
    async with desk(database, seed=2) as d:
        d.clock.passed_s = 10.0
        assert d.journal.snapshot() == before
        # What is there may have been sent by the engine before; only newer rows go.
        await d.append(*(d.equity() for _ in range(300)))
        await d.shed()
        assert (await d.rows())[: len(rows)] == rows
        assert d.journal.snapshot().shed > before.shed


async def test_a_handful_waits_for_its_minute(database: Path) -> None:
    """Each time costs a row that says so: a trickle must not be answered with a trickle."""
    async with desk(database) as d:
        await d.append(*(d.order() for _ in range(800)))
        told = 0
        for _ in range(24):  # Two minutes, an equity mark every five seconds.
            await d.append(d.equity(), d.order())
            told += len(await d.shed(after_s=5))
        assert told == 2
        assert d.journal.snapshot().shed > 10


async def test_standalone_gives_nothing_up(database: Path) -> None:
    async with desk(database, standalone=True) as d:
        await d.append(*(d.equity() for _ in range(1_000)))
        assert await d.shed() == []
        assert d.journal.snapshot().acknowledged == 1_000

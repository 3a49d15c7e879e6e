"""The trade store: a change and its events are one; executions, trips and clearings count once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from engine.database import DatabaseReader, DatabaseWriter, load_migrations, write_generation
from engine.journal import Journal
from engine.model.emergency import Clearing, Trip, TripSource
from engine.model.errors import PolicyConflict, StoreError
from engine.model.events import AlarmRaised, Event
from engine.model.ids import (
    ClientOrderId,
    EventId,
    ExecutionId,
    Symbol,
    TraceId,
    TradeId,
    TripId,
    client_order_id,
)
from engine.model.orders import (
    Fill,
    Intent,
    OrderKind,
    OrderPurpose,
    OrderRecord,
    OrderState,
    PositionRecord,
    TradeRecord,
)
from engine.model.policy import PolicyDocument
from engine.model.records import AlarmRecord, EquityMark
from engine.model.values import Side
from engine.runtime.simulation import SimClock
from engine.trade_state import TradeStore

BTC = Symbol("BTCUSDT")
MARK = EquityMark(
    ts_ns=10,
    equity=Decimal("9990.5"),
    balance=Decimal("10000"),
    unrealised=Decimal("-9.5"),
    peak=Decimal("10010"),
    drawdown=Decimal("0.00195"),
)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Stands for the ledger's totals, which this layer does not know."""

    realised: Decimal
    peak: Decimal


@dataclass(frozen=True)
class Booked:
    fill: Fill
    position: PositionRecord
    trade: TradeRecord | None
    closed: TradeRecord | None
    totals: Totals


@dataclass
class Desk:
    path: Path
    writer: DatabaseWriter
    reader: DatabaseReader
    journal: Journal
    store: TradeStore

    async def journaled(self) -> list[str]:
        return [row.event_id for row in await self.journal.read_batch(0)]


async def open_desk(path: Path) -> Desk:
    writer = DatabaseWriter(
        path=path, migrations=load_migrations(files("resources") / "migrations")
    )
    reader = DatabaseReader(path=path)
    journal = Journal(writer=writer, reader=reader, clock=SimClock(start_ns=1))
    store = TradeStore(writer=writer, reader=reader, journal=journal, node="desk")
    await writer.open()
    await reader.open()
    await journal.open(standalone=False)
    return Desk(path, writer, reader, journal, store)


async def close_desk(desk: Desk) -> None:
    await desk.reader.close()
    await desk.writer.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    opened = await open_desk(tmp_path / "state.db")
    await opened.writer.submit(lambda c: write_generation(c, 3, created_ns=1))
    yield opened
    await close_desk(opened)


def event(name: str) -> Event:
    return AlarmRaised(
        id=EventId(name),
        ts_ns=1,
        source="test",
        trace=TraceId(name),
        code="c",
        priority=3,
        text="t",
        action="a",
    )


def intent(number: int, *, generation: int = 3) -> Intent:
    return Intent(
        client_order_id=client_order_id("desk", generation, number),
        symbol=BTC,
        side=Side.BUY,
        kind=OrderKind.MARKET,
        purpose=OrderPurpose.ENTRY,
        quantity=Decimal("0.010"),
        leverage=Decimal(5),
        stop_loss=Decimal("0.03"),
        created_ns=number,
    )


def fill(number: int) -> Fill:
    return Fill(
        execution_id=ExecutionId(f"x-{number}"),
        client_order_id=intent(number).client_order_id,
        venue_order_id=None,
        symbol=BTC,
        side=Side.BUY,
        quantity=Decimal("0.010"),
        price=Decimal("60000.10"),
        fee=Decimal("0.3000005"),
        fee_currency="USDT",
        ts_ns=100 + number,
    )


def order(number: int, state: OrderState = OrderState.FILLED) -> OrderRecord:
    return OrderRecord(intent=intent(number), state=state, updated_ns=number)


def trade(name: str, *, closed_ns: int | None = None, realised: str = "0") -> TradeRecord:
    return TradeRecord(
        trade_id=TradeId(name),
        symbol=BTC,
        side=Side.BUY,
        quantity=Decimal("0.010"),
        entry_price=Decimal("60000.10"),
        realised=Decimal(realised),
        opened_ns=1,
        closed_ns=closed_ns,
    )


def booked(number: int, *, closed: TradeRecord | None = None) -> Booked:
    return Booked(
        fill=fill(number),
        position=PositionRecord(
            symbol=BTC, quantity=Decimal("0.010"), entry_price=Decimal("60000.10")
        ),
        trade=trade("t-1"),
        closed=closed,
        totals=Totals(realised=Decimal(number), peak=Decimal("10010")),
    )


def policy(version: int) -> PolicyDocument:
    return PolicyDocument(
        version=version,
        author="operator",
        ts_ns=version,
        reason=f"r{version}",
        profile="conservative",
        profiles={},
        allow_new_trades=True,
    )


async def test_an_intent_and_its_order_and_event_are_one(desk: Desk) -> None:
    await desk.store.record_intent(intent(1), [event("e-1")])
    with pytest.raises(StoreError):
        await desk.store.record_intent(intent(1), [event("e-2")])
    found = await desk.store.load_open()
    assert found.orders == (order(1, OrderState.INTENDED),)
    assert found.highest_number == 1
    assert await desk.journaled() == ["e-1"]


async def test_an_intent_that_moved_on_is_open_once_or_not_at_all(desk: Desk) -> None:
    for number in (1, 2, 3):
        await desk.store.record_intent(intent(number), [])
    await desk.store.record_order(order(1, OrderState.UNRESOLVED), [])
    await desk.store.record_order(order(2, OrderState.DENIED), [])
    assert (await desk.store.load_open()).orders == (
        order(1, OrderState.UNRESOLVED),
        order(3, OrderState.INTENDED),
    )


async def test_an_event_that_cannot_be_written_takes_its_change_with_it(desk: Desk) -> None:
    await desk.store.record_intent(intent(1), [event("e-1")])
    with pytest.raises(StoreError):
        await desk.store.record_intent(intent(2), [event("e-1")])
    assert [o.client_order_id for o in (await desk.store.load_open()).orders] == ["desk-g3-1"]


async def test_final_orders_are_not_open_and_lost_ones_are(desk: Desk) -> None:
    states = list(OrderState)
    for number, state in enumerate(states, start=1):
        await desk.store.record_order(order(number, state), [])
    found = (await desk.store.load_open()).orders
    assert {o.state for o in found} == {state for state in states if not state.is_final}
    assert OrderState.LOST in {o.state for o in found}
    assert found == tuple(sorted(found, key=lambda o: o.updated_ns))


async def test_a_fill_is_booked_once_with_everything_it_changes(desk: Desk) -> None:
    store = desk.store
    closed = trade("t-0", closed_ns=5, realised="-3.5")
    assert await store.record_fill(order(1), booked(1, closed=closed), [event("e-1")])
    again = replace(order(1), reason="again")
    assert not await store.record_fill(again, booked(1), [event("e-2")])
    found = await store.load_open()
    assert await desk.journaled() == ["e-1"]
    assert await store.history.fills() == [fill(1)]
    assert await store.history.orders() == [order(1)]
    assert await store.history.closed_trades() == [closed]
    assert found.positions == (booked(1).position,)
    assert found.trades == (trade("t-1"),)
    assert found.executions == ("x-1",)
    assert found.last_fill_ns == 101
    assert found.totals_json is not None
    assert msgspec.json.decode(found.totals_json, type=Totals) == booked(1).totals


async def test_a_flat_position_is_not_open(desk: Desk) -> None:
    flat = PositionRecord(symbol=BTC, quantity=Decimal("0.000"), entry_price=Decimal(0))
    await desk.store.record_totals(booked(1).totals, [event("e-1")], positions=[flat])
    found = await desk.store.load_open()
    assert found.positions == ()
    assert found.positions_stamp_ns == flat.updated_ns
    assert await desk.journaled() == ["e-1"]


async def test_trades_are_saved_found_listed_and_deleted(desk: Desk) -> None:
    store = desk.store
    await asyncio.gather(*(store.save(trade(f"t-{n}")) for n in range(50)))
    await store.save(trade("t-7", closed_ns=9))
    assert await store.get(TradeId("t-7")) == trade("t-7", closed_ns=9)
    assert len(await store.list_open_trades()) == 49
    assert await store.delete(TradeId("t-7"))
    assert not await store.delete(TradeId("t-7"))
    assert await store.get(TradeId("t-7")) is None


async def test_many_callers_at_once_see_and_leave_whole_changes(desk: Desk) -> None:
    """Goal: concurrent callers are safe. Method: forty tasks that write, read, delete and edit the
    same things without waiting for each other; every answer is counted and compared at the end.
    """
    store, seen, won = desk.store, 0, 0
    booked_once: list[int] = []

    async def caller(number: int) -> None:
        nonlocal seen, won
        for turn in range(10):
            await asyncio.gather(
                store.save(trade("shared", realised=str(number)), [event(f"e-{number}-{turn}")]),
                store.save(trade(f"own-{number}-{turn}")),
                store.append_audit(who=f"{number}", what="w", why="y", where="t", ts_ns=turn),
            )
            found = await store.get(TradeId("shared"))
            assert found is not None
            assert found.realised in {Decimal(other) for other in range(40)}
            listed = await store.list_open_trades()
            seen += found.trade_id in {one.trade_id for one in listed}
            if await store.record_fill(order(turn + 1), booked(turn + 1), []):
                booked_once.append(turn)
            try:
                await store.record_policy_version(policy(turn + 1), turn)
                won += 1
            except PolicyConflict:
                pass
            if turn % 2:
                assert await store.delete(TradeId(f"own-{number}-{turn}"))

    await asyncio.gather(*(caller(number) for number in range(40)))
    assert seen == 400
    assert sorted(booked_once) == list(range(10)), "an execution was booked twice or never"
    assert won == 10, "two editors won the same version, or nobody did"
    left = {one.trade_id for one in await store.list_open_trades()}
    assert left == {"shared", "t-1"} | {f"own-{n}-{t}" for n in range(40) for t in range(0, 10, 2)}
    assert len(await desk.store.history.audit(limit=1_000)) == 400 + won
    assert await store.verify_audit() is None
    journaled = [row[0] for row in await desk.reader.fetch_all("SELECT event_id FROM outbox")]
    assert sorted(journaled) == sorted(f"e-{n}-{t}" for n in range(40) for t in range(10))


@pytest.mark.parametrize(
    ("results", "streak"),
    [([], 0), (["1"], 0), (["-1", "1", "-1", "-2"], 2), (["-1", "-1"], 2), (["-1", "0"], 0)],
)
async def test_the_losing_streak_is_counted_back_from_the_last_trade(
    desk: Desk, results: list[str], streak: int
) -> None:
    for number, realised in enumerate(results):
        await desk.store.save(trade(f"t-{number}", closed_ns=number + 1, realised=realised))
    assert (await desk.store.load_open()).loss_streak == streak


async def test_the_peak_survives_with_the_last_mark(desk: Desk) -> None:
    await desk.store.record_equity_mark(MARK, Totals(realised=Decimal(1), peak=MARK.peak))
    await desk.store.record_equity_mark(
        replace(MARK, ts_ns=20, equity=Decimal("9000")),
        Totals(realised=Decimal(1), peak=MARK.peak),
        [event("e-1")],
    )
    await close_desk(desk)
    again = await open_desk(desk.path)
    mark = (await again.store.load_open()).last_mark
    assert mark is not None
    assert (mark.ts_ns, mark.equity, mark.peak) == (20, Decimal("9000"), Decimal("10010"))
    assert await again.journaled() == ["e-1"]
    await close_desk(again)


async def test_the_equity_curve_is_thinned_and_ends_where_it_ends(desk: Desk) -> None:
    totals = Totals(realised=Decimal(0), peak=MARK.peak)
    marks = [replace(MARK, ts_ns=n, equity=Decimal(n)) for n in range(1000)]
    await asyncio.gather(*(desk.store.record_equity_mark(mark, totals) for mark in marks))
    thin = await desk.store.history.equity(from_ns=0, to_ns=999, points=100)
    assert 100 <= len(thin) <= 112
    assert thin == sorted(thin, key=lambda mark: mark.ts_ns)
    assert thin[-1] == marks[-1]
    assert await desk.store.history.equity(from_ns=0, to_ns=999, points=10_000) == marks


async def test_of_two_policy_editors_the_second_gets_a_conflict(desk: Desk) -> None:
    store = desk.store
    await store.record_policy_version(policy(1), 0, [event("e-1")])
    first = store.record_policy_version(policy(2), 1, [event("e-2")])
    second = store.record_policy_version(replace(policy(2), author="other"), 1, [event("e-3")])
    await asyncio.gather(first, second, return_exceptions=True)
    conflict = second.exception()
    assert isinstance(conflict, PolicyConflict)
    assert (conflict.base_version, conflict.current_version) == (1, 2)
    assert [doc.version for doc in await store.history.policies()] == [2, 1]
    assert (await store.load_open()).policy == policy(2)
    assert await store.history.policy(1) == policy(1)
    assert await store.history.policy(7) is None
    assert await desk.journaled() == ["e-1", "e-2"]


async def test_a_trip_is_uncleared_until_a_clearing_names_it(desk: Desk) -> None:
    store = desk.store
    trips = [
        Trip(id=TripId(f"x-{n}"), source=TripSource.BUTTON, reason="r", ts_ns=n) for n in (1, 2)
    ]
    assert await store.record_trip(trips[0], [event("e-1")])
    assert not await store.record_trip(trips[0], [event("e-2")])
    await store.record_trip(trips[1])
    clearing = Clearing(
        id="c-1", trips=(TripId("x-1"),), author="op", cause="drill", reason="r", ts_ns=3
    )
    assert await store.record_clearing(clearing, [event("e-3")])
    assert not await store.record_clearing(clearing, [event("e-4")])
    found = await store.load_open()
    assert found.trips == tuple(trips)
    assert found.clearings == (clearing,)
    assert found.trips_uncleared == (trips[1],)
    assert await desk.journaled() == ["e-1", "e-3"]


async def test_an_alarm_is_open_until_it_is_cleared(desk: Desk) -> None:
    alarm = AlarmRecord(id="a-1", code="disk", priority=1, text="t", action="a", raised_ns=1)
    await desk.store.record_alarm(alarm, [event("e-1")])
    assert (await desk.store.load_open()).alarms == (alarm,)
    cleared = replace(alarm, cleared_ns=2)
    await desk.store.record_alarm(cleared)
    assert (await desk.store.load_open()).alarms == ()
    assert await desk.store.history.alarms() == [cleared]


async def test_numbers_of_another_generation_or_origin_do_not_count(desk: Desk) -> None:
    foreign = replace(intent(1), client_order_id=ClientOrderId("manual-order"))
    for made in (intent(900, generation=2), intent(4), intent(12), intent(5), foreign):
        await desk.store.record_intent(made, [])
    found = await desk.store.load_open()
    assert (found.generation, found.highest_number) == (3, 12)


async def audited(desk: Desk, count: int) -> None:
    for number in range(1, count + 1):
        entry = await desk.store.append_audit(
            who="operator", what=f"did {number}", why="because – ünïcode", where="console", ts_ns=7
        )
        assert entry.seq == number


async def test_an_untouched_audit_trail_is_unbroken(desk: Desk) -> None:
    assert await desk.store.verify_audit() is None
    await audited(desk, 1203)
    assert await desk.store.verify_audit() is None
    page = await desk.store.history.audit(after_seq=1200)
    assert [entry.what for entry in page] == ["did 1201", "did 1202", "did 1203"]


@pytest.mark.parametrize(
    ("tampering", "broken"),
    [
        ("UPDATE audit SET why = 'no reason' WHERE seq = 4", 4),
        ("UPDATE audit SET ts_ns = 8 WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 6", 6),
        ("DELETE FROM audit WHERE seq >= 9", 9),
        ("DELETE FROM audit", 1),
        ("UPDATE audit SET digest = 'x' WHERE seq = 10", 10),
        ("UPDATE audit SET seq = 11 WHERE seq = 10", 10),
    ],
)
async def test_the_first_broken_link_is_named(desk: Desk, tampering: str, broken: int) -> None:
    await audited(desk, 10)
    await desk.writer.submit(lambda c: c.execute(tampering))
    assert await desk.store.verify_audit() == broken


async def test_what_an_operator_said_outlives_a_restart_until_it_is_unsaid(tmp_path: Path) -> None:
    first = await open_desk(tmp_path / "state.db")
    await first.store.record_standing("halted", "before the news")
    await first.store.record_standing("needs_start", "after a reset")
    await first.store.record_standing("needs_start", None)
    await close_desk(first)
    again = await open_desk(tmp_path / "state.db")
    assert (await again.store.load_open()).standing == {"halted": "before the news"}
    await close_desk(again)

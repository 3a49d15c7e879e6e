"""The bus: order, the fast path, pressure, saturation, faults of handlers, the orderly stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from engine.bus import EventBus
from engine.model.errors import BusSaturated, InvariantBroken, StoreError
from engine.model.events import (
    AlarmRaised,
    BusQueueCleared,
    BusQueueCritical,
    BusQueueWarning,
    Event,
    LinkChanged,
    MarketMark,
    MarketTick,
    OrderAccepted,
    OrderEvent,
    OrderSubmitted,
    SignalReceived,
    TradeOpened,
)
from engine.model.ids import ClientOrderId, SignalId, Symbol, TradeId
from engine.model.snapshots import BusTypeSnapshot
from engine.model.values import Side
from engine.runtime import (
    CountingStopwatch,
    IdSource,
    SimClock,
    Stamper,
    SystemClock,
    read_stopwatch_ns,
    run_simulated,
)
from tests.fakes.event_log import MemoryEventLog
from tests.waiting import eventually

BTC = Symbol("BTCUSDT")
Hold = Callable[[Event], None]


class Desk:
    """A bus with a journal in memory, and events to put on it."""

    def __init__(self, *, capacity: int = 100, clock: SimClock | SystemClock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.log = MemoryEventLog()
        self.stamp = Stamper(clock=self.clock, ids=IdSource(seed=1), source="test")
        self.bus = EventBus(
            clock=self.clock,
            stopwatch=read_stopwatch_ns,
            log=self.log,
            stamper=self.stamp,
            capacity=capacity,
        )
        self.heard: list[Event] = []

    def listen(self, *types: type[Event]) -> Callable[[], None]:
        return self.bus.subscribe(self.heard.append, types=types or None)

    def tick(self, symbol: str = BTC, price: int = 1) -> MarketTick:
        return MarketTick(
            **self.stamp(),
            symbol=Symbol(symbol),
            price=Decimal(price),
            quantity=Decimal(1),
            side=Side.BUY,
        )

    def mark(self, symbol: str = BTC) -> MarketMark:
        return MarketMark(**self.stamp(), symbol=Symbol(symbol), price=Decimal(1))

    def signal(self) -> SignalReceived:
        return SignalReceived(
            **self.stamp(),
            signal_id=SignalId("s-1"),
            symbol=BTC,
            side=Side.BUY,
            confidence=0.5,
            strategy="breakout",
        )

    def order(self, kind: type[OrderEvent] = OrderAccepted, number: int = 1) -> OrderEvent:
        return kind(
            **self.stamp(),
            client_order_id=ClientOrderId(f"desk-g1-{number}"),
            symbol=BTC,
            side=Side.BUY,
            quantity=Decimal(1),
        )

    def trade(self) -> TradeOpened:
        return TradeOpened(
            **self.stamp(),
            trade_id=TradeId("t-1"),
            symbol=BTC,
            side=Side.BUY,
            quantity=Decimal(1),
            entry_price=Decimal(1),
            opened_at=0,
        )

    def types(self) -> dict[str, BusTypeSnapshot]:
        return {row.type: row for row in self.bus.type_rows()}

    async def settled(self) -> None:
        await eventually(lambda: self.bus.snapshot().size == 0)


# --- order and subscriptions -----------------------------------------------------------------


async def test_queued_events_reach_every_subscriber_in_order_after_emit_returned() -> None:
    desk = Desk()
    others: list[Event] = []
    desk.listen(SignalReceived, TradeOpened)
    desk.bus.subscribe(others.append, types=(TradeOpened,))
    sent: list[Event] = [desk.signal(), desk.trade(), desk.signal(), desk.trade()]
    for event in sent:
        desk.bus.emit(event)
    assert desk.heard == []
    await desk.settled()
    assert desk.heard == sent
    assert others == [sent[1], sent[3]]


async def test_a_base_class_hears_its_family_and_unsubscribed_hears_nothing() -> None:
    desk = Desk()
    leave = desk.listen(OrderEvent)
    first = desk.order(OrderSubmitted)
    desk.bus.emit(first)
    leave()
    leave()
    desk.bus.emit(desk.order(OrderAccepted))
    assert desk.heard == [first]


# --- fast path -------------------------------------------------------------------------------


async def test_fast_events_are_delivered_before_emit_returns_whatever_is_queued() -> None:
    desk = Desk()
    desk.listen()
    for number in range(40):
        desk.bus.emit(desk.tick(f"S{number}"))
    order = desk.order()
    desk.bus.emit(order)
    assert desk.heard == [order]
    await desk.settled()


async def test_fast_events_inside_a_fast_handler_come_after_it_in_order() -> None:
    desk = Desk()
    depth = 0
    trail: list[tuple[str, int]] = []

    def first(event: OrderEvent) -> None:
        nonlocal depth
        depth += 1
        assert depth == 1, "delivered recursively"
        trail.append(("first", int(event.client_order_id.rpartition("-")[2])))
        if event.client_order_id.endswith("-1"):
            desk.bus.emit(desk.order(number=2))
            desk.bus.emit(desk.order(number=3))
        depth -= 1

    def second(event: OrderEvent) -> None:
        trail.append(("second", int(event.client_order_id.rpartition("-")[2])))

    desk.bus.subscribe(first, types=(OrderEvent,))
    desk.bus.subscribe(second, types=(OrderEvent,))
    desk.bus.emit(desk.order(number=1))
    assert trail == [(name, n) for n in (1, 2, 3) for name in ("first", "second")]


async def test_a_fast_event_from_a_queued_handler_is_delivered_at_once() -> None:
    desk = Desk()
    trail: list[str] = []

    def on_signal(event: SignalReceived) -> None:
        trail.append("signal")
        desk.bus.emit(desk.order())
        trail.append("emitted")

    desk.bus.subscribe(on_signal, types=(SignalReceived,))
    desk.bus.subscribe(lambda _: trail.append("order"), types=(OrderAccepted,))
    desk.bus.emit(desk.signal())
    await desk.settled()
    assert trail == ["signal", "order", "emitted"]


async def test_a_fast_storm_inside_handlers_is_bounded() -> None:
    desk = Desk(capacity=50)
    refused = 0

    def storm(_: OrderEvent) -> None:
        nonlocal refused
        for number in range(60):
            try:
                desk.bus.emit(desk.order(number=number + 1))
            except BusSaturated:
                refused += 1
        leave()

    leave = desk.bus.subscribe(storm, types=(OrderEvent,))
    desk.bus.emit(desk.order())
    assert refused == 10
    assert desk.bus.is_saturated()


# --- journal ---------------------------------------------------------------------------------


async def test_durable_events_go_to_the_journal_unless_their_transaction_wrote_them() -> None:
    desk = Desk()
    order, trade, tick = desk.order(), desk.trade(), desk.tick()
    desk.bus.emit(order)
    desk.bus.emit(trade)
    desk.bus.emit(tick)
    desk.bus.emit(desk.order(), journaled=True)
    desk.bus.emit(second := desk.tick(), durable=True)
    assert desk.log.events == [order, trade, second]
    await desk.settled()


async def test_a_durable_event_is_in_the_journal_although_the_queue_is_full() -> None:
    desk = Desk(capacity=10)
    for _ in range(10):
        desk.bus.emit(desk.signal())
    eleventh = desk.signal()
    with pytest.raises(BusSaturated):
        desk.bus.emit(eleventh)
    assert eleventh in desk.log.events
    await desk.settled()


@pytest.mark.allow_log("could not be written to the journal")
async def test_fast_events_are_delivered_though_the_journal_fails() -> None:
    desk = Desk()
    desk.listen(OrderEvent)
    desk.bus.emit(first := desk.order())
    desk.log.full = True
    desk.bus.emit(second := desk.order())
    assert desk.heard == [first, second]
    assert desk.bus.journal_errors == 1


async def test_publish_durable_returns_after_the_commit_and_not_before() -> None:
    desk = Desk()
    desk.listen()
    event = desk.trade()
    publishing = asyncio.ensure_future(desk.bus.publish_durable(event))
    await eventually(lambda: desk.log.events == [event])
    await asyncio.sleep(0.01)
    assert not publishing.done()
    assert desk.heard == []
    desk.log.commit()
    await publishing
    await desk.settled()
    assert desk.heard == [event]
    assert desk.log.events == [event]


async def test_publish_durable_publishes_nothing_that_was_not_written() -> None:
    desk = Desk()
    desk.listen()
    publishing = asyncio.ensure_future(desk.bus.publish_durable(desk.trade()))
    await eventually(lambda: desk.log.events)
    desk.log.commit(StoreError("disk is full"))
    with pytest.raises(StoreError):
        await publishing
    assert desk.heard == []


# --- pressure --------------------------------------------------------------------------------


async def test_ticks_are_conflated_per_type_and_symbol_from_half_the_capacity_on() -> None:
    desk = Desk(capacity=100)
    desk.listen()
    for price in range(1, 51):
        desk.bus.emit(desk.tick(price=price))
    for price in range(51, 1001):
        desk.bus.emit(desk.tick(price=price))
        desk.bus.emit(desk.tick("ETHUSDT", price=price))
        desk.bus.emit(desk.mark())
    assert desk.bus.snapshot().size == 53
    await desk.settled()
    prices = [int(event.price) for event in desk.heard if isinstance(event, MarketTick)]
    assert prices == [*range(1, 51), 1000, 1000]
    snapshot = desk.bus.snapshot()
    assert (snapshot.conflated, snapshot.dropped) == (3 * 949, 0)
    assert snapshot.published == len(desk.heard) + snapshot.conflated == 50 + 3 * 950


async def test_only_ticks_are_dropped_and_each_is_counted() -> None:
    desk = Desk(capacity=10)
    desk.listen()
    signals = [desk.signal() for _ in range(10)]
    for signal in signals:
        desk.bus.emit(signal)
    for number in range(7):
        desk.bus.emit(desk.tick(f"S{number}"))
    await desk.settled()
    assert [event for event in desk.heard if isinstance(event, SignalReceived)] == signals
    types = desk.types()
    assert types["market.tick"].dropped == 7
    assert types["market.tick"].published == 7
    assert types["signal.received"].dropped == 0


async def test_room_lets_a_replay_through_without_conflating_a_tick() -> None:
    desk = Desk(capacity=100)
    desk.listen()
    sent = [desk.tick(price=price) for price in range(1, 2001)]
    for tick in sent:
        await desk.bus.room()
        desk.bus.emit(tick)
    await desk.settled()
    assert desk.heard == sent


async def test_publish_waits_for_room_and_emit_does_not() -> None:
    desk = Desk(capacity=10)
    desk.listen(SignalReceived)
    sent = [desk.signal() for _ in range(14)]
    # Made first, so that they take their first step before the first drain.
    late = [asyncio.ensure_future(desk.bus.publish(signal)) for signal in sent[10:]]
    for signal in sent[:10]:
        desk.bus.emit(signal)
    await asyncio.gather(*late)
    await desk.settled()
    assert desk.heard == sent
    journaled = [event for event in desk.log.events if isinstance(event, SignalReceived)]
    assert journaled == sent
    assert desk.types()["signal.received"].delayed == 4


async def test_publish_gives_up_after_one_second_of_a_full_queue() -> None:
    desk = Desk(capacity=10)
    # A handler refills what the drain empties, so that there is never room.
    leave = desk.bus.subscribe(lambda _: desk.bus.emit(desk.signal()), types=(SignalReceived,))
    for _ in range(10):
        desk.bus.emit(desk.signal())
    began = time.monotonic()
    late = desk.signal()
    with pytest.raises(BusSaturated):
        await desk.bus.publish(late)
    assert 0.9 < time.monotonic() - began < 2.0
    assert desk.bus.is_saturated()
    assert late in desk.log.events
    leave()
    await desk.settled()


@pytest.mark.allow_log("publish.* inside a handler|handler .* raised")
async def test_publish_is_refused_inside_handlers() -> None:
    desk = Desk()
    refusals: list[type[Exception]] = []

    def ask(_: Event) -> None:
        for publish in (desk.bus.publish, desk.bus.publish_durable):
            try:
                publish(desk.signal()).close()
            except InvariantBroken as error:
                refusals.append(type(error))

    desk.bus.subscribe(ask, types=(OrderAccepted, MarketTick))
    desk.bus.emit(desk.order())
    desk.bus.emit(desk.tick())
    await desk.settled()
    assert refusals == [InvariantBroken] * 4


# --- saturation ------------------------------------------------------------------------------


async def test_saturation_rises_at_80_and_95_and_clears_below_70_per_cent() -> None:
    desk = Desk(capacity=100)
    desk.listen(BusQueueWarning, BusQueueCritical, BusQueueCleared)
    for number in range(1, 96):
        desk.bus.emit(desk.signal())
        expected = 0 if number < 80 else 1 if number < 95 else 2
        assert len(desk.heard) == expected
        assert desk.bus.is_saturated() is (number >= 95)
    critical = desk.heard[1]
    assert isinstance(critical, BusQueueCritical)
    assert (critical.size, critical.capacity, critical.utilisation) == (95, 100, 0.95)
    assert critical.published >= 95
    await desk.settled()
    assert [type(event) for event in desk.heard] == [
        BusQueueWarning,
        BusQueueCritical,
        BusQueueCleared,
    ]
    assert desk.bus.snapshot().state == "normal"
    assert desk.bus.snapshot().high_water == 95
    assert not desk.bus.is_saturated()


def test_a_warning_is_given_at_most_once_in_30_seconds() -> None:
    async def story(clock: SimClock) -> list[str]:
        desk = Desk(capacity=100, clock=clock)
        desk.listen(BusQueueWarning, BusQueueCleared)
        for _ in range(62):  # Every second, for a minute and a bit.
            for _ in range(80):
                desk.bus.emit(desk.signal())
            await clock.sleep(1)
        return [event.TYPE for event in desk.heard]

    heard = run_simulated(story, start_ns=0)
    assert heard == ["bus.queue.warning", "bus.queue.cleared"] * 3


def test_the_gate_stays_shut_for_10_seconds_after_a_refusal() -> None:
    async def story(clock: SimClock) -> list[bool]:
        desk = Desk(capacity=10, clock=clock)
        for _ in range(10):
            desk.bus.emit(desk.signal())
        with pytest.raises(BusSaturated):
            desk.bus.emit(desk.signal())
        saturated = []
        for _ in range(3):
            await clock.sleep(5)
            saturated.append(desk.bus.is_saturated())
        return saturated

    assert run_simulated(story, start_ns=0) == [True, True, False]


# --- handlers that misbehave -------------------------------------------------------------------


@pytest.mark.allow_log("handler crasher raised on (signal.received|order.accepted)")
async def test_a_raising_handler_hurts_nobody_and_is_logged_once_a_burst(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk()

    def crash(_: Event) -> None:
        raise RuntimeError("broken")

    desk.bus.subscribe(crash, name="crasher", types=(SignalReceived, OrderAccepted))
    desk.listen(SignalReceived, OrderAccepted)
    first = desk.signal()
    desk.bus.emit(first)
    for _ in range(89):  # Enough for the untimed path of a flood too.
        desk.bus.emit(desk.signal())
    await desk.settled()
    desk.bus.emit(desk.order())
    assert len(desk.heard) == 91
    [crasher] = desk.bus.handler_rows()
    assert (crasher.name, crasher.errors, crasher.slow) == ("crasher", 91, 0)
    assert crasher.last_fault.startswith("raised RuntimeError: broken on order.accepted (trace ")
    assert crasher.last_fault_age_s is not None
    assert desk.types()["signal.received"].errors == 90
    assert desk.bus.snapshot().errors == 91
    lines = [record.getMessage() for record in caplog.records if "crasher" in record.getMessage()]
    assert len(lines) == 1
    assert first.trace in lines[0]


@pytest.mark.parametrize("waiting", [1, 500])
async def test_a_slow_handler_is_named_in_quiet_and_in_a_flood(
    waiting: int, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(capacity=5_000)
    calls = 0

    def sleep(_: Event) -> None:
        nonlocal calls
        calls += 1
        if calls % 200 == waiting % 200:
            time.sleep(0.06)

    for _ in range(3):
        desk.listen(SignalReceived)
    desk.bus.subscribe(sleep, name="sleeper", types=(SignalReceived,))
    for _ in range(waiting):
        desk.bus.emit(desk.signal())
    await desk.settled()
    rows = {row.name: row for row in desk.bus.handler_rows()}
    # In a flood many are timed together, so the first time it is only known that somebody was.
    assert set(rows) - {"somebody"} == {"sleeper"}
    assert ("somebody" in rows) is (waiting > 1)
    sleeper = rows["sleeper"]
    assert sleeper.slow >= 1
    assert sleeper.ms_max >= 60
    assert sleeper.last_fault.startswith("took ")
    assert [record for record in caplog.records if "handler sleeper took" in record.getMessage()]


# --- the queue leaves the loop alone -----------------------------------------------------------


async def test_a_flood_does_not_starve_the_loop() -> None:
    desk = Desk(capacity=10_000)
    desk.bus.subscribe(lambda _: time.sleep(0.0005), types=(MarketTick,))
    for number in range(400):  # 0.2 s of work.
        desk.bus.emit(desk.tick(f"S{number}"))
    turns = 0
    while desk.bus.snapshot().size:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 40
    assert desk.bus.snapshot().delayed > 300


def test_with_a_counting_stopwatch_the_drain_stops_at_the_same_event_every_time() -> None:
    def sizes() -> list[int]:
        async def story() -> list[int]:
            clock = SystemClock()
            stamp = Stamper(clock=clock, ids=IdSource(seed=1), source="test")
            bus = EventBus(
                clock=clock,
                stopwatch=CountingStopwatch(step_ns=100_000),
                log=None,
                stamper=stamp,
            )
            bus.subscribe(lambda _: None)
            for _ in range(3_000):
                bus.emit(MarketMark(**stamp(), symbol=BTC, price=Decimal(1)))
            seen = []
            while bus.snapshot().size:
                await asyncio.sleep(0)
                seen.append(bus.snapshot().size)
            return seen

        return asyncio.run(story())

    first = sizes()
    assert len(first) > 1
    assert sizes() == first


# --- what it says of itself ---------------------------------------------------------------------


def test_the_rows_of_the_snapshot_are_renewed_once_a_second() -> None:
    async def story(clock: SimClock) -> None:
        desk = Desk(clock=clock)
        desk.listen()
        for _ in range(12):
            desk.bus.emit(desk.tick())
        desk.bus.emit(desk.order())
        rows = {row.type: row for row in desk.bus.snapshot().types}
        assert list(rows) == ["market.tick", "order.accepted"]
        assert [row.published for row in rows.values()] == [12, 1]
        await clock.sleep(0.5)
        desk.bus.emit(desk.order())
        now = desk.bus.snapshot()
        assert now.published == 14
        assert now.types == tuple(rows.values())
        await clock.sleep(0.5)
        assert {row.type: row.published for row in desk.bus.snapshot().types} == {
            "market.tick": 12,
            "order.accepted": 2,
        }

    run_simulated(story, start_ns=0)


async def test_published_is_delivered_conflated_dropped_or_waiting_for_each_type() -> None:
    desk = Desk(capacity=40)
    desk.listen()
    for number in range(60):
        desk.bus.emit(desk.tick(f"S{number % 6}"))
        if number % 10 == 0:
            desk.bus.emit(desk.signal())
    waiting = desk.types()
    await desk.settled()
    done = desk.types()
    for rows in (waiting, done):
        assert rows["market.tick"].published == 60
        assert rows["signal.received"].published == 6
    heard = [event for event in desk.heard if isinstance(event, MarketTick)]
    tick = done["market.tick"]
    assert len(heard) == 60 - tick.conflated - tick.dropped
    assert tick.conflated > 0
    assert tick.handler_us_max >= tick.handler_us_mean > 0


@pytest.mark.allow_log("handler face")
async def test_handlers_of_one_name_are_told_apart() -> None:
    desk = Desk()
    for _ in range(3):
        desk.bus.subscribe(lambda _: time.sleep(0.06), types=(OrderAccepted,), name="face")
    desk.bus.emit(desk.order())
    assert {row.name for row in desk.bus.handler_rows()} == {"face", "face 2", "face 3"}


# --- orderly stop ------------------------------------------------------------------------------


async def test_drain_delivers_everything_but_ticks() -> None:
    desk = Desk(capacity=1_000)
    desk.listen()
    signals = []
    for number in range(300):
        desk.bus.emit(desk.tick(f"S{number}"))
        signals.append(desk.signal())
        desk.bus.emit(signals[-1])
    assert await desk.bus.drain(2.0) == 0
    assert desk.heard == signals
    desk.bus.emit(desk.tick())
    await desk.bus.room()
    assert desk.bus.snapshot().size == 0
    assert desk.bus.snapshot().dropped == 301


@pytest.mark.allow_log("events were not delivered within")
async def test_drain_says_what_is_left_when_time_is_up() -> None:
    desk = Desk(capacity=1_000)
    desk.bus.subscribe(lambda _: time.sleep(0.002), types=(SignalReceived,))
    for _ in range(300):
        desk.bus.emit(desk.signal())
    left = await desk.bus.drain(0.05)
    assert 0 < left < 300
    assert await desk.bus.drain(5.0) == 0


async def test_alarm_and_link_events_are_heard_by_whoever_takes_all() -> None:
    desk = Desk()
    desk.listen()
    link = LinkChanged(**desk.stamp(), state="up", cause="")
    alarm: Any = AlarmRaised(
        **desk.stamp(), code="test", priority=1, text="text", action="look at it"
    )
    desk.bus.emit(link)
    desk.bus.emit(alarm)
    assert desk.heard == [link, alarm]
    assert desk.log.events == [alarm]

"""Bursts on a real venue's limits, in simulated time: the exchange counts, and it is the judge.

Its limits are on (Binance: 2,400 weight a minute, 300 orders in 10 s, 1,200 a minute; a client that
goes on after a refusal is banned). What an answer refuses for asking too often is an over-admission
of ours, whoever got it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from engine.model.emergency import EmergencyState, Scope, TripSource
from engine.model.errors import NotExecuted
from engine.model.events import SignalBlocked, SignalDropped, SignalExecuted
from engine.model.limits import SIGNAL_QUEUE_MAX
from engine.model.orders import OrderPurpose
from engine.model.values import Side
from engine.runtime import Tasks
from tests.desk import BTC, ETH
from tests.simulators.exchange import Answer, Exchange, Request
from tests.venue_desk import ExchangeDesk, exchange_story


def count_answers(exchange: Exchange) -> Counter[int]:
    """Every answer's HTTP status from now on."""
    answered: Counter[int] = Counter()
    answer = exchange.request

    async def counted(request: Request) -> Answer:
        given = await answer(request)
        answered[given.status] += 1
        return given

    exchange.request = counted  # type: ignore[method-assign]
    return answered


async def read(desk: ExchangeDesk, ends: Counter[str]) -> None:
    try:
        await desk.kernel.parts.venue.reads.open_orders(BTC)
    except NotExecuted:
        ends["told to wait"] += 1
    else:
        ends["answered"] += 1


def refused(answered: Counter[int]) -> int:
    return answered[429] + answered[418] + answered[403]


@exchange_story()
async def test_2000_requests_in_a_burst_are_neither_banned_nor_admitted_too_many(
    desk: ExchangeDesk,
) -> None:
    """Goal: whoever does not fit is told so by us, at once, and the venue never has to."""
    answered = count_answers(desk.exchange)
    ends: Counter[str] = Counter()
    tasks = Tasks(on_fault=lambda name, error: desk._on_fault(name, error))
    burst = [tasks.spawn("burst", read(desk, ends)) for _ in range(2000)]
    await asyncio.gather(*burst)
    assert ends.total() == 2000
    assert ends["told to wait"] > 0
    assert refused(answered) == 0
    # Room for what reduces was kept: the planned share is 80 % of 2,400.
    assert answered[200] <= 1920
    # What waits longer than its patience is told so; when the minute is over entries leave again.
    await desk.sleep(60)
    await desk.enter()
    assert refused(answered) == 0


@exchange_story(policy={"max_orders_per_minute": "1200"})
async def test_a_stop_in_the_middle_of_bursts_has_its_cancels_on_the_wire_in_the_same_moment(
    desk: ExchangeDesk,
) -> None:
    """Goal: before anything else that waits, and without waiting for an admission itself."""
    await desk.enter()
    await desk.enter(Side.SELL, ETH)
    answered = count_answers(desk.exchange)
    ends: Counter[str] = Counter()
    tasks = Tasks(on_fault=lambda name, error: desk._on_fault(name, error))
    burst = [tasks.spawn("burst", read(desk, ends)) for _ in range(500)]
    for number in range(100):
        desk.signal(Side.BUY if number % 2 else Side.SELL, confidence=0.5 + number / 1000)
        await desk.sleep(0.02)
    pressed_ns = desk.clock.now_ns()
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="burst", scope=Scope.NODE)
    for _ in range(100):
        desk.signal(confidence=0.9)
    await desk.sleep(0.001)
    cancels = desk.sent("DELETE /fapi/v1/allOpenOrders")
    assert {int(each["ts_ns"]) for each in cancels} == {pressed_ns}
    assert len(cancels) == 2
    stop = desk.kernel.parts.stop
    await desk.until(lambda: stop.snapshot().state is EmergencyState.FLAT, timeout_s=20)
    assert not desk.venue_positions()
    assert not desk.open_at_venue()
    await asyncio.gather(*burst)
    await desk.sleep(70)
    assert refused(answered) == 0


@exchange_story(policy={"max_orders_per_minute": "1200"})
async def test_500_signals_in_10_s_overrun_neither_queue_nor_exchange(desk: ExchangeDesk) -> None:
    answered = count_answers(desk.exchange)
    signals = desk.kernel.parts.execution.signals
    for number in range(500):
        side = Side.BUY if number % 3 else Side.SELL
        desk.signal(side, (BTC, ETH)[number % 2], confidence=number % 97 / 100)
        # One more may be on its way out of the queue.
        assert signals.counts().pending <= SIGNAL_QUEUE_MAX + 1
        await desk.sleep(0.02)
    await desk.until(lambda: signals.counts().pending == 0)
    await desk.sleep(5)
    counts = signals.counts()
    assert counts.received == 500
    assert counts.executed + counts.dropped + counts.expired + counts.blocked == 500
    assert len(desk.heard(SignalDropped)) == counts.dropped > 300
    assert refused(answered) == 0
    tried = [e.ts_ns for e in desk.events if isinstance(e, SignalExecuted | SignalBlocked)]
    assert all(later - first >= 990_000_000 for first, later in pairwise_of_three(tried))
    assert counts.executed >= 2
    placed = [order for order in desk.books()["orders"] if not order["reduce_only"]]
    assert len(placed) == counts.executed
    assert not desk.orders(OrderPurpose.ENTRY)


def pairwise_of_three(times: list[int]) -> Iterator[tuple[int, int]]:
    """Each time and the next but one: at most two a second."""
    return zip(times, times[2:], strict=False)

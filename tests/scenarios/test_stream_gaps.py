"""Stories of a private stream that is away, comes back, or is silent: what was missed is found."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from engine.model import events as ev
from engine.model.orders import OrderKind, OrderPurpose, OrderState
from engine.model.values import Side
from engine.venues.paper.faults import Fault
from tests.desk import BTC, ETH, Desk, story
from tests.elsewhere import intent_of, order_elsewhere

pytestmark = pytest.mark.allow_log("divergence: |adopted order|reconciliation failed|cancel of")


def _kinds(desk: Desk) -> list[tuple[str, str]]:
    return sorted((event.kind, event.symbol) for event in desk.heard(ev.ExecutionDivergence))


async def _far_from_any_run(desk: Desk) -> None:
    """Just after a run, so that the next one of its own accord is a minute away."""
    runs = len(desk.heard(ev.PositionsReconciled))
    await desk.until(lambda: len(desk.heard(ev.PositionsReconciled)) > runs, timeout_s=70)
    await desk.sleep(1)


@story()
async def test_what_happened_in_a_gap_is_found_when_the_stream_is_back(desk: Desk) -> None:
    """Goal: a manual trade, an order opened elsewhere and one that ended, within five seconds, and
    no entry before that."""
    await desk.enter()
    (stop,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    venue = desk.kernel.parts.venue
    size = desk.quantity()
    venue.disconnect_stream("story")
    await venue.cancel(BTC, stop.client_order_id)
    await order_elsewhere(
        desk, intent_of(BTC, "sold", side=Side.SELL, reduce_only=True, quantity=size / 2)
    )
    await order_elsewhere(desk, intent_of(ETH, "rests", kind=OrderKind.LIMIT, price=Decimal(2000)))
    assert desk.quantity() == size
    assert desk.gate() == {"venue_stream_down"}
    venue.faults.script("open_orders", Fault.NOT_EXECUTED)  # The first attempt fails.
    venue.reconnect_stream()
    assert desk.gate() == {"venue_stream_down"}
    took_s = await desk.until(lambda: not desk.gate())
    assert took_s < 5.0
    assert desk.quantity() == size / 2
    assert _kinds(desk) == [("missed_fill", BTC), ("orphan_order", ETH)]
    await desk.until(desk.protected)
    await desk.until(lambda: len(desk.orders(OrderPurpose.PROTECTIVE_STOP)) == 1)
    (second,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    assert second.intent.quantity == size / 2
    assert sorted(desk.open_at_venue()) == sorted(["rests", second.client_order_id])


@story()
async def test_while_the_stream_is_down_the_venue_is_looked_at_every_five_seconds(
    desk: Desk,
) -> None:
    """Goal: nobody waits for the stream to learn that a position was closed by hand."""
    await desk.enter()
    await _far_from_any_run(desk)
    venue, watch = desk.kernel.parts.venue, desk.kernel.parts.execution.venue_watch
    venue.disconnect_stream("story")
    looks = watch.looks
    await desk.sleep(30)
    assert watch.looks - looks == 6
    await order_elsewhere(
        desk, intent_of(BTC, "sold", side=Side.SELL, reduce_only=True, quantity=desk.quantity())
    )
    took_s = await desk.until(lambda: desk.quantity() == 0)
    assert took_s < 6.0
    await desk.until(lambda: _kinds(desk) == [("missed_fill", BTC)])
    # Its stop is known to be gone as well; a flat account is looked at too, for others may trade.
    await desk.until(lambda: not desk.orders())
    looks = watch.looks
    await desk.sleep(20)
    assert watch.looks - looks >= 3
    venue.reconnect_stream()


@story()
async def test_a_stream_that_says_nothing_is_not_believed_for_more_than_a_minute(
    desk: Desk,
) -> None:
    """Goal: connected and silent is looked at like one that is down, as long as something is open.
    Method: the venue loses what it should have told; the loss is found by the look, not the run."""
    await desk.enter()
    await _far_from_any_run(desk)
    watch = desk.kernel.parts.execution.venue_watch
    await desk.until(lambda: watch.is_silent, timeout_s=70)
    assert watch.is_current
    await _far_from_any_run(desk)
    desk.kernel.parts.venue.faults.lose_updates = 10
    looks = watch.looks
    await order_elsewhere(
        desk, intent_of(BTC, "sold", side=Side.SELL, reduce_only=True, quantity=desk.quantity())
    )
    took_s = await desk.until(lambda: desk.quantity() == 0)
    desk.kernel.parts.venue.faults.lose_updates = 0
    assert took_s < 6.0
    assert 1 <= watch.looks - looks <= 2


@story()
async def test_a_talking_stream_is_not_looked_behind(desk: Desk) -> None:
    """Goal: the venue's limits are not spent where the stream works."""
    await desk.enter()
    watch = desk.kernel.parts.execution.venue_watch
    runs = len(desk.heard(ev.PositionsReconciled))
    for number in range(12):
        await desk.sleep(10)
        name = f"rests-{number}"
        intent = intent_of(ETH, name, kind=OrderKind.LIMIT, price=Decimal(2000 + number))
        await order_elsewhere(desk, intent)
    assert watch.looks == 0
    assert len(desk.heard(ev.PositionsReconciled)) - runs <= 3


@story()
async def test_updates_that_arrive_during_a_snapshot_count_once(desk: Desk) -> None:
    """Goal: subscribe, buffer, snapshot, apply. Method: the read of positions hangs, an entry fills
    meanwhile; its fill is in the snapshot and in the buffer, and is booked once."""
    parts = desk.kernel.parts
    parts.venue.faults.script("positions", Fault.HANG)
    run = asyncio.ensure_future(parts.execution.reconciliation.run())
    await desk.until(lambda: parts.venue.faults.hanging == 1)
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.venue_positions() != {})
    await desk.sleep(0.5)
    assert desk.quantity() == 0  # Held back.
    parts.venue.faults.release()
    await run
    assert desk.state_of(signal) is OrderState.FILLED
    assert desk.quantity() == desk.venue_positions()[BTC]
    assert parts.execution.booking.fills == 1
    assert not any(str(one).startswith("inferred") for one in parts.execution.booking.known)
    await desk.until(desk.protected)


@story()
async def test_a_run_that_is_asked_for_during_another_is_one_of_its_own(desk: Desk) -> None:
    """Goal: what happened after the first one's read is not taken for reconciled."""
    parts = desk.kernel.parts
    parts.venue.faults.script("positions", Fault.HANG)
    first = asyncio.ensure_future(parts.execution.reconciliation.run())
    await desk.until(lambda: parts.venue.faults.hanging == 1)
    runs = len(desk.heard(ev.PositionsReconciled))
    second = asyncio.ensure_future(parts.execution.reconciliation.run())
    await desk.sleep(0.5)
    assert not second.done()
    parts.venue.faults.release()
    await asyncio.gather(first, second)
    await desk.until(lambda: len(desk.heard(ev.PositionsReconciled)) == runs + 2)

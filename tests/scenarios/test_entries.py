"""Stories of entries: from a signal to a protected position, and everything that can go wrong."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from engine.model import events as ev
from engine.model.orders import OrderPurpose, OrderState, OrderTrigger
from engine.model.values import Side
from engine.venues.paper.faults import Fault
from tests.desk import BTC, ETH, Desk, story


@story()
async def test_a_signal_becomes_a_protected_position(desk: Desk) -> None:
    """Goal: one signal, one entry at the venue, one position, one stop of its size."""
    signal = desk.signal(Side.BUY)
    took_s = await desk.until(desk.protected)
    assert took_s < 5.0
    assert desk.entries_at_venue() == 1
    assert desk.quantity() == desk.venue_positions()[BTC] > 0
    record = desk.order_of(signal)
    assert record is not None
    assert record.intent.policy_version == 1
    (stop,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    assert stop.intent.side is Side.SELL
    assert stop.intent.reduce_only
    assert stop.intent.quantity == desk.quantity()
    # Three per cent below the entry price, on the venue's grid.
    position = desk.kernel.parts.ledger.position(BTC)
    assert position is not None
    assert stop.intent.trigger_price == (position.entry_price * Decimal("0.97")).quantize(
        Decimal("0.1")
    )
    # One trace from the signal to the fill, in the order in which things happened.
    told = [event.TYPE for event in desk.events if event.trace == signal.trace]
    assert told == [
        "signal.received",
        "order.intended",
        "signal.executed",
        "order.submitted",
        "order.accepted",
        "order.filled",
        "trade.opened",
    ]


@story(policy={"max_orders_per_minute": "1200"})
async def test_a_flood_of_500_signals_in_10_s_overruns_neither_queue_nor_venue(desk: Desk) -> None:
    """Goal: at most 2 a second go through, best first; every signal has exactly one ending."""
    signals = []
    for number in range(500):
        side = Side.BUY if number % 3 else Side.SELL
        signals.append(desk.signal(side, (BTC, ETH)[number % 2], confidence=number % 97 / 100))
        assert desk.kernel.parts.execution.signals.counts().pending <= 101
        await desk.sleep(0.02)
    await desk.until(lambda: desk.kernel.parts.execution.signals.counts().pending == 0)
    await desk.sleep(0.5)
    counts = desk.kernel.parts.execution.signals.counts()
    assert counts.received == 500
    assert (
        counts.executed + counts.dropped + counts.expired + counts.blocked == counts.received == 500
    )
    endings = [
        event.signal_id
        for kind in (ev.SignalExecuted, ev.SignalDropped, ev.SignalExpired, ev.SignalBlocked)
        for event in desk.heard(kind)
    ]
    assert sorted(endings) == sorted(signal.id for signal in signals)
    assert counts.dropped > 300
    tried = [e for e in desk.events if isinstance(e, ev.SignalExecuted | ev.SignalBlocked)]
    times = [event.ts_ns for event in tried]
    assert all(later - first >= 990_000_000 for first, later in zip(times, times[2:], strict=False))
    _victims_are_named_truthfully(desk.events, counts.dropped)
    # What was let through is better than what was dropped.
    let, dropped = tried[10:], desk.heard(ev.SignalDropped)
    assert min(e.confidence for e in let) > sum(e.confidence for e in dropped) / len(dropped)
    assert desk.entries_at_venue() <= counts.executed


def _victims_are_named_truthfully(events: list[ev.Event], dropped: int) -> None:
    """By the events alone: at each drop a hundred others waited, none weaker than the victim."""
    endings = (ev.SignalExecuted, ev.SignalDropped, ev.SignalExpired, ev.SignalBlocked)
    waiting: dict[str, float] = {}
    victims = 0
    for event in events:
        if isinstance(event, ev.SignalReceived):
            waiting[event.signal_id] = event.confidence
        elif isinstance(event, endings):
            confidence = waiting.pop(event.signal_id)
            if isinstance(event, ev.SignalDropped):
                victims += 1
                assert event.reason_codes == ("queue_full",)
                assert len(waiting) >= 100
                assert confidence <= min(waiting.values())
    assert victims == dropped
    assert waiting == {}


@story(policy={"signal_rate": "0.05"})
async def test_who_is_too_old_is_no_victim_of_a_full_queue(desk: Desk) -> None:
    """Goal: a place whose signal's time is over is given away before anybody is dropped, and its
    end is said in time although the next turn is far away."""
    desk.signal(Side.BUY, confidence=0.95)  # Takes the only turn of twenty seconds.
    await desk.sleep(0.5)
    old = {desk.signal(Side.BUY, confidence=0.9).id for _ in range(100)}
    await desk.sleep(5.005)
    assert desk.heard(ev.SignalDropped) == []
    weak = desk.signal(Side.BUY, confidence=0.1)
    assert desk.kernel.parts.execution.signals.counts().pending == 1
    await desk.until(lambda: len(desk.heard(ev.SignalExpired)) == 101, timeout_s=6.5)
    expired = {event.signal_id for event in desk.heard(ev.SignalExpired)}
    assert expired == {*old, weak.id}
    assert desk.heard(ev.SignalDropped) == []


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_ANSWER])
@pytest.mark.allow_log("order desk-g1-1: ")
def test_an_entry_without_an_answer_is_looked_up_and_never_resent(
    fault: Fault, tmp_path: Path
) -> None:
    """Goal: before or after its effect, unknown is a state; the symbol is shut meanwhile."""

    @story()
    async def tell(desk: Desk) -> None:
        desk.kernel.parts.venue.faults.script("place", fault)
        signal = desk.signal(Side.BUY)
        if fault is Fault.LOST_ANSWER:
            desk.kernel.parts.venue.faults.lose_updates = 2
        await desk.until(lambda: desk.state_of(signal) is OrderState.UNRESOLVED)
        second, other = desk.signal(Side.BUY), desk.signal(Side.BUY, ETH)
        blocked = desk.heard(ev.SignalBlocked)
        await desk.until(lambda: blocked or desk.heard(ev.SignalBlocked))
        codes = desk.heard(ev.SignalBlocked)[0].reason_codes
        assert "symbol_unresolved" in codes
        assert desk.order_of(second) is None
        await desk.until(lambda: desk.protected(ETH))
        assert desk.state_of(other) is OrderState.FILLED
        desk.kernel.parts.venue.faults.lose_updates = 0
        if fault is Fault.LOST_ANSWER:
            took_s = await desk.until(lambda: desk.state_of(signal) is OrderState.FILLED)
            assert took_s < 5.0
            await desk.until(desk.protected)
            wanted = 2
        else:
            took_s = await desk.until(
                lambda: desk.state_of(signal) is OrderState.ABANDONED, timeout_s=40
            )
            # Absence counts only after the receive window and half a minute.
            assert 28.0 < took_s < 37.0
            assert desk.quantity() == 0
            wanted = 1
        assert desk.entries_at_venue() == wanted
        again = desk.signal(Side.BUY)
        if fault is Fault.LOST_REQUEST:
            await desk.until(lambda: desk.state_of(again) is OrderState.FILLED)

    tell(tmp_path)


@story()
@pytest.mark.allow_log("order desk-g1-1: ")
async def test_not_executed_is_tried_again_after_one_two_and_four_seconds(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.script("place", *[Fault.NOT_EXECUTED] * 3)
    signal = desk.signal(Side.BUY)
    took_s = await desk.until(lambda: desk.state_of(signal) is OrderState.FILLED)
    assert 7.0 <= took_s <= 8.0
    assert desk.kernel.parts.execution.entries.retries == 3
    assert desk.entries_at_venue() == 1


@story()
@pytest.mark.allow_log("order desk-g1-1: ")
async def test_refused_is_final(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.script("place", Fault.REFUSE)
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(signal) is OrderState.REJECTED)
    await desk.sleep(60)
    assert desk.entries_at_venue() == 0
    assert [e.reason_codes for e in desk.heard(ev.OrderRejected)] == [("-2010",)]


@story()
@pytest.mark.allow_log("order desk-g1-1: |cancel of desk-g1-1: -2011")
async def test_a_halt_during_a_retry_denies_the_next_attempt(desk: Desk) -> None:
    """Goal: the final check is asked anew right before each attempt's bytes."""
    desk.kernel.parts.venue.faults.script("place", Fault.NOT_EXECUTED)
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.kernel.parts.execution.entries.retries == 1)
    await desk.kernel.client.halt(reason="story")
    await desk.until(lambda: desk.state_of(signal) is OrderState.DENIED)
    assert desk.entries_at_venue() == 0
    assert desk.heard(ev.OrderDenied)[0].reason_codes == ("halted",)


@story()
@pytest.mark.allow_log("order desk-g1-1: .*policy_changed")
async def test_a_policy_changed_between_gate_and_final_check_denies_the_entry(desk: Desk) -> None:
    """Goal: every await in between may have changed the answer, so the transport asks again."""
    parts = desk.kernel.parts

    def change(event: ev.OrderIntended) -> None:
        # The intent is durable, the order has not left: a tighter policy comes into force now.
        done.append(
            asyncio.ensure_future(
                desk.kernel.client.update_policy(
                    {"max_leverage": "1"}, base_version=1, author="story", reason="tighter"
                )
            )
        )

    done: list[asyncio.Future[object]] = []
    parts.bus.subscribe(change, types=(ev.OrderIntended,), name="policy changes")
    hold = parts.execution.desk.intend

    async def slowly(*args: object) -> None:
        await hold(*args)  # type: ignore[arg-type]
        await desk.until(lambda: parts.policy.version == 2)

    parts.execution.desk.intend = slowly  # type: ignore[method-assign, assignment]
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(signal) is OrderState.DENIED)
    parts.execution.desk.intend = hold  # type: ignore[method-assign]
    assert desk.entries_at_venue() == 0
    assert desk.heard(ev.OrderDenied)[0].reason_codes == ("policy_changed",)
    assert desk.heard(ev.OrderDenied)[0].policy_version == 1
    await asyncio.gather(*done)
    again = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(again) is OrderState.FILLED)
    record = desk.order_of(again)
    assert record is not None
    assert record.intent.policy_version == 2


@story()
async def test_a_fill_after_the_cancel_is_still_booked(desk: Desk) -> None:
    """Goal: money follows the venue: the fill crossed our cancel on the wire."""
    parts = desk.kernel.parts
    parts.venue.faults.hold_updates = True
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(signal) is OrderState.ACCEPTED)
    record = desk.order_of(signal)
    assert record is not None
    parts.execution.desk.move(record.client_order_id, OrderTrigger.VENUE_CANCELLED)
    assert desk.state_of(signal) is OrderState.CANCELLED
    assert desk.quantity() == 0
    parts.venue.release_updates()
    assert desk.quantity() == record.intent.quantity
    assert desk.state_of(signal) is OrderState.FILLED
    await desk.until(desk.protected)


@story()
async def test_an_entry_that_fills_in_parts_has_one_stop_of_its_whole_size(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.split_fills = 4
    signal = desk.signal(Side.BUY)
    await desk.until(desk.protected)
    await desk.sleep(1)
    record = desk.order_of(signal)
    assert record is not None
    assert record.filled == record.intent.quantity == desk.quantity()
    (stop,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    assert stop.intent.quantity == desk.quantity()
    # Four parts, and what rounding to the venue's step left over.
    assert 4 <= len(desk.heard(ev.OrderFilled)) <= 5
    assert desk.open_at_venue() == [stop.client_order_id]


@story()
async def test_a_quiet_symbol_is_not_entered(desk: Desk) -> None:
    """Goal: a price older than five seconds holds entries and says so."""
    desk.market.silent = True
    await desk.sleep(6)
    desk.signal(Side.BUY)
    await desk.until(lambda: desk.heard(ev.SignalBlocked))
    assert "market_data_stale" in desk.heard(ev.SignalBlocked)[0].reason_codes
    desk.market.silent = False
    await desk.until(lambda: "market_data_stale" not in desk.gate())

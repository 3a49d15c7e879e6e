"""Stories of exits: protective stops, holding time, and exits that nothing may hold up."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from engine.model import events as ev
from engine.model.ids import ClientOrderId
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderState
from engine.model.policy import FIELD_BY_NAME
from engine.model.values import Side
from engine.venues.paper.faults import Fault
from tests.desk import BTC, ETH, Desk, story
from tests.elsewhere import order_elsewhere


@story()
@pytest.mark.allow_log("adopted order by-hand-1")
async def test_a_stop_is_replaced_before_the_old_one_goes_when_the_size_changes(
    desk: Desk,
) -> None:
    """Goal: the new stop rests before the old one is cancelled; never naked, never two for long."""
    await desk.enter()
    (first,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    size = desk.quantity()
    # Half of the position is closed elsewhere: by hand, on the venue's own page.
    await _close_elsewhere(desk, size / 2)
    took_s = await desk.until(
        lambda: (
            [s.intent.quantity for s in desk.orders(OrderPurpose.PROTECTIVE_STOP)]
            == [desk.quantity()]
        )
    )
    assert took_s < 5.0
    assert desk.quantity() == size / 2
    (second,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    assert desk.open_at_venue() == [second.client_order_id]
    told = [
        (event.TYPE, event.client_order_id)
        for event in desk.events
        if isinstance(event, ev.OrderAccepted | ev.OrderCancelled)
        and event.client_order_id in {first.client_order_id, second.client_order_id}
    ]
    assert told == [
        ("order.accepted", first.client_order_id),
        ("order.accepted", second.client_order_id),
        ("order.cancelled", first.client_order_id),
    ]


async def _close_elsewhere(desk: Desk, quantity: Decimal) -> None:
    """A reduce-only market order that is not ours."""
    await desk.kernel.parts.venue.reduce(
        Intent(
            client_order_id=ClientOrderId("by-hand-1"),
            symbol=BTC,
            side=Side.SELL,
            kind=OrderKind.MARKET,
            purpose=OrderPurpose.EXIT,
            quantity=quantity,
            reduce_only=True,
        )
    )


@story()
async def test_a_price_through_the_stop_closes_the_position_and_leaves_nothing(desk: Desk) -> None:
    await desk.enter(Side.SELL)
    trigger = desk.kernel.parts.execution.protection.trigger_price(BTC)
    assert trigger is not None
    desk.market.move(BTC, trigger + 10)
    await desk.until(lambda: desk.quantity() == 0)
    await desk.sleep(1)
    assert desk.venue_positions() == {}
    assert desk.open_at_venue() == []
    (closed,) = desk.heard(ev.TradeClosed)
    assert closed.realised < 0
    assert closed.side is Side.SELL


@story()
async def test_the_stop_keeps_the_signals_own_distance_when_it_is_nearer(desk: Desk) -> None:
    desk.signal(Side.BUY, stop_loss="0.01")
    desk.signal(Side.BUY, ETH, stop_loss="0.2")
    await desk.until(lambda: desk.protected(BTC) and desk.protected(ETH))
    for symbol, distance in ((BTC, "0.99"), (ETH, "0.97")):
        position = desk.kernel.parts.ledger.position(symbol)
        trigger = desk.kernel.parts.execution.protection.trigger_price(symbol)
        assert position is not None
        assert trigger is not None
        assert abs(trigger - position.entry_price * Decimal(distance)) <= Decimal("0.1")


@story()
@pytest.mark.allow_log("has no protective stop")
async def test_a_position_without_its_stop_is_closed(desk: Desk) -> None:
    """Goal: three tries; then out, unless the profile allows naked positions."""
    desk.kernel.parts.venue.faults.script("reduce", *[Fault.REFUSE] * 3)
    desk.signal(Side.BUY)
    await desk.until(lambda: desk.quantity() > 0)
    took_s = await desk.until(lambda: desk.quantity() == 0)
    assert took_s < 5.0
    await desk.sleep(1)
    assert desk.venue_positions() == {}


@story(policy={"allow_naked": "true"})
async def test_a_position_without_its_stop_stays_where_the_profile_allows_it(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.script("reduce", *[Fault.REFUSE] * 60)
    desk.signal(Side.BUY)
    await desk.until(lambda: desk.quantity() > 0)
    await desk.sleep(8)
    assert desk.quantity() > 0
    assert "POSITION_UNPROTECTED" in {
        alarm.code for alarm in desk.kernel.parts.alarms.snapshot() if alarm.state == "new"
    }
    desk.kernel.parts.venue.faults.clear()
    assert await desk.until(desk.protected) < 7.0  # It is tried again without being asked.


async def _halted(desk: Desk) -> None:
    await desk.kernel.client.halt(reason="story")


async def _reduce_only(desk: Desk) -> None:
    await desk.kernel.client.reduce_only(on=True, reason="story")


async def _saturated(desk: Desk) -> None:
    """The bus has refused an event just now."""
    desk.kernel.parts.bus._saturation.refused(desk.clock.monotonic_ns())


async def _no_new_trades(desk: Desk) -> None:
    await desk.kernel.client.update_policy(
        {"allow_new_trades": "false"}, base_version=1, author="story", reason="story"
    )


@pytest.mark.parametrize(
    ("code", "shut"),
    [
        ("halted", _halted),
        ("reduce_only", _reduce_only),
        ("bus_saturated", _saturated),
        ("new_trades_not_allowed", _no_new_trades),
    ],
)
def test_an_exit_runs_while_the_gate_is_shut(code: str, shut: object, tmp_path: Path) -> None:
    """Goal: whatever holds entries back, a position can be closed."""

    @story()
    async def tell(desk: Desk) -> None:
        await desk.enter()
        await shut(desk)  # type: ignore[operator]
        assert code in desk.gate()
        desk.signal(Side.BUY, ETH)
        await desk.until(lambda: desk.heard(ev.SignalBlocked))
        assert code in desk.heard(ev.SignalBlocked)[0].reason_codes
        desk.exit()
        await desk.until(lambda: desk.quantity() == 0)
        await desk.sleep(1)
        assert desk.venue_positions() == {}
        assert desk.open_at_venue() == []

    tell(tmp_path)


@story(policy={"max_hold_s": "60"})
async def test_a_position_held_too_long_is_closed_and_says_why(desk: Desk) -> None:
    """Goal: the age is the trade's own and survives a restart."""
    await desk.enter()
    holding = desk.kernel.parts.execution.holding
    position = desk.kernel.parts.ledger.position(BTC)
    assert position is not None
    assert holding.remaining_s(position) == pytest.approx(60, abs=2)
    await desk.sleep(30)
    await desk.restart()
    assert desk.quantity() > 0
    took_s = await desk.until(lambda: desk.quantity() == 0, timeout_s=50)
    assert took_s <= 42
    await desk.sleep(1)
    (forced,) = desk.heard(ev.PositionForceClosed)
    assert forced.reason == "max_hold_seconds_exceeded"
    assert forced.order_id
    assert desk.open_at_venue() == []


@story(policy={"max_hold_s": "60"})
@pytest.mark.allow_log("over its holding time|close of BTCUSDT")
async def test_a_failed_forced_close_is_an_alarm_and_tried_again(desk: Desk) -> None:
    await desk.enter()
    desk.kernel.parts.venue.faults.script("reduce", *[Fault.REFUSE] * 4)
    alarms = desk.kernel.parts.alarms
    await desk.until(
        lambda: any(a.code == "FORCE_CLOSE_FAILED" for a in alarms.snapshot()), timeout_s=90
    )
    assert desk.quantity() > 0
    await desk.until(lambda: desk.quantity() == 0, timeout_s=30)
    await desk.sleep(1)
    assert all(a.state != "new" for a in alarms.snapshot() if a.code == "FORCE_CLOSE_FAILED")


@story(policy={"max_hold_s": "0"})
async def test_zero_switches_the_holding_limit_off(desk: Desk) -> None:
    assert FIELD_BY_NAME["max_hold_s"].zero_is_off
    await desk.enter()
    await desk.sleep(300)
    assert desk.quantity() > 0
    position = desk.kernel.parts.ledger.position(BTC)
    assert position is not None
    assert desk.kernel.parts.execution.holding.remaining_s(position) is None


@story()
async def test_two_exits_at_once_close_once(desk: Desk) -> None:
    await desk.enter()
    for _ in range(5):
        desk.exit()
    await desk.until(lambda: desk.quantity() == 0)
    await desk.sleep(2)
    market = [row for row in desk.venue_orders() if row[2] == "MARKET" and row[4]]
    assert len(market) == 1
    assert desk.venue_positions() == {}


@pytest.mark.allow_log("close of BTCUSDT, try 1")
def test_an_exit_without_an_answer_is_not_sent_blindly_again(tmp_path: Path) -> None:
    """Goal: before or after its effect, the position is read first; it is closed once."""
    for fault in (Fault.LOST_REQUEST, Fault.LOST_ANSWER):

        @story()
        async def tell(desk: Desk, fault: Fault = fault) -> None:
            await desk.enter()
            size = desk.quantity()
            desk.kernel.parts.venue.faults.script("reduce", fault)
            desk.exit()
            await desk.until(lambda: desk.venue_positions() == {})
            await desk.until(lambda: desk.quantity() == 0)
            await desk.sleep(40)
            assert not desk.orders()
            sold = [event for event in desk.heard(ev.OrderFilled) if event.side is Side.SELL]
            assert sum(event.last_quantity for event in sold) == size
            assert OrderState.UNRESOLVED not in {record.state for record in desk.orders()}

        folder = tmp_path / fault.value
        folder.mkdir()
        tell(folder)


@story(policy={"max_hold_s": "60"})
@pytest.mark.allow_log("over its holding time|close of BTCUSDT|adopted order")
async def test_a_close_that_hangs_holds_up_no_other_and_its_alarm_ends_with_the_position(
    desk: Desk,
) -> None:
    """Goal: two are over their time and the venue answers for one; the other goes in time, and an
    operator's own close ends the alarm."""
    await desk.enter()
    await desk.enter(symbol=ETH)
    venue, alarms = desk.kernel.parts.venue, desk.kernel.parts.alarms
    reduce = venue.reduce

    async def deaf(intent: Intent) -> object:
        if intent.symbol == BTC:
            await desk.clock.sleep(10_000)
        return await reduce(intent)

    venue.reduce = deaf  # type: ignore[method-assign, assignment]
    await desk.until(lambda: desk.quantity(ETH) == 0, timeout_s=75)

    def raised() -> bool:
        return any(a.code == "FORCE_CLOSE_FAILED" and a.state == "new" for a in alarms.snapshot())

    await desk.until(raised, timeout_s=60)
    assert desk.quantity() > 0
    venue.reduce = reduce  # type: ignore[method-assign]
    await _close_elsewhere(desk, desk.quantity())
    await desk.until(lambda: desk.quantity() == 0)
    await desk.until(lambda: not raised(), timeout_s=25)
    await desk.sleep(60)


@story(policy={"max_hold_s": "65"})
@pytest.mark.allow_log("adopted order by-hand-1")
async def test_a_position_that_is_over_its_time_is_seen_at_its_next_event(desk: Desk) -> None:
    """Goal: not only every ten seconds. Method: just after it is over its time a part of it is
    closed by hand; the rest goes at once."""
    await desk.enter()
    holding = desk.kernel.parts.execution.holding

    def left_s() -> float:
        position = desk.kernel.parts.ledger.position(BTC)
        return 0.0 if position is None else holding.remaining_s(position) or 0.0

    await desk.until(lambda: left_s() <= -0.1, timeout_s=80)
    assert desk.quantity() > 0
    await _close_elsewhere(desk, Decimal("0.05"))
    took_s = await desk.until(lambda: desk.quantity() == 0)
    assert took_s < 1.0
    await desk.until(lambda: desk.heard(ev.PositionForceClosed))
    (forced,) = desk.heard(ev.PositionForceClosed)
    assert forced.symbol == BTC


@story(policy={"max_hold_s": "90"})
@pytest.mark.allow_log("divergence: |adopted order by-hand-2")
async def test_an_adopted_position_has_the_age_of_its_execution(desk: Desk) -> None:
    """Goal: opened by hand while we were away: its age is the venue's, and over the restart."""
    await desk.close()
    await desk.build()
    desk.kernel.parts.venue.set_marks({BTC: Decimal(60000), ETH: Decimal(2500)})
    by_hand = Intent(
        client_order_id=ClientOrderId("by-hand-2"),
        symbol=ETH,
        side=Side.BUY,
        kind=OrderKind.MARKET,
        purpose=OrderPurpose.ENTRY,
        quantity=Decimal("0.1"),
    )
    await order_elsewhere(desk, by_hand)
    opened_ns = desk.clock.now_ns()
    await desk.sleep(50)
    await desk.kernel.start()
    position = desk.kernel.parts.ledger.position(ETH)
    assert position is not None
    assert abs(position.opened_ns - opened_ns) < 1_000_000_000
    took_s = await desk.until(lambda: desk.quantity(ETH) == 0, timeout_s=60)
    assert took_s < 55

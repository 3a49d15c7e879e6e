"""Stories of take-profits: resident, reduce-only, of the position's size, and gone with it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model import events as ev
from engine.model.orders import OrderKind, OrderPurpose, OrderState
from engine.model.values import Side
from engine.venues.paper.faults import Fault
from tests.desk import BTC, ETH, Desk, story
from tests.elsewhere import intent_of, order_elsewhere
from tests.venue_desk import ExchangeDesk, exchange_story


def _resting(desk: Desk) -> list[tuple[OrderPurpose, Decimal]]:
    """Purpose and size of what rests with positions, by our books."""
    return sorted(
        (order.intent.purpose, order.intent.quantity)
        for order in desk.orders()
        if order.intent.purpose.rests_with_position and order.state is OrderState.ACCEPTED
    )


def _has_both(desk: Desk) -> bool:
    """One stop and one take-profit, each of the position's size, and no more."""
    size = abs(desk.quantity())
    wanted = [(OrderPurpose.PROTECTIVE_STOP, size), (OrderPurpose.TAKE_PROFIT, size)]
    return bool(size) and _resting(desk) == wanted


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_take_profit_closes_the_position_and_its_stop_goes(side: Side, tmp_path: object) -> None:
    """Goal: on the winning side, at the entry's own distance; nothing is left behind."""

    @story()
    async def tell(desk: Desk) -> None:
        desk.signal(side, take_profit="0.01")
        took_s = await desk.until(lambda: _has_both(desk))
        assert took_s < 5.0
        (profit,) = desk.orders(OrderPurpose.TAKE_PROFIT)
        position = desk.kernel.parts.ledger.position(BTC)
        assert position is not None
        wanted = position.entry_price * (1 + side.sign * Decimal("0.01"))
        assert profit.intent.kind is OrderKind.TAKE_PROFIT_MARKET
        assert profit.intent.reduce_only
        assert profit.intent.trigger_price is not None
        assert abs(profit.intent.trigger_price - wanted) <= Decimal("0.1")
        price = desk.kernel.parts.execution.protection.take_profit_price(BTC)
        assert price == profit.intent.trigger_price
        desk.market.move(BTC, wanted - side.sign * 100)
        await desk.sleep(2)
        assert desk.quantity() != 0
        desk.market.move(BTC, wanted + side.sign * 10)
        await desk.until(lambda: desk.quantity() == 0)
        await desk.sleep(1)
        assert desk.venue_positions() == {}
        assert desk.open_at_venue() == []
        (closed,) = desk.heard(ev.TradeClosed)
        assert closed.realised > 0

    tell(tmp_path)


@story()
async def test_a_stop_that_triggers_takes_the_take_profit_along(desk: Desk) -> None:
    desk.signal(Side.BUY, take_profit="0.01")
    await desk.until(lambda: _has_both(desk))
    desk.market.move(BTC, "58000")
    await desk.until(lambda: desk.quantity() == 0)
    await desk.sleep(1)
    assert desk.open_at_venue() == []


@story()
async def test_an_entry_without_one_gets_none(desk: Desk) -> None:
    await desk.enter()
    desk.market.move(BTC, "60500")
    await desk.sleep(12)
    assert _resting(desk) == [(OrderPurpose.PROTECTIVE_STOP, desk.quantity())]


@story()
async def test_parts_that_fill_later_are_covered_by_both(desk: Desk) -> None:
    """Goal: sized to what is filled, at each partial fill and at the end."""
    venue = desk.kernel.parts.venue
    venue.faults.split_fills = 4
    venue.faults.hold_updates = True
    desk.signal(Side.BUY, take_profit="0.02")
    await desk.until(lambda: len(venue._held_updates) >= 4)
    held, venue._held_updates = venue._held_updates, []
    venue.faults.hold_updates = False
    for update in held:  # One by one, as over a slow line.
        venue._tell([update])
        took_s = await desk.until(lambda: not desk.quantity() or _has_both(desk))
        assert took_s < 5.0
    assert desk.quantity() == desk.venue_positions()[BTC]
    assert _has_both(desk)


@story()
@pytest.mark.allow_log("adopted order sold")
async def test_both_shrink_with_the_position_and_keep_their_prices(desk: Desk) -> None:
    """Goal: also after a restart, when nobody remembers the entry: they are read off the venue."""
    desk.signal(Side.BUY, stop_loss="0.02", take_profit="0.02")
    await desk.until(lambda: _has_both(desk))
    before = sorted(o.intent.trigger_price or 0 for o in desk.orders())
    await desk.restart()
    half = desk.quantity() / 2
    await order_elsewhere(
        desk, intent_of(BTC, "sold", side=Side.SELL, reduce_only=True, quantity=half)
    )
    await desk.until(lambda: desk.quantity() == half)
    await desk.until(lambda: _has_both(desk))
    assert sorted(o.intent.trigger_price or 0 for o in desk.orders()) == before
    assert len(desk.open_at_venue()) == 2


@story()
async def test_a_take_profit_that_is_refused_leaves_the_position_and_is_an_alarm(
    desk: Desk,
) -> None:
    """Goal: not naked, so not closed; said, and tried again every half minute."""
    venue = desk.kernel.parts.venue
    reduce, refused = venue.reduce, []

    async def picky(intent: object) -> object:
        if getattr(intent, "kind", None) is OrderKind.TAKE_PROFIT_MARKET and len(refused) < 4:
            refused.append(intent)
            venue.faults.script("reduce", Fault.REFUSE)
        return await reduce(intent)  # type: ignore[arg-type]

    venue.reduce = picky  # type: ignore[method-assign, assignment]
    desk.signal(Side.BUY, take_profit="0.01")
    alarms = desk.kernel.parts.alarms

    def raised() -> set[str]:
        return {a.code for a in alarms.snapshot() if a.state == "new"}

    await desk.until(lambda: "TAKE_PROFIT_MISSING" in raised())
    assert desk.protected()
    assert len(refused) == 3
    took_s = await desk.until(lambda: _has_both(desk), timeout_s=45)
    assert 25 < took_s < 40
    await desk.until(lambda: "TAKE_PROFIT_MISSING" not in raised())
    assert desk.quantity() > 0


@story()
async def test_an_exit_takes_both_along(desk: Desk) -> None:
    desk.signal(Side.BUY, ETH, take_profit="0.05")
    await desk.until(lambda: len(desk.open_at_venue()) == 2)
    desk.exit(ETH)
    await desk.until(lambda: desk.quantity(ETH) == 0)
    await desk.sleep(1)
    assert desk.open_at_venue() == []


@exchange_story(venues=("binance", "bybit"))
async def test_at_an_exchange_both_rest_and_the_one_that_triggers_takes_the_other_along(
    desk: ExchangeDesk,
) -> None:
    """Goal: two conditional orders at the venue, on either side of the price, of one position."""
    desk.signal(Side.SELL, take_profit="0.01")
    await desk.until(lambda: _has_both(desk))
    ours = [order.client_order_id for order in desk.orders()]
    assert sorted(desk.stops_at_venue()) == sorted(ours)
    price = desk.kernel.parts.execution.protection.take_profit_price(BTC)
    assert price is not None
    desk.market.move(BTC, price - 20)
    await desk.until(lambda: desk.quantity() == 0)
    await desk.until(lambda: not desk.open_at_venue())
    assert desk.venue_positions() == {}
    (closed,) = desk.heard(ev.TradeClosed)
    assert closed.realised > 0

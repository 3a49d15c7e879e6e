"""A venue whose clock, lists and stream are behind what happened there: found, and never guessed.

Each was a seed of the fault campaign before it was a story.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model import events as ev
from engine.model.ids import ClientOrderId
from engine.model.orders import OrderState
from engine.model.values import Side
from tests.desk import BTC
from tests.simulators.core.model import Kind, OrderRequest
from tests.venue_desk import ExchangeDesk, exchange_story

pytestmark = pytest.mark.allow_log("divergence: |adopted order|unresolved|order px-01-|cancel of")
_PUSHED = "ORDER_TRADE_UPDATE"


def _state_of(desk: ExchangeDesk, name: str) -> OrderState | None:
    record = desk.kernel.parts.execution.desk.get(ClientOrderId(name))
    return None if record is None else record.state


def _by_hand(desk: ExchangeDesk, name: str, quantity: str, price: str | None = None) -> None:
    """Somebody else's order on the account."""
    desk.exchange.venue.place(
        OrderRequest(
            symbol=BTC,
            side=Side.BUY,
            kind=Kind.LIMIT if price else Kind.MARKET,
            quantity=Decimal(quantity),
            price=Decimal(price) if price else None,
            client_id=name,
        )
    )


@exchange_story()
async def test_a_fill_is_found_at_a_venue_whose_clock_is_behind_ours(desk: ExchangeDesk) -> None:
    """Goal: an execution dated before our intent is still its execution. Method: the venue's clock
    is 0.8 s behind, and its stream loses what it tells of the order."""
    desk.inject(kind="clock_skew", seconds=-0.8)
    desk.inject(kind="gap", on=_PUSHED, times=10)
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(signal) is OrderState.FILLED, timeout_s=9.0)
    desk.exchange.faults.clear()
    await desk.until(desk.protected)


@exchange_story()
async def test_a_position_that_an_order_of_ours_may_explain_is_not_inferred(
    desk: ExchangeDesk,
) -> None:
    """Goal: what our own order filled is booked with its own figures. Method: the order fills, the
    stream loses it, and for eight seconds no list of the venue knows of it but the positions."""
    desk.inject(kind="gap", on=_PUSHED, times=10)
    desk.inject(kind="hidden", on="POST /fapi/v1/order", seconds=8.0)
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.venue_positions())
    desk.inject(kind="cut_streams")
    desk.exchange.faults.clear()
    await desk.until(lambda: desk.state_of(signal) is OrderState.FILLED, timeout_s=20.0)
    await desk.until(desk.protected)
    assert {found.kind for found in desk.heard(ev.ExecutionDivergence)} <= {"missed_fill"}


@exchange_story()
async def test_an_order_of_others_known_by_its_fills_alone_grows_with_them(
    desk: ExchangeDesk,
) -> None:
    """Goal: many fills of an order that nobody told us of are one order, and no alarm. Method: the
    stream loses all of it, and the executions are read."""
    desk.inject(kind="gap", on=_PUSHED, times=20)
    _by_hand(desk, "web-1", "3.5")  # More than the first levels of the book.
    desk.inject(kind="cut_streams")
    await desk.until(lambda: desk.quantity() == Decimal("3.5"), timeout_s=20.0)
    desk.exchange.faults.clear()
    await desk.until(desk.protected)
    assert len([row for row in desk.books()["fills"] if row["client_id"] == "web-1"]) > 1
    assert _state_of(desk, "web-1") is OrderState.FILLED
    assert desk.heard(ev.AlarmRaised) == []


@exchange_story()
async def test_an_order_of_others_that_has_filled_in_part_is_not_taken_for_filled(
    desk: ExchangeDesk,
) -> None:
    """Goal: what fills told us of first gets its true size from the venue. Method: a part of a
    resting order fills unheard; then it is cancelled."""
    desk.inject(kind="gap", on=_PUSHED, times=20)
    _by_hand(desk, "web-2", "1", price="59000")
    desk.exchange.venue.set_price(BTC, Decimal(59000), quantity=Decimal("0.3"))
    desk.inject(kind="cut_streams")
    await desk.until(lambda: desk.quantity() == Decimal("0.3"), timeout_s=20.0)
    desk.exchange.faults.clear()
    assert _state_of(desk, "web-2") is OrderState.PARTIALLY_FILLED
    desk.exchange.venue.cancel(desk.exchange.venue.books.find(client_id="web-2"))
    await desk.until(lambda: _state_of(desk, "web-2") is OrderState.CANCELLED)
    desk.market.move(BTC, "59000")
    await desk.until(desk.protected)
    assert desk.heard(ev.AlarmRaised) == []


@exchange_story()
async def test_a_trade_of_others_is_found_and_protected_while_the_stream_cannot_come_back(
    desk: ExchangeDesk,
) -> None:
    """Goal: a flat account is looked at too while nobody tells what happens to it. Method: no
    listen key is to be had, for minutes; somebody opens a position by hand."""
    desk.inject(kind="error", on="POST /fapi/v1/listenKey", answer="unavailable_503", times=None)
    desk.inject(kind="cut_streams")
    await desk.sleep(120.0)
    assert not desk.kernel.parts.venue.is_connected()
    _by_hand(desk, "web-3", "0.1")
    await desk.until(desk.protected, timeout_s=9.0)
    desk.exchange.faults.clear()
    await desk.until(desk.kernel.parts.venue.is_connected, timeout_s=80.0)

"""What only Bybit does to orders, heard by the whole kernel on simulated time."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.orders import OrderPurpose, OrderState
from engine.model.values import Side
from tests.desk import BTC
from tests.simulators.core.model import Kind, OrderRequest
from tests.simulators.exchange import Answer, Request
from tests.venue_desk import ExchangeDesk, exchange_story

_CREATE = "/v5/order/create"


@exchange_story(venue="bybit")
async def test_an_entry_fills_rests_its_stop_and_is_closed(desk: ExchangeDesk) -> None:
    await desk.enter()
    assert desk.venue_positions() == {BTC: desk.quantity()}
    (stop,) = desk.stops_at_venue()
    ours = [record.client_order_id for record in desk.orders(OrderPurpose.PROTECTIVE_STOP)]
    assert ours == [stop]
    desk.exit()
    await desk.until(lambda: not desk.quantity())
    await desk.until(lambda: not desk.stops_at_venue())


@pytest.mark.allow_log("adopted order hand")
@exchange_story(venue="bybit")
async def test_an_exit_that_the_venue_cuts_to_the_position_has_ended(desk: ExchangeDesk) -> None:
    """Somebody else closes half of it while our exit is on its way: the rest never comes."""
    await desk.enter()
    held = desk.quantity()
    half = (held / 2).quantize(Decimal("0.001"))
    handle = desk.exchange.handle
    by_hand: list[OrderRequest] = []

    def overtaken(request: Request) -> Answer:
        if request.path == _CREATE and not by_hand:
            by_hand.append(
                OrderRequest(
                    symbol=BTC, side=Side.SELL, kind=Kind.MARKET, quantity=half, client_id="hand"
                )
            )
            desk.exchange.venue.place(by_hand[0])
        return handle(request)

    desk.exchange.handle = overtaken  # type: ignore[method-assign]
    desk.exit()
    await desk.until(lambda: not desk.quantity())

    def exits() -> list[tuple[OrderState, Decimal, Decimal]]:
        return [
            (record.state, record.filled, record.intent.quantity)
            for record in desk.kernel.parts.execution.desk.latest_final(10)
            if record.intent.purpose is OrderPurpose.EXIT and not record.external
        ]

    await desk.until(lambda: exits() == [(OrderState.CANCELLED, held - half, held)])

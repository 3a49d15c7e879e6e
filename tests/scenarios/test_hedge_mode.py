"""Stories of an account in hedge mode, where a symbol can be long and short at once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model import events as ev
from engine.model.values import Side
from tests.desk import BTC
from tests.simulators.core.model import Kind, Leg, OrderRequest
from tests.venue_desk import ExchangeDesk, exchange_story

pytestmark = pytest.mark.allow_log("divergence: |adopted order|cancel of")


def _open_short_by_hand(desk: ExchangeDesk, quantity: str) -> None:
    """The other leg, on the venue's own page."""
    desk.exchange.venue.place(
        OrderRequest(
            symbol=BTC,
            side=Side.SELL,
            kind=Kind.MARKET,
            quantity=Decimal(quantity),
            leg=Leg.SHORT,
            client_id="by-hand",
        )
    )


def _legs(desk: ExchangeDesk) -> dict[str, Decimal]:
    return {
        str(row["leg"]).lower(): Decimal(row["quantity"])
        for row in desk.books()["positions"]
        if Decimal(row["quantity"])
    }


@exchange_story(venues=("binance", "bybit"), start=False)
async def test_two_legs_are_named_shut_the_symbol_and_close_one_by_one(
    desk: ExchangeDesk,
) -> None:
    """Goal: our books hold the net; entries wait; a close takes both legs, each by its own size."""
    desk.exchange.venue.set_hedged(True)
    await desk.open()
    await desk.go_live()
    await desk.enter()
    size = desk.quantity()
    assert _legs(desk) == {"long": size}
    part = (size / 2).quantize(Decimal("0.001"))
    _open_short_by_hand(desk, f"{part}")
    await desk.until(lambda: desk.quantity() == size - part)
    reconciliation = desk.kernel.parts.execution.reconciliation
    await reconciliation.run()
    await reconciliation.run()
    told = [e for e in desk.heard(ev.ExecutionDivergence) if e.kind == "two_legs"]
    assert [(e.symbol, e.repaired) for e in told] == [(BTC, False)]
    assert f"long {size}" in told[0].venue
    assert "at once" in reconciliation.mismatch
    desk.signal(Side.BUY)
    await desk.until(lambda: desk.heard(ev.SignalBlocked))
    assert "two_legs" in desk.heard(ev.SignalBlocked)[0].reason_codes
    desk.exit()
    await desk.until(lambda: _legs(desk) == {})
    await desk.until(lambda: desk.quantity() == 0)
    await reconciliation.run()
    assert reconciliation.mismatch == ""
    await desk.sleep(6)  # Not the same order again within five seconds.
    await desk.enter()

"""Every way in which our books can differ from an exchange's, planted on Binance and on Bybit.

Each story is told on the live kernel with the real adapters. While the stream loses what it should
tell, something happens; then the stream is cut and comes back, and from that moment on five seconds
are allowed until our books are the exchange's own again and the divergence has been told by name.
Where nobody traded (phantom, orphan, size mismatch) the mistake is planted in our own books, at the
price of the mark, so that repairing it moves no money.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest

from engine.model import events as ev
from engine.model.ids import ClientOrderId, ExecutionId, Symbol
from engine.model.orders import Fill
from engine.model.values import Side
from engine.model.venue import StreamUpdate
from tests.desk import BTC, ETH
from tests.simulators.core.model import Kind, OrderRequest
from tests.simulators.in_memory import BinanceDesk, BybitDesk
from tests.venue_desk import ExchangeDesk, exchange_story

pytestmark = pytest.mark.allow_log(
    "divergence: |adopted order|close of|cancel of|has no protective stop|still unresolved"
)

Story = Callable[[ExchangeDesk], Awaitable[None]]


def _hand(desk: ExchangeDesk) -> BinanceDesk | BybitDesk:
    """Somebody with the same key, on the exchange's own page."""
    kind = {"binance": BinanceDesk, "bybit": BybitDesk}[desk.options.configuration.venue.name]
    return kind(exchange=desk.exchange, clock=desk.clock)  # type: ignore[arg-type]


async def _trade_by_hand(
    desk: ExchangeDesk, symbol: Symbol, side: Side, quantity: Decimal, **more: object
) -> None:
    hand = _hand(desk)
    if isinstance(hand, BybitDesk):
        more["orderLinkId"] = "by-hand"
        await hand.order(symbol, side.value.capitalize(), f"{quantity:f}", **more)
    else:
        more["newClientOrderId"] = "by-hand"
        await hand.order(symbol, side.value, f"{quantity:f}", **more)


def _plant(desk: ExchangeDesk, symbol: Symbol, side: Side, quantity: Decimal) -> None:
    """An execution that never was, in our books alone, at a price at which it realises nothing."""
    position = desk.kernel.parts.ledger.position(symbol)
    price = Decimal(desk.prices[symbol]) if position is None else position.entry_price
    fill = Fill(
        execution_id=ExecutionId(f"planted-{symbol}"),
        client_order_id=ClientOrderId(f"planted-{symbol}"),
        venue_order_id=None,
        symbol=symbol,
        side=side,
        quantity=quantity,
        price=price,
        fee=Decimal(0),
        fee_currency="USDT",
        ts_ns=desk.clock.now_ns() - 3_600_000_000_000,
    )
    desk.kernel.parts.execution.on_update(StreamUpdate(ts_ns=fill.ts_ns, fill=fill))


def _agree(desk: ExchangeDesk) -> bool:
    ours = {str(row.symbol): row.quantity for row in desk.kernel.parts.ledger.positions()}
    return ours == desk.venue_positions()


async def _missed_fill(desk: ExchangeDesk) -> None:
    desk.signal(Side.BUY, ETH)
    await desk.until(lambda: "ETHUSDT" in desk.venue_positions())


async def _manual_trade(desk: ExchangeDesk) -> None:
    # Under half of it, on the venue's grid.
    part = (desk.quantity() / 2).quantize(Decimal("0.001"))
    await _trade_by_hand(desk, BTC, Side.SELL, part, reduceOnly=True)


async def _orphan_order(desk: ExchangeDesk) -> None:
    await _trade_by_hand(desk, ETH, Side.BUY, Decimal("0.5"), price="2000")


async def _liquidation(desk: ExchangeDesk) -> None:
    """The venue's own order closes all."""
    desk.exchange.venue.place(
        OrderRequest(
            symbol=BTC,
            side=Side.SELL,
            kind=Kind.MARKET,
            quantity=desk.quantity(),
            client_id="autoclose-1",
            is_liquidation=True,
        )
    )


async def _phantom(desk: ExchangeDesk) -> None:
    _plant(desk, ETH, Side.BUY, Decimal("0.5"))


async def _orphan(desk: ExchangeDesk) -> None:
    _plant(desk, BTC, Side.SELL, desk.quantity())


async def _size_mismatch(desk: ExchangeDesk) -> None:
    _plant(desk, BTC, Side.SELL, Decimal("0.004"))


_PLANTED: dict[str, tuple[Story, tuple[str, str]]] = {
    "missed fill": (_missed_fill, ("missed_fill", ETH)),
    "manual trade": (_manual_trade, ("missed_fill", BTC)),
    "orphan order": (_orphan_order, ("orphan_order", ETH)),
    "liquidation": (_liquidation, ("missed_fill", BTC)),
    "phantom": (_phantom, ("phantom", ETH)),
    "orphan": (_orphan, ("orphan", BTC)),
    "size mismatch": (_size_mismatch, ("size_mismatch", BTC)),
}


@pytest.mark.parametrize("venue", ["binance", "bybit"])
@pytest.mark.parametrize("name", _PLANTED)
def test_a_divergence_is_found_and_repaired_within_five_seconds(
    venue: str, name: str, tmp_path: Path
) -> None:
    plant, wanted = _PLANTED[name]

    @exchange_story()
    async def tell(desk: ExchangeDesk) -> None:
        await desk.enter()
        await desk.sleep(2)
        heard = functools.partial(desk.heard, ev.ExecutionDivergence)
        assert heard() == []
        desk.inject(kind="gap", on="*", times=None)
        await plant(desk)
        assert wanted[0] == "orphan_order" or not _agree(desk)
        desk.exchange.faults.clear()
        streams = desk.kernel.parts.venue.streams
        desk.inject(kind="cut_streams")
        await desk.until(lambda: not streams.is_connected())
        await desk.until(streams.is_connected, timeout_s=30)
        took_s = await desk.until(lambda: _agree(desk) and not desk.gate(), timeout_s=30)
        assert took_s < 5.0
        assert wanted in [(event.kind, event.symbol) for event in heard()]
        assert all(event.repaired for event in heard())
        # What is held now is protected, and a second run finds nothing more.
        for position in desk.kernel.parts.ledger.positions():
            await desk.until(functools.partial(desk.protected, position.symbol))
        await desk.sleep(8)
        found = len(heard())
        await desk.kernel.parts.execution.reconciliation.run()
        assert len(heard()) == found

    tell(tmp_path, venue)

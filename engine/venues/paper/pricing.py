"""At what price the paper venue deals, and between which prices nothing can happen.

A market order pays the touch, then an impact that grows with its size: `slippage` bps for each
100,000 of notional; rounded to the tick against us. The touch is the best quote of the feed while
the last price lies within it. Without a quote it is the last price ± half the configured spread;
beside a quote that the price has left, whichever of the two is worse: one of them is old. Pure
apart from the prices it was told.

`Band` makes a tick cheap: while a price stays strictly between low and high no resting order can
fill or trigger and no liquidation can come, so that a tick costs two comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from engine.model.config import PaperSection
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.orders import OrderKind
from engine.model.values import Side
from engine.model.venue import VenueOrder

_BPS = Decimal("0.0001")
_IMPACT_NOTIONAL = Decimal(100_000)
_NEVER_LOW = Decimal("-Infinity")
_NEVER_HIGH = Decimal("Infinity")
Band = tuple[Decimal, Decimal]


class Prices:
    """Last trades and best quotes."""

    def __init__(self, *, settings: PaperSection) -> None:
        self._half_spread = settings.spread_bps * _BPS / 2
        self._impact = settings.slippage * _BPS / _IMPACT_NOTIONAL
        self.last: dict[Symbol, Decimal] = {}
        self.quotes: dict[Symbol, tuple[Decimal, Decimal]] = {}

    def touch(self, symbol: Symbol, side: Side) -> Decimal:
        """The price that a small market order of this side would pay, before impact."""
        last = self.last[symbol]
        quote = self.quotes.get(symbol)
        if quote is not None and quote[0] <= last <= quote[1]:
            return quote[1] if side is Side.BUY else quote[0]
        half = last * self._half_spread
        if side is Side.BUY:
            return max(last + half, quote[1]) if quote else last + half
        return min(last - half, quote[0]) if quote else last - half

    def deal(self, instrument: Instrument, side: Side, quantity: Decimal) -> Decimal:
        """What a market order of this size pays on average."""
        touch = self.touch(instrument.symbol, side)
        price = touch + side.sign * touch * (touch * quantity * self._impact)
        rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
        ticks = (price / instrument.tick_size).to_integral_value(rounding=rounding)
        return max(ticks * instrument.tick_size, instrument.tick_size)


def is_due(order: VenueOrder, price: Decimal) -> bool:
    """Whether a trade at `price` fills a resting limit order (traded through) or triggers a
    conditional one.
    """
    if order.trigger_price is not None:
        return reaches_trigger(order.kind, order.side, order.trigger_price, price)
    if order.price is None:
        return False
    return price < order.price if order.side is Side.BUY else price > order.price


def is_triggered(side: Side, trigger_price: Decimal, price: Decimal) -> bool:
    """A stop that sells triggers at or below its price, one that buys at or above it."""
    return price >= trigger_price if side is Side.BUY else price <= trigger_price


def reaches_trigger(kind: OrderKind, side: Side, trigger_price: Decimal, price: Decimal) -> bool:
    """A take-profit waits for the price on the other side of where a stop does."""
    return is_triggered(Side.BUY if kind.rises(side) else Side.SELL, trigger_price, price)


def band(orders: Iterable[VenueOrder], *, price: Decimal, room: Decimal | None) -> Band | None:
    """Prices between which nothing can happen; None when nothing ever can.

    `room` is how far the price may move against a position before liquidation must be looked at.
    """
    low, high = _NEVER_LOW, _NEVER_HIGH
    if room is not None:
        low, high = price - room, price + room
    for order in orders:
        level = order.trigger_price if order.kind.is_conditional else order.price
        if level is None:
            continue
        # Limit orders and take-profits buy below and sell above; stops the other way round.
        if (order.side is Side.BUY) != (order.kind is OrderKind.STOP_MARKET):
            low = max(low, level)
        else:
            high = min(high, level)
    return None if low == _NEVER_LOW and high == _NEVER_HIGH else (low, high)


__all__ = ["Band", "Prices", "band", "is_due", "is_triggered", "reaches_trigger"]

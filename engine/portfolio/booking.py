"""Booking one fill: the position and the trades after it. Pure; the rules of the ledger in one
place.

A fill in the position's direction opens or adds, one against it reduces, and one larger than the
position is split: the first part closes the trade, the rest opens the next one, fees in proportion.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from engine.model.ids import TraceId, TradeId
from engine.model.orders import Fill, Intent, PositionRecord, TradeRecord
from engine.model.values import ZERO
from engine.portfolio.averaging import GRID, cost_of, entry_price_of, reduced, share


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """Position and trades after a fill; `realised` is before fees."""

    position: PositionRecord
    trade: TradeRecord | None
    opened: bool
    closed: TradeRecord | None
    realised: Decimal


def book(
    *,
    fill: Fill,
    position: PositionRecord | None,
    trade: TradeRecord | None,
    intent: Intent | None,
    new_trade_id: Callable[[], TradeId],
) -> Booked:
    """Apply a fill to a position and its open trade (both None when flat)."""
    signed = fill.side.sign * fill.quantity
    if position is None or trade is None:
        return _opened(
            fill, fill.quantity, fill.fee, intent, new_trade_id(), closed=None, realised=ZERO
        )
    if (position.quantity > 0) == (signed > 0):
        return _added(fill, position, trade)
    closing = min(fill.quantity, abs(position.quantity))
    if closing == fill.quantity:
        return _reduced(fill, closing, fill.fee, position, trade)
    fee = share(fill.fee, closing, fill.quantity)
    first = _reduced(fill, closing, fee, position, trade)
    return _opened(
        fill,
        fill.quantity - closing,
        fill.fee - fee,
        intent,
        new_trade_id(),
        closed=first.closed,
        realised=first.realised,
    )


def _opened(
    fill: Fill,
    quantity: Decimal,
    fee: Decimal,
    intent: Intent | None,
    trade_id: TradeId,
    *,
    closed: TradeRecord | None,
    realised: Decimal,
) -> Booked:
    return Booked(
        position=PositionRecord(
            symbol=fill.symbol,
            quantity=fill.side.sign * quantity,
            entry_price=fill.price,
            fees=fee,
            trade_id=trade_id,
            opened_ns=fill.ts_ns,
            updated_ns=fill.ts_ns,
        ),
        trade=TradeRecord(
            trade_id=trade_id,
            symbol=fill.symbol,
            side=fill.side,
            quantity=quantity,
            entry_price=fill.price,
            fees=fee,
            opened_ns=fill.ts_ns,
            strategy=intent.strategy if intent else "",
            trace=intent.trace if intent else TraceId(""),
        ),
        opened=True,
        closed=closed,
        realised=realised,
    )


def _added(fill: Fill, position: PositionRecord, trade: TradeRecord) -> Booked:
    signed = fill.side.sign * fill.quantity
    quantity = position.quantity + signed
    cost = cost_of(position.quantity, position.entry_price) + (signed * fill.price).quantize(GRID)
    entry_price = entry_price_of(quantity, cost)
    return Booked(
        position=replace(
            position,
            quantity=quantity,
            entry_price=entry_price,
            fees=position.fees + fill.fee,
            updated_ns=fill.ts_ns,
        ),
        trade=replace(
            trade,
            quantity=max(trade.quantity, abs(quantity)),
            entry_price=entry_price,
            fees=trade.fees + fill.fee,
        ),
        opened=False,
        closed=None,
        realised=ZERO,
    )


def _reduced(
    fill: Fill, closing: Decimal, fee: Decimal, position: PositionRecord, trade: TradeRecord
) -> Booked:
    signed = fill.side.sign * closing
    cost = cost_of(position.quantity, position.entry_price)
    realised, leaving = reduced(position.quantity, cost, signed, fill.price)
    quantity = position.quantity + signed
    # From the cost that stays, so that no digit is lost; it differs from the price before by
    # rounding.
    entry_price = entry_price_of(quantity, cost - leaving)
    trade = replace(
        trade,
        realised=trade.realised + realised,
        fees=trade.fees + fee,
        exit_price=_exit_price(trade, position.quantity, closing, fill.price),
        closed_ns=None if quantity else fill.ts_ns,
    )
    return Booked(
        position=replace(
            position,
            quantity=quantity,
            entry_price=entry_price,
            realised=position.realised + realised,
            fees=position.fees + fee,
            trade_id=position.trade_id if quantity else None,
            updated_ns=fill.ts_ns,
        ),
        trade=trade if quantity else None,
        opened=False,
        closed=None if quantity else trade,
        realised=realised,
    )


def _exit_price(
    trade: TradeRecord, position_quantity: Decimal, closing: Decimal, price: Decimal
) -> Decimal:
    """Volume-weighted exit price so far; for reading, money never comes from it.

    How much had left before is taken as maximum less present size, which is exact unless a trade
    was enlarged again after a part of it had been closed.
    """
    left_before = trade.quantity - abs(position_quantity)
    if trade.exit_price is None or left_before <= 0:
        return price
    return (trade.exit_price * left_before + price * closing) / (left_before + closing)


__all__ = ["Booked", "book"]

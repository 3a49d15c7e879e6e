"""A fill that had to be inferred, replaced by the true execution that came late. Pure.

The quantity is in the books already; what changes is the price, and the fee that nobody knew. Where
the position that the inferred fill opened or enlarged is still open, its cost becomes what was
really paid; otherwise the difference is realised. Either way the cash that flowed is exact, and so
are equity and everything realised once the position is flat.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from engine.model.orders import Fill, PositionRecord, TradeRecord
from engine.model.values import ZERO
from engine.portfolio.averaging import GRID, cost_of, entry_price_of


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """Position and trade with the true price, None when flat; `realised` is what it adds."""

    position: PositionRecord | None
    trade: TradeRecord | None
    realised: Decimal


def replace_price(
    *,
    fill: Fill,
    price_before: Decimal,
    inferred_ns: int,
    position: PositionRecord | None,
    trade: TradeRecord | None,
) -> Replaced:
    """Put the fill's price and fee where `price_before` and none were booked at `inferred_ns`."""
    more_paid = (fill.side.sign * fill.quantity * (fill.price - price_before)).quantize(GRID)
    if position is None or trade is None or trade.opened_ns > inferred_ns:
        return Replaced(position=position, trade=trade, realised=-more_paid)
    position = replace(position, fees=position.fees + fill.fee)
    trade = replace(trade, fees=trade.fees + fill.fee)
    adds = position.quantity * fill.side.sign > 0 and abs(position.quantity) >= fill.quantity
    if not adds:
        return Replaced(
            position=replace(position, realised=position.realised - more_paid),
            trade=replace(trade, realised=trade.realised - more_paid),
            realised=-more_paid,
        )
    cost = cost_of(position.quantity, position.entry_price) + more_paid
    entry_price = entry_price_of(position.quantity, cost)
    return Replaced(
        position=replace(position, entry_price=entry_price),
        trade=replace(trade, entry_price=entry_price),
        realised=ZERO,
    )


__all__ = ["Replaced", "replace_price"]

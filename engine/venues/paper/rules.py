"""What the paper venue refuses beside the filters, with Binance's codes, and how it counts margin.

Pure. Margin is cross: initial margin of a position is |quantity| × mark / leverage of its symbol,
resting entries hold theirs at their limit price, and an entry is refused when equity would not
cover the sum. Maintenance is 0.4 % of each position's notional (the venue's lowest bracket,
whatever the size). Reduce-only orders need neither margin nor the minimum notional.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.errors import Refused
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind
from engine.model.values import ZERO
from engine.venues.paper.books import Books, is_entry_at_rest
from engine.venues.paper.pricing import reaches_trigger

MAINTENANCE_RATIO = Decimal("0.004")


def check_kind(intent: Intent, price: Decimal) -> None:
    """Refuse a combination of kind and prices that the venue does not know."""
    if intent.kind is OrderKind.LIMIT and intent.price is None:
        raise Refused("-1102", "a limit order needs a price")
    if intent.kind.is_conditional:
        if not intent.reduce_only:
            raise Refused("-4118", "conditional orders here only reduce")
        if intent.trigger_price is None:
            raise Refused("-1102", "a conditional order needs a trigger price")
        if reaches_trigger(intent.kind, intent.side, intent.trigger_price, price):
            raise Refused("-2021", f"would trigger at once: the price is {price}")


def check_reduces(intent: Intent, position: Decimal) -> None:
    """Refuse a reduce-only order when there is nothing to reduce."""
    if position * intent.side.sign >= 0:
        raise Refused("-2022", f"reduce-only, and the position is {position}")


def equity(books: Books, marks: dict[Symbol, Decimal]) -> Decimal:
    """Balance and what is unrealised at the last prices; without a price a position is at cost."""
    total = books.balance
    for symbol, position in books.positions.items():
        mark = marks.get(symbol)
        if mark is not None:
            total += position.quantity * mark - position.cost
    return total


def maintenance(books: Books, marks: dict[Symbol, Decimal]) -> Decimal:
    """Below this equity the venue liquidates."""
    return sum(
        (
            abs(position.quantity) * marks.get(symbol, position.entry_price) * MAINTENANCE_RATIO
            for symbol, position in books.positions.items()
        ),
        ZERO,
    )


def _initial_margin(books: Books, marks: dict[Symbol, Decimal]) -> Decimal:
    margin = ZERO
    for symbol, position in books.positions.items():
        mark = marks.get(symbol, position.entry_price)
        margin += abs(position.quantity) * mark / books.leverage(symbol)
    for order in books.open_orders():
        if is_entry_at_rest(order) and order.price is not None:
            margin += (order.quantity - order.filled) * order.price / books.leverage(order.symbol)
    return margin


def check_margin(
    intent: Intent, instrument: Instrument, books: Books, marks: dict[Symbol, Decimal]
) -> None:
    """Refuse an entry that equity would not cover, or a leverage above the instrument's."""
    if not 1 <= intent.leverage <= instrument.leverage_max:
        raise Refused("-4028", f"leverage {intent.leverage} is not 1 to {instrument.leverage_max}")
    mark = marks[intent.symbol]
    before = books.quantity(intent.symbol)
    after = before + intent.side.sign * intent.quantity
    growth = (abs(after) - abs(before)) * (intent.price or mark) / intent.leverage
    if growth <= 0:
        return
    free = equity(books, marks) - _initial_margin(books, marks)
    if growth > free:
        raise Refused("-2019", f"margin {growth:.2f} is needed and {free:.2f} is free")


__all__ = [
    "MAINTENANCE_RATIO",
    "check_kind",
    "check_margin",
    "check_reduces",
    "equity",
    "maintenance",
]

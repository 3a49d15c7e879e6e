"""The worst position that everything in flight can still make of the one we have.

Why here: gate and sizing must count alike. Any subset of the working orders may fill, in any order.
An entry moves the position by all that remains of it; a reduce-only order can only move it towards
zero. So the lowest position is reached when all entry sells fill, after reduce-only sells have
taken away whatever long there was; the highest likewise. Quantities are signed base coin, values
account currency. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from engine.model.ids import Symbol
from engine.model.orders import Intent, OrderRecord
from engine.model.values import ZERO
from engine.risk.facts import GateFacts


class Extremes(msgspec.Struct, frozen=True):
    """Lowest and highest signed position within reach."""

    low: Decimal
    high: Decimal

    @property
    def largest(self) -> Decimal:
        """The larger of the two, unsigned."""
        return max(abs(self.low), abs(self.high))


class OpenExposure(msgspec.Struct, frozen=True, kw_only=True):
    """Values in account currency, everything in flight counted, for sizing a symbol's entry."""

    symbol_notional: Decimal = ZERO
    gross_notional: Decimal = ZERO
    # Margin left when every entry in flight has filled.
    margin_left: Decimal = ZERO


def is_entry(intent: Intent) -> bool:
    """Whether it may add risk: whatever it is called, only the reduce-only mark binds the venue."""
    return not intent.reduce_only


def worst_position(
    symbol: Symbol,
    position: Decimal,
    working: Iterable[OrderRecord],
    adding: Intent | None = None,
) -> Extremes:
    """The extremes of one symbol with `working` orders, and `adding` when given, in flight."""
    entry_buys = entry_sells = reduce_buys = reduce_sells = ZERO
    pending = [
        (order.intent, order.remaining)
        for order in working
        if order.intent.symbol == symbol
        and (adding is None or order.intent.client_order_id != adding.client_order_id)
    ]
    if adding is not None and adding.symbol == symbol:
        pending.append((adding, adding.quantity))
    for intent, remaining in pending:
        buys = intent.side.sign > 0
        if is_entry(intent):
            entry_buys += remaining if buys else ZERO
            entry_sells += ZERO if buys else remaining
        else:
            reduce_buys += remaining if buys else ZERO
            reduce_sells += ZERO if buys else remaining
    low_start = max(ZERO, position - reduce_sells) if position > 0 else position
    high_start = min(ZERO, position + reduce_buys) if position < 0 else position
    return Extremes(low_start - entry_sells, high_start + entry_buys)


def value_price(symbol: Symbol, facts: GateFacts, adding: Intent | None = None) -> Decimal | None:
    """Price at which a symbol's exposure is valued: its mark, or a higher limit price in flight."""
    mark = facts.marks.get(symbol)
    if mark is None or mark <= 0:
        return None
    prices = [mark]
    intents = [order.intent for order in facts.working]
    if adding is not None:
        intents.append(adding)
    prices.extend(
        price
        for intent in intents
        if intent.symbol == symbol and is_entry(intent)
        for price in (intent.price, intent.trigger_price)
        if price is not None
    )
    return max(prices)


def exposed_symbols(facts: GateFacts, adding: Intent | None = None) -> frozenset[Symbol]:
    """Symbols with a position, or with an entry that may still make one."""
    symbols = {symbol for symbol, quantity in facts.positions.items() if quantity}
    symbols.update(
        order.intent.symbol
        for order in facts.working
        if is_entry(order.intent) and order.remaining > 0
    )
    if adding is not None:
        symbols.add(adding.symbol)
    return frozenset(symbols)


def margin_in_flight(facts: GateFacts, adding: Intent | None = None) -> Decimal | None:
    """Margin that the entries in flight will take; None while one of their symbols has no mark."""
    pending = [
        (order.intent, order.remaining)
        for order in facts.working
        if is_entry(order.intent)
        and (adding is None or order.intent.client_order_id != adding.client_order_id)
    ]
    if adding is not None:
        pending.append((adding, adding.quantity))
    total = ZERO
    for intent, remaining in pending:
        if not remaining:
            continue
        price = value_price(intent.symbol, facts, adding)
        if price is None or intent.leverage <= 0:
            return None
        total += remaining * price / intent.leverage
    return total


def gross_notional(facts: GateFacts, adding: Intent | None = None) -> Decimal | None:
    """Sum of the worst values of all symbols; None while one of them has no mark."""
    total = ZERO
    for symbol in exposed_symbols(facts, adding):
        price = value_price(symbol, facts, adding)
        if price is None:
            return None
        position = facts.positions.get(symbol, ZERO)
        total += worst_position(symbol, position, facts.working, adding).largest * price
    return total


def open_exposure(symbol: Symbol, facts: GateFacts) -> OpenExposure | None:
    """What sizing must leave room for; None when it cannot be valued (nothing is sized then)."""
    price, gross, margin = (
        value_price(symbol, facts),
        gross_notional(facts),
        margin_in_flight(facts),
    )
    if price is None or gross is None or margin is None:
        return None
    worst = worst_position(symbol, facts.positions.get(symbol, ZERO), facts.working)
    return OpenExposure(
        symbol_notional=worst.largest * price,
        gross_notional=gross,
        margin_left=facts.available_margin - margin,
    )


__all__ = [
    "Extremes",
    "OpenExposure",
    "exposed_symbols",
    "gross_notional",
    "is_entry",
    "margin_in_flight",
    "open_exposure",
    "value_price",
    "worst_position",
]

"""When conditional orders of a simulated venue trigger, and what they then become.

A stop of a selling order triggers at or below its price, a take-profit at or above (the paper
venue's `is_triggered` says which). A trailing one follows the best price since it was activated.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.values import Side, round_to_tick
from engine.venues.paper.pricing import is_triggered
from tests.simulators.core.market import Market
from tests.simulators.core.model import (
    Conditional,
    ConditionalRequest,
    Kind,
    OrderRequest,
    PriceKind,
    TriggerKind,
)


def direction(request: ConditionalRequest) -> bool:
    """Whether the price has to rise to the trigger."""
    if request.rises is not None:
        return request.rises
    # A buying stop waits above, a selling one below; a take-profit the other way round.
    return (request.side is Side.BUY) != (request.trigger is TriggerKind.TAKE_PROFIT)


def watched_price(conditional: Conditional, market: Market) -> Decimal:
    return market.mark if conditional.request.watches is PriceKind.MARK else market.last


def would_trigger(request: ConditionalRequest, market: Market) -> bool:
    """Whether it would trigger in the moment it is placed."""
    if request.trigger is TriggerKind.TRAILING or request.trigger_price is None:
        return False
    price = market.mark if request.watches is PriceKind.MARK else market.last
    return _reached(direction(request), request.trigger_price, price)


def is_due(conditional: Conditional, market: Market) -> bool:
    """Whether it triggers now; a trailing one takes note of the price on the way."""
    price = watched_price(conditional, market)
    if conditional.request.trigger is TriggerKind.TRAILING:
        _trail(conditional, price, market.contract.tick_size)
        if not conditional.is_active:
            return False
    trigger = conditional.trigger_price
    return trigger is not None and _reached(conditional.rises, trigger, price)


def _reached(rises: bool, trigger: Decimal, price: Decimal) -> bool:
    return is_triggered(Side.BUY if rises else Side.SELL, trigger, price)


def _trail(conditional: Conditional, price: Decimal, tick_size: Decimal) -> None:
    request = conditional.request
    falls = request.side is Side.SELL  # A selling one follows the price up and waits for a fall.
    if not conditional.is_active:
        assert request.activation_price is not None, "inactive without an activation price"
        # It is activated when the price has come to where following begins to pay.
        conditional.is_active = _reached(falls, request.activation_price, price)
        if not conditional.is_active:
            return
    best = conditional.extreme
    if best is None or (price > best if falls else price < best):
        conditional.extreme = best = price
    assert request.callback_ratio is not None, "a trailing order has a callback"
    sign = -1 if falls else 1
    conditional.trigger_price = round_to_tick(best * (1 + sign * request.callback_ratio), tick_size)


def order_of(conditional: Conditional, quantity: Decimal) -> OrderRequest:
    """The order it becomes, under its own client id."""
    request = conditional.request
    return OrderRequest(
        symbol=request.symbol,
        side=request.side,
        kind=request.kind,
        quantity=quantity,
        price=request.price if request.kind is Kind.LIMIT else None,
        time_in_force=request.time_in_force,
        leg=request.leg,
        client_id=conditional.client_id,
        reduce_only=request.reduce_only,
        close_position=request.close_position,
        self_trade=request.self_trade,
        conditional_id=conditional.conditional_id,
    )


__all__ = ["direction", "is_due", "order_of", "watched_price", "would_trigger"]

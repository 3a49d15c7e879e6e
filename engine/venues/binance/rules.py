"""What Binance would refuse of an order, refused before it is sent, with Binance's codes.

Quantities and prices come rounded to the filters (sizing does that): an order off the grid is an
error of ours, and to round it here would send another order than the one that is written down.
Pure.
"""

from __future__ import annotations

from engine.model.errors import Refused
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind


def check_filters(intent: Intent, instrument: Instrument) -> None:
    """Refuse what does not fit grid and bounds. The notional of a market order is the venue's to
    judge, by its mark.
    """
    quantity = intent.quantity
    if quantity < instrument.quantity_min:
        raise Refused("-4003", f"quantity {quantity} is below {instrument.quantity_min}")
    if quantity % instrument.quantity_step:
        raise Refused("-1111", f"quantity {quantity} is not in steps of {instrument.quantity_step}")
    if quantity > instrument.quantity_max:
        raise Refused("-4005", f"quantity {quantity} is above {instrument.quantity_max}")
    for name, level in (("price", intent.price), ("trigger price", intent.trigger_price)):
        if level is not None and (level <= 0 or level % instrument.tick_size):
            raise Refused("-4014", f"{name} {level} is not in ticks of {instrument.tick_size}")
    if intent.price is not None and not intent.reduce_only:
        notional = instrument.notional(intent.price, quantity)
        if notional < instrument.notional_min:
            raise Refused("-4164", f"notional {notional} is below {instrument.notional_min}")


def check_kind(intent: Intent) -> None:
    """Refuse a combination of kind and prices that makes no order."""
    if intent.kind is OrderKind.LIMIT and intent.price is None:
        raise Refused("-1102", "a limit order needs a price")
    if intent.kind is OrderKind.STOP_MARKET and intent.trigger_price is None:
        raise Refused("-1102", "a stop order needs a trigger price")
    if intent.kind is OrderKind.STOP_MARKET and not intent.reduce_only:
        raise Refused("-4118", "stop orders here only reduce")


def check_leverage(intent: Intent, instrument: Instrument) -> int:
    """The leverage as the venue takes it: whole, and within bounds."""
    leverage = int(intent.leverage)
    if leverage != intent.leverage or not 1 <= leverage <= instrument.leverage_max:
        raise Refused(
            "-4028", f"leverage {intent.leverage} is not whole, 1 to {instrument.leverage_max}"
        )
    return leverage


__all__ = ["check_filters", "check_kind", "check_leverage"]

"""What Binance would refuse of an order, refused before it is sent, with Binance's codes.

Beside the filters (`engine.model.filters`). Pure.
"""

from __future__ import annotations

from engine.model.errors import Refused
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind


def check_kind(intent: Intent) -> None:
    """Refuse a combination of kind and prices that makes no order."""
    if intent.kind is OrderKind.LIMIT and intent.price is None:
        raise Refused("-1102", "a limit order needs a price")
    if intent.kind.is_conditional and intent.trigger_price is None:
        raise Refused("-1102", "a conditional order needs a trigger price")
    if intent.kind.is_conditional and not intent.reduce_only:
        raise Refused("-4118", "conditional orders here only reduce")


def check_leverage(intent: Intent, instrument: Instrument) -> int:
    """The leverage as the venue takes it: whole, and within bounds."""
    leverage = int(intent.leverage)
    if leverage != intent.leverage or not 1 <= leverage <= instrument.leverage_max:
        raise Refused(
            "-4028", f"leverage {intent.leverage} is not whole, 1 to {instrument.leverage_max}"
        )
    return leverage


__all__ = ["check_kind", "check_leverage"]

"""What a venue's filters refuse of an order: grid, bounds and smallest notional.

In Binance's codes, which the paper venue speaks as well. Quantities and prices come rounded to the
filters (sizing does that): an order off the grid is an error of ours, and to round it here would
send another order than the one that is written down. Pure. Fails: Refused, before anything is sent.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.errors import Refused
from engine.model.instrument import Instrument
from engine.model.orders import Intent


def check_filters(
    intent: Intent, instrument: Instrument, *, market_price: Decimal | None = None
) -> None:
    """Refuse what does not fit. A market order's notional is judged at `market_price`, or left to
    the venue without one; one that only reduces may be as small as it likes.
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
    price = intent.price or market_price
    if price is None or intent.reduce_only:
        return
    notional = instrument.notional(price, quantity)
    if notional < instrument.notional_min:
        raise Refused("-4164", f"notional {notional} is below {instrument.notional_min}")


__all__ = ["check_filters"]

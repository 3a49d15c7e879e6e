"""What Bybit would refuse of an entry, refused before it is sent, with Bybit's codes.

The grid and the bounds that every venue has are judged by `engine.model.filters`; here are its
words in Bybit's codes, and what only Bybit has: bounds of a price, another largest quantity for an
order that rests, leverage in steps. Entries alone are judged: our filters may be older than the
venue's, and no copy of ours keeps an exit back. Pure; raises Refused.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.model.errors import Refused
from engine.model.filters import check_filters
from engine.model.orders import Intent, OrderKind
from engine.model.values import plain
from engine.venues.bybit.instruments import Contract

_PARAMETERS = "10001"
_PRICE_RANGE = "110003"
_LEVERAGE = "110013"
_VALUE = "110094"
# Of the refusals of `check_filters`, those that have a code of their own here.
_CODES = {"-4164": _VALUE}


def check_kind(intent: Intent) -> None:
    """Refuse a combination of kind and prices that makes no order."""
    if intent.kind is OrderKind.LIMIT and intent.price is None:
        raise Refused(_PARAMETERS, "a limit order needs a price")
    if intent.kind.is_conditional and intent.trigger_price is None:
        raise Refused(_PARAMETERS, "a conditional order needs a trigger price")
    if intent.kind.is_conditional and not intent.reduce_only:
        raise Refused(_PARAMETERS, "conditional orders here only reduce")


def check_entry(intent: Intent, contract: Contract) -> None:
    """Refuse an entry that does not fit the contract."""
    check_kind(intent)
    instrument = contract.instrument
    if intent.kind is OrderKind.LIMIT:
        instrument = msgspec.structs.replace(instrument, quantity_max=contract.limit_quantity_max)
    try:
        check_filters(intent, instrument)
    except Refused as refused:
        raise Refused(_CODES.get(refused.code, _PARAMETERS), refused.detail) from refused
    price = intent.price
    if price is not None and not contract.price_min <= price <= contract.price_max:
        bounds = f"{plain(contract.price_min)} to {plain(contract.price_max)}"
        raise Refused(_PRICE_RANGE, f"price {plain(price)} is not {bounds}")


def check_leverage(intent: Intent, contract: Contract) -> Decimal:
    """The leverage as the venue takes it: in its steps, and within bounds."""
    leverage, most = intent.leverage, contract.instrument.leverage_max
    is_on_step = not leverage % contract.leverage_step
    if not is_on_step or not contract.leverage_min <= leverage <= most:
        raise Refused(
            _LEVERAGE,
            f"leverage {leverage} is not {plain(contract.leverage_min)} to {plain(most)}"
            f" in steps of {plain(contract.leverage_step)}",
        )
    return leverage


__all__ = ["check_entry", "check_kind", "check_leverage"]

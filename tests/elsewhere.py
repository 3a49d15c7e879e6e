"""Somebody else who trades on the desk's account: by hand, on the venue's own page.

The paper venue takes these orders like any other; our engine knows nothing of them but what the
venue tells. Quantities in base coin.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.model.venue import Approved
from tests.desk import Desk

__all__ = ["intent_of", "order_elsewhere"]


def intent_of(symbol: Symbol, name: str, **changes: object) -> Intent:
    """A market buy of 0.1, changed as wanted."""
    fields: dict[str, object] = {
        "client_order_id": ClientOrderId(name),
        "symbol": symbol,
        "side": Side.BUY,
        "kind": OrderKind.MARKET,
        "purpose": OrderPurpose.ENTRY,
        "quantity": Decimal("0.1"),
        "leverage": Decimal(5),
        **changes,
    }
    return Intent(**fields)  # type: ignore[arg-type]


async def order_elsewhere(desk: Desk, intent: Intent) -> None:
    """Somebody else's order on our account."""
    venue = desk.kernel.parts.venue
    if intent.reduce_only:
        await venue.reduce(intent)
        return
    check, venue._final_check = venue._final_check, lambda _: ()
    try:
        await venue.place(Approved(intent=intent, policy_version=1, approved_ns=0))
    finally:
        venue._final_check = check

"""What the limits leave for an entry, and where the position after it would be liquidated.

Why here: a preview must count exactly as the gate does, from the same facts. Pure. Money in account
currency, quantities in base coin. The liquidation price is an estimate: cross margin, only this
symbol moving, no fees and no funding.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.instrument import Instrument
from engine.model.orders import Intent
from engine.model.policy import Profile
from engine.model.ticket import LimitRoom
from engine.model.values import ZERO
from engine.risk.exposure import (
    exposed_symbols,
    gross_notional,
    margin_in_flight,
    value_price,
    worst_position,
)
from engine.risk.facts import GateFacts


def limits_for(intent: Intent, facts: GateFacts, profile: Profile) -> tuple[LimitRoom, ...]:
    """Every limit that an entry uses some of, now and with it; what cannot be valued is absent."""
    price = value_price(intent.symbol, facts, intent)
    if price is None:
        return ()
    position = facts.positions.get(intent.symbol, ZERO)
    worst_now = worst_position(intent.symbol, position, facts.working).largest * price
    worst_after = worst_position(intent.symbol, position, facts.working, intent).largest * price
    rooms = [
        LimitRoom(
            name="max_order_notional",
            used=ZERO,
            after=intent.quantity * price,
            limit=profile.max_order_notional,
        ),
        LimitRoom(
            name="max_position_notional",
            used=worst_now,
            after=worst_after,
            limit=profile.max_position_notional,
        ),
    ]
    gross, gross_after = gross_notional(facts), gross_notional(facts, intent)
    if gross is not None and gross_after is not None:
        limit = profile.max_gross_exposure * facts.equity
        rooms.append(
            LimitRoom(name="max_gross_exposure", used=gross, after=gross_after, limit=limit)
        )
    margin, margin_after = margin_in_flight(facts), margin_in_flight(facts, intent)
    if margin is not None and margin_after is not None:
        limit = facts.available_margin
        rooms.append(LimitRoom(name="margin", used=margin, after=margin_after, limit=limit))
    rooms += _counts(intent, facts, profile)
    return tuple(rooms)


def _counts(intent: Intent, facts: GateFacts, profile: Profile) -> tuple[LimitRoom, ...]:
    sent = Decimal(facts.entries_last_minute)
    return (
        LimitRoom(
            name="max_open_positions",
            used=Decimal(len(exposed_symbols(facts))),
            after=Decimal(len(exposed_symbols(facts, intent))),
            limit=Decimal(profile.max_open_positions),
        ),
        LimitRoom(
            name="max_orders_per_minute",
            used=sent,
            after=sent + 1,
            limit=Decimal(profile.max_orders_per_minute),
        ),
    )


def quantity_left(
    rooms: tuple[LimitRoom, ...], *, price: Decimal, leverage: Decimal, instrument: Instrument
) -> Decimal:
    """The largest quantity that these rooms leave, on the venue's grid; zero when nothing fits."""
    left = {room.name: room.left for room in rooms}
    notional = min(
        left.get("max_order_notional", ZERO),
        left.get("max_position_notional", ZERO),
        left.get("max_gross_exposure", ZERO),
        left.get("margin", ZERO) * leverage,
    )
    quantity = instrument.round_quantity(min(notional / price, instrument.quantity_max))
    if quantity < instrument.quantity_min or quantity * price < instrument.notional_min:
        return ZERO
    return quantity


def liquidation_price(
    intent: Intent, facts: GateFacts, *, entry: Decimal, maintenance_ratio: Decimal
) -> Decimal | None:
    """Where equity would meet the maintenance margin once the order has filled at `entry`.

    None when the price of this symbol alone cannot bring it there, or a price is missing.
    """
    mark = facts.marks.get(intent.symbol)
    if mark is None:
        return None
    held = facts.positions.get(intent.symbol, ZERO)
    added = intent.quantity * intent.side.sign
    after = held + added
    others = ZERO
    for symbol, quantity in facts.positions.items():
        if symbol == intent.symbol or not quantity:
            continue
        price = facts.marks.get(symbol)
        if price is None:
            return None
        others += abs(quantity) * price * maintenance_ratio
    if not after:
        return None
    # Equity at price p: equity + held × (p - mark) + added × (p - entry).
    base = facts.equity - held * mark - added * entry - others
    # base + after × p = |after| × p × ratio, solved for p.
    slope = abs(after) * maintenance_ratio - after
    price = base / slope
    return price if price > 0 else None


__all__ = ["limits_for", "liquidation_price", "quantity_left"]

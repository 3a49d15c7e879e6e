"""How large an entry is: notional = fraction × equity × leverage, then clamped to every cap.

Pure. Money in account currency, quantity in base coin, rounded down to the venue's step, so that
nothing grows by rounding. Zero means that no order fits; the gate judges what is left by itself.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.instrument import Instrument
from engine.model.policy import Profile
from engine.model.signals import Signal
from engine.model.values import ZERO
from engine.risk.exposure import OpenExposure
from engine.risk.facts import GovernorState

_HALF = Decimal("0.5")


def entry_leverage(profile: Profile, instrument: Instrument) -> Decimal:
    """Leverage of an entry: the policy's, or the venue's where that is lower."""
    return min(profile.max_leverage, instrument.leverage_max)


def size_entry(
    signal: Signal,
    *,
    profile: Profile,
    equity: Decimal,
    mark: Decimal,
    instrument: Instrument,
    governor: GovernorState,
    exposure: OpenExposure,
) -> Decimal:
    """Quantity for a signal, or zero when nothing fits: exits are not sized here."""
    stopped = governor in (GovernorState.QUARANTINE, GovernorState.HARD_STOP)
    if signal.is_exit or stopped or equity <= 0 or mark <= 0:
        return ZERO
    leverage = entry_leverage(profile, instrument)
    notional = min(
        profile.position_fraction * equity * leverage,
        profile.max_order_notional,
        profile.max_position_notional - exposure.symbol_notional,
        profile.max_gross_exposure * equity - exposure.gross_notional,
        exposure.margin_left * leverage,
    )
    if governor is GovernorState.SOFT_BRAKE:
        notional *= _HALF
    if notional <= 0:
        return ZERO
    quantity = instrument.round_quantity(min(notional / mark, instrument.quantity_max))
    if quantity < instrument.quantity_min or quantity * mark < instrument.notional_min:
        return ZERO
    return quantity


__all__ = ["entry_leverage", "size_entry"]

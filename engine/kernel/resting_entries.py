"""Cancels entries that rest at the venue when new risk is no longer wanted.

A limit order passed the gate when it was sent and may fill hours later. A halt cancels it at once;
this looks every second at everything else that says no: reduce-only, the policy's switch, losses,
governor, trips elsewhere on the desk. What only makes sending impossible for a while (Redis, disk,
data) leaves it where it is. Under a latch the emergency stop owns every order. Fails: a cancel that
did not get through is tried again a second later.
"""

from __future__ import annotations

import logging

from engine.kernel.parts import Parts
from engine.model.orders import OrderKind, OrderPurpose
from engine.model.reasons import ReasonCode

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_NO_NEW_RISK = frozenset(
    {
        ReasonCode.TRIP_UNCLEARED,
        ReasonCode.HALTED,
        ReasonCode.REDUCE_ONLY,
        ReasonCode.NEW_TRADES_NOT_ALLOWED,
        ReasonCode.DRAWDOWN_SOFT,
        ReasonCode.DRAWDOWN_HARD,
        ReasonCode.DAILY_LOSS,
        ReasonCode.LOSS_STREAK,
        ReasonCode.MIN_BALANCE,
        ReasonCode.GOVERNOR_QUARANTINE,
        ReasonCode.GOVERNOR_HARD_STOP,
    }
)


class RestingEntries:
    """Watches what rests."""

    def __init__(self, *, parts: Parts) -> None:
        self._parts = parts

    async def watch(self) -> None:
        """Look every second, for ever."""
        while True:
            await self._parts.clock.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Cancel every resting entry if new risk is not wanted now."""
        parts = self._parts
        if parts.stop.is_latched() or not parts.mode.is_confirmed or not self._any():
            return
        said = [reason for reason in parts.gatekeeper.standing() if reason.code in _NO_NEW_RISK]
        if said:
            cancelled = await parts.execution.cancel_entries()
            why = "; ".join(f"{reason.code} {reason.detail}" for reason in said)
            _log.info("%d resting entries cancelled: %s", cancelled, why)

    def _any(self) -> bool:
        return any(
            record.intent.purpose is OrderPurpose.ENTRY
            and record.intent.kind is OrderKind.LIMIT
            and record.state.may_be_at_venue
            for record in self._parts.execution.desk.open_orders()
        )


__all__ = ["RestingEntries"]

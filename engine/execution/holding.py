"""Closes positions that are held longer than the policy allows (R-EXE-9).

The age comes from the position's own record and survives restarts; that of an adopted position
counts from its oldest execution, or from the adoption where the venue tells of none. Looked at
every 10 s and at each booking; the symbols are closed side by side, so that one that hangs holds up
no other. A failed close is an alarm until the position is closed, and is tried again at the next
look. Zero switches it off. Seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from engine.bus import EventBus
from engine.execution.exits import ExitSender
from engine.execution.recorder import announce
from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.events import PositionForceClosed
from engine.model.ids import Symbol
from engine.model.orders import OrderPurpose, PositionRecord
from engine.model.policy import Profile
from engine.model.values import Side
from engine.portfolio import Ledger
from engine.ports import Clock
from engine.runtime import Stamper

_log = logging.getLogger(__name__)
LOOK_EVERY_S = 10.0


class HoldingLimit:
    """Force-closes what is held too long. `on_failed(symbol, why)`; why is empty when it worked."""

    def __init__(
        self,
        *,
        exits: ExitSender,
        ledger: Ledger,
        clock: Clock,
        bus: EventBus,
        stamper: Stamper,
        profile: Callable[[], Profile],
        is_latched: Callable[[], bool],
        on_failed: Callable[[Symbol, str], None],
    ) -> None:
        self._exits = exits
        self._ledger = ledger
        self._clock = clock
        self._bus = bus
        self._stamper = stamper
        self._profile = profile
        self._is_latched = is_latched
        self._on_failed = on_failed
        self._failed: set[Symbol] = set()

    def held_s(self, position: PositionRecord) -> float:
        return (self._clock.now_ns() - position.opened_ns) / 1_000_000_000

    def remaining_s(self, position: PositionRecord) -> float | None:
        """Seconds until it is closed for its age; None where there is no maximum."""
        limit = self._profile().max_hold_s
        return None if limit == 0 else limit - self.held_s(position)

    def is_overdue(self, symbol: Symbol) -> bool:
        """Whether a symbol's position is over its time."""
        position = self._ledger.position(symbol)
        remaining = None if position is None else self.remaining_s(position)
        return remaining is not None and remaining <= 0

    async def look(self) -> None:
        """Close everything that is over its time."""
        for symbol in tuple(self._failed):
            if not self.is_overdue(symbol):
                self._tell(symbol, "")
        if self._is_latched():
            return
        overdue = [one for one in self._ledger.positions() if self.is_overdue(one.symbol)]
        await asyncio.gather(*(self._force(position) for position in overdue))

    async def _force(self, position: PositionRecord) -> None:
        symbol = position.symbol
        try:
            record = await self._exits.close(symbol, purpose=OrderPurpose.FORCE_CLOSE)
        except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
            _log.exception("%s is over its holding time and could not be closed", symbol)
            self._tell(symbol, str(error) or type(error).__name__)
            return
        if record is None:
            return
        self._tell(symbol, "")
        announce(
            self._bus,
            PositionForceClosed(
                **self._stamper(record.intent.trace),
                symbol=symbol,
                side=Side.BUY if position.quantity > 0 else Side.SELL,
                quantity=abs(position.quantity),
                entry_price=position.entry_price,
                unrealised=self._ledger.unrealised(symbol),
                order_id=record.client_order_id,
                reason="max_hold_seconds_exceeded",
            ),
        )

    def _tell(self, symbol: Symbol, why: str) -> None:
        if why:
            self._failed.add(symbol)
        else:
            self._failed.discard(symbol)
        self._on_failed(symbol, why)


__all__ = ["LOOK_EVERY_S", "HoldingLimit"]

"""Keeps a protective stop at the venue under every position (R-EXE-12).

After each booking the symbol is looked at once more: a position gets one reduce-only stop of its
whole size, within 5 s of its first fill; a changed size gets a new stop before the old one is
cancelled, so that it is never naked in between; a closed position loses its stops. When the stop
cannot be placed the position is closed, unless the profile allows naked ones. One worker per symbol
at a time. The stop's distance is a fraction of the entry price.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal

from engine.execution.collaborators import Judgement
from engine.execution.exits import ExitSender
from engine.execution.order_desk import OrderDesk
from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import Symbol, TraceId
from engine.model.orders import OrderPurpose, OrderRecord, OrderState, PositionRecord
from engine.model.values import ONE
from engine.portfolio import Ledger
from engine.ports import Clock
from engine.runtime import Tasks

_log = logging.getLogger(__name__)
_TRIES = 3
_RETRY_S = 1.0
_LOOK_EVERY_S = 5.0
_RESTING = frozenset({OrderState.INTENDED, OrderState.SUBMITTED, OrderState.ACCEPTED})

# Told of a symbol that is without its stop (text says why), and of one that is protected again
# ("").
NakedHandler = Callable[[Symbol, str], None]


class Protection:
    """The stops that rest at the venue."""

    def __init__(
        self,
        *,
        exits: ExitSender,
        desk: OrderDesk,
        ledger: Ledger,
        clock: Clock,
        judgement: Judgement,
        tasks: Tasks,
        on_naked: NakedHandler,
        is_latched: Callable[[], bool],
    ) -> None:
        self._exits = exits
        self._desk = desk
        self._ledger = ledger
        self._clock = clock
        self._judgement = judgement
        self._tasks = tasks
        self._on_naked = on_naked
        self._is_latched = is_latched
        self._working: set[Symbol] = set()
        self._again: set[Symbol] = set()

    def stops(self, symbol: Symbol) -> list[OrderRecord]:
        """Protective stops of a symbol that rest or are on their way."""
        return [
            record
            for record in self._desk.open_orders(symbol)
            if record.intent.purpose is OrderPurpose.PROTECTIVE_STOP
        ]

    def trigger_price(self, symbol: Symbol) -> Decimal | None:
        """Where the accepted stop of this symbol triggers; None while it is unprotected."""
        position = self._ledger.position(symbol)
        if position is None:
            return None
        for record in self.stops(symbol):
            if record.state is OrderState.ACCEPTED and _covers(record, position):
                return record.intent.trigger_price
        return None

    def look(self, symbol: Symbol) -> None:
        """Something changed in this symbol. While latched the emergency stop owns every order."""
        if self._is_latched():
            return
        if symbol in self._working:
            self._again.add(symbol)
            return
        self._working.add(symbol)
        self._tasks.spawn(f"protect {symbol}", self._work(symbol))

    async def watch(self) -> None:
        """Look again every 5 s at what has no stop: one may be lost without a booking."""
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            for position in self._ledger.positions():
                if self.trigger_price(position.symbol) is None:
                    self.look(position.symbol)

    async def _work(self, symbol: Symbol) -> None:
        try:
            while True:
                self._again.discard(symbol)
                await self._once(symbol)
                if symbol not in self._again or self._is_latched():
                    return
        finally:
            self._working.discard(symbol)

    async def _once(self, symbol: Symbol) -> None:
        position = self._ledger.position(symbol)
        stops = self.stops(symbol)
        if position is None or position.quantity == 0:
            await self._cancel(stops)
            return
        if any(record.state in _RESTING and _covers(record, position) for record in stops):
            await self._cancel([record for record in stops if not _covers(record, position)])
            return
        if self._exits.is_closing(symbol):
            return
        if await self._place(symbol, position):
            await self._cancel(stops)
            self._on_naked(symbol, "")

    async def _place(self, symbol: Symbol, position: PositionRecord) -> bool:
        distance = self._distance(symbol)
        side = ONE - distance if position.quantity > 0 else ONE + distance
        why = ""
        for attempt in range(_TRIES):
            if attempt:
                await self._clock.sleep(_RETRY_S)
            current = self._ledger.position(symbol)
            if current is None or current.quantity != position.quantity or self._is_latched():
                self._again.add(symbol)
                return False
            intent = self._exits.protective_stop(
                symbol,
                position.quantity,
                position.entry_price * side,
                TraceId(position.trade_id or symbol),
            )
            try:
                await self._exits.send(intent)
            except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
                why = str(error)
                continue
            return True
        await self._give_up(symbol, why)
        return False

    def _distance(self, symbol: Symbol) -> Decimal:
        """The entry's own stop distance, never wider than the profile's."""
        limit = self._judgement.profile().protective_stop
        entries = [
            record.intent.stop_loss
            for record in self._desk.latest_entries(symbol)
            if record.intent.stop_loss is not None
        ]
        return min([limit, *entries[:1]])

    async def _give_up(self, symbol: Symbol, why: str) -> None:
        self._on_naked(symbol, why)
        if self._judgement.profile().allow_naked or self._is_latched():
            return
        _log.error("%s has no protective stop (%s) and is closed", symbol, why)
        try:
            await self._exits.close(symbol, purpose=OrderPurpose.EXIT)
        except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
            self._on_naked(symbol, f"{why}; closing failed: {error}")

    async def _cancel(self, records: list[OrderRecord]) -> None:
        for record in records:
            if record.state.is_final or self._is_latched():
                continue
            try:
                await self._exits.cancel(record)
            except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
                # A stop too many can only reduce; reconciliation settles what became of it.
                _log.warning("cancel of %s: %s", record.client_order_id, error)


def _covers(record: OrderRecord, position: PositionRecord) -> bool:
    """The stop is of the position's whole size and on its closing side."""
    return (
        record.intent.quantity == abs(position.quantity)
        and record.intent.side.sign * position.quantity < 0
    )


__all__ = ["NakedHandler", "Protection"]

"""Keeps a protective stop, and the take-profit that its entry asked for, at the venue under every
position (R-EXE-12).

After each booking the symbol is looked at once more: a position gets one reduce-only stop of its
whole size, within 5 s of its first fill, and a take-profit where its entry carried one; a changed
size gets new ones before the old are cancelled, so that it is never naked in between; a closed
position loses both. When the stop cannot be placed the position is closed, unless the profile
allows naked ones; without its take-profit it stays, and that is tried again. Both only reduce, so
that together they can never do more than close. One worker per symbol at a time. _Distances are
fractions of the entry price.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal

import msgspec

from engine.execution.collaborators import Judgement
from engine.execution.exits import ExitSender
from engine.execution.order_desk import OrderDesk
from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import Symbol, TraceId
from engine.model.orders import OrderKind, OrderPurpose, OrderRecord, OrderState, PositionRecord
from engine.model.values import ONE
from engine.portfolio import Ledger
from engine.ports import Clock
from engine.runtime import Tasks

_log = logging.getLogger(__name__)
_TRIES = 3
_RETRY_S = 1.0
_LOOK_EVERY_S = 5.0
_TAKE_PROFIT_AGAIN_NS = 30_000_000_000
_RESTING = frozenset({OrderState.INTENDED, OrderState.SUBMITTED, OrderState.ACCEPTED})

# Told which of the two a symbol is without (text says why), and that it has it again ("").
MissingHandler = Callable[[OrderPurpose, Symbol, str], None]


class _Distances(msgspec.Struct, frozen=True, kw_only=True):
    """Where stop and take-profit belong, as fractions of the entry price."""

    stop: Decimal
    take_profit: Decimal | None


class Protection:
    """The stops and take-profits that rest at the venue."""

    def __init__(
        self,
        *,
        exits: ExitSender,
        desk: OrderDesk,
        ledger: Ledger,
        clock: Clock,
        judgement: Judgement,
        tasks: Tasks,
        on_missing: MissingHandler,
        is_latched: Callable[[], bool],
    ) -> None:
        self._exits = exits
        self._desk = desk
        self._ledger = ledger
        self._clock = clock
        self._judgement = judgement
        self._tasks = tasks
        self._on_missing = on_missing
        self._is_latched = is_latched
        self._working: set[Symbol] = set()
        self._again: set[Symbol] = set()
        # What a position's entry asked for, and when its take-profit may be tried again.
        self._distances: dict[Symbol, _Distances] = {}
        self._profit_not_before_ns: dict[Symbol, int] = {}
        self._flat_ns: dict[Symbol, int] = {}

    def stops(self, symbol: Symbol) -> list[OrderRecord]:
        """Protective stops of a symbol that rest or are on their way."""
        return self._of(symbol, OrderPurpose.PROTECTIVE_STOP)

    def take_profits(self, symbol: Symbol) -> list[OrderRecord]:
        """Take-profits of a symbol that rest or are on their way."""
        return self._of(symbol, OrderPurpose.TAKE_PROFIT)

    def _of(self, symbol: Symbol, purpose: OrderPurpose) -> list[OrderRecord]:
        return [one for one in self._desk.open_orders(symbol) if one.intent.purpose is purpose]

    def trigger_price(self, symbol: Symbol) -> Decimal | None:
        """Where the accepted stop of this symbol triggers; None while it is unprotected."""
        return self._accepted(symbol, self.stops(symbol))

    def take_profit_price(self, symbol: Symbol) -> Decimal | None:
        """Where the accepted take-profit triggers; None when there is none."""
        return self._accepted(symbol, self.take_profits(symbol))

    def _accepted(self, symbol: Symbol, records: list[OrderRecord]) -> Decimal | None:
        position = self._ledger.position(symbol)
        if position is None:
            return None
        for record in records:
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
        """Look again every 5 s at what lacks something: an order may be lost without a booking."""
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            for position in self._ledger.positions():
                if self.trigger_price(position.symbol) is None or self._lacks_profit(position):
                    self.look(position.symbol)

    def _lacks_profit(self, position: PositionRecord) -> bool:
        symbol = position.symbol
        return (
            self._wanted(position).take_profit is not None
            and self.take_profit_price(symbol) is None
            and self._clock.now_ns() >= self._profit_not_before_ns.get(symbol, 0)
        )

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
        if position is None or position.quantity == 0:
            self._distances.pop(symbol, None)
            self._profit_not_before_ns.pop(symbol, None)
            self._flat_ns[symbol] = self._clock.now_ns()
            self._on_missing(OrderPurpose.TAKE_PROFIT, symbol, "")
            await self._cancel([*self.stops(symbol), *self.take_profits(symbol)])
            return
        if await self._keep_stop(symbol, position):
            await self._keep_take_profit(symbol, position)

    async def _keep_stop(self, symbol: Symbol, position: PositionRecord) -> bool:
        """Whether the position has its stop now."""
        stops = self.stops(symbol)
        if _is_covered(stops, position):
            await self._cancel([record for record in stops if not _covers(record, position)])
            return True
        if self._exits.is_closing(symbol):
            return False
        distance = self._wanted(position).stop
        why = await self._place(symbol, position, OrderKind.STOP_MARKET, distance)
        if why is None:
            return False
        if why:
            await self._give_up(symbol, why)
            return False
        await self._cancel(stops)
        self._on_missing(OrderPurpose.PROTECTIVE_STOP, symbol, "")
        return True

    async def _keep_take_profit(self, symbol: Symbol, position: PositionRecord) -> None:
        """After the stop: a position without it is not in danger."""
        resting = self.take_profits(symbol)
        distance = self._wanted(position).take_profit
        if distance is None or _is_covered(resting, position):
            await self._cancel([r for r in resting if distance is None or not _covers(r, position)])
            return
        if self._exits.is_closing(symbol) or not self._lacks_profit(position):
            return
        why = await self._place(symbol, position, OrderKind.TAKE_PROFIT_MARKET, distance)
        if why == "":
            self._on_missing(OrderPurpose.TAKE_PROFIT, symbol, "")
            await self._cancel(resting)
        elif why is not None:
            self._on_missing(OrderPurpose.TAKE_PROFIT, symbol, why)
            self._profit_not_before_ns[symbol] = self._clock.now_ns() + _TAKE_PROFIT_AGAIN_NS

    async def _place(
        self, symbol: Symbol, position: PositionRecord, kind: OrderKind, distance: Decimal
    ) -> str | None:
        """Rest one for the whole position: "" when it rests, else why not; None when the position
        changed meanwhile.
        """
        with_position = ONE if position.quantity > 0 else -ONE
        sign = with_position if kind is OrderKind.TAKE_PROFIT_MARKET else -with_position
        why = ""
        for attempt in range(_TRIES):
            if attempt:
                await self._clock.sleep(_RETRY_S)
            current = self._ledger.position(symbol)
            if current is None or current.quantity != position.quantity or self._is_latched():
                self._again.add(symbol)
                return None
            intent = self._exits.resting(
                symbol,
                position.quantity,
                kind=kind,
                trigger_price=position.entry_price * (ONE + sign * distance),
                trace=TraceId(position.trade_id or symbol),
            )
            try:
                await self._exits.send(intent)
            except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
                why = str(error) or type(error).__name__
                continue
            return ""
        return why

    def _wanted(self, position: PositionRecord) -> _Distances:
        """The entry's own distances, the stop never wider than the profile's.

        Of an entry before a restart they are read off what rests at the venue.
        """
        symbol, limit = position.symbol, self._judgement.profile().protective_stop
        found = self._of_entry(symbol) or self._distances.get(symbol) or self._resting(position)
        if found is None:
            return _Distances(stop=limit, take_profit=None)
        self._distances[symbol] = found
        return _Distances(stop=min(limit, found.stop), take_profit=found.take_profit)

    def _of_entry(self, symbol: Symbol) -> _Distances | None:
        """What the newest entry asked for of which something has filled since it was flat."""
        since_ns = self._flat_ns.get(symbol, 0)
        for record in self._desk.latest_entries(symbol):
            intent = record.intent
            if record.filled and intent.created_ns >= since_ns and intent.stop_loss is not None:
                return _Distances(stop=intent.stop_loss, take_profit=intent.take_profit)
        return None

    def _resting(self, position: PositionRecord) -> _Distances | None:
        """As the orders have it that rest now; None without a stop."""
        found: dict[OrderPurpose, Decimal] = {}
        for record in (*self.stops(position.symbol), *self.take_profits(position.symbol)):
            trigger = record.intent.trigger_price
            if trigger is not None and position.entry_price:
                distance = abs(trigger - position.entry_price) / position.entry_price
                found.setdefault(record.intent.purpose, distance)
        stop = found.get(OrderPurpose.PROTECTIVE_STOP)
        if stop is None:
            return None
        return _Distances(stop=stop, take_profit=found.get(OrderPurpose.TAKE_PROFIT))

    async def _give_up(self, symbol: Symbol, why: str) -> None:
        self._on_missing(OrderPurpose.PROTECTIVE_STOP, symbol, why)
        if self._judgement.profile().allow_naked or self._is_latched():
            return
        _log.error("%s has no protective stop (%s) and is closed", symbol, why)
        try:
            await self._exits.close(symbol, purpose=OrderPurpose.EXIT)
        except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
            self._on_missing(
                OrderPurpose.PROTECTIVE_STOP, symbol, f"{why}; closing failed: {error}"
            )

    async def _cancel(self, records: list[OrderRecord]) -> None:
        for record in records:
            if record.state.is_final or self._is_latched():
                continue
            try:
                await self._exits.cancel(record)
            except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
                # One too many can only reduce; it is looked up and cancelled until it is gone.
                _log.warning("cancel of %s: %s", record.client_order_id, error)


def _is_covered(records: list[OrderRecord], position: PositionRecord) -> bool:
    return any(record.state in _RESTING and _covers(record, position) for record in records)


def _covers(record: OrderRecord, position: PositionRecord) -> bool:
    """The order is of the position's whole size and on its closing side."""
    return (
        record.intent.quantity == abs(position.quantity)
        and record.intent.side.sign * position.quantity < 0
    )


__all__ = ["MissingHandler", "Protection"]

"""Every order we know, in memory, moved only along the table of transitions.

One place answers what is in flight: for the gate (exposure, duplicates, throttle), for the stop and
for the console. Each transition is saved and then published (`Recorder`). An illegal one changes
nothing and raises an alarm through `on_illegal`. Quantities in base coin, times UTC nanoseconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from engine.execution.recorder import Recorder
from engine.model import events as ev
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import (
    Fill,
    Intent,
    OrderPurpose,
    OrderRecord,
    OrderState,
    OrderTrigger,
    next_state,
)
from engine.model.values import ZERO
from engine.ports.clock import Clock
from engine.runtime import Stamper
from engine.trade_state import TradeStore

_log = logging.getLogger(__name__)
_FINAL_KEPT = 2_000
_MINUTE_NS = 60_000_000_000
_WAITING = frozenset({OrderState.INTENDED, OrderState.SUBMITTED})

_EVENT_OF: Mapping[OrderTrigger, type[ev.OrderEvent]] = {
    OrderTrigger.SENT: ev.OrderSubmitted,
    OrderTrigger.DENIED_BY_US: ev.OrderDenied,
    OrderTrigger.VENUE_ACCEPTED: ev.OrderAccepted,
    OrderTrigger.VENUE_REJECTED: ev.OrderRejected,
    OrderTrigger.VENUE_CANCELLED: ev.OrderCancelled,
    OrderTrigger.TIMED_OUT: ev.OrderUnresolved,
    OrderTrigger.NOT_AT_VENUE: ev.OrderAbandoned,
    OrderTrigger.VENUE_FORGOT: ev.OrderLost,
}


class OrderDesk:
    """The orders of this engine."""

    def __init__(
        self,
        *,
        store: TradeStore,
        recorder: Recorder,
        clock: Clock,
        stamper: Stamper,
        on_illegal: Callable[[OrderRecord, OrderTrigger], None],
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._stamper = stamper
        self._on_illegal = on_illegal
        self._records: dict[ClientOrderId, OrderRecord] = {}
        self._open: dict[ClientOrderId, OrderRecord] = {}
        # By symbol: what is open, and every entry that is known, oldest first.
        self._open_of: dict[Symbol, dict[ClientOrderId, None]] = {}
        self._entries_of: dict[Symbol, dict[ClientOrderId, None]] = {}
        self._finals: deque[ClientOrderId] = deque()
        self._of_before: tuple[OrderRecord, ...] = ()
        self._entries_ns: deque[int] = deque()
        self.intents = 0

    # --- reading --------------------------------------------------------------------------------

    def get(self, client_order_id: ClientOrderId) -> OrderRecord | None:
        return self._records.get(client_order_id)

    def open_orders(self, symbol: Symbol | None = None) -> Iterator[OrderRecord]:
        """Orders that are not final; of one symbol, or all."""
        if symbol is None:
            yield from tuple(self._open.values())
            return
        for identifier in tuple(self._open_of.get(symbol, ())):
            record = self._open.get(identifier)
            if record is not None:
                yield record

    def unresolved_symbols(self) -> frozenset[Symbol]:
        """Symbols in which an entry's outcome is not known."""
        return frozenset(
            record.intent.symbol
            for record in self._open.values()
            if record.state in {OrderState.UNRESOLVED, OrderState.LOST}
            and record.intent.purpose is OrderPurpose.ENTRY
        )

    def entries_last_minute(self) -> int:
        """Entries intended within the last 60 seconds."""
        oldest = self._clock.now_ns() - _MINUTE_NS
        while self._entries_ns and self._entries_ns[0] < oldest:
            self._entries_ns.popleft()
        return len(self._entries_ns)

    def recent(self, *, since_ns: int) -> tuple[Intent, ...]:
        """Intents made since a time, whatever became of them; for the duplicate rule."""
        found = []
        for record in reversed(self._records.values()):
            if record.intent.created_ns < since_ns:
                break
            found.append(record.intent)
        return tuple(found)

    def latest_final(self, most: int) -> tuple[OrderRecord, ...]:
        """Orders that have ended, the newest first; at most so many."""
        found = []
        for identifier in reversed(self._finals):
            record = self._records.get(identifier)
            # A late fill may have opened one again.
            if record is not None and record.state.is_final:
                found.append(record)
            if len(found) == most:
                return tuple(found)
        before = [one for one in self._of_before if one.client_order_id not in self._records]
        return (*found, *before[: most - len(found)])

    def latest_of(self, symbol: Symbol, most: int) -> list[OrderRecord]:
        """The newest orders of a symbol that may have filled, open or ended; at most so many."""
        found = list(self.open_orders(symbol))
        found += [one for one in self.latest_final(_FINAL_KEPT) if one.intent.symbol == symbol]
        sent = [one for one in found if one.state is not OrderState.DENIED]
        return sorted(sent, key=lambda one: one.updated_ns, reverse=True)[:most]

    def latest_entries(self, symbol: Symbol) -> Iterator[OrderRecord]:
        """Entries of a symbol, newest first."""
        for identifier in reversed(tuple(self._entries_of.get(symbol, ()))):
            yield self._records[identifier]

    # --- changing -------------------------------------------------------------------------------

    def restore(self, records: tuple[OrderRecord, ...]) -> None:
        """Take over the open orders of the last run."""
        for record in records:
            self._keep(record)

    def remember(self, ended: Iterable[OrderRecord]) -> None:
        """Orders that ended in an earlier run, newest first: to be shown, and for nothing else."""
        self._of_before = tuple(record for record in ended if record.state.is_final)

    def intend(self, intent: Intent, *events: ev.Event) -> asyncio.Future[None]:
        """Take an intent into the books at once; the future is done when it is durable."""
        record = OrderRecord(
            intent=intent, state=OrderState.INTENDED, updated_ns=self._clock.now_ns()
        )
        self._keep(record)
        self.intents += 1
        if intent.purpose is OrderPurpose.ENTRY:
            self._entries_ns.append(self._clock.now_ns())
        saved = (self._intended_event(record), *events)
        return self._recorder.save(lambda: self._store.record_intent(intent, saved), saved)

    def adopt(self, record: OrderRecord) -> None:
        """Take in an order that was opened elsewhere, tagged external."""
        # By our own clock, as every later change of it: the venue's may be ahead.
        record = msgspec.structs.replace(record, updated_ns=self._clock.now_ns())
        self._keep(record)
        saved = (self._event(ev.OrderAccepted, record),)
        self._recorder.save(lambda: self._store.record_order(record, saved), saved)

    def move(
        self, client_order_id: ClientOrderId, trigger: OrderTrigger, **changes: Any
    ) -> OrderRecord | None:
        """Apply a trigger that is not a fill; None when it is not allowed or changes nothing.

        `reason_codes` go into the event, everything else are fields of `OrderRecord`.
        """
        codes: tuple[str, ...] = changes.pop("reason_codes", ())
        moved = self._step(client_order_id, trigger, changes)
        if moved is None:
            return None
        before, record = moved
        if record.state is before.state and record.venue_order_id == before.venue_order_id:
            return record
        saved: tuple[ev.Event, ...] = ()
        if record.state is not before.state:
            saved = (self._event(_EVENT_OF[trigger], record, codes),)
        self._recorder.save(lambda: self._store.record_order(record, saved), saved)
        return record

    def unanswered(self, client_order_id: ClientOrderId, **changes: Any) -> None:
        """No answer came to our request: nobody knows, unless the stream or a look-up has told
        meanwhile what became of it. Changes are `move`'s.
        """
        record = self._records.get(client_order_id)
        if record is not None and record.state in _WAITING:
            self.move(client_order_id, OrderTrigger.TIMED_OUT, **changes)

    def fill(self, client_order_id: ClientOrderId, fill: Fill) -> OrderRecord:
        """Apply an execution to its order in memory; saving it is booking's business, in one
        transaction with the position.

        Where the table does not allow it there is an alarm and the state stays; what has filled is
        counted all the same, for it is money.
        """
        before = self._records[client_order_id]
        filled = before.filled + fill.quantity
        if before.external and filled > before.intent.quantity:
            # Its size was learned from its fills, and this is another one.
            before = self.learn_size(before, filled)
        last = filled >= before.intent.quantity
        changes: dict[str, Any] = {
            "filled": filled,
            "filled_notional": before.filled_notional + fill.quantity * fill.price,
            "fees": before.fees + fill.fee,
            "venue_order_id": fill.venue_order_id or before.venue_order_id,
        }
        trigger = OrderTrigger.LAST_FILL if last else OrderTrigger.PARTIAL_FILL
        moved = self._step(client_order_id, trigger, changes)
        if moved is not None:
            return moved[1]
        record = msgspec.structs.replace(before, updated_ns=self._clock.now_ns(), **changes)
        self._keep(record)
        return record

    def reprice(
        self, client_order_id: ClientOrderId, fill: Fill, price_before: Decimal
    ) -> OrderRecord:
        """The true price and fee of a part that is counted as filled already; in memory."""
        before = self._records[client_order_id]
        record = msgspec.structs.replace(
            before,
            filled_notional=before.filled_notional + fill.quantity * (fill.price - price_before),
            fees=before.fees + fill.fee,
            updated_ns=self._clock.now_ns(),
        )
        self._keep(record)
        return record

    def learn_size(self, record: OrderRecord, quantity: Decimal) -> OrderRecord:
        """An order of somebody else's is larger than the fills that told us of it."""
        intent = msgspec.structs.replace(record.intent, quantity=quantity)
        state = OrderState.PARTIALLY_FILLED if record.state is OrderState.FILLED else record.state
        grown = msgspec.structs.replace(record, intent=intent, state=state)
        self._keep(grown)
        return grown

    def _step(
        self, client_order_id: ClientOrderId, trigger: OrderTrigger, changes: dict[str, Any]
    ) -> tuple[OrderRecord, OrderRecord] | None:
        before = self._records.get(client_order_id)
        if before is None:
            return None
        state = next_state(before.state, trigger)
        if state is None:
            self._on_illegal(before, trigger)
            return None
        record = msgspec.structs.replace(
            before, state=state, updated_ns=self._clock.now_ns(), **changes
        )
        self._keep(record)
        return before, record

    def _keep(self, record: OrderRecord) -> None:
        identifier = record.client_order_id
        symbol = record.intent.symbol
        if identifier not in self._records and record.intent.purpose is OrderPurpose.ENTRY:
            self._entries_of.setdefault(symbol, {})[identifier] = None
        self._records[identifier] = record
        if not record.state.is_final:
            self._open[identifier] = record
            self._open_of.setdefault(symbol, {})[identifier] = None
            return
        if self._open.pop(identifier, None) is not None:
            self._open_of[symbol].pop(identifier, None)
            self._finals.append(identifier)
        while len(self._finals) > _FINAL_KEPT:
            self._forget(self._finals.popleft())

    def _forget(self, identifier: ClientOrderId) -> None:
        """One that ended long ago; not one that a late word has opened again."""
        if identifier in self._open:
            return
        record = self._records.pop(identifier, None)
        if record is not None:
            self._entries_of.get(record.intent.symbol, {}).pop(identifier, None)

    def _event(
        self, kind: type[ev.OrderEvent], record: OrderRecord, codes: tuple[str, ...] = ()
    ) -> ev.OrderEvent:
        intent = record.intent
        return kind(
            **self._stamper(intent.trace),
            client_order_id=intent.client_order_id,
            venue_order_id=record.venue_order_id,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            price=intent.price,
            filled=record.filled,
            reason_codes=codes or ((record.reason,) if record.reason else ()),
            policy_version=intent.policy_version,
        )

    def _intended_event(self, record: OrderRecord) -> ev.OrderIntended:
        intent = record.intent
        return ev.OrderIntended(
            **self._stamper(intent.trace),
            client_order_id=intent.client_order_id,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            price=intent.price,
            policy_version=intent.policy_version,
            kind=intent.kind,
            purpose=intent.purpose,
            trigger_price=intent.trigger_price,
            reduce_only=intent.reduce_only,
            leverage=intent.leverage,
            signal_id=intent.signal_id,
            trade_id=intent.trade_id,
            stop_loss=intent.stop_loss,
            take_profit=intent.take_profit,
            strategy=intent.strategy,
        )

    def filled_event(
        self, record: OrderRecord, fill: Fill, *, replaces: Fill | None = None
    ) -> ev.OrderFilled:
        """The event of one execution; `replaces` is the inferred fill whose place it takes."""
        intent = record.intent
        return ev.OrderFilled(
            **self._stamper(intent.trace),
            client_order_id=intent.client_order_id,
            venue_order_id=record.venue_order_id,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            price=intent.price,
            filled=record.filled,
            policy_version=intent.policy_version,
            execution_id=fill.execution_id,
            last_quantity=fill.quantity,
            last_price=fill.price,
            fee=fill.fee,
            fee_currency=fill.fee_currency,
            executed_at=fill.ts_ns,
            is_maker=fill.is_maker,
            replaces=replaces.execution_id if replaces else "",
            replaced_price=replaces.price if replaces else None,
            replaced_at=replaces.ts_ns if replaces else 0,
        )


def signed_remaining(records: Iterator[OrderRecord], *, entries_only: bool = False) -> Decimal:
    """Σ of what may still fill, positive for buys; stops and take-profits are not counted."""
    total = ZERO
    for record in records:
        if record.intent.purpose.rests_with_position:
            continue
        if entries_only and record.intent.purpose is not OrderPurpose.ENTRY:
            continue
        total += record.remaining * record.intent.side.sign
    return total


__all__ = ["OrderDesk", "signed_remaining"]

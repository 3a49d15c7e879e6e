"""Finds out what became of an order whose outcome nobody knows (R-EXE-4, R-EXE-6).

A look-up asks, in this order: the order by its id, the symbol's open orders (conditional ones too),
our own executions; the stream may answer at any moment. Who was sent without an answer is
looked up after 1, 2, 4 s and then every 5 s until the venue says what it was; whatever else waits
for more than 5 s (an answer, the fill of a market order, the end after a cancel) every 2 s.

"Not there" counts only when every place was asked and the longest that a request may still count
at the venue is over, with half a minute to spare: then an order that was never acknowledged is
`abandoned`. One that the venue had acknowledged is `lost`: it goes on being asked for and
cancelled until the venue says what became of it, or has answered twice that it has no such order
to cancel. A late execution is booked in any state. On the loop; times UTC nanoseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from engine.execution.booking import Booking
from engine.execution.collaborators import VenuePorts
from engine.execution.order_desk import OrderDesk
from engine.model.errors import Refused, VenueError
from engine.model.ids import ClientOrderId
from engine.model.orders import Fill, OrderKind, OrderRecord, OrderState, OrderTrigger
from engine.model.venue import VenueOrder
from engine.ports import Clock
from engine.runtime import Tasks, within

_log = logging.getLogger(__name__)
_ANSWER_S = 5.0
_LOOK_UP_S = (1.0, 2.0, 4.0)
_LOOK_UP_EVERY_S = 5.0
_WATCH_EVERY_S = 2.0
_IN_FLIGHT_NS = 5_000_000_000
_LOOKED_UP_AT_ONCE = 10
# "Not there" counts only after the receive window (at most 1 s for entries) and half a minute.
_ABSENT_AFTER_NS = 31_000_000_000
# An engine that is gone may have tried again for so long after it made an intent: 1 + 2 + 4 s
# and their jitter, three pauses that the venue asked for, four answers waited for.
_ATTEMPTS_SPAN_NS = 60_000_000_000
_TOLD_NONE_TO_CANCEL = 2
# The venue dates executions by its own clock, which may be behind ours.
_CLOCKS_APART_NS = 60_000_000_000
_ONCE_ACCEPTED = frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED})
_UNKNOWN = frozenset({OrderState.UNRESOLVED, OrderState.LOST})
_UNANSWERED = frozenset({OrderState.INTENDED, OrderState.SUBMITTED})


class LookUp:
    """Asks the venue about single orders. `on_missed` hears an execution that the stream owed us.

    Which executions those are: of an order that the venue had acknowledged, so that the stream
    should have told.
    """

    def __init__(
        self,
        *,
        venue: VenuePorts,
        desk: OrderDesk,
        booking: Booking,
        clock: Clock,
        tasks: Tasks,
        on_missed: Callable[[Fill], None],
    ) -> None:
        self._venue = venue
        self._desk = desk
        self._booking = booking
        self._clock = clock
        self._tasks = tasks
        self._on_missed = on_missed
        self._began_ns = clock.now_ns()
        self._resolving: set[ClientOrderId] = set()
        self._sent_ns: dict[ClientOrderId, int] = {}
        self._cancelled_ns: dict[ClientOrderId, int] = {}
        self._doubted_ns: dict[ClientOrderId, int] = {}
        self._none_to_cancel: dict[ClientOrderId, int] = {}

    # --- what the senders tell -------------------------------------------------------------------

    def sent(self, identifier: ClientOrderId) -> None:
        """An attempt leaves now; absence is counted from the last one."""
        self._sent_ns[identifier] = self._clock.now_ns()

    def cancel_sent(self, identifier: ClientOrderId) -> None:
        """A cancel leaves now; if the order does not end, it is looked up and cancelled again. The
        first one counts: whoever cancels each second must not put that off for ever.
        """
        self._cancelled_ns.setdefault(identifier, self._clock.now_ns())

    def doubt(self, identifier: ClientOrderId) -> None:
        """The venue did not list it although it should rest there: look it up in a while."""
        self._doubted_ns.setdefault(identifier, self._clock.now_ns())

    def resolve(self, identifier: ClientOrderId) -> None:
        """Look an order of unknown outcome up until the venue says what it was."""
        if identifier not in self._resolving:
            self._resolving.add(identifier)
            self._tasks.spawn(f"resolve {identifier}", self._resolve(identifier))

    async def _resolve(self, identifier: ClientOrderId) -> None:
        attempt = 0
        try:
            while True:
                pause = _LOOK_UP_S[attempt] if attempt < len(_LOOK_UP_S) else _LOOK_UP_EVERY_S
                attempt += 1
                await self._clock.sleep(pause)
                record = self._desk.get(identifier)
                if record is None or record.state not in _UNKNOWN:
                    return
                await self._try(record)
        finally:
            self._resolving.discard(identifier)

    async def _try(self, record: OrderRecord) -> None:
        """One look-up whose failure only means that there will be another."""
        identifier = record.client_order_id
        try:
            if record.state is OrderState.LOST or identifier in self._cancelled_ns:
                await self._cancel_again(record)
            await self.look_up(identifier)
        except (VenueError, TimeoutError) as error:
            _log.warning("order %s is still unresolved: %s", identifier, error)

    # --- the watchdog ----------------------------------------------------------------------------

    async def watch(self) -> None:
        """Every 2 s, whatever waits for more than 5 s; at most ten at once, oldest first."""
        while True:
            await self._clock.sleep(_WATCH_EVERY_S)
            await self.look_at_waiting()

    async def look_at_waiting(self) -> None:
        """One round of the watchdog."""
        self._forget_ended()
        now_ns = self._clock.now_ns()
        waiting = [
            record
            for record in self._desk.open_orders()
            if record.client_order_id not in self._resolving
            and now_ns - self._waits_since_ns(record) > _IN_FLIGHT_NS
        ]
        waiting.sort(key=lambda record: record.updated_ns)
        for record in waiting[:_LOOKED_UP_AT_ONCE]:
            await self._try(record)
            after = self._desk.get(record.client_order_id)
            if after is not None and after.state in _UNKNOWN:
                self.resolve(record.client_order_id)

    def _waits_since_ns(self, record: OrderRecord) -> int:
        """Since when an order owes us word; a resting one owes none."""
        identifier = record.client_order_id
        if record.state in _UNANSWERED:
            return self._sent_ns.get(identifier, record.updated_ns)
        if identifier in self._cancelled_ns:
            return self._cancelled_ns[identifier]
        if record.state in _ONCE_ACCEPTED and record.intent.kind is OrderKind.MARKET:
            return record.updated_ns
        if identifier in self._doubted_ns:
            return self._doubted_ns[identifier]
        return self._clock.now_ns()

    def _forget_ended(self) -> None:
        noted_all = (self._sent_ns, self._cancelled_ns, self._doubted_ns, self._none_to_cancel)
        for noted in noted_all:
            for identifier in tuple(noted):
                record = self._desk.get(identifier)
                if record is None or record.state.is_final:
                    del noted[identifier]

    # --- one look-up -----------------------------------------------------------------------------

    async def look_up(self, identifier: ClientOrderId) -> None:
        """Ask every place that may know of an order. Raises what a read raises, and then nothing
        is concluded.
        """
        record = self._desk.get(identifier)
        if record is None:
            return
        found = await self._find(record)
        if found is None or found.filled != record.filled:
            await self._book_executions(record)
        if found is not None:
            self._none_to_cancel.pop(identifier, None)
            self._doubted_ns.pop(identifier, None)
            self._booking.apply_order(found)
        else:
            self._absent(identifier)

    async def _find(self, record: OrderRecord) -> VenueOrder | None:
        """The order by its id, else among the open orders of its symbol."""
        symbol, identifier = record.intent.symbol, record.client_order_id
        reads = self._venue.reads
        found = await within(self._clock, _ANSWER_S, reads.order(symbol, identifier))
        if found is not None:
            return found
        for order in await within(self._clock, _ANSWER_S, reads.open_orders(symbol)):
            if order.client_order_id == identifier:
                return order
        return None

    async def _book_executions(self, record: OrderRecord) -> None:
        """Executions of the order; only what nobody is about to tell is missed."""
        fills = await within(
            self._clock,
            _ANSWER_S,
            self._venue.reads.executions(
                since_ns=max(0, record.intent.created_ns - _CLOCKS_APART_NS),
                symbol=record.intent.symbol,
            ),
        )
        for fill in fills:
            if fill.client_order_id != record.client_order_id:
                continue
            is_owed = record.state in _ONCE_ACCEPTED and not self._booking.is_held(
                fill.execution_id
            )
            if self._booking.book_fill(fill) and is_owed:
                self._on_missed(fill)

    def _absent(self, identifier: ClientOrderId) -> None:
        """No place knows the order: the venue never had it, or forgot what it had accepted."""
        record = self._desk.get(identifier)
        if record is None or record.state.is_final or not self._may_be_absent(record):
            return  # Or another look-up was faster.
        if record.state in _ONCE_ACCEPTED:
            reason = "the venue stopped reporting it"
            self._desk.move(identifier, OrderTrigger.VENUE_FORGOT, reason=reason)
        elif record.state is not OrderState.LOST:
            reason = "the venue never had it"
            self._desk.move(identifier, OrderTrigger.NOT_AT_VENUE, reason=reason)
        elif self._none_to_cancel.get(identifier, 0) >= _TOLD_NONE_TO_CANCEL:
            reason = "the venue has no such order to cancel"
            self._desk.move(identifier, OrderTrigger.NOT_AT_VENUE, reason=reason)

    def _may_be_absent(self, record: OrderRecord) -> bool:
        """Whether the last attempt is so long ago that it can no longer take effect."""
        sent_ns = self._sent_ns.get(record.client_order_id)
        if sent_ns is None:  # An engine that is gone sent it, before this one began.
            sent_ns = min(record.intent.created_ns + _ATTEMPTS_SPAN_NS, self._began_ns)
        if record.state is OrderState.LOST:
            sent_ns = max(sent_ns, record.updated_ns)
        return self._clock.now_ns() - sent_ns > _ABSENT_AFTER_NS

    async def _cancel_again(self, record: OrderRecord) -> None:
        """Cancel what should be gone; whether there was anything to cancel is counted."""
        identifier = record.client_order_id
        try:
            await within(
                self._clock,
                _ANSWER_S,
                self._venue.exits.cancel(record.intent.symbol, identifier),
            )
        except Refused:
            self._none_to_cancel[identifier] = self._none_to_cancel.get(identifier, 0) + 1
        else:
            self._none_to_cancel.pop(identifier, None)


__all__ = ["LookUp"]

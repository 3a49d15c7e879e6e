"""Sends exits: close a position whole or in part, or rest what reduces it. Exits are never
blocked.

Every exit is reduce-only, sized from the position, and has a durable intent before it is sent; when
the disk refuses the intent the exit goes out all the same and is recorded beside it, since being
unable to close is the greater risk. Unknown outcome: the venue's own position is read before
another try, which gets a new id. Quantities in base coin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from decimal import Decimal

from engine.execution.collaborators import Identity, VenuePorts
from engine.execution.look_up import LookUp
from engine.execution.order_desk import OrderDesk
from engine.model.errors import Denied, NotExecuted, OutcomeUnknown, Refused, StoreError
from engine.model.ids import ClientOrderId, Symbol, TraceId
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderRecord, OrderTrigger
from engine.model.reasons import Reason
from engine.model.values import ZERO, Side
from engine.ports import Clock
from engine.risk import check_exit, closing_in_flight
from engine.runtime import within

_log = logging.getLogger(__name__)
_ANSWER_S = 5.0
_TRIES = 4
_RETRY_S = (1.0, 2.0, 4.0, 4.0)


class ExitSender:
    """Closes positions and rests protective stops."""

    def __init__(
        self,
        *,
        venue: VenuePorts,
        desk: OrderDesk,
        clock: Clock,
        identity: Identity,
        instrument: Callable[[Symbol], Instrument],
        look_up: LookUp,
    ) -> None:
        self._exits = venue.exits
        self._look_up = look_up
        self._reads = venue.reads
        self._desk = desk
        self._clock = clock
        self._order_ids = identity.order_ids
        self._ids = identity.ids
        self._instrument = instrument
        self._closing: set[Symbol] = set()

    def is_closing(self, symbol: Symbol) -> bool:
        """A close of this symbol is under way."""
        return symbol in self._closing

    async def close(
        self, symbol: Symbol, *, purpose: OrderPurpose, trace: TraceId | None = None
    ) -> OrderRecord | None:
        """Close the symbol's whole position at market; one close per symbol at a time.

        Returns the last order sent, or None when the venue has no position. Raises the venue's
        error when every try failed.
        """
        if symbol in self._closing:
            return None
        self._closing.add(symbol)
        try:
            return await self._close(symbol, purpose, trace or TraceId(self._ids.next("c")))
        finally:
            self._closing.discard(symbol)

    async def reduce(
        self, symbol: Symbol, *, side: Side, quantity: Decimal, price: Decimal | None = None
    ) -> OrderRecord:
        """Take `quantity` off the position at market, or with an order that rests at `price`.

        Tried once: when nobody knows what became of it, another one might reduce twice. Raises
        Denied when it would not only reduce, else the venue's error.
        """
        read_ns = self._clock.now_ns()
        signed = await self._position(symbol, side)
        trace = TraceId(self._ids.next("c"))
        intent = self._exit(symbol, side, OrderPurpose.EXIT, trace, quantity, price)
        asked_away: frozenset[ClientOrderId] = frozenset()
        if price is None and self._refused(intent, signed, read_ns, asked_away):
            asked_away = await self._make_way(symbol, side)
            signed = await self._position(symbol, side)
        if refused := self._refused(intent, signed, read_ns, asked_away):
            raise Denied(tuple(str(one.code) for one in refused), refused[0].detail)
        return await self.send(intent)

    def _refused(
        self, intent: Intent, signed: Decimal, read_ns: int, asked_away: frozenset[ClientOrderId]
    ) -> tuple[Reason, ...]:
        return check_exit(
            intent,
            position=signed,
            working=self._working(intent.symbol, asked_away),
            fresh_read_ns=read_ns,
        )

    def _working(
        self, symbol: Symbol, asked_away: frozenset[ClientOrderId]
    ) -> Iterator[OrderRecord]:
        """Open orders, but for those whose cancelling we have asked for: they hold no room."""
        for record in self._desk.open_orders(symbol):
            if record.client_order_id not in asked_away:
                yield record

    async def _make_way(self, symbol: Symbol, side: Side) -> frozenset[ClientOrderId]:
        """Cancel the limit orders that rest to reduce: a venue may refuse a close beside them."""
        found = set()
        for record in tuple(self._desk.open_orders(symbol)):
            intent = record.intent
            rests = intent.reduce_only and intent.kind is OrderKind.LIMIT and intent.side is side
            if not rests or not record.state.may_be_at_venue:
                continue
            found.add(record.client_order_id)
            try:
                await self.cancel(record)
            except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
                # Gone already, or unknown: either way it can only reduce, and is no reason to wait.
                _log.warning("cancel of %s: %s", record.client_order_id, error)
        return frozenset(found)

    async def _close(
        self, symbol: Symbol, purpose: OrderPurpose, trace: TraceId
    ) -> OrderRecord | None:
        last: OrderRecord | None = None
        error: Exception | None = None
        for attempt in range(_TRIES):
            if attempt:
                await self._clock.sleep(_RETRY_S[attempt - 1])
            try:
                read_ns = self._clock.now_ns()
                for signed in await self._legs(symbol):
                    last = await self._close_leg(symbol, signed, read_ns, purpose, trace) or last
            except (OutcomeUnknown, NotExecuted, Refused, TimeoutError) as caught:
                _log.warning("close of %s, try %d: %s", symbol, attempt + 1, caught)
                error = caught
                continue
            return last
        assert error is not None
        raise error

    async def _close_leg(
        self, symbol: Symbol, signed: Decimal, read_ns: int, purpose: OrderPurpose, trace: TraceId
    ) -> OrderRecord | None:
        """Close the position, or in hedge mode one leg of it, of which `signed` was read."""
        last: OrderRecord | None = None
        side = Side.SELL if signed > 0 else Side.BUY
        if asked_away := await self._make_way(symbol, side):
            signed = await self._position(symbol, side)
        working = self._working(symbol, asked_away)
        left = abs(signed) - closing_in_flight(symbol, side, working, fresh_read_ns=read_ns)
        while signed:  # None above the venue's maximum.
            intent = self._exit(symbol, side, purpose, trace, left)
            if refused := self._refused(intent, signed, read_ns, asked_away):
                # Other exits are on their way and cover the position already.
                _log.info("close of %s: %s", symbol, refused[0].detail)
                break
            last = await self.send(intent)
            left -= intent.quantity
            if left <= 0:
                break
        return last

    async def _legs(self, symbol: Symbol) -> list[Decimal]:
        """The venue's own signed quantities: one, two in hedge mode, none where it is flat. A
        failed read raises, it never counts as flat.
        """
        positions = await within(self._clock, _ANSWER_S, self._reads.positions())
        return [row.quantity for row in positions if row.symbol == symbol and row.quantity]

    async def _position(self, symbol: Symbol, closing: Side) -> Decimal:
        """What this side would close; without legs the position, whichever side it is on."""
        legs = await self._legs(symbol)
        closed = [quantity for quantity in legs if quantity * closing.sign < 0]
        return next(iter(closed or legs), ZERO)

    def _exit(
        self,
        symbol: Symbol,
        side: Side,
        purpose: OrderPurpose,
        trace: TraceId,
        quantity: Decimal,
        price: Decimal | None = None,
    ) -> Intent:
        instrument = self._instrument(symbol)
        return Intent(
            client_order_id=self._order_ids.next(),
            symbol=symbol,
            side=side,
            kind=OrderKind.MARKET if price is None else OrderKind.LIMIT,
            purpose=purpose,
            quantity=min(quantity, instrument.quantity_max),
            price=price,
            reduce_only=True,
            trace=trace,
            created_ns=self._clock.now_ns(),
        )

    def resting(
        self,
        symbol: Symbol,
        signed: Decimal,
        *,
        kind: OrderKind,
        trigger_price: Decimal,
        trace: TraceId,
    ) -> Intent:
        """A stop or a take-profit for the whole position."""
        is_stop = kind is OrderKind.STOP_MARKET
        instrument = self._instrument(symbol)
        return Intent(
            client_order_id=self._order_ids.next(),
            symbol=symbol,
            side=Side.SELL if signed > 0 else Side.BUY,
            kind=kind,
            purpose=OrderPurpose.PROTECTIVE_STOP if is_stop else OrderPurpose.TAKE_PROFIT,
            quantity=abs(signed),
            trigger_price=instrument.round_price(trigger_price),
            reduce_only=True,
            trace=trace,
            created_ns=self._clock.now_ns(),
        )

    async def send(self, intent: Intent) -> OrderRecord:
        """Intent durable, then sent. Raises the venue's error after recording the outcome."""
        try:
            await self._desk.intend(intent)
        except StoreError:
            _log.exception("exit %s goes out without a durable intent", intent.client_order_id)
        identifier = intent.client_order_id
        self._desk.move(identifier, OrderTrigger.SENT)
        self._look_up.sent(identifier)
        try:
            ack = await within(self._clock, _ANSWER_S, self._exits.reduce(intent))
        except (OutcomeUnknown, TimeoutError) as error:
            self._desk.unanswered(identifier, reason=str(error))
            self._look_up.resolve(identifier)
            raise
        except (Refused, NotExecuted) as error:
            self._desk.move(identifier, OrderTrigger.VENUE_REJECTED, reason=str(error))
            raise
        record = self._desk.get(identifier)
        if record is not None and not record.state.is_final:
            self._desk.move(
                identifier, OrderTrigger.VENUE_ACCEPTED, venue_order_id=ack.venue_order_id
            )
        record = self._desk.get(identifier)
        assert record is not None
        return record

    async def cancel(self, record: OrderRecord) -> None:
        """Cancel one order. Whatever the answer is, it is looked up, and cancelled again, until
        the venue says that it is over.
        """
        self._look_up.cancel_sent(record.client_order_id)
        await within(
            self._clock,
            _ANSWER_S,
            self._exits.cancel(record.intent.symbol, record.client_order_id),
        )


__all__ = ["ExitSender"]

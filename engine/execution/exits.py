"""Sends exits: close a position, or rest a protective stop. Exits are never blocked.

Every exit is reduce-only, sized from the position, and has a durable intent before it is sent; when
the disk refuses the intent the exit goes out all the same and is recorded beside it, since being
unable to close is the greater risk. Unknown outcome: the venue's own position is read before
another try, which gets a new id. Quantities in base coin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal

from engine.execution.collaborators import Identity, VenuePorts
from engine.execution.order_desk import OrderDesk
from engine.model.errors import NotExecuted, OutcomeUnknown, Refused, StoreError
from engine.model.ids import ClientOrderId, Symbol, TraceId
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderRecord, OrderTrigger
from engine.model.values import ZERO, Side
from engine.ports import Clock
from engine.risk import check_exit
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
        on_unknown: Callable[[ClientOrderId], None],
    ) -> None:
        """`on_unknown` has an order looked up whose outcome nobody knows."""
        self._exits = venue.exits
        self._on_unknown = on_unknown
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
                signed = await self._position(symbol)
                if signed == ZERO:
                    return last
                intent = self._market(symbol, signed, purpose, trace)
                refused = check_exit(
                    intent,
                    position=signed,
                    working=self._desk.open_orders(symbol),
                    fresh_read_ns=read_ns,
                )
                if refused:
                    # Another exit is on its way and covers the position already.
                    _log.info("close of %s: %s", symbol, refused[0].detail)
                    return last
                last = await self.send(intent)
            except (OutcomeUnknown, NotExecuted, Refused, TimeoutError) as caught:
                _log.warning("close of %s, try %d: %s", symbol, attempt + 1, caught)
                error = caught
                continue
            return last
        assert error is not None
        raise error

    async def _position(self, symbol: Symbol) -> Decimal:
        """The venue's own signed quantity; a failed read raises, it never counts as flat."""
        positions = await within(self._clock, _ANSWER_S, self._reads.positions())
        return next((entry.quantity for entry in positions if entry.symbol == symbol), ZERO)

    def _market(
        self, symbol: Symbol, signed: Decimal, purpose: OrderPurpose, trace: TraceId
    ) -> Intent:
        instrument = self._instrument(symbol)
        return Intent(
            client_order_id=self._order_ids.next(),
            symbol=symbol,
            side=Side.SELL if signed > 0 else Side.BUY,
            kind=OrderKind.MARKET,
            purpose=purpose,
            quantity=min(abs(signed), instrument.quantity_max),
            reduce_only=True,
            trace=trace,
            created_ns=self._clock.now_ns(),
        )

    def protective_stop(
        self, symbol: Symbol, signed: Decimal, trigger_price: Decimal, trace: TraceId
    ) -> Intent:
        """A stop for the whole position."""
        instrument = self._instrument(symbol)
        return Intent(
            client_order_id=self._order_ids.next(),
            symbol=symbol,
            side=Side.SELL if signed > 0 else Side.BUY,
            kind=OrderKind.STOP_MARKET,
            purpose=OrderPurpose.PROTECTIVE_STOP,
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
        try:
            ack = await within(self._clock, _ANSWER_S, self._exits.reduce(intent))
        except (OutcomeUnknown, TimeoutError) as error:
            self._desk.move(identifier, OrderTrigger.TIMED_OUT, reason=str(error))
            self._on_unknown(identifier)
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
        """Cancel one order; an answer that it is not open is settled by the stream or a look-up."""
        await within(
            self._clock,
            _ANSWER_S,
            self._exits.cancel(record.intent.symbol, record.client_order_id),
        )


__all__ = ["ExitSender"]

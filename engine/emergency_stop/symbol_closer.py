"""One symbol during a stop: cancels what can add risk and, beside it, closes what is open.

Two loops that never wait for another symbol. The cancelling loop asks the venue to cancel every
ordinary order and each conditional one that could add risk, until that was acknowledged. The
closing loop starts when the first cancel was answered or 2 s have passed, and follows the table of
`next_step`: read the position from the venue, close it with reduce-only market orders of that
size, read again. It knows no last attempt. Nothing is believed but the venue's reads: an
acknowledged order is not a closed position.

Quantities are signed base coin; times are nanoseconds, monotonic unless named UTC. A failure of
any kind is kept for the operator (`failure`), waited out, and tried again after a fresh read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

from engine.emergency_stop.account_reading import FreshReads
from engine.emergency_stop.collaborators import StopHooks, StopVenue
from engine.emergency_stop.failures import Failure, FailureKind, attempt, retry_delay_s
from engine.emergency_stop.next_step import (
    ClosingFacts,
    Step,
    clips,
    closable_quantity,
    next_step,
)
from engine.emergency_stop.order_series import ClosingOrderIds
from engine.emergency_stop.supervision import quietly
from engine.model.ids import ClientOrderId, Symbol, TraceId
from engine.model.instrument import Instrument
from engine.model.limits import STOP_CANCEL_WAIT_S, STOP_VERIFY_GAP_S
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import ZERO, Side
from engine.model.venue import VenueOrder, VenuePosition
from engine.ports.clock import Clock
from engine.runtime import within

CLOSE_WAIT_S = 5.0
# After an acknowledgement the fill may still be on its way; reads in between, then a new order.
_SETTLE_S = (0.05, 0.1, 0.3, 0.5, 1.0)
# Refusals without a known reason, after which resting stops are suspected.
_SUSPECT_STOPS_AFTER = 2
_NS = 1_000_000_000


class SymbolCloser:
    """Closes one symbol; `is_paused` is asked before each order."""

    def __init__(
        self,
        *,
        symbol: Symbol,
        venue: StopVenue,
        positions: FreshReads[tuple[VenuePosition, ...]],
        instrument: Callable[[Symbol], Instrument],
        clock: Clock,
        ids: ClosingOrderIds,
        hooks: StopHooks,
        is_paused: Callable[[], bool],
    ) -> None:
        self.symbol = symbol
        self._venue = venue
        self._positions = positions
        self._instrument = instrument
        self._clock = clock
        self._ids = ids
        self._hooks = hooks
        self._is_paused = is_paused
        self.trace = TraceId("")
        # What the operator sees.
        self.quantity_at_trip: Decimal | None = None
        self.mark_at_trip: Decimal | None = None
        self.left: Decimal | None = None
        self.step: Step | None = None
        self.attempts = 0
        self.failure: Failure | None = None
        self.failures = 0
        self.last_answer = ""
        self.next_try_ns: int | None = None
        self.orders_cancelled = 0
        self.ordinary_open = 0
        self.protective: tuple[VenueOrder, ...] | None = None
        self.unprotected_since_ns: int | None = None
        self.flat_at_ns: int | None = None
        self.residual: Decimal | None = None
        self.quantity_min = ZERO
        # Cancelling.
        self._cancel_ordinary = True
        self._in_cancel_round = False
        self._risky: dict[ClientOrderId, VenueOrder] = {}
        self._cancel_wake = asyncio.Event()
        self._may_close = asyncio.Event()
        self._no_send = asyncio.Event()
        self._no_send.set()
        # Closing.
        self._position: Decimal | None = None
        self._read_began_ns = -1
        self._zero_ended_ns: int | None = None
        self._is_blocked = False
        self._refusals = 0
        self._settling: tuple[Decimal, int] | None = None
        self._wake = asyncio.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing that could add risk is known to be open."""
        return not self._cancel_ordinary and not self._risky and not self._in_cancel_round

    @property
    def is_zero(self) -> bool:
        return self.left is not None and self.left == 0

    # --- Told from outside ----------------------------------------------------------------------

    def kick(self) -> None:
        """Look again: the pause ended, a fill was heard, or somebody pressed again."""
        self._wake.set()

    def observe_orders(self, orders: tuple[VenueOrder, ...]) -> None:
        """Take what an account-wide read says of this symbol's open orders."""
        ordinary = [order for order in orders if not order.is_conditional]
        conditional = [order for order in orders if order.is_conditional]
        self.ordinary_open = len(ordinary)
        self._risky = {o.client_order_id: o for o in conditional if not o.reduce_only}
        if ordinary:
            self._cancel_ordinary = True
        if ordinary or self._risky:
            self._cancel_wake.set()
        self._set_protective(tuple(order for order in conditional if order.reduce_only))

    def observe_position(
        self, position: VenuePosition | None, *, began_ns: int, ended_ns: int
    ) -> None:
        """Take what an account-wide read says of this symbol's position."""
        if began_ns < self._read_began_ns:
            return
        quantity = ZERO if position is None else position.quantity
        if self.mark_at_trip is None and position is not None:
            self.mark_at_trip = position.mark_price
        self._note(quantity, began_ns=began_ns, ended_ns=ended_ns)
        known = self._position
        if self.step in {Step.REST, Step.RESIDUAL} and known != quantity:
            self._position = None  # Filled late: closed again, after a read of our own.
            self._wake.set()
        elif quantity == 0 and known is not None and known != 0:
            self._position = None
            self._wake.set()

    def _set_protective(self, orders: tuple[VenueOrder, ...]) -> None:
        self.protective = orders
        if orders:
            self.unprotected_since_ns = None
            if self.step in {Step.REST, Step.RESIDUAL}:
                self._wake.set()
        elif self.unprotected_since_ns is None:
            self.unprotected_since_ns = self._clock.monotonic_ns()

    def _note(self, quantity: Decimal, *, began_ns: int, ended_ns: int) -> None:
        """Keep the venue's words, and say FLAT after two zeros at least a second apart."""
        self.left = quantity
        if self.quantity_at_trip is None or (self.quantity_at_trip == 0 and quantity != 0):
            self.quantity_at_trip = quantity
        if quantity != 0:
            self._zero_ended_ns = None
            self.flat_at_ns = None
        elif self._zero_ended_ns is None:
            self._zero_ended_ns = ended_ns
        elif self.flat_at_ns is None and began_ns - self._zero_ended_ns >= STOP_VERIFY_GAP_S * _NS:
            self.flat_at_ns = self._clock.now_ns()

    # --- Cancelling -----------------------------------------------------------------------------

    async def cancelling(self) -> None:
        """Cancel until acknowledged; for ever, since orders may appear late."""
        failures = 0
        while True:
            if self.is_cancelled:
                failures = 0
                self._may_close.set()
                await self._cancel_wake.wait()
                self._cancel_wake.clear()
                continue
            self._in_cancel_round = True
            try:
                failure = await self._cancel_round()
            finally:
                self._in_cancel_round = False
            self._may_close.set()
            if failure is None:
                continue
            failures += 1
            self.last_answer = f"cancel: {failure.text}"
            await self._clock.sleep(retry_delay_s(failures, failure))
            await self._no_send.wait()

    async def _cancel_round(self) -> Failure | None:
        if self._cancel_ordinary:
            self._cancel_ordinary = False
            count = await attempt(
                self._clock,
                STOP_CANCEL_WAIT_S,
                lambda: self._venue.exits.cancel_all(self.symbol, conditional=False),
            )
            if isinstance(count, Failure):
                self._cancel_ordinary = True
                return count
            self.orders_cancelled += count
            self.ordinary_open = 0
        for client_order_id in tuple(self._risky):
            failure = await self._cancel_one(client_order_id)
            if failure is not None:
                return failure
        return None

    async def _cancel_one(self, client_order_id: ClientOrderId) -> Failure | None:
        outcome = await attempt(
            self._clock,
            STOP_CANCEL_WAIT_S,
            lambda: self._venue.exits.cancel(self.symbol, client_order_id),
        )
        if isinstance(outcome, Failure) and outcome.kind is not FailureKind.REFUSED:
            return outcome
        # Refused means that it is not open; the next account-wide read has the last word.
        if self._risky.pop(client_order_id, None) is not None and outcome is None:
            self.orders_cancelled += 1
        return None

    # --- Closing --------------------------------------------------------------------------------

    async def closing(self) -> None:
        """Follow the table until the symbol is at rest; for ever, since fills may come late."""
        await self._may_close.wait()
        while True:
            self.step = next_step(self._facts())
            if self.step is Step.READ:
                await self._read()
            elif self.step is Step.CANCEL_PROTECTIVE:
                await self._cancel_protective()
            elif self.step is Step.CLOSE:
                await self._close()
            else:
                self.residual = self._position if self.step is Step.RESIDUAL else None
                self.next_try_ns = None
                await self._wake.wait()
                self._wake.clear()
                if self.step is Step.PAUSED:
                    self._position = None

    def _facts(self) -> ClosingFacts:
        position = self._position
        closable = ZERO
        if position:
            grid = self._grid()
            closable = abs(position) if grid is None else closable_quantity(position, grid)
        return ClosingFacts(
            position=position,
            closable=closable,
            protective=None if self.protective is None else bool(self.protective),
            is_blocked=self._is_blocked,
            is_paused=self._is_paused(),
        )

    def _grid(self) -> Instrument | None:
        """The venue's filters; without them the whole position is one order, and it may refuse."""
        instrument = quietly("the instrument", lambda: self._instrument(self.symbol))
        if instrument is not None:
            self.quantity_min = instrument.quantity_min
        return instrument

    async def _read(self) -> None:
        self._read_began_ns = self._clock.monotonic_ns()
        reading = await self._positions.fresh()
        if isinstance(reading, Failure):
            await self._wait_out(reading, "read")
            return
        self._read_began_ns = reading.began_ns
        found = next((p for p in reading.value if p.symbol == self.symbol), None)
        if self.mark_at_trip is None and found is not None:
            self.mark_at_trip = found.mark_price
        quantity = ZERO if found is None else found.quantity
        self._note(quantity, began_ns=reading.began_ns, ended_ns=reading.ended_ns)
        self.residual = None
        if self._settling is not None and await self._still_settling(quantity):
            return
        self._position = quantity
        if quantity == 0:
            self._succeeded()

    async def _still_settling(self, quantity: Decimal) -> bool:
        """Whether an acknowledged order has not shown yet and deserves another look first."""
        assert self._settling is not None
        before, looks = self._settling
        if quantity != before or looks >= len(_SETTLE_S):
            self._settling = None
            return False
        self._settling = (before, looks + 1)
        await self._until_kicked(_SETTLE_S[looks])
        return True

    async def _cancel_protective(self) -> None:
        count = await attempt(
            self._clock,
            STOP_CANCEL_WAIT_S,
            lambda: self._venue.exits.cancel_all(self.symbol, conditional=True),
        )
        if isinstance(count, Failure):
            # The close is not held up: a fresh read, then another try at both.
            await self._wait_out(count, "cancel of stops")
            if self._is_blocked and self._position:
                self._is_blocked = False
                self._position = None
            return
        self.orders_cancelled += count
        self._is_blocked = False
        self._set_protective(())
        self._position = None if self._position else self._position

    async def _close(self) -> None:
        position = self._position
        assert position
        self.attempts += 1
        grid = self._grid()
        sizes: tuple[Decimal, ...] = (abs(position),)
        if grid is not None:
            sizes = clips(closable_quantity(position, grid), grid)
        for size in sizes:
            if self._is_paused():
                break
            outcome = await self._send(position, size)
            if isinstance(outcome, Failure):
                self._position = None
                await self._refused_or_lost(outcome)
                return
        self._position = None
        self._settling = (position, 0)
        self.failure = None
        self.failures = self._refusals = 0

    async def _send(self, position: Decimal, size: Decimal) -> object | Failure:
        intent = Intent(
            client_order_id=self._ids.next(),
            symbol=self.symbol,
            side=Side.SELL if position > 0 else Side.BUY,
            kind=OrderKind.MARKET,
            purpose=OrderPurpose.EMERGENCY_CLOSE,
            quantity=size,
            reduce_only=True,
            trace=self.trace,
            created_ns=self._clock.now_ns(),
        )
        quietly("recording a closing order", lambda: self._hooks.record_closing(intent))
        self._no_send.clear()
        try:
            outcome = await attempt(
                self._clock, CLOSE_WAIT_S, lambda: self._venue.exits.reduce(intent)
            )
        finally:
            self._no_send.set()
        if not isinstance(outcome, Failure):
            self.last_answer = f"accepted as {outcome.venue_order_id}"
        return outcome

    async def _refused_or_lost(self, failure: Failure) -> None:
        if failure.kind is FailureKind.BLOCKED_BY_ORDERS and self.protective != ():
            self._is_blocked = True
            self._fail(failure, "close")
            return  # At once: the position is read again, the stops go, and it is closed.
        if failure.kind is FailureKind.REFUSED:
            self._refusals += 1
        if self._refusals >= _SUSPECT_STOPS_AFTER and self.protective != ():
            self._is_blocked = True
        await self._wait_out(failure, "close")

    # --- Waiting --------------------------------------------------------------------------------

    def _fail(self, failure: Failure, what: str) -> None:
        self.failures += 1
        self.failure = failure
        self.last_answer = f"{what}: {failure.text}"

    def _succeeded(self) -> None:
        self.failure = None
        self.failures = self._refusals = 0
        self.next_try_ns = None
        self._is_blocked = False

    async def _wait_out(self, failure: Failure, what: str) -> None:
        self._fail(failure, what)
        delay_s = retry_delay_s(self.failures, failure)
        self.next_try_ns = self._clock.now_ns() + round(delay_s * _NS)
        if failure.retry_after_s > 0:
            await self._clock.sleep(delay_s)  # The venue's own time is not cut short.
        else:
            await self._until_kicked(delay_s)
        self.next_try_ns = None

    async def _until_kicked(self, seconds: float) -> None:
        self._wake.clear()
        try:
            await within(self._clock, seconds, self._wake.wait())
        except TimeoutError:
            pass


__all__ = ["CLOSE_WAIT_S", "SymbolCloser"]

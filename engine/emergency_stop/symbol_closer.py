"""One position during a stop: closed, and read again, until the venue shows that it is gone.

A symbol has one closer, in hedge mode one a leg; they never wait for another symbol. The loop
starts when the symbol's first cancel was answered or 2 s have passed, and follows the table of
`next_step`: read the position from the venue, close it with reduce-only market orders of that
size, read again. It knows no last attempt. Nothing is believed but the venue's reads: an
acknowledged order is not a closed position. After three market orders refused in a row one limit
order is tried that crosses the book within the venue's price band, and then market orders again.

Quantities are signed base coin; times are nanoseconds, monotonic unless named UTC. A failure of
any kind is kept for the operator (`failure`), waited out, and tried again after a fresh read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

import msgspec

from engine.emergency_stop.account_reading import Reading
from engine.emergency_stop.closing_prices import closing_price
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
from engine.emergency_stop.symbol_orders import SymbolOrders
from engine.model.ids import ClientOrderId, Symbol, TraceId
from engine.model.instrument import Instrument
from engine.model.limits import STOP_VERIFY_GAP_S
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import ZERO, Side
from engine.model.venue import Leg, VenuePosition
from engine.ports.clock import Clock
from engine.runtime import within

CLOSE_WAIT_S = 5.0
# After an acknowledgement the fill may still be on its way; reads in between, then a new order.
_SETTLE_S = (0.05, 0.1, 0.3, 0.5, 1.0)
# Refusals without a known reason, after which resting stops are suspected.
_SUSPECT_STOPS_AFTER = 2
# Market orders refused or left unfilled in a row, after which a limit order is tried.
_LIMIT_AFTER = 3
_UNFILLED = Failure(kind=FailureKind.MARKET_HALTED, text="accepted, and nothing was filled")
_NS = 1_000_000_000


ReadPositions = Callable[[], Awaitable[Reading[tuple[VenuePosition, ...]] | Failure]]


class SymbolCloser:
    """Closes one position; `is_paused` is asked before each order, `is_alone` whether no other leg
    of the symbol is open.
    """

    def __init__(
        self,
        *,
        orders: SymbolOrders,
        venue: StopVenue,
        read: ReadPositions,
        instrument: Callable[[Symbol], Instrument],
        clock: Clock,
        ids: ClosingOrderIds,
        hooks: StopHooks,
        is_paused: Callable[[], bool],
    ) -> None:
        self.symbol = orders.symbol
        self.leg: Leg | None = None
        self.orders = orders
        self._venue = venue
        self._read_positions = read
        self._instrument = instrument
        self._clock = clock
        self._ids = ids
        self._hooks = hooks
        self._is_paused = is_paused
        self.is_alone: Callable[[], bool] = lambda: True
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
        self.flat_at_ns: int | None = None
        self.residual: Decimal | None = None
        self.quantity_min = ZERO
        # Closing.
        self._position: Decimal | None = None
        self._mark: Decimal | None = None
        self._read_began_ns = -1
        self._zero_ended_ns: int | None = None
        self._is_blocked = False
        self._refusals = 0
        self._market_refusals = 0
        self._limit_refusals = 0
        self._resting: ClientOrderId | None = None
        self._clip_max: Decimal | None = None
        self._settling: tuple[Decimal, int] | None = None
        self._wake = asyncio.Event()

    @property
    def is_zero(self) -> bool:
        return self.left is not None and self.left == 0

    @property
    def is_done(self) -> bool:
        """Whether no order of ours could reduce it any further."""
        return self.is_zero or (self.residual is not None and self.left == self.residual)

    # --- Told from outside ----------------------------------------------------------------------

    def be_leg(self, leg: Leg) -> None:
        """The account is in hedge mode, and this is the closer of that leg."""
        self.leg = leg
        # What our books knew was the sum of both.
        self.quantity_at_trip = self.left = self._position = None

    def kick(self) -> None:
        """Look again: the pause ended, a fill was heard, or somebody pressed again."""
        self._wake.set()

    def stops_rest(self) -> None:
        """Protective stops were seen: whoever rests has to see to them."""
        if self.step in {Step.REST, Step.RESIDUAL}:
            self._wake.set()

    def observe_position(
        self, position: VenuePosition | None, *, began_ns: int, ended_ns: int
    ) -> None:
        """Take what an account-wide read says of this position."""
        if began_ns < self._read_began_ns:
            return
        quantity = ZERO if position is None else position.quantity
        self._note_marks(position)
        self._note(quantity, began_ns=began_ns, ended_ns=ended_ns)
        known = self._position
        if self.step in {Step.REST, Step.RESIDUAL} and known != quantity:
            self._position = None  # Filled late: closed again, after a read of our own.
            self._wake.set()
        elif quantity == 0 and known is not None and known != 0:
            self._position = None
            self._wake.set()

    def _note_marks(self, position: VenuePosition | None) -> None:
        if position is None or position.mark_price is None:
            return
        self._mark = position.mark_price
        if self.mark_at_trip is None:
            self.mark_at_trip = position.mark_price

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

    # --- Closing --------------------------------------------------------------------------------

    async def closing(self) -> None:
        """Follow the table until the symbol is at rest; for ever, since fills may come late."""
        await self.orders.may_close.wait()
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
            protective=None if self.orders.protective is None else bool(self.orders.protective),
            is_blocked=self._is_blocked,
            is_paused=self._is_paused(),
            is_alone=self.is_alone(),
        )

    def _grid(self) -> Instrument | None:
        """The venue's filters; without them the whole position is one order, and it may refuse."""
        instrument = quietly("the instrument", lambda: self._instrument(self.symbol))
        if instrument is not None:
            self.quantity_min = instrument.quantity_min
        return instrument

    async def _read(self) -> None:
        self._read_began_ns = self._clock.monotonic_ns()
        reading = await self._read_positions()
        if isinstance(reading, Failure):
            await self._wait_out(reading, "read")
            return
        self._read_began_ns = reading.began_ns
        found = next(
            (p for p in reading.value if p.symbol == self.symbol and p.leg == self.leg), None
        )
        self._note_marks(found)
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
        if quantity != before:
            self._settling = self.failure = None
            self.failures = self._market_refusals = self._limit_refusals = 0
            return False
        if looks >= len(_SETTLE_S):
            self._settling = None
            if self._resting is None:
                # Taken, and ended by the venue for want of a price: no better than a refusal.
                self._market_refusals += 1
                self._fail(_UNFILLED, "close")
            return False
        self._settling = (before, looks + 1)
        await self._until_kicked(_SETTLE_S[looks])
        return True

    async def _cancel_protective(self) -> None:
        failure = await self.orders.cancel_protective()
        if failure is not None:
            # The close is not held up: a fresh read, then another try at both.
            await self._wait_out(failure, "cancel of stops")
            if self._is_blocked and self._position:
                self._is_blocked = False
                self._position = None
            return
        self._is_blocked = False
        self._position = None if self._position else self._position

    async def _close(self) -> None:
        if self._resting is not None:
            await self._withdraw()
            return
        position = self._position
        assert position
        self.attempts += 1
        grid = self._grid()
        price = self._limit_price(position, grid)
        sizes = self._sizes(abs(position), grid)
        for size in sizes if price is None else sizes[:1]:
            if self._is_paused():
                break
            outcome = await self._send(position, size, price)
            if isinstance(outcome, Failure):
                self._position = None
                await self._refused_or_lost(outcome, size, is_market=price is None)
                return
        self._position = None
        self._settling = (position, 0)
        self._refusals = 0
        if self.failure is not _UNFILLED:  # That one stands until something fills.
            self.failure = None
            self.failures = 0
        if price is not None:
            self._market_refusals = 0  # Then market orders again.

    def _sizes(self, left: Decimal, grid: Instrument | None) -> tuple[Decimal, ...]:
        """The orders that take it, by the venue's maximum for one, or what it has shown to be."""
        if grid is None:
            return (min(left, self._clip_max or left),)
        if self._clip_max is not None and self._clip_max < grid.quantity_max:
            grid = msgspec.structs.replace(grid, quantity_max=self._clip_max)
        return clips(closable_quantity(left, grid), grid)

    def _limit_price(self, position: Decimal, grid: Instrument | None) -> Decimal | None:
        """None for a market order, which all are but the one after three refused ones."""
        if self._market_refusals < _LIMIT_AFTER or self._mark is None:
            return None
        return closing_price(_closing(position), self._mark, grid, refusals=self._limit_refusals)

    async def _send(
        self, position: Decimal, size: Decimal, price: Decimal | None
    ) -> object | Failure:
        intent = Intent(
            client_order_id=self._ids.next(),
            symbol=self.symbol,
            side=_closing(position),
            kind=OrderKind.MARKET if price is None else OrderKind.LIMIT,
            purpose=OrderPurpose.EMERGENCY_CLOSE,
            quantity=size,
            price=price,
            reduce_only=True,
            trace=self.trace,
            created_ns=self._clock.now_ns(),
        )
        quietly("recording a closing order", lambda: self._hooks.record_closing(intent))
        if price is not None:
            self._resting = intent.client_order_id
            self.orders.closing.add(intent.client_order_id)
        self.orders.send_begins()
        try:
            outcome = await attempt(
                self._clock, CLOSE_WAIT_S, lambda: self._venue.exits.reduce(intent)
            )
        finally:
            self.orders.send_ended()
        if not isinstance(outcome, Failure):
            self.last_answer = f"accepted as {outcome.venue_order_id}"
        return outcome

    async def _withdraw(self) -> None:
        """Take the limit order back before the next order; it may have filled meanwhile."""
        resting = self._resting
        assert resting is not None
        failure = await self.orders.cancel(resting)
        # Whatever the answer: if it still rests, the cancelling loop finds it.
        self._resting = None
        self.orders.closing.discard(resting)
        self._position = None
        if failure is not None and not failure.is_refusal:
            await self._wait_out(failure, "cancel of the limit order")

    async def _refused_or_lost(self, failure: Failure, size: Decimal, *, is_market: bool) -> None:
        if failure.is_refusal:
            if is_market:
                self._market_refusals += 1
            else:
                self._limit_refusals += 1
        if not is_market:
            self._market_refusals = 0  # Then market orders again.
            if failure.kind is not FailureKind.UNKNOWN and self._resting is not None:
                self.orders.closing.discard(self._resting)
                self._resting = None
        if failure.kind is FailureKind.NOTHING_TO_REDUCE and not self._refusals:
            self._refusals += 1
            self._fail(failure, "close")
            return  # At once: most often the position is gone, and a read says so.
        if failure.kind is FailureKind.TOO_LARGE:
            self._halve(size)
            self._fail(failure, "close")
            return
        if failure.kind is FailureKind.BLOCKED_BY_ORDERS:
            self.orders.cancel_again()
            if self.orders.protective != ():
                self._is_blocked = True
                self._fail(failure, "close")
                return  # At once: the position is read again, the stops go, and it is closed.
        if failure.kind in {FailureKind.REFUSED, FailureKind.NOTHING_TO_REDUCE}:
            self._refusals += 1
        if self._refusals >= _SUSPECT_STOPS_AFTER and self.orders.protective != ():
            self._is_blocked = True
        await self._wait_out(failure, "close")

    def _halve(self, size: Decimal) -> None:
        """The venue's maximum is below what we took for it."""
        grid = self._grid()
        half = size / 2 if grid is None else grid.round_quantity(size / 2)
        smallest = ZERO if grid is None else grid.quantity_min
        self._clip_max = max(half, smallest) or size

    # --- Waiting --------------------------------------------------------------------------------

    def _fail(self, failure: Failure, what: str) -> None:
        self.failures += 1
        self.failure = failure
        self.last_answer = f"{what}: {failure.text}"

    def _succeeded(self) -> None:
        self.failure = None
        self.failures = self._refusals = self._market_refusals = self._limit_refusals = 0
        self.next_try_ns = None
        self._is_blocked = False
        if self._resting is not None:
            self.orders.closing.discard(self._resting)
            self.orders.cancel_again()
            self._resting = None

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


def _closing(position: Decimal) -> Side:
    return Side.SELL if position > 0 else Side.BUY


__all__ = ["CLOSE_WAIT_S", "ReadPositions", "SymbolCloser"]

"""The stop procedure for one account: a closer for each symbol, and the account-wide proof.

BLOCK is done before this starts. Symbols our books know start at once, largest risk first; what we
did not know is found by the account-wide reads, which begin at the same moment. VERIFY goes on
until two reads at least a second apart show no position, no open order and no open conditional
order; then every 5 s for a minute, every minute, and on any message of the private stream, because
a fill may still arrive. A failed read never counts.

A residual below the venue's minimum is not flat; the proof names it, so that a reset may accept
it. All tasks belong to this object; nothing outside can cancel them but `aclose`. Times are
monotonic nanoseconds unless named UTC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from engine.emergency_stop.account_reading import FreshReads, Reading
from engine.emergency_stop.collaborators import KnownAccount, StopHooks, StopVenue
from engine.emergency_stop.failures import Failure, retry_delay_s
from engine.emergency_stop.order_series import ClosingOrderIds
from engine.emergency_stop.supervision import quietly, restarting
from engine.emergency_stop.symbol_closer import SymbolCloser
from engine.model.emergency import Trip
from engine.model.ids import ExecutionId, Symbol, TraceId
from engine.model.limits import (
    STOP_VERIFY_GAP_S,
    STOP_WATCH_FAST_FOR_S,
    STOP_WATCH_FAST_S,
    STOP_WATCH_SLOW_S,
)
from engine.model.orders import Fill
from engine.model.values import ZERO
from engine.model.venue import StreamUpdate, VenueOrder, VenuePosition
from engine.ports.clock import Clock
from engine.runtime import Tasks, within

_NS = 1_000_000_000
# A flood of stream messages must not become a flood of reads.
_LOOK_INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatProof:
    """Two reads that agree. `residual` is what no order can close; empty means flat."""

    first_ended_ns: int
    second_began_ns: int
    residual: tuple[tuple[Symbol, Decimal], ...] = ()

    @property
    def is_flat(self) -> bool:
        return not self.residual


class Flattening:
    """Closes an account and goes on proving that it is closed.

    `on_proof` is called with each new proof, and with None when something is open again.
    """

    def __init__(
        self,
        *,
        venue: StopVenue,
        account: KnownAccount,
        clock: Clock,
        tasks: Tasks,
        ids: ClosingOrderIds,
        hooks: StopHooks,
        is_paused: Callable[[], bool],
        on_proof: Callable[[FlatProof | None], None],
    ) -> None:
        self._venue = venue
        self._account = account
        self._clock = clock
        self._tasks = tasks
        self._ids = ids
        self._hooks = hooks
        self._is_paused = is_paused
        self._on_proof = on_proof
        self._positions = FreshReads(
            name="positions", clock=clock, tasks=tasks, fetch=venue.reads.positions
        )
        self._orders = FreshReads(
            name="orders", clock=clock, tasks=tasks, fetch=venue.reads.open_orders
        )
        self._trace = TraceId("")
        self._look = asyncio.Event()
        self._look_failures = 0
        self._empty: Reading[tuple[tuple[Symbol, Decimal], ...]] | None = None
        self._proven_at_ns: int | None = None
        self._fills: dict[ExecutionId, Fill] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self.closers: dict[Symbol, SymbolCloser] = {}
        self.proof: FlatProof | None = None
        self.reads_empty = 0
        self.began_ns = clock.monotonic_ns()
        self.began_utc_ns = clock.now_ns()
        self.last_read_ended_ns: int | None = None
        self.last_read_failure: Failure | None = None
        self.positions_open: int | None = None
        self.orders_open: int | None = None
        # The stages' durations, once each is done.
        self.cancelled_after_s: float | None = None
        self.closed_after_s: float | None = None
        self.verified_after_s: float | None = None

    def begin(self, trip: Trip) -> None:
        """Start everything; returns at once, and the first requests leave in the same loop turn."""
        self._trace = TraceId(trip.id)
        self.began_utc_ns = trip.ts_ns
        known = quietly("our own books", self._account.exposures) or ()
        for exposure in sorted(known, key=lambda each: each.risk, reverse=True):
            closer = self._closer(exposure.symbol)
            closer.quantity_at_trip = exposure.quantity
            closer.mark_at_trip = exposure.mark
        self._spawn("stop-verify", self._verifying)
        self._unsubscribe = quietly(
            "the private stream", lambda: self._venue.streams.subscribe(self._hear)
        )

    async def aclose(self) -> None:
        """End every task; only for a reset or the end of the process."""
        if self._unsubscribe is not None:
            quietly("leaving the private stream", self._unsubscribe)
        await self._tasks.cancel_all()

    def look_now(self) -> None:
        """Verify at once instead of at the next interval."""
        self._look.set()

    def go_on(self) -> None:
        """The pause has changed: every closer looks again."""
        for closer in self.closers.values():
            closer.kick()
        self._look.set()

    # --- Symbols --------------------------------------------------------------------------------

    def _closer(self, symbol: Symbol) -> SymbolCloser:
        closer = self.closers.get(symbol)
        if closer is None:
            closer = SymbolCloser(
                symbol=symbol,
                venue=self._venue,
                positions=self._positions,
                instrument=self._account.instrument,
                clock=self._clock,
                ids=self._ids,
                hooks=self._hooks,
                is_paused=self._is_paused,
            )
            closer.trace = self._trace
            self.closers[symbol] = closer
            self._spawn(f"stop-cancel-{symbol}", closer.cancelling)
            self._spawn(f"stop-close-{symbol}", closer.closing)
        return closer

    def _spawn(self, name: str, loop: Callable[[], object]) -> None:
        self._tasks.spawn(name, restarting(name, self._clock, loop), forever=True)  # type: ignore[arg-type]

    def _hear(self, update: StreamUpdate) -> None:
        if update.fill is not None:
            if self._ids.made(update.fill.client_order_id):
                self._fills[update.fill.execution_id] = update.fill
            closer = self.closers.get(update.fill.symbol)
            if closer is not None:
                closer.kick()
        self._look.set()

    # --- The proof ------------------------------------------------------------------------------

    async def _verifying(self) -> None:
        while True:
            self._look.clear()
            positions, orders = await self._read_account()
            if isinstance(positions, Failure) or isinstance(orders, Failure):
                failure = positions if isinstance(positions, Failure) else orders
                assert isinstance(failure, Failure)
                self._look_failures += 1
                self.last_read_failure = failure
                # What one half of a failed read says is still worth acting on.
                self._distribute(positions, orders)
                await self._clock.sleep(retry_delay_s(self._look_failures, failure))
                continue
            self._look_failures = 0
            self.last_read_failure = None
            self._distribute(positions, orders)
            self._judge(positions, orders)
            await self._until_next_look()

    async def _read_account(
        self,
    ) -> tuple[
        Reading[tuple[VenuePosition, ...]] | Failure, Reading[tuple[VenueOrder, ...]] | Failure
    ]:
        orders = self._tasks.spawn("stop-look-orders", self._orders.fresh())
        try:
            positions = await self._positions.fresh()
            return positions, await orders
        finally:
            orders.cancel()

    def _distribute(
        self,
        positions: Reading[tuple[VenuePosition, ...]] | Failure,
        orders: Reading[tuple[VenueOrder, ...]] | Failure,
    ) -> None:
        """Give every symbol what concerns it; a symbol we did not know gets its closer here."""
        if not isinstance(orders, Failure):
            for symbol in {order.symbol for order in orders.value}:
                self._closer(symbol)
            for symbol, closer in self.closers.items():
                closer.observe_orders(tuple(o for o in orders.value if o.symbol == symbol))
        if not isinstance(positions, Failure):
            held = {position.symbol: position for position in positions.value}
            for symbol in held:
                self._closer(symbol)
            for symbol, closer in self.closers.items():
                closer.observe_position(
                    held.get(symbol), began_ns=positions.began_ns, ended_ns=positions.ended_ns
                )

    def _judge(
        self,
        positions: Reading[tuple[VenuePosition, ...]],
        orders: Reading[tuple[VenueOrder, ...]],
    ) -> None:
        began_ns = min(positions.began_ns, orders.began_ns)
        ended_ns = max(positions.ended_ns, orders.ended_ns)
        self.last_read_ended_ns = ended_ns
        held = tuple((p.symbol, p.quantity) for p in positions.value if p.quantity != 0)
        self.positions_open = len(held)
        self.orders_open = len(orders.value)
        self._time_stages(held, orders.value)
        if orders.value or not all(self._is_residual(symbol, left) for symbol, left in held):
            self._empty = None
            self.reads_empty = 0
            self._proven_at_ns = None
            self.proof = None
            self.verified_after_s = None
            self._on_proof(None)
            return
        left = tuple(sorted(held))
        if self._empty is None or self._empty.value != left:
            self._empty = Reading(value=left, began_ns=began_ns, ended_ns=ended_ns)
            self.reads_empty = 1
            if self.proof is not None and self.proof.residual != left:
                self.proof = None
                self._on_proof(None)
            return
        if began_ns - self._empty.ended_ns < STOP_VERIFY_GAP_S * _NS:
            return
        self.reads_empty = 2
        is_new = self.proof is None
        self.proof = FlatProof(
            first_ended_ns=self._empty.ended_ns, second_began_ns=began_ns, residual=left
        )
        if is_new:
            self._proven_at_ns = ended_ns
            self.verified_after_s = self._since_begin_s()
            self._on_proof(self.proof)

    def _is_residual(self, symbol: Symbol, left: Decimal) -> bool:
        closer = self.closers.get(symbol)
        return closer is not None and closer.residual == left

    def _time_stages(
        self, held: tuple[tuple[Symbol, Decimal], ...], orders: tuple[VenueOrder, ...]
    ) -> None:
        """Note when CANCEL and CLOSE were first done, and forget it when they are not any more."""
        is_cancelled = all(closer.is_cancelled for closer in self.closers.values()) and all(
            order.is_conditional and order.reduce_only for order in orders
        )
        if not is_cancelled:
            self.cancelled_after_s = None
        elif self.cancelled_after_s is None:
            self.cancelled_after_s = self._since_begin_s()
        if any(not self._is_residual(symbol, left) for symbol, left in held):
            self.closed_after_s = None
        elif self.closed_after_s is None:
            self.closed_after_s = self._since_begin_s()

    def _since_begin_s(self) -> float:
        return (self._clock.monotonic_ns() - self.began_ns) / _NS

    async def _until_next_look(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._proven_at_ns is not None:
            is_fresh = now_ns - self._proven_at_ns < STOP_WATCH_FAST_FOR_S * _NS
            delay_s = STOP_WATCH_FAST_S if is_fresh else STOP_WATCH_SLOW_S
        elif self._empty is not None:
            due_ns = self._empty.ended_ns + round(STOP_VERIFY_GAP_S * _NS)
            delay_s = max(_LOOK_INTERVAL_S, (due_ns - now_ns) / _NS)
        else:
            delay_s = STOP_VERIFY_GAP_S
        await self._clock.sleep(_LOOK_INTERVAL_S)
        try:
            await within(self._clock, max(0.0, delay_s - _LOOK_INTERVAL_S), self._look.wait())
        except TimeoutError:
            pass

    # --- What it cost ---------------------------------------------------------------------------

    async def collect_fills(self) -> None:
        """Ask the venue for what the stream may not have told; without an answer go without."""
        executions = FreshReads(
            name="executions",
            clock=self._clock,
            tasks=self._tasks,
            fetch=lambda: self._venue.reads.executions(since_ns=self.began_utc_ns),
        )
        reading = await executions.fresh()
        if not isinstance(reading, Failure):
            for fill in reading.value:
                if self._ids.made(fill.client_order_id):
                    self._fills[fill.execution_id] = fill

    def slippage(self) -> Decimal:
        """What closing cost against the marks at the trip, account currency; positive is a loss."""
        total = ZERO
        for fill in self._fills.values():
            closer = self.closers.get(fill.symbol)
            if closer is not None and closer.mark_at_trip is not None:
                total += (fill.price - closer.mark_at_trip) * fill.quantity * fill.side.sign
        return total

    def positions_closed(self) -> int:
        """Symbols that had a position and read zero now."""
        return sum(1 for each in self.closers.values() if each.quantity_at_trip and each.is_zero)

    def orders_cancelled(self) -> int:
        return sum(closer.orders_cancelled for closer in self.closers.values())


__all__ = ["FlatProof", "Flattening"]

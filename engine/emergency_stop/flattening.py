"""The stop procedure for one account: a closer for each position, and the account-wide proof.

BLOCK is done before this starts. Symbols our books know start at once, largest risk first; what we
did not know is found by the account-wide reads, which begin at the same moment. VERIFY goes on
until two reads at least a second apart show no position, no open order and no open conditional
order; then every 5 s for a minute, every minute, and on any message of the private stream, because
a fill may still arrive. A failed read never counts. While positions are known to be open, orders
are read account-wide only now and then: that is the dearest of all reads, and cancels need the same
limits.

In hedge mode a symbol may have two positions, and each leg gets a closer of its own. Before the
venue has said so there is one, which becomes the first leg's.

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
from engine.emergency_stop.pace import Pace
from engine.emergency_stop.supervision import quietly, restarting
from engine.emergency_stop.symbol_closer import SymbolCloser
from engine.emergency_stop.symbol_orders import SymbolOrders
from engine.model.emergency import Trip
from engine.model.ids import ExecutionId, Symbol, TraceId
from engine.model.limits import (
    STOP_ORDER_READ_EVERY_S,
    STOP_ORDER_READS_BURST,
    STOP_POSITION_READ_EVERY_S,
    STOP_POSITION_READS_BURST,
    STOP_VERIFY_GAP_S,
    STOP_WATCH_FAST_FOR_S,
    STOP_WATCH_FAST_S,
    STOP_WATCH_SLOW_S,
)
from engine.model.orders import Fill
from engine.model.values import ZERO
from engine.model.venue import Leg, StreamUpdate, VenueOrder, VenuePosition
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
            name="positions",
            clock=clock,
            tasks=tasks,
            fetch=venue.reads.positions,
            pace=Pace(burst=STOP_POSITION_READS_BURST, refill_s=STOP_POSITION_READ_EVERY_S),
        )
        self._orders = FreshReads(
            name="orders", clock=clock, tasks=tasks, fetch=venue.reads.open_orders
        )
        self._order_pace = Pace(burst=STOP_ORDER_READS_BURST, refill_s=STOP_ORDER_READ_EVERY_S)
        self._orders_read_ns: int | None = None
        self._trace = TraceId("")
        self._look = asyncio.Event()
        self._look_failures = 0
        self._empty: Reading[tuple[tuple[Symbol, Decimal], ...]] | None = None
        self._proven_at_ns: int | None = None
        self._fills: dict[ExecutionId, Fill] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self.orders: dict[Symbol, SymbolOrders] = {}
        self._closers: dict[tuple[Symbol, Leg | None], SymbolCloser] = {}
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
            closer = self._closer(exposure.symbol, exposure.leg)
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
        for closer in self.closers:
            closer.kick()
        self._look.set()

    @property
    def closers(self) -> tuple[SymbolCloser, ...]:
        return tuple(self._closers.values())

    # --- Symbols --------------------------------------------------------------------------------

    def _orders_of(self, symbol: Symbol) -> SymbolOrders:
        orders = self.orders.get(symbol)
        if orders is None:

            def stops_rest() -> None:
                for closer in self._of(symbol):
                    closer.stops_rest()

            orders = SymbolOrders(
                symbol=symbol, venue=self._venue, clock=self._clock, on_protective=stops_rest
            )
            self.orders[symbol] = orders
            self._spawn(f"stop-cancel-{symbol}", orders.cancelling)
        return orders

    def _of(self, symbol: Symbol) -> tuple[SymbolCloser, ...]:
        return tuple(each for each in self.closers if each.symbol == symbol)

    def _closer(self, symbol: Symbol, leg: Leg | None = None) -> SymbolCloser:
        closer = self._closers.get((symbol, leg))
        if closer is not None:
            return closer
        if leg is None and (legs := self._of(symbol)):
            return legs[0]
        if leg is not None and (first := self._closers.pop((symbol, None), None)) is not None:
            first.be_leg(leg)
            self._closers[(symbol, leg)] = first
            return first
        return self._new_closer(symbol, leg)

    def _new_closer(self, symbol: Symbol, leg: Leg | None) -> SymbolCloser:
        closer = SymbolCloser(
            orders=self._orders_of(symbol),
            venue=self._venue,
            read=self._read_positions,
            instrument=self._account.instrument,
            clock=self._clock,
            ids=self._ids,
            hooks=self._hooks,
            is_paused=self._is_paused,
        )
        closer.leg = leg
        closer.trace = self._trace
        closer.is_alone = lambda: all(
            each.is_done for each in self._of(symbol) if each is not closer
        )
        self._closers[(symbol, leg)] = closer
        name = symbol if leg is None else f"{symbol}-{leg.value}"
        self._spawn(f"stop-close-{name}", closer.closing)
        return closer

    async def _read_positions(self) -> Reading[tuple[VenuePosition, ...]] | Failure:
        """A fresh read, shared; who it shows for the first time has a closer when it returns."""
        reading = await self._positions.fresh()
        if not isinstance(reading, Failure):
            for position in reading.value:
                self._closer(position.symbol, position.leg)
        return reading

    def _spawn(self, name: str, loop: Callable[[], object]) -> None:
        self._tasks.spawn(name, restarting(name, self._clock, loop), forever=True)  # type: ignore[arg-type]

    def _hear(self, update: StreamUpdate) -> None:
        if update.fill is not None:
            if self._ids.made(update.fill.client_order_id):
                self._fills[update.fill.execution_id] = update.fill
            for closer in self._of(update.fill.symbol):
                closer.kick()
        if update.order is not None and update.order.symbol in self.orders:
            if not self._ids.made(update.order.client_order_id):
                self.orders[update.order.symbol].heard(update.order)
        self._look.set()

    # --- The proof ------------------------------------------------------------------------------

    async def _verifying(self) -> None:
        while True:
            self._look.clear()
            positions, orders = await self._read_account()
            failure = next(
                (each for each in (positions, orders) if isinstance(each, Failure)), None
            )
            # What one half of a failed read says is still worth acting on.
            self._distribute(positions, orders)
            if isinstance(orders, Failure):
                self._order_pace.give_back()
                self._orders_read_ns = None
            if failure is not None:
                self._look_failures += 1
                self.last_read_failure = failure
                await self._clock.sleep(retry_delay_s(self._look_failures, failure))
                continue
            self._look_failures = 0
            self.last_read_failure = None
            assert not isinstance(positions, Failure)
            if orders is None:
                self._judge_positions(positions)
            elif not isinstance(orders, Failure):
                self._judge(positions, orders)
            await self._until_next_look()

    async def _read_account(
        self,
    ) -> tuple[
        Reading[tuple[VenuePosition, ...]] | Failure,
        Reading[tuple[VenueOrder, ...]] | Failure | None,
    ]:
        """Positions, and orders unless it is too early for them."""
        if not self._is_time_for_orders():
            return await self._read_positions(), None
        now_ns = self._clock.monotonic_ns()
        self._orders_read_ns = now_ns
        self._order_pace.take(now_ns)
        orders = self._tasks.spawn("stop-look-orders", self._orders.fresh())
        try:
            positions = await self._read_positions()
            return positions, await orders
        finally:
            orders.cancel()

    def _is_time_for_orders(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        if self._order_pace.wait_s(now_ns):
            return False
        if self._orders_read_ns is None or all(closer.is_done for closer in self.closers):
            return True
        return now_ns - self._orders_read_ns >= STOP_ORDER_READ_EVERY_S * _NS

    def _distribute(
        self,
        positions: Reading[tuple[VenuePosition, ...]] | Failure,
        orders: Reading[tuple[VenueOrder, ...]] | Failure | None,
    ) -> None:
        """Give every symbol what concerns it; a symbol we did not know gets its closer here."""
        if isinstance(orders, Reading):
            for symbol in {order.symbol for order in orders.value}:
                self._closer(symbol)
            for symbol, known in self.orders.items():
                known.observe(tuple(o for o in orders.value if o.symbol == symbol))
        if not isinstance(positions, Failure):
            held = {(position.symbol, position.leg): position for position in positions.value}
            for symbol, leg in held:
                self._closer(symbol, leg)
            for closer in self.closers:
                closer.observe_position(
                    held.get((closer.symbol, closer.leg)),
                    began_ns=positions.began_ns,
                    ended_ns=positions.ended_ns,
                )

    def _judge_positions(self, positions: Reading[tuple[VenuePosition, ...]]) -> None:
        """Take what a look without orders says; it proves nothing, and may end a proof."""
        held = _held(positions)
        self.last_read_ended_ns = positions.ended_ns
        self.positions_open = len(held)
        self._time_closed(held)
        if not all(self._is_residual(each) for each in held):
            self._is_open()

    def _is_open(self) -> None:
        self._empty = None
        self.reads_empty = 0
        self._proven_at_ns = None
        self.proof = None
        self.verified_after_s = None
        self._on_proof(None)

    def _judge(
        self,
        positions: Reading[tuple[VenuePosition, ...]],
        orders: Reading[tuple[VenueOrder, ...]],
    ) -> None:
        began_ns = min(positions.began_ns, orders.began_ns)
        ended_ns = max(positions.ended_ns, orders.ended_ns)
        self.last_read_ended_ns = ended_ns
        held = _held(positions)
        self.positions_open = len(held)
        self.orders_open = len(orders.value)
        self._time_cancelled(orders.value)
        self._time_closed(held)
        if orders.value or not all(self._is_residual(each) for each in held):
            self._is_open()
            return
        left = tuple(sorted((each.symbol, each.quantity) for each in held))
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

    def _is_residual(self, held: VenuePosition) -> bool:
        closer = self._closers.get((held.symbol, held.leg))
        return closer is not None and closer.residual == held.quantity

    def _time_cancelled(self, orders: tuple[VenueOrder, ...]) -> None:
        """Note when CANCEL was first done, and forget it when it is not any more."""
        is_cancelled = all(each.is_cancelled for each in self.orders.values()) and all(
            order.is_conditional and order.reduce_only for order in orders
        )
        if not is_cancelled:
            self.cancelled_after_s = None
        elif self.cancelled_after_s is None:
            self.cancelled_after_s = self._since_begin_s()

    def _time_closed(self, held: tuple[VenuePosition, ...]) -> None:
        """The same of CLOSE."""
        if any(not self._is_residual(each) for each in held):
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
        if all(closer.is_done for closer in self.closers):
            # Only orders are wanted now, and they have a pace.
            pause_s = self._order_pace.wait_s(now_ns)
            await self._clock.sleep(max(0.0, pause_s - _LOOK_INTERVAL_S))
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
            leg = Leg.of(fill.side, reduce_only=True)
            closer = self._closers.get((fill.symbol, leg)) or self._closers.get((fill.symbol, None))
            if closer is not None and closer.mark_at_trip is not None:
                total += (fill.price - closer.mark_at_trip) * fill.quantity * fill.side.sign
        return total

    def positions_closed(self) -> int:
        """Positions that there were and that read zero now."""
        return sum(1 for each in self.closers if each.quantity_at_trip and each.is_zero)

    def orders_cancelled(self) -> int:
        return sum(each.cancelled for each in self.orders.values())


def _held(positions: Reading[tuple[VenuePosition, ...]]) -> tuple[VenuePosition, ...]:
    return tuple(position for position in positions.value if position.quantity != 0)


__all__ = ["FlatProof", "Flattening"]

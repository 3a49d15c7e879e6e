"""Compares our books with the venue's own, repairs what differs, and says so (R-EXE-7).

Order of a run: hold the stream's updates, read open orders, executions since the last one booked,
and positions; book, settle, adopt; compare positions; then let the held updates through. A failed
read fails the run: it never means empty. Fills we must infer get an id made of what they explain,
so that a second run finds them booked. Quantities in base coin, signed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from decimal import Decimal

import msgspec

from engine.bus import EventBus
from engine.execution.booking import Booking
from engine.execution.collaborators import VenuePorts
from engine.execution.entries import EntrySender
from engine.execution.order_desk import OrderDesk
from engine.execution.recorder import announce
from engine.model.errors import VenueError
from engine.model.events import ExecutionDivergence, PositionsReconciled
from engine.model.ids import ClientOrderId, ExecutionId, Symbol
from engine.model.orders import Fill, OrderState, OrderTrigger
from engine.model.values import ZERO, Side, plain
from engine.model.venue import VenueOrder, VenuePosition
from engine.portfolio import Ledger
from engine.ports import Clock
from engine.runtime import Stamper, within

_log = logging.getLogger(__name__)
_READ_S = 5.0
_EVERY_S = 60.0
# Executions are read again from a little before the last one booked: two may share a millisecond.
_OVERLAP_NS = 60_000_000_000
_SETTLE_AFTER_NS = 5_000_000_000


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """One difference that a run found."""

    kind: str
    symbol: Symbol
    ours: str
    venue: str
    repaired: bool


class Reconciliation:
    """Keeps our books equal to the venue's."""

    def __init__(
        self,
        *,
        venue: VenuePorts,
        desk: OrderDesk,
        booking: Booking,
        entries: EntrySender,
        ledger: Ledger,
        clock: Clock,
        bus: EventBus,
        stamper: Stamper,
    ) -> None:
        self._reads = venue.reads
        self._desk = desk
        self._booking = booking
        self._entries = entries
        self._ledger = ledger
        self._clock = clock
        self._bus = bus
        self._stamper = stamper
        self._running = False
        self.divergences = 0
        self.last_ok_ns: int | None = None

    async def watch(self, *, on_failed: Callable[[str], None]) -> None:
        """Run every 60 s; `on_failed` hears why a run failed, and "" when one succeeded."""
        while True:
            await self._clock.sleep(_EVERY_S)
            try:
                await self.run()
            except (VenueError, TimeoutError) as error:
                on_failed(str(error))
            else:
                on_failed("")

    async def run(self) -> tuple[Divergence, ...]:
        """One run; raises the venue's error when a read failed, having changed nothing by it."""
        if self._running:
            return ()
        self._running = True
        self._booking.hold()
        try:
            since_ns = max(0, self._booking.last_fill_ns - _OVERLAP_NS)
            orders = await within(self._clock, _READ_S, self._reads.open_orders())
            fills = await within(self._clock, _READ_S, self._reads.executions(since_ns=since_ns))
            positions = await within(self._clock, _READ_S, self._reads.positions())
            found = self._book_missed(fills)
            found += self._adopt_orphans(orders)
            await self._settle(orders)
            found += self._compare(positions)
        finally:
            self._running = False
            self._booking.release()
        self._report(positions, found)
        return tuple(found)

    def _book_missed(self, fills: tuple[Fill, ...]) -> list[Divergence]:
        return [
            Divergence(
                kind="missed_fill",
                symbol=fill.symbol,
                ours="not booked",
                venue=f"{fill.side} {plain(fill.quantity)} @ {plain(fill.price)}",
                repaired=True,
            )
            for fill in fills
            if self._booking.book_fill(fill)
        ]

    def _adopt_orphans(self, orders: tuple[VenueOrder, ...]) -> list[Divergence]:
        found = []
        for order in orders:
            if self._desk.get(order.client_order_id) is None:
                found.append(
                    Divergence(
                        kind="orphan_order",
                        symbol=order.symbol,
                        ours="unknown",
                        venue=f"{order.side} {plain(order.quantity)} {order.kind}",
                        repaired=True,
                    )
                )
            self._booking.apply_order(order)
        return found

    async def _settle(self, orders: tuple[VenueOrder, ...]) -> None:
        """Orders that we believe open and the venue does not list: ask for each by its id."""
        listed = {order.client_order_id for order in orders}
        now_ns = self._clock.now_ns()
        for record in tuple(self._desk.open_orders()):
            identifier = record.client_order_id
            if identifier in listed or now_ns - record.updated_ns < _SETTLE_AFTER_NS:
                continue
            if record.state is OrderState.INTENDED:
                # A restart cannot know whether it left; until the venue says, it may have.
                self._desk.move(identifier, OrderTrigger.TIMED_OUT, reason="found at the start")
            await self._entries.look_up(identifier)
            self._follow_up(identifier)

    def _follow_up(self, identifier: ClientOrderId) -> None:
        after = self._desk.get(identifier)
        if after is not None and after.state is OrderState.UNRESOLVED:
            self._entries.resolve(identifier)

    def _compare(self, positions: tuple[VenuePosition, ...]) -> list[Divergence]:
        theirs = {entry.symbol: entry for entry in positions}
        ours = {entry.symbol: entry.quantity for entry in self._ledger.positions()}
        found = []
        for symbol in sorted(set(theirs) | set(ours)):
            venue_quantity = theirs[symbol].quantity if symbol in theirs else ZERO
            our_quantity = ours.get(symbol, ZERO)
            if venue_quantity == our_quantity:
                continue
            kind = "size_mismatch"
            if venue_quantity == ZERO:
                kind = "phantom"
            elif our_quantity == ZERO:
                kind = "orphan_position"
            self._infer(symbol, venue_quantity - our_quantity, theirs.get(symbol))
            found.append(
                Divergence(
                    kind=kind,
                    symbol=symbol,
                    ours=plain(our_quantity),
                    venue=plain(venue_quantity),
                    repaired=True,
                )
            )
        return found

    def _infer(self, symbol: Symbol, missing: Decimal, position: VenuePosition | None) -> None:
        """Book what the venue's position proves happened, at the best price known."""
        price = self._ledger.mark_price(symbol)
        if position is not None:
            price = position.entry_price
        if price is None:
            held = self._ledger.position(symbol)
            price = held.entry_price if held is not None else ZERO
        text = f"{symbol}|{plain(missing)}|{plain(price)}|{self._booking.last_fill_ns}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._booking.book_fill(
            Fill(
                execution_id=ExecutionId(f"inferred-{digest}"),
                client_order_id=ClientOrderId(f"inferred-{digest}"),
                venue_order_id=None,
                symbol=symbol,
                side=Side.BUY if missing > 0 else Side.SELL,
                quantity=abs(missing),
                price=price,
                fee=ZERO,
                fee_currency="USDT",
                ts_ns=self._clock.now_ns(),
            )
        )

    def _report(self, positions: tuple[VenuePosition, ...], found: list[Divergence]) -> None:
        self.divergences += len(found)
        self.last_ok_ns = self._clock.now_ns()
        for entry in found:
            _log.warning("divergence: %s", entry)
            announce(
                self._bus,
                ExecutionDivergence(
                    **self._stamper(),
                    kind=entry.kind,
                    symbol=entry.symbol,
                    ours=entry.ours,
                    venue=entry.venue,
                    repaired=entry.repaired,
                ),
            )
        announce(
            self._bus,
            PositionsReconciled(
                **self._stamper(),
                timestamp=self._clock.now_ns(),
                position_count=len(positions),
                symbols=tuple(sorted(entry.symbol for entry in positions)),
                positions={entry.symbol: entry.quantity for entry in positions},
                divergences=len(found),
            ),
        )


__all__ = ["Divergence", "Reconciliation"]

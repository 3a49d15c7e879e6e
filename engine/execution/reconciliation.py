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
from engine.portfolio import Difference, Ledger, reconcile
from engine.ports import Clock
from engine.runtime import Stamper, within

_log = logging.getLogger(__name__)
_READ_S = 5.0
_EVERY_S = 60.0
# Executions are read again from a little before the last one booked: two may share a millisecond.
_OVERLAP_NS = 60_000_000_000
_SETTLE_AFTER_NS = 5_000_000_000
_SECOND_READ_S = 1.0
_OF_POSITIONS = frozenset({"phantom", "orphan", "size_mismatch"})


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
        # What the last run found of positions that differed; empty when they agreed.
        self.mismatch = ""
        # Balance differing in two runs, with both figures; empty while they agree.
        self.balance_gap = ""
        self._gap_before = ""

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
            orders = await within(self._clock, _READ_S, self._reads.open_orders())
            positions, differences = await self._read()
            found = self._book_missed(differences)
            found += self._adopt_orphans(orders)
            await self._settle(orders)
            found += await self._compare(differences)
            await self._compare_balance(differences)
        finally:
            self._running = False
            self._booking.release()
        self._report(positions, found)
        return tuple(found)

    async def _read(self) -> tuple[tuple[VenuePosition, ...], list[Difference]]:
        """Executions, then positions, and what differs from our books."""
        since_ns = max(0, self._booking.last_fill_ns - _OVERLAP_NS)
        fills = await within(self._clock, _READ_S, self._reads.executions(since_ns=since_ns))
        positions = await within(self._clock, _READ_S, self._reads.positions())
        differences = reconcile(
            ours=self._ledger.positions(),
            venue=positions,
            executions=fills,
            booked=self._booking.known,
        )
        return positions, differences

    def _book_missed(self, differences: list[Difference]) -> list[Divergence]:
        """Book executions we had not booked. One that the stream has told of meanwhile was not
        missed: it is booked here, in its order, and is no divergence.
        """
        found = []
        for entry in differences:
            fill = entry.fill
            if fill is None:
                continue
            was_missed = not self._booking.is_held(fill.execution_id)
            if self._booking.book_fill(fill) and was_missed:
                found.append(
                    Divergence(
                        kind=str(entry.kind.value),
                        symbol=entry.symbol,
                        ours="not booked",
                        venue=f"{fill.side} {plain(fill.quantity)} @ {plain(fill.price)}",
                        repaired=True,
                    )
                )
        return found

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
        """Orders that we believe open and the venue does not list: ask for each by its id.

        In the first run nobody waits for an answer any more: what is on its way is of the last
        engine, and unknown however young it is.
        """
        listed = {order.client_order_id for order in orders}
        now_ns = self._clock.now_ns()
        is_first = self.last_ok_ns is None
        for record in tuple(self._desk.open_orders()):
            identifier = record.client_order_id
            if identifier in listed:
                continue
            if not is_first and now_ns - record.updated_ns < _SETTLE_AFTER_NS:
                continue
            if record.state is OrderState.INTENDED or (
                is_first and record.state is OrderState.SUBMITTED
            ):
                # A restart cannot know whether it left; until the venue says, it may have.
                self._desk.move(identifier, OrderTrigger.TIMED_OUT, reason="found at the start")
            await self._entries.look_up(identifier)
            self._follow_up(identifier)

    def _follow_up(self, identifier: ClientOrderId) -> None:
        after = self._desk.get(identifier)
        if after is not None and after.state in {OrderState.UNRESOLVED, OrderState.LOST}:
            self._entries.resolve(identifier)

    async def _compare(self, differences: list[Difference]) -> list[Divergence]:
        """Positions that differ although every execution is booked.

        An execution may have happened between the two reads; its fill is then on its way by the
        stream, and inferring one would book it twice. So a difference counts only when a second
        read, a second later, finds the same one.
        """
        suspects = {entry.symbol: entry for entry in differences if entry.fill is None}
        if not suspects:
            return []
        await self._clock.sleep(_SECOND_READ_S)
        positions, again = await self._read()
        found = self._book_missed(again)
        for entry in again:
            first = suspects.get(entry.symbol)
            if entry.fill is not None or first is None:
                continue
            if (first.ours, first.venue) != (entry.ours, entry.venue):
                continue
            position = next((one for one in positions if one.symbol == entry.symbol), None)
            self._infer(entry.symbol, entry.venue - entry.ours, position)
            found.append(
                Divergence(
                    kind=str(entry.kind.value),
                    symbol=entry.symbol,
                    ours=plain(entry.ours),
                    venue=plain(entry.venue),
                    repaired=True,
                )
            )
        return found

    async def _compare_balance(self, differences: list[Difference]) -> None:
        """Our ledger against the venue's wallet; a gap counts when two runs find the same."""
        theirs = (await within(self._clock, _READ_S, self._reads.balance())).balance
        ours = self._ledger.account().balance
        # A fill on its way explains a gap; the next run will tell.
        gap = "" if ours == theirs or differences else f"ours {ours:f}, the venue's {theirs:f}"
        self.balance_gap = gap if gap == self._gap_before else ""
        self._gap_before = gap

    def _infer(self, symbol: Symbol, missing: Decimal, position: VenuePosition | None) -> None:
        """Book what the venue's position proves happened, at the best price known."""
        mark = self._ledger.mark_of(symbol)
        if mark is not None:
            price = mark.price
        else:
            # We had nothing: what is there was opened at the venue's entry price.
            assert position is not None
            price = position.entry_price
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
        differing = [entry for entry in found if entry.kind in _OF_POSITIONS]
        self.mismatch = ", ".join(
            f"{entry.symbol} {entry.kind}: ours {entry.ours}, venue {entry.venue}"
            for entry in differing
        )
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

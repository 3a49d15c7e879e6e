"""Compares our books with the venue's own, repairs what differs, and says so (R-EXE-7).

A run: the stream's updates are held, then open orders, executions since the last seen and positions
are read to their ends, what was missed is booked and what is unknown adopted, and then the held
updates are let through: none is lost, and none counts twice, for an execution is booked once
whichever road it came. A failed read fails the run: it never means empty. Positions that still
differ are read again a second later; only what both reads find is repaired, by an inferred fill.
Last, orders that we believe open and the venue does not list are asked for, each by its id.

An inferred fill's id is made of what it explains (the venue's order and how much of it had filled,
or the position), never of chance: a second run, or a second start, finds it booked. Quantities in
base coin, signed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from engine.bus import EventBus
from engine.execution.booking import Booking
from engine.execution.collaborators import VenuePorts
from engine.execution.look_up import LookUp
from engine.execution.order_desk import OrderDesk
from engine.execution.recorder import announce
from engine.model.errors import OutcomeUnknown, require
from engine.model.events import ExecutionDivergence, PositionsReconciled
from engine.model.ids import ClientOrderId, ExecutionId, Symbol
from engine.model.limits import LEDGER_TOLERANCE, WALLET_TOLERANCE
from engine.model.orders import Fill, OrderRecord, OrderState, OrderTrigger
from engine.model.values import ZERO, Side, plain
from engine.model.venue import VenueOrder, VenuePosition
from engine.portfolio import Difference, Ledger, net_of, reconcile
from engine.ports import Clock
from engine.runtime import Stamper, within

_log = logging.getLogger(__name__)
_READ_S = 5.0
_READ_S_MAX = 60.0
# Executions are read again from a little before the last seen: two may share a millisecond, and a
# venue lists them late. Where positions differ, from a day before.
_OVERLAP_NS = 60_000_000_000
_DEEP_NS = 86_400_000_000_000
_SETTLE_AFTER_NS = 5_000_000_000
_SECOND_READ_S = 1.0
_EXPLAINING_MAX = 5
_PRICE_GRID = Decimal("1E-8")
_RESTING = frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED})
_OF_POSITIONS = frozenset({"phantom", "orphan", "size_mismatch"})
T = TypeVar("T")


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """One difference that a run found."""

    kind: str
    symbol: Symbol
    ours: str
    venue: str
    repaired: bool


class _Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue said in one go, and what of it differs from our books."""

    orders: tuple[VenueOrder, ...]
    # One row a symbol; `legs` are those of symbols that have two at once, in hedge mode.
    positions: tuple[VenuePosition, ...]
    legs: dict[Symbol, tuple[VenuePosition, ...]]
    differences: list[Difference]

    def of_positions(self) -> dict[Symbol, Difference]:
        """Positions that differ although every execution is counted."""
        return {entry.symbol: entry for entry in self.differences if entry.fill is None}


class Reconciliation:
    """Keeps our books equal to the venue's. One run at a time; who comes meanwhile waits, and then
    gets a run of its own: the one before may have read too early.
    """

    def __init__(
        self,
        *,
        venue: VenuePorts,
        desk: OrderDesk,
        booking: Booking,
        look_up: LookUp,
        ledger: Ledger,
        clock: Clock,
        bus: EventBus,
        stamper: Stamper,
    ) -> None:
        self._reads = venue.reads
        self._desk = desk
        self._booking = booking
        self._look_up = look_up
        self._ledger = ledger
        self._clock = clock
        self._bus = bus
        self._stamper = stamper
        self._turn = asyncio.Lock()
        self._running = False
        self._read_s = _READ_S
        self._seen_until_ns = 0
        self.divergences = 0
        self.last_ok_ns: int | None = None
        # The last run left a difference to an order whose outcome is not known yet.
        self.is_waiting = False
        # What the last run found of positions that differed; empty when they agreed.
        self.mismatch = ""
        # Symbols that are long and short at once at the venue, with their legs in words.
        self.two_legs: dict[Symbol, str] = {}
        # Balance differing in two runs, with both figures; empty while they agree.
        self.balance_gap = ""
        self._gap_before = ""

    # --- a run -----------------------------------------------------------------------------------

    async def run(self) -> tuple[Divergence, ...]:
        """One run; raises the venue's error when a read failed, having changed nothing by it."""
        async with self._turn:
            self._running = True
            try:
                found, snapshot = await self._run()
            except TimeoutError:
                # A long gap has many pages; the next attempt may take longer.
                self._read_s = min(2 * self._read_s, _READ_S_MAX)
                raise
            finally:
                self._running = False
            self._read_s = _READ_S
        found += self._hedged(snapshot)
        self._report(snapshot.positions, found)
        return tuple(found)

    async def _run(self) -> tuple[list[Divergence], _Snapshot]:
        began_ns = self._clock.now_ns()
        snapshot, found = await self._take_snapshot(self._since_ns(_OVERLAP_NS), suspects={})
        suspects = snapshot.of_positions()
        if suspects:
            for symbol in suspects:
                for record in self._unlisted(symbol, snapshot.orders):
                    await self._look_up.look_up(record.client_order_id)
            await self._clock.sleep(_SECOND_READ_S)
            since_ns = self._since_ns(_DEEP_NS)
            snapshot, more = await self._take_snapshot(since_ns, suspects=suspects)
            found += more
        await self._settle(snapshot.orders)
        await self._compare_balances(snapshot.differences)
        self._seen_until_ns = began_ns
        return found, snapshot

    def _since_ns(self, before_ns: int) -> int:
        return max(0, max(self._booking.last_fill_ns, self._seen_until_ns) - before_ns)

    async def _take_snapshot(
        self, since_ns: int, *, suspects: dict[Symbol, Difference]
    ) -> tuple[_Snapshot, list[Divergence]]:
        """Hold the stream, read everything, apply it, and let the stream through again."""
        self._booking.hold()
        try:
            snapshot = await self._read(since_ns)
            explaining = await self._explaining_orders(snapshot, suspects)
            found = self._adopt_orphans(snapshot)
            found += self._book_missed(snapshot.differences)
            found += self._repair_positions(snapshot, suspects, explaining)
        finally:
            self._booking.release()
        return snapshot, found

    async def _read(self, since_ns: int) -> _Snapshot:
        reads = self._reads
        orders = await self._ask(reads.open_orders())
        fills = await self._ask(reads.executions(since_ns=since_ns))
        positions = await self._ask(reads.positions())
        return _Snapshot(
            orders=orders,
            positions=net_of(positions),
            legs=_double(positions),
            differences=reconcile(
                ours=self._ledger.positions(),
                venue=positions,
                executions=fills,
                booked=self._booking.known,
            ),
        )

    async def _ask(self, answer: Coroutine[Any, Any, T]) -> T:
        return await within(self._clock, self._read_s, answer)

    # --- repairing -------------------------------------------------------------------------------

    def missed(self, fill: Fill) -> None:
        """An execution that the stream owed us was found by looking its order up."""
        self._tell([_missed(fill)])

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
                found.append(_missed(fill))
        return found

    def _adopt_orphans(self, snapshot: _Snapshot) -> list[Divergence]:
        """Orders that rest at the venue and that we do not know, or had given up.

        Before their executions are booked, which then find their order as it is.
        """
        unbooked: dict[ClientOrderId, Decimal] = {}
        for fill in (entry.fill for entry in snapshot.differences):
            if fill is not None:
                before = unbooked.get(fill.client_order_id, ZERO)
                unbooked[fill.client_order_id] = before + fill.quantity
        found = []
        for order in snapshot.orders:
            record = self._desk.get(order.client_order_id)
            if record is None or record.state is OrderState.ABANDONED:
                found.append(
                    Divergence(
                        kind="orphan_order",
                        symbol=order.symbol,
                        ours="unknown" if record is None else record.state.value,
                        venue=f"{order.side} {plain(order.quantity)} {order.kind}",
                        repaired=True,
                    )
                )
            self._booking.apply_order(order, unbooked=unbooked.get(order.client_order_id, ZERO))
        return found

    async def _explaining_orders(
        self, snapshot: _Snapshot, suspects: dict[Symbol, Difference]
    ) -> dict[Symbol, list[VenueOrder]]:
        """Our orders of which the venue says that more has filled than its executions tell."""
        explaining: dict[Symbol, list[VenueOrder]] = {}
        for symbol in snapshot.of_positions():
            if symbol not in suspects:
                continue
            for record in self._desk.latest_of(symbol, _EXPLAINING_MAX):
                order = await self._ask(self._reads.order(symbol, record.client_order_id))
                if order is not None and order.filled > record.filled:
                    explaining.setdefault(symbol, []).append(order)
        return explaining

    def _repair_positions(
        self,
        snapshot: _Snapshot,
        suspects: dict[Symbol, Difference],
        explaining: dict[Symbol, list[VenueOrder]],
    ) -> list[Divergence]:
        """Positions that differ although every execution is booked.

        An execution may have happened between two reads; its fill is then on its way by the stream,
        and inferring one would book it twice. So a difference counts only when a second read, a
        second later, finds the same one.
        """
        found = []
        self.is_waiting = False
        positions = {one.symbol: one for one in snapshot.positions}
        for symbol, entry in snapshot.of_positions().items():
            first = suspects.get(symbol)
            if first is None or (first.ours, first.venue) != (entry.ours, entry.venue):
                continue
            if symbol not in explaining and self._unlisted(symbol, snapshot.orders):
                self.is_waiting = True
                continue
            self._infer(entry, positions.get(symbol), explaining.get(symbol, []))
            found.append(
                Divergence(
                    kind=str(entry.kind.value),
                    symbol=symbol,
                    ours=plain(entry.ours),
                    venue=plain(entry.venue),
                    repaired=True,
                )
            )
        return found

    def _unlisted(self, symbol: Symbol, orders: tuple[VenueOrder, ...]) -> list[OrderRecord]:
        """Orders of ours that may have filled without anything being told of it yet: the venue has
        not said what became of them, and its lists lag behind positions. They are looked up, so
        this ends; what they filled is booked with its own figures then.
        """
        listed = {order.client_order_id for order in orders}
        return [
            record
            for record in self._desk.open_orders(symbol)
            if record.state is not OrderState.LOST and record.client_order_id not in listed
        ]

    def _infer(
        self, entry: Difference, position: VenuePosition | None, orders: list[VenueOrder]
    ) -> None:
        """Book what the venue's position proves happened, at the best price known: as fills of our
        orders as far as these explain it, the rest as somebody else's.
        """
        missing = entry.venue - entry.ours
        price = self._inferred_price(entry, missing, position)
        for order in orders:
            record = self._desk.get(order.client_order_id)
            gap = order.filled - (record.filled if record is not None else ZERO)
            quantity = min(gap, abs(missing))
            if quantity <= 0 or order.side.sign * missing <= 0:
                continue
            missing -= order.side.sign * quantity
            cumulative = order.filled - gap + quantity
            self._book_inferred(
                f"inferred:{order.venue_order_id}:{plain(cumulative)}",
                symbol=entry.symbol,
                signed=order.side.sign * quantity,
                price=price,
                order=order,
            )
        if missing:
            number = self._booking.inferred_count + 1
            identifier = f"inferred:{entry.symbol}:{plain(entry.venue)}:{number}"
            self._book_inferred(identifier, symbol=entry.symbol, signed=missing, price=price)

    def _book_inferred(
        self,
        identifier: str,
        *,
        symbol: Symbol,
        signed: Decimal,
        price: Decimal,
        order: VenueOrder | None = None,
    ) -> None:
        """Without an order it is somebody else's, of an order named like the fill."""
        client_order_id = ClientOrderId(identifier) if order is None else order.client_order_id
        self._booking.book_fill(
            Fill(
                execution_id=ExecutionId(identifier),
                client_order_id=client_order_id,
                venue_order_id=None if order is None else order.venue_order_id,
                symbol=symbol,
                side=Side.BUY if signed > 0 else Side.SELL,
                quantity=abs(signed),
                price=price,
                fee=ZERO,
                fee_currency="USDT",
                ts_ns=self._clock.now_ns(),
            )
        )

    def _inferred_price(
        self, entry: Difference, missing: Decimal, position: VenuePosition | None
    ) -> Decimal:
        """What makes our average the venue's own where the position is larger than we knew, for
        that is what was paid; else the mark, for what was had is not known.
        """
        ours = self._ledger.position(entry.symbol)
        if position is not None and missing * entry.venue > 0 and entry.ours * entry.venue >= 0:
            cost = entry.ours * ours.entry_price if ours is not None else ZERO
            paid = (entry.venue * position.entry_price - cost) / missing
            if paid > 0:
                return paid.quantize(_PRICE_GRID)
        mark = self._ledger.mark_of(entry.symbol)
        if mark is not None:
            return mark.price
        require(position is not None, f"{entry.symbol} differs and neither side has it")
        assert position is not None
        return position.entry_price

    def _hedged(self, snapshot: _Snapshot) -> list[Divergence]:
        """Symbols with a long and a short leg at once: our books hold their net, entries are shut
        there, and each leg can be closed. Told once for as long as it lasts.
        """
        new = snapshot.legs.keys() - self.two_legs.keys()
        self.two_legs = {
            symbol: " and ".join(f"{leg.leg} {plain(leg.quantity)}" for leg in legs)
            for symbol, legs in snapshot.legs.items()
        }
        return [
            Divergence(
                kind="two_legs",
                symbol=symbol,
                ours=plain(self._ledger.quantity(symbol)),
                venue=self.two_legs[symbol],
                repaired=False,
            )
            for symbol in sorted(new)
        ]

    # --- orders that the venue does not list -----------------------------------------------------

    async def _settle(self, orders: tuple[VenueOrder, ...]) -> None:
        """Orders that we believe open and the venue does not list: ask for each by its id.

        In the first run nobody waits for an answer any more: what is on its way is of the last
        engine, and unknown however young it is.
        """
        listed = {order.client_order_id for order in orders}
        is_first = self.last_ok_ns is None
        now_ns = self._clock.now_ns()
        for record in tuple(self._desk.open_orders()):
            identifier = record.client_order_id
            if identifier in listed:
                continue
            if not is_first and now_ns - record.updated_ns < _SETTLE_AFTER_NS:
                # Younger than a list may be late; but it may have ended in a gap of the stream.
                if record.state in _RESTING:
                    self._look_up.doubt(identifier)
                continue
            if record.state is OrderState.INTENDED or (
                is_first and record.state is OrderState.SUBMITTED
            ):
                # A restart cannot know whether it left; until the venue says, it may have.
                self._desk.move(identifier, OrderTrigger.TIMED_OUT, reason="found at the start")
            await self._look_up.look_up(identifier)
            self._follow_up(identifier)

    def _follow_up(self, identifier: ClientOrderId) -> None:
        after = self._desk.get(identifier)
        if after is not None and after.state in {OrderState.UNRESOLVED, OrderState.LOST}:
            self._look_up.resolve(identifier)

    # --- the balance, and what is told -----------------------------------------------------------

    async def _compare_balances(self, differences: list[Difference]) -> None:
        """Our books against the venue's wallets, asset by asset; a gap beyond rounding counts when
        two runs find the same.
        """
        theirs = {each.currency: each.balance for each in await self._ask(self._reads.balances())}
        currency = self._ledger.currency
        if currency not in theirs:
            raise OutcomeUnknown(f"the venue says nothing of a wallet in {currency}")
        gaps = [_gap(currency, self._ledger.account().balance, theirs.pop(currency), currency)]
        expected = self._ledger.totals.wallets_elsewhere
        gaps += [
            _gap(asset, known, theirs.get(asset, ZERO), currency)
            for asset, known in sorted(expected.items())
        ]
        # A fill on its way explains a gap; the next run will tell.
        gap = "" if differences else "; ".join(each for each in gaps if each)
        if not differences:
            for asset in sorted(theirs.keys() - expected.keys()):
                self._ledger.know_wallet(asset, theirs[asset])
        self.balance_gap = gap if gap == self._gap_before else ""
        self._gap_before = gap

    def _report(self, positions: tuple[VenuePosition, ...], found: list[Divergence]) -> None:
        differing = [entry for entry in found if entry.kind in _OF_POSITIONS]
        words = [
            f"{entry.symbol} {entry.kind}: ours {entry.ours}, venue {entry.venue}"
            for entry in differing
        ]
        words += [f"{symbol} is {legs} at once" for symbol, legs in sorted(self.two_legs.items())]
        self.mismatch = ", ".join(words)
        self.last_ok_ns = self._clock.now_ns()
        self._tell(found)
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

    def _tell(self, found: list[Divergence]) -> None:
        self.divergences += len(found)
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


def _double(positions: tuple[VenuePosition, ...]) -> dict[Symbol, tuple[VenuePosition, ...]]:
    rows: dict[Symbol, tuple[VenuePosition, ...]] = {}
    for row in positions:
        if row.leg is not None and row.quantity:
            rows[row.symbol] = (*rows.get(row.symbol, ()), row)
    return {symbol: legs for symbol, legs in rows.items() if len(legs) > 1}


def _gap(asset: str, ours: Decimal, theirs: Decimal, currency: str) -> str:
    """Both figures of one wallet, or nothing when they agree but for rounding."""
    tolerance = LEDGER_TOLERANCE if asset == currency else WALLET_TOLERANCE
    if abs(ours - theirs) <= tolerance:
        return ""
    return f"{asset}: ours {ours:f}, the venue's {theirs:f}"


def _missed(fill: Fill) -> Divergence:
    return Divergence(
        kind="missed_fill",
        symbol=fill.symbol,
        ours="not booked",
        venue=f"{fill.side} {plain(fill.quantity)} @ {plain(fill.price)}",
        repaired=True,
    )


__all__ = ["Divergence", "Reconciliation"]

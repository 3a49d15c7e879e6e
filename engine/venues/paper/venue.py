"""`PaperVenue`: the four ports of a venue, against the market that the feed tells it.

Like a venue it has its own books in its own file, commits before it answers and before its stream
says anything, and takes `latency_ms` for the way there and again for the way back. An entry's
final check is asked synchronously right before the request leaves; one that was held up longer
than the receive window on its way is not executed. Traps kept on purpose: a client order id is
refused as a duplicate only among open orders; a stop outlives its position and is taken away when
it triggers. Fails like a venue: Refused, NotExecuted, OutcomeUnknown. When its disk fails, the
books are read again from what was committed, and until that worked nothing is executed. On the
loop only; its `DatabaseWriter` must be open before `start`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

from engine.database import DatabaseWriter
from engine.model.config import PaperSection
from engine.model.errors import Denied, NotExecuted, OutcomeUnknown, Refused, StoreError, require
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Fill, Intent
from engine.model.values import Side
from engine.model.venue import (
    Approved,
    OrderAck,
    StreamUpdate,
    VenueBalance,
    VenueOrder,
    VenuePosition,
    WalletMovement,
)
from engine.ports import Clock, FinalCheck
from engine.venues.paper.books import Books, LoadedBooks
from engine.venues.paper.faults import Fault, PaperFaults
from engine.venues.paper.funding import FundingTimes
from engine.venues.paper.matching import Matching, Updates
from engine.venues.paper.pricing import Prices
from engine.venues.paper.storage import (
    finding_order,
    listing_fills,
    listing_movements,
    loading,
    saving,
)

CURRENCY = "USDT"
RECEIVE_WINDOW_NS = 1_000_000_000
# Marks are put on disk this often (trading time), for a panic without an engine: every fill brings
# its own, so these only follow a position that is held, and slower when there is none.
MARKS_EVERY_NS = 15_000_000_000
MARKS_EVERY_FLAT_NS = 60_000_000_000
T = TypeVar("T")
StreamHandler = Callable[[StreamUpdate], None]


class PaperVenue:
    """Implements OrderEntry, Exits, AccountReads and Streams; the market hub calls `on_trade`."""

    def __init__(
        self,
        *,
        clock: Clock,
        writer: DatabaseWriter,
        settings: PaperSection,
        instrument: Callable[[Symbol], Instrument],
        final_check: FinalCheck,
        faults: PaperFaults | None = None,
        after_commit: Callable[[str], None] | None = None,
    ) -> None:
        """`after_commit(step)` is called between a commit and anything that is seen of it."""
        self._clock = clock
        self._writer = writer
        self._settings = settings
        self._instrument = instrument
        self._final_check = final_check
        self.faults = faults or PaperFaults()
        self._after_commit = after_commit
        self._prices = Prices(settings=settings)
        self._matching: Matching | None = None
        self._loading: asyncio.Future[LoadedBooks] | None = None
        self._last_commit: asyncio.Future[None] | None = None
        self._bands: Mapping[Symbol, tuple[Decimal, Decimal]] = {}
        self._funding = FundingTimes(rate=settings.funding)
        # The earliest time at which a price is asked to do more than to fill.
        self._timer_ns = 0
        self._marks_due_ns = 0
        self._marks_saving = 0
        self._handlers: list[StreamHandler] = []
        self._held_updates: Updates = []
        self._connected = False

    @property
    def name(self) -> str:
        return "paper"

    @property
    def pending(self) -> int:
        """Work that somebody waits for; a simulated clock stands still for it, not for marks."""
        return max(0, self._writer.pending - self._marks_saving)

    async def start(self) -> None:
        """Read the books, resting orders too; a new file gets the initial balance."""
        loaded = await self._writer.submit(self._loading_job())
        self._take(loaded)
        for symbol, (price, _) in loaded.marks.items():
            self._prices.last.setdefault(symbol, price)
        self._rebuild()
        self._funding.begin(self._clock.now_ns())
        self._set_connected(connected=True, cause="")

    async def close(self) -> None:
        """Put the last marks on disk and end the stream; the writer is its owner's to close."""
        if self._matching is not None and self._prices.last:
            self._save_marks(self._clock.now_ns())
        self._set_connected(connected=False, cause="closed")

    # --- the market ------------------------------------------------------------------------------

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None:
        """A public trade; two comparisons when nothing of ours can be concerned."""
        self.on_price(symbol, price, ts_ns)

    def on_price(self, symbol: Symbol, price: Decimal, ts_ns: int) -> None:
        """What a symbol is worth now: its last trade, or its mark where nobody trades."""
        self._prices.last[symbol] = price
        band = self._bands.get(symbol)
        if band is not None and not band[0] < price < band[1] and self._matching is not None:
            self._commit("match", self._matching.on_price(symbol, price, ts_ns))
        if ts_ns >= self._timer_ns:
            self._do_what_is_due(ts_ns)

    def _do_what_is_due(self, ts_ns: int) -> None:
        if ts_ns >= self._funding.next_ns and self._matching is not None:
            self._pay_funding(self._matching, ts_ns)
        if ts_ns >= self._marks_due_ns:
            self._save_marks(ts_ns)
        self._timer_ns = min(self._marks_due_ns, self._funding.next_ns)

    def _pay_funding(self, matching: Matching, ts_ns: int) -> None:
        """Each position at the last price of its symbol; committed like anything else."""
        for due in self._funding.take(ts_ns, matching.books.positions):
            price = self._prices.last.get(due.symbol)
            if price is not None:
                matching.books.settle_funding(
                    due.symbol, rate=due.rate, price=price, due_ns=due.due_ns, ts_ns=ts_ns
                )
        matching.rebuild_bands()
        self._commit("funding", [])

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None:
        """Best bid and ask; market orders deal at them."""
        self._prices.quotes[symbol] = (bid, ask)

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        """What longs will pay shorts, and when."""
        self._funding.tell(symbol, rate, due_ns, self._clock.now_ns())
        self._timer_ns = min(self._timer_ns, self._funding.next_ns)

    def set_marks(self, marks: Mapping[Symbol, Decimal]) -> None:
        """Tell prices from elsewhere, where no feed runs."""
        self._prices.last.update(marks)
        self._rebuild()

    def last_marks(self) -> dict[Symbol, Decimal]:
        """The last price of each symbol, the persisted ones until the feed has spoken."""
        return dict(self._prices.last)

    def _save_marks(self, ts_ns: int) -> None:
        if self._matching is None or self._marks_saving:
            return
        self._marks_due_ns = ts_ns + (MARKS_EVERY_NS if self._bands else MARKS_EVERY_FLAT_NS)
        for symbol, price in self._prices.last.items():
            self._matching.books.set_mark(symbol, price, ts_ns)
        self._marks_saving = 1
        self._submit("marks", []).add_done_callback(self._marks_saved)

    def _marks_saved(self, _done: asyncio.Future[None]) -> None:
        self._marks_saving = 0

    # --- OrderEntry and Exits --------------------------------------------------------------------

    async def place(self, approved: Approved) -> OrderAck:
        """Send an entry; see `engine.ports.OrderEntry`."""
        intent = approved.intent
        require(not intent.reduce_only, "an entry cannot be reduce-only")

        def leave() -> None:
            reasons = self._final_check(approved)
            if reasons:
                codes = tuple(reason.code.value for reason in reasons)
                detail = "; ".join(f"{r.code.value} {r.detail}".strip() for r in reasons)
                raise Denied(codes, detail)

        return await self._request("place", lambda m, ts: self._accept(m, intent, ts), leave)

    async def reduce(self, intent: Intent) -> OrderAck:
        """Send a reduce-only order; see `engine.ports.Exits`."""
        require(intent.reduce_only, "an exit must be reduce-only")
        return await self._request("reduce", lambda m, ts: self._accept(m, intent, ts))

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> None:
        """Cancel one open order, conditional or not."""

        def step(matching: Matching, ts_ns: int) -> tuple[None, Updates]:
            order = matching.books.open_order(client_order_id)
            if order is None or order.symbol != symbol:
                raise Refused("-2011", f"{client_order_id} is not an open order of {symbol}")
            return None, matching.cancel(order, ts_ns)

        await self._request("cancel", step)

    async def cancel_all(self, symbol: Symbol, *, conditional: bool) -> int:
        """Cancel every open order of a symbol, of the one sort or the other."""

        def step(matching: Matching, ts_ns: int) -> tuple[int, Updates]:
            updates: Updates = []
            number = 0
            for order in matching.books.open_orders(symbol):
                if order.is_conditional == conditional:
                    updates += matching.cancel(order, ts_ns)
                    number += 1
            return number, updates

        return await self._request("cancel_all", step)

    @staticmethod
    def _accept(matching: Matching, intent: Intent, ts_ns: int) -> tuple[OrderAck, Updates]:
        order, updates = matching.accept(intent, ts_ns)
        acknowledgement = OrderAck(
            client_order_id=order.client_order_id, venue_order_id=order.venue_order_id
        )
        return acknowledgement, updates

    async def _request(
        self,
        operation: str,
        step: Callable[[Matching, int], tuple[T, Updates]],
        leave: Callable[[], None] | None = None,
    ) -> T:
        """Carry a request there, execute it, commit it, and carry the answer back."""
        if leave is not None:
            leave()
        left_ns = self._clock.monotonic_ns()
        fault = await self._travel(operation)
        late_ns = self._clock.monotonic_ns() - left_ns - self._settings.latency_ms * 1_000_000
        if leave is not None and late_ns > RECEIVE_WINDOW_NS:
            raise NotExecuted("-1021: the request is older than its receive window")
        result, updates = step(self._ready(), self._clock.now_ns())
        await self._durable(self._commit(operation, updates))
        await self._answer(fault)
        return result

    # --- AccountReads ----------------------------------------------------------------------------

    async def positions(self) -> tuple[VenuePosition, ...]:
        """Every position, as committed."""
        return await self._read("positions", lambda b: b.position_rows(self._prices.last))

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """Every open order, conditional ones too."""
        return await self._read("open_orders", lambda books: tuple(books.open_orders(symbol)))

    async def balance(self) -> VenueBalance:
        """The wallet balance: initial + realised - fees + funding."""
        return await self._read(
            "balance", lambda books: VenueBalance(currency=CURRENCY, balance=books.balance)
        )

    async def balances(self) -> tuple[VenueBalance, ...]:
        """It has one wallet."""
        return (await self.balance(),)

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        """The newest order with this id, in whatever state."""
        return await self._query("order", finding_order(symbol, client_order_id))

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        """Executions since a time, oldest first."""
        return await self._query("executions", listing_fills(since_ns, symbol))

    async def movements(self, *, since_ns: int) -> tuple[WalletMovement, ...]:
        """Funding since a time, oldest first; nothing else moves this wallet beside trades."""
        await self._settled()
        self._ready()
        return await self._durable(
            self._writer.submit(listing_movements(since_ns, currency=CURRENCY))
        )

    async def _read(self, operation: str, view: Callable[[Books], T]) -> T:
        fault = await self._travel(operation)
        await self._settled()
        result = view(self._ready().books)
        await self._answer(fault)
        return result

    async def _query(self, operation: str, job: Callable[[sqlite3.Connection], T]) -> T:
        fault = await self._travel(operation)
        self._ready()
        result = await self._durable(self._writer.submit(job))
        await self._answer(fault)
        return result

    # --- Streams ---------------------------------------------------------------------------------

    def subscribe(self, handler: StreamHandler) -> Callable[[], None]:
        """Hear every update, after it was committed."""
        self._handlers.append(handler)

        def unsubscribe() -> None:
            if handler in self._handlers:
                self._handlers.remove(handler)

        return unsubscribe

    def is_connected(self) -> bool:
        """Whether the private stream is up."""
        return self._connected

    def disconnect_stream(self, cause: str) -> None:
        """Cut the private stream: what happens meanwhile is not told."""
        self._set_connected(connected=False, cause=cause)

    def reconnect_stream(self) -> None:
        """Bring the stream back; what was missed stays missed."""
        self._set_connected(connected=True, cause="")

    def release_updates(self) -> None:
        """Deliver what `faults.hold_updates` kept, in order, and hold no more."""
        self.faults.hold_updates = False
        held, self._held_updates = self._held_updates, []
        self._tell(held)

    def _set_connected(self, *, connected: bool, cause: str) -> None:
        if connected == self._connected:
            return
        self._connected = connected
        update = StreamUpdate(ts_ns=self._clock.now_ns(), connected=connected, cause=cause)
        for handler in tuple(self._handlers):
            handler(update)

    def _tell(self, updates: Updates) -> None:
        for update in updates:
            if not self._connected:
                continue
            if self.faults.lose_updates > 0:
                self.faults.lose_updates -= 1
            elif self.faults.hold_updates:
                self._held_updates.append(update)
            else:
                for handler in tuple(self._handlers):
                    handler(update)

    # --- the way there and back ------------------------------------------------------------------

    async def _travel(self, operation: str) -> Fault | None:
        """Latency, and the faults that strike before a request has any effect."""
        fault = self.faults.take(operation)
        if self._settings.latency_ms:
            await self._clock.sleep(self._settings.latency_ms / 1000)
        if fault is Fault.HANG:
            await self.faults.hang()
        elif fault is Fault.REFUSE:
            raise Refused("-2010", "refused on request")
        elif fault is Fault.NOT_EXECUTED:
            raise NotExecuted("-1008: overloaded on request")
        elif fault is Fault.LOST_REQUEST:
            await self._clock.sleep(self.faults.timeout_s)
            raise OutcomeUnknown("no answer: the request was lost")
        return fault

    async def _answer(self, fault: Fault | None) -> None:
        """Latency of the way back, and the fault that strikes after the effect."""
        if fault is Fault.LOST_ANSWER:
            await self._clock.sleep(self.faults.timeout_s)
            raise OutcomeUnknown("no answer: it was lost on the way back")
        if self._settings.latency_ms:
            await self._clock.sleep(self._settings.latency_ms / 1000)

    # --- commits ---------------------------------------------------------------------------------

    def _commit(self, step: str, updates: Updates) -> asyncio.Future[None]:
        """Queue what the step changed, and let later reads wait for it."""
        self._last_commit = self._submit(step, updates)
        return self._last_commit

    def _submit(self, step: str, updates: Updates) -> asyncio.Future[None]:
        """Queue what was changed; the updates are told once it is on disk."""
        future = self._writer.submit(saving(self._ready().books.take_changes()))
        future.add_done_callback(lambda done: self._committed(done, step, updates))
        return future

    def _committed(self, done: asyncio.Future[None], step: str, updates: Updates) -> None:
        if done.cancelled() or done.exception() is not None:
            self._reload()
            return
        if self._after_commit is not None:
            self._after_commit(step)
        self._tell(updates)

    async def _durable(self, future: asyncio.Future[T]) -> T:
        """Wait for a commit that goes on even when the caller gives up."""
        try:
            return await asyncio.shield(future)
        except StoreError as error:
            raise OutcomeUnknown(f"the venue's books could not be written: {error}") from error

    async def _settled(self) -> None:
        """Wait until what is in memory is on disk too, so that a read never runs ahead of it."""
        if self._last_commit is not None and not self._last_commit.done():
            await self._durable(self._last_commit)

    # --- books -----------------------------------------------------------------------------------

    def _ready(self) -> Matching:
        if self._matching is None:
            self._reload()
            raise NotExecuted("the venue is reading its books")
        return self._matching

    def _loading_job(self) -> Callable[[sqlite3.Connection], LoadedBooks]:
        return loading(initial=self._settings.initial_balance, now_ns=self._clock.now_ns())

    def _take(self, loaded: LoadedBooks) -> None:
        self._matching = Matching(
            books=Books(loaded, currency=CURRENCY),
            prices=self._prices,
            settings=self._settings,
            instrument=self._instrument,
            parts=lambda: self.faults.split_fills,
        )
        self._bands = self._matching.bands

    def _rebuild(self) -> None:
        if self._matching is not None:
            self._matching.rebuild_bands()

    def _reload(self) -> None:
        """After a failed commit memory is ahead of the disk: stop, and read what is true again."""
        self._matching = None
        self._bands = {}
        if self._loading is None:
            self._loading = self._writer.submit(self._loading_job())
            self._loading.add_done_callback(self._reloaded)

    def _reloaded(self, done: asyncio.Future[LoadedBooks]) -> None:
        self._loading = None
        if not done.cancelled() and done.exception() is None:
            self._take(done.result())


__all__ = ["CURRENCY", "RECEIVE_WINDOW_NS", "PaperVenue"]

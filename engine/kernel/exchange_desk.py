"""An exchange as the kernel's desk: its adapter, its private stream, and what keeps them good.

`start` compares clocks and reads filters and limits, `listen` brings the private stream up; either
raises the venue's error and is called again by whoever opens the gate. From the first `start` on
the emergency lane is kept warm, whether or not the venue answered, so that a stop finds its way as
soon as there is one. Once started, clocks are compared every minute and filters read every hour;
for exits a contract that the venue no longer lists keeps the filters that it had. Executions of
before our books were opened are the venue's own affair and never read. Offsets in milliseconds,
positive when the venue's clock is ahead.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal

from engine.model.errors import NotExecuted, Refused, VenueError, require
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import Instrument, paper_instrument
from engine.model.key_rights import KeyRights
from engine.model.orders import Fill
from engine.model.values import Side
from engine.model.venue import (
    VenueBalance,
    VenueOrder,
    VenuePosition,
    WalletMovement,
    WatchedAccount,
)
from engine.ports import AccountReads, Clock, Exits, OrderEntry, Streams
from engine.runtime import Tasks, within
from engine.venues.exchange import ExchangeParts
from engine.venues.transport.rate_limits import LimitState

_log = logging.getLogger(__name__)
_START_S = 20.0
_STREAM_S = 10.0
_STREAM_LOOK_S = 0.05
_CLOCKS_EVERY_S = 60.0
_FILTERS_EVERY = 60
_NS_PER_MS = 1_000_000


class ExchangeDesk:
    """Implements `VenueDesk`."""

    def __init__(
        self, *, parts: ExchangeParts, clock: Clock, tasks: Tasks, books_opened_ns: int = 0
    ) -> None:
        """`books_opened_ns` is the venue's time at which our books begin; 0 while they have not."""
        self._parts = parts
        self._clock = clock
        self._tasks = tasks
        self._reads = _ReadsOfOurBooks(parts.venue, books_opened_ns)
        self._instruments: dict[Symbol, Instrument] = {}
        self._key_rights: KeyRights | None = None
        self._is_kept = self._is_started = self._is_listening = False

    @property
    def name(self) -> str:
        return self._parts.venue.name

    @property
    def title(self) -> str:
        return f"{self.name.capitalize()} orders"

    @property
    def key_rights(self) -> KeyRights | None:
        """As the venue told them last; None where it does not."""
        return self._key_rights

    @property
    def watched_account(self) -> WatchedAccount | None:
        """The account is the one that is traded."""
        return None

    @property
    def entry(self) -> OrderEntry:
        return self._parts.venue

    @property
    def exits(self) -> Exits:
        return self._parts.venue

    @property
    def reads(self) -> AccountReads:
        return self._reads

    @property
    def emergency_reads(self) -> AccountReads:
        return self._parts.venue.emergency_reads

    @property
    def streams(self) -> Streams:
        return self._parts.venue

    def is_connected(self) -> bool:
        return self._parts.venue.is_connected()

    @property
    def pending(self) -> int:
        return 0

    # --- contracts and marks ---------------------------------------------------------------------

    def instrument(self, symbol: Symbol) -> Instrument:
        """As the venue lists it now; Refused for one that it does not."""
        found = self._parts.venue.instrument(symbol)
        self._instruments[symbol] = found
        return found

    def exit_instrument(self, symbol: Symbol) -> Instrument:
        """As it lists it now or did last, else a grid that holds nothing back: nothing of ours may
        keep an exit from leaving.
        """
        try:
            return self.instrument(symbol)
        except Refused:
            return self._instruments.get(symbol) or paper_instrument(symbol)

    async def read_mark(self, symbol: Symbol) -> Decimal | None:
        """The venue's mark price of an open position."""
        for position in await self._parts.venue.positions():
            if position.symbol == symbol:
                return position.mark_price
        return None

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None:
        """The venue fills by its own market."""

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None:
        """Likewise."""

    def on_price(self, symbol: Symbol, price: Decimal, ts_ns: int) -> None:
        """Likewise."""

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        """The venue books it by itself."""

    def last_marks(self) -> Mapping[Symbol, Decimal]:
        """Nothing is remembered: positions are valued at entry until the first price."""
        return {}

    # --- clocks ----------------------------------------------------------------------------------

    @property
    def receive_window_ms(self) -> int | None:
        return self._parts.receive_window_ms

    def clock_offset_ms(self) -> float | None:
        """None until it was measured."""
        return self._parts.rest.offset_ns / _NS_PER_MS if self._is_started else None

    def now_ns(self) -> int:
        """The venue's time, as far as it is known."""
        return self._parts.rest.venue_now_ms() * _NS_PER_MS

    def limits(self) -> LimitState | None:
        return self._parts.rest.limits.state()

    # --- the venue's countdown -------------------------------------------------------------------

    @property
    def countdown_why_not(self) -> str:
        return self._parts.countdown_why_not

    async def count_down(self, symbol: Symbol, *, seconds: float) -> None:
        """Have the venue cancel a symbol's orders unless told again in time; 0 stops that."""
        require(self._parts.count_down is not None, "the venue counts nothing down")
        assert self._parts.count_down is not None
        await self._parts.count_down(symbol, seconds)

    # --- books -----------------------------------------------------------------------------------

    @property
    def books_opened_ns(self) -> int:
        return self._reads.opened_ns

    async def movements(self, *, since_ns: int) -> tuple[WalletMovement, ...]:
        """What changed the wallet since a time, oldest first; nothing of before our books."""
        since_ns = max(since_ns, self._reads.opened_ns)
        return await self._parts.venue.movements(since_ns=since_ns)

    def open_books(self, opened_ns: int) -> None:
        """From this time on its executions are ours."""
        self._reads.opened_ns = opened_ns

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Clocks, filters, limits; nothing more once it has succeeded."""
        if not self._is_kept:
            self._is_kept = True
            self._tasks.spawn("warm connections", self._parts.connections.keep_warm(), forever=True)
        if self._is_started:
            return
        await within(self._clock, _START_S, self._parts.venue.start())
        self._is_started = True
        await self._read_key_rights()
        self._tasks.spawn("venue upkeep", self._keep_up(), forever=True)

    async def _read_key_rights(self) -> None:
        """Only to be warned of what it may do too much: no answer is no reason not to start."""
        if self._parts.read_key_rights is None:
            return
        try:
            self._key_rights = await self._parts.read_key_rights()
        except VenueError as error:
            _log.warning("%s: what the key may do was not told: %s", self.name, error)
            return
        may = "may trade" if self._key_rights.can_trade else "may not trade"
        _log.info("%s: the key %s", self.name, may)

    async def listen(self) -> None:
        """The private stream; NotExecuted when it does not come up in time (it goes on trying)."""
        if not self._is_listening:
            self._is_listening = True
            self._parts.stream.start()
        try:
            await within(self._clock, _STREAM_S, self._connected())
        except TimeoutError as error:
            raise NotExecuted(f"{self.name}: the private stream is not connected") from error

    async def _connected(self) -> None:
        while not self.is_connected():
            await self._clock.sleep(_STREAM_LOOK_S)

    async def _keep_up(self) -> None:
        turn = 0
        while True:
            await self._clock.sleep(_CLOCKS_EVERY_S)
            turn += 1
            try:
                await self._parts.rest.compare_clocks()
                if turn % _FILTERS_EVERY == 0:
                    await self._parts.venue.read_exchange()
                    await self._read_key_rights()
            except VenueError as error:
                # Tried again at the next turn; what depends on it has its own words.
                _log.warning("%s: clocks and filters: %s", self.name, error)

    async def close(self) -> None:
        """The tasks are ended by their owner; here the connections are."""
        await self._parts.connections.close()


class _ReadsOfOurBooks:
    """Implements AccountReads: the adapter's, with no execution of before our books."""

    def __init__(self, reads: AccountReads, opened_ns: int) -> None:
        self._reads = reads
        self.opened_ns = opened_ns

    async def positions(self) -> tuple[VenuePosition, ...]:
        return await self._reads.positions()

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        return await self._reads.open_orders(symbol)

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        return await self._reads.order(symbol, client_order_id)

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        since_ns = max(since_ns, self.opened_ns)
        return await self._reads.executions(since_ns=since_ns, symbol=symbol)

    async def balance(self) -> VenueBalance:
        return await self._reads.balance()

    async def balances(self) -> tuple[VenueBalance, ...]:
        return await self._reads.balances()


__all__ = ["ExchangeDesk"]

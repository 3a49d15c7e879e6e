"""`BybitVenue`: the four ports of a venue on Bybit v5, USDT perpetuals, in one-way or hedge mode.

How single orders are sent is in `orders`, batches in `batches`, settings of the account in
`settings`, reads in `account`; here they are one venue, with its contracts. The mode of the account
is read at the start and of every position row; in hedge mode the leg of an order follows from its
side and whether it reduces. Fails as the ports say. On the loop only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from engine.model.errors import Refused
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Fill, Intent
from engine.model.venue import (
    Approved,
    OrderAck,
    StreamUpdate,
    VenueBalance,
    VenueOrder,
    VenuePosition,
    WalletMovement,
)
from engine.ports import Clock, FinalCheck, Streams
from engine.venues.bybit.account import BybitAccount, PositionModes
from engine.venues.bybit.batches import BybitBatches
from engine.venues.bybit.instruments import Contract
from engine.venues.bybit.orders import BybitOrders
from engine.venues.bybit.public import BybitPublic
from engine.venues.bybit.rest import BybitRest
from engine.venues.bybit.settings import BybitSettings
from engine.venues.bybit.signing import ENTRY_RECEIVE_WINDOW_MS
from engine.venues.transport.rate_limits import Lane


class BybitVenue:
    """Implements OrderEntry, Exits, AccountReads and, by its stream, Streams."""

    def __init__(
        self,
        *,
        clock: Clock,
        rest: BybitRest,
        symbols: Iterable[Symbol],
        final_check: FinalCheck,
        stream: Streams,
    ) -> None:
        """`symbols` are those that are traded: their position mode is read at the start."""
        self._clock = clock
        self._rest = rest
        self._public = BybitPublic(rest=rest)
        self._symbols = tuple(symbols)
        self._stream = stream
        modes = PositionModes()
        self._account = BybitAccount(rest=rest, modes=modes)
        self._emergency_account = BybitAccount(rest=rest, modes=modes, lane=Lane.EXIT_READ)
        self._contracts: dict[Symbol, Contract] = {}
        self.settings = BybitSettings(rest=rest, account=self._account, modes=modes)
        self._orders = BybitOrders(
            rest=rest,
            account=self._emergency_account,
            modes=modes,
            settings=self.settings,
            contract=self._contract,
            final_check=final_check,
        )
        self.batches = BybitBatches(rest=rest, orders=self._orders, modes=modes)

    @property
    def name(self) -> str:
        return "bybit"

    @property
    def emergency_reads(self) -> BybitAccount:
        """The same reads by the emergency lane: for the stop, which verifies what it did."""
        return self._emergency_account

    async def start(self) -> None:
        """Compare clocks, read the contracts and the account's position mode. Raises what a read
        raises.
        """
        await self._rest.compare_clocks()
        await self.read_exchange()
        await self.settings.read_modes(self._symbols)

    async def read_exchange(self) -> None:
        """Take over the contracts as they are today, to the end of the list. One that cannot be
        read is not traded, the others are.
        """
        self._contracts = await self._public.contracts_in_full()

    def instrument(self, symbol: Symbol) -> Instrument:
        """A contract's filters; Refused for one that is not traded."""
        return self._contract(symbol).instrument

    def _contract(self, symbol: Symbol) -> Contract:
        found = self._contracts.get(symbol)
        if found is None:
            raise Refused("10029", f"{symbol} is not traded here")
        return found

    async def mark(self, symbol: Symbol) -> Decimal:
        """The venue's mark price now."""
        return await self._public.mark(symbol)

    # --- OrderEntry and Exits --------------------------------------------------------------------

    async def place(self, approved: Approved) -> OrderAck:
        """Send an entry; see `engine.ports.OrderEntry`."""
        return await self._orders.place(approved)

    async def amend(self, approved: Approved) -> OrderAck:
        """Make the resting entry of this id what was approved: quantity and price."""
        return await self._orders.amend(approved)

    async def reduce(self, intent: Intent) -> OrderAck:
        """Send a reduce-only order; see `engine.ports.Exits`."""
        return await self._orders.reduce(intent)

    async def amend_exit(self, intent: Intent) -> OrderAck:
        """Make the resting reduce-only order of this id what the intent says."""
        return await self._orders.amend_exit(intent)

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> None:
        """Cancel one order of either kind."""
        await self._orders.cancel(symbol, client_order_id)

    async def cancel_all(self, symbol: Symbol, *, conditional: bool) -> int:
        """Cancel every open order of a symbol, of the one kind or the other; their number."""
        return await self._orders.cancel_all(symbol, conditional=conditional)

    # --- AccountReads ----------------------------------------------------------------------------

    async def positions(self) -> tuple[VenuePosition, ...]:
        """Every non-zero position; in hedge mode a row for each leg."""
        return await self._account.positions()

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """Every open order, conditional ones too."""
        return await self._account.open_orders(symbol)

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        """One order in whatever state, or None when the venue does not know it (yet)."""
        return await self._account.order(symbol, client_order_id)

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        """Executions since a time, oldest first."""
        return await self._account.executions(since_ns=since_ns, symbol=symbol)

    async def balance(self) -> VenueBalance:
        """The wallet balance in USDT."""
        return await self._account.balance()

    async def balances(self) -> tuple[VenueBalance, ...]:
        """The wallet balance of every coin."""
        return await self._account.balances()

    async def movements(self, *, since_ns: int) -> tuple[WalletMovement, ...]:
        """What changed the wallet since a time, oldest first."""
        return await self._account.movements(since_ns=since_ns)

    # --- Streams ---------------------------------------------------------------------------------

    def subscribe(self, handler: Callable[[StreamUpdate], None]) -> Callable[[], None]:
        """Hear every update in the venue's order; returns the unsubscribe function."""
        return self._stream.subscribe(handler)

    def is_connected(self) -> bool:
        """Whether the private stream is up."""
        return self._stream.is_connected()


__all__ = ["ENTRY_RECEIVE_WINDOW_MS", "BybitVenue"]

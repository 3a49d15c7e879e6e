"""The public side of an exchange: contracts, mark prices and streams that everybody may have.

What trading on paper at a real venue's prices needs, and the feed of whoever trades there. No key
goes anywhere here, and nothing but public reads can. Contracts are read by `start` and each hour;
for exits a contract that is no longer listed keeps the filters that it had. Prices in account
currency.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from engine.model.config import Configuration
from engine.model.errors import Refused, VenueError
from engine.model.ids import Symbol
from engine.model.instrument import Instrument, paper_instrument
from engine.ports import Clock
from engine.runtime import Chance, Tasks, within
from engine.venues.binance.addresses import binance_addresses
from engine.venues.binance.endpoints import POOLS as BINANCE_POOLS
from engine.venues.binance.market_stream import binance_channels
from engine.venues.binance.public import BinancePublic
from engine.venues.binance.reads import PUBLIC_PATHS, PUBLIC_STREAM_PATHS
from engine.venues.binance.rest import BinanceRest
from engine.venues.transport.http import Connections
from engine.venues.transport.market_feed import VenueFeed
from engine.venues.transport.rate_limits import RateLimits
from engine.venues.transport.read_only import ReadOnlyConnections, public_sockets
from engine.venues.transport.stream import OpenSocket

_log = logging.getLogger(__name__)
_START_S = 20.0
_CONTRACTS_EVERY_S = 3600.0


class PublicReads(Protocol):
    """An adapter's requests that need no key."""

    async def contracts(self) -> Mapping[Symbol, Instrument]: ...

    async def mark(self, symbol: Symbol) -> Decimal: ...


class PublicMarket:
    """What a venue tells everybody by REST, kept current."""

    def __init__(
        self,
        *,
        venue: str,
        reads: PublicReads,
        connections: Connections,
        symbols: Sequence[Symbol],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._venue = venue
        self._reads = reads
        self._connections = connections
        self._symbols = tuple(symbols)
        self._clock = clock
        self._tasks = tasks
        self._listed: Mapping[Symbol, Instrument] = {}
        # Whatever was ever listed.
        self._known: dict[Symbol, Instrument] = {}

    async def start(self) -> None:
        """Read the contracts; Refused when one that is to be traded is not listed. Nothing more
        once it has succeeded.
        """
        if self._listed:
            return
        listed = await within(self._clock, _START_S, self._reads.contracts())
        missing = [symbol for symbol in self._symbols if symbol not in listed]
        if missing:
            raise Refused("market.symbols", f"{self._venue} does not trade {', '.join(missing)}")
        self._take(listed)
        self._tasks.spawn("public contracts", self._keep_up(), forever=True)

    def instrument(self, symbol: Symbol) -> Instrument:
        """As the venue lists it now; Refused for one that it does not."""
        found = self._listed.get(symbol)
        if found is None:
            raise Refused("-1121", f"{symbol} is not traded at {self._venue}, or not read yet")
        return found

    def exit_instrument(self, symbol: Symbol) -> Instrument:
        """As it lists it now or did last, else a grid that holds nothing back."""
        return self._known.get(symbol) or paper_instrument(symbol)

    async def read_mark(self, symbol: Symbol) -> Decimal:
        """The venue's mark price now; raises what a read raises."""
        return await self._reads.mark(symbol)

    async def close(self) -> None:
        await self._connections.close()

    def _take(self, listed: Mapping[Symbol, Instrument]) -> None:
        self._listed = listed
        self._known.update(listed)

    async def _keep_up(self) -> None:
        while True:
            await self._clock.sleep(_CONTRACTS_EVERY_S)
            try:
                self._take(await within(self._clock, _START_S, self._reads.contracts()))
            except (VenueError, TimeoutError) as error:
                _log.warning("%s: contracts: %s", self._venue, error)


# Opens connections to a REST address.
OpenConnections = Callable[[str], Connections]


def open_public_market(
    *,
    configuration: Configuration,
    clock: Clock,
    tasks: Tasks,
    open_connections: OpenConnections,
) -> PublicMarket:
    """The REST side of the configured venue, not started yet."""
    connections = ReadOnlyConnections(
        open_connections(binance_addresses(configuration.venue).rest_url), paths=PUBLIC_PATHS
    )
    rest = BinanceRest(
        clock=clock,
        key=None,
        connections=connections,
        limits=RateLimits(clock=clock, pools=BINANCE_POOLS),
    )
    return PublicMarket(
        venue=configuration.venue.name,
        reads=BinancePublic(rest=rest),
        connections=connections,
        symbols=symbols_of(configuration),
        clock=clock,
        tasks=tasks,
    )


def open_venue_feed(
    *,
    configuration: Configuration,
    clock: Clock,
    chance: Chance,
    tasks: Tasks,
    open_socket: OpenSocket,
) -> VenueFeed:
    """The public streams of the configured venue."""
    section = configuration.venue
    channels = binance_channels(
        stream_url=binance_addresses(section).stream_url, symbols=symbols_of(configuration)
    )
    return VenueFeed(
        venue=f"{section.name.capitalize()} ({section.environment})",
        channels=channels,
        clock=clock,
        chance=chance,
        tasks=tasks,
        open_socket=public_sockets(open_socket, paths=PUBLIC_STREAM_PATHS),
    )


def symbols_of(configuration: Configuration) -> tuple[Symbol, ...]:
    """What is to be traded."""
    return tuple(Symbol(name) for name in configuration.market.symbols)


__all__ = [
    "OpenConnections",
    "PublicMarket",
    "PublicReads",
    "open_public_market",
    "open_venue_feed",
    "symbols_of",
]

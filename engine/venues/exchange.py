"""An exchange put together: its adapter, its private stream, its limits and its connections.

For whoever may act on a real account: the kernel, and the stop without an engine. Nothing is sent
and no connection is opened here; `parts.venue.start`, `parts.stream.start` and
`parts.connections.keep_warm` are the owner's to call. Rule of the place: this module
and `public` are the ones that know more than one adapter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.model.api_key import ApiKey
from engine.model.config import Configuration
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.key_rights import KeyRights
from engine.model.venue import WalletMovement
from engine.ports import AccountReads, Clock, Exits, FinalCheck, OrderEntry, Streams
from engine.runtime import Chance, Tasks
from engine.venues.binance.addresses import binance_addresses
from engine.venues.binance.endpoints import POOLS as BINANCE_POOLS
from engine.venues.binance.reads import PUBLIC_STREAM_PATHS as BINANCE_PUBLIC_STREAM_PATHS
from engine.venues.binance.reads import READ_PATHS as BINANCE_READ_PATHS
from engine.venues.binance.rest import BinanceRest
from engine.venues.binance.user_stream import BinanceUserStream
from engine.venues.binance.venue import ENTRY_RECEIVE_WINDOW_MS as BINANCE_ENTRY_WINDOW_MS
from engine.venues.binance.venue import BinanceVenue
from engine.venues.bybit.addresses import bybit_addresses
from engine.venues.bybit.endpoints import POOLS as BYBIT_POOLS
from engine.venues.bybit.key_rights import read_key_rights
from engine.venues.bybit.reads import PUBLIC_STREAM_PATHS as BYBIT_PUBLIC_STREAM_PATHS
from engine.venues.bybit.reads import READ_PATHS as BYBIT_READ_PATHS
from engine.venues.bybit.rest import BybitRest
from engine.venues.bybit.signing import ENTRY_RECEIVE_WINDOW_MS as BYBIT_ENTRY_WINDOW_MS
from engine.venues.bybit.user_stream import BybitUserStream
from engine.venues.bybit.venue import BybitVenue
from engine.venues.transport.http import Connections, HttpConnections
from engine.venues.transport.rate_limits import RateLimits
from engine.venues.transport.read_only import ReadOnlyConnections, public_sockets
from engine.venues.transport.stream import OpenSocket, open_websocket


class ExchangeVenue(OrderEntry, Exits, AccountReads, Streams, Protocol):
    """What an adapter offers beside the ports."""

    @property
    def name(self) -> str: ...

    @property
    def emergency_reads(self) -> AccountReads: ...

    async def start(self) -> None:
        """Compare clocks, read filters and limits, look at the account's mode."""
        ...

    async def read_exchange(self) -> None:
        """Read filters and limits anew."""
        ...

    def instrument(self, symbol: Symbol) -> Instrument:
        """Refused for one that is not traded."""
        ...

    async def movements(self, *, since_ns: int) -> tuple[WalletMovement, ...]:
        """What changed the wallet since a time, oldest first."""
        ...


class ExchangeRest(Protocol):
    """What an adapter's requests know of the venue's clock."""

    limits: RateLimits

    @property
    def offset_ns(self) -> int: ...

    def venue_now_ms(self) -> int: ...

    async def compare_clocks(self) -> int: ...


class ExchangeStream(Streams, Protocol):
    """An adapter's private stream."""

    def start(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeParts:
    """One adapter with what it was built of; `receive_window_ms` is an entry's, and
    `read_key_rights` is None where the venue's host does not tell them.

    `count_down(symbol, seconds)` has the venue cancel a symbol's orders unless told again in time;
    where there is none that may be used, `countdown_why_not` says why.
    """

    venue: ExchangeVenue
    rest: ExchangeRest
    stream: ExchangeStream
    connections: Connections
    receive_window_ms: int
    read_key_rights: Callable[[], Awaitable[KeyRights]] | None
    count_down: Callable[[Symbol, float], Awaitable[None]] | None = None
    countdown_why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueTransport:
    """How bytes get to a venue: over the network, or in memory to a simulated one."""

    connections: Callable[[str], Connections]
    open_socket: OpenSocket


def network(clock: Clock) -> VenueTransport:
    """Real connections."""
    return VenueTransport(
        connections=lambda url: HttpConnections(base_url=url, clock=clock),
        open_socket=open_websocket,
    )


_READ_PATHS = {"binance": BINANCE_READ_PATHS, "bybit": BYBIT_READ_PATHS}
_PUBLIC_STREAM_PATHS = {
    "binance": BINANCE_PUBLIC_STREAM_PATHS,
    "bybit": BYBIT_PUBLIC_STREAM_PATHS,
}


def read_only(transport: VenueTransport, venue: str) -> VenueTransport:
    """The same transport, over which nothing can be changed at this venue."""
    return VenueTransport(
        connections=lambda url: ReadOnlyConnections(
            transport.connections(url), paths=_READ_PATHS[venue]
        ),
        open_socket=public_sockets(transport.open_socket, paths=_PUBLIC_STREAM_PATHS[venue]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeNeeds:
    """What any exchange is built of."""

    clock: Clock
    chance: Chance
    tasks: Tasks
    final_check: FinalCheck
    key: ApiKey
    transport: VenueTransport


def build_exchange(configuration: Configuration, needs: ExchangeNeeds) -> ExchangeParts:
    """The exchange that `[venue]` names."""
    return _BUILDERS[configuration.venue.name](configuration, needs)


def _binance(configuration: Configuration, needs: ExchangeNeeds) -> ExchangeParts:
    urls = binance_addresses(configuration.venue)
    connections = needs.transport.connections(urls.rest_url)
    rest = BinanceRest(
        clock=needs.clock,
        key=needs.key,
        connections=connections,
        limits=RateLimits(clock=needs.clock, pools=BINANCE_POOLS),
    )
    stream = BinanceUserStream(
        clock=needs.clock,
        chance=needs.chance,
        tasks=needs.tasks,
        rest=rest,
        stream_url=urls.stream_url,
        open_socket=needs.transport.open_socket,
    )
    venue = BinanceVenue(
        clock=needs.clock,
        rest=rest,
        symbols=_symbols(configuration),
        final_check=needs.final_check,
        stream=stream,
    )
    return ExchangeParts(
        venue=venue,
        rest=rest,
        stream=stream,
        connections=connections,
        receive_window_ms=BINANCE_ENTRY_WINDOW_MS,
        count_down=lambda symbol, seconds: venue.settings.count_down(symbol, seconds=seconds),
        read_key_rights=None,
    )


def _bybit(configuration: Configuration, needs: ExchangeNeeds) -> ExchangeParts:
    urls = bybit_addresses(configuration.venue)
    connections = needs.transport.connections(urls.rest_url)
    rest = BybitRest(
        clock=needs.clock,
        key=needs.key,
        connections=connections,
        limits=RateLimits(clock=needs.clock, pools=BYBIT_POOLS),
    )
    stream = BybitUserStream(
        clock=needs.clock,
        chance=needs.chance,
        tasks=needs.tasks,
        rest=rest,
        stream_url=urls.stream_url,
        open_socket=needs.transport.open_socket,
    )
    venue = BybitVenue(
        clock=needs.clock,
        rest=rest,
        symbols=_symbols(configuration),
        final_check=needs.final_check,
        stream=stream,
    )
    return ExchangeParts(
        venue=venue,
        rest=rest,
        stream=stream,
        connections=connections,
        receive_window_ms=BYBIT_ENTRY_WINDOW_MS,
        # It is one for the whole account, not a symbol's, and would take every stop along.
        countdown_why_not="Bybit enables its own by request only, and that cancels stops too",
        read_key_rights=lambda: read_key_rights(rest),
    )


def _symbols(configuration: Configuration) -> tuple[Symbol, ...]:
    return tuple(Symbol(name) for name in configuration.market.symbols)


_BUILDERS: Mapping[str, Callable[[Configuration, ExchangeNeeds], ExchangeParts]] = {
    "binance": _binance,
    "bybit": _bybit,
}

__all__ = [
    "ExchangeNeeds",
    "ExchangeParts",
    "ExchangeRest",
    "ExchangeStream",
    "ExchangeVenue",
    "VenueTransport",
    "build_exchange",
    "network",
    "read_only",
]

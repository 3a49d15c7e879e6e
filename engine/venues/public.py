"""The public side of an exchange put together: reads without a key, and the market feed.

For whoever wants a venue's prices and no account. Nothing can be sent here that is not a public
read. Nothing is opened yet: the feed's `run` and the first read do that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from engine.model.config import VenueSection
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.ports import Clock
from engine.runtime import Chance, Tasks
from engine.venues.binance import reads as binance_reads
from engine.venues.binance.addresses import binance_addresses
from engine.venues.binance.endpoints import POOLS as BINANCE_POOLS
from engine.venues.binance.market_stream import binance_channels
from engine.venues.binance.public import BinancePublic
from engine.venues.binance.rest import BinanceRest
from engine.venues.bybit import reads as bybit_reads
from engine.venues.bybit.addresses import bybit_addresses
from engine.venues.bybit.endpoints import POOLS as BYBIT_POOLS
from engine.venues.bybit.market_stream import bybit_channels
from engine.venues.bybit.public import BybitPublic
from engine.venues.bybit.rest import BybitRest
from engine.venues.exchange import VenueTransport
from engine.venues.transport.addresses import Addresses
from engine.venues.transport.http import Connections
from engine.venues.transport.market_feed import Channel, VenueFeed
from engine.venues.transport.rate_limits import RateLimits
from engine.venues.transport.read_only import ReadOnlyConnections, public_sockets


class PublicReads(Protocol):
    """An adapter's requests that need no key."""

    async def contracts(self) -> Mapping[Symbol, Instrument]: ...

    async def mark(self, symbol: Symbol) -> Decimal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Venue:
    """One venue's own."""

    addresses: Callable[[VenueSection], Addresses]
    reads: Callable[[Clock, Connections], PublicReads]
    read_paths: frozenset[str]
    channels: Callable[[str, Sequence[Symbol]], tuple[Channel, ...]]
    stream_paths: tuple[str, ...]


def _binance_reads(clock: Clock, connections: Connections) -> PublicReads:
    limits = RateLimits(clock=clock, pools=BINANCE_POOLS)
    return BinancePublic(
        rest=BinanceRest(clock=clock, key=None, connections=connections, limits=limits)
    )


def _bybit_reads(clock: Clock, connections: Connections) -> PublicReads:
    limits = RateLimits(clock=clock, pools=BYBIT_POOLS)
    return BybitPublic(
        rest=BybitRest(clock=clock, key=None, connections=connections, limits=limits)
    )


_VENUES: Mapping[str, _Venue] = {
    "binance": _Venue(
        addresses=binance_addresses,
        reads=_binance_reads,
        read_paths=binance_reads.PUBLIC_PATHS,
        channels=lambda url, symbols: binance_channels(stream_url=url, symbols=symbols),
        stream_paths=binance_reads.PUBLIC_STREAM_PATHS,
    ),
    "bybit": _Venue(
        addresses=bybit_addresses,
        reads=_bybit_reads,
        read_paths=bybit_reads.PUBLIC_PATHS,
        channels=lambda url, symbols: bybit_channels(stream_url=url, symbols=symbols),
        stream_paths=bybit_reads.PUBLIC_STREAM_PATHS,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenReads:
    """Public reads, and the connections to be closed after them."""

    reads: PublicReads
    connections: Connections


def open_public_reads(
    section: VenueSection, *, clock: Clock, transport: VenueTransport
) -> OpenReads:
    """Of the venue that `[venue]` names."""
    venue = _VENUES[section.name]
    connections = ReadOnlyConnections(
        transport.connections(venue.addresses(section).rest_url), paths=venue.read_paths
    )
    return OpenReads(reads=venue.reads(clock, connections), connections=connections)


def open_venue_feed(
    section: VenueSection,
    *,
    symbols: Sequence[Symbol],
    clock: Clock,
    chance: Chance,
    tasks: Tasks,
    transport: VenueTransport,
) -> VenueFeed:
    """The public streams of the venue that `[venue]` names."""
    venue = _VENUES[section.name]
    return VenueFeed(
        venue=f"{section.name.capitalize()} ({section.environment})",
        channels=venue.channels(venue.addresses(section).stream_url, symbols),
        clock=clock,
        chance=chance,
        tasks=tasks,
        open_socket=public_sockets(transport.open_socket, paths=venue.stream_paths),
    )


__all__ = ["OpenReads", "PublicReads", "open_public_reads", "open_venue_feed"]

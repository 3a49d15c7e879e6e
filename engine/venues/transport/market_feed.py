"""A venue's public streams as a market feed: every connection of them kept, read and watched.

Knows no venue: an adapter describes each connection as a `Channel` (address, first words, heartbeat
and who reads it). Each has a `VenueStream` that brings it back; a new reader comes with each
connection, so that nothing of the last one is taken for true, and the first words subscribe anew. A
connection is dropped when it is silent, and when one symbol's stream is silent that never is while
it lives. What a reader refuses is counted and logged, and is never the end of the stream; a refused
subscription drops it. Every loss and return is told to the sink, with the length of the gap, and a
connection that does not come about at all. On the loop only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.model.errors import Refused, require
from engine.model.ids import Symbol
from engine.ports import Clock, MarketSink
from engine.runtime import Chance, Tasks, cancel_and_wait
from engine.venues.transport.stream import (
    OpenSocket,
    StreamHabits,
    StreamHandlers,
    VenueSocket,
    VenueStream,
    open_websocket,
)

_log = logging.getLogger(__name__)
_WATCH_S = 0.5
_REFUSALS_LOGGED = 20
_NS = 1_000_000_000


class Reader(Protocol):
    """Reads the texts of one connection into the sink.

    `read` raises Refused when the venue refused a subscription, and ValueError with the reason for
    a text that cannot be read. `heard_ns` is when (monotonic) each symbol's never-silent stream
    last spoke.
    """

    def read(self, text: str) -> None: ...

    @property
    def heard_ns(self) -> Mapping[Symbol, int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One public connection. `silence_max_s` is for the connection, `symbol_silence_max_s` for each
    symbol of a stream that is never silent (None where there is no such stream).
    """

    name: str
    address: str
    symbols: tuple[Symbol, ...]
    open_reader: Callable[[MarketSink, Clock], Reader]
    first_words: tuple[str, ...] = ()
    heartbeat: str | None = None
    silence_max_s: float
    symbol_silence_max_s: float | None = None
    life_max_s: float = 23.5 * 3600


class _Connection:
    """One channel in use."""

    def __init__(
        self,
        *,
        channel: Channel,
        sink: MarketSink,
        clock: Clock,
        chance: Chance,
        tasks: Tasks,
        open_socket: OpenSocket,
    ) -> None:
        self._channel = channel
        self._sink = sink
        self._clock = clock
        self._reader: Reader | None = None
        self._opened_ns = 0
        self._is_told_down = False
        self.refusals = 0
        self.stream = VenueStream(
            clock=clock,
            chance=chance,
            tasks=tasks,
            handlers=StreamHandlers(
                address=self._address, on_text=self._hear, on_state=self._tell, on_open=self._greet
            ),
            habits=StreamHabits(
                heartbeat=channel.heartbeat,
                silence_max_s=channel.silence_max_s,
                life_max_s=channel.life_max_s,
            ),
            open_socket=open_socket,
        )

    async def _address(self) -> str:
        return self._channel.address

    async def _greet(self, socket: VenueSocket) -> None:
        """Subscribe, on every connection anew."""
        self._reader = self._channel.open_reader(self._sink, self._clock)
        self._opened_ns = self._clock.monotonic_ns()
        for text in self._channel.first_words:
            await socket.send(text)

    def _hear(self, text: str) -> None:
        assert self._reader is not None
        try:
            self._reader.read(text)
        except Refused as refused:
            _log.error("%s: %s", self._channel.name, refused)
            self.stream.drop(f"subscription refused: {refused}")
        except ValueError as error:
            self.refusals += 1
            if self.refusals <= _REFUSALS_LOGGED:
                _log.warning("%s cannot be read: %s", self._channel.name, error)

    def _tell(self, connected: bool, cause: str, gap_s: float) -> None:
        self._is_told_down = not connected
        self._sink.on_stream(self._channel.name, connected, cause, gap_s)

    async def watch(self) -> None:
        """Drop a connection on which a symbol is silent that must not be, and tell of one that
        never came about.
        """
        limit_s = self._channel.symbol_silence_max_s
        while True:
            await self._clock.sleep(_WATCH_S)
            if not self.stream.is_connected or self._reader is None:
                if self.stream.why_not and not self._is_told_down:
                    self._tell(False, f"cannot connect: {self.stream.why_not}", 0.0)
                continue
            if limit_s is None:
                continue
            heard_ns, now_ns = self._reader.heard_ns, self._clock.monotonic_ns()
            for symbol in self._channel.symbols:
                silent_s = (now_ns - heard_ns.get(symbol, self._opened_ns)) / _NS
                if silent_s > limit_s:
                    self.stream.drop(f"{symbol} silent for {silent_s:.1f} s")
                    break


class VenueFeed:
    """Implements `engine.ports.MarketFeed` on a venue's public streams."""

    def __init__(
        self,
        *,
        venue: str,
        channels: Sequence[Channel],
        clock: Clock,
        chance: Chance,
        tasks: Tasks,
        open_socket: OpenSocket = open_websocket,
    ) -> None:
        require(bool(channels), "a feed without a connection")
        self._name = f"{venue} public streams"
        self._channels = tuple(channels)
        self._symbols = tuple(dict.fromkeys(each for one in channels for each in one.symbols))
        self._clock = clock
        self._chance = chance
        self._tasks = tasks
        self._open_socket = open_socket
        self._connections: list[_Connection] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return self._symbols

    @property
    def refusals(self) -> int:
        """Texts that could not be read, of all connections."""
        return sum(each.refusals for each in self._connections)

    def drop(self, cause: str) -> None:
        """Give every connection up and make others."""
        for each in self._connections:
            each.stream.drop(cause)

    async def run(self, sink: MarketSink) -> None:
        """Push until cancelled."""
        self._connections = [self._connection(channel, sink) for channel in self._channels]
        spawn = self._tasks.spawn
        running = []
        for channel, connection in zip(self._channels, self._connections, strict=True):
            running.append(spawn(channel.name, connection.stream.run(), forever=True))
            running.append(spawn(f"watch of {channel.name}", connection.watch(), forever=True))
        try:
            await asyncio.Event().wait()
        finally:
            await cancel_and_wait(running)

    def _connection(self, channel: Channel, sink: MarketSink) -> _Connection:
        return _Connection(
            channel=channel,
            sink=sink,
            clock=self._clock,
            chance=self._chance,
            tasks=self._tasks,
            open_socket=self._open_socket,
        )


__all__ = ["Channel", "Reader", "VenueFeed"]

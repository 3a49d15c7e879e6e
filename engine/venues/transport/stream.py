"""A WebSocket to a venue that is always there again: reconnects, notices silence, measures gaps.

Delays between attempts are 1 s, × 1.5 with jitter, at most 60 s, and short again after a healthy
minute. A connection is given up when it cannot be opened in time, closes, answers no ping, says
nothing for `silence_max_s` (where its kind is never silent), or nears the venue's longest life; the
last is not waited for. Where a venue wants words first (who we are, what we want to hear),
`on_open` speaks them, and the stream counts as connected once it has returned. The owner hears each
text, each connection with the length of the gap before it, and each loss with its cause. A text
that its owner cannot read is the owner's affair, never the end of the stream. Addresses hold listen
keys: no text of ours shows one. On the loop only.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from engine.model.errors import NotExecuted, VenueError
from engine.ports import Clock
from engine.runtime import Chance, Tasks, within

DELAY_FIRST_S = 1.0
DELAY_FACTOR = 1.5
DELAY_MAX_S = 60.0
HEALTHY_S = 60.0
_JITTER = 0.2
_FRAME_BYTES_MAX = 4 * 1024 * 1024
_OPEN_TIMEOUT_S = 10.0
_PING_S = 20.0
_CLOSE_S = 1.0
_SEND_S = 5.0
_WATCH_S = 0.25
_NS = 1_000_000_000


class VenueSocket(Protocol):
    """One open WebSocket; what it is made of is its opener's affair."""

    async def receive(self) -> str:
        """The next text; OSError when the connection has ended, however it did."""
        ...

    async def send(self, text: str) -> None:
        """Send a text; OSError when the connection has ended."""
        ...

    def abort(self) -> None:
        """End it at once; `receive` raises from then on."""
        ...


# Opens an address; raises OSError (TimeoutError too) when it cannot.
OpenSocket = Callable[[str], Awaitable[VenueSocket]]


class _WebSocket:
    """A real one."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> str:
        try:
            while not isinstance(text := await self._connection.recv(), str):
                continue  # No venue of ours speaks in bytes.
        except WebSocketException as error:
            raise ConnectionError(type(error).__name__) from error
        return text

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except WebSocketException as error:
            raise ConnectionError(type(error).__name__) from error

    def abort(self) -> None:
        self._connection.transport.abort()


def _mute_logger() -> logging.Logger:
    """For the library: at level debug it would log every address and every frame, with the listen
    keys, API keys and signatures in them.
    """
    logger = logging.getLogger(f"{__name__}.frames")
    logger.setLevel(logging.WARNING)
    return logger


async def open_websocket(address: str) -> VenueSocket:
    """Open a real WebSocket, over TLS where the address says `wss`; answers the peer's pings."""
    try:
        connection = await connect(
            address,
            open_timeout=_OPEN_TIMEOUT_S,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=_CLOSE_S,
            max_size=_FRAME_BYTES_MAX,
            compression=None,
            proxy=None,
            logger=_mute_logger(),
            ssl=ssl.create_default_context() if address.startswith("wss:") else None,
        )
    except WebSocketException as error:
        raise ConnectionError(type(error).__name__) from error
    return _WebSocket(connection)


class Delays:
    """How long to wait before the next attempt."""

    def __init__(self, *, chance: Chance) -> None:
        self._chance = chance
        self._next_s = DELAY_FIRST_S

    def after(self, healthy_s: float) -> float:
        """The delay after a connection that lived for so long; zero for one that never was."""
        if healthy_s >= HEALTHY_S:
            self._next_s = DELAY_FIRST_S
        delay_s = self._next_s
        self._next_s = min(self._next_s * DELAY_FACTOR, DELAY_MAX_S)
        return min(delay_s * (1 + _JITTER * self._chance.random()), DELAY_MAX_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHandlers:
    """Whom a stream asks and tells.

    `address` and `on_open` may raise venue errors and OSError. `on_state(connected, cause, gap_s)`:
    the gap is how long there was no connection before this one, 0 at the first.
    """

    address: Callable[[], Awaitable[str]]
    on_text: Callable[[str], None]
    on_state: Callable[[bool, str, float], None]
    on_open: Callable[[VenueSocket], Coroutine[Any, Any, None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHabits:
    """How its venue lives.

    `heartbeat` is a text to send every 20 s, where it counts no other pings; `silence_max_s` is
    how long it may say nothing; `life_max_s` how long it leaves a connection.
    """

    heartbeat: str | None = None
    silence_max_s: float | None = None
    life_max_s: float = 23.5 * 3600


class VenueStream:
    """Runs one stream for ever; `run` is the task, its owner cancels it."""

    def __init__(
        self,
        *,
        clock: Clock,
        chance: Chance,
        tasks: Tasks,
        handlers: StreamHandlers,
        habits: StreamHabits | None = None,
        open_socket: OpenSocket = open_websocket,
    ) -> None:
        self._clock = clock
        self._tasks = tasks
        self._delays = Delays(chance=chance)
        self._handlers = handlers
        self._habits = habits or StreamHabits()
        self._open_socket = open_socket
        self._socket: VenueSocket | None = None
        # Texts heard, of all connections.
        self._texts = 0
        self._lost_ns: int | None = None
        self._cause = ""
        # Why the last attempt to connect failed, for whoever asks; "" after one that did not.
        self.why_not = ""

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    def drop(self, cause: str) -> None:
        """Give this connection up and make another; nothing when there is none."""
        if self._socket is not None:
            self._cause = self._cause or cause
            self._socket.abort()

    async def send(self, text: str) -> None:
        """Send a text; NotExecuted when there is no connection, or none that takes it within 5 s:
        that one is given up.
        """
        socket = self._socket
        if socket is None:
            raise NotExecuted("the stream is not connected")
        try:
            await within(self._clock, _SEND_S, socket.send(text))
        except OSError as error:
            words = f"the stream takes nothing ({type(error).__name__})"
            self.drop(words)
            raise NotExecuted(words) from error

    async def run(self) -> None:
        """Connect, read, and begin again, until cancelled."""
        while True:
            began_ns = self._clock.monotonic_ns()
            was_connected = await self._connection()
            lived_s = (self._clock.monotonic_ns() - began_ns) / _NS if was_connected else 0.0
            await self._clock.sleep(self._delays.after(lived_s))

    async def _connection(self) -> bool:
        """One connection from its address to its end; whether there was one."""
        try:
            socket = await self._opened_socket()
        except (VenueError, OSError) as error:
            self.why_not = f"{type(error).__name__}: {error}" if str(error) else repr(error)
            return False
        self._opened(socket)
        watch = self._tasks.spawn("watch of a venue stream", self._watch())
        cause = "closed"
        receive, on_text = socket.receive, self._handlers.on_text
        try:
            while True:
                text = await receive()
                # The watch sees when: a clock for each text is too dear for a market's stream.
                self._texts += 1
                on_text(text)
        except OSError as error:
            cause = str(error) or type(error).__name__
        finally:
            watch.cancel()
            socket.abort()
            self._lost(self._cause or cause)
        return True

    async def _opened_socket(self) -> VenueSocket:
        socket = await self._open_socket(await self._handlers.address())
        if self._handlers.on_open is not None:
            try:
                await within(self._clock, _OPEN_TIMEOUT_S, self._handlers.on_open(socket))
            except BaseException:
                socket.abort()
                raise
        return socket

    def _opened(self, socket: VenueSocket) -> None:
        self._socket, self._cause, self.why_not = socket, "", ""
        now_ns = self._clock.monotonic_ns()
        gap_s = 0.0 if self._lost_ns is None else (now_ns - self._lost_ns) / _NS
        self._handlers.on_state(True, "", gap_s)

    def _lost(self, cause: str) -> None:
        self._socket = None
        self._lost_ns = self._clock.monotonic_ns()
        self._handlers.on_state(False, cause, 0.0)

    async def _watch(self) -> None:
        """Keep the connection alive; drop it when it has been silent or has lived for too long."""
        opened_ns = beaten_ns = heard_ns = self._clock.monotonic_ns()
        texts = self._texts
        while True:
            await self._clock.sleep(_WATCH_S)
            now_ns = self._clock.monotonic_ns()
            if self._texts != texts:
                texts, heard_ns = self._texts, now_ns
            beat, silence_max_s = self._habits.heartbeat, self._habits.silence_max_s
            if beat is not None and now_ns - beaten_ns >= _PING_S * _NS:
                beaten_ns = now_ns
                self._tasks.spawn("heartbeat of a venue stream", self._beat(beat))
            if now_ns - opened_ns > self._habits.life_max_s * _NS:
                self.drop("old: the venue cuts a stream after a day")
            silent_s = (now_ns - heard_ns) / _NS
            if silence_max_s is not None and silent_s > silence_max_s:
                self.drop(f"silent for {silent_s:.1f} s")

    async def _beat(self, text: str) -> None:
        with contextlib.suppress(NotExecuted):  # The connection is given up by that.
            await self.send(text)


__all__ = [
    "DELAY_FIRST_S",
    "DELAY_MAX_S",
    "HEALTHY_S",
    "Delays",
    "OpenSocket",
    "StreamHabits",
    "StreamHandlers",
    "VenueSocket",
    "VenueStream",
    "open_websocket",
]

"""A WebSocket to a venue that is always there again: reconnects, notices silence, measures gaps.

Delays between attempts are 1 s, × 1.5 with jitter, at most 60 s, and short again after a healthy
minute. A connection is given up when it cannot be opened in time, closes, answers no ping, says
nothing for `silence_max_s` (where its kind is never silent), or nears the venue's longest life; the
last is not waited for. The owner hears each text, each connection with the length of the gap before
it, and each loss with its cause. A text that its owner cannot read is the owner's affair, never the
end of the stream. Addresses hold listen keys: no text of ours shows one. On the loop only.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from engine.model.errors import VenueError
from engine.ports import Clock
from engine.runtime import Chance, Tasks

DELAY_FIRST_S = 1.0
DELAY_FACTOR = 1.5
DELAY_MAX_S = 60.0
HEALTHY_S = 60.0
_JITTER = 0.2
_FRAME_BYTES_MAX = 4 * 1024 * 1024
_OPEN_TIMEOUT_S = 10.0
_PING_S = 20.0
_CLOSE_S = 1.0
_WATCH_S = 0.25
_NS = 1_000_000_000


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


class VenueStream:
    """Runs one stream for ever; `run` is the task, its owner cancels it."""

    def __init__(
        self,
        *,
        clock: Clock,
        chance: Chance,
        tasks: Tasks,
        address: Callable[[], Awaitable[str]],
        on_text: Callable[[str], None],
        on_state: Callable[[bool, str, float], None],
        silence_max_s: float | None = None,
        life_max_s: float = 23.5 * 3600,
    ) -> None:
        """`address` may raise a venue error. `on_state(connected, cause, gap_s)`: the gap is how
        long there was no connection before this one, 0 at the first.
        """
        self._clock = clock
        self._tasks = tasks
        self._delays = Delays(chance=chance)
        self._address = address
        self._on_text = on_text
        self._on_state = on_state
        self._silence_max_s = silence_max_s
        self._life_max_s = life_max_s
        self._socket: ClientConnection | None = None
        self._heard_ns = 0
        self._lost_ns: int | None = None
        self._cause = ""

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    def drop(self, cause: str) -> None:
        """Give this connection up and make another; nothing when there is none."""
        if self._socket is not None:
            self._cause = self._cause or cause
            self._socket.transport.abort()

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
            address = await self._address()
            socket = await connect(
                address,
                open_timeout=_OPEN_TIMEOUT_S,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
                close_timeout=_CLOSE_S,
                max_size=_FRAME_BYTES_MAX,
                compression=None,
                proxy=None,
                ssl=ssl.create_default_context() if address.startswith("wss:") else None,
            )
        except (VenueError, OSError, TimeoutError, WebSocketException):
            return False
        self._opened(socket)
        watch = self._tasks.spawn("watch of a venue stream", self._watch())
        cause = "closed"
        try:
            async for text in socket:
                self._heard_ns = self._clock.monotonic_ns()
                if isinstance(text, str):
                    self._on_text(text)
        except (OSError, WebSocketException) as error:
            cause = type(error).__name__
        finally:
            watch.cancel()
            socket.transport.abort()
            self._lost(self._cause or cause)
        return True

    def _opened(self, socket: ClientConnection) -> None:
        self._socket, self._cause = socket, ""
        self._heard_ns = self._clock.monotonic_ns()
        gap_s = 0.0 if self._lost_ns is None else (self._heard_ns - self._lost_ns) / _NS
        self._on_state(True, "", gap_s)

    def _lost(self, cause: str) -> None:
        self._socket = None
        self._lost_ns = self._clock.monotonic_ns()
        self._on_state(False, cause, 0.0)

    async def _watch(self) -> None:
        """Drop the connection when it has been silent or has lived for too long."""
        opened_ns = self._clock.monotonic_ns()
        while True:
            await self._clock.sleep(_WATCH_S)
            now_ns = self._clock.monotonic_ns()
            if now_ns - opened_ns > self._life_max_s * _NS:
                self.drop("old: the venue cuts a stream after a day")
            silent_s = (now_ns - self._heard_ns) / _NS
            if self._silence_max_s is not None and silent_s > self._silence_max_s:
                self.drop(f"silent for {silent_s:.1f} s")


__all__ = ["DELAY_FIRST_S", "DELAY_MAX_S", "HEALTHY_S", "Delays", "VenueStream"]

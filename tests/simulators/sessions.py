"""One stream connection, without its socket: frames go out in order, faults and all.

A socket (or a client in memory) takes frames from `next_frame` until `Close`, and hands in what the
other side says. The server pings; a peer that does not answer is cut, and so is every connection
after its longest life.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec

from engine.ports.clock import Clock
from tests.simulators.core.timers import Timer, Timers
from tests.simulators.faults import PUSH_FAULTS, Fault, Faults

_NS = 1_000_000_000
# A push that is to come after the next one comes by itself when there is no next one.
_HELD_MAX_S = 1.0


class Text(msgspec.Struct, frozen=True):
    text: str


class Ping(msgspec.Struct, frozen=True):
    payload: bytes


class Close(msgspec.Struct, frozen=True):
    """The end; an abrupt one is a lost connection without a closing handshake."""

    code: int = 1000
    reason: str = ""
    is_abrupt: bool = False


Frame = Text | Ping | Close


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's times for a stream connection; `ping_s` of zero: the server never pings."""

    ping_s: float
    pong_limit_s: float
    life_s: float


class Session(ABC):
    """What every stream connection has; a dialect reads what the peer says."""

    def __init__(
        self,
        *,
        clock: Clock,
        timers: Timers,
        faults: Faults,
        times: Times,
        on_closed: Callable[[Session], None],
    ) -> None:
        self._clock = clock
        self._timers = timers
        self._faults = faults
        self._times = times
        self._on_closed = on_closed
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()
        self._held: str | None = None
        self._silent_until_ns = 0
        self._heard_ns = clock.now_ns()
        self.is_open = True
        self._running: list[Timer] = []
        if times.ping_s:
            self._running.append(timers.every(times.ping_s, "ping", self._ping))
        self._running.append(timers.after(times.life_s, "life of a stream", self.close))

    # --- the other side --------------------------------------------------------------------------

    async def next_frame(self) -> Frame:
        return await self._frames.get()

    def take_frame(self) -> Frame | None:
        """The next frame if there is one already."""
        return None if self._frames.empty() else self._frames.get_nowait()

    @property
    def hears_market(self) -> bool:
        """Whether public events can come over this connection."""
        return True

    @abstractmethod
    def receive(self, text: str) -> None:
        """What the peer says."""

    def pong(self) -> None:
        self._heard_ns = self._clock.now_ns()

    def close(self, *, code: int = 1000, reason: str = "", is_abrupt: bool = False) -> None:
        """End the connection; the last frame out is the end."""
        if not self.is_open:
            return
        self.is_open = False
        for timer in self._running:
            timer.cancel()
        self._frames.put_nowait(Close(code=code, reason=reason, is_abrupt=is_abrupt))
        self._on_closed(self)

    def _ping(self) -> None:
        now = self._clock.now_ns()
        if now - self._heard_ns > self._times.pong_limit_s * _NS:
            self.close(code=1008, reason="no pong")
            return
        self._frames.put_nowait(Ping(str(now // 1_000_000).encode()))

    # --- sending ---------------------------------------------------------------------------------

    def be_silent(self, seconds: float) -> None:
        """Stay open and lose what would be pushed."""
        self._silent_until_ns = self._clock.now_ns() + round(seconds * _NS)

    def answer(self, text: str) -> None:
        """Send what is not a push, untouched by faults."""
        if self.is_open:
            self._frames.put_nowait(Text(text))

    def push(self, name: str, text: str) -> None:
        """Send an event under its name, unless a fault has it otherwise."""
        if not self.is_open or self._clock.now_ns() < self._silent_until_ns:
            return
        rule = self._faults.take(PUSH_FAULTS, name)
        kind = rule.kind if rule else None
        if kind is Fault.GAP:
            return
        if kind is Fault.CUT_ON_PUSH:
            self.close(is_abrupt=True)
            return
        if rule and kind is Fault.DELAY:
            self._timers.after(rule.seconds, "late push", lambda: self.answer(text))
            return
        if kind is Fault.REORDER and self._held is None:
            self._held = text
            self._timers.after(_HELD_MAX_S, "held push", self._release)
            return
        self.answer(text[: len(text) // 2] if kind is Fault.MALFORMED_FRAME else text)
        if kind is Fault.DUPLICATE:
            self.answer(text)
        self._release()

    def _release(self) -> None:
        """Send what was held back to come after the next one."""
        if self._held is not None:
            held, self._held = self._held, None
            self.answer(held)


__all__ = ["Close", "Frame", "Ping", "Session", "Text", "Times"]

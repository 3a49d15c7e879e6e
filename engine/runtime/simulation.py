"""Simulated time: a clock that jumps to the next sleeper whenever the event loop has nothing to do.

How: an ordinary selector event loop gets a selector of ours. When the loop has ready callbacks it
asks `select(0)`; when it is idle it asks for a longer wait. That moment, and only if no writer job
is pending (`busy` probes), simulated time advances. Only public interfaces of asyncio are used, so
callbacks run exactly as they do in real life. Real sockets and threads go on working beside it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
Probe = Callable[[], int]
_BUSY_WAIT_S = 0.05
# Sockets are asked every so-many turns: a system call costs as much as a simulated tick, and a
# thread with work for us is known by its busy probe.
_ASK_EVERY = 16


class SimClock:
    """Implements `engine.ports.Clock`; time moves only in `advance`."""

    def __init__(self, *, start_ns: int) -> None:
        self._start_ns = start_ns
        self._elapsed_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._probes: list[Probe] = []
        self.wakeups = 0

    def now_ns(self) -> int:
        return self._start_ns + self._elapsed_ns

    def monotonic_ns(self) -> int:
        return self._elapsed_ns

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._sleep_until(self._elapsed_ns + round(seconds * 1_000_000_000))

    async def sleep_until_ns(self, ts_ns: int) -> None:
        """Sleep until a UTC time; at once when it has passed."""
        due = ts_ns - self._start_ns
        if due <= self._elapsed_ns:
            await asyncio.sleep(0)
            return
        await self._sleep_until(due)

    def _sleep_until(self, due: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due, next(self._order), future))
        return future

    def add_busy_probe(self, probe: Probe) -> None:
        """Register a count of work pending elsewhere (a writer thread); time stands while it is not
        zero.
        """
        self._probes.append(probe)

    def remove_busy_probe(self, probe: Probe) -> None:
        self._probes.remove(probe)

    def is_busy(self) -> bool:
        for probe in self._probes:  # Asked at every step of time; `any` costs twice as much.
            if probe():
                return True
        return False

    def advance(self) -> bool:
        """Jump to the next sleeper and wake everyone due then; False when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            return False
        self._elapsed_ns = max(self._elapsed_ns, self._sleepers[0][0])
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_ns:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                self.wakeups += 1
                future.set_result(None)
        return True


class _IdleSelector(selectors.DefaultSelector):
    """A selector that turns the loop's idle waits into steps of simulated time."""

    def __init__(self, clock: SimClock) -> None:
        super().__init__()
        self._clock = clock
        self._unasked = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        clock = self._clock
        is_idle = timeout is None or timeout > 0
        if is_idle and clock.is_busy():
            self._unasked = 0
            return super().select(_BUSY_WAIT_S if timeout is None else min(timeout, _BUSY_WAIT_S))
        self._unasked += 1
        if self._unasked >= _ASK_EVERY:
            self._unasked = 0
            ready = super().select(0)
            if ready:
                return ready
        if not is_idle or clock.advance():
            return []
        return super().select(timeout)


def simulated_loop(clock: SimClock) -> asyncio.AbstractEventLoop:
    """A fresh event loop whose idle moments advance `clock`."""
    return asyncio.SelectorEventLoop(_IdleSelector(clock))


def run_simulated(main: Callable[[SimClock], Awaitable[T]], *, start_ns: int) -> T:
    """Run `main(clock)` to its end on a simulated loop."""
    clock = SimClock(start_ns=start_ns)

    async def body() -> T:
        return await main(clock)

    with asyncio.Runner(loop_factory=lambda: simulated_loop(clock)) as runner:
        return runner.run(body())


__all__ = ["SimClock", "run_simulated", "simulated_loop"]

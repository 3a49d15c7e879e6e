"""Things a simulated venue does later: countdowns, late fills, funding, expiring keys.

A timer sleeps on the injected clock in a guarded task of its own, so that a venue in simulated time
wakes exactly when something is due. Seconds, on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.ports.clock import Clock
from engine.runtime import Tasks

Action = Callable[[], None]


class Timer:
    """Something that will happen; `cancel` makes it not happen."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()


class Timers:
    """Starts timers on one clock; they end with `tasks`."""

    def __init__(self, *, clock: Clock, tasks: Tasks) -> None:
        self._clock = clock
        self._tasks = tasks

    def after(self, seconds: float, name: str, action: Action) -> Timer:
        return Timer(self._tasks.spawn(f"simulator {name}", self._later(seconds, action)))

    def every(self, seconds: float, name: str, action: Action) -> Timer:
        return Timer(self._tasks.spawn(f"simulator {name}", self._again(seconds, action)))

    async def _later(self, seconds: float, action: Action) -> None:
        await self._clock.sleep(seconds)
        action()

    async def _again(self, seconds: float, action: Action) -> None:
        while True:
            await self._clock.sleep(seconds)
            action()


__all__ = ["Action", "Timer", "Timers"]

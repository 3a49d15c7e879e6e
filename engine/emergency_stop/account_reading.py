"""Reads of the account shared by everyone who needs one that began after they asked.

Why: ten symbols that each re-read their position after a cancel would cost ten account-wide reads.
A reading says when it began and ended, because an answer tells only of the time before it was
given. A call that hangs keeps nobody waiting: after a fiftieth of a second the next one starts
beside it. Reads keep a pace, since they cost of the venue's limits what cancels need too; whoever
asks meanwhile shares the next one. Times are nanoseconds of the monotonic clock. A failed read is a
`Failure`, never an empty account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.emergency_stop.failures import Failure, attempt
from engine.emergency_stop.pace import Pace
from engine.ports.clock import Clock
from engine.runtime import Tasks, within

T = TypeVar("T")
READ_WAIT_S = 2.0
_OVERTAKE_AFTER_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[T]):
    """What the venue said, and between which two moments it looked."""

    value: T
    began_ns: int
    ended_ns: int


class FreshReads(Generic[T]):
    """One kind of account-wide read."""

    def __init__(
        self,
        *,
        name: str,
        clock: Clock,
        tasks: Tasks,
        fetch: Callable[[], Coroutine[Any, Any, T]],
        pace: Pace | None = None,
    ) -> None:
        self._name = name
        self._clock = clock
        self._tasks = tasks
        self._fetch = fetch
        self._pace = pace
        self._began_ns = 0
        self._current: asyncio.Task[Reading[T] | Failure] | None = None
        self._queued: asyncio.Task[Reading[T] | Failure] | None = None

    async def fresh(self) -> Reading[T] | Failure:
        """A reading that began now or later."""
        if (self._current is None or self._current.done()) and self._queued is None:
            if not self._pause_s():
                self._current = self._tasks.spawn(f"stop-read-{self._name}", self._read())
                return await asyncio.shield(self._current)
            self._current = None
        return await asyncio.shield(self._next())

    def _next(self) -> asyncio.Task[Reading[T] | Failure]:
        """The read that has not begun yet."""
        if self._queued is None:
            self._queued = self._tasks.spawn(
                f"stop-read-{self._name}-next", self._read_after(self._current)
            )
        return self._queued

    def _pause_s(self) -> float:
        return 0.0 if self._pace is None else self._pace.wait_s(self._clock.monotonic_ns())

    async def _read_after(
        self, earlier: asyncio.Task[Reading[T] | Failure] | None
    ) -> Reading[T] | Failure:
        if earlier is not None:
            under_way_s = (self._clock.monotonic_ns() - self._began_ns) / 1_000_000_000
            try:
                await within(
                    self._clock, max(0.0, _OVERTAKE_AFTER_S - under_way_s), _ended(earlier)
                )
            except TimeoutError:
                pass
        pause_s = self._pause_s()
        if pause_s:
            await self._clock.sleep(pause_s)
        # From here on whoever asks needs a later one than this.
        self._current, self._queued = self._queued, None
        return await self._read()

    async def _read(self) -> Reading[T] | Failure:
        began_ns = self._began_ns = self._clock.monotonic_ns()
        if self._pace is not None:
            self._pace.take(began_ns)
        value = await attempt(self._clock, READ_WAIT_S, self._fetch)
        if isinstance(value, Failure):
            return value
        return Reading(value=value, began_ns=began_ns, ended_ns=self._clock.monotonic_ns())


async def _ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


__all__ = ["READ_WAIT_S", "FreshReads", "Reading"]

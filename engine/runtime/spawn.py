"""Guarded tasks: the one place that creates them, and waiting with a timeout on the injected clock.

Every task has a name and an owner; nothing outlives its `Tasks`. A task that raises, or one meant
to run for ever that ends, is reported to `on_fault` at once; it never dies unseen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from engine.ports.clock import Clock

_log = logging.getLogger(__name__)
T = TypeVar("T")
_ASK_AGAIN_S = 0.25
FaultHandler = Callable[[str, BaseException | None], None]


class Tasks:
    """A set of named tasks. `on_fault(name, error)`; error is None when a forever-task just
    ended.
    """

    def __init__(self, *, on_fault: FaultHandler) -> None:
        self._on_fault = on_fault
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(
        self, name: str, coroutine: Coroutine[Any, Any, T], *, forever: bool = False
    ) -> asyncio.Task[T]:
        """Start a task. Must be called on the loop."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, forever=forever))
        return task

    def _ended(self, task: asyncio.Task[Any], *, forever: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("task %s failed", task.get_name(), exc_info=error)
            self._on_fault(task.get_name(), error)
        elif forever:
            _log.error("task %s ended, though it is meant to run for ever", task.get_name())
            self._on_fault(task.get_name(), None)

    def names(self) -> tuple[str, ...]:
        """Names of the tasks still running."""
        return tuple(sorted(task.get_name() for task in self._tasks))

    async def cancel_all(self, *, timeout_s: float = 5.0) -> tuple[str, ...]:
        """Cancel everything and wait; returns the names of those that did not end in time."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        stuck = await cancel_and_wait(tasks, timeout_s=timeout_s)
        return tuple(sorted(task.get_name() for task in stuck))


async def cancel_and_wait(
    tasks: Iterable[asyncio.Task[Any]], *, timeout_s: float | None = None
) -> set[asyncio.Task[Any]]:
    """Cancel tasks until they have ended; returns those that have not when the time is over.

    Asked again and again, as a library may swallow a cancellation (a connection attempt that is
    cancelled in the moment it succeeds does): asked once, such a task would be waited for for ever.
    """
    remaining = {task for task in tasks if not task.done()}
    rounds = 0
    while remaining and (timeout_s is None or rounds * _ASK_AGAIN_S < timeout_s):
        for task in remaining:
            task.cancel()
        _, remaining = await asyncio.wait(remaining, timeout=_ASK_AGAIN_S)
        rounds += 1
    return remaining


async def within(clock: Clock, seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await with a timeout on the injected clock; TimeoutError cancels what was awaited."""
    loop = asyncio.get_running_loop()
    work = loop.create_task(coroutine)
    timer = loop.create_task(clock.sleep(seconds))
    try:
        await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise TimeoutError(f"no answer within {seconds} s")
    finally:
        timer.cancel()
        if not work.done():
            work.cancel()
        elif not work.cancelled():
            work.exception()  # Looked at, also where we were cancelled in the moment it failed.


__all__ = ["FaultHandler", "Tasks", "cancel_and_wait", "within"]

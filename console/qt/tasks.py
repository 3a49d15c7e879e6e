"""Guarded tasks for the window: every coroutine a slot starts has a name and an owner.

Why: a bare task that fails is a silence, and a task that outlives its window touches deleted
widgets. Here a failure is logged and reported to the operator, and closing the window cancels
what still runs.
Thread: GUI loop. Fails: cancellation passes; everything else goes to ``report``.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["ConsoleTasks", "async_slot"]

_log = logging.getLogger(__name__)


class ConsoleTasks:
    """Starts, names, watches and ends the window's tasks."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, report: Callable[[str], None]) -> None:
        self._loop = loop
        self._report = report
        self._running: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what still runs."""
        return tuple(sorted(task.get_name() for task in self._running))

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """Run ``coroutine`` guarded; its failure is reported under ``name``."""
        task = self._loop.create_task(self._guard(name, coroutine), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _guard(self, name: str, coroutine: Coroutine[Any, Any, object]) -> None:
        try:
            await coroutine
        except asyncio.CancelledError:
            raise
        except Exception as error:  # A slot is one of the supervised places.
            _log.exception("console task %r failed", name)
            self._report(f"{name} failed: {type(error).__name__}. Details are in the log.")

    async def aclose(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        running = [task for task in self._running if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def async_slot(
    tasks: ConsoleTasks, name: str, function: Callable[[], Coroutine[Any, Any, object]]
) -> Callable[..., None]:
    """A slot that starts ``function`` as a guarded task; what the signal carries is dropped."""

    def slot(*_: object) -> None:
        tasks.spawn(name, function())

    return slot

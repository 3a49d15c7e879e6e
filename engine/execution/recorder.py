"""Saves changes in their order and publishes their events after the commit: durable before visible.

A change that the disk refuses is kept and tried again each second, with everything after it behind
it, so that the order on disk is the order in which things happened. While such a backlog exists
`is_healthy` is False and the gate is shut. Lives on the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from engine.bus import EventBus
from engine.model.errors import BusSaturated, StoreError
from engine.model.events import Event
from engine.ports.clock import Clock

_log = logging.getLogger(__name__)
_RETRY_S = 1.0

Write = Callable[[], "asyncio.Future[Any]"]
_Change = tuple[Write, Sequence[Event], "asyncio.Future[None]"]


def announce(bus: EventBus, event: Event, *, journaled: bool = False) -> None:
    """Emit where nothing can be done about a full queue: the event is in the journal, the bus
    counts and alarms, and a saturated bus shuts the gate.
    """
    try:
        bus.emit(event, journaled=journaled)
    except BusSaturated as error:
        _log.warning("%s reached no subscriber: %s", event.TYPE, error)


class Recorder:
    """The one way of execution to the database and, after the commit, to the bus."""

    def __init__(self, *, bus: EventBus, clock: Clock, on_caught_up: Callable[[], None]) -> None:
        """`on_caught_up` saves once more what has no time of its own: the account's totals."""
        self._on_caught_up = on_caught_up
        self._bus = bus
        self._clock = clock
        self._backlog: deque[_Change] = deque()

    @property
    def is_healthy(self) -> bool:
        return not self._backlog

    @property
    def backlog(self) -> int:
        return len(self._backlog)

    def save(self, write: Write, events: Sequence[Event]) -> asyncio.Future[None]:
        """Submit a change whose transaction also appends `events`.

        The future is done after the commit; it raises StoreError when the first attempt failed (the
        change itself stays in the backlog and is not lost).
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Most callers do not wait; a failure is known to the backlog and to the gate.
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        change = (write, events, done)
        if self._backlog:
            self._backlog.append(change)
            done.set_exception(StoreError("earlier changes are still waiting for the disk"))
        else:
            self._submit(change)
        return done

    def _submit(self, change: _Change) -> None:
        write, _, _ = change
        write().add_done_callback(lambda future: self._written(change, future))

    def _written(self, change: _Change, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._publish(change)
            return
        _log.error("a change could not be saved and is kept: %s", error)
        self._backlog.append(change)
        if not change[2].done():
            change[2].set_exception(StoreError(str(error)))

    def _publish(self, change: _Change) -> None:
        _, events, done = change
        for event in events:
            announce(self._bus, event, journaled=True)
        if not done.done():
            done.set_result(None)

    async def retry_forever(self) -> None:
        """Try the backlog again each second, in order."""
        while True:
            await self._clock.sleep(_RETRY_S)
            await self.retry_backlog()

    async def retry_backlog(self) -> None:
        """One attempt at everything that waits; stops at the first that is refused again."""
        if not self._backlog:
            return
        while self._backlog:
            change = self._backlog[0]
            try:
                await change[0]()
            except StoreError:
                return
            self._backlog.popleft()
            self._publish(change)
        # A change that was in flight when an earlier one failed may have got through before it.
        self._on_caught_up()


__all__ = ["Recorder", "Write", "announce"]

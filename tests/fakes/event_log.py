"""An event log in memory that commits when the test says so, or refuses as a full disk does."""

from __future__ import annotations

import asyncio

from engine.model.errors import StoreError
from engine.model.events import Event

__all__ = ["MemoryEventLog"]


class MemoryEventLog:
    """Implements `engine.ports.EventLog`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.full = False
        self._commits: list[asyncio.Future[None]] = []

    def append(self, event: Event) -> asyncio.Future[None]:
        if self.full:
            raise StoreError("disk is full")
        self.events.append(event)
        commit = asyncio.get_running_loop().create_future()
        self._commits.append(commit)
        return commit

    def keep(self, event: Event) -> None:
        if self.full:
            raise StoreError("closed")
        self.events.append(event)

    def commit(self, error: Exception | None = None) -> None:
        """Finish every append so far, or fail it."""
        commits, self._commits = self._commits, []
        for one in commits:
            if error is None:
                one.set_result(None)
            else:
                one.set_exception(error)

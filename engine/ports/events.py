"""Ports between siblings: the bus writes events to the journal, risk and execution look at the
latch.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from engine.model.events import Event


class EventLog(Protocol):
    """Where durable events go; filled by the journal."""

    def append(self, event: Event) -> asyncio.Future[None]:
        """Queue for the next group commit; the future is done when it is durable, or says that it
        never will be."""
        ...

    def keep(self, event: Event) -> None:
        """Queue for the next group commit, for one who does not wait: what the disk refuses is
        written when it takes it. StoreError: closed."""
        ...


class LatchView(Protocol):
    """What others may know of the emergency stop: whether any entry may leave."""

    def is_latched(self) -> bool:
        """True from the moment of a trip until a reset; in memory, synchronous."""
        ...


__all__ = ["EventLog", "LatchView"]

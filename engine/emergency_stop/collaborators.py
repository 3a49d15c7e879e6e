"""What the emergency stop is given: the venue's exits and reads, what our books know, names, hooks.

Nothing here may wait or be waited for: the callables are asked synchronously and may fail, and the
stop goes on without them. Quantities are signed base coin (positive when long), marks account
currency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from engine.latch import LatchState
from engine.model.emergency import Trip
from engine.model.events import Event
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent
from engine.model.venue import Leg
from engine.ports.venue import AccountReads, Exits, Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class StopVenue:
    """One venue as the stop may use it: everything that can only reduce, and its own words."""

    exits: Exits
    reads: AccountReads
    streams: Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A symbol our books know: its position, zero where there are only orders, and its mark. In
    hedge mode one a leg, where the books know it.
    """

    symbol: Symbol
    quantity: Decimal
    mark: Decimal | None = None
    leg: Leg | None = None

    @property
    def risk(self) -> Decimal:
        """What orders the stop: notional, or the bare quantity where there is no mark."""
        return abs(self.quantity) * (1 if self.mark is None else self.mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAccount:
    """What we believe is open, so that the stop need not wait for the venue's first answer."""

    exposures: Callable[[], Sequence[Exposure]]
    instrument: Callable[[Symbol], Instrument]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopIdentity:
    """Who stops: parts of the closing orders' ids and of the latch file. `owner` names a
    process.
    """

    node: str
    generation: int
    owner: str


def _nothing(_: object) -> None:
    """Do nothing with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopHooks:
    """Told, never awaited: a new trip (database, Redis) and each closing order before it is
    sent.
    """

    on_trip: Callable[[Trip], object] = _nothing
    record_closing: Callable[[Intent], object] = _nothing


class EventSink(Protocol):
    """The part of the bus that the stop needs."""

    def emit(self, event: Event, /) -> None:
        """Publish without waiting; may raise."""
        ...


class LatchStore(Protocol):
    """The latch file as the stop needs it; every call may block and is made on a thread."""

    def read(self) -> LatchState: ...

    def update(self, change: Callable[[LatchState], LatchState]) -> LatchState: ...


__all__ = [
    "EventSink",
    "Exposure",
    "KnownAccount",
    "LatchStore",
    "StopHooks",
    "StopIdentity",
    "StopVenue",
]

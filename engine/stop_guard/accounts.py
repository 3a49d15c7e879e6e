"""The accounts that a stop without an engine can act on: a paper account, or one at an exchange.

A paper account is a file, and only one process may have it open; an exchange's account is at the
exchange, and whoever has the key may reduce it, an engine beside us or not. Nothing here can add
risk: the final check of either refuses every entry. The private stream of an exchange stays closed,
because its listen key is the engine's: the stop verifies by reading.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from engine.database import DatabaseWriter
from engine.emergency_stop import StopVenue
from engine.model.api_key import ApiKey
from engine.model.config import Configuration
from engine.model.errors import VenueError
from engine.model.ids import Symbol
from engine.model.instrument import Instrument, paper_instrument
from engine.model.reasons import Reason, ReasonCode
from engine.model.venue import Approved, StreamUpdate
from engine.ports import Clock
from engine.runtime import Chance, Tasks
from engine.venues.exchange import ExchangeNeeds, VenueTransport, build_exchange
from engine.venues.paper import PAPER_MIGRATIONS, PaperVenue

_log = logging.getLogger(__name__)
_START_AGAIN_S = 1.0


class StoppableAccount(Protocol):
    """What the stop needs of an account."""

    @property
    def venue(self) -> StopVenue: ...

    def instrument(self, symbol: Symbol) -> Instrument:
        """The filters of a contract; may raise where they are not known (yet)."""
        ...

    async def open(self) -> None:
        """Get ready. Raises EngineError; an exchange that does not answer is no error here."""
        ...

    async def close(self) -> None: ...


def _no_entry(_: Approved) -> tuple[Reason, ...]:
    return (Reason(code=ReasonCode.LATCHED, detail="the emergency stop"),)


class PaperAccount:
    """The paper venue on its own books, with their last prices."""

    def __init__(self, *, books: Path, configuration: Configuration, clock: Clock) -> None:
        self._writer = DatabaseWriter(path=books, migrations=PAPER_MIGRATIONS)
        self._venue = PaperVenue(
            clock=clock,
            writer=self._writer,
            settings=configuration.paper,
            instrument=paper_instrument,
            final_check=_no_entry,
        )
        self._is_open = False

    @property
    def venue(self) -> StopVenue:
        return StopVenue(exits=self._venue, reads=self._venue, streams=self._venue)

    def instrument(self, symbol: Symbol) -> Instrument:
        return paper_instrument(symbol)

    async def open(self) -> None:
        await self._writer.open()
        await self._venue.start()
        self._is_open = True

    async def close(self) -> None:
        if self._is_open:
            await self._venue.close()
        await self._writer.close()


class _NoStream:
    """Implements Streams: nothing is heard."""

    def subscribe(self, handler: Callable[[StreamUpdate], None]) -> Callable[[], None]:
        return lambda: None

    def is_connected(self) -> bool:
        return False


class ExchangeAccount:
    """An account at an exchange, by connections of our own.

    Cancels and closes do not wait for filters, clocks or the position mode: those are read beside
    them, again and again until the exchange has told them once.
    """

    def __init__(
        self, *, configuration: Configuration, key: ApiKey, transport: VenueTransport, clock: Clock
    ) -> None:
        self._clock = clock
        self._tasks = Tasks(on_fault=lambda name, _: _log.error("%s has ended", name))
        self._parts = build_exchange(
            configuration,
            ExchangeNeeds(
                clock=clock,
                # Draws the delays of a stream that is never opened.
                chance=Chance(seed=0, name="panic"),
                tasks=self._tasks,
                final_check=_no_entry,
                key=key,
                transport=transport,
            ),
        )

    @property
    def venue(self) -> StopVenue:
        parts = self._parts.venue
        return StopVenue(exits=parts, reads=parts.emergency_reads, streams=_NoStream())

    def instrument(self, symbol: Symbol) -> Instrument:
        return self._parts.venue.instrument(symbol)

    async def open(self) -> None:
        self._tasks.spawn("warm connections", self._parts.connections.keep_warm(), forever=True)
        self._tasks.spawn("filters and clocks", self._start())

    async def _start(self) -> None:
        while True:
            try:
                await self._parts.venue.start()
            except VenueError as error:
                _log.warning("filters and clocks: %s", error)
                await self._clock.sleep(_START_AGAIN_S)
            else:
                return

    async def close(self) -> None:
        await self._tasks.cancel_all()
        await self._parts.connections.close()


__all__ = ["ExchangeAccount", "PaperAccount", "StoppableAccount"]

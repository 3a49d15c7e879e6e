"""The public side of an exchange, kept current: contracts and mark prices that everybody may have.

What trading on paper at a real venue's prices needs beside its streams. No key goes anywhere, and
nothing but public reads can. Contracts are read by `start` and each hour; for exits a contract that
is no longer listed keeps the filters that it had. Prices in account currency.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal

from engine.model.config import Configuration
from engine.model.errors import Refused, VenueError
from engine.model.ids import Symbol
from engine.model.instrument import Instrument, paper_instrument
from engine.ports import Clock
from engine.runtime import Tasks, within
from engine.venues.exchange import VenueTransport
from engine.venues.public import open_public_reads

_log = logging.getLogger(__name__)
_START_S = 20.0
_CONTRACTS_EVERY_S = 3600.0


class PublicMarket:
    """What a venue tells everybody by REST, kept current."""

    def __init__(
        self, *, configuration: Configuration, transport: VenueTransport, clock: Clock, tasks: Tasks
    ) -> None:
        section = configuration.venue
        opened = open_public_reads(section, clock=clock, transport=transport)
        self._venue = section.name
        self._reads, self._connections = opened.reads, opened.connections
        self._symbols = tuple(Symbol(name) for name in configuration.market.symbols)
        self._clock = clock
        self._tasks = tasks
        self._listed: Mapping[Symbol, Instrument] = {}
        # Whatever was ever listed.
        self._known: dict[Symbol, Instrument] = {}

    async def start(self) -> None:
        """Read the contracts; Refused when one that is to be traded is not listed. Nothing more
        once it has succeeded.
        """
        if self._listed:
            return
        listed = await within(self._clock, _START_S, self._reads.contracts())
        missing = [symbol for symbol in self._symbols if symbol not in listed]
        if missing:
            raise Refused("market.symbols", f"{self._venue} does not trade {', '.join(missing)}")
        self._take(listed)
        self._tasks.spawn("public contracts", self._keep_up(), forever=True)

    def instrument(self, symbol: Symbol) -> Instrument:
        """As the venue lists it now; Refused for one that it does not."""
        found = self._listed.get(symbol)
        if found is None:
            raise Refused("-1121", f"{symbol} is not traded at {self._venue}, or not read yet")
        return found

    def exit_instrument(self, symbol: Symbol) -> Instrument:
        """As it lists it now or did last, else a grid that holds nothing back."""
        return self._known.get(symbol) or paper_instrument(symbol)

    async def read_mark(self, symbol: Symbol) -> Decimal:
        """The venue's mark price now; raises what a read raises."""
        return await self._reads.mark(symbol)

    async def close(self) -> None:
        await self._connections.close()

    def _take(self, listed: Mapping[Symbol, Instrument]) -> None:
        self._listed = listed
        self._known.update(listed)

    async def _keep_up(self) -> None:
        while True:
            await self._clock.sleep(_CONTRACTS_EVERY_S)
            try:
                self._take(await within(self._clock, _START_S, self._reads.contracts()))
            except (VenueError, TimeoutError) as error:
                _log.warning("%s: contracts: %s", self._venue, error)


__all__ = ["PublicMarket"]

"""`VenueDesk`: everything that the kernel knows of its venue, whichever it is.

The kernel trades through this and nothing else: the four ports, the contracts' filters, marks where
the feed is silent, and the life of the connection. `start` is a step of the kernel's gate: it
raises the venue's own errors and may be tried again; exits and emergency reads work before it, for
the stop must not wait for anything. Prices in account currency, offsets in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from engine.kernel.data_directory import DataDirectory
from engine.kernel.paper_desk import open_paper
from engine.model.config import Configuration
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.values import Side
from engine.ports import AccountReads, Clock, Exits, FinalCheck, OrderEntry, Streams


class VenueDesk(Protocol):
    """One account at one venue."""

    @property
    def name(self) -> str:
        """The venue's name in lower case, e.g. `paper`."""
        ...

    @property
    def title(self) -> str:
        """What the console calls the way to it, e.g. `Paper orders`."""
        ...

    @property
    def entry(self) -> OrderEntry: ...

    @property
    def exits(self) -> Exits: ...

    @property
    def reads(self) -> AccountReads: ...

    @property
    def emergency_reads(self) -> AccountReads:
        """The same reads by the emergency lane, where the venue has one."""
        ...

    @property
    def streams(self) -> Streams: ...

    def instrument(self, symbol: Symbol) -> Instrument:
        """The filters of a contract; Refused for one that the venue does not list (yet)."""
        ...

    async def read_mark(self, symbol: Symbol) -> Decimal | None:
        """The venue's own mark of an open position, where the feed is silent."""
        ...

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None:
        """A public trade; of concern to a venue that fills against the feed."""
        ...

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None:
        """Best bid and ask; likewise."""
        ...

    def last_marks(self) -> Mapping[Symbol, Decimal]:
        """The last prices it remembers of before this start."""
        ...

    @property
    def pending(self) -> int:
        """Work on a thread that somebody waits for; a simulated clock stands still for it."""
        ...

    def is_connected(self) -> bool:
        """Whether the private stream is up."""
        ...

    async def start(self) -> None:
        """Make it ready to trade; raises what a request raises, and may be called again then."""
        ...

    async def close(self) -> None: ...


async def open_venue(
    *,
    configuration: Configuration,
    directory: DataDirectory,
    clock: Clock,
    final_check: FinalCheck,
) -> VenueDesk:
    """The desk that the configuration asks for; raises StoreError, ConfigurationError."""
    return await open_paper(
        path=directory.paper_db,
        clock=clock,
        settings=configuration.paper,
        final_check=final_check,
    )


__all__ = ["VenueDesk", "open_venue"]

"""`VenueDesk`: everything that the kernel knows of its venue, whichever it is.

The kernel trades through this and nothing else: the four ports, the contracts' filters, marks where
the feed is silent, and the life of the connection. `start` is a step of the kernel's gate: it
raises the venue's own errors and may be tried again; exits and emergency reads work before it, for
the stop must not wait for anything. Prices in account currency, offsets in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from engine.kernel.data_directory import DataDirectory
from engine.kernel.dry_run import open_dry_run
from engine.kernel.exchange_desk import ExchangeDesk
from engine.kernel.paper_desk import open_paper
from engine.kernel.public_market import PublicMarket
from engine.model.api_key import ApiKey
from engine.model.config import Configuration
from engine.model.errors import require
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.key_rights import KeyRights
from engine.model.values import Side
from engine.model.venue import WalletMovement, WatchedAccount
from engine.ports import AccountReads, Clock, Exits, FinalCheck, OrderEntry, Streams
from engine.runtime import Chance, Tasks
from engine.venues.exchange import (
    ExchangeNeeds,
    ExchangeParts,
    VenueTransport,
    build_exchange,
    network,
    read_only,
)
from engine.venues.transport.rate_limits import LimitState


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

    def exit_instrument(self, symbol: Symbol) -> Instrument:
        """The best filters known, for what only reduces: never raises."""
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

    def on_price(self, symbol: Symbol, price: Decimal, ts_ns: int) -> None:
        """What a symbol is worth where nobody trades; likewise."""
        ...

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        """What longs will pay shorts, and when; of concern to a venue that books it itself."""
        ...

    def last_marks(self) -> Mapping[Symbol, Decimal]:
        """The last prices it remembers of before this start."""
        ...

    @property
    def key_rights(self) -> KeyRights | None:
        """What the key may do, where there is one and the venue tells."""
        ...

    @property
    def watched_account(self) -> WatchedAccount | None:
        """A real account that a dry run looks at and never trades; None otherwise."""
        ...

    @property
    def pending(self) -> int:
        """Work on a thread that somebody waits for; a simulated clock stands still for it."""
        ...

    def is_connected(self) -> bool:
        """Whether the private stream is up."""
        ...

    # --- clocks, books, life ---------------------------------------------------------------------

    @property
    def receive_window_ms(self) -> int | None:
        """How old an entry may be when it arrives; None where the venue's clock is ours."""
        ...

    def clock_offset_ms(self) -> float | None:
        """How far the venue's clock is ahead of ours; None until measured, or where it is ours."""
        ...

    def now_ns(self) -> int:
        """The venue's time."""
        ...

    @property
    def books_opened_ns(self) -> int:
        """The venue's time at which our books begin; 0 while they have not."""
        ...

    async def movements(self, *, since_ns: int) -> tuple[WalletMovement, ...]:
        """What changed the wallet beside trades since a time, oldest first."""
        ...

    def open_books(self, opened_ns: int) -> None:
        """Our books begin at this time of the venue: no earlier execution is read."""
        ...

    def limits(self) -> LimitState | None:
        """How near the venue's rate limits are; None where it has none."""
        ...

    @property
    def countdown_why_not(self) -> str:
        """Why the venue has no countdown of its own that we would use; "" where it has."""
        ...

    async def count_down(self, symbol: Symbol, *, seconds: float) -> None:
        """Have the venue cancel a symbol's orders unless told again in time; 0 stops that."""
        ...

    async def start(self) -> None:
        """Make it ready for requests; raises what a request raises, and is called again then."""
        ...

    async def listen(self) -> None:
        """Bring the private stream up; likewise. After `start`."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueNeeds:
    """What any desk is built of."""

    clock: Clock
    chance: Chance
    tasks: Tasks
    final_check: FinalCheck
    books_opened_ns: int


async def open_venue(
    *,
    configuration: Configuration,
    directory: DataDirectory,
    needs: VenueNeeds,
    key: ApiKey | None,
    transport: VenueTransport,
) -> VenueDesk:
    """The desk that the configuration asks for, not started yet; an exchange needs a `key`.

    Raises StoreError, ConfigurationError.
    """
    if configuration.engine.mode == "paper":
        return await open_paper(
            path=directory.paper_db,
            clock=needs.clock,
            settings=configuration.paper,
            final_check=needs.final_check,
            public=(
                _public(configuration, needs, transport)
                if configuration.market.feed == "venue"
                else None
            ),
        )
    require(key is not None, "an exchange without a key")
    assert key is not None
    if configuration.engine.mode == "dry_run":
        reading = read_only(transport, configuration.venue.name)
        return await open_dry_run(
            path=directory.paper_db,
            clock=needs.clock,
            settings=configuration.paper,
            final_check=needs.final_check,
            public=_public(configuration, needs, transport),
            venue=ExchangeDesk(
                parts=_exchange(configuration, needs, key, reading),
                clock=needs.clock,
                tasks=needs.tasks,
            ),
            tasks=needs.tasks,
        )
    return ExchangeDesk(
        parts=_exchange(configuration, needs, key, transport),
        clock=needs.clock,
        tasks=needs.tasks,
        books_opened_ns=needs.books_opened_ns,
    )


def _public(
    configuration: Configuration, needs: VenueNeeds, transport: VenueTransport
) -> PublicMarket:
    return PublicMarket(
        configuration=configuration, transport=transport, clock=needs.clock, tasks=needs.tasks
    )


def _exchange(
    configuration: Configuration, needs: VenueNeeds, key: ApiKey, transport: VenueTransport
) -> ExchangeParts:
    return build_exchange(
        configuration,
        ExchangeNeeds(
            clock=needs.clock,
            chance=needs.chance,
            tasks=needs.tasks,
            final_check=needs.final_check,
            key=key,
            transport=transport,
        ),
    )


__all__ = ["VenueDesk", "VenueNeeds", "VenueTransport", "network", "open_venue", "read_only"]

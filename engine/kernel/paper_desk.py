"""The paper venue as the kernel's desk: its books are a file of ours, opened with the data.

It is its own venue and needs no connection. On an exchange's public streams it deals in that
exchange's contracts, which `start` reads, and by its marks where the streams are silent.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from engine.database import DatabaseWriter
from engine.kernel.public_market import PublicMarket
from engine.model.config import PaperSection
from engine.model.ids import Symbol
from engine.model.instrument import Instrument, paper_instrument
from engine.model.key_rights import KeyRights
from engine.model.values import ZERO
from engine.model.venue import WatchedAccount
from engine.ports import AccountReads, Clock, Exits, FinalCheck, OrderEntry, Streams
from engine.venues.paper import PAPER_MIGRATIONS, PaperVenue
from engine.venues.transport.rate_limits import LimitState


class PaperDesk(PaperVenue):
    """Implements `VenueDesk`: the venue itself fills every port."""

    title = "Paper orders"

    def __init__(
        self,
        *,
        clock: Clock,
        writer: DatabaseWriter,
        settings: PaperSection,
        final_check: FinalCheck,
        public: PublicMarket | None = None,
    ) -> None:
        """By `open_paper`, which opens the writer. `public` is the exchange at whose prices it
        deals.
        """
        super().__init__(
            clock=clock,
            writer=writer,
            # An exchange's own funding comes with its streams.
            settings=replace(settings, funding=ZERO) if public else settings,
            instrument=self.exit_instrument,
            final_check=final_check,
        )
        self.writer = writer
        self._public = public

    @property
    def key_rights(self) -> KeyRights | None:
        """There is no key."""
        return None

    @property
    def watched_account(self) -> WatchedAccount | None:
        """There is no other account than this one."""
        return None

    @property
    def entry(self) -> OrderEntry:
        return self

    @property
    def exits(self) -> Exits:
        return self

    @property
    def reads(self) -> AccountReads:
        return self

    @property
    def emergency_reads(self) -> AccountReads:
        return self

    @property
    def streams(self) -> Streams:
        return self

    def instrument(self, symbol: Symbol) -> Instrument:
        """Refused for one that the exchange whose prices are used does not list (yet)."""
        return self._public.instrument(symbol) if self._public else paper_instrument(symbol)

    def exit_instrument(self, symbol: Symbol) -> Instrument:
        return self._public.exit_instrument(symbol) if self._public else paper_instrument(symbol)

    async def read_mark(self, symbol: Symbol) -> Decimal | None:
        """The exchange's mark, which is what a symbol is worth while its stream is silent.

        Otherwise its own last price: its market is the feed, so a silent feed stays silent.
        """
        if self._public is not None:
            mark = await self._public.read_mark(symbol)
            self.on_price(symbol, mark, self._clock.now_ns())
            return mark
        for position in await self.positions():
            if position.symbol == symbol:
                return position.mark_price
        return None

    @property
    def receive_window_ms(self) -> int | None:
        """It lives in our process, by our clock."""
        return None

    def clock_offset_ms(self) -> float | None:
        return None

    def now_ns(self) -> int:
        return self._clock.now_ns()

    @property
    def books_opened_ns(self) -> int:
        return 0

    def open_books(self, opened_ns: int) -> None:
        """Both books begin together, with the capital of the configuration."""

    def limits(self) -> LimitState | None:
        """It takes whatever comes."""
        return None

    @property
    def countdown_why_not(self) -> str:
        return "the paper venue ends with the engine"

    async def count_down(self, symbol: Symbol, *, seconds: float) -> None:
        """There is none: its orders rest in the file while nothing runs."""

    async def open(self) -> None:
        """Read the books. Before `start`: the ledger and the feed go on from its last marks."""
        await super().start()

    async def start(self) -> None:
        """Read the exchange's contracts, if its prices are used."""
        if self._public is not None:
            await self._public.start()

    async def listen(self) -> None:
        """Its stream is up since `open`."""

    async def close(self) -> None:
        """Put the last marks on disk, end the stream, close the file."""
        if self._public is not None:
            await self._public.close()
        await super().close()
        await self.writer.close()


async def open_paper(
    *,
    path: Path,
    clock: Clock,
    settings: PaperSection,
    final_check: FinalCheck,
    public: PublicMarket | None = None,
) -> PaperDesk:
    """Open the file and read the books; raises StoreError. `public` is the exchange at whose
    prices it deals.
    """
    writer = DatabaseWriter(path=path, migrations=PAPER_MIGRATIONS)
    await writer.open()
    desk = PaperDesk(
        clock=clock, writer=writer, settings=settings, final_check=final_check, public=public
    )
    try:
        await desk.open()
    except BaseException:
        await writer.close()
        raise
    return desk


__all__ = ["PaperDesk", "open_paper"]

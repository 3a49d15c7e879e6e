"""The paper venue as the kernel's desk: its books are a file of ours, opened with the data.

It is its own venue and needs no connection, so that `start` has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from engine.database import DatabaseWriter
from engine.model.config import PaperSection
from engine.model.ids import Symbol
from engine.model.instrument import Instrument, paper_instrument
from engine.model.venue import WatchedAccount
from engine.ports import AccountReads, Clock, Exits, FinalCheck, OrderEntry, Streams
from engine.venues.paper import PAPER_MIGRATIONS, PaperVenue


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
        contracts: Callable[[Symbol], Instrument] = paper_instrument,
    ) -> None:
        """By `open_paper`, which opens the writer. `contracts` never raises."""
        super().__init__(
            clock=clock,
            writer=writer,
            settings=settings,
            instrument=contracts,
            final_check=final_check,
        )
        self.writer = writer

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
        return paper_instrument(symbol)

    def exit_instrument(self, symbol: Symbol) -> Instrument:
        return paper_instrument(symbol)

    async def read_mark(self, symbol: Symbol) -> Decimal | None:
        """Its own last price: its market is the feed, so a silent feed stays silent."""
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

    def open_books(self, opened_ns: int) -> None:
        """Both books begin together, with the capital of the configuration."""

    async def open(self) -> None:
        """Read the books. Before `start`: the ledger and the feed go on from its last marks."""
        await super().start()

    async def start(self) -> None:
        """Nothing is left to do."""

    async def listen(self) -> None:
        """Its stream is up since `open`."""

    async def close(self) -> None:
        """Put the last marks on disk, end the stream, close the file."""
        await super().close()
        await self.writer.close()


async def open_paper(
    *,
    path: Path,
    clock: Clock,
    settings: PaperSection,
    final_check: FinalCheck,
) -> PaperDesk:
    """Open the file and read the books; raises StoreError."""
    writer = DatabaseWriter(path=path, migrations=PAPER_MIGRATIONS)
    await writer.open()
    desk = PaperDesk(clock=clock, writer=writer, settings=settings, final_check=final_check)
    try:
        await desk.open()
    except BaseException:
        await writer.close()
        raise
    return desk


__all__ = ["PaperDesk", "open_paper"]

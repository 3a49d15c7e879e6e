"""A dry run: a real venue's contracts, clock and account are read, and every order is simulated.

The books are the paper venue's, with the venue's own filters and marks; entries, protective stops
and the emergency stop act on them and are verified against them, and no port leads anywhere else.
The real venue is behind connections that only read (`engine.venues.transport.read_only`); it is
asked at the start, so that whatever would keep a live engine in standby does so here too, and never
for its private stream. What its account holds is read every minute, to be shown beside the
simulated books and never mixed with them.
"""

from __future__ import annotations

import logging
from pathlib import Path

from engine.database import DatabaseWriter
from engine.kernel.exchange_desk import ExchangeDesk
from engine.kernel.paper_desk import PaperDesk
from engine.kernel.public_market import PublicMarket
from engine.model.config import PaperSection
from engine.model.errors import VenueError
from engine.model.key_rights import KeyRights
from engine.model.venue import WatchedAccount
from engine.ports import Clock, FinalCheck
from engine.runtime import Tasks
from engine.venues.paper import PAPER_MIGRATIONS

_log = logging.getLogger(__name__)
_ACCOUNT_EVERY_S = 60.0


class DryRunDesk(PaperDesk):
    """Implements `VenueDesk`: simulated books under a real venue's name and filters."""

    title = "Simulated orders"

    def __init__(
        self,
        *,
        clock: Clock,
        writer: DatabaseWriter,
        settings: PaperSection,
        final_check: FinalCheck,
        public: PublicMarket,
        venue: ExchangeDesk,
        tasks: Tasks,
    ) -> None:
        """`venue` must have connections that only read. By `open_dry_run`."""
        super().__init__(
            clock=clock, writer=writer, settings=settings, final_check=final_check, public=public
        )
        self._venue = venue
        self._tasks = tasks
        self._watched: WatchedAccount | None = None

    @property
    def name(self) -> str:
        return self._venue.name

    @property
    def key_rights(self) -> KeyRights | None:
        """As the real venue told them."""
        return self._venue.key_rights

    @property
    def watched_account(self) -> WatchedAccount | None:
        """The real account as it was read last; None before the first answer."""
        return self._watched

    @property
    def receive_window_ms(self) -> int | None:
        """A live entry's, so that the gate judges the clock as it would there."""
        return self._venue.receive_window_ms

    def clock_offset_ms(self) -> float | None:
        return self._venue.clock_offset_ms()

    async def start(self) -> None:
        """The real venue's contracts, clock and account; raises what a read raises."""
        await super().start()
        await self._venue.start()
        if self._watched is None:
            await self._look()
            self._tasks.spawn("account of a dry run", self._keep_looking(), forever=True)

    async def _look(self) -> None:
        reads = self._venue.reads
        positions, balance = await reads.positions(), await reads.balance()
        self._watched = WatchedAccount(
            read_ns=self._clock.now_ns(), positions=positions, balance=balance
        )

    async def _keep_looking(self) -> None:
        while True:
            await self._clock.sleep(_ACCOUNT_EVERY_S)
            try:
                await self._look()
            except VenueError as error:
                _log.warning("%s: the account was not read: %s", self.name, error)

    async def close(self) -> None:
        """End the simulated books and the connections."""
        await super().close()
        await self._venue.close()


async def open_dry_run(
    *,
    path: Path,
    clock: Clock,
    settings: PaperSection,
    final_check: FinalCheck,
    public: PublicMarket,
    venue: ExchangeDesk,
    tasks: Tasks,
) -> DryRunDesk:
    """Open the simulated books; raises StoreError."""
    writer = DatabaseWriter(path=path, migrations=PAPER_MIGRATIONS)
    await writer.open()
    desk = DryRunDesk(
        clock=clock,
        writer=writer,
        settings=settings,
        final_check=final_check,
        public=public,
        venue=venue,
        tasks=tasks,
    )
    try:
        await desk.open()
    except BaseException:
        await writer.close()
        raise
    return desk


__all__ = ["DryRunDesk", "open_dry_run"]

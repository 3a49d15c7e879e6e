"""The paper venue, ready for the contract: real files, real clock, no latency."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path

from engine.database import DatabaseWriter
from engine.model.config import PaperSection
from engine.model.ids import Symbol
from engine.model.instrument import paper_instrument
from engine.model.reasons import Reason
from engine.model.values import Side
from engine.model.venue import Approved
from engine.ports import Clock
from engine.runtime import SystemClock
from engine.venues.paper import PAPER_MIGRATIONS, Fault, PaperFaults, PaperVenue
from tests.contract.harness import BTC, ETH, VenueUnderTest

SETTINGS = PaperSection(latency_ms=0)


@asynccontextmanager
async def paper_venue(
    path: Path,
    *,
    settings: PaperSection = SETTINGS,
    clock: Clock | None = None,
    final_check: Callable[[Approved], tuple[Reason, ...]] = lambda approved: (),
    after_commit: Callable[[str], None] | None = None,
) -> AsyncIterator[PaperVenue]:
    """A started venue on a file; closed, with its writer, at the end."""
    writer = DatabaseWriter(path=path, migrations=PAPER_MIGRATIONS)
    await writer.open()
    venue = PaperVenue(
        clock=clock or SystemClock(),
        writer=writer,
        settings=settings,
        instrument=paper_instrument,
        final_check=final_check,
        faults=PaperFaults(timeout_s=0.01),
        after_commit=after_commit,
    )
    await venue.start()
    try:
        yield venue
    finally:
        await venue.close()
        await writer.close()


def tick(venue: PaperVenue, symbol: Symbol, price: str, ts_ns: int = 1) -> None:
    venue.on_trade(symbol, Decimal(price), Decimal(1), Side.BUY, ts_ns)


class _PaperUnderTest:
    """Keeps the venue that runs now, and starts it again on the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = AsyncExitStack()
        self._harness: VenueUnderTest | None = None

    @property
    def venue(self) -> PaperVenue:
        assert self._harness is not None
        assert isinstance(self._harness.ports, PaperVenue)
        return self._harness.ports

    def check(self, approved: Approved) -> tuple[Reason, ...]:
        assert self._harness is not None
        self._harness.checks += 1
        return tuple(self._harness.refuse_entries)

    async def start(self) -> VenueUnderTest:
        started = paper_venue(self._path, final_check=self.check)
        venue = await self._stack.enter_async_context(started)
        if self._harness is None:
            self._harness = VenueUnderTest(
                ports=venue,
                trade=lambda symbol, price: tick(self.venue, symbol, price),
                script=lambda operation, fault: self.venue.faults.script(operation, Fault(fault)),
                disconnect=lambda: self.venue.disconnect_stream("test"),
                reconnect=lambda: self.venue.reconnect_stream(),
                restart=self.restart,
            )
        self._harness.ports = venue
        venue.subscribe(self._harness.heard.append)
        return self._harness

    async def stop(self) -> None:
        await self._stack.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()


@asynccontextmanager
async def paper_under_test(path: Path) -> AsyncIterator[VenueUnderTest]:
    """The paper venue behind the contract's harness."""
    running = _PaperUnderTest(path)
    harness = await running.start()
    tick(running.venue, BTC, "60000")
    tick(running.venue, ETH, "3000")
    try:
        yield harness
    finally:
        await running.stop()


__all__ = ["SETTINGS", "paper_under_test", "paper_venue", "tick"]

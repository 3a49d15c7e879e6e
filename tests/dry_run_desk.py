"""A desk for stories of a dry run: the whole kernel beside a simulated exchange that it only reads.

The exchange has an account of its own, in which somebody else holds a position. When a story ends
our books must be the simulated ones, and the exchange must not have heard of anything that changes
something: no request, no private stream, the same position and balance as before.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.model.config import EngineSection, PaperSection
from engine.model.values import Side
from engine.runtime import SimClock, run_simulated
from tests.desk import START_NS, Desk
from tests.simulators.core.model import Kind, OrderRequest
from tests.venue_desk import ExchangeDesk

__all__ = ["REAL_QUANTITY", "DryRunStory", "dry_run_story"]

REAL_QUANTITY = Decimal(25)


class DryRunStory(ExchangeDesk):
    """One engine in a dry run, and the exchange that it looks at."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        configuration = msgspec.structs.replace(
            self.options.configuration,
            engine=EngineSection(mode="dry_run"),
            paper=PaperSection(initial_balance=Decimal(80_000)),
        )
        self.options = dataclasses.replace(self.options, configuration=configuration)
        self._before: dict[str, Any] = {}

    def open_real_position(self) -> None:
        """Somebody else's, at the exchange."""
        self.exchange.venue.place(
            OrderRequest(
                symbol=self.exchange.symbol("SOLUSDT"),
                side=Side.BUY,
                kind=Kind.MARKET,
                quantity=REAL_QUANTITY,
            )
        )
        self._before = self.books()

    # The books are ours, not the exchange's.
    venue_positions = Desk.venue_positions
    open_at_venue = Desk.open_at_venue

    async def assert_sound(self) -> None:
        """Our books are the simulated ones, and nothing was changed at the exchange."""
        await Desk.assert_sound(self)
        after = self.books()
        assert after["requests"] == []
        assert after["streams"] == 0
        for name in ("orders", "conditionals", "fills", "positions", "balance"):
            assert after[name] == self._before[name]


def dry_run_story(
    tell: Callable[[DryRunStory], Awaitable[None]],
) -> Callable[[Path, str], None]:
    """Make a test of a story, once at each exchange."""

    async def play(clock: SimClock, folder: Path, venue: str) -> None:
        desk = DryRunStory(clock=clock, folder=folder, venue=venue)
        desk.open_exchange()
        desk.open_real_position()
        try:
            await desk.open()
            await tell(desk)
            await desk.sleep(1.0)  # What is in flight settles.
            await desk.assert_sound()
        finally:
            await desk.close()
            await desk.close_exchange()

    @pytest.mark.parametrize("venue", ["binance", "bybit"])
    def test(tmp_path: Path, venue: str) -> None:
        run_simulated(lambda clock: play(clock, tmp_path, venue), start_ns=START_NS)

    functools.update_wrapper(test, tell)
    del test.__wrapped__  # type: ignore[attr-defined]  # Its signature is not the test's.
    return test

"""A desk for stories on paper at an exchange's own prices: its public streams, in memory.

Everything of ours is real, feed and requests included; only the bytes never touch a socket. The
story moves the exchange's prices. `public_story` makes a test of an `async def test_...(desk)`;
when it ends the paper venue's books are ours, and nobody has asked the exchange for more than
everybody may have. Units as in `tests.desk`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.kernel import build_kernel
from engine.kernel.headless import hold_time_for
from engine.kernel.venue_desk import VenueTransport
from engine.model.config import MarketSection, VenueSection
from engine.model.ids import Symbol
from engine.ports import Clock
from engine.runtime import SimClock, Tasks, run_simulated
from tests.desk import BTC, ETH, START_NS, Desk
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Exchange, Settings
from tests.simulators.faults import FaultRule
from tests.simulators.in_memory_transport import InMemoryConnections, Line, in_memory_sockets

__all__ = ["PublicDesk", "public_story"]

_EXCHANGES: Mapping[str, type[Exchange]] = {"binance": BinanceExchange, "bybit": BybitExchange}


class PublicDesk(Desk):
    """One engine on paper, and the exchange whose prices it has."""

    def __init__(
        self,
        *,
        clock: Clock,
        folder: Path,
        venue: str = "binance",
        symbols: tuple[str, ...] = (BTC, ETH),
        **more: Any,
    ) -> None:
        super().__init__(clock=clock, folder=folder, **more)
        configuration = msgspec.structs.replace(
            self.options.configuration,
            market=MarketSection(feed="venue", symbols=symbols),
            venue=VenueSection(name=venue),
        )
        self.options = dataclasses.replace(self.options, configuration=configuration)
        self._failed: list[str] = []
        self.tasks = Tasks(on_fault=lambda name, error: self._failed.append(f"{name}: {error!r}"))
        self.exchange = _EXCHANGES[venue](clock=clock, tasks=self.tasks, settings=Settings())
        self.line = Line(clock=clock, tasks=self.tasks)

    async def build(self) -> None:
        transport = VenueTransport(
            connections=lambda url: InMemoryConnections(
                self.exchange, self.clock, line=self.line, tasks=self.tasks
            ),
            open_socket=in_memory_sockets(
                self.exchange, self.clock, line=self.line, tasks=self.tasks
            ),
        )
        kernel = await build_kernel(self.options, clock=self.clock, transport=transport)
        if isinstance(self.clock, SimClock):
            hold_time_for(kernel, self.clock)
        self.kernel = kernel
        self.quieten(kernel)
        kernel.parts.bus.subscribe(self.events.append, name="story")

    def open_exchange(self) -> None:
        """Begin the exchange's own life, with the story's prices."""
        self.exchange.start()
        self.set_prices()

    def set_prices(self) -> None:
        """The story's."""
        for symbol, price in self.prices.items():
            self.exchange.venue.set_price(symbol, Decimal(price))

    async def close(self) -> None:
        await self.kernel.stop()

    async def close_exchange(self) -> None:
        self.exchange.close()
        await self.tasks.cancel_all()
        assert not self._failed, self._failed

    def move(self, price: str, symbol: Symbol = BTC) -> None:
        """One trade at the exchange at a new price."""
        self.exchange.venue.set_price(symbol, Decimal(price))

    def inject(self, **rule: Any) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    async def assert_sound(self) -> None:
        await super().assert_sound()
        books: Any = self.exchange.books()
        assert books["requests"] == [], "paper changed something at the exchange"
        assert not self._failed, self._failed


def public_story(
    **options: Any,
) -> Callable[[Callable[[PublicDesk], Awaitable[None]]], Callable[..., None]]:
    """Make a test of a story, once on each venue; `options` are the desk's, and `start=False`
    leaves it unopened.
    """
    start = options.pop("start", True)

    def wrap(tell: Callable[[PublicDesk], Awaitable[None]]) -> Callable[..., None]:
        async def play(clock: SimClock, folder: Path, venue: str) -> None:
            desk = PublicDesk(clock=clock, folder=folder, venue=venue, **options)
            desk.open_exchange()
            try:
                if start:
                    await desk.open()
                await tell(desk)
                await desk.sleep(1.0)  # What is in flight settles.
                await desk.assert_sound()
            finally:
                await desk.close()
                await desk.close_exchange()

        def test(tmp_path: Path, venue: str) -> None:
            run_simulated(lambda clock: play(clock, tmp_path, venue), start_ns=START_NS)

        functools.update_wrapper(test, tell)
        del test.__wrapped__  # type: ignore[attr-defined]  # Its signature is not the test's.
        both: Callable[..., None] = pytest.mark.parametrize("venue", sorted(_EXCHANGES))(test)
        return both

    return wrap

"""The market feed port: somebody runs it, it pushes trades and quotes into a sink.

Prices in account currency, quantities in base coin, times UTC nanoseconds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from engine.model.ids import Symbol
from engine.model.values import Side


class MarketSink(Protocol):
    """Takes what the market says. Synchronous: a feed never waits for a consumer, except by
    `room`.
    """

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None:
        """A public trade; `side` is the aggressor's."""
        ...

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None:
        """Best bid and ask changed."""
        ...

    async def room(self) -> None:
        """Wait until the queue has room; a replay awaits it instead of letting ticks be
        conflated.
        """
        ...


class MarketFeed(Protocol):
    """A source of prices."""

    @property
    def name(self) -> str:
        """What the console shows, e.g. `simulated (seed 1, normal)`."""
        ...

    @property
    def symbols(self) -> tuple[Symbol, ...]: ...

    async def run(self, sink: MarketSink) -> None:
        """Push until the end of a recording (then return) or until cancelled."""
        ...


__all__ = ["MarketFeed", "MarketSink"]

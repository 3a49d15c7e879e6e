"""The market feed port: somebody runs it, it pushes trades, quotes and marks into a sink.

Prices in account currency, quantities in base coin, times UTC nanoseconds. `ts_ns` is when we heard
of it, `venue_ns` when it happened by the venue's own clock; 0 where the source has no such time.
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
        self,
        symbol: Symbol,
        price: Decimal,
        quantity: Decimal,
        side: Side,
        ts_ns: int,
        venue_ns: int = 0,
    ) -> None:
        """A public trade; `side` is the aggressor's."""
        ...

    def on_quote(
        self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int, venue_ns: int = 0
    ) -> None:
        """Best bid and ask, as they are now."""
        ...

    def on_mark(self, symbol: Symbol, price: Decimal, ts_ns: int, venue_ns: int = 0) -> None:
        """The venue's mark price."""
        ...

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        """At `due_ns` longs pay shorts this fraction of their notional; later words replace it."""
        ...

    def on_stream(self, stream: str, connected: bool, cause: str, gap_s: float) -> None:
        """A connection of the feed came or went. `gap_s` is how long there was none before it."""
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

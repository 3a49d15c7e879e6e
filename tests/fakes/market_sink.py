"""A market sink that keeps what it was told, and can pretend that its queue is full."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from engine.model.ids import Symbol
from engine.model.values import Side


class RecordingSink:
    """Implements `engine.ports.MarketSink`; `full` makes `room` wait until it is cleared."""

    def __init__(self) -> None:
        self.trades: list[tuple[Symbol, Decimal, Decimal, Side, int]] = []
        self.quotes: list[tuple[Symbol, Decimal, Decimal, int]] = []
        self.marks: list[tuple[Symbol, Decimal, int]] = []
        self.fundings: list[tuple[Symbol, Decimal, int]] = []
        self.streams: list[tuple[str, bool, str, float]] = []
        # The venue's time of each trade, quote and mark, in the order in which they came.
        self.venue_times_ns: list[int] = []
        self.asked_for_room = 0
        self.has_room = asyncio.Event()
        self.has_room.set()

    def on_trade(
        self,
        symbol: Symbol,
        price: Decimal,
        quantity: Decimal,
        side: Side,
        ts_ns: int,
        venue_ns: int = 0,
    ) -> None:
        self.trades.append((symbol, price, quantity, side, ts_ns))
        self.venue_times_ns.append(venue_ns)

    def on_quote(
        self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int, venue_ns: int = 0
    ) -> None:
        self.quotes.append((symbol, bid, ask, ts_ns))
        self.venue_times_ns.append(venue_ns)

    def on_mark(self, symbol: Symbol, price: Decimal, ts_ns: int, venue_ns: int = 0) -> None:
        self.marks.append((symbol, price, ts_ns))
        self.venue_times_ns.append(venue_ns)

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        self.fundings.append((symbol, rate, due_ns))

    def on_stream(self, stream: str, connected: bool, cause: str, gap_s: float) -> None:
        self.streams.append((stream, connected, cause, gap_s))

    async def room(self) -> None:
        self.asked_for_room += 1
        await self.has_room.wait()


__all__ = ["RecordingSink"]

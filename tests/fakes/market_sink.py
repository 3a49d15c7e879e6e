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
        self.asked_for_room = 0
        self.has_room = asyncio.Event()
        self.has_room.set()

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None:
        self.trades.append((symbol, price, quantity, side, ts_ns))

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None:
        self.quotes.append((symbol, bid, ask, ts_ns))

    async def room(self) -> None:
        self.asked_for_room += 1
        await self.has_room.wait()


__all__ = ["RecordingSink"]

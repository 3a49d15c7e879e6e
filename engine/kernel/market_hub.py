"""Where the feed meets the engine: the venue's matching, the bus, marks, risk and strategy.

The feed pushes; the venue hears each tick first, since a fill must not be decided by a price that
comes after it; then the tick goes on the bus, and from there (conflated under pressure, newest
wins) to the account's marks, the drawdown breaker and the strategy. Prices in account currency.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from engine.bus import EventBus
from engine.model.errors import BusSaturated
from engine.model.events import MarketTick
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.ports import Clock
from engine.runtime import Stamper


class MatchingVenue(Protocol):
    """A venue that fills against the feed."""

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None: ...

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None: ...


class MarketHub:
    """Implements `MarketSink`."""

    def __init__(
        self, *, bus: EventBus, clock: Clock, stamper: Stamper, venue: MatchingVenue
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._stamper = stamper
        self._venue = venue
        self._prices: dict[Symbol, tuple[Decimal, int]] = {}
        self.ticks = 0
        # Ticks that a full queue refused; the bus counts and alarms, the gate is shut by it.
        self.refused = 0

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None:
        self.ticks += 1
        self._prices[symbol] = (price, self._clock.monotonic_ns())
        self._venue.on_trade(symbol, price, quantity, side, ts_ns)
        try:
            self._bus.emit(
                MarketTick(
                    **self._stamper(), symbol=symbol, price=price, quantity=quantity, side=side
                )
            )
        except BusSaturated:
            self.refused += 1

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None:
        self._venue.on_quote(symbol, bid, ask, ts_ns)

    async def room(self) -> None:
        await self._bus.room()

    def last_price(self, symbol: Symbol) -> Decimal | None:
        entry = self._prices.get(symbol)
        return None if entry is None else entry[0]

    def last_prices(self) -> dict[Symbol, Decimal]:
        return {symbol: entry[0] for symbol, entry in self._prices.items()}

    def ages_s(self) -> dict[Symbol, float]:
        """Age of the last trade of each symbol."""
        now_ns = self._clock.monotonic_ns()
        return {symbol: (now_ns - at) / 1e9 for symbol, (_, at) in self._prices.items()}

    def youngest_age_s(self) -> float | None:
        """Age of the newest price of any symbol; None before the first."""
        return min(self.ages_s().values(), default=None)


__all__ = ["MarketHub", "MatchingVenue"]

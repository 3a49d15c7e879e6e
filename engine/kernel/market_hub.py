"""Where the feed meets the engine: the venue's matching, the bus, marks, risk and strategy.

The feed pushes; the venue hears each tick first, since a fill must not be decided by a price that
comes after it; then the tick goes on the bus, and from there (conflated under pressure, newest
wins) to the account's marks, the drawdown breaker and the strategy. A symbol is worth its last
trade; where nobody has traded for a moment and the feed tells marks, its mark. Prices in account
currency.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from engine.bus import EventBus
from engine.model.errors import BusSaturated
from engine.model.events import MarketMark, MarketStreamChanged, MarketTick
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.ports import Clock
from engine.runtime import Stamper

# A mark each second is the usual pace: one that comes this long after the last trade is newer.
_QUIET_NS = 1_500_000_000


class MatchingVenue(Protocol):
    """A venue that fills against the feed."""

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None: ...

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None: ...

    def on_price(self, symbol: Symbol, price: Decimal, ts_ns: int) -> None:
        """What a symbol is worth where nobody trades."""
        ...

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None: ...


class MarketHub:
    """Implements `MarketSink`."""

    def __init__(
        self, *, bus: EventBus, clock: Clock, stamper: Stamper, venue: MatchingVenue
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._stamper = stamper
        self._venue = venue
        # Price, and when (monotonic) it was heard.
        self._prices: dict[Symbol, tuple[Decimal, int]] = {}
        self._traded_ns: dict[Symbol, int] = {}
        self._streams_down: dict[str, str] = {}
        # Returns of a lost connection, and how long the last of them had been away.
        self.gaps = 0
        self.last_gap_s = 0.0
        self.ticks = 0
        # Ticks that a full queue refused; the bus counts and alarms, the gate is shut by it.
        self.refused = 0

    def on_trade(
        self,
        symbol: Symbol,
        price: Decimal,
        quantity: Decimal,
        side: Side,
        ts_ns: int,
        venue_ns: int = 0,
    ) -> None:
        self.ticks += 1
        now_ns = self._clock.monotonic_ns()
        self._prices[symbol] = (price, now_ns)
        self._traded_ns[symbol] = now_ns
        self._venue.on_trade(symbol, price, quantity, side, ts_ns)
        try:
            self._bus.emit(
                MarketTick(
                    **self._stamper(),
                    symbol=symbol,
                    price=price,
                    quantity=quantity,
                    side=side,
                    venue_ns=venue_ns,
                )
            )
        except BusSaturated:
            self.refused += 1

    def on_quote(
        self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int, venue_ns: int = 0
    ) -> None:
        self._venue.on_quote(symbol, bid, ask, ts_ns)

    def on_mark(self, symbol: Symbol, price: Decimal, ts_ns: int, venue_ns: int = 0) -> None:
        if self.is_quiet(symbol):
            self._prices[symbol] = (price, self._clock.monotonic_ns())
            self._venue.on_price(symbol, price, ts_ns)
        try:
            self._bus.emit(
                MarketMark(**self._stamper(), symbol=symbol, price=price, venue_ns=venue_ns)
            )
        except BusSaturated:
            self.refused += 1

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        self._venue.on_funding(symbol, rate, due_ns)

    def on_stream(self, stream: str, connected: bool, cause: str, gap_s: float) -> None:
        if connected:
            self._streams_down.pop(stream, None)
            if gap_s:
                self.gaps += 1
                self.last_gap_s = gap_s
        else:
            self._streams_down[stream] = cause
        self._bus.emit(
            MarketStreamChanged(
                **self._stamper(), stream=stream, connected=connected, cause=cause, gap_s=gap_s
            )
        )

    async def room(self) -> None:
        await self._bus.room()

    def is_quiet(self, symbol: Symbol) -> bool:
        """Whether nobody has traded a symbol for a moment, so that its mark is what it is worth."""
        traded_ns = self._traded_ns.get(symbol)
        return traded_ns is None or self._clock.monotonic_ns() - traded_ns > _QUIET_NS

    def streams_down(self) -> dict[str, str]:
        """Connections of the feed that were lost and are not back, with the cause of each."""
        return dict(self._streams_down)

    def last_price(self, symbol: Symbol) -> Decimal | None:
        entry = self._prices.get(symbol)
        return None if entry is None else entry[0]

    def last_prices(self) -> dict[Symbol, Decimal]:
        return {symbol: entry[0] for symbol, entry in self._prices.items()}

    def ages_s(self) -> dict[Symbol, float]:
        """Age of the last price of each symbol."""
        now_ns = self._clock.monotonic_ns()
        return {symbol: (now_ns - at) / 1e9 for symbol, (_, at) in self._prices.items()}

    def youngest_age_s(self) -> float | None:
        """Age of the newest price of any symbol; None before the first."""
        return min(self.ages_s().values(), default=None)


__all__ = ["MarketHub", "MatchingVenue"]

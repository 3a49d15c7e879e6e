"""The simulated market: seeded prices for every symbol, two trades a second each, for ever.

One wake-up per step serves all symbols. It pushes trades and no quotes: the spread is the paper
venue's own setting. Prices go on from `start_prices` (the last persisted marks), so that a restart
is not a jump. After a suspend it goes on from now instead of catching up in a burst.
Same seed, scenario, symbols and start prices: the same prices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from engine.market.pacing import sleeper
from engine.market.price_process import SCENARIOS, STEP_NS, walk
from engine.model.errors import ConfigurationError
from engine.model.ids import Symbol
from engine.model.instrument import paper_instrument
from engine.ports import Clock, MarketSink
from engine.runtime import Chance

# Where prices begin when nothing is known; about those of the recorded minutes of August 2024.
_START_PRICES: Mapping[str, str] = {
    "BTCUSDT": "61800",
    "ETHUSDT": "2690",
    "SOLUSDT": "155",
    "XRPUSDT": "0.61",
}
_START_PRICE_UNLISTED = "100"
_LATE_NS_MAX = 5_000_000_000


class SimulatedFeed:
    """Implements `engine.ports.MarketFeed` with one walk a symbol."""

    def __init__(
        self,
        *,
        clock: Clock,
        symbols: Sequence[Symbol],
        seed: int,
        scenario: str,
        start_prices: Mapping[Symbol, Decimal],
    ) -> None:
        if scenario not in SCENARIOS:
            raise ConfigurationError("market.scenario", f"must be one of {', '.join(SCENARIOS)}")
        self._clock = clock
        self._name = f"simulated (seed {seed}, {scenario})"
        self._symbols = tuple(symbols)
        self._walks = tuple(
            walk(
                instrument=paper_instrument(symbol),
                start_price=start_prices.get(symbol, _start_price(symbol)),
                scenario=SCENARIOS[scenario],
                chance=Chance(seed=seed, name=f"market {symbol}"),
            )
            for symbol in self._symbols
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return self._symbols

    async def run(self, sink: MarketSink) -> None:
        """Push one trade a symbol each step until cancelled."""
        sleep_until = sleeper(self._clock)
        on_trade = sink.on_trade
        markets = tuple(zip(self._symbols, self._walks, strict=True))
        due_ns = self._clock.now_ns()
        while True:
            await sleep_until(due_ns)
            now_ns = self._clock.now_ns()
            for symbol, steps in markets:
                price, quantity, side = next(steps)
                on_trade(symbol, price, quantity, side, now_ns)
            if now_ns - due_ns > _LATE_NS_MAX:
                due_ns = now_ns
            due_ns += STEP_NS


def _start_price(symbol: Symbol) -> Decimal:
    return Decimal(_START_PRICES.get(symbol, _START_PRICE_UNLISTED))


__all__ = ["SimulatedFeed"]

"""A headless engine on real time that trades a lot and mirrors to a Redis by URL.

The engine is run by the same code as `seawall run --headless`; only its market is the test's:
prices that move a few hundred times a second, and signals to enter and leave at every turn, so that
some hundred durable events a second are written.

    python -m tests.faults.busy_engine DIR REDIS_URL SECONDS

prints the run summary as one JSON document. SIGTERM ends it in order, like the end of its time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from pathlib import Path

from engine.kernel import Kernel
from engine.kernel.headless import _live
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.ports import MarketSink
from engine.runtime import SystemClock
from tests.desk import Desk, ScriptedMarket, with_feed

__all__ = ["POLICY", "PRICES", "BusyMarket", "main"]

PRICES = {"BTCUSDT": "60000", "ETHUSDT": "2500", "SOLUSDT": "150", "XRPUSDT": "0.6"}
_DIGITS = {"BTCUSDT": 1, "ETHUSDT": 2, "SOLUSDT": 2, "XRPUSDT": 4}
POLICY = {
    "signal_rate": "50",
    "max_orders_per_minute": "1200",
    "max_gross_exposure": "5",
    "max_open_positions": "20",
    "max_daily_loss": "0.5",
    "drawdown_soft": "0.4",
    "drawdown_hard": "0.5",
    "governor.hard": "0.9",
    "governor.quarantine": "0.8",
    "governor.soft": "0.7",
}
_TURN_S = 0.02


class BusyMarket(ScriptedMarket):
    """Moves every price each turn, and asks for entries and exits."""

    def __init__(self, desk: Desk, *, seed: int) -> None:
        super().__init__(clock=desk.clock, prices=dict(desk.market.prices))
        self._desk = desk
        self._chance = random.Random(seed)
        # While True no price moves and nothing is asked for.
        self.is_quiet = False

    async def run(self, sink: MarketSink) -> None:
        self._sink = sink
        while True:
            for symbol in () if self.is_quiet else self.symbols:
                self._stir(symbol)
            await asyncio.sleep(_TURN_S)

    def _stir(self, symbol: Symbol) -> None:
        chance = self._chance
        price = float(self.prices[symbol]) * (1 + chance.choice((-1, 1)) * 0.0003)
        self.move(symbol, f"{price:.{_DIGITS[symbol]}f}")
        if self._desk.quantity(symbol) == 0:
            if chance.random() < 0.1:
                self._desk.signal(chance.choice((Side.BUY, Side.SELL)), symbol)
        elif chance.random() < 0.1:
            self._desk.exit(symbol)


async def main(folder: Path, url: str, seconds: float) -> dict[str, object]:
    """Run to the end; the run summary."""
    clock = SystemClock()
    desk = Desk(
        clock=clock,
        folder=folder,
        policy=POLICY,
        latency_ms=2,
        prices={Symbol(symbol): price for symbol, price in PRICES.items()},
        redis_url=url,
    )
    await desk.build()
    kernel: Kernel = with_feed(desk.kernel, BusyMarket(desk, seed=1))
    desk.kernel = kernel
    return await _live(kernel, clock, seconds)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    answer = asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
    sys.stdout.write(json.dumps(answer))

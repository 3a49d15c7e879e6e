"""A simulated day of the whole kernel with a crash in it, judged by arithmetic of its own.

The market is the engine's simulated one (four symbols, two trades a second each): ordinary for most
of the day, then fifteen minutes that hold a fall of 12 %. Just before the fall the built-in
strategy is told to stay out, the risk mode goes to aggressive and long positions of the equity's
size are opened, so that the stop must trip. When it must is worked out here from the ticks this
module noted on their way to the engine and the fills in `paper.db`, with nothing of the engine's.

    python -m tests.simulation.simulated_day DIR [SEED] [SECONDS]

Seconds are simulated; a day by default.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.market import SimulatedFeed
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.ports import MarketSink
from engine.runtime import SimClock, run_simulated
from tests.desk import START_NS, Desk, ScriptedMarket, venue_rows, with_feed

__all__ = ["DAY_S", "Day", "run_day"]

DAY_S = 86_400
_CRASH_RUN_S = 900
_CRASH_AFTER_S = 600
_SYMBOLS = tuple(Symbol(name) for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"))
_HARD = Decimal("0.10")
_POLICY = {
    "aggressive.position_fraction": "0.05",
    "aggressive.protective_stop": "0.2",
    "aggressive.allow_naked": "true",
    "aggressive.max_daily_loss": "0.5",
    "aggressive.governor.soft": "0.6",
    "aggressive.governor.quarantine": "0.7",
    "aggressive.governor.hard": "0.8",
}
_Tick = tuple[int, Symbol, Decimal]


@dataclass(frozen=True, kw_only=True)
class Day:
    """What came out. `must_trip_ns` is by this module's arithmetic, None when never."""

    ticks: int
    fills: int
    trips: list[tuple[str, int]]
    must_trip_ns: int | None
    latched: bool
    flat: bool
    hard_breaches: int
    took_s: float
    summary: dict[str, Any]


class _NotedMarket(ScriptedMarket):
    """The simulated feed, noted on its way; an ordinary part and then the crash."""

    def __init__(self, desk: Desk, *, seed: int, calm_s: int) -> None:
        super().__init__(clock=desk.clock, prices={})
        self._desk = desk
        self._seed = seed
        self._calm_ns = desk.clock.now_ns() + calm_s * 1_000_000_000
        self.ticks: list[_Tick] = []

    async def run(self, sink: MarketSink) -> None:
        self._sink = sink
        for scenario, until_ns in (("normal", self._calm_ns), ("crash", None)):
            feed = SimulatedFeed(
                clock=self._desk.clock,
                symbols=_SYMBOLS,
                seed=self._seed,
                scenario=scenario,
                start_prices=dict(self.prices),
            )
            try:
                await feed.run(_Noted(self, sink, until_ns))
            except _PartIsOver:
                continue

    def note(self, symbol: Symbol, price: Decimal, ts_ns: int) -> None:
        self.prices[symbol] = price
        self.ticks.append((ts_ns, symbol, price))


class _PartIsOver(Exception):
    """The ordinary part has lasted long enough."""


class _Noted:
    """A sink that notes what passes."""

    def __init__(self, market: _NotedMarket, sink: MarketSink, until_ns: int | None) -> None:
        self._market = market
        self._sink = sink
        self._until_ns = until_ns

    def on_trade(
        self,
        symbol: Symbol,
        price: Decimal,
        quantity: Decimal,
        side: Side,
        ts_ns: int,
        venue_ns: int = 0,
    ) -> None:
        if self._until_ns is not None and ts_ns >= self._until_ns:
            raise _PartIsOver
        self._market.note(symbol, price, ts_ns)
        self._sink.on_trade(symbol, price, quantity, side, ts_ns)

    def on_quote(
        self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int, venue_ns: int = 0
    ) -> None:
        self._sink.on_quote(symbol, bid, ask, ts_ns)

    def on_mark(self, symbol: Symbol, price: Decimal, ts_ns: int, venue_ns: int = 0) -> None:
        self._sink.on_mark(symbol, price, ts_ns)

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        self._sink.on_funding(symbol, rate, due_ns)

    def on_stream(self, stream: str, connected: bool, cause: str, gap_s: float) -> None:
        self._sink.on_stream(stream, connected, cause, gap_s)

    async def room(self) -> None:
        await self._sink.room()


def _must_trip_ns(desk: Desk, ticks: list[_Tick], *, until_ns: int) -> int | None:
    """When the loss from the highest equity first reached the limit; times are the ticks'."""
    fills = [
        (ts_ns, symbol, side, Decimal(quantity), Decimal(price), Decimal(fee))
        for ts_ns, symbol, side, quantity, price, fee in venue_rows(
            desk.data_dir, "SELECT ts_ns, symbol, side, quantity, price, fee FROM fills"
        )
    ]
    cash = peak = Decimal(100_000)
    held: dict[str, Decimal] = {}
    marks: dict[str, Decimal] = {}
    number = 0
    for ts_ns, symbol, price in ticks:
        while number < len(fills) and fills[number][0] < ts_ns:
            _, name, side, quantity, paid, fee = fills[number]
            signed = quantity if side == "BUY" else -quantity
            held[name] = held.get(name, Decimal(0)) + signed
            cash -= signed * paid + fee
            number += 1
        marks[symbol] = price
        equity = cash + sum(quantity * marks[name] for name, quantity in held.items() if quantity)
        peak = max(peak, equity)
        if (peak - equity) / peak >= _HARD:
            return ts_ns
        if ts_ns > until_ns:
            return None
    return None


async def _day(clock: SimClock, folder: Path, seed: int, seconds: int) -> Day:
    began = time.monotonic()
    desk = Desk(clock=clock, folder=folder, policy=_POLICY, trades_itself=True)
    await desk.build()
    calm_s = max(0, seconds - _CRASH_RUN_S)
    market = _NotedMarket(desk, seed=seed, calm_s=calm_s)
    desk.market, desk.kernel = market, with_feed(desk.kernel, market)
    parts = desk.kernel.parts
    await desk.kernel.start()
    try:
        await desk.sleep(calm_s + _CRASH_AFTER_S - 60)
        # From here on nothing but the fall decides: out of everything, then long before it.
        parts.strategy.on_trade = lambda *_: None  # type: ignore[method-assign]
        for symbol in _SYMBOLS:
            desk.exit(symbol)
        await desk.sleep(30)
        answer = await desk.kernel.client.set_policy_mode(
            "aggressive", author="day", reason="long before the fall"
        )
        assert answer.ok, answer
        for symbol in _SYMBOLS:
            desk.signal(Side.BUY, symbol)
        await desk.sleep(_CRASH_RUN_S - _CRASH_AFTER_S + 20)
        summary = await desk.kernel.summary()
        await desk.assert_sound()
        trips = [(str(trip.source), trip.ts_ns) for trip in parts.stop.trips]
        last_ns = clock.now_ns()
        return Day(
            ticks=len(market.ticks),
            fills=summary["fills"],
            trips=trips,
            must_trip_ns=_must_trip_ns(desk, market.ticks, until_ns=last_ns),
            latched=parts.stop.is_latched(),
            flat=desk.venue_positions() == {},
            hard_breaches=sum(e.TYPE == "risk.drawdown.hard_breach" for e in desk.events),
            took_s=time.monotonic() - began,
            summary=summary,
        )
    finally:
        await desk.close()


def run_day(folder: Path, *, seed: int, seconds: int) -> Day:
    """Live through it; `seconds` are simulated."""
    return run_simulated(lambda clock: _day(clock, folder, seed, seconds), start_ns=START_NS)


if __name__ == "__main__":
    day = run_day(
        Path(sys.argv[1]),
        seed=int(sys.argv[2]) if len(sys.argv) > 2 else 1,
        seconds=int(sys.argv[3]) if len(sys.argv) > 3 else DAY_S,
    )
    sys.stdout.write(json.dumps({name: getattr(day, name) for name in day.__dataclass_fields__}))

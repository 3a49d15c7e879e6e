"""A simulated day of the whole kernel: four symbols, two ticks a second each, trading, and at its
end twenty minutes with a crash of 12 % in them.

The day is two runs on one data directory: the ordinary market, then, after a staged stop and a
start, the crash. Everything is the engine's own: files on a real disk, group commits, the paper
venue's books. Baseline: the same market on the same clock with nobody listening, which is the least
a day can cost.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Literal

import msgspec

from engine.kernel import KernelOptions, load_configuration, run_headless
from engine.market import SimulatedFeed
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.runtime import SimClock, Tasks, run_simulated
from tests.benchmarks.figures import Bar, Effort, Figure

__all__ = ["measure"]

_DAY_S = 86_400
_CRASH_S = 1_200
_LIMIT_S = 60.0
_SEED = 1
_START_NS = 1_767_225_600_000_000_000


def measure(effort: Effort) -> Figure:
    # A day is long enough to be its own median; more rounds only where they are short.
    rounds = 1 if effort.is_full else effort.rounds
    seconds = effort.count(_DAY_S, least=60)
    ours: list[float] = []
    bare: list[float] = []
    said: list[str] = []
    for _ in range(rounds):
        took_s, words = _day(seconds, crash_s=effort.count(_CRASH_S, least=30))
        ours.append(took_s)
        said = words
        bare.append(_market_alone(seconds))
    return Figure(
        name="sim_day",
        unit="s",
        better="lower",
        ours=ours,
        baseline_name="the same market on the same clock, nobody listening",
        baseline=bare,
        bars=[Bar(f"{ours[0]:.0f} s, under 60 s", ours[0] < _LIMIT_S)] if effort.is_full else [],
        notes=said,
    )


def _day(seconds: int, *, crash_s: int) -> tuple[float, list[str]]:
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        began = perf_counter()
        # Between two steps of the market, so that no fill is on its way at the last moment.
        calm = _run(Path(folder), "normal", seconds - crash_s + 0.25)
        crash = _run(Path(folder), "crash", crash_s + 0.25)
        took = perf_counter() - began
    if not (calm["ok"] and crash["ok"]):
        raise RuntimeError("the run was not ok: this measures something else")
    stop = crash["emergency"]
    return took, [
        f"{calm['ticks'] + crash['ticks']:,} ticks, {calm['fills'] + crash['fills']} fills",
        f"the crash left the stop {stop['state']}" + (" and latched" if stop["latched"] else ""),
    ]


def _run(folder: Path, scenario: Literal["normal", "crash"], seconds: float) -> dict[str, Any]:
    configuration = load_configuration(None)
    market = msgspec.structs.replace(configuration.market, scenario=scenario, seed=_SEED)
    options = KernelOptions(
        configuration=msgspec.structs.replace(configuration, market=market),
        data_dir=folder,
        simulated=True,
    )
    return run_headless(options, duration_s=seconds)


class _Nobody:
    """A market's sink that only counts."""

    def __init__(self) -> None:
        self.ticks = 0

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

    def on_quote(
        self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int, venue_ns: int = 0
    ) -> None:
        self.ticks += 1

    def on_mark(self, symbol: Symbol, price: Decimal, ts_ns: int, venue_ns: int = 0) -> None:
        pass

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        pass

    def on_stream(self, stream: str, connected: bool, cause: str, gap_s: float) -> None:
        pass

    async def room(self) -> None:
        """There is always room."""


def _market_alone(seconds: float) -> float:
    symbols = tuple(Symbol(name) for name in load_configuration(None).market.symbols)
    nobody = _Nobody()

    async def main(clock: SimClock) -> None:
        feed = SimulatedFeed(
            clock=clock, symbols=symbols, seed=_SEED, scenario="normal", start_prices={}
        )
        tasks = Tasks(on_fault=lambda name, error: None)
        tasks.spawn("feed", feed.run(nobody))
        await clock.sleep(seconds)
        await tasks.cancel_all()

    began = perf_counter()
    run_simulated(main, start_ns=_START_NS)
    took = perf_counter() - began
    if nobody.ticks < seconds * len(symbols):
        raise RuntimeError("ticks are missing: this measures something else")
    return took

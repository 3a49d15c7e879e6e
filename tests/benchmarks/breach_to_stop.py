"""From a confirmed drawdown breach to the stop's first request at the venue's port.

On paper without latency: 20 positions, 5,000 ticks a second, the window painting.

The clock starts when the market pushes the price that completes the breach, before the queue, the
mark filter and the books have seen it; so all of them count. It ends when the stop calls the
port for the first time. Each breach has a desk of its own, on a copy of one data directory in which
the engine itself has opened the positions through its signal path. The strategy keeps silent, so
that they stay open. Baseline: the same call of the port by a task on the same loop, idle.
"""

from __future__ import annotations

import asyncio
import shutil
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import msgspec

from engine.model.config import Configuration
from engine.model.emergency import Trip
from engine.model.events import MarketTick
from engine.model.ids import SignalId, Symbol, TraceId
from engine.model.policy import seeded
from engine.model.signals import Signal
from engine.model.values import Side
from engine.runtime import Tasks
from tests.benchmarks.figures import Bar, Effort, Figure, percentile
from tests.benchmarks.window_desk import Desk, Numbers, Session, configuration, in_a_window
from tests.waiting import eventually

__all__ = ["in_window", "measure"]

_BREACHES = 30
_TICKS_PER_S = 5_000
_LIMIT_MS = 10.0
_SYMBOLS = tuple(f"SYM{number:02d}USDT" for number in range(20))
# Of the price, for each symbol: within the price collar, so that each fall is confirmed by itself.
_FALL = Decimal("0.018")


def measure(effort: Effort) -> Figure:
    numbers = in_a_window("breach_to_stop", effort)
    waits = numbers["breach"]
    p99 = percentile(waits, 0.99)
    return Figure(
        name="breach_to_stop",
        unit="ms p99",
        better="lower",
        ours=[p99],
        baseline_name="the same call of the port by a task on the idle loop",
        baseline=[percentile(numbers["bare"], 0.99)],
        bars=[Bar(f"p99 {p99:.1f} ms, under 10 ms", p99 < _LIMIT_MS)] if effort.is_full else [],
        notes=[
            f"p50 {median(waits):.2f} ms over {len(waits)} breaches with"
            f" {numbers['positions'][0]:.0f} positions at {numbers['ticks_per_s'][0]:,.0f} ticks/s;"
            f" from the judgement itself p99 {percentile(numbers['judged'], 0.99):.2f} ms"
        ],
    )


async def in_window(session: Session, effort: Effort) -> Numbers:
    numbers: Numbers = {"breach": [], "judged": [], "bare": [], "ticks_per_s": []}
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        settings = _settings(Path(folder))
        prepared = Path(folder) / "prepared"
        positions = await _open_positions(session, prepared, settings)
        for number in range(effort.count(_BREACHES, least=2)):
            data_dir = Path(folder) / f"breach-{number}"
            shutil.copytree(prepared, data_dir, ignore=shutil.ignore_patterns("lock", "*.sock"))
            async with session.desk(data_dir, settings) as desk:
                await _breach(desk, numbers, pause_s=0.3 + 0.007 * number)
            shutil.rmtree(data_dir)
    return {**numbers, "positions": [positions], "ticks_per_s": [median(numbers["ticks_per_s"])]}


def _settings(folder: Path) -> Configuration:
    """Room for twenty positions, and a hard limit that one push of the market passes."""
    plain = configuration()
    document = seeded(plain.paper.initial_balance, live=False)
    profile = msgspec.structs.replace(
        document.active,
        max_open_positions=len(_SYMBOLS),
        max_gross_exposure=Decimal(3),
        drawdown_soft=Decimal("0.01"),
        drawdown_hard=Decimal("0.02"),
        signal_rate=Decimal(50),
    )
    written = {
        "profile": document.profile,
        "profiles": {**document.profiles, document.profile: profile},
        "allow_new_trades": True,
    }
    path = folder / "policy.json"
    path.write_bytes(msgspec.json.encode(written))
    return configuration(symbols=_SYMBOLS, policy_file=str(path))


async def _open_positions(session: Session, data_dir: Path, settings: Configuration) -> int:
    async with session.desk(data_dir, settings) as desk:
        parts = desk.kernel.parts
        _silence_strategy(desk)
        await eventually(lambda: len(parts.market.last_prices()) == len(_SYMBOLS))
        for name in _SYMBOLS:
            parts.execution.signals.submit(
                Signal(
                    id=SignalId(f"s-{name}"),
                    symbol=Symbol(name),
                    side=Side.BUY,
                    confidence=0.9,
                    strategy="bench",
                    ts_ns=parts.clock.now_ns(),
                    trace=TraceId(f"s-{name}"),
                )
            )
        await eventually(lambda: len(parts.ledger.positions()) == len(_SYMBOLS), timeout_s=30)
        return len(parts.ledger.positions())


def _silence_strategy(desk: Desk) -> None:
    desk.kernel.parts.strategy.on_trade = lambda *_: None  # type: ignore[method-assign]  # See above.


async def _breach(desk: Desk, numbers: Numbers, *, pause_s: float) -> None:
    parts = desk.kernel.parts
    _silence_strategy(desk)
    loop = asyncio.get_running_loop()
    reached: asyncio.Future[int] = loop.create_future()
    pushed: dict[Symbol, int] = {}
    marks: dict[str, int] = {}
    heard: list[Symbol] = []
    cancel_all, trip, on_tick = parts.venue.cancel_all, parts.stop.trip, parts.account.on_tick

    async def timed_cancel_all(symbol: Symbol, *, conditional: bool) -> int:
        if not reached.done():
            reached.set_result(perf_counter_ns())
        return await cancel_all(symbol, conditional=conditional)

    def timed_trip(**what: Any) -> Trip:
        marks.setdefault("judged", perf_counter_ns())
        marks.setdefault("pushed", pushed.get(heard[-1], 0))
        return trip(**what)

    def watched_tick(tick: MarketTick) -> None:
        heard[:] = [tick.symbol]
        on_tick(tick)

    numbers["bare"].append(await _bare_call(desk))
    parts.venue.cancel_all = timed_cancel_all  # type: ignore[method-assign]  # Stopwatches.
    parts.stop.trip = timed_trip  # type: ignore[method-assign]
    parts.account.on_tick = watched_tick  # type: ignore[method-assign]
    await eventually(lambda: len(parts.market.last_prices()) == len(_SYMBOLS))
    async with desk.flooded(_TICKS_PER_S) as flood:
        began = perf_counter_ns()
        await asyncio.sleep(pause_s)
        numbers["ticks_per_s"].append(flood.pushed / (perf_counter_ns() - began) * 1e9)
        for symbol, price in parts.market.last_prices().items():
            pushed[symbol] = perf_counter_ns()
            fallen = price * (1 - _FALL)
            parts.market.on_trade(symbol, fallen, Decimal(1), Side.SELL, parts.clock.now_ns())
        at_port = await asyncio.wait_for(reached, 10)
    if not marks.get("pushed"):
        raise RuntimeError("something else tripped the stop: this measures something else")
    numbers["breach"].append((at_port - marks["pushed"]) / 1e6)
    numbers["judged"].append((at_port - marks["judged"]) / 1e6)


async def _bare_call(desk: Desk) -> float:
    """A task that calls the port, from its making to the call."""
    called: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def call() -> None:
        called.set_result(perf_counter_ns())
        await desk.kernel.parts.venue.cancel_all(Symbol(_SYMBOLS[0]), conditional=False)

    tasks = Tasks(on_fault=lambda name, error: None)
    began = perf_counter_ns()
    tasks.spawn("bare call", call())
    took_ms = (await called - began) / 1e6
    await tasks.cancel_all()
    return took_ms

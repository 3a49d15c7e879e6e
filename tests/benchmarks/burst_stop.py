"""An emergency stop in the middle of bursts: from the press to the bytes of its first cancel.

The whole kernel, live, over real sockets to a simulated Binance with its limits on, and four
positions. Meanwhile 2,000 reads are asked for at once and 50 signals a second come in. Baseline:
the same press on an idle engine. Counted too: answers that refuse for asking too often, which must
be none.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns

from engine.model.emergency import EmergencyState, Scope, TripSource
from engine.model.errors import VenueError
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.runtime import Tasks
from tests.benchmarks.figures import Bar, Effort, Figure
from tests.benchmarks.live_desk import LiveDesk, live_desk
from tests.simulators.process import simulator_process
from tests.waiting import eventually

__all__ = ["measure"]

_PRESSES = 5
_READS = 2_000
_SIGNALS_PER_S = 50
_LIMIT_MS = 50.0
_PRICES = {
    Symbol("BTCUSDT"): Decimal(65_000),
    Symbol("ETHUSDT"): Decimal(3_200),
    Symbol("SOLUSDT"): Decimal(150),
    Symbol("XRPUSDT"): Decimal("2.2"),
}
_CANCEL = "DELETE /fapi/v1/allOpenOrders"


def measure(effort: Effort) -> Figure:
    reads = effort.count(_READS)
    ours: list[float] = []
    idle: list[float] = []
    refused = 0
    for _ in range(effort.count(_PRESSES, least=1)):
        for waits, burst in ((idle, 0), (ours, reads)):
            with (
                simulator_process("binance") as simulator,
                TemporaryDirectory(prefix="seawall-bench-") as folder,
            ):

                async def pressed(burst: int = burst) -> tuple[float, int]:
                    async with live_desk(
                        Path(folder), simulator, _PRICES, {"signal_rate": "50"}
                    ) as desk:
                        await desk.open(tuple(_PRICES))
                        return await _press(desk, burst)

                took_ms, answered = asyncio.run(pressed())
                waits.append(took_ms)
                refused += answered
    return Figure(
        name="burst_stop",
        unit="ms, worst",
        better="lower",
        ours=[max(ours)],
        baseline_name="the same press on an idle engine",
        baseline=[max(idle)],
        bars=[
            Bar(f"worst {max(ours):.1f} ms, under 50 ms", max(ours) < _LIMIT_MS),
            Bar(f"{refused} answers for asking too often, none allowed", not refused),
        ]
        if effort.is_full
        else [],
        notes=[
            f"p50 {median(ours):.1f} ms of {len(ours)} presses, idle {median(idle):.1f} ms;"
            f" {reads} reads at once, {_SIGNALS_PER_S} signals a second"
        ],
    )


async def _press(desk: LiveDesk, reads: int) -> tuple[float, int]:
    """Milliseconds to the first cancel, and how often the venue had to refuse."""
    tasks = Tasks(on_fault=lambda name, error: None)
    parts = desk.kernel.parts
    if reads:
        for _ in range(reads):
            tasks.spawn("burst", _read(desk))
        tasks.spawn("signals", _signals(desk))
        await asyncio.sleep(0.3)  # In the middle of it.
    pressed_ns = perf_counter_ns()
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="bench", scope=Scope.NODE)
    left = await eventually(lambda: desk.first(_CANCEL, since_ns=pressed_ns), timeout_s=20)
    assert isinstance(left, int)
    await eventually(
        lambda: parts.stop.snapshot().state is EmergencyState.FLAT, timeout_s=60, interval_s=0.05
    )
    await tasks.cancel_all()
    return (left - pressed_ns) / 1e6, desk.refused()


async def _read(desk: LiveDesk) -> None:
    try:
        await desk.kernel.parts.venue.reads.open_orders(Symbol("BTCUSDT"))
    except VenueError:
        pass  # Told to wait, by us.


async def _signals(desk: LiveDesk) -> None:
    symbols = tuple(_PRICES)
    number = 0
    while True:
        number += 1
        side = Side.BUY if number % 2 else Side.SELL
        desk.signal(symbols[number % len(symbols)], side, confidence=number % 97 / 100)
        await asyncio.sleep(1 / _SIGNALS_PER_S)

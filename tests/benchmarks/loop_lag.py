"""How late the window's loop is while 20,000 events a second pass and the overview is painted.

A probe asks to be called every 5 ms and notes how late it was. Baseline: the same probe on the same
loop with no window and no engine, before and after.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.benchmarks.figures import Bar, Effort, Figure, percentile
from tests.benchmarks.window_desk import Numbers, Session, configuration, in_a_window
from tests.waiting import eventually

__all__ = ["in_window", "measure"]

_EVENTS_PER_S = 20_000
_ROUND_S = 4.0
_PROBE_S = 0.005
_P99_MS_MAX = 10.0
_WORST_MS_MAX = 50.0


def measure(effort: Effort) -> Figure:
    numbers = in_a_window("loop_lag", effort)
    p99, worst = median(numbers["p99"]), max(numbers["worst"])
    rate, frames = median(numbers["events_per_s"]), median(numbers["frames_per_s"])
    bars = [
        Bar(f"p99 {p99:.1f} ms, under 10", p99 < _P99_MS_MAX),
        Bar(f"worst {worst:.1f} ms, under 50", worst < _WORST_MS_MAX),
    ]
    return Figure(
        name="loop_lag",
        unit="ms p99",
        better="lower",
        ours=numbers["p99"],
        baseline_name="the same probe on an empty loop",
        baseline=numbers["empty_p99"],
        bars=bars if effort.is_full else [],
        notes=[
            f"p50 {median(numbers['p50']):.2f} ms at {rate:,.0f} events/s (asked: 20,000)"
            f" and {frames:.0f} chart frames/s"
        ],
    )


async def in_window(session: Session, effort: Effort) -> Numbers:
    seconds = max(0.3, _ROUND_S * effort.share)
    empty = [percentile(await _lags_ms(seconds), 0.99) for _ in range(effort.rounds)]
    numbers: Numbers = {"p50": [], "p99": [], "worst": [], "events_per_s": [], "frames_per_s": []}
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        async with session.desk(Path(folder), configuration()) as desk:
            parts = desk.kernel.parts
            await eventually(lambda: len(parts.market.last_prices()) == len(parts.feed.symbols))
            async with desk.flooded(_EVENTS_PER_S):
                for number in range(effort.rounds + 1):
                    ticks = parts.market.ticks
                    frames = desk.window.pacer.painted()["drawdown"]
                    lags = await _lags_ms(seconds)
                    if not number:
                        continue  # The first round only warms up.
                    took_s = max(seconds, len(lags) * _PROBE_S)
                    numbers["p50"].append(percentile(lags, 0.5))
                    numbers["p99"].append(percentile(lags, 0.99))
                    numbers["worst"].append(max(lags))
                    numbers["events_per_s"].append((parts.market.ticks - ticks) / took_s)
                    painted = desk.window.pacer.painted()["drawdown"] - frames
                    numbers["frames_per_s"].append(painted / took_s)
    empty += [percentile(await _lags_ms(seconds), 0.99) for _ in range(effort.rounds)]
    return {**numbers, "empty_p99": empty}


async def _lags_ms(seconds: float) -> list[float]:
    """How late each of the probe's calls was."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    lags: list[float] = []
    while loop.time() < end:
        due = loop.time() + _PROBE_S
        await asyncio.sleep(_PROBE_S)
        lags.append(max(0.0, loop.time() - due) * 1_000)
    return lags

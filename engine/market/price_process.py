"""One simulated price: a geometric walk with regimes, clustered volatility, jumps and a scripted
crash.

Per step the return is `sigma × regime × sqrt(h) × g + drift`, where g is normal, h follows
`h ← 0.02 + 0.08·h·g² + 0.90·h` (so that violent moments come in clusters, with mean 1), a regime
(quiet, ordinary, busy) with a small drift of its own lasts two minutes on average, and jumps come
at a rate per hour. It looks like a market; it is no model of one, and nothing learnt on it is worth
money. Statistics are floats, which never become money: a price leaves as a whole number of ticks ×
tick size.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from math import log, sqrt

import msgspec

from engine.model.instrument import Instrument
from engine.model.values import Side
from engine.runtime import Chance

STEP_NS = 500_000_000
_STEPS_PER_HOUR = 3600 * 1_000_000_000 // STEP_NS
_STEPS_PER_YEAR = 365 * 24 * _STEPS_PER_HOUR
_REGIMES = (0.5, 1.0, 2.0)
_REGIME_STEPS_MEAN = 120 * 1_000_000_000 / STEP_NS
# Drift of a regime in units of its own sigma per step; symmetric, so nothing can be earned on
# average.
_DRIFT_MAX = 0.05
_STEPS_PER_S = 1_000_000_000 / STEP_NS
_NOTIONAL_MAX = Decimal(50_000)
_QUANTITIES = 64
_H_MAX = 9.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of market: annual volatility, jumps, and at most one crash (fractions, seconds)."""

    volatility: float
    jumps_per_hour: float
    jump_size: float
    crash_fall: float = 0.0
    crash_after_s: float = 0.0
    crash_lasts_s: float = 0.0


SCENARIOS: dict[str, Scenario] = {
    "calm": Scenario(volatility=0.20, jumps_per_hour=0.0, jump_size=0.0),
    "normal": Scenario(volatility=0.60, jumps_per_hour=1.0, jump_size=0.001),
    "volatile": Scenario(volatility=1.50, jumps_per_hour=6.0, jump_size=0.003),
    # A steady fall of 12 % in half a minute: fast, but each step within any sane price collar.
    "crash": Scenario(
        volatility=0.60,
        jumps_per_hour=1.0,
        jump_size=0.001,
        crash_fall=0.12,
        crash_after_s=600.0,
        crash_lasts_s=30.0,
    ),
}


def walk(
    *, instrument: Instrument, start_price: Decimal, scenario: Scenario, chance: Chance
) -> Iterator[tuple[Decimal, Decimal, Side]]:
    """Price, quantity and aggressor of one trade each half second, without end.

    A generator, because its state in local variables makes a step cheaper than attributes would.
    """
    uniform, gauss = chance.random, chance.gauss
    tick_size = instrument.tick_size
    quantities = _quantities(instrument, start_price)
    sigma = scenario.volatility / sqrt(_STEPS_PER_YEAR)
    jump_chance = scenario.jumps_per_hour / _STEPS_PER_HOUR
    crash_from = round(scenario.crash_after_s * _STEPS_PER_S)
    crash_to = crash_from + round(scenario.crash_lasts_s * _STEPS_PER_S)
    crash_drift = log(1.0 - scenario.crash_fall) / max(1, crash_to - crash_from)
    # In ticks, and a float between steps, so that moves of less than a tick add up.
    ticks = float(start_price / tick_size)
    h, regime_sigma, drift, regime_to = 1.0, sigma, 0.0, 0
    for step in count():
        if step >= regime_to:
            regime_sigma = sigma * _REGIMES[int(uniform() * len(_REGIMES))]
            drift = regime_sigma * _DRIFT_MAX * (2.0 * uniform() - 1.0)
            regime_to = step + 1 + int(uniform() * 2.0 * _REGIME_STEPS_MEAN)
        g = gauss(0.0, 1.0)
        change = drift + regime_sigma * sqrt(h) * g
        h = min(_H_MAX, 0.02 + (0.08 * g * g + 0.90) * h)
        if uniform() < jump_chance:
            change += gauss(0.0, scenario.jump_size)
            h = _H_MAX
        if crash_from <= step < crash_to:
            change += crash_drift
            h = _H_MAX
        ticks = max(1.0, ticks * (1.0 + change))
        yield (
            Decimal(round(ticks)) * tick_size,
            quantities[int(uniform() * _QUANTITIES)],
            Side.BUY if change >= 0.0 else Side.SELL,
        )


def _quantities(instrument: Instrument, start_price: Decimal) -> tuple[Decimal, ...]:
    """Sizes of trades up to a maximum notional; the cube makes most small and a few large."""
    steps_max = int(_NOTIONAL_MAX / start_price / instrument.quantity_step)
    return tuple(
        (1 + steps_max * number**3 // _QUANTITIES**3) * instrument.quantity_step
        for number in range(_QUANTITIES)
    )


__all__ = ["SCENARIOS", "STEP_NS", "Scenario", "walk"]

"""A part of a simulated day with its crash; a whole one is `tests.simulation.simulated_day`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.simulated_day import run_day

_HALF_HOUR_S = 1_800


@pytest.mark.timeout(90)
@pytest.mark.allow_log("")
@pytest.mark.parametrize("seed", [1, 2])
def test_the_stop_trips_exactly_when_it_must(seed: int, tmp_path: Path) -> None:
    """Goal: by the ticks and the venue's fills alone, the first tick beyond the limit trips it."""
    day = run_day(tmp_path, seed=seed, seconds=_HALF_HOUR_S)
    assert day.ticks >= 4 * 2 * (_HALF_HOUR_S - 100)
    assert day.must_trip_ns is not None, "the crash was too weak to prove anything"
    assert day.trips == [("drawdown", day.must_trip_ns)]
    assert day.hard_breaches == 1
    assert day.latched
    assert day.flat
    assert day.summary["ok"]

"""Stopwatches: the real one goes on, the counting one says the same in every run."""

from __future__ import annotations

from engine.runtime import CountingStopwatch, read_stopwatch_ns


def test_the_real_stopwatch_never_goes_back() -> None:
    readings = [read_stopwatch_ns() for _ in range(1_000)]
    assert readings == sorted(readings)
    assert readings[-1] > readings[0]


def test_the_counting_stopwatch_advances_by_its_step_at_each_reading() -> None:
    stopwatch = CountingStopwatch(step_ns=250)
    assert [stopwatch() for _ in range(4)] == [250, 500, 750, 1_000]

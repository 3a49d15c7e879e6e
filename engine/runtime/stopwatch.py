"""Stopwatches: nanosecond readings for budgets of running code, apart from trading time.

Why apart: trading time stands still while a handler runs, so a budget needs another reading. The
real one is `read_stopwatch_ns`; a simulation takes a `CountingStopwatch`, whose every reading
advances by a fixed step, so that a time-boxed drain stops at the same event in every run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Stopwatch = Callable[[], int]


def read_stopwatch_ns() -> int:
    """Nanoseconds from an arbitrary start; never goes back, high resolution."""
    return time.perf_counter_ns()


class CountingStopwatch:
    """A deterministic stopwatch: each reading is `step_ns` after the one before."""

    def __init__(self, *, step_ns: int) -> None:
        self._step_ns = step_ns
        self._reading_ns = 0

    def __call__(self) -> int:
        self._reading_ns += self._step_ns
        return self._reading_ns


__all__ = ["CountingStopwatch", "Stopwatch", "read_stopwatch_ns"]

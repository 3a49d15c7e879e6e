"""Trend histories in fixed memory over the last hour, with gaps as gaps.

Drawdown, queue fill and events that wait for Redis.
Numbers here are floats, for painting only: x is seconds, y per cent or a count. A hole of more than
``GAP_S`` between two samples is stored as NaN, so that a chart breaks its line there instead of
inventing one (R32).
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.model.snapshots import EngineSnapshot

__all__ = ["GAP_S", "WINDOW_S", "TrendSeries", "TrendsViewModel"]

GAP_S: Final = 10.0
WINDOW_S: Final = 3_600.0
_CAPACITY: Final = 40_000  # An hour at 10 Hz, and room to spare before the buffer is moved.

Floats = npt.NDArray[np.float64]


class TrendSeries:
    """A growing series that forgets what is older than the window, without a copy per sample."""

    def __init__(self, *, window_s: float = WINDOW_S, capacity: int = _CAPACITY) -> None:
        self._window_s = window_s
        self._x = np.empty(2 * capacity, dtype=np.float64)
        self._y = np.empty(2 * capacity, dtype=np.float64)
        self._capacity = capacity
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def last_x(self) -> float | None:
        """Time of the newest sample."""
        return float(self._x[self._end - 1]) if len(self) else None

    def append(self, x_s: float, value: float | None) -> None:
        """Add a sample; None is a gap. Time that steps back starts the series anew."""
        last = self.last_x
        if last is not None:
            if x_s == last:
                return
            if x_s < last:
                self._start = self._end = 0
            elif x_s - last > GAP_S and not math.isnan(self._y[self._end - 1]):
                self._push((last + x_s) / 2, math.nan)
        self._push(x_s, math.nan if value is None else value)
        oldest = x_s - self._window_s
        while self._end - self._start > self._capacity or self._x[self._start] < oldest:
            self._start += 1

    def load(self, xs_s: Floats, values: Floats) -> None:
        """Replace the series by a recorded one, oldest first."""
        self._start = self._end = 0
        for x_s, value in zip(xs_s, values, strict=True):
            self.append(float(x_s), float(value))

    def view(self) -> tuple[Floats, Floats]:
        """The samples; views into the buffer, to be used before the next append."""
        return self._x[self._start : self._end], self._y[self._start : self._end]

    def _push(self, x_s: float, value: float) -> None:
        if self._end == len(self._x):
            kept = self._end - self._start
            self._x[:kept] = self._x[self._start : self._end]
            self._y[:kept] = self._y[self._start : self._end]
            self._start, self._end = 0, kept
        self._x[self._end] = x_s
        self._y[self._end] = value
        self._end += 1


class TrendsViewModel:
    """Feeds the series from snapshots and remembers when ticks were dropped."""

    def __init__(self) -> None:
        self.drawdown = TrendSeries()
        self.queue = TrendSeries()
        self.buffer = TrendSeries()
        self.drops_s: list[float] = []
        self._dropped: int | None = None

    def take(self, snapshot: EngineSnapshot) -> None:
        """Add one sample of each; trading time for the account, the machine's time for queue
        and buffer.
        """
        drawdown = snapshot.risk.drawdown
        percent = None if drawdown is None else -float(drawdown) * 100
        self.drawdown.append(snapshot.ts_ns / 1e9, percent)
        now_s = snapshot.monotonic_ns / 1e9
        self.queue.append(now_s, snapshot.bus.utilisation * 100)
        self.buffer.append(now_s, float(snapshot.journal.pending))
        if self._dropped is not None and snapshot.bus.dropped > self._dropped:
            self.drops_s.append(now_s)
        self._dropped = snapshot.bus.dropped
        self.drops_s = [at for at in self.drops_s[-200:] if at >= now_s - WINDOW_S]

    def load_drawdown(self, points: list[tuple[float, float]]) -> None:
        """Start from the recorded history: (seconds, positive fraction), oldest first."""
        if points:
            table = np.array(points, dtype=np.float64)
            self.drawdown.load(table[:, 0], -table[:, 1] * 100)

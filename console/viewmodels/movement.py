"""How fast a figure moves, over the last seconds: what "full in 40 s" and "empty in 4 s" need.

No single snapshot holds a rate, so it is kept here. A clock that steps back begins anew.
Units: seconds of the engine's monotonic clock, and whatever the figure counts. Pure.
"""

from collections import deque
from typing import Final

__all__ = ["Movement"]

_WINDOW_S: Final = 20.0


class Movement:
    """The last seconds of one figure."""

    def __init__(self, *, window_s: float = _WINDOW_S, span_min_s: float = 4.0) -> None:
        """No rate is told from less than ``span_min_s``."""
        self._window_s = window_s
        self._span_min_s = span_min_s
        self._points: deque[tuple[float, float]] = deque()

    def add(self, at_s: float, value: float) -> None:
        """One more sample; the same instant twice counts once."""
        if self._points and at_s <= self._points[-1][0]:
            if at_s == self._points[-1][0]:
                return
            self._points.clear()
        self._points.append((at_s, value))
        while at_s - self._points[0][0] > self._window_s:
            self._points.popleft()

    def restart(self) -> None:
        """What comes now has nothing to do with what came before."""
        self._points.clear()

    @property
    def rate_per_s(self) -> float | None:
        """Change a second; None while too little is known."""
        if len(self._points) < 2:
            return None
        (since_s, before), (at_s, value) = self._points[0], self._points[-1]
        span_s = at_s - since_s
        return (value - before) / span_s if span_s >= self._span_min_s else None

    def seconds_until(self, limit: float) -> float | None:
        """When the limit is met if it goes on like this; None when it moves away, or stands."""
        rate = self.rate_per_s
        if not rate:
            return None
        seconds = (limit - self._points[-1][1]) / rate
        return seconds if seconds > 0 else None

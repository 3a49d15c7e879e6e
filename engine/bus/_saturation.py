"""How full the queue is, as a state with hysteresis: normal, warning, critical.

Rises at 80 and 95 %, falls only below 70 %. A warning is announced at most once in 30 s, a
critical state whenever it begins, and the end of either only when its beginning was announced.
`BusSaturated` is remembered for 10 s, because the gate asks for it. Times are monotonic
nanoseconds, sizes are events.
"""

from __future__ import annotations

from engine.model.events import BusQueueCleared, BusQueueCritical, BusQueueEvent, BusQueueWarning
from engine.model.limits import (
    BUS_CLEAR_UTILISATION,
    BUS_CRITICAL_UTILISATION,
    BUS_SATURATED_GATE_S,
    BUS_WARNING_INTERVAL_S,
    BUS_WARNING_UTILISATION,
)

_SECOND_NS = 1_000_000_000


class Saturation:
    """The state and what to announce; decides nothing else."""

    def __init__(self, *, capacity: int) -> None:
        self.capacity = capacity
        self.state = "normal"
        self._warning_size = _at_least(capacity, BUS_WARNING_UTILISATION)
        self._critical_size = _at_least(capacity, BUS_CRITICAL_UTILISATION)
        self._clear_size = capacity * BUS_CLEAR_UTILISATION
        self._announced = False
        self._warned_ns: int | None = None
        self._refused_ns: int | None = None

    @property
    def watch_size(self) -> int:
        """The size from which `rise` has something to say."""
        if self.state == "normal":
            return self._warning_size
        return self._critical_size if self.state == "warning" else self.capacity + 1

    def rise(self, size: int, now_ns: int) -> type[BusQueueEvent] | None:
        """The queue grew; the event to announce, if any."""
        if size >= self._critical_size and self.state != "critical":
            self.state = "critical"
            self._announced = True
            return BusQueueCritical
        if size >= self._warning_size and self.state == "normal":
            self.state = "warning"
            interval_ns = round(BUS_WARNING_INTERVAL_S * _SECOND_NS)
            if self._warned_ns is None or now_ns - self._warned_ns >= interval_ns:
                self._warned_ns = now_ns
                self._announced = True
                return BusQueueWarning
        return None

    def fall(self, size: int) -> type[BusQueueEvent] | None:
        """The queue shrank; the event to announce, if any."""
        if self.state == "normal" or size >= self._clear_size:
            return None
        self.state = "normal"
        announced, self._announced = self._announced, False
        return BusQueueCleared if announced else None

    def refused(self, now_ns: int) -> None:
        """Remember that somebody got BusSaturated."""
        self._refused_ns = now_ns

    def shuts_gate(self, now_ns: int) -> bool:
        """Critical, or refused somebody within the last 10 s."""
        if self.state == "critical":
            return True
        window_ns = round(BUS_SATURATED_GATE_S * _SECOND_NS)
        return self._refused_ns is not None and now_ns - self._refused_ns <= window_ns


def _at_least(capacity: int, utilisation: float) -> int:
    return max(1, -int(-capacity * utilisation // 1))


__all__ = ["Saturation"]

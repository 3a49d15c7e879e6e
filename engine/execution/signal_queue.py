"""The bounded queue of signals: 100 at most, best confidence first, at most so many a second.

Why: a flood of signals must overrun neither us nor the venue (R-EXE-2). When full, the lowest
confidence loses its place to a better newcomer, otherwise the newcomer is dropped; the victim is
always named. A signal older than its time to live is discarded. Pure: time comes in as values, in
nanoseconds; confidence is 0 to 1.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

import msgspec

from engine.model.signals import Signal


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a newcomer: `accepted`, and the `victim` that was dropped, if any."""

    accepted: bool
    victim: Signal | None = None


class SignalQueue:
    """Signals waiting for their turn."""

    def __init__(self) -> None:
        self._waiting: list[Signal] = []
        self._executed_ns: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, signal: Signal, *, capacity: int) -> Offer:
        """Add a signal; in a full queue the one with the lowest confidence (the youngest of equals)
        is the victim.
        """
        if len(self._waiting) < capacity:
            self._waiting.append(signal)
            return Offer(accepted=True)
        weakest = min(self._waiting, key=lambda entry: (entry.confidence, -entry.ts_ns))
        if signal.confidence <= weakest.confidence:
            return Offer(accepted=False, victim=signal)
        self._waiting.remove(weakest)
        self._waiting.append(signal)
        return Offer(accepted=True, victim=weakest)

    def trim(self, *, capacity: int) -> list[Signal]:
        """Take out the weakest beyond a capacity that has become smaller."""
        ranked = sorted(self._waiting, key=lambda entry: (entry.confidence, -entry.ts_ns))
        victims = ranked[: max(0, len(ranked) - capacity)]
        for victim in victims:
            self._waiting.remove(victim)
        return victims

    def expire(self, *, now_ns: int, ttl_s: Decimal) -> list[Signal]:
        """Take out everything older than its time to live."""
        oldest_ns = now_ns - int(ttl_s * 1_000_000_000)
        expired = [signal for signal in self._waiting if signal.ts_ns < oldest_ns]
        if expired:
            self._waiting = [signal for signal in self._waiting if signal.ts_ns >= oldest_ns]
        return expired

    def take(self, *, now_ns: int, rate_per_s: Decimal) -> Signal | None:
        """The best signal, if the rate allows one now; the oldest of equal confidence first."""
        if not self._waiting or self.wait_s(now_ns=now_ns, rate_per_s=rate_per_s) > 0:
            return None
        best = max(self._waiting, key=lambda entry: (entry.confidence, -entry.ts_ns))
        self._waiting.remove(best)
        self._executed_ns.append(now_ns)
        return best

    def wait_s(self, *, now_ns: int, rate_per_s: Decimal) -> float:
        """Seconds until the rate allows the next one. Rates below one a second stretch the
        window.
        """
        if rate_per_s <= 0:
            return 1.0
        allowed = max(1, int(rate_per_s))
        window_ns = int(Decimal(allowed) / rate_per_s * 1_000_000_000)
        while self._executed_ns and self._executed_ns[0] <= now_ns - window_ns:
            self._executed_ns.popleft()
        if len(self._executed_ns) < allowed:
            return 0.0
        return (self._executed_ns[0] + window_ns - now_ns) / 1_000_000_000


__all__ = ["Offer", "SignalQueue"]

"""Which marks count: one wild or late price must not trip the stop, a real crash must, at once.

A mark counts when it is fresh and within the price collar of the last one that counted. One that is
stale or jumps further waits: the next mark, trade or book within the collar of it confirms it (the
newer one counts), one back near the last counted refutes it, and after 500 ms it counts by itself.
Several wild ones in a row share the first one's 500 ms, so that a crash without two alike prices is
not put off for ever. Prices in account currency, times in nanoseconds. Synchronous, on the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from engine.model.ids import Symbol
from engine.model.policy import Profile
from engine.ports.clock import Clock

UNCONFIRMED_NS_MAX = 500_000_000


class _Last:
    """What is known of one symbol."""

    __slots__ = ("counted", "counted_at", "since", "waiting")

    def __init__(self) -> None:
        self.counted: Decimal | None = None
        self.counted_at = 0
        self.waiting: Decimal | None = None
        self.since = 0


class MarkFilter:
    """Takes every price and says which one counts now. `profile` gives collar and permitted age."""

    def __init__(self, *, clock: Clock, profile: Callable[[], Profile]) -> None:
        self._clock = clock
        self._profile = profile
        self._symbols: dict[Symbol, _Last] = {}
        self._waiting: set[Symbol] = set()
        self._reckoned: Profile | None = None
        self._age_ns_max = 0
        self.held_back = 0
        self.refuted = 0

    def offer(self, symbol: Symbol, price: Decimal, ts_ns: int) -> Decimal | None:
        """The mark that counts from now on, or None while this one waits to be confirmed.

        Zero and negative prices never count.
        """
        if price <= 0:
            return None
        now = self._clock.monotonic_ns()
        last = self._symbols.get(symbol)
        if last is None:
            last = self._symbols[symbol] = _Last()
        profile = self._profile()
        if profile is not self._reckoned:
            # A multiplication spared on every tick; the profile is replaced whole when it changes.
            self._reckoned = profile
            self._age_ns_max = int(profile.max_market_data_age_s * 1_000_000_000)
        is_fresh = self._clock.now_ns() - ts_ns <= self._age_ns_max
        collar = profile.price_collar
        if is_fresh and (
            last.counted is None or abs(price - last.counted) <= collar * last.counted
        ):
            if last.waiting is not None and abs(price - last.waiting) > collar * last.waiting:
                self.refuted += 1
            return self._count(symbol, last, price, now)
        if last.waiting is not None:
            confirmed = abs(price - last.waiting) <= collar * last.waiting
            if confirmed or now - last.since >= UNCONFIRMED_NS_MAX:
                return self._count(symbol, last, price, now)
        else:
            last.since = now
            self.held_back += 1
        last.waiting = price
        self._waiting.add(symbol)
        return None

    def due(self) -> tuple[tuple[Symbol, Decimal], ...]:
        """Marks that have waited 500 ms and count now; ask several times in that span."""
        if not self._waiting:
            return ()
        now = self._clock.monotonic_ns()
        ripe: list[tuple[Symbol, Decimal]] = []
        for symbol in sorted(self._waiting):
            last = self._symbols[symbol]
            if last.waiting is not None and now - last.since >= UNCONFIRMED_NS_MAX:
                ripe.append((symbol, self._count(symbol, last, last.waiting, now)))
        return tuple(ripe)

    def due_in_s(self) -> float | None:
        """Seconds until the first waiting mark counts by itself; None when none waits."""
        if not self._waiting:
            return None
        first = min(self._symbols[symbol].since for symbol in self._waiting)
        return max(0.0, (first + UNCONFIRMED_NS_MAX - self._clock.monotonic_ns()) / 1e9)

    def confirm(self, symbol: Symbol, price: Decimal) -> Decimal:
        """A mark that was read from the venue on purpose: it counts as it is."""
        last = self._symbols.setdefault(symbol, _Last())
        return self._count(symbol, last, price, self._clock.monotonic_ns())

    def last_counted_ns(self, symbol: Symbol) -> int | None:
        """Monotonic time of the last mark that counted, or None when there was none."""
        last = self._symbols.get(symbol)
        return None if last is None or last.counted is None else last.counted_at

    def _count(self, symbol: Symbol, last: _Last, price: Decimal, now: int) -> Decimal:
        if last.waiting is not None:
            last.waiting = None
            self._waiting.discard(symbol)
        last.counted = price
        last.counted_at = now
        return price


__all__ = ["UNCONFIRMED_NS_MAX", "MarkFilter"]

"""How often something may be done for long: so many at once, then one each so many seconds.

Why: the stop reads the account until it is flat, however long that takes, and its reads use up the
same limits at the venue as its cancels. Pure; times are monotonic nanoseconds.
"""

from __future__ import annotations

_NS = 1_000_000_000


class Pace:
    """A bucket of `burst` turns that fills up by one every `refill_s`."""

    def __init__(self, *, burst: int, refill_s: float) -> None:
        self._full_ns = round(burst * refill_s * _NS)
        self._turn_ns = round(refill_s * _NS)
        # When the bucket will be full again.
        self._full_at_ns = 0

    def wait_s(self, now_ns: int) -> float:
        """How long until the next turn, in seconds; zero when there is one now."""
        over_ns = self._full_at_ns + self._turn_ns - now_ns - self._full_ns
        return max(0, over_ns) / _NS

    def take(self, now_ns: int) -> None:
        """Use a turn up, also one that is not there yet."""
        self._full_at_ns = max(self._full_at_ns, now_ns) + self._turn_ns

    def give_back(self) -> None:
        """A turn came to nothing, and its like wait for each other in another way."""
        self._full_at_ns -= self._turn_ns


__all__ = ["Pace"]

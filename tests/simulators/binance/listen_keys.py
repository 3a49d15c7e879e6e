"""The listen key of a user data stream: made, extended, closed, expired after 60 minutes.

Making one again answers the same key and extends it. What ends a key tells the streams on it;
a closed one just ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.simulators.binance.errors import ApiError
from tests.simulators.core.timers import Timer, Timers

_LIFE_S = 60 * 60


class ListenKeys:
    """At most one key at a time, of the one account."""

    def __init__(self, *, timers: Timers, seed: int, on_expired: Callable[[str], None]) -> None:
        self._timers = timers
        self._seed = seed
        self._on_expired = on_expired
        self._number = 0
        self._timer: Timer | None = None
        self.current: str | None = None

    def open(self) -> str:
        """The key, made when there is none, with a whole hour before it."""
        if self.current is None:
            self._number += 1
            digest = hashlib.sha256(f"{self._seed}:{self._number}".encode()).hexdigest()
            self.current = digest
        self._extend()
        return self.current

    def keep_alive(self) -> str:
        if self.current is None:
            raise ApiError(-1125, "This listenKey does not exist.")
        self._extend()
        return self.current

    def close(self) -> None:
        self._stop_timer()
        self.current = None

    def expire(self) -> None:
        """End the key now, and say so to its streams."""
        expired = self.current
        self._stop_timer()
        self.current = None
        if expired is not None:
            self._on_expired(expired)

    def _extend(self) -> None:
        self._stop_timer()
        self._timer = self._timers.after(_LIFE_S, "listen key", self.expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


__all__ = ["ListenKeys"]

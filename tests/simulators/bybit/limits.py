"""Bybit's limits: requests of an account for each endpoint in a rolling second, and of an address.

Over the first is retCode 10006 with headers that say when; over the second HTTP 403, for ten
minutes. Batches count every order in a pool of their own; what is over the limit fails, the rest
succeeds. Times in nanoseconds of the venue's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from tests.simulators.bybit.errors import ApiError

_NS = 1_000_000_000
_ADDRESS_REQUESTS = 600
_ADDRESS_WINDOW_NS = 5 * _NS
_ADDRESS_BAN_S = 600.0


class Limits:
    """The counters of one address and one account."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque()
        self._pools: dict[str, deque[int]] = {}
        self._banned_until_ns = 0
        self.earned_s: list[float] = []

    def admit_address(self, now_ns: int) -> None:
        if now_ns < self._banned_until_ns:
            raise _too_frequent()
        _forget(self._recent, now_ns - _ADDRESS_WINDOW_NS)
        self._recent.append(now_ns)
        if len(self._recent) > _ADDRESS_REQUESTS:
            self.earned_s.append(_ADDRESS_BAN_S)
            self.ban(_ADDRESS_BAN_S, now_ns)
            raise _too_frequent()

    def ban(self, seconds: float, now_ns: int) -> ApiError:
        self._banned_until_ns = now_ns + round(seconds * _NS)
        return _too_frequent()

    def admit(self, pool: str, limit: int, now_ns: int) -> None:
        """Count one of a pool; raises 10006 when the second is full."""
        if not self.has_room(pool, limit, now_ns):
            raise ApiError(10006, "Too many visits! Exceeded the API Rate Limit.")

    def has_room(self, pool: str, limit: int, now_ns: int) -> bool:
        """Count one of a pool if there is room for it."""
        stamps = self._pools.setdefault(pool, deque())
        _forget(stamps, now_ns - _NS)
        if len(stamps) >= limit:
            return False
        stamps.append(now_ns)
        return True

    def headers(self, pool: str, limit: int, now_ns: int) -> Mapping[str, str]:
        stamps = self._pools.get(pool, deque())
        _forget(stamps, now_ns - _NS)
        reset_ns = stamps[0] + _NS if len(stamps) >= limit else now_ns
        return {
            "X-Bapi-Limit": str(limit),
            "X-Bapi-Limit-Status": str(limit - len(stamps)),
            "X-Bapi-Limit-Reset-Timestamp": str(reset_ns // 1_000_000),
        }


def _forget(stamps: deque[int], until_ns: int) -> None:
    while stamps and stamps[0] <= until_ns:
        stamps.popleft()


def _too_frequent() -> ApiError:
    return ApiError(10018, "access too frequent", status=403)


__all__ = ["Limits"]

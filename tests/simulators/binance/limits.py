"""Binance's limits: weight for each address and minute, orders for each account, bans.

Windows are the venue's: aligned intervals, not sliding ones. Whoever goes on after a 429 is banned,
each time for longer: 2 minutes, doubling up to 3 days. Times in nanoseconds of the venue's clock.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.simulators.binance.errors import ApiError

WEIGHT_PER_MINUTE = 2400
ORDERS_PER_10_S = 300
ORDERS_PER_MINUTE = 1200
_NS = 1_000_000_000
_MINUTE_NS = 60 * _NS
_TEN_S_NS = 10 * _NS
_PATIENCE = 10
_BAN_FIRST_S = 120
_BAN_MAX_S = 3 * 24 * 3600


class _Window:
    """A count that starts anew with every interval."""

    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self._number = -1
        self.count = 0

    def roll(self, now_ns: int) -> None:
        number = now_ns // self._length_ns
        if number != self._number:
            self._number, self.count = number, 0

    def left_s(self, now_ns: int) -> int:
        """Whole seconds until the next interval, never zero."""
        return -(-(self._length_ns - now_ns % self._length_ns) // _NS)


class Limits:
    """The counters of one address and one account, which here are the same client's."""

    def __init__(self) -> None:
        self._weight = _Window(_MINUTE_NS)
        self._ten_s = _Window(_TEN_S_NS)
        self._minute = _Window(_MINUTE_NS)
        self._limited_until_ns = 0
        self._banned_until_ns = 0
        self._ignored = 0
        self._bans = 0
        self.earned_s: list[float] = []

    def admit(self, weight: int, now_ns: int) -> None:
        """Count a request's weight; raises 429 or 418."""
        self._weight.roll(now_ns)
        if now_ns < self._banned_until_ns:
            raise self._ban_error(now_ns)
        if now_ns < self._limited_until_ns or self._weight.count + weight > WEIGHT_PER_MINUTE:
            self._ignored += 1
            if self._ignored > _PATIENCE:
                seconds = min(_BAN_FIRST_S * 2**self._bans, _BAN_MAX_S)
                self.earned_s.append(seconds)
                self.ban(seconds, now_ns)
                raise self._ban_error(now_ns)
            self._limited_until_ns = max(
                self._limited_until_ns, now_ns + self._weight.left_s(now_ns) * _NS
            )
            raise self._limit_error(now_ns)
        self._ignored = 0
        self._weight.count += weight

    def admit_orders(self, in_ten_s: int, in_minute: int, now_ns: int) -> None:
        """Count orders; raises -1015."""
        self._ten_s.roll(now_ns)
        self._minute.roll(now_ns)
        for window, more, limit, name in (
            (self._ten_s, in_ten_s, ORDERS_PER_10_S, "10 SECOND"),
            (self._minute, in_minute, ORDERS_PER_MINUTE, "1 MINUTE"),
        ):
            if window.count + more > limit:
                raise ApiError(
                    -1015,
                    f"Too many new orders; current limit is {limit} orders per {name}.",
                    status=429,
                    headers={"Retry-After": str(window.left_s(now_ns))},
                )
        self._ten_s.count += in_ten_s
        self._minute.count += in_minute

    def limit(self, seconds: float, now_ns: int) -> ApiError:
        """Limit from now on, as a fault has it; the error that says so."""
        self._limited_until_ns = now_ns + round(seconds * _NS)
        return self._limit_error(now_ns)

    def ban(self, seconds: float, now_ns: int) -> ApiError:
        """Ban from now on; the error that says so."""
        self._bans += 1
        self._ignored = 0
        self._banned_until_ns = now_ns + round(seconds * _NS)
        return self._ban_error(now_ns)

    def headers(self, now_ns: int, *, with_orders: bool) -> Mapping[str, str]:
        """What every answer says of the counters."""
        for window in (self._weight, self._ten_s, self._minute):
            window.roll(now_ns)
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._weight.count)}
        if with_orders:
            headers["X-MBX-ORDER-COUNT-10S"] = str(self._ten_s.count)
            headers["X-MBX-ORDER-COUNT-1M"] = str(self._minute.count)
        return headers

    def _limit_error(self, now_ns: int) -> ApiError:
        wait_s = max(1, -(-(self._limited_until_ns - now_ns) // _NS))
        return ApiError(
            -1003,
            f"Too many requests; current limit of IP(127.0.0.1) is {WEIGHT_PER_MINUTE} requests "
            "per minute. Please use the websocket for live updates to avoid polling the API.",
            status=429,
            headers={"Retry-After": str(wait_s)},
        )

    def _ban_error(self, now_ns: int) -> ApiError:
        until_ms = self._banned_until_ns // 1_000_000
        wait_s = max(1, -(-(self._banned_until_ns - now_ns) // _NS))
        return ApiError(
            -1003,
            f"Way too many requests; IP(127.0.0.1) banned until {until_ms}. "
            "Please use the websocket for live updates to avoid bans.",
            status=418,
            headers={"Retry-After": str(wait_s)},
        )


__all__ = ["ORDERS_PER_10_S", "ORDERS_PER_MINUTE", "WEIGHT_PER_MINUTE", "Limits"]

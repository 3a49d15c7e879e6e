"""Binance's REST interface: what a request costs, its time and signature, and what an answer means.

A request waits for its limits, then for a connection; only then, in the step in which it leaves, is
it checked (`before`), dated by the venue's clock and signed. Every answer corrects the limits. A
refusal for its time has the clocks compared again before the next request. Raises as the ports say;
an answer that cannot be read is an unknown outcome. Never sends anything twice.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from engine.model.api_key import ApiKey
from engine.model.errors import OutcomeUnknown, VenueError, require
from engine.ports import Clock
from engine.venues.binance.decoding import NS_PER_MS, TimeAnswer, Undecodable, decode
from engine.venues.binance.endpoints import (
    ORDERS_1M,
    ORDERS_10S,
    TIME,
    USED_HEADERS,
    WEIGHT,
    Endpoint,
    Security,
)
from engine.venues.binance.errors import STALE_TIME_CODES, read_error, refusal
from engine.venues.binance.signing import encoded, signed
from engine.venues.transport.http import Connections, HttpAnswer, Outgoing
from engine.venues.transport.rate_limits import Lane, RateLimits
from engine.venues.transport.shared_attempt import SharedAttempt

RECEIVE_WINDOW_MS = 5000
_BAN_S = 120.0
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
T = TypeVar("T")


class BinanceRest:
    """Calls endpoints with one key, or without one those that need none."""

    def __init__(
        self, *, clock: Clock, key: ApiKey | None, connections: Connections, limits: RateLimits
    ) -> None:
        self._clock = clock
        self._key = key
        self._connections = connections
        self.limits = limits
        self.offset_ns = 0
        self._is_time_stale = True
        self._comparison = SharedAttempt()

    def venue_now_ms(self) -> int:
        """The venue's time, as far as we know it."""
        return (self._clock.now_ns() + self.offset_ns) // NS_PER_MS

    async def compare_clocks(self, lane: Lane = Lane.READ) -> int:
        """Measure how far the venue's clock is ahead of ours, in nanoseconds, and go by it."""
        began = self._clock.now_ns()
        answer = await self._call(TIME, {}, lane, TimeAnswer)
        halfway = (began + self._clock.now_ns()) // 2
        self.offset_ns = answer.server_time * NS_PER_MS - halfway
        self._is_time_stale = False
        return self.offset_ns

    async def call(
        self,
        endpoint: Endpoint,
        parameters: Mapping[str, str],
        kind: type[T],
        *,
        lane: Lane = Lane.READ,
        receive_window_ms: int = RECEIVE_WINDOW_MS,
        before: Callable[[], None] | None = None,
    ) -> T:
        """Send it and return the answer as `kind`; `before` is asked right before it leaves."""
        if endpoint.security is Security.SIGNED and self._is_time_stale:
            await self._compare_before(lane)
        return await self._call(endpoint, parameters, lane, kind, receive_window_ms, before)

    async def _compare_before(self, lane: Lane) -> None:
        """Compare clocks for the sake of what is to follow, once for all that ask for it now."""
        if not lane.is_emergency:
            await self._comparison.run(lambda: self.compare_clocks(lane))
            return
        # It waits for nobody, and goes with the time that is known: it may well be accepted again.
        with contextlib.suppress(VenueError):
            await self.compare_clocks(lane)

    async def _call(
        self,
        endpoint: Endpoint,
        parameters: Mapping[str, str],
        lane: Lane,
        kind: type[T],
        receive_window_ms: int = RECEIVE_WINDOW_MS,
        before: Callable[[], None] | None = None,
    ) -> T:
        costs = endpoint.costs(with_symbol="symbol" in parameters)
        await self.limits.admit(costs, lane)

        def make() -> Outgoing:
            if before is not None:
                before()
            return self._outgoing(endpoint, parameters, receive_window_ms)

        asked_ns = self._clock.monotonic_ns()
        answer = await self._connections.send(lane, make)
        self._hear(answer, asked_ns)
        if not 200 <= answer.status < 300:
            raise self._refused(answer, lane)
        self.limits.accepted(costs)
        try:
            return decode(answer.body, kind)
        except Undecodable as error:
            raise OutcomeUnknown(f"{endpoint.method} {endpoint.path}: {error}") from error

    def _outgoing(
        self, endpoint: Endpoint, parameters: Mapping[str, str], receive_window_ms: int
    ) -> Outgoing:
        query = encoded(parameters)
        target = f"{endpoint.path}?{query}" if query else endpoint.path
        if endpoint.security is Security.NONE:
            return Outgoing(method=endpoint.method, target=target)
        key = self._key
        require(key is not None, f"{endpoint.path} needs a key")
        assert key is not None
        keyed = {"X-MBX-APIKEY": key.key}
        if endpoint.security is Security.KEY:
            return Outgoing(method=endpoint.method, target=target, headers=keyed)
        dated = {
            **parameters,
            "recvWindow": str(receive_window_ms),
            "timestamp": str(self.venue_now_ms()),
        }
        return Outgoing(
            method=endpoint.method,
            target=f"{endpoint.path}?{signed(dated, key=key)}",
            headers=keyed,
        )

    def _hear(self, answer: HttpAnswer, asked_ns: int) -> None:
        """Take over what the answer says of the limits."""
        for pool, header in USED_HEADERS.items():
            used = answer.headers.get(header, "")
            if used.isascii() and used.isdigit():
                self.limits.heard(pool, int(used), asked_ns=asked_ns)

    def _refused(self, answer: HttpAnswer, lane: Lane) -> Exception:
        """The error of an answer that is no success, with what it means for limits and clocks."""
        error = read_error(answer.body)
        code, text = (error.code, error.msg) if error else (0, "")
        retry_after_s = _seconds(answer.headers.get("retry-after", ""))
        if answer.status == 418:
            retry_after_s = self._ban_s(text, retry_after_s)
            self.limits.banned(retry_after_s)
        elif code == -1015:
            orders = (ORDERS_10S, ORDERS_1M)
            retry_after_s = self.limits.refused(orders, retry_after_s=retry_after_s, lane=lane)
        elif answer.status == 429 or code == -1003:
            retry_after_s = self.limits.refused((WEIGHT,), retry_after_s=retry_after_s, lane=lane)
        if code in STALE_TIME_CODES:
            self._is_time_stale = True
        return refusal(answer.status, answer.body, retry_after_s=retry_after_s)

    def _ban_s(self, text: str, retry_after_s: float | None) -> float:
        found = _BANNED_UNTIL.search(text)
        stated_s = (int(found[1]) - self.venue_now_ms()) / 1000 if found else 0.0
        return max(stated_s, retry_after_s or 0.0) or _BAN_S


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else None


__all__ = ["RECEIVE_WINDOW_MS", "BinanceRest"]

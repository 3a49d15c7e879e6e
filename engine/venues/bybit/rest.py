"""Bybit's REST interface: what a request costs, its time and signature, and what an answer means.

A request waits for its limits, then for a connection; only then, in the step in which it leaves, is
it checked (`before`), dated by the venue's clock and signed. What an answer says of its endpoint's
limit corrects ours. A refusal for its time has the clocks compared again before the next request,
and an address that asked too often is silent for ten minutes. Raises as the ports say; an answer
that cannot be read is an unknown outcome, or of a read: not read. Never sends anything twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from engine.model.api_key import ApiKey
from engine.model.errors import NotExecuted, VenueError, require
from engine.ports import Clock
from engine.venues.bybit import requests
from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.endpoints import ADDRESS, pool_of
from engine.venues.bybit.errors import (
    ADDRESS_BAN_S,
    RATE_CODES,
    STALE_TIME_CODES,
    is_address_ban,
    read_verdict,
    refusal,
    undecodable,
)
from engine.venues.bybit.requests import Request
from engine.venues.bybit.signing import RECEIVE_WINDOW_MS, Signer
from engine.venues.bybit.streams import decode_server_time
from engine.venues.transport.http import Connections, HttpAnswer, Outgoing
from engine.venues.transport.rate_limits import Lane, RateLimits
from engine.venues.transport.shared_attempt import SharedAttempt

_NS_PER_MS = 1_000_000
# How long the venue may take to read the first message of a stream.
_LOGIN_S = 10
_LIMIT_HEADER, _LEFT_HEADER = "x-bapi-limit", "x-bapi-limit-status"
_OVERLOADED = 429
_JSON = {"Content-Type": "application/json"}
T = TypeVar("T")


class BybitRest:
    """Calls endpoints with one key, or without one those that need none."""

    def __init__(
        self, *, clock: Clock, key: ApiKey | None, connections: Connections, limits: RateLimits
    ) -> None:
        self._clock = clock
        self._known_signer = Signer(api_key=key.key, api_secret=key.secret) if key else None
        self._connections = connections
        self.limits = limits
        self.offset_ns = 0
        self._is_time_stale = True
        self._comparison = SharedAttempt()
        # What headers have said of endpoints' limits; until then, the table holds.
        self._declared: dict[str, int] = {}

    @property
    def _signer(self) -> Signer:
        require(self._known_signer is not None, "this endpoint needs a key")
        assert self._known_signer is not None
        return self._known_signer

    def venue_now_ms(self) -> int:
        """The venue's time, as far as we know it."""
        return (self._clock.now_ns() + self.offset_ns) // _NS_PER_MS

    async def compare_clocks(self, lane: Lane = Lane.READ) -> int:
        """Measure how far the venue's clock is ahead of ours, in nanoseconds, and go by it."""
        began = self._clock.now_ns()
        venue_ns = await self._call(requests.server_time(), decode_server_time, lane)
        halfway = (began + self._clock.now_ns()) // 2
        self.offset_ns = venue_ns - halfway
        self._is_time_stale = False
        return self.offset_ns

    async def call(
        self,
        request: Request,
        read: Callable[[bytes], T],
        *,
        lane: Lane = Lane.READ,
        receive_window_ms: int = RECEIVE_WINDOW_MS,
        before: Callable[[], None] | None = None,
    ) -> T:
        """Send it and return what `read` makes of the answer; `before` is asked right before it
        leaves.
        """
        if request.endpoint.is_signed and self._is_time_stale:
            await self._compare_before(lane)
        return await self._call(request, read, lane, receive_window_ms, before)

    async def stream_login(self) -> str:
        """The first message of a private stream; it has to be sent at once."""
        if self._is_time_stale:
            await self._compare_before(Lane.READ)
        expires_ms = self.venue_now_ms() + _LOGIN_S * 1000
        return self._signer.stream_login(expires_ms=expires_ms).decode()

    async def _compare_before(self, lane: Lane) -> None:
        """Compare clocks for the sake of what is to follow, which has not been sent."""
        try:
            if lane.is_emergency:
                await self.compare_clocks(lane)  # It waits for nobody else's comparison.
            else:
                await self._comparison.run(lambda: self.compare_clocks(lane))
        except VenueError as error:
            if lane.is_emergency:
                return  # It goes with the time that is known: it may well be accepted again.
            retry_after_s = error.retry_after_s if isinstance(error, NotExecuted) else 1.0
            raise NotExecuted(
                f"not sent: the venue's time is not known ({error})", retry_after_s=retry_after_s
            ) from error

    async def _call(
        self,
        request: Request,
        read: Callable[[bytes], T],
        lane: Lane,
        receive_window_ms: int = RECEIVE_WINDOW_MS,
        before: Callable[[], None] | None = None,
    ) -> T:
        costs = request.endpoint.costs(orders=request.orders)
        await self.limits.admit(costs, lane)

        def make() -> Outgoing:
            if before is not None:
                before()
            return self._outgoing(request, receive_window_ms)

        asked_ns = self._clock.monotonic_ns()
        answer = await self._connections.send(lane, make)
        self._hear(request, answer, asked_ns)
        error = self._refused(request, answer, lane)
        if error is not None:
            raise error
        self.limits.accepted(costs)
        try:
            return read(answer.body)
        except Undecodable as odd:
            raise undecodable(request.kind, f"{request.path}: {odd}") from odd

    def _outgoing(self, request: Request, receive_window_ms: int) -> Outgoing:
        signed: Mapping[str, str] = {}
        if request.endpoint.is_signed:
            signed = self._signer.headers(
                request.payload,
                timestamp_ms=self.venue_now_ms(),
                receive_window_ms=receive_window_ms,
            )
        return Outgoing(
            method=request.method,
            target=request.target,
            headers={**signed, **_JSON} if request.body else signed,
            body=request.body,
        )

    def _hear(self, request: Request, answer: HttpAnswer, asked_ns: int) -> None:
        """Take over what the answer says of the endpoint's limit."""
        limit = _whole(answer.headers.get(_LIMIT_HEADER, ""))
        left = _whole(answer.headers.get(_LEFT_HEADER, ""))
        if not request.endpoint.per_second or not limit or left is None:
            return
        if self._declared.get(request.path, request.endpoint.per_second) != limit:
            self._declared[request.path] = limit
            self.limits.declare(pool_of(request.path, limit))
        self.limits.heard(request.path, limit - left, asked_ns=asked_ns)

    def _refused(self, request: Request, answer: HttpAnswer, lane: Lane) -> VenueError | None:
        """The error of an answer that is no success, with what it means for limits and clocks."""
        error = refusal(
            answer.status,
            answer.body,
            request.kind,
            headers=answer.headers,
            now_ms=self.venue_now_ms(),
        )
        if error is None:
            return None
        verdict = read_verdict(answer.body)
        code = verdict.code if verdict else 0
        if code in STALE_TIME_CODES:
            self._is_time_stale = True
        if is_address_ban(answer.status, answer.body):
            self.limits.banned(ADDRESS_BAN_S)
        elif code in RATE_CODES or _OVERLOADED in (code, answer.status):
            said_s = error.retry_after_s if isinstance(error, NotExecuted) else None
            pool = request.path if request.endpoint.per_second else ADDRESS
            rest_s = self.limits.refused((pool,), retry_after_s=said_s, lane=lane)
            if isinstance(error, NotExecuted):
                return NotExecuted(str(error), retry_after_s=rest_s)
        return error


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


__all__ = ["BybitRest"]

"""A simulated exchange as a client meets it, without sockets: requests, streams, faults, control.

`Exchange.request` and `Exchange.connect` are what the socket layer serves; a client in memory calls
them itself, on simulated time. The faults that concern a request are played here, around the
dialect's `handle`, so that every dialect has the same ones.
"""

from __future__ import annotations

import abc
import re
from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from engine.model.ids import Symbol
from engine.ports.clock import Clock
from engine.runtime import Tasks
from tests.simulators.audit import AuditList
from tests.simulators.core.timers import Timers
from tests.simulators.core.venue import Rules, Venue
from tests.simulators.faults import (
    IMMEDIATE_FAULTS,
    REQUEST_FAULTS,
    Fault,
    FaultRule,
    Faults,
)
from tests.simulators.sessions import Session

_NS = 1_000_000_000
# A hanging request ends at last, should its client never give up.
_HANG_S = 3600.0
_HEARTBEAT_S = 1.0
_ARRIVALS_MAX = 100_000
_SIGNATURE = re.compile(r"(^|&)signature=[^&]*")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request; header names in lower case, query and body as they were sent."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = {}
    peer: str = "127.0.0.1"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class ConnectionLost(Exception):
    """The connection ended without an answer."""


class HandshakeRefused(Exception):
    """A stream's path or state that the venue does not accept."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulator is started with."""

    key: str = "test-key"
    secret: str = "test-secret"
    balance: Decimal = Decimal(100_000)
    seed: int = 1
    # Small coins beside the usual contracts.
    more_contracts: int = 0


class VenueClock:
    """The venue's own clock: the injected one, and what it is wrong by."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.skew_ns = 0

    def now_ns(self) -> int:
        return self._clock.now_ns() + self.skew_ns

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class Exchange(abc.ABC):
    """One venue in one dialect. Runs on one loop; `tasks` owns its timers."""

    def __init__(self, *, clock: Clock, tasks: Tasks, settings: Settings, rules: Rules) -> None:
        self.clock = VenueClock(clock)
        self.settings = settings
        self.timers = Timers(clock=clock, tasks=tasks)
        self.audit = AuditList(clock)
        self.faults = Faults(seed=settings.seed, on_done=self.audit.fault)
        self.venue = Venue(
            clock=self.clock,
            timers=self.timers,
            rules=rules,
            balance=settings.balance,
            seed=settings.seed,
            more_contracts=settings.more_contracts,
        )
        self.venue.listeners.append(self.audit.hear)
        self.sessions: set[Session] = set()
        self.arrivals: deque[dict[str, object]] = deque(maxlen=_ARRIVALS_MAX)

    def start(self) -> None:
        """Begin what happens by itself."""
        self.venue.start()
        self.timers.every(
            _HEARTBEAT_S,
            "heartbeat",
            lambda: self.venue.heartbeat(is_heard=self._is_market_heard()),
        )

    def _is_market_heard(self) -> bool:
        return any(session.hears_market for session in self.sessions)

    def close(self) -> None:
        """Cut every stream; the timers end with their tasks."""
        for session in tuple(self.sessions):
            session.close(code=1001, reason="going away")

    def now_ms(self) -> int:
        return self.clock.now_ns() // 1_000_000

    # --- requests --------------------------------------------------------------------------------

    async def request(self, request: Request) -> Answer:
        """Answer, or raise ConnectionLost, as the faults in force have it."""
        subject = f"{request.method} {request.path}"
        rule = self.faults.take(REQUEST_FAULTS, subject)
        arrival = self._note_arrival(request, subject, rule)
        kind = rule.kind if rule else None
        seconds = rule.seconds if rule else 0.0
        if kind is Fault.DROP_BEFORE:
            raise ConnectionLost(subject)
        if kind is Fault.TIMEOUT_BEFORE:
            await self._hang(seconds, subject)
        if kind in (Fault.RATE_LIMITED, Fault.BANNED):
            return self.limited(seconds, is_ban=kind is Fault.BANNED)
        if rule and kind is Fault.ERROR and not rule.took_effect:
            return self.error_answer(rule.answer)
        answer = self._handle_with_order_faults(request, subject)
        arrival["status"] = answer.status
        if rule and kind is Fault.ERROR:
            return self.error_answer(rule.answer)
        if kind is Fault.DROP_AFTER:
            raise ConnectionLost(subject)
        if kind is Fault.TIMEOUT_AFTER:
            await self._hang(seconds, subject)
        if kind is Fault.SLOW:
            await self.clock.sleep(seconds)
        if kind is Fault.MALFORMED_ANSWER:
            half = answer.body[: len(answer.body) // 2]
            return Answer(status=answer.status, body=half, headers=answer.headers)
        return answer

    def _note_arrival(
        self, request: Request, subject: str, rule: FaultRule | None
    ) -> dict[str, object]:
        """Keep what came in to change something, with or without effect, for the auditor.

        `status` is what the venue would answer; 0 where a fault kept the request from it.
        """
        if request.method == "GET":
            return {}
        sent = _SIGNATURE.sub("", request.query) + _SIGNATURE.sub("", request.body.decode())
        arrival = self.audit.note(
            "request",
            ts_ns=self.clock.now_ns(),
            request=subject,
            parameters=sent,
            fault=rule.kind.value if rule else "",
            status=0,
        )
        self.arrivals.append(arrival)
        return arrival

    async def _hang(self, seconds: float, subject: str) -> None:
        await self.clock.sleep(seconds or _HANG_S)
        raise ConnectionLost(subject)

    def _handle_with_order_faults(self, request: Request, subject: str) -> Answer:
        late = self.faults.take((Fault.LATE_FILL,), subject)
        if late:
            self.venue.late_fills_s.append(late.seconds)
        answer = self.handle(request)
        # A refused order never came to the book: its lateness must not hit the next one.
        self.venue.late_fills_s.clear()
        return answer

    @abc.abstractmethod
    def handle(self, request: Request) -> Answer:
        """Do what is asked, now."""

    @abc.abstractmethod
    def error_answer(self, name: str) -> Answer:
        """The venue's error answer of this name; raises ValueError for an unknown one."""

    @abc.abstractmethod
    def bans_earned_s(self) -> list[float]:
        """The bans that a client brought on itself, in seconds; injected ones are none of them."""

    @abc.abstractmethod
    def limited(self, seconds: float, *, is_ban: bool) -> Answer:
        """The answer to one who asks too often, and the limit that goes with it."""

    # --- streams ---------------------------------------------------------------------------------

    @abc.abstractmethod
    def connect(self, target: str, headers: Mapping[str, str]) -> Session:
        """Open a stream connection; `target` is path and query. Raises HandshakeRefused."""

    # --- control ---------------------------------------------------------------------------------

    def inject(self, rules: Iterable[FaultRule]) -> None:
        """Put faults in force; immediate ones happen now. Raises ValueError for an unknown
        answer.
        """
        rules = list(rules)
        for rule in rules:
            if rule.kind is Fault.ERROR:
                self.error_answer(rule.answer)
        self.faults.add(rule for rule in rules if rule.kind not in IMMEDIATE_FAULTS)
        for rule in rules:
            if rule.kind in IMMEDIATE_FAULTS:
                self.faults.note(rule, "")
                self._do_now(rule)

    def _do_now(self, rule: FaultRule) -> None:
        if rule.kind is Fault.CLOCK_SKEW:
            self.clock.skew_ns = round(rule.seconds * _NS)
        elif rule.kind is Fault.CUT_STREAMS:
            for session in tuple(self.sessions):
                session.close(is_abrupt=True)
        elif rule.kind is Fault.SILENCE:
            for session in self.sessions:
                session.be_silent(rule.seconds)
        elif rule.kind is Fault.EXPIRE_LISTEN_KEY:
            self.expire_credentials()

    @abc.abstractmethod
    def expire_credentials(self) -> None:
        """End what lets a private stream live, where the venue has such a thing."""

    def books(self) -> dict[str, object]:
        """The auditor's view."""
        return {
            **self.venue.auditors_view(),
            "time_ns": self.clock.now_ns(),
            "faults_done": dict(self.faults.done),
            "requests": list(self.arrivals),
            "audit": list(self.audit.rows),
            "bans_earned_s": self.bans_earned_s(),
            "streams": len(self.sessions),
        }

    def symbol(self, text: str) -> Symbol:
        return self.venue.contract(text).symbol


__all__ = [
    "Answer",
    "ConnectionLost",
    "Exchange",
    "HandshakeRefused",
    "Request",
    "Settings",
]

"""Bybit's stream connections: public, private and order entry, each with its own forms of answer.

Texts everywhere: {"op": "ping"} has another answer on each of the three. Private ones say nothing
before a right `auth`; a wrong topic fails in words. The server sends no ping frames; who is silent
for ten minutes is cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

import msgspec

from engine.ports.clock import Clock
from tests.simulators.bybit.parameters import sign
from tests.simulators.core.timers import Timers
from tests.simulators.exchange import HandshakeRefused
from tests.simulators.faults import Faults
from tests.simulators.sessions import Session, Times

_PATHS = {"/v5/public/linear": "public", "/v5/private": "private", "/v5/trade": "trade"}
_PUBLIC = re.compile(
    r"^(orderbook\.(1|50|200|1000)|publicTrade|tickers|allLiquidation|priceLimit"
    r"|kline\.[0-9DWM]+)\.[A-Z0-9]+$"
)
_ALL_IN_ONE = frozenset({"order", "execution", "position"})
_PRIVATE = _ALL_IN_ONE | {f"{name}.linear" for name in _ALL_IN_ONE} | {"wallet", "dcp.future"}
_IDLE_S = 600.0
_IDLE_CHECK_S = 30.0
_ANSWER_AFTER_S = 0.02
_LIFE_S = 30 * 24 * 3600.0
_ACTIVE_RANGE_S = (30, 600)
_ACTIVE = re.compile(r"^(\d+)(s|m)$")
_NS = 1_000_000_000

Obey = Callable[["BybitSession", dict[str, object]], None]


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection needs of the exchange it belongs to."""

    key: str
    secret: str
    on_subscribed: Callable[[BybitSession, str], None]
    on_order: Obey


def read_target(target: str) -> tuple[str, float]:
    """The kind of connection, and how long it may be idle; raises HandshakeRefused."""
    parts = urlsplit(target)
    kind = _PATHS.get(parts.path)
    if kind is None:
        raise HandshakeRefused(404, f"no stream at {parts.path}")
    asked = parse_qs(parts.query).get("max_active_time", [""])[0]
    found = _ACTIVE.match(asked)
    if not found or kind == "public":
        return kind, _IDLE_S
    seconds = int(found[1]) * (60 if found[2] == "m" else 1)
    low, high = _ACTIVE_RANGE_S
    return kind, float(min(max(seconds, low), high))


class BybitSession(Session):
    """A connection, its topics and whether it has said who it is."""

    def __init__(
        self,
        *,
        kind: str,
        idle_s: float,
        number: int,
        door: Door,
        clock: Clock,
        timers: Timers,
        faults: Faults,
        on_closed: Callable[[Session], None],
    ) -> None:
        super().__init__(
            clock=clock,
            timers=timers,
            faults=faults,
            times=Times(ping_s=0.0, pong_limit_s=0.0, life_s=_LIFE_S),
            on_closed=on_closed,
        )
        self.kind = kind
        self.topics: dict[str, None] = {}
        self.is_known = kind == "public"
        self.tickers_sent: dict[str, Mapping[str, object]] = {}
        self.connection_id = f"sim{number:017d}"
        self._door = door
        self._idle_s = idle_s
        self._running.append(timers.every(_IDLE_CHECK_S, "idle stream", self._check_idle))

    @property
    def hears_market(self) -> bool:
        return self.kind == "public"

    def _check_idle(self) -> None:
        if self._clock.now_ns() - self._heard_ns > self._idle_s * _NS:
            self.close(code=1000, reason="idle")

    def push_document(self, name: str, document: Mapping[str, object]) -> None:
        self.push(name, msgspec.json.encode(document).decode())

    def say(self, document: Mapping[str, object]) -> None:
        self.answer(msgspec.json.encode(document).decode())

    # --- reading ---------------------------------------------------------------------------------

    def receive(self, text: str) -> None:
        self.pong()  # Whatever the peer says shows that it lives.
        try:
            message = msgspec.json.decode(text, type=dict[str, object])
        except msgspec.DecodeError:
            self._say_plain(False, "invalid JSON", "", None)
            return
        operation = str(message.get("op", ""))
        if operation == "ping":
            self._answer_ping(message)
        elif operation == "auth" and self.kind != "public":
            self._authenticate(message)
        elif self.kind == "trade":
            self._door.on_order(self, message)
        elif operation in ("subscribe", "unsubscribe"):
            self._subscribe(operation, message)
        else:
            self._say_plain(False, f"unknown op {operation}", operation, message)

    def _answer_ping(self, message: dict[str, object]) -> None:
        now_ms = str(self._clock.now_ns() // 1_000_000)
        if self.kind == "public":
            self._say_plain(True, "pong", "ping", message)
        elif self.kind == "private":
            answer: dict[str, object] = {"op": "pong", "args": [now_ms]}
            if "req_id" in message:
                answer["req_id"] = message["req_id"]
            self.say({**answer, "conn_id": self.connection_id})
        else:
            self.say(
                {
                    "retCode": 0,
                    "retMsg": "OK",
                    "op": "pong",
                    "data": [now_ms],
                    "connId": self.connection_id,
                }
            )

    def _authenticate(self, message: dict[str, object]) -> None:
        code, words = self._verdict(message.get("args"))
        self.is_known = self.is_known or not code
        if self.kind == "trade":
            self.say(
                {
                    "retCode": code,
                    "retMsg": words or "OK",
                    "op": "auth",
                    "connId": self.connection_id,
                }
            )
        else:
            self._say_plain(not code, words, "auth", message)

    def _verdict(self, arguments: object) -> tuple[int, str]:
        if not isinstance(arguments, list) or len(arguments) != 3:
            return 10001, "Params Error"
        key, expires, signature = (str(each) for each in arguments)
        if key != self._door.key:
            return 10003, "Invalid apikey"
        if not expires.isdigit() or int(expires) <= self._clock.now_ns() // 1_000_000:
            return 10002, "Request expired"
        if sign(self._door.secret, f"GET/realtime{expires}") != signature:
            return 10004, "Invalid sign"
        return 0, ""

    def _subscribe(self, operation: str, message: dict[str, object]) -> None:
        """Answered a moment later, as over a network: there are clients that note what they have
        asked for only after they have sent it.
        """
        self._timers.after(_ANSWER_AFTER_S, operation, lambda: self._obey(operation, message))

    def _obey(self, operation: str, message: dict[str, object]) -> None:
        asked = message.get("args")
        topics = [str(each) for each in asked] if isinstance(asked, list) else []
        if not self.is_known:
            self._say_plain(False, "Request not authorized", operation, message)
            return
        if wrong := self._wrong(topics):
            self._say_plain(False, wrong, operation, message)
            return
        if operation == "unsubscribe":
            for topic in topics:
                self.topics.pop(topic, None)
            self._say_plain(True, "", operation, message)
            return
        self._say_plain(True, "", operation, message)
        for topic in topics if self.is_open else ():
            self.topics[topic] = None
            self._door.on_subscribed(self, topic)

    def _wrong(self, topics: list[str]) -> str:
        if not topics:
            return "Params Error"
        for topic in topics:
            known = bool(_PUBLIC.match(topic)) if self.kind == "public" else topic in _PRIVATE
            if not known:
                return f"error:handler not found,topic:{topic}"
        both = [topic for topic in topics if f"{topic}.linear" in topics]
        return f"all-in-one and categorised together: {both[0]}" if both else ""

    def _say_plain(
        self, success: bool, words: str, operation: str, message: dict[str, object] | None
    ) -> None:
        request = (message or {}).get("req_id", "")
        self.say(
            {
                "success": success,
                "ret_msg": words,
                "conn_id": self.connection_id,
                "req_id": request,
                "op": operation,
            }
        )


__all__ = ["BybitSession", "Door", "read_target"]

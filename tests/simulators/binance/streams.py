"""Binance's stream connections: which path carries what, and the little language spoken on them.

`/public` carries books and quotes, `/market` trades and marks, `/private` the user's events; a
stream asked for on the wrong path, or on the unrouted old ones, is acknowledged and stays silent,
as it is at the venue since 2026-04. More than ten messages a second end the connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import msgspec

from engine.ports.clock import Clock
from tests.simulators.core.timers import Timers
from tests.simulators.exchange import HandshakeRefused
from tests.simulators.faults import Faults
from tests.simulators.sessions import Session, Times

TIMES = Times(ping_s=180.0, pong_limit_s=600.0, life_s=24 * 3600.0)
_PUBLIC_KINDS = ("bookTicker", "depth", "trade")
_MESSAGES_PER_S = 10
_STREAMS_MAX = 1024
_NS = 1_000_000_000
PATHS = ("public", "market", "private", "unrouted")


def path_of(stream: str) -> str:
    """Which path carries a market stream."""
    kind = stream.lstrip("!").rpartition("@")[0] if stream.startswith("!") else stream
    kind = kind.partition("@")[2] or stream.lstrip("!")
    return "public" if kind.startswith(_PUBLIC_KINDS) else "market"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection's address asks for."""

    path: str
    is_combined: bool
    streams: tuple[str, ...]
    # Names of user events wanted; empty: all.
    events: frozenset[str] = frozenset()


def read_target(target: str) -> Asked:
    """Read path and query of a stream address; raises HandshakeRefused."""
    parts = urlsplit(target)
    segments = [each for each in parts.path.split("/") if each]
    query = parse_qs(parts.query)
    path = "unrouted"
    if segments and segments[0] in PATHS:
        path = segments.pop(0)
    if not segments or segments[0] not in ("ws", "stream"):
        raise HandshakeRefused(404, f"no stream at {parts.path}")
    is_combined = segments.pop(0) == "stream"
    streams = list(segments)
    for value in query.get("streams", []):
        streams += [each for each in value.split("/") if each]
    streams += query.get("listenKey", [])
    events = frozenset(
        name for value in query.get("events", []) for name in value.split("/") if name
    )
    return Asked(path=path, is_combined=is_combined, streams=tuple(streams), events=events)


class BinanceSession(Session):
    """A connection and what it subscribes to; a listen key is a stream like others."""

    def __init__(
        self,
        *,
        asked: Asked,
        clock: Clock,
        timers: Timers,
        faults: Faults,
        times: Times,
        on_closed: Callable[[Session], None],
    ) -> None:
        super().__init__(
            clock=clock, timers=timers, faults=faults, times=times, on_closed=on_closed
        )
        self.path = asked.path
        self.is_combined = asked.is_combined
        self.streams: dict[str, None] = dict.fromkeys(asked.streams)
        self._events = asked.events
        self._received_ns: deque[int] = deque(maxlen=_MESSAGES_PER_S + 1)

    # --- pushing ---------------------------------------------------------------------------------

    @property
    def hears_market(self) -> bool:
        return self.path in ("public", "market")

    def wants(self, stream: str) -> bool:
        return stream in self.streams and self.path == path_of(stream)

    def push_market(self, stream: str, name: str, document: bytes) -> None:
        self.push(name, self._wrapped(stream, document))

    def push_user(self, listen_key: str, name: str, document: bytes) -> None:
        """A user event, if this connection carries the key and wants the event."""
        if self.path != "private" or listen_key not in self.streams:
            return
        if not self._events or name in self._events:
            self.push(name, self._wrapped(listen_key, document))

    def _wrapped(self, stream: str, document: bytes) -> str:
        text = document.decode()
        return f'{{"stream":"{stream}","data":{text}}}' if self.is_combined else text

    # --- reading ---------------------------------------------------------------------------------

    def receive(self, text: str) -> None:
        now = self._clock.now_ns()
        self._received_ns.append(now)
        if len(self._received_ns) > _MESSAGES_PER_S and now - self._received_ns[0] < _NS:
            self.close(code=1008, reason="Too many requests")
            return
        try:
            message = msgspec.json.decode(text, type=dict[str, object])
        except msgspec.DecodeError:
            self._refuse(None, 3, "Invalid JSON: expected value at line 1 column 1")
            return
        identifier = message.get("id")
        parameters = message.get("params", [])
        if not isinstance(identifier, int | str) or not isinstance(parameters, list):
            self._refuse(None, 2, "Invalid request: request ID must be an unsigned integer")
            return
        self._obey(str(message.get("method")), parameters, identifier)

    def _obey(self, method: str, parameters: list[object], identifier: int | str) -> None:
        result: object = None
        if method == "SUBSCRIBE":
            wanted = [str(each) for each in parameters]
            if len(self.streams) + len(wanted) > _STREAMS_MAX:
                self._refuse(identifier, 2, "Invalid request: too many streams")
                return
            self.streams.update(dict.fromkeys(wanted))
        elif method == "UNSUBSCRIBE":
            for each in parameters:
                self.streams.pop(str(each), None)
        elif method == "LIST_SUBSCRIPTIONS":
            result = list(self.streams)
        elif method == "SET_PROPERTY" and parameters[:1] == ["combined"]:
            self.is_combined = parameters[1:] == [True]
        elif method == "GET_PROPERTY" and parameters[:1] == ["combined"]:
            result = self.is_combined
        else:
            self._refuse(identifier, 2, f"Invalid request: unknown variant `{method}`")
            return
        self.answer(msgspec.json.encode({"result": result, "id": identifier}).decode())

    def _refuse(self, identifier: int | str | None, code: int, message: str) -> None:
        document: dict[str, object] = {"error": {"code": code, "msg": message}}
        if identifier is not None:
            document["id"] = identifier
        self.answer(msgspec.json.encode(document).decode())


__all__ = ["TIMES", "Asked", "BinanceSession", "path_of", "read_target"]

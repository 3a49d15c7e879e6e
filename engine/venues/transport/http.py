"""HTTP/1.1 to a venue, where it matters what is known of a request that failed.

A request is made, and signed, synchronously in the very step in which its bytes leave: `make` is
called when a connection stands ready, and what it raises stops the request (the final check of an
entry is in there). So there are three ends: `make` or the connection failed, and not one byte left
(`Denied`, `NotExecuted`); an answer came, whatever it says; or bytes left and no whole answer came
in time (`OutcomeUnknown`). Nothing is ever sent twice, a connection without an answer is given up,
and one that speaks unasked too: no late answer can meet another request.

Each lane has its own connections, one request at a time on each: a hundred reads never hold up an
exit. Those of the emergency lane are opened ahead (`warm`, `keep_warm`), which sends nothing. Over
TLS the peer is checked against the system's authorities and the bundled ones. No redirects, no
proxies, no cookies, no compression. No text of ours holds a query, a header or a body, for those
hold keys and signatures. Built on h11 and asyncio: docs/adr/0021. On the loop only.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import certifi
import h11
import msgspec

from engine.model.errors import NotExecuted, OutcomeUnknown, require
from engine.ports import Clock
from engine.runtime import within
from engine.venues.transport.rate_limits import Lane

BODY_BYTES_MAX = 32 * 1024 * 1024
_KEEP_WARM_EVERY_S = 5.0


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it leaves. `target` is path and query. Shows no secret."""

    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Outgoing({self.method} {self.target.partition('?')[0]})"


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpAnswer({self.status}, {len(self.body)} bytes)"


class Connections(Protocol):
    """What an adapter needs of a connection to its venue; raises as the module says."""

    @property
    def warm_connections(self) -> int:
        """How many idle connections of the emergency lane are open."""
        ...

    async def send(self, lane: Lane, make: Callable[[], Outgoing]) -> HttpAnswer:
        """Send what `make` returns, in the very step in which it is called."""
        ...

    async def warm(self) -> int:
        """Open the emergency lane's connections ahead; how many are open."""
        ...

    async def keep_warm(self) -> None:
        """Runs for ever: opens again what the venue has closed."""
        ...

    async def close(self) -> None: ...


class _Wire(asyncio.Protocol):
    """One connection and the one answer that it waits for."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._http = h11.Connection(our_role=h11.CLIENT)
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    @property
    def is_usable(self) -> bool:
        """Whether a request may be written now."""
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and self._http.our_state is h11.IDLE
            and self._answer is None
        )

    def write(self, outgoing: Outgoing, host: str) -> asyncio.Future[HttpAnswer]:
        """Let the bytes leave, all in one piece; the future has the answer."""
        transport = self._transport
        require(transport is not None and self.is_usable, "the connection is not usable")
        assert transport is not None
        headers = [("Host", host), *outgoing.headers.items()]
        if outgoing.body or outgoing.method != "GET":
            headers.append(("Content-Length", str(len(outgoing.body))))
        parts = [
            self._http.send(
                h11.Request(method=outgoing.method, target=outgoing.target, headers=headers)
            )
        ]
        if outgoing.body:
            parts.append(self._http.send(h11.Data(data=outgoing.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        self._status, self._headers, self._body = 0, {}, bytearray()
        self._answer = asyncio.get_running_loop().create_future()
        transport.write(b"".join(part for part in parts if part))
        return self._answer

    def abort(self) -> None:
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # Nobody has asked: what comes next could be taken for an answer.
            return
        self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._feed(b"")
        self._fail(exc or ConnectionResetError("closed without an answer"))

    def _feed(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while self._answer is not None:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._fail(error)

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Response):
            self._status = event.status_code
            self._headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in event.headers
            }
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > BODY_BYTES_MAX:
                self._fail(ConnectionError("the answer is too long"))
        elif isinstance(event, h11.EndOfMessage):
            self._done()

    def _done(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(
                HttpAnswer(status=self._status, headers=self._headers, body=bytes(self._body))
            )
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            if self._http.trailing_data[0]:
                self.abort()
        elif self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        if self._transport is not None:
            self._transport.abort()


class _Slots:
    """The connections of one lane; whoever finds none free waits for one, in turn."""

    def __init__(self, number: int) -> None:
        require(number > 0, "a lane needs a connection")
        self.free: list[_Wire | None] = [None] * number
        self.room = asyncio.Semaphore(number)

    async def take(self) -> _Wire | None:
        """A slot, with an open connection in it when there is one."""
        await self.room.acquire()
        for index in range(len(self.free) - 1, -1, -1):
            wire = self.free[index]
            if wire is not None and wire.is_usable:
                return self.free.pop(index)
        return self.free.pop(0)

    def give_back(self, wire: _Wire | None) -> None:
        self.free.append(wire)
        self.room.release()


class HttpConnections:
    """Implements Connections: those to one address, by lane."""

    def __init__(
        self,
        *,
        base_url: str,
        clock: Clock,
        emergency_slots: int = 20,
        emergency_read_slots: int = 4,
        ordinary_slots: int = 8,
        connect_timeout_s: float = 3.0,
        answer_timeout_s: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`base_url` is `https://host[:port]`; plain `http` is for loopback alone. ValueError."""
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"{base_url!r} is not https://host[:port]")
        if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError("a venue is spoken to over TLS: https")
        self._host, self._authority = parts.hostname, parts.netloc
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (ssl_context or _authorities()) if parts.scheme == "https" else None
        self._clock = clock
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._emergency = _Slots(emergency_slots)
        # A stop's reads have their own: twenty cancels at once must not keep it from looking.
        self._emergency_reads = _Slots(emergency_read_slots)
        self._ordinary = _Slots(ordinary_slots)

    def __repr__(self) -> str:
        return f"HttpConnections({self._authority}, {self.warm_connections} warm)"

    @property
    def warm_connections(self) -> int:
        """How many idle connections for exits are open."""
        return sum(1 for wire in self._emergency.free if wire is not None and wire.is_usable)

    async def send(self, lane: Lane, make: Callable[[], Outgoing]) -> HttpAnswer:
        """Send what `make` returns, and return the answer; raises as the module says."""
        slots = self._slots_of(lane)
        wire = await slots.take()
        try:
            if wire is None or not wire.is_usable:
                if wire is not None:
                    wire.abort()
                wire = None
                wire = await self._open()
            return await self._exchange(wire, make)
        finally:
            slots.give_back(wire if wire is not None and wire.is_usable else None)

    def _slots_of(self, lane: Lane) -> _Slots:
        if lane is Lane.EXIT:
            return self._emergency
        return self._emergency_reads if lane is Lane.EXIT_READ else self._ordinary

    async def _exchange(self, wire: _Wire, make: Callable[[], Outgoing]) -> HttpAnswer:
        if not wire.is_usable:
            raise NotExecuted("not sent: the connection ended before the request")
        outgoing = make()
        what = f"{outgoing.method} {outgoing.target.partition('?')[0]}"
        answer = wire.write(outgoing, self._authority)
        try:
            return await within(self._clock, self._answer_timeout_s, _awaited(answer))
        except TimeoutError as error:
            wire.abort()
            raise OutcomeUnknown(f"{what}: no answer in {self._answer_timeout_s:g} s") from error
        except (OSError, h11.RemoteProtocolError) as error:
            wire.abort()
            raise OutcomeUnknown(f"{what}: sent, and then {type(error).__name__}") from error
        except asyncio.CancelledError:
            wire.abort()
            raise

    async def _open(self) -> _Wire:
        try:
            return await within(self._clock, self._connect_timeout_s, self._connect())
        except (OSError, TimeoutError) as error:
            raise NotExecuted(
                f"not sent: {self._authority} cannot be reached ({type(error).__name__})"
            ) from error

    async def _connect(self) -> _Wire:
        _, wire = await asyncio.get_running_loop().create_connection(
            _Wire, self._host, self._port, ssl=self._tls
        )
        return wire

    # --- warm ------------------------------------------------------------------------------------

    async def warm(self) -> int:
        """Open whatever is not open of the emergency lane's idle connections, one after another;
        returns how many are open. One that cannot be opened ends the attempt.
        """
        for slots in (self._emergency, self._emergency_reads):
            if not await self._warm(slots):
                break
        return self.warm_connections

    async def _warm(self, slots: _Slots) -> bool:
        """False when the venue cannot be reached."""
        for index in range(len(slots.free)):
            if index >= len(slots.free):
                break  # A request took one meanwhile.
            known = slots.free[index]
            if known is not None and known.is_usable:
                continue
            try:
                wire = await self._open()
            except NotExecuted:
                return False
            if not _put_warm(slots, wire):
                wire.abort()
        return True

    async def keep_warm(self) -> None:
        """Runs for ever: opens again what the venue has closed."""
        while True:
            await self.warm()
            await self._clock.sleep(_KEEP_WARM_EVERY_S)

    async def close(self) -> None:
        """End every idle connection; requests on their way end by themselves."""
        for slots in (self._emergency, self._emergency_reads, self._ordinary):
            for index, wire in enumerate(slots.free):
                if wire is not None:
                    wire.abort()
                slots.free[index] = None
        await self._clock.sleep(0)


def _put_warm(slots: _Slots, wire: _Wire) -> bool:
    for index, known in enumerate(slots.free):
        if known is None or not known.is_usable:
            slots.free[index] = wire
            return True
    return False


async def _awaited(answer: asyncio.Future[HttpAnswer]) -> HttpAnswer:
    return await answer


def _authorities() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # A frozen program may look for the system's authorities where another system has them.
    context.load_verify_locations(cafile=certifi.where())
    return context


__all__ = ["BODY_BYTES_MAX", "Connections", "HttpAnswer", "HttpConnections", "Outgoing"]

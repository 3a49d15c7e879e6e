"""Our own transport to a simulated exchange without sockets, on any clock.

`InMemoryConnections` and `in_memory_sockets` stand where `HttpConnections` and `open_websocket`
stand in real life, so that an adapter runs unmodified in simulated time. What is known of a request
is the same: `make` is asked in the step in which its bytes leave, which is the step in which the
exchange has them unless the line is slow; what leaves arrives, also when nobody waits for the
answer any more; no answer in time is `OutcomeUnknown`; without a line it is `NotExecuted`.

A `Line` belongs to one engine process: how long bytes take (drawn from a seed), whether the venue
can be reached, and the end of the process, after which nothing leaves and nothing arrives. Faults
of the exchange itself are injected there (`tests.simulators.faults`). On the loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import msgspec

from engine.model.errors import NotExecuted, OutcomeUnknown
from engine.ports import Clock
from engine.runtime import Chance, Tasks, within
from engine.venues.transport.http import HttpAnswer, Outgoing
from engine.venues.transport.rate_limits import Lane
from tests.simulators.exchange import (
    Answer,
    ConnectionLost,
    Exchange,
    HandshakeRefused,
    Request,
)
from tests.simulators.sessions import Close, Ping, Session, Text

# When a peer that answers no ping is given up: its interval and its timeout (`open_websocket`).
PING_LIMIT_S = 40.0
_HANDSHAKE_LIMIT_S = 10.0
_KEEP_WARM_EVERY_S = 5.0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long bytes take, in seconds, one way; now and then a slow one."""

    least_s: float = 0.0
    most_s: float = 0.0
    slow_share: float = 0.0
    slow_most_s: float = 0.0

    def draw(self, chance: Chance) -> float:
        if not self.most_s:
            return 0.0
        if self.slow_share and chance.random() < self.slow_share:
            return self.most_s + chance.random() * (self.slow_most_s - self.most_s)
        return self.least_s + chance.random() * (self.most_s - self.least_s)


class Line:
    """Between one engine process and one exchange."""

    def __init__(
        self, *, clock: Clock, tasks: Tasks, latency: Latency | None = None, seed: int = 1
    ) -> None:
        """`tasks` owns what is on its way."""
        self._clock = clock
        self._tasks = tasks
        self.latency = latency or Latency()
        self._chance = Chance(seed=seed, name="line")
        self._sockets: set[InMemorySocket] = set()
        self._refuses = False
        self._back = asyncio.Event()
        self._back.set()
        self._outages = 0
        self.is_dead = False

    @property
    def is_up(self) -> bool:
        return self._back.is_set() and not self.is_dead

    @property
    def refuses(self) -> bool:
        """Whether connections are refused; otherwise a line that is down swallows everything."""
        return self._refuses

    def delay_s(self) -> float:
        return self.latency.draw(self._chance)

    def fail(self, *, refuses: bool) -> None:
        """The venue cannot be reached from now on: its address refuses, or nothing answers."""
        self._outages += 1
        self._refuses = refuses
        self._back.clear()
        if refuses:
            self._cut_sockets()
        else:
            self._tasks.spawn("unanswered pings", self._miss_pings(self._outages))

    def mend(self) -> None:
        """The venue can be reached again; what was on its way arrives late."""
        self._back.set()

    def die(self) -> None:
        """The engine's process ends here and now: what had left arrives, nothing else does."""
        self.is_dead = True
        for socket in tuple(self._sockets):
            socket.session.close(is_abrupt=True)
        self._sockets.clear()

    async def open(self, limit_s: float) -> None:
        """Reach the venue; OSError where it refuses or does not answer in time."""
        if self.is_dead:
            await _for_ever()
        if self.is_up:
            return
        if self._refuses:
            raise ConnectionRefusedError("the venue refuses connections")
        try:
            await within(self._clock, limit_s, self.up())
        except TimeoutError as error:
            raise ConnectionError("the venue cannot be reached") from error

    async def up(self) -> None:
        """Wait until bytes get through."""
        if self.is_dead:
            await _for_ever()
        await self._back.wait()

    def add(self, socket: InMemorySocket) -> None:
        self._sockets.add(socket)

    def discard(self, socket: InMemorySocket) -> None:
        self._sockets.discard(socket)

    async def _miss_pings(self, outage: int) -> None:
        await self._clock.sleep(PING_LIMIT_S)
        if not self.is_up and self._outages == outage:
            self._cut_sockets()

    def _cut_sockets(self) -> None:
        for socket in tuple(self._sockets):
            socket.lose()


async def _for_ever() -> None:
    await asyncio.Event().wait()


class _Slots:
    """The connections of one lane; `opened` are open and idle."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.room = asyncio.Semaphore(number)
        self.opened = 0


class InMemoryConnections:
    """Implements `engine.venues.transport.http.Connections` on a simulated exchange."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        *,
        line: Line,
        tasks: Tasks,
        emergency_slots: int = 20,
        ordinary_slots: int = 8,
        connect_timeout_s: float = 3.0,
        answer_timeout_s: float = 10.0,
    ) -> None:
        """`tasks` owns the requests on their way: they outlive whoever sent them."""
        self._exchange = exchange
        self._clock = clock
        self._line = line
        self._tasks = tasks
        self._emergency = _Slots(emergency_slots)
        self._ordinary = _Slots(ordinary_slots)
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self.sent = 0

    @property
    def warm_connections(self) -> int:
        """How many idle connections of the emergency lane are open."""
        self._forget_refused()
        return self._emergency.opened

    async def send(self, lane: Lane, make: Callable[[], Outgoing]) -> HttpAnswer:
        """Send what `make` returns, and return the answer; raises as the module says."""
        slots = self._emergency if lane.is_emergency else self._ordinary
        async with slots.room:
            self._forget_refused()
            if slots.opened:
                slots.opened -= 1
            else:
                await self._open()
            answer = await self._answered(_Journey(make))
            slots.opened += 1
            return answer

    def _forget_refused(self) -> None:
        if not self._line.is_up and self._line.refuses:
            self._emergency.opened = self._ordinary.opened = 0

    async def _open(self) -> None:
        try:
            await self._line.open(self._connect_timeout_s)
        except OSError as error:
            raise NotExecuted(f"not sent: {error}") from error

    async def _answered(self, journey: _Journey) -> HttpAnswer:
        task = self._tasks.spawn("request in memory", self._carry(journey))
        try:
            return await within(self._clock, self._answer_timeout_s, journey.end())
        except TimeoutError as error:
            raise OutcomeUnknown(
                f"{journey.what}: no answer in {self._answer_timeout_s:g} s"
            ) from error
        except ConnectionLost as error:
            raise OutcomeUnknown(f"{journey.what}: sent, and then the connection ended") from error
        except asyncio.CancelledError:
            if not journey.what:
                task.cancel()  # Not a byte has left.
            raise

    async def _carry(self, journey: _Journey) -> None:
        """From the step in which the bytes leave to the one in which the answer is here."""
        if self._line.is_dead:
            return
        try:
            outgoing = journey.make()
        except Exception as error:  # Whatever the final check raises is the sender's.
            journey.fail(error)
            return
        journey.what = f"{outgoing.method} {outgoing.target.partition('?')[0]}"
        self.sent += 1
        if there_s := self._line.delay_s():
            await self._clock.sleep(there_s)
        if not self._line.is_up and not self._line.is_dead:
            await self._line.up()
            if journey.is_given_up:
                return  # Who gives a connection up takes back what has not got through.
        try:
            answer = await self._exchange.request(_request(outgoing))
        except ConnectionLost as error:
            journey.fail(error)
            return
        if back_s := self._line.delay_s():
            await self._clock.sleep(back_s)
        await self._line.up()
        journey.arrive(answer)

    async def warm(self) -> int:
        """Open whatever is not open of the emergency lane's connections; how many are open."""
        while self._emergency.opened < self._emergency.number:
            try:
                await self._open()
            except NotExecuted:
                break
            self._emergency.opened += 1
        return self.warm_connections

    async def keep_warm(self) -> None:
        """Runs for ever: opens again what was closed."""
        while True:
            await self.warm()
            await self._clock.sleep(_KEEP_WARM_EVERY_S)

    async def close(self) -> None:
        """What is on its way ends by itself."""


class _Journey:
    """One request and what becomes of it; `what` is empty until its bytes have left."""

    def __init__(self, make: Callable[[], Outgoing]) -> None:
        self.make = make
        self.what = ""
        self._end: asyncio.Future[HttpAnswer] = asyncio.get_running_loop().create_future()

    @property
    def is_given_up(self) -> bool:
        return self._end.cancelled()

    async def end(self) -> HttpAnswer:
        return await self._end

    def arrive(self, answer: Answer) -> None:
        if not self._end.done():  # Nobody may be waiting any more.
            self._end.set_result(
                HttpAnswer(
                    status=answer.status,
                    headers={name.lower(): value for name, value in answer.headers.items()},
                    body=answer.body,
                )
            )

    def fail(self, error: Exception) -> None:
        if not self._end.done():
            self._end.set_exception(error)


def _request(outgoing: Outgoing) -> Request:
    path, _, query = outgoing.target.partition("?")
    return Request(
        method=outgoing.method,
        path=path,
        query=query,
        body=outgoing.body,
        headers={name.lower(): value for name, value in outgoing.headers.items()},
    )


# --- streams --------------------------------------------------------------------------------------


class InMemorySocket:
    """Implements `engine.venues.transport.stream.VenueSocket`: one connection to a session."""

    def __init__(self, *, session: Session, clock: Clock, line: Line, tasks: Tasks) -> None:
        self.session = session
        self._clock = clock
        self._line = line
        self._arriving: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
        self._is_lost = False
        self._due_ns = 0
        line.add(self)
        tasks.spawn("stream in memory", self._carry())

    async def receive(self) -> str:
        """The next text; OSError when the connection has ended, however it did."""
        arrival = None if self._is_lost else await self._arriving.get()
        if arrival is not None:
            due_ns, text = arrival
            wait_ns = due_ns - self._clock.monotonic_ns()
            if wait_ns > 0:
                await self._clock.sleep(wait_ns / 1e9)
            await self._line.up()
            if not self._is_lost:
                return text
        self._is_lost = True
        raise ConnectionResetError("the stream has ended")

    async def send(self, text: str) -> None:
        """Say something to the venue; OSError when the connection has ended."""
        if self._is_lost or not self.session.is_open:
            raise ConnectionResetError("the stream has ended")
        if delay_s := self._line.delay_s():
            await self._clock.sleep(delay_s)
        await self._line.up()
        if self.session.is_open:
            self.session.receive(text)

    def abort(self) -> None:
        """Give it up: nothing more is heard."""
        self.lose()

    def lose(self) -> None:
        """The connection ends on both sides."""
        self._is_lost = True
        self._arriving.put_nowait(None)
        self._line.discard(self)
        self.session.close(is_abrupt=True)

    async def _carry(self) -> None:
        """Take frames as they leave the venue; they arrive in their order."""
        while True:
            frame = await self.session.next_frame()
            if self._line.is_dead:
                return
            if isinstance(frame, Ping):
                if self._line.is_up:
                    self.session.pong()
            elif isinstance(frame, Text):
                due_ns = self._clock.monotonic_ns() + round(self._line.delay_s() * 1e9)
                self._due_ns = max(self._due_ns, due_ns)
                self._arriving.put_nowait((self._due_ns, frame.text))
            else:
                self._closed(frame)
                return

    def _closed(self, frame: Close) -> None:
        self._line.discard(self)
        self._is_lost = self._is_lost or frame.is_abrupt
        self._arriving.put_nowait(None)


def in_memory_sockets(
    exchange: Exchange, clock: Clock, *, line: Line, tasks: Tasks
) -> Callable[[str], Awaitable[InMemorySocket]]:
    """An `OpenSocket` to this exchange, whatever host an address names."""

    async def open_socket(address: str) -> InMemorySocket:
        await line.open(_HANDSHAKE_LIMIT_S)
        if delay_s := line.delay_s():
            await clock.sleep(delay_s)
        parts = urlsplit(address)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            session = exchange.connect(target, {})
        except HandshakeRefused as refused:
            raise ConnectionRefusedError(f"{refused.status} {refused}") from refused
        return InMemorySocket(session=session, clock=clock, line=line, tasks=tasks)

    return open_socket


__all__ = [
    "PING_LIMIT_S",
    "InMemoryConnections",
    "InMemorySocket",
    "Latency",
    "Line",
    "in_memory_sockets",
]

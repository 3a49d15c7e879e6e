"""Bybit's private stream: our orders and executions as they happen; the Streams port.

Each connection says who it is and what it wants to hear, and counts as connected once the venue has
agreed to both; what comes in between is kept and told then. It asks for a pong every 20 s, so a
connection that says nothing for long is dead and given up. A message that cannot be read is a gap:
the stream is dropped and comes back, so that whoever listens reconciles. Positions, the wallet and
funding are told here too, and read by REST where they are needed.

With `is_dead_mans_switch` the connection is one of those that Bybit's protection against
disconnection watches: where Bybit has enabled it, futures orders are cancelled when all of those
are gone for its window. Whoever must not touch the account's orders leaves it off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from engine.model.errors import Refused
from engine.model.venue import StreamUpdate
from engine.ports import Clock
from engine.runtime import Chance, Tasks
from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.rest import BybitRest
from engine.venues.bybit.streams import (
    PING,
    PRIVATE_TOPICS,
    PROTECTION_TOPIC,
    ControlAnswer,
    PrivateMessage,
    decode_private,
)
from engine.venues.transport.stream import (
    OpenSocket,
    StreamHabits,
    StreamHandlers,
    VenueSocket,
    VenueStream,
    open_websocket,
)

_SILENCE_MAX_S = 45.0
_NS_PER_MS = 1_000_000
_NOT_SAID = "10003"
StreamHandler = Callable[[StreamUpdate], None]


class BybitUserStream:
    """Implements Streams. `run` is its task, from `start` to the end of `tasks`."""

    def __init__(
        self,
        *,
        clock: Clock,
        chance: Chance,
        tasks: Tasks,
        rest: BybitRest,
        stream_url: str,
        is_dead_mans_switch: bool = False,
        open_socket: OpenSocket = open_websocket,
    ) -> None:
        """`stream_url` is `wss://host`; `tasks` owns what runs."""
        self._tasks = tasks
        self._rest = rest
        self._address_text = f"{stream_url.rstrip('/')}/v5/private"
        self._is_dead_mans_switch = is_dead_mans_switch
        self._handlers: list[StreamHandler] = []
        self._early: list[PrivateMessage] = []
        # Whether the venue watches this connection, as it has said.
        self.is_watched = False
        self._stream = VenueStream(
            clock=clock,
            chance=chance,
            tasks=tasks,
            handlers=StreamHandlers(
                address=self._address,
                on_text=self._hear,
                on_state=self._tell_state,
                on_open=self._introduce,
            ),
            habits=StreamHabits(heartbeat=PING.decode(), silence_max_s=_SILENCE_MAX_S),
            open_socket=open_socket,
        )

    def start(self) -> None:
        """Begin to connect; `is_connected` tells when it is."""
        self._tasks.spawn("Bybit user stream", self._stream.run(), forever=True)

    def subscribe(self, handler: StreamHandler) -> Callable[[], None]:
        """Hear every update in the venue's order."""
        self._handlers.append(handler)

        def unsubscribe() -> None:
            if handler in self._handlers:
                self._handlers.remove(handler)

        return unsubscribe

    def is_connected(self) -> bool:
        return self._stream.is_connected

    @property
    def why_not(self) -> str:
        """Why the last attempt to connect failed; empty after one that did not."""
        return self._stream.why_not

    # --- connecting ------------------------------------------------------------------------------

    async def _address(self) -> str:
        return self._address_text

    async def _introduce(self, socket: VenueSocket) -> None:
        """Say who we are, then what we want to hear; Refused in the venue's words."""
        self._early.clear()
        self.is_watched = False
        await socket.send(await self._rest.stream_login())
        await self._agreed(socket, "auth")
        await socket.send(_subscription(PRIVATE_TOPICS))
        await self._agreed(socket, "subscribe")
        if self._is_dead_mans_switch:
            await socket.send(_subscription((PROTECTION_TOPIC,)))
            answer = await self._answer(socket, "subscribe")
            # An account without it goes without it, and still hears its orders.
            self.is_watched = answer.is_success

    async def _agreed(self, socket: VenueSocket, operation: str) -> None:
        answer = await self._answer(socket, operation)
        if not answer.is_success:
            raise Refused(_NOT_SAID, f"the stream's {operation} was refused: {answer.text}")

    async def _answer(self, socket: VenueSocket, operation: str) -> ControlAnswer:
        """The answer to what was just sent; updates that come before it are kept."""
        while True:
            try:
                message = decode_private((await socket.receive()).encode())
            except Undecodable as error:
                raise ConnectionError("a message that cannot be read") from error
            if isinstance(message, PrivateMessage):
                self._early.append(message)
            elif message.operation == operation:
                return message

    # --- hearing ---------------------------------------------------------------------------------

    def _hear(self, text: str) -> None:
        try:
            message = decode_private(text.encode())
        except Undecodable:
            self._stream.drop("a message that cannot be read")
            return
        if isinstance(message, PrivateMessage):
            self._tell_all(message)

    def _tell_all(self, message: PrivateMessage) -> None:
        for update in message.updates:
            self._tell(update)

    def _tell_state(self, connected: bool, cause: str, gap_s: float) -> None:
        words = f"back after {gap_s:.1f} s" if gap_s else cause
        self._tell(
            StreamUpdate(
                ts_ns=self._rest.venue_now_ms() * _NS_PER_MS, connected=connected, cause=words
            )
        )
        early, self._early = self._early, []
        for message in early if connected else ():
            self._tell_all(message)

    def _tell(self, update: StreamUpdate) -> None:
        for handler in tuple(self._handlers):
            handler(update)


def _subscription(topics: Sequence[str]) -> str:
    return msgspec.json.encode({"op": "subscribe", "args": list(topics)}).decode()


__all__ = ["BybitUserStream"]

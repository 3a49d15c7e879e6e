"""Binance's private stream: our orders and executions as they happen; the Streams port.

It lives by a listen key: made at each connection, extended every 30 minutes, and made anew when
the venue says that it has expired or no longer knows it. A message that cannot be read, or an
execution without its fee (the venue leaves it out at times), is a gap: the stream is dropped and
comes back, so that whoever listens reconciles. TRADE_LITE tells the same
executions with less and is passed over. Conditional orders have their own event.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from engine.model.errors import OutcomeUnknown, VenueError
from engine.model.ids import ClientOrderId
from engine.model.venue import StreamUpdate
from engine.ports import Clock
from engine.runtime import Chance, Tasks
from engine.venues.binance import endpoints
from engine.venues.binance.decoding import (
    NS_PER_MS,
    AlgoAnswer,
    ListenKeyAnswer,
    OrderAnswer,
    TradeAnswer,
    Undecodable,
    decode,
    to_conditional,
    to_fill,
    to_order,
)
from engine.venues.binance.rest import BinanceRest
from engine.venues.transport.stream import OpenSocket, StreamHandlers, VenueStream, open_websocket

KEEP_ALIVE_S = 30 * 60.0
StreamHandler = Callable[[StreamUpdate], None]


class _Kind(msgspec.Struct, frozen=True):
    """Which event a message is; `E` is when it was sent."""

    e: str
    E: int = 0


class _OrderEvent(msgspec.Struct, frozen=True):
    """The order of ORDER_TRADE_UPDATE, with the execution that changed it, if one did."""

    s: str
    c: str
    S: str
    o: str
    q: str
    p: str
    x: str
    X: str
    i: int
    z: str
    T: int
    L: str = "0"
    l: str = "0"  # noqa: E741 - the venue's name.
    t: int = 0
    N: str | None = None
    n: str | None = None
    m: bool = False
    R: bool = False
    cp: bool = False
    ps: str = "BOTH"


class _OrderUpdate(msgspec.Struct, frozen=True):
    o: _OrderEvent


class _AlgoEvent(msgspec.Struct, frozen=True):
    """The order of ALGO_UPDATE."""

    caid: str
    aid: int
    o: str
    s: str
    S: str
    q: str
    X: str
    ai: str = ""
    tp: str = "0"
    p: str = "0"
    R: bool = False
    cp: bool = False
    ps: str = "BOTH"


class _AlgoUpdate(msgspec.Struct, frozen=True):
    o: _AlgoEvent
    T: int


def read_updates(text: str) -> tuple[StreamUpdate, ...]:
    """What a message says of orders and executions; nothing for what is none of ours.

    Undecodable when it cannot be read.
    """
    body = text.encode()
    kind = decode(body, _Kind)
    if kind.e == "ORDER_TRADE_UPDATE":
        return (_of_order(decode(body, _OrderUpdate).o),)
    if kind.e == "ALGO_UPDATE":
        return _of_conditional(decode(body, _AlgoUpdate))
    return ()


def _of_order(event: _OrderEvent) -> StreamUpdate:
    order = to_order(
        OrderAnswer(
            symbol=event.s,
            order_id=event.i,
            client_order_id=event.c,
            status=event.X,
            side=event.S,
            type=event.o,
            orig_qty=event.q,
            executed_qty=event.z,
            price=event.p,
            reduce_only=event.R,
            close_position=event.cp,
            position_side=event.ps,
            update_time=event.T,
        )
    )
    fill = None
    if event.x in {"TRADE", "CALCULATED"} and event.t:
        if event.n is None or event.N is None:
            raise Undecodable("n: an execution without its fee; the list of executions has it")
        fill = to_fill(
            TradeAnswer(
                symbol=event.s,
                id=event.t,
                order_id=event.i,
                side=event.S,
                price=event.L,
                qty=event.l,
                commission=event.n,
                commission_asset=event.N,
                time=event.T,
                maker=event.m,
            ),
            ClientOrderId(event.c),
        )
    return StreamUpdate(ts_ns=order.ts_ns, order=order, fill=fill)


def _of_conditional(update: _AlgoUpdate) -> tuple[StreamUpdate, ...]:
    event = update.o
    if event.ai:
        return ()  # It became an order, which has events of its own.
    order = to_conditional(
        AlgoAnswer(
            algo_id=event.aid,
            client_algo_id=event.caid,
            order_type=event.o,
            symbol=event.s,
            side=event.S,
            algo_status=event.X,
            quantity=event.q,
            trigger_price=event.tp,
            price=event.p,
            reduce_only=event.R,
            close_position=event.cp,
            position_side=event.ps,
            update_time=update.T,
        )
    )
    return (StreamUpdate(ts_ns=order.ts_ns, order=order),)


class BinanceUserStream:
    """Implements Streams. `run` and `keep_alive` are its two tasks, from `start` to `close`."""

    def __init__(
        self,
        *,
        clock: Clock,
        chance: Chance,
        tasks: Tasks,
        rest: BinanceRest,
        stream_url: str,
        keep_alive_s: float = KEEP_ALIVE_S,
        open_socket: OpenSocket = open_websocket,
    ) -> None:
        """`stream_url` is `wss://host`; `tasks` owns what runs."""
        self._clock = clock
        self._tasks = tasks
        self._rest = rest
        self._stream_url = stream_url.rstrip("/")
        self._keep_alive_s = keep_alive_s
        self._handlers: list[StreamHandler] = []
        self._stream = VenueStream(
            clock=clock,
            chance=chance,
            tasks=tasks,
            handlers=StreamHandlers(
                address=self._address, on_text=self._hear, on_state=self._tell_state
            ),
            open_socket=open_socket,
        )

    def start(self) -> None:
        """Begin to connect; `is_connected` tells when it is."""
        self._tasks.spawn("Binance user stream", self._stream.run(), forever=True)
        self._tasks.spawn("Binance listen key", self._keep_alive(), forever=True)

    def subscribe(self, handler: StreamHandler) -> Callable[[], None]:
        """Hear every update in the venue's order."""
        self._handlers.append(handler)

        def unsubscribe() -> None:
            if handler in self._handlers:
                self._handlers.remove(handler)

        return unsubscribe

    def is_connected(self) -> bool:
        return self._stream.is_connected

    async def _address(self) -> str:
        answer = await self._rest.call(endpoints.OPEN_LISTEN_KEY, {}, ListenKeyAnswer)
        if not answer.listen_key:
            raise OutcomeUnknown("the listen key is empty")
        return f"{self._stream_url}/private/ws/{answer.listen_key}"

    async def _keep_alive(self) -> None:
        while True:
            await self._clock.sleep(self._keep_alive_s)
            if not self._stream.is_connected:
                continue
            try:
                await self._rest.call(endpoints.KEEP_LISTEN_KEY, {}, ListenKeyAnswer)
            except VenueError:
                # A new connection makes a new key, should this one be gone.
                self._stream.drop("the listen key could not be extended")

    def _hear(self, text: str) -> None:
        try:
            if decode(text.encode(), _Kind).e == "listenKeyExpired":
                self._stream.drop("the listen key expired")
                return
            updates = read_updates(text)
        except Undecodable:
            self._stream.drop("a message that cannot be read")
            return
        for update in updates:
            self._tell(update)

    def _tell_state(self, connected: bool, cause: str, gap_s: float) -> None:
        words = f"back after {gap_s:.1f} s" if gap_s else cause
        self._tell(
            StreamUpdate(
                ts_ns=self._rest.venue_now_ms() * NS_PER_MS, connected=connected, cause=words
            )
        )

    def _tell(self, update: StreamUpdate) -> None:
        for handler in tuple(self._handlers):
            handler(update)


__all__ = ["KEEP_ALIVE_S", "BinanceUserStream", "read_updates"]

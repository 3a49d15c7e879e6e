"""A simulated exchange without sockets, on any clock, and a caller that signs like a client.

For tests and campaigns: `async with binance_in_memory(clock) as desk` gives an exchange that runs
in simulated time at no cost but its own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from engine.ports.clock import Clock
from engine.runtime import SimClock, Tasks, run_simulated
from tests.simulators.binance import BinanceExchange
from tests.simulators.exchange import Answer, Request, Settings
from tests.simulators.faults import FaultRule
from tests.simulators.sessions import Close, Session, Text

T = TypeVar("T")
START_NS = 1_795_000_000_000_000_000


class CallFailed(Exception):
    """The venue answered an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.body.decode(errors='replace')}")
        self.answer = answer
        document = msgspec.json.decode(answer.body) if answer.body[:1] == b"{" else {}
        self.code = document.get("code", document.get("retCode", 0))


class BinanceDesk:
    """An exchange and somebody who trades on it."""

    def __init__(self, *, exchange: BinanceExchange, clock: Clock) -> None:
        self.exchange = exchange
        self.clock = clock
        self.last_answer: Answer | None = None
        # How far this caller's clock is ahead of the injected one.
        self.ahead_ns = 0

    async def call(self, method: str, path: str, **parameters: object) -> Any:
        """A signed request; returns its document, or raises CallFailed."""
        return self._read(await self.send(method, path, **parameters))

    async def send(self, method: str, path: str, **parameters: object) -> Answer:
        """A signed request; returns the answer whatever it is."""
        named = {name: _text(value) for name, value in parameters.items()}
        named.setdefault("timestamp", str((self.clock.now_ns() + self.ahead_ns) // 1_000_000))
        query = urlencode(named)
        secret = self.exchange.settings.secret.encode()
        signature = hmac.new(secret, query.encode(), hashlib.sha256).hexdigest()
        return await self.exchange.request(
            Request(
                method=method,
                path=f"/fapi{path}",
                query=f"{query}&signature={signature}",
                headers={"x-mbx-apikey": self.exchange.settings.key},
            )
        )

    async def ask(self, path: str, **parameters: object) -> Any:
        """A public request."""
        query = urlencode({name: _text(value) for name, value in parameters.items()})
        return self._read(
            await self.exchange.request(Request(method="GET", path=f"/fapi{path}", query=query))
        )

    def _read(self, answer: Answer) -> Any:
        self.last_answer = answer
        if answer.status != 200:
            raise CallFailed(answer)
        return msgspec.json.decode(answer.body)

    async def buy(self, symbol: str, quantity: str, **more: object) -> Any:
        return await self.order(symbol, "BUY", quantity, **more)

    async def sell(self, symbol: str, quantity: str, **more: object) -> Any:
        return await self.order(symbol, "SELL", quantity, **more)

    async def order(self, symbol: str, side: str, quantity: str, **more: object) -> Any:
        """A limit order where a price is given, else a market order."""
        named: dict[str, object] = {"symbol": symbol, "side": side, "quantity": quantity}
        named["newOrderRespType"] = "RESULT"
        if "price" in more:
            named |= {"type": "LIMIT", "timeInForce": "GTC"}
        else:
            named["type"] = "MARKET"
        return await self.call("POST", "/v1/order", **{**named, **more})

    def price(self, symbol: str, price: str, quantity: str | None = None) -> None:
        size = Decimal(quantity) if quantity is not None else None
        symbol_known = self.exchange.symbol(symbol)
        self.exchange.venue.set_price(symbol_known, Decimal(price), quantity=size)

    def inject(self, **rule: Any) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    def connect(self, target: str) -> Session:
        return self.exchange.connect(target, {})

    async def user_stream(self) -> Session:
        key = (await self.call("POST", "/v1/listenKey"))["listenKey"]
        return self.connect(f"/private/ws/{key}")


def heard(session: Session) -> list[Any]:
    """Everything that a connection has sent and nobody took: documents, or the end."""
    documents: list[Any] = []
    while (frame := session.take_frame()) is not None:
        if isinstance(frame, Text):
            documents.append(_document(frame.text))
        elif isinstance(frame, Close):
            documents.append(frame)
    return documents


def _document(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    return str(value)


@asynccontextmanager
async def binance_in_memory(
    clock: Clock, *, balance: str = "100000", seed: int = 1
) -> AsyncIterator[BinanceDesk]:
    """A started exchange; its timers end with the block, and a failed one fails it."""
    failed: list[str] = []
    tasks = Tasks(on_fault=lambda name, error: failed.append(f"{name}: {error!r}"))
    settings = Settings(balance=Decimal(balance), seed=seed)
    exchange = BinanceExchange(clock=clock, tasks=tasks, settings=settings)
    exchange.start()
    try:
        yield BinanceDesk(exchange=exchange, clock=clock)
    finally:
        exchange.close()
        await tasks.cancel_all()
    assert not failed, failed


def on_binance(
    story: Callable[[BinanceDesk], Awaitable[T]], *, balance: str = "100000", seed: int = 1
) -> T:
    """Run a story against a fresh exchange in simulated time."""

    async def run(clock: SimClock) -> T:
        async with binance_in_memory(clock, balance=balance, seed=seed) as desk:
            return await story(desk)

    return run_simulated(run, start_ns=START_NS)


__all__ = ["START_NS", "BinanceDesk", "CallFailed", "binance_in_memory", "heard", "on_binance"]

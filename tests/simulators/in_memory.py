"""Simulated exchanges without sockets, on any clock, and callers that sign like a client.

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
from tests.simulators.bybit import BybitExchange
from tests.simulators.bybit.parameters import sign
from tests.simulators.exchange import Answer, Exchange, Request, Settings
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
    """A simulated Binance and somebody who trades on it."""

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


class BybitDesk:
    """A simulated Bybit and somebody who trades on it."""

    def __init__(self, *, exchange: BybitExchange, clock: Clock) -> None:
        self.exchange = exchange
        self.clock = clock
        self.last_answer: Answer | None = None
        # How far this caller's clock is ahead of the injected one.
        self.ahead_ns = 0

    async def send(self, method: str, path: str, **parameters: object) -> Answer:
        """A signed request; returns the answer whatever it is."""
        named = {name: value for name, value in parameters.items() if value is not None}
        query = urlencode({name: _text(value) for name, value in named.items()})
        body = b"" if method == "GET" else msgspec.json.encode(named)
        stamp = str((self.clock.now_ns() + self.ahead_ns) // 1_000_000)
        settings = self.exchange.settings
        payload = query if method == "GET" else body.decode()
        return await self.exchange.request(
            Request(
                method=method,
                path=f"/v5{path}",
                query=query if method == "GET" else "",
                body=body,
                headers={
                    "x-bapi-api-key": settings.key,
                    "x-bapi-timestamp": stamp,
                    "x-bapi-recv-window": "5000",
                    "x-bapi-sign": sign(settings.secret, f"{stamp}{settings.key}5000{payload}"),
                },
            )
        )

    async def call(self, method: str, path: str, **parameters: object) -> Any:
        """A signed request about linear contracts; its whole envelope, or CallFailed."""
        answer = await self.send(method, path, **{"category": "linear", **parameters})
        self.last_answer = answer
        document = msgspec.json.decode(answer.body)
        if answer.status != 200 or document["retCode"]:
            raise CallFailed(answer)
        return document

    async def get(self, path: str, **parameters: object) -> Any:
        return (await self.call("GET", path, **parameters))["result"]

    async def post(self, path: str, **parameters: object) -> Any:
        return (await self.call("POST", path, **parameters))["result"]

    async def order(self, symbol: str, side: str, quantity: str, **more: object) -> Any:
        """A limit order where a price is given, else a market order."""
        kind = "Limit" if "price" in more else "Market"
        named = {"symbol": symbol, "side": side, "qty": quantity, "orderType": kind}
        return await self.post("/order/create", **{**named, **more})

    async def known(self, **ids: object) -> Any:
        """An order as the venue knows it now."""
        return (await self.get("/order/realtime", symbol="BTCUSDT", **ids))["list"][0]

    def price(self, symbol: str, price: str, quantity: str | None = None) -> None:
        size = Decimal(quantity) if quantity is not None else None
        self.exchange.venue.set_price(self.exchange.symbol(symbol), Decimal(price), quantity=size)

    def inject(self, **rule: Any) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    def connect(self, target: str, *, known: bool = True) -> Session:
        """A connection; private ones say who they are."""
        session = self.exchange.connect(target, {})
        if known and not target.startswith("/v5/public"):
            expires = self.clock.now_ns() // 1_000_000 + 1000
            settings = self.exchange.settings
            signature = sign(settings.secret, f"GET/realtime{expires}")
            tell(session, op="auth", args=[settings.key, expires, signature])
            heard(session)
        return session

    async def private_stream(self, *topics: str) -> Session:
        session = self.connect("/v5/private")
        tell(session, op="subscribe", args=list(topics))
        await self.clock.sleep(0.1)
        heard(session)
        return session


def tell(session: Session, **message: object) -> None:
    session.receive(msgspec.json.encode(message).decode())


@asynccontextmanager
async def _running(exchange: Exchange, tasks: Tasks, failed: list[str]) -> AsyncIterator[None]:
    """A started exchange; its timers end with the block, and a failed one fails it."""
    exchange.start()
    try:
        yield
    finally:
        exchange.close()
        await tasks.cancel_all()
    assert not failed, failed


def _owner(failed: list[str]) -> Tasks:
    return Tasks(on_fault=lambda name, error: failed.append(f"{name}: {error!r}"))


@asynccontextmanager
async def binance_in_memory(
    clock: Clock, *, balance: str = "100000", seed: int = 1
) -> AsyncIterator[BinanceDesk]:
    """A running Binance, and a caller."""
    failed: list[str] = []
    tasks = _owner(failed)
    settings = Settings(balance=Decimal(balance), seed=seed)
    exchange = BinanceExchange(clock=clock, tasks=tasks, settings=settings)
    async with _running(exchange, tasks, failed):
        yield BinanceDesk(exchange=exchange, clock=clock)


@asynccontextmanager
async def bybit_in_memory(
    clock: Clock, *, balance: str = "100000", seed: int = 1
) -> AsyncIterator[BybitDesk]:
    """A running Bybit, and a caller."""
    failed: list[str] = []
    tasks = _owner(failed)
    settings = Settings(balance=Decimal(balance), seed=seed)
    exchange = BybitExchange(clock=clock, tasks=tasks, settings=settings)
    async with _running(exchange, tasks, failed):
        yield BybitDesk(exchange=exchange, clock=clock)


def on_binance(
    story: Callable[[BinanceDesk], Awaitable[T]], *, balance: str = "100000", seed: int = 1
) -> T:
    """Run a story against a fresh Binance in simulated time."""

    async def run(clock: SimClock) -> T:
        async with binance_in_memory(clock, balance=balance, seed=seed) as desk:
            return await story(desk)

    return run_simulated(run, start_ns=START_NS)


def on_bybit(
    story: Callable[[BybitDesk], Awaitable[T]], *, balance: str = "100000", seed: int = 1
) -> T:
    """Run a story against a fresh Bybit in simulated time."""

    async def run(clock: SimClock) -> T:
        async with bybit_in_memory(clock, balance=balance, seed=seed) as desk:
            return await story(desk)

    return run_simulated(run, start_ns=START_NS)


__all__ = [
    "START_NS",
    "BinanceDesk",
    "BybitDesk",
    "CallFailed",
    "binance_in_memory",
    "bybit_in_memory",
    "heard",
    "on_binance",
    "on_bybit",
    "tell",
]

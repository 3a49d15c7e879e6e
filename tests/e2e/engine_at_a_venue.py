"""The real program at a simulated exchange, each in a process of its own or on sockets.

What an exchange hears is noted: every request, every stream, and whatever of it is secret.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from engine.control import ControlClient, NoEngine
from engine.model.policy import seeded, with_changes
from engine.runtime import SystemClock, Tasks
from tests.bus_sender import KEY as DESK_KEY
from tests.desk import BTC, ETH
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Answer, Exchange, Request, Settings
from tests.simulators.faults import FaultRule
from tests.simulators.sessions import Session
from tests.simulators.wire import SimulatorServer
from tests.waiting import eventually

__all__ = [
    "ACCOUNT",
    "KEY",
    "SECRET",
    "SimulatedVenue",
    "configure",
    "run_engine",
    "simulated_venue",
    "until_status",
]

_ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "px-01"
KEY = "K3yOfTheRealAccount0123456789abcdefXYZ"
SECRET = "S3cretOfTheRealAccount9876543210fedcbaQ"
_LISTEN_KEY = re.compile(r'"listenKey":\s*"(\w+)"')


class SimulatedVenue:
    """A simulated exchange on sockets that notes what was secret on the wire."""

    def __init__(self, name: str, tasks: Tasks) -> None:
        self.name = name
        kind: type[Exchange] = {"binance": BinanceExchange, "bybit": BybitExchange}[name]
        self.exchange = kind(
            clock=SystemClock(), tasks=tasks, settings=Settings(key=KEY, secret=SECRET)
        )
        self.server = SimulatorServer(exchange=self.exchange, tasks=tasks)
        self.tokens: set[str] = set()
        # What was asked, as `GET /path`, and whether a key stood in it; paths of streams.
        self.asked: set[tuple[str, bool]] = set()
        self.streams: set[str] = set()
        self._request, self._connect = self.exchange.request, self.exchange.connect
        self.exchange.request = self._noted  # type: ignore[method-assign]
        self.exchange.connect = self._opened  # type: ignore[method-assign]

    @property
    def place(self) -> str:
        return {"binance": "POST /fapi/v1/order", "bybit": "POST /v5/order/create"}[self.name]

    @property
    def refused(self) -> tuple[str, str]:
        """The answer for a key that is no good, and its code."""
        return {"binance": ("key_401", "-2015"), "bybit": ("key_10003", "10003")}[self.name]

    async def _noted(self, request: Request) -> Answer:
        self.tokens.update(parse_qs(request.query).get("signature", []))
        if (signature := request.headers.get("x-bapi-sign")) is not None:
            self.tokens.add(signature)
        has_key = bool({"x-mbx-apikey", "x-bapi-api-key"} & set(request.headers))
        self.asked.add((f"{request.method} {request.path}", has_key))
        answer = await self._request(request)
        self.tokens.update(_LISTEN_KEY.findall(answer.body.decode()))
        return answer

    def _opened(self, target: str, headers: Mapping[str, str]) -> Session:
        self.streams.add(target.partition("?")[0])
        return self._connect(target, headers)

    def inject(self, **rule: Any) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    def sent(self) -> int:
        """Orders that came in, with or without effect."""
        return sum(1 for each in self.exchange.arrivals if each["request"] == self.place)


@asynccontextmanager
async def simulated_venue(name: str) -> AsyncIterator[SimulatedVenue]:
    tasks = Tasks(on_fault=lambda name, error: None)
    venue = SimulatedVenue(name, tasks)
    await venue.server.start()
    mover = tasks.spawn("market", _keep_prices(venue.exchange))
    try:
        yield venue
    finally:
        mover.cancel()
        await venue.server.close()
        await tasks.cancel_all()


async def _keep_prices(exchange: Exchange) -> None:
    while True:
        for symbol, price in ((BTC, "60000"), (ETH, "2500")):
            exchange.venue.set_price(symbol, Decimal(price))
        await asyncio.sleep(0.2)


def configure(folder: Path, venue: SimulatedVenue, redis_url: str, *, mode: str = "live") -> Path:
    """The configuration file; the policy that it names lets trades through."""
    policy = folder / "policy.json"
    allowed = {"allow_new_trades": "true", "signal_rate": "20", "signal_ttl_s": "30"}
    policy.write_bytes(
        msgspec.json.encode(with_changes(seeded(Decimal(100_000), live=True), allowed))
    )
    urls = venue.server.addresses()
    path = folder / "seawall.toml"
    path.write_text(
        f'''
        [engine]
        mode = "{mode}"
        [node]
        name = "{ACCOUNT}"
        [redis]
        mode = "url"
        url = "{redis_url}"
        [venue]
        name = "{venue.name}"
        rest_url = "{urls["rest_url"]}"
        stream_url = "{urls["stream_url"]}"
        [market]
        feed = "venue"
        symbols = ["BTCUSDT", "ETHUSDT"]
        [policy]
        file = "{policy}"
        [log]
        level = "debug"
        '''
    )
    return path


async def run_engine(folder: Path, config: Path, *words: str, with_key: bool = True) -> Process:
    """The real program; what it says goes to files."""
    keys = {"SEAWALL_API_KEY": KEY, "SEAWALL_API_SECRET": SECRET} if with_key else {}
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "console", "run", "--headless", "--json"),
            *words,
            *("--config", str(config), "--data-dir", str(folder / "data")),
            cwd=_ROOT,
            stdin=DEVNULL,
            stdout=out,
            stderr=err,
            env={
                **os.environ,
                **keys,
                "SEAWALL_DESK_KEY": DESK_KEY,
                "PYTHONFAULTHANDLER": "1",
            },
        )


async def until_status(
    data_dir: Path, condition: Callable[[Any], object], *, timeout_s: float = 40
) -> None:
    """Wait until the engine's status says so; a failure shows the last one."""
    last: dict[str, Any] = {}

    def look() -> object:
        try:
            last.update(ControlClient(data_dir).call("status"))
        except NoEngine:
            return False
        return condition(last)

    async def asked() -> object:
        return await asyncio.to_thread(look)

    try:
        await eventually(asked, timeout_s=timeout_s, interval_s=0.1)
    except AssertionError as error:
        shown = {name: last.get(name) for name in ("state", "why", "gate", "signals", "positions")}
        raise AssertionError(f"{error}; the engine says {shown}") from error

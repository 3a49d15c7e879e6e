"""A whole engine with an exchange's key: the key is nowhere but in its memory.

The real program trades live on a simulated exchange over real sockets, with a real Redis and its
log at its most talkative: it fills, is refused for its key, waits in vain, loses its streams, is
backed up, stopped by another process, and dies of SIGABRT with the stacks of its threads on its
standard error. Then every byte that it left is searched for the key, the secret, the desk key, each
signature and each listen key that the exchange saw.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from engine.control import ControlClient, NoEngine
from engine.model.policy import seeded, with_changes
from engine.runtime import SystemClock, Tasks
from tests.bus_sender import KEY as DESK_KEY
from tests.bus_sender import BusSender
from tests.desk import BTC, ETH
from tests.real_redis import RealRedis
from tests.secret_search import SecretSearch, everything_in_redis, files_under
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Answer, Exchange, Request, Settings
from tests.simulators.faults import FaultRule
from tests.simulators.wire import SimulatorServer
from tests.waiting import eventually

_ROOT = Path(__file__).resolve().parents[2]
_ACCOUNT = "px-01"
KEY = "K3yOfTheRealAccount0123456789abcdefXYZ"
SECRET = "S3cretOfTheRealAccount9876543210fedcbaQ"
_LISTEN_KEY = re.compile(r'"listenKey":\s*"(\w+)"')


class _Venue:
    """A simulated exchange on sockets that notes what was secret on the wire."""

    def __init__(self, name: str, tasks: Tasks) -> None:
        self.name = name
        kind: type[Exchange] = {"binance": BinanceExchange, "bybit": BybitExchange}[name]
        self.exchange = kind(
            clock=SystemClock(), tasks=tasks, settings=Settings(key=KEY, secret=SECRET)
        )
        self.server = SimulatorServer(exchange=self.exchange, tasks=tasks)
        self.tokens: set[str] = set()
        self._request = self.exchange.request
        self.exchange.request = self._noted  # type: ignore[method-assign]

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
        answer = await self._request(request)
        self.tokens.update(_LISTEN_KEY.findall(answer.body.decode()))
        return answer

    def inject(self, **rule: Any) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    def sent(self) -> int:
        """Orders that came in, with or without effect."""
        return sum(1 for each in self.exchange.arrivals if each["request"] == self.place)


@asynccontextmanager
async def _venue(name: str) -> AsyncIterator[_Venue]:
    tasks = Tasks(on_fault=lambda name, error: None)
    venue = _Venue(name, tasks)
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


def _configure(folder: Path, venue: _Venue, redis_url: str) -> Path:
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
        mode = "live"
        [node]
        name = "{_ACCOUNT}"
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


async def _engine(folder: Path, config: Path) -> Process:
    """The real program; what it says goes to files."""
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "console", "run", "--headless", "--json"),
            *("--confirm-live", _ACCOUNT),
            *("--config", str(config), "--data-dir", str(folder / "data")),
            cwd=_ROOT,
            stdin=DEVNULL,
            stdout=out,
            stderr=err,
            env={
                **os.environ,
                "SEAWALL_API_KEY": KEY,
                "SEAWALL_API_SECRET": SECRET,
                "SEAWALL_DESK_KEY": DESK_KEY,
                "PYTHONFAULTHANDLER": "1",
            },
        )


async def _until(data_dir: Path, condition: Any, *, timeout_s: float = 40) -> None:
    """Wait until the engine's status says so."""

    def look() -> object:
        try:
            return condition(ControlClient(data_dir).call("status"))
        except NoEngine:
            return False

    async def asked() -> object:
        return await asyncio.to_thread(look)

    await eventually(asked, timeout_s=timeout_s, interval_s=0.1)


async def _live_through_everything(venue: _Venue, data_dir: Path, sender: BusSender) -> None:
    answer, _ = venue.refused
    await _until(data_dir, lambda status: status["state"] == "running")
    sender.signal()
    await _until(
        data_dir, lambda status: [row["protected"] for row in status["positions"]] == [True]
    )
    venue.inject(kind="error", on=venue.place, answer=answer)
    sent = venue.sent()
    sender.signal(symbol="ETHUSDT")
    await eventually(lambda: venue.sent() > sent, timeout_s=20)
    venue.inject(kind="timeout_after", on=venue.place, seconds=60)
    other = {"symbol": "ETHUSDT", "side": "sell", "confidence": 0.9, "strategy": "test"}
    sender.send("signal.submit", other)
    await eventually(lambda: venue.sent() > sent + 1, timeout_s=20)
    venue.inject(kind="cut_streams")
    backup = await asyncio.to_thread(
        ControlClient(data_dir).call, "backup", {"author": "test", "reason": "test"}
    )
    assert backup["ok"]
    await _until(data_dir, lambda status: len(status["positions"]) == 2)
    panic = {"reason": "test", "scope": "node"}
    await asyncio.to_thread(ControlClient(data_dir).call, "panic", panic)
    await _until(data_dir, lambda status: status["emergency"]["state"] == "flat")


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_an_exchange_key_is_in_nothing_that_the_engine_leaves_behind(
    name: str, tmp_path: Path, redis_server: RealRedis
) -> None:
    data = tmp_path / "data"
    sender = BusSender(redis_server.url, node=_ACCOUNT)
    async with _venue(name) as venue:
        config = _configure(tmp_path, venue, redis_server.url)
        process = await _engine(tmp_path, config)
        try:
            await _live_through_everything(venue, data, sender)
            process.send_signal(signal.SIGABRT)
            assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGABRT
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            sender.close()
        search = SecretSearch({"key": KEY, "secret": SECRET, "desk key": DESK_KEY})
        search.add_tokens("signature or listen key", venue.tokens)
    assert search.tokens > 20, "hardly anything was signed"
    said = b""
    for path, content in files_under(tmp_path):
        assert search.found_in(content) == set(), path.relative_to(tmp_path)
        said += content
    assert search.found_in(everything_in_redis(redis_server.url)) == set()
    for words in (b"from SEAWALL_API_KEY", venue.refused[1].encode(), b"Fatal Python error"):
        assert words in said, "the engine did not go through what it should"
    names = {path.name for path, _ in files_under(data)}
    assert {"state.db", "latch", "seawall.log"} <= names
    assert any((data / "backups").iterdir())

"""The simulators over real sockets: the one line, control, streams, and connections that break."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from engine.runtime import SystemClock, Tasks
from tests.simulators.binance import BinanceExchange
from tests.simulators.exchange import Settings
from tests.simulators.wire import SimulatorServer
from tests.waiting import eventually

_ROOT = Path(__file__).resolve().parents[4]


class Wire:
    """A served exchange and an HTTP client."""

    def __init__(self, server: SimulatorServer, http: aiohttp.ClientSession) -> None:
        self.addresses = server.addresses()
        self.http = http

    async def call(self, method: str, path: str, **parameters: object) -> tuple[int, Any]:
        query = urlencode({**parameters, "timestamp": time.time_ns() // 1_000_000})
        signature = hmac.new(b"test-secret", query.encode(), hashlib.sha256).hexdigest()
        url = f"{self.addresses['rest_url']}{path}?{query}&signature={signature}"
        headers = {"X-MBX-APIKEY": "test-key"}
        async with self.http.request(method, url, headers=headers) as answer:
            return answer.status, await answer.json()

    async def control(self, what: str, document: object) -> tuple[int, Any]:
        url = f"{self.addresses['control_url']}/{what}"
        async with self.http.post(url, json=document) as answer:
            return answer.status, await answer.json()

    async def books(self) -> Any:
        async with self.http.get(f"{self.addresses['control_url']}/books") as answer:
            return await answer.json()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    exchange = BinanceExchange(clock=SystemClock(), tasks=tasks, settings=Settings())
    server = SimulatorServer(exchange=exchange, tasks=tasks)
    await server.start()
    async with aiohttp.ClientSession() as http:
        yield Wire(server, http)
    await server.close()
    await tasks.cancel_all()


_BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}


async def test_an_order_over_the_wire_is_in_the_auditors_books(wire: Wire) -> None:
    status, placed = await wire.call("POST", "/fapi/v1/order", **_BUY, newClientOrderId="w")
    assert (status, placed["clientOrderId"]) == (200, "w")
    books = await wire.books()
    assert [each["client_id"] for each in books["orders"]] == ["w"]
    assert books["positions"][0]["quantity"] == "0.1"
    assert books["fills"][0]["fee"] == "3.250005"
    assert books["balance"] == "99996.749995"


async def test_control_moves_markets_pays_funding_and_says_what_it_cannot_use(wire: Wire) -> None:
    await wire.call("POST", "/fapi/v1/order", **_BUY)
    assert await wire.control("price", {"symbol": "BTCUSDT", "price": "66000"}) == (
        200,
        {"ok": True},
    )
    await wire.control("funding", {"symbol": "BTCUSDT", "rate": "0.01"})
    await wire.control("transfer", {"amount": "50"})
    books = await wire.books()
    assert books["prices"]["BTCUSDT"] == "66000"
    assert [each["amount"] for each in books["income"]] == ["-3.250005", "-66", "50"]
    for what, document in (
        ("price", {"symbol": "NOPE", "price": "1"}),
        ("price", {"symbol": "BTCUSDT", "price": "-1"}),
        ("price", {"symbol": "BTCUSDT"}),
        ("faults", [{"kind": "gremlins"}]),
        ("faults", {"kind": "error", "answer": "teapot"}),
    ):
        status, answer = await wire.control(what, document)
        assert status == 400
        assert answer["error"]


async def test_a_dropped_connection_is_dropped_and_a_timeout_times_out(wire: Wire) -> None:
    drop = {"kind": "drop_after", "on": "POST /fapi/v1/order"}
    assert await wire.control("faults", [drop]) == (200, {"ok": True, "pending": 1})
    with pytest.raises(aiohttp.ClientConnectionError):
        await wire.call("POST", "/fapi/v1/order", **_BUY)
    await wire.control("faults", {"kind": "timeout_before", "on": "POST /fapi/v1/order"})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wire.call("POST", "/fapi/v1/order", **_BUY), 0.3)
    await wire.control("faults", {"kind": "gap", "times": None})
    assert await wire.control("faults", {"clear": True}) == (200, {"ok": True, "pending": 0})
    books = await wire.books()
    assert len(books["orders"]) == 1
    assert books["faults_done"] == {"drop_after": 1, "timeout_before": 1}


async def test_streams_push_ping_and_break(wire: Wire) -> None:
    _, opened = await wire.call("POST", "/fapi/v1/listenKey")
    url = f"{wire.addresses['stream_url']}/private/ws/{opened['listenKey']}"
    async with wire.http.ws_connect(url) as socket:
        await wire.call("POST", "/fapi/v1/order", **_BUY)
        names = [(await socket.receive_json(timeout=5))["e"] for _ in range(4)]
        assert names == [
            "ORDER_TRADE_UPDATE",
            "TRADE_LITE",
            "ORDER_TRADE_UPDATE",
            "ACCOUNT_UPDATE",
        ]
        await wire.control("faults", {"kind": "cut_streams"})
        ended = await socket.receive(timeout=5)
        assert ended.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert (await wire.books())["streams"] == 0
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await wire.http.ws_connect(f"{wire.addresses['stream_url']}/nowhere")


async def test_a_client_that_leaves_is_forgotten(wire: Wire) -> None:
    url = f"{wire.addresses['stream_url']}/market/ws/btcusdt@aggTrade"
    async with wire.http.ws_connect(url) as socket:
        await wire.control("price", {"symbol": "BTCUSDT", "price": "65010"})
        assert (await socket.receive_json(timeout=5))["p"] == "65010.00"

    async def is_forgotten() -> bool:
        return (await wire.books())["streams"] == 0

    await eventually(is_forgotten)


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_the_program_says_where_it_is_and_ends_when_asked(venue: str, tmp_path: Path) -> None:
    rules = tmp_path / "faults.json"
    rules.write_text('[{"kind": "gap", "on": "ORDER_TRADE_UPDATE"}]')
    command = [sys.executable, "-m", "tests.simulators", venue, "--balance", "500.5"]
    program = subprocess.Popen(
        [*command, "--faults", str(rules)], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout is not None
        said = json.loads(program.stdout.readline())
        assert set(said) == {"rest_url", "stream_url", "control_url"}
    finally:
        program.send_signal(signal.SIGTERM)
        rest, _ = program.communicate(timeout=10)
    assert (program.returncode, rest) == (0, "")


def test_a_port_in_use_is_said_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "tests.simulators", "bybit"]
        finished = subprocess.run(
            [*command, "--port", str(taken.getsockname()[1])],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "--port" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("text", "words"), [("[{]", "--faults"), ('[{"kind":"error","answer":"x"}]', "no answer 'x'")]
)
def test_wrong_fault_files_are_refused_in_words(text: str, words: str, tmp_path: Path) -> None:
    rules = tmp_path / "faults.json"
    rules.write_text(text)
    finished = subprocess.run(
        [sys.executable, "-m", "tests.simulators", "binance", "--faults", str(rules)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert words in finished.stderr

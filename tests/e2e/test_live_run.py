"""`seawall run --headless` live, as a process of its own, on a simulated exchange over sockets.

From the configuration file to the run summary: the confirmation on the command line, an operator's
order from another process, its protective stop at the venue, and an end in order that leaves both
where they are.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.control import ControlClient, NoEngine
from engine.model.policy import seeded, with_changes
from engine.runtime import SystemClock, Tasks
from tests.desk import BTC
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Exchange, Settings
from tests.simulators.wire import SimulatorServer
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(150)
_ROOT = Path(__file__).resolve().parents[2]
_ACCOUNT = "px-01"
_KINDS: dict[str, type[Exchange]] = {"binance": BinanceExchange, "bybit": BybitExchange}


@asynccontextmanager
async def _exchange(name: str) -> AsyncIterator[tuple[Exchange, dict[str, str]]]:
    failed: list[str] = []
    tasks = Tasks(on_fault=lambda name, error: failed.append(f"{name}: {error!r}"))
    exchange = _KINDS[name](clock=SystemClock(), tasks=tasks, settings=Settings())
    server = SimulatorServer(exchange=exchange, tasks=tasks)
    await server.start()
    exchange.venue.set_price(BTC, Decimal(60_000))
    try:
        yield exchange, server.addresses()
    finally:
        await server.close()
        await tasks.cancel_all()
    assert not failed, failed


def _configure(folder: Path, name: str, urls: dict[str, str]) -> Path:
    policy = folder / "policy.json"
    document = with_changes(seeded(Decimal(100_000), live=True), {"allow_new_trades": "true"})
    policy.write_bytes(msgspec.json.encode(document))
    path = folder / "seawall.toml"
    path.write_text(
        "\n".join(
            (
                *("[engine]", 'mode = "live"', "[node]", f'name = "{_ACCOUNT}"'),
                *("[redis]", 'mode = "standalone"'),
                *("[venue]", f'name = "{name}"', f'rest_url = "{urls["rest_url"]}"'),
                f'stream_url = "{urls["stream_url"]}"',
                *("[market]", 'feed = "venue"', 'symbols = ["BTCUSDT"]'),
                *("[policy]", f'file = "{policy}"'),
            )
        )
    )
    return path


def _status(data_dir: Path) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = ControlClient(data_dir).call("status", timeout_s=10.0)
    except NoEngine:
        return {"state": "off", "positions": []}
    return answer


def _is_protected(status: dict[str, Any]) -> bool:
    return [row["protected"] for row in status["positions"]] == [True]


@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_a_live_run_from_the_command_line_to_its_summary(name: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"

    async def status_says(condition: Any) -> None:
        async def look() -> object:
            return condition(await asyncio.to_thread(_status, data_dir))

        await eventually(look, timeout_s=60, interval_s=0.2)

    async with _exchange(name) as (exchange, urls):
        engine = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "console", "run", "--headless", "--json"),
            *("--config", str(_configure(tmp_path, name, urls)), "--data-dir", str(data_dir)),
            *("--confirm-live", _ACCOUNT),
            cwd=_ROOT,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env={
                **os.environ,
                "SEAWALL_API_KEY": exchange.settings.key,
                "SEAWALL_API_SECRET": exchange.settings.secret,
            },
        )
        try:
            await status_says(lambda status: status["state"] == "running")
            ticket = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01", "reason": "story"}
            placed = await asyncio.to_thread(ControlClient(data_dir).call, "order.place", ticket)
            assert placed["ok"], placed
            await status_says(_is_protected)
        finally:
            if engine.returncode is None:
                engine.send_signal(signal.SIGTERM)
            said, errors = await engine.communicate()
        assert engine.returncode == 0, errors.decode()[-2000:]
        summary = json.loads(said)
        books = exchange.books()
    assert summary["ok"]
    assert summary["mode"] == "live"
    (ours,) = summary["books"]["positions"]
    (theirs,) = books["positions"]
    assert (ours["symbol"], ours["side"], ours["quantity"]) == ("BTCUSDT", "LONG", "0.01")
    assert theirs["quantity"] == "0.01"
    assert Decimal(summary["books"]["balance"]) == Decimal(str(books["balance"]))
    stops = [row for row in books["conditionals"] if row["status"] == "NEW"]
    assert len(stops) == 1

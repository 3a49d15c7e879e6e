"""From a confirmed drawdown breach to the bytes of the first close, on the whole kernel.

Over real sockets to a simulated Binance, with twenty positions: the cancel of the largest risk, one
account-wide read, its close. The clock starts when the market pushes the price that completes the
breach. Each breach has an engine and an exchange of its own. Baseline: the same three requests one
after the other by a bare aiohttp session on a kept connection, up to the third's leaving.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from urllib.parse import urlencode

import aiohttp

from engine.model.ids import Symbol
from tests.benchmarks.figures import Bar, Effort, Figure, percentile
from tests.benchmarks.live_desk import LiveDesk, live_desk
from tests.simulators.exchange import Settings
from tests.simulators.process import SimulatorProcess, simulator_process
from tests.waiting import eventually

__all__ = ["measure"]

_BREACHES = 6
_POSITIONS = 20
_LIMIT_MS = 10.0
_PRICE = Decimal("2.2")
# Within the price collar, so that each fall is confirmed by itself.
_FALL = Decimal("0.018")
_LIMITS = {
    "max_open_positions": str(_POSITIONS),
    "max_gross_exposure": "3",
    "drawdown_soft": "0.01",
    "drawdown_hard": "0.02",
    "signal_rate": "50",
}
_CANCEL, _READ, _CLOSE = (
    "DELETE /fapi/v1/allOpenOrders",
    "GET /fapi/v3/positionRisk",
    "POST /fapi/v1/order",
)


def measure(effort: Effort) -> Figure:
    breaches = effort.count(_BREACHES, least=1)
    ours, cancels, bare = [], [], []
    for _ in range(breaches):
        with (
            simulator_process("binance", "--more-contracts", str(_POSITIONS)) as simulator,
            TemporaryDirectory(prefix="seawall-bench-") as folder,
        ):
            close_ms, cancel_ms = asyncio.run(_breach(Path(folder), simulator))
            ours.append(close_ms)
            cancels.append(cancel_ms)
            bare += asyncio.run(_bare(simulator))
    above_ms = median(ours) - median(bare)
    return Figure(
        name="breach_to_close",
        unit="ms p50",
        better="lower",
        ours=ours,
        baseline_name="the same three requests by aiohttp",
        baseline=bare,
        bars=[Bar(f"p50 {above_ms:.1f} ms above, under 10 ms", above_ms < _LIMIT_MS)]
        if effort.is_full
        else [],
        notes=[
            f"{_POSITIONS} positions; worst {max(ours):.1f} ms of {breaches}; first cancel p50"
            f" {median(cancels):.1f} ms; bare p99 {percentile(bare, 0.99):.1f} ms"
        ],
    )


async def _breach(folder: Path, simulator: SimulatorProcess) -> tuple[float, float]:
    """Milliseconds to the first close and to the first cancel."""
    symbols = tuple(Symbol(f"S{number:02d}USDT") for number in range(_POSITIONS))
    prices = {symbol: _PRICE for symbol in symbols}
    async with live_desk(folder, simulator, prices, _LIMITS) as desk:
        await desk.open(symbols)
        stop = desk.kernel.parts.stop
        pushed_ns = await _fall(desk, symbols)
        await eventually(lambda: desk.first(_CLOSE, since_ns=pushed_ns), timeout_s=10)
        if not stop.is_latched():
            raise RuntimeError("there was no breach")
        cancel_ns = desk.first(_CANCEL, since_ns=pushed_ns)
        close_ns = desk.first(_CLOSE, since_ns=pushed_ns)
        assert cancel_ns is not None
        assert close_ns is not None
        return (close_ns - pushed_ns) / 1e6, (cancel_ns - pushed_ns) / 1e6


async def _fall(desk: LiveDesk, symbols: tuple[Symbol, ...]) -> int:
    """Prices fall one by one until the stop is latched; when the last of them was pushed."""
    stop = desk.kernel.parts.stop
    price = _PRICE
    for _ in range(8):
        price *= 1 - _FALL
        for symbol in symbols:
            pushed_ns = perf_counter_ns()
            desk.market.move(symbol, price.quantize(Decimal("0.0001")))
            await asyncio.sleep(0)
            if stop.is_latched():
                return pushed_ns
            await asyncio.sleep(0.002)
            if stop.is_latched():
                return pushed_ns
    raise RuntimeError("there was no breach")


# --- bare ----------------------------------------------------------------------------------------


async def _bare(simulator: SimulatorProcess) -> list[float]:
    """The same three requests, several times, each with a position of its own."""
    settings = Settings()
    async with aiohttp.ClientSession(headers={"X-MBX-APIKEY": settings.key}) as session:

        async def ask(subject: str, **named: str) -> None:
            method, path = subject.split(" ")
            stamp = str(time.time_ns() // 10**6)
            query = urlencode({**named, "recvWindow": "5000", "timestamp": stamp})
            signature = hmac.new(settings.secret.encode(), query.encode(), hashlib.sha256)
            url = f"{simulator.rest_url}{path}?{query}&signature={signature.hexdigest()}"
            async with session.request(method, url) as answer:
                await answer.read()

        waits = []
        order = {"symbol": "BTCUSDT", "type": "MARKET", "quantity": "0.01"}
        for _ in range(5):
            await ask(_CLOSE, side="BUY", **order)
            began = perf_counter_ns()
            await ask(_CANCEL, symbol="BTCUSDT")
            await ask(_READ)
            waits.append((perf_counter_ns() - began) / 1e6)
            await ask(_CLOSE, side="SELL", reduceOnly="true", **order)
        return waits

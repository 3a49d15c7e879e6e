"""The real program in a dry run, and on paper at a venue's prices: what the exchange hears of it.

A whole session over real sockets: entries with their protective stops, a position closed by hand,
the emergency stop from another process. Nothing that comes in may be more than a read.
"""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.control import ControlClient
from engine.venues.binance import reads as binance_reads
from engine.venues.bybit import reads as bybit_reads
from tests.e2e.engine_at_a_venue import (
    SimulatedVenue,
    configure,
    run_engine,
    simulated_venue,
    until_status,
)
from tests.real_redis import RealRedis
from tests.waiting import eventually

_READS: dict[str, Any] = {"binance": binance_reads, "bybit": bybit_reads}


async def _session(data: Path) -> None:
    """What an operator and the desk do in a run, on simulated books."""
    await until_status(data, lambda status: status["state"] == "running")
    await _enter(data, "BTCUSDT", "buy")
    await _enter(data, "ETHUSDT", "sell")
    closing = {"symbol": "ETHUSDT", "all": True, "author": "test", "reason": "test"}
    closed = await asyncio.to_thread(ControlClient(data).call, "order.close", closing)
    assert closed["ok"], closed
    await until_status(data, lambda status: len(status["positions"]) == 1)
    panic = {"reason": "test", "scope": "node"}
    await asyncio.to_thread(ControlClient(data).call, "panic", panic)
    await until_status(data, lambda status: status["emergency"]["state"] == "flat")


async def _enter(data: Path, symbol: str, side: str) -> None:
    """A protected position; the gate refuses before the symbol's first price."""
    ticket = {"symbol": symbol, "side": side, "notional": "500", "author": "test"}

    async def is_placed() -> bool:
        answer = await asyncio.to_thread(ControlClient(data).call, "order.place", ticket)
        return bool(answer["ok"])

    await eventually(is_placed, timeout_s=20, interval_s=0.5)
    await until_status(
        data,
        lambda status: any(
            row["symbol"] == symbol and row["protected"] for row in status["positions"]
        ),
    )


def _assert_only_read(venue: SimulatedVenue, *, with_key: bool) -> None:
    reads = _READS[venue.name]
    allowed = reads.READ_PATHS if with_key else reads.PUBLIC_PATHS
    assert {asked.partition(" ")[0] for asked, _ in venue.asked} == {"GET"}
    assert {asked.partition(" ")[2] for asked, _ in venue.asked} <= allowed
    assert any(has_key for _, has_key in venue.asked) == with_key
    assert venue.streams, "no prices were heard"
    assert all(path.startswith(reads.PUBLIC_STREAM_PATHS) for path in venue.streams)
    books = venue.exchange.books()
    assert books["requests"] == books["orders"] == books["fills"] == []
    assert books["balance"] == "100000"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "mode"), [("binance", "dry_run"), ("bybit", "dry_run"), ("binance", "paper")]
)
async def test_a_whole_session_is_heard_at_the_exchange_as_reads_alone(
    name: str, mode: str, tmp_path: Path, redis_server: RealRedis
) -> None:
    data = tmp_path / "data"
    is_dry = mode == "dry_run"
    async with simulated_venue(name) as venue:
        config = configure(tmp_path, venue, redis_server.url, mode=mode)
        process = await run_engine(tmp_path, config, with_key=is_dry)
        try:
            await _session(data)
            process.send_signal(signal.SIGTERM)
            status = await asyncio.wait_for(process.wait(), 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert status == 0, (tmp_path / "stderr").read_text()[-2000:]
        _assert_only_read(venue, with_key=is_dry)
    summary = json.loads((tmp_path / "stdout").read_text())
    assert summary["mode"] == mode
    assert summary["fills"] >= 4
    assert summary["open_positions"] == 0

"""A whole engine with an exchange's key: the key is nowhere but in its memory.

The real program trades live on a simulated exchange over real sockets, with a real Redis and its
log at its most talkative: it fills, is refused for its key, waits in vain, loses its streams, is
backed up, stopped by another process, and dies of SIGABRT with the stacks of its threads on its
standard error. Then every byte that it left is searched for the key, the secret, the desk key, each
signature and each listen key that the exchange saw.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from engine.control import ControlClient
from tests.bus_sender import KEY as DESK_KEY
from tests.bus_sender import BusSender
from tests.e2e.engine_at_a_venue import (
    ACCOUNT,
    KEY,
    SECRET,
    SimulatedVenue,
    configure,
    run_engine,
    simulated_venue,
    until_status,
)
from tests.real_redis import RealRedis
from tests.secret_search import SecretSearch, everything_in_redis, files_under
from tests.waiting import eventually


async def _live_through_everything(
    venue: SimulatedVenue, data_dir: Path, sender: BusSender
) -> None:
    answer, _ = venue.refused
    await until_status(data_dir, lambda status: status["state"] == "running")
    sender.signal()
    await until_status(
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
    await until_status(data_dir, lambda status: len(status["positions"]) == 2)
    panic = {"reason": "test", "scope": "node"}
    await asyncio.to_thread(ControlClient(data_dir).call, "panic", panic)
    await until_status(data_dir, lambda status: status["emergency"]["state"] == "flat")


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_an_exchange_key_is_in_nothing_that_the_engine_leaves_behind(
    name: str, tmp_path: Path, redis_server: RealRedis
) -> None:
    data = tmp_path / "data"
    sender = BusSender(redis_server.url, node=ACCOUNT)
    async with simulated_venue(name) as venue:
        config = configure(tmp_path, venue, redis_server.url)
        process = await run_engine(tmp_path, config, "--confirm-live", ACCOUNT)
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
